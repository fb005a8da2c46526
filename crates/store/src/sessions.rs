//! Sessions: what runs, what ran, and how far its ledger had come. A session is live while its
//! supervisor holds the lock on `sessions/ID/lock`; one whose lock is free and that never ended has
//! crashed.

use std::fs::{File, TryLockError};

use rusqlite::{OptionalExtension as _, Row, Transaction, named_params};
use serde::Serialize;
use tagout_core::{Digest, SessionId, Timestamp};

use crate::{Store, StoreError};

/// A session as it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// When it began.
    pub started: Timestamp,
    /// The supervisor's process id.
    pub pid: u32,
    /// The supervisor's start time in clock ticks since boot (`/proc/PID/stat`, field 22), which
    /// tells it from a later process of the same id.
    pub pid_started: u64,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The workspace's absolute path.
    pub workspace: String,
    /// The task's environment.
    pub environment: String,
    /// The task's name, where a manifest gives one.
    pub task: Option<String>,
    /// The digest of policy and manifest.
    pub policy_digest: Digest,
    /// Who started it.
    pub user: String,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The command's exit status (128+n on a signal), when it had one.
    pub exit_status: Option<i32>,
    /// Why, in words: `finished`, `killed`, `refused: …`.
    pub reason: String,
}

/// How the reason begins of a session whose command never ran.
const REFUSED: &str = "refused: ";

impl Ending {
    /// The ending of a session whose command never ran, and why it did not.
    pub fn refused(why: &str) -> Self {
        Self {
            exit_status: None,
            reason: format!("{REFUSED}{why}"),
        }
    }

    fn is_refusal(&self) -> bool {
        self.exit_status.is_none() && self.reason.starts_with(REFUSED)
    }
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Its supervisor lives.
    Running,
    /// It ended as it should.
    Ended,
    /// Its command never ran: Tagout or the machine refused.
    Refused,
    /// Its supervisor is gone without having said so.
    Crashed,
}

/// A session and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// As it began.
    pub record: SessionRecord,
    /// What it is doing.
    pub state: SessionState,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// How many of its actions wait for a person.
    pub pending_holds: u32,
    /// Entries and root of its ledger, as last heard of.
    pub high_water: Option<(u64, Digest)>,
}

/// One line of `tagout sessions --json`.
#[derive(Clone, Debug, Serialize)]
pub struct SessionListing {
    id: SessionId,
    state: SessionState,
    started: String,
    ended: Option<String>,
    pid: u32,
    command: Vec<String>,
    workspace: String,
    environment: String,
    task: Option<String>,
    policy_digest: Digest,
    user: String,
    exit_status: Option<i32>,
    reason: Option<String>,
    pending_holds: u32,
    ledger_entries: u64,
}

impl SessionStatus {
    /// The shape of `tagout sessions --json`.
    pub fn listing(&self) -> SessionListing {
        let record = self.record.clone();
        SessionListing {
            id: record.id,
            state: self.state,
            started: record.started.to_string(),
            ended: self.ended.map(|time| time.to_string()),
            pid: record.pid,
            command: record.command,
            workspace: record.workspace,
            environment: record.environment,
            task: record.task,
            policy_digest: record.policy_digest,
            user: record.user,
            exit_status: self.ending.as_ref().and_then(|ending| ending.exit_status),
            reason: self.ending.as_ref().map(|ending| ending.reason.clone()),
            pending_holds: self.pending_holds,
            ledger_entries: self.high_water.map_or(0, |(entries, _)| entries),
        }
    }
}

impl Store {
    /// Writes down a session. Its supervisor holds its lock already, else it would count as crashed.
    ///
    /// # Errors
    /// When the store cannot be written or has this session.
    ///
    /// It is there for every other process at once, and survives this one. After a power failure it may
    /// be missing until the next write to the store, the first mark of its ledger, was synced: a session
    /// that ended with the machine before it had begun.
    pub fn insert_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        self.write_unsynced(|transaction, _| {
            transaction.execute(
                "INSERT INTO sessions (id, started, pid, pid_started, command, workspace,
                     environment, task, policy_digest, user)
                 VALUES (:id, :started, :pid, :pid_started, :command, :workspace,
                     :environment, :task, :policy_digest, :user)",
                named_params! {
                    ":id": session.id.as_str(),
                    ":started": session.started.as_millis(),
                    ":pid": session.pid,
                    ":pid_started": session.pid_started,
                    ":command": serde_json::Value::from(session.command.clone()).to_string(),
                    ":workspace": session.workspace,
                    ":environment": session.environment,
                    ":task": session.task,
                    ":policy_digest": session.policy_digest.to_string(),
                    ":user": session.user,
                },
            )?;
            Ok(())
        })
    }

    /// Writes down that a session ended, and withdraws its open holds. A session that ended already
    /// stays as it was.
    ///
    /// # Errors
    /// When the store cannot be written or has no such session.
    pub fn end_session(&self, id: &SessionId, ending: &Ending) -> Result<(), StoreError> {
        self.write(|transaction, now| end(transaction, now, id, ending, false))
    }

    /// Every session, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sessions(&self) -> Result<Vec<SessionStatus>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{SELECT} ORDER BY started DESC, id"))?;
        let rows = statement.query_map([], |row| self.read_session(row))?;
        rows.map(|row| row?).collect()
    }

    /// The sessions whose end nobody wrote down, newest first: those that run, and those that crashed
    /// since anybody looked. What a launch asks for, however many sessions there ever were.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_sessions(&self) -> Result<Vec<SessionStatus>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "{SELECT} WHERE ended IS NULL ORDER BY started DESC, id"
        ))?;
        let rows = statement.query_map([], |row| self.read_session(row))?;
        rows.map(|row| row?).collect()
    }

    /// One session.
    ///
    /// # Errors
    /// When the store cannot be read or has no such session.
    pub fn session(&self, id: &SessionId) -> Result<SessionStatus, StoreError> {
        self.connection
            .prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
            .query_row([id.as_str()], |row| self.read_session(row))
            .optional()?
            .ok_or_else(|| StoreError::UnknownSession(id.clone()))?
    }

    /// Writes down the end of every session that crashed, withdraws its holds, and names them, so that
    /// the caller can sweep what else they left.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn end_crashed(&self) -> Result<Vec<SessionId>, StoreError> {
        let crashed: Vec<_> = self
            .open_sessions()?
            .into_iter()
            .filter(|session| session.state == SessionState::Crashed)
            .map(|session| session.record.id)
            .collect();
        let ending = Ending {
            exit_status: None,
            reason: "crashed".to_owned(),
        };
        for id in &crashed {
            self.write(|transaction, now| end(transaction, now, id, &ending, true))?;
        }
        Ok(crashed)
    }

    /// Writes down how far a session's ledger has come. A mark that is not further than the one that
    /// is known changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written or has no such session.
    pub fn set_high_water(
        &self,
        id: &SessionId,
        entries: u64,
        root: Digest,
    ) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            transaction
                .prepare_cached(
                    "UPDATE sessions SET ledger_entries = ?2, ledger_root = ?3
                     WHERE id = ?1 AND ledger_entries < ?2",
                )?
                .execute((id.as_str(), entries, root.to_string()))?;
            exists(transaction, id)
        })
    }

    fn read_session(&self, row: &Row<'_>) -> rusqlite::Result<Result<SessionStatus, StoreError>> {
        let id: String = row.get("id")?;
        let command: String = row.get("command")?;
        let policy_digest: String = row.get("policy_digest")?;
        let root: Option<String> = row.get("ledger_root")?;
        let entries: u64 = row.get("ledger_entries")?;
        let ended: Option<u64> = row.get("ended")?;
        let crashed: bool = row.get("crashed")?;
        let reason: Option<String> = row.get("reason")?;
        let exit_status = row.get("exit_status")?;
        let started: u64 = row.get("started")?;
        let (pid, pid_started) = (row.get("pid")?, row.get("pid_started")?);
        let (workspace, environment) = (row.get("workspace")?, row.get("environment")?);
        let (task, user) = (row.get("task")?, row.get("user")?);
        let pending_holds = row.get("pending_holds")?;
        Ok((|| {
            let unreadable = |what: &str| StoreError::Unreadable(format!("a session's {what}"));
            let id: SessionId = id.parse().map_err(|_| unreadable("id"))?;
            let ending = reason.map(|reason| Ending {
                exit_status,
                reason,
            });
            let state = match ended {
                Some(_) if crashed => SessionState::Crashed,
                Some(_) if ending.as_ref().is_some_and(Ending::is_refusal) => SessionState::Refused,
                Some(_) => SessionState::Ended,
                None if self.is_live(&id) => SessionState::Running,
                None => SessionState::Crashed,
            };
            let high_water = match root {
                Some(root) => Some((
                    entries,
                    root.parse().map_err(|_| unreadable("ledger root"))?,
                )),
                None => None,
            };
            Ok(SessionStatus {
                record: SessionRecord {
                    id,
                    started: Timestamp::from_millis(started),
                    pid,
                    pid_started,
                    command: serde_json::from_str(&command).map_err(|_| unreadable("command"))?,
                    workspace,
                    environment,
                    task,
                    policy_digest: policy_digest
                        .parse()
                        .map_err(|_| unreadable("policy digest"))?,
                    user,
                },
                state,
                ended: ended.map(Timestamp::from_millis),
                ending,
                pending_holds,
                high_water,
            })
        })())
    }

    /// Whether somebody holds the session's lock. Asking takes it for an instant, shared.
    fn is_live(&self, id: &SessionId) -> bool {
        let path = self.home.join("sessions").join(id.as_str()).join("lock");
        match File::open(path).map(|lock| lock.try_lock_shared()) {
            Ok(Err(TryLockError::WouldBlock)) => true,
            Ok(Ok(()) | Err(TryLockError::Error(_))) | Err(_) => false,
        }
    }
}

const SELECT: &str = "SELECT *, (SELECT count(*) FROM holds
    WHERE holds.session = sessions.id AND holds.state = 'pending') AS pending_holds FROM sessions";

fn end(
    transaction: &Transaction<'_>,
    now: Timestamp,
    id: &SessionId,
    ending: &Ending,
    crashed: bool,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE sessions SET ended = ?2, exit_status = ?3, reason = ?4, crashed = ?5
         WHERE id = ?1 AND ended IS NULL",
        (
            id.as_str(),
            now.as_millis(),
            ending.exit_status,
            &ending.reason,
            crashed,
        ),
    )?;
    transaction.execute(
        "UPDATE holds SET state = 'withdrawn'
         WHERE session = ?1 AND state IN ('pending', 'approved')",
        [id.as_str()],
    )?;
    exists(transaction, id)
}

fn exists(transaction: &Transaction<'_>, id: &SessionId) -> Result<(), StoreError> {
    transaction
        .prepare_cached("SELECT 1 FROM sessions WHERE id = ?1")?
        .exists([id.as_str()])?
        .then_some(())
        .ok_or_else(|| StoreError::UnknownSession(id.clone()))
}
