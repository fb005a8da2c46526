//! Holds: actions that wait for a person, and the answers. Every change is one `UPDATE` that names the
//! state it leaves and whose deadline is still ahead; when it changes no row, somebody was faster or
//! the time is over, and the caller learns which.

use std::fmt;
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, Transaction, named_params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tagout_core::json::Json;
use tagout_core::{
    Action, AnyRequest, Digest, Effect, Flags, HoldId, HostName, OperationName, ResourceId,
    SessionId, Timestamp,
};

use crate::{Store, StoreError};

/// The most holds of one session that may be pending.
pub const MOST_PENDING: u32 = 20;

/// Where a hold stands. Arrows: pending → approved, denied, expired, superseded, withdrawn;
/// approved → used, denied (an approval taken back), expired, superseded, withdrawn. The rest are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// Waits for a person.
    Pending,
    /// Enough approvers said yes; not used yet.
    Approved,
    /// A person said no, or took a yes back.
    Denied,
    /// Nobody answered in time, or nobody used the answer in time.
    Expired,
    /// The approved action was released.
    Used,
    /// What was approved is no longer what would happen.
    Superseded,
    /// The session ended.
    Withdrawn,
}

impl HoldState {
    /// Every state, in the order of a hold's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Used,
        Self::Superseded,
        Self::Withdrawn,
    ];

    /// The word used in the store and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
            Self::Superseded => "superseded",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An action that is to wait.
#[derive(Clone, Debug)]
pub struct NewHold {
    /// Whose action.
    pub session: SessionId,
    /// The action's digest: what an approval binds.
    pub digest: Digest,
    /// The action, as it will be released.
    pub action: Action<AnyRequest>,
    /// The environment that was resolved.
    pub environment: String,
    /// The strictest effect.
    pub effect: Effect,
    /// All flags.
    pub flags: Flags,
    /// The resources that were resolved.
    pub resources: Vec<ResourceId>,
    /// One line for a list.
    pub summary: String,
    /// What will be lost or changed, a fact a line.
    pub preview: Vec<String>,
    /// The whole text that a person is shown.
    pub shown: String,
    /// How many different approvers must say yes.
    pub approvers: u8,
    /// How long a person has to answer.
    pub decide_within: Duration,
    /// How long from now the answer may be used; no shorter than `decide_within`.
    pub use_within: Duration,
}

/// A hold as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldRecord {
    /// Its id.
    pub id: HoldId,
    /// Whose action.
    pub session: SessionId,
    /// The action's digest.
    pub digest: Digest,
    /// The action, as it will be released.
    pub action: Action<AnyRequest>,
    /// The environment that was resolved.
    pub environment: String,
    /// The strictest effect.
    pub effect: Effect,
    /// All flags.
    pub flags: Flags,
    /// The resources that were resolved.
    pub resources: Vec<ResourceId>,
    /// One line for a list.
    pub summary: String,
    /// What will be lost or changed, a fact a line.
    pub preview: Vec<String>,
    /// The whole text that a person is shown.
    pub shown: String,
    /// How many different approvers must say yes.
    pub approvers: u8,
    /// When it was opened.
    pub created: Timestamp,
    /// When a person must have answered.
    pub decide_by: Timestamp,
    /// When the answer must have been used.
    pub use_by: Timestamp,
    /// Where it stands.
    pub state: HoldState,
    /// When it was approved or denied.
    pub answered: Option<Timestamp>,
    /// Who answered last, as the answer says.
    pub answered_by: Option<String>,
    /// Why it was denied.
    pub reason: Option<String>,
}

impl HoldRecord {
    /// The hash of the text that a person is shown: what an approval binds beside the digest.
    pub fn shown_digest(&self) -> Digest {
        Digest::of(self.shown.as_bytes())
    }

    /// The shape of `tagout holds --json`.
    pub fn listing(&self) -> HoldListing {
        HoldListing {
            id: self.id.clone(),
            session: self.session.clone(),
            state: self.state,
            created: self.created.to_string(),
            decide_by: self.decide_by.to_string(),
            use_by: self.use_by.to_string(),
            action: HeldAction {
                operations: self
                    .action
                    .operations()
                    .iter()
                    .map(|operation| operation.name.clone())
                    .collect(),
                effect: self.effect,
                flags: self.flags,
                resources: self.resources.clone(),
                environment: self.environment.clone(),
                summary: self.summary.clone(),
                digest: self.digest,
            },
            preview: self.preview.clone(),
        }
    }
}

/// One line of `tagout holds --json`.
#[derive(Clone, Debug, Serialize)]
pub struct HoldListing {
    id: HoldId,
    session: SessionId,
    state: HoldState,
    created: String,
    decide_by: String,
    use_by: String,
    action: HeldAction,
    preview: Vec<String>,
}

/// The action in a [`HoldListing`].
#[derive(Clone, Debug, Serialize)]
pub struct HeldAction {
    operations: Vec<OperationName>,
    effect: Effect,
    flags: Flags,
    resources: Vec<ResourceId>,
    environment: String,
    summary: String,
    digest: Digest,
}

/// What opening a hold came to.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The hold; an older one when its digest is the same and it is still open.
    pub hold: HoldRecord,
    /// Whether it was made now.
    pub fresh: bool,
}

/// How often a person said no, or nothing, since they last said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedDown {
    /// To the same operation on the same host.
    pub of_kind: u32,
    /// To whatever the session asked.
    pub together: u32,
}

/// An approval's row. The row proves nothing; the record's signature does.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredApproval {
    /// Who, as the record says: rows of one hold have different ones.
    pub approver: String,
    /// The signed record.
    pub record: Json,
    /// When it was written down.
    pub given: Timestamp,
}

impl Store {
    /// Opens a hold, or joins the open one of the same session and digest.
    ///
    /// # Errors
    /// When [`MOST_PENDING`] wait already, the session is unknown, or the store cannot be written.
    pub fn open_hold(&self, new: &NewHold) -> Result<Opened, StoreError> {
        self.expire_due()?;
        self.write(|transaction, now| {
            if let Some(hold) = open_by_digest(transaction, &new.session, new.digest)? {
                return Ok(Opened { hold, fresh: false });
            }
            let live = transaction
                .prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND ended IS NULL")?
                .exists([new.session.as_str()])?;
            if !live {
                return Err(StoreError::UnknownSession(new.session.clone()));
            }
            if count_pending(transaction, &new.session)? >= MOST_PENDING {
                return Err(StoreError::TooManyHolds {
                    session: new.session.clone(),
                    most: MOST_PENDING,
                });
            }
            let id = HoldId::random().map_err(|_| StoreError::Random)?;
            insert(transaction, now, &id, new)?;
            let hold = by_id(transaction, &id)?;
            Ok(Opened { hold, fresh: true })
        })
    }

    /// One hold, as it stands now.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub fn hold(&self, id: &HoldId) -> Result<HoldRecord, StoreError> {
        self.expire_due()?;
        by_id(&self.connection, id)
    }

    /// The pending or approved hold of a session for a digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_hold_by_digest(
        &self,
        session: &SessionId,
        digest: Digest,
    ) -> Result<Option<HoldRecord>, StoreError> {
        self.expire_due()?;
        open_by_digest(&self.connection, session, digest)
    }

    /// Holds, oldest first: those in one of `states`, or all of them when it is empty; of one session
    /// or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn holds(
        &self,
        session: Option<&SessionId>,
        states: &[HoldState],
    ) -> Result<Vec<HoldRecord>, StoreError> {
        self.expire_due()?;
        let wanted: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM holds
             WHERE (?1 IS NULL OR session = ?1)
               AND (?2 = '[]' OR state IN (SELECT value FROM json_each(?2)))
             ORDER BY created, rowid",
        )?;
        let wanted = serde_json::Value::from(wanted).to_string();
        let rows = statement.query_map((session.map(SessionId::as_str), wanted), |row| {
            Ok(read_hold(row))
        })?;
        rows.map(|row| row?).collect()
    }

    /// How often a person was asked by a session without a yes since: holds that were denied or that
    /// nobody answered, at most `within` ago and after the last approval.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn turned_down(
        &self,
        session: &SessionId,
        host: &HostName,
        operation: &OperationName,
        within: Duration,
    ) -> Result<TurnedDown, StoreError> {
        self.expire_due()?;
        let since = self.now()?.as_millis();
        let since = since.saturating_sub(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let mut statement = self.connection.prepare_cached(TURNED_DOWN)?;
        let mut count = |host: Option<&str>, operation: Option<&str>| {
            let of = (session.as_str(), since, host, operation);
            statement.query_row(of, |row| row.get(0))
        };
        Ok(TurnedDown {
            of_kind: count(Some(host.as_str()), Some(operation.as_str()))?,
            together: count(None, None)?,
        })
    }

    /// How many holds of a session wait for a person.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count_pending(&self, session: &SessionId) -> Result<u32, StoreError> {
        self.expire_due()?;
        count_pending(&self.connection, session)
    }

    /// Adds one approver's signed record to a pending hold; approved once there are as many different
    /// approvers as the hold asks for. The state afterwards.
    ///
    /// # Errors
    /// When the hold is not pending (any more), this approver has answered already, or the store
    /// cannot be written.
    pub fn approve(
        &self,
        id: &HoldId,
        approver: &str,
        record: &Json,
    ) -> Result<HoldState, StoreError> {
        // In a transaction of its own: an expiry that is noticed stays, whatever comes of the approval.
        self.expire_due()?;
        self.write(|transaction, now| {
            let hold = by_id(transaction, id)?;
            if hold.state != HoldState::Pending {
                return Err(not_possible(hold, HoldState::Approved));
            }
            let added = transaction.execute(
                "INSERT INTO approvals VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                (id.as_str(), approver, record.to_string(), now.as_millis()),
            )?;
            if added != 1 {
                return Err(StoreError::SameApprover {
                    hold: id.clone(),
                    approver: approver.to_owned(),
                });
            }
            let given: u32 = transaction.query_row(
                "SELECT count(*) FROM approvals WHERE hold = ?1",
                [id.as_str()],
                |row| row.get(0),
            )?;
            if given < u32::from(hold.approvers) {
                return Ok(HoldState::Pending);
            }
            let approved = transaction.execute(
                "UPDATE holds SET state = 'approved', answered = ?2, answered_by = ?3
                 WHERE id = ?1 AND state = 'pending' AND decide_by > ?2",
                (id.as_str(), now.as_millis(), approver),
            )?;
            if approved != 1 {
                return Err(not_possible(hold, HoldState::Approved));
            }
            Ok(HoldState::Approved)
        })
    }

    /// Denies a pending hold, or takes back an approval that was not used.
    ///
    /// # Errors
    /// When the hold is at an end already, or the store cannot be written.
    pub fn deny(&self, id: &HoldId, by: &str, reason: Option<&str>) -> Result<(), StoreError> {
        self.leave(id, HoldState::Denied, |transaction, now| {
            transaction.execute(
                "UPDATE holds SET state = 'denied', answered = ?2, answered_by = ?3, reason = ?4
                 WHERE id = ?1 AND state IN ('pending', 'approved')",
                (id.as_str(), now.as_millis(), by, reason),
            )
        })
    }

    /// Voids an open hold because what it is about has changed.
    ///
    /// # Errors
    /// When the hold is at an end already, or the store cannot be written.
    pub fn supersede(&self, id: &HoldId) -> Result<(), StoreError> {
        self.leave(id, HoldState::Superseded, |transaction, _| {
            transaction.execute(
                "UPDATE holds SET state = 'superseded'
                 WHERE id = ?1 AND state IN ('pending', 'approved')",
                [id.as_str()],
            )
        })
    }

    /// Uses an approval up. `true` for exactly one caller, ever, and only before `use_by`; when it
    /// returns, that is durable.
    ///
    /// # Errors
    /// When the store cannot be written; then the approval must count as not usable.
    pub fn use_once(&self, id: &HoldId) -> Result<bool, StoreError> {
        self.write(|transaction, now| {
            let changed = transaction.execute(
                "UPDATE holds SET state = 'used'
                 WHERE id = ?1 AND state = 'approved' AND use_by > ?2",
                (id.as_str(), now.as_millis()),
            )?;
            Ok(changed == 1)
        })
    }

    /// Expires pending holds that nobody answered and approved ones that nobody used in time; how many.
    /// The other functions do this by themselves; a session calls it to wake those that wait.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn expire_due(&self) -> Result<usize, StoreError> {
        let stored = crate::schema::clock(&self.connection)?;
        let now = self.clock.now(stored);
        let open: Option<u64> = self
            .connection
            .prepare_cached(
                "SELECT min(CASE state WHEN 'pending' THEN decide_by ELSE use_by END) FROM holds
                 WHERE state IN ('pending', 'approved')",
            )?
            .query_row([], |row| row.get(0))?;
        let Some(due) = open else { return Ok(0) };
        // Time is written down only while a deadline depends on it, and not at every look.
        if due > now.as_millis() && stored.until(now) < KEEP_TIME_EVERY {
            return Ok(0);
        }
        self.write(expire)
    }

    /// The approvals of a hold, in the order in which they were given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn approvals(&self, id: &HoldId) -> Result<Vec<StoredApproval>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT approver, record, given FROM approvals WHERE hold = ?1 ORDER BY given, rowid",
        )?;
        let rows = statement.query_map([id.as_str()], |row| {
            let record: String = row.get(1)?;
            let given = Timestamp::from_millis(row.get(2)?);
            Ok((row.get(0)?, record, given))
        })?;
        rows.map(|row| {
            let (approver, record, given) = row?;
            let record = parse(&record, "approval")?;
            Ok(StoredApproval {
                approver,
                record,
                given,
            })
        })
        .collect()
    }

    /// Runs an update that should take a hold to `wanted`.
    fn leave(
        &self,
        id: &HoldId,
        wanted: HoldState,
        update: impl FnOnce(&Transaction<'_>, Timestamp) -> rusqlite::Result<usize>,
    ) -> Result<(), StoreError> {
        self.expire_due()?;
        self.write(|transaction, now| {
            if update(transaction, now)? == 1 {
                return Ok(());
            }
            Err(not_possible(by_id(transaction, id)?, wanted))
        })
    }
}

/// `?1` session, `?2` since when, `?3` host and `?4` operation, or NULL for all of them. What was answered
/// and is not denied was approved, whatever became of it then.
const TURNED_DOWN: &str = "
    WITH asked AS (
        SELECT state = 'denied' OR (state = 'expired' AND answered IS NULL) AS is_no,
               state <> 'denied' AND answered IS NOT NULL AS is_yes,
               coalesce(answered, decide_by) AS ended
        FROM holds
        WHERE session = ?1 AND coalesce(answered, decide_by) >= ?2
          AND (?3 IS NULL OR action ->> '$.request.target.host' = ?3)
          AND (?4 IS NULL OR EXISTS (
              SELECT 1 FROM json_each(action, '$.operations') WHERE value ->> 'name' = ?4))
    )
    SELECT count(*) FROM asked
    WHERE is_no AND ended > (SELECT coalesce(max(ended), 0) FROM asked WHERE is_yes)";

/// How old the stored time may grow while deadlines depend on it.
const KEEP_TIME_EVERY: Duration = Duration::from_secs(1);

fn not_possible(hold: HoldRecord, wanted: HoldState) -> StoreError {
    StoreError::NotPossible {
        hold: hold.id,
        state: hold.state,
        wanted,
    }
}

fn expire(transaction: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    Ok(transaction
        .prepare_cached(
            "UPDATE holds SET state = 'expired'
             WHERE (state = 'pending' AND decide_by <= ?1) OR (state = 'approved' AND use_by <= ?1)",
        )?
        .execute([now.as_millis()])?)
}

fn count_pending(
    connection: &rusqlite::Connection,
    session: &SessionId,
) -> Result<u32, StoreError> {
    Ok(connection
        .prepare_cached("SELECT count(*) FROM holds WHERE session = ?1 AND state = 'pending'")?
        .query_row([session.as_str()], |row| row.get(0))?)
}

fn insert(
    transaction: &Transaction<'_>,
    now: Timestamp,
    id: &HoldId,
    new: &NewHold,
) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO holds (id, session, digest, action, environment, effect, flags, resources,
             summary, preview, shown, approvers, created, decide_by, use_by, state)
         VALUES (:id, :session, :digest, :action, :environment, :effect, :flags, :resources,
             :summary, :preview, :shown, :approvers, :created, :decide_by, :use_by, 'pending')",
        named_params! {
            ":id": id.as_str(),
            ":session": new.session.as_str(),
            ":digest": new.digest.to_string(),
            ":action": text(&new.action)?,
            ":environment": new.environment,
            ":effect": new.effect.as_str(),
            ":flags": text(&new.flags)?,
            ":resources": text(&new.resources)?,
            ":summary": new.summary,
            ":preview": text(&new.preview)?,
            ":shown": new.shown,
            ":approvers": new.approvers.max(1),
            ":created": now.as_millis(),
            ":decide_by": now.plus(new.decide_within).as_millis(),
            ":use_by": now.plus(new.use_within.max(new.decide_within)).as_millis(),
        },
    )?;
    Ok(())
}

fn by_id(connection: &rusqlite::Connection, id: &HoldId) -> Result<HoldRecord, StoreError> {
    connection
        .prepare_cached("SELECT * FROM holds WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok(read_hold(row)))
        .optional()?
        .ok_or_else(|| StoreError::UnknownHold(id.clone()))?
}

fn open_by_digest(
    connection: &rusqlite::Connection,
    session: &SessionId,
    digest: Digest,
) -> Result<Option<HoldRecord>, StoreError> {
    connection
        .prepare_cached(
            "SELECT * FROM holds
             WHERE session = ?1 AND digest = ?2 AND state IN ('pending', 'approved')",
        )?
        .query_row((session.as_str(), digest.to_string()), |row| {
            Ok(read_hold(row))
        })
        .optional()?
        .transpose()
}

fn read_hold(row: &Row<'_>) -> Result<HoldRecord, StoreError> {
    let unreadable = |what: &str| StoreError::Unreadable(format!("a hold's {what}"));
    let column = |name: &str| row.get::<_, String>(name);
    let time = |name: &str| row.get(name).map(Timestamp::from_millis);
    let state = column("state")?;
    Ok(HoldRecord {
        id: column("id")?.parse().map_err(|_| unreadable("id"))?,
        session: column("session")?
            .parse()
            .map_err(|_| unreadable("session"))?,
        digest: column("digest")?
            .parse()
            .map_err(|_| unreadable("digest"))?,
        action: parse(&column("action")?, "action")?,
        environment: column("environment")?,
        effect: column("effect")?
            .parse()
            .map_err(|()| unreadable("effect"))?,
        flags: parse(&column("flags")?, "flags")?,
        resources: parse(&column("resources")?, "resources")?,
        summary: column("summary")?,
        preview: parse(&column("preview")?, "preview")?,
        shown: column("shown")?,
        approvers: row.get("approvers")?,
        created: time("created")?,
        decide_by: time("decide_by")?,
        use_by: time("use_by")?,
        state: HoldState::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| unreadable("state"))?,
        answered: row
            .get::<_, Option<u64>>("answered")?
            .map(Timestamp::from_millis),
        answered_by: row.get("answered_by")?,
        reason: row.get("reason")?,
    })
}

fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// serde_json's messages may quote what they read, so only the column is named.
fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(format!("a hold's {what}")))
}
