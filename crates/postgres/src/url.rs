//! PostgreSQL's URL: what libpq calls a connection URI. Read outside for the way to the server; written anew
//! for the inside, with the decoy where the password stood.

use tagout_core::DatabaseSystem;
use tagout_database::{Place, ServerUrl, UrlError, system_of};
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

/// A URL that was read.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// For the client inside: with nothing that leads outside.
    rest: ServerUrl,
    /// The role; the operating system's user outside where there is none.
    pub user: Option<String>,
    /// Its password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Where the server is; of a socket, its folder.
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
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if system_of(text)? != DatabaseSystem::Postgres {
            return Err(UrlError::Scheme);
        }
        let mut rest = ServerUrl::parse(text)?;
        let (mut ssl_mode, mut root_certificates, mut options) = (None, None, None);
        let (mut certificate, mut key) = (None, None);
        for (name, value) in &rest.parameters {
            let value = value.clone();
            match name.as_str() {
                "user" => rest.user = some(value),
                "password" => rest.password = some(value).map(Zeroizing::new),
                "host" | "hostaddr" => rest.host = value,
                "port" => {
                    let port = value.parse().ok().filter(|port| *port != 0);
                    rest.port = Some(port.ok_or(UrlError::Port)?);
                }
                "dbname" => rest.path = some(value),
                "sslmode" => ssl_mode = Some(mode(&value)?),
                "sslrootcert" => root_certificates = some(value),
                "sslcert" => certificate = some(value),
                "sslkey" => key = some(value),
                "options" => options = some(value),
                _ => {}
            }
        }
        rest.parameters
            .retain(|(name, _)| !OUTSIDE_ONLY.contains(&name.as_str()));
        let client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(UrlError::ClientCertificate("sslcert", "sslkey")),
        };
        Ok(Self {
            user: rest.user.take(),
            password: rest.password.take(),
            place: rest.place()?,
            port: rest.port.unwrap_or(DEFAULT_PORT),
            database: rest.path.take(),
            ssl_mode,
            root_certificates,
            client_certificate,
            options,
            rest,
        })
    }

    /// The URL by which a client inside reaches the gate: at `host`, with `password`, for `user` and
    /// `database` whatever it said of them.
    pub fn inside(&self, host: &str, user: &str, database: &str, password: Option<&str>) -> String {
        let inside = ServerUrl {
            user: Some(user.to_owned()),
            password: password.map(|password| Zeroizing::new(password.to_owned())),
            host: host.to_owned(),
            port: Some(self.port),
            path: Some(database.to_owned()),
            ..self.rest.clone()
        };
        inside.written()
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

fn mode(word: &str) -> Result<SslMode, UrlError> {
    Ok(match word {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        // node-postgres' word for what libpq calls `require`.
        "require" | "no-verify" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return Err(UrlError::Encryption {
                name: "sslmode",
                known: "disable, allow, prefer, require, verify-ca, verify-full, no-verify",
            });
        }
    })
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
            (
                "postgres://a/c?sslmode=on",
                UrlError::Encryption {
                    name: "sslmode",
                    known: "disable, allow, prefer, require, verify-ca, verify-full, no-verify",
                },
            ),
            (
                "postgres://a/c?sslcert=x",
                UrlError::ClientCertificate("sslcert", "sslkey"),
            ),
            ("postgres://a/c?x", UrlError::Parameter),
            ("postgres:///c", UrlError::Place),
        ] {
            assert_eq!(DatabaseUrl::parse(text).map(|_| ()), Err(error), "{text}");
        }
    }
}
