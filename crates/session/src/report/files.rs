//! What a session left changed in its workspace, by looking before and after. No program is run in
//! the workspace for that: an agent may have prepared it for git.
//!
//! Names come from the agent. They are paths here and are escaped where they are shown.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aho_corasick::AhoCorasick;
use ignore::WalkBuilder;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Folders whose contents tools make; only programs in them are looked at.
const BULK: &[&str] = &[
    "node_modules",
    "target",
    ".venv",
    "venv",
    "__pycache__",
    ".tox",
    ".gradle",
    "vendor",
];
/// More files than this are not compared.
const MOST_FILES: usize = 300_000;
/// Changed files that are searched for decoys, and how much of each.
const MOST_SEARCHED: usize = 5_000;
const LARGEST_SEARCHED: u64 = 4 * 1024 * 1024;
/// Names kept of each kind.
pub(crate) const NAMES_KEPT: usize = 5;
const SET_ID: u32 = 0o6000;

/// A file as it was. The change time cannot be set by the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    changed: (i64, i64),
    size: u64,
    set_id: bool,
}

/// Times of files are from a clock that stands still between two ticks, a hundred a second or more.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The workspace before the command, being looked at.
pub(crate) struct Before {
    workspace: PathBuf,
    started: Duration,
    looking: JoinHandle<Option<HashMap<PathBuf, Seen>>>,
}

/// Files of one kind: how many, and the first names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) count: usize,
    pub(crate) names: Vec<PathBuf>,
}

impl Named {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.names.len() < NAMES_KEPT {
            self.names.push(path.to_owned());
        }
    }
}

/// What is different afterwards. Paths are relative to the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Whether there were too many files to compare.
    pub(crate) too_many: bool,
    pub(crate) added: Named,
    pub(crate) changed: Named,
    pub(crate) deleted: Named,
    /// Programs that came or changed in folders that tools fill, by the outermost such folder. That
    /// package tools put some there is expected; names are relative to the folder.
    pub(crate) programs: BTreeMap<PathBuf, Named>,
    /// Files that hold a decoy and are no twin's.
    pub(crate) with_decoys: Named,
    /// Files whose set-id bits came during the session and were taken away.
    pub(crate) set_id: Named,
}

impl Before {
    /// Looks at the workspace on a thread of its own.
    pub(crate) fn look(workspace: &Path) -> std::io::Result<Self> {
        let folder = workspace.to_owned();
        Ok(Self {
            workspace: workspace.to_owned(),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .saturating_sub(CLOCK_TICK),
            looking: std::thread::Builder::new()
                .name("before".to_owned())
                .spawn(move || files_of(&folder))?,
        })
    }

    /// Waits until everything was looked at: the command must not run before.
    pub(crate) fn ready(self) -> Ready {
        Ready {
            files: self.looking.join().ok().flatten(),
            workspace: self.workspace,
            started: self.started,
        }
    }
}

/// The workspace as it was before the command.
pub(crate) struct Ready {
    workspace: PathBuf,
    started: Duration,
    files: Option<HashMap<PathBuf, Seen>>,
}

impl Ready {
    /// Compares. `ours` are paths that the session itself put there; `twins` hold secrets outside,
    /// `decoys` are looked for everywhere else.
    pub(crate) fn compare(
        self,
        ours: &[PathBuf],
        twins: &[PathBuf],
        decoys: &[Vec<u8>],
    ) -> Changes {
        let mut changes = Changes::default();
        let (Some(before), Some(after)) = (self.files, files_of(&self.workspace)) else {
            changes.too_many = true;
            return changes;
        };
        let is_ours = |path: &PathBuf| ours.contains(&self.workspace.join(path));
        let mut paths: Vec<&PathBuf> = after.keys().filter(|path| !is_ours(path)).collect();
        paths.sort();
        let search = Search::new(decoys);
        let mut searched = 0;
        for path in paths {
            let (seen, known) = (after[path], before.get(path));
            match known {
                None => changes.added.add(path),
                Some(known) if *known != seen => changes.changed.add(path),
                Some(_) => continue,
            }
            if seen.set_id
                && !known.is_some_and(|known| known.set_id)
                && clear_set_id(&self.workspace, path)
            {
                changes.set_id.add(path);
            }
            if searched < MOST_SEARCHED && !twins.contains(path) && seen.size <= LARGEST_SEARCHED {
                searched += 1;
                if search.finds(&self.workspace, path) {
                    changes.with_decoys.add(path);
                }
            }
        }
        let mut gone: Vec<&PathBuf> = before
            .keys()
            .filter(|path| !after.contains_key(*path) && !is_ours(path))
            // What a new `.gitignore` covers is still there.
            .filter(|path| fs::symlink_metadata(self.workspace.join(path)).is_err())
            .collect();
        gone.sort();
        for path in gone {
            changes.deleted.add(path);
        }
        look_for_programs(&self.workspace, self.started, &mut changes.programs);
        changes
    }
}

/// Every file that git would look at, outside git's own folder and folders that tools fill. `None` when
/// there are too many.
fn files_of(workspace: &Path) -> Option<HashMap<PathBuf, Seen>> {
    let walk = WalkBuilder::new(workspace)
        .standard_filters(false)
        .git_ignore(true)
        .git_exclude(true)
        .require_git(false)
        .hidden(false)
        .follow_links(false)
        .filter_entry(|entry| {
            let name = entry.file_name();
            name != ".git" && !BULK.iter().any(|bulk| name == *bulk)
        })
        .build();
    let mut files = HashMap::new();
    for entry in walk.flatten() {
        if entry.file_type().is_none_or(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(data) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if let Ok(path) = entry.path().strip_prefix(workspace) {
            files.insert(path.to_owned(), seen(&data));
        }
        if files.len() > MOST_FILES {
            return None;
        }
    }
    Some(files)
}

fn seen(data: &fs::Metadata) -> Seen {
    Seen {
        inode: data.ino(),
        changed: (data.ctime(), data.ctime_nsec()),
        size: data.len(),
        set_id: data.is_file() && data.mode() & SET_ID != 0,
    }
}

/// Programs in folders that tools fill whose change time is within the session.
fn look_for_programs(workspace: &Path, started: Duration, found: &mut BTreeMap<PathBuf, Named>) {
    let walk = WalkBuilder::new(workspace)
        .standard_filters(false)
        .hidden(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk.flatten().take(MOST_FILES) {
        let Ok(path) = entry.path().strip_prefix(workspace) else {
            continue;
        };
        let Some(folder) = bulk_folder(path) else {
            continue;
        };
        let program = fs::symlink_metadata(entry.path()).is_ok_and(|data| {
            data.is_file() && data.mode() & 0o111 != 0 && changed_at(&data) >= started
        });
        if program {
            let name = path.strip_prefix(&folder).unwrap_or(path);
            found.entry(folder.clone()).or_default().add(name);
        }
    }
}

/// When anything about a file last changed, since 1970.
fn changed_at(data: &fs::Metadata) -> Duration {
    let seconds = u64::try_from(data.ctime()).unwrap_or(0);
    let nanoseconds = u64::try_from(data.ctime_nsec()).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds))
}

/// The outermost folder on the way to `path` that tools fill.
fn bulk_folder(path: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = path.components().collect();
    let outermost = parts
        .iter()
        .position(|part| BULK.iter().any(|bulk| part.as_os_str() == *bulk))?;
    (outermost + 1 < parts.len()).then(|| parts.iter().take(outermost + 1).collect())
}

/// Takes set-id bits away, of the very file that stands there and is no link.
fn clear_set_id(workspace: &Path, path: &Path) -> bool {
    let Some(file) = open_beneath(workspace, path) else {
        return false;
    };
    let Ok(data) = file.metadata() else {
        return false;
    };
    let mode = Mode::from_raw_mode(data.mode() & 0o1777);
    data.is_file() && data.mode() & SET_ID != 0 && rustix::fs::fchmod(file.as_fd(), mode).is_ok()
}

/// A file of the workspace, reached through no link: the agent lays links as well.
fn open_beneath(workspace: &Path, path: &Path) -> Option<fs::File> {
    let folder = fs::File::open(workspace).ok()?;
    rustix::fs::openat2(
        &folder,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()
    .map(fs::File::from)
}

/// Looks for decoys in files.
struct Search(Option<AhoCorasick>);

impl Search {
    /// Short decoys would be found by chance.
    const SHORTEST: usize = 12;

    fn new(decoys: &[Vec<u8>]) -> Self {
        let long = decoys.iter().filter(|decoy| decoy.len() >= Self::SHORTEST);
        let mut long = long.peekable();
        Self(
            long.peek()
                .is_some()
                .then(|| AhoCorasick::new(long).ok())
                .flatten(),
        )
    }

    fn finds(&self, workspace: &Path, path: &Path) -> bool {
        let Some(searcher) = &self.0 else {
            return false;
        };
        let Some(file) = open_beneath(workspace, path) else {
            return false;
        };
        if !file.metadata().is_ok_and(|data| data.is_file()) {
            return false;
        }
        let limited = std::io::Read::take(file, LARGEST_SEARCHED);
        searcher
            .stream_find_iter(limited)
            .next()
            .is_some_and(|found| found.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(named: &Named) -> Vec<String> {
        assert_eq!(named.count.min(NAMES_KEPT), named.names.len());
        named
            .names
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn what_came_changed_and_went_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for path in ["kept", "changed", "gone", "now-ignored", ".git/index"] {
            write(path, "before");
        }
        write(".gitignore", "*.log\n");
        write("noise.log", "before");
        write(".env", "twin");
        let before = Before::look(folder.path()).unwrap().ready();

        let decoy = b"sk_live_decoydecoydecoy".to_vec();
        write("changed", "after!");
        write("src/added", "new");
        write(
            "leak.txt",
            &format!("x {} y", String::from_utf8_lossy(&decoy)),
        );
        write(".env", &String::from_utf8_lossy(&decoy));
        write("noise.log", "after!");
        write(".git/index", "after!");
        write(".gitignore", "*.log\nnow-ignored\n");
        write("placeholder", "");
        fs::remove_file(folder.path().join("gone")).unwrap();
        write("node_modules/.bin/tool", "#!/bin/sh\n");
        write("node_modules/data.json", "{}");
        for (path, mode) in [("node_modules/.bin/tool", 0o755), ("src/added", 0o4755)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path().join(path), permissions).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();

        let ours = [folder.path().join("placeholder")];
        let twins = [PathBuf::from(".env")];
        let changes = before.compare(&ours, &twins, std::slice::from_ref(&decoy));
        assert_eq!(names(&changes.added), ["leak.txt", "link", "src/added"]);
        assert_eq!(names(&changes.changed), [".env", ".gitignore", "changed"]);
        assert_eq!(names(&changes.deleted), ["gone"]);
        assert_eq!(changes.programs.len(), 1);
        let tools = &changes.programs[Path::new("node_modules")];
        assert_eq!(names(tools), [".bin/tool"]);
        assert_eq!(names(&changes.with_decoys), ["leak.txt"]);
        assert_eq!(names(&changes.set_id), ["src/added"]);
        let mode = fs::metadata(folder.path().join("src/added"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }

    #[test]
    fn invariant_9_a_link_is_neither_followed_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        assert!(!clear_set_id(folder.path(), Path::new("link")));
        assert!(!clear_set_id(folder.path(), Path::new("../x")));
        assert_eq!(
            fs::metadata(outside.path()).unwrap().mode() & SET_ID,
            0o4000
        );
    }
}
