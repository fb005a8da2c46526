//! Which folder the agent works in, and which folders nobody should ever hand to an agent.
//!
//! Folders are compared by device and inode, never by spelling: a bind mount, a symlink or a
//! different case of the name is the same folder.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A folder that a session may have.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Its real path.
    pub path: PathBuf,
    /// Its `.git`, when it has one.
    pub git: Option<Git>,
}

/// How git keeps a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Git {
    /// `.git` is a folder.
    Folder,
    /// `.git` is a file: a linked worktree or a submodule. `private` is its own git folder, `common`
    /// the one it shares.
    Linked {
        /// The folder that `.git` points to.
        private: PathBuf,
        /// The shared git folder.
        common: PathBuf,
    },
}

/// Why a folder cannot be a workspace.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Not there, or not a folder.
    #[error("cannot use {path} as a workspace: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `/`, or a folder around a home, or a home itself.
    #[error(
        "{path} is or contains {what}; run Tagout in a project folder, or name one with --workspace"
    )]
    TooWide {
        /// The folder.
        path: PathBuf,
        /// What it would hand over.
        what: String,
    },
    /// A folder of the system, of Tagout, or of another session.
    #[error("{path} is, contains or lies in {what}; choose another folder with --workspace")]
    Forbidden {
        /// The folder.
        path: PathBuf,
        /// What it collides with.
        what: String,
    },
    /// The path is not UTF-8.
    #[error(
        "the workspace's path is not UTF-8, which Tagout cannot show safely; rename the folder"
    )]
    NotText,
}

/// Folders that belong to the system. A workspace may lie below none of them, but for those of
/// [`BELOW_SYSTEM`].
const SYSTEM: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// Places below system folders where people do keep projects.
const BELOW_SYSTEM: &[&str] = &[
    "/usr/src",
    "/var/tmp",
    "/var/www",
    "/var/lib/jenkins",
    "/run/media",
];

impl Workspace {
    /// The folder that `--workspace` names, or else the git root above `current`, or else `current`.
    ///
    /// `homes` are home folders; `tagout_home` is `$TAGOUT_HOME`; `live` are other live sessions'
    /// workspaces with their ids.
    ///
    /// # Errors
    /// See [`WorkspaceError`].
    pub fn choose(
        named: Option<&Path>,
        current: &Path,
        homes: &[PathBuf],
        tagout_home: &Path,
        live: &[(String, PathBuf)],
    ) -> Result<Self, WorkspaceError> {
        let start = named.unwrap_or(current);
        let start = fs::canonicalize(start).map_err(|source| WorkspaceError::Io {
            path: start.to_owned(),
            source,
        })?;
        let path = match named {
            Some(_) => start,
            None => git_root(&start).unwrap_or(start),
        };
        if path
            .to_str()
            .is_none_or(|text| text.chars().any(char::is_control))
        {
            return Err(WorkspaceError::NotText);
        }
        if !path.is_dir() {
            return Err(WorkspaceError::Io {
                path,
                source: io::ErrorKind::NotADirectory.into(),
            });
        }
        refuse_dangerous(&path, homes, tagout_home, live)?;
        let git = Git::of(&path);
        Ok(Self { path, git })
    }
}

impl Git {
    fn of(workspace: &Path) -> Option<Self> {
        let dot_git = workspace.join(".git");
        let kind = fs::symlink_metadata(&dot_git).ok()?;
        if kind.is_dir() {
            return Some(Self::Folder);
        }
        let text = fs::read_to_string(&dot_git).ok()?;
        let target = text.strip_prefix("gitdir:")?.trim();
        let private = fs::canonicalize(workspace.join(target)).ok()?;
        let common = match fs::read_to_string(private.join("commondir")) {
            Ok(relative) => fs::canonicalize(private.join(relative.trim())).ok()?,
            Err(_) => private.clone(),
        };
        // Only a folder that looks like git's own is brought in: a `.git` file is the agent's to
        // write in an earlier, ungoverned session.
        let is_git =
            |folder: &Path| folder.join("objects").is_dir() && folder.join("HEAD").is_file();
        is_git(&common).then_some(Self::Linked { private, common })
    }
}

fn git_root(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

fn refuse_dangerous(
    path: &Path,
    homes: &[PathBuf],
    tagout_home: &Path,
    live: &[(String, PathBuf)],
) -> Result<(), WorkspaceError> {
    let too_wide = |what: String| WorkspaceError::TooWide {
        path: path.to_owned(),
        what,
    };
    let forbidden = |what: String| WorkspaceError::Forbidden {
        path: path.to_owned(),
        what,
    };
    let ours = Identity::chain(path)?;
    let Some(own) = ours.first().copied() else {
        return Err(too_wide("nothing that can be told".to_owned()));
    };
    if ours.len() == 1 || Identity::of(Path::new("/")).is_some_and(|root| root == own) {
        return Err(too_wide("the whole file system".to_owned()));
    }
    let contains = |other: &Path| Identity::chain(other).is_ok_and(|chain| chain.contains(&own));
    let lies_in = |other: &Path| Identity::of(other).is_some_and(|other| ours.contains(&other));
    for home in homes {
        if contains(home) {
            return Err(too_wide(format!("the home folder {}", home.display())));
        }
    }
    if contains(tagout_home) || lies_in(tagout_home) {
        return Err(forbidden(format!(
            "Tagout's own state in {}",
            tagout_home.display()
        )));
    }
    let excepted = BELOW_SYSTEM.iter().any(|folder| lies_in(Path::new(folder)));
    for system in SYSTEM {
        let system = Path::new(system);
        if contains(system) || (lies_in(system) && !excepted) {
            return Err(forbidden(format!("the system folder {}", system.display())));
        }
    }
    for (session, other) in live {
        if contains(other) || lies_in(other) {
            return Err(forbidden(format!(
                "the workspace of session {session}, which is still running"
            )));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// The folder itself and everything above it.
    fn chain(path: &Path) -> Result<Vec<Self>, WorkspaceError> {
        let failed = |source| WorkspaceError::Io {
            path: path.to_owned(),
            source,
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        Ok(real.ancestors().filter_map(Self::of).collect())
    }
}

/// The home folders of this machine's people: `$HOME`, the account's, and every folder that
/// `/etc/passwd` calls a person's.
pub fn homes(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = variable("HOME").map(PathBuf::from).into_iter().collect();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, uid, _, _, home, ..] = fields.as_slice()
            && uid
                .parse::<u32>()
                .is_ok_and(|uid| uid == 0 || (1000..60_000).contains(&uid))
        {
            homes.push(PathBuf::from(home));
        }
    }
    homes.retain(|home| home.is_absolute() && home != Path::new("/"));
    homes.sort();
    homes.dedup();
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(path: &Path, live: &[(String, PathBuf)]) -> Result<Workspace, WorkspaceError> {
        let home = tempfile::tempdir().unwrap();
        Workspace::choose(Some(path), path, &[], home.path(), live)
    }

    #[test]
    fn refuses_what_would_hand_over_too_much() {
        for folder in ["/", "/etc", "/usr/share", "/proc/self"] {
            assert!(choose(Path::new(folder), &[]).is_err(), "{folder}");
        }
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home/person");
        fs::create_dir_all(home.join("project")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let choose = |path: &Path| {
            Workspace::choose(
                Some(path),
                path,
                std::slice::from_ref(&home),
                elsewhere.path(),
                &[],
            )
        };
        assert!(matches!(choose(&home), Err(WorkspaceError::TooWide { .. })));
        assert!(matches!(
            choose(folder.path()),
            Err(WorkspaceError::TooWide { .. })
        ));
        assert!(choose(&home.join("project")).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&home, &link).unwrap();
        assert!(matches!(choose(&link), Err(WorkspaceError::TooWide { .. })));
    }

    #[test]
    fn refuses_tagouts_own_state_and_live_workspaces() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        let state = project.join("state");
        fs::create_dir_all(&state).unwrap();
        for path in [&project, &state] {
            assert!(matches!(
                Workspace::choose(Some(path), path, &[], &state, &[]),
                Err(WorkspaceError::Forbidden { .. })
            ));
        }
        let live = [("s-0123456789".to_owned(), project.clone())];
        assert!(matches!(
            choose(&state, &live),
            Err(WorkspaceError::Forbidden { .. })
        ));
    }

    #[test]
    fn finds_the_git_root_above() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("repo/src/deep");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(folder.path().join("repo/.git")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let found = Workspace::choose(None, &deep, &[], elsewhere.path(), &[]).unwrap();
        assert_eq!(
            found.path,
            fs::canonicalize(folder.path().join("repo")).unwrap()
        );
        assert_eq!(found.git, Some(Git::Folder));
    }
}
