//! What a gate needs to go on: an [`Admission`] to dial, a [`Permit`] to send. Only the authority
//! makes them, and only after the verdict behind them was written to the ledger and synced (of a read of a
//! database: the verdict on the first of its kind), so a gate that has one in its hands cannot have skipped a
//! step.

use std::sync::Arc;

use serde_json::json;
use tagout_core::json::Json;
use tagout_core::{Action, AnyRequest, Digest, HoldId, HttpRequest, Request, Target};
use tagout_credentials::Broker;

use crate::record::Record;

/// Leave to resolve a name and dial it.
#[derive(Debug)]
pub struct Admission {
    target: Target,
    inspect: bool,
    sequence: u64,
}

impl Admission {
    pub(crate) fn new(target: Target, inspect: bool, sequence: u64) -> Self {
        Self {
            target,
            inspect,
            sequence,
        }
    }

    /// What may be dialled.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether requests on this connection are read. When not, TLS is passed through and no
    /// credential can be attached.
    pub fn inspect(&self) -> bool {
        self.inspect
    }

    /// The ledger entry of the verdict.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Leave to send one action, once. Dropping it without [`Permit::outcome`] leaves an intent without
/// an outcome in the ledger, which is what happened.
pub struct Permit<R = HttpRequest> {
    action: Action<R>,
    sequence: u64,
    approved: Option<HoldId>,
    /// Of a read whose like was allowed before: what is recorded of this one, when it is over.
    again: Option<Again>,
    broker: Arc<Broker>,
    record: Record,
}

/// The one entry of a read whose like was allowed before. Dropped untold, it is recorded without an
/// outcome.
struct Again {
    digest: Digest,
    intent: u64,
    record: Record,
    is_told: bool,
}

impl Again {
    fn tell(&mut self, mut fields: Json) {
        self.is_told = true;
        fields["intent"] = json!(self.intent);
        fields["digest"] = json!(self.digest);
        self.record.follow_up("again", fields);
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(json!({"error": "no outcome"}));
        }
    }
}

/// How sending went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The answer's status, when there was an answer.
    pub status: Option<u16>,
    /// What failed, when something did. Never contains a secret.
    pub error: Option<String>,
    /// Bytes of content sent.
    pub request_bytes: u64,
    /// Bytes of content received.
    pub response_bytes: u64,
}

impl Permit<AnyRequest> {
    pub(crate) fn new(
        action: Action<AnyRequest>,
        sequence: u64,
        approved: Option<HoldId>,
        broker: Arc<Broker>,
        record: Record,
    ) -> Self {
        Self {
            action,
            sequence,
            approved,
            again: None,
            broker,
            record,
        }
    }

    /// The same for a read whose like was allowed before, by the entry `intent`.
    pub(crate) fn again(
        action: Action<AnyRequest>,
        digest: Digest,
        intent: u64,
        broker: Arc<Broker>,
        record: Record,
    ) -> Self {
        let again = Again {
            digest,
            intent,
            record: record.clone(),
            is_told: false,
        };
        Self {
            again: Some(again),
            ..Self::new(action, intent, None, broker, record)
        }
    }

    /// For the gate that asked. `None` where the action is another gate's, which the digest rules out.
    pub(crate) fn narrow<R: Request>(self) -> Option<Permit<R>> {
        Some(Permit {
            action: Action::narrow(self.action)?,
            sequence: self.sequence,
            approved: self.approved,
            again: self.again,
            broker: self.broker,
            record: self.record,
        })
    }
}

impl<R> Permit<R> {
    /// What is to be sent. For an approved hold this is the request that was stored and shown, not
    /// the retry's.
    pub fn action(&self) -> &Action<R> {
        &self.action
    }

    /// The ledger entry that proves the verdict was recorded.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hold that a person approved, where it took one.
    pub fn approved(&self) -> Option<&HoldId> {
        self.approved.as_ref()
    }

    /// The broker that attaches this action's credentials, and those alone, through
    /// [`Action::credentials`].
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Records how it went, without waiting for the disk: the action has happened, nothing is released on
    /// this, and the next verdict is durable only after it. Should the ledger be closed, the missing
    /// outcome says so.
    pub fn outcome(self, outcome: Outcome) {
        let mut fields = json!({
            "status": outcome.status,
            "error": outcome.error.map(|error| self.broker.redact_text(&error)),
            "request_bytes": outcome.request_bytes,
            "response_bytes": outcome.response_bytes,
        });
        // The ledger is poisoned after an error, and every later verdict then denies.
        match self.again {
            Some(mut again) => again.tell(fields),
            None => {
                fields["intent"] = json!(self.sequence);
                self.record.follow_up("outcome", fields);
            }
        }
    }
}
