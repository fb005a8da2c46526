//! What may change around a running session: answers to holds, and files that the host replaces.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tagout_credentials::{Broker, Decoy};
use tagout_ledger::Ledger;
use tagout_sandbox::Sandbox;
use tagout_secrets::DecoyKey;
use tagout_store::Store;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::run::RunError;
use crate::scan::{FoundFile, find_in};
use crate::workspace::Workspace;

/// How often the store is asked whether somebody changed it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The decoys that stand in twins, each with its file's name.
pub(crate) fn file_decoys(files: &[FoundFile]) -> Vec<(Decoy, String)> {
    files
        .iter()
        .flat_map(|file| {
            let name = file.path.display().to_string();
            file.decoys.iter().filter_map(move |decoy| {
                let decoy = std::str::from_utf8(decoy).ok()?;
                Some((Decoy::new(decoy), name.clone()))
            })
        })
        .collect()
}

/// Bumps `changed` whenever another process has changed the store, and once a second, so that
/// deadlines are noticed. Uses a connection of its own: `data_version` speaks of the others.
pub(crate) async fn watch_store(home: PathBuf, changed: watch::Sender<u64>) {
    let Ok(Ok(mut store)) = tokio::task::spawn_blocking(move || Store::open(&home)).await else {
        return;
    };
    let mut seen = None;
    let mut quiet = 0_u32;
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let version = store.data_version().ok();
            (store, version)
        });
        let Ok((back, version)) = looked.await else {
            return;
        };
        store = back;
        quiet += 1;
        if version != seen || quiet >= 10 {
            seen = version;
            quiet = 0;
            changed.send_modify(|count| *count = count.wrapping_add(1));
        }
        if changed.is_closed() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Watches guarded and twin paths. When the host replaces one, the inside is frozen, the new file is
/// looked at, mounted over anew, and the inside goes on. When that fails, it stays frozen no longer
/// than it lives: it is ended.
pub(crate) fn start(
    sandbox: &Sandbox,
    workspace: &Workspace,
    key: DecoyKey,
    broker: &Arc<Broker>,
    runtime: &Runtime,
    ledger: &Arc<Ledger>,
) -> Result<(), RunError> {
    let watch = sandbox.watch()?;
    let control = sandbox.control();
    let (root, broker, ledger) = (
        workspace.path.clone(),
        Arc::clone(broker),
        Arc::clone(ledger),
    );
    // A thread, not a task: it blocks for as long as the session lives.
    let _entered = runtime.enter();
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            for replaced in watch {
                // Without events nobody would notice a replaced twin.
                let Ok(replaced) = replaced else {
                    control.kill();
                    return;
                };
                let path = replaced.path;
                if control.freeze().is_err() {
                    return;
                }
                let relative = path.strip_prefix(&root).unwrap_or(&path);
                let mounted = match fs::read(&path) {
                    Ok(bytes) => match find_in(relative, &bytes, &key) {
                        Some((file, known)) => {
                            broker.learn(
                                known
                                    .into_iter()
                                    .map(|known| (known.label, known.value, known.guessable)),
                                file_decoys(std::slice::from_ref(&file)),
                            );
                            control.mount_bytes_over(&path, file.twin)
                        }
                        None => control.guard_again(&path),
                    },
                    // Gone, or a folder: as it is now, it must not be changed from inside.
                    Err(_) => control.guard_again(&path),
                };
                let outcome = mounted.as_ref().err().map(ToString::to_string);
                let _ = ledger.append(
                    "host_replaced",
                    json!({"path": relative.display().to_string(), "error": outcome}),
                );
                let absent = fs::symlink_metadata(&path).is_err();
                if mounted.is_err() && !absent {
                    control.kill();
                    return;
                }
                if control.thaw().is_err() {
                    return;
                }
            }
        })
        .map_err(|source| RunError::Io {
            doing: "watching the workspace",
            source,
        })?;
    Ok(())
}
