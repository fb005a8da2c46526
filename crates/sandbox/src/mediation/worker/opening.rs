//! Files that are opened for writing, cut, or made by being opened. Only regular files are handed over.

use super::*;

impl Call<'_> {
    pub(super) fn open(&self, at: At, flags: u32, mode: u32) -> Made<Answer> {
        let wanted = OFlags::from_bits_retain(flags);
        if wanted.contains(OFlags::PATH) {
            return Err(Elsewhere);
        }
        let unnamed = flags & (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32 != 0;
        if unnamed {
            return self.open_unnamed(&at, wanted, mode);
        }
        if !wanted.contains(OFlags::CREATE) {
            let follow = match wanted.contains(OFlags::NOFOLLOW) {
                true => libc::AT_SYMLINK_NOFOLLOW,
                false => 0,
            };
            let node = self.node(at, follow)?;
            return self.open_existing(node, wanted);
        }
        if let (Some(descriptor), false) = (
            own_descriptor(&at.path),
            wanted.intersects(OFlags::EXCL | OFlags::NOFOLLOW),
        ) {
            return self.open_existing(self.node_of(descriptor)?, wanted);
        }
        let mut base = self.base(&at)?;
        let mut path = at.path;
        for _ in 0..40 {
            let place = self.place_below(base, &path)?;
            let name = place.name.to_bytes();
            if matches!(name, b"." | b"..") || name.ends_with(b"/") {
                return Err(Elsewhere);
            }
            match place.look() {
                Err(Errno::NOENT) if place.mediated => {
                    match self.open_new(&place, wanted, mode) {
                        // Somebody outside was faster.
                        Err(Failed(Errno::EXIST)) if !wanted.contains(OFlags::EXCL) => {
                            base = Some(place.folder);
                            path = place.name;
                        }
                        opened => return opened,
                    }
                }
                Err(_) => return Err(Elsewhere),
                Ok(_) if wanted.contains(OFlags::EXCL) => {
                    // Said here: it may be gone when the kernel looks, which would find a tree that is read-only.
                    return Err(match place.mediated {
                        true => Failed(Errno::EXIST),
                        false => Elsewhere,
                    });
                }
                Ok(found) => match found.kind() {
                    FileType::Symlink if !wanted.contains(OFlags::NOFOLLOW) => {
                        path = rustix::fs::readlinkat(
                            &place.folder,
                            place.name.as_c_str(),
                            Vec::new(),
                        )?;
                        base = Some(place.folder);
                    }
                    FileType::RegularFile if place.mediated => {
                        match try_open_path(place.folder.as_fd(), &place.name, OFlags::NOFOLLOW) {
                            Ok(file) => {
                                let node = self.node_in_tree(file)?;
                                return self.open_existing(node, wanted);
                            }
                            // It went meanwhile.
                            Err(_) => return Err(Again),
                        }
                    }
                    _ => return Err(Elsewhere),
                },
            }
        }
        Err(Elsewhere)
    }

    pub(super) fn open_existing(&self, node: Node, wanted: OFlags) -> Made<Answer> {
        let reading = wanted & OFlags::RWMODE == OFlags::RDONLY;
        let cutting = wanted.contains(OFlags::TRUNC);
        if node.found.kind() != FileType::RegularFile || (reading && !cutting) {
            return Err(Elsewhere);
        }
        let plainly = wanted - (OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC | OFlags::NOFOLLOW);
        let link = &node.link;
        let mut keeper = self.alone()?;
        // Opened first: who may not, loses and costs nothing.
        let file = rustix::fs::open(
            link.as_c_str(),
            plainly | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )
        .map_err(|error| self.refused(error, &node.path))?;
        if reading {
            rustix::fs::access(link.as_c_str(), Access::WRITE_OK)?;
        } else {
            self.worker.shared.note_writing(&node.found);
        }
        self.change(&mut keeper, &Change::Write(node.target()), || {
            if !cutting {
                Ok(())
            } else if reading {
                truncate(link, 0)
            } else {
                rustix::fs::ftruncate(&file, 0)
            }
        })?;
        drop(keeper);
        Ok(opens(file, wanted))
    }

    pub(super) fn open_new(&self, place: &Place, wanted: OFlags, mode: u32) -> Made<Answer> {
        self.assume_umask()?;
        let mut keeper = self.alone()?;
        keeper.before(&Change::Create(place.entry()))?;
        let opened = rustix::fs::openat(
            &place.folder,
            place.name.as_c_str(),
            wanted | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::from_raw_mode(mode & 0o7777),
        );
        match opened {
            Ok(file) => {
                let made = found(&file).ok();
                self.worker.shared.remember(made.as_ref());
                keeper.done(made.as_ref());
                drop(keeper);
                Ok(opens(file, wanted))
            }
            Err(error) => {
                keeper.failed();
                Err(self.refused(error, &place.entry().path()))
            }
        }
    }

    pub(super) fn open_unnamed(&self, at: &At, wanted: OFlags, mode: u32) -> Made<Answer> {
        let base = self.base(at)?;
        let folder = open_path(
            base.as_ref().map_or(CWD, AsFd::as_fd),
            &at.path,
            OFlags::DIRECTORY | (wanted & OFlags::NOFOLLOW),
        )?;
        let folder = self.node_in_tree(folder)?;
        self.assume_umask()?;
        let mut keeper = self.alone()?;
        keeper.before(&Change::CreateUnnamed)?;
        let opened = rustix::fs::openat(
            &folder.file,
            c".",
            wanted | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode & 0o7777),
        );
        match opened {
            Ok(file) => {
                let made = found(&file).ok();
                self.worker.shared.remember(made.as_ref());
                keeper.done(made.as_ref());
                drop(keeper);
                Ok(opens(file, wanted))
            }
            Err(error) => {
                keeper.failed();
                Err(Failed(error))
            }
        }
    }
}
