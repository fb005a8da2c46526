//! Redis' URL, as clients write it. Read outside for the way to the server; written anew for the inside, with the
//! decoy where the password stood.

use tagout_core::DatabaseSystem;
use tagout_database::{Place, ServerUrl, UrlError, system_of};
use zeroize::Zeroizing;

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 6379;

/// Parameters that name files outside, or what the gate does not speak: a client has no use for them.
const OUTSIDE_ONLY: &[&str] = &[
    "db",
    "password",
    "protocol",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "username",
];

/// A URL that was read.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// For the client inside: with nothing that leads outside.
    rest: ServerUrl,
    /// Who logs in.
    pub user: Option<String>,
    /// The password, where the URL has one.
    pub password: Option<Zeroizing<String>>,
    /// Where the server is.
    pub place: Place,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// Whether TLS is spoken (`rediss`).
    pub is_encrypted: bool,
    /// Whether the server has to prove nothing (`ssl_cert_reqs=none`).
    pub is_unverified: bool,
    /// A file of authorities (`ssl_ca_certs`).
    pub root_certificates: Option<String>,
    /// Files that prove the client (`ssl_certfile`, `ssl_keyfile`).
    pub client_certificate: Option<(String, String)>,
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if system_of(text)? != DatabaseSystem::Redis {
            return Err(UrlError::Scheme);
        }
        let mut rest = ServerUrl::parse(text)?;
        let place = rest.place()?;
        let parameter = |name: &str| {
            let mut all = rest.parameters.iter();
            all.find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        let path = rest.path.as_deref().filter(|path| !path.is_empty());
        let number = parameter("db").or_else(|| path.map(str::to_owned));
        let database = match number.as_deref() {
            None => 0,
            Some(digits) => digits
                .parse()
                .map_err(|_| UrlError::Database("a number, as redis://HOST/0"))?,
        };
        let client_certificate = match (parameter("ssl_certfile"), parameter("ssl_keyfile")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(UrlError::ClientCertificate("ssl_certfile", "ssl_keyfile")),
        };
        let verification = parameter("ssl_cert_reqs");
        let read = Self {
            user: rest.user.take(),
            password: rest.password.take(),
            place,
            port: rest.port.unwrap_or(DEFAULT_PORT),
            database,
            is_encrypted: ["rediss", "valkeys"]
                .contains(&rest.scheme.to_ascii_lowercase().as_str()),
            is_unverified: verification.is_some_and(|word| word.eq_ignore_ascii_case("none")),
            root_certificates: parameter("ssl_ca_certs"),
            client_certificate,
            rest: ServerUrl {
                parameters: Vec::new(),
                ..rest.clone()
            },
        };
        let kept = rest.parameters.into_iter();
        let kept = kept.filter(|(name, _)| !OUTSIDE_ONLY.contains(&name.as_str()));
        Ok(Self {
            rest: ServerUrl {
                parameters: kept.collect(),
                ..read.rest
            },
            ..read
        })
    }

    /// The URL for inside, with the gate's name at `host` and a decoy.
    pub fn inside(&self, host: &str, decoy: Option<&str>) -> String {
        let url = ServerUrl {
            host: host.to_owned(),
            port: Some(self.port),
            user: self.user.clone(),
            password: decoy.map(|decoy| Zeroizing::new(decoy.to_owned())),
            path: Some(self.database.to_string()),
            ..self.rest.clone()
        };
        url.written()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_for_the_inside() {
        let url = DatabaseUrl::parse("rediss://ann:word@cache.example.com/2?ssl_ca_certs=/x&a=b")
            .expect("a URL");
        assert!(url.is_encrypted);
        assert_eq!((url.port, url.database), (6379, 2));
        assert_eq!(
            url.inside("gate", Some("decoy")),
            "rediss://ann:decoy@gate:6379/2?a=b"
        );
        let url = DatabaseUrl::parse("redis://:word@localhost:1?db=3").expect("a URL");
        assert_eq!(
            url.inside("localhost", Some("d")),
            "redis://:d@localhost:1/3"
        );
        assert!(DatabaseUrl::parse("redis://localhost/x").is_err());
        assert!(DatabaseUrl::parse("postgres://localhost/0").is_err());
    }
}
