//! Files in which a scan found nothing, so that the next launch need not read them again: a tree of a
//! gigabyte is listed, not read. One file a workspace in `$TAGOUT_HOME`, where nothing inside can see or
//! change it; it holds no names and no values, and may be deleted at any time.
//!
//! What must stay true: a file is passed over only if nothing about it can have changed since its
//! contents were read. That rests on the change time, which no program can set, and which every write
//! moves on; so a file that changed just before it was read is read again, because its next change might
//! carry the same time. Files with findings are read each time. What is unreadable, torn, of another
//! Tagout or of other credentials counts as not there.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tagout_core::Digest;

use crate::scan::Held;

/// How long a file must have been left alone, in seconds. Times have a granularity, and what is written
/// through a shared mapping moves the change time only once until the kernel has written the page back,
/// which it does after half a minute (`vm.dirty_expire_centisecs`).
const SETTLED: i64 = 90;
/// More files than this are read each time: the list would be larger than what it saves.
const MOST: usize = 2_000_000;
/// What the file begins with.
const HEAD: &[u8] = b"tagout scanned 1\n";
const DIGEST: usize = 32;

/// Stands for a file as it is: its name, what it is, when it changed.
pub(crate) type Mark = [u8; 16];

/// What was found clean in a workspace.
pub(crate) struct Scanned {
    path: PathBuf,
    /// What the findings depend on beside the file.
    by: Digest,
    /// Of the scans before this one.
    before: HashSet<Mark>,
    /// Of this one.
    now: Mutex<Vec<Mark>>,
    time: i64,
}

impl Scanned {
    /// Reads what earlier launches in `workspace` found clean. `held` are values that were looked for as
    /// well: with others, everything has to be looked at again.
    pub(crate) fn open(tagout_home: &Path, workspace: &Path, held: &[Held<'_>]) -> Self {
        let name = Digest::of(workspace.as_os_str().as_bytes()).to_string();
        let path = tagout_home.join("scanned").join(&name[..32]);
        let by = by(held);
        let before = fs::read(&path)
            .ok()
            .and_then(|bytes| parse(&bytes, &by))
            .unwrap_or_default();
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            path,
            by,
            before,
            now: Mutex::default(),
            time: time.map_or(0, |since| since.as_secs() as i64),
        }
    }

    /// What stands for a file, named relative to the workspace. `None` when it changed so recently that
    /// a further change might not show.
    pub(crate) fn mark(&self, name: &Path, data: &Metadata) -> Option<Mark> {
        let settled = self.time.checked_sub(data.ctime())? >= SETTLED;
        settled.then(|| {
            let numbers = [
                data.dev(),
                data.ino(),
                data.size(),
                u64::from(data.mode()),
                data.mtime() as u64,
                data.mtime_nsec() as u64,
                data.ctime() as u64,
                data.ctime_nsec() as u64,
            ];
            let numbers: Vec<u8> = numbers
                .iter()
                .flat_map(|number| number.to_be_bytes())
                .collect();
            let digest = Digest::of_parts([name.as_os_str().as_bytes(), numbers.as_slice()]);
            let mut mark = Mark::default();
            mark.copy_from_slice(&digest.as_bytes()[..size_of::<Mark>()]);
            mark
        })
    }

    /// Whether this file, as it is, was read before and held nothing. Then it still does.
    pub(crate) fn is_clean(&self, mark: &Mark) -> bool {
        let clean = self.before.contains(mark);
        if clean {
            self.keep(*mark);
        }
        clean
    }

    /// A file was read and held nothing.
    pub(crate) fn keep(&self, mark: Mark) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.push(mark);
    }

    /// Writes down what this scan found, for the next launch. A failure costs that launch time only.
    pub(crate) fn save(self) {
        let now: HashSet<Mark> = self
            .now
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .collect();
        if now.len() <= MOST && now != self.before {
            let _ = write(&self.path, &text(&now, &self.by));
        }
    }
}

/// The program, whose rules decide what a secret is, and the credentials that were looked for: their
/// decoys, which are made from the values with this installation's secret and tell nothing about them.
fn by(held: &[Held<'_>]) -> Digest {
    let program = of_program();
    let mut decoys: Vec<&[u8]> = held.iter().map(|(_, decoy)| *decoy).collect();
    decoys.sort_unstable();
    Digest::of_parts(std::iter::once(program.as_bytes().as_slice()).chain(decoys))
}

/// Stands for the program as it is, whose rules decide what a secret is.
pub(crate) fn of_program() -> Digest {
    let program = fs::metadata("/proc/self/exe").map_or_else(
        |_| Vec::new(),
        |data| {
            let times = [
                data.mtime(),
                data.mtime_nsec(),
                data.ctime(),
                data.ctime_nsec(),
            ];
            let numbers = [data.dev(), data.ino(), data.size()];
            let times = times.iter().flat_map(|time| time.to_be_bytes());
            times
                .chain(numbers.iter().flat_map(|number| number.to_be_bytes()))
                .collect()
        },
    );
    Digest::of_parts([env!("CARGO_PKG_VERSION").as_bytes(), program.as_slice()])
}

fn text(marks: &HashSet<Mark>, by: &Digest) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    bytes.extend(by.as_bytes());
    bytes.extend(marks.iter().flatten());
    bytes.extend(Digest::of(&bytes).as_bytes());
    bytes
}

fn parse(bytes: &[u8], by: &Digest) -> Option<HashSet<Mark>> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    if Digest::of(content).as_bytes() != digest {
        return None;
    }
    let marks = content.strip_prefix(HEAD)?.strip_prefix(by.as_bytes())?;
    let (marks, rest) = marks.as_chunks::<{ size_of::<Mark>() }>();
    rest.is_empty().then(|| marks.iter().copied().collect())
}

/// In one step, so that a reader sees the whole of one or the whole of the other.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Scan, scan_again};
    use tagout_secrets::DecoyKey;

    const TOKEN: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

    struct World {
        home: tempfile::TempDir,
        work: tempfile::TempDir,
        /// How far the clock is ahead: files here were made just now.
        ahead: i64,
    }

    impl World {
        fn new() -> Self {
            Self {
                home: tempfile::tempdir().unwrap(),
                work: tempfile::tempdir().unwrap(),
                ahead: 2 * SETTLED,
            }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.work.path().join(name), text).unwrap();
        }

        /// Scans; what was found, and how many files were found clean without being read.
        fn scan(&self, held: &[Held<'_>]) -> (Scan, usize) {
            let mut scanned = Scanned::open(self.home.path(), self.work.path(), held);
            scanned.time += self.ahead;
            let before = scanned.before.clone();
            let key = DecoyKey::derive(b"install", b"workspace");
            let found = scan_again(self.work.path(), &key, held, &scanned, &|_| ());
            let now: HashSet<Mark> = scanned.now.lock().unwrap().iter().copied().collect();
            let known = before.intersection(&now).count();
            scanned.save();
            (found, known)
        }

        fn file(&self) -> PathBuf {
            let folder = self.home.path().join("scanned");
            let names: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
            assert_eq!(names.len(), 1, "no draft is left");
            names[0].path()
        }
    }

    fn names(scan: &Scan) -> Vec<&str> {
        scan.twins
            .iter()
            .map(|file| file.path.to_str().unwrap())
            .collect()
    }

    #[test]
    fn what_was_clean_is_not_read_again() {
        let world = World::new();
        world.write("readme.md", "nothing in here\n");
        world.write("logo.png", "\u{0}\u{1}binary");
        world.write(".env", &format!("RAILWAY_API_TOKEN={TOKEN}\n"));
        let (found, known) = world.scan(&[]);
        assert_eq!((names(&found), known), (vec![".env"], 0));
        let (found, known) = world.scan(&[]);
        assert_eq!((names(&found), known), (vec![".env"], 2));
    }

    #[test]
    fn invariant_3_a_change_is_seen_whatever_is_done_about_its_times() {
        let world = World::new();
        let path = world.work.path().join("notes.txt");
        let secret = format!("RAILWAY_API_TOKEN={TOKEN}\n");
        world.write("notes.txt", &"x".repeat(secret.len()));
        world.write("other.txt", "nothing\n");
        world.scan(&[]);
        let times = fs::metadata(&path).unwrap();
        let times = fs::FileTimes::new()
            .set_accessed(times.accessed().unwrap())
            .set_modified(times.modified().unwrap());
        // The same size, and the old times put back.
        fs::write(&path, &secret).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(times)
            .unwrap();
        assert_eq!(names(&world.scan(&[]).0), ["notes.txt"]);
        // Under a clean file's name, and a clean file under another name.
        fs::rename(&path, world.work.path().join("other.txt")).unwrap();
        assert_eq!(names(&world.scan(&[]).0), ["other.txt"]);
    }

    #[test]
    fn invariant_3_a_file_that_changed_just_now_is_read_each_time() {
        let world = World {
            ahead: 0,
            ..World::new()
        };
        world.write("readme.md", "nothing\n");
        world.scan(&[]);
        assert_eq!(world.scan(&[]).1, 0);
        // A clock that was set back.
        let world = World {
            ahead: -3600,
            ..world
        };
        world.scan(&[]);
        assert_eq!(world.scan(&[]).1, 0);
    }

    #[test]
    fn invariant_3_other_credentials_and_a_damaged_file_start_anew() {
        let world = World::new();
        let value = b"correct horse battery".as_slice();
        world.write("readme.md", "say correct horse battery\n");
        world.write("other.md", "nothing\n");
        world.scan(&[]);
        let held = [(value, b"decoydecoydecoydecoyd".as_slice())];
        assert_eq!(names(&world.scan(&held).0), ["readme.md"]);
        assert_eq!(world.scan(&held).1, 1);
        let whole = fs::read(world.file()).unwrap();
        for damaged in [
            &whole[..whole.len() - 1],
            &whole[..20],
            &[whole.as_slice(), b"x"].concat(),
            &[&whole[..60], b"\xff", &whole[61..]].concat(),
            b"",
        ] {
            fs::write(world.file(), damaged).unwrap();
            assert_eq!(names(&world.scan(&held).0), ["readme.md"]);
            fs::write(world.file(), damaged).unwrap();
            assert_eq!(world.scan(&held).1, 0);
        }
    }
}
