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
use tagout_net::{DatabaseTls, Names, SessionCa, Upstream};
use tagout_policy::{Endpoint, Task};
use tagout_postgres::{Database, DatabaseUrl, Gate, Place, SslMode, is_this_machine};
use tagout_secrets::{DecoyKey, is_guessable};

use crate::home::Home;
use crate::run::RunError;

/// The variable of a URL whose source is none.
const USUAL_VARIABLE: &str = "DATABASE_URL";

/// Below it are names of Tagout's making, for servers that have none.
const MADE_NAMES: &str = "database.internal";

/// The databases of a session.
#[derive(Default)]
pub(crate) struct Databases {
    found: Vec<Found>,
}

struct Found {
    database: Database,
    /// Which variable holds its URL inside, and that URL.
    variable: (String, String),
    credential: Option<Credential>,
    /// Where it is, for a name of Tagout's making.
    addresses: Vec<SocketAddr>,
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
            let variable = loaded.variable.0.clone();
            if let Some(other) = variables.insert(variable.clone(), grant.name.clone()) {
                let reason = format!(
                    "its URL would stand in {variable} inside, and so would that of database `{other}`; give each a variable of its own, as url = \"env:OTHER_URL\" or file:PATH#OTHER_URL"
                );
                return Err(failed(reason));
            }
            grant.endpoint = Some(loaded.database.endpoint.clone());
            found.push(loaded);
        }
        for loaded in &found {
            let endpoint = &loaded.database.endpoint;
            let unread = task.local_ports.iter().find(|local| {
                endpoint.inside.as_str() == "localhost" && local.port == endpoint.port
            });
            if let Some(local) = unread {
                return Err(RunError::Database {
                    name: loaded.database.name.clone(),
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
            .filter_map(|found| found.credential.clone())
    }

    /// The variables inside.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.found.iter().map(|found| found.variable.clone())
    }

    /// The gate, where there is a database. What approved statements destroy is kept in `kept`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn gate(
        self,
        authority: &Authority,
        upstream: &Arc<Upstream>,
        (ca, names): (&Arc<SessionCa>, &Names),
        kept: PathBuf,
    ) -> std::io::Result<Option<Gate>> {
        if self.found.is_empty() {
            return Ok(None);
        }
        let mut databases = Vec::new();
        for found in self.found {
            let endpoint = &found.database.endpoint;
            names.grant(HostPattern::Exact(endpoint.inside.clone()));
            upstream.allow_operators_network(found.database.target());
            if !found.addresses.is_empty() {
                upstream.place(endpoint.inside.clone(), endpoint.port, found.addresses);
            }
            databases.push(found.database);
        }
        Gate::new(
            authority.clone(),
            Arc::clone(upstream),
            Arc::clone(ca),
            databases,
            kept,
        )
        .map(Some)
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
    let endpoint = &found.database.endpoint;
    upstream.allow_operators_network(found.database.target());
    if !found.addresses.is_empty() {
        upstream.place(endpoint.inside.clone(), endpoint.port, found.addresses);
    }
    Ok(found.database)
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
    let url = DatabaseUrl::parse(text)
        .map_err(|error| format!("the URL of {written_source} cannot be used: {error}"))?;
    let user = url
        .user
        .clone()
        .or_else(|| std::env::var("USER").ok())
        .ok_or("its URL names no role")?;
    let database = url.database.clone().unwrap_or_else(|| user.clone());
    let (inside, addresses) = inside_name(name, &url.place, url.port)?;
    let written = match &url.place {
        // Written as it stands, since files of the workspace name it so.
        Place::Host(host) if is_this_machine(host) && !host.contains(':') => host.clone(),
        _ => inside.to_string(),
    };
    let password = url
        .password
        .as_ref()
        .map(|password| Secret::new(password.as_bytes().to_vec()));
    let decoy = password.as_ref().map(|password| decoy_of(password, key));
    let credential = password
        .clone()
        .zip(decoy.clone())
        .map(|(secret, decoy)| Credential {
            name: name.to_owned(),
            provider: DatabaseSystem::Postgres.as_str().to_owned(),
            hosts: Vec::new(),
            slots: Vec::new(),
            secret,
            decoy,
            generation: 1,
            repository: None,
        });
    let variable = match &source {
        Source::Env(name) => name.clone(),
        Source::File { key: Some(key), .. } if is_variable(key) => key.clone(),
        _ => USUAL_VARIABLE.to_owned(),
    };
    let value = url.inside(
        &written,
        &user,
        &database,
        decoy.as_ref().map(Decoy::as_str),
    );
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
    let guessable = password
        .clone()
        .filter(|password| is_guessable(password.expose()));
    let endpoint = Endpoint {
        system: DatabaseSystem::Postgres,
        outside: match &url.place {
            Place::Host(host) => host.clone(),
            Place::Socket(folder) => folder.clone(),
        },
        inside,
        port: url.port,
        database,
    };
    Ok(Found {
        database: Database {
            name: name.to_owned(),
            endpoint,
            place: url.place.clone(),
            user,
            password,
            accepted: decoy
                .into_iter()
                .map(|decoy| decoy.as_str().to_owned())
                .chain(guessable.and_then(|word| String::from_utf8(word.expose().to_vec()).ok()))
                .collect(),
            options: url.options.clone(),
            ssl_mode,
            tls,
        },
        variable: (variable, value),
        credential,
        addresses,
    })
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
