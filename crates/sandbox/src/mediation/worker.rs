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

use super::caller::{Caller, found};
use super::change::{Change, Entry, Found, Identity, Keeper, Stop, Target};
use super::listener::{Answer, Listener, Notification};
use super::parked::Parked;
use super::twin::{self, TakenOff};

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
    /// Calls that the keeper lets wait.
    pub(super) parked: Parked,
    /// The mask with which the command starts.
    pub(super) umask: u32,
    /// Whether anything inside ever set another.
    pub(super) umasks_differ: AtomicBool,
}

/// While it lives, no change is made; what was resolved before it ends is resolved again.
pub(super) struct Pause<'a> {
    shared: &'a Mediated,
    _keeper: MutexGuard<'a, Box<dyn Keeper>>,
}

impl Mediated {
    /// Waits until the change that is being made is made.
    pub(super) fn pause(&self) -> Pause<'_> {
        let keeper = self.keeper.lock();
        Pause {
            shared: self,
            _keeper: keeper.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Whether a file or folder came into being inside.
    pub(super) fn has_made(&self, identity: &Identity) -> bool {
        let made = self.made.lock();
        let made = made.unwrap_or_else(PoisonError::into_inner);
        made.contains(identity)
    }

    fn remember(&self, found: Option<&Found>) {
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
    // ----- resolving

    fn at(&self, descriptor: i32, path: u64) -> Made<At> {
        // A bad address, or a path that is too long, is the kernel's to refuse.
        let path = self.caller.path(path).map_err(|_| Elsewhere)?;
        Ok(At { descriptor, path })
    }

    /// The folder that a relative path starts from, opened in our view; any folder will do for an absolute one.
    fn base(&self, at: &At) -> Made<Option<OwnedFd>> {
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
    fn place(&self, at: &At) -> Made<Place> {
        let base = self.base(at)?;
        self.place_below(base, &at.path)
    }

    fn place_below(&self, base: Option<OwnedFd>, path: &CStr) -> Made<Place> {
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
    fn place_of_two(&self, at: &At) -> Made<Place> {
        self.place(at).map_err(|unmade| match unmade {
            Failed(_) => Elsewhere,
            other => other,
        })
    }

    /// As [`Call::place`], where the call is ours only in a mediated tree.
    fn mediated_place(&self, at: &At) -> Made<Place> {
        let place = self.place(at)?;
        if place.mediated {
            Ok(place)
        } else {
            Err(Elsewhere)
        }
    }

    /// What a path leads to, in a mediated tree. `flags` are those of the `*at` calls.
    fn node(&self, at: At, flags: i32) -> Made<Node> {
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
    fn resolve(&self, start: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Made<OwnedFd> {
        match try_open_path(start, path, flags) {
            Ok(file) => Ok(file),
            Err(Errno::NOENT) => Err(self.missing(start, path.to_bytes())),
            Err(_) => Err(Elsewhere),
        }
    }

    /// What becomes of a call because `path` leads to nothing.
    fn missing(&self, start: BorrowedFd<'_>, mut path: &[u8]) -> Unmade {
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
    fn node_of(&self, descriptor: i32) -> Made<Node> {
        let (file, _) = self
            .caller
            .reopen(descriptor, OFlags::empty())
            .map_err(|_| Elsewhere)?;
        self.node_in_tree(file)
    }

    /// As [`Call::node`], or the descriptor itself where there is no path.
    fn node_or_of(&self, descriptor: u64, path: u64, flags: i32) -> Made<Node> {
        match path {
            0 => self.node_of(descriptor as i32),
            path => self.node(self.at(descriptor as i32, path)?, flags),
        }
    }

    fn node_in_tree(&self, file: OwnedFd) -> Made<Node> {
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

    fn path_of(&self, file: &OwnedFd) -> Made<PathBuf> {
        let link = link_of(file);
        let path = rustix::fs::readlinkat(CWD, link.as_c_str(), Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(path.as_bytes())))
    }

    fn is_mediated(&self, path: &Path) -> bool {
        let trees = &self.worker.shared.trees;
        trees.iter().any(|tree| path.starts_with(tree))
    }

    // ----- asking the keeper

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
                Err(Failed(error))
            }
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
                Err(Failed(error))
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

    // ----- opening

    fn open(&self, at: At, flags: u32, mode: u32) -> Made<Answer> {
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

    fn open_existing(&self, node: Node, wanted: OFlags) -> Made<Answer> {
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
        )?;
        if reading {
            rustix::fs::access(link.as_c_str(), Access::WRITE_OK)?;
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

    fn open_new(&self, place: &Place, wanted: OFlags, mode: u32) -> Made<Answer> {
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
                Err(Failed(error))
            }
        }
    }

    fn open_unnamed(&self, at: &At, wanted: OFlags, mode: u32) -> Made<Answer> {
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

    // ----- names

    fn make_folder(&self, at: At, mode: u32) -> Made {
        let place = self.mediated_place(&at)?;
        self.create(&place, || {
            let mode = Mode::from_raw_mode(mode & 0o7777);
            rustix::fs::mkdirat(&place.folder, place.name.as_c_str(), mode)
        })
    }

    fn make_node(&self, at: At, mode: u32, device: u64) -> Made {
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

    fn make_symlink(&self, target: u64, at: At) -> Made {
        let target = self.caller.path(target).map_err(|_| Elsewhere)?;
        let place = self.mediated_place(&at)?;
        self.create(&place, || {
            rustix::fs::symlinkat(target.as_c_str(), &place.folder, place.name.as_c_str())
        })
    }

    fn link(&self, from: At, to: At, flags: i32) -> Made {
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

    fn link_named(
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

    fn remove(&self, at: At, flags: i32) -> Made {
        let place = self.mediated_place(&at)?;
        let mut keeper = self.alone()?;
        let flags = AtFlags::from_bits_retain(flags as u32);
        let make = || rustix::fs::unlinkat(&place.folder, place.name.as_c_str(), flags).map(|()| 0);
        let as_folder = flags.contains(AtFlags::REMOVEDIR);
        let twin = match as_folder {
            false => self.uncover(&place)?,
            true => None,
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
    fn uncover(&self, place: &Place) -> Made<Option<TakenOff>> {
        if !place.mediated {
            return Ok(None);
        }
        Ok(twin::take_off(place.entry())?)
    }

    /// Ends what [`Call::uncover`] began, with the lock still held: puts twins back, and has whatever was resolved meanwhile resolved
    /// again.
    fn covered<'p>(&self, twins: impl IntoIterator<Item = (TakenOff, &'p Place)>) {
        for (twin, place) in twins {
            twin.put_on(place.entry());
        }
        self.worker.shared.uncovered.fetch_add(1, Ordering::SeqCst);
    }

    fn rename(&self, from: At, to: At, flags: u32) -> Made {
        let (from, to) = (self.place_of_two(&from)?, self.place_of_two(&to)?);
        if !from.mediated && !to.mediated {
            return Err(Elsewhere);
        }
        let flags = RenameFlags::from_bits_retain(flags);
        let mut keeper = self.alone()?;
        let (from_twin, to_twin) = (self.uncover(&from)?, self.uncover(&to)?);
        let had_twin = from_twin.is_some() || to_twin.is_some();
        let renamed = self.rename_alone(&mut keeper, &from, &to, flags);
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

    fn rename_alone(
        &self,
        keeper: &mut MutexGuard<'_, Box<dyn Keeper>>,
        from: &Place,
        to: &Place,
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
        self.change(keeper, &change, make)
    }

    // ----- attributes

    fn change_mode(&self, node: Node, mode: u32) -> Made {
        self.set(&node, |link| {
            // Of a link itself no mode can be set.
            if node.found.kind() == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            rustix::fs::chmod(link, Mode::from_raw_mode(mode & 0o7777))
        })
    }

    fn change_owner(&self, node: Node, user: u64, group: u64) -> Made {
        let id = |number: u64| (number as u32 != u32::MAX).then_some(number as u32);
        self.set(&node, |_| {
            rustix::fs::chownat(
                &node.file,
                c"",
                id(user).map(Uid::from_raw),
                id(group).map(Gid::from_raw),
                AtFlags::EMPTY_PATH,
            )
        })
    }

    fn set_times(&self, node: Node, address: u64, form: Times) -> Made {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
        let now = || Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let mut numbers = [[0; 8]; 4];
        let count = if matches!(form, Times::Seconds) { 2 } else { 4 };
        let times = if address == 0 {
            [now(), now()]
        } else {
            let bytes = numbers.as_flattened_mut();
            self.caller
                .read(address, &mut bytes[..count * 8])
                .map_err(|_| Elsewhere)?;
            let n = numbers.map(i64::from_ne_bytes);
            let timespec = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
            match form {
                Times::Seconds => [timespec(n[0], 0), timespec(n[1], 0)],
                Times::Nanoseconds => [timespec(n[0], n[1]), timespec(n[2], n[3])],
                Times::Microseconds => {
                    if [n[1], n[3]].iter().any(|n| !(0..1_000_000).contains(n)) {
                        return Err(Failed(Errno::INVAL));
                    }
                    [timespec(n[0], n[1] * 1000), timespec(n[2], n[3] * 1000)]
                }
            }
        };
        let [last_access, last_modification] = times;
        let times = Timestamps {
            last_access,
            last_modification,
        };
        self.set(&node, |link| match node.found.kind() {
            FileType::Symlink => {
                rustix::fs::utimensat(&node.file, c"", &times, AtFlags::EMPTY_PATH)
            }
            _ => rustix::fs::utimensat(CWD, link, &times, AtFlags::empty()),
        })
    }

    fn truncate(&self, node: Node, length: u64) -> Made {
        if node.found.kind() != FileType::RegularFile {
            return Err(Elsewhere);
        }
        let link = &node.link;
        rustix::fs::access(link.as_c_str(), Access::WRITE_OK)?;
        let mut keeper = self.alone()?;
        self.change(&mut keeper, &Change::Write(node.target()), || {
            truncate(link, length as i64).map(|()| 0)
        })
    }

    fn set_attribute(&self, node: Node, a: &[u64; 6]) -> Made {
        let name = self.caller.text(a[1], 256, Errno::RANGE)?;
        // XATTR_SIZE_MAX
        if a[3] > 65536 {
            return Err(Failed(Errno::TOOBIG));
        }
        let mut value = vec![0; a[3] as usize];
        self.caller.read(a[2], &mut value)?;
        let flags = XattrFlags::from_bits_retain(a[4] as u32);
        self.set(&node, |link| {
            rustix::fs::setxattr(link, name.as_c_str(), &value, flags)
        })
    }

    fn remove_attribute(&self, node: Node, name: u64) -> Made {
        let name = self.caller.text(name, 256, Errno::RANGE)?;
        self.set(&node, |link| rustix::fs::removexattr(link, name.as_c_str()))
    }

    /// Changes attributes; `make` gets a path of the file.
    fn set(&self, node: &Node, make: impl FnOnce(&CStr) -> Result<(), Errno>) -> Made {
        let mut keeper = self.alone()?;
        let link = &node.link;
        self.change(&mut keeper, &Change::Attributes(node.target()), || {
            make(link).map(|()| 0)
        })
    }

    fn may_write(&self, node: Node, mode: u32, flags: i32) -> Made {
        let access = Access::from_bits_retain(mode);
        // The ids are one, real and effective.
        let _ = flags & libc::AT_EACCESS;
        if node.found.kind() == FileType::Symlink {
            return Ok(0);
        }
        rustix::fs::access(node.link.as_c_str(), access)?;
        Ok(0)
    }

    // ----- sockets

    fn bind(&self, descriptor: i32, address: u64, length: u64) -> Made {
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
