//! What a change of a mediated tree is, and who is asked before it happens.
//!
//! A [`Keeper`] hears of every change before it is made, one at a time: between its answer and the change nothing inside can change
//! anything else. Its error number is what the caller inside gets. A keeper that has to ask somebody says so, and the call waits, with
//! nothing held up behind it.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};
use rustix::io::Errno;

/// Asked before each change of a mediated tree.
pub trait Keeper: Send {
    /// The change is about to be made, unless this stops it. What has to be kept, has to be kept when this returns.
    fn before(&mut self, change: &Change<'_>) -> Result<(), Stop>;

    /// The change that was agreed to last was made; `made` is the new file or folder, where one was.
    fn done(&mut self, made: Option<&Found>);

    /// The change that was agreed to last could not be made.
    fn failed(&mut self);

    /// A line that the supervisor wrote to [`crate::Sandbox::questions`]. All calls that wait are tried again after it.
    fn answered(&mut self, line: &str);
}

/// Why a change is not made.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is refused with this number.
    Fails(Errno),
    /// It is refused with this number, and whoever reads the caller's standard error is told why.
    Told(Errno, String),
    /// It waits for the next [`Keeper::answered`], and is shown to [`Keeper::before`] again then.
    Waits,
}

impl From<Errno> for Stop {
    fn from(number: Errno) -> Stop {
        Stop::Fails(number)
    }
}

/// Makes the keeper of a sandbox, in the process that makes the changes; gets an open folder for what is kept, the other end of
/// [`crate::Sandbox::questions`], and the settings of [`crate::Mediation`].
pub type MakeKeeper = fn(
    folder: std::os::fd::OwnedFd,
    questions: std::os::unix::net::UnixStream,
    mediation: &crate::Mediation,
    trees: &[PathBuf],
) -> std::io::Result<Box<dyn Keeper>>;

/// Agrees to everything and keeps nothing.
pub struct KeepNothing;

impl Keeper for KeepNothing {
    fn before(&mut self, _: &Change<'_>) -> Result<(), Stop> {
        Ok(())
    }
    fn done(&mut self, _: Option<&Found>) {}
    fn failed(&mut self) {}
    fn answered(&mut self, _: &str) {}
}

/// A change that is about to be made.
pub enum Change<'a> {
    /// A file, folder, link, pipe or socket comes into being, under a name that nothing has.
    Create(Entry<'a>),
    /// A file without a name comes into being (`O_TMPFILE`).
    CreateUnnamed,
    /// A file gets a further name.
    Link(Entry<'a>),
    /// A regular file is opened for writing, or cut.
    Write(Target<'a>),
    /// Mode, owner, times or extended attributes.
    Attributes(Target<'a>),
    /// A name goes, and what it names with it if it is the last.
    Remove(Entry<'a>, &'a Found),
    /// `from` becomes `to`; what `to` names already is lost.
    Rename {
        from: Entry<'a>,
        from_found: &'a Found,
        to: Entry<'a>,
        replaced: Option<&'a Found>,
    },
    /// The two change places.
    Exchange(Entry<'a>, &'a Found, Entry<'a>, &'a Found),
}

impl Change<'_> {
    /// Where it happens; of two places the one that is mounted there.
    pub(super) fn path(&self) -> PathBuf {
        let is_mounted = |entry: &Entry<'_>, found: &Found| {
            let folder = rustix::fs::statx(entry.folder, c"", AtFlags::EMPTY_PATH, Found::ASKED);
            folder.is_ok_and(|folder| folder.stx_mnt_id != found.mount)
        };
        match self {
            Change::CreateUnnamed => PathBuf::new(),
            Change::Create(entry) | Change::Link(entry) | Change::Remove(entry, _) => entry.path(),
            Change::Write(target) | Change::Attributes(target) => target.path.to_owned(),
            Change::Rename {
                from,
                from_found: found,
                to,
                ..
            }
            | Change::Exchange(from, found, to, _) => match is_mounted(from, found) {
                true => from.path(),
                false => to.path(),
            },
        }
    }
}

/// A name in a folder.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The folder, opened as a path in the writable tree.
    pub folder: BorrowedFd<'a>,
    /// Absolute path of the folder, as the inside and the host see it.
    pub folder_path: &'a Path,
    /// One name; may end in slashes.
    pub name: &'a CStr,
}

impl Entry<'_> {
    /// The absolute path.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = self.name.to_bytes();
        let end = name
            .iter()
            .rposition(|&byte| byte != b'/')
            .map_or(0, |at| at + 1);
        self.folder_path
            .join(std::ffi::OsStr::from_bytes(&name[..end]))
    }
}

/// Something that exists.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Opened as a path in the writable tree.
    pub file: BorrowedFd<'a>,
    /// A path by which this thread can open `file` anew.
    pub link: &'a CStr,
    /// Absolute path, as the inside and the host see it.
    pub path: &'a Path,
    /// What it is.
    pub found: &'a Found,
}

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Device, inode and time of birth (seconds, nanoseconds; zero where the file system keeps none): no two files ever share it.
    pub identity: Identity,
    /// The mount in which it was found; tells what is mounted over something from what it is mounted over.
    pub mount: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of names.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of the content: seconds and nanoseconds.
    pub changed: (i64, u32),
}

/// Which file something is: `st_dev`, `st_ino`, and when it was born.
pub type Identity = (u64, u64, i64, u32);

impl Found {
    /// What a query for these fields says.
    pub const ASKED: StatxFlags = StatxFlags::BASIC_STATS
        .union(StatxFlags::BTIME)
        .union(StatxFlags::MNT_ID);

    /// From the kernel's answer.
    pub fn of(status: &Statx) -> Found {
        Found {
            identity: (
                rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor),
                status.stx_ino,
                status.stx_btime.tv_sec,
                status.stx_btime.tv_nsec,
            ),
            mount: status.stx_mnt_id,
            mode: u32::from(status.stx_mode),
            links: status.stx_nlink,
            size: status.stx_size,
            changed: (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec),
        }
    }

    /// What kind of file it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether both are the same file.
    pub fn is(&self, other: &Found) -> bool {
        self.identity == other.identity
    }
}
