//! `tagout undo ID --database`: puts back what approved statements took from databases. The URL is read
//! anew from the source that the manifest named when the session began; nothing of it is kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tagout_core::{DatabaseSystem, SessionId};
use tagout_credentials::vault::VaultError;
use tagout_credentials::{Outside, Secret};
use tagout_database::{Database, StoreError, summary};
pub use tagout_database::{KeptSummary, UndoOptions, UndoReport};
use tagout_net::Upstream;
use tagout_policy::DatabaseGrant;

use crate::databases::{in_person, kept, kept_of_all};
use crate::gates::upstream_config;
use crate::home::Home;
use crate::task::{TaskError, load_config};

/// Says where the URLs of a session's databases come from.
const SOURCES: &str = "sources.json";

/// Where a database's URL comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptSource {
    /// The database's name in the manifest.
    name: String,
    /// As the manifest writes it.
    source: String,
    /// The folder that a relative path is in.
    folder: PathBuf,
}

/// Why nothing of a database was put back.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUndoError {
    /// What is kept cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// PostgreSQL refuses, or what is kept does not fit.
    #[error(transparent)]
    Postgres(#[from] tagout_postgres::damage::DamageError),
    /// The same, of MySQL.
    #[error(transparent)]
    MySql(#[from] tagout_mysql::damage::DamageError),
    /// The folder of the session.
    #[error("cannot read what was kept: {0}")]
    Kept(#[from] io::Error),
    /// No URL, or nobody there.
    #[error("the database `{name}`: {reason}")]
    Unreachable {
        /// Its name in the manifest.
        name: String,
        /// Why.
        reason: String,
    },
    /// None of the session's databases is the one that it was taken from.
    #[error(
        "none of the databases that this session was given is the one that this was taken from; their URLs lead elsewhere by now"
    )]
    NoneOfThem,
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] TaskError),
    /// The machine.
    #[error("cannot ask anybody from this machine: {0}")]
    Machine(String),
}

/// What one approved statement took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its hold.
    pub hold: String,
    /// Where it is kept.
    folder: PathBuf,
    /// What it is.
    pub summary: KeptSummary,
}

/// Notes, at the start of a session, where the URLs of its databases come from, and removes what is kept
/// too long of earlier ones.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note(
    home: &Home,
    session: &SessionId,
    databases: &[DatabaseGrant],
    folder: &Path,
) -> io::Result<()> {
    if databases.is_empty() {
        return Ok(());
    }
    tagout_workspace::prune(&kept_of_all(home), |folder| {
        let id = folder.file_name().and_then(|name| name.to_str());
        id.and_then(|id| id.parse().ok())
            .is_some_and(|id| crate::control::lives(home, &id))
    });
    let into = kept(home, session);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&into)?;
    let sources: Vec<_> = databases
        .iter()
        .map(|grant| KeptSource {
            name: grant.name.clone(),
            source: grant.source.clone(),
            folder: folder.to_owned(),
        })
        .collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(into.join(SOURCES))?;
    file.write_all(&serde_json::to_vec(&sources)?)
}

/// What approved statements of a session took, the newest first: the order in which to put it back.
///
/// # Errors
/// When it cannot be read.
pub fn taken(home: &Home, session: &SessionId) -> Result<Vec<Taken>, DatabaseUndoError> {
    let mut taken = Vec::new();
    let entries = match fs::read_dir(kept(home, session)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(taken),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        match summary(&entry.path()) {
            Ok((_, summary)) => taken.push(Taken {
                hold: entry.file_name().to_string_lossy().into_owned(),
                folder: entry.path(),
                summary,
            }),
            // It was being written when the session ended: the statement never ran.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    taken.sort_by_key(|taken| std::cmp::Reverse(taken.summary.at));
    Ok(taken)
}

/// Puts back what one statement took. The URL comes from the operator's own environment, files, vault or
/// program, as the accepted manifest said when the session began.
///
/// # Errors
/// When nothing was put back.
pub fn undo(
    home: &Home,
    session: &SessionId,
    workspace: &Path,
    vault: &dyn Fn(&str) -> Result<Secret, VaultError>,
    taken: &Taken,
    options: UndoOptions,
) -> Result<UndoReport, DatabaseUndoError> {
    let sources = fs::read(kept(home, session).join(SOURCES))?;
    let sources: Vec<KeptSource> = serde_json::from_slice(&sources).map_err(io::Error::from)?;
    let upstream = Upstream::new(upstream_config(&load_config(home)?))
        .map_err(|error| DatabaseUndoError::Machine(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DatabaseUndoError::Machine(error.to_string()))?;
    let mut unreachable = None;
    for source in sources {
        let failed = |reason: String| DatabaseUndoError::Unreachable {
            name: source.name.clone(),
            reason,
        };
        let outside = Outside {
            environment: &|name| std::env::var(name).ok(),
            folder: &source.folder,
            workspace,
            vault,
        };
        let database = match in_person((&source.name, &source.source), &outside, &upstream) {
            Ok(database) => database,
            Err(reason) => {
                unreachable.get_or_insert(failed(reason));
                continue;
            }
        };
        let report = runtime.block_on(put_back(&database, &upstream, &taken.folder, options));
        let report = report.map_err(|error| match error {
            NotPutBack::Unreached(reason) => failed(reason),
            NotPutBack::Failed(error) => error,
        });
        match report {
            Ok(Some(report)) => return Ok(report),
            Ok(None) => {}
            Err(error @ DatabaseUndoError::Unreachable { .. }) => {
                unreachable.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(unreachable.unwrap_or(DatabaseUndoError::NoneOfThem))
}

/// Why [`put_back`] did nothing.
enum NotPutBack {
    /// The database was not reached.
    Unreached(String),
    /// It was, and what is kept does not fit, or it refused.
    Failed(DatabaseUndoError),
}

impl<E: Into<DatabaseUndoError>> From<E> for NotPutBack {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Puts back what `folder` keeps, where it is of `database`; nothing where it is of another one.
async fn put_back(
    database: &Database,
    upstream: &Upstream,
    folder: &Path,
    options: UndoOptions,
) -> Result<Option<UndoReport>, NotPutBack> {
    let (system, _) = summary(folder)?;
    if database.endpoint.system != system {
        return Ok(None);
    }
    let unreached = |error: &dyn std::fmt::Display| NotPutBack::Unreached(error.to_string());
    match system {
        DatabaseSystem::Postgres => {
            use tagout_postgres::{connect_in_person, damage};
            let connected = connect_in_person(upstream, database).await;
            let mut connection = connected.map_err(|error| unreached(&error))?;
            match damage::is_of(&mut connection, folder).await? {
                true => Ok(Some(damage::undo(&mut connection, folder, options).await?)),
                false => Ok(None),
            }
        }
        DatabaseSystem::MySql => {
            use tagout_mysql::{connect_in_person, damage};
            let connected = connect_in_person(upstream, database).await;
            let mut connection = connected.map_err(|error| unreached(&error))?;
            match damage::is_of(&mut connection, folder).await? {
                true => Ok(Some(damage::undo(&mut connection, folder, options).await?)),
                false => Ok(None),
            }
        }
        // Nothing of it is kept.
        DatabaseSystem::Redis => Ok(None),
    }
}
