//! How a demo speaks: titles, acts, verdicts, and what an agent printed.

use crate::screen::paint;

pub(super) fn title(text: &str) {
    println!("\n{}", paint(&format!("━━ {text} "), "1;36"));
}

pub(super) fn act(letter: &str, what: &str, how: &str) {
    println!(
        "\n{} {}",
        paint(&format!("({letter})"), "1;36"),
        paint(what, "1")
    );
    println!("    {how}");
}

pub(super) fn verdict(stopped: bool, text: &str) {
    let (mark, colour) = if stopped {
        ("✓ stopped", "1;32")
    } else {
        ("✗ destroyed", "1;31")
    };
    println!("    {}  {text}", paint(mark, colour));
}

/// What the agent printed. A refusal is a long line of JSON; its own words are shown instead.
pub(super) fn print_agent(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("tagout: session") {
            println!("    {}", paint(line, "2"));
            continue;
        }
        match refusal_of(line) {
            None => println!("    {} {line}", paint("agent│", "2")),
            Some((code, message)) => {
                println!("    {} {}", paint("agent│", "2"), paint(&code, "1;33"));
                for part in wrapped(&message, 84) {
                    println!("    {}   {part}", paint("agent│", "2"));
                }
            }
        }
    }
}

/// Code and message of a structured refusal.
fn refusal_of(line: &str) -> Option<(String, String)> {
    let answer: serde_json::Value = serde_json::from_str(line).ok()?;
    let error = &answer["errors"][0];
    let code = error["extensions"]["error"].as_str()?;
    Some((code.to_owned(), error["message"].as_str()?.to_owned()))
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

pub(super) fn print_indented(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}
