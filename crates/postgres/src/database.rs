//! A database that the task was given: where it is, who logs in there, and what stands for the password
//! inside.

use std::net::IpAddr;
use std::sync::OnceLock;

use tagout_core::{CredentialUse, Target, Transport};
use tagout_credentials::{Decoy, Secret};
use tagout_net::{DatabaseTls, Verification};
use tagout_policy::Endpoint;

use crate::url::{Place, SslMode};
use crate::{ScramError, Trust, Verifier};

/// A database of a session.
pub struct Database {
    /// Its name in the manifest.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Where its server listens.
    pub place: Place,
    /// The role that logs in.
    pub user: String,
    /// Its password, where the URL has one.
    pub password: Option<Secret>,
    /// What a client inside has to know instead.
    pub decoy: Option<Decoy>,
    /// What the URL wants the server to set (`options`).
    pub options: Option<String>,
    /// What the URL says of encryption; see [`SslMode::or_usual`].
    pub ssl_mode: SslMode,
    /// How TLS is spoken with the server, where it is.
    pub tls: DatabaseTls,
    verifier: OnceLock<Verifier>,
}

impl SslMode {
    /// What a URL that says nothing means: verified, but for a server on this machine.
    pub fn or_usual(mode: Option<Self>, place: &Place) -> Self {
        match (mode, place) {
            // Nobody can stand between.
            (_, Place::Socket(_)) => Self::Disable,
            (Some(mode), _) => mode,
            (None, Place::Host(host)) if is_this_machine(host) => Self::Prefer,
            (None, Place::Host(_)) => Self::VerifyFull,
        }
    }

    /// What the server's certificate has to prove; `has_root` where the URL names an authority.
    pub fn verification(self, has_root: bool) -> Verification {
        match self {
            Self::VerifyFull => Verification::Full,
            Self::VerifyCa => Verification::Authority,
            // As libpq: whoever gives an authority means it.
            Self::Require if has_root => Verification::Authority,
            Self::Disable | Self::Prefer | Self::Require => Verification::Nothing,
        }
    }
}

/// Whether `host` is this machine's own loopback.
pub fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl Database {
    /// A database with all that its URL says.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        name: String,
        endpoint: Endpoint,
        place: Place,
        user: String,
        (password, decoy): (Option<Secret>, Option<Decoy>),
        options: Option<String>,
        ssl_mode: SslMode,
        tls: DatabaseTls,
    ) -> Self {
        Self {
            name,
            endpoint,
            place,
            user,
            password,
            decoy,
            options,
            ssl_mode,
            tls,
            verifier: OnceLock::new(),
        }
    }

    /// Its server, as authority and ledger speak of it.
    pub fn target(&self) -> Target {
        let transport = match self.ssl_mode {
            SslMode::Disable | SslMode::Prefer => Transport::Plain,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Transport::Tls,
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
        let is_here = match &self.place {
            Place::Socket(_) => true,
            Place::Host(host) => is_this_machine(host),
        };
        match self.tls.verification {
            Verification::Full | Verification::Authority if is_encrypted => Trust::Verified,
            _ if is_here => Trust::Verified,
            _ => Trust::Unverified,
        }
    }

    /// By which a client shows that it knows the decoy. Made once: it takes a thousand hashes.
    ///
    /// # Errors
    /// When the operating system gives no random bytes, or the decoy is no password.
    pub(crate) fn verifier(&self, decoy: &Decoy) -> Result<&Verifier, ScramError> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(verifier);
        }
        let mut salt = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut salt)
            .map_err(|_| ScramError::Message)?;
        let verifier = Verifier::new(decoy.as_str(), salt)?;
        Ok(self.verifier.get_or_init(|| verifier))
    }
}
