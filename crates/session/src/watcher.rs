//! What may change around a running session: answers to holds, and files that the host replaces.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use serde_json::json;
use tagout_credentials::{Broker, Decoy};
use tagout_ledger::Ledger;
use tagout_sandbox::{Control, HostReplaced, Noticed, Placeholder, Sandbox, Watch};
use tagout_secrets::DecoyKey;
use tagout_store::Store;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::appearing::{Appearing, Around, Lost};
use crate::notify::Notifier;
use crate::run::RunError;
use crate::scan::{FoundFile, find_in};
use crate::twins::Shared as Twins;
use crate::view::{self, Looked};
use crate::workspace::Workspace;

/// How often the store is asked whether somebody changed it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a protected place may be empty while the host replaces what is there.
const REPLACED_WITHIN: Duration = Duration::from_millis(300);
/// The largest replaced file that is looked at; a larger one ends the session.
const LARGEST_READ: u64 = 16 * 1024 * 1024;

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
/// deadlines are noticed, and shows new holds on the desktop; while somebody waits for an answer, and not before: most sessions never
/// hold anything. Uses a connection of its own: `data_version` speaks of the others.
pub(crate) async fn watch_store(home: PathBuf, changed: watch::Sender<u64>, notifier: Notifier) {
    let mut notifier = Some(notifier);
    let mut opened = None;
    let mut seen = None;
    let mut quiet = 0_u32;
    while !changed.is_closed() {
        // The authority has one receiver, and each hold that waits has another.
        if changed.receiver_count() > 1 {
            let (store, home, noticing) = (opened.take(), home.clone(), notifier.take());
            let looked = tokio::task::spawn_blocking(move || {
                let store = match store {
                    Some(store) => store,
                    None => Store::open(&home).ok()?,
                };
                let version = store.data_version().ok();
                let mut noticing = noticing;
                if let Some(notifier) = &mut noticing {
                    notifier.look(&store);
                }
                Some((store, version, noticing))
            });
            let Ok(Some((store, version, noticed))) = looked.await else {
                return;
            };
            (opened, notifier) = (Some(store), noticed);
            quiet += 1;
            // What changed before somebody began to wait counts as well: it differs from what was seen.
            if version != seen || quiet >= 10 {
                seen = version;
                quiet = 0;
                changed.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Watches guarded and twin paths, and the workspace's folders for what appears there. When the host replaces one, or puts a file with a
/// secret there, the inside is frozen, the new file is looked at, mounted over, and the inside goes on. When that fails, it stays frozen
/// no longer than it lives: it is ended. What did not change since `known` was looked at before.
pub(crate) fn start(
    sandbox: &Sandbox,
    (workspace, looked, known): (&Workspace, Looked, SystemTime),
    key: DecoyKey,
    broker: &Arc<Broker>,
    (runtime, ledger): (&Runtime, &Arc<Ledger>),
    twins: Arc<Twins>,
) -> Result<Watching, RunError> {
    let mut watch = sandbox.watch()?;
    let failed = |source| RunError::Io {
        doing: "looking at the protected places",
        source,
    };
    let mut protected = Protected {
        guards: view::guards(workspace, &looked).map_err(failed)?,
        made: Vec::new(),
    };
    let mut appearing = Appearing::new(&workspace.path, known).map_err(failed)?;
    let around = Around {
        workspace: workspace.path.clone(),
        control: sandbox.control(),
        key,
        broker: Arc::clone(broker),
        ledger: Arc::clone(ledger),
        twins,
        looked,
    };
    // A thread, not a task: it blocks for as long as the session lives.
    let _entered = runtime.enter();
    let (cleared, clear) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            while let Some(noticed) = watch.next_beside(appearing.descriptor(), appearing.is_idle())
            {
                let done = match noticed {
                    Ok(Noticed::Beside) => appearing.take_in().map_err(Lost::from),
                    Ok(Noticed::Replaced(replaced)) => {
                        protected.cover_anew(replaced, &around, &mut watch)
                    }
                    Ok(Noticed::Quiet) => appearing.step(&around, &mut watch),
                    // Without events nobody would notice a replaced twin.
                    Err(error) => Err(error.into()),
                };
                if done.is_err() {
                    around.control.kill();
                    break;
                }
            }
            for (path, placeholder) in protected.made.iter().rev() {
                take_away(path, placeholder);
            }
            if let Some(remark) = appearing.remark() {
                around.twins.remark(remark);
            }
            // Closing an inotify descriptor waits for the kernel, tens of milliseconds: behind this, where nobody waits for it.
            drop(cleared);
            drop((watch, appearing));
        })
        .map_err(|source| RunError::Io {
            doing: "watching the workspace",
            source,
        })?;
    Ok(Watching {
        control: sandbox.control(),
        clear,
    })
}

/// The guarded places, with what stands there when nothing does.
struct Protected {
    guards: HashMap<PathBuf, Placeholder>,
    /// Those that the host emptied, and what stands there since.
    made: Vec<(PathBuf, Placeholder)>,
}

impl Protected {
    /// Looks at what the host replaced, and mounts over it anew.
    ///
    /// # Errors
    /// The inside may stand still, or see what it must not: it must end.
    fn cover_anew(
        &mut self,
        HostReplaced { path, detached }: HostReplaced,
        around: &Around,
        watch: &mut Watch,
    ) -> Result<(), Lost> {
        let Around {
            control,
            twins,
            broker,
            looked,
            ..
        } = around;
        // Where twins are by now.
        for place in twins.moved()?.into_iter().chain(twins.follow(&path)) {
            watch.add(place)?;
        }
        // What an edit of its twin put there, or what was looked at for an earlier event; or nothing.
        twins.arrive(&path);
        let gone = is_absent(&path) && !self.guards.contains_key(&path);
        if gone || twins.is_as_left(&path) {
            return Ok(());
        }
        // What cannot be stopped would read the new file meanwhile.
        control.freeze()?;
        // Now it moves no more. What the inside made holds nothing that it does not know.
        twins.arrive(&path);
        let from_inside = twins.has(&path) && control.has_made(&path);
        let unfinished = from_inside && twins.is_unfinished(&path, detached);
        if unfinished || twins.is_as_left(&path) {
            return Ok(control.thaw()?);
        }
        // All of them at once: between two events the inside would run.
        let emptied = self.guards.iter().filter(|(path, _)| is_absent(path));
        for (path, placeholder) in stay_away(emptied) {
            if put_back(path, placeholder).is_ok() {
                self.made.push((path.clone(), placeholder.clone()));
            }
            // What fails here is found absent again below, or ends the session there.
            let _ = control.guard_again(path);
        }
        let relative = path.strip_prefix(&around.workspace).unwrap_or(&path);
        let read = read_file(&path).map(|bytes| {
            let restored = twins.restore(&path, &bytes, from_inside).ok().flatten();
            (bytes, restored)
        });
        let mounted = match read {
            _ if looked.hides(relative) => control.hide(&path),
            // What the inside wrote stays what it sees.
            Ok((bytes, Some(restored))) => twins.show(&path, bytes, Some(restored)),
            Ok((bytes, None)) => match find_in(relative, &bytes, &around.key) {
                Some((file, known)) => {
                    let values = known.iter().filter(|known| !known.guessable);
                    twins.remember_appeared(relative, values.map(|known| known.value.as_slice()));
                    broker.learn(
                        known
                            .into_iter()
                            .map(|known| (known.label, known.value, known.guessable)),
                        file_decoys(std::slice::from_ref(&file)),
                    );
                    twins.show(&path, file.twin, None)
                }
                // Nothing to hide any more, or not yet: it is its own twin.
                None if twins.has(&path) || !self.guards.contains_key(&path) => {
                    twins.show(&path, bytes, None)
                }
                None => control.guard_again(&path),
            },
            // A folder, a link, or nothing: nothing of the host's stands there.
            Err(_) if from_inside => Ok(()),
            // A file that cannot be judged is shown empty. A protected place, or a folder: as it
            // is now, it must not be changed from inside.
            Err(_) if self.guards.contains_key(&path) || path.is_dir() => {
                control.guard_again(&path)
            }
            Err(_) => control.mount_bytes_over(&path, Vec::new()),
        };
        let outcome = mounted.as_ref().err().map(ToString::to_string);
        let recorded = around.ledger.append(
            if from_inside {
                "twin_replaced"
            } else {
                "host_replaced"
            },
            json!({"path": relative.display().to_string(), "error": outcome}),
        );
        // Waiting for the disk would keep the inside frozen; the ledger writes it all the same.
        drop(recorded);
        // Nothing can be mounted over a link, and it holds nothing: it is read as what it names.
        let link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let absent = (is_absent(&path) || link) && !self.guards.contains_key(&path);
        if !absent {
            mounted?;
        }
        Ok(control.thaw()?)
    }
}

/// The thread that watches. Dropped with the session, it ends the sandbox, should that still be there,
/// and waits until what the thread put into the workspace is gone again.
#[must_use]
pub(crate) struct Watching {
    control: Control,
    /// Disconnected when the thread has put everything back, or is gone.
    clear: Receiver<Infallible>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.control.kill();
        let _ = self.clear.recv();
    }
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}

/// Those of the places at which nothing comes in a moment: editors and git take a file away before
/// they put the new one in its place. The inside stands still meanwhile.
fn stay_away<'a>(
    places: impl Iterator<Item = (&'a PathBuf, &'a Placeholder)>,
) -> Vec<(&'a PathBuf, &'a Placeholder)> {
    let mut empty: Vec<_> = places.collect();
    // Folders before what belongs in them.
    empty.sort_by_key(|(path, _)| path.as_os_str().len());
    let until = Instant::now() + REPLACED_WITHIN;
    while !empty.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        empty.retain(|(path, _)| is_absent(path));
    }
    empty
}

/// Makes a placeholder, so that there is something to mount over.
fn put_back(path: &Path, placeholder: &Placeholder) -> io::Result<()> {
    match placeholder {
        Placeholder::Folder => fs::create_dir(path)?,
        Placeholder::File(bytes) => fs::File::create_new(path)?.write_all(bytes)?,
    }
    let owner = fs::symlink_metadata(path.parent().unwrap_or(path))?;
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
}

/// Removes a placeholder of [`put_back`], unless somebody made something of it.
fn take_away(path: &Path, placeholder: &Placeholder) {
    match placeholder {
        Placeholder::Folder => {
            let _ = fs::remove_dir(path);
        }
        Placeholder::File(bytes) => {
            if read_file(path).is_ok_and(|found| found == *bytes) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The bytes of a regular file at exactly this path: no pipe that never ends, no link that the inside
/// laid to a file of the host.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    let mut limited = io::Read::take(file, LARGEST_READ + 1);
    io::Read::read_to_end(&mut limited, &mut bytes)?;
    if bytes.len() as u64 > LARGEST_READ {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
