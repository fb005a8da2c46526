//! What a launch would make of a file that came later.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tagout_credentials::Decoy;
use tagout_secrets::{DecoyKey, FileKind, file_kind};

use crate::scan::{LARGEST, find_in};
use crate::watcher::file_decoys;

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
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    let _ = io::Seek::rewind(&mut &*file);
    if read.is_err() || bytes.len() as u64 > LARGEST {
        let unknown = match promising {
            true => Judged::Unknown,
            false => Judged::Clean,
        };
        return (unknown, None);
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
