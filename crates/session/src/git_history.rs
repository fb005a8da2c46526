//! Whether a push keeps a branch's history, proved from the commits of the workspace.
//!
//! What must stay true: everything in the workspace's object store is the agent's to have written, so
//! nothing it says is believed. git reads objects out of it with a configuration of ours, without
//! commit graphs, grafts or replacements; each commit is hashed here, and counts only when it hashes to
//! the name by which it was asked for. A chain of such commits from the new one to the old one is a
//! proof. No chain, or none within the bounds, is none.

use std::collections::{HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tagout_catalog::git::pack::{Kind, hash};
use tagout_http::{History, Objects};

use crate::git_outside;

/// Commits that are looked at for one proof.
const MOST_COMMITS: usize = 20_000;
/// Octets of one commit.
const LARGEST_COMMIT: u64 = 1 << 20;
/// Octets of an object that a push builds on.
const LARGEST_BASE: u64 = 128 << 20;
/// How long objects that a push builds on can be asked for: between the questions its pack is unpacked,
/// which takes its time when it is large.
const LOOKING: Duration = Duration::from_secs(120);
/// How long a proof may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The commits in a workspace's object store.
pub(crate) struct WorkspaceHistory {
    objects: PathBuf,
    /// Which git reads them is not the agent's to choose.
    workspace: PathBuf,
}

impl WorkspaceHistory {
    /// Of the repository whose git folder (the shared one, of a worktree) is `git_folder`.
    pub(crate) fn of(git_folder: &Path, workspace: &Path) -> Self {
        Self {
            objects: git_folder.join("objects"),
            workspace: workspace.to_owned(),
        }
    }

    /// What a command of git's prints that knows nothing but the objects, whose names have so many digits,
    /// and `input`; `None` where it fails, or takes too long.
    pub(crate) fn run(
        &self,
        digits: usize,
        words: &[&str],
        input: String,
        most: u64,
    ) -> Option<Vec<u8>> {
        let folder = empty_repository(digits).ok()?;
        let mut command = self.command(folder.path());
        let answer = git_outside::answer_of(command.args(words), input.into(), most)?;
        answer.succeeded.then(|| answer.printed.to_vec())
    }

    /// Objects whose names have so many digits, for at most that long.
    fn objects_for(&self, patience: Duration, digits: usize) -> Option<WorkspaceObjects> {
        let Reader {
            mut child,
            input,
            output,
            folder,
        } = Reader::open(self, digits).ok()?;
        let (ends, ended) = mpsc::channel::<()>();
        // What git does with a forged file may take forever; it ends with the process, which ends here.
        std::thread::spawn(move || {
            let _ = ended.recv_timeout(patience);
            let _ = child.kill();
            let _ = child.wait();
            drop(folder);
        });
        Some(WorkspaceObjects {
            input,
            output,
            _ends: ends,
        })
    }

    /// git in an empty repository that borrows the objects.
    fn command(&self, repository: &Path) -> Command {
        let mut command = git_outside::command(&self.workspace);
        command
            .arg("--no-replace-objects")
            .current_dir(repository)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_DIR", repository)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&self.objects))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_NO_LAZY_FETCH", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }
}

impl History for WorkspaceHistory {
    fn is_ancestor(&self, old: &str, new: &str) -> bool {
        let Ok(reader) = Reader::open(self, old.len()) else {
            return false;
        };
        let Reader {
            mut child,
            input,
            output,
            folder,
        } = reader;
        let (old, new) = (old.to_owned(), new.to_owned());
        let (sender, receiver) = mpsc::channel();
        // What git does with a forged file may take forever; it ends with the process, which ends here.
        std::thread::spawn(move || {
            let proved = walk(&old, &new, input, output);
            let _ = sender.send(proved);
        });
        let proved = receiver.recv_timeout(PATIENCE).unwrap_or(false);
        let _ = child.kill();
        let _ = child.wait();
        drop(folder);
        proved
    }

    fn objects(&self, digits: usize) -> Option<Box<dyn Objects>> {
        Some(Box::new(self.objects_for(LOOKING, digits)?))
    }
}

/// Objects by name, until the process that reads them has had its time.
struct WorkspaceObjects {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Dropped with it, which ends the process.
    _ends: mpsc::Sender<()>,
}

impl Objects for WorkspaceObjects {
    fn object(&mut self, name: &str) -> Option<(Kind, Vec<u8>)> {
        object(name, LARGEST_BASE, &mut self.input, &mut self.output)
    }
}

/// A `git cat-file` that knows nothing but the objects.
struct Reader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Reader {
    fn open(history: &WorkspaceHistory, digits: usize) -> std::io::Result<Self> {
        let folder = empty_repository(digits)?;
        let mut child = history
            .command(folder.path())
            .args(["cat-file", "--batch"])
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            folder,
        })
    }
}

/// A repository without objects, of a configuration of ours.
fn empty_repository(digits: usize) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("tagout-git-").tempdir()?;
    let git = folder.path();
    std::fs::create_dir_all(git.join("objects/info"))?;
    std::fs::create_dir_all(git.join("refs"))?;
    std::fs::write(git.join("HEAD"), "ref: refs/heads/none\n")?;
    let format = match digits {
        64 => {
            "[core]\n\trepositoryformatversion = 1\n\tbare = true\n\tcommitGraph = false\n[extensions]\n\tobjectFormat = sha256\n"
        }
        _ => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tcommitGraph = false\n",
    };
    std::fs::write(git.join("config"), format)?;
    Ok(folder)
}

/// A path as the variable takes it, in which a colon separates (git(1)).
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Walks from `new` to its parents, breadth first, until `old` is one of them.
fn walk(old: &str, new: &str, mut input: impl Write, mut output: impl BufRead) -> bool {
    let mut seen = HashSet::from([new.to_owned()]);
    let mut waiting = VecDeque::from([new.to_owned()]);
    while let Some(id) = waiting.pop_front() {
        if id == old {
            // It is named by a commit that was hashed, and the server has it.
            return true;
        }
        let Some(commit) = read(&id, &mut input, &mut output) else {
            continue;
        };
        for parent in parents(&commit, id.len()) {
            if seen.len() >= MOST_COMMITS {
                return false;
            }
            if seen.insert(parent.to_owned()) {
                waiting.push_back(parent.to_owned());
            }
        }
    }
    false
}

/// The content of a commit that hashes to `id`. After an answer that is not of the expected form
/// nothing more is read: `None` then is the answer to whatever is asked.
fn read(id: &str, input: &mut impl Write, output: &mut impl BufRead) -> Option<Vec<u8>> {
    let (kind, content) = object(id, LARGEST_COMMIT, input, output)?;
    (kind == Kind::Commit && hash(kind, &content, id.len()) == id).then_some(content)
}

/// What git says that `id` is, up to so many octets.
fn object(
    id: &str,
    largest: u64,
    input: &mut impl Write,
    output: &mut impl BufRead,
) -> Option<(Kind, Vec<u8>)> {
    writeln!(input, "{id}").ok()?;
    input.flush().ok()?;
    let mut line = String::new();
    output.by_ref().take(256).read_line(&mut line).ok()?;
    let mut words = line.trim_end().split(' ');
    let (name, kind, size) = (words.next()?, words.next()?, words.next());
    if name != id || kind == "missing" {
        return None;
    }
    let kind = match kind {
        "commit" => Some(Kind::Commit),
        "tree" => Some(Kind::Tree),
        "blob" => Some(Kind::Blob),
        "tag" => Some(Kind::Tag),
        _ => None,
    };
    let size: u64 = size?.parse().ok()?;
    let Some(kind) = kind.filter(|_| size <= largest) else {
        let mut rest = output.by_ref().take(size.checked_add(1)?);
        std::io::copy(&mut rest, &mut std::io::sink()).ok()?;
        return None;
    };
    let mut content = Vec::new();
    let mut rest = output.by_ref().take(size + 1);
    rest.read_to_end(&mut content).ok()?;
    (content.pop() == Some(b'\n') && content.len() as u64 == size).then_some((kind, content))
}

/// The parents that a commit names: lines directly behind that of its tree.
fn parents(commit: &[u8], digits: usize) -> Vec<&str> {
    commit
        .split(|byte| *byte == b'\n')
        .skip(1)
        .map_while(|line| std::str::from_utf8(line.strip_prefix(b"parent ")?).ok())
        .filter(|id| id.len() == digits)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
            .args(words)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository(format: &str) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        git(
            folder.path(),
            &["init", "-q", &format!("--object-format={format}")],
        );
        let commits = (0..4)
            .map(|number| {
                let message = format!("commit {number}");
                git(
                    folder.path(),
                    &["commit", "-q", "--allow-empty", "-m", &message],
                );
                git(folder.path(), &["rev-parse", "HEAD"])
            })
            .collect();
        (folder, commits)
    }

    #[test]
    fn ancestors_are_proved_loose_and_packed() {
        for format in ["sha1", "sha256"] {
            let (folder, commits) = repository(format);
            let history = WorkspaceHistory::of(&folder.path().join(".git"), Path::new("/nowhere"));
            assert!(history.is_ancestor(&commits[0], &commits[3]), "{format}");
            assert!(!history.is_ancestor(&commits[3], &commits[0]), "{format}");
            git(folder.path(), &["gc", "-q"]);
            assert!(history.is_ancestor(&commits[1], &commits[2]), "{format}");
            assert!(!history.is_ancestor(&"1".repeat(commits[0].len()), &commits[3]));
        }
    }

    #[test]
    fn a_look_that_takes_too_long_ends_and_finds_nothing_more() {
        let (folder, commits) = repository("sha1");
        let history = WorkspaceHistory::of(&folder.path().join(".git"), Path::new("/nowhere"));
        let mut objects = history.objects(40).unwrap();
        assert!(objects.object(&commits[0]).is_some());
        let mut late = history.objects_for(Duration::ZERO, 40).unwrap();
        // git may answer before its end has come, and never again after it.
        while late.object(&commits[0]).is_some() {}
        assert!(late.object(&commits[0]).is_none());
        assert!(objects.object(&commits[1]).is_some(), "nobody else's");
    }

    #[test]
    fn invariant_6_forged_objects_prove_nothing() {
        let (folder, commits) = repository("sha1");
        let path = folder.path();
        let history = WorkspaceHistory::of(&path.join(".git"), Path::new("/nowhere"));
        let place = |id: &str| path.join(".git/objects").join(&id[..2]).join(&id[2..]);
        // A commit without history, and what would give it one.
        let tree = git(path, &["rev-parse", "HEAD^{tree}"]);
        let orphan = git(path, &["commit-tree", "-m", "orphan", &tree]);
        let child = git(
            path,
            &["commit-tree", "-m", "child", "-p", &commits[3], &tree],
        );
        assert!(history.is_ancestor(&commits[3], &child));
        assert!(!history.is_ancestor(&commits[3], &orphan));
        git(path, &["replace", &orphan, &child]);
        assert!(!history.is_ancestor(&commits[3], &orphan), "a replacement");
        git(path, &["replace", "-d", &orphan]);
        std::fs::write(
            path.join(".git/info/grafts"),
            format!("{orphan} {}\n", commits[3]),
        )
        .unwrap();
        assert!(!history.is_ancestor(&commits[3], &orphan), "a graft");
        git(path, &["update-ref", "refs/heads/orphan", &orphan]);
        git(path, &["update-ref", "refs/heads/child", &child]);
        std::fs::remove_file(path.join(".git/info/grafts")).unwrap();
        git(path, &["commit-graph", "write", "--reachable"]);
        let graph = path.join(".git/objects/info/commit-graph");
        assert!(graph.exists());
        // The content of one commit under the name of another.
        let (from, to) = (place(&child), place(&orphan));
        std::fs::remove_file(&to).unwrap();
        std::fs::copy(from, to).unwrap();
        assert!(
            !history.is_ancestor(&commits[3], &orphan),
            "a forged object"
        );
        // A graph that says what the objects do not.
        std::fs::write(graph, b"CGPHnonsense").unwrap();
        assert!(
            history.is_ancestor(&commits[0], &commits[3]),
            "a graph is not read"
        );
    }

    #[test]
    fn only_lines_behind_the_tree_are_parents() {
        let parent = "1".repeat(40);
        let text = format!(
            "tree x\nparent {parent}\nauthor a\n\nparent {}\n",
            "2".repeat(40)
        );
        assert_eq!(parents(text.as_bytes(), 40), [parent.as_str()]);
    }
}
