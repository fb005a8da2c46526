//! Programs that Tagout runs outside, for the person: found on `PATH`, but never in a folder that an
//! agent can write, where yesterday's session may have left one of the same name.
//!
//! What must stay true: no shell; a fixed working folder; a limit on time and output; what the program
//! printed is never part of an error.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// How long a program may take: it may be asking its person for a passphrase.
const LONGEST: Duration = Duration::from_secs(60);
/// No credential is longer.
const MOST_OUTPUT: u64 = 64 * 1024;

/// Why a program gave nothing. Names the program, never what it printed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Quotes that do not end, or no word at all.
    #[error("`{0}` is no command: write a program and its arguments, with quotes in pairs")]
    Words(String),
    /// Not there.
    #[error("there is no program `{0}` on PATH outside the workspace")]
    NotFound(String),
    /// A word of the command is in the workspace.
    #[error(
        "`{0}` lies in the workspace, where an agent can change it; a command that runs outside must not come from there"
    )]
    InWorkspace(String),
    /// It could not be started, or ended badly.
    #[error("`{program}` {reason}")]
    Failed {
        /// Which one.
        program: String,
        /// What happened.
        reason: String,
    },
}

/// A program by name on `search_path`, or by absolute path, that is not below `workspace`.
pub fn find_program(name: &str, search_path: Option<&OsStr>, workspace: &Path) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if name.starts_with('/') {
        vec![PathBuf::from(name)]
    } else if name.contains('/') || name.is_empty() {
        return None;
    } else {
        std::env::split_paths(search_path?)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .collect()
    };
    candidates.into_iter().find(|path| {
        !is_below(path, workspace)
            && std::fs::metadata(path)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

/// Whether a path, as written or with its links followed, lies below a folder.
fn is_below(path: &Path, folder: &Path) -> bool {
    let folders = [Some(folder.to_owned()), folder.canonicalize().ok()];
    let paths = [Some(without_parents(path)), path.canonicalize().ok()];
    folders
        .iter()
        .flatten()
        .any(|folder| paths.iter().flatten().any(|path| path.starts_with(folder)))
}

/// A path as it reads, `..` taken back: what does not exist yet cannot be resolved otherwise.
fn without_parents(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Splits a command line into words: blanks part them, single and double quotes hold them together, a
/// backslash takes the next character as it is. Nothing is expanded.
pub(crate) fn words(line: &str) -> Result<Vec<String>, ProgramError> {
    let broken = || ProgramError::Words(line.to_owned());
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some('\''), other) => word.get_or_insert_default().push(other),
            (_, '\\') => {
                let next = characters.next().ok_or_else(broken)?;
                word.get_or_insert_default().push(next);
            }
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if quote.is_some() || words.first().is_none_or(String::is_empty) {
        return Err(broken());
    }
    Ok(words)
}

/// Runs a command in `/`, with this process's environment and error output and nothing to read, and
/// gives what it printed.
pub(crate) fn output_of(
    words: &[String],
    search_path: Option<&OsStr>,
    workspace: &Path,
) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
    output_within(words, search_path, workspace, LONGEST)
}

fn output_within(
    words: &[String],
    search_path: Option<&OsStr>,
    workspace: &Path,
    longest: Duration,
) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(ProgramError::Words(String::new()));
    };
    // It runs in `/`, and a word may hold a line for a shell.
    let separators = |it: char| it.is_whitespace() || "\"';&|()<>`=,:".contains(it);
    if let Some(inside) = words
        .iter()
        .flat_map(|word| std::iter::once(word.as_str()).chain(word.split(separators)))
        .find(|part| part.contains('/') && is_below(&Path::new("/").join(part), workspace))
    {
        return Err(ProgramError::InWorkspace(inside.to_owned()));
    }
    let program = find_program(name, search_path, workspace)
        .ok_or_else(|| ProgramError::NotFound(name.clone()))?;
    let failed = |reason: String| ProgramError::Failed {
        program: name.clone(),
        reason,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    let (sender, finished) = mpsc::channel();
    if let Some(printed) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_OUTPUT as usize + 1));
            let read = printed.take(MOST_OUTPUT + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let until = Instant::now() + longest;
    let printed = finished.recv_timeout(longest);
    if !matches!(&printed, Ok(Ok(bytes)) if bytes.len() as u64 <= MOST_OUTPUT) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(match printed {
            Ok(Ok(_)) => "printed more than 64 KiB".to_owned(),
            Ok(Err(error)) => format!("could not be read: {error}"),
            Err(_) => format!("did not answer within {} s", longest.as_secs()),
        }));
    }
    // Its output is closed: what is left is its end.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("closed its output and did not end".to_owned()));
            }
        }
    };
    if !status.success() {
        return Err(failed(format!(
            "ended with {status}; what it says stands above"
        )));
    }
    printed
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| failed("printed nothing".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, workspace: &Path) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
        let path = std::env::var_os("PATH");
        output_within(
            &words(line)?,
            path.as_deref(),
            workspace,
            Duration::from_secs(2),
        )
    }

    #[test]
    fn words_are_split_and_nothing_is_expanded() {
        for (line, expected) in [
            ("pass show a", &["pass", "show", "a"][..]),
            ("op read 'op://v/a b'", &["op", "read", "op://v/a b"]),
            (r#"x "a 'b' \" $HOME" ''"#, &["x", "a 'b' \" $HOME", ""]),
            (r"x a\ b ~ *", &["x", "a b", "~", "*"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in ["", "  ", "'a", "a \"b", "a \\", "'' b"] {
            assert!(words(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_command_runs_in_a_neutral_folder_without_a_shell() {
        let workspace = tempfile::tempdir().unwrap();
        assert_eq!(run("pwd", workspace.path()).unwrap().as_slice(), b"/\n");
        let printed = run("printf %s '$(id);x'", workspace.path()).unwrap();
        assert_eq!(printed.as_slice(), b"$(id);x");
        assert_eq!(run("cat", workspace.path()).unwrap().as_slice(), b"");
    }

    #[test]
    fn invariant_9_nothing_of_the_workspace_is_run_outside() {
        let workspace = tempfile::tempdir().unwrap();
        let planted = workspace.path().join("pass");
        std::fs::write(&planted, "#!/bin/sh\necho planted\n").unwrap();
        std::fs::set_permissions(&planted, std::fs::Permissions::from_mode(0o755)).unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&planted, outside.path().join("pass")).unwrap();
        for folder in [workspace.path(), outside.path()] {
            let found = find_program("pass", Some(folder.as_os_str()), workspace.path());
            assert_eq!(found, None, "{}", folder.display());
        }
        let relative = find_program("pass", Some(OsStr::new(".:")), workspace.path());
        assert_eq!(relative, None);
        for line in [
            planted.display().to_string(),
            format!("sh {}", planted.display()),
            format!("sh {}", outside.path().join("pass").display()),
            // From where it runs, within a line of a shell, behind an option, and not there yet.
            format!("cat ..{}/k", workspace.path().display()),
            format!("cat .{}/k", workspace.path().display()),
            format!("cat x/..{}/k", workspace.path().display()),
            format!("sh -c \"cat {}/k\"", workspace.path().display()),
            format!("cat --file={}/k", workspace.path().display()),
        ] {
            let error = run(&line, workspace.path()).unwrap_err();
            assert!(matches!(error, ProgramError::InWorkspace(_)), "{error}");
        }
        assert!(matches!(
            run("./pass", workspace.path()),
            Err(ProgramError::NotFound(_))
        ));
    }

    #[test]
    fn failing_endless_and_silent_programs_are_errors_without_their_output() {
        let workspace = tempfile::tempdir().unwrap();
        for (line, expected) in [
            ("sh -c 'echo hunter2; exit 3'", "exit status: 3"),
            ("yes hunter2", "64 KiB"),
            ("sleep 30", "within 2 s"),
            (
                "sh -c 'echo hunter2; exec >&-; exec sleep 30'",
                "did not end",
            ),
            ("no-such-program-here", "no program"),
        ] {
            let error = run(line, workspace.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
