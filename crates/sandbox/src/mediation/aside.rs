//! Removing and replacing a file that twins hide, without a moment at which it can be opened.
//!
//! When a name goes that is a mount point in other mount namespaces, the kernel takes the mounts off it before the name is gone, and between
//! the two lies a grace period of tens of microseconds in which whoever asks gets the file itself. A name that moves keeps its mounts. So
//! the file is moved first to where the inside cannot follow, and goes there: into a folder without any permission, which its owner, as whom
//! the inside runs, would need, and which this thread does without by `CAP_DAC_OVERRIDE`. Changes are made one at a time, so that nobody
//! can give the folder permissions meanwhile.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, RenameFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use rustix::thread::CapabilitySet;

use super::change::Entry;
use super::twin::with;

/// How the folder's name begins; sixteen random digits follow.
const PREFIX: &str = ".tagout-";

/// Names in the folder: of what is removed, and of what comes in its place.
const FILE: &CStr = c"removed";
const NEXT: &CStr = c"next";

/// Removes the file at `entry`.
pub(super) fn remove(entry: Entry<'_>) -> Result<(), Errno> {
    let aside = Aside::beside(entry)?;
    aside.take(entry)?;
    aside.remove()
}

/// Renames the file at `from` to `to`, whose file is removed. Who looks at `to` finds one or the other at any time, but on file systems that
/// cannot exchange names.
pub(super) fn replace(from: Entry<'_>, to: Entry<'_>) -> Result<(), Errno> {
    let aside = Aside::beside(to)?;
    // By way of the folder, so that what was at `to` is never seen at `from`.
    aside.take(from)?;
    let replaced = aside.exchange(to);
    if let Err(error) = replaced {
        aside.give_back(from)?;
        return Err(error);
    }
    aside.remove()
}

/// Whether a folder is one of those that stand for the moment in which a file goes, by its name and its mode.
pub fn is_aside(name: &OsStr, mode: u32) -> bool {
    let digits = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    mode & 0o777 == 0 && digits.is_some_and(|digits| digits.len() == 16)
}

fn rename(from: Entry<'_>, to: Entry<'_>, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(from.folder, from.name, to.folder, to.name, flags)
}

/// A folder that only this module can use. It goes when this does.
struct Aside<'a> {
    /// Where it stands.
    parent: BorrowedFd<'a>,
    name: CString,
    folder: OwnedFd,
}

impl<'a> Aside<'a> {
    /// Makes it beside an entry.
    fn beside(entry: Entry<'a>) -> Result<Aside<'a>, Errno> {
        let mut random = [0u8; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        rustix::fs::mkdirat(entry.folder, &name, Mode::empty())?;
        let opened = super::twin::open_path(entry.folder, &name);
        let made = |folder| Aside {
            parent: entry.folder,
            name: name.clone(),
            folder,
        };
        match opened {
            Ok(folder) => made(folder).owned(),
            Err(error) => {
                let _ = rustix::fs::unlinkat(entry.folder, &name, AtFlags::REMOVEDIR);
                Err(error)
            }
        }
    }

    /// A folder of another's group, inherited from the one around it, is beyond capabilities that count for our own.
    fn owned(self) -> Result<Aside<'a>, Errno> {
        let own = rustix::process::getegid();
        if rustix::fs::fstat(&self.folder)?.st_gid != own.as_raw() {
            let own: Option<Gid> = Some(own);
            rustix::fs::chownat(&self.folder, c"", None, own, AtFlags::EMPTY_PATH)?;
        }
        Ok(self)
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            folder: self.folder.as_fd(),
            folder_path: Path::new(""),
            name: FILE,
        }
    }

    fn take(&self, entry: Entry<'_>) -> Result<(), Errno> {
        with(CapabilitySet::DAC_OVERRIDE, || {
            rename(entry, self.entry(), RenameFlags::empty())
        })
    }

    fn give_back(&self, entry: Entry<'_>) -> Result<(), Errno> {
        with(CapabilitySet::DAC_OVERRIDE, || {
            rename(self.entry(), entry, RenameFlags::NOREPLACE)
        })
    }

    /// Brings what was taken to `entry`, and what is there here.
    fn exchange(&self, entry: Entry<'_>) -> Result<(), Errno> {
        with(CapabilitySet::DAC_OVERRIDE, || {
            match rename(self.entry(), entry, RenameFlags::EXCHANGE) {
                Err(Errno::INVAL | Errno::NOSYS) => {}
                exchanged => return exchanged,
            }
            let next = Entry {
                name: NEXT,
                ..self.entry()
            };
            let plainly = RenameFlags::empty();
            rename(self.entry(), next, plainly)?;
            if let Err(error) = rename(entry, self.entry(), plainly) {
                rename(next, self.entry(), plainly)?;
                return Err(error);
            }
            if let Err(error) = rename(next, entry, plainly) {
                rename(self.entry(), entry, plainly)?;
                rename(next, self.entry(), plainly)?;
                return Err(error);
            }
            Ok(())
        })
    }

    fn remove(self) -> Result<(), Errno> {
        with(CapabilitySet::DAC_OVERRIDE, || {
            rustix::fs::unlinkat(&self.folder, FILE, AtFlags::empty())
        })
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}
