//! Sessions, holds and approvals that survive a restart, in one SQLite file under `$TAGOUT_HOME`. The
//! store is where processes meet: `tagout run` opens a hold, `tagout approve` in another terminal
//! answers it, and neither has a daemon between them.
//!
//! What must stay true: a state changes only along the arrows of [`HoldState`], by an update that names
//! the state it leaves, so of two racers one wins; an approval is used at most once, also across a
//! crash; no deadline moves when somebody sets the clock back; what fails is an error, and an error
//! denies. A row proves nothing about who wrote it: approvals carry signatures, and the authority
//! checks those.

mod backup;
mod clock;
mod holds;
mod labels;
mod schema;
mod sessions;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tagout_core::{HoldId, SessionId, Timestamp};

pub use holds::{
    HeldAction, HoldListing, HoldRecord, HoldState, MOST_PENDING, NewHold, Opened, StoredApproval,
    TurnedDown,
};
pub use labels::{
    Application, ApplicationKind, ContentLabels, FindingRow, KnownDocument, Labels, Load,
    LoadSummary, NewDocument, NewRetrieval, Place, Release, ReleaseRow, Retrieval, SnippetRow,
    SourceRow, UserRow,
};
pub use sessions::{Ending, SessionListing, SessionRecord, SessionState, SessionStatus};

use clock::Clock;

/// How long a statement waits for another process to finish its own.
const BUSY: Duration = Duration::from_secs(5);

/// The store of one `$TAGOUT_HOME`. One value for each thread that uses it, or one behind a lock.
pub struct Store {
    connection: Connection,
    clock: Clock,
    home: PathBuf,
}

/// Why the store did not do as asked. Whoever was deciding denies.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `$TAGOUT_HOME` or the file in it cannot be used.
    #[error("{path} cannot be used as Tagout's state: {reason}")]
    Folder {
        /// Which path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file was written by a newer Tagout.
    #[error(
        "{path} has version {found}, and this tagout knows versions up to {known}: use the newer tagout that wrote it, or another TAGOUT_HOME"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this build reads.
        known: i64,
    },
    /// The file has an older version, and no copy of it could be kept; it was left as it was.
    #[error(
        "{path} was written by an older tagout and has to be migrated, but no copy could be kept as {copy}: {reason}; make room there, or use the older tagout"
    )]
    Backup {
        /// The store's file.
        path: PathBuf,
        /// Where its copy would be.
        copy: PathBuf,
        /// What failed.
        reason: String,
    },
    /// SQLite failed: a full disk, a busy or damaged file.
    #[error("the store failed: {0}")]
    Database(String),
    /// A row does not hold what this build wrote.
    #[error("the store holds something unreadable: {0}")]
    Unreadable(String),
    /// As many holds of this session wait as may.
    #[error(
        "{most} actions of session {session} wait for a person already; answer some of them (`tagout holds`) first"
    )]
    TooManyHolds {
        /// Whose holds.
        session: SessionId,
        /// The limit.
        most: u32,
    },
    /// There is no such session.
    #[error("there is no session {0}; `tagout sessions` lists them")]
    UnknownSession(SessionId),
    /// There is no such hold.
    #[error("there is no hold {0}; `tagout holds` lists them")]
    UnknownHold(HoldId),
    /// The hold is no longer in a state from which this is possible.
    #[error("hold {hold} is {state} and cannot be {wanted}")]
    NotPossible {
        /// Which hold.
        hold: HoldId,
        /// The state it is in.
        state: HoldState,
        /// The state that was asked for.
        wanted: HoldState,
    },
    /// This approver has answered already; a second approval must come from somebody else.
    #[error("{approver} has approved hold {hold} already; it waits for a different approver")]
    SameApprover {
        /// Which hold.
        hold: HoldId,
        /// Who.
        approver: String,
    },
    /// The operating system gave no random bytes for an id.
    #[error("no random bytes to make an id from")]
    Random,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(column, _, cause) => {
                Self::Unreadable(format!("column {column}: {cause}"))
            }
            other => Self::Database(other.to_string()),
        }
    }
}

impl Store {
    /// Opens the store of `$TAGOUT_HOME`, making folder and file on first use. The folder becomes
    /// 0700 and the file 0600.
    ///
    /// # Errors
    /// When folder or file belong to somebody else or cannot be made, or a newer Tagout wrote the file.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        Self::open_with(home, Clock::system)
    }

    /// The time by which this store judges deadlines: the system's clock, but never earlier than any
    /// process that used this store has seen, and advancing while the system's clock lags behind.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now(schema::clock(&self.connection)?))
    }

    /// A number that changes when another process or connection has changed the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }

    fn open_with(home: &Path, clock: impl FnOnce(Timestamp) -> Clock) -> Result<Self, StoreError> {
        let path = prepare_file(home, "store.sqlite")?;
        let mut connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        // The last process to close would fold the log into the file and delete it, with two syncs, and
        // the next would make it anew with another. It is folded in as it grows, whoever is there.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        schema::prepare(&mut connection, &path)?;
        let clock = clock(schema::clock(&connection)?);
        Ok(Self {
            connection,
            clock,
            home: home.to_owned(),
        })
    }

    /// As [`Store::write`], for what may be lost in a power failure: it is synced with the next write
    /// that is. Nothing that anybody relies on to be used once may be written like this.
    fn write_unsynced<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connection
            .pragma_update(None, "synchronous", "NORMAL")?;
        let written = self.write(change);
        // If this fails, nothing after it is trusted to be durable.
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        written
    }

    /// Runs `change` in a transaction that holds the write lock from its start, and hands it the time.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction =
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let now = self.clock.now(schema::clock(&transaction)?);
        schema::set_clock(&transaction, now)?;
        let result = change(&transaction, now)?;
        transaction.commit()?;
        Ok(result)
    }
}

/// Makes sure that folder and file are ours alone; the file's path.
fn prepare_file(home: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let failed = |error: io::Error| StoreError::Folder {
        path: home.to_owned(),
        reason: error.to_string(),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(failed)?;
    let path = home.join(name);
    // SQLite gives its -wal and -shm files the mode of the file itself. A file that exists must not even
    // be opened: closing any descriptor of it drops every POSIX lock that this process has on it
    // (fcntl(2)), and another process would then take the last connection's leave and delete the log
    // under ours.
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path);
    match made {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    for (path, mode) in [(home, 0o700), (path.as_path(), 0o600)] {
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Folder {
                path: path.to_owned(),
                reason: "it belongs to another user; set TAGOUT_HOME to a folder of your own"
                    .to_owned(),
            });
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
