//! The trees in which something is put back, opened once: every step resolves beneath their own descriptors and follows no link.

use super::*;
use crate::sparse;

/// The trees, each with a folder for what is taken aside.
pub(super) struct Roots {
    pub(super) trees: Vec<(PathBuf, OwnedFd)>,
    pub(super) aside: String,
    pub(super) count: std::cell::Cell<u64>,
    /// Folders in which a name came or went by us, and what they were before.
    pub(super) touched: std::cell::RefCell<BTreeMap<PathBuf, Attributes>>,
}

impl Roots {
    pub(super) fn open(trees: &[PathBuf]) -> Result<Roots, UndoError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let trees = trees
            .iter()
            .map(|path| match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(root) => Ok((path.clone(), root)),
                Err(error) => Err(UndoError::Tree {
                    path: path.clone(),
                    source: error.into(),
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Roots {
            trees,
            aside: format!(".tagout-undo-{}", std::process::id()),
            count: std::cell::Cell::new(0),
            touched: std::cell::RefCell::default(),
        })
    }

    /// The folder of `path`, and the last name in it.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let (tree, root) = self.tree_of(path)?;
        let relative = path.strip_prefix(tree).unwrap_or(path);
        let parent = relative.parent().unwrap_or(Path::new(""));
        let folder = beneath(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((folder, last(path)))
    }

    /// As [`Roots::parent`], for changing what is in it.
    pub(super) fn touch<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let (folder, name) = self.parent(path)?;
        if let Some(place) = path.parent() {
            self.remember(place, &folder)?;
        }
        Ok((folder, name))
    }

    pub(super) fn remember(&self, path: &Path, folder: &OwnedFd) -> io::Result<()> {
        let mut touched = self.touched.borrow_mut();
        if !touched.contains_key(path) {
            let found = rustix::fs::fstat(folder)?;
            let attributes = Attributes {
                mode: found.st_mode & 0o7777,
                seconds: found.st_mtime,
                nanoseconds: found.st_mtime_nsec as u32,
            };
            touched.insert(path.to_path_buf(), attributes);
        }
        Ok(())
    }

    /// Gives folders their times back, deepest first.
    pub(super) fn set_touched(&self) {
        let touched = self.touched.take();
        for (path, attributes) in touched.iter().rev() {
            if let Ok(Some((_, FileType::Directory))) = self.look(path) {
                // Those that the session changed get theirs next, and tell of it if that fails.
                let _ = self.set_attributes(path, *attributes);
            }
        }
    }

    pub(super) fn tree_of(&self, path: &Path) -> io::Result<(&PathBuf, &OwnedFd)> {
        self.trees
            .iter()
            .filter(|(tree, _)| path.starts_with(tree))
            // Of two that lie in each other, the inner one.
            .max_by_key(|(tree, _)| depth(Some(tree)))
            .map(|(tree, root)| (tree, root))
            .ok_or_else(|| io::Error::other("it is in no folder of the session"))
    }

    /// What is at `path`; nothing where a folder on the way is not there.
    pub(super) fn look(&self, path: &Path) -> io::Result<Option<(Mark, FileType)>> {
        let found = match self.is_root(path) {
            Some(root) => rustix::fs::fstat(root),
            None => match self.parent(path) {
                Ok((folder, name)) => rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::NOENT)),
            },
        };
        match found {
            Ok(found) => Ok(Some((
                Mark {
                    inode: found.st_ino,
                    size: found.st_size as u64,
                    seconds: found.st_mtime,
                    nanoseconds: found.st_mtime_nsec as u32,
                },
                FileType::from_raw_mode(found.st_mode),
            ))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn is_root(&self, path: &Path) -> Option<&OwnedFd> {
        self.trees
            .iter()
            .find(|(tree, _)| tree == path)
            .map(|(_, root)| root)
    }

    /// Removes a file, or a folder that is empty.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.touch(path)?;
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => Ok(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?),
            other => Ok(other?),
        }
    }

    /// Moves `path` out of the way; gives the name under which it is found again.
    pub(super) fn set_aside(&self, path: &Path) -> io::Result<String> {
        let (folder, name) = self.touch(path)?;
        let (tree, root) = self.tree_of(path)?;
        let place = self.aside_in(tree, root)?;
        let number = self.count.replace(self.count.get() + 1).to_string();
        rustix::fs::renameat_with(&folder, name, &place, &*number, RenameFlags::NOREPLACE)?;
        Ok(number)
    }

    pub(super) fn aside_in(&self, tree: &Path, root: &OwnedFd) -> io::Result<OwnedFd> {
        self.remember(tree, root)?;
        match rustix::fs::mkdirat(root, &*self.aside, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        beneath(
            root,
            Path::new(&self.aside),
            OFlags::PATH | OFlags::DIRECTORY,
        )
    }

    /// Moves what was taken aside to where it belongs.
    pub(super) fn take_back(&self, name: &str, path: &Path, replace: bool) -> io::Result<()> {
        let (tree, root) = self.tree_of(path)?;
        let place = self.aside_in(tree, root)?;
        let (folder, last) = self.touch(path)?;
        let flags = match replace {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        Ok(rustix::fs::renameat_with(
            &place, name, &folder, last, flags,
        )?)
    }

    pub(super) fn remove_aside(&self) {
        for (_, root) in &self.trees {
            // What could not be taken back stays, and was told of.
            let _ = rustix::fs::unlinkat(root, &*self.aside, AtFlags::REMOVEDIR);
        }
    }

    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.touch(path)?;
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o700))?;
        self.give_to_owner(path)
    }

    pub(super) fn make_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (folder, name) = self.touch(path)?;
        rustix::fs::symlinkat(target, &folder, name)?;
        self.give_to_owner(path)
    }

    pub(super) fn make_pipe(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.touch(path)?;
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(&folder, name, FileType::Fifo, mode, 0)?;
        self.give_to_owner(path)
    }

    /// Writes a file anew. One that is there keeps its further names.
    pub(super) fn write(&self, path: &Path, copy: &mut File, is_there: bool) -> io::Result<()> {
        let (folder, name) = self.touch(path)?;
        let mut flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if is_there {
            let found = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            if is_file && found.st_nlink > 1 {
                let file = rustix::fs::openat(&folder, name, flags | OFlags::TRUNC, Mode::empty())?;
                return sparse::copy(copy, &mut File::from(file)).map(drop);
            }
            if !is_file {
                self.remove(path)?;
            }
        }
        // Under another name first: a failure on the way leaves what is there.
        let (tree, root) = self.tree_of(path)?;
        let place = self.aside_in(tree, root)?;
        let number = self.count.replace(self.count.get() + 1).to_string();
        flags |= OFlags::CREATE | OFlags::EXCL;
        let file = rustix::fs::openat(&place, &*number, flags, Mode::from_raw_mode(0o600))?;
        let written = sparse::copy(copy, &mut File::from(file))
            .and_then(|_| Ok(rustix::fs::renameat(&place, &*number, &folder, name)?));
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&place, &*number, AtFlags::empty());
        }
        written?;
        self.give_to_owner(path)
    }

    /// Started as root, what is made belongs to whom the tree belongs to.
    pub(super) fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let (_, root) = self.tree_of(path)?;
        let owner = rustix::fs::fstat(root)?;
        let (folder, name) = self.parent(path)?;
        let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(
            &folder,
            name,
            Some(user),
            Some(group),
            flags,
        )?)
    }

    /// Mode and time of a file or folder; never through a link.
    pub(super) fn set_attributes(&self, path: &Path, attributes: Attributes) -> io::Result<()> {
        let file = match self.is_root(path) {
            Some(root) => root.try_clone()?,
            None => {
                let (folder, name) = self.parent(path)?;
                beneath(&folder, Path::new(name), OFlags::PATH | OFlags::NOFOLLOW)?
            }
        };
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            return self.set_times(path, attributes);
        }
        use std::os::fd::AsRawFd;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::chmod(&*link, Mode::from_raw_mode(attributes.mode & 0o7777))?;
        rustix::fs::utimensat(
            rustix::fs::CWD,
            &*link,
            &times(attributes),
            AtFlags::empty(),
        )?;
        Ok(())
    }

    pub(super) fn set_times(&self, path: &Path, attributes: Attributes) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(&folder, name, &times(attributes), flags)?;
        Ok(())
    }
}

fn times(attributes: Attributes) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: attributes.seconds,
            tv_nsec: i64::from(attributes.nanoseconds),
        },
    }
}

/// Opens beneath a folder, through no link.
fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Ok(rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?)
}
