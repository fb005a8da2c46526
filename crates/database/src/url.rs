//! A database's URL as it stands in `DATABASE_URL` or `REDIS_URL` (RFC 3986), with the schemes of SQLAlchemy
//! (`postgresql+asyncpg`) and JDBC (`jdbc:mysql`). Which parameters mean something is each system's own.

use std::fmt::{self, Write as _};

use tagout_core::{DatabaseSystem, percent_decode};
use zeroize::Zeroizing;

use crate::Place;

/// A URL in its parts, decoded.
#[derive(Clone)]
pub struct ServerUrl {
    /// As written: `postgresql+asyncpg`.
    pub scheme: String,
    /// Who logs in.
    pub user: Option<String>,
    /// The password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Between login and port; empty where there is none.
    pub host: String,
    /// The port, where the URL has one.
    pub port: Option<u16>,
    /// What stands behind the first `/`.
    pub path: Option<String>,
    /// What stands behind the `?`, in its order.
    pub parameters: Vec<(String, String)>,
}

/// Why a URL cannot be used. Never quotes it: a password stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme, or one of another system.
    #[error("it does not begin with {}", schemes())]
    Scheme,
    /// MongoDB's.
    #[error(
        "MongoDB has no gate, so nothing of it is reached from inside; let the task work on one that it may lose, with `local = PORT` in tagout.toml, which passes unread"
    )]
    Mongo,
    /// More than one host.
    #[error("it names several hosts; name one")]
    Hosts,
    /// The port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// What is encoded is not text.
    #[error("it encodes text that is not UTF-8")]
    Encoding,
    /// A parameter without `=`.
    #[error("a parameter behind the ? has no =")]
    Parameter,
    /// A parameter that says how far TLS goes.
    #[error("its {name} is none of {known}")]
    Encryption {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        known: &'static str,
    },
    /// One of two parameters that belong together.
    #[error("it has one of {0} and {1}; it needs both")]
    ClientCertificate(&'static str, &'static str),
    /// No host.
    #[error("it names no host; write SCHEME://USER:PASSWORD@HOST/DATABASE")]
    Place,
    /// What names a database does not.
    #[error("its database is not {0}")]
    Database(&'static str),
}

/// The schemes of URLs, and whose they are.
const SCHEMES: &[(&str, DatabaseSystem)] = &[
    ("mysql", DatabaseSystem::MySql),
    ("mariadb", DatabaseSystem::MySql),
    // Ruby on Rails.
    ("mysql2", DatabaseSystem::MySql),
    ("redis", DatabaseSystem::Redis),
    ("rediss", DatabaseSystem::Redis),
    ("valkey", DatabaseSystem::Redis),
    ("valkeys", DatabaseSystem::Redis),
    ("postgres", DatabaseSystem::Postgres),
    ("postgresql", DatabaseSystem::Postgres),
];

fn schemes() -> String {
    let (last, others) = match SCHEMES.split_last() {
        Some((last, others)) => (last.0, others),
        None => return String::new(),
    };
    let others: Vec<_> = others
        .iter()
        .map(|(scheme, _)| format!("{scheme}://"))
        .collect();
    format!("{} or {last}://", others.join(", "))
}

/// Whose database a URL names.
///
/// # Errors
/// [`UrlError::Scheme`].
pub fn system_of(text: &str) -> Result<DatabaseSystem, UrlError> {
    let (scheme, _) = text.trim().split_once("://").ok_or(UrlError::Scheme)?;
    if ["mongodb", "mongodb+srv"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(UrlError::Mongo);
    }
    let scheme = scheme.strip_prefix("jdbc:").unwrap_or(scheme);
    // The driver of SQLAlchemy's stands behind the plus sign.
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    let known = SCHEMES
        .iter()
        .find(|(known, _)| scheme.eq_ignore_ascii_case(known));
    known.map(|(_, system)| *system).ok_or(UrlError::Scheme)
}

impl ServerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let (host, port) = split_port(host)?;
        let password = password.map(decoded).transpose()?;
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(UrlError::Parameter)?;
            parameters.push((decoded(name)?, decoded(value)?));
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            user: some(decoded(user)?),
            password: password.and_then(some).map(Zeroizing::new),
            host: decoded(host)?,
            port,
            path: some(decoded(path)?),
            parameters,
        })
    }

    /// Where its server is: a path stands for a socket.
    ///
    /// # Errors
    /// When it names none, or several.
    pub fn place(&self) -> Result<Place, UrlError> {
        match self.host.as_str() {
            "" => Err(UrlError::Place),
            path if path.starts_with('/') => {
                Ok(Place::Socket(path.trim_end_matches('/').to_owned()))
            }
            several if several.contains(',') => Err(UrlError::Hosts),
            address => {
                let address = address.strip_prefix('[').unwrap_or(address);
                let address = address.strip_suffix(']').unwrap_or(address);
                Ok(Place::Host(address.to_owned()))
            }
        }
    }

    /// As text, for a client inside.
    pub fn written(&self) -> String {
        let is_jdbc = self.scheme.starts_with("jdbc:");
        let password = self.password.as_ref().map(|password| password.as_str());
        let mut text = format!("{}://", self.scheme);
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        // JDBC has no login in front of the host. Writing to a String cannot fail.
        if is_jdbc {
            parameters.extend(self.user.as_deref().map(|user| ("user", user)));
            parameters.extend(password.map(|password| ("password", password)));
        } else if self.user.is_some() || password.is_some() {
            text.push_str(&encoded(self.user.as_deref().unwrap_or_default()));
            if let Some(password) = password {
                let _ = write!(text, ":{}", encoded(password));
            }
            text.push('@');
        }
        text.push_str(&self.host);
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        if let Some(path) = &self.path {
            let _ = write!(text, "/{}", encoded(path));
        }
        let rest = self.parameters.iter();
        parameters.extend(rest.map(|(name, value)| (name.as_str(), value.as_str())));
        for (number, (name, value)) in parameters.into_iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            let _ = write!(text, "{mark}{}={}", encoded(name), encoded(value));
        }
        text
    }
}

/// Without login and parameters.
impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerUrl")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// An address of version 6 stands in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            if host.contains(',') {
                return Err(UrlError::Hosts);
            }
            let port = match port {
                "" => None,
                digits => Some(
                    digits
                        .parse()
                        .ok()
                        .filter(|port| *port != 0)
                        .ok_or(UrlError::Port)?,
                ),
            };
            Ok((host, port))
        }
        _ => Ok((authority, None)),
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    String::from_utf8(percent_decode(text)).map_err(|_| UrlError::Encoding)
}

/// RFC 3986 §2.3: everything but unreserved characters is encoded.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written_the_same() {
        for text in [
            "postgres://app:p%40ss%2Fw@db.example.com:6543/shop?sslmode=verify-full&schema=public",
            "postgresql+asyncpg://me@localhost/x",
            "redis://:word@[::1]:6379/2",
            "redis://cache.example.com",
            "postgresql:///app?host=%2Fvar%2Frun",
        ] {
            let url = ServerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.written(), text);
            assert!(!format!("{url:?}").contains("word"));
        }
    }

    #[test]
    fn whose_it_is_stands_in_the_scheme() {
        for (text, system) in [
            ("postgres://a", Ok(DatabaseSystem::Postgres)),
            ("jdbc:postgresql://a", Ok(DatabaseSystem::Postgres)),
            ("PostgreSQL+psycopg://a", Ok(DatabaseSystem::Postgres)),
            ("mongodb+srv://a", Err(UrlError::Mongo)),
            ("oracle://a", Err(UrlError::Scheme)),
            ("postgres:a", Err(UrlError::Scheme)),
        ] {
            assert_eq!(system_of(text), system, "{text}");
        }
        assert!(UrlError::Scheme.to_string().contains("or postgresql://"));
    }

    #[test]
    fn places() {
        let place = |text| ServerUrl::parse(text).and_then(|url| url.place());
        assert_eq!(place("redis://[::1]:1"), Ok(Place::Host("::1".into())));
        assert_eq!(
            place("a://%2Frun%2Fx/d"),
            Ok(Place::Socket("/run/x".into()))
        );
        assert_eq!(place("a://u@/d"), Err(UrlError::Place));
        assert_eq!(place("a://h:0/d"), Err(UrlError::Port));
        assert_eq!(place("a://h:1,i:2/d"), Err(UrlError::Hosts));
        assert_eq!(place("a://h,i/d"), Err(UrlError::Hosts));
        assert_eq!(place("a://%ff@h/d"), Err(UrlError::Encoding));
        assert_eq!(place("a://h/d?x"), Err(UrlError::Parameter));
    }
}
