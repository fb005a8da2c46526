//! Secrets that a repository's history holds: git inside can print them, so gates have to know their values. Every version that a
//! commit of any branch, tag, stash or reflog brought, and that the index has, is looked at once; later launches look at what came
//! since, and read again what held something.
//!
//! Versions whose name promises credentials are read before the command starts; the rest while it runs. Objects that no reference
//! or reflog leads to are not looked at, nor are repositories within the workspace.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tagout_core::Digest;
use tagout_secrets::{FileKind, Finding, file_kind};

use crate::scan::{KnownValue, findings_in, git, is_dependency, values_of};
use crate::scanned::of_program;

/// How long a launch waits for what it looks at before the command starts.
const AT_LAUNCH: Duration = Duration::from_secs(20);
/// How long the rest may take.
const WHILE_IT_RUNS: Duration = Duration::from_secs(30 * 60);
/// Larger versions are not read, in bytes.
const LARGEST: u64 = 4 << 20;
/// The longest list of versions that is read, in bytes.
const LONGEST_LIST: u64 = 1 << 30;
/// Tips and versions beyond this are not remembered.
const MOST_REMEMBERED: usize = 50_000;

/// A file as a commit has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The object name of its content.
    blob: String,
    /// The commit that brought it; nothing where only the index has it.
    commit: Option<String>,
    #[serde(with = "tagout_sandbox::path_octets")]
    path: PathBuf,
}

impl Version {
    /// `.env in commit 1a2b3c4`.
    pub(crate) fn label(&self) -> String {
        match self.commit.as_deref().and_then(|name| name.get(..10)) {
            Some(commit) => format!("{} in commit {commit}", self.path.display()),
            None => format!("{} in git's index", self.path.display()),
        }
    }
}

/// What is remembered of a repository.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// The program whose rules decided.
    program: String,
    /// Where references and reflogs stood when all behind them had been looked at.
    tips: Vec<String>,
    /// What held something.
    found: Vec<Version>,
}

/// The history of a workspace's repository.
pub(crate) struct History {
    workspace: PathBuf,
    place: PathBuf,
    kept: Kept,
    tips: Vec<String>,
    /// What is left to look at.
    left: Vec<Version>,
    /// What could not be looked at, a sentence each.
    pub(crate) warnings: Vec<String>,
}

impl History {
    /// Lists what has to be looked at. Nothing where there is no repository.
    pub(crate) fn open(tagout_home: &Path, workspace: &Path) -> Option<Self> {
        if fs::symlink_metadata(workspace.join(".git")).is_err() {
            return None;
        }
        let name = Digest::of(workspace.as_os_str().as_bytes()).to_string();
        let place = tagout_home.join("history").join(&name[..32]);
        let program = of_program().to_string();
        let mut kept: Kept = fs::read(&place)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if kept.program != program {
            kept = Kept {
                program,
                ..Kept::default()
            };
        }
        let mut history = Self {
            workspace: workspace.to_owned(),
            place,
            kept,
            tips: Vec::new(),
            left: Vec::new(),
            warnings: Vec::new(),
        };
        let deadline = Instant::now() + AT_LAUNCH;
        if let Err(error) = history.list(deadline) {
            history.tips.clear();
            history
                .warnings
                .push(format!("the git history could not be looked at: {error}"));
        }
        Some(history)
    }

    fn list(&mut self, deadline: Instant) -> io::Result<()> {
        let tips = ask(
            &mut git(&self.workspace),
            &["rev-list", "--no-walk", "--all", "--reflog"],
            "",
            deadline,
        )?;
        self.tips = String::from_utf8_lossy(&tips)
            .lines()
            .map(ToOwned::to_owned)
            .collect();
        let since: String = self
            .kept
            .tips
            .iter()
            .map(|tip| format!("^{tip}\n"))
            .collect();
        let mut seen = self
            .kept
            .found
            .iter()
            .map(|found| found.blob.clone())
            .collect();
        self.left = listed(&self.workspace, &since, &mut seen, deadline)?;
        Ok(())
    }

    /// Reads what held something before, what stands under names that promise credentials, and versions of `files`. Gives the values.
    pub(crate) fn look_at_promising(&mut self, files: &HashSet<&Path>) -> Vec<KnownValue> {
        let promises = |version: &Version| {
            file_kind(&version.path) != FileKind::Plain || files.contains(version.path.as_path())
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = self.left.drain(..).partition(promises);
        self.left = rest;
        first.append(&mut self.kept.found);
        let mut known = Vec::new();
        let deadline = Instant::now() + AT_LAUNCH;
        let read = self.read(&first, deadline, &AtomicBool::new(false), |values| {
            known.extend(values)
        });
        if let Err(error) = read {
            self.warnings.push(format!(
                "earlier versions of files with secrets could not all be read: {error}"
            ));
            // The next launch begins anew.
            self.tips.clear();
        }
        known
    }

    /// Reads the rest, and remembers what was looked at. `learn` hears the values of each version that has some.
    pub(crate) fn look_at_rest(
        mut self,
        stop: &AtomicBool,
        learn: impl FnMut(Vec<KnownValue>),
    ) -> io::Result<()> {
        let left = std::mem::take(&mut self.left);
        let deadline = Instant::now() + WHILE_IT_RUNS;
        let read = self.read(&left, deadline, stop, learn);
        if read.is_ok() && self.tips.len() <= MOST_REMEMBERED && !self.tips.is_empty() {
            self.kept.tips = std::mem::take(&mut self.tips);
        }
        self.kept.found.truncate(MOST_REMEMBERED);
        read.and(self.save())
    }

    fn read(
        &mut self,
        versions: &[Version],
        deadline: Instant,
        stop: &AtomicBool,
        mut each: impl FnMut(Vec<KnownValue>),
    ) -> io::Result<()> {
        let found = &mut self.kept.found;
        read_all(
            &self.workspace,
            versions,
            deadline,
            stop,
            |version, bytes, findings| {
                each(values_of(&version.label(), bytes, &findings));
                found.push(version.clone());
            },
        )
    }

    /// In one step.
    fn save(&self) -> io::Result<()> {
        if let Some(folder) = self.place.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let draft = self
            .place
            .with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_vec(&self.kept)?;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&draft, &self.place))
            .inspect_err(|_| {
                let _ = fs::remove_file(&draft);
            })
    }
}

/// A version that holds secrets.
pub struct Past<'a> {
    /// Relative to the repository.
    pub path: &'a Path,
    /// The newest commit that brought it; nothing where only the index has it.
    pub commit: Option<&'a str>,
    /// Its content.
    pub bytes: &'a [u8],
    /// What was found in it.
    pub findings: Vec<Finding>,
}

/// Looks through all of the history of the repository at `folder`, remembering nothing. Does nothing where there is no repository.
///
/// # Errors
/// When git cannot read it.
pub fn look_through(folder: &Path, mut each: impl FnMut(Past<'_>)) -> io::Result<()> {
    if fs::symlink_metadata(folder.join(".git")).is_err() {
        return Ok(());
    }
    let deadline = Instant::now() + WHILE_IT_RUNS;
    let versions = listed(folder, "", &mut HashSet::new(), deadline)?;
    read_all(
        folder,
        &versions,
        deadline,
        &AtomicBool::new(false),
        |version, bytes, findings| {
            each(Past {
                path: &version.path,
                commit: version.commit.as_deref(),
                bytes,
                findings,
            });
        },
    )
}

/// What looks at the rest of a history while a session runs; ends with it.
pub(crate) struct Looking {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Looking {
    /// Begins; `learn` hears the values.
    pub(crate) fn start(
        history: Option<History>,
        learn: impl Fn(Vec<KnownValue>) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = history.map(|history| {
            thread::spawn(move || {
                // What was not looked at is looked at by the next launch.
                let _ = history.look_at_rest(&told, learn);
            })
        });
        Self { stop, thread }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every version but those in `seen`, of commits that `since` does not reach, and of the index.
fn listed(
    workspace: &Path,
    since: &str,
    seen: &mut HashSet<String>,
    deadline: Instant,
) -> io::Result<Vec<Version>> {
    // A tip that is gone since makes git refuse all of them.
    let log = match log(workspace, since, deadline) {
        Err(_) if !since.is_empty() => self::log(workspace, "", deadline),
        log => log,
    }?;
    let staged = ask(
        &mut git(workspace),
        &[
            "diff-index",
            "--cached",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            "-z",
            "HEAD",
            "--",
        ],
        "",
        deadline,
    );
    let mut found = versions(&log, seen);
    // In front of the first commit there is no HEAD, and nothing is staged that no scan of files sees.
    if let Ok(staged) = staged {
        found.extend(versions(&staged, seen));
    }
    Ok(found)
}

/// Reads versions and tells those that hold something.
fn read_all(
    workspace: &Path,
    versions: &[Version],
    deadline: Instant,
    stop: &AtomicBool,
    mut each: impl FnMut(&Version, &[u8], Vec<Finding>),
) -> io::Result<()> {
    let wanted: Vec<&Version> = versions
        .iter()
        .filter(|version| {
            file_kind(&version.path) != FileKind::Plain || !is_dependency(&version.path)
        })
        .collect();
    read_blobs(workspace, &wanted, deadline, stop, |version, bytes| {
        let findings = findings_in(&version.path, bytes);
        if !findings.is_empty() {
            each(version, bytes, findings);
        }
    })
}

/// What commits brought, as `git log --raw -z` writes it, of those that `since` (`^NAME` lines) does not reach.
fn log(workspace: &Path, since: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    ask(
        &mut git(workspace),
        &[
            "log",
            "--all",
            "--reflog",
            "--root",
            "--diff-merges=first-parent",
            "--diff-filter=d",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--no-show-signature",
            "--no-color",
            "--no-notes",
            "-z",
            "--format=%x01%H",
            "--stdin",
        ],
        since,
        deadline,
    )
}

/// The versions in the raw form of git's (git-diff(1), "Raw output format"), each content once.
fn versions(raw: &[u8], seen: &mut HashSet<String>) -> Vec<Version> {
    const LINK: &str = "120000";
    const SUBMODULE: &str = "160000";
    let mut found = Vec::new();
    let mut commit = None;
    let mut fields = raw.split(|byte| *byte == 0);
    while let Some(field) = fields.next() {
        let field = field.trim_ascii_start();
        if let [1, name @ ..] = field {
            commit = std::str::from_utf8(name).ok().map(ToOwned::to_owned);
            continue;
        }
        let [b':', facts @ ..] = field else { continue };
        let Some(path) = fields.next() else { break };
        let Ok(facts) = std::str::from_utf8(facts) else {
            continue;
        };
        let mut facts = facts.split(' ');
        let (mode, blob) = (facts.nth(1), facts.nth(1));
        if let (Some(mode), Some(blob)) = (mode, blob)
            && mode != LINK
            && mode != SUBMODULE
            && blob.bytes().any(|digit| digit != b'0')
            && seen.insert(blob.to_owned())
        {
            found.push(Version {
                blob: blob.to_owned(),
                commit: commit.clone(),
                path: PathBuf::from(std::ffi::OsStr::from_bytes(path)),
            });
        }
    }
    found
}

/// Reads versions one after the other. `each` is told those that are blobs and not too large.
fn read_blobs(
    workspace: &Path,
    versions: &[&Version],
    deadline: Instant,
    stop: &AtomicBool,
    mut each: impl FnMut(&Version, &[u8]),
) -> io::Result<()> {
    if versions.is_empty() {
        return Ok(());
    }
    let request: String = versions
        .iter()
        .map(|version| format!("{}\n", version.blob))
        .collect();
    let (mut output, asking) = Asking::begin(
        git(workspace).args(["cat-file", "--batch=%(objecttype) %(objectsize)"]),
        request,
        deadline,
    )?;
    for version in versions {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut header = Vec::new();
        (&mut output).take(4096).read_until(b'\n', &mut header)?;
        let header = String::from_utf8_lossy(&header);
        let Some((kind, size)) = header.trim_end().split_once(' ') else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        // `NAME missing`, as in a clone that has not fetched everything.
        let Ok(size) = size.parse::<u64>() else {
            continue;
        };
        if kind == "blob" && size <= LARGEST {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            output.read_exact(&mut bytes)?;
            each(version, &bytes);
        } else {
            io::copy(&mut (&mut output).take(size), &mut io::sink())?;
        }
        output.read_exact(&mut [0])?;
    }
    drop(output);
    asking.end()
}

/// All that git answers to `arguments`, which hears `input`.
fn ask(
    git: &mut Command,
    arguments: &[&str],
    input: &str,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let (mut output, asking) = Asking::begin(git.args(arguments), input.to_owned(), deadline)?;
    let mut answer = Vec::new();
    (&mut output).take(LONGEST_LIST).read_to_end(&mut answer)?;
    drop(output);
    asking.end()?;
    Ok(answer)
}

/// A git that is killed at its deadline, or when nobody reads it any more.
struct Asking {
    child: Arc<Mutex<Child>>,
    over: Option<mpsc::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Asking {
    fn begin(
        git: &mut Command,
        input: String,
        deadline: Instant,
    ) -> io::Result<(BufReader<std::process::ChildStdout>, Self)> {
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let child = Arc::new(Mutex::new(child));
        let (over, ended) = mpsc::channel();
        let watched = Arc::clone(&child);
        let threads = vec![
            // git answers while it is asked: one thread for each direction, or both would wait.
            thread::spawn(move || drop(stdin.write_all(input.as_bytes()))),
            thread::spawn(move || {
                let left = deadline.saturating_duration_since(Instant::now());
                if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let _ = lock(&watched).kill();
                }
            }),
        ];
        let asking = Self {
            child,
            over: Some(over),
            threads,
        };
        Ok((BufReader::new(stdout), asking))
    }

    /// Waits for its end.
    fn end(mut self) -> io::Result<()> {
        self.over.take();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let status = lock(&self.child).wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("git ended with {status}"))),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.over.take().is_some() {
            let _ = lock(&self.child).kill();
            let _ = lock(&self.child).wait();
        }
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Repository(tempfile::TempDir);

    impl Repository {
        fn new() -> Self {
            let repository = Self(tempfile::tempdir().unwrap());
            repository.git(&["init", "-q"]);
            repository
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("work")
        }

        fn git(&self, arguments: &[&str]) {
            fs::create_dir_all(self.path()).unwrap();
            let status = Command::new("git")
                .arg("-C")
                .arg(self.path())
                .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "{arguments:?}");
        }

        fn write(&self, name: &str, text: &str) {
            let file = self.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn commit(&self, message: &str) {
            self.git(&["add", "-A"]);
            self.git(&["commit", "-q", "-m", message]);
        }

        /// What a launch learns before the command starts, and while it runs.
        fn launch(&self) -> (Vec<KnownValue>, Vec<KnownValue>) {
            let mut history = History::open(self.0.path(), &self.path()).unwrap();
            let first = history.look_at_promising(&HashSet::new());
            assert!(history.warnings.is_empty(), "{:?}", history.warnings);
            let mut rest = Vec::new();
            let stop = AtomicBool::new(false);
            history
                .look_at_rest(&stop, |values| rest.extend(values))
                .unwrap();
            (first, rest)
        }
    }

    fn token(number: u32) -> String {
        format!("3f6e1c2a-9b7d-4e58-a1c0-{number:012}")
    }

    fn has(known: &[KnownValue], number: u32) -> bool {
        known
            .iter()
            .any(|known| known.value == token(number).as_bytes())
    }

    #[test]
    fn invariant_4_values_of_earlier_versions_are_known() {
        let repository = Repository::new();
        let setting = |number| format!("RAILWAY_API_TOKEN={}\n", token(number));
        repository.write(".env", &setting(1));
        repository.commit("first");
        repository.write(".env", &setting(2));
        repository.write("deploy.sh", &format!("export {}", setting(3)));
        repository.commit("second");
        // Both are gone from the tree.
        fs::remove_file(repository.path().join(".env")).unwrap();
        fs::remove_file(repository.path().join("deploy.sh")).unwrap();
        repository.commit("third");
        repository.write("config.sh", "true\n");
        repository.commit("fourth");
        repository.write("config.sh", &format!("export {}", setting(4)));
        repository.git(&["stash", "-q"]);
        // A commit that only the reflog has.
        repository.write("gone.env", &setting(5));
        repository.commit("gone");
        repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
        // What only the index has.
        repository.write("staged.env", &setting(6));
        repository.git(&["add", "staged.env"]);
        fs::remove_file(repository.path().join("staged.env")).unwrap();
        let (first, rest) = repository.launch();
        for number in [1, 2, 5, 6] {
            assert!(has(&first, number), "{number}");
        }
        for number in [3, 4] {
            assert!(!has(&first, number) && has(&rest, number), "{number}");
        }
        let label = &first
            .iter()
            .find(|known| known.value == token(1).as_bytes())
            .unwrap()
            .label;
        assert!(label.starts_with(".env in commit "), "{label}");
        // The next launch reads what held something, and what came since.
        repository.write("more.sh", &format!("export {}", setting(7)));
        repository.commit("more");
        let mut history = History::open(repository.0.path(), &repository.path()).unwrap();
        assert_eq!(history.left.len(), 1, "{:?}", history.left);
        let again = history.look_at_promising(&HashSet::new());
        assert!((1..=6).all(|number| has(&again, number)));
        // One that is stopped is not taken for done.
        let stop = AtomicBool::new(true);
        assert!(history.look_at_rest(&stop, |_| ()).is_err());
        let (first, rest) = repository.launch();
        assert!((1..=6).all(|number| has(&first, number)) && has(&rest, 7));
        let kept = fs::read_to_string(
            fs::read_dir(repository.0.path().join("history"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path(),
        );
        assert!(!kept.unwrap().contains("3f6e1c2a"));
    }

    #[test]
    fn a_repository_without_commits_and_one_that_is_damaged_are_no_errors_of_the_session() {
        let repository = Repository::new();
        let (first, rest) = repository.launch();
        assert!(first.is_empty() && rest.is_empty());
        repository.write("a.env", "TOKEN=x\n");
        repository.commit("first");
        fs::remove_dir_all(repository.path().join(".git/objects")).unwrap();
        let history = History::open(repository.0.path(), &repository.path());
        assert!(history.is_none_or(|history| !history.warnings.is_empty()));
        assert!(History::open(repository.0.path(), repository.0.path()).is_none());
    }
}
