//! A control group of the session's own, where the host delegates one: it can stop everything inside at one instant.
//!
//! It is a convenience, never a wall: the pid namespace is what ends everything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A control group (version 2) below this process's own.
pub(crate) struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    /// Makes one, where this process may; `None` where the host delegates nothing.
    pub(crate) fn create() -> Option<ControlGroup> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let root = mounts.lines().find_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            filesystem
                .starts_with("cgroup2 ")
                .then(|| mount.split(' ').nth(4))?
        })?;
        let parent = PathBuf::from(root).join(own);
        sweep(&parent);
        // The name is the supervisor's, of which one process can have several sandboxes.
        let path = (0..64).find_map(|number| {
            let path = parent.join(format!("tagout-{}-{number}", std::process::id()));
            fs::create_dir(&path).ok().map(|()| path)
        })?;
        let group = ControlGroup { path };
        let usable = group.path.join("cgroup.freeze").exists() && group.processes().is_ok();
        if usable {
            Some(group)
        } else {
            group.remove();
            None
        }
    }

    /// `cgroup.procs`, open for writing; who writes `0` into it joins.
    pub(crate) fn processes(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.procs"))
    }

    /// Its folder, for [`Joinable`].
    pub(crate) fn folder(&self) -> io::Result<OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?)
    }

    /// Stops everything in it; returns once all of it stands still.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.freeze"), "1")?;
        self.await_event("frozen 1")
    }

    /// Lets everything in it go on.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.freeze"), "0")
    }

    /// Removes it; it must be empty.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }

    fn await_event(&self, wanted: &str) -> io::Result<()> {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut events = File::open(self.path.join("cgroup.events"))?;
        loop {
            let mut text = String::new();
            io::Seek::rewind(&mut events)?;
            events.read_to_string(&mut text)?;
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            match poll(
                &mut [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)],
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The group as a process without any right over it on the host can still join it: by descriptors that the supervisor opened.
pub(crate) struct Joinable {
    /// The group's folder.
    folder: OwnedFd,
    /// `cgroup.procs`, open for writing.
    processes: OwnedFd,
}

/// From linux/sched.h; the C library's has the wrong width.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a fork gave.
pub(crate) enum Forked {
    /// In the parent: the child's id.
    Parent(i32),
    /// In the child; whether it was born in the group.
    Child {
        /// Whether it need not join any more.
        is_inside: bool,
    },
}

impl Forked {
    /// What fork(2) returned.
    pub(crate) fn outside(returned: i32) -> Forked {
        match returned {
            0 => Forked::Child { is_inside: false },
            child => Forked::Parent(child),
        }
    }
}

impl Joinable {
    pub(crate) fn new(folder: OwnedFd, processes: OwnedFd) -> Joinable {
        Joinable { folder, processes }
    }

    /// Moves this process into the group. The kernel waits for a grace period on all processors meanwhile.
    pub(crate) fn join(&self) -> io::Result<()> {
        rustix::io::write(&self.processes, b"0")?;
        Ok(())
    }

    /// Forks a child that is born in the group, which costs no such wait. Unlike joining by descriptor it needs the right to move processes
    /// now, which a command that was started as root has given up, and Linux 5.7.
    ///
    /// Only for a process with one thread.
    pub(crate) fn fork_into(&self) -> io::Result<Forked> {
        // SAFETY: all zeroes is a valid value of this structure of numbers.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.cgroup = self.folder.as_raw_fd() as u64;
        // SAFETY: without CLONE_VM and without a stack this is fork(2), and the caller says that there is one thread; the structure lives
        // through the call and its size is given.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw const arguments,
                size_of::<libc::clone_args>(),
            )
        };
        match returned {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(Forked::Child { is_inside: true }),
            child => Ok(Forked::Parent(child as i32)),
        }
    }
}

/// fork(2), for a process with one thread.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: the caller says that there is one thread, so the child starts with consistent memory and may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        returned => Ok(returned),
    }
}

/// How old a group is before it is swept. A supervisor in another pid namespace that shares this tree (a container) cannot be seen here,
/// and its group is empty until its command runs.
const LAUNCHED_BY_THEN: Duration = Duration::from_secs(600);

/// Removes the groups of supervisors that were killed. A group that still holds a process cannot be removed, so this harms nobody.
fn sweep(parent: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let made = entry.metadata().and_then(|group| group.modified());
        made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LAUNCHED_BY_THEN))
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix("tagout-")?
                .split('-')
                .next()?
                .parse()
                .ok()
        });
        let gone = |owner: u32| !Path::new(&format!("/proc/{owner}")).exists();
        if owner.is_some_and(gone) && is_old(&entry) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_comes_into_the_group_by_birth_or_by_joining() {
        let Some(group) = ControlGroup::create() else {
            return; // Nothing is delegated to whoever runs this; then there is no group in a session either.
        };
        let name = group.path.file_name().unwrap().to_str().unwrap();
        let joinable = Joinable::new(group.folder().unwrap(), group.processes().unwrap().into());
        let births: [&dyn Fn() -> io::Result<Forked>; 2] =
            [&|| joinable.fork_into(), &|| fork().map(Forked::outside)];
        for born in births {
            let (mut told, tell) = io::pipe().unwrap();
            let (stay, keep) = io::pipe().unwrap();
            let child = match born().unwrap() {
                // Other threads of the test may have held locks: only system calls from here on.
                Forked::Child { is_inside } => {
                    drop(keep);
                    let joined = is_inside || joinable.join().is_ok();
                    let _ = rustix::io::write(&tell, &[u8::from(joined)]);
                    let _ = rustix::io::read(&stay, &mut [0; 1]);
                    // SAFETY: _exit(2) ends this process and touches no memory.
                    unsafe { libc::_exit(0) }
                }
                Forked::Parent(child) => child,
            };
            drop(tell);
            let mut joined = [0];
            told.read_exact(&mut joined).unwrap();
            assert_eq!(joined, [1]);
            let is_in = fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap();
            assert!(
                is_in
                    .lines()
                    .any(|line| line.ends_with(&format!("/{name}"))),
                "{is_in}"
            );
            drop(keep);
            let child = rustix::process::Pid::from_raw(child);
            rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).unwrap();
        }
        group.remove();
        assert!(!group.path.exists());
    }

    #[test]
    fn groups_of_killed_supervisors_are_swept_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let own = format!("tagout-{}-0", std::process::id());
        for name in [
            "tagout-4194305-0",
            "tagout-4194305-1",
            &own,
            "tagout-x",
            "system.slice",
        ] {
            let group = parent.path().join(name);
            fs::create_dir(&group).unwrap();
            // All but one were made an hour ago; that one may be of a launch that is seen from elsewhere only.
            if name != "tagout-4194305-1" {
                let hour = Duration::from_secs(3600);
                let then = std::time::SystemTime::now() - hour;
                File::open(&group).unwrap().set_modified(then).unwrap();
            }
        }
        sweep(parent.path());
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = vec!["system.slice", "tagout-4194305-1", &own, "tagout-x"];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
