//! Which system calls are told of instead of made: all that could change a file system. A filter of its own, since the one of
//! [`crate::seccomp`] must refuse what it refuses whatever is said here: of two filters the kernel takes the stricter answer.
//!
//! Reading never notifies: flags stand in registers, so an `open` without a bit that writes passes as fast as everything else.

use std::io;
use std::os::fd::OwnedFd;

use crate::seccomp;

/// Bits of `open`'s flags that may change something: write access, creation, truncation, and `O_TMPFILE`'s own bit.
pub(super) const WRITING: u32 = (libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

/// The calls; where an argument is given, only with any of its bits set.
const CALLS: &[(i64, Option<(u8, u32)>)] = &[
    (libc::SYS_open, Some((1, WRITING))),
    (libc::SYS_openat, Some((2, WRITING))),
    (libc::SYS_creat, None),
    (libc::SYS_mkdir, None),
    (libc::SYS_mkdirat, None),
    (libc::SYS_mknod, None),
    (libc::SYS_mknodat, None),
    (libc::SYS_symlink, None),
    (libc::SYS_symlinkat, None),
    (libc::SYS_link, None),
    (libc::SYS_linkat, None),
    (libc::SYS_unlink, None),
    (libc::SYS_unlinkat, None),
    (libc::SYS_rmdir, None),
    (libc::SYS_rename, None),
    (libc::SYS_renameat, None),
    (libc::SYS_renameat2, None),
    (libc::SYS_chmod, None),
    (libc::SYS_fchmod, None),
    (libc::SYS_fchmodat, None),
    (libc::SYS_fchmodat2, None),
    (libc::SYS_chown, None),
    (libc::SYS_lchown, None),
    (libc::SYS_fchown, None),
    (libc::SYS_fchownat, None),
    (libc::SYS_utime, None),
    (libc::SYS_utimes, None),
    (libc::SYS_futimesat, None),
    (libc::SYS_utimensat, None),
    (libc::SYS_truncate, None),
    (libc::SYS_setxattr, None),
    (libc::SYS_lsetxattr, None),
    (libc::SYS_fsetxattr, None),
    (libc::SYS_removexattr, None),
    (libc::SYS_lremovexattr, None),
    (libc::SYS_fremovexattr, None),
    (libc::SYS_access, Some((1, libc::W_OK as u32))),
    (libc::SYS_faccessat, Some((2, libc::W_OK as u32))),
    (libc::SYS_faccessat2, Some((2, libc::W_OK as u32))),
    (libc::SYS_bind, None),
    // Not a change, but what a change inside needs to know.
    (libc::SYS_umask, None),
];

/// Installs the filter in this thread, for good, and in everything that comes of it; gives the descriptor on which the calls are told.
/// Needs no_new_privs.
pub(super) fn install() -> io::Result<OwnedFd> {
    seccomp::notify_of_all(CALLS)
}
