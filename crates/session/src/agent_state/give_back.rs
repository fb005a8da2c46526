//! History on its way back to the host. The agent made these files, and the agent may be an attacker:
//! only regular files of the kinds that the profile lists go, only into the place of this workspace,
//! and what the host has is added to, never rewritten.

use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use tagout_catalog::profile::{OfWorkspace, State};

use super::beneath::{Folder, walk};
use super::history::{
    Given, MOST_BYTES, MOST_ENTRIES, ROOT_FILE, dashed, first, folder_of_first_line, is_named,
    is_root, stamp,
};

/// The longest file that goes back.
const LONGEST: u64 = 64 << 20;

/// Gives the history at `at` in the session's folder `from` to the host's `to`. Answers what stayed
/// behind, a sentence each.
pub(super) fn give_back(
    state: &State,
    given: &Given,
    from: &Path,
    at: &Path,
    to: &Path,
    folders: &[PathBuf],
) -> io::Result<Vec<String>> {
    let source = Folder::open(from)?;
    let mut left = Vec::new();
    let mut bytes = 0;
    let mut target = None;
    for file in walk(&from.join(at), MOST_ENTRIES) {
        if !is_named(state, &file.path) || !is_plain(&file.path) {
            continue;
        }
        let is_as_given = given
            .files
            .get(&file.path)
            .is_some_and(|(size, modified)| *size == file.size && *modified == file.modified);
        if is_as_given || file.size == 0 {
            continue;
        }
        bytes += file.size;
        if file.size > LONGEST || bytes > MOST_BYTES {
            left.push(format!("{} is too large", file.path.display()));
            continue;
        }
        let opened = source.read(&at.join(&file.path))?;
        if !may_go(state, &file.path, &opened, to, folders) {
            left.push(format!("{} is not this workspace's", file.path.display()));
            continue;
        }
        let target = match &target {
            Some(target) => target,
            None => {
                Folder::make_for_owner(to)?;
                // A person may have the folder elsewhere, behind a link of their own.
                target.insert(Folder::open(to)?)
            }
        };
        match add(target, to, &file.path, opened, file.modified, given) {
            Ok(true) => own_root(state, target, to, &file.path, folders)?,
            Ok(false) => left.push(format!(
                "{} was changed in another way than by adding to it",
                file.path.display()
            )),
            Err(error) => left.push(format!("{}: {error}", file.path.display())),
        }
    }
    Ok(left)
}

/// Whether a file belongs where it would go.
fn may_go(
    state: &State,
    path: &Path,
    opened: &std::fs::File,
    to: &Path,
    folders: &[PathBuf],
) -> bool {
    let of_first = |test: &dyn Fn(&Path) -> bool| first(path).is_some_and(|first| test(&first));
    match &state.of_workspace {
        None => false,
        Some(OfWorkspace::DashedFolder) => of_first(&|first| {
            folders
                .iter()
                .any(|folder| Path::new(&dashed(folder)) == first)
        }),
        Some(OfWorkspace::FirstLine { field }) => opened
            .try_clone()
            .ok()
            .and_then(|file| folder_of_first_line(file, field))
            .is_some_and(|folder| folders.iter().any(|own| folder.starts_with(own))),
        Some(OfWorkspace::RootFile) => {
            of_first(&|first| !to.join(first).exists() || is_root(&to.join(first), folders))
        }
    }
}

/// Writes one file; `false` when the host's has other content than the beginning of the new one, or
/// was changed meanwhile.
fn add(
    target: &Folder,
    to: &Path,
    path: &Path,
    mut opened: std::fs::File,
    modified: SystemTime,
    given: &Given,
) -> io::Result<bool> {
    opened.rewind()?;
    match stamp(&to.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(now) => {
            // A line at a time is added to transcripts; a session that is one JSON value is written
            // anew each time, so there the host's must be the one that was given.
            let is_lines = path
                .extension()
                .is_some_and(|extension| extension == "jsonl");
            let is_added_to = if is_lines {
                begins_with(&mut opened, &mut target.read(path)?)?
            } else {
                given.files.get(path) == Some(&now)
            };
            if !is_added_to {
                return Ok(false);
            }
            opened.rewind()?;
        }
    }
    target.replace(path, 0o600, Some(modified), |mut file| {
        io::copy(&mut opened, &mut file).map(drop)
    })?;
    Ok(true)
}

/// Whether `longer` begins with all of `shorter`.
fn begins_with(longer: &mut impl Read, shorter: &mut impl Read) -> io::Result<bool> {
    let (mut one, mut two) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let count = shorter.read(&mut two)?;
        if count == 0 {
            return Ok(true);
        }
        let same = one.get_mut(..count).ok_or(io::ErrorKind::InvalidData)?;
        match longer.read_exact(same) {
            Ok(()) if two.get(..count) == Some(&*same) => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Says whose a new folder is.
fn own_root(
    state: &State,
    target: &Folder,
    to: &Path,
    path: &Path,
    folders: &[PathBuf],
) -> io::Result<()> {
    if matches!(state.of_workspace, Some(OfWorkspace::RootFile))
        && let (Some(first), Some(workspace)) = (first(path), folders.first())
        && !to.join(&first).join(ROOT_FILE).exists()
    {
        let name = workspace.as_os_str().as_encoded_bytes();
        target.write(&first.join(ROOT_FILE), name, 0o600, None)?;
    }
    Ok(())
}

/// Names that mean themselves everywhere: no hidden ones, nothing but letters, digits, `-`, `_`, `.`.
fn is_plain(path: &Path) -> bool {
    path.components().count() <= 8
        && path.components().all(|part| match part {
            Component::Normal(name) => name.to_str().is_some_and(|name| {
                !name.starts_with('.')
                    && name.len() <= 200
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            }),
            _ => false,
        })
}
