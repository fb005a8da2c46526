//! Operations and what they act on. A catalog makes these from a request; policies, holds and
//! ledgers speak of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Flags, Scope};
use crate::json::Json;

/// The text is not a name of the expected grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} may have {allowed}, 1 to {limit} of them")]
pub struct NameError {
    kind: &'static str,
    allowed: &'static str,
    limit: usize,
}

/// A named thing that a system can do, with its provider in front: `railway.volumeDelete`,
/// `http.POST`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationName(String);

impl OperationName {
    /// Reads `provider.operation` or `service:Operation`.
    ///
    /// # Errors
    /// When a character is not a letter, digit, `.`, `:`, `_`, `-`, or the name is empty or longer
    /// than 128 characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ok = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(ok) {
            return Err(NameError {
                kind: "an operation's name",
                allowed: "letters, digits and . : _ -",
                limit: 128,
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its provider, as a manifest writes it: `volumeDelete`.
    pub fn without_prefix(&self) -> &str {
        self.0
            .split_once(['.', ':'])
            .map_or(self.0.as_str(), |(_, name)| name)
    }
}

/// The name of an environment: `staging`, `production`, or one of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// Reads a name as a manifest writes it.
    ///
    /// # Errors
    /// When a character is not a letter, digit, `.`, `_`, `-`, or the name is empty or longer than
    /// 64 characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(ok) {
            return Err(NameError {
                kind: "an environment's name",
                allowed: "letters, digits and . _ -",
                limit: 64,
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The environment that everything unresolved counts as.
    pub fn production() -> Self {
        Self("production".to_owned())
    }

    /// The task's environment where no manifest names one.
    pub fn development() -> Self {
        Self("development".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A resource of a provider, by id: `railway:volume/3d2c42fb`. The id is the provider's own and of a
/// narrow grammar, so that an id an agent made up can travel as a variable and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

impl ResourceId {
    /// From its three parts.
    ///
    /// # Errors
    /// When provider or kind is not lower-case letters, digits and `-`, or the id has a character
    /// outside letters, digits, `.`, `_`, `-`, `*`, `/`, `:`, or the whole is longer than 200
    /// characters.
    pub fn new(provider: &str, kind: &str, id: &str) -> Result<Self, NameError> {
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let id_ok = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-*/:".contains(&b));
        if !word(provider) || !word(kind) || !id_ok || provider.len() + kind.len() + id.len() > 198
        {
            return Err(NameError {
                kind: "a resource (provider:kind/id)",
                allowed: "letters, digits and . _ - * / :",
                limit: 200,
            });
        }
        Ok(Self(format!("{provider}:{kind}/{id}")))
    }

    /// The whole, as shown and as pinned in a manifest.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `railway` of `railway:volume/3d2c42fb`.
    pub fn provider(&self) -> &str {
        self.0.split_once(':').map_or("", |(provider, _)| provider)
    }

    /// `volume` of `railway:volume/3d2c42fb`.
    pub fn kind(&self) -> &str {
        self.0
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(kind, _)| kind)
    }

    /// `3d2c42fb` of `railway:volume/3d2c42fb`.
    pub fn id(&self) -> &str {
        self.0
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, id)| id)
    }
}

impl FromStr for ResourceId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (provider, rest) = text.split_once(':').unwrap_or((text, ""));
        let (kind, id) = rest.split_once('/').unwrap_or((rest, ""));
        Self::new(provider, kind, id)
    }
}

macro_rules! text_type {
    ($name:ident, $parse:path) => {
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(OperationName, OperationName::parse);
text_type!(EnvironmentName, EnvironmentName::parse);
text_type!(ResourceId, str::parse);

/// One operation of a request, as a catalog recognised it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What is done.
    pub name: OperationName,
    /// Whether the catalog knows this operation. An unknown one is held or denied, never allowed.
    pub known: bool,
    /// What it does to the world, with these arguments.
    pub effect: Effect,
    /// What else it does, with these arguments.
    pub flags: Flags,
    /// How much it can touch.
    pub scope: Scope,
    /// What it acts on, as far as the request names it.
    pub resources: Vec<ResourceId>,
    /// Why the request does not tell everything that the operation acts on; then its environment is
    /// unresolved whatever `resources` says.
    pub unresolved: Option<String>,
    /// The arguments after variables and defaults were put in, for the digest and for the person who
    /// is asked.
    pub arguments: Json,
}
