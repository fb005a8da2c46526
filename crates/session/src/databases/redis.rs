//! A database of Redis' or Valkey's, by its URL.

use std::path::Path;

use tagout_core::DatabaseSystem;
use tagout_net::{DatabaseTls, Verification};
use tagout_policy::Endpoint;
use tagout_redis::DatabaseUrl;
use tagout_secrets::DecoyKey;

use super::{
    Database, Login, Read, certificates, inside_name, outside_name, private_key, written_host,
};

pub(super) fn read(name: &str, text: &str, key: &DecoyKey) -> Result<Read, String> {
    let url = DatabaseUrl::parse(text).map_err(|error| error.to_string())?;
    let (inside, addresses) = inside_name(name, &url.place, url.port)?;
    let login = Login::new(url.password.as_ref().map(|word| word.as_str()), key);
    let written = written_host(&url.place, &inside);
    let tls = match url.is_encrypted {
        false => None,
        true => Some(DatabaseTls {
            verification: match url.is_unverified {
                true => Verification::Nothing,
                false => Verification::Full,
            },
            authorities: match url.root_certificates.as_deref() {
                None => Vec::new(),
                Some(path) => certificates(Path::new(path))?,
            },
            client: match &url.client_certificate {
                None => None,
                Some((certificate, key)) => Some((
                    certificates(Path::new(certificate))?,
                    private_key(Path::new(key))?,
                )),
            },
        }),
    };
    Ok(Read {
        url: url.inside(&written, login.decoy()),
        credential: login.credential(name, DatabaseSystem::Redis),
        addresses,
        database: Database::Redis(tagout_redis::Database {
            name: name.to_owned(),
            endpoint: Endpoint {
                system: DatabaseSystem::Redis,
                outside: outside_name(&url.place),
                inside,
                port: url.port,
                database: url.database.to_string(),
            },
            place: url.place.clone(),
            user: url.user.clone(),
            accepted: login.accepted(),
            password: login.password,
            tls,
        }),
    })
}
