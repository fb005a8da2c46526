//! A file behind a twin that was replaced as a whole: by an editor or git that renames a new one into its
//! place, outside or, where changes are mediated, inside. What came from inside has decoys where values
//! stood; they are turned back, and the inside goes on seeing what it wrote.
//!
//! What must stay true: a value is never written into a file that the inside may have made, since it may
//! have that file open or know it by another name. So the values go into a new file in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

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
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let fresh = path.with_file_name(format!(".tagout-{:016x}", u64::from_ne_bytes(name)));
        let placed = place(&fresh, path, &carried);
        if placed.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        placed.map(|()| true)
    }
}

/// Writes `bytes` into the new file `fresh`, makes it as the one at `path` is, and puts it there.
fn place(fresh: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let like = fs::symlink_metadata(path)?;
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(bytes)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o777))?;
    file.sync_all()?;
    fs::rename(fresh, path)
}
