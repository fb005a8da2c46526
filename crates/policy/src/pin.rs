//! Pins: how a manifest says which things of the world belong to an environment. By id, never by a
//! name that somebody can give to something else.

use std::fmt;

use tagout_core::{DatabaseSystem, HostPattern, ResourceId};

use crate::task::Endpoint;

/// Systems that product and manifest know and that no gate of this version reaches. A pin of theirs
/// is kept: it says what an environment is, and nothing can act on it yet.
const WITHOUT_GATE: &[&str] = &["aws"];

/// Something that belongs to an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// `railway:environment/e-prd`: what a provider pack resolves to.
    Resource(ResourceId),
    /// `host:*.prod.example.com`.
    Host(HostPattern),
    /// `postgres:db.example.com/app`, with `:PORT` behind the host where it is not the usual one.
    Database(DatabasePin),
    /// `aws:account/1234`: of a system that no gate of this version reaches.
    Elsewhere(String),
}

/// A database, or all of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePin {
    system: DatabaseSystem,
    /// As in the database's URL: a name or an address, in lower case.
    host: String,
    /// Any port of that host where none is named.
    port: Option<u16>,
    /// Every database of the server where none is named.
    database: Option<String>,
}

impl DatabasePin {
    fn parse(system: DatabaseSystem, text: &str) -> Option<Self> {
        let (place, database) = match text.split_once('/') {
            Some((_, "")) => return None,
            Some((place, database)) => (place, Some(database.to_owned())),
            None => (text, None),
        };
        // An address of version 6 stands in brackets, as in a URL.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (place, None),
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
        (!host.is_empty() && host.bytes().all(plain)).then(|| Self {
            system,
            host: host.to_ascii_lowercase(),
            port,
            database,
        })
    }

    /// Whether it is `endpoint`'s database.
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        self.system == endpoint.system
            && self.host == endpoint.outside.to_ascii_lowercase()
            && self.port.is_none_or(|port| port == endpoint.port)
            && self
                .database
                .as_ref()
                .is_none_or(|name| *name == endpoint.database)
    }
}

impl fmt::Display for DatabasePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.system.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match &self.database {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
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
        if let Some(system) = DatabaseSystem::parse(provider) {
            return DatabasePin::parse(system, rest)
                .map(Self::Database)
                .ok_or_else(|| {
                    format!(
                        "a database is written {provider}:HOST/DATABASE or {provider}:HOST:PORT/DATABASE"
                    )
                });
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
            Self::Database(pin) => pin.fmt(f),
            Self::Elsewhere(text) => f.write_str(text),
        }
    }
}
