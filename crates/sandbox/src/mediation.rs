//! Mediated trees: the inside sees them read-only, and every call that would change them is made by a process of ours, after its keeper
//! was asked.
//!
//! That process is the *mediator*. It runs in the sandbox's user namespace, as the same user as the command and without a capability over
//! files, so that what it may is what the command may, error numbers included; in a mount namespace of its own, which is the command's but
//! that the trees can be written there, guards and twins in place; and outside of the command's pid namespace, so that nothing inside can
//! signal it. It learns of calls by seccomp user notification (docs/adr/0013).
//!
//! What must stay true: when the mediator ends, everything inside ends ([`crate::stage`] sees to it), and until then the calls that it
//! should answer do not exist (ENOSYS). What is missed here fails, for the trees are read-only.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

pub use self::aside::is_aside;
pub use self::change::{
    Change, Entry, Found, Identity, KeepNothing, Keeper, MakeKeeper, Stop, Target,
};
use self::kept::Kept;
use self::listener::Listener;
use self::parked::Parked;
use self::worker::{Mediated, Pause, Worker};
use crate::mounts;
use crate::placeholder::open_beneath;
use crate::spec::{Mediation, Spec};
use crate::stage::{die_with_parent, unshare};
use crate::step::{Named, Step, failed};
use crate::view;
use crate::wire::{self, Asked};
use crate::writers::is_being_written;

mod aside;
mod caller;
mod change;
mod kept;
mod listener;
mod notified;
mod parked;
mod twin;
mod worker;

/// Threads that answer calls. Changes are made one at a time; more threads keep short calls from waiting behind resolving.
const WORKERS: usize = 4;

/// To the mediator.
#[derive(Serialize, Deserialize)]
enum Say {
    /// The view stands: take a copy of it for yourself.
    Separate,
    /// The command's calls. One descriptor.
    Listen,
    /// Put something over a path of a tree, as process 1 does. One descriptor unless `itself`: a detached mount.
    Cover {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
        itself: bool,
    },
    /// Make no change until `Resume`.
    Pause,
    Resume,
    /// Where does the file at a path of a tree come from? An error says no.
    Origin {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
        asked: Asked,
    },
}

/// From the mediator.
#[derive(Serialize, Deserialize)]
struct Done(Result<(), String>);

/// The mediator, as the stage and process 1 know it.
pub(crate) struct Mediator {
    pub(crate) process: Pid,
    channel: UnixStream,
}

impl Mediator {
    /// Starts it. Called by the stage, which is in every namespace but the pid namespace, and has one thread.
    pub(crate) fn start(
        spec: &Spec,
        mediation: &Mediation,
        (folder, questions): (OwnedFd, OwnedFd),
        make: MakeKeeper,
    ) -> Step<Mediator> {
        const WHAT: &str = "start the mediator of the workspace";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).step(|| WHAT)?;
        let own = rustix::fs::readlinkat(&proc, "self", Vec::new()).step(|| WHAT)?;
        let expected = rustix::process::getpid().as_raw_nonzero().to_string();
        if own.as_bytes() != expected.as_bytes() {
            return failed(WHAT, "/proc is that of another pid namespace");
        }
        let (ours, theirs) = UnixStream::pair().step(|| WHAT)?;
        // SAFETY: the stage has one thread, so the child starts with consistent memory and may do anything.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).step(|| WHAT),
            0 => {
                drop(ours);
                let kept = [&folder, &questions, &proc].map(AsRawFd::as_raw_fd);
                close_all_but([theirs.as_raw_fd(), kept[0], kept[1], kept[2]]);
                let kept = (folder, UnixStream::from(questions));
                let _ = run(&theirs, (spec, mediation), kept, proc, make);
                // SAFETY: _exit(2) ends this process and touches no memory.
                unsafe { libc::_exit(1) }
            }
            child => match Pid::from_raw(child) {
                Some(process) => Ok(Mediator {
                    process,
                    channel: ours,
                }),
                None => failed(WHAT, "the kernel gave no process id"),
            },
        }
    }

    /// Keeps it alive for as long as this lives, in this process.
    pub(crate) fn hold(&self) -> io::Result<UnixStream> {
        self.channel.try_clone()
    }

    /// Lets it take its own copy of the mounts. From here on the trees can be made read-only.
    pub(crate) fn separate(&self) -> io::Result<()> {
        self.ask(&Say::Separate, None)
    }

    /// Tells of everything that this process, and what comes of it, calls from now on. Needs no_new_privs.
    pub(crate) fn listen_to_me(&self) -> io::Result<()> {
        use std::os::fd::AsFd;
        let listener = notified::install()?;
        wire::send(&self.channel, &Say::Listen, &[listener.as_fd()])
    }

    /// Puts `mount` (or, without one, the path itself, read-only) over a path of a tree in the mediator's view.
    pub(crate) fn cover(
        &self,
        tree: usize,
        path: &Path,
        mount: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let say = Say::Cover {
            tree,
            path: path.to_path_buf(),
            itself: mount.is_none(),
        };
        self.ask(&say, mount)
    }

    /// Lets the change that is being made be made, and none after it until [`Mediator::resume`].
    pub(crate) fn pause(&self) -> io::Result<()> {
        self.ask(&Say::Pause, None)
    }

    pub(crate) fn resume(&self) -> io::Result<()> {
        self.ask(&Say::Resume, None)
    }

    /// Answers a question about the file at a path of a tree; an error says no.
    pub(crate) fn origin(&self, tree: usize, path: &Path, asked: Asked) -> io::Result<()> {
        let path = path.to_path_buf();
        self.ask(&Say::Origin { tree, path, asked }, None)
    }

    fn ask(&self, say: &Say, mount: Option<&OwnedFd>) -> io::Result<()> {
        use std::os::fd::AsFd;
        let handed: Vec<_> = mount.iter().map(|mount| mount.as_fd()).collect();
        wire::send(&self.channel, say, &handed)?;
        match wire::receive::<Done>(&self.channel)? {
            Some((Done(Ok(())), _)) => Ok(()),
            Some((Done(Err(why)), _)) => Err(io::Error::other(why)),
            None => Err(io::Error::other("the mediator has ended")),
        }
    }
}

/// The mediator's life. Returns when the sandbox is over.
fn run(
    channel: &UnixStream,
    (spec, mediation): (&Spec, &Mediation),
    (folder, questions): (OwnedFd, UnixStream),
    proc: OwnedFd,
    make: MakeKeeper,
) -> io::Result<()> {
    die_with_parent()?;
    // A line for a caller whose reader is gone must not end this process.
    // SAFETY: the call takes numbers and runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    let trees: Vec<PathBuf> = std::iter::once(&spec.workspace)
        .chain(&spec.extra_trees)
        .map(|tree| tree.path.clone())
        .collect();
    let answers = questions.try_clone()?;
    let mut keeper = Some(make(folder, questions, mediation, &trees)?);
    let mut answers = Some(answers);
    let mut proc = Some(proc);
    let mut roots = Vec::new();
    let mut mediated: Option<&'static Mediated> = None;
    let mut paused: Option<Pause<'static>> = None;
    while let Some((say, descriptors)) = wire::receive::<Say>(channel)? {
        let mut descriptors = descriptors.into_iter();
        let done = match say {
            Say::Separate => separate(&trees).map(|opened| roots = opened),
            Say::Cover { tree, path, itself } => match (roots.get(tree), descriptors.next()) {
                (Some(root), None) if itself => view::cover_with(root, &path, None).map(drop),
                (Some(root), mount @ Some(_)) if !itself => {
                    view::cover_with(root, &path, mount).map(drop)
                }
                _ => Err(io::ErrorKind::InvalidInput.into()),
            },
            Say::Pause => {
                if paused.is_none() {
                    paused = mediated.map(Mediated::pause);
                }
                Ok(())
            }
            Say::Resume => {
                paused = None;
                Ok(())
            }
            Say::Origin { tree, path, asked } => match (mediated, roots.get(tree)) {
                (Some(mediated), Some(root)) => {
                    // Nothing is opened for writing between the look and the answer.
                    let _still = paused.is_none().then(|| mediated.be_still());
                    origin(mediated, root, &path, asked)
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            },
            Say::Listen => {
                let (Some(descriptor), Some(keeper), Some(proc), Some(answers)) = (
                    descriptors.next(),
                    keeper.take(),
                    proc.take(),
                    answers.take(),
                ) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let shared: &'static Mediated = Box::leak(Box::new(Mediated {
                    listener: Listener::new(descriptor),
                    proc,
                    trees: trees.clone(),
                    keeper: Mutex::new(keeper),
                    uncovered: AtomicU64::new(0),
                    made: Mutex::new(HashSet::new()),
                    written: Mutex::new(HashSet::new()),
                    parked: Parked::default(),
                    kept: Kept::default(),
                    umask: spec.umask & 0o777,
                    umasks_differ: AtomicBool::new(false),
                }));
                for _ in 0..WORKERS {
                    start(move || work(shared, |worker| worker.serve()))?;
                }
                start(move || work(shared, |worker| worker.try_again_after(answers)))?;
                mediated = Some(shared);
                // Nobody waits for an answer: the command's process says it and executes the command.
                continue;
            }
        };
        let done = Done(done.map_err(|error| error.to_string()));
        wire::send(channel, &done, &[])?;
    }
    Ok(())
}

/// Where the file at a path comes from. No change is made meanwhile.
fn origin(mediated: &Mediated, root: &OwnedFd, path: &Path, asked: Asked) -> io::Result<()> {
    let file = open_beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let found = caller::found(&file)?;
    let holds = match asked {
        Asked::Made => mediated.has_made(&found.identity),
        Asked::Written => mediated.has_written(&found.identity),
        Asked::Forget => {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
            let file = std::fs::File::from(open_beneath(root, path, flags)?);
            let same = caller::found(&file)?.is(&found);
            let left_alone =
                same && file.metadata()?.is_file() && is_being_written(&file) == Some(false);
            if left_alone {
                mediated.forget_writing(&found.identity);
            }
            left_alone
        }
    };
    match holds {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn start(life: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("mediator".into());
    thread.spawn(life).map(drop)
}

/// A worker's life. Whatever ends one ends the mediator, and with it the sandbox: half a mediator would answer some calls and not others.
fn work(mediated: &Mediated, serve: impl FnOnce(&Worker<'_>)) {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            // SAFETY: _exit(2) ends this process and touches no memory.
            unsafe { libc::_exit(1) }
        }
    }
    let _end = End;
    if keep_only_looking().is_err() {
        return;
    }
    if let Ok(worker) = Worker::new(mediated) {
        serve(&worker);
    }
}

/// A mount namespace of this process's own, and the trees in it.
fn separate(trees: &[PathBuf]) -> io::Result<Vec<OwnedFd>> {
    unshare(UnshareFlags::NEWNS)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    trees
        .iter()
        .map(|tree| Ok(rustix::fs::open(tree, flags, Mode::empty())?))
        .collect()
}

/// Leaves this thread in effect the right to read what a process of this sandbox is doing, though it may have made itself unreadable, and
/// no other.
fn keep_only_looking() -> io::Result<()> {
    let looking = CapabilitySet::SYS_PTRACE;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: looking,
            // Not in effect: a keeper takes up the one for the moment in which it copies what is about to be lost, a worker the other to
            // move the mount of a twin.
            permitted: looking
                | CapabilitySet::DAC_READ_SEARCH
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::SYS_ADMIN,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Closes what this process got from the stage, but the four that it needs.
fn close_all_but(mut kept: [i32; 4]) {
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.into_iter().chain([i32::MAX]) {
        if first < last {
            // SAFETY: this process never uses, nor drops, what the stage opened: it ends by _exit(2).
            unsafe {
                libc::syscall(libc::SYS_close_range, first as u32, (last - 1) as u32, 0u32);
            }
        }
        first = last.saturating_add(1);
    }
}

/// Whether this kernel can do it: Linux 5.19 and newer.
pub fn can_mediate() -> bool {
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: without a filter nothing is installed; flags that the kernel knows make it look for the filter first.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Makes a tree read-only for everything that shares this process's mounts.
pub(crate) fn seal(root: &OwnedFd) -> io::Result<()> {
    mounts::restrict(root, mounts::READ_ONLY)
}
