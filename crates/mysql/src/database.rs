//! A database that the task was given: where it is, who logs in there, and what stands for the password
//! inside.

use tagout_core::{CredentialUse, Target, Transport};
use tagout_credentials::Secret;
use tagout_database::{Place, is_this_machine};
use tagout_net::{DatabaseTls, Verification};
use tagout_policy::Endpoint;

use crate::Trust;
use crate::url::SslMode;

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
    /// What the URL says of encryption; see [`SslMode::or_usual`].
    pub ssl_mode: SslMode,
    /// How TLS is spoken with the server, where it is.
    pub tls: DatabaseTls,
}

impl SslMode {
    /// What a URL that says nothing means: verified, but for a server on this machine.
    pub fn or_usual(mode: Option<Self>, place: &Place) -> Self {
        match (mode, place) {
            // Nobody can stand between.
            (_, Place::Socket(_)) => Self::Disabled,
            (Some(mode), _) => mode,
            (None, Place::Host(host)) if is_this_machine(host) => Self::Preferred,
            (None, Place::Host(_)) => Self::VerifyIdentity,
        }
    }

    /// What the server's certificate has to prove; `has_root` where the URL names an authority.
    pub fn verification(self, has_root: bool) -> Verification {
        match self {
            Self::VerifyIdentity => Verification::Full,
            Self::VerifyCa => Verification::Authority,
            // Whoever gives an authority means it.
            Self::Required if has_root => Verification::Authority,
            Self::Disabled | Self::Preferred | Self::Required => Verification::Nothing,
        }
    }
}

impl Database {
    /// Its server, as authority and ledger speak of it.
    pub fn target(&self) -> Target {
        let transport = match self.ssl_mode {
            SslMode::Disabled | SslMode::Preferred => Transport::Plain,
            SslMode::Required | SslMode::VerifyCa | SslMode::VerifyIdentity => Transport::Tls,
        };
        Target {
            transport,
            host: self.endpoint.inside.clone(),
            port: self.endpoint.port,
        }
    }

    /// What every action on it uses.
    pub(crate) fn credential_use(&self, generation: u64) -> CredentialUse {
        CredentialUse {
            name: self.name.clone(),
            generation,
            slot: "password".to_owned(),
        }
    }

    /// What is known of whoever answers, once encrypted or not.
    pub(crate) fn trust(&self, is_encrypted: bool) -> Trust {
        match self.tls.verification {
            Verification::Full | Verification::Authority if is_encrypted => Trust::Verified,
            _ if self.place.is_here() => Trust::Verified,
            _ => Trust::Unverified,
        }
    }
}
