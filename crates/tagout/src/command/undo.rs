//! `tagout undo`: what a session changed in its workspace, shown or put back.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use tagout_core::SessionId;
use tagout_session::control::lives;
use tagout_store::{SessionState, Store};
use tagout_workspace::{Entry, Kind, Undo};

use crate::arguments::UndoArguments;
use crate::command::database_undo::undo_database;
use crate::command::open;
use crate::screen::paint;

pub(crate) fn undo(options: &UndoArguments) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let id: SessionId = options.id.parse()?;
    let session = store.session(&id)?;
    let workspace = PathBuf::from(&session.record.workspace);
    if session.state == SessionState::Running || lives(&home, &id) {
        bail!("session {id} still runs; end it first: tagout kill {id}");
    }
    if options.database {
        return undo_database(&home, &id, &workspace, options);
    }
    let folder = tagout_session::undo::folder(&home, &id);
    tagout_workspace::finish(&folder).context("cannot read what was kept")?;
    let undo = Undo::open(&folder)?;
    let paths = absolute(&options.paths, &workspace)?;
    if options.list {
        list(&undo.entries(), &paths, &workspace);
        return Ok(0);
    }
    refuse_while_others_work(&store, undo.trees())?;
    let outcome = undo.restore(&paths, options.force, options.dry_run)?;
    let done = if options.dry_run {
        "would put back"
    } else {
        "put back"
    };
    for path in &outcome.restored {
        println!("{done} {}", shown(path, &workspace));
    }
    for (path, why) in &outcome.left {
        eprintln!("left {}: {}", shown(path, &workspace), why.escape_debug());
    }
    if outcome.restored.is_empty() && outcome.left.is_empty() {
        println!("everything is as it was already");
    }
    Ok(if outcome.left.is_empty() { 0 } else { 1 })
}

fn list(entries: &[Entry], paths: &[PathBuf], workspace: &Path) {
    let meant =
        |entry: &&Entry| paths.is_empty() || paths.iter().any(|path| entry.path.starts_with(path));
    let mut some = false;
    for entry in entries.iter().filter(meant) {
        some = true;
        let (word, colour) = match &entry.kind {
            Kind::Added => ("added", "32"),
            Kind::Changed => ("changed", "33"),
            Kind::Attributes => ("mode or time", "2"),
            Kind::Deleted => ("deleted", "31"),
            Kind::Moved(_) => ("moved", "36"),
        };
        let to = match &entry.kind {
            Kind::Moved(to) => format!(" -> {}", shown(to, workspace)),
            _ => String::new(),
        };
        println!(
            "{}  {}{to}",
            paint(&format!("{word:12}"), colour),
            shown(&entry.path, workspace)
        );
    }
    if !some {
        println!("nothing changed");
    }
}

/// Nobody else may be at work where things are put back.
fn refuse_while_others_work(store: &Store, trees: &[PathBuf]) -> anyhow::Result<()> {
    for other in store.open_sessions()? {
        let at_work = Path::new(&other.record.workspace);
        let overlaps = |tree: &PathBuf| tree.starts_with(at_work) || at_work.starts_with(tree);
        if other.state == SessionState::Running && trees.iter().any(overlaps) {
            bail!(
                "session {} runs in {}; end it first: tagout kill {}",
                other.record.id,
                at_work.display(),
                other.record.id
            );
        }
    }
    Ok(())
}

/// The paths as the journal has them: absolute, without links on the way.
fn absolute(paths: &[PathBuf], workspace: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let current = std::env::current_dir().context("cannot tell the current folder")?;
    let start = if current.starts_with(workspace) {
        current.as_path()
    } else {
        workspace
    };
    Ok(paths
        .iter()
        .map(|path| {
            let mut plain = PathBuf::from("/");
            for part in start.join(path).components() {
                match part {
                    Component::Normal(name) => plain.push(name),
                    Component::ParentDir => {
                        plain.pop();
                    }
                    _ => {}
                }
            }
            plain
        })
        .collect())
}

/// A path for people: relative to the workspace, with everything escaped that a terminal would obey.
fn shown(path: &Path, workspace: &Path) -> String {
    let relative = path.strip_prefix(workspace).unwrap_or(path);
    let text = if relative.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        relative.display().to_string()
    };
    text.escape_debug().to_string()
}
