//! One credential of a session: whose it is, where it may go, and the value that goes there.

use std::fmt;

use tagout_catalog::{SlotPlace, fold_field_name, pack};
use tagout_core::{HostName, HostPattern};

use crate::repository::Repository;
use crate::value::{Decoy, Secret};

/// A credential, bound to hosts and to the slots in which they take it.
#[derive(Clone)]
pub struct Credential {
    /// Its name in the manifest.
    pub name: String,
    /// A provider pack's name, or `http`.
    pub provider: String,
    /// Where it may go.
    pub hosts: Vec<HostPattern>,
    /// In which slots.
    pub slots: Vec<SlotPlace>,
    /// The value.
    pub secret: Secret,
    /// What the agent has instead.
    pub decoy: Decoy,
    /// Counts up when source or value change.
    pub generation: u64,
    /// The git repository that it is for, where it is for one: it goes nowhere else of its hosts then.
    pub repository: Option<Repository>,
}

/// A credential that cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No pack has the provider's name.
    #[error(
        "credential `{name}`: there is no provider `{provider}`; name one that Tagout knows, or \"http\" with hosts and a slot"
    )]
    UnknownProvider {
        /// The credential.
        name: String,
        /// What the manifest says.
        provider: String,
    },
    /// `http` without a host or a slot.
    #[error(
        "credential `{name}`: provider \"http\" needs hosts = [...] and slot = \"header:NAME\""
    )]
    Unbound {
        /// The credential.
        name: String,
    },
}

impl Credential {
    /// Binds a credential as its manifest entry says: to its pack's hosts and slots, or, for
    /// `provider = "http"`, to `hosts` and the header field `header`.
    ///
    /// # Errors
    /// When the provider is unknown, or `http` lacks a host or a header.
    pub fn bind(
        name: &str,
        provider: &str,
        hosts: &[HostPattern],
        header: Option<&str>,
        (secret, decoy): (Secret, Decoy),
        generation: u64,
    ) -> Result<Self, CredentialError> {
        let (hosts, slots) = match (provider, header) {
            ("http", Some(header)) if !hosts.is_empty() => {
                let place = SlotPlace::Header {
                    name: fold_field_name(header),
                    scheme: None,
                };
                (hosts.to_vec(), vec![place])
            }
            ("http", _) => {
                return Err(CredentialError::Unbound {
                    name: name.to_owned(),
                });
            }
            _ => {
                let pack = pack(provider).ok_or_else(|| CredentialError::UnknownProvider {
                    name: name.to_owned(),
                    provider: provider.to_owned(),
                })?;
                (pack.hosts().to_vec(), pack.slots().to_vec())
            }
        };
        Ok(Self {
            name: name.to_owned(),
            provider: provider.to_owned(),
            hosts,
            slots,
            secret,
            decoy,
            generation,
            repository: None,
        })
    }

    /// Binds it to fewer slots where the name of the variable that holds the decoy tells which kind of
    /// credential it is: Railway takes a project's token in another header than an account's.
    #[must_use]
    pub fn exposed_as(mut self, variable: Option<&str>) -> Self {
        let slots = variable
            .zip(pack(&self.provider))
            .and_then(|(variable, pack)| pack.slots_of_variable(variable));
        if let Some(slots) = slots {
            self.slots = slots.to_vec();
        }
        self
    }

    /// Whether it may go to `host` at all.
    pub fn is_bound_to(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("hosts", &self.hosts)
            .field("slots", &self.slots)
            .field("decoy", &self.decoy)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
