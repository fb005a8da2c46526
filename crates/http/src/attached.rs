//! What may be attached on a host, and so may stand in its answers. A host may echo a credential into
//! any answer: long after the request that carried it, into a stream that began before it, or after a
//! request of Tagout's own that the gate never sees. So every answer of a host is cleaned of every
//! credential that is bound to it, whatever was attached so far.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tagout_core::{CredentialUse, HostName};
use tagout_credentials::Broker;
use tagout_secrets::Redactor;

/// Redactors by host, each made once while nothing changes: it is an automaton over every spelling of
/// every value.
#[derive(Default)]
pub(crate) struct Attachable {
    redactors: Mutex<HashMap<HostName, Made>>,
}

/// A redactor, and the number of the broker's change from whose values it was made.
struct Made {
    redactor: Redactor,
    changes: u64,
}

/// Whether anything may be attached on `host`.
pub(crate) fn is_attachable(host: &HostName, broker: &Broker) -> bool {
    broker
        .credentials()
        .iter()
        .any(|credential| credential.is_bound_to(host))
}

impl Attachable {
    /// A redactor of everything that may be attached on `host`; `None` when nothing may.
    pub(crate) fn redactor(&self, host: &HostName, broker: &Broker) -> Option<Redactor> {
        if !is_attachable(host, broker) {
            return None;
        }
        let mut redactors = self
            .redactors
            .lock()
            // Entries are put in whole, so one that is there is complete.
            .unwrap_or_else(PoisonError::into_inner);
        // Asked before the credentials are: a change in between makes one redactor too many.
        let changes = broker.changes();
        if let Some(made) = redactors.get(host)
            && made.changes == changes
        {
            return Some(made.redactor.for_another_stream());
        }
        let bound: Vec<_> = broker
            .credentials()
            .iter()
            .filter(|credential| credential.is_bound_to(host))
            .map(|credential| CredentialUse {
                name: credential.name.clone(),
                generation: credential.generation,
                slot: String::new(),
            })
            .collect();
        let redactor = broker.redactor(&bound);
        let given = redactor.for_another_stream();
        redactors.insert(host.clone(), Made { redactor, changes });
        Some(given)
    }
}
