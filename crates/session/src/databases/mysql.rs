//! A database of MySQL's or MariaDB's, by its URL.

use std::path::Path;

use tagout_core::DatabaseSystem;
use tagout_mysql::{DatabaseUrl, SslMode};
use tagout_net::DatabaseTls;
use tagout_policy::Endpoint;
use tagout_secrets::DecoyKey;

use super::{
    Database, Login, Read, certificates, inside_name, outside_name, private_key, written_host,
};

pub(super) fn read(name: &str, text: &str, key: &DecoyKey) -> Result<Read, String> {
    let url = DatabaseUrl::parse(text).map_err(|error| error.to_string())?;
    let user = url
        .user
        .clone()
        .or_else(|| std::env::var("USER").ok())
        .ok_or("it names no user")?;
    let database = url
        .database
        .clone()
        .ok_or("it names no database; write mysql://USER:PASSWORD@HOST/DATABASE")?;
    let (inside, addresses) = inside_name(name, &url.place, url.port)?;
    let login = Login::new(url.password.as_ref().map(|word| word.as_str()), key);
    let written = written_host(&url.place, &inside);
    let ssl_mode = SslMode::or_usual(url.ssl_mode, &url.place);
    let tls = DatabaseTls {
        verification: ssl_mode.verification(url.root_certificates.is_some()),
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
    };
    Ok(Read {
        url: url.inside(&written, &user, &database, login.decoy()),
        credential: login.credential(name, DatabaseSystem::MySql),
        addresses,
        database: Database::MySql(tagout_mysql::Database {
            name: name.to_owned(),
            endpoint: Endpoint {
                system: DatabaseSystem::MySql,
                outside: outside_name(&url.place),
                inside,
                port: url.port,
                database,
            },
            place: url.place.clone(),
            user,
            accepted: login.accepted(),
            password: login.password,
            ssl_mode,
            tls,
        }),
    })
}
