//! What can go wrong, in words a user can act on.

use std::io;
use std::path::PathBuf;

/// Why a sandbox could not be built, or could not do what it was asked. Nothing runs inside after a failed launch.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The specification contradicts itself or the machine.
    #[error("{what}: {why}")]
    Specification {
        /// The part of it.
        what: String,
        /// Why it cannot be.
        why: String,
    },
    /// The kernel or its settings refuse something that the promises need.
    #[error("this machine cannot confine: {step} failed ({cause}). {mend}")]
    Unable {
        /// What was tried.
        step: String,
        /// What the kernel said.
        cause: String,
        /// The one command that mends it, or where to look.
        mend: String,
    },
    /// A guarded place cannot be held as it is.
    #[error("cannot guard {}: {why}", path.display())]
    Guard {
        /// Absolute path of the place.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The inside went away, or said what it may not say.
    #[error("the sandbox ended unexpectedly while {0}")]
    Lost(&'static str),
    /// The inside could not do what it was asked.
    #[error("the sandbox could not {what}: {why}")]
    Refused {
        /// What it was asked.
        what: &'static str,
        /// What it answered.
        why: String,
    },
    /// The operating system refused something outside.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl LaunchError {
    /// A [`LaunchError::System`] for `map_err`.
    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
        move |cause| LaunchError::System { what, cause }
    }
}
