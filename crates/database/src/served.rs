//! What the gate of every system has at hand: the databases, who decides, and what was shown with a hold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tagout_authority::Authority;
use tagout_core::{HoldId, HostName};
use tagout_net::{Destination, NetError, SessionCa, Upstream};

use crate::{Database, ReachError, Reached};

/// The databases of one system in a session. `B` is what an approval is bound to.
pub struct ServedDatabases<B> {
    authority: Authority,
    upstream: Arc<Upstream>,
    ca: Arc<SessionCa>,
    databases: Vec<Arc<Database>>,
    /// What was shown with each hold.
    shown: Mutex<HashMap<HoldId, Option<B>>>,
}

impl<B> ServedDatabases<B> {
    /// Those of a session's.
    pub fn new(
        authority: Authority,
        upstream: Arc<Upstream>,
        ca: Arc<SessionCa>,
        databases: Vec<Database>,
    ) -> Self {
        Self {
            authority,
            upstream,
            ca,
            databases: databases.into_iter().map(Arc::new).collect(),
            shown: Mutex::default(),
        }
    }

    /// Who decides.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The way to servers.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What signs certificates for clients inside.
    pub fn ca(&self) -> &SessionCa {
        &self.ca
    }

    /// Whether a connection to `destination` on `port` is for one of them.
    pub fn serves(&self, destination: &Destination, port: u16) -> bool {
        matches!(destination, Destination::Known(host) if self.at(host, port).next().is_some())
    }

    /// Those of the server at `host` and `port`.
    pub fn at(&self, host: &HostName, port: u16) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.iter().filter(move |database| {
            database.endpoint.inside == *host && database.endpoint.port == port
        })
    }

    /// Whether `database` is of a protected environment.
    pub fn is_protected(&self, database: &Database) -> bool {
        let task = self.authority.task();
        task.database(&database.name).is_none_or(|grant| {
            task.environments_of_database(grant)
                .into_iter()
                .any(|name| task.is_protected(Some(name)))
        })
    }

    /// How often the password of `database` has changed in this session.
    pub fn generation(&self, database: &Database) -> u64 {
        let credentials = self.authority.broker().credentials();
        let known = credentials.iter().find(|known| known.name == database.name);
        known.map_or(1, |known| known.generation)
    }

    /// Connects to the server of `database`, where the task may. `socket` makes the path of a socket of its
    /// place.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn reach<'d>(
        &self,
        database: &'d Database,
        socket: impl FnOnce(&str) -> String,
    ) -> Result<Reached<'d>, ReachError> {
        let admission = self
            .authority
            .admit(&database.target())
            .await
            .map_err(|refusal| ReachError::Refused(Box::new(refusal)))?;
        let over = async { Ok(self.upstream.connect_opaque(&admission).await?) };
        database.reach(socket, over).await
    }

    /// Notes what was shown with a hold. Who joins it later was not shown anything.
    pub fn remember(&self, hold: &HoldId, bound: Option<B>) {
        self.shown().entry(hold.clone()).or_insert(bound);
    }

    /// What was shown with a hold that is used now.
    pub fn take_shown(&self, hold: &HoldId) -> Option<B> {
        self.shown().remove(hold).flatten()
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<HoldId, Option<B>>> {
        // Entries are put in whole.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a client's handshake failed.
    pub async fn record_handshake(&self, host: &HostName, port: u16, why: &NetError) {
        let fields = json!({"host": host, "port": port, "error": why.to_string()});
        // The connection ends either way.
        let _ = self.authority.record().append("handshake", fields).await;
    }

    /// Records that a client asked for what the task was not given at `host`, and names what it was given.
    pub async fn refuse_login(&self, host: &HostName, port: u16) -> String {
        let fields = json!({
            "host": host,
            "port": port,
            "verdict": "deny",
            "reason": "another database or user than the task was given",
        });
        // The login is refused either way.
        let _ = self.authority.record().append("connection", fields).await;
        let granted = self.at(host, port);
        let names: Vec<_> = granted
            .map(|database| format!("{} as {}", database.endpoint.database, database.user))
            .collect();
        names.join(" and ")
    }
}
