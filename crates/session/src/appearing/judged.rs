//! What a launch would make of a file that came later.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tagout_credentials::Decoy;
use tagout_secrets::{DecoyKey, FileKind, file_kind, is_wide};

use crate::scan::find_in;
use crate::watcher::file_decoys;

/// The largest file that is hidden by a twin; a larger one whose name promises credentials is shown empty.
const LARGEST_TWIN: u64 = 16 * 1024 * 1024;
/// Larger files are not read, unless their name promises credentials.
pub(super) const LARGEST_SCANNED: u64 = 4 * 1024 * 1024;

/// What became of a look at a file.
pub(super) enum Judged {
    /// There is nothing to hide, or nothing there.
    Clean,
    /// Bytes to show instead, and what is known by it.
    Secret(Vec<u8>),
    /// It cannot be told.
    Unknown,
}

/// What was found in a file.
pub(super) struct Found {
    pub(super) known: Vec<(String, Vec<u8>, bool)>,
    pub(super) decoys: Vec<(Decoy, String)>,
}

/// What a launch would make of a file.
pub(super) fn judge(path: &Path, file: &File, key: &DecoyKey) -> (Judged, Option<Found>) {
    let promising = file_kind(path) != FileKind::Plain;
    let largest = match promising {
        true => LARGEST_TWIN,
        false => LARGEST_SCANNED,
    };
    let mut bytes = Vec::new();
    let read = file.take(largest + 1).read_to_end(&mut bytes);
    let _ = io::Seek::rewind(&mut &*file);
    if read.is_err() || bytes.len() as u64 > largest {
        let unknown = match promising {
            true => Judged::Unknown,
            false => Judged::Clean,
        };
        return (unknown, None);
    }
    let binary = bytes.iter().take(8 * 1024).any(|byte| *byte == 0) && !is_wide(&bytes);
    if !promising && binary {
        return (Judged::Clean, None);
    }
    match find_in(path, &bytes, key) {
        None => (Judged::Clean, None),
        Some((file, known)) => {
            let found = Found {
                decoys: file_decoys(std::slice::from_ref(&file)),
                known: known
                    .into_iter()
                    .map(|known| (known.label, known.value, known.guessable))
                    .collect(),
            };
            (Judged::Secret(file.twin), Some(found))
        }
    }
}
