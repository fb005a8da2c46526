//! Reads of databases that were allowed before. A program asks the same of the same tables thousands of times
//! a second; each is judged, and what it does was judged and recorded durably with the first of its kind,
//! so the next ones are recorded without waiting for the disk.
//!
//! What must stay true: only what reads stands; every one is in the ledger, by its own digest, before its
//! outcome can be told from it; when the ledger fails or falls behind, all wait for it again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tagout_core::{Action, AnyRequest, Effect};

use crate::judge::Judged;
use crate::record::Record;

/// Kinds that are remembered.
const MOST_KINDS: usize = 4096;
/// Entries that may wait for the disk; more than these, and everybody waits.
const MOST_UNSETTLED: usize = 1024;

/// The kinds of reads that were allowed, with the entry of the first of each.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<HashMap<String, u64>>);

impl Standing {
    /// What kind of read `action` is: all that its entry says of it but the digest. `None` where it does
    /// anything else, or is anything but a statement for a database.
    pub(crate) fn kind(action: &Action<AnyRequest>, judged: &Judged) -> Option<String> {
        let AnyRequest::Database(request) = action.request() else {
            return None;
        };
        let mut operations = action.operations().iter();
        let only_reads = operations.all(|operation| operation.effect == Effect::Read);
        if !only_reads || action.operations().is_empty() || !action.faults().is_empty() {
            return None;
        }
        let kind = (
            &request.target,
            request.system,
            (&request.database, &request.user, &request.search_path),
            action.operations(),
            action.credentials(),
            &judged.resources,
            &judged.environment,
        );
        serde_json::to_string(&kind).ok()
    }

    /// The entry of the first of that kind, where the next one need not wait.
    pub(crate) fn first(&self, kind: &str, record: &Record) -> Option<u64> {
        record
            .unsettled()
            .filter(|unsettled| *unsettled < MOST_UNSETTLED)?;
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.get(kind).copied()
    }

    /// Notes one that is recorded durably.
    pub(crate) fn add(&self, kind: String, sequence: u64) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= MOST_KINDS {
            kinds.clear();
        }
        kinds.insert(kind, sequence);
    }
}
