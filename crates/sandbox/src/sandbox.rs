//! The supervisor's handle on one sandbox.
//!
//! A [`Sandbox`] owns everything inside: when it is dropped, killed or its process dies, nothing of it runs on. [`Control`] is the part
//! that other threads may hold.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::control_group::ControlGroup;
use crate::error::LaunchError;
use crate::placeholder::Placeholders;
use crate::spec::Tree;
use crate::stage::StageProcess;
use crate::watch::Watch;
use crate::wire::{self, Asked, Cover, Event, Order};

/// A built sandbox. The command runs from [`Sandbox::start`] or [`Sandbox::attach`] on.
pub struct Sandbox {
    /// Sockets in the gates' network namespace; `None` once taken.
    pub listeners: Option<Listeners>,
    /// What the keeper of mediated trees asks, and [`crate::Keeper::answered`] is told: lines of its own form. `None` without mediation,
    /// and once taken.
    pub questions: Option<std::os::unix::net::UnixStream>,
    pub(crate) ends: Option<Ends>,
    pub(crate) control: Control,
    pub(crate) report: LaunchReport,
    pub(crate) stage: StageProcess,
    pub(crate) placeholders: Placeholders,
    pub(crate) found_outside: Option<PathBuf>,
    pub(crate) reader: Option<std::thread::JoinHandle<()>>,
}

/// The sockets through which everything leaves the sandbox, non-blocking. They live in a network namespace that has no other way in or out.
pub struct Listeners {
    /// Name server, `198.18.0.1:53`.
    pub name_server_udp: UdpSocket,
    /// Name server, `198.18.0.1:53`.
    pub name_server_tcp: TcpListener,
    /// One listener for each port of the specification, in its order. The local address of an accepted connection is the synthetic
    /// destination that the command meant.
    pub gates: Vec<(u16, TcpListener)>,
    /// One listener for each port of the command's own loopback that the specification names, in its order.
    pub loopback: Vec<(u16, TcpListener)>,
}

/// The supervisor's ends of the command's streams. A stream that is a terminal has none of its own: all of them are `terminal`.
#[derive(Default)]
pub struct Ends {
    /// Write here what the command reads; drop it for end-of-file.
    pub input: Option<File>,
    /// What the command writes.
    pub output: Option<File>,
    /// What the command writes to its standard error.
    pub error: Option<File>,
    /// Master side of the sandbox's terminal.
    pub terminal: Option<OwnedFd>,
}

/// What the sandbox is like, as far as it may vary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchReport {
    /// Second walls that are missing, in a sentence each.
    pub warnings: Vec<String>,
    /// Twins and guarded files that have further hard links, under which the real contents may still be read or written. Absolute.
    #[serde(with = "crate::path_octets::list")]
    pub multiply_linked: Vec<PathBuf>,
    /// Read-only paths and overlays that have no place inside and were left out. Absolute.
    #[serde(with = "crate::path_octets::list")]
    pub left_out: Vec<PathBuf>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl Exit {
    /// The exit status as a shell gives it: 128+n after a signal.
    pub fn status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How the command ended; 126 or 127 if it never ran, 137 if the sandbox was killed.
    pub exit: Exit,
    /// Why the command never ran, where that is so; a sentence for the user.
    pub not_executed: Option<String>,
}

/// What other threads may do to a sandbox. Clones are the same sandbox; all of them fail once it ended.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) stream: UnixStream,
    /// Process 1 inside.
    pub(crate) init: OwnedFd,
    /// Held from an order to its answer, so that answers meet their orders.
    pub(crate) ordering: Mutex<()>,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// Readable while `State::events` is not empty or the inside is gone, for loops that poll.
    pub(crate) wake: OwnedFd,
    pub(crate) trees: Vec<Tree>,
    pub(crate) control_group: Option<ControlGroup>,
}

#[derive(Default)]
pub(crate) struct State {
    answer: Option<Result<(), String>>,
    /// What an answer brought with it.
    socket: Option<OwnedFd>,
    events: VecDeque<Occurrence>,
    gone: bool,
}

/// What the inside reported about the command.
#[derive(Clone, Debug)]
pub(crate) enum Occurrence {
    Stopped,
    NotExecuted { program: String, errno: i32 },
    Exited(Exit),
}

impl Sandbox {
    /// What the sandbox is like.
    pub fn report(&self) -> &LaunchReport {
        &self.report
    }

    /// A handle for other threads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Placeholders that stand on the host until the end. Absolute paths.
    pub fn placeholders(&self) -> Vec<PathBuf> {
        self.placeholders.paths()
    }

    /// Watches the guarded and twin paths for being replaced by the host. Ends with the sandbox.
    pub fn watch(&self) -> Result<Watch, LaunchError> {
        let failed = LaunchError::system("watching guarded paths");
        let init = self.control.0.init.try_clone().map_err(&failed)?;
        Ok(Watch::new(&self.control.0.trees)
            .map_err(&failed)?
            .until(init))
    }

    /// Runs the command and gives the supervisor's ends of its streams.
    pub fn start(&mut self) -> Result<Ends, LaunchError> {
        self.control.send(&Order::Start)?;
        Ok(self.ends.take().unwrap_or_default())
    }

    /// Waits until the command ended, ends everything else inside, and leaves nothing behind.
    pub fn wait(mut self) -> Result<Ended, LaunchError> {
        let mut not_executed = None;
        let exit = loop {
            match self.control.next_occurrence() {
                Some(Occurrence::Stopped) => {}
                Some(Occurrence::NotExecuted { program, errno }) => {
                    not_executed = Some(self.explain_not_executed(&program, errno));
                }
                Some(Occurrence::Exited(exit)) => break exit,
                None => break Exit::Signal(Signal::KILL.as_raw() as u8),
            }
        };
        self.finish()?;
        Ok(Ended { exit, not_executed })
    }

    /// Why the command could not be run, for the user.
    pub(crate) fn explain_not_executed(&self, program: &str, errno: i32) -> String {
        let cause = io::Error::from_raw_os_error(errno);
        match &self.found_outside {
            Some(outside) if errno == libc::ENOENT => format!(
                "{program} is {} outside, but is not there inside: its folder is in no row of the installation roots \
                 (crates/sandbox/src/roots.rs). Install it under one of them or in a system folder",
                outside.display()
            ),
            _ if errno == libc::ENOENT => format!("{program}: command not found"),
            _ => format!("{program}: {cause}"),
        }
    }

    /// Ends everything inside and removes what stands outside for its sake. Idempotent.
    pub(crate) fn finish(&mut self) -> Result<(), LaunchError> {
        self.control.kill();
        self.stage
            .wait()
            .map_err(LaunchError::system("waiting for the sandbox to end"))?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if let Some(group) = &self.control.0.control_group {
            group.remove();
        }
        self.placeholders.remove();
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

impl Control {
    /// Ends every process inside, at once. Returns before the last of them is gone; [`Sandbox::wait`] returns after.
    pub fn kill(&self) {
        let _ = self.0.stream.shutdown(std::net::Shutdown::Both);
        let _ = rustix::process::pidfd_send_signal(&self.0.init, Signal::KILL);
    }

    /// Stops every process inside until [`Control::thaw`], and every change that is made for one.
    pub fn freeze(&self) -> Result<(), LaunchError> {
        match &self.0.control_group {
            Some(group) => group
                .freeze()
                .map_err(LaunchError::system("freezing the control group")),
            None => self.order("stop its processes", &Order::Freeze),
        }?;
        // After that: a process that waits for a change stands still when it is made.
        self.order("make no change", &Order::Pause)
    }

    /// Whether the file at `path` of the host (absolute, in one of the trees) came into being inside, where the trees are mediated.
    pub fn has_made(&self, path: &Path) -> bool {
        self.origin(path, Asked::Made)
    }

    /// Whether the file at `path` of the host (absolute, in one of the trees) was opened for writing inside, where the trees are mediated,
    /// since [`Control::forget_writing`]. What came into being inside counts as written there.
    pub fn has_written(&self, path: &Path) -> bool {
        self.origin(path, Asked::Written)
    }

    /// Forgets that the file at `path` of the host (absolute, in one of the trees) was opened for writing inside, unless somebody has it
    /// open for writing now. Whatever is written to it from then on, without [`Control::has_written`], was written outside.
    pub fn forget_writing(&self, path: &Path) -> bool {
        self.origin(path, Asked::Forget)
    }

    /// Without an answer it is the host's: then more is hidden than need be.
    fn origin(&self, path: &Path, asked: Asked) -> bool {
        let Ok((tree, path)) = self.place(path) else {
            return false;
        };
        self.order("say what it made", &Order::Origin { tree, path, asked })
            .is_ok()
    }

    /// Ends every process inside that has what is to be seen at `path` of the host (absolute, in one of the trees) open or mapped, and
    /// returns when they are gone. The inside must stand still.
    pub fn end_readers(&self, path: &Path) -> Result<(), LaunchError> {
        let (tree, path) = self.place(path)?;
        let order = Order::EndReaders { tree, path };
        self.order("end who reads a file", &order)
    }

    /// Undoes [`Control::freeze`].
    pub fn thaw(&self) -> Result<(), LaunchError> {
        self.order("make changes again", &Order::Resume)?;
        match &self.0.control_group {
            Some(group) => group
                .thaw()
                .map_err(LaunchError::system("thawing the control group")),
            None => self.order("continue its processes", &Order::Thaw),
        }
    }

    /// Shows `bytes` at `path` of the host (absolute, in one of the trees), read-only, whatever lies there now.
    pub fn mount_bytes_over(&self, path: &Path, bytes: Vec<u8>) -> Result<(), LaunchError> {
        self.mount_over(path, Cover::Bytes(bytes))
    }

    /// Makes `path` of the host (absolute, in one of the trees) read-only, as it is now.
    pub fn guard_again(&self, path: &Path) -> Result<(), LaunchError> {
        self.mount_over(path, Cover::Itself)
    }

    /// Shows nothing at `path` of the host (absolute, in one of the trees): a file that cannot be opened, or an empty folder.
    pub fn hide(&self, path: &Path) -> Result<(), LaunchError> {
        self.mount_over(path, Cover::Nothing)
    }

    /// Shows `bytes` at `path` of the host (absolute, in one of the trees), whatever lies there now. The inside may write over them, which
    /// changes nothing at `path`; [`Control::open_twin`] gives what it wrote.
    pub fn mount_editable_over(&self, path: &Path, bytes: Vec<u8>) -> Result<(), LaunchError> {
        self.mount_over(path, Cover::Editable(bytes))
    }

    /// Opens for reading what the inside sees, and may have written, at `path` of the host: the file of an editable [`crate::Twin`] or of
    /// the last [`Control::mount_editable_over`]. It can be read when the sandbox is gone, too.
    pub fn open_twin(&self, path: &Path) -> Result<std::fs::File, LaunchError> {
        const WHAT: &str = "open a twin";
        let (tree, path) = self.place(path)?;
        let opened = self.order_with_answer(WHAT, &Order::OpenTwin { tree, path })?;
        opened
            .map(std::fs::File::from)
            .ok_or(LaunchError::Lost(WHAT))
    }

    /// The tree that `path` lies in, and where in it.
    fn place(&self, path: &Path) -> Result<(usize, PathBuf), LaunchError> {
        let mut trees = self.0.trees.iter().enumerate();
        let found = trees.find_map(|(tree, candidate)| {
            path.strip_prefix(&candidate.path)
                .ok()
                .map(|relative| (tree, relative.to_path_buf()))
        });
        found.ok_or_else(|| LaunchError::Guard {
            path: path.into(),
            why: "it is in no tree of the sandbox".into(),
        })
    }

    fn mount_over(&self, path: &Path, cover: Cover) -> Result<(), LaunchError> {
        let (tree, relative) = self.place(path)?;
        self.order(
            "mount over a replaced path",
            &Order::MountOver {
                tree,
                path: relative,
                cover,
            },
        )
    }

    /// A TCP socket of the command's own network, not connected yet, non-blocking: what it is connected to is a server inside. There is no
    /// other way from the host to one, and none back.
    pub fn socket_inside(&self, ipv6: bool) -> Result<std::net::TcpStream, LaunchError> {
        const WHAT: &str = "make a socket inside";
        let socket = self.order_with_answer(WHAT, &Order::Socket { ipv6 })?;
        socket
            .map(std::net::TcpStream::from)
            .ok_or(LaunchError::Lost(WHAT))
    }

    /// Sends a signal to the foreground process group inside.
    pub fn signal(&self, signal: i32) -> Result<(), LaunchError> {
        self.send(&Order::Signal(signal))
    }

    /// Sends a signal to every process inside.
    pub(crate) fn signal_all(&self, signal: i32) -> Result<(), LaunchError> {
        self.send(&Order::SignalAll(signal))
    }

    fn send(&self, order: &Order) -> Result<(), LaunchError> {
        let _ordering = self
            .0
            .ordering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        wire::send(&self.0.stream, order, &[])
            .map_err(|_| LaunchError::Lost("being told something"))
    }

    /// Sends an order and waits for its answer.
    fn order(&self, what: &'static str, order: &Order) -> Result<(), LaunchError> {
        self.order_with_answer(what, order).map(drop)
    }

    /// Sends an order and waits for its answer, and the descriptor that came with it.
    fn order_with_answer(
        &self,
        what: &'static str,
        order: &Order,
    ) -> Result<Option<OwnedFd>, LaunchError> {
        let _ordering = self
            .0
            .ordering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.0.lock().answer = None;
        wire::send(&self.0.stream, order, &[]).map_err(|_| LaunchError::Lost(what))?;
        let mut state = self.0.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                let socket = state.socket.take();
                return match answer {
                    Ok(()) => Ok(socket),
                    Err(why) => Err(LaunchError::Refused { what, why }),
                };
            }
            if state.gone {
                return Err(LaunchError::Lost(what));
            }
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next thing that happened to the command; `None` once the inside is gone and nothing is left to say.
    pub(crate) fn next_occurrence(&self) -> Option<Occurrence> {
        let mut state = self.0.lock();
        loop {
            if let Some(occurrence) = state.events.pop_front() {
                return Some(occurrence);
            }
            if state.gone {
                return None;
            }
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Control::next_occurrence`], without waiting: the outer `None` means that nothing happened yet.
    pub(crate) fn try_next_occurrence(&self) -> Option<Option<Occurrence>> {
        let mut state = self.0.lock();
        match state.events.pop_front() {
            Some(occurrence) => Some(Some(occurrence)),
            None if state.gone => Some(None),
            None => {
                let mut count = [0; 8];
                let _ = rustix::io::read(&self.0.wake, &mut count);
                None
            }
        }
    }

    /// Readable when [`Control::try_next_occurrence`] has something to say.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    /// Reads what the inside says until it is gone. Runs on a thread of its own.
    pub(crate) fn read_events(&self) {
        while let Ok(Some((event, descriptors))) = wire::receive::<Event>(&self.0.stream) {
            let mut state = self.0.lock();
            match event {
                Event::Done(answer) => {
                    state.socket = descriptors.into_iter().next();
                    state.answer = Some(answer);
                }
                Event::Stopped(_) => state.events.push_back(Occurrence::Stopped),
                Event::NotExecuted { program, errno } => {
                    state
                        .events
                        .push_back(Occurrence::NotExecuted { program, errno });
                }
                Event::Exited(exit) => state.events.push_back(Occurrence::Exited(exit)),
                // Said only before `Ready`; later they are nonsense, and nonsense ends the session.
                Event::Listening | Event::Ready(_) | Event::Failed(_) | Event::Probed(_) => break,
            }
            drop(state);
            self.notify();
        }
        self.0.lock().gone = true;
        self.notify();
    }

    fn notify(&self) {
        self.0.changed.notify_all();
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }
}

impl Shared {
    /// A descriptor for `wake`.
    pub(crate) fn new_wake() -> io::Result<OwnedFd> {
        Ok(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
