//! A file behind a twin that was replaced as a whole: by an editor or git that renames a new one into its
//! place, outside or, where changes are mediated, inside. What came from inside has decoys where values
//! stood; they are turned back, and the inside goes on seeing what it wrote.
//!
//! What must stay true: a value is never written into a file that the inside may have made, since it may
//! have that file open or know it by another name. So the values go into a new file in its place.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use super::Shared;

impl Shared {
    /// Turns decoys of the former twin at `path` (absolute) back in `bytes`, what the file there holds now,
    /// by a new file in its place; whether there were any. The inside stands still meanwhile.
    ///
    /// # Errors
    /// Nothing was put in place; the file keeps its decoys, which harms nobody.
    pub(crate) fn restore(&self, path: &Path, bytes: &[u8]) -> io::Result<bool> {
        let relative = path.strip_prefix(&self.workspace).unwrap_or(path);
        let carried = match self.lock().twins.get(relative) {
            Some(former) => former.behind.edits.carry(relative, bytes).bytes,
            None => return Ok(false),
        };
        if carried == bytes {
            return Ok(false);
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let folder = rustix::fs::openat2(rustix::fs::CWD, folder, flags, Mode::empty(), resolve)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let fresh = format!(".tagout-{:016x}", u64::from_ne_bytes(random));
        let placed = place(&folder, &fresh, name, &carried);
        if placed.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &*fresh, AtFlags::empty());
        }
        placed.map(|()| true)
    }
}

/// Writes `bytes` into the new file `fresh` of a folder, makes it as the one called `name` is, and puts it
/// there.
fn place(folder: &OwnedFd, fresh: &str, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let like = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let mut file = File::from(rustix::fs::openat(folder, fresh, flags, mode)?);
    file.write_all(bytes)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.st_uid, like.st_gid) {
        fchown(&file, Some(like.st_uid), Some(like.st_gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.st_mode & 0o777))?;
    file.sync_all()?;
    Ok(rustix::fs::renameat(folder, fresh, folder, name)?)
}
