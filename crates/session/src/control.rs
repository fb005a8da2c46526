//! How another `tagout` process reaches a running session: a lock that says it lives and a socket
//! that takes two words. Nothing in a sandbox can see either; both lie in `$TAGOUT_HOME`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tagout_core::SessionId;

use crate::home::Home;

/// How long another process waits for a session to answer before it takes the hard way.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What another process may ask of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Somebody answered a hold: look.
    Poke,
    /// End now.
    Kill,
}

/// A live session's folder. Dropping it gives the lock back and removes the folder.
pub struct Presence {
    folder: PathBuf,
    _lock: File,
}

impl Presence {
    /// Makes the session's folder and takes its lock.
    ///
    /// # Errors
    /// What the file system said.
    pub fn announce(home: &Home, id: &SessionId) -> io::Result<Self> {
        let folder = home.session(id);
        // Until the lock is taken this folder looks like one that a dead session left.
        let _unswept = register(home, FlockOperation::LockShared)?;
        DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where placeholders are written down before they are made.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("placeholders")
    }

    /// Listens for words from this user's other processes. A word is handled on a thread of its own.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(&self, handle: impl Fn(Word) + Send + 'static) -> io::Result<()> {
        let listener = bind(&self.folder)?;
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    if let Some(word) = read_word(&stream) {
                        handle(word);
                        let _ = (&stream).write_all(b"ok\n");
                    }
                }
            })?;
        Ok(())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says a word to a session. `true` when it answered.
pub fn say(home: &Home, id: &SessionId, word: Word) -> bool {
    let folder = home.session(id);
    let (sender, answered) = mpsc::channel();
    // Connecting has no time limit of its own; a frozen supervisor must not freeze this process.
    let spawned = thread::Builder::new().spawn(move || {
        let _ = sender.send(exchange(&folder, word).is_ok());
    });
    spawned.is_ok() && answered.recv_timeout(ANSWER_WITHIN).unwrap_or(false)
}

/// Says that nobody announces a session while the answer is kept. `None` while somebody does, or sweeps.
pub(crate) fn nobody_announces(home: &Home) -> Option<File> {
    register(home, FlockOperation::NonBlockingLockExclusive).ok()
}

/// The folder of all sessions' folders, made if need be, with a lock on it.
fn register(home: &Home, lock: FlockOperation) -> io::Result<File> {
    let sessions = home.path().join("sessions");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&sessions)?;
    let sessions = File::open(sessions)?;
    rustix::io::retry_on_intr(|| flock(&sessions, lock))?;
    Ok(sessions)
}

/// Whether a session's supervisor holds its lock.
pub fn lives(home: &Home, id: &SessionId) -> bool {
    let Ok(lock) = File::open(home.session(id).join("lock")) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

fn exchange(folder: &Path, word: Word) -> io::Result<()> {
    let mut stream = connect(folder)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(match word {
        Word::Poke => b"poke\n",
        Word::Kill => b"kill\n",
    })?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer == "ok\n" {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn read_word(stream: &UnixStream) -> Option<Word> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    if peer.uid != rustix::process::geteuid() {
        return None;
    }
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).take(16).read_line(&mut line).ok()?;
    match line.as_str() {
        "poke\n" => Some(Word::Poke),
        "kill\n" => Some(Word::Kill),
        _ => None,
    }
}

/// A socket's path may have 107 bytes (unix(7)), and `$TAGOUT_HOME` may lie deeper; through the
/// folder's descriptor the path is short.
fn short_path(folder: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/control", folder.as_raw_fd()))
}

fn bind(folder: &Path) -> io::Result<UnixListener> {
    let folder = File::open(folder)?;
    UnixListener::bind(short_path(&folder))
}

fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(short_path(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_hears_words_and_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let deep = state.path().join("a".repeat(100)).join("b".repeat(60));
        let home =
            Home::open(|name| (name == "TAGOUT_HOME").then(|| deep.to_str().unwrap().to_owned()))
                .unwrap();
        let id = SessionId::random().unwrap();
        assert!(!lives(&home, &id));
        let presence = Presence::announce(&home, &id).unwrap();
        let (sender, heard) = mpsc::channel();
        presence
            .listen(move |word| sender.send(word).unwrap())
            .unwrap();
        assert!(lives(&home, &id));
        assert!(say(&home, &id, Word::Poke));
        assert_eq!(heard.recv().unwrap(), Word::Poke);
        assert!(say(&home, &id, Word::Kill));
        assert_eq!(heard.recv().unwrap(), Word::Kill);
        drop(presence);
        assert!(!lives(&home, &id));
        assert!(!home.session(&id).exists());
    }
}
