//! The databases of a manifest: their URLs are read outside, with the operator's own sources; inside, the
//! same URL names the gate and holds a decoy where the password stood.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tagout_authority::Authority;
use tagout_core::{DatabaseSystem, HostName, HostPattern, SessionId};
use tagout_credentials::{Credential, Decoy, Outside, Secret, Source};
use tagout_database::{Database, DatabaseUrl, Place, ServedDatabases, SslMode, is_this_machine};
use tagout_net::{Captured, DatabaseTls, Destination, Names, SessionCa, Upstream};
use tagout_policy::{Endpoint, Task};
use tagout_secrets::{DecoyKey, is_guessable};

use crate::home::Home;
use crate::run::RunError;

/// Below it are names of Tagout's making, for servers that have none.
const MADE_NAMES: &str = "database.internal";

/// The databases of a session.
#[derive(Default)]
pub(crate) struct Databases {
    found: Vec<Found>,
}

struct Found {
    read: Read,
    /// Which variable holds its URL inside.
    variable: String,
}

/// What a system makes of a URL.
struct Read {
    database: Database,
    /// The URL inside.
    url: String,
    credential: Option<Credential>,
    /// Where it is, for a name of Tagout's making.
    addresses: Vec<SocketAddr>,
}

/// The gates of a session's databases, one of each system that it has.
pub(crate) struct DatabaseGates(Vec<DatabaseGate>);

/// The gate of one system. Cheap to clone.
#[derive(Clone)]
pub(crate) enum DatabaseGate {
    Postgres(tagout_postgres::Gate),
    MySql(tagout_mysql::Gate),
    Redis(tagout_redis::Gate),
}

impl DatabaseGates {
    /// The gate of a connection to `destination` on `port`, where that is for a database.
    pub(crate) fn at(&self, destination: &Destination, port: u16) -> Option<DatabaseGate> {
        let serves = |gate: &&DatabaseGate| match gate {
            DatabaseGate::Postgres(gate) => gate.serves(destination, port),
            DatabaseGate::MySql(gate) => gate.serves(destination, port),
            DatabaseGate::Redis(gate) => gate.serves(destination, port),
        };
        self.0.iter().find(serves).cloned()
    }
}

impl DatabaseGate {
    /// Serves one captured connection to its end.
    pub(crate) async fn serve(&self, captured: Captured) {
        match self {
            Self::Postgres(gate) => gate.serve(captured).await,
            Self::MySql(gate) => gate.serve(captured).await,
            Self::Redis(gate) => gate.serve(captured).await,
        }
    }
}

impl Databases {
    /// Reads the URL of each database of `task` and notes there where it is.
    ///
    /// # Errors
    /// A URL that cannot be had or used, and two databases for one variable.
    pub(crate) fn load(
        task: &mut Task,
        outside: &Outside<'_>,
        key: &DecoyKey,
    ) -> Result<Self, RunError> {
        let mut found: Vec<Found> = Vec::new();
        let mut variables = HashMap::new();
        for grant in &mut task.databases {
            let failed = |reason: String| RunError::Database {
                name: grant.name.clone(),
                reason,
            };
            let loaded = load((&grant.name, &grant.source), outside, key).map_err(failed)?;
            let variable = loaded.variable.clone();
            if let Some(other) = variables.insert(variable.clone(), grant.name.clone()) {
                let reason = format!(
                    "its URL would stand in {variable} inside, and so would that of database `{other}`; give each a variable of its own, as url = \"env:OTHER_URL\" or file:PATH#OTHER_URL"
                );
                return Err(failed(reason));
            }
            grant.endpoint = Some(loaded.read.database.endpoint.clone());
            found.push(loaded);
        }
        for (grant, loaded) in task.databases.iter().zip(&found) {
            let endpoint = &loaded.read.database.endpoint;
            let unread = task.local_ports.iter().find(|local| {
                endpoint.inside.as_str() == "localhost" && local.port == endpoint.port
            });
            if let Some(local) = unread {
                return Err(RunError::Database {
                    name: grant.name.clone(),
                    reason: format!(
                        "`local = {}` on line {} lets it pass unread; remove that entry",
                        local.port, local.line
                    ),
                });
            }
        }
        Ok(Self { found })
    }

    /// The passwords, so that no gate lets one out and every log leaves it out.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = Credential> {
        self.found
            .iter()
            .filter_map(|found| found.read.credential.clone())
    }

    /// The variables inside.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.found
            .iter()
            .map(|found| (found.variable.clone(), found.read.url.clone()))
    }

    /// The gates, one of each system that has a database here. What approved statements destroy is kept in
    /// `kept`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn gates(
        self,
        authority: &Authority,
        upstream: &Arc<Upstream>,
        (ca, names): (&Arc<SessionCa>, &Names),
        kept: &Path,
    ) -> std::io::Result<DatabaseGates> {
        let mut of_system: HashMap<_, Vec<_>> = HashMap::new();
        for Found { read, .. } in self.found {
            names.grant(HostPattern::Exact(read.database.endpoint.inside.clone()));
            let database = read.placed(upstream);
            let system = database.endpoint.system;
            of_system.entry(system).or_default().push(database);
        }
        let mut gates = Vec::new();
        for (system, databases) in of_system {
            let (authority, upstream) = (authority.clone(), Arc::clone(upstream));
            let (ca, kept) = (Arc::clone(ca), kept.to_owned());
            gates.push(match system {
                DatabaseSystem::Postgres => {
                    let databases = ServedDatabases::new(authority, upstream, ca, databases);
                    DatabaseGate::Postgres(tagout_postgres::Gate::new(databases, kept)?)
                }
                DatabaseSystem::MySql => {
                    let databases = ServedDatabases::new(authority, upstream, ca, databases);
                    DatabaseGate::MySql(tagout_mysql::Gate::new(databases, kept)?)
                }
                DatabaseSystem::Redis => {
                    let databases = ServedDatabases::new(authority, upstream, ca, databases);
                    DatabaseGate::Redis(tagout_redis::Gate::new(databases))
                }
            });
        }
        Ok(DatabaseGates(gates))
    }
}

impl Read {
    /// The database, once `upstream` knows where it is.
    fn placed(self, upstream: &Upstream) -> Database {
        let endpoint = &self.database.endpoint;
        upstream.allow_operators_network(self.database.target());
        if !self.addresses.is_empty() {
            upstream.place(endpoint.inside.clone(), endpoint.port, self.addresses);
        }
        self.database
    }
}

/// Where what approved statements of sessions destroyed is kept, longer than the sessions last.
pub(crate) fn kept_of_all(home: &Home) -> PathBuf {
    home.path().join("kept")
}

/// What is kept of a session: a folder for each hold.
pub(crate) fn kept(home: &Home, session: &SessionId) -> PathBuf {
    kept_of_all(home).join(session.as_str())
}

/// A database for what a person does in person, by its name and the source of its URL; `upstream` is told
/// where it is.
pub(crate) fn in_person(
    (name, source): (&str, &str),
    outside: &Outside<'_>,
    upstream: &Upstream,
) -> Result<Database, String> {
    // Nobody inside sees this decoy.
    let found = load((name, source), outside, &DecoyKey::derive(&[], &[]))?;
    Ok(found.read.placed(upstream))
}

fn load(
    (name, written_source): (&str, &str),
    outside: &Outside<'_>,
    key: &DecoyKey,
) -> Result<Found, String> {
    let source = Source::parse(written_source).map_err(|error| error.to_string())?;
    let secret = source.load(outside).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(secret.expose())
        .map_err(|_| format!("what {written_source} holds is not text"))?;
    let unusable =
        |why: &dyn std::fmt::Display| format!("the URL of {written_source} cannot be used: {why}");
    let url = DatabaseUrl::parse(text).map_err(|error| unusable(&error))?;
    let system = url.system;
    let read = read(name, &url, key).map_err(|why| unusable(&why))?;
    let variable = match &source {
        Source::Env(name) => name.clone(),
        Source::File { key: Some(key), .. } if is_variable(key) => key.clone(),
        _ => usual_variable(system).to_owned(),
    };
    Ok(Found { read, variable })
}

fn read(name: &str, url: &DatabaseUrl, key: &DecoyKey) -> Result<Read, String> {
    let operator = || std::env::var("USER").ok();
    let user = match url.system {
        DatabaseSystem::Postgres => url.user.clone().or_else(operator).ok_or("it names no role"),
        DatabaseSystem::MySql => url.user.clone().or_else(operator).ok_or("it names no user"),
        // Whom a server takes a client for that names nobody.
        DatabaseSystem::Redis => Ok(url.user.clone().unwrap_or_else(|| "default".to_owned())),
    }?;
    let database = match (url.database.clone(), url.system) {
        (Some(database), _) => database,
        // As libpq.
        (None, DatabaseSystem::Postgres) => user.clone(),
        (None, _) => {
            return Err(
                "it names no database; write SCHEME://USER:PASSWORD@HOST/DATABASE".to_owned(),
            );
        }
    };
    let (inside, addresses) = inside_name(name, &url.place, url.port)?;
    let login = Login::new(url.password.as_ref().map(|word| word.as_str()), key);
    let named = match url.system {
        DatabaseSystem::Postgres | DatabaseSystem::MySql => Some(user.as_str()),
        DatabaseSystem::Redis => url.user.as_deref(),
    };
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
        url: url.inside(&written, named, &database, login.decoy()),
        credential: login.credential(name, url.system),
        addresses,
        database: Database {
            name: name.to_owned(),
            endpoint: Endpoint {
                system: url.system,
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
        },
    })
}

/// The variable of a URL whose source is none.
fn usual_variable(system: DatabaseSystem) -> &'static str {
    match system {
        DatabaseSystem::Postgres | DatabaseSystem::MySql => "DATABASE_URL",
        DatabaseSystem::Redis => "REDIS_URL",
    }
}

/// What stands for a password inside.
struct Login {
    password: Option<Secret>,
    decoy: Option<Decoy>,
}

impl Login {
    fn new(password: Option<&str>, key: &DecoyKey) -> Self {
        let password = password.map(|password| Secret::new(password.as_bytes().to_vec()));
        let decoy = password.as_ref().map(|password| decoy_of(password, key));
        Self { password, decoy }
    }

    fn decoy(&self) -> Option<&str> {
        self.decoy.as_ref().map(Decoy::as_str)
    }

    /// What a client inside has to know, any of them: the decoy, and a password that anybody could guess.
    fn accepted(&self) -> Vec<String> {
        let guessable = self
            .password
            .as_ref()
            .filter(|password| is_guessable(password.expose()))
            .and_then(|word| String::from_utf8(word.expose().to_vec()).ok());
        let decoy = self.decoy().map(str::to_owned);
        decoy.into_iter().chain(guessable).collect()
    }

    /// As a credential of the session, by the database's name.
    fn credential(&self, name: &str, system: DatabaseSystem) -> Option<Credential> {
        let (secret, decoy) = self.password.clone().zip(self.decoy.clone())?;
        Some(Credential {
            name: name.to_owned(),
            provider: system.as_str().to_owned(),
            hosts: Vec::new(),
            slots: Vec::new(),
            secret,
            decoy,
            generation: 1,
            repository: None,
        })
    }
}

/// The host of the URL inside: as it stands where files of the workspace name it so.
fn written_host(place: &Place, inside: &HostName) -> String {
    match place {
        Place::Host(host) if is_this_machine(host) && !host.contains(':') => host.clone(),
        _ => inside.to_string(),
    }
}

/// How a pin names the place.
fn outside_name(place: &Place) -> String {
    match place {
        Place::Host(host) => host.clone(),
        Place::Socket(path) => path.clone(),
    }
}

/// The name by which programs inside reach a server, and where it is when the name is not its own.
fn inside_name(
    name: &str,
    place: &Place,
    port: u16,
) -> Result<(HostName, Vec<SocketAddr>), String> {
    let loopback = || {
        vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ]
    };
    let (text, addresses) = match place {
        Place::Socket(_) => ("localhost".to_owned(), Vec::new()),
        Place::Host(host) if is_this_machine(host) => {
            let given = host.parse::<IpAddr>().ok();
            let addresses = given.map_or_else(loopback, |address| vec![(address, port).into()]);
            ("localhost".to_owned(), addresses)
        }
        Place::Host(host) => match host.parse::<IpAddr>() {
            Err(_) => (host.clone(), Vec::new()),
            Ok(address) => {
                let label: String = name
                    .chars()
                    .map(|letter| match letter {
                        '.' | '_' => '-',
                        other => other.to_ascii_lowercase(),
                    })
                    .collect();
                let label = label.trim_matches('-');
                (
                    format!("{label}.{MADE_NAMES}"),
                    vec![(address, port).into()],
                )
            }
        },
    };
    let inside = HostName::parse(&text).map_err(|error| format!("the host of its URL: {error}"))?;
    Ok((inside, addresses))
}

/// A decoy that a client can type as a password: SCRAM's are text (RFC 5802 §2.2).
fn decoy_of(password: &Secret, key: &DecoyKey) -> Decoy {
    use sha2::Digest as _;
    let decoy = password.decoy(key);
    let typed = |byte: u8| (b'!'..=b'~').contains(&byte);
    if decoy.as_str().bytes().all(typed) {
        return decoy;
    }
    let hash = sha2::Sha256::digest(decoy.as_str().as_bytes());
    let hex: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Decoy::new(hex)
}

fn is_variable(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !key.is_empty()
        && key.bytes().all(plain)
        && !key.starts_with(|first: char| first.is_ascii_digit())
}

fn certificates(path: &Path) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, String> {
    use rustls_pki_types::pem::PemObject as _;
    let path = at_home(path);
    let failed = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
    let bytes = fs::read(&path).map_err(|error| failed(&error))?;
    let found: Vec<_> = rustls_pki_types::CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(&error))?;
    match found.is_empty() {
        true => Err(failed(&"no certificate is in it")),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<rustls_pki_types::PrivateKeyDer<'static>, String> {
    use rustls_pki_types::pem::PemObject as _;
    let path = at_home(path);
    let failed = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
    let bytes = fs::read(&path).map_err(|error| failed(&error))?;
    rustls_pki_types::PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| failed(&error))
}

fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}
