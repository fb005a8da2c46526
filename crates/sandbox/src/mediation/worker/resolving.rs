//! Where a call's paths and descriptors lead, in this process's own view.
//!
//! What cannot be resolved is the kernel's to refuse, in the caller's view; what is missing in a mediated tree is said here.

use super::*;

impl Call<'_> {
    pub(super) fn at(&self, descriptor: i32, path: u64) -> Made<At> {
        // A bad address, or a path that is too long, is the kernel's to refuse.
        let path = self.caller.path(path).map_err(|_| Elsewhere)?;
        Ok(At { descriptor, path })
    }

    /// The folder that a relative path starts from, opened in our view; any folder will do for an absolute one.
    pub(super) fn base(&self, at: &At) -> Made<Option<OwnedFd>> {
        if at.path.to_bytes().starts_with(b"/") {
            return Ok(None);
        }
        match self.caller.reopen(at.descriptor, OFlags::DIRECTORY) {
            Ok((folder, _)) => Ok(Some(folder)),
            // A folder that is gone: nothing is in it, though the kernel would first say that it cannot be written.
            Err(Errno::NOENT) if !at.path.to_bytes().starts_with(b".") => Err(Failed(Errno::NOENT)),
            Err(_) => Err(Elsewhere),
        }
    }

    /// The last folder of a path, and the name in it.
    pub(super) fn place(&self, at: &At) -> Made<Place> {
        let base = self.base(at)?;
        self.place_below(base, &at.path)
    }

    pub(super) fn place_below(&self, base: Option<OwnedFd>, path: &CStr) -> Made<Place> {
        let bytes = path.to_bytes();
        let end = bytes
            .iter()
            .rposition(|&byte| byte != b'/')
            .ok_or(Elsewhere)?
            + 1;
        let start = bytes[..end]
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        let name = CString::new(&bytes[start..]).map_err(|_| Elsewhere)?;
        let folder = match (&base, start) {
            (Some(_), 0) => base.ok_or(Elsewhere)?,
            _ => {
                let folder = CString::new(&bytes[..start]).map_err(|_| Elsewhere)?;
                let start = base.as_ref().map_or(CWD, AsFd::as_fd);
                self.resolve(start, &folder, OFlags::DIRECTORY)?
            }
        };
        let folder_path = self.path_of(&folder)?;
        Ok(Place {
            mediated: self.is_mediated(&folder_path),
            folder,
            folder_path,
            name,
        })
    }

    /// As [`Call::place`], where there are two: which of them the call fails for is the kernel's to say.
    pub(super) fn place_of_two(&self, at: &At) -> Made<Place> {
        self.place(at).map_err(|unmade| match unmade {
            Failed(_) => Elsewhere,
            other => other,
        })
    }

    /// As [`Call::place`], where the call is ours only in a mediated tree.
    pub(super) fn mediated_place(&self, at: &At) -> Made<Place> {
        let place = self.place(at)?;
        if place.mediated {
            Ok(place)
        } else {
            Err(Elsewhere)
        }
    }

    /// What a path leads to, in a mediated tree. `flags` are those of the `*at` calls.
    pub(super) fn node(&self, at: At, flags: i32) -> Made<Node> {
        if at.path.is_empty() {
            return match flags & libc::AT_EMPTY_PATH {
                0 => Err(Elsewhere),
                _ => self.node_of(at.descriptor),
            };
        }
        if let (Some(descriptor), 0) = (own_descriptor(&at.path), flags & libc::AT_SYMLINK_NOFOLLOW)
        {
            return self.node_of(descriptor);
        }
        let base = self.base(&at)?;
        let follow = match flags & libc::AT_SYMLINK_NOFOLLOW {
            0 => OFlags::empty(),
            _ => OFlags::NOFOLLOW,
        };
        let file = self.resolve(base.as_ref().map_or(CWD, AsFd::as_fd), &at.path, follow)?;
        self.node_in_tree(file)
    }

    /// As [`open_path`]; but that something is not in a tree is said here, where it was looked for. The kernel would look again: were it
    /// there by then, the call would fail because the tree is read-only, which no program expects.
    pub(super) fn resolve(
        &self,
        start: BorrowedFd<'_>,
        path: &CStr,
        flags: OFlags,
    ) -> Made<OwnedFd> {
        match try_open_path(start, path, flags) {
            Ok(file) => Ok(file),
            Err(Errno::NOENT) => Err(self.missing(start, path.to_bytes())),
            Err(_) => Err(Elsewhere),
        }
    }

    /// What becomes of a call because `path` leads to nothing.
    pub(super) fn missing(&self, start: BorrowedFd<'_>, mut path: &[u8]) -> Unmade {
        loop {
            let Some(end) = path.iter().rposition(|&byte| byte != b'/') else {
                return Elsewhere;
            };
            let begin = path[..=end].iter().rposition(|&byte| byte == b'/');
            let (above, name) = path[..=end].split_at(begin.map_or(0, |at| at + 1));
            let (Ok(place), Ok(name)) = (
                CString::new(if above.is_empty() { b"." } else { above }),
                CString::new(name),
            ) else {
                return Elsewhere;
            };
            match try_open_path(start, &place, OFlags::DIRECTORY) {
                Err(Errno::NOENT) => path = above,
                Err(_) => return Elsewhere,
                Ok(folder) => {
                    match self.path_of(&folder) {
                        Ok(path) if self.is_mediated(&path) => {}
                        _ => return Elsewhere,
                    }
                    let found = rustix::fs::statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW);
                    return match found {
                        Err(Errno::NOENT) => Failed(Errno::NOENT),
                        // It has come meanwhile.
                        Ok(found)
                            if FileType::from_raw_mode(found.st_mode) != FileType::Symlink =>
                        {
                            Again
                        }
                        // Where a link leads is a question of the whole view.
                        _ => Elsewhere,
                    };
                }
            }
        }
    }

    /// What a descriptor of the caller is, in a mediated tree.
    pub(super) fn node_of(&self, descriptor: i32) -> Made<Node> {
        let (file, _) = self
            .caller
            .reopen(descriptor, OFlags::empty())
            .map_err(|_| Elsewhere)?;
        self.node_in_tree(file)
    }

    /// As [`Call::node`], or the descriptor itself where there is no path.
    pub(super) fn node_or_of(&self, descriptor: u64, path: u64, flags: i32) -> Made<Node> {
        match path {
            0 => self.node_of(descriptor as i32),
            path => self.node(self.at(descriptor as i32, path)?, flags),
        }
    }

    pub(super) fn node_in_tree(&self, file: OwnedFd) -> Made<Node> {
        let path = self.path_of(&file)?;
        if !self.is_mediated(&path) {
            return Err(Elsewhere);
        }
        let found = found(&file)?;
        Ok(Node {
            link: link_of(&file),
            file,
            path,
            found,
        })
    }

    pub(super) fn path_of(&self, file: &OwnedFd) -> Made<PathBuf> {
        let link = link_of(file);
        let path = rustix::fs::readlinkat(CWD, link.as_c_str(), Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(path.as_bytes())))
    }

    pub(super) fn is_mediated(&self, path: &Path) -> bool {
        let trees = &self.worker.shared.trees;
        trees.iter().any(|tree| path.starts_with(tree))
    }
}
