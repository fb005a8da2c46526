//! The command's own process: from fork to execve, everything is given up on the way.
//!
//! It is forked when the view stands and waits for the supervisor's word, so that joining the control group, for which the kernel makes
//! its caller wait many milliseconds, happens while the gates start.
//!
//! The order matters and reads top to bottom in [`Prepared::give_up_everything`]: terminal, streams, limits, capabilities, Landlock, system
//! call filter last. What must stay true: the command has descriptors 0, 1 and 2 and no other; no capability in any set; no way to gain
//! one; exactly the environment of the specification.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, Scope,
};
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::control_group::{Forked, Joinable, fork};
use crate::mediation::Mediator;
use crate::sandbox::LaunchReport;
use crate::seccomp;
use crate::spec::Spec;
use crate::step::{Named, Step, failed};

/// The newest Landlock rights that are asked for; the kernel enforces those it knows.
const LANDLOCK: ABI = ABI::V6;

/// Private folders that the command may write, besides home and the trees. /dev and /proc have files that are written, such as
/// /dev/null and /proc/self/oom_score_adj; what may not be written there is not by mount and mode.
const WRITABLE: &[&str] = &["/tmp", "/var/tmp", "/dev", "/proc", "/run"];

/// What the command's descriptors 0, 1 and 2 will be, and its controlling terminal.
pub(crate) struct Streams {
    pub(crate) standard: [OwnedFd; 3],
    pub(crate) terminal: Option<OwnedFd>,
}

/// Everything that the command's process needs, made before it exists so that it can fail only in the kernel.
pub(crate) struct Prepared {
    streams: Option<Streams>,
    terminal: Option<OwnedFd>,
    control_group: Option<Joinable>,
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    landlock: Option<RulesetCreated>,
    filter: seccomp::Filter,
    /// Written once to: the command may run.
    word: Option<PipeWriter>,
    failure: Option<File>,
}

impl Prepared {
    /// Prepares the command of `spec`. The private root must be the root already.
    pub(crate) fn new(
        spec: &Spec,
        mut streams: Streams,
        control_group: Option<Joinable>,
        report: &mut LaunchReport,
    ) -> Step<Prepared> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
        };
        let texts = |items: Vec<String>| {
            items
                .iter()
                .map(|item| text(item))
                .collect::<io::Result<Vec<_>>>()
        };
        let environment = spec
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        seccomp::Filter::can_be_installed().step(|| "install the system call filter")?;
        let landlock = landlock_rules(spec).or_else(|error| match error {
            None => {
                report.warnings.push(
                    "this kernel has no Landlock, the second wall around files; the mounts alone hold".into(),
                );
                Ok(None)
            }
            Some(error) => failed("prepare the Landlock rules", error),
        })?;
        Ok(Prepared {
            terminal: streams.terminal.take(),
            streams: Some(streams),
            control_group,
            candidates: texts(candidates(spec)).step(|| "prepare the command")?,
            arguments: texts(spec.command.clone()).step(|| "prepare the arguments")?,
            environment: texts(environment).step(|| "prepare the environment")?,
            landlock,
            filter: seccomp::Filter::compile(),
            word: None,
            failure: None,
        })
    }

    /// The controlling terminal's slave side.
    pub(crate) fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// Forks the command's process, which does nothing but join the control group until [`Prepared::start`].
    pub(crate) fn stand_by(&mut self, spec: &Spec, mediator: Option<&Mediator>) -> Step<Pid> {
        let (failure, tell) = io::pipe().step(|| "make a pipe")?;
        let (heard, word) = io::pipe().step(|| "make a pipe")?;
        let forked = match &self.control_group {
            // The kernel refuses where it may not or cannot; then the process joins by itself.
            Some(group) => group.fork_into().or_else(|_| fork().map(Forked::outside)),
            None => fork().map(Forked::outside),
        };
        match forked.step(|| "start the command")? {
            Forked::Child { is_inside } => {
                drop(failure);
                drop(word);
                let joined = match &self.control_group {
                    Some(group) if !is_inside => group.join(),
                    _ => Ok(()),
                };
                if !matches!((&heard).read(&mut [0]), Ok(1)) {
                    // Process 1 has ended, and this process ends with it.
                    // SAFETY: _exit(2) ends this process and touches no memory.
                    unsafe { libc::_exit(125) }
                }
                let ready = joined
                    .map_err(|error| ("join the control group", error))
                    .and_then(|()| self.give_up_everything(spec, mediator));
                let (tried, error) = match ready {
                    Ok(()) => (None, self.execute()),
                    Err((step, error)) => (Some(step), error),
                };
                let program = spec.command.first().map_or("", String::as_str);
                let errno = error.raw_os_error().unwrap_or(0);
                let told = tried.unwrap_or(program).as_bytes();
                let _ = (&tell).write_all(&[&errno.to_ne_bytes(), told].concat());
                let status = match tried {
                    // The command never had its turn, so the status is none that it could have had.
                    Some(_) => 125,
                    None if errno == libc::ENOENT => 127,
                    None => 126,
                };
                // SAFETY: _exit(2) ends this process and touches no memory.
                unsafe { libc::_exit(status) }
            }
            Forked::Parent(child) => {
                // The command's ends are the command's alone, else nobody would ever read end-of-file.
                self.streams = None;
                self.control_group = None;
                self.failure = Some(File::from(OwnedFd::from(failure)));
                self.word = Some(word);
                match Pid::from_raw(child) {
                    Some(child) => Ok(child),
                    None => failed("start the command", "the kernel gave no process id"),
                }
            }
        }
    }

    /// Lets the command run.
    pub(crate) fn start(&mut self) {
        if let Some(mut word) = self.word.take() {
            // A process that was killed meanwhile hears nothing; that it ended is reported as any end is.
            let _ = word.write_all(&[1]);
        }
    }

    /// Why the command was never executed: what was tried (a step, or the program), and the error number. Asked once it ended.
    pub(crate) fn failure(&mut self) -> Option<(String, i32)> {
        let mut told = Vec::new();
        self.failure
            .take()?
            .take(4096)
            .read_to_end(&mut told)
            .ok()?;
        let (errno, program) = told.split_first_chunk()?;
        Some((
            String::from_utf8_lossy(program).into_owned(),
            i32::from_ne_bytes(*errno),
        ))
    }

    /// Gives up everything, or says at which step it could not.
    fn give_up_everything(
        &mut self,
        spec: &Spec,
        mediator: Option<&Mediator>,
    ) -> Result<(), (&'static str, io::Error)> {
        fn at(what: &'static str) -> impl Fn(io::Error) -> (&'static str, io::Error) {
            move |error| (what, error)
        }
        // A group of its own in the session of process 1: it can be stopped from the keyboard, since it is not orphaned.
        rustix::process::setpgid(None, None).map_err(|e| at("make a process group")(e.into()))?;
        if let Some(terminal) = &self.terminal {
            rustix::termios::tcsetpgrp(terminal, rustix::process::getpid())
                .map_err(|e| at("take the terminal's foreground")(e.into()))?;
        }
        if let Some(streams) = &self.streams {
            for (number, stream) in streams.standard.iter().enumerate() {
                // SAFETY: dup2 onto 0, 1 and 2, which no Rust object of this process owns.
                if unsafe { libc::dup2(stream.as_raw_fd(), number as i32) } < 0 {
                    return Err(at("set the standard streams")(io::Error::last_os_error()));
                }
            }
        }
        // SAFETY: marks descriptors for closing at execve; takes numbers only.
        if unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3u32,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        } != 0
        {
            return Err(at("close descriptors")(io::Error::last_os_error()));
        }
        rustix::process::chdir(&spec.working_directory)
            .map_err(|e| at("enter the working directory")(e.into()))?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(spec.umask & 0o777));
        // Smaller than any core file; and 1, not 0, is what the kernel honours where core_pattern pipes into a program of the host.
        let none = Rlimit {
            current: Some(1),
            maximum: Some(1),
        };
        rustix::process::setrlimit(Resource::Core, none)
            .map_err(|e| at("forbid core dumps")(e.into()))?;
        drop_capabilities().map_err(at("drop capabilities"))?;
        rustix::thread::set_no_new_privs(true)
            .map_err(|e| at("forbid new privileges")(e.into()))?;
        if let Some(rules) = self.landlock.take() {
            rules
                .restrict_self()
                .map_err(|e| at("apply the Landlock rules")(io::Error::other(e)))?;
        }
        default_signals().map_err(at("reset signals"))?;
        if let Some(mediator) = mediator {
            mediator
                .listen_to_me()
                .map_err(at("have changes of the workspace mediated"))?;
        }
        self.filter
            .install()
            .map_err(at("install the system call filter"))
    }

    /// Tries each candidate as execvp(3) does, and gives the error that says most.
    fn execute(&self) -> io::Error {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut result = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that live in `self`.
            unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::ENOEXEC) => {
                    // A script without a first line that names its interpreter is the shell's.
                    let mut script = vec![c"sh".as_ptr(), candidate.as_ptr()];
                    script.extend(arguments.iter().skip(1));
                    // SAFETY: as above; `arguments` brings the terminating null pointer along.
                    unsafe {
                        libc::execve(c"/bin/sh".as_ptr(), script.as_ptr(), environment.as_ptr())
                    };
                    return io::Error::last_os_error();
                }
                _ => result = error,
            }
        }
        result
    }
}

/// The paths at which the command's program may be.
fn candidates(spec: &Spec) -> Vec<String> {
    let Some(program) = spec.command.first() else {
        return Vec::new();
    };
    if program.contains('/') {
        return vec![program.clone()];
    }
    spec.search_path
        .split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| format!("{}/{program}", folder.trim_end_matches('/')))
        .collect()
}

/// The second wall: a rule on the private root opens what is mounted there and nothing else, should a way out of the mounts exist.
/// `Err(None)`: the kernel has no Landlock.
fn landlock_rules(spec: &Spec) -> Result<Option<RulesetCreated>, Option<String>> {
    // SAFETY: with a null attribute and this flag the call only reports a version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1u32) };
    if version <= 0 {
        return Err(None);
    }
    let build = || -> Result<RulesetCreated, Box<dyn std::error::Error>> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .scope(Scope::AbstractUnixSocket)?
            .create()?
            .add_rule(PathBeneath::new(
                PathFd::new("/")?,
                AccessFs::from_read(LANDLOCK),
            ))?;
        let trees = std::iter::once(&spec.workspace)
            .chain(&spec.extra_trees)
            .map(|tree| tree.path.clone())
            .chain(
                spec.private_folders
                    .iter()
                    .map(|folder| folder.inside.clone()),
            );
        for path in WRITABLE
            .iter()
            .map(PathBuf::from)
            .chain([spec.home.clone()])
            .chain(trees)
        {
            rules = rules.add_rule(PathBeneath::new(
                PathFd::new(&path)?,
                AccessFs::from_all(LANDLOCK),
            ))?;
        }
        Ok(rules)
    };
    build().map(Some).map_err(|error| Some(error.to_string()))
}

fn drop_capabilities() -> io::Result<()> {
    for capability in 0.. {
        // SAFETY: PR_CAPBSET_DROP takes a number only; it fails with EINVAL past the last capability that the kernel knows.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINVAL) => break,
                error => return Err(error),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Every signal has its default effect and none is blocked.
fn default_signals() -> io::Result<()> {
    // SAFETY: the action is all zeroes, which is SIG_DFL without flags, and lives through the calls; the set is initialised before use.
    // No handler of this process exists that could run meanwhile.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            // SIGKILL, SIGSTOP and the two that the C library keeps refuse; they are as they should be.
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
