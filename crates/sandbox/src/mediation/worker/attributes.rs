//! Modes, owners, times and extended attributes; lengths, by a path.

use super::*;

impl Call<'_> {
    pub(super) fn change_mode(&self, node: Node, mode: u32) -> Made {
        self.set(&node, |link| {
            // Of a link itself no mode can be set.
            if node.found.kind() == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            rustix::fs::chmod(link, Mode::from_raw_mode(mode & 0o7777))
        })
    }

    pub(super) fn change_owner(&self, node: Node, user: u64, group: u64) -> Made {
        let id = |number: u64| (number as u32 != u32::MAX).then_some(number as u32);
        self.set(&node, |_| {
            rustix::fs::chownat(
                &node.file,
                c"",
                id(user).map(Uid::from_raw),
                id(group).map(Gid::from_raw),
                AtFlags::EMPTY_PATH,
            )
        })
    }

    pub(super) fn set_times(&self, node: Node, address: u64, form: Times) -> Made {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
        let now = || Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let mut numbers = [[0; 8]; 4];
        let count = if matches!(form, Times::Seconds) { 2 } else { 4 };
        let times = if address == 0 {
            [now(), now()]
        } else {
            let bytes = numbers.as_flattened_mut();
            self.caller
                .read(address, &mut bytes[..count * 8])
                .map_err(|_| Elsewhere)?;
            let n = numbers.map(i64::from_ne_bytes);
            let timespec = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
            match form {
                Times::Seconds => [timespec(n[0], 0), timespec(n[1], 0)],
                Times::Nanoseconds => [timespec(n[0], n[1]), timespec(n[2], n[3])],
                Times::Microseconds => {
                    if [n[1], n[3]].iter().any(|n| !(0..1_000_000).contains(n)) {
                        return Err(Failed(Errno::INVAL));
                    }
                    [timespec(n[0], n[1] * 1000), timespec(n[2], n[3] * 1000)]
                }
            }
        };
        let [last_access, last_modification] = times;
        let times = Timestamps {
            last_access,
            last_modification,
        };
        self.set(&node, |link| match node.found.kind() {
            FileType::Symlink => {
                rustix::fs::utimensat(&node.file, c"", &times, AtFlags::EMPTY_PATH)
            }
            _ => rustix::fs::utimensat(CWD, link, &times, AtFlags::empty()),
        })
    }

    pub(super) fn truncate(&self, node: Node, length: u64) -> Made {
        if node.found.kind() != FileType::RegularFile {
            return Err(Elsewhere);
        }
        let link = &node.link;
        rustix::fs::access(link.as_c_str(), Access::WRITE_OK)?;
        let mut keeper = self.alone()?;
        self.change(&mut keeper, &Change::Write(node.target()), || {
            truncate(link, length as i64).map(|()| 0)
        })
    }

    pub(super) fn set_attribute(&self, node: Node, a: &[u64; 6]) -> Made {
        let name = self.caller.text(a[1], 256, Errno::RANGE)?;
        // XATTR_SIZE_MAX
        if a[3] > 65536 {
            return Err(Failed(Errno::TOOBIG));
        }
        let mut value = vec![0; a[3] as usize];
        self.caller.read(a[2], &mut value)?;
        let flags = XattrFlags::from_bits_retain(a[4] as u32);
        self.set(&node, |link| {
            rustix::fs::setxattr(link, name.as_c_str(), &value, flags)
        })
    }

    pub(super) fn remove_attribute(&self, node: Node, name: u64) -> Made {
        let name = self.caller.text(name, 256, Errno::RANGE)?;
        self.set(&node, |link| rustix::fs::removexattr(link, name.as_c_str()))
    }

    /// Changes attributes; `make` gets a path of the file.
    pub(super) fn set(&self, node: &Node, make: impl FnOnce(&CStr) -> Result<(), Errno>) -> Made {
        let mut keeper = self.alone()?;
        let link = &node.link;
        self.change(&mut keeper, &Change::Attributes(node.target()), || {
            make(link).map(|()| 0)
        })
    }

    pub(super) fn may_write(&self, node: Node, mode: u32, flags: i32) -> Made {
        let access = Access::from_bits_retain(mode);
        // The ids are one, real and effective.
        let _ = flags & libc::AT_EACCESS;
        if node.found.kind() == FileType::Symlink {
            return Ok(0);
        }
        rustix::fs::access(node.link.as_c_str(), access)?;
        Ok(0)
    }
}
