//! Makes the calls of the inside that change a mediated tree, in this process's own view, where the tree can be written.
//!
//! What must stay true:
//! - A call is made here only where its last folder, or its file, lies in a mediated tree; everything else is left to the kernel, in the
//!   caller's own view, where the trees are read-only. So nothing that changes in the caller's memory after it was read here can change
//!   a tree.
//! - Only regular files are handed over: from a folder of this view `..` would lead on in it.
//! - What is handed over, or changed, was shown to the keeper first, under one lock, from the look at what is there to the change.
//! - A path that cannot be resolved is left to the kernel too, which gives the right error number.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::aside;
use super::caller::{Caller, found};
use super::change::{Change, Entry, Found, Identity, Keeper, Stop, Target};
use super::kept::Kept;
use super::listener::{Answer, Listener, Notification};
use super::parked::Parked;
use super::twin::{self, TakenOff};

mod attributes;
mod names;
mod opening;
mod resolving;

/// What all workers share.
pub(super) struct Mediated {
    pub(super) listener: Listener,
    /// /proc of the pid namespace that this process is in, which is the host's.
    pub(super) proc: OwnedFd,
    /// Absolute paths of the trees.
    pub(super) trees: Vec<PathBuf>,
    /// Held from the look at what is there to the change, and by [`Pause`].
    pub(super) keeper: Mutex<Box<dyn Keeper>>,
    /// Counts the times at which a path may have led to a file that a twin hides. Changed with the lock held.
    pub(super) uncovered: AtomicU64,
    /// What came into being inside.
    pub(super) made: Mutex<HashSet<Identity>>,
    /// What was opened for writing inside, or came into being there, since that was forgotten.
    pub(super) written: Mutex<HashSet<Identity>>,
    /// Calls that the keeper lets wait.
    pub(super) parked: Parked,
    pub(super) kept: Kept,
    /// The mask with which the command starts.
    pub(super) umask: u32,
    /// Whether anything inside ever set another.
    pub(super) umasks_differ: AtomicBool,
}

/// While it lives, no change is made; what was resolved before it ends is resolved again.
pub(super) struct Pause<'a> {
    shared: &'a Mediated,
    _still: Still<'a>,
}

/// While it lives, no change is made.
pub(super) struct Still<'a> {
    _keeper: MutexGuard<'a, Box<dyn Keeper>>,
}

impl Mediated {
    /// Waits until the change that is being made is made.
    pub(super) fn pause(&self) -> Pause<'_> {
        Pause {
            shared: self,
            _still: self.be_still(),
        }
    }

    /// As [`Mediated::pause`], for whoever puts nothing anywhere meanwhile.
    pub(super) fn be_still(&self) -> Still<'_> {
        let keeper = self.keeper.lock();
        Still {
            _keeper: keeper.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Whether a file or folder came into being inside.
    pub(super) fn has_made(&self, identity: &Identity) -> bool {
        let made = self.made.lock();
        let made = made.unwrap_or_else(PoisonError::into_inner);
        made.contains(identity)
    }

    /// Whether a file was opened for writing inside since [`Mediated::forget_writing`].
    pub(super) fn has_written(&self, identity: &Identity) -> bool {
        let written = self.written.lock();
        let written = written.unwrap_or_else(PoisonError::into_inner);
        written.contains(identity)
    }

    /// Whoever writes to the file without opening it anew is not inside.
    pub(super) fn forget_writing(&self, identity: &Identity) {
        let written = self.written.lock();
        let mut written = written.unwrap_or_else(PoisonError::into_inner);
        written.remove(identity);
    }

    fn note_writing(&self, found: &Found) {
        let written = self.written.lock();
        let mut written = written.unwrap_or_else(PoisonError::into_inner);
        written.insert(found.identity);
    }

    fn remember(&self, found: Option<&Found>) {
        if let Some(found) = found {
            self.note_writing(found);
        }
        let made = self.made.lock();
        let mut made = made.unwrap_or_else(PoisonError::into_inner);
        made.extend(found.map(|found| found.identity));
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.shared.uncovered.fetch_add(1, Ordering::SeqCst);
    }
}

/// One thread that answers calls.
pub(super) struct Worker<'a> {
    shared: &'a Mediated,
    /// The mask that this thread has by now.
    umask: AtomicU32,
}

/// Why nothing was made here.
enum Unmade {
    /// It is the kernel's to make, or to refuse.
    Elsewhere,
    /// It fails.
    Failed(Errno),
    /// What was resolved for it may be a file that a twin hides; or something has come to where it leads meanwhile.
    Again,
    /// The keeper stops it.
    Stopped(Stop),
}
use Unmade::{Again, Elsewhere, Failed, Stopped};

impl From<Errno> for Unmade {
    fn from(error: Errno) -> Unmade {
        Failed(error)
    }
}

impl From<Stop> for Unmade {
    fn from(stop: Stop) -> Unmade {
        Stopped(stop)
    }
}

type Made<T = i64> = Result<T, Unmade>;

/// A path as a call gives it: relative to a descriptor, or to the current folder.
struct At {
    descriptor: i32,
    path: CString,
}

/// A folder of a mediated tree, and the last name of a path.
struct Place {
    folder: OwnedFd,
    folder_path: PathBuf,
    name: CString,
    mediated: bool,
}

impl Place {
    fn entry(&self) -> Entry<'_> {
        Entry {
            folder: self.folder.as_fd(),
            folder_path: &self.folder_path,
            name: &self.name,
        }
    }

    fn look(&self) -> Result<Found, Errno> {
        let status = rustix::fs::statx(
            &self.folder,
            self.name.as_c_str(),
            AtFlags::SYMLINK_NOFOLLOW,
            Found::ASKED,
        )?;
        Ok(Found::of(&status))
    }
}

/// A file or folder of a mediated tree.
struct Node {
    file: OwnedFd,
    link: CString,
    path: PathBuf,
    found: Found,
}

impl Node {
    fn target(&self) -> Target<'_> {
        Target {
            file: self.file.as_fd(),
            link: &self.link,
            path: &self.path,
            found: &self.found,
        }
    }
}

/// Its name for calls that take a path: the current folder of a worker is /proc.
pub(super) fn link_of(file: &OwnedFd) -> CString {
    CString::new(format!("self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Mediated) -> Result<Worker<'a>, Errno> {
        // A mask and a current folder of its own.
        // SAFETY: the flag gives this thread its own file system attributes; descriptors stay shared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?;
        rustix::process::fchdir(&shared.proc)?;
        rustix::process::umask(Mode::from_raw_mode(shared.umask));
        Ok(Worker {
            shared,
            umask: AtomicU32::new(shared.umask),
        })
    }

    /// Answers calls until nobody is left to make any.
    pub(super) fn serve(&self) {
        while let Ok(notification) = self.shared.listener.receive() {
            self.settle(notification);
        }
    }

    /// Tells the keeper each answer that comes, and makes what waited for it. A worker of its own: others wait for calls alone.
    pub(super) fn try_again_after(&self, answers: UnixStream) {
        let mut answers = BufReader::new(answers);
        let mut line = String::new();
        while let Ok(1..) = answers.read_line(&mut line) {
            let keeper = self.shared.keeper.lock();
            keeper
                .unwrap_or_else(PoisonError::into_inner)
                .answered(line.trim_end());
            for notification in self.shared.parked.answered() {
                self.settle(notification);
            }
            line.clear();
        }
    }

    /// Makes a call and answers it, unless it has to wait.
    fn settle(&self, notification: Notification) {
        let mut answer = Answer::Fails(Errno::INTR);
        for _ in 0..1000 {
            let answers = self.shared.parked.answers();
            answer = match self.make(&notification) {
                Ok(answer) => answer,
                Err(Elsewhere) => Answer::Continue,
                Err(Failed(error) | Stopped(Stop::Fails(error))) => Answer::Fails(error),
                Err(Stopped(Stop::Told(error, why))) => {
                    Caller::new(notification.thread, self.shared.proc.as_fd()).tell(&why);
                    Answer::Fails(error)
                }
                Err(Stopped(Stop::Waits)) => match self.shared.parked.park(notification, answers) {
                    true => return,
                    false => continue,
                },
                Err(Again) => continue,
            };
            break;
        }
        self.shared.listener.answer(&notification, answer);
    }

    fn make(&self, told: &Notification) -> Made<Answer> {
        let caller = Caller::new(told.thread, self.shared.proc.as_fd());
        let a = told.arguments;
        let made = Call {
            resolved_at: self.shared.uncovered.load(Ordering::SeqCst),
            worker: self,
            told,
            caller: &caller,
        };
        let here = |path: u64| made.at(libc::AT_FDCWD, path);
        let there = |descriptor: u64, path: u64| made.at(descriptor as i32, path);
        let returned = match told.call {
            libc::SYS_open => return made.open(here(a[0])?, a[1] as u32, a[2] as u32),
            libc::SYS_openat => return made.open(there(a[0], a[1])?, a[2] as u32, a[3] as u32),
            libc::SYS_creat => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                return made.open(here(a[0])?, flags as u32, a[1] as u32);
            }
            libc::SYS_mkdir => made.make_folder(here(a[0])?, a[1] as u32),
            libc::SYS_mkdirat => made.make_folder(there(a[0], a[1])?, a[2] as u32),
            libc::SYS_mknod => made.make_node(here(a[0])?, a[1] as u32, a[2]),
            libc::SYS_mknodat => made.make_node(there(a[0], a[1])?, a[2] as u32, a[3]),
            libc::SYS_symlink => made.make_symlink(a[0], here(a[1])?),
            libc::SYS_symlinkat => made.make_symlink(a[0], there(a[1], a[2])?),
            libc::SYS_link => made.link(here(a[0])?, here(a[1])?, 0),
            libc::SYS_linkat => made.link(there(a[0], a[1])?, there(a[2], a[3])?, a[4] as i32),
            libc::SYS_unlink => made.remove(here(a[0])?, 0),
            libc::SYS_unlinkat => made.remove(there(a[0], a[1])?, a[2] as i32),
            libc::SYS_rmdir => made.remove(here(a[0])?, libc::AT_REMOVEDIR),
            libc::SYS_rename => made.rename(here(a[0])?, here(a[1])?, 0),
            libc::SYS_renameat => made.rename(there(a[0], a[1])?, there(a[2], a[3])?, 0),
            libc::SYS_renameat2 => made.rename(there(a[0], a[1])?, there(a[2], a[3])?, a[4] as u32),
            libc::SYS_chmod => made.change_mode(made.node(here(a[0])?, 0)?, a[1] as u32),
            libc::SYS_fchmodat => made.change_mode(made.node(there(a[0], a[1])?, 0)?, a[2] as u32),
            libc::SYS_fchmodat2 => {
                let node = made.node(there(a[0], a[1])?, a[3] as i32)?;
                made.change_mode(node, a[2] as u32)
            }
            libc::SYS_fchmod => made.change_mode(made.node_of(a[0] as i32)?, a[1] as u32),
            libc::SYS_chown => made.change_owner(made.node(here(a[0])?, 0)?, a[1], a[2]),
            libc::SYS_lchown => {
                let node = made.node(here(a[0])?, libc::AT_SYMLINK_NOFOLLOW)?;
                made.change_owner(node, a[1], a[2])
            }
            libc::SYS_fchownat => {
                let node = made.node(there(a[0], a[1])?, a[4] as i32)?;
                made.change_owner(node, a[2], a[3])
            }
            libc::SYS_fchown => made.change_owner(made.node_of(a[0] as i32)?, a[1], a[2]),
            libc::SYS_utime => made.set_times(made.node(here(a[0])?, 0)?, a[1], Times::Seconds),
            libc::SYS_utimes => {
                made.set_times(made.node(here(a[0])?, 0)?, a[1], Times::Microseconds)
            }
            libc::SYS_futimesat => {
                let node = made.node_or_of(a[0], a[1], 0)?;
                made.set_times(node, a[2], Times::Microseconds)
            }
            libc::SYS_utimensat => {
                let node = made.node_or_of(a[0], a[1], a[3] as i32)?;
                made.set_times(node, a[2], Times::Nanoseconds)
            }
            libc::SYS_truncate => made.truncate(made.node(here(a[0])?, 0)?, a[1]),
            libc::SYS_setxattr => made.set_attribute(made.node(here(a[0])?, 0)?, &a),
            libc::SYS_lsetxattr => {
                let node = made.node(here(a[0])?, libc::AT_SYMLINK_NOFOLLOW)?;
                made.set_attribute(node, &a)
            }
            libc::SYS_fsetxattr => made.set_attribute(made.node_of(a[0] as i32)?, &a),
            libc::SYS_removexattr => made.remove_attribute(made.node(here(a[0])?, 0)?, a[1]),
            libc::SYS_lremovexattr => {
                let node = made.node(here(a[0])?, libc::AT_SYMLINK_NOFOLLOW)?;
                made.remove_attribute(node, a[1])
            }
            libc::SYS_fremovexattr => made.remove_attribute(made.node_of(a[0] as i32)?, a[1]),
            libc::SYS_access => made.may_write(made.node(here(a[0])?, 0)?, a[1] as u32, 0),
            libc::SYS_faccessat => {
                made.may_write(made.node(there(a[0], a[1])?, 0)?, a[2] as u32, 0)
            }
            libc::SYS_faccessat2 => {
                let node = made.node(there(a[0], a[1])?, a[3] as i32)?;
                made.may_write(node, a[2] as u32, a[3] as i32)
            }
            libc::SYS_bind => made.bind(a[0] as i32, a[1], a[2]),
            libc::SYS_umask => {
                if (a[0] as u32) & 0o777 != self.shared.umask {
                    self.shared.umasks_differ.store(true, Ordering::SeqCst);
                }
                Err(Elsewhere)
            }
            _ => Err(Elsewhere),
        };
        returned.map(Answer::Returns)
    }
}

/// How a call gives times.
#[derive(Clone, Copy)]
enum Times {
    /// `struct utimbuf`
    Seconds,
    /// `struct timeval[2]`
    Microseconds,
    /// `struct timespec[2]`
    Nanoseconds,
}

/// One call that is being made.
struct Call<'a> {
    /// [`Mediated::uncovered`] before anything was resolved.
    resolved_at: u64,
    worker: &'a Worker<'a>,
    told: &'a Notification,
    caller: &'a Caller<'a>,
}

impl Call<'_> {
    /// Takes the lock under which changes are made one at a time. The caller has to wait still, else what was read of it may be
    /// another's.
    fn alone(&self) -> Made<MutexGuard<'_, Box<dyn Keeper>>> {
        let keeper = self.worker.shared.keeper.lock();
        let keeper = keeper.unwrap_or_else(PoisonError::into_inner);
        if !self.worker.shared.listener.still_waits(self.told) {
            return Err(Failed(Errno::INTR));
        }
        if self.worker.shared.uncovered.load(Ordering::SeqCst) != self.resolved_at {
            return Err(Again);
        }
        Ok(keeper)
    }

    /// Asks, makes the change, and tells what became of it.
    fn change<T>(
        &self,
        keeper: &mut MutexGuard<'_, Box<dyn Keeper>>,
        change: &Change<'_>,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Made<T> {
        keeper.before(change)?;
        match make() {
            Ok(made) => {
                keeper.done(None);
                Ok(made)
            }
            Err(error) => {
                keeper.failed();
                Err(self.refused(error, &change.path()))
            }
        }
    }

    /// What becomes of a call that the kernel refused; where it did so for what is kept as it is, the caller is told.
    fn refused(&self, error: Errno, path: &Path) -> Unmade {
        match self.worker.shared.kept.why(error, path) {
            Some(why) => Stopped(Stop::Told(error, why)),
            None => Failed(error),
        }
    }

    /// As [`Call::change`], for something new at `place`.
    fn create(&self, place: &Place, make: impl FnOnce() -> Result<(), Errno>) -> Made {
        self.assume_umask()?;
        let mut keeper = self.alone()?;
        // What is there already makes the call fail, and is nothing new.
        if place.look().is_ok() {
            return Ok(make().map(|()| 0)?);
        }
        keeper.before(&Change::Create(place.entry()))?;
        match make() {
            Ok(()) => {
                let made = place.look().ok();
                self.worker.shared.remember(made.as_ref());
                keeper.done(made.as_ref());
                Ok(0)
            }
            Err(error) => {
                keeper.failed();
                Err(self.refused(error, &place.entry().path()))
            }
        }
    }

    /// Gives this thread the caller's file mode creation mask: where a folder has default access control lists, the kernel ignores it,
    /// so it cannot be applied here.
    fn assume_umask(&self) -> Result<(), Errno> {
        let shared = self.worker.shared;
        let wanted = match shared.umasks_differ.load(Ordering::SeqCst) {
            true => self.caller.umask()?,
            false => shared.umask,
        };
        if self.worker.umask.swap(wanted, Ordering::Relaxed) != wanted {
            rustix::process::umask(Mode::from_raw_mode(wanted));
        }
        Ok(())
    }
}

/// Opens as a path, in our view. What cannot be opened is the kernel's to refuse; and so is what a link of /proc leads to, which would be
/// this process's own.
fn open_path(start: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Made<OwnedFd> {
    try_open_path(start, path, flags).map_err(|_| Elsewhere)
}

fn try_open_path(start: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        start,
        path,
        flags | OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
}

/// The descriptor that the source of a `linkat` means: by an empty path, or by its link in /proc.
fn descriptor_meant(from: &At, flags: i32) -> Option<i32> {
    if from.path.is_empty() {
        return (flags & libc::AT_EMPTY_PATH != 0).then_some(from.descriptor);
    }
    if flags & libc::AT_SYMLINK_FOLLOW == 0 {
        return None;
    }
    own_descriptor(&from.path)
}

/// The descriptor of the caller's own that a path names, in the spellings that programs and the C library use. In this process's view
/// they name nothing.
fn own_descriptor(path: &CStr) -> Option<i32> {
    let number = match path.to_str().ok()? {
        "/dev/stdin" => "0",
        "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        path => ["/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"]
            .iter()
            .find_map(|folder| path.strip_prefix(folder))?,
    };
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| number.parse().ok()).flatten()
}

fn opens(file: OwnedFd, wanted: OFlags) -> Answer {
    Answer::Opens {
        file,
        close_on_exec: wanted.contains(OFlags::CLOEXEC),
    }
}

fn truncate(path: &CStr, length: i64) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated and lives through the call.
    match unsafe { libc::truncate(path.as_ptr(), length) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
