//! From files to a task: the manifest and the policy beside it, each of which counts only after a
//! person accepted exactly these bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tagout_core::Digest;
use tagout_policy::{Config, FileErrors, Manifest, Policy, Task, Trust, TrustError};

use crate::home::Home;

/// The largest manifest or policy that is read.
const LARGEST: u64 = 1024 * 1024;

/// A task and the policy that decides about it.
pub struct Loaded {
    /// What the session is for.
    pub task: Task,
    /// Base policy and the user's.
    pub policy: Policy,
    /// The manifest's folder, from which relative sources are read; the workspace without one.
    pub folder: PathBuf,
    /// The manifest, when there is one.
    pub manifest: Option<PathBuf>,
}

/// Why there is no task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A file that was named or found cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has mistakes.
    #[error(transparent)]
    Mistakes(#[from] FileErrors),
    /// Nobody accepted these bytes.
    #[error(
        "{path} is not trusted: it is code from the repository, and nobody has accepted it as it is now.\n{difference}Run `tagout trust {path}` to read and accept it, or `tagout trust --digest {digest} {path}`"
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Its digest.
        digest: Digest,
        /// What changed since it was accepted, or its text.
        difference: String,
    },
    /// Trust could not be read or written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A command line option does not fit the manifest.
    #[error("{0}")]
    Option(String),
}

/// A file that has to be accepted, as a person reads it before answering.
pub struct Review<'a> {
    /// The file.
    pub path: &'a Path,
    /// What changed since it was accepted, or all of it.
    pub difference: String,
    /// What it grants, and what it lowers, a line each.
    pub facts: Vec<String>,
}

/// Reads manifest and policy. `accept` shows a review to a person and gives their answer.
///
/// # Errors
/// See [`TaskError`].
pub fn load(
    home: &Home,
    workspace: &Path,
    named: Option<&Path>,
    accept: &dyn Fn(&Review<'_>) -> bool,
) -> Result<Loaded, TaskError> {
    let trust = Trust::open(home.path())?;
    let found = workspace.join("tagout.toml");
    let path = match named {
        Some(path) => Some(path.to_owned()),
        None => found.is_file().then_some(found),
    };
    let Some(path) = path else {
        let policy = load_policy(&trust, workspace, accept)?;
        return Ok(Loaded {
            task: Task::without_manifest(),
            policy,
            folder: workspace.to_owned(),
            manifest: None,
        });
    };
    let bytes = read(&path)?;
    let text = text_of(&path, &bytes)?;
    let manifest = Manifest::parse(text, &path.display().to_string())?;
    require_trust(&trust, &path, &bytes, manifest.review(), accept)?;
    let folder = path
        .parent()
        .map_or_else(|| workspace.to_owned(), Path::to_owned);
    let policy = load_policy(&trust, &folder, accept)?;
    Ok(Loaded {
        task: manifest.into_task(),
        policy,
        folder,
        manifest: Some(path),
    })
}

/// Reads `config.toml`.
///
/// # Errors
/// When it has mistakes or cannot be read.
pub fn load_config(home: &Home) -> Result<Config, TaskError> {
    let path = home.path().join("config.toml");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Config::parse(&text, &path.display().to_string())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(source) => Err(TaskError::Io { path, source }),
    }
}

fn load_policy(
    trust: &Trust,
    folder: &Path,
    accept: &dyn Fn(&Review<'_>) -> bool,
) -> Result<Policy, TaskError> {
    let path = folder.join("policy.cedar");
    if !path.is_file() {
        return Ok(Policy::load(None)?);
    }
    let bytes = read(&path)?;
    let policy = Policy::load(Some(text_of(&path, &bytes)?))?;
    require_trust(trust, &path, &bytes, Vec::new(), accept)?;
    Ok(policy)
}

fn require_trust(
    trust: &Trust,
    path: &Path,
    bytes: &[u8],
    facts: Vec<String>,
    accept: &dyn Fn(&Review<'_>) -> bool,
) -> Result<(), TaskError> {
    if trust.is_trusted(bytes)? {
        return Ok(());
    }
    let review = Review {
        path,
        difference: trust.difference(path, bytes)?,
        facts,
    };
    if accept(&review) {
        trust.accept(path, bytes)?;
        return Ok(());
    }
    Err(TaskError::Untrusted {
        path: path.to_owned(),
        digest: Digest::of(bytes),
        difference: review.difference,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TaskError> {
    let failed = |source| TaskError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(failed(io::Error::other(
            "it is no file, or larger than 1 MiB",
        )));
    }
    fs::read(path).map_err(failed)
}

fn text_of<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, TaskError> {
    std::str::from_utf8(bytes).map_err(|_| TaskError::Io {
        path: path.to_owned(),
        source: io::Error::other("it is not UTF-8"),
    })
}
