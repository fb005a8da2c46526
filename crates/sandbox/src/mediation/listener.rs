//! The descriptor on which the kernel tells of system calls, and takes their answers (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `_IOC(direction, '!', number, size)` of linux/seccomp.h.
const fn request(direction: u64, number: u64, size: usize) -> libc::c_ulong {
    (direction << 30) | ((size as u64) << 16) | ((b'!' as u64) << 8) | number
}
const RECEIVE: libc::c_ulong = request(3, 0, size_of::<libc::seccomp_notif>());
const SEND: libc::c_ulong = request(3, 1, size_of::<libc::seccomp_notif_resp>());
const IS_VALID: libc::c_ulong = request(1, 2, size_of::<u64>());
const ADD_DESCRIPTOR: libc::c_ulong = request(1, 3, size_of::<libc::seccomp_notif_addfd>());
const SET_FLAGS: libc::c_ulong = request(1, 4, size_of::<u64>());
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: who waits for an answer runs on where it was given (Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    id: u64,
    /// The calling thread, in the pid namespace of whoever reads this.
    pub(super) thread: u32,
    /// Number of the call.
    pub(super) call: i64,
    /// Its arguments, as they stand in registers.
    pub(super) arguments: [u64; 6],
}

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// The kernel makes it, with whatever its memory holds by then.
    Continue,
    /// It was made, and returns this.
    Returns(i64),
    /// It fails.
    Fails(rustix::io::Errno),
    /// It was made, and returns this descriptor.
    Opens { file: OwnedFd, close_on_exec: bool },
}

pub(super) struct Listener(OwnedFd);

impl Listener {
    pub(super) fn new(descriptor: OwnedFd) -> Listener {
        // SAFETY: the call takes a number; kernels that do not know it refuse, and answer a little later.
        unsafe { libc::ioctl(descriptor.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        Listener(descriptor)
    }

    /// Waits for a call. Once nothing is left whose calls could come it waits for good: the mediator ends with the
    /// sandbox, and not before it, so that how the command ended is told first.
    pub(super) fn receive(&self) -> io::Result<Notification> {
        loop {
            // SAFETY: all zeroes are a valid value of this structure of numbers, and the kernel wants them.
            let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: `told` has the size that the request names and lives through the call.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut told) };
            if result == 0 {
                return Ok(Notification {
                    id: told.id,
                    thread: told.pid,
                    call: i64::from(told.data.nr),
                    arguments: told.data.args,
                });
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // The caller died before it was read; or, since Linux 6.11, the last one did, again and again.
                Some(libc::ENOENT) if self.is_abandoned() => loop {
                    std::thread::park();
                },
                Some(libc::ENOENT) => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }

    /// Whether no process is left under the filter that this descriptor listens to.
    fn is_abandoned(&self) -> bool {
        let mut asked = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut asked, Some(&Timespec::default())).is_ok()
            && asked[0].revents().contains(PollFlags::HUP)
    }

    /// Whether the caller still waits, so that what was read of its memory and its folder in /proc was its own.
    pub(super) fn still_waits(&self, notification: &Notification) -> bool {
        // SAFETY: the kernel reads one number that lives through the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IS_VALID, &raw const notification.id) == 0 }
    }

    /// Answers. A caller that died meanwhile needs none.
    pub(super) fn answer(&self, notification: &Notification, answer: Answer) {
        let mut response = libc::seccomp_notif_resp {
            id: notification.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match answer {
            Answer::Continue => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Returns(value) => response.val = value,
            Answer::Fails(error) => response.error = -error.raw_os_error(),
            Answer::Opens {
                file,
                close_on_exec,
            } => {
                use std::os::fd::AsFd;
                match self.hand_over(notification, file.as_fd(), close_on_exec) {
                    Ok(()) => return,
                    // Such as EMFILE, of the caller's own limit.
                    Err(error) => response.error = -error.raw_os_error().unwrap_or(libc::EIO),
                }
            }
        }
        // SAFETY: `response` has the size that the request names and lives through the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw mut response) };
    }

    /// Puts a descriptor into the caller and answers with its number, in one step.
    fn hand_over(
        &self,
        notification: &Notification,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> io::Result<()> {
        let request = libc::seccomp_notif_addfd {
            id: notification.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec {
                libc::O_CLOEXEC as u32
            } else {
                0
            },
        };
        // SAFETY: `request` has the size that the request names and lives through the call, as `file` does.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_DESCRIPTOR, &raw const request) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
