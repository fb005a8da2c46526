//! What this machine can enforce, found out by trying, and what to do where it cannot.
//!
//! Every attempt runs in a process of its own that does the very thing which a launch does, so that an answer is never inferred from a
//! version or a setting. What must stay true: `launch` fails where a required attempt fails, with the same text.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::LaunchError;
use crate::identity;
use crate::launch::start_stage;
use crate::wire::{self, Event, Order, StageFailure};

pub(crate) mod attempts;

/// One thing that confinement is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it is, such as "user namespaces".
    pub name: String,
    /// Whether a session can run without it.
    pub needed: Needed,
    /// Whether it works here.
    pub outcome: Outcome,
}

/// Whether a session can run without something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Needed {
    /// Without it nothing is launched.
    Required,
    /// Without it a second wall or a convenience is missing, and a launch says so.
    Optional,
}

/// Whether something works on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Works,
    /// It could not be done.
    Missing {
        /// Which step failed, and what the kernel said.
        why: String,
        /// The command that mends it, or where to look.
        mend: String,
    },
}

/// What the stage found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) needed: Needed,
    pub(crate) failure: Option<StageFailure>,
}

/// Tries everything that confinement is made of, in processes of their own; changes nothing. `stage_executable` is as in
/// [`crate::Spec`].
pub fn probe(stage_executable: Option<&Path>) -> Result<Vec<Probe>, LaunchError> {
    let crate::stage::Stage {
        channel,
        mut process,
    } = start_stage(stage_executable)?;
    wire::send(&channel, &Order::Probe, &[]).map_err(LaunchError::system("asking the stage"))?;
    let answer =
        wire::receive::<Event>(&channel).map_err(LaunchError::system("hearing from the stage"))?;
    process
        .wait()
        .map_err(LaunchError::system("waiting for the stage"))?;
    let Some((Event::Probed(findings), _)) = answer else {
        return Err(LaunchError::Lost("probing this machine"));
    };
    let outcome = |failure: Option<StageFailure>| match failure {
        None => Outcome::Works,
        Some(failure) => Outcome::Missing {
            why: format!("{}: {}", failure.step, failure.detail),
            mend: mend(&failure),
        },
    };
    Ok(findings
        .into_iter()
        .map(|finding| Probe {
            name: finding.name,
            needed: finding.needed,
            outcome: outcome(finding.failure),
        })
        .collect())
}

/// Puts a failed step into words, with what mends it.
pub(crate) fn explain(failure: StageFailure) -> LaunchError {
    let cause = failure.detail.clone();
    LaunchError::Unable {
        mend: mend(&failure),
        step: failure.step,
        cause,
    }
}

fn mend(failure: &StageFailure) -> String {
    let setting = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_string())
            .unwrap_or_default()
    };
    if failure.step == identity::STEP {
        return "Start tagout as the user who owns the work, or give the workspace to one: `chown -R USER WORKSPACE`".into();
    }
    if failure.step.contains("namespace") || failure.step.contains("map the user") {
        if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
            return format!(
                "AppArmor restricts user namespaces: `sudo {} doctor --install-profile`",
                this_program()
            );
        }
        if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
            return "`sudo sysctl -w kernel.unprivileged_userns_clone=1`".into();
        }
        if setting("/proc/sys/user/max_user_namespaces") == "0" || failure.errno == libc::ENOSPC {
            return "`sudo sysctl -w user.max_user_namespaces=10000`".into();
        }
        if matches!(failure.errno, libc::EPERM | libc::ENOSYS) {
            return "Something around tagout (a container's seccomp profile, such as Docker's) forbids namespaces: start tagout outside \
                    it, or give the container `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
                .into();
        }
    }
    // The mount calls are of 5.2 (fsopen, open_tree) and 5.12 (mount_setattr), seccomp's notification is of 5.0.
    if failure.errno == libc::ENOSYS && kernel_is_older_than((5, 12)) {
        return "A newer kernel: Linux 5.12 is the oldest with all that this takes".into();
    }
    if failure.step.contains("veth") && failure.errno == libc::EOPNOTSUPP {
        return "A kernel with virtual links (CONFIG_VETH): `sudo modprobe veth`".into();
    }
    if failure.step.contains("/proc") && failure.errno == libc::EPERM {
        return "A container masks /proc, so that the kernel refuses a fresh one: `--security-opt systempaths=unconfined`".into();
    }
    if failure.step.contains("Landlock") {
        return "A kernel with Landlock: CONFIG_SECURITY_LANDLOCK=y, and `landlock` in the boot parameter `lsm=`".into();
    }
    if failure.step.contains("map owners") {
        return "Keep work on a file system that can, such as ext4, xfs, btrfs or tmpfs; or start tagout as the user who owns it".into();
    }
    if failure.step.contains("control group") {
        return "Nothing to do: processes are stopped by signals instead. `systemd-run --user --scope tagout ...` brings one".into();
    }
    if matches!(failure.errno, libc::EPERM | libc::ENOSYS) {
        return "Something around tagout (a container's seccomp profile, such as Docker's) forbids it: start tagout outside it, or give the \
                container `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
            .into();
    }
    "Look at the kernel's configuration and at what runs around tagout (container, security module)"
        .into()
}

/// How root calls this program: by its name where sudo looks for programs, else by its path.
fn this_program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "tagout".into();
    };
    let of_the_system = ["/usr/bin", "/usr/local/bin"].map(Path::new);
    if path
        .parent()
        .is_some_and(|folder| of_the_system.contains(&folder))
    {
        "tagout".into()
    } else {
        path.display().to_string()
    }
}

fn kernel_is_older_than(wanted: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < wanted
}
