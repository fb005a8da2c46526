//! Names of the mediator's view at which a twin that may be edited is mounted, while the file behind them is renamed, replaced or removed.
//!
//! The kernel does neither to a name that is a mount point in the mount namespace of who asks; in every other one, the mount goes along with
//! the file, or goes when the file does. So the mediator takes its own mount away first and, where the file lives on, puts it back.
//!
//! What must stay true: between the two the file itself can be opened in this view. Nobody hands it out, since whoever resolved a path
//! before or meanwhile resolves it again ([`super::worker::Mediated::uncovered`]); and a twin that cannot be put back ends the mediator. How a
//! file goes without being open to the command's view is [`super::aside`]'s.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::CapabilitySet;

use super::caller::found;
use super::change::Entry;
use crate::mounts;

/// `TMPFS_MAGIC`, the file system of our own files.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// The mount of a twin that was taken away.
pub(super) struct TakenOff(OwnedFd);

/// Takes away the twin that is mounted at `entry`, with former ones that it is mounted over. `None` where none is: nothing is mounted there,
/// or something that stays, which is mounted read-only.
pub(super) fn take_off(entry: Entry<'_>) -> Result<Option<TakenOff>, Errno> {
    let Some(shown) = take_one_off(entry)? else {
        return Ok(None);
    };
    loop {
        match take_one_off(entry) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Some(shown)),
            Err(error) => {
                shown.put_on(entry);
                return Err(error);
            }
        }
    }
}

fn take_one_off(entry: Entry<'_>) -> Result<Option<TakenOff>, Errno> {
    let Ok(shown) = open_path(entry.folder, entry.name) else {
        return Ok(None);
    };
    let (twin, folder) = (found(&shown)?, found(entry.folder)?);
    if twin.mount == folder.mount || twin.kind() != FileType::RegularFile {
        return Ok(None);
    }
    let mount = rustix::fs::fstatvfs(&shown)?;
    // Nor what the host mounted there.
    if rustix::fs::fstatfs(&shown)?.f_type != TMPFS
        || mount.f_flag.contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(None);
    }
    with(CapabilitySet::SYS_ADMIN, || {
        let kept = mounts::clone_descriptor(&shown).map_err(number)?;
        rustix::mount::unmount(
            super::worker::link_of(&shown).as_c_str(),
            UnmountFlags::DETACH,
        )?;
        Ok(Some(TakenOff(kept)))
    })
}

impl TakenOff {
    /// Mounts it at `entry`, where the file behind it is now. When that fails, nothing here may go on.
    pub(super) fn put_on(self, entry: Entry<'_>) {
        let put = with(CapabilitySet::SYS_ADMIN, || {
            let file = open_path(entry.folder, entry.name)?;
            mounts::attach_onto(self.0.as_fd(), &file).map_err(number)
        });
        if put.is_err() {
            // SAFETY: _exit(2) ends this process and touches no memory.
            unsafe { libc::_exit(1) }
        }
    }
}

/// What has a name, neither followed nor opened for reading.
pub(super) fn open_path(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// Does something with one more of the capabilities that this thread may take up.
pub(super) fn with<T>(
    capability: CapabilitySet,
    act: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut sets = rustix::thread::capabilities(None)?;
    let usual = sets.effective;
    sets.effective |= capability;
    rustix::thread::set_capabilities(None, sets)?;
    let done = act();
    sets.effective = usual;
    rustix::thread::set_capabilities(None, sets)?;
    done
}

fn number(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
