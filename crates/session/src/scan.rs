//! Looks through a workspace for secrets before an agent may: every file, ignored ones too, in
//! parallel. What is found becomes twins (what the agent sees
//! instead) and known values (what no gate lets out).

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use ignore::{WalkBuilder, WalkState};
use tagout_secrets::{
    Confidence, DecoyKey, Detector, FileKind, Finding, file_kind, known_values, twin,
};

use crate::archives::look_into;
use crate::remembered::Remembered;
use crate::scanned::Scanned;
use crate::walk::each_entry;

/// Larger files are not read, and not shown where their name promises credentials.
pub(crate) const LARGEST: u64 = 16 * 1024 * 1024;
/// What is found in one that is shown as zeros.
const ARCHIVE: &str = "archive";
/// What is found in another that is.
const MANY: &str = "many secrets";
/// A file with more findings is shown as zeros: to find as many values in all that leaves would cost every session seconds.
const MOST_FINDINGS: usize = 10_000;
/// The shortest value of a granted credential that is looked for in files.
const SHORTEST_HELD: usize = 8;
/// Folders whose contents come from a package manager; only names that promise credentials are
/// looked at there.
pub(crate) const DEPENDENCIES: &[&str] = &[
    "node_modules",
    "target",
    ".venv",
    "__pycache__",
    ".tox",
    ".gradle",
];
/// How long git may take to list its index.
const INDEX_WITHIN: Duration = Duration::from_secs(20);

/// What was found in a workspace.
#[derive(Default)]
pub struct Scan {
    /// Files that the agent sees a twin of, relative to the workspace.
    pub twins: Vec<FoundFile>,
    /// Values that stand in the files or in their history.
    pub known: Vec<KnownValue>,
    /// How many files were read.
    pub files: u64,
    /// What could not be looked at, a sentence each.
    pub warnings: Vec<String>,
    /// Files of several names, by device and inode; relative to the workspace.
    names: HashMap<(u64, u64), Vec<PathBuf>>,
}

/// A file that holds secrets.
pub struct FoundFile {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// What the agent sees instead.
    pub twin: Vec<u8>,
    /// The decoys that stand in the twin.
    pub decoys: Vec<Vec<u8>>,
    /// What was found, by kind.
    pub kinds: Vec<String>,
}

impl FoundFile {
    /// One that nobody can look at is shown empty.
    fn too_large(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            twin: Vec::new(),
            decoys: Vec::new(),
            kinds: vec!["too large".to_owned()],
        }
    }

    /// What it is, where zeros are shown instead.
    pub(crate) fn zeros_for(&self) -> Option<&'static str> {
        match self.kinds.as_slice() {
            [kind] if kind == ARCHIVE => Some("is an archive that holds secrets"),
            [kind] if kind == MANY => Some("holds too many secrets to replace each"),
            _ => None,
        }
    }

    /// Whether a rule about content keeps the whole file from the agent.
    pub(crate) fn is_withheld(&self) -> bool {
        self.kinds == ["withheld"]
    }
}

/// A value that no gate lets out.
pub struct KnownValue {
    /// Where it was found: `.env`, or `.env in commit history`.
    pub label: String,
    /// The value itself.
    pub value: Vec<u8>,
    /// Whether it is matched in credential slots only.
    pub guessable: bool,
    /// Whether it has a shape that only credentials have.
    pub certain: bool,
}

/// A credential's value and the decoy that stands for it.
pub type Held<'a> = (&'a [u8], &'a [u8]);

/// Scans a workspace. `progress` hears the number of files read so far, now and then. A file with a value
/// of `held` in it becomes a twin, whatever the detector makes of it.
pub fn scan(
    workspace: &Path,
    key: &DecoyKey,
    held: &[Held<'_>],
    progress: &(dyn Fn(u64) + Sync),
) -> Scan {
    look(workspace, (key, &Hider::new(held), None), progress)
}

/// The same, passing over files in which an earlier scan found nothing and that cannot have changed since.
pub(crate) fn scan_again(
    workspace: &Path,
    key: &DecoyKey,
    held: &[Held<'_>],
    scanned: &Scanned,
    progress: &(dyn Fn(u64) + Sync),
) -> Scan {
    look(workspace, (key, &Hider::new(held), Some(scanned)), progress)
}

/// What a scan looks for, and what it need not look at.
type Search<'a> = (&'a DecoyKey, &'a Hider<'a>, Option<&'a Scanned>);

fn look(workspace: &Path, search: Search<'_>, progress: &(dyn Fn(u64) + Sync)) -> Scan {
    let found = Mutex::new(Scan::default());
    let files = AtomicU64::new(0);
    let mut walk = WalkBuilder::new(workspace);
    walk.standard_filters(false)
        .hidden(false)
        .follow_links(false)
        .same_file_system(false)
        .filter_entry(|entry| !is_git_storage(entry.path()));
    each_entry(&mut walk, |entry| {
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            let count = files.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(512) {
                progress(count);
            }
            scan_file(workspace, entry.path(), search, &found);
        }
        WalkState::Continue
    });
    // A worker that panicked would poison the lock; what it had found is still right.
    let mut found = found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    found.files = files.into_inner();
    add_other_names(&mut found);
    found.twins.sort_by(|a, b| a.path.cmp(&b.path));
    dedup(&mut found);
    found
}

/// Each value once.
fn dedup(found: &mut Scan) {
    found
        .known
        .sort_by(|a, b| a.value.cmp(&b.value).then_with(|| a.label.cmp(&b.label)));
    found.known.dedup_by(|a, b| a.value == b.value);
}

/// What the agent should see instead of `bytes`, or `None` when there is no secret in them.
pub(crate) fn find_in(
    path: &Path,
    bytes: &[u8],
    key: &DecoyKey,
) -> Option<(FoundFile, Vec<KnownValue>)> {
    if let Some(found) = find_within(path, bytes, key) {
        return Some(found);
    }
    let findings = findings_in(path, bytes);
    if findings.is_empty() {
        return None;
    }
    if findings.len() > MOST_FINDINGS {
        let file = FoundFile {
            path: path.to_owned(),
            twin: vec![0; bytes.len()],
            decoys: Vec::new(),
            kinds: vec![MANY.to_owned()],
        };
        return Some((file, Vec::new()));
    }
    let twin = twin(bytes, &findings, key);
    let known = values_of(&path.display().to_string(), bytes, &findings);
    let decoys = known.iter().map(|known| key.decoy(&known.value)).collect();
    let mut kinds: Vec<String> = findings.into_iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds.dedup();
    let file = FoundFile {
        path: path.to_owned(),
        twin,
        decoys,
        kinds,
    };
    Some((file, known))
}

/// An archive that holds secrets is shown as zeros: nobody could put decoys into it, and git takes a file of another length
/// for a changed one.
fn find_within(path: &Path, bytes: &[u8], key: &DecoyKey) -> Option<(FoundFile, Vec<KnownValue>)> {
    let known: Vec<KnownValue> = look_into(path, bytes)
        .iter()
        .flat_map(|within| {
            let label = format!("{} in {}", within.name.display(), path.display());
            values_of(&label, &within.bytes, &within.findings)
        })
        .collect();
    let file = FoundFile {
        path: path.to_owned(),
        twin: vec![0; bytes.len()],
        decoys: known.iter().map(|known| key.decoy(&known.value)).collect(),
        kinds: vec![ARCHIVE.to_owned()],
    };
    (!known.is_empty()).then_some((file, known))
}

/// What counts of the detector's findings in `bytes`.
pub(crate) fn findings_in(path: &Path, bytes: &[u8]) -> Vec<Finding> {
    let mut findings = Detector::builtin().scan(path, bytes);
    // In a file made for credentials, doubt counts as a finding; elsewhere it would break programs.
    if file_kind(path) == FileKind::Plain {
        findings.retain(|finding| finding.confidence > Confidence::Low);
    }
    findings
}

/// What git keeps in its own formats: compressed, so a scan finds nothing there; values in the history
/// of files are looked for with git itself. The rest of a git folder is files like any other, and a
/// remote's URL in `.git/config` may hold a token.
fn is_git_storage(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let in_git = path
        .parent()
        .is_some_and(|folder| folder.file_name() == Some(".git".as_ref()));
    in_git
        && ["objects", "lfs", "index", "packed-refs", "refs"]
            .iter()
            .any(|storage| name == *storage)
}

pub(crate) fn values_of(label: &str, bytes: &[u8], findings: &[Finding]) -> Vec<KnownValue> {
    findings
        .iter()
        .flat_map(|finding| {
            known_values(bytes, finding)
                .into_iter()
                .map(|value| KnownValue {
                    label: label.to_owned(),
                    value,
                    guessable: finding.guessable,
                    certain: finding.confidence == Confidence::High,
                })
        })
        .collect()
}

/// Whether a path leads through a folder of dependencies.
pub(crate) fn is_dependency(path: &Path) -> bool {
    path.components().any(|part| {
        DEPENDENCIES
            .iter()
            .any(|folder| part.as_os_str() == *folder)
    })
}

fn scan_file(
    workspace: &Path,
    path: &Path,
    (key, hider, scanned): Search<'_>,
    found: &Mutex<Scan>,
) {
    let Ok(relative) = path.strip_prefix(workspace) else {
        return;
    };
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    // Other file systems are looked at like the workspace's own: the view has them too, and on an overlay (a
    // container's) every file has another device than its folder. Nothing is in an empty file; a file of
    // /proc says that it is empty, and reading some of them never ends.
    if metadata.len() == 0 {
        return;
    }
    if metadata.nlink() > 1
        && let Ok(mut found) = found.lock()
    {
        let names = found
            .names
            .entry((metadata.dev(), metadata.ino()))
            .or_default();
        names.push(relative.to_owned());
    }
    let plain = file_kind(relative) == FileKind::Plain;
    if plain && is_dependency(relative) {
        return;
    }
    let warn = |text: String| {
        if let Ok(mut found) = found.lock() {
            found.warnings.push(text);
        }
    };
    if metadata.len() > LARGEST {
        if !plain {
            warn(format!(
                "{} is {} MB, too large to be looked at; it is shown empty",
                relative.display(),
                metadata.len() / 1_000_000
            ));
            if let Ok(mut found) = found.lock() {
                found.twins.push(FoundFile::too_large(relative));
            }
        }
        return;
    }
    // Taken before the file is read: what changes meanwhile has another one next time.
    let mark = scanned.and_then(|scanned| Some((scanned, scanned.mark(relative, &metadata)?)));
    if mark.is_some_and(|(scanned, mark)| scanned.is_clean(&mark)) {
        return;
    }
    let clean = || {
        if let Some((scanned, mark)) = mark {
            scanned.keep(mark);
        }
    };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            // What the person may not read is hidden where it can be opened inside.
            if !plain && error.kind() != std::io::ErrorKind::PermissionDenied {
                warn(format!("{} could not be read: {error}", relative.display()));
            }
            return;
        }
    };
    let judged = find_in(relative, &bytes, key);
    match hider.hide(relative, &bytes, judged) {
        None => clean(),
        Some((file, known)) => {
            if let Some(why) = file.zeros_for() {
                warn(format!("{} {why}; inside it is zeros", relative.display()));
            }
            if let Ok(mut found) = found.lock() {
                found.twins.push(file);
                found.known.extend(known);
            }
        }
    }
}

/// Looks at files that had a twin in earlier sessions, whatever their name and place promise, and for the values that they held.
pub(crate) fn look_again(
    workspace: &Path,
    key: &DecoyKey,
    remembered: &Remembered,
    found: &mut Scan,
) {
    for relative in remembered.files() {
        let known = found.twins.iter().position(|file| file.path == relative);
        let read = read_remembered(&workspace.join(relative));
        let bytes = match (read, known) {
            (Ok(Some(bytes)), _) => bytes,
            // What is not covered by what a scan makes of it is not shown.
            (Ok(None), None) => {
                found.warnings.push(format!(
                    "{} held secrets in an earlier session and is too large to be looked at; it is shown empty",
                    relative.display()
                ));
                found.twins.push(FoundFile::too_large(relative));
                continue;
            }
            _ => continue,
        };
        let judged = match known {
            Some(at) => Some((found.twins.swap_remove(at), Vec::new())),
            None => find_in(relative, &bytes, key),
        };
        let was_known = judged.is_some();
        let values = remembered.find(&bytes);
        let decoys: Vec<Vec<u8>> = values.iter().map(|value| key.decoy(value)).collect();
        let held: Vec<Held<'_>> = values
            .iter()
            .zip(&decoys)
            .map(|(value, decoy)| (value.as_slice(), decoy.as_slice()))
            .collect();
        let Some((mut file, known)) = Hider::new(&held).hide(relative, &bytes, judged) else {
            continue;
        };
        if !was_known {
            file.kinds = vec!["known from an earlier session".to_owned()];
        }
        file.decoys.extend(decoys);
        found.known.extend(known);
        found
            .known
            .extend(values.into_iter().map(|value| KnownValue {
                label: relative.display().to_string(),
                value,
                guessable: false,
                certain: true,
            }));
        found.twins.push(file);
    }
    found.twins.sort_by(|a, b| a.path.cmp(&b.path));
}

/// `None` for a file that is too large.
fn read_remembered(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    if fs::symlink_metadata(path)?.len() > LARGEST {
        return Ok(None);
    }
    fs::read(path).map(Some)
}

/// Values that are looked for wherever they stand.
struct Hider<'a> {
    /// An error where there are more than can be looked for.
    values: Result<AhoCorasick, BuildError>,
    decoys: Vec<&'a [u8]>,
}

impl<'a> Hider<'a> {
    fn new(held: &[Held<'a>]) -> Self {
        // A shorter value is everywhere; the file that it comes from alone would not be enough.
        let held = held
            .iter()
            .filter(|(value, _)| value.len() >= SHORTEST_HELD);
        let (values, decoys): (Vec<&[u8]>, Vec<&[u8]>) = held.copied().unzip();
        Self {
            values: AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&values),
            decoys,
        }
    }

    /// Puts decoys where the values stand, in what is shown of a file so far.
    fn hide(
        &self,
        path: &Path,
        bytes: &[u8],
        judged: Option<(FoundFile, Vec<KnownValue>)>,
    ) -> Option<(FoundFile, Vec<KnownValue>)> {
        let so_far = judged.as_ref().map_or(bytes, |(file, _)| &file.twin);
        let twin = match &self.values {
            _ if self.decoys.is_empty() => return judged,
            Ok(values) if !values.is_match(so_far) => return judged,
            Ok(values) => values.replace_all_bytes(so_far, &self.decoys),
            Err(_) => vec![0; so_far.len()],
        };
        let (mut file, known) = judged.unwrap_or_else(|| {
            let file = FoundFile {
                path: path.to_owned(),
                twin: Vec::new(),
                decoys: Vec::new(),
                kinds: vec!["granted credential".to_owned()],
            };
            (file, Vec::new())
        });
        file.twin = twin;
        Some((file, known))
    }
}

/// A twin hides one name. The others of the same file, in folders that are not searched or under names
/// that promise nothing, get the same twin.
fn add_other_names(found: &mut Scan) {
    let names = std::mem::take(&mut found.names);
    for names in names.into_values() {
        let Some(file) = found.twins.iter().find(|file| names.contains(&file.path)) else {
            continue;
        };
        let others: Vec<FoundFile> = names
            .iter()
            .filter(|name| !found.twins.iter().any(|twin| twin.path == **name))
            .map(|name| FoundFile {
                path: name.clone(),
                twin: file.twin.clone(),
                decoys: file.decoys.clone(),
                kinds: file.kinds.clone(),
            })
            .collect();
        found.twins.extend(others);
    }
}

/// `git` with nothing in its configuration that runs a program: the repository's own configuration
/// is the agent's to have written in an earlier, ungoverned session.
pub(crate) fn git(workspace: &Path) -> Command {
    let mut git = crate::git_outside::command(workspace);
    git.arg("--no-pager")
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(["-c", "protocol.allow=never"])
        .arg("-C")
        .arg(workspace)
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    git
}

/// The blobs that the index has for these paths, by path; nothing where git cannot say.
pub(crate) fn indexed(workspace: &Path, paths: &[&Path]) -> HashMap<PathBuf, String> {
    let deadline = Instant::now() + INDEX_WITHIN;
    let listed = git(workspace)
        .args(["--literal-pathspecs", "ls-files", "--stage", "-z", "--"])
        .args(paths)
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| read_until(&mut child, deadline));
    let Ok(listed) = listed else {
        return HashMap::new();
    };
    listed
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('\t'))
        .filter_map(|(facts, path)| {
            let mut facts = facts.split(' ');
            let blob = facts.nth(1)?;
            // Stages beyond 0 are a merge that waits.
            (facts.next() == Some("0")).then(|| (PathBuf::from(path), blob.to_owned()))
        })
        .collect()
}

/// Reads a child's output until it ends; kills it at the deadline.
fn read_until(child: &mut std::process::Child, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let Some(mut stdout) = child.stdout.take() else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.read_to_end(&mut bytes).map(|_| bytes);
        let _ = sender.send(result);
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let result = received.recv_timeout(left);
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    match result {
        Ok(bytes) if status.success() => bytes,
        Ok(_) => Err(std::io::Error::other(format!("git ended with {status}"))),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

    fn key() -> DecoyKey {
        DecoyKey::derive(b"install", b"workspace")
    }

    fn run(workspace: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .arg("-C")
            .arg(workspace)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    }

    #[test]
    fn invariant_3_finds_tokens_in_ignored_hidden_and_unrelated_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".gitignore"), ".env\n").unwrap();
        fs::write(
            folder.path().join(".env"),
            format!("RAILWAY_API_TOKEN={TOKEN}\n"),
        )
        .unwrap();
        let deep = folder.path().join("scripts/old");
        fs::create_dir_all(&deep).unwrap();
        fs::write(
            deep.join("domain.sh"),
            format!("#!/bin/sh\nexport RAILWAY_API_TOKEN=\"{TOKEN}\"\nrailway domain\n"),
        )
        .unwrap();
        let found = scan(folder.path(), &key(), &[], &|_| ());
        let paths: Vec<_> = found
            .twins
            .iter()
            .map(|file| file.path.to_str().unwrap())
            .collect();
        assert_eq!(paths, [".env", "scripts/old/domain.sh"]);
        for file in &found.twins {
            assert!(!String::from_utf8_lossy(&file.twin).contains(TOKEN));
        }
        assert!(
            found
                .known
                .iter()
                .any(|known| known.value == TOKEN.as_bytes())
        );
    }

    #[test]
    fn invariant_3_a_token_in_a_remote_is_found() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["init", "-q"]);
        let url = "https://agent: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@github.com/o/r.git";
        run(folder.path(), &["remote", "add", "origin", url]);
        let found = scan(folder.path(), &key(), &[], &|_| ());
        let config = found
            .twins
            .iter()
            .find(|file| file.path == Path::new(".git/config"));
        let twin =
            String::from_utf8_lossy(&config.expect("a twin of .git/config").twin).into_owned();
        assert!(!twin.contains("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "{twin}");
        assert!(twin.contains("@github.com/o/r.git"), "{twin}");
    }
}
