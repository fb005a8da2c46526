//! The one writer of a ledger: a thread that owns the file and the session key. Entries that arrive
//! while it syncs are written and synced together (group commit), so many gates share one fsync and
//! none waits for more than the one in progress and its own.
//!
//! What must stay true: an entry is acknowledged only after its bytes *and* the signed checkpoint that
//! covers them are synced; after one failure nothing is acknowledged any more, because what the disk
//! then holds is unknown; the key is gone once the ledger is finished or has failed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tagout_core::json::Json;
use tagout_core::{Digest, SessionId, Timestamp};

use crate::checkpoint::{self, Mark};
use crate::entry::{END, Fields, Place, START, encode};
use crate::header::header;
use crate::key::{InstallKey, SessionKey};
use crate::receipt::{Completion, Receipt, pair};
use crate::tree::{Tree, leaf};
use crate::{LedgerError, ledger_path};
use inbox::{Inbox, inbox};

mod inbox;

/// The most entries that share one fsync: bounds how long a batch takes and what it holds in memory.
const LARGEST_BATCH: usize = 4096;
/// How long an entry that nobody waits for may wait for one that somebody does. Until then a crash of the machine, or of the supervisor,
/// loses it: of an action, its intent is there and its outcome is not.
const LINGERING: Duration = Duration::from_millis(20);
/// How often at most the store learns of a new mark.
const BETWEEN_MARKS: Duration = Duration::from_secs(1);

/// The ledger of a running session. Shared by every gate; dropped without [`Ledger::finish`] it stays
/// verifiable and says that it is unfinished.
pub struct Ledger {
    path: PathBuf,
    messages: Option<inbox::Sender>,
    writer: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
}

impl Ledger {
    /// Starts the ledger of `session`: makes its file, its key and its first entry, which is durable
    /// when this returns. `about` holds further fields of that entry, such as the command.
    ///
    /// `on_mark` is told the newest high-water mark, at most once a second,
    /// and for the last before [`Ledger::finish`] is acknowledged. It runs on a thread of its own.
    ///
    /// # Errors
    /// When the file exists already or cannot be made, written or synced.
    pub fn create(
        home: &Path,
        session: &SessionId,
        install: &InstallKey,
        about: Json,
        on_mark: impl FnMut(Mark) + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let path = ledger_path(home, session);
        let file = create_file(&path)?;
        Self::on_medium(path, Box::new(file), session, install, about, on_mark)
    }

    /// Records an entry. Returns at once; the receipt resolves to the entry's number once it is
    /// durable. Nothing may be released before that. `fields` is an object or null.
    pub fn append(&self, kind: &str, fields: Json) -> Receipt {
        self.append_as(kind, fields, true)
    }

    /// Records an entry that nobody waits for: what has happened already. It is synced with the next one that somebody waits for, and
    /// after [`LINGERING`] without one.
    pub fn append_later(&self, kind: &str, fields: Json) {
        drop(self.append_as(kind, fields, false));
    }

    /// As [`Ledger::append`], for an entry that another follows at once: both are synced together.
    pub fn append_with_next(&self, kind: &str, fields: Json) -> Receipt {
        self.append_as(kind, fields, false)
    }

    fn append_as(&self, kind: &str, fields: Json, awaited: bool) -> Receipt {
        let (completion, receipt) = pair();
        match Fields::new(kind, fields) {
            Err(error) => completion.complete(Err(error)),
            Ok(_) if kind == START || kind == END => completion.complete(Err(LedgerError::Entry(
                format!("`{kind}` is the ledger's own kind"),
            ))),
            Ok(fields) => self.send(Message {
                kind: kind.to_owned(),
                fields,
                completion,
                awaited,
            }),
        }
        receipt
    }

    /// Records the `end` entry and the last checkpoint, and destroys the key: whatever is added
    /// afterwards is detected. Every later append fails.
    pub fn finish(&self, fields: Json) -> Receipt {
        let (completion, receipt) = pair();
        match Fields::new(END, fields) {
            Err(error) => completion.complete(Err(error)),
            Ok(fields) => self.send(Message {
                kind: END.to_owned(),
                fields,
                completion,
                awaited: true,
            }),
        }
        receipt
    }

    /// The ledger's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many entries are not durable yet; `None` once nothing can be recorded any more.
    pub fn unsettled(&self) -> Option<usize> {
        let is_open = self.progress.is_open.load(Ordering::Acquire);
        is_open.then(|| self.progress.unsettled.load(Ordering::Acquire))
    }

    fn send(&self, message: Message) {
        // A message that cannot be sent is dropped, and its completion then says so.
        if let Some(messages) = &self.messages {
            self.progress.unsettled.fetch_add(1, Ordering::AcqRel);
            messages.send(message);
        }
    }

    fn on_medium(
        path: PathBuf,
        medium: Box<dyn Medium>,
        session: &SessionId,
        install: &InstallKey,
        about: Json,
        on_mark: impl FnMut(Mark) + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let key = SessionKey::generate()?;
        let header = header(session, install, &key, about)?;
        let unstartable = |error: io::Error| LedgerError::file(&path, &error);
        let (news, heard) = channel();
        let newest = Arc::new(Mutex::new(None));
        let marks = Marks {
            news,
            newest: Arc::clone(&newest),
        };
        let marker = thread::Builder::new()
            .name("ledger-marks".to_owned())
            .spawn(move || report_marks(&heard, &newest, on_mark))
            .map_err(unstartable)?;
        let progress = Arc::new(Progress::default());
        let writer = Writer {
            medium,
            origin: checkpoint::origin(session),
            signing: Ok(key),
            tree: Tree::default(),
            prev: None,
            last_checkpoint: None,
            last_time: Timestamp::from_millis(0),
            clock: Timestamp::now,
            marks: Some((marks, marker)),
            progress: Arc::clone(&progress),
        };
        let (messages, inbox) = inbox();
        let writer = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(unstartable)?;
        let ledger = Self {
            path,
            messages: Some(messages),
            writer: Some(writer),
            progress,
        };
        let (completion, receipt) = pair();
        ledger.send(Message {
            kind: START.to_owned(),
            fields: header,
            completion,
            awaited: true,
        });
        receipt.wait()?;
        Ok(ledger)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// What a ledger is written to: a file, or a disk that fails in a test.
trait Medium: Send {
    /// Writes all of `bytes` and makes them durable.
    fn commit(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Medium for File {
    fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.sync_data()
    }
}

struct Message {
    kind: String,
    fields: Fields,
    completion: Completion,
    /// Whether somebody waits for its receipt.
    awaited: bool,
}

struct Writer {
    medium: Box<dyn Medium>,
    origin: String,
    /// The key while the ledger is open; afterwards what every append is told.
    signing: Result<SessionKey, LedgerError>,
    tree: Tree,
    prev: Option<Digest>,
    last_checkpoint: Option<Digest>,
    last_time: Timestamp,
    clock: fn() -> Timestamp,
    marks: Option<(Marks, JoinHandle<()>)>,
    progress: Arc<Progress>,
}

/// How far the writer is behind.
struct Progress {
    /// Whether entries can still be recorded.
    is_open: AtomicBool,
    /// Entries that were sent and are not durable.
    unsettled: AtomicUsize,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            is_open: AtomicBool::new(true),
            unsettled: AtomicUsize::new(0),
        }
    }
}

impl Writer {
    fn run(mut self, inbox: &Inbox) {
        while let Some(batch) = inbox.receive(LARGEST_BATCH, LINGERING) {
            let settled = batch.len();
            self.commit(batch);
            self.progress.unsettled.fetch_sub(settled, Ordering::AcqRel);
        }
        self.close();
    }

    /// Writes, signs and syncs a batch, then acknowledges it.
    fn commit(&mut self, batch: Vec<Message>) {
        let mut text = String::new();
        let mut written = Vec::with_capacity(batch.len());
        let mut finished = false;
        for message in batch {
            let refusal = match &self.signing {
                Err(error) => Some(error.clone()),
                Ok(_) if finished => Some(LedgerError::Finished),
                Ok(_) => None,
            };
            if let Some(error) = refusal {
                message.completion.complete(Err(error));
                continue;
            }
            match self.add(&message.kind, message.fields, &mut text) {
                Ok(seq) => {
                    finished = message.kind == END;
                    written.push((seq, message.completion));
                }
                Err(error) => message.completion.complete(Err(error)),
            }
        }
        let Ok(key) = &self.signing else { return };
        if written.is_empty() {
            return;
        }
        let mark = Mark {
            entries: self.tree.size(),
            root: self.tree.root(),
        };
        let signed = checkpoint::write(&self.origin, mark, key);
        self.last_checkpoint = Some(Digest::of(signed.as_bytes()));
        text.push_str(&signed);
        match self.medium.commit(text.as_bytes()) {
            Ok(()) => {
                if let Some((marks, _)) = &self.marks {
                    marks.tell(mark);
                }
                if finished {
                    self.end(LedgerError::Finished);
                    self.close();
                }
                for (seq, completion) in written {
                    completion.complete(Ok(seq));
                }
            }
            Err(error) => {
                let error = LedgerError::Unwritable(error.to_string());
                self.end(error.clone());
                for (_, completion) in written {
                    completion.complete(Err(error.clone()));
                }
            }
        }
    }

    /// From now on this is what every append is told.
    fn end(&mut self, error: LedgerError) {
        self.progress.is_open.store(false, Ordering::Release);
        self.signing = Err(error);
    }

    /// Adds one entry to the batch's text and to the tree; its number.
    fn add(&mut self, kind: &str, fields: Fields, text: &mut String) -> Result<u64, LedgerError> {
        let clock = (self.clock)();
        let time = clock.max(self.last_time);
        let place = Place {
            seq: self.tree.size(),
            time,
            clock: (clock < time).then_some(clock),
            prev: self.prev,
            checkpoint: self.last_checkpoint,
        };
        let line = encode(kind, fields, &place)?;
        let leaf = leaf(line.as_bytes());
        self.tree.push(leaf);
        self.prev = Some(leaf);
        self.last_checkpoint = None;
        self.last_time = time;
        text.push_str(&line);
        text.push('\n');
        Ok(place.seq)
    }

    /// Lets the thread that reports marks report the last one and end.
    fn close(&mut self) {
        if let Some((marks, marker)) = self.marks.take() {
            drop(marks);
            let _ = marker.join();
        }
    }
}

/// Makes the file, which nobody else may read, and makes its name durable.
fn create_file(path: &Path) -> Result<File, LedgerError> {
    let failed = |error: io::Error| LedgerError::file(path, &error);
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok(file)
}

/// The newest mark, for the thread that reports it. That thread is woken for the first mark that it has not seen, not for each: there are
/// thousands a second.
struct Marks {
    news: Sender<()>,
    newest: Arc<Mutex<Option<Mark>>>,
}

impl Marks {
    fn tell(&self, mark: Mark) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.replace(mark).is_none() {
            let _ = self.news.send(());
        }
    }
}

/// Reports the newest mark, at most once in [`BETWEEN_MARKS`], until the ledger closes. The first can wait as long: of
/// the entry that opens a ledger it would say only that there is one.
fn report_marks(news: &Receiver<()>, newest: &Mutex<Option<Mark>>, mut on_mark: impl FnMut(Mark)) {
    let mut due = Instant::now() + BETWEEN_MARKS;
    while news.recv().is_ok() {
        // Nothing more comes until the mark is taken, so only the ledger's end cuts this short.
        let _ = news.recv_timeout(due.saturating_duration_since(Instant::now()));
        let mark = newest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mark) = mark {
            on_mark(mark);
        }
        due = Instant::now() + BETWEEN_MARKS;
    }
}

#[cfg(test)]
pub(crate) mod tests;
