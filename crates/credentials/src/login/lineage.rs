//! The lock of a login, and which of its tokens came of refreshes by Tagout: so that a session tells a
//! token that another session got from one of a person who logged in anew. Kept as digests in
//! `$TAGOUT_HOME`; a token is too long to be guessed from one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tagout_core::Digest;

use super::tokens::Tokens;

/// So many refreshes are remembered.
const MOST: usize = 64;

/// What is known of a login's tokens. As long as one that was got by [`lock`](Self::lock) lives, no
/// other process has the lock.
pub(super) struct Lineage {
    digests: Vec<String>,
    lock: Option<File>,
}

impl Lineage {
    /// What is known, without the lock.
    pub(super) fn read(folder: &Path, login: &Path) -> Self {
        let mut lineage = Self {
            digests: Vec::new(),
            lock: None,
        };
        if let Ok(mut file) = File::open(place(folder, login)) {
            lineage.fill(&mut file);
        }
        lineage
    }

    /// Waits for the lock. Blocks.
    pub(super) fn lock(folder: &Path, login: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(place(folder, login))?;
        flock(&file, FlockOperation::LockExclusive)?;
        let mut lineage = Self {
            digests: Vec::new(),
            lock: None,
        };
        lineage.fill(&mut file);
        lineage.lock = Some(file);
        Ok(lineage)
    }

    fn fill(&mut self, file: &mut File) {
        let mut text = String::new();
        // What cannot be read makes a refresh look like a new login, which voids approvals at worst.
        let _ = file.take(64 * 1024).read_to_string(&mut text);
        self.digests = text.lines().map(str::to_owned).collect();
    }

    /// Writes down that Tagout got these tokens.
    pub(super) fn add(&mut self, tokens: &Tokens) {
        self.digests.push(digest(tokens));
        let first = self.digests.len().saturating_sub(MOST);
        self.digests.drain(..first);
        if let Some(file) = &mut self.lock {
            let text = self.digests.join("\n");
            // As in `fill`.
            let _ = file
                .rewind()
                .and_then(|()| file.write_all(text.as_bytes()))
                .and_then(|()| file.set_len(text.len() as u64));
        }
    }

    /// Whether Tagout got these tokens.
    pub(super) fn has(&self, tokens: &Tokens) -> bool {
        self.digests.contains(&digest(tokens))
    }
}

fn digest(tokens: &Tokens) -> String {
    Digest::of_parts([b"login".as_slice(), tokens.access.expose()]).to_string()
}

/// One file a login, named after where the login lies.
fn place(folder: &Path, login: &Path) -> PathBuf {
    let real = fs::canonicalize(login).unwrap_or_else(|_| login.to_owned());
    folder.join(Digest::of(real.as_os_str().as_encoded_bytes()).to_string())
}
