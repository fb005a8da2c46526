//! What is kept of a session for `tagout undo`: where it lies, how much it may be, when it goes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

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

/// Files of which the difference is shown, and how much of each.
const MOST_SHOWN: usize = 4;
const MOST_LINES: usize = 12;
const LONGEST_LINE: usize = 160;
/// Octets of a file of which the difference is shown.
const LARGEST_SHOWN: u64 = 256 << 10;

/// What became of files (relative to the workspace) that programs outside run or believe: the lines that went and came, and what puts
/// them back. `redact` takes values out: what was there before is the host's.
pub(crate) fn differences(
    home: &Home,
    session: &SessionId,
    (workspace, paths): (&Path, &[PathBuf]),
    redact: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let Ok(undo) = tagout_workspace::Undo::open(&folder(home, session)) else {
        return Vec::new();
    };
    let mut told = Vec::new();
    let mut known = Vec::new();
    for path in paths {
        let Some(copy) = undo.copy_of(&workspace.join(path)) else {
            continue;
        };
        known.push(path.display().to_string());
        if known.len() > MOST_SHOWN {
            continue;
        }
        let old = copy.map_or(Some(String::new()), |copy| text_of(&copy));
        let (Some(old), Some(new)) = (old, text_of(&workspace.join(path))) else {
            continue;
        };
        let lines = tagout_policy::changed_lines(&old, &new);
        told.push(format!("{}:", path.display()));
        told.extend(lines.iter().take(MOST_LINES).map(|line| {
            let cut: String = redact(line).chars().take(LONGEST_LINE).collect();
            format!("  {cut}")
        }));
        if let more @ 1.. = lines.len().saturating_sub(MOST_LINES) {
            told.push(format!("  … {more} more lines"));
        }
    }
    if !known.is_empty() {
        known.truncate(MOST_SHOWN);
        // A name of the agent's choosing is not put into a line that a person copies into a shell.
        let names = match known.iter().all(|name| is_plain(name)) {
            true => known.join(" "),
            false => "PATH...".to_owned(),
        };
        told.push(format!(
            "`tagout undo {session} {names}` puts back what was there"
        ));
    }
    told
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    !name.starts_with('-') && name.bytes().all(plain)
}

/// A small file of text. The inside chose what lies there.
fn text_of(path: &Path) -> Option<String> {
    use rustix::fs::{Mode, OFlags};
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    let mut text = String::new();
    (found.is_file() && found.len() <= LARGEST_SHOWN)
        .then(|| file.take(LARGEST_SHOWN).read_to_string(&mut text).ok())
        .flatten()?;
    Some(text)
}
