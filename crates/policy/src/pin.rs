//! Pins: how a manifest says which things of the world belong to an environment. By id, never by a
//! name that somebody can give to something else.

use std::fmt;

use tagout_core::{HostPattern, ResourceId};

/// Systems that product and manifest know and that no gate of this version reaches. A pin of theirs
/// is kept: it says what an environment is, and nothing can act on it yet.
const WITHOUT_GATE: &[&str] = &["aws", "mysql", "postgres", "redis"];

/// Something that belongs to an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// `railway:environment/e-prd`: what a provider pack resolves to.
    Resource(ResourceId),
    /// `host:*.prod.example.com`.
    Host(HostPattern),
    /// `postgres:db.example.com/app`: of a system that no gate of this version reaches.
    Elsewhere(String),
}

impl Pin {
    /// Reads a pin; `knows_provider` tells whether a pack has that name.
    ///
    /// # Errors
    /// A sentence that says what a pin may be. A provider that nothing knows is an error, since a
    /// mistyped one would silently protect nothing.
    pub(crate) fn parse(text: &str, knows_provider: impl Fn(&str) -> bool) -> Result<Self, String> {
        let Some((provider, rest)) = text.split_once(':') else {
            return Err(
                "a resource is written provider:kind/id, or host: and a host name".to_owned(),
            );
        };
        if provider == "host" {
            return HostPattern::parse(rest)
                .map(Self::Host)
                .map_err(|error| format!("not a host or *.suffix: {error}"));
        }
        if knows_provider(provider) {
            return text
                .parse()
                .map(Self::Resource)
                .map_err(|error| format!("{error}"));
        }
        let plain = |byte: u8| byte.is_ascii_graphic();
        if WITHOUT_GATE.contains(&provider) && !rest.is_empty() && rest.bytes().all(plain) {
            return Ok(Self::Elsewhere(text.to_owned()));
        }
        Err(format!(
            "no provider `{}` is known; a resource is written provider:kind/id, or host: and a \
             host name",
            provider.escape_default()
        ))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(resource) => resource.fmt(f),
            Self::Host(pattern) => write!(f, "host:{pattern}"),
            Self::Elsewhere(text) => f.write_str(text),
        }
    }
}
