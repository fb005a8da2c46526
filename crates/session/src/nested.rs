//! `tagout run` inside a session: the command is governed already, by the session that it is in, so it
//! is simply executed. What says so is a file of the session's own in `/run`, where nobody outside but
//! root can put one; a variable would let an agent's environment switch Tagout off.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tagout_core::SessionId;
use tagout_sandbox::OverlayFile;

/// The file that names the session, inside.
const MARK: &str = "/run/tagout/session";

/// The file that tells commands inside which session they are in.
pub(crate) fn mark(id: &SessionId) -> OverlayFile {
    OverlayFile {
        path: MARK.into(),
        bytes: format!("{id}\n").into_bytes(),
        mode: 0o444,
    }
}

/// The session that this process is in.
pub(crate) fn session() -> Option<SessionId> {
    named_by(Path::new(MARK))
}

/// Whether this process is in a session.
pub fn is_governed() -> bool {
    session().is_some()
}

fn named_by(mark: &Path) -> Option<SessionId> {
    let metadata = fs::symlink_metadata(mark).ok()?;
    if !metadata.is_file() || metadata.len() > 64 {
        return None;
    }
    fs::read_to_string(mark).ok()?.trim().parse().ok()
}

/// Becomes the command. Comes back only when that fails, with the status that a shell would give.
pub(crate) fn execute(command: &[String]) -> (u8, String) {
    let Some((program, arguments)) = command.split_first() else {
        return (125, "there is no command".to_owned());
    };
    let error = Command::new(program).args(arguments).exec();
    let status = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    (status, format!("{program}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_names_a_session_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("session");
        assert_eq!(named_by(&mark), None);
        let id = SessionId::random().unwrap();
        fs::write(&mark, format!("{id}\n")).unwrap();
        assert_eq!(named_by(&mark), Some(id));
        fs::write(&mark, "1").unwrap();
        assert_eq!(named_by(&mark), None);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&mark, &link).unwrap();
        assert_eq!(named_by(&link), None);
    }

    #[test]
    fn what_cannot_be_executed_has_a_shells_status() {
        let execute = |program: &str| execute(&[program.to_owned()]).0;
        assert_eq!(execute("/no/such/program"), 127);
        assert_eq!(execute("/etc/passwd"), 126);
        assert_eq!(super::execute(&[]).0, 125);
    }
}
