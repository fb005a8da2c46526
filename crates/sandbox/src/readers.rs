//! Ends the processes inside that have a file open which they must not read. Runs in process 1, while everything inside stands still.
//!
//! A mount over a path hides the file from who opens it later, not from who has it open: so those end. What is on its way between two
//! processes in a socket's buffer is in no table of theirs, and is not found here.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::init::processes;

/// How long a process that was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Ends every process but this one that has the file with this device and inode open or mapped, and waits until they are gone.
pub(crate) fn end((device, inode): (u64, u64)) -> io::Result<()> {
    let file = (device, inode);
    let readers: Vec<i32> = processes()?
        .into_iter()
        .map(|(id, _)| id)
        .filter(|id| has(*id, file))
        .collect();
    for id in &readers {
        if let Some(process) = Pid::from_raw(*id) {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    }
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = processes()?
            .into_iter()
            .any(|(id, state)| readers.contains(&id) && !matches!(state, b'Z' | b'X'));
        if !left {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::yield_now();
    }
}

/// Whether a process has a file open or mapped. What cannot be read of one that is there counts as if it had.
fn has(process: i32, file: (u64, u64)) -> bool {
    let folder = format!("/proc/{process}");
    match looks(Path::new(&folder), file) {
        Ok(has) => has,
        Err(_) => Path::new(&folder).exists(),
    }
}

fn looks(process: &Path, file: (u64, u64)) -> io::Result<bool> {
    if maps(&fs::read(process.join("maps"))?, file) {
        return Ok(true);
    }
    // A thread may have a table of descriptors of its own.
    for thread in fs::read_dir(process.join("task"))? {
        let Ok(descriptors) = fs::read_dir(thread?.path().join("fd")) else {
            // A thread that has ended has none.
            continue;
        };
        for descriptor in descriptors.flatten() {
            let opened = fs::metadata(descriptor.path());
            if opened.is_ok_and(|opened| (opened.dev(), opened.ino()) == file) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether `/proc/PID/maps` (proc_pid_maps(5)) names a file. Some file systems (btrfs, overlayfs) give another device there than fstat(2):
/// then any mapped file of that inode counts that lies on no device of a partition.
fn maps(text: &[u8], (device, inode): (u64, u64)) -> bool {
    text.split(|&byte| byte == b'\n').any(|line| {
        let mut fields = line
            .split(|&byte| byte == b' ')
            .filter(|field| !field.is_empty());
        let (Some(place), Some(number)) = (fields.nth(3), fields.next()) else {
            return false;
        };
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok());
        let place = std::str::from_utf8(place).ok().and_then(|place| {
            let (major, minor) = place.split_once(':')?;
            let major = u32::from_str_radix(major, 16).ok()?;
            Some((major, u32::from_str_radix(minor, 16).ok()?))
        });
        let (Some(number), Some((major, minor))) = (number, place) else {
            return false;
        };
        let number: u64 = number;
        number != 0
            && number == inode
            && (major == 0 || rustix::fs::makedev(major, minor) == device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_maps_a_file_is_found_by_it() {
        let text =
            b"55d0-55d1 r--p 00000000 08:02 173521                    /usr/bin/dbus-daemon\n\
            7f00-7f01 rw-p 00000000 00:00 0 \n\
            7f02-7f03 r--s 00001000 00:2d 77                        /w/.env\n";
        assert!(maps(text, (rustix::fs::makedev(8, 2), 173_521)));
        assert!(!maps(text, (rustix::fs::makedev(8, 1), 173_521)));
        assert!(maps(text, (rustix::fs::makedev(0, 0x31), 77)));
        assert!(!maps(text, (0, 0)));
    }

    #[test]
    fn who_has_a_file_open_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = fs::File::create(&path).unwrap();
        let found = file.metadata().unwrap();
        let found = (found.dev(), found.ino());
        let own = std::process::id() as i32;
        assert!(has(own, found));
        drop(file);
        assert!(!has(own, found));
    }
}
