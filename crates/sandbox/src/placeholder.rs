//! Placeholders: what stands on the host where a guarded place is absent, so that a mount can hold it.
//!
//! They are the one trace of a session in the user's own folder. Each is written down before it is made and removed at the end, if it is
//! still what was made; what a killed supervisor left, [`sweep_placeholders`] finds by the journal. Every step resolves beneath the tree's
//! own descriptor and follows no symbolic link, since the folder may be changed by others meanwhile.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::LaunchError;
use crate::spec::{Guard, Placeholder, Tree};

/// The placeholders of one session.
pub(crate) struct Placeholders {
    made: Vec<Made>,
    journal: Option<PathBuf>,
}

struct Made {
    root: OwnedFd,
    entry: Entry,
    identity: (u64, u64),
}

/// A line of the journal.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(with = "crate::path_octets")]
    tree: PathBuf,
    #[serde(with = "crate::path_octets")]
    path: PathBuf,
    placeholder: Placeholder,
}

/// Removes what the sandbox whose placeholders were written to `journal` left behind, then the journal. A missing journal is fine.
///
/// Only what is still exactly as it was made goes: an empty folder, a file with the same bytes. The caller makes sure that the session
/// is over.
pub fn sweep_placeholders(journal: &Path) -> io::Result<()> {
    let text = match std::fs::read_to_string(journal) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A torn last line was never acted on: the journal is synced before the first placeholder is made.
    let entries = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    for entry in entries.collect::<Vec<_>>().iter().rev() {
        if let Ok(root) = open_tree_root(&entry.tree) {
            remove_if_untouched(&root, entry, None);
        }
    }
    std::fs::remove_file(journal)
}

impl Placeholders {
    /// Makes what is missing for the guards of `trees`, and shortens each guard whose folder is absent to the first absent folder on its
    /// way, which then holds for everything beneath.
    pub(crate) fn make(
        trees: &mut [Tree],
        journal: Option<PathBuf>,
    ) -> Result<Placeholders, LaunchError> {
        let mut planned = Vec::new();
        for tree in trees.iter_mut() {
            let root = open_tree_root(&tree.path)
                .map_err(LaunchError::system("opening a tree of the workspace"))?;
            check_identity(tree, &root)?;
            let mut guards: Vec<Guard> = Vec::new();
            for guard in std::mem::take(&mut tree.guards) {
                let (guard, absent) = locate(&tree.path, &root, guard)?;
                if guards.iter().any(|known| known.path == guard.path) {
                    continue;
                }
                if absent {
                    let entry = Entry {
                        tree: tree.path.clone(),
                        path: guard.path.clone(),
                        placeholder: guard.absent.clone(),
                    };
                    let root = root
                        .try_clone()
                        .map_err(LaunchError::system("duplicating a descriptor"))?;
                    planned.push((root, entry));
                }
                guards.push(guard);
            }
            tree.guards = guards;
        }
        if let (Some(journal), false) = (&journal, planned.is_empty()) {
            write_journal(journal, planned.iter().map(|(_, entry)| entry))
                .map_err(LaunchError::system("writing down the placeholders"))?;
        }
        let mut placeholders = Placeholders {
            made: Vec::new(),
            journal,
        };
        for (root, entry) in planned {
            // On an error `placeholders` is dropped, which removes those made so far.
            match create(&root, &entry) {
                Ok(identity) => placeholders.made.push(Made {
                    root,
                    entry,
                    identity,
                }),
                Err(error) => {
                    return Err(LaunchError::Guard {
                        path: entry.tree.join(&entry.path),
                        why: unmade(&error),
                    });
                }
            }
        }
        Ok(placeholders)
    }

    /// Absolute paths of those that stand.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.made
            .iter()
            .map(|made| made.entry.tree.join(&made.entry.path))
            .collect()
    }

    /// Removes those that are still as they were made. Idempotent.
    pub(crate) fn remove(&mut self) {
        for made in self.made.drain(..).rev() {
            remove_if_untouched(&made.root, &made.entry, Some(made.identity));
        }
        if let Some(journal) = self.journal.take() {
            let _ = std::fs::remove_file(journal);
        }
    }
}

impl Drop for Placeholders {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The folder at a tree's path, as a descriptor to resolve beneath.
fn open_tree_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn check_identity(tree: &Tree, root: &OwnedFd) -> Result<(), LaunchError> {
    let status =
        rustix::fs::fstat(root).map_err(|e| LaunchError::system("looking at a tree")(e.into()))?;
    if (status.st_dev, status.st_ino) != (tree.device, tree.inode) {
        return Err(LaunchError::Specification {
            what: tree.path.display().to_string(),
            why: "another folder has taken its place since it was judged".into(),
        });
    }
    Ok(())
}

/// Opens `path` beneath `root` without following any symbolic link. An empty path is `root` itself.
pub(crate) fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: something was renamed while the kernel made sure that the path stays beneath.
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Why a placeholder was not made, and what to do.
fn unmade(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
            "{error}. Something empty is held there while a session runs, and this folder cannot be written; start in a copy of it that is yours"
        ),
        _ => error.to_string(),
    }
}

/// Whether a guard's place is absent, and the guard that then holds.
fn locate(tree: &Path, root: &OwnedFd, guard: Guard) -> Result<(Guard, bool), LaunchError> {
    let refuse = |why: &str| LaunchError::Guard {
        path: tree.join(&guard.path),
        why: why.into(),
    };
    let components: Vec<_> = guard.path.components().collect();
    if components.is_empty() || !components.iter().all(|c| matches!(c, Component::Normal(_))) {
        return Err(refuse("a guard names a path beneath its tree"));
    }
    let mut so_far = PathBuf::new();
    for (depth, component) in components.iter().enumerate() {
        so_far.push(component);
        // With O_NOFOLLOW and O_PATH a link at the end opens as itself, which the file type below tells.
        match open_beneath(root, &so_far, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => {
                let status = rustix::fs::fstat(&found)
                    .map_err(|e| refuse(&io::Error::from(e).to_string()))?;
                if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
                    return Err(refuse(
                        "a symbolic link stands there, which a mount cannot hold; replace it by what it names",
                    ));
                }
            }
            Err(Errno::NOENT) if depth + 1 == components.len() => return Ok((guard, true)),
            Err(Errno::NOENT) => return Ok((Guard::folder(so_far), true)),
            Err(Errno::LOOP) => return Err(refuse("a symbolic link stands on its way")),
            Err(errno) => return Err(refuse(&io::Error::from(errno).to_string())),
        }
    }
    Ok((guard, false))
}

fn write_journal<'a>(journal: &Path, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry)?;
        text.push(b'\n');
    }
    let mut file = File::create(journal)?;
    file.write_all(&text)?;
    file.sync_all()
}

/// The folder that holds the entry, and the entry's name in it.
fn parent_of<'a>(root: &OwnedFd, path: &'a Path) -> Result<(OwnedFd, &'a Path), Errno> {
    let name = path.file_name().map(Path::new).ok_or(Errno::INVAL)?;
    let parent = open_beneath(
        root,
        path.parent().unwrap_or(Path::new("")),
        OFlags::PATH | OFlags::DIRECTORY,
    )?;
    Ok((parent, name))
}

/// Makes one placeholder, owned as the tree is, and gives its device and inode.
fn create(root: &OwnedFd, entry: &Entry) -> io::Result<(u64, u64)> {
    let (parent, name) = parent_of(root, &entry.path)?;
    let made = match &entry.placeholder {
        Placeholder::Folder => {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            open_beneath(
                &parent,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
            )?
        }
        Placeholder::File(bytes) => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(
                &parent,
                name,
                flags,
                Mode::from_raw_mode(0o644),
            )?);
            file.write_all(bytes)?;
            file.into()
        }
    };
    let status = rustix::fs::fstat(&made)?;
    let owner = rustix::fs::fstat(root)?;
    if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid) {
        // Only root finds this: its placeholder in somebody's folder belongs to that somebody.
        let _ = rustix::fs::fchown(
            &made,
            Some(Uid::from_raw(owner.st_uid)),
            Some(Gid::from_raw(owner.st_gid)),
        );
    }
    Ok((status.st_dev, status.st_ino))
}

/// Removes a placeholder unless somebody made something of it. Best effort: there is nobody to tell, and the rest must go on.
fn remove_if_untouched(root: &OwnedFd, entry: &Entry, identity: Option<(u64, u64)>) {
    let Ok((parent, name)) = parent_of(root, &entry.path) else {
        return;
    };
    let Ok(found) = open_beneath(&parent, name, OFlags::PATH | OFlags::NOFOLLOW) else {
        return;
    };
    let Ok(status) = rustix::fs::fstat(&found) else {
        return;
    };
    if identity.is_some_and(|identity| identity != (status.st_dev, status.st_ino)) {
        return;
    }
    match (&entry.placeholder, FileType::from_raw_mode(status.st_mode)) {
        (Placeholder::Folder, FileType::Directory) => {
            // Fails when it is not empty any more, as it should.
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        }
        (Placeholder::File(bytes), FileType::RegularFile) => {
            let Ok(file) = open_beneath(
                &parent,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            ) else {
                return;
            };
            let mut now = Vec::new();
            let read = File::from(file)
                .take(bytes.len() as u64 + 1)
                .read_to_end(&mut now);
            if read.is_ok() && now == *bytes {
                let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folder: &Path, guards: Vec<Guard>) -> Tree {
        Tree {
            guards,
            ..Tree::open(folder).unwrap()
        }
    }

    #[test]
    fn absent_places_are_made_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        let mut trees = [tree(folder.path(), Guard::git_folder(Path::new(".git")))];
        let mut placeholders = Placeholders::make(&mut trees, None).unwrap();
        assert_eq!(placeholders.paths().len(), 4);
        assert_eq!(
            std::fs::read(folder.path().join(".git/commondir")).unwrap(),
            b".\n"
        );
        placeholders.remove();
        assert_eq!(
            std::fs::read_dir(folder.path().join(".git"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn an_absent_folder_on_the_way_holds_for_what_is_beneath() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = [tree(
            folder.path(),
            vec![Guard::file("a/b/c", *b""), Guard::file("a/d", *b"")],
        )];
        let placeholders = Placeholders::make(&mut trees, None).unwrap();
        assert_eq!(trees[0].guards, [Guard::folder("a")]);
        assert_eq!(
            placeholders.paths(),
            [folder.path().canonicalize().unwrap().join("a")]
        );
    }

    #[test]
    fn what_somebody_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = [tree(
            folder.path(),
            vec![
                Guard::folder("a"),
                Guard::file("b", *b""),
                Guard::file("c", *b""),
            ],
        )];
        let mut placeholders = Placeholders::make(&mut trees, None).unwrap();
        std::fs::write(folder.path().join("a/mine"), "x").unwrap();
        std::fs::write(folder.path().join("b"), "mine").unwrap();
        std::fs::write(folder.path().join("d"), "").unwrap();
        std::fs::rename(folder.path().join("d"), folder.path().join("c")).unwrap();
        placeholders.remove();
        for name in ["a/mine", "b", "c"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("l")).unwrap();
        for path in ["l", "l/hooks"] {
            let mut trees = [tree(folder.path(), vec![Guard::folder(path)])];
            assert!(
                matches!(
                    Placeholders::make(&mut trees, None),
                    Err(LaunchError::Guard { .. })
                ),
                "{path}"
            );
        }
        assert!(!Path::new("/etc/hooks").exists());
    }

    #[test]
    fn a_swapped_workspace_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let judged = Tree {
            inode: 1,
            ..tree(folder.path(), vec![])
        };
        assert!(matches!(
            Placeholders::make(&mut [judged], None),
            Err(LaunchError::Specification { .. })
        ));
    }

    #[test]
    fn invariant_11_a_killed_supervisors_placeholders_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let mut trees = [tree(
            &folder.path().join("work"),
            vec![Guard::folder("a"), Guard::file("b", *b"x")],
        )];
        std::mem::forget(Placeholders::make(&mut trees, Some(journal.clone())).unwrap());
        assert!(folder.path().join("work/b").exists());
        sweep_placeholders(&journal).unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path().join("work"))
                .unwrap()
                .count(),
            0
        );
        assert!(!journal.exists());
        sweep_placeholders(&journal).unwrap();
    }
}
