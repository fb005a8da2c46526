//! One module a command: read what it needs, call the crate that knows, print.

pub(crate) mod approver;
pub(crate) mod check;
pub(crate) mod database_undo;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod holds;
pub(crate) mod init;
pub(crate) mod ledger;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod secrets;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod trust;
pub(crate) mod undo;
pub(crate) mod vault;
pub(crate) mod watch;

use std::path::PathBuf;

use anyhow::{Context, bail};
use tagout_session::{Home, Workspace, homes, sweep};
use tagout_store::Store;

/// `$TAGOUT_HOME` and the store in it, after dead sessions were swept.
pub(crate) fn open() -> anyhow::Result<(Home, Store)> {
    let home = Home::open(|name| std::env::var(name).ok())?;
    let store = Store::open(home.path())?;
    sweep(&home, &store);
    Ok((home, store))
}

/// The workspace that `tagout run` would take here.
fn workspace(home: &Home) -> anyhow::Result<PathBuf> {
    let current = std::env::current_dir().context("cannot tell the current folder")?;
    let homes = homes(|name| std::env::var_os(name));
    Ok(Workspace::choose(None, &current, &homes, home.path(), &[])?.path)
}

/// The manifest and the policy of the workspace here: those that exist.
///
/// # Errors
/// When neither does.
pub(crate) fn control_files(home: &Home) -> anyhow::Result<Vec<PathBuf>> {
    let workspace = workspace(home)?;
    let files: Vec<PathBuf> = ["tagout.toml", "policy.cedar"]
        .map(|name| workspace.join(name))
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    if files.is_empty() {
        bail!(
            "there is no tagout.toml and no policy.cedar in {}",
            workspace.display()
        );
    }
    Ok(files)
}
