//! The stage: the executable started anew, with an empty environment, to make the namespaces from within.
//!
//! It reads top to bottom as the launch happens. What must stay true: it starts with nothing of the supervisor but the channel; nothing
//! after the first namespace can fail without the supervisor hearing of it; when it ends, everything inside has ended before.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::identity;
use crate::init;
use crate::launch::find_program;
use crate::network;
use crate::spec::Spec;
use crate::step::{Named, Step, failed};
use crate::view::{self, Gathered};
use crate::wire::{self, Event, Order};

/// First argument of the executable when it has to call [`stage_main`] before anything else.
pub const STAGE_ARGUMENT: &str = "__sandbox";

/// Builds the sandbox that the supervisor describes on standard input, a socket. Never returns.
///
/// Call it first thing in `main`, before any thread exists, when the first argument is [`STAGE_ARGUMENT`].
pub fn stage_main() -> ! {
    let Ok(channel) = take_channel() else {
        eprintln!("tagout: {STAGE_ARGUMENT} is for tagout itself");
        std::process::exit(125);
    };
    let result = build(&channel);
    if let Err(failure) = &result {
        let _ = wire::send(&channel, &Event::Failed(failure.clone()), &[]);
    }
    match result {
        Ok(init) => {
            // Init holds the channel now; when it ends, the supervisor reads end-of-file.
            drop(channel);
            await_end(init);
            std::process::exit(0)
        }
        Err(_) => std::process::exit(125),
    }
}

/// Standard input is the channel; it is moved out of the way, and the null device takes its place.
fn take_channel() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    rustix::net::sockopt::socket_type(&stdin)?;
    let channel = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(channel))
}

/// Makes everything up to process 1 inside, and gives its id.
fn build(channel: &UnixStream) -> Step<Pid> {
    die_with_parent().step(|| "tie the stage to the supervisor")?;
    // A session of its own, so that keys typed on the host's terminal reach only the supervisor.
    rustix::process::setsid().step(|| "leave the supervisor's session")?;
    let Some((
        Order::Build {
            spec,
            control_group,
        },
        descriptors,
    )) = wire::receive::<Order>(channel).step(|| "receive the specification")?
    else {
        return failed(
            "receive the specification",
            "the supervisor said something else",
        );
    };
    let mut spec = *spec;
    let identity = identity::decide(&spec)?;
    identity.add_accounts(&mut spec);
    let gathered = if identity.is_started_as_root() {
        let gathered = gather(&spec, &identity)?;
        identity.assume()?;
        Some(gathered)
    } else {
        None
    };

    // One namespace after the other, so that the step that fails names itself.
    unshare(UnshareFlags::NEWUSER).step(|| "make a user namespace")?;
    identity
        .write_maps()
        .step(|| "map the user in the user namespace")?;
    unshare(UnshareFlags::NEWNS).step(|| "make a mount namespace")?;
    unshare(UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP)
        .step(|| "make ipc, uts and cgroup namespaces")?;
    // Becoming someone else undid it.
    die_with_parent().step(|| "tie the stage to the supervisor")?;
    rustix::system::sethostname(spec.hostname.as_bytes()).step(|| "set the host name")?;

    unshare(UnshareFlags::NEWNET).step(|| "make the gates' network namespace")?;
    let mut gates = network::build_gates(&spec.ports).step(|| "build the gates' network")?;
    unshare(UnshareFlags::NEWNET).step(|| "make the agent's network namespace")?;
    gates
        .join_agent()
        .step(|| "join the agent's network to the gates' by a veth pair")?;
    wire::send(channel, &Event::Listening, &gates.descriptors())
        .step(|| "hand over the gates' sockets")?;
    drop(gates);

    let gathered = match gathered {
        Some(gathered) => gathered,
        None => gather(&spec, &identity)?,
    };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step(|| "become undumpable")?;
    unshare(UnshareFlags::NEWPID).step(|| "make a pid namespace")?;
    // SAFETY: this process has one thread, so the child starts with consistent memory and may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).step(|| "start process 1"),
        0 => init::run(channel, &spec, gathered, descriptors, control_group),
        child => match Pid::from_raw(child) {
            Some(child) => Ok(child),
            None => failed("start process 1", "the kernel gave no process id"),
        },
    }
}

fn gather(spec: &Spec, identity: &identity::Identity) -> Step<Gathered> {
    view::gather(spec, find_program(spec).as_deref(), &identity.id_maps)
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

/// Waits for process 1. The kernel reports its end only after every other process of its namespace has ended.
fn await_end(init: Pid) {
    loop {
        match rustix::process::waitpid(Some(init), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}
