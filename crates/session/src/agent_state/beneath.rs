//! A folder whose contents somebody else may have made: names in it are followed beneath it only, and
//! never through a symbolic link.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};

/// An open folder.
pub(crate) struct Folder {
    folder: OwnedFd,
    owner: (u32, u32),
}

impl Folder {
    /// Makes a folder for this user alone, with those above it, when it is not there.
    pub(crate) fn make(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// As [`make`](Self::make), in a folder of the person's: what is made belongs to whom the first
    /// folder belongs that was there.
    pub(crate) fn make_for_owner(path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|at| !at.exists()).collect();
        Self::make(path)?;
        let above = missing.last().and_then(|last| last.parent());
        if let Some(above) = above.filter(|_| rustix::process::geteuid().is_root()) {
            let owner = fs::metadata(above)?;
            for made in missing {
                std::os::unix::fs::lchown(made, Some(owner.uid()), Some(owner.gid()))?;
            }
        }
        Ok(())
    }

    /// Opens a folder; links in `path` itself are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let folder = File::open(path)?;
        let metadata = folder.metadata()?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            folder: folder.into(),
            owner: (metadata.uid(), metadata.gid()),
        })
    }

    /// Opens a regular file for reading. A link, a pipe or a device is an error.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(self.beneath(path, flags)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Writes a file in one step: whatever was under its name is replaced, never followed. Folders on
    /// the way are made. What is made belongs to whom the folder belongs to.
    pub(crate) fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        modified: Option<SystemTime>,
    ) -> io::Result<()> {
        self.replace(path, mode, modified, |mut file| file.write_all(bytes))
    }

    /// As [`write`](Self::write), with what `fill` puts into the file.
    pub(crate) fn replace(
        &self,
        path: &Path,
        mode: u32,
        modified: Option<SystemTime>,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.folders(path.parent().unwrap_or(Path::new("")))?;
        let mut number = [0_u8; 8];
        getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = format!(".tagout-{}", u64::from_ne_bytes(number));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, &temporary, flags, Mode::from_raw_mode(0o600))?;
        let file = File::from(made);
        let done = self
            .own(&file)
            .and_then(|()| fill(&file))
            .and_then(|()| {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
                modified.map_or(Ok(()), |time| file.set_modified(time))
            })
            .and_then(|()| Ok(rustix::fs::renameat(&folder, &temporary, &folder, name)?));
        if done.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
        }
        done
    }

    /// The folder at `path`, made when it is not there.
    fn folders(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut at = self.folder.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
                Ok(found) => found,
                Err(rustix::io::Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o700))?;
                    let made = rustix::fs::openat(&at, name, flags, Mode::empty())?;
                    self.own(&made)?;
                    made
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(at)
    }

    fn own(&self, file: impl std::os::fd::AsFd) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        Ok(rustix::fs::openat2(
            &self.folder,
            path,
            flags,
            Mode::empty(),
            resolve,
        )?)
    }
}

/// Makes every folder below `folder` readable and removable again, whatever its owner made of it.
/// Links are not followed. Only where nobody works in it any more.
pub(crate) fn unlock(folder: &Path) {
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                if metadata.mode() & 0o700 != 0o700 {
                    // What stays locked stays behind, and is said when the folder cannot be removed.
                    let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
                }
                open.push(path);
            }
        }
    }
}

/// A regular file that a walk came by.
pub(crate) struct Found {
    /// Relative to where the walk began.
    pub(crate) path: std::path::PathBuf,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    pub(crate) executable: bool,
}

/// Every regular file below `folder`, the newest first, without following links. A folder that holds
/// more than `most` entries in all, or goes deeper than 12, is walked in part.
pub(crate) fn walk(folder: &Path, most: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    let mut entries = 0;
    while let Some((at, depth)) = open.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            entries += 1;
            if entries > most {
                break;
            }
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() && depth < 12 && entry.file_name() != ".git" {
                open.push((path, depth + 1));
            } else if metadata.is_file()
                && let Ok(relative) = path.strip_prefix(folder)
            {
                found.push(Found {
                    path: relative.to_owned(),
                    size: metadata.len(),
                    modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    executable: metadata.mode() & 0o100 != 0,
                });
            }
        }
    }
    found.sort_by_key(|file| std::cmp::Reverse(file.modified));
    found
}
