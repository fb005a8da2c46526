//! Which folder the agent works in, and which folders nobody should ever hand to an agent.
//!
//! Folders are compared by device and inode, never by spelling: a bind mount, a symlink or a
//! different case of the name is the same folder.

use std::cell::RefCell;
use std::collections::HashMap;
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
    /// Its `.git` is not what git makes, or leads somewhere else.
    #[error(
        "{path}: {why}; make it an ordinary repository again, or choose another folder with --workspace"
    )]
    Git {
        /// The `.git`.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The path is not UTF-8.
    #[error(
        "the workspace's path is not UTF-8 or has control characters, which Tagout cannot show safely; rename the folder"
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

/// Folders that many programs share: a project may lie there, but they are none. Sockets of
/// terminals and agents lie in the first two.
const SHARED: &[&str] = &[
    "/tmp", "/var/tmp", "/opt", "/srv", "/mnt", "/media", "/nix", "/snap",
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
        let git = Git::of(&path)?;
        if let Some(Git::Linked { common, .. }) = &git
            && !common.starts_with(&path)
        {
            refuse_dangerous(common, homes, tagout_home, &[])?;
        }
        Ok(Self { path, git })
    }
}

impl Git {
    /// How git keeps `workspace`, or why nobody should let an agent loose on what its `.git` says.
    ///
    /// A `.git` file and the `commondir` behind it are the agent's to have written in an earlier
    /// session, and whatever they name becomes writable. So the named folder has to name the
    /// workspace back, in a file that lies in the folder itself.
    fn of(workspace: &Path) -> Result<Option<Self>, WorkspaceError> {
        let dot_git = workspace.join(".git");
        let refuse = |why: &str| WorkspaceError::Git {
            path: dot_git.clone(),
            why: why.to_owned(),
        };
        let kind = match fs::symlink_metadata(&dot_git) {
            Ok(kind) => kind.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refuse(&error.to_string())),
        };
        if kind.is_dir() {
            return Ok(Some(Self::Folder));
        }
        if !kind.is_file() {
            return Err(refuse(
                "it is a symbolic link, under which hooks and configuration cannot be protected",
            ));
        }
        let text = read_small(&dot_git).unwrap_or_default();
        let private = text
            .strip_prefix("gitdir:")
            .and_then(|target| fs::canonicalize(workspace.join(target.trim())).ok())
            .ok_or_else(|| refuse("it names no folder"))?;
        let common = match read_small(&private.join("commondir")) {
            Ok(relative) => fs::canonicalize(private.join(relative.trim()))
                .map_err(|_| refuse("its common folder is not there"))?,
            Err(_) => private.clone(),
        };
        let names_back = if private == common {
            common.starts_with(workspace) || is_submodule_of(&private, workspace)
        } else {
            private.parent() == Some(&common.join("worktrees"))
                && read_small(&private.join("gitdir"))
                    .ok()
                    .and_then(|back| fs::canonicalize(private.join(back.trim())).ok())
                    .is_some_and(|back| back == dot_git)
        };
        let is_git = common.join("objects").is_dir() && common.join("HEAD").is_file();
        if !names_back || !is_git {
            return Err(refuse(&format!(
                "it leads to {}, which is no git folder that names this workspace back",
                common.display()
            )));
        }
        Ok(Some(Self::Linked { private, common }))
    }
}

/// Whether the configuration of a submodule's git folder says that `workspace` is its work tree.
fn is_submodule_of(git_folder: &Path, workspace: &Path) -> bool {
    let text = read_small(&git_folder.join("config")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| key.trim().eq_ignore_ascii_case("worktree"))
        .any(|(_, value)| {
            fs::canonicalize(git_folder.join(value.trim().trim_matches('"')))
                .is_ok_and(|tree| tree == workspace)
        })
}

/// A file of git's that holds a path or a few settings; never a device or a pipe that would not end.
fn read_small(path: &Path) -> io::Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > 1 << 20 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    fs::read_to_string(path)
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
    let known = Known::default();
    let ours = known.chain(path)?;
    let Some(own) = ours.first().copied() else {
        return Err(too_wide("nothing that can be told".to_owned()));
    };
    if ours.len() == 1 || known.of(Path::new("/")).is_some_and(|root| root == own) {
        return Err(too_wide("the whole file system".to_owned()));
    }
    let contains = |other: &Path| known.chain(other).is_ok_and(|chain| chain.contains(&own));
    let lies_in = |other: &Path| known.of(other).is_some_and(|other| ours.contains(&other));
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
    for whole in SHARED {
        if contains(Path::new(whole)) {
            return Err(forbidden(format!("{whole}, which other programs use")));
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
}

/// Folders that were looked at while one workspace is judged: most lie below the same few.
#[derive(Default)]
struct Known(RefCell<HashMap<PathBuf, Option<Identity>>>);

impl Known {
    fn of(&self, path: &Path) -> Option<Identity> {
        if let Some(known) = self.0.borrow().get(path) {
            return *known;
        }
        let identity = Identity::of(path);
        self.0.borrow_mut().insert(path.to_owned(), identity);
        identity
    }

    /// The folder itself and everything above it.
    fn chain(&self, path: &Path) -> Result<Vec<Identity>, WorkspaceError> {
        let failed = |source| WorkspaceError::Io {
            path: path.to_owned(),
            source,
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        Ok(real.ancestors().filter_map(|path| self.of(path)).collect())
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

    #[test]
    fn invariant_9_a_git_file_brings_no_folder_that_does_not_name_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (victim, work) = (root.join("victim/.git"), root.join("work"));
        fs::create_dir_all(victim.join("objects")).unwrap();
        fs::write(victim.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(victim.join("config"), "[core]\n\tbare = false\n").unwrap();
        let private = root.join("repo/.git/worktrees/work");
        fs::create_dir_all(&private).unwrap();
        fs::create_dir_all(root.join("repo/.git/objects")).unwrap();
        fs::write(root.join("repo/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::create_dir(&work).unwrap();
        fs::write(
            private.join("gitdir"),
            work.join(".git").display().to_string(),
        )
        .unwrap();
        let says = |target: &Path| {
            fs::write(work.join(".git"), format!("gitdir: {}\n", target.display())).unwrap();
            choose(&work, &[])
        };

        fs::write(private.join("commondir"), "../..\n").unwrap();
        assert!(matches!(
            says(&private).unwrap().git,
            Some(Git::Linked { .. })
        ));
        fs::write(private.join("commondir"), victim.display().to_string()).unwrap();
        assert!(matches!(says(&private), Err(WorkspaceError::Git { .. })));
        assert!(matches!(says(&victim), Err(WorkspaceError::Git { .. })));
        assert!(matches!(
            says(Path::new("/nonexistent")),
            Err(WorkspaceError::Git { .. })
        ));
        fs::write(victim.join("config"), "[core]\n\tworktree = ../../work\n").unwrap();
        assert!(says(&victim).is_ok(), "a submodule names its work tree");
        fs::remove_file(work.join(".git")).unwrap();
        std::os::unix::fs::symlink(&victim, work.join(".git")).unwrap();
        assert!(matches!(
            choose(&work, &[]),
            Err(WorkspaceError::Git { .. })
        ));
    }

    fn choose(path: &Path, live: &[(String, PathBuf)]) -> Result<Workspace, WorkspaceError> {
        let home = tempfile::tempdir().unwrap();
        Workspace::choose(Some(path), path, &[], home.path(), live)
    }

    #[test]
    fn refuses_what_would_hand_over_too_much() {
        for folder in ["/", "/etc", "/usr/share", "/proc/self", "/tmp", "/var/tmp"] {
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
