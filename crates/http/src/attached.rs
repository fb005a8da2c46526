//! What was attached in a session, and on which host. A host may echo a credential long after the
//! request that carried it, so every later answer of that host is cleaned of it too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tagout_core::{CredentialUse, HostName};
use tagout_credentials::Broker;
use tagout_secrets::Redactor;

/// Attached credentials by host. A task has a handful of both.
#[derive(Default)]
pub(crate) struct Attached {
    hosts: Mutex<HashMap<HostName, OnHost>>,
}

struct OnHost {
    uses: Vec<CredentialUse>,
    /// Made once for each set of uses: it is an automaton over every spelling of every value.
    redactor: Redactor,
}

impl Attached {
    /// Whether anything was ever attached on `host`.
    pub(crate) fn is_on(&self, host: &HostName) -> bool {
        self.hosts().contains_key(host)
    }

    /// Remembers what is about to be attached, and gives a redactor of everything that ever was on
    /// this host; `None` when nothing was.
    pub(crate) fn on(
        &self,
        host: &HostName,
        uses: &[CredentialUse],
        broker: &Broker,
    ) -> Option<Redactor> {
        let mut hosts = self.hosts();
        let known = hosts.get(host);
        let is_new = |used: &&CredentialUse| known.is_none_or(|known| !known.uses.contains(used));
        let new: Vec<_> = uses.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            let mut all = known.map(|known| known.uses.clone()).unwrap_or_default();
            all.extend(new);
            let on_host = OnHost {
                redactor: broker.redactor(&all),
                uses: all,
            };
            hosts.insert(host.clone(), on_host);
        }
        hosts
            .get(host)
            .map(|known| known.redactor.for_another_stream())
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostName, OnHost>> {
        // Entries are replaced whole, so one that is there is complete.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
