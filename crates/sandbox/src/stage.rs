//! The stage: a process that makes the namespaces from within. It is split off the supervisor before that has read anything, or is the
//! executable started anew, with an empty environment.
//!
//! It reads top to bottom as the launch happens. What must stay true: it starts with nothing of the supervisor but the channel; nothing
//! after the first namespace can fail without the supervisor hearing of it; when it ends, everything inside has ended before.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::identity::{self, Identity};
use crate::init;
use crate::launch::find_program;
use crate::mediation::{KeepNothing, MakeKeeper, Mediator};
use crate::network::{self, AgentNetwork, GatesSockets, Networks};
use crate::probe::attempts;
use crate::spec::Spec;
use crate::step::{Named, Step, failed};
use crate::view::{self, Gathered};
use crate::wire::{self, Event, Order};

/// First argument of the executable when it has to call [`stage_main`] before anything else.
pub const STAGE_ARGUMENT: &str = "__sandbox";

/// A stage that waits to be told what to build. It ends with this handle, unless a sandbox took it over.
pub struct Stage {
    pub(crate) channel: UnixStream,
    pub(crate) process: StageProcess,
}

impl Stage {
    /// Splits a stage off a program that has just begun: what starting it anew costs, reading and relocating the whole executable a
    /// second time, is saved.
    ///
    /// Call it first thing in `main`, before any thread exists and before anything is read: the stage has what this process has in its
    /// memory, and arguments and environment alone are wiped from it.
    pub fn split_off(keeper: MakeKeeper) -> io::Result<Stage> {
        let (channel, theirs) = UnixStream::pair()?;
        // SAFETY: the caller says that there is one thread, so the child starts with consistent memory and may do anything.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(channel);
                match become_stage(theirs) {
                    Ok(()) => serve(keeper, Isolate::Ahead),
                    // SAFETY: _exit(2) ends this process and touches no memory.
                    Err(_) => unsafe { libc::_exit(125) },
                }
            }
            child => Ok(Stage {
                channel,
                process: StageProcess(Pid::from_raw(child)),
            }),
        }
    }

    /// Starts a stage: this executable anew, or another, with no environment and no descriptor but its end of the channel as standard
    /// input.
    pub(crate) fn start(executable: Option<&Path>) -> io::Result<Stage> {
        let (channel, theirs) = UnixStream::pair()?;
        let mut command = Command::new(executable.unwrap_or(Path::new("/proc/self/exe")));
        command
            .arg0("tagout")
            .arg(STAGE_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Nothing runs between fork and exec, so the child borrows this process's memory (vfork) instead of copying its page tables. What
        // descriptors this process inherited without close-on-exec, the stage closes before anything else.
        let started = command.spawn()?;
        Ok(Stage {
            channel,
            process: StageProcess(Pid::from_raw(started.id() as i32)),
        })
    }
}

/// The process of a stage, ended and waited for when this is dropped.
pub(crate) struct StageProcess(Option<Pid>);

impl StageProcess {
    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let Some(process) = self.0 else {
            return Ok(());
        };
        loop {
            match rustix::process::waitpid(Some(process), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for StageProcess {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            let _ = rustix::process::kill_process(process, Signal::KILL);
            let _ = self.wait();
        }
    }
}

/// Makes a process that was split off like one that was started: the channel as standard input, nothing of the terminal, nothing of the
/// environment.
fn become_stage(channel: UnixStream) -> io::Result<()> {
    wipe_arguments_and_environment()?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&channel)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    rustix::process::chdir("/")?;
    // SAFETY: the set is initialised before use and lives through the calls.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Overwrites what the kernel put on the stack when the program was started, where `/proc/PID/cmdline` and `/proc/PID/environ` read it,
/// too. A later `ps` shows what a stage that was started would be.
fn wipe_arguments_and_environment() -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // proc_pid_stat(5): arg_start, arg_end, env_start and env_end are the fields 48 to 51; the name before the third is in parentheses and
    // can contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut addresses = fields
        .split_ascii_whitespace()
        .skip(45)
        .map_while(|field| field.parse::<usize>().ok());
    let mut next = || addresses.next().filter(|&address| address != 0);
    let (Some(first), Some(last), Some(variables), Some(end)) = (next(), next(), next(), next())
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if first > last || last > variables || variables > end {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let title = [b"tagout\0".as_slice(), STAGE_ARGUMENT.as_bytes(), b"\0"].concat();
    let shown = title.len().min(last - first);
    // SAFETY: the kernel says that the strings of this process's arguments and environment lie between these addresses of its own stack,
    // which is writable; this process has one thread, nothing in it holds a reference to them, and what reads them later by the C
    // library's pointers finds a NUL at the latest where their strings end.
    unsafe {
        std::ptr::write_bytes(first as *mut u8, 0, end - first);
        std::ptr::copy_nonoverlapping(title.as_ptr(), first as *mut u8, shown);
        libc::clearenv();
    }
    Ok(())
}

/// Builds the sandbox that the supervisor describes on standard input, a socket. Never returns.
///
/// Call it first thing in `main`, before any thread exists, when the first argument is [`STAGE_ARGUMENT`].
pub fn stage_main() -> ! {
    stage_main_with(|_, _, _, _| Ok(Box::new(KeepNothing)))
}

/// As [`stage_main`], with the keeper of sandboxes whose trees are mediated.
pub fn stage_main_with(keeper: MakeKeeper) -> ! {
    serve(keeper, Isolate::WhenTold)
}

fn serve(keeper: MakeKeeper, when: Isolate) -> ! {
    let Ok(channel) = take_channel() else {
        eprintln!("tagout: {STAGE_ARGUMENT} is for tagout itself");
        std::process::exit(125);
    };
    match build(&channel, keeper, when) {
        Ok(Some((init, mediator))) => {
            // Init holds the channel now; when it ends, the supervisor reads end-of-file.
            drop(channel);
            await_end(init, mediator);
            std::process::exit(0)
        }
        Ok(None) => std::process::exit(0),
        Err(failure) => {
            let _ = wire::send(&channel, &Event::Failed(failure), &[]);
            std::process::exit(125)
        }
    }
}

/// Standard input is the channel; it is moved out of the way, and the null device takes its place. Whatever else this process
/// inherited is closed first.
fn take_channel() -> io::Result<UnixStream> {
    // SAFETY: nothing in this process has opened a descriptor yet, so none that anybody owns is closed.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let stdin = io::stdin();
    rustix::net::sockopt::socket_type(&stdin)?;
    let channel = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(channel))
}

/// Makes everything up to process 1 inside, and gives its id; or only probes.
fn build(
    channel: &UnixStream,
    keeper: MakeKeeper,
    when: Isolate,
) -> Step<Option<(Pid, Option<Pid>)>> {
    die_with_parent().step(|| "tie the stage to the supervisor")?;
    // A session of its own, so that keys typed on the host's terminal reach only the supervisor.
    rustix::process::setsid().step(|| "leave the supervisor's session")?;
    let ahead = match when {
        Isolate::Ahead => Identity::of_an_ordinary_user().map(|identity| {
            let networks = isolate(&identity)?;
            Ok((identity, networks))
        }),
        Isolate::WhenTold => None,
    };
    let order = wire::receive::<Order>(channel).step(|| "receive the specification")?;
    let (spec, control_group, mut descriptors) = match order {
        Some((
            Order::Build {
                spec,
                control_group,
            },
            descriptors,
        )) => (spec, control_group, descriptors),
        Some((Order::Probe, _)) => {
            wire::send(channel, &Event::Probed(attempts::all()), &[]).step(|| "answer")?;
            return Ok(None);
        }
        _ => {
            return failed(
                "receive the specification",
                "the supervisor said something else",
            );
        }
    };
    let mut spec = *spec;
    let (identity, networks) = match ahead.transpose()? {
        Some((identity, networks)) => (identity, Some(networks)),
        None => (identity::decide(&spec)?, None),
    };
    let kept = match &spec.mediation {
        Some(_) => {
            let questions = descriptors.pop();
            descriptors.pop().zip(questions)
        }
        None => None,
    };
    identity.add_accounts(&mut spec);
    let gathered = if identity.is_started_as_root() {
        let gathered = gather(&spec, &identity)?;
        if let Some((kept, _)) = &kept {
            let folder = reopen_folder(kept).step(|| "open the folder of what is kept")?;
            identity
                .hand_over(folder)
                .step(|| "give the folder of what is kept to the command's id")?;
        }
        identity.assume()?;
        Some(gathered)
    } else {
        None
    };

    let networks = match networks {
        Some(networks) => networks,
        None => isolate(&identity)?,
    };
    rustix::system::sethostname(spec.hostname.as_bytes()).step(|| "set the host name")?;

    let gates = listen(networks, &spec.ports, &spec.loopback_ports)?;
    wire::send(channel, &Event::Listening, &gates.descriptors())
        .step(|| "hand over the gates' sockets")?;
    drop(gates);

    let gathered = match gathered {
        Some(gathered) => gathered,
        None => gather(&spec, &identity)?,
    };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step(|| "become undumpable")?;
    let mediator = match (&spec.mediation, kept) {
        (Some(mediation), Some(kept)) => Some(Mediator::start(&spec, mediation, kept, keeper)?),
        (Some(_), None) => return failed("start the mediator", "nothing to keep things in"),
        (None, _) => None,
    };
    let mediating = mediator.as_ref().map(|mediator| mediator.process);
    unshare(UnshareFlags::NEWPID).step(|| "make a pid namespace")?;
    // SAFETY: this process has one thread, so the child starts with consistent memory and may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).step(|| "start process 1"),
        0 => {
            let given = init::Given {
                gathered,
                descriptors,
                control_group,
                mediator,
            };
            init::run(channel, &spec, given)
        }
        child => match Pid::from_raw(child) {
            Some(child) => Ok(Some((child, mediating))),
            None => failed("start process 1", "the kernel gave no process id"),
        },
    }
}

/// When a stage makes the namespaces.
enum Isolate {
    /// When it is told what to build, as it must where that says who the command is.
    WhenTold,
    /// At once, where it can: the supervisor has much to read meanwhile. A step that fails is told when the supervisor listens.
    Ahead,
}

/// Moves this process into namespaces of its own, all but the pid namespace; into that of the gates' network.
fn isolate(identity: &Identity) -> Step<Networks> {
    enter_namespaces(identity)?;
    // Becoming someone else undid it.
    die_with_parent().step(|| "tie the stage to the supervisor")?;
    make_networks()
}

/// One namespace after the other, so that the step that fails names itself.
pub(crate) fn enter_namespaces(identity: &Identity) -> Step<()> {
    unshare(UnshareFlags::NEWUSER).step(|| "make a user namespace")?;
    identity
        .write_maps()
        .step(|| "map the user in the user namespace")?;
    unshare(UnshareFlags::NEWNS).step(|| "make a mount namespace")?;
    unshare(UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP)
        .step(|| "make ipc, uts and cgroup namespaces")
}

/// Makes both network namespaces and the link between them. This process is in the gates' then.
fn make_networks() -> Step<Networks> {
    unshare(UnshareFlags::NEWNET).step(|| "make the agent's network namespace")?;
    let agent = AgentNetwork::begin().step(|| "build the agent's network")?;
    unshare(UnshareFlags::NEWNET).step(|| "make the gates' network namespace")?;
    let mut networks = network::build_gates(agent).step(|| "build the gates' network")?;
    networks
        .join()
        .step(|| "join the agent's network namespace to the gates' by a veth pair")?;
    Ok(networks)
}

/// Leaves this process in the agent's network namespace, joined to the gates'.
pub(crate) fn enter_networks(ports: &[u16], loopback_ports: &[u16]) -> Step<GatesSockets> {
    listen(make_networks()?, ports, loopback_ports)
}

fn listen(networks: Networks, ports: &[u16], loopback_ports: &[u16]) -> Step<GatesSockets> {
    networks
        .listen(ports, loopback_ports)
        .step(|| "listen for the gates, and enter the agent's network namespace")
}

fn gather(spec: &Spec, identity: &Identity) -> Step<Gathered> {
    view::gather(spec, find_program(spec).as_deref(), identity)
}

/// The kernel kills this process when its parent dies.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags that make this call unsafe are those that give threads descriptor tables of their own (CLONE_FILES); only
    // namespaces are unshared here, in a process with one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Waits for process 1. The kernel reports its end only after every other process of its namespace has ended. When the mediator ends
/// first, everything else ends with it.
fn await_end(init: Pid, mediator: Option<Pid>) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((ended, _))) if ended == init => break,
            Ok(Some((ended, _))) if Some(ended) == mediator => {
                let _ = rustix::process::kill_process(init, Signal::KILL);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    if let Some(mediator) = mediator {
        // It may be gone and waited for already; no other process is this one's child.
        let _ = rustix::process::kill_process(mediator, Signal::KILL);
        let _ = rustix::process::waitpid(Some(mediator), WaitOptions::empty());
    }
}

/// The folder, opened so that it can be read, whatever it was opened for.
fn reopen_folder(folder: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, c".", flags, Mode::empty())?)
}
