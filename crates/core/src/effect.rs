//! What an operation does to the world: an effect on one ordered scale, flags that are independent
//! of it, and how much of the provider's state it can touch. The words are those of the product
//! description and appear unchanged in policies, ledgers and on screen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much is lost when the operation turns out to be a mistake. Ordered: a request that carries
/// several operations has the strictest of their effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes state; an ordinary inverse undoes it and no data is lost.
    Write,
    /// Removes or overwrites data, history, resources or availability; getting it back needs a
    /// backup, a retention window or a rebuild.
    Destructive,
    /// Destroys data together with its recovery path, or acts on the outside world with no inverse.
    Irreversible,
}

impl Effect {
    /// Every effect, mildest first.
    pub const ALL: [Self; 4] = [
        Self::Read,
        Self::Write,
        Self::Destructive,
        Self::Irreversible,
    ];

    /// The word used in manifests, policies and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
            Self::Irreversible => "irreversible",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Effect {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|effect| effect.as_str() == word)
            .ok_or(())
    }
}

/// Something about an operation that its effect does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The answer contains secret values.
    SecretRead,
    /// The answer contains a credential that did not exist before.
    CredentialMint,
    /// Changes who may act, or where.
    PermissionChange,
    /// Makes the provider send caller-chosen data to a caller-chosen place.
    Egress,
    /// Runs caller-chosen code.
    Exec,
    /// Changes what is paid.
    Billing,
}

impl Flag {
    /// Every flag, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::SecretRead,
        Self::CredentialMint,
        Self::PermissionChange,
        Self::Egress,
        Self::Exec,
        Self::Billing,
    ];

    /// The word used in policies and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecretRead => "secret_read",
            Self::CredentialMint => "credential_mint",
            Self::PermissionChange => "permission_change",
            Self::Egress => "egress",
            Self::Exec => "exec",
            Self::Billing => "billing",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Flag {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|flag| flag.as_str() == word)
            .ok_or(())
    }
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with `flag` added.
    #[must_use]
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u8)
    }

    /// What either set has.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `flag` is in the set.
    pub const fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether the set has no flag.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags of the set, in the order of [`Flag::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .into_iter()
            .filter(move |flag| self.contains(*flag))
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        flags.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Flags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Flag>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

/// How much of a provider's state an operation can touch. Ordered from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Plain hosts and model hosts: there are no resources to speak of.
    None,
    /// Identity, names and ids; nothing of a resource's state or data.
    Account,
    /// Resources that live in an environment.
    Resources,
}

impl Scope {
    /// The word used in policies and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Account => "account",
            Self::Resources => "resources",
        }
    }
}
