//! Process 1 inside: builds the view, runs the command, reaps, obeys the supervisor, and ends when the supervisor does.
//!
//! It is privileged within the sandbox's own user namespace only, cannot be traced or read by what it runs, and parses nothing that comes
//! from there. When it ends, for whatever reason, the kernel ends everything else inside.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::AddressFamily;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::pty::OpenptFlags;

use crate::command::{self, Prepared};
use crate::control_group::Joinable;
use crate::mediation::Mediator;
use crate::network;
use crate::readers;
use crate::sandbox::{Exit, LaunchReport};
use crate::spec::{Spec, Stream};
use crate::stage::die_with_parent;
use crate::step::{Named, Step};
use crate::view::{self, Gathered, View};
use crate::wire::{self, Event, Order};

/// Runs process 1. Never returns.
pub(crate) fn run(channel: &UnixStream, spec: &Spec, given: Given) -> ! {
    // Until a failure is told: the mediator ends when nobody can speak to it any more, and everything with it.
    let _mediator = given.mediator.as_ref().map(Mediator::hold);
    match Init::build(channel, spec, given) {
        Ok(mut init) => {
            let _ = init.obey();
        }
        Err(failure) => {
            let _ = wire::send(channel, &Event::Failed(failure), &[]);
        }
    }
    // Without destructors or exit handlers: nothing here is worth more than ending at once.
    // SAFETY: _exit(2) ends this process and touches no memory.
    unsafe { libc::_exit(0) }
}

/// What the stage hands on to process 1.
pub(crate) struct Given {
    pub(crate) gathered: Gathered,
    /// The command's ends of the pipes, then folder and `cgroup.procs` of the control group if there is one.
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) control_group: bool,
    pub(crate) mediator: Option<Mediator>,
}

struct Init<'a> {
    channel: &'a UnixStream,
    view: View,
    prepared: Prepared,
    children: OwnedFd,
    /// Waits for its start, or runs.
    command: Pid,
    has_started: bool,
    /// While frozen: the processes that stood still before.
    frozen: Option<HashSet<i32>>,
}

impl<'a> Init<'a> {
    fn build(channel: &'a UnixStream, spec: &Spec, given: Given) -> Step<Init<'a>> {
        let Given {
            gathered,
            mut descriptors,
            control_group,
            mediator,
        } = given;
        die_with_parent().step(|| "tie process 1 to the stage")?;
        rustix::process::setsid().step(|| "make a session")?;
        let children = block_signals().step(|| "listen for ending children")?;
        let mut report = LaunchReport::default();
        if let Err(error) = forbid_user_namespaces() {
            report.warnings.push(format!(
                "user namespaces are forbidden inside by the system call table alone: {error}"
            ));
        }
        let mut view = view::build(spec, gathered, &mut report)?;
        if let Some(mediator) = mediator {
            view.seal(mediator)
                .step(|| "make the workspace read-only but for the mediator")?;
        }

        let control_group = if control_group {
            let processes = descriptors.pop();
            let group = descriptors.pop().zip(processes);
            group.map(|(folder, processes)| Joinable::new(folder, processes))
        } else {
            None
        };
        let (master, streams) =
            open_streams(spec, descriptors).step(|| "open the command's streams")?;
        let mut prepared = Prepared::new(spec, streams, control_group, &mut report)?;
        let command = prepared.stand_by(spec, view.mediator())?;
        let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .step(|| "open a pidfd")?;
        let handed: Vec<_> = std::iter::once(&own)
            .chain(&master)
            .map(AsFd::as_fd)
            .collect();
        wire::send(channel, &Event::Ready(report), &handed)
            .step(|| "report that the sandbox stands")?;
        Ok(Init {
            channel,
            view,
            prepared,
            children,
            command,
            has_started: false,
            frozen: None,
        })
    }

    /// Obeys until the command has ended or the supervisor is gone.
    fn obey(&mut self) -> io::Result<()> {
        loop {
            let mut polled = [
                PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let (spoken, ended) = (
                !polled[0].revents().is_empty(),
                !polled[1].revents().is_empty(),
            );
            if ended && self.reap()? {
                return Ok(());
            }
            if spoken {
                match wire::receive::<Order>(self.channel)? {
                    Some((order, _)) => self.obey_one(order)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn obey_one(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Start if !self.has_started => {
                self.has_started = true;
                self.prepared.start();
            }
            Order::Signal(signal) => {
                if let (Some(group), Some(signal)) =
                    (self.foreground(), Signal::from_named_raw(signal))
                {
                    let _ = rustix::process::kill_process_group(group, signal);
                }
            }
            Order::SignalAll(signal) => signal_all(signal),
            Order::Freeze => {
                let done = self.freeze().map_err(|error| error.to_string());
                wire::send(self.channel, &Event::Done(done), &[])?;
            }
            Order::Thaw => {
                self.thaw();
                wire::send(self.channel, &Event::Done(Ok(())), &[])?;
            }
            Order::Pause | Order::Resume | Order::Origin { .. } => {
                let done = match (self.view.mediator(), order) {
                    (None, Order::Origin { .. }) => Err(io::ErrorKind::NotFound.into()),
                    (None, _) => Ok(()),
                    (Some(mediator), Order::Pause) => mediator.pause(),
                    (Some(mediator), Order::Origin { tree, path, asked }) => {
                        mediator.origin(tree, &path, asked)
                    }
                    (Some(mediator), _) => mediator.resume(),
                };
                let done = done.map_err(|error: io::Error| error.to_string());
                wire::send(self.channel, &Event::Done(done), &[])?;
            }
            Order::Socket { ipv6 } => {
                let family = if ipv6 {
                    AddressFamily::INET6
                } else {
                    AddressFamily::INET
                };
                let made = network::unconnected(family);
                let handed: Vec<_> = made.iter().map(AsFd::as_fd).collect();
                let done = match &made {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
                wire::send(self.channel, &Event::Done(done), &handed)?;
            }
            Order::MountOver { tree, path, cover } => {
                let done = self
                    .view
                    .mount_over(tree, &path, &cover)
                    .map(drop)
                    .map_err(|error| error.to_string());
                wire::send(self.channel, &Event::Done(done), &[])?;
            }
            Order::EndReaders { tree, path } => {
                let done = self.view.identify(tree, &path).and_then(readers::end);
                let done = done.map_err(|error| error.to_string());
                wire::send(self.channel, &Event::Done(done), &[])?;
            }
            Order::OpenTwin { tree, path } => {
                let opened = self.view.open_twin(tree, &path);
                let handed: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
                let done = match &opened {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
                wire::send(self.channel, &Event::Done(done), &handed)?;
            }
            Order::Start | Order::Build { .. } | Order::Probe => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// Waits for every child that ended; whether the command is among them. Its end is reported.
    fn reap(&mut self) -> io::Result<bool> {
        let mut discarded = [0; 4096];
        let _ = rustix::io::read(&self.children, &mut discarded);
        loop {
            let (child, status) =
                match rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                    Ok(Some(found)) => found,
                    Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(false),
                    Err(error) => return Err(error.into()),
                };
            if child != self.command {
                continue;
            }
            if let Some(signal) = status.stopping_signal() {
                if self.frozen.is_none() {
                    wire::send(self.channel, &Event::Stopped(signal), &[])?;
                }
                continue;
            }
            if let Some((program, errno)) = self.prepared.failure() {
                wire::send(self.channel, &Event::NotExecuted { program, errno }, &[])?;
            }
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code as u8),
                (None, signal) => Exit::Signal(signal.unwrap_or(0) as u8),
            };
            wire::send(self.channel, &Event::Exited(exit), &[])?;
            return Ok(true);
        }
    }

    /// The process group that a signal of the supervisor is for.
    fn foreground(&self) -> Option<Pid> {
        match self.prepared.terminal() {
            Some(terminal) => rustix::termios::tcgetpgrp(terminal).ok(),
            None => Some(self.command),
        }
    }

    /// Stops everything and waits until it stands still.
    fn freeze(&mut self) -> io::Result<()> {
        if self.frozen.is_some() {
            return Ok(());
        }
        let stopped = |state: u8| matches!(state, b'T' | b't' | b'Z' | b'X');
        self.frozen = Some(
            processes()?
                .into_iter()
                .filter(|(_, state)| stopped(*state))
                .map(|(id, _)| id)
                .collect(),
        );
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        loop {
            signal_all(libc::SIGSTOP);
            if processes()?.into_iter().all(|(_, state)| stopped(state)) {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
    }

    fn thaw(&mut self) {
        let Some(before) = self.frozen.take() else {
            return;
        };
        for (id, _) in processes().unwrap_or_default() {
            if let (false, Some(process)) = (before.contains(&id), Pid::from_raw(id)) {
                let _ = rustix::process::kill_process(process, Signal::CONT);
            }
        }
    }
}

/// Signals every process inside but this one, at one instant.
fn signal_all(signal: i32) {
    // SAFETY: kill(2) takes numbers only; -1 means every process of this pid namespace but process 1.
    unsafe { libc::kill(-1, signal) };
}

/// Every process inside but this one, with its state as /proc/PID/stat gives it.
pub(crate) fn processes() -> io::Result<Vec<(i32, u8)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The state comes after the name, which is in parentheses and can contain anything.
        let state = fs::read(format!("/proc/{id}/stat")).ok().and_then(|stat| {
            let end = stat.iter().rposition(|&byte| byte == b')')?;
            stat.get(end + 2).copied()
        });
        if let (true, Some(state)) = (id != 1, state) {
            found.push((id, state));
        }
    }
    Ok(found)
}

/// Blocks every signal of this process and gives a descriptor on which ending children show.
fn block_signals() -> io::Result<OwnedFd> {
    // SAFETY: both sets are initialised by sigfillset and sigemptyset before use and live through the calls; the descriptor that
    // signalfd returns is new and owned by nobody else.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        if libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut child = std::mem::zeroed();
        libc::sigemptyset(&mut child);
        libc::sigaddset(&mut child, libc::SIGCHLD);
        let descriptor = libc::signalfd(-1, &child, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(descriptor))
        }
    }
}

/// A second wall behind the system call table: no user namespace can be made below this one.
fn forbid_user_namespaces() -> io::Result<()> {
    fs::write("/proc/sys/user/max_user_namespaces", "0")
}

/// The terminal's master side, if any stream is a terminal, and the command's three streams.
fn open_streams(
    spec: &Spec,
    pipes: Vec<OwnedFd>,
) -> io::Result<(Option<OwnedFd>, command::Streams)> {
    let mut terminal = None;
    let mut master = None;
    if spec.streams.any_terminal() {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
        rustix::pty::unlockpt(&opened)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(
            &opened,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        rustix::process::ioctl_tiocsctty(&slave)?;
        terminal = Some(slave);
        master = Some(opened);
    }
    let mut pipes = pipes.into_iter();
    let mut stream = |kind: Stream| match (kind, &terminal) {
        (Stream::Terminal, Some(terminal)) => terminal.try_clone(),
        _ => pipes.next().ok_or(io::ErrorKind::InvalidData.into()),
    };
    let standard = [
        stream(spec.streams.input)?,
        stream(spec.streams.output)?,
        stream(spec.streams.error)?,
    ];
    Ok((master, command::Streams { standard, terminal }))
}
