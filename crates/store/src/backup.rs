//! The copy that is kept of a file before it is migrated, beside it: `store.sqlite.v1` is how
//! `store.sqlite` was when it last had version 1. With no session running, putting it back in place of
//! the file (and removing `-wal` and `-shm`) is the way back to the Tagout that wrote it.
//!
//! What must stay true: the copy is whole and on the disk under its final name before the first
//! statement of a migration runs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// Where the copy of a file with this version is kept.
pub(crate) fn place(path: &Path, version: usize) -> PathBuf {
    beside(path, &format!(".v{version}"))
}

/// Copies the file as it is. The caller holds its write lock and has not changed anything under it, so
/// nobody else is here and what is read is all there is.
pub(crate) fn keep(path: &Path, version: usize) -> Result<(), StoreError> {
    let kept = place(path, version);
    let unfinished = beside(&kept, ".unfinished");
    let failed = |error: io::Error| StoreError::Backup {
        path: path.to_owned(),
        copy: kept.clone(),
        reason: error.to_string(),
    };
    // Whoever held the lock before may have been killed here.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // SQLite fills an empty file, and gives one that it makes itself everybody's mode.
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    let name = unfinished
        .to_str()
        .ok_or_else(|| failed(io::Error::other("its path is not UTF-8")))?;
    // A connection of its own: SQLite copies no file from within a transaction.
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|reader| reader.execute("VACUUM INTO ?1", [name]))
        .map_err(|error| failed(io::Error::other(error)))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished, &kept).map_err(failed)?;
    match path.parent() {
        Some(folder) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed),
        None => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
