//! Puts back what a session changed.
//!
//! It runs outside, on folders that the inside has filled as it pleased: every step resolves beneath the tree's own descriptor and follows
//! no link. First what came in the session goes and what was moved is taken aside, deepest first, so that nothing is in the way; then
//! everything from before is put where it was, folders first; at last the times of folders, which each step before has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use crate::history::{Changed, History};
use crate::journal::{self, Attributes, Kept, Mark, NAME, Name, Record, Was, is_plain, last};

use self::roots::Roots;

mod roots;

/// Why nothing can be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// Nothing was kept, or it was pruned.
    #[error("nothing is kept of this session: it changed nothing, or what was kept is pruned")]
    NothingKept,
    /// A path that the session did not change.
    #[error("{0} was not changed by this session; see what was with --list")]
    NotChanged(PathBuf),
    /// The tree is not where it was.
    #[error("cannot open {path}, which the session worked in: {source}")]
    Tree {
        /// The tree.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal.
    #[error("cannot read what was kept: {0}")]
    Journal(#[from] io::Error),
}

/// How something was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It came in the session.
    Added,
    /// Its content.
    Changed,
    /// Its mode or times alone.
    Attributes,
    /// It is gone.
    Deleted,
    /// It is there, under another name; its content may differ as well.
    Moved(PathBuf),
}

/// One changed file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was at the start; where it is now, if it came in the session. Absolute.
    pub path: PathBuf,
    /// How it was changed.
    pub kind: Kind,
}

/// What a restoration did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What is as it was again.
    pub restored: Vec<PathBuf>,
    /// What is not, and why.
    pub left: Vec<(PathBuf, String)>,
}

/// What was kept of one session.
pub struct Undo {
    folder: PathBuf,
    history: History,
    /// What lay at the changed places when the session ended.
    marks: HashMap<PathBuf, Mark>,
}

/// Writes down what lies at the changed places, once the session in `folder` is over. Does nothing when that was done before, or when
/// there is no journal.
///
/// # Errors
/// The journal cannot be read or written.
pub fn finish(folder: &Path) -> io::Result<()> {
    let records = match journal::read(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        records => records?,
    };
    if records.contains(&Record::Ended) {
        return Ok(());
    }
    let history = History::of(&records);
    let roots = Roots::open(&history.trees).map_err(io::Error::other)?;
    let mut lines = serde_json::to_vec(&Record::Ended)?;
    lines.push(b'\n');
    for changed in history.changed() {
        let Some(path) = changed.last else { continue };
        if let Ok(Some((mark, _))) = roots.look(&path) {
            let path = Name(path);
            serde_json::to_writer(&mut lines, &Record::Final { path, mark })?;
            lines.push(b'\n');
        }
    }
    let mut journal = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.join(NAME))?;
    io::Write::write_all(&mut journal, &lines)
}

impl Undo {
    /// Reads what was kept in `folder`.
    ///
    /// # Errors
    /// See [`UndoError`].
    pub fn open(folder: &Path) -> Result<Undo, UndoError> {
        let records = match journal::read(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(UndoError::NothingKept);
            }
            records => records?,
        };
        let marks = records
            .iter()
            .filter_map(|record| match record {
                Record::Final { path, mark } => Some((path.0.clone(), *mark)),
                _ => None,
            })
            .collect();
        Ok(Undo {
            folder: folder.to_path_buf(),
            history: History::of(&records),
            marks,
        })
    }

    /// Everything that the session changed, by path.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.history.changed().iter().filter_map(entry).collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries
    }

    /// What was at the start in the file that lies at `path` now: the name of its copy in the folder of what is kept. `Some(None)` where
    /// the file came in the session, `None` where it was not changed, or nobody knows.
    pub fn copy_of(&self, path: &Path) -> Option<Option<PathBuf>> {
        let changed = self.history.changed();
        let lies = |changed: &&Changed| changed.last.as_deref() == Some(path);
        let now = changed.iter().find(lies)?;
        // Saved by renaming another file over it.
        let replaced = changed
            .iter()
            .find(|changed| changed.original.as_deref() == Some(path) && changed.last.is_none())
            .and_then(|changed| changed.was.clone());
        let kept = match (&now.kept, &now.original, replaced) {
            (_, None, Some(Was::File(kept))) => Some(kept),
            (Some(kept), Some(_), _) => Some(kept.clone()),
            (_, None, _) => return Some(None),
            _ => None,
        }?;
        journal::is_plain(&kept.copy).then(|| Some(self.folder.join(kept.copy)))
    }

    /// Changes that were refused, since what they would have lost could not be kept.
    pub fn refused(&self) -> &[PathBuf] {
        &self.history.refused
    }

    /// The trees that the session could change.
    pub fn trees(&self) -> &[PathBuf] {
        &self.history.trees
    }

    /// Puts everything back that lies at or below one of `paths` (absolute; none: everything). `force`: also what the host changed since.
    /// `dry`: nothing is done, the outcome says what would be.
    ///
    /// # Errors
    /// See [`UndoError`]. What cannot be put back by itself is in the outcome.
    pub fn restore(&self, paths: &[PathBuf], force: bool, dry: bool) -> Result<Outcome, UndoError> {
        let roots = Roots::open(&self.history.trees)?;
        let changed = self.history.changed();
        let is_meant = |changed: &Changed| {
            let places = [&changed.original, &changed.last];
            let below = places
                .into_iter()
                .flatten()
                .any(|place| paths.iter().any(|path| place.starts_with(path)));
            // The folders that they lay in, where those are gone.
            let above = changed.last.is_none()
                && changed
                    .original
                    .as_ref()
                    .is_some_and(|place| paths.iter().any(|path| path.starts_with(place)));
            paths.is_empty() || below || above
        };
        for path in paths {
            let below = |place: &Option<PathBuf>| {
                place.as_ref().is_some_and(|place| place.starts_with(path))
            };
            if !changed
                .iter()
                .any(|changed| below(&changed.original) || below(&changed.last))
            {
                return Err(UndoError::NotChanged(path.clone()));
            }
        }
        let mut restoration = Restoration {
            undo: self,
            roots,
            force,
            outcome: Outcome::default(),
            aside: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        let meant: Vec<Changed> = changed.into_iter().filter(is_meant).collect();
        let meant = restoration.without_conflicts(meant);
        if dry {
            restoration.outcome.restored = meant
                .iter()
                .filter_map(entry)
                .map(|entry| entry.path)
                .collect();
            restoration.outcome.restored.sort();
            restoration.outcome.restored.dedup();
            return Ok(restoration.outcome);
        }
        restoration.clear(&meant);
        restoration.put_back(&meant);
        restoration.roots.remove_aside();
        restoration.roots.set_touched();
        restoration.set_folders(&meant);
        restoration.outcome.restored.sort();
        restoration.outcome.restored.dedup();
        Ok(restoration.outcome)
    }
}

/// What is worth telling of a change: folders whose time alone changed are not.
fn entry(changed: &Changed) -> Option<Entry> {
    let (path, kind) = match (&changed.original, &changed.last) {
        (None, None) => return None,
        (None, Some(last)) => (last, Kind::Added),
        (Some(original), None) => (original, Kind::Deleted),
        (Some(original), Some(last)) if original != last => (original, Kind::Moved(last.clone())),
        (Some(original), Some(_)) if changed.kept.is_some() => (original, Kind::Changed),
        (Some(original), Some(_)) => (original, Kind::Attributes),
    };
    Some(Entry {
        path: path.clone(),
        kind,
    })
}

/// One restoration that is going on.
struct Restoration<'a> {
    undo: &'a Undo,
    roots: Roots,
    force: bool,
    outcome: Outcome,
    /// What was moved, taken aside: by where it belongs.
    aside: BTreeMap<PathBuf, String>,
    gone: BTreeSet<PathBuf>,
}

impl Restoration<'_> {
    /// Leaves out what the host changed since the session ended.
    fn without_conflicts(&mut self, meant: Vec<Changed>) -> Vec<Changed> {
        let mut left = Vec::new();
        for changed in meant {
            if self.is_back(&changed) {
                continue;
            }
            match self.conflict(&changed) {
                Some(why) if !self.force => {
                    let path = changed.original.or(changed.last).unwrap_or_default();
                    self.outcome.left.push((path, why));
                }
                _ => left.push(changed),
            }
        }
        left
    }

    /// Whether it is as it was already: put back before, or by somebody else.
    fn is_back(&self, changed: &Changed) -> bool {
        let Some(original) = &changed.original else {
            return false;
        };
        let Ok(Some((mark, kind))) = self.roots.look(original) else {
            return false;
        };
        let is_of = |attributes: Attributes| {
            (mark.seconds, mark.nanoseconds) == (attributes.seconds, attributes.nanoseconds)
        };
        let kept = match (&changed.kept, &changed.was) {
            (Some(kept), _) | (None, Some(Was::File(kept))) => kept,
            (None, Some(Was::Link { attributes, .. })) => {
                return changed.last.is_none() && kind == FileType::Symlink && is_of(*attributes);
            }
            _ => return false,
        };
        let size = is_plain(&kept.copy)
            .then(|| std::fs::metadata(self.undo.folder.join(&kept.copy)).ok())
            .flatten()
            .map(|copy| copy.len());
        // A file that was written at the same nanosecond and has the same size is taken for the same.
        kind == FileType::RegularFile
            && size == Some(mark.size)
            && is_of(changed.attributes.unwrap_or(kept.attributes))
            && changed.last.as_ref().is_none_or(|last| last == original)
    }

    fn conflict(&self, changed: &Changed) -> Option<String> {
        let since = || Some("it was changed since; --force puts it back all the same".to_owned());
        if let Some(last) = &changed.last
            && let Ok(found) = self.roots.look(last)
        {
            match (found, self.undo.marks.get(last)) {
                (None, _) => {}
                // A folder's time changes with what is in it, and nothing of it is lost.
                (Some((_, FileType::Directory)), _) => {}
                (Some((mark, _)), Some(then)) if mark == *then => {}
                _ => return since(),
            }
        }
        // Something has come to where it belongs.
        if let Some(original) = &changed.original
            && changed.last.as_ref() != Some(original)
            && let Ok(Some((mark, kind))) = self.roots.look(original)
            && kind != FileType::Directory
            && self.undo.marks.get(original) != Some(&mark)
        {
            return since();
        }
        None
    }

    /// Removes what came in the session and takes aside what was moved.
    fn clear(&mut self, meant: &[Changed]) {
        let mut open: Vec<&Changed> = meant
            .iter()
            .filter(|changed| changed.last.is_some() && changed.last != changed.original)
            .filter(|changed| !is_carried_along(changed, meant))
            .collect();
        open.sort_by_key(|changed| std::cmp::Reverse(depth(changed.last.as_deref())));
        for changed in open {
            let Some(last) = &changed.last else { continue };
            let done = match &changed.original {
                None => self.roots.remove(last),
                Some(original) => self.roots.set_aside(last).map(|name| {
                    self.aside.insert(original.clone(), name);
                }),
            };
            match done {
                Ok(()) => {
                    self.gone.insert(last.clone());
                    if changed.original.is_none() {
                        self.outcome.restored.push(last.clone());
                    }
                }
                // The host was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A bulk folder that was removed and made again: of what is in it nothing is known, and it is a folder as before.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty
                        && meant.iter().any(|other| {
                            other.original.as_ref() == Some(last)
                                && matches!(other.was, Some(Was::Folder(_)))
                        }) => {}
                Err(error) => self.fail(last, &error),
            }
        }
    }

    /// Puts everything from before where it was.
    fn put_back(&mut self, meant: &[Changed]) {
        let mut open: Vec<&Changed> = meant
            .iter()
            .filter(|changed| changed.original.is_some())
            .collect();
        open.sort_by_key(|changed| depth(changed.original.as_deref()));
        for changed in open {
            let Some(original) = &changed.original else {
                continue;
            };
            match self.put_one_back(original, changed) {
                Ok(true) => self.outcome.restored.push(original.clone()),
                Ok(false) => {}
                Err(error) => self.fail(original, &error),
            }
        }
    }

    /// Whether something was put back.
    fn put_one_back(&mut self, original: &Path, changed: &Changed) -> io::Result<bool> {
        if let Some(name) = self.aside.get(original) {
            self.roots.take_back(name, original, self.force)?;
        }
        let is_there = self.roots.look(original)?;
        if let Some(kept) = &changed.kept {
            self.write(original, kept, changed.attributes, is_there.is_some())?;
            return Ok(true);
        }
        if changed.last.is_none() {
            let Some(was) = &changed.was else {
                return Ok(false);
            };
            if let Some((_, kind)) = is_there {
                if matches!(was, Was::Folder(_)) && kind == FileType::Directory {
                    return Ok(false);
                }
                // Nothing of the host's: that was looked at before.
                self.roots.remove(original)?;
            }
            self.make(original, was, changed.attributes)?;
            return Ok(true);
        }
        if let Some(attributes) = changed.attributes
            && is_there.is_some_and(|(_, kind)| kind != FileType::Directory)
        {
            self.roots.set_attributes(original, attributes)?;
            return Ok(true);
        }
        Ok(changed.last.as_deref() != Some(original))
    }

    fn make(&self, path: &Path, was: &Was, earlier: Option<Attributes>) -> io::Result<()> {
        match was {
            Was::File(kept) => self.write(path, kept, earlier, false),
            // Its mode comes at the end: it may not let anything be put in it.
            Was::Folder(_) => self.roots.make_folder(path),
            Was::Link { target, attributes } => {
                self.roots.make_link(path, &target.0)?;
                self.roots.set_times(path, *attributes)
            }
            Was::Pipe(attributes) => {
                self.roots.make_pipe(path)?;
                self.roots.set_attributes(path, *attributes)
            }
            Was::Other => Err(io::Error::other("it was a socket or a device")),
        }
    }

    fn write(
        &self,
        path: &Path,
        kept: &Kept,
        earlier: Option<Attributes>,
        is_there: bool,
    ) -> io::Result<()> {
        if !is_plain(&kept.copy) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut copy = File::open(self.undo.folder.join(&kept.copy))?;
        self.roots.write(path, &mut copy, is_there)?;
        self.roots
            .set_attributes(path, earlier.unwrap_or(kept.attributes))
    }

    /// Gives folders their modes and times, deepest first.
    fn set_folders(&mut self, meant: &[Changed]) {
        let mut folders: Vec<(&Path, Attributes)> = meant
            .iter()
            .filter_map(|changed| {
                let original = changed.original.as_deref()?;
                let removed = match &changed.was {
                    Some(Was::Folder(attributes)) => Some(*attributes),
                    _ => None,
                };
                Some((original, changed.attributes.or(removed)?))
            })
            .collect();
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(depth(Some(path))));
        for (path, attributes) in folders {
            if let Ok(Some((_, FileType::Directory))) = self.roots.look(path)
                && let Err(error) = self.roots.set_attributes(path, attributes)
            {
                self.fail(path, &error);
            }
        }
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.outcome
            .left
            .push((path.to_path_buf(), error.to_string()));
    }
}

/// Whether it goes back by itself with a folder that it is still in, as it was at the start: then it stays there, and the times of the
/// folders in between with it.
fn is_carried_along(changed: &Changed, meant: &[Changed]) -> bool {
    let (Some(original), Some(last)) = (&changed.original, &changed.last) else {
        return false;
    };
    meant.iter().any(|folder| {
        let (Some(from), Some(to)) = (&folder.original, &folder.last) else {
            return false;
        };
        let (Ok(before), Ok(after)) = (original.strip_prefix(from), last.strip_prefix(to)) else {
            return false;
        };
        let is_between = |added: &Changed| {
            added.original.is_none()
                && added.last.as_ref().is_some_and(|added| {
                    added != last && last.starts_with(added) && added.starts_with(to)
                })
        };
        from != to
            && before == after
            && !before.as_os_str().is_empty()
            && !meant.iter().any(is_between)
    })
}

fn depth(path: Option<&Path>) -> usize {
    path.map_or(0, |path| path.components().count())
}
