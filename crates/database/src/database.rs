//! A database that the task was given: where it is, who logs in there, and what stands for the password
//! inside.

use tagout_core::{Action, CredentialUse, DatabaseRequest, Fault, Operation, Parameter, Target};
use tagout_credentials::Secret;
use tagout_net::{DatabaseTls, Verification};
use tagout_policy::Endpoint;

use crate::{Place, SslMode, Trust};

/// A database of a session.
pub struct Database {
    /// Its name in the manifest.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Where its server listens.
    pub place: Place,
    /// Who logs in.
    pub user: String,
    /// The password, where the URL has one.
    pub password: Option<Secret>,
    /// What a client inside has to know instead, any of them: the decoy, and a password that anybody
    /// could guess. With none, nothing is asked; only programs of the sandbox reach the gate.
    pub accepted: Vec<String>,
    /// What the URL wants a server of PostgreSQL to set (`options`).
    pub options: Option<String>,
    /// What the URL says of encryption; see [`SslMode::or_usual`].
    pub ssl_mode: SslMode,
    /// How TLS is spoken with the server, where it is.
    pub tls: DatabaseTls,
}

impl Database {
    /// Its server, as authority and ledger speak of it.
    pub fn target(&self) -> Target {
        Target {
            transport: self.ssl_mode.transport(),
            host: self.endpoint.inside.clone(),
            port: self.endpoint.port,
        }
    }

    /// What is known of whoever answers, once encrypted or not.
    pub fn trust(&self, is_encrypted: bool) -> Trust {
        match self.tls.verification {
            Verification::Full | Verification::Authority if is_encrypted => Trust::Verified,
            _ if self.place.is_here() => Trust::Verified,
            _ => Trust::Unverified,
        }
    }

    /// What sending `text` with `parameters` to it is, with the operations and faults that were found there.
    /// `generation` says how often its password has changed in this session.
    pub fn action(
        &self,
        (text, parameters): (String, Vec<Parameter>),
        search_path: Option<String>,
        (operations, faults): (Vec<Operation>, Vec<Fault>),
        generation: u64,
    ) -> Action<DatabaseRequest> {
        let request = DatabaseRequest {
            target: self.target(),
            system: self.endpoint.system,
            database: self.endpoint.database.clone(),
            user: self.user.clone(),
            search_path,
            text,
            parameters,
        };
        let login = CredentialUse {
            name: self.name.clone(),
            generation,
            slot: "password".to_owned(),
        };
        Action::new(request, operations, vec![login], faults, false)
    }
}
