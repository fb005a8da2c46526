//! Joins the command to this process's own standard streams, so that it feels as if it had been started directly.
//!
//! The host's terminal goes raw and everything typed travels to the sandbox's own terminal, whose line discipline makes the signals; so
//! Ctrl-C, Ctrl-Z, job control and window sizes work as they do outside. What the command writes reaches the host's terminal through
//! [`crate::escape`].
//! What must stay true: however this ends, the host's terminal is as it was before.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::error::LaunchError;
use crate::escape::EscapeFilter;
use crate::sandbox::{Control, Ended, Ends, Exit, Occurrence, Sandbox};

/// How long a command has to end after SIGHUP or SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Signals of this process that mean something for the command.
const RELAYED: &[i32] = &[
    libc::SIGWINCH,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGTSTP,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

impl Sandbox {
    /// Runs the command on this process's standard streams until it ends, then leaves nothing behind, as [`Sandbox::wait`].
    ///
    /// While it runs, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH, SIGUSR1 and SIGUSR2 of this process are the command's. SIGTERM
    /// and SIGHUP become SIGKILL after five seconds. Nothing else may read standard input meanwhile.
    pub fn attach(mut self) -> Result<Ended, LaunchError> {
        let failed = LaunchError::system("relaying the terminal");
        let signals = Signals::catch().map_err(&failed)?;
        let host = HostTerminal::find(self.ends.as_ref());
        if let (Some(host), Some(terminal)) = (
            &host,
            self.ends.as_ref().and_then(|ends| ends.terminal.as_ref()),
        ) {
            host.give_settings_to(terminal).map_err(&failed)?;
        }
        let _raw = host
            .as_ref()
            .map(HostTerminal::make_raw)
            .transpose()
            .map_err(&failed)?;
        let ends = self.start()?;
        let mut relay = Relay {
            control: self.control(),
            flows: Flow::all(ends).map_err(&failed)?,
            host: host.as_ref(),
            exit: None,
            not_executed: None,
            kill_at: None,
        };
        relay.run(&signals).map_err(&failed)?;
        let (exit, not_executed) = (relay.exit, relay.not_executed.take());
        drop(relay);
        let not_executed =
            not_executed.map(|(program, errno)| self.explain_not_executed(&program, errno));
        self.finish()?;
        Ok(Ended {
            exit: exit.unwrap_or(Exit::Signal(libc::SIGKILL as u8)),
            not_executed,
        })
    }
}

/// The loop and what it knows.
struct Relay<'a> {
    control: Control,
    flows: Vec<Flow>,
    host: Option<&'a HostTerminal>,
    exit: Option<Exit>,
    not_executed: Option<(String, i32)>,
    kill_at: Option<Instant>,
}

impl Relay<'_> {
    /// Relays until the inside is gone and all that it wrote is written.
    fn run(&mut self, signals: &Signals) -> io::Result<()> {
        let mut gone = false;
        loop {
            if gone {
                // Nobody is left to read, and what nobody can write to any more ends by itself.
                self.flows.retain(|flow| flow.direction == Direction::Out);
                if self.flows.is_empty() {
                    return Ok(());
                }
            }
            let ready = {
                let mut polled = vec![
                    PollFd::from_borrowed_fd(signals.pipe.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(self.control.wake(), PollFlags::IN),
                ];
                polled.extend(self.flows.iter().map(Flow::poll));
                let timeout = self.kill_at.map(|at| {
                    let left = at.saturating_duration_since(Instant::now());
                    Timespec {
                        tv_sec: left.as_secs() as i64,
                        tv_nsec: i64::from(left.subsec_nanos()),
                    }
                });
                match poll(&mut polled, timeout.as_ref()) {
                    Err(Errno::INTR) => continue,
                    other => other?,
                };
                polled
                    .iter()
                    .map(|one| !one.revents().is_empty())
                    .collect::<Vec<_>>()
            };
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_at = None;
                self.control.kill();
            }
            if ready[0] {
                self.take_signals(signals);
            }
            if ready[1] {
                gone |= self.take_occurrences(signals)?;
            }
            let mut number = 1;
            self.flows.retain_mut(|flow| {
                number += 1;
                !ready.get(number).copied().unwrap_or(false) || flow.go_on()
            });
        }
    }

    fn take_signals(&mut self, signals: &Signals) {
        for signal in signals.take() {
            match signal {
                libc::SIGWINCH => self.copy_size(),
                libc::SIGHUP => {
                    let _ = self.control.signal_all(libc::SIGHUP);
                    let _ = self.control.signal_all(libc::SIGCONT);
                    self.kill_at.get_or_insert_with(|| Instant::now() + GRACE);
                }
                libc::SIGTERM => {
                    let _ = self.control.signal(libc::SIGTERM);
                    let _ = self.control.signal(libc::SIGCONT);
                    self.kill_at.get_or_insert_with(|| Instant::now() + GRACE);
                }
                signal => {
                    let _ = self.control.signal(signal);
                }
            }
        }
    }

    /// Whether the inside is gone.
    fn take_occurrences(&mut self, signals: &Signals) -> io::Result<bool> {
        while let Some(occurrence) = self.control.try_next_occurrence() {
            match occurrence {
                Some(Occurrence::Stopped) => self.stop_and_continue(signals)?,
                Some(Occurrence::NotExecuted { program, errno }) => {
                    self.not_executed = Some((program, errno))
                }
                Some(Occurrence::Exited(exit)) => self.exit = Some(exit),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The command was stopped: this process's own job stops too, with the terminal as its shell left it, until the shell continues it.
    /// Where no shell could (an orphaned group), the kernel does not stop it and the command goes on at once.
    fn stop_and_continue(&mut self, signals: &Signals) -> io::Result<()> {
        if let Some(host) = self.host {
            host.restore();
        }
        signals.stop_this_job()?;
        if let Some(host) = self.host {
            host.set_raw()?;
        }
        self.copy_size();
        let _ = self.control.signal(libc::SIGCONT);
        Ok(())
    }

    fn copy_size(&self) {
        let terminal = self.flows.iter().find_map(|flow| flow.terminal.as_ref());
        if let (Some(host), Some(terminal)) = (self.host, terminal) {
            let _ = host.give_size_to(terminal);
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// Bytes on their way from one descriptor to another. It reads only when everything read before is written, and does only what poll
/// found ready, so that no side can block the others.
struct Flow {
    from: OwnedFd,
    to: OwnedFd,
    direction: Direction,
    pending: Vec<u8>,
    /// The sandbox's terminal, where this flow is its output.
    terminal: Option<OwnedFd>,
    /// What of its bytes may pass, where this flow ends on the host's terminal.
    filter: Option<EscapeFilter>,
}

impl Flow {
    /// The flows between this process's standard streams and the command's.
    fn all(ends: Ends) -> io::Result<Vec<Flow>> {
        let host = |number: i32| -> io::Result<OwnedFd> {
            // SAFETY: 0, 1 and 2 are open for as long as the process lives (the Rust runtime sees to it); the borrow ends with this call.
            unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
        };
        let mut flows = Vec::new();
        let mut add = |from: OwnedFd, to: OwnedFd, direction| {
            flows.push(Flow {
                from,
                to,
                direction,
                pending: Vec::new(),
                terminal: None,
                filter: None,
            });
        };
        let pipes = [ends.output.is_some(), ends.error.is_some()];
        match (ends.input, &ends.terminal) {
            (Some(input), _) => {
                not_blocking(&input)?;
                add(host(0)?, input.into(), Direction::In);
            }
            (None, Some(terminal)) => {
                not_blocking(terminal)?;
                add(host(0)?, terminal.try_clone()?, Direction::In);
            }
            (None, None) => {}
        }
        if let Some(output) = ends.output {
            add(output.into(), host(1)?, Direction::Out);
        }
        if let Some(error) = ends.error {
            add(error.into(), host(2)?, Direction::Out);
        }
        if let Some(terminal) = ends.terminal {
            not_blocking(&terminal)?;
            let screen = if !pipes[0] {
                1
            } else if !pipes[1] {
                2
            } else {
                0
            };
            add(terminal.try_clone()?, host(screen)?, Direction::Out);
            if let Some(last) = flows.last_mut() {
                last.terminal = Some(terminal);
                last.filter = Some(EscapeFilter::of_this_process());
            }
        }
        Ok(flows)
    }

    fn poll(&self) -> PollFd<'_> {
        if self.pending.is_empty() {
            PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)
        } else {
            PollFd::from_borrowed_fd(self.to.as_fd(), PollFlags::OUT)
        }
    }

    /// Reads or writes once; false when the flow is over, so that dropping it passes the end on.
    fn go_on(&mut self) -> bool {
        if self.pending.is_empty() {
            // Not more than a pipe takes at once when poll calls it writable (PIPE_BUF).
            let mut buffer = [0; 4096];
            match rustix::io::read(&self.from, &mut buffer) {
                // A terminal's master side says EIO where others say end-of-file.
                Ok(0) | Err(Errno::IO) => {
                    if let Some(filter) = &mut self.filter {
                        filter.end(&mut self.pending);
                        // Few bytes, and nobody else writes to this terminal now.
                        let _ = rustix::io::write(&self.to, &self.pending);
                    }
                    return false;
                }
                Ok(length) => match &mut self.filter {
                    Some(filter) => filter.pass(&buffer[..length], &mut self.pending),
                    None => self.pending.extend(&buffer[..length]),
                },
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        } else {
            match rustix::io::write(&self.to, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Only for open files of our own making: the flag is shared by everybody who has the same open file.
fn not_blocking(file: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    Ok(rustix::fs::fcntl_setfl(
        &file,
        flags | rustix::fs::OFlags::NONBLOCK,
    )?)
}

/// The terminal that this process was started on.
struct HostTerminal {
    descriptor: OwnedFd,
    before: Termios,
}

impl HostTerminal {
    /// The first standard stream that is one, if the sandbox has a terminal to join it to.
    fn find(ends: Option<&Ends>) -> Option<HostTerminal> {
        ends?.terminal.as_ref()?;
        (0..3).find_map(|number| {
            // SAFETY: as in `Flow::all`.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let before = rustix::termios::tcgetattr(descriptor).ok()?;
            Some(HostTerminal {
                descriptor: descriptor.try_clone_to_owned().ok()?,
                before,
            })
        })
    }

    fn give_settings_to(&self, terminal: &OwnedFd) -> io::Result<()> {
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &self.before)?;
        self.give_size_to(terminal)
    }

    fn give_size_to(&self, terminal: &OwnedFd) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(&self.descriptor)?;
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }

    /// Raw until what is returned is dropped.
    fn make_raw(&self) -> io::Result<RestoreOnDrop<'_>> {
        self.set_raw()?;
        Ok(RestoreOnDrop(self))
    }

    fn set_raw(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(rustix::termios::tcsetattr(
            &self.descriptor,
            OptionalActions::Drain,
            &raw,
        )?)
    }

    fn restore(&self) {
        let _ = rustix::termios::tcsetattr(&self.descriptor, OptionalActions::Drain, &self.before);
    }
}

struct RestoreOnDrop<'a>(&'a HostTerminal);

impl Drop for RestoreOnDrop<'_> {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Where the signal handler writes; -1 while nothing is caught.
static CAUGHT: AtomicI32 = AtomicI32::new(-1);

/// Catches this process's signals and gives them one after the other. The former dispositions come back on drop.
struct Signals {
    pipe: OwnedFd,
    tell: OwnedFd,
    before: Vec<(i32, libc::sigaction)>,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (pipe, tell) = rustix::pipe::pipe_with(flags)?;
        if CAUGHT
            .compare_exchange(-1, tell.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            return Err(io::Error::other(
                "another sandbox has this process's streams",
            ));
        }
        let mut signals = Signals {
            pipe,
            tell,
            before: Vec::new(),
        };
        for &signal in RELAYED {
            let before = set_handler(signal, handler as *const () as usize)?;
            signals.before.push((signal, before));
            if before.sa_sigaction == libc::SIG_IGN && signal != libc::SIGWINCH {
                // Who started us with it ignored (nohup, a background job of a simple shell) meant all of us.
                put_back(signal, &before);
            }
        }
        Ok(signals)
    }

    /// Those that arrived.
    fn take(&self) -> Vec<i32> {
        let mut buffer = [0; 64];
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(length) => buffer[..length]
                .iter()
                .map(|&signal| i32::from(signal))
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Stops this process's group as its own Ctrl-Z would have; returns when it is continued.
    fn stop_this_job(&self) -> io::Result<()> {
        // The others first, while this process ignores it. Then this one, by a signal to this very thread, since only that is certain to
        // have its effect before the call returns and the handler is put back.
        let ours = set_handler(libc::SIGTSTP, libc::SIG_IGN)?;
        // SAFETY: kill(2) and raise(3) take numbers only.
        unsafe { libc::kill(0, libc::SIGTSTP) };
        set_handler(libc::SIGTSTP, libc::SIG_DFL)?;
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGTSTP) };
        put_back(libc::SIGTSTP, &ours);
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            put_back(*signal, before);
        }
        CAUGHT.store(-1, Ordering::SeqCst);
        let _ = &self.tell;
    }
}

/// Runs in whatever thread the kernel chose, between any two instructions: only async-signal-safe calls, `errno` kept.
extern "C" fn handler(signal: i32) {
    let byte = signal as u8;
    // SAFETY: the errno location is this thread's own; write(2) reads one byte that lives on this stack. A descriptor that was closed
    // meanwhile fails with EBADF; `Signals::drop` puts the former dispositions back before it closes.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(CAUGHT.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Sets a disposition and gives the one before.
fn set_handler(signal: i32, to: usize) -> io::Result<libc::sigaction> {
    // SAFETY: both actions live through the call; `to` is SIG_DFL or a handler that does only what a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = to;
        let mut before = std::mem::zeroed();
        if libc::sigaction(signal, &action, &mut before) == 0 {
            Ok(before)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

fn put_back(signal: i32, before: &libc::sigaction) {
    // SAFETY: `before` came from the kernel and lives through the call.
    unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
}
