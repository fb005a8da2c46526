//! Collects what the inside will see of the host, as detached mounts, before the private root exists.
//!
//! Started as root this runs with root's rights, since installation roots may lie where only root may walk (`/root` is 0700) and since
//! only root can map owners; so it opens only what the specification and the tables name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::identity::Identity;
use crate::mounts::{self, NO_DEVICES, NO_EXECUTION, NO_SET_ID, READ_ONLY};
use crate::roots;
use crate::spec::{PrivateFolder, Spec, Tree};
use crate::step::{Named, Step, failed};

/// Folders of the system, shown read-only where they exist.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/etc",
    "/nix",
    // How many processors there are: nproc, thread pools, memory allocators.
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];

/// Device nodes that every program may expect; none of them reaches hardware.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// What will stand at a path inside.
pub(super) enum Piece {
    /// An empty, writable file system with these permission bits.
    Private { mode: &'static str },
    /// A detached mount of a folder.
    Folder(OwnedFd),
    /// A detached mount of a file.
    File(OwnedFd),
    /// A symbolic link to this.
    Link(PathBuf),
}

/// Everything that the private root is made of, by path inside: parents come before what is in them.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(super) pieces: BTreeMap<PathBuf, Piece>,
    /// Paths of the specification that do not exist outside.
    pub(super) left_out: Vec<PathBuf>,
    /// Files that are to be seen empty.
    pub(super) masked: Vec<PathBuf>,
}

/// Collects the mounts, for the command that `identity` will be.
pub(crate) fn gather(spec: &Spec, program: Option<&Path>, identity: &Identity) -> Step<Gathered> {
    let mut gathered = Gathered::default();
    for (path, mode) in [
        ("/tmp", "1777"),
        ("/var/tmp", "1777"),
        ("/dev", "0755"),
        ("/dev/shm", "1777"),
        ("/run", "0755"),
    ] {
        gathered.pieces.insert(path.into(), Piece::Private { mode });
    }
    gathered
        .pieces
        .insert("/var/run".into(), Piece::Link("/run".into()));
    gathered
        .pieces
        .insert(spec.home.clone(), Piece::Private { mode: "0700" });
    for path in SYSTEM {
        gathered
            .show(Path::new(path), &[])
            .step(|| format!("clone {path}"))?;
    }
    for path in DEVICES {
        let device = mounts::clone_path(Path::new(path)).step(|| format!("clone {path}"))?;
        mounts::restrict(&device, NO_SET_ID | NO_EXECUTION).step(|| format!("restrict {path}"))?;
        gathered.pieces.insert(path.into(), Piece::File(device));
    }
    let trees: Vec<&Tree> = std::iter::once(&spec.workspace)
        .chain(&spec.extra_trees)
        .collect();
    let writable: Vec<&Path> = trees.iter().map(|tree| tree.path.as_path()).collect();
    for path in &spec.readable {
        if !gathered
            .show(path, &writable)
            .step(|| format!("clone {}", path.display()))?
        {
            gathered.left_out.push(path.clone());
        }
    }
    let roots =
        roots::installation_roots(&spec.home, &spec.search_path, program, &spec.workspace.path);
    for root in roots {
        gathered
            .show(&root.path, &writable)
            .step(|| format!("clone {}", root.path.display()))?;
        gathered.masked.extend(root.masked);
    }
    for (number, tree) in trees.iter().enumerate() {
        let mount = clone_tree(tree, identity.id_maps.get(number))?;
        gathered
            .pieces
            .insert(tree.path.clone(), Piece::Folder(mount));
    }
    for folder in &spec.private_folders {
        let mount = clone_private(folder, identity)?;
        gathered
            .pieces
            .insert(folder.inside.clone(), Piece::Folder(mount));
    }
    Ok(gathered)
}

/// The tree, writable, as the folder that was judged and no other.
fn clone_tree(tree: &Tree, id_map: Option<&OwnedFd>) -> Step<OwnedFd> {
    let name = || format!("clone {}", tree.path.display());
    let mount = mounts::clone_path(&tree.path).step(name)?;
    let status = rustix::fs::fstat(&mount).step(name)?;
    if (status.st_dev, status.st_ino) != (tree.device, tree.inode) {
        return failed(
            name(),
            "another folder has taken its place since it was judged",
        );
    }
    let attributes = NO_SET_ID | NO_DEVICES;
    match id_map {
        Some(id_map) => mounts::restrict_mapped(&mount, attributes, id_map.as_fd()),
        None => mounts::restrict(&mount, attributes),
    }
    .step(|| format!("restrict {}", tree.path.display()))?;
    Ok(mount)
}

/// A folder that the command has to itself, as the one that was meant and no other.
fn clone_private(folder: &PrivateFolder, identity: &Identity) -> Step<OwnedFd> {
    let name = || format!("clone {}", folder.outside.display());
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&folder.outside, flags, Mode::empty()).step(name)?;
    let status = rustix::fs::fstat(&opened).step(name)?;
    if (status.st_dev, status.st_ino) != (folder.device, folder.inode) {
        return failed(name(), "another folder has taken its place");
    }
    let mount = mounts::clone_descriptor(&opened).step(name)?;
    identity.hand_over(opened).step(|| {
        let path = folder.outside.display();
        format!("give {path} to the command")
    })?;
    mounts::restrict(&mount, NO_SET_ID | NO_DEVICES)
        .step(|| format!("restrict {}", folder.outside.display()))?;
    Ok(mount)
}

impl Gathered {
    /// Shows `path` read-only where it is, with every symbolic link on the way; whether it exists. Nothing is done for what is shown
    /// already by a folder above, or is in a writable tree.
    fn show(&mut self, path: &Path, writable: &[&Path]) -> io::Result<bool> {
        let mut rest: Vec<PathBuf> = components(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component.as_os_str() == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&component);
            if writable.iter().any(|tree| next.starts_with(tree)) || self.is_shown(&next) {
                return Ok(true);
            }
            let metadata = match fs::symlink_metadata(&next) {
                Ok(metadata) => metadata,
                // What the person cannot reach (root's PATH after `su`) is not there for them outside either.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            if metadata.is_symlink() {
                links += 1;
                if links > 40 {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                let target = fs::read_link(&next)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(components(&target));
                self.pieces.entry(next).or_insert(Piece::Link(target));
                continue;
            }
            at = next;
            if rest.is_empty() {
                // Private folders stay private: a PATH entry that is the home itself shows nothing.
                if self.pieces.contains_key(&at) {
                    return Ok(true);
                }
                let mount = mounts::clone_path(&at)?;
                mounts::restrict(&mount, READ_ONLY | NO_SET_ID | NO_DEVICES)?;
                let piece = if metadata.is_dir() {
                    Piece::Folder(mount)
                } else {
                    Piece::File(mount)
                };
                self.pieces.insert(at, piece);
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Whether a folder that is already there holds this path, and no private folder in between hides it.
    fn is_shown(&self, path: &Path) -> bool {
        path.ancestors()
            .find_map(|ancestor| match self.pieces.get(ancestor) {
                Some(Piece::Folder(_)) => Some(true),
                Some(Piece::File(_)) => Some(ancestor == path),
                Some(Piece::Private { .. }) => Some(false),
                Some(Piece::Link(_)) | None => None,
            })
            .unwrap_or(false)
    }
}

/// Names and `..` of a path, last first.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
