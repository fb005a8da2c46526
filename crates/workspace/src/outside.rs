//! Keeps what the supervisor itself changes: the file behind a twin, whose values no copy inside may hold.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::journal::{Attributes, Kept, NAME, Record};

/// Keeps `bytes`, which the file that was at `path` (absolute) at the start held while `metadata` was its own, in the `folder` of its
/// session. The inside may have moved it meanwhile. Does nothing where nothing is kept of that session.
///
/// # Errors
/// What was to be kept is not.
pub fn keep_from_outside(
    folder: &Path,
    path: &Path,
    bytes: &[u8],
    metadata: &std::fs::Metadata,
) -> io::Result<()> {
    let mut journal = match OpenOptions::new().append(true).open(folder.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        journal => journal?,
    };
    let (copy, mut file) = new_copy(folder)?;
    file.write_all(bytes)?;
    let record = Record::KeptOf {
        original: path.into(),
        file: Kept {
            copy,
            attributes: Attributes {
                mode: metadata.mode() & 0o7777,
                seconds: metadata.mtime(),
                nanoseconds: metadata.mtime_nsec() as u32,
            },
        },
    };
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    journal.write_all(&line)
}

/// A new file, under a name that the mediator never takes: its numbers have no leading zero.
fn new_copy(folder: &Path) -> io::Result<(String, std::fs::File)> {
    let mut number = 1u32;
    loop {
        let name = format!("0{number}");
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join(&name));
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return Ok((name, made?)),
        }
    }
}
