//! Commits that a session made, told of at its end where a person has something to do about them: those
//! that are not signed although the person's git would have signed them, and those in which a decoy
//! stands.
//!
//! What must stay true: refs and objects are the agent's to have written. Refs are read as data, and git
//! reads objects with a configuration of ours, for a bounded time; what it says is told and decides
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use tagout_catalog::git::pack::Kind;
use tagout_http::History;

use crate::git_history::WorkspaceHistory;
use crate::git_outside;
use crate::workspace::{Git, Workspace};

/// Commits that are looked at.
const MOST_COMMITS: usize = 500;
/// Files of them that are searched.
const MOST_FILES: usize = 5_000;
/// Refs that are read, and how deep their names go.
const MOST_REFS: usize = 20_000;
const DEEPEST: usize = 16;
/// Octets of `packed-refs`.
const LARGEST_PACKED: u64 = 16 << 20;
/// Octets of what git prints.
const MOST_PRINTED: u64 = 8 << 20;

/// The refs of a repository before the command ran.
pub(crate) struct Before {
    refs: BTreeMap<String, String>,
    folders: Vec<PathBuf>,
    workspace: PathBuf,
}

impl Before {
    /// Reads them; nothing where there is no repository.
    pub(crate) fn look(workspace: &Workspace) -> Option<Self> {
        let folders = match workspace.git.as_ref()? {
            Git::Folder => vec![workspace.path.join(".git")],
            Git::Linked { private, common } => vec![common.clone(), private.clone()],
        };
        Some(Self {
            refs: refs(&folders),
            folders,
            workspace: workspace.path.clone(),
        })
    }

    /// What there is to say about commits that came since, a sentence each.
    pub(crate) fn remarks(&self, decoys: &[Vec<u8>]) -> Vec<String> {
        let after = refs(&self.folders);
        let known: BTreeSet<&str> = self
            .refs
            .values()
            .chain(fetched(&after))
            .map(String::as_str)
            .collect();
        let mut remarks = Vec::new();
        let mut told = BTreeSet::new();
        for (name, tip) in &after {
            let is_branch = name.starts_with("refs/heads/") || name == "HEAD";
            if !is_branch || known.contains(tip.as_str()) || !told.insert(tip) {
                continue;
            }
            let branch = name.strip_prefix("refs/heads/").unwrap_or(name);
            remarks.extend(self.remarks_on(branch, tip, &known, decoys));
        }
        remarks
    }

    fn remarks_on(
        &self,
        branch: &str,
        tip: &str,
        known: &BTreeSet<&str>,
        decoys: &[Vec<u8>],
    ) -> Vec<String> {
        let history = WorkspaceHistory::of(&self.folders[0], &self.workspace);
        let mut input = format!("{tip}\n");
        for id in known.iter().filter(|id| id.len() == tip.len()) {
            input.push_str(&format!("^{id}\n"));
        }
        let most = format!("--max-count={MOST_COMMITS}");
        let words = [
            "rev-list",
            &most,
            "--ignore-missing",
            "--parents",
            "--topo-order",
            "--stdin",
        ];
        let Some(listed) = history.run(tip.len(), &words, input, MOST_PRINTED) else {
            return Vec::new();
        };
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let commits: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        // What all of them stand on: the first parent of the oldest.
        let base = listed
            .lines()
            .last()
            .and_then(|line| line.split(' ').nth(1))
            .map_or("--root".to_owned(), |parent| short(parent).to_owned());
        let Some(mut objects) = history.objects(tip.len()) else {
            return Vec::new();
        };
        let mut unsigned = 0;
        let finder = AhoCorasick::new(decoys.iter().filter(|decoy| decoy.len() >= SHORTEST_DECOY));
        let mut with_decoys = BTreeMap::new();
        for id in &commits {
            let Some((Kind::Commit, content)) = objects.object(id) else {
                continue;
            };
            let text = String::from_utf8_lossy(&content);
            let head = text.split("\n\n").next().unwrap_or_default();
            unsigned += usize::from(!head.lines().any(|line| line.starts_with("gpgsig")));
            if finder
                .as_ref()
                .is_ok_and(|finder| finder.is_match(&content))
            {
                with_decoys.insert((*id).to_owned(), "its message".to_owned());
            }
        }
        for (commit, blob, path) in self.changed(&history, &commits) {
            let is_decoyed = objects.object(&blob).is_some_and(|(kind, content)| {
                kind == Kind::Blob
                    && finder
                        .as_ref()
                        .is_ok_and(|finder| finder.is_match(&content))
            });
            if is_decoyed {
                with_decoys.entry(commit).or_insert(path);
            }
        }
        let mut remarks = Vec::new();
        if unsigned > 0 && self.wants_signatures() {
            remarks.push(format!(
                "{} of {branch} unsigned, which your git would have signed: git rebase --exec 'git commit --amend --no-edit -S' {base} {branch}",
                plural(unsigned)
            ));
        }
        if let Some((commit, place)) = with_decoys.iter().next() {
            let id = short(commit);
            remarks.push(format!(
                "{} of {branch} with a decoy, which serves nobody outside (the first is {id}, in {place}): git show {id}; git rebase -i {base} {branch}",
                plural(with_decoys.len())
            ));
        }
        remarks
    }

    /// Commit, content and path of each file that one of the commits changed.
    fn changed(
        &self,
        history: &WorkspaceHistory,
        commits: &[&str],
    ) -> Vec<(String, String, String)> {
        let Some(digits) = commits.first().map(|id| id.len()) else {
            return Vec::new();
        };
        let words = [
            "diff-tree",
            "--stdin",
            "-r",
            "--root",
            "-m",
            "--no-renames",
            "--raw",
            "-z",
        ];
        let input = commits.join("\n") + "\n";
        let printed = history
            .run(digits, &words, input, MOST_PRINTED)
            .unwrap_or_default();
        let (mut changed, mut commit) = (Vec::new(), String::new());
        let mut parts = printed.split(|byte| *byte == 0);
        while let Some(part) = parts.next() {
            let part = String::from_utf8_lossy(part);
            let Some(entry) = part.strip_prefix(':') else {
                commit = part.trim().chars().take(digits).collect();
                continue;
            };
            let blob = entry.split(' ').nth(3).unwrap_or_default().to_owned();
            let path = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            if changed.len() < MOST_FILES && blob.bytes().any(|byte| byte != b'0') {
                changed.push((commit.clone(), blob, path));
            }
        }
        changed
    }

    /// Whether the person's git signs commits here: the repository's word counts before the person's.
    fn wants_signatures(&self) -> bool {
        let ask = |place: &[&str]| {
            let mut command = git_outside::command(&self.workspace);
            command
                .arg("config")
                .args(place)
                .args(["--type=bool", "--get", "commit.gpgSign"])
                .current_dir("/");
            let answer = command.stdin(std::process::Stdio::null()).output().ok()?;
            match answer.stdout.trim_ascii() {
                b"true" => Some(true),
                b"false" => Some(false),
                _ => None,
            }
        };
        let config = self.folders[0].join("config").display().to_string();
        let own = ask(&["--no-includes", "--file", &config]);
        own.or_else(|| ask(&["--global", "--includes"]))
            .unwrap_or(false)
    }
}

/// A shorter one stands in files by chance.
const SHORTEST_DECOY: usize = 12;

fn plural(count: usize) -> String {
    match count {
        1 => "1 commit".to_owned(),
        count => format!("{count} commits"),
    }
}

fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// What other repositories have.
fn fetched(refs: &BTreeMap<String, String>) -> impl Iterator<Item = &String> {
    let of_remote = |name: &String| name.starts_with("refs/remotes/");
    refs.iter()
        .filter(move |(name, _)| of_remote(name))
        .map(|(_, id)| id)
}

/// Every ref of these git folders, loose ones before packed ones (gitrepository-layout(5)).
fn refs(folders: &[PathBuf]) -> BTreeMap<String, String> {
    let mut refs = BTreeMap::new();
    for folder in folders {
        let packed = read(&folder.join("packed-refs"), LARGEST_PACKED).unwrap_or_default();
        for line in packed.lines().filter(|line| !line.starts_with(['#', '^'])) {
            if let Some((id, name)) = line.split_once(' ')
                && is_id(id)
            {
                refs.insert(name.to_owned(), id.to_owned());
            }
        }
        loose(folder, Path::new("refs"), 0, &mut refs);
        if let Some(id) = read(&folder.join("HEAD"), 256).filter(|text| is_id(text.trim())) {
            refs.insert("HEAD".to_owned(), id.trim().to_owned());
        }
    }
    refs
}

fn loose(folder: &Path, below: &Path, depth: usize, refs: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder.join(below)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = below.join(entry.file_name());
        // Links are not followed: git makes none.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if refs.len() >= MOST_REFS {
            return;
        }
        if kind.is_dir() && depth < DEEPEST {
            loose(folder, &name, depth + 1, refs);
        } else if kind.is_file()
            && let Some(id) = read(&entry.path(), 256).filter(|text| is_id(text.trim()))
        {
            refs.insert(name.to_string_lossy().into_owned(), id.trim().to_owned());
        }
    }
}

/// A small file's text. Opened without following a link or waiting for anybody.
fn read(path: &Path, most: u64) -> Option<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).ok()?)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).ok()?;
    Some(text)
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
