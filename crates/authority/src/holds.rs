//! Actions that wait for a person. The store keeps them, so that they survive a restart; this module
//! opens them, waits on them without a thread each, and uses each approval once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tagout_core::{
    Action, AnyRequest, Digest, Effect, Flags, HoldId, HttpBody, Operation, OperationName, Refusal,
    ResourceId, SessionId,
};
use tagout_store::{HoldRecord, HoldState, NewHold, Store, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::approval::verify_all;
use crate::approver::EnrolledKeys;

/// How long a person has to answer.
const DECIDE_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long from the beginning of the hold an answer may be used.
const USE_WITHIN: Duration = Duration::from_secs(40 * 60);

/// How often one operation on one host may be asked for in vain, and anything at all, before a person
/// is left alone: by repeating a question in ever other words an agent could get the one yes that was
/// not thought about.
const MOST_IN_VAIN: u32 = 5;
const MOST_IN_VAIN_TOGETHER: u32 = 20;
/// How long what was asked in vain counts. A yes of the same kind ends it at once.
const IN_VAIN_WITHIN: Duration = Duration::from_secs(60 * 60);

/// A new hold's facts.
pub(crate) struct Held {
    pub(crate) action: Action<AnyRequest>,
    /// The one that has to be asked about.
    pub(crate) operation: OperationName,
    pub(crate) digest: Digest,
    pub(crate) environment: String,
    pub(crate) effect: Effect,
    pub(crate) flags: Flags,
    pub(crate) resources: Vec<ResourceId>,
    pub(crate) summary: String,
    pub(crate) preview: Vec<String>,
    pub(crate) shown: String,
    pub(crate) approvers: u8,
}

/// What became of a hold while its request was open.
pub(crate) enum Answered {
    Approved(Box<HoldRecord>),
    Denied(Denial),
    /// The agent has waited long enough and must come back.
    Pending,
    /// Used, expired, superseded or withdrawn meanwhile.
    Gone(HoldState),
}

/// A person's no.
pub(crate) struct Denial {
    pub(crate) by: Option<String>,
    pub(crate) reason: Option<String>,
}

/// Why a hold could not be opened or followed.
pub(crate) enum Problem {
    TooMany,
    /// A person said no, or nothing, so many times; whether to the same operation on the same host.
    InVain {
        times: u32,
        of_kind: bool,
    },
    Unstorable,
    Store(String),
}

impl Problem {
    pub(crate) fn refusal(&self, operation: &Operation) -> Refusal {
        let (reason, how) = match self {
            Self::InVain { times, of_kind } => (
                format!(
                    "{times} requests {} were denied or not answered within the last hour, and none \
                     approved since, so that nobody is asked again.",
                    match of_kind {
                        true => format!("for {} on this host", operation.name),
                        false => "of this session".to_owned(),
                    }
                ),
                "Do not ask for it in other words. Ask your user what to do instead. It can be asked \
                 for again an hour later, or when your user approves one of those that still wait \
                 (`tagout holds`).",
            ),
            Self::TooMany => (
                "too many actions of this session wait for a person already.".to_owned(),
                "Ask your user to answer them (`tagout holds`) before you go on.",
            ),
            Self::Unstorable => (
                "the request cannot be held: its content is larger than what can be stored."
                    .to_owned(),
                "Send a request with a smaller body.",
            ),
            Self::Store(why) => (
                format!("the hold could not be stored: {why}."),
                "Nothing that needs approval passes until this is mended. Tell your user.",
            ),
        };
        Refusal {
            operation: Some(operation.name.to_string()),
            ..Refusal::denied(reason, how)
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooManyHolds { .. } => Self::TooMany,
            other => Self::Store(other.to_string()),
        }
    }
}

pub(crate) struct Holds {
    session: SessionId,
    store: Arc<Mutex<Store>>,
    enrolled: EnrolledKeys,
    wait: Duration,
    answered: watch::Receiver<u64>,
    /// One at a time asks the store, which is behind a lock: a thousand that wait must not take a
    /// thread each to wait for that lock.
    turn: Semaphore,
    /// Holds that this session has used. The store says so too, but a row can be set back.
    used: Mutex<HashSet<HoldId>>,
}

impl Holds {
    pub(crate) fn new(
        session: SessionId,
        store: Arc<Mutex<Store>>,
        enrolled: EnrolledKeys,
        wait: Duration,
        answered: watch::Receiver<u64>,
    ) -> Self {
        Self {
            session,
            store,
            enrolled,
            wait,
            answered,
            turn: Semaphore::new(1),
            used: Mutex::default(),
        }
    }

    /// Opens a hold, or joins the one of the same digest; whether it is a new one. Until its time is
    /// over, a person's no stands for every repetition, and a few of them for everything of that kind:
    /// asking again until somebody is tired is no way to an approval.
    pub(crate) async fn open(&self, held: Held) -> Result<(HoldRecord, bool), Problem> {
        if matches!(held.action.request(), AnyRequest::Http(request) if request.body == HttpBody::Streamed)
        {
            return Err(Problem::Unstorable);
        }
        let operation = held.operation;
        let new = NewHold {
            session: self.session.clone(),
            digest: held.digest,
            action: held.action,
            environment: held.environment,
            effect: held.effect,
            flags: held.flags,
            resources: held.resources,
            summary: held.summary,
            preview: held.preview,
            shown: held.shown,
            approvers: held.approvers,
            decide_within: DECIDE_WITHIN,
            use_within: USE_WITHIN,
        };
        self.with_store(move |store| {
            let now = store.now()?;
            let denied = store
                .holds(Some(&new.session), &[HoldState::Denied])?
                .into_iter()
                .rfind(|hold| hold.digest == new.digest && hold.decide_by > now);
            if let Some(hold) = denied {
                return Ok(Ok((hold, false)));
            }
            let is_open = store
                .open_hold_by_digest(&new.session, new.digest)?
                .is_some();
            if !is_open {
                let host = &new.action.request().target().host;
                let no = store.turned_down(&new.session, host, &operation, IN_VAIN_WITHIN)?;
                let of_kind = no.of_kind >= MOST_IN_VAIN;
                if of_kind || no.together >= MOST_IN_VAIN_TOGETHER {
                    let times = if of_kind { no.of_kind } else { no.together };
                    return Ok(Err(Problem::InVain { times, of_kind }));
                }
            }
            let opened = store.open_hold(&new)?;
            Ok(Ok((opened.hold, opened.fresh)))
        })
        .await?
    }

    /// Waits until somebody has answered, as long as the session's hold-wait.
    pub(crate) async fn answered(&self, id: &HoldId) -> Result<Answered, Problem> {
        let deadline = Instant::now() + self.wait;
        let mut changes = self.answered.clone();
        loop {
            changes.mark_unchanged();
            let hold = {
                let id = id.clone();
                self.with_store(move |store| store.hold(&id)).await?
            };
            match hold.state {
                HoldState::Pending => {}
                HoldState::Approved => return Ok(Answered::Approved(Box::new(hold))),
                HoldState::Denied => {
                    return Ok(Answered::Denied(Denial {
                        by: hold.answered_by,
                        reason: hold.reason,
                    }));
                }
                state => return Ok(Answered::Gone(state)),
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                // Nobody watches the store any more, or the time is over: the agent comes back.
                Ok(Err(_)) | Err(_) => return Ok(Answered::Pending),
            }
        }
    }

    /// Checks the signatures behind an approved hold; who they are of.
    pub(crate) async fn verified(&self, hold: &HoldRecord) -> Result<Vec<String>, String> {
        let id = hold.id.clone();
        let (now, rows) = self
            .with_store(move |store| Ok((store.now()?, store.approvals(&id)?)))
            .await
            .map_err(|_| "the approvals could not be read.".to_owned())?;
        let approvers =
            verify_all(hold, &rows, &self.enrolled, now).map_err(|error| format!("{error}."))?;
        Ok(approvers.iter().map(ToString::to_string).collect())
    }

    /// Uses an approval up; `true` for one caller. An error counts as used.
    pub(crate) async fn use_once(&self, id: &HoldId) -> bool {
        let is_first = self
            .used
            .lock()
            .is_ok_and(|mut used| used.insert(id.clone()));
        if !is_first {
            return false;
        }
        let id = id.clone();
        self.with_store(move |store| store.use_once(&id))
            .await
            .unwrap_or(false)
    }

    /// Voids a hold. When that fails it stays approved, and every use judges it anew.
    pub(crate) async fn supersede(&self, id: &HoldId) {
        let id = id.clone();
        let _ = self.with_store(move |store| store.supersede(&id)).await;
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        // Nobody closes it; if somebody did, the store would still be behind its lock.
        let _turn = self.turn.acquire().await;
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            let store = store
                .lock()
                .map_err(|_| Problem::Store("it failed before".to_owned()))?;
            work(&store).map_err(Problem::from)
        })
        .await
        .map_err(|_| Problem::Store("its thread ended".to_owned()))?
    }
}
