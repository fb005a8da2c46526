//! `$TAGOUT_HOME`: where everything lives that must never be seen from inside a sandbox.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder that holds store, ledgers, keys and trust; mode 0700, owned by this user.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

/// Why there is no usable home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `TAGOUT_HOME`, `XDG_STATE_HOME` nor `HOME` says where it would be.
    #[error(
        "no TAGOUT_HOME, XDG_STATE_HOME or HOME is set; set TAGOUT_HOME to a folder of your own"
    )]
    Nowhere,
    /// It is a relative path.
    #[error("TAGOUT_HOME must be an absolute path, and {0} is not")]
    Relative(PathBuf),
    /// Somebody else's.
    #[error("{path} belongs to user {owner}, not to you; set TAGOUT_HOME to a folder of your own")]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Its owner's id.
        owner: u32,
    },
    /// It cannot be made or read.
    #[error("cannot use {path} as TAGOUT_HOME: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Home {
    /// Finds the folder, makes it when absent, and takes everybody else's access away.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn open(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HomeError> {
        let set = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let path = set("TAGOUT_HOME")
            .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("tagout")))
            .or_else(|| set("HOME").map(|home| home.join(".local/state/tagout")))
            .ok_or(HomeError::Nowhere)?;
        if path.is_relative() {
            return Err(HomeError::Relative(path));
        }
        let failed = |source| HomeError::Io {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        let found = fs::metadata(&path).map_err(failed)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(HomeError::NotOurs {
                path,
                owner: found.uid(),
            });
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let path = fs::canonicalize(&path).map_err(failed)?;
        Ok(Self { path })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where ledgers lie.
    pub fn ledgers(&self) -> PathBuf {
        self.path.join("ledgers")
    }

    /// A live session's own folder: `lock`, `control`, what to sweep.
    pub fn session(&self, id: &tagout_core::SessionId) -> PathBuf {
        self.path.join("sessions").join(id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_private_even_when_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let home =
            Home::open(|name| (name == "TAGOUT_HOME").then(|| path.to_str().unwrap().to_owned()))
                .unwrap();
        assert_eq!(fs::metadata(home.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn refuses_relative_and_missing() {
        assert!(matches!(Home::open(|_| None), Err(HomeError::Nowhere)));
        let relative = |name: &str| (name == "TAGOUT_HOME").then(|| "state".to_owned());
        assert!(matches!(Home::open(relative), Err(HomeError::Relative(_))));
    }
}
