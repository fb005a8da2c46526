//! A database of PostgreSQL's, by its URL.

use std::path::Path;

use tagout_core::DatabaseSystem;
use tagout_net::DatabaseTls;
use tagout_policy::Endpoint;
use tagout_postgres::{DatabaseUrl, SslMode};
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
        .ok_or("it names no role")?;
    let database = url.database.clone().unwrap_or_else(|| user.clone());
    let (inside, addresses) = inside_name(name, &url.place, url.port)?;
    let login = Login::new(url.password.as_ref().map(|word| word.as_str()), key);
    let written = written_host(&url.place, &inside);
    let ssl_mode = SslMode::or_usual(url.ssl_mode, &url.place);
    let tls = DatabaseTls {
        verification: ssl_mode.verification(url.root_certificates.is_some()),
        authorities: match url.root_certificates.as_deref() {
            // libpq's word for the system's own, which are trusted anyway.
            None | Some("system") => Vec::new(),
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
        credential: login.credential(name, DatabaseSystem::Postgres),
        addresses,
        database: Database::Postgres(tagout_postgres::Database {
            name: name.to_owned(),
            endpoint: Endpoint {
                system: DatabaseSystem::Postgres,
                outside: outside_name(&url.place),
                inside,
                port: url.port,
                database,
            },
            place: url.place.clone(),
            user,
            accepted: login.accepted(),
            password: login.password,
            options: url.options.clone(),
            ssl_mode,
            tls,
        }),
    })
}
