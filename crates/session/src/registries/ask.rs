//! Programs of the operator that are asked what they would do: outside, with an empty environment and
//! nowhere near a workspace, for a short answer, for a few seconds at most.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a program has.
const LONGEST: Duration = Duration::from_secs(10);

/// What a program prints. It has to fit into a pipe, 64 KiB.
pub(super) fn answer(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // The answer is smaller than a pipe, so the child ends without being read.
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(Some(status)) => {
                let output = child.wait_with_output().ok()?;
                return status
                    .success()
                    .then(|| String::from_utf8(output.stdout).ok())
                    .flatten();
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// One file of an archive in the ZIP format (a wheel, a jar), as far as it is text of at most 64 KiB. A
/// Python has the unpacking that we would bring for this alone: isolated from variables, the current
/// folder and the user's packages; nothing of the archive runs.
pub(super) fn file_in_archive(python: &Path, archive: &Path, file: &str) -> Option<String> {
    let archive = archive.to_str()?;
    let program = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2])[:65000])";
    answer(python, &["-I", "-S", "-c", program, archive, file], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_a_program_printed_and_ended_well_with() {
        let sh = |line: &str| answer(Path::new("/bin/sh"), &["-c", line], &[("WORD", "x")]);
        assert_eq!(sh("echo $WORD").as_deref(), Some("x\n"));
        assert_eq!(sh("pwd").as_deref(), Some("/\n"));
        assert_eq!(sh("echo x; exit 1"), None);
        assert_eq!(answer(Path::new("/none"), &[], &[]), None);
    }
}
