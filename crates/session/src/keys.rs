//! Small facts of this install and this process.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use crate::home::Home;

/// The secret from which decoys are derived: 32 random bytes, made on first use, mode 0600.
///
/// # Errors
/// When it can neither be read nor made.
pub(crate) fn install_secret(home: &Home) -> io::Result<Vec<u8>> {
    let folder = home.path().join("keys");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let path = folder.join("decoys.secret");
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(folder.join(format!("decoys.secret.{}", std::process::id())));
    if !path.exists()
        && let Ok(mut file) = made
    {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        file.write_all(&secret)?;
        file.sync_all()?;
        // Two first sessions at once: the link of the second fails, and both read the first's.
        let _ = fs::hard_link(
            folder.join(format!("decoys.secret.{}", std::process::id())),
            &path,
        );
    }
    let _ = fs::remove_file(folder.join(format!("decoys.secret.{}", std::process::id())));
    let mut secret = Vec::new();
    fs::File::open(&path)?.take(64).read_to_end(&mut secret)?;
    if secret.len() == 32 {
        Ok(secret)
    } else {
        Err(io::Error::other(format!(
            "{} is damaged; move it away",
            path.display()
        )))
    }
}

/// A process's start time in clock ticks since boot (`/proc/PID/stat`, field 22), which tells it
/// from a later process of the same id.
pub(crate) fn process_started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// This process's file mode creation mask.
pub(crate) fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o022)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_install_secret_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(|name| {
            (name == "TAGOUT_HOME").then(|| folder.path().to_str().unwrap().to_owned())
        })
        .unwrap();
        let first = install_secret(&home).unwrap();
        assert_eq!(install_secret(&home).unwrap(), first);
        assert!(first.iter().any(|byte| *byte != 0));
    }

    #[test]
    fn this_process_has_started() {
        assert!(process_started(std::process::id()).unwrap() > 0);
        assert!(umask() <= 0o777);
    }
}
