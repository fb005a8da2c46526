//! Keeps what is there before it changes. Runs in the mediator, asked before every change, one at a time.
//!
//! A file is copied once, before it is first written, cut, replaced or removed; what came in the session is not copied at all. Which file
//! is which is told by device, inode and time of birth, never by name, so that renaming does not lose track.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use tagout_sandbox::{Change, Entry, Found, Identity, Keeper, Mediation, Stop, Target};

use crate::journal::{Attributes, Kept, Lost, NAME, Name, Record, VERSION, Was};
use crate::losses::Losses;
use crate::sparse;

/// Begins a journal in `folder` and keeps what changes in `trees`. For [`tagout_sandbox::stage_main_with`].
///
/// # Errors
/// The journal cannot be made.
pub fn keeper(
    folder: OwnedFd,
    questions: UnixStream,
    mediation: &Mediation,
    trees: &[PathBuf],
) -> io::Result<Box<dyn Keeper>> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
    let journal = rustix::fs::openat(&folder, NAME, flags, Mode::from_raw_mode(0o600))?;
    let mut recorder = Recorder {
        folder,
        journal: File::from(journal),
        budget: mediation.budget,
        bulk: mediation.bulk.clone(),
        trees: trees.to_vec(),
        losses: Losses::new(questions, trees, &mediation.bulk),
        known: HashSet::new(),
        marked: HashSet::new(),
        copies: 0,
        last: Last::Nothing,
    };
    recorder.write(&Record::Began {
        version: VERSION,
        trees: trees.iter().map(|tree| Name(tree.clone())).collect(),
    })?;
    Ok(Box::new(recorder))
}

struct Recorder {
    folder: OwnedFd,
    journal: File,
    /// Bytes that may still be copied.
    budget: u64,
    bulk: Vec<String>,
    trees: Vec<PathBuf>,
    losses: Losses,
    /// Files that need no copy: kept already, or come in the session.
    known: HashSet<Identity>,
    /// Files and folders whose attributes are written down, or that came in the session.
    marked: HashSet<Identity>,
    copies: u64,
    last: Last,
}

/// What the last agreement was about.
#[derive(PartialEq)]
enum Last {
    Nothing,
    /// A record that has to be taken back if the change fails.
    Name,
    /// As `Name`, and what comes of it is new.
    New,
    /// Something new without a name.
    Unnamed,
}

impl Keeper for Recorder {
    fn before(&mut self, change: &Change<'_>) -> Result<(), Stop> {
        self.last = Last::Nothing;
        self.losses.nothing();
        if self.is_free(change)? {
            return Ok(());
        }
        if let Some((path, _)) = self.loss(change) {
            self.losses.may_go(&path)?;
        }
        let copies = self.copies;
        self.keep(change)?;
        let copy = (self.copies > copies).then(|| self.copies.to_string());
        self.will_happen(change, copy);
        Ok(())
    }

    fn done(&mut self, made: Option<&Found>) {
        self.losses.happened(made.map(|made| made.identity));
        if let (Last::New | Last::Unnamed, Some(made)) = (&self.last, made) {
            self.known.insert(made.identity);
            self.marked.insert(made.identity);
        }
    }

    fn failed(&mut self) {
        self.losses.nothing();
        if matches!(self.last, Last::New | Last::Name) {
            // If it cannot be written, nothing else can, and every further change is refused.
            let _ = self.write(&Record::Failed);
        }
    }

    fn answered(&mut self, line: &str) {
        self.losses.answered(line);
    }
}

impl Recorder {
    /// The file from before that goes with a change.
    fn loss(&self, change: &Change<'_>) -> Option<(PathBuf, Identity)> {
        let is_file = |found: &Found| found.kind() == FileType::RegularFile;
        let (entry, found) = match change {
            Change::Remove(entry, found) => (entry, *found),
            Change::Rename {
                from,
                from_found,
                to,
                replaced,
            } => {
                let into_bulk = !self.is_bulk(&from.path()) && self.is_bulk(&to.path());
                let over_another =
                    replaced.is_some_and(|found| is_file(found) && self.counts(&to.path(), found));
                if !into_bulk && !over_another {
                    return None;
                }
                (from, *from_found)
            }
            _ => return None,
        };
        let path = entry.path();
        (is_file(found) && self.counts(&path, found)).then_some((path, found.identity))
    }

    fn counts(&self, path: &Path, found: &Found) -> bool {
        self.losses.counts(path, &found.identity)
    }

    /// Tells what is counted what is about to happen.
    fn will_happen(&mut self, change: &Change<'_>, copy: Option<String>) {
        match (change, self.loss(change)) {
            (Change::Remove(..), Some((path, file))) => self.losses.losing(&path, &file, copy),
            (Change::Create(entry), _) => self.losses.bearing(&entry.path()),
            (Change::Exchange(one, _, other, _), _) => {
                self.losses.moving(&one.path(), &other.path(), true);
            }
            (
                Change::Rename {
                    from,
                    from_found,
                    to,
                    replaced,
                },
                loss,
            ) => {
                let (from_path, to_path) = (from.path(), to.path());
                if from_found.kind() != FileType::RegularFile {
                    self.losses.moving(&from_path, &to_path, false);
                } else if let (Some((path, file)), true) = (&loss, self.is_bulk(&to_path)) {
                    self.losses.losing(path, file, copy);
                } else {
                    let replaced = replaced.is_some_and(|found| self.counts(&to_path, found));
                    let from = (&*from_path, from_found.identity);
                    self.losses.renaming(from, &to_path, replaced);
                }
            }
            _ => {}
        }
    }

    /// Writes down what was there before a change.
    fn keep(&mut self, change: &Change<'_>) -> Result<(), Errno> {
        match change {
            Change::Create(entry) => self.name(entry, Last::New),
            Change::Link(entry) => self.name(entry, Last::Name),
            Change::CreateUnnamed => {
                self.last = Last::Unnamed;
                Ok(())
            }
            Change::Write(target) => self.content(target),
            Change::Attributes(target) => self.attributes(target.path, target.found),
            Change::Remove(entry, found) => {
                let path = entry.path();
                self.folder(entry)?;
                let was = self.lose(entry, &path, found)?;
                self.record(
                    &Record::Removed {
                        path: Name(path),
                        was,
                    },
                    Last::Name,
                )
            }
            Change::Rename {
                from,
                from_found,
                to,
                replaced,
            } => {
                self.folder(from)?;
                self.folder(to)?;
                let path = to.path();
                if !self.is_bulk(&from.path()) && self.is_bulk(&path) {
                    // What becomes of it there, nobody writes down.
                    let gone = self.lose(from, &from.path(), from_found)?;
                    let record = Record::Removed {
                        path: Name(from.path()),
                        was: gone,
                    };
                    return self.record(&record, Last::Name);
                }
                let replaced = match replaced {
                    Some(found) => Some(Lost {
                        was: self.lose(to, &path, found)?,
                    }),
                    None => None,
                };
                let record = Record::Renamed {
                    from: Name(from.path()),
                    to: Name(path),
                    replaced,
                };
                self.record(&record, Last::Name)
            }
            Change::Exchange(one, _, other, _) => {
                self.folder(one)?;
                self.folder(other)?;
                let record = Record::Exchanged {
                    one: Name(one.path()),
                    other: Name(other.path()),
                };
                self.record(&record, Last::Name)
            }
        }
    }

    /// Whether a change is of the contents of `bulk` folders alone, of which nothing is kept. A folder that is not one of them does not
    /// become one, nor a part of one, by another name: what is in it would be lost unseen. As between two file systems, it has to be
    /// copied, and what `mv` removes then is kept.
    fn is_free(&self, change: &Change<'_>) -> Result<bool, Errno> {
        if self.bulk.is_empty() {
            return Ok(false);
        }
        let is_bulk = |entry: &Entry<'_>| self.is_bulk(&entry.path());
        let moves = |from: &Entry<'_>, found: &Found, to: &Entry<'_>| {
            let holds = |path: &Path| self.is_bulk(&path.join("any"));
            let loses =
                found.kind() == FileType::Directory && !holds(&from.path()) && holds(&to.path());
            match loses {
                true => Err(Errno::XDEV),
                false => Ok(is_bulk(from) && is_bulk(to)),
            }
        };
        Ok(match change {
            Change::Create(entry) | Change::Link(entry) | Change::Remove(entry, _) => {
                is_bulk(entry)
            }
            Change::CreateUnnamed => false,
            Change::Write(target) | Change::Attributes(target) => self.is_bulk(target.path),
            Change::Rename {
                from,
                from_found,
                to,
                ..
            } => moves(from, from_found, to)?,
            Change::Exchange(one, found, other, other_found) => {
                let there = moves(one, found, other)?;
                moves(other, other_found, one)? && there
            }
        })
    }

    fn name(&mut self, entry: &Entry<'_>, last: Last) -> Result<(), Errno> {
        self.folder(entry)?;
        let record = Record::Created {
            path: Name(entry.path()),
        };
        self.record(&record, last)
    }

    /// Writes down a folder before its time changes with a name in it.
    fn folder(&mut self, entry: &Entry<'_>) -> Result<(), Errno> {
        let found = look(entry.folder)?;
        self.attributes(entry.folder_path, &found)
    }

    fn attributes(&mut self, path: &Path, found: &Found) -> Result<(), Errno> {
        if self.marked.insert(found.identity) {
            self.write_or_refuse(&Record::Attributes {
                path: path.into(),
                attributes: attributes(found),
            })?;
        }
        Ok(())
    }

    fn content(&mut self, target: &Target<'_>) -> Result<(), Errno> {
        if self.known.contains(&target.found.identity) {
            return Ok(());
        }
        let folder = target.path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        if is_laid_over(folder.as_fd(), target.found)? || self.is_bulk(target.path) {
            return Ok(());
        }
        let reading = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let kept = self.copy(target.path, target.found, || {
            rustix::fs::open(target.link, reading, Mode::empty())
        })?;
        self.write_or_refuse(&Record::Kept {
            path: target.path.into(),
            file: kept,
        })?;
        self.known.insert(target.found.identity);
        Ok(())
    }

    /// What has to come back if this name goes.
    fn lose(
        &mut self,
        entry: &Entry<'_>,
        path: &Path,
        found: &Found,
    ) -> Result<Option<Was>, Errno> {
        let was = match found.kind() {
            FileType::RegularFile => {
                if self.known.contains(&found.identity)
                    || is_laid_over(entry.folder, found)?
                    || self.is_bulk(path)
                {
                    return Ok(None);
                }
                let reading =
                    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
                let kept = self.copy(path, found, || {
                    rustix::fs::openat(entry.folder, entry.name, reading, Mode::empty())
                })?;
                // Another name of it may live on, and be written through later: then it is copied again.
                Was::File(kept)
            }
            FileType::Directory => Was::Folder(attributes(found)),
            FileType::Symlink => Was::Link {
                target: {
                    let target = rustix::fs::readlinkat(entry.folder, entry.name, Vec::new())?;
                    use std::os::unix::ffi::OsStrExt;
                    Name(std::ffi::OsStr::from_bytes(target.as_bytes()).into())
                },
                attributes: attributes(found),
            },
            FileType::Fifo => Was::Pipe(attributes(found)),
            _ => Was::Other,
        };
        Ok(Some(was))
    }

    /// Copies a file into the folder of what is kept.
    fn copy(
        &mut self,
        path: &Path,
        found: &Found,
        open: impl Fn() -> Result<OwnedFd, Errno>,
    ) -> Result<Kept, Errno> {
        let result = self.try_copy(found, open);
        if let Err(error) = result {
            // What cannot be kept is not changed; the report at the end names it.
            let _ = self.write(&Record::Refused { path: path.into() });
            return Err(match error {
                Errno::DQUOT | Errno::NOSPC => Errno::DQUOT,
                _ => Errno::PERM,
            });
        }
        result
    }

    fn try_copy(
        &mut self,
        found: &Found,
        open: impl Fn() -> Result<OwnedFd, Errno>,
    ) -> Result<Kept, Errno> {
        let file = match open() {
            Err(Errno::ACCESS) => reading_everything(&open)?,
            other => other?,
        };
        // The file that was looked at, and no other of the same name.
        if !look(file.as_fd())?.is(found) {
            return Err(Errno::AGAIN);
        }
        let mut from = File::from(file);
        let taken = sparse::taken(&from).map_err(number)?;
        self.budget = self.budget.checked_sub(taken).ok_or(Errno::DQUOT)?;
        self.copies += 1;
        let name = self.copies.to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(&self.folder, &*name, flags, Mode::from_raw_mode(0o600))?;
        let copied = sparse::copy(&mut from, &mut File::from(copy)).map_err(number)?;
        // It may have grown meanwhile, from outside.
        self.budget = self.budget.saturating_sub(copied.saturating_sub(taken));
        Ok(Kept {
            copy: name,
            attributes: attributes(found),
        })
    }

    fn is_bulk(&self, path: &Path) -> bool {
        // Above the tree a folder may be named so as well.
        let in_tree = self
            .trees
            .iter()
            .find_map(|tree| path.strip_prefix(tree).ok());
        let Some(folder) = in_tree.and_then(Path::parent) else {
            return false;
        };
        folder.components().any(|part| {
            self.bulk
                .iter()
                .any(|bulk| part.as_os_str() == bulk.as_str())
        })
    }

    fn record(&mut self, record: &Record, last: Last) -> Result<(), Errno> {
        self.write_or_refuse(record)?;
        self.last = last;
        Ok(())
    }

    fn write_or_refuse(&mut self, record: &Record) -> Result<(), Errno> {
        self.write(record).map_err(number)
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // One write: a line is there, or torn at the very end.
        self.journal.write_all(&line)
    }
}

fn attributes(found: &Found) -> Attributes {
    Attributes {
        mode: found.mode & 0o7777,
        seconds: found.changed.0,
        nanoseconds: found.changed.1,
    }
}

fn look(file: BorrowedFd<'_>) -> Result<Found, Errno> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, Found::ASKED)?;
    Ok(Found::of(&status))
}

/// Whether the file is one of ours, mounted over the workspace's: a twin, whose real file the supervisor keeps.
fn is_laid_over(folder: BorrowedFd<'_>, found: &Found) -> Result<bool, Errno> {
    Ok(look(folder)?.mount != found.mount)
}

/// Opens what its owner closed to everybody: the owner may remove it all the same.
fn reading_everything(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let mut sets = rustix::thread::capabilities(None)?;
    let usual = sets.effective;
    sets.effective |= CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_capabilities(None, sets)?;
    let opened = open();
    sets.effective = usual;
    rustix::thread::set_capabilities(None, sets)?;
    opened
}

fn number(error: io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::QuotaExceeded => Errno::DQUOT,
        _ => Errno::IO,
    }
}
