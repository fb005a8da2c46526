//! Files that appear, or get a secret, while a session runs: an editor outside writes `.env`, `git pull` brings one, a folder is moved
//! here. Every folder that a launch searches is watched; what comes to stand there is looked at as a launch looks at it, and a file with a
//! secret gets a twin.
//!
//! What must stay true:
//! - A file with a secret is hidden while the inside stands still, and what had it open inside by then has ended. What stands still goes
//!   on, or ends: whatever fails here ends the session.
//! - Lost events never count as no events: then the inside stands still until everything was looked at again.
//! - What the agent itself wrote it knows: that stays as it is. A file is the agent's only for as long as nobody else can have written to
//!   it since.
//! - A file in which nothing is found stops nobody.

mod judged;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde_json::json;
use tagout_credentials::Broker;
use tagout_ledger::Ledger;
use tagout_sandbox::{Control, LaunchError, Watch, is_aside, is_being_written, is_open_elsewhere};
use tagout_secrets::{DecoyKey, FileKind, file_kind};

use self::judged::{Judged, judge};
use crate::scan::{DEPENDENCIES, LARGEST};
use crate::twins::Shared as Twins;
use crate::view::Looked;

/// Files up to this are read before the inside is stopped for them.
const READ_AT_ONCE: u64 = 64 * 1024;
/// How long the inside stands still for whoever is still writing a file.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// Folders that are watched, and how many of them are not for folders that the inside made.
const MOST_FOLDERS: usize = 32_768;
const NOT_OF_INSIDE: usize = 24_576;
/// Files of promising names that may wait to be looked at while the inside runs.
const MOST_WAITING: usize = 64;
/// Times of files are those of the last tick of the kernel's clock, a hundredth of a second at the most.
const TICK: Duration = Duration::from_millis(20);

/// What the watching thread works with.
pub(crate) struct Around {
    pub(crate) workspace: PathBuf,
    pub(crate) control: Control,
    pub(crate) key: DecoyKey,
    pub(crate) broker: Arc<Broker>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) twins: Arc<Twins>,
    pub(crate) looked: Looked,
}

/// Whether somebody still writes it, as far as anybody can tell.
fn is_unfinished(file: &File, arrival: &Arrival) -> bool {
    is_being_written(file)
        .unwrap_or_else(|| arrival.new && file.metadata().is_ok_and(|found| found.len() == 0))
}

impl Around {
    /// Whether what a file holds was written inside, as far as anybody can tell: what came from elsewhere is the host's, whoever opened it
    /// since.
    fn has_written(&self, arrival: &Arrival, path: &Path) -> bool {
        self.control.has_written(path) && (!arrival.new || self.control.has_made(path))
    }
}

/// The folders of a workspace, and what came to stand in them. Paths are relative to the workspace.
pub(crate) struct Appearing {
    root: OwnedFd,
    inotify: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    /// To be watched and looked through, each with the time from which on changes there are news; all is, without one.
    unentered: Vec<(PathBuf, Option<SystemTime>)>,
    /// To be looked at: first what has a name that promises credentials.
    urgent: VecDeque<Arrival>,
    others: VecDeque<Arrival>,
    waiting: HashSet<PathBuf>,
    lost: bool,
    /// When nothing was left to look at.
    settled: SystemTime,
    unwatched: u64,
    /// Whether every folder was entered once.
    walked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrival {
    path: PathBuf,
    /// It came to stand there; otherwise what stood there was written.
    new: bool,
}

impl Appearing {
    /// Begins with the whole workspace, of which everything is known that did not change since `known`.
    pub(crate) fn new(workspace: &Path, known: SystemTime) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let known = known - TICK;
        Ok(Self {
            root: rustix::fs::open(workspace, flags, Mode::empty())?,
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            folders: HashMap::new(),
            unentered: vec![(PathBuf::new(), Some(known))],
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            waiting: HashSet::new(),
            lost: false,
            settled: known,
            unwatched: 0,
            walked: false,
        })
    }

    /// Readable when there is something to [`Appearing::take_in`].
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Whether there is nothing to do until the descriptor is readable.
    pub(crate) fn is_idle(&self) -> bool {
        self.unentered.is_empty() && self.urgent.is_empty() && self.others.is_empty() && !self.lost
    }

    /// A sentence for the end of the session, if not everything was seen.
    pub(crate) fn remark(&self) -> Option<String> {
        (self.unwatched > 0).then(|| {
            format!(
                "{} folders were not watched, there are too many: files with secrets that came there during the session were not hidden",
                self.unwatched
            )
        })
    }

    /// Reads what happened, and notes what is to be looked at.
    pub(crate) fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 64 << 10];
        let mut happened = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    happened.push((event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (watch, events, name) in happened {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.lost = true;
            }
            if events.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
            }
            let (Some(folder), Some(name)) = (self.folders.get(&watch), name) else {
                continue;
            };
            let path = folder.join(std::ffi::OsStr::from_bytes(&name));
            let new = events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            if events.contains(ReadFlags::ISDIR) {
                if new && is_searched(&path) {
                    self.unentered.push((path, None));
                }
            } else if !events.contains(ReadFlags::CREATE) || self.is_whole(&path) {
                self.note(path, new);
            }
        }
        Ok(())
    }

    /// Whether a file that has just come into being is to be looked at before anybody closes it: its name promises credentials, it is a
    /// further name of a file, or it is no file.
    fn is_whole(&self, path: &Path) -> bool {
        file_kind(path) != FileKind::Plain
            || rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
                match FileType::from_raw_mode(found.st_mode) {
                    FileType::RegularFile => found.st_nlink > 1,
                    kind => matches!(kind, FileType::Socket | FileType::Fifo),
                }
            })
    }

    fn note(&mut self, path: PathBuf, new: bool) {
        let urgent = file_kind(&path) != FileKind::Plain;
        let queue = match urgent {
            true => &mut self.urgent,
            false => &mut self.others,
        };
        if self.waiting.insert(path.clone()) {
            queue.push_back(Arrival { path, new });
        } else if new && let Some(arrival) = queue.iter_mut().find(|arrival| arrival.path == path) {
            arrival.new = true;
        }
    }

    /// Does one of the things that are to be done.
    ///
    /// # Errors
    /// The inside may stand still, and must end.
    pub(crate) fn step(&mut self, around: &Around, watch: &mut Watch) -> Result<(), Lost> {
        if std::mem::take(&mut self.lost) {
            return self.look_at_everything(around, watch);
        }
        // Whoever makes more of them than can be looked at stands still meanwhile, so that nothing of the host's waits behind.
        if self.urgent.len() > MOST_WAITING {
            return self.hide_all(None, around, watch);
        }
        if let Some(arrival) = self.next_of(true) {
            return self.look_at(&arrival, around, watch);
        }
        if let Some((folder, since)) = self.unentered.pop() {
            let unseen = around.looked.hides(&folder) && !around.looked.is_hidden(&folder);
            if unseen && !around.control.has_made(&around.workspace.join(&folder)) {
                around.control.freeze()?;
                self.hide(&folder, around, watch)?;
                around.control.thaw()?;
                return Ok(());
            }
            self.enter(folder, since, around);
        } else if let Some(arrival) = self.next_of(false) {
            self.look_at(&arrival, around, watch)?;
        }
        if self.is_idle() {
            self.settled = SystemTime::now() - TICK;
            self.walked = true;
        }
        Ok(())
    }

    fn next_of(&mut self, urgent: bool) -> Option<Arrival> {
        let queue = match urgent {
            true => &mut self.urgent,
            false => &mut self.others,
        };
        let arrival = queue.pop_front()?;
        self.waiting.remove(&arrival.path);
        Some(arrival)
    }

    /// Watches a folder, and notes what is news in it.
    fn enter(&mut self, folder: PathBuf, since: Option<SystemTime>, around: &Around) {
        if around.looked.is_hidden(&folder) {
            return;
        }
        let Ok(opened) = self.open(&folder, OFlags::RDONLY | OFlags::DIRECTORY) else {
            // It went, or cannot be read, inside neither.
            return;
        };
        if rustix::fs::fstat(&opened)
            .is_ok_and(|found| is_aside(folder.file_name().unwrap_or_default(), found.st_mode))
        {
            return;
        }
        let full = self.folders.len() >= MOST_FOLDERS
            || self.folders.len() >= NOT_OF_INSIDE
                && around.control.has_made(&around.workspace.join(&folder));
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let place = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let watched = match full {
            true => Err(Errno::NOSPC),
            false => inotify::add_watch(&self.inotify, place, flags),
        };
        let since = match watched {
            // What is in a folder that nobody saw coming was not seen either, whatever its times say.
            Ok(watch) => match self.folders.insert(watch, folder.clone()) {
                None if self.walked => None,
                _ => since,
            },
            Err(Errno::NOENT) => return,
            Err(_) => {
                self.unwatched += 1;
                since
            }
        };
        let Ok(entries) = Dir::read_from(&opened) else {
            return;
        };
        for entry in entries.flatten() {
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = folder.join(name);
            let status = rustix::fs::statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let Ok(status) = status else {
                continue;
            };
            let news = since.is_none_or(|since| {
                let seconds = u64::try_from(status.st_ctime).unwrap_or_default();
                UNIX_EPOCH + Duration::new(seconds, status.st_ctime_nsec as u32) >= since
            });
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory if is_aside(name, status.st_mode) => {}
                FileType::Directory if is_searched(&path) => self.unentered.push((path, since)),
                FileType::RegularFile | FileType::Socket | FileType::Fifo if news => {
                    self.note(path, true);
                }
                _ => {}
            }
        }
    }

    /// Looks at one file, and hides it if that is called for.
    fn look_at(
        &mut self,
        arrival: &Arrival,
        around: &Around,
        watch: &mut Watch,
    ) -> Result<(), Lost> {
        let path = around.workspace.join(&arrival.path);
        // What is there already is looked after by its own watch.
        if watch.watches(&path) || around.looked.is_hidden(&arrival.path) {
            return Ok(());
        }
        if around.looked.hides(&arrival.path) && !around.control.has_made(&path) {
            return self.hide_all(Some(arrival), around, watch);
        }
        let Ok(found) = fs::symlink_metadata(&path) else {
            return Ok(());
        };
        let kind = found.file_type();
        if kind.is_socket() || kind.is_fifo() {
            // A program of the host may listen behind it.
            if !around.control.has_made(&path) {
                self.hide_all(Some(arrival), around, watch)?;
            }
            return Ok(());
        }
        if !kind.is_file() {
            return Ok(());
        }
        let promising = file_kind(&arrival.path) != FileKind::Plain;
        // In most there is nothing, and it does not matter who wrote it.
        if !promising
            && found.len() <= READ_AT_ONCE
            && self.is_finished_and_clean(arrival, &around.key)
        {
            around.control.forget_writing(&path);
            return Ok(());
        }
        if around.has_written(arrival, &path) {
            self.forget_if_clean(&arrival.path, around);
            return Ok(());
        }
        if promising || found.len() <= LARGEST {
            let Ok(file) = self.open_file(&arrival.path) else {
                return Ok(());
            };
            let stops = match (promising, is_unfinished(&file, arrival)) {
                (true, unfinished) if unfinished || found.len() > READ_AT_ONCE => true,
                // Who still writes it will close it.
                (false, true) => false,
                _ => !matches!(judge(&arrival.path, &file, &around.key).0, Judged::Clean),
            };
            drop(file);
            if stops {
                self.hide_all(Some(arrival), around, watch)?;
            }
        }
        Ok(())
    }

    fn is_finished_and_clean(&self, arrival: &Arrival, key: &DecoyKey) -> bool {
        self.open_file(&arrival.path).is_ok_and(|file| {
            !is_unfinished(&file, arrival)
                && matches!(judge(&arrival.path, &file, key).0, Judged::Clean)
        })
    }

    /// A file that was written inside, whose content the agent knows. When nothing is in it, whoever writes there next without the
    /// inside opening it is the host.
    fn forget_if_clean(&self, path: &Path, around: &Around) {
        let Ok(file) = self.open_file(path) else {
            return;
        };
        if file
            .metadata()
            .is_ok_and(|found| found.len() > READ_AT_ONCE)
        {
            return;
        }
        if let (Judged::Clean, _) = judge(path, &file, &around.key) {
            around.control.forget_writing(&around.workspace.join(path));
        }
    }

    /// Stops the inside, hides a file and whatever else waits whose name promises credentials, and lets the inside go on: between two of
    /// them it would run.
    fn hide_all(
        &mut self,
        first: Option<&Arrival>,
        around: &Around,
        watch: &mut Watch,
    ) -> Result<(), Lost> {
        around.control.freeze()?;
        if let Some(first) = first {
            let path = around.workspace.join(&first.path);
            // It may have become another while the inside still ran.
            match around.has_written(first, &path) && !around.looked.hides(&first.path) {
                true => self.forget_if_clean(&first.path, around),
                false => self.hide(&first.path, around, watch)?,
            }
        }
        for _ in 0..self.urgent.len() {
            let Some(next) = self.next_of(true) else {
                break;
            };
            let path = around.workspace.join(&next.path);
            if watch.watches(&path) || around.looked.is_hidden(&next.path) {
                continue;
            }
            match around.has_written(&next, &path) {
                true => self.forget_if_clean(&next.path, around),
                false => self.hide(&next.path, around, watch)?,
            }
        }
        Ok(around.control.thaw()?)
    }

    /// Looks at a file and hides it. The inside stands still.
    fn hide(&mut self, relative: &Path, around: &Around, watch: &mut Watch) -> Result<(), Lost> {
        let path = around.workspace.join(relative);
        let Ok(found) = fs::symlink_metadata(&path) else {
            return Ok(());
        };
        let kind = found.file_type();
        // What the manifest hides, whatever it is. Nothing is mounted over a link, and what it names has a name of its own.
        if around.looked.hides(relative) && !kind.is_symlink() {
            around.control.hide(&path)?;
            tell(around, relative);
            return Ok(watch.add(path)?);
        }
        if kind.is_socket() || kind.is_fifo() {
            around.control.mount_bytes_over(&path, Vec::new())?;
            tell(around, relative);
            return Ok(());
        }
        let file = match self.open_file(relative) {
            Ok(file) => file,
            // Nothing there, or a link, or not readable: then inside neither.
            Err(_) => return Ok(()),
        };
        // What else is still being written will be looked at when it is closed.
        let is_written =
            file_kind(relative) == FileKind::Plain || self.await_written(relative, &file);
        let (judged, found) = match is_written {
            true => judge(relative, &file, &around.key),
            false => (Judged::Unknown, None),
        };
        let shown = match judged {
            Judged::Clean => return Ok(()),
            Judged::Secret(twin) => twin,
            Judged::Unknown => Vec::new(),
        };
        if let Some(found) = found {
            let decoys = found.decoys.iter();
            around
                .twins
                .note_decoys(decoys.map(|(decoy, _)| decoy.as_str().as_bytes().to_vec()));
            let values = found.known.iter().filter(|(_, _, guessable)| !guessable);
            around
                .twins
                .remember_appeared(relative, values.map(|(_, value, _)| value.as_slice()));
            around.broker.learn(found.known, found.decoys);
        }
        if is_open_elsewhere(&file) != Some(false) {
            around.control.end_readers(&path)?;
        }
        let mut places = vec![path.clone()];
        let own = file.metadata()?;
        if own.nlink() > 1 {
            places.extend(other_names(
                &around.workspace,
                &path,
                (own.dev(), own.ino()),
            ));
        }
        drop(file);
        for place in places {
            let mounted = match is_written {
                true => around.twins.appear(&place, shown.clone()),
                false => around.control.mount_bytes_over(&place, Vec::new()),
            };
            // It may have gone meanwhile: the host does not stand still.
            if mounted.is_err() && fs::symlink_metadata(&place).is_ok() {
                mounted?;
            }
            let name = place.strip_prefix(&around.workspace).unwrap_or(&place);
            around.twins.remark(format!(
                "{} came while the session ran, and is shown {}",
                name.display(),
                match is_written {
                    true => "with decoys",
                    false => "empty: it was still being written, or is too large to be looked at",
                }
            ));
            tell(around, name);
            watch.add(place)?;
        }
        Ok(())
    }

    /// Waits until nobody writes to a file any more; whether that is so. The inside stands still.
    fn await_written(&mut self, path: &Path, file: &File) -> bool {
        let deadline = Instant::now() + WRITTEN_WITHIN;
        loop {
            match is_being_written(file) {
                Some(false) => return true,
                Some(true) => {}
                // An event says that somebody closed it; something in it, that whoever made it wrote.
                None if self.waiting.contains(path) => return true,
                None if file.metadata().is_ok_and(|found| found.len() > 0) => return true,
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::from_borrowed_fd(
                self.inotify.as_fd(),
                PollFlags::IN,
            )];
            let _ = poll(&mut polled, Some(&left));
            if self.take_in().is_err() {
                return false;
            }
        }
    }

    /// Events were lost: looks at everything that changed since there were none, while the inside stands still.
    fn look_at_everything(&mut self, around: &Around, watch: &mut Watch) -> Result<(), Lost> {
        around.control.freeze()?;
        // What is in the queue by now the walk below sees.
        self.take_in()?;
        self.lost = false;
        let since = self.settled;
        let mut open = vec![PathBuf::new()];
        while let Some(folder) = open.pop() {
            self.enter(folder, Some(since), around);
            open.extend(self.unentered.drain(..).map(|(folder, _)| folder));
        }
        while let Some(next) = self.next_of(true).or_else(|| self.next_of(false)) {
            let path = around.workspace.join(&next.path);
            let known = watch.watches(&path) || around.looked.is_hidden(&next.path);
            // Whether it is new nobody knows by now.
            let plain = file_kind(&next.path) == FileKind::Plain;
            let of_inside =
                || around.control.has_written(&path) && (plain || around.control.has_made(&path));
            if !known && !of_inside() {
                self.hide(&next.path, around, watch)?;
            }
        }
        self.settled = SystemTime::now() - TICK;
        tell(around, Path::new(""));
        Ok(around.control.thaw()?)
    }

    /// Opens what is at exactly this path: no link leads elsewhere.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            // EAGAIN: something was renamed while the kernel made sure that the path stays beneath.
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// A regular file at exactly this path, for reading.
    fn open_file(&self, path: &Path) -> io::Result<File> {
        let file = File::from(self.open(path, OFlags::RDONLY)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Notes that a file was hidden; without a name, that everything was looked at.
fn tell(around: &Around, name: &Path) {
    let about = json!({"path": name.display().to_string()});
    // Waiting for the disk would keep the inside still; the ledger writes it all the same.
    drop(around.ledger.append("host_appeared", about));
}

/// Whether a launch looks into a folder for files of any name, as far as its path says: not into what package managers and git keep.
fn is_searched(path: &Path) -> bool {
    !path.components().any(|part| {
        part.as_os_str() == ".git"
            || DEPENDENCIES
                .iter()
                .any(|folder| part.as_os_str() == *folder)
    })
}

/// The other names of a file in the workspace, absolute.
fn other_names(workspace: &Path, path: &Path, identity: (u64, u64)) -> Vec<PathBuf> {
    ignore::WalkBuilder::new(workspace)
        .standard_filters(false)
        .hidden(false)
        .follow_links(false)
        .build()
        .flatten()
        .filter(|entry| entry.path() != path)
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|found| found.is_file() && (found.dev(), found.ino()) == identity)
        })
        .map(ignore::DirEntry::into_path)
        .collect()
}

/// The inside may stand still, or see what it must not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error(transparent)]
    Sandbox(#[from] LaunchError),
    #[error(transparent)]
    System(#[from] io::Error),
}
