//! The attempts themselves. They run in the stage, which has one thread and nothing to lose, each in a child of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::{Finding, Needed};
use crate::control_group::ControlGroup;
use crate::identity::{self, Attendant, Identity};
use crate::mounts;
use crate::seccomp;
use crate::stage::{enter_namespaces, enter_networks, unshare};
use crate::step::{Named, Step, failed};
use crate::wire::StageFailure;

/// How long something may take that the kernel does at once.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// One attempt: its name, whether sessions need it, and the deed.
type Attempt = (&'static str, Needed, fn() -> Step<()>);

const ATTEMPTS: &[Attempt] = &[
    (
        "user namespaces with mounts",
        Needed::Required,
        namespaces_with_mounts,
    ),
    (
        "pid namespace with a fresh /proc",
        Needed::Required,
        fresh_proc,
    ),
    (
        "network namespaces joined by a veth pair",
        Needed::Required,
        networks,
    ),
    ("system call filter", Needed::Required, filter),
    (
        "seccomp user notification",
        Needed::Required,
        user_notification,
    ),
    ("pidfd", Needed::Required, pidfd),
    ("Landlock", Needed::Optional, landlock),
    (
        "control group that can be frozen",
        Needed::Optional,
        freezing,
    ),
];

/// Only for who starts sessions as root.
const AS_ROOT: Attempt = ("id-mapped mounts", Needed::Optional, id_mapped_mounts);

/// Makes every attempt.
pub(crate) fn all() -> Vec<Finding> {
    let as_root = rustix::process::geteuid().is_root().then_some(&AS_ROOT);
    ATTEMPTS
        .iter()
        .chain(as_root)
        .map(|(name, needed, attempt)| Finding {
            name: name.to_string(),
            needed: *needed,
            failure: in_a_child(*attempt).err(),
        })
        .collect()
}

/// Does `deed` in a child and gives its result.
fn in_a_child(deed: impl FnOnce() -> Step<()>) -> Step<()> {
    let (mut answer, tell) = io::pipe().step(|| "make a pipe")?;
    // SAFETY: the stage has one thread, so the child starts with consistent memory and may do anything.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).step(|| "start a process"),
        0 => {
            drop(answer);
            let result = deed();
            let _ = serde_json::to_writer(&tell, &result.err());
            // SAFETY: _exit(2) ends this process and touches no memory.
            unsafe { libc::_exit(0) }
        }
        child => Pid::from_raw(child),
    };
    drop(tell);
    let mut text = Vec::new();
    answer
        .read_to_end(&mut text)
        .step(|| "hear from a process")?;
    rustix::process::waitpid(child, WaitOptions::empty()).step(|| "wait for a process")?;
    match serde_json::from_slice::<Option<StageFailure>>(&text) {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => Err(failure),
        Err(_) => failed("try it in a process of its own", "the process was killed"),
    }
}

fn enter() -> Step<()> {
    let identity = Identity::of_a_mapped_command();
    if identity.is_started_as_root() {
        identity.assume()?;
    }
    enter_namespaces(&identity)
}

fn namespaces_with_mounts() -> Step<()> {
    enter()?;
    let step = || "mount in a mount namespace of a user namespace";
    let private =
        mounts::new_file_system("tmpfs", &[], mounts::NO_SET_ID | mounts::NO_DEVICES).step(step)?;
    mounts::attach(&private, Path::new("/tmp")).step(step)?;
    std::fs::create_dir("/tmp/usr").step(step)?;
    let usr = mounts::clone_path(Path::new("/usr")).step(step)?;
    mounts::restrict(
        &usr,
        mounts::READ_ONLY | mounts::NO_SET_ID | mounts::NO_DEVICES,
    )
    .step(step)?;
    mounts::attach(&usr, Path::new("/tmp/usr")).step(step)
}

fn fresh_proc() -> Step<()> {
    enter()?;
    unshare(UnshareFlags::NEWPID).step(|| "make a pid namespace")?;
    in_a_child(|| {
        let proc = mounts::new_file_system("proc", &[], mounts::NO_SET_ID)
            .step(|| "mount a fresh /proc")?;
        mounts::attach(&proc, Path::new("/proc")).step(|| "mount a fresh /proc")?;
        match std::fs::read_link("/proc/self").step(|| "read the fresh /proc")? {
            one if one == Path::new("1") => Ok(()),
            other => failed(
                "read the fresh /proc",
                format!("this is process {}", other.display()),
            ),
        }
    })
}

fn networks() -> Step<()> {
    enter()?;
    enter_networks(&[], &[]).map(drop)
}

fn filter() -> Step<()> {
    rustix::thread::set_no_new_privs(true).step(|| "forbid new privileges")?;
    seccomp::Filter::compile()
        .install()
        .step(|| "install the system call filter")?;
    match unshare(UnshareFlags::NEWUSER) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        _ => failed("install the system call filter", "a denied call was made"),
    }
}

/// Intercepts one call of another process, answers it, and looks whether the answer arrived.
fn user_notification() -> Step<()> {
    const STEP: &str = "answer a system call by seccomp user notification";
    const ANSWER: i64 = 4321;
    rustix::thread::set_no_new_privs(true).step(|| STEP)?;
    let listener = seccomp::notify_of(libc::SYS_getppid).step(|| STEP)?;
    // SAFETY: as in `in_a_child`; this process is such a child.
    let caller = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).step(|| STEP),
        0 => {
            // SAFETY: both calls take numbers only.
            unsafe { libc::_exit(i32::from(libc::syscall(libc::SYS_getppid) != ANSWER)) }
        }
        caller => Pid::from_raw(caller),
    };
    let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    if poll(&mut polled, Some(&PATIENCE)).step(|| STEP)? == 0 {
        return failed(STEP, "no notification came");
    }
    // SAFETY: the kernel fills `request` and reads `response`, both of the size that its own ioctl numbers name, both alive; `request`
    // is zeroed as it demands.
    let answered = unsafe {
        let mut request: libc::seccomp_notif = std::mem::zeroed();
        let mut response: libc::seccomp_notif_resp = std::mem::zeroed();
        if libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut request,
        ) == 0
        {
            response.id = request.id;
            response.val = ANSWER;
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut response,
            )
        } else {
            -1
        }
    };
    if answered != 0 {
        return Err(io::Error::last_os_error()).step(|| STEP);
    }
    match rustix::process::waitpid(caller, WaitOptions::empty()).step(|| STEP)? {
        Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
        _ => failed(STEP, "the answer did not arrive"),
    }
}

/// Holds a process, ends it, and hears of its end, all by its descriptor.
fn pidfd() -> Step<()> {
    const STEP: &str = "hold a process by its pidfd";
    let child = Attendant::start(|| {}).step(|| STEP)?;
    let held = rustix::process::pidfd_open(child.id(), PidfdFlags::empty()).step(|| STEP)?;
    rustix::process::pidfd_send_signal(&held, Signal::KILL).step(|| STEP)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(held.as_fd(), PollFlags::IN)],
        Some(&PATIENCE),
    )
    .step(|| STEP)?
    {
        0 => failed(STEP, "its end was not reported"),
        _ => Ok(()),
    }
}

/// Forbids everything and looks whether a file that was readable is not any more.
fn landlock() -> Step<()> {
    const STEP: &str = "confine files by Landlock";
    let result = (|| -> Result<(), landlock::RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V1))?
            .create()?
            .restrict_self()?;
        Ok(())
    })();
    result.map_err(io::Error::other).step(|| STEP)?;
    match File::open("/etc/passwd") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        _ => failed(STEP, "this kernel does not enforce it"),
    }
}

fn freezing() -> Step<()> {
    const STEP: &str = "freeze a control group of our own";
    let Some(group) = ControlGroup::create() else {
        return failed(STEP, "the host delegates no control group to this process");
    };
    let result = (|| {
        let mut processes = group.processes()?;
        let (mut joined, tell) = io::pipe()?;
        let _child = Attendant::start(move || {
            let wrote = processes.write_all(b"0").is_ok();
            let _ = (&tell).write_all(&[u8::from(wrote)]);
        })?;
        let mut answer = [0];
        joined.read_exact(&mut answer)?;
        if answer != [1] {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        group.freeze()?;
        group.thaw()
    })();
    group.remove();
    result.step(|| STEP)
}

/// Tried on a folder of the system, which lies on the root file system and, unlike the root itself, has no /proc mounted below it.
fn id_mapped_mounts() -> Step<()> {
    identity::map_owner(Path::new("/usr"))
        .map(|_: OwnedFd| ())
        .step(|| "map owners on the root file system")
}
