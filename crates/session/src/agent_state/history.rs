//! An agent's earlier sessions of this workspace, and of no other: copied in so that it can go on with
//! one, and known by their copies so that only additions come back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tagout_catalog::profile::{OfWorkspace, State};

use super::beneath::{Folder, walk};

/// So many entries are looked at.
pub(super) const MOST_ENTRIES: usize = 20_000;
/// So much history goes in, the newest first; and so much comes back.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// The first line of a session says where it was started; it may hold instructions too.
const LONGEST_FIRST_LINE: u64 = 1 << 20;
/// So many first lines are read.
const MOST_FIRST_LINES: usize = 2_000;

/// What a folder says of whose it is.
pub(super) const ROOT_FILE: &str = ".project_root";

/// The host's files that were copied in, by their path in the state's folder, as they were.
#[derive(Default)]
pub(super) struct Given {
    pub(super) files: HashMap<PathBuf, (u64, SystemTime)>,
}

/// Copies what belongs to the workspace from `outside` to `at` in `into`. What cannot be copied is left
/// out: the agent then has a session less.
pub(super) fn give(
    state: &State,
    outside: &Path,
    into: &Folder,
    at: &Path,
    folders: &[PathBuf],
) -> Given {
    let mut given = Given::default();
    let Ok(outside) = fs::canonicalize(outside) else {
        return given;
    };
    let (mut bytes, mut lines) = (0, 0);
    for file in walk(&outside, MOST_ENTRIES) {
        if !is_named(state, &file.path) {
            continue;
        }
        lines += 1;
        if lines > MOST_FIRST_LINES || !belongs(state, &outside, &file.path, folders) {
            continue;
        }
        bytes += file.size;
        if bytes > MOST_BYTES {
            break;
        }
        let copied = fs::File::open(outside.join(&file.path)).and_then(|mut from| {
            into.replace(
                &at.join(&file.path),
                0o600,
                Some(file.modified),
                |mut to| io::copy(&mut from, &mut to).map(drop),
            )
        });
        if copied.is_ok() {
            given.files.insert(file.path, (file.size, file.modified));
        }
    }
    if matches!(state.of_workspace, Some(OfWorkspace::RootFile)) {
        let mut roots: Vec<_> = given.files.keys().filter_map(|path| first(path)).collect();
        roots.sort();
        roots.dedup();
        for root in roots {
            let name = root.join(ROOT_FILE);
            if let Ok(text) = fs::read(outside.join(&name)) {
                let _ = into.write(&at.join(name), &text, 0o600, None);
            }
        }
    }
    given
}

/// Whether a file is of the kind that the state lists.
pub(super) fn is_named(state: &State, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| state.files.iter().any(|glob| is_like(glob, name)))
}

/// `*` stands for anything.
fn is_like(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        None => glob == name,
        Some((front, back)) => {
            name.len() >= front.len() + back.len()
                && name.starts_with(front)
                && name.ends_with(back)
        }
    }
}

/// Whether a file in `root` belongs to one of the folders.
pub(super) fn belongs(state: &State, root: &Path, path: &Path, folders: &[PathBuf]) -> bool {
    match &state.of_workspace {
        None => false,
        Some(OfWorkspace::DashedFolder) => first(path).is_some_and(|first| {
            let first = first.to_string_lossy();
            folders.iter().any(|folder| dashed(folder) == first)
        }),
        Some(OfWorkspace::FirstLine { field }) => File::open(root.join(path))
            .ok()
            .and_then(|file| folder_of_first_line(file, field))
            .is_some_and(|folder| folders.iter().any(|own| folder.starts_with(own))),
        Some(OfWorkspace::RootFile) => {
            first(path).is_some_and(|first| is_root(&root.join(first), folders))
        }
    }
}

/// Whether a folder's root file names one of `folders`.
pub(super) fn is_root(folder: &Path, folders: &[PathBuf]) -> bool {
    let text = fs::read_to_string(folder.join(ROOT_FILE)).unwrap_or_default();
    folders.iter().any(|own| Path::new(text.trim()) == own)
}

/// The folder that the first line of a session names.
pub(super) fn folder_of_first_line(file: File, field: &str) -> Option<PathBuf> {
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST_FIRST_LINE))
        .read_until(b'\n', &mut line)
        .ok()?;
    let said: serde_json::Value = serde_json::from_slice(&line).ok()?;
    let folder = field.split('.').try_fold(&said, |at, part| at.get(part))?;
    let folder = PathBuf::from(folder.as_str()?);
    let plain = folder
        .components()
        .skip(1)
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    (folder.is_absolute() && plain).then_some(folder)
}

/// The first part of a path with several.
pub(super) fn first(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let first = parts.next()?;
    parts.next()?;
    Some(PathBuf::from(first.as_os_str()))
}

/// A folder's path with a dash for all but letters and digits.
pub(super) fn dashed(folder: &Path) -> String {
    folder
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

/// A file's size and when it was changed.
pub(super) fn stamp(path: &Path) -> io::Result<(u64, SystemTime)> {
    let metadata = fs::symlink_metadata(path)?;
    match metadata.is_file() {
        true => Ok((metadata.size(), metadata.modified()?)),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
