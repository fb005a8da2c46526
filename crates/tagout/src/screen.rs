//! What a person sees: errors with what to do, plain words, colour only on a terminal that wants it.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use tagout_session::report::{Report, Tone};

/// Prints an error and its causes, one line each, on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("tagout: {error}\n");
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many an error says its cause itself.
        if !told.contains(&cause) {
            text.push_str(&format!("  because {cause}\n"));
        }
        told = cause;
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A line on standard error, with Tagout's name in front. Never used while the agent has the
/// terminal.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "tagout: {text}");
}

/// What a session left, on standard error: Tagout's name once, then its lines below one another.
pub(crate) fn report(report: &Report) {
    let colour = std::io::stderr().is_terminal() && colour_wanted();
    let mut text = String::new();
    for (number, line) in report.lines.iter().enumerate() {
        let lead = if number == 0 { "tagout: " } else { "        " };
        // A line to copy begins where it can be marked with one drag.
        let lead = if line.tone == Tone::Grant { "" } else { lead };
        text.push_str(lead);
        text.push_str(&match parameter(line.tone) {
            Some(parameter) if colour => format!("\u{1b}[{parameter}m{}\u{1b}[0m", line.text),
            _ => line.text.clone(),
        });
        text.push('\n');
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn parameter(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Warning => Some("33"),
        Tone::Grant => Some("32"),
        Tone::Faint => Some("2"),
    }
}

fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether colour belongs on standard output.
pub(crate) fn colour() -> bool {
    std::io::stdout().is_terminal() && colour_wanted()
}

/// Text in a colour (an SGR parameter such as `31`), where colour belongs.
pub(crate) fn paint(text: &str, parameter: &str) -> String {
    if colour() {
        format!("\u{1b}[{parameter}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// The width of the terminal that standard output is, in columns; `None` where it is none.
pub(crate) fn width() -> Option<usize> {
    width_of(std::io::stdout())
}

/// As [`width`], of another stream.
pub(crate) fn width_of(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Text in lines of at most `width` columns, of which the first has `begun` already and the others are set
/// in by `indent`. A command between backticks stays in one piece, so that it can be marked and copied.
pub(crate) fn wrapped(text: &str, begun: usize, indent: usize, width: usize) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut is_command = false;
    for word in text.split(' ') {
        match pieces.last_mut().filter(|_| is_command) {
            Some(command) => {
                command.push(' ');
                command.push_str(word);
            }
            None => pieces.push(word.to_owned()),
        }
        is_command ^= word.matches('`').count() % 2 == 1;
    }
    let mut line = begun;
    let mut lines = String::new();
    for (number, piece) in pieces.iter().enumerate() {
        let columns = piece.chars().count();
        if number > 0 && line + 1 + columns > width {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            line = indent;
        } else if number > 0 {
            lines.push(' ');
            line += 1;
        }
        lines.push_str(piece);
        line += columns;
    }
    lines
}

/// Asks on the terminal, whatever standard input is. `false` without a terminal.
pub(crate) fn confirm(question: &str) -> bool {
    answer(question).is_some_and(|answer| {
        let answer = answer.trim().to_ascii_lowercase();
        answer == "y" || answer == "yes"
    })
}

/// Whether a person can be asked.
pub(crate) fn has_terminal() -> bool {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .is_ok()
}

fn answer(question: &str) -> Option<String> {
    use std::io::BufRead;
    let mut terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    write!(terminal, "{question} [y/N] ").ok()?;
    terminal.flush().ok()?;
    let mut line = String::new();
    std::io::BufReader::new(terminal)
        .read_line(&mut line)
        .ok()?;
    Some(line)
}

/// Reads a passphrase from the terminal, without showing it.
pub(crate) fn passphrase(prompt: &str) -> anyhow::Result<String> {
    use anyhow::Context;
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    use std::io::BufRead;
    let mut terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context("a passphrase is typed on a terminal, and there is none")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    // First, or what is typed as soon as the prompt shows is echoed, and thrown away.
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    write!(terminal, "{prompt}: ")?;
    terminal.flush()?;
    let mut line = String::new();
    let read = std::io::BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Drain, &before)?;
    writeln!(terminal)?;
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_never_in_a_command() {
        let text = "missing  a thing: it is forbidden here. `sudo sysctl -w user.max=1` mends it";
        assert_eq!(
            wrapped(text, 0, 2, 30),
            "missing  a thing: it is\n  forbidden here.\n  `sudo sysctl -w user.max=1`\n  mends it"
        );
        assert_eq!(wrapped(text, 0, 2, 200), text);
        assert_eq!(wrapped("", 0, 2, 10), "");
    }
}
