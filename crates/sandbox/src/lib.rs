//! Linux confinement from a plain specification.
//!
//! [`launch`] builds namespaces, a private file tree, two network namespaces and a terminal around one command, and hands the supervisor
//! the only ways out: the gates' sockets and the terminal. It knows no policy: what is shown, hidden, guarded or replaced was decided by
//! whoever made the [`Spec`].
//!
//! Three processes take part. The *supervisor* calls [`launch`]. The *stage* is split off before the supervisor has read anything
//! (see [`Stage`]), or is the same executable started anew with an empty environment (see [`stage_main`]), so that nothing that the
//! supervisor knows is ever in the memory of a process inside; it makes the namespaces and waits.
//! *Init* is process 1 inside: it builds the mounts, runs the command, reaps, obeys the supervisor, and dies with it.
//!
//! What must stay true: everything here fails closed. A step that cannot be done ends the launch; nothing is silently left out except the
//! second walls, whose absence is in [`LaunchReport::warnings`].

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "the sandbox is written for Linux on x86_64: its system call table and its mounts are"
);

mod apparmor;
mod broken_pipe;
mod command;
mod control_group;
mod error;
mod escape;
mod identity;
mod init;
mod launch;
mod mediation;
mod mounts;
mod network;
pub mod path_octets;
mod placeholder;
mod probe;
mod readers;
mod roots;
mod sandbox;
mod seccomp;
mod spec;
mod stage;
mod step;
mod terminal;
mod view;
mod watch;
mod wire;
mod writers;

pub use apparmor::{AppArmor, Installed, ProfileError};
pub use broken_pipe::end_on_broken_pipe;
pub use error::LaunchError;
pub use launch::{launch, launch_on};
pub use mediation::{
    Change, Entry, Found, Identity, KeepNothing, Keeper, MakeKeeper, Stop, Target, can_mediate,
    is_aside,
};
pub use placeholder::sweep_placeholders;
pub use probe::{Needed, Outcome, Probe, probe};
pub use sandbox::{Control, Ended, Ends, Exit, LaunchReport, Listeners, Sandbox};
pub use spec::{
    Guard, Mediation, OverlayFile, Placeholder, PrivateFolder, Spec, Stream, Streams, Tree, Twin,
};
pub use stage::{STAGE_ARGUMENT, Stage, stage_main, stage_main_with};
pub use watch::{HostReplaced, Noticed, Watch};
pub use writers::{is_being_written, is_open_elsewhere};
