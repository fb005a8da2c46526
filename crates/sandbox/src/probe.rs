//! What this machine can enforce, and what to do where it cannot.

use std::io;

use crate::error::LaunchError;
use crate::identity;
use crate::wire::StageFailure;

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
            return "AppArmor restricts user namespaces: `sudo tagout doctor --install-profile`"
                .into();
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
    if failure.step.contains("/proc") && failure.errno == libc::EPERM {
        return "A container masks /proc, so that the kernel refuses a fresh one: `--security-opt systempaths=unconfined`".into();
    }
    format!(
        "`tagout doctor` says more ({})",
        io::Error::from_raw_os_error(failure.errno)
    )
}
