//! The ledger as the authority and the gates write it: an entry a fact, durable before anyone goes
//! on. What is written here was redacted before.

use std::sync::Arc;

use tagout_core::json::Json;
use tagout_ledger::{Ledger, LedgerError};

/// A handle on the session's ledger.
#[derive(Clone)]
pub struct Record {
    ledger: Arc<Ledger>,
}

impl Record {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }

    /// Appends an entry and waits until it is durable. The number proves that it is there.
    ///
    /// # Errors
    /// When the ledger cannot be written; then nothing may be released.
    pub async fn append(&self, kind: &'static str, fields: Json) -> Result<u64, LedgerError> {
        self.ledger.append(kind, fields).await
    }

    /// Appends an entry without waiting: for what has happened already, so that nothing is released on
    /// it. Whatever is appended later is durable only after this, and [`tagout_ledger::Ledger::finish`]
    /// waits for all of it.
    pub fn follow_up(&self, kind: &'static str, fields: Json) {
        self.ledger.append_later(kind, fields);
    }

    /// How many entries are not durable yet; `None` once nothing can be recorded any more.
    pub(crate) fn unsettled(&self) -> Option<usize> {
        self.ledger.unsettled()
    }
}
