//! Twins that the agent may edit. What it writes there reaches the file behind at once, with decoys that
//! stand where they stood turned back into their values; a decoy anywhere else stays one and is named
//! at the end.
//!
//! What must stay true: a value goes from here into its own file and nowhere else: where the file was at
//! first, or where it is, or was last when it is gone; not where it only passed; a file that the host
//! changed meanwhile is not overwritten; what a file held before the agent's first edit is kept. The
//! file is written in place, through a descriptor from before the command ran: no link that the agent
//! lays leads to another one.

mod replaced;

use self::replaced::Restored;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::event::{EventfdFlags, PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde_json::json;
use tagout_core::{Digest, SessionId};
use tagout_ledger::Ledger;
use tagout_sandbox::{Control, LaunchError};
use tagout_secrets::Edits;
use tagout_workspace::Moves;

use crate::home::Home;
use crate::remembered::Remembered;

/// Two descriptors each; more files with secrets than this are shown read-only.
const MOST: usize = 500;
/// What is read of a twin or a file; a longer one is not carried over.
const LARGEST: u64 = 16 * 1024 * 1024;
/// How long former versions are kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The files whose twins may be edited, before the command runs.
pub(crate) struct Editable {
    workspace: PathBuf,
    files: HashMap<PathBuf, Behind>,
}

/// A file behind a twin.
struct Behind {
    file: Arc<File>,
    edits: Edits,
    /// What it holds, and what its twin shows for that.
    real: Digest,
    twin: Digest,
}

impl Editable {
    /// Which twins, given with their paths relative to the workspace, may be edited.
    pub(crate) fn of<'a>(
        workspace: &Path,
        twins: impl Iterator<Item = (&'a Path, &'a [u8])>,
    ) -> Self {
        let files = twins
            .filter_map(|(path, twin)| {
                Some((path.to_owned(), Behind::open(workspace, path, twin)?))
            })
            .take(MOST)
            .collect();
        Self {
            workspace: workspace.to_owned(),
            files,
        }
    }

    /// Whether the twin at `path`, relative to the workspace, may be edited.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
}

impl Behind {
    /// `None` where the file may not be written, has further names, or is no file that `twin` is a twin of.
    fn open(workspace: &Path, path: &Path, twin: &[u8]) -> Option<Self> {
        let folder = File::open(workspace).ok()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve).ok()?;
        let looked = File::from(opened);
        let metadata = looked.metadata().ok()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return None;
        }
        let real = read(&looked).ok()?;
        let mut edits = Edits::default();
        if !edits.learn(path, &real, twin) {
            return None;
        }
        // Not before: who closes a file that was open for writing tells everybody who watches it, and would be told here again.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let place = format!("/proc/self/fd/{}", looked.as_raw_fd());
        let opened = rustix::fs::open(place, flags, Mode::empty()).ok()?;
        Some(Self {
            file: Arc::new(File::from(opened)),
            edits,
            real: Digest::of(&real),
            twin: Digest::of(twin),
        })
    }
}

/// The twins of a running session. Dropped when the sandbox has ended: then what was written last is
/// carried over.
#[must_use]
pub(crate) struct Twins {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What both threads, this one's and that which watches the host, work on.
pub(crate) struct Shared {
    control: Control,
    ledger: Arc<Ledger>,
    workspace: PathBuf,
    /// Where former versions are kept.
    kept: PathBuf,
    /// Where what `tagout undo` puts back is kept.
    undo: PathBuf,
    written: OwnedFd,
    remembered: Mutex<Remembered>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    twins: HashMap<PathBuf, Twin>,
    /// What stood at places whose file was moved away with its twin, or was moved to and may be gone again.
    former: HashMap<PathBuf, Stood>,
    lines: Vec<Line>,
    /// What the inside renames, where its changes are kept.
    moves: Option<Moves>,
    /// Path of each watch, by watch descriptor.
    watches: HashMap<i32, PathBuf>,
    /// What a person should know, in order.
    remarks: Vec<String>,
    /// Decoys of files that appeared.
    decoys: Vec<Vec<u8>>,
}

/// What stood at a place, by the lines (indices of [`State::lines`]) that it is of.
type Stood = BTreeMap<usize, Edits>;

/// A file and those that took its place.
struct Line {
    /// Where the first of them was, put there outside.
    origin: PathBuf,
    /// The last one.
    file: Arc<File>,
}

impl Line {
    /// Whether a file at `path` may hold its values; `workspace` is around both.
    fn may_stand(&self, workspace: &Path, path: &Path) -> bool {
        self.origin == path
            || place_of(&self.file).is_none_or(|place| place == workspace.join(path))
    }
}

impl State {
    /// What stands, or stood, at `path`, of lines whose values it may hold. `None` where nothing is known.
    fn stood(&self, workspace: &Path, path: &Path) -> Option<Stood> {
        let twin = self.twins.get(path).map(|twin| twin.stood());
        let mut stood = twin.or_else(|| self.former.get(path).cloned())?;
        stood.retain(|line, _| {
            let line = self.lines.get(*line);
            line.is_some_and(|line| line.may_stand(workspace, path))
        });
        Some(stood)
    }

    /// As [`State::stood`], together.
    fn edits_of(&self, workspace: &Path, path: &Path) -> Option<Edits> {
        let mut all = Edits::default();
        for edits in self.stood(workspace, path)?.into_values() {
            all.extend(edits);
        }
        Some(all)
    }

    /// What moved away from `from` stood there too.
    fn stood_at(&mut self, place: PathBuf, stood: Stood) {
        let former = self.former.entry(place).or_default();
        for (line, edits) in stood {
            former.entry(line).or_default().extend(edits);
        }
    }

    /// Notes for the person where a file is that was elsewhere.
    fn moved(&mut self, from: &Path, to: &Path) {
        let remark = format!(
            "{}, which holds secrets, is now {}",
            from.display(),
            to.display()
        );
        if from != to && !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    fn misplaced(&mut self, path: &Path, lines: &[usize]) {
        let [line, more @ ..] = lines else {
            return;
        };
        let others = match more.len() {
            0 => String::new(),
            count => format!(" and in {count} more"),
        };
        self.remarks.push(format!(
            "{}: in line {line}{others} stands a decoy where its value never stood; it is worth nothing there",
            path.display()
        ));
    }
}

struct Twin {
    behind: Behind,
    /// Indices of [`State::lines`].
    lines: Vec<usize>,
    /// Where it stood at the start. None: it came from inside.
    original: Option<PathBuf>,
    shown: File,
    kept: bool,
    /// Lines of the twin, from 1, in which a decoy stands that stood elsewhere.
    misplaced: Vec<usize>,
    /// Why nothing is carried over any more.
    given_up: bool,
}

impl Twins {
    /// Begins to carry edits over. The command must not run before.
    pub(crate) fn start(
        editable: Editable,
        remembered: Remembered,
        control: Control,
        ledger: &Arc<Ledger>,
        home: &Home,
        session: &SessionId,
    ) -> Result<Self, TwinsError> {
        let former = home.path().join("originals");
        prune(&former);
        let shared = Arc::new(Shared {
            control,
            ledger: Arc::clone(ledger),
            workspace: editable.workspace,
            kept: former.join(session.as_str()),
            undo: crate::undo::folder(home, session),
            written: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            remembered: Mutex::new(remembered),
            state: Mutex::new(State::default()),
        });
        shared.lock().moves = Moves::of(&shared.undo);
        for (path, behind) in editable.files {
            shared.add(&mut shared.lock(), path, behind, false, None)?;
        }
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let (watched, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("twins".to_owned())
            .spawn(move || watched.watch(&stopped))?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// For the thread that watches the host.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Carries over what was written last, once the sandbox has ended; what a person should know.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.join();
        self.shared.restore_last();
        let mut state = self.shared.lock();
        let mut twins: Vec<_> = std::mem::take(&mut state.twins).into_iter().collect();
        twins.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, twin) in twins {
            state.misplaced(&path, &twin.misplaced);
            if twin.kept {
                let remark = format!(
                    "{} was edited; what it held before: {}",
                    path.display(),
                    self.shared.kept.join(&path).display()
                );
                state.remarks.push(remark);
            }
        }
        let lines = std::mem::take(&mut state.lines);
        let mut places = Vec::new();
        for line in &lines {
            if let Some(place) = place_of(&line.file)
                && let Ok(now) = place.strip_prefix(&self.shared.workspace)
            {
                state.moved(&line.origin, now);
                places.push(now.to_owned());
            }
        }
        self.shared.remember(&mut state, &places, [].into_iter());
        std::mem::take(&mut state.remarks)
    }

    fn join(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        self.join();
    }
}

/// Why twins cannot be edited in a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TwinsError {
    #[error(transparent)]
    Sandbox(#[from] LaunchError),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for TwinsError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `from_inside` are the lines of a file that came from inside.
    fn add(
        &self,
        state: &mut State,
        path: PathBuf,
        behind: Behind,
        kept: bool,
        from_inside: Option<Vec<usize>>,
    ) -> Result<(), TwinsError> {
        let shown = self.control.open_twin(&self.workspace.join(&path))?;
        let place = format!("/proc/self/fd/{}", shown.as_raw_fd());
        let watch = inotify::add_watch(&self.written, place, WatchFlags::CLOSE_WRITE)?;
        state.watches.insert(watch, path.clone());
        let original = from_inside.is_none().then(|| path.clone());
        let lines = from_inside.unwrap_or_else(|| {
            let (origin, file) = (path.clone(), Arc::clone(&behind.file));
            state.lines.push(Line { origin, file });
            vec![state.lines.len() - 1]
        });
        for line in &lines {
            if let Some(line) = state.lines.get_mut(*line) {
                line.file = Arc::clone(&behind.file);
            }
        }
        state.twins.insert(
            path,
            Twin {
                behind,
                lines,
                original,
                shown,
                kept,
                misplaced: Vec::new(),
                given_up: false,
            },
        );
        Ok(())
    }

    /// Carries over whatever is written until `stop` is readable, and once more then.
    fn watch(&self, stop: &OwnedFd) {
        loop {
            let mut polled = [
                PollFd::from_borrowed_fd(self.written.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            if !polled[1].revents().is_empty() {
                break;
            }
            let mut state = self.lock();
            for path in self.written(&state) {
                self.carry(&mut state, &path);
            }
        }
        let mut state = self.lock();
        let paths: Vec<PathBuf> = state.twins.keys().cloned().collect();
        for path in paths {
            self.carry(&mut state, &path);
        }
    }

    /// The twins that were written since this was asked last; all of them when events were lost.
    fn written(&self, state: &State) -> Vec<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.written, &mut buffer);
        let mut paths = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                return state.twins.keys().cloned().collect();
            }
            if let Some(path) = state.watches.get(&event.wd())
                && !paths.contains(path)
            {
                paths.push(path.clone());
            }
        }
        paths
    }

    fn carry(&self, state: &mut State, path: &Path) {
        let Some(twin) = state.twins.get_mut(path).filter(|twin| !twin.given_up) else {
            return;
        };
        let original = twin.original.clone();
        let outcome = twin.carry(path, &self.kept, &|before, metadata| {
            let Some(original) = &original else {
                return Ok(());
            };
            let original = self.workspace.join(original);
            tagout_workspace::keep_from_outside(&self.undo, &original, before, metadata)
        });
        let (misplaced, error) = match outcome {
            Ok(None) => return,
            Ok(Some(misplaced)) => (misplaced, None),
            Err(why) => {
                twin.given_up = true;
                state.remarks.push(format!(
                    "{} was edited inside, and that is not in the file: {why}",
                    path.display()
                ));
                (Vec::new(), Some(why.to_string()))
            }
        };
        // Nothing waits for this entry: what it tells has happened.
        drop(self.ledger.append(
            "twin_edited",
            json!({
                "path": path.display().to_string(),
                "misplaced_decoys": misplaced.len(),
                "error": error,
            }),
        ));
    }

    /// Whether at `path` (absolute) still stands the file that was there when its twin was mounted, with what
    /// was written there from here: then the mount is there as well. The file is open, so no other one can
    /// have its inode.
    pub(crate) fn is_as_left(&self, path: &Path) -> bool {
        let state = self.lock();
        let Ok(path) = path.strip_prefix(&self.workspace) else {
            return false;
        };
        state.twins.get(path).is_some_and(|twin| {
            let found = Behind::identity(&self.workspace.join(path));
            let own = twin.behind.file.metadata().ok();
            let same = own.is_some_and(|own| found == Some((own.dev(), own.ino())));
            same && read(&twin.behind.file)
                .is_ok_and(|bytes| Digest::of(&bytes) == twin.behind.real)
        })
    }

    /// Shows the file that now stands at `path` (absolute) as `bytes`, its twin; whether that twin may be
    /// edited is as it was for the former one. `ours` says that the file was put there by
    /// [`Shared::restore`]. The inside stands still.
    pub(crate) fn show(
        &self,
        path: &Path,
        bytes: Vec<u8>,
        ours: Option<Restored>,
    ) -> Result<(), LaunchError> {
        let mut state = self.lock();
        let relative = path.strip_prefix(&self.workspace).unwrap_or(path);
        let Some(known) = state.stood(&self.workspace, relative) else {
            return self.control.mount_bytes_over(path, bytes);
        };
        let former = state.twins.remove(relative);
        state.watches.retain(|_, watched| watched != relative);
        let unread = former.as_ref().is_some_and(|former| {
            !former.given_up
                && read(&former.shown).is_ok_and(|shown| Digest::of(&shown) != former.behind.twin)
        });
        if unread && ours.is_none() {
            state.remarks.push(format!(
                "{} was edited inside and outside at the same time; the edit outside counts",
                relative.display()
            ));
        }
        let kept = former.is_some_and(|former| former.kept);
        let Some(mut behind) = Behind::open(&self.workspace, relative, &bytes) else {
            return self.control.mount_bytes_over(path, bytes);
        };
        // What once stood in the file may come back; but not into a file that the inside may have made, and
        // may have open.
        let mut lines = None;
        if ours.is_some() {
            lines = Some(known.keys().copied().collect());
            let learned = std::mem::take(&mut behind.edits);
            for edits in known.into_values().chain([learned]) {
                behind.edits.extend(edits);
            }
        }
        self.control.mount_editable_over(path, bytes)?;
        match self.add(&mut state, relative.to_owned(), behind, kept, lines) {
            Ok(()) => {
                if let (Some(ours), Some(twin)) = (ours, state.twins.get_mut(relative)) {
                    twin.misplaced = ours.misplaced;
                }
                Ok(())
            }
            Err(TwinsError::Sandbox(error)) => Err(error),
            Err(TwinsError::System(source)) => Err(LaunchError::Guard {
                path: path.into(),
                why: source.to_string(),
            }),
        }
    }

    /// Shows a file that appeared at `path` (absolute) as `bytes`, its twin, which may be edited where those of a launch may be. The
    /// inside stands still.
    pub(crate) fn appear(&self, path: &Path, bytes: Vec<u8>) -> Result<(), LaunchError> {
        let relative = path.strip_prefix(&self.workspace).unwrap_or(path);
        let mut state = self.lock();
        if state.twins.len() < MOST {
            state.former.entry(relative.to_owned()).or_default();
        }
        drop(state);
        self.show(path, bytes, None)
    }

    /// Keeps decoys that are shown since the launch.
    pub(crate) fn note_decoys(&self, decoys: impl Iterator<Item = Vec<u8>>) {
        self.lock().decoys.extend(decoys);
    }

    /// The decoys that are shown since the launch.
    pub(crate) fn decoys(&self) -> Vec<Vec<u8>> {
        self.lock().decoys.clone()
    }

    /// For the launches to come: where files with secrets are by now, relative to the workspace, and values in them.
    fn remember<'a>(
        &self,
        state: &mut State,
        places: &[PathBuf],
        values: impl Iterator<Item = &'a [u8]>,
    ) {
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        remembered.note(places.iter().map(PathBuf::as_path));
        remembered.learn(values);
        if let Err(error) = remembered.save() {
            state.remarks.push(format!(
                "where files with secrets are now could not be written down for the next session: {error}"
            ));
        }
    }

    /// A file with secrets has appeared at `place`, relative to the workspace.
    pub(crate) fn remember_appeared<'a>(
        &self,
        place: &Path,
        values: impl Iterator<Item = &'a [u8]>,
    ) {
        self.remember(&mut self.lock(), &[place.to_owned()], values);
    }

    /// Says something to the person at the end, once.
    pub(crate) fn remark(&self, remark: String) {
        let mut state = self.lock();
        if !state.remarks.contains(&remark) {
            state.remarks.push(remark);
        }
    }

    /// Whether the twin at `path` (absolute) may be edited.
    pub(crate) fn has(&self, path: &Path) -> bool {
        let relative = path.strip_prefix(&self.workspace).unwrap_or(path);
        let state = self.lock();
        state.twins.contains_key(relative) || state.former.contains_key(relative)
    }
}

/// Where a file is now that was opened by a name; `None` when that is gone.
fn place_of(file: &File) -> Option<PathBuf> {
    let place = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let own = file.metadata().ok()?;
    // The link's text may be any name, such as one that ends in " (deleted)".
    (Behind::identity(&place) == Some((own.dev(), own.ino()))).then_some(place)
}

impl Behind {
    fn identity(path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

/// Why an edit is not carried over.
#[derive(Debug, thiserror::Error)]
enum NotCarried {
    #[error("the file was changed outside as well")]
    Changed,
    #[error("it has more than 16 MB now")]
    TooLarge,
    #[error("what it held before could not be kept: {0}")]
    NotKept(io::Error),
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Twin {
    fn stood(&self) -> Stood {
        let edits = |line: &usize| (*line, self.behind.edits.clone());
        self.lines.iter().map(edits).collect()
    }

    /// Carries over what the twin shows now. The lines with misplaced decoys, where anything changed.
    fn carry(
        &mut self,
        path: &Path,
        kept: &Path,
        keep_for_undo: &dyn Fn(&[u8], &fs::Metadata) -> io::Result<()>,
    ) -> Result<Option<Vec<usize>>, NotCarried> {
        let edited = read(&self.shown).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => NotCarried::TooLarge,
            _ => error.into(),
        })?;
        if Digest::of(&edited) == self.behind.twin {
            return Ok(None);
        }
        let before = read(&self.behind.file)?;
        if Digest::of(&before) != self.behind.real {
            return Err(NotCarried::Changed);
        }
        if !self.kept {
            keep(&kept.join(path), &before).map_err(NotCarried::NotKept)?;
            keep_for_undo(&before, &self.behind.file.metadata()?).map_err(NotCarried::NotKept)?;
            self.kept = true;
        }
        let carried = self.behind.edits.carry(path, &edited);
        if let Err(error) = overwrite(&self.behind.file, &carried.bytes) {
            // Half a file is worse than the former one.
            let _ = overwrite(&self.behind.file, &before);
            return Err(error.into());
        }
        self.behind.edits.learn(path, &carried.bytes, &edited);
        self.behind.real = Digest::of(&carried.bytes);
        self.behind.twin = Digest::of(&edited);
        self.misplaced = self.behind.edits.misplaced(&carried);
        Ok(Some(self.misplaced.clone()))
    }
}

/// Writes a file anew, in place, so that what is mounted over it stays there.
fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_data()
}

/// All of an open file, from its beginning.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = At { file, offset: 0 };
    (&mut at).take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Reads without moving the position that others share.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Keeps what a file held, for the person alone.
fn keep(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(place)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what was kept long enough. What cannot be removed now is tried again by the next session.
fn prune(former: &Path) {
    for entry in fs::read_dir(former).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| {
                SystemTime::now()
                    .duration_since(time)
                    .is_ok_and(|age| age > KEPT_FOR)
            });
        if old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
