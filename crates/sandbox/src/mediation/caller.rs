//! The thread that made a call: its memory, its current folder, its descriptors, its file mode creation mask.
//!
//! All of it may change under our eyes, for other threads of the same program run on. So each piece is read once, and what was read is
//! what is acted on.

use std::ffi::CString;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::change::Found;

/// `PATH_MAX`, with the NUL.
const LONGEST_PATH: usize = 4096;
const PAGE: u64 = 4096;

pub(super) struct Caller<'a> {
    thread: u32,
    /// /proc of the pid namespace in which `thread` was told.
    proc: BorrowedFd<'a>,
}

impl<'a> Caller<'a> {
    pub(super) fn new(thread: u32, proc: BorrowedFd<'a>) -> Caller<'a> {
        Caller { thread, proc }
    }

    /// A path in its memory. `ENAMETOOLONG` past `PATH_MAX`.
    pub(super) fn path(&self, address: u64) -> Result<CString, Errno> {
        self.text(address, LONGEST_PATH, Errno::NAMETOOLONG)
    }

    /// A string of at most `longest` bytes with its NUL.
    pub(super) fn text(
        &self,
        address: u64,
        longest: usize,
        too_long: Errno,
    ) -> Result<CString, Errno> {
        let mut read = Vec::with_capacity(256);
        let mut at = address;
        while read.len() < longest {
            // Never across a page that may not be there: what comes after the NUL is nobody's promise.
            let length = ((PAGE - at % PAGE) as usize).min(longest - read.len());
            let start = read.len();
            read.resize(start + length, 0);
            self.read(at, &mut read[start..])?;
            if let Some(end) = read[start..].iter().position(|&byte| byte == 0) {
                read.truncate(start + end);
                return CString::new(read).map_err(|_| Errno::INVAL);
            }
            at += length as u64;
        }
        Err(too_long)
    }

    /// Bytes in its memory.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let remote = libc::iovec {
            iov_base: address as *mut libc::c_void,
            iov_len: into.len(),
        };
        // SAFETY: the kernel writes at most `into.len()` bytes to `into`, which is borrowed for the call; the other address is one of
        // another process, which the kernel checks.
        let read = unsafe {
            libc::process_vm_readv(
                self.thread as libc::pid_t,
                &raw const local,
                1,
                &raw const remote,
                1,
                0,
            )
        };
        if read == into.len() as isize {
            Ok(())
        } else {
            Err(Errno::FAULT)
        }
    }

    /// The name of its current folder or of a descriptor below [`Caller::proc`].
    pub(super) fn link(&self, descriptor: i32) -> String {
        let mut link = String::with_capacity(32);
        let _ = match descriptor {
            libc::AT_FDCWD => write!(link, "{}/cwd", self.thread),
            number => write!(link, "{}/fd/{number}", self.thread),
        };
        link
    }

    /// What a descriptor (`AT_FDCWD`: the current folder) is, and under which path the kernel knows it, opened anew in this process's
    /// own view. `ENOENT` if it has no name any more.
    pub(super) fn reopen(&self, descriptor: i32, flags: OFlags) -> Result<(OwnedFd, Found), Errno> {
        let link = self.link(descriptor);
        // A folder may be moved between two of these steps.
        for _ in 0..8 {
            let path = rustix::fs::readlinkat(self.proc, link.as_str(), Vec::new())
                .map_err(|_| Errno::BADF)?;
            if !path.as_bytes().starts_with(b"/") {
                return Err(Errno::NOTDIR);
            }
            let meant = Found::of(&rustix::fs::statx(
                self.proc,
                link.as_str(),
                AtFlags::empty(),
                Found::ASKED,
            )?);
            let Ok(opened) = rustix::fs::open(
                path.as_c_str(),
                flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            ) else {
                if meant.links == 0 {
                    return Err(Errno::NOENT);
                }
                continue;
            };
            let found = found(&opened)?;
            if found.is(&meant) {
                return Ok((opened, found));
            }
            if meant.links == 0 {
                return Err(Errno::NOENT);
            }
        }
        Err(Errno::NOENT)
    }

    /// Its file mode creation mask.
    pub(super) fn umask(&self) -> Result<u32, Errno> {
        self.status(b"\nUmask:\t", 8)
    }

    /// A number of /proc/ID/status. The name of the program comes first and has its line ends escaped.
    fn status(&self, label: &[u8], radix: u32) -> Result<u32, Errno> {
        let status = rustix::fs::openat(
            self.proc,
            format!("{}/status", self.thread),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut text = [0; 256];
        let length = rustix::io::read(&status, &mut text)?;
        let text = &text[..length];
        text.windows(label.len())
            .position(|window| window == label)
            .and_then(|at| {
                let digits = &text[at + label.len()..];
                let end = digits.iter().position(|&byte| byte == b'\n')?;
                u32::from_str_radix(std::str::from_utf8(&digits[..end]).ok()?, radix).ok()
            })
            .ok_or(Errno::IO)
    }

    /// A copy of one of its descriptors, for a socket, which no path reopens.
    pub(super) fn take(&self, descriptor: i32) -> Result<OwnedFd, Errno> {
        let process = self.process()?;
        // SAFETY: the call takes numbers; `process` is open for its length, and the descriptor it returns is new and nobody else's.
        let taken =
            unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0u32) };
        if taken < 0 {
            return Err(last_error());
        }
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
    }

    /// Writes a line to its standard error, where that is a pipe, a socket or a file on disk and takes it at once. A terminal is the
    /// person's. Whatever else it may be (a file of /proc, say) would be written with this process's rights.
    pub(super) fn tell(&self, line: &str) {
        let Ok(error) = self.take(2) else {
            return;
        };
        let Ok(status) = rustix::fs::fstat(&error) else {
            return;
        };
        let line = format!("{line}\n");
        let _ = match FileType::from_raw_mode(status.st_mode) {
            FileType::Socket => {
                use rustix::net::SendFlags;
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(&error, line.as_bytes(), flags).map(drop)
            }
            FileType::Fifo => {
                let parts = [io::IoSlice::new(line.as_bytes())];
                let flags = rustix::io::ReadWriteFlags::NOWAIT;
                rustix::io::pwritev2(&error, &parts, u64::MAX, flags).map(drop)
            }
            FileType::RegularFile if is_on_disk(&error) => {
                rustix::io::write(&error, line.as_bytes()).map(drop)
            }
            _ => Ok(()),
        };
    }

    /// Its process. Threads other than the first are none (before Linux 6.9, in no way): they share their descriptors with it.
    fn process(&self) -> Result<OwnedFd, Errno> {
        let leader = self.status(b"\nTgid:\t", 10)?;
        // SAFETY: the call takes numbers.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, leader, 0u32) };
        if opened < 0 {
            return Err(last_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(opened as i32) })
    }
}

/// What an open file is.
pub(super) fn found(file: impl AsFd) -> Result<Found, Errno> {
    Ok(Found::of(&rustix::fs::statx(
        file,
        c"",
        AtFlags::EMPTY_PATH,
        Found::ASKED,
    )?))
}

/// Whether a file is on one of the file systems on which a file is bytes and nothing else.
fn is_on_disk(file: &OwnedFd) -> bool {
    // statfs(2)
    const PLAIN: &[i64] = &[
        0xEF53,      // ext4
        0x9123_683E, // btrfs
        0x5846_5342, // XFS
        0x2FC1_2FC1, // ZFS
        0xF2F5_2010, // F2FS
        0x794C_7630, // overlayfs
        0x0102_1994, // tmpfs
    ];
    rustix::fs::fstatfs(file).is_ok_and(|system| PLAIN.contains(&system.f_type))
}

fn last_error() -> Errno {
    Errno::from_raw_os_error(
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}
