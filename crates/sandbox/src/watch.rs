//! Watches guarded and twin paths for being replaced by the host.
//!
//! A mount hangs on the file that was there; when the host renames another file over it (editors save so), the kernel takes the mount
//! away. Nobody can prevent that instant; this reports it, so that the supervisor freezes, judges the new file, mounts anew and thaws.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::spec::Tree;

/// A guarded or twin path that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReplaced {
    /// Absolute path, as in the specification.
    pub path: PathBuf,
    /// Something else stands there, so that the mount is gone; otherwise the file's contents were written in place, under the mount.
    pub detached: bool,
}

/// What [`Watch::next_beside`] waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// The host replaced something.
    Replaced(HostReplaced),
    /// The other descriptor is readable.
    Beside,
    /// Nothing yet.
    Quiet,
}

/// A blocking iterator over what the host replaces. Ends when the sandbox does.
pub struct Watch {
    inotify: OwnedFd,
    /// Folder of each watch, by watch descriptor.
    folders: HashMap<i32, PathBuf>,
    paths: Vec<PathBuf>,
    roots: Vec<PathBuf>,
    pending: VecDeque<HostReplaced>,
    until: Option<OwnedFd>,
}

impl Watch {
    pub(crate) fn new(trees: &[Tree]) -> io::Result<Watch> {
        let mut paths = Vec::new();
        for tree in trees {
            paths.extend(tree.guards.iter().map(|guard| tree.path.join(&guard.path)));
            paths.extend(tree.twins.iter().map(|twin| tree.path.join(&twin.path)));
            paths.extend(tree.hidden.iter().map(|path| tree.path.join(path)));
        }
        let mut watch = Watch {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            folders: HashMap::new(),
            paths,
            roots: trees.iter().map(|tree| tree.path.clone()).collect(),
            pending: VecDeque::new(),
            until: None,
        };
        watch.add_folders()?;
        Ok(watch)
    }

    /// Watches one path (absolute, in one of the trees) more, and reports it: what happened there before is unknown.
    pub fn add(&mut self, path: PathBuf) -> io::Result<()> {
        if !self.paths.contains(&path) {
            self.paths.push(path.clone());
        }
        self.pending.push_back(HostReplaced {
            path,
            detached: true,
        });
        self.add_folders()
    }

    /// Whether this very path is watched.
    pub fn watches(&self, path: &Path) -> bool {
        self.paths.iter().any(|watched| watched == path)
    }

    /// As the iterator, but that it says as well when `other` is readable, which comes first; and without waiting unless `waits`.
    pub fn next_beside(
        &mut self,
        other: BorrowedFd<'_>,
        waits: bool,
    ) -> Option<io::Result<Noticed>> {
        let process = self.until.as_ref().map(AsFd::as_fd);
        let mut polled: Vec<_> = [Some(other), process]
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let now = rustix::event::Timespec::default();
        let ready = poll(&mut polled, Some(&now)).is_ok();
        let is_ready = |at: usize| {
            ready
                && polled
                    .get(at)
                    .is_some_and(|found| !found.revents().is_empty())
        };
        if is_ready(0) && !is_ready(1) {
            return Some(Ok(Noticed::Beside));
        }
        if let Some(change) = self.pending.pop_front() {
            return Some(Ok(Noticed::Replaced(change)));
        }
        match self.fill(Some(other), waits) {
            Ok(true) if self.pending.is_empty() => None,
            Ok(_) => Some(Ok(self
                .pending
                .pop_front()
                .map_or(Noticed::Quiet, Noticed::Replaced))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Ends the iteration when `process` (a pidfd) has ended.
    pub(crate) fn until(mut self, process: OwnedFd) -> Watch {
        self.until = Some(process);
        self
    }

    /// Watches every folder on the way from a tree to a path, since each of them can be replaced. Folders that are gone are skipped; the
    /// event for their coming back is in a folder above.
    fn add_folders(&mut self) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        for path in &self.paths {
            for folder in path.ancestors().skip(1) {
                if !self.roots.iter().any(|root| folder.starts_with(root)) {
                    break;
                }
                match inotify::add_watch(&self.inotify, folder, flags) {
                    Ok(watch) => {
                        self.folders.insert(watch, folder.to_path_buf());
                    }
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Reads what is there, or comes before `other` is readable; whether the sandbox has ended.
    fn fill(&mut self, other: Option<BorrowedFd<'_>>, waits: bool) -> io::Result<bool> {
        let process = self.until.as_ref().map(AsFd::as_fd);
        let watched = [Some(self.inotify.as_fd()), process, other];
        let mut polled: Vec<_> = watched
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let now = rustix::event::Timespec::default();
        match poll(&mut polled, (!waits).then_some(&now)) {
            Err(Errno::INTR) => return Ok(false),
            other => other?,
        };
        let ended = process.is_some() && polled.get(1).is_some_and(|end| !end.revents().is_empty());
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut touched: Vec<(PathBuf, bool)> = Vec::new();
        let mut overflow = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let Some(folder) = self.folders.get(&event.wd()) else {
                        continue;
                    };
                    let Some(name) = event.file_name() else {
                        continue;
                    };
                    let name = OsString::from_vec(name.to_bytes().to_vec());
                    touched.push((
                        folder.join(name),
                        event.events().contains(ReadFlags::CLOSE_WRITE),
                    ));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if overflow {
            // Events were lost: every path counts as replaced.
            touched = self
                .paths
                .iter()
                .map(|path| (path.clone(), false))
                .collect();
        }
        for (place, written) in touched {
            self.report(&place, written);
        }
        if !self.pending.is_empty() {
            self.add_folders()?;
        }
        Ok(ended)
    }

    fn report(&mut self, place: &Path, written: bool) {
        for path in &self.paths {
            let affected = if written {
                path == place
            } else {
                path.starts_with(place)
            };
            let change = HostReplaced {
                path: path.clone(),
                detached: !written,
            };
            if affected && !self.pending.contains(&change) {
                self.pending.push_back(change);
            }
        }
    }
}

impl Iterator for Watch {
    type Item = io::Result<HostReplaced>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some(Ok(change));
            }
            match self.fill(None, true) {
                Ok(true) if self.pending.is_empty() => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Guard, Twin};

    #[test]
    fn what_the_host_replaces_or_writes_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("config")).unwrap();
        std::fs::write(root.join("config/.env"), "A=1").unwrap();
        let mut tree = Tree::open(&root).unwrap();
        tree.guards = vec![Guard::folder("tagout.toml")];
        tree.twins = vec![Twin {
            path: "config/.env".into(),
            bytes: vec![],
            editable: false,
        }];
        let mut watch = Watch::new(&[tree]).unwrap();
        let mut next = || watch.next().unwrap().unwrap();

        std::fs::write(root.join("other"), "x").unwrap();
        std::fs::rename(root.join("other"), root.join("config/.env")).unwrap();
        assert_eq!(
            next(),
            HostReplaced {
                path: root.join("config/.env"),
                detached: true
            }
        );

        std::fs::write(root.join("config/.env"), "B=2").unwrap();
        assert_eq!(
            next(),
            HostReplaced {
                path: root.join("config/.env"),
                detached: false
            }
        );

        std::fs::write(root.join("tagout.toml"), "").unwrap();
        assert_eq!(
            next(),
            HostReplaced {
                path: root.join("tagout.toml"),
                detached: true
            }
        );
        assert_eq!(
            next(),
            HostReplaced {
                path: root.join("tagout.toml"),
                detached: false
            }
        );

        // A replaced folder on the way counts for what is beneath, and is watched from then on.
        std::fs::rename(root.join("config"), root.join("old")).unwrap();
        assert_eq!(next().path, root.join("config/.env"));
        std::fs::create_dir(root.join("config")).unwrap();
        assert_eq!(next().path, root.join("config/.env"));
        std::fs::write(root.join("config/.env"), "C=3").unwrap();
        assert_eq!(next().path, root.join("config/.env"));
    }
}
