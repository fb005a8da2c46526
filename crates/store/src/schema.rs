//! The tables, and how a file gets from the version it has to the version this build knows. Each
//! element of [`MIGRATIONS`] takes the file one version further; they are only ever added to. The
//! arrows between a hold's states stand here too, as a trigger, so that no statement anywhere can
//! leave them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tagout_core::Timestamp;

use crate::{BUSY, StoreError, backup};

/// Pages of the log after which it is folded into the file: whoever opens the store first reads all of
/// it, and a launch writes a dozen.
const LONGEST_LOG: u32 = 64;

/// The statements that make version n+1 out of version n. A session that runs under the older Tagout
/// keeps its connection while a newer command migrates, so a migration adds (tables, columns with a
/// default, indices) and leaves alone what the version before it reads and writes.
pub(crate) const MIGRATIONS: &[&str] = &["
CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    high_water INTEGER NOT NULL
) STRICT;
INSERT INTO clock VALUES (1, 0);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    started INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    command TEXT NOT NULL,
    workspace TEXT NOT NULL,
    environment TEXT NOT NULL,
    task TEXT,
    policy_digest TEXT NOT NULL,
    user TEXT NOT NULL,
    ended INTEGER,
    exit_status INTEGER,
    reason TEXT,
    crashed INTEGER NOT NULL DEFAULT 0,
    ledger_entries INTEGER NOT NULL DEFAULT 0,
    ledger_root TEXT
) STRICT;

CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id),
    digest TEXT NOT NULL,
    action TEXT NOT NULL,
    environment TEXT NOT NULL,
    effect TEXT NOT NULL,
    flags TEXT NOT NULL,
    resources TEXT NOT NULL,
    summary TEXT NOT NULL,
    preview TEXT NOT NULL,
    shown TEXT NOT NULL,
    approvers INTEGER NOT NULL CHECK (approvers >= 1),
    created INTEGER NOT NULL,
    decide_by INTEGER NOT NULL,
    use_by INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('pending', 'approved', 'denied', 'expired', 'used', 'superseded', 'withdrawn')),
    answered INTEGER,
    answered_by TEXT,
    reason TEXT
) STRICT;
CREATE UNIQUE INDEX one_open_hold_a_digest ON holds (session, digest)
    WHERE state IN ('pending', 'approved');
CREATE INDEX open_holds ON holds (state, decide_by, use_by)
    WHERE state IN ('pending', 'approved');
CREATE TRIGGER holds_begin_pending BEFORE INSERT ON holds WHEN NEW.state <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a hold begins pending'); END;
CREATE TRIGGER holds_follow_the_arrows BEFORE UPDATE OF state ON holds
WHEN NOT (
    (OLD.state = 'pending' AND NEW.state IN ('approved', 'denied', 'expired', 'superseded', 'withdrawn'))
    OR (OLD.state = 'approved' AND NEW.state IN ('used', 'denied', 'expired', 'superseded', 'withdrawn'))
)
BEGIN SELECT RAISE(ABORT, 'a hold does not go from that state to this'); END;
CREATE TRIGGER holds_keep_what_was_shown BEFORE UPDATE OF
    id, session, digest, action, environment, effect, flags, resources, summary, preview, shown,
    approvers, created, decide_by, use_by ON holds
BEGIN SELECT RAISE(ABORT, 'what a hold is about does not change'); END;
CREATE TRIGGER holds_stay BEFORE DELETE ON holds
BEGIN SELECT RAISE(ABORT, 'a hold is the memory that it was used'); END;

CREATE TABLE approvals (
    hold TEXT NOT NULL REFERENCES holds (id),
    approver TEXT NOT NULL,
    record TEXT NOT NULL,
    given INTEGER NOT NULL,
    PRIMARY KEY (hold, approver)
) STRICT;
"];

/// Brings the file at `path` to the version that this build knows.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate(connection, path, MIGRATIONS)
}

/// Brings a file to the version that has all of `migrations`: in one transaction, after a copy was kept.
/// Of several processes that come at once, one migrates and the others find it done.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let known = migrations.len();
    // Before anything else, so that a newer file is left as it is.
    let found = refuse_newer(connection, path, known)?;
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LONGEST_LOG)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A version never goes back, so nobody has to be kept out to see that there is nothing to do.
    if usize::try_from(found).is_ok_and(|found| found == known) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = usize::try_from(refuse_newer(&transaction, path, known)?).unwrap_or(0);
    if found < known {
        if found > 0 {
            backup::keep(path, found)?;
        }
        for migration in migrations.iter().skip(found) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The latest time that any process has written down.
pub(crate) fn clock(connection: &Connection) -> Result<Timestamp, StoreError> {
    let millis: u64 = connection
        .prepare_cached("SELECT high_water FROM clock")?
        .query_row([], |row| row.get(0))?;
    Ok(Timestamp::from_millis(millis))
}

pub(crate) fn set_clock(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE clock SET high_water = max(high_water, ?1)")?
        .execute([now.as_millis()])?;
    Ok(())
}

fn refuse_newer(connection: &Connection, path: &Path, known: usize) -> Result<i64, StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = i64::try_from(known).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

/// Switches to the write-ahead log. SQLite does not wait by itself when two processes do this to a
/// new file at once.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        let switched: Result<String, _> =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::Database(format!(
                    "its file system gives journal mode {mode} where a write-ahead log is needed"
                )));
            }
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < BUSY =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
pub(crate) fn version() -> usize {
    MIGRATIONS.len()
}
