//! Cleans up after sessions whose supervisor was killed: their placeholders in people's folders,
//! their own folder in `$TAGOUT_HOME`, their record in the store. Every command does it first.

use std::fs;

use tagout_core::SessionId;
use tagout_store::Store;

use crate::control;
use crate::home::Home;

/// Sweeps what dead sessions left. What cannot be swept now is tried again by the next command.
pub fn sweep(home: &Home, store: &Store) {
    let _ = store.end_crashed();
    let Ok(folders) = fs::read_dir(home.path().join("sessions")) else {
        return;
    };
    for folder in folders.flatten() {
        let Some(id) = folder
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<SessionId>().ok())
        else {
            continue;
        };
        if control::lives(home, &id) || !folder.path().join("lock").exists() {
            continue;
        }
        if tagout_sandbox::sweep_placeholders(&folder.path().join("placeholders")).is_ok() {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}
