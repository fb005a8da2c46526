//! A database's URL, as it stands in `DATABASE_URL`: what libpq calls a connection URI, with the schemes
//! of SQLAlchemy (`postgresql+asyncpg`) and JDBC. Read outside for the way to the server; written anew
//! for the inside, with the decoy where the password stood.

use std::fmt::Write as _;

use tagout_core::percent_decode;
use zeroize::Zeroizing;

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 5432;

/// Parameters of a URL that lead outside: files and places of this machine, or what the gate itself
/// passes on. None of them stands in the URL inside.
const OUTSIDE_ONLY: &[&str] = &[
    "host",
    "hostaddr",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "servicefile",
    "sslcert",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "user",
];

/// What a URL says of TLS (libpq's `sslmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server has it, unverified.
    Prefer,
    /// Always, unverified.
    Require,
    /// Always, of a known authority.
    VerifyCa,
    /// Always, of a known authority and for the host's name.
    VerifyFull,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A name or an address.
    Host(String),
    /// The folder of its socket on this machine.
    Socket(String),
}

/// A URL that was read.
#[derive(Clone)]
pub struct DatabaseUrl {
    scheme: String,
    /// The role; the operating system's user outside where there is none.
    pub user: Option<String>,
    /// Its password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Where the server is.
    pub place: Place,
    /// Its port, which names the socket as well.
    pub port: u16,
    /// The database; the role's name where there is none.
    pub database: Option<String>,
    /// What the URL says of TLS.
    pub ssl_mode: Option<SslMode>,
    /// `sslrootcert`, a path outside.
    pub root_certificates: Option<String>,
    /// `sslcert` and `sslkey`, paths outside.
    pub client_certificate: Option<(String, String)>,
    /// `options`, for the server.
    pub options: Option<String>,
    /// The rest, for the client.
    parameters: Vec<(String, String)>,
}

/// Why a URL cannot be used. Never quotes it: a password stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error(
        "it does not begin with postgres:// or postgresql://; the only databases that Tagout reads are PostgreSQL's"
    )]
    Scheme,
    /// More than one host.
    #[error("it names several hosts; name one")]
    Hosts,
    /// The port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// What is encoded is not text.
    #[error("it encodes text that is not UTF-8")]
    Encoding,
    /// `sslmode`.
    #[error(
        "its sslmode is none of disable, allow, prefer, require, verify-ca, verify-full, no-verify"
    )]
    SslMode,
    /// One of two that belong together.
    #[error("it has one of sslcert and sslkey; it needs both")]
    ClientCertificate,
    /// A parameter without `=`.
    #[error("a parameter behind the ? has no =")]
    Parameter,
    /// No host.
    #[error("it names no host; write postgres://USER:PASSWORD@HOST/DATABASE")]
    Place,
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let kind = scheme.strip_prefix("jdbc:").unwrap_or(scheme);
        let kind = kind.split('+').next().unwrap_or(kind);
        if kind != "postgres" && kind != "postgresql" {
            return Err(UrlError::Scheme);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let (host, port) = split_port(host)?;
        let mut url = Self {
            scheme: scheme.to_owned(),
            user: some(decoded(user)?),
            password: password
                .map(decoded)
                .transpose()?
                .and_then(some)
                .map(Zeroizing::new),
            place: Place::Host(decoded(host)?),
            port: port.unwrap_or(DEFAULT_PORT),
            database: some(decoded(path)?),
            ssl_mode: None,
            root_certificates: None,
            client_certificate: None,
            options: None,
            parameters: Vec::new(),
        };
        let (mut certificate, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(UrlError::Parameter)?;
            let (name, value) = (decoded(name)?, decoded(value)?);
            match name.as_str() {
                "user" => url.user = some(value.clone()),
                "password" => url.password = some(value.clone()).map(Zeroizing::new),
                "host" | "hostaddr" => url.place = Place::Host(value.clone()),
                "port" => url.port = value.parse().map_err(|_| UrlError::Port)?,
                "dbname" => url.database = some(value.clone()),
                "sslmode" => url.ssl_mode = Some(ssl_mode(&value)?),
                "sslrootcert" => url.root_certificates = some(value.clone()),
                "sslcert" => certificate = some(value.clone()),
                "sslkey" => key = some(value.clone()),
                "options" => url.options = some(value.clone()),
                _ => {}
            }
            if !OUTSIDE_ONLY.contains(&name.as_str()) {
                url.parameters.push((name, value));
            }
        }
        url.client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(UrlError::ClientCertificate),
        };
        if url.port == 0 {
            return Err(UrlError::Port);
        }
        if let Place::Host(host) = &url.place {
            match host.as_str() {
                "" => return Err(UrlError::Place),
                folder if folder.starts_with('/') => {
                    url.place = Place::Socket(folder.trim_end_matches('/').to_owned());
                }
                several if several.contains(',') => return Err(UrlError::Hosts),
                address => {
                    let address = address.strip_prefix('[').unwrap_or(address);
                    let address = address.strip_suffix(']').unwrap_or(address).to_owned();
                    url.place = Place::Host(address);
                }
            }
        }
        Ok(url)
    }

    /// The URL by which a client inside reaches the gate: at `host`, with `password`, for `user` and
    /// `database` whatever it said of them.
    pub fn inside(&self, host: &str, user: &str, database: &str, password: Option<&str>) -> String {
        let mut text = format!("{}://{}", self.scheme, encoded(user));
        // Writing to a String cannot fail.
        if let Some(password) = password {
            let _ = write!(text, ":{}", encoded(password));
        }
        let _ = write!(text, "@{host}:{}/{}", self.port, encoded(database));
        for (number, (name, value)) in self.parameters.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            let _ = write!(text, "{mark}{}={}", encoded(name), encoded(value));
        }
        if self.scheme.starts_with("jdbc:") {
            return self.jdbc(host, user, database, password);
        }
        text
    }

    /// JDBC has no login in front of the host.
    fn jdbc(&self, host: &str, user: &str, database: &str, password: Option<&str>) -> String {
        let mut text = format!(
            "{}://{host}:{}/{}",
            self.scheme,
            self.port,
            encoded(database)
        );
        let mut parameters = vec![("user", user)];
        parameters.extend(password.map(|password| ("password", password)));
        let rest = self.parameters.iter();
        parameters.extend(rest.map(|(name, value)| (name.as_str(), value.as_str())));
        for (number, (name, value)) in parameters.into_iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            // Writing to a String cannot fail.
            let _ = write!(text, "{mark}{}={}", encoded(name), encoded(value));
        }
        text
    }
}

/// A URL as it was read never shows its password.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseUrl")
            .field("place", &self.place)
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
                digits => Some(digits.parse().map_err(|_| UrlError::Port)?),
            };
            Ok((host, port))
        }
        _ => Ok((authority, None)),
    }
}

fn ssl_mode(word: &str) -> Result<SslMode, UrlError> {
    Ok(match word {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        // node-postgres' word for what libpq calls `require`.
        "require" | "no-verify" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return Err(UrlError::SslMode),
    })
}

fn decoded(text: &str) -> Result<String, UrlError> {
    String::from_utf8(percent_decode(text)).map_err(|_| UrlError::Encoding)
}

/// RFC 3986 §2.3: everything but unreserved characters is encoded.
fn encoded(text: &str) -> String {
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

    fn read(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_people_write_is_read() {
        let url = read(
            "postgres://app:p%40ss%2Fw@db.example.com:6543/shop?sslmode=verify-full&schema=public",
        );
        assert_eq!(url.user.as_deref(), Some("app"));
        assert_eq!(
            url.password.as_ref().map(|word| word.as_str()),
            Some("p@ss/w")
        );
        assert_eq!(url.place, Place::Host("db.example.com".into()));
        assert_eq!((url.port, url.database.as_deref()), (6543, Some("shop")));
        assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
        assert_eq!(
            url.inside("db.example.com", "app", "shop", Some("decoy/1")),
            "postgres://app:decoy%2F1@db.example.com:6543/shop?sslmode=verify-full&schema=public"
        );
        let url = read("postgresql+asyncpg://me@localhost/x");
        assert_eq!((url.port, &url.password), (5432, &None));
        assert_eq!(
            url.inside("localhost", "me", "x", None),
            "postgresql+asyncpg://me@localhost:5432/x"
        );
        let url = read("postgresql:///app?host=/var/run/postgresql/&user=me&application_name=a");
        assert_eq!(url.place, Place::Socket("/var/run/postgresql".into()));
        assert_eq!(
            url.inside("localhost", "me", "app", Some("d")),
            "postgresql://me:d@localhost:5432/app?application_name=a"
        );
        let url = read("postgres://u:p@[::1]:5433/d");
        assert_eq!((&url.place, url.port), (&Place::Host("::1".into()), 5433));
        let url = read("jdbc:postgresql://db.example.com/d?user=u&password=p&ssl=true");
        assert_eq!(url.password.as_ref().map(|word| word.as_str()), Some("p"));
        assert_eq!(
            url.inside("db.example.com", "u", "d", Some("x")),
            "jdbc:postgresql://db.example.com:5432/d?user=u&password=x&ssl=true"
        );
        let url = read("postgres://%2Fvar%2Frun/d");
        assert_eq!(url.place, Place::Socket("/var/run".into()));
    }

    #[test]
    fn invariant_3_nothing_of_the_outside_stands_in_the_url_inside() {
        let url = read(
            "postgres://app:real-password@db.example.com/shop?sslcert=/home/me/c&sslkey=/home/me/k&sslrootcert=/home/me/ca&passfile=/home/me/.pgpass&password=other&options=-csearch_path%3Dx",
        );
        let inside = url.inside("db.example.com", "app", "shop", Some("decoy"));
        assert_eq!(inside, "postgres://app:decoy@db.example.com:5432/shop");
        assert_eq!(url.options.as_deref(), Some("-csearch_path=x"));
        assert!(!format!("{url:?}").contains("other"));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, error) in [
            ("mysql://a@b/c", UrlError::Scheme),
            ("postgres:/a", UrlError::Scheme),
            ("postgres://a:1,b:2/c", UrlError::Hosts),
            ("postgres://a,b/c", UrlError::Hosts),
            ("postgres://a:x/c", UrlError::Port),
            ("postgres://a:0/c", UrlError::Port),
            ("postgres://u:%ff@a/c", UrlError::Encoding),
            ("postgres://a/c?sslmode=on", UrlError::SslMode),
            ("postgres://a/c?sslcert=x", UrlError::ClientCertificate),
            ("postgres://a/c?x", UrlError::Parameter),
            ("postgres:///c", UrlError::Place),
        ] {
            assert_eq!(DatabaseUrl::parse(text).map(|_| ()), Err(error), "{text}");
        }
    }
}
