//! Names that come, go and become others, sockets' among them.

use super::*;

impl Call<'_> {
    pub(super) fn make_folder(&self, at: At, mode: u32) -> Made {
        let place = self.mediated_place(&at)?;
        self.create(&place, || {
            let mode = Mode::from_raw_mode(mode & 0o7777);
            rustix::fs::mkdirat(&place.folder, place.name.as_c_str(), mode)
        })
    }

    pub(super) fn make_node(&self, at: At, mode: u32, device: u64) -> Made {
        let place = self.mediated_place(&at)?;
        let kind = match mode & libc::S_IFMT {
            0 => FileType::RegularFile,
            _ => FileType::from_raw_mode(mode),
        };
        self.create(&place, || {
            rustix::fs::mknodat(
                &place.folder,
                place.name.as_c_str(),
                kind,
                Mode::from_raw_mode(mode & 0o7777),
                device,
            )
        })
    }

    pub(super) fn make_symlink(&self, target: u64, at: At) -> Made {
        let target = self.caller.path(target).map_err(|_| Elsewhere)?;
        let place = self.mediated_place(&at)?;
        self.create(&place, || {
            rustix::fs::symlinkat(target.as_c_str(), &place.folder, place.name.as_c_str())
        })
    }

    pub(super) fn link(&self, from: At, to: At, flags: i32) -> Made {
        let place = self.place_of_two(&to)?;
        if !place.mediated {
            return Err(Elsewhere);
        }
        let follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
        let source = match descriptor_meant(&from, flags) {
            // A file without a name gets one.
            Some(descriptor) => CString::new(self.caller.link(descriptor)).unwrap_or_default(),
            None => {
                let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
                let base = self.base(&from)?;
                let follow = if flags == 0 {
                    OFlags::empty()
                } else {
                    OFlags::NOFOLLOW
                };
                let start = base.as_ref().map_or(CWD, AsFd::as_fd);
                let file = open_path(start, &from.path, follow)?;
                let mut keeper = self.alone()?;
                return self.link_named(&mut keeper, &place, &link_of(&file));
            }
        };
        let mut keeper = self.alone()?;
        self.link_named(&mut keeper, &place, &source)
    }

    pub(super) fn link_named(
        &self,
        keeper: &mut MutexGuard<'_, Box<dyn Keeper>>,
        place: &Place,
        source: &CStr,
    ) -> Made {
        let make = || {
            rustix::fs::linkat(
                CWD,
                source,
                &place.folder,
                place.name.as_c_str(),
                AtFlags::SYMLINK_FOLLOW,
            )
        };
        if place.look().is_ok() {
            return Ok(make().map(|()| 0)?);
        }
        self.change(keeper, &Change::Link(place.entry()), || make().map(|()| 0))
    }

    pub(super) fn remove(&self, at: At, flags: i32) -> Made {
        let place = self.mediated_place(&at)?;
        let mut keeper = self.alone()?;
        let flags = AtFlags::from_bits_retain(flags as u32);
        let as_folder = flags.contains(AtFlags::REMOVEDIR);
        let twin = match as_folder {
            false => self.uncover(&place)?,
            true => None,
        };
        let hidden = twin.is_some();
        let make = || match hidden {
            true => aside::remove(place.entry()).map(|()| 0),
            false => rustix::fs::unlinkat(&place.folder, place.name.as_c_str(), flags).map(|()| 0),
        };
        let removed = match place.look() {
            Ok(found) if (found.kind() == FileType::Directory) == as_folder => {
                self.change(&mut keeper, &Change::Remove(place.entry(), &found), make)
            }
            // Nothing there, or nothing that this call removes: it fails.
            _ => make().map_err(Failed),
        };
        if let Some(twin) = twin {
            self.covered(removed.is_err().then_some((twin, &place)));
        }
        removed
    }

    /// Takes away the twin at a place, where one is that goes with its file.
    pub(super) fn uncover(&self, place: &Place) -> Made<Option<TakenOff>> {
        if !place.mediated {
            return Ok(None);
        }
        Ok(twin::take_off(place.entry())?)
    }

    /// Ends what [`Call::uncover`] began, with the lock still held: puts twins back, and has whatever was resolved meanwhile resolved
    /// again.
    pub(super) fn covered<'p>(&self, twins: impl IntoIterator<Item = (TakenOff, &'p Place)>) {
        for (twin, place) in twins {
            twin.put_on(place.entry());
        }
        self.worker.shared.uncovered.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn rename(&self, from: At, to: At, flags: u32) -> Made {
        let (from, to) = (self.place_of_two(&from)?, self.place_of_two(&to)?);
        if !from.mediated && !to.mediated {
            return Err(Elsewhere);
        }
        let flags = RenameFlags::from_bits_retain(flags);
        let mut keeper = self.alone()?;
        let (from_twin, to_twin) = (self.uncover(&from)?, self.uncover(&to)?);
        let had_twin = from_twin.is_some() || to_twin.is_some();
        let renamed = self.rename_alone(&mut keeper, &from, &to, to_twin.is_some(), flags);
        let exchanged = flags.contains(RenameFlags::EXCHANGE);
        // Each goes where its file is now; that of a replaced file is gone with it.
        let (from_at, to_at) = match (renamed.is_ok(), exchanged) {
            (false, _) => (&from, Some(&to)),
            (true, true) => (&to, Some(&from)),
            (true, false) => (&to, None),
        };
        if had_twin {
            let to_twin = to_twin.and_then(|twin| Some((twin, to_at?)));
            let from_twin = from_twin.map(|twin| (twin, from_at));
            self.covered(from_twin.into_iter().chain(to_twin));
        }
        renamed
    }

    /// `hidden` says that a twin hides what is at `to`.
    pub(super) fn rename_alone(
        &self,
        keeper: &mut MutexGuard<'_, Box<dyn Keeper>>,
        from: &Place,
        to: &Place,
        hidden: bool,
        flags: RenameFlags,
    ) -> Made {
        let make = || {
            rustix::fs::renameat_with(
                &from.folder,
                from.name.as_c_str(),
                &to.folder,
                to.name.as_c_str(),
                flags,
            )
            .map(|()| 0)
        };
        let (Ok(from_found), replaced) = (from.look(), to.look().ok()) else {
            return Ok(make()?);
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            let Some(replaced) = replaced else {
                return Ok(make()?);
            };
            let change = Change::Exchange(from.entry(), &from_found, to.entry(), &replaced);
            return self.change(keeper, &change, make);
        }
        // Two names of one file: nothing happens. One that must not replace: it fails.
        let same = replaced.is_some_and(|replaced| replaced.is(&from_found));
        let refused = replaced.is_some() && flags.contains(RenameFlags::NOREPLACE);
        if same || refused {
            return Ok(make()?);
        }
        let change = Change::Rename {
            from: from.entry(),
            from_found: &from_found,
            to: to.entry(),
            replaced: replaced.as_ref(),
        };
        // What replaces a file is none either when it is a folder, and the kernel says so.
        match hidden && from_found.kind() != FileType::Directory {
            true => self.change(keeper, &change, || {
                aside::replace(from.entry(), to.entry()).map(|()| 0)
            }),
            false => self.change(keeper, &change, make),
        }
    }

    pub(super) fn bind(&self, descriptor: i32, address: u64, length: u64) -> Made {
        const FAMILY: usize = size_of::<libc::sa_family_t>();
        let length = length as u32 as usize;
        if length <= FAMILY || length > size_of::<libc::sockaddr_un>() {
            return Err(Elsewhere);
        }
        let mut bytes = [0u8; size_of::<libc::sockaddr_un>() + 1];
        self.caller
            .read(address, &mut bytes[..length])
            .map_err(|_| Elsewhere)?;
        let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
        // The abstract name space begins with NUL.
        if i32::from(family) != libc::AF_UNIX || bytes[FAMILY] == 0 {
            return Err(Elsewhere);
        }
        let path = CStr::from_bytes_until_nul(&bytes[FAMILY..]).map_err(|_| Elsewhere)?;
        let at = At {
            descriptor: libc::AT_FDCWD,
            path: path.to_owned(),
        };
        let base = self.base(&at)?;
        let from = match &base {
            Some(folder) => folder.try_clone().map_err(|_| Failed(Errno::MFILE))?,
            None => self
                .worker
                .shared
                .proc
                .try_clone()
                .map_err(|_| Failed(Errno::MFILE))?,
        };
        let place = self.place_below(base, &at.path)?;
        if !place.mediated {
            return Err(Elsewhere);
        }
        let socket = self.caller.take(descriptor).map_err(|_| Elsewhere)?;
        // The address is kept as it was given, since `getsockname` tells it; so a relative one is bound from where the caller stands.
        rustix::process::fchdir(&from)?;
        let made = self.create(&place, || {
            // SAFETY: `bytes` holds `length` bytes of a socket address and lives through the call.
            let result = unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    length as libc::socklen_t,
                )
            };
            match result {
                0 => Ok(()),
                _ => Err(last_error()),
            }
        });
        rustix::process::fchdir(&self.worker.shared.proc)?;
        made
    }
}
