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
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use super::{Behind, Shared, State, Stood, place_of};

/// Places at which a twin is known once it was moved there; at more of them, decoys stay decoys.
const MOST_PLACES: usize = 4000;

impl Shared {
    /// Turns decoys of the former twin at `path` (absolute) back in `bytes`, what the file there holds now,
    /// by a new file in its place. `None` if there were none; a file that was `made` inside is replaced all
    /// the same. The inside stands still meanwhile, or is gone.
    ///
    /// # Errors
    /// Nothing was put in place; the file keeps its decoys, which harms nobody.
    pub(crate) fn restore(
        &self,
        path: &Path,
        bytes: &[u8],
        made: bool,
    ) -> io::Result<Option<Restored>> {
        let relative = path.strip_prefix(&self.workspace).unwrap_or(path);
        let (carried, misplaced) = match self.lock().edits_of(&self.workspace, relative) {
            Some(edits) => {
                let carried = edits.carry(relative, bytes);
                let misplaced = edits.misplaced(&carried);
                (carried.bytes, misplaced)
            }
            None => return Ok(None),
        };
        if carried == bytes && !made {
            return Ok(None);
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
        placed.map(|()| Some(Restored { misplaced }))
    }

    /// Places (absolute) to which twins were moved since this was asked last; what comes to stand there is known by what stood where they
    /// came from. A twin may have gone on from there already.
    pub(crate) fn moved(&self) -> io::Result<Vec<PathBuf>> {
        let mut state = self.lock();
        let moves = match &mut state.moves {
            Some(moves) => moves.since()?,
            None => return Ok(Vec::new()),
        };
        let mut places = Vec::new();
        for (from, to) in moves {
            let (Ok(from), Ok(to)) = (
                from.strip_prefix(&self.workspace),
                to.strip_prefix(&self.workspace),
            ) else {
                continue;
            };
            let place = |path: &Path| {
                Some(match path.strip_prefix(from).ok()? {
                    below if below.as_os_str().is_empty() => to.to_owned(),
                    below => to.join(below),
                })
            };
            let twins = state.twins.iter();
            let twins = twins.filter_map(|(path, twin)| Some((place(path)?, twin.stood())));
            let former = state.former.iter();
            let former = former.filter_map(|(path, stood)| Some((place(path)?, stood.clone())));
            let known: Vec<(PathBuf, Stood)> = twins.chain(former).collect();
            for (place, stood) in known {
                if state.former.len() >= MOST_PLACES {
                    break;
                }
                state.stood_at(place.clone(), stood);
                places.push(place);
            }
        }
        if !places.is_empty() {
            self.remember(&mut state, &places, [].into_iter());
        }
        Ok(places
            .into_iter()
            .map(|place| self.workspace.join(place))
            .collect())
    }

    /// Finds the file that stood behind the twin at `path` (absolute) where it was moved to, together with
    /// its twin; its new place. What comes to stand at `path` is still known by what stood there.
    pub(crate) fn follow(&self, path: &Path) -> Option<PathBuf> {
        let relative = path.strip_prefix(&self.workspace).ok()?;
        let mut state = self.lock();
        let place = place_of(&state.twins.get(relative)?.behind.file)?;
        let now = place.strip_prefix(&self.workspace).ok()?;
        if now == relative {
            return None;
        }
        state.take_along(relative, now);
        Some(place)
    }

    /// As [`Shared::follow`], for the file that by now stands at `path`, wherever it came from.
    pub(crate) fn arrive(&self, path: &Path) {
        let Ok(now) = path.strip_prefix(&self.workspace) else {
            return;
        };
        let Some(found) = Behind::identity(path) else {
            return;
        };
        let mut state = self.lock();
        let from = state.twins.iter().find(|(from, twin)| {
            let own = twin.behind.file.metadata().ok();
            *from != now && own.is_some_and(|own| (own.dev(), own.ino()) == found)
        });
        if let Some(from) = from.map(|(from, _)| from.clone()) {
            state.take_along(&from, now);
        }
    }

    /// Whether somebody still writes to the file at `path` (absolute), which was made inside. Then there
    /// is an event when it is closed.
    pub(crate) fn is_unfinished(&self, path: &Path, detached: bool) -> bool {
        let Ok(file) = open_file(path) else {
            return false;
        };
        // Without an answer, a new file that is empty is one that something is about to be written to.
        tagout_sandbox::is_being_written(&file)
            .unwrap_or_else(|| detached && file.metadata().is_ok_and(|file| file.len() == 0))
    }

    /// Turns back the decoys in files that were replaced at the very end, when the inside is gone.
    pub(super) fn restore_last(&self) {
        // Without the journal, what was moved last keeps its decoys, which harms nobody.
        let _ = self.moved();
        let paths: Vec<PathBuf> = {
            let state = self.lock();
            let twins = state.twins.iter().filter(|(path, twin)| {
                let own = twin.behind.file.metadata().ok();
                let own = own.map(|own| (own.dev(), own.ino()));
                let found = Behind::identity(&self.workspace.join(path));
                found.is_some() && found != own
            });
            let former = state
                .former
                .keys()
                .filter(|path| !state.twins.contains_key(*path));
            let twins = twins.map(|(path, _)| path);
            twins.chain(former).cloned().collect()
        };
        for path in paths {
            let place = self.workspace.join(&path);
            let stood = self.lock().stood(&self.workspace, &path);
            let restored = open_file(&place)
                .and_then(|file| super::read(&file))
                .and_then(|bytes| self.restore(&place, &bytes, false));
            let mut state = self.lock();
            match restored {
                Ok(None) => {}
                Ok(Some(restored)) => {
                    self.remember(&mut state, std::slice::from_ref(&path), [].into_iter());
                    state.misplaced(&path, &restored.misplaced);
                    for line in stood.into_iter().flatten().map(|(line, _)| line) {
                        if let Some(origin) = state.lines.get(line).map(|line| line.origin.clone())
                        {
                            state.moved(&origin, &path);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => state.remarks.push(format!(
                    "{} was replaced inside and holds decoys: {error}",
                    path.display()
                )),
            }
        }
    }
}

impl State {
    /// The file behind a twin is at another path now, and its twin over it.
    fn take_along(&mut self, from: &Path, to: &Path) {
        let Some(twin) = self.twins.remove(from) else {
            return;
        };
        self.stood_at(from.to_owned(), twin.stood());
        self.watches.retain(|_, watched| watched != to);
        for watched in self.watches.values_mut() {
            if watched == from {
                *watched = to.to_owned();
            }
        }
        self.twins.insert(to.to_owned(), twin);
    }
}

/// A regular file at exactly this path, for reading: no pipe that never ends, no link.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?;
    let file = File::from(opened);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// What [`Shared::restore`] did.
pub(crate) struct Restored {
    /// Lines, from 1, in which a decoy stands that stood elsewhere.
    pub(super) misplaced: Vec<usize>,
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
