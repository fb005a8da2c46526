//! MySQL's URL, as frameworks and drivers write it. Read outside for the way to the server; written anew for
//! the inside, with the decoy where the password stood.

use tagout_core::DatabaseSystem;
use tagout_database::{Place, ServerUrl, UrlError, system_of};
use zeroize::Zeroizing;

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 3306;

/// Parameters that name the server's side of the gate, or files outside: a client has no use for them.
const OUTSIDE_ONLY: &[&str] = &[
    "host",
    "password",
    "port",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "sslcert",
    "sslidentity",
    "sslpassword",
    "unix_socket",
    "unixSocket",
    "user",
];

/// Names under which drivers know how far TLS goes.
const SSL_MODES: &[&str] = &["ssl-mode", "ssl_mode", "sslmode", "sslMode"];

/// What is asked of TLS (MySQL's manual, `--ssl-mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// None.
    Disabled,
    /// Where the server offers it; nothing is verified.
    Preferred,
    /// Always; nothing is verified unless an authority is named.
    Required,
    /// The certificate's authority.
    VerifyCa,
    /// The name as well.
    VerifyIdentity,
}

/// A URL that was read.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// For the client inside: with nothing that leads outside.
    rest: ServerUrl,
    /// Who logs in.
    pub user: Option<String>,
    /// Its password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Where the server is.
    pub place: Place,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: Option<String>,
    /// What the URL says of TLS.
    pub ssl_mode: Option<SslMode>,
    /// `ssl-ca`, a path outside.
    pub root_certificates: Option<String>,
    /// `ssl-cert` and `ssl-key`, paths outside.
    pub client_certificate: Option<(String, String)>,
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if system_of(text)? != DatabaseSystem::MySql {
            return Err(UrlError::Scheme);
        }
        let mut rest = ServerUrl::parse(text)?;
        let (mut ssl_mode, mut root_certificates, mut socket) = (None, None, None);
        let (mut certificate, mut key) = (None, None);
        for (name, value) in &rest.parameters {
            let value = value.clone();
            match name.as_str() {
                "user" => rest.user = some(value),
                "password" => rest.password = some(value).map(Zeroizing::new),
                "host" => rest.host = value,
                "port" => {
                    let port = value.parse().ok().filter(|port| *port != 0);
                    rest.port = Some(port.ok_or(UrlError::Port)?);
                }
                "socket" | "unix_socket" | "unixSocket" => socket = some(value),
                "ssl-ca" | "ssl_ca" | "sslcert" => root_certificates = some(value),
                "ssl-cert" | "ssl_cert" => certificate = some(value),
                "ssl-key" | "ssl_key" => key = some(value),
                name if SSL_MODES.contains(&name) => ssl_mode = Some(mode(&value)?),
                _ => {}
            }
        }
        // How far TLS goes is about the server; many drivers end at a parameter that is not theirs.
        rest.parameters.retain(|(name, _)| {
            !OUTSIDE_ONLY.contains(&name.as_str()) && !SSL_MODES.contains(&name.as_str())
        });
        let client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(UrlError::ClientCertificate("ssl-cert", "ssl-key")),
        };
        let place = match socket {
            Some(path) => Place::Socket(path),
            None => rest.place()?,
        };
        Ok(Self {
            user: rest.user.take(),
            password: rest.password.take(),
            place,
            port: rest.port.unwrap_or(DEFAULT_PORT),
            database: rest.path.take(),
            ssl_mode,
            root_certificates,
            client_certificate,
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
    Ok(match word.to_ascii_lowercase().replace('-', "_").as_str() {
        "disabled" | "disable" => SslMode::Disabled,
        "preferred" | "prefer" => SslMode::Preferred,
        "required" | "require" => SslMode::Required,
        "verify_ca" => SslMode::VerifyCa,
        "verify_identity" | "verify_full" => SslMode::VerifyIdentity,
        _ => {
            return Err(UrlError::Encryption {
                name: "ssl-mode",
                known: "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY",
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
            "mysql+pymysql://app:p%40ss@db.example.com/shop?charset=utf8mb4&ssl-mode=VERIFY_IDENTITY",
        );
        assert_eq!(url.user.as_deref(), Some("app"));
        assert_eq!((url.port, url.database.as_deref()), (3306, Some("shop")));
        assert_eq!(url.ssl_mode, Some(SslMode::VerifyIdentity));
        assert_eq!(
            url.inside("db.example.com", "app", "shop", Some("decoy")),
            "mysql+pymysql://app:decoy@db.example.com:3306/shop?charset=utf8mb4"
        );
        for scheme in [
            "mysql",
            "mariadb",
            "mysql2",
            "jdbc:mysql",
            "jdbc:mariadb",
            "mysql+mysqldb",
        ] {
            let url = read(&format!("{scheme}://localhost:3307/d"));
            assert_eq!(url.port, 3307);
        }
        let url = read("mysql://me@localhost/d?socket=/run/mysqld/mysqld.sock");
        assert_eq!(url.place, Place::Socket("/run/mysqld/mysqld.sock".into()));
        let url = read("jdbc:mysql://db/d?user=u&password=p&sslMode=REQUIRED");
        assert_eq!(
            url.inside("db", "u", "d", Some("x")),
            "jdbc:mysql://db:3306/d?user=u&password=x"
        );
    }

    #[test]
    fn invariant_3_nothing_of_the_outside_stands_in_a_url_of_mysql_inside() {
        let url = read(
            "mysql://app:real@db.example.com/shop?ssl-ca=/home/me/ca&ssl-cert=/home/me/c&ssl-key=/home/me/k&password=other",
        );
        let inside = url.inside("db.example.com", "app", "shop", Some("decoy"));
        assert_eq!(inside, "mysql://app:decoy@db.example.com:3306/shop");
        assert!(!format!("{url:?}").contains("other"));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, error) in [
            ("postgres://a@b/c", UrlError::Scheme),
            ("mysql://a,b/c", UrlError::Hosts),
            (
                "mysql://a/c?ssl-cert=x",
                UrlError::ClientCertificate("ssl-cert", "ssl-key"),
            ),
            ("mysql:///c", UrlError::Place),
        ] {
            assert_eq!(DatabaseUrl::parse(text).map(|_| ()), Err(error), "{text}");
        }
    }
}
