//! What the parameters of a URL mean to each system. Read outside for the way to the server; written anew for
//! the inside, with the decoy where the password stood and nothing that leads outside.

use tagout_core::DatabaseSystem;
use zeroize::Zeroizing;

use crate::{Place, ServerUrl, SslMode, UrlError, system_of};

/// What a parameter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    User,
    Password,
    Host,
    Port,
    /// The path of a socket.
    Socket,
    Database,
    SslMode,
    /// A file of authorities.
    Authorities,
    /// Files that prove the client.
    Certificate,
    Key,
    Options,
    /// Something of the outside, or that the gate does not speak: a client inside has no use for it.
    Nothing,
}

/// A system's words.
struct Words {
    /// The port of a URL without one.
    port: u16,
    parameters: &'static [(&'static str, Says)],
    /// What a parameter of [`Says::SslMode`] may be, in lower case.
    ssl_modes: &'static [(&'static str, SslMode)],
    /// Whether it stands in the URL inside as well, where it is about the gate: many drivers end at a parameter
    /// that is not theirs.
    keeps_ssl_mode: bool,
    /// How certificate and key are called in an error.
    proof: (&'static str, &'static str),
    /// How the mode is, and what it may be.
    mode: (&'static str, &'static str),
}

/// libpq's (PostgreSQL's manual, "Parameter Key Words").
const POSTGRES: Words = Words {
    port: 5432,
    parameters: &[
        ("user", Says::User),
        ("password", Says::Password),
        ("host", Says::Host),
        ("hostaddr", Says::Host),
        ("port", Says::Port),
        ("dbname", Says::Database),
        ("sslmode", Says::SslMode),
        ("sslrootcert", Says::Authorities),
        ("sslcert", Says::Certificate),
        ("sslkey", Says::Key),
        ("options", Says::Options),
        ("passfile", Says::Nothing),
        ("service", Says::Nothing),
        ("servicefile", Says::Nothing),
        ("sslcrl", Says::Nothing),
        ("sslcrldir", Says::Nothing),
        ("sslpassword", Says::Nothing),
    ],
    ssl_modes: &[
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        // node-postgres' word for what libpq calls `require`.
        ("no-verify", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ],
    keeps_ssl_mode: true,
    proof: ("sslcert", "sslkey"),
    mode: (
        "sslmode",
        "disable, allow, prefer, require, verify-ca, verify-full, no-verify",
    ),
};

/// Those of MySQL's client, of JDBC and of the drivers that frameworks use.
const MYSQL: Words = Words {
    port: 3306,
    parameters: &[
        ("user", Says::User),
        ("password", Says::Password),
        ("host", Says::Host),
        ("port", Says::Port),
        ("socket", Says::Socket),
        ("unix_socket", Says::Socket),
        ("unixSocket", Says::Socket),
        ("ssl-mode", Says::SslMode),
        ("ssl_mode", Says::SslMode),
        ("sslmode", Says::SslMode),
        ("sslMode", Says::SslMode),
        ("ssl-ca", Says::Authorities),
        ("ssl_ca", Says::Authorities),
        ("sslcert", Says::Authorities),
        ("ssl-cert", Says::Certificate),
        ("ssl_cert", Says::Certificate),
        ("ssl-key", Says::Key),
        ("ssl_key", Says::Key),
        ("sslidentity", Says::Nothing),
        ("sslpassword", Says::Nothing),
    ],
    ssl_modes: &[
        ("disabled", SslMode::Disable),
        ("disable", SslMode::Disable),
        ("preferred", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("required", SslMode::Require),
        ("require", SslMode::Require),
        ("verify_ca", SslMode::VerifyCa),
        ("verify-ca", SslMode::VerifyCa),
        ("verify_identity", SslMode::VerifyFull),
        ("verify-identity", SslMode::VerifyFull),
        ("verify_full", SslMode::VerifyFull),
        ("verify-full", SslMode::VerifyFull),
    ],
    keeps_ssl_mode: false,
    proof: ("ssl-cert", "ssl-key"),
    mode: (
        "ssl-mode",
        "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY",
    ),
};

/// Those of redis-py, which others took over.
const REDIS: Words = Words {
    port: 6379,
    parameters: &[
        ("username", Says::User),
        ("password", Says::Password),
        ("db", Says::Database),
        ("ssl_cert_reqs", Says::SslMode),
        ("ssl_ca_certs", Says::Authorities),
        ("ssl_certfile", Says::Certificate),
        ("ssl_keyfile", Says::Key),
        ("protocol", Says::Nothing),
        ("ssl_ca_path", Says::Nothing),
    ],
    ssl_modes: &[
        ("none", SslMode::Require),
        ("optional", SslMode::VerifyFull),
        ("required", SslMode::VerifyFull),
    ],
    keeps_ssl_mode: true,
    proof: ("ssl_certfile", "ssl_keyfile"),
    mode: ("ssl_cert_reqs", "none, optional, required"),
};

/// The schemes of Redis under which TLS is spoken.
const ENCRYPTED: &[&str] = &["rediss", "valkeys"];

impl Words {
    fn of(system: DatabaseSystem) -> &'static Self {
        match system {
            DatabaseSystem::Postgres => &POSTGRES,
            DatabaseSystem::MySql => &MYSQL,
            DatabaseSystem::Redis => &REDIS,
        }
    }

    fn says(&self, parameter: &str) -> Option<Says> {
        let mut known = self.parameters.iter();
        known
            .find(|(name, _)| *name == parameter)
            .map(|(_, says)| *says)
    }

    fn ssl_mode(&self, word: &str) -> Result<SslMode, UrlError> {
        let mut known = self.ssl_modes.iter();
        let (name, words) = self.mode;
        known
            .find(|(mode, _)| mode.eq_ignore_ascii_case(word))
            .map(|(_, mode)| *mode)
            .ok_or(UrlError::Encryption { name, known: words })
    }
}

/// A URL that was read.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// For the client inside: with nothing that leads outside.
    rest: ServerUrl,
    /// Whose it is.
    pub system: DatabaseSystem,
    /// Who logs in.
    pub user: Option<String>,
    /// The password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Where the server is.
    pub place: Place,
    /// Its port, which names PostgreSQL's socket as well.
    pub port: u16,
    /// The database; of Redis a number.
    pub database: Option<String>,
    /// What the URL says of TLS.
    pub ssl_mode: Option<SslMode>,
    /// A file of authorities, a path outside.
    pub root_certificates: Option<String>,
    /// Files of certificate and key that prove the client, paths outside.
    pub client_certificate: Option<(String, String)>,
    /// What a server of PostgreSQL has to set.
    pub options: Option<String>,
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let system = system_of(text)?;
        let words = Words::of(system);
        let mut rest = ServerUrl::parse(text)?;
        let (mut ssl_mode, mut root_certificates, mut options) = (None, None, None);
        let (mut certificate, mut key, mut socket) = (None, None, None);
        for (name, value) in &rest.parameters {
            let value = value.clone();
            match words.says(name) {
                Some(Says::User) => rest.user = some(value),
                Some(Says::Password) => rest.password = some(value).map(Zeroizing::new),
                Some(Says::Host) => rest.host = value,
                Some(Says::Port) => {
                    let port = value.parse().ok().filter(|port| *port != 0);
                    rest.port = Some(port.ok_or(UrlError::Port)?);
                }
                Some(Says::Socket) => socket = some(value),
                Some(Says::Database) => rest.path = some(value),
                Some(Says::SslMode) => ssl_mode = Some(words.ssl_mode(&value)?),
                Some(Says::Authorities) => root_certificates = some(value),
                Some(Says::Certificate) => certificate = some(value),
                Some(Says::Key) => key = some(value),
                Some(Says::Options) => options = some(value),
                Some(Says::Nothing) | None => {}
            }
        }
        rest.parameters.retain(|(name, _)| match words.says(name) {
            Some(Says::SslMode) => words.keeps_ssl_mode,
            says => says.is_none(),
        });
        let client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(UrlError::ClientCertificate(words.proof.0, words.proof.1)),
        };
        let place = match socket {
            Some(path) => Place::Socket(path),
            None => rest.place()?,
        };
        if system == DatabaseSystem::Redis {
            let scheme = rest.scheme.to_ascii_lowercase();
            ssl_mode = Some(match ENCRYPTED.contains(&scheme.as_str()) {
                true => ssl_mode.unwrap_or(SslMode::VerifyFull),
                false => SslMode::Disable,
            });
            let database = rest.path.get_or_insert_with(|| "0".to_owned());
            if database.parse::<u32>().is_err() {
                return Err(UrlError::Database("a number, as redis://HOST/0"));
            }
        }
        Ok(Self {
            system,
            user: rest.user.take(),
            password: rest.password.take(),
            place,
            port: rest.port.unwrap_or(words.port),
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
    pub fn inside(
        &self,
        host: &str,
        user: Option<&str>,
        database: &str,
        password: Option<&str>,
    ) -> String {
        let inside = ServerUrl {
            user: user.map(str::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_people_write_for_postgresql_is_read() {
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
            url.inside("db.example.com", Some("app"), "shop", Some("decoy/1")),
            "postgres://app:decoy%2F1@db.example.com:6543/shop?sslmode=verify-full&schema=public"
        );
        let url = read("postgresql+asyncpg://me@localhost/x");
        assert_eq!((url.port, &url.password), (5432, &None));
        assert_eq!(
            url.inside("localhost", Some("me"), "x", None),
            "postgresql+asyncpg://me@localhost:5432/x"
        );
        let url = read("postgresql:///app?host=/var/run/postgresql/&user=me&application_name=a");
        assert_eq!(url.place, Place::Socket("/var/run/postgresql".into()));
        assert_eq!(
            url.inside("localhost", Some("me"), "app", Some("d")),
            "postgresql://me:d@localhost:5432/app?application_name=a"
        );
        let url = read("postgres://u:p@[::1]:5433/d");
        assert_eq!((&url.place, url.port), (&Place::Host("::1".into()), 5433));
        let url = read("jdbc:postgresql://db.example.com/d?user=u&password=p&ssl=true");
        assert_eq!(url.password.as_ref().map(|word| word.as_str()), Some("p"));
        assert_eq!(
            url.inside("db.example.com", Some("u"), "d", Some("x")),
            "jdbc:postgresql://db.example.com:5432/d?user=u&password=x&ssl=true"
        );
        let url = read("postgres://%2Fvar%2Frun/d");
        assert_eq!(url.place, Place::Socket("/var/run".into()));
    }

    #[test]
    fn what_people_write_for_mysql_is_read() {
        let url = read(
            "mysql+pymysql://app:p%40ss@db.example.com/shop?charset=utf8mb4&ssl-mode=VERIFY_IDENTITY",
        );
        assert_eq!(url.user.as_deref(), Some("app"));
        assert_eq!((url.port, url.database.as_deref()), (3306, Some("shop")));
        assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
        assert_eq!(
            url.inside("db.example.com", Some("app"), "shop", Some("decoy")),
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
            assert_eq!((url.system, url.port), (DatabaseSystem::MySql, 3307));
        }
        let url = read("mysql://me@localhost/d?socket=/run/mysqld/mysqld.sock");
        assert_eq!(url.place, Place::Socket("/run/mysqld/mysqld.sock".into()));
        let url = read("jdbc:mysql://db/d?user=u&password=p&sslMode=REQUIRED");
        assert_eq!(url.ssl_mode, Some(SslMode::Require));
        assert_eq!(
            url.inside("db", Some("u"), "d", Some("x")),
            "jdbc:mysql://db:3306/d?user=u&password=x"
        );
    }

    #[test]
    fn what_people_write_for_redis_is_read() {
        let url = read("rediss://ann:word@cache.example.com/2?ssl_ca_certs=/x&a=b");
        assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
        assert_eq!((url.port, url.database.as_deref()), (6379, Some("2")));
        assert_eq!(
            url.inside("gate", Some("ann"), "2", Some("decoy")),
            "rediss://ann:decoy@gate:6379/2?a=b"
        );
        let url = read("redis://:word@localhost:1?db=3&ssl_cert_reqs=none");
        assert_eq!(url.ssl_mode, Some(SslMode::Disable));
        assert_eq!(
            url.inside("localhost", None, "3", Some("d")),
            "redis://:d@localhost:1/3?ssl_cert_reqs=none"
        );
        assert_eq!(read("redis://localhost").database.as_deref(), Some("0"));
        assert_eq!(
            read("rediss://h?ssl_cert_reqs=none").ssl_mode,
            Some(SslMode::Require)
        );
    }

    #[test]
    fn invariant_3_nothing_of_the_outside_stands_in_the_url_inside() {
        for (text, inside) in [
            (
                "postgres://app:real@h/shop?sslcert=/home/me/c&sslkey=/home/me/k&sslrootcert=/home/me/ca&passfile=/home/me/.pgpass&password=other&options=-csearch_path%3Dx",
                "postgres://app:decoy@h:5432/shop",
            ),
            (
                "mysql://app:real@h/shop?ssl-ca=/home/me/ca&ssl-cert=/home/me/c&ssl-key=/home/me/k&password=other",
                "mysql://app:decoy@h:3306/shop",
            ),
            (
                "redis://app:real@h/shop?db=1&ssl_ca_certs=/home/me/ca&ssl_certfile=/home/me/c&ssl_keyfile=/home/me/k&password=other",
                "redis://app:decoy@h:6379/shop",
            ),
        ] {
            let url = read(text);
            assert_eq!(url.inside("h", Some("app"), "shop", Some("decoy")), inside);
            assert_eq!(
                url.password.as_ref().map(|word| word.as_str()),
                Some("other")
            );
            let shown = format!("{url:?}");
            assert!(!shown.contains("other") && !shown.contains("real"));
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, error) in [
            ("oracle://a@b/c", UrlError::Scheme),
            ("postgres:/a", UrlError::Scheme),
            ("postgres://a:1,b:2/c", UrlError::Hosts),
            ("mysql://a,b/c", UrlError::Hosts),
            ("postgres://a:x/c", UrlError::Port),
            ("postgres://a:0/c", UrlError::Port),
            ("postgres://u:%ff@a/c", UrlError::Encoding),
            (
                "postgres://a/c?sslmode=on",
                UrlError::Encryption {
                    name: POSTGRES.mode.0,
                    known: POSTGRES.mode.1,
                },
            ),
            (
                "postgres://a/c?sslcert=x",
                UrlError::ClientCertificate("sslcert", "sslkey"),
            ),
            (
                "mysql://a/c?ssl-cert=x",
                UrlError::ClientCertificate("ssl-cert", "ssl-key"),
            ),
            ("postgres://a/c?x", UrlError::Parameter),
            ("mysql:///c", UrlError::Place),
            (
                "redis://localhost/x",
                UrlError::Database("a number, as redis://HOST/0"),
            ),
        ] {
            assert_eq!(DatabaseUrl::parse(text).map(|_| ()), Err(error), "{text}");
        }
    }
}
