//! The append-only, tamper-evident record of a session. One writer thread owns one file per session;
//! every entry is durable, hashed into an RFC 6962 tree and covered by a signed checkpoint before
//! its author learns its number, so whatever an entry permits happens after it can be proved.
//!
//! A ledger is a text file of lines. A line that begins with `{` is an entry (canonical JSON, at most
//! 65,535 bytes). Every other line belongs to a checkpoint in the C2SP form (`tlog-checkpoint` inside
//! a signed note), which closes each batch of entries that was written and synced as one. Entries
//! link backwards twice: `prev` is the leaf hash of the entry before, and the first entry behind a
//! checkpoint names that checkpoint's hash; so the last signature covers every byte before it, and a
//! changed entry can be named.
//!
//! What must stay true: nothing is acknowledged before it is synced; after one failed write nothing
//! is acknowledged any more; the session key never leaves memory and dies with [`Ledger::finish`].

mod checkpoint;
mod entry;
mod header;
mod key;
mod read;
mod receipt;
mod tree;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

pub use checkpoint::Mark;
pub use entry::{Entry, LARGEST_ENTRY};
pub use key::{InstallKey, PublicKey};
pub use read::Entries;
pub use receipt::Receipt;
pub use verify::{Known, Problem, Report, verify, verify_bytes};
pub use writer::Ledger;

use tagout_core::SessionId;

/// Where the ledger of `session` lives below `$TAGOUT_HOME`.
pub fn ledger_path(home: &Path, session: &SessionId) -> PathBuf {
    home.join("ledgers").join(format!("{session}.ledger"))
}

/// Why something about a ledger failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused, or the disk is full. From then on the ledger is closed.
    #[error(
        "the ledger cannot be written ({0}), so nothing is released; free space or mend the disk and start a new session"
    )]
    Unwritable(String),
    /// The ledger was finished or its writer is gone.
    #[error("the ledger of this session is finished, so nothing is released any more")]
    Finished,
    /// The entry is not one that a ledger can hold. The ledger itself is unharmed.
    #[error("an entry cannot be recorded: {0}")]
    Entry(String),
    /// A file could not be made, opened or read.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The install key is not usable.
    #[error("the install key {path} is not usable: {reason}")]
    InstallKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a ledger that is neither an entry nor part of a checkpoint.
    #[error("not a ledger from entry {entry} on: {reason}; `tagout verify` tells more")]
    Malformed {
        /// The number that the entry there should have.
        entry: u64,
        /// What was found.
        reason: String,
    },
    /// A text that should be a public key is not one.
    #[error(
        "a public key is `ed25519:` and 43 or 44 characters of base64, as `tagout verify` prints it"
    )]
    PublicKey,
    /// The operating system gave no random bytes.
    #[error("no random bytes to make a key from: {0}")]
    Random(String),
}

impl LedgerError {
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
