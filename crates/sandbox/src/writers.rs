//! Whether anybody has a file open, for writing or at all.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Of asm-generic/fcntl.h; the `libc` crate has it for other systems only.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody has this file, opened for reading alone, open for writing. `None` where the file system cannot say, or the file is not
/// this user's.
///
/// Asks for a read lease, which the kernel gives only on a file that nobody can write (fcntl(2)), and hands it back.
pub fn is_being_written(file: &File) -> Option<bool> {
    is_refused(file, libc::F_RDLCK)
}

/// Whether this file, opened for reading alone, is open a second time: in any process, mapped, or on its way between two. `None` where the
/// file system cannot say, or the file is not this user's.
///
/// Asks for a write lease, which the kernel gives only on a file that nobody else has open (fcntl(2)), and hands it back.
pub fn is_open_elsewhere(file: &File) -> Option<bool> {
    is_refused(file, libc::F_WRLCK)
}

fn is_refused(file: &File, lease: libc::c_int) -> Option<bool> {
    let descriptor = file.as_raw_fd();
    // Who opens the file in a way that the lease forbids waits until it is handed back, and we are sent a signal: not the usual one, which
    // would end this process, but one that is ignored.
    // SAFETY: these calls take numbers; the descriptor is open throughout.
    let asked = unsafe {
        if libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) != 0 {
            return None;
        }
        libc::fcntl(descriptor, libc::F_SETLEASE, lease)
    };
    if asked == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
        return Some(false);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_for_writing_is_told_from_one_that_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let written = File::create(&path).unwrap();
        let read = File::open(&path).unwrap();
        // A file system without leases says nothing, which is no answer to test.
        if let Some(is_written) = is_being_written(&read) {
            assert!(is_written);
            drop(written);
            assert_eq!(is_being_written(&read), Some(false));
            assert_eq!(is_open_elsewhere(&read), Some(false));
            let again = File::open(&path).unwrap();
            assert_eq!(is_being_written(&read), Some(false));
            assert_eq!(is_open_elsewhere(&read), Some(true));
            drop(again);
            assert_eq!(is_open_elsewhere(&read), Some(false));
            // The lease is gone again.
            assert!(File::options().append(true).open(&path).is_ok());
        }
    }
}
