//! A database that the task was given: where it is, who logs in there, and what stands for the password
//! inside.

use tagout_core::{CredentialUse, Target, Transport};
use tagout_credentials::Secret;
use tagout_database::Place;
use tagout_net::DatabaseTls;
use tagout_policy::Endpoint;

/// A database of a session.
pub struct Database {
    /// Its name in the manifest.
    pub name: String,
    /// Where it is; the database is a number.
    pub endpoint: Endpoint,
    /// Where its server listens.
    pub place: Place,
    /// Who logs in, where the URL says.
    pub user: Option<String>,
    /// The password, where the URL has one.
    pub password: Option<Secret>,
    /// What a client inside has to know instead, any of them: the decoy, and a password that anybody
    /// could guess. With none, nothing is asked; only programs of the sandbox reach the gate.
    pub accepted: Vec<String>,
    /// How TLS is spoken with the server, where it is.
    pub tls: Option<DatabaseTls>,
}

impl Database {
    /// Its server, as authority and ledger speak of it.
    pub fn target(&self) -> Target {
        Target {
            transport: match self.tls {
                None => Transport::Plain,
                Some(_) => Transport::Tls,
            },
            host: self.endpoint.inside.clone(),
            port: self.endpoint.port,
        }
    }

    /// The user, as servers call the one that a client without a name is.
    pub(crate) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    /// What every action on it uses.
    pub(crate) fn credential_use(&self, generation: u64) -> CredentialUse {
        CredentialUse {
            name: self.name.clone(),
            generation,
            slot: "password".to_owned(),
        }
    }

    /// Whether a client that says this may use it.
    pub(crate) fn lets_in(&self, user: Option<&[u8]>, password: &[u8]) -> bool {
        // redis-cli makes an empty one of `redis://:PASSWORD@HOST`.
        let is_user = user.is_none_or(|user| user.is_empty() || user == self.user().as_bytes());
        let mut accepted = self.accepted.iter();
        is_user && accepted.any(|known| known.as_bytes() == password)
    }
}
