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
    let Some(_alone) = control::nobody_announces(home) else {
        return;
    };
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
        if control::lives(home, &id) {
            continue;
        }
        let _ = tagout_workspace::finish(&crate::undo::folder(home, &id));
        if tagout_sandbox::sweep_placeholders(&folder.path().join("placeholders")).is_ok() {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::control::Presence;

    #[test]
    fn a_session_that_is_being_announced_is_not_swept() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(|name| {
            (name == "TAGOUT_HOME").then(|| state.path().to_str().unwrap().to_owned())
        })
        .unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let store = Store::open(home.path()).unwrap();
                    while !done.load(Ordering::Relaxed) {
                        sweep(&home, &store);
                    }
                });
            }
            let kept = (0..500).all(|_| {
                let id = SessionId::random().unwrap();
                Presence::announce(&home, &id)
                    .is_ok_and(|presence| fs::write(presence.journal(), "").is_ok())
            });
            done.store(true, Ordering::Relaxed);
            assert!(kept, "its folder is gone");
        });
    }

    #[test]
    fn what_a_dead_session_left_goes_whatever_it_had_come_to() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(|name| {
            (name == "TAGOUT_HOME").then(|| state.path().to_str().unwrap().to_owned())
        })
        .unwrap();
        let store = Store::open(home.path()).unwrap();
        let (bare, locked) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        fs::create_dir_all(home.session(&bare)).unwrap();
        fs::create_dir_all(home.session(&locked)).unwrap();
        fs::write(home.session(&locked).join("lock"), "").unwrap();
        sweep(&home, &store);
        assert!(!home.session(&bare).exists() && !home.session(&locked).exists());
    }
}
