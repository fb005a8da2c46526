//! What is kept of a session for `tagout undo`: where it lies, how much it may be, when it goes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use tagout_core::SessionId;
use tagout_policy::Task;
use tagout_sandbox::Mediation;

use crate::home::Home;

/// Bytes that one session may keep, however much room there is.
const MOST: u64 = 16 << 30;

/// Where what was kept of `session` lies.
pub fn folder(home: &Home, session: &SessionId) -> PathBuf {
    folders(home).join(session.as_str())
}

fn folders(home: &Home) -> PathBuf {
    home.path().join("undo")
}

/// How the workspace of a new session is changed. `None` where this kernel cannot have it changed by us.
pub(crate) fn mediation(
    home: &Home,
    session: &SessionId,
    task: &Task,
) -> io::Result<Option<Mediation>> {
    if !tagout_sandbox::can_mediate() {
        return Ok(None);
    }
    prune(home);
    let folder = folder(home, session);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let system = rustix::fs::statvfs(&folder)?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    Ok(Some(Mediation {
        folder,
        // The other half is for the session itself.
        budget: (free / 2).min(MOST),
        bulk: task.bulk.clone(),
    }))
}

/// Removes what is kept too long. Live sessions keep theirs.
fn prune(home: &Home) {
    tagout_workspace::prune(&folders(home), |folder| {
        let id = folder.file_name().and_then(|name| name.to_str());
        id.and_then(|id| id.parse().ok())
            .is_some_and(|id| crate::control::lives(home, &id))
    });
}

/// Once the session is over: writes down what it left, removes what kept nothing; what a person is told.
pub(crate) fn finish(home: &Home, session: &SessionId) -> Vec<String> {
    let folder = folder(home, session);
    if let Err(error) = tagout_workspace::finish(&folder) {
        return vec![format!("what can be undone is not written down: {error}")];
    }
    let Ok(undo) = tagout_workspace::Undo::open(&folder) else {
        return Vec::new();
    };
    let mut remarks = Vec::new();
    let refused = undo.refused();
    if let Some(first) = refused.first() {
        remarks.push(format!(
            "{} changes were refused, since what they would have lost could not be kept; the first: {}. \
             Name its folder in `bulk` of tagout.toml to do without undo there",
            refused.len(),
            first.display()
        ));
    }
    if undo.entries().is_empty() && refused.is_empty() {
        let _ = fs::remove_dir_all(&folder);
    }
    remarks
}
