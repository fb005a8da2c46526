//! Counts the files from before the session that are gone by now, and asks outside before they are many.
//!
//! Files are told by what they are, never by the name at which they go: one that was moved first, or into a folder of build output, counts
//! as where it came from. What comes back to a name (git removes a file and writes it again) is no loss any more, and takes over what was
//! there before.
//!
//! What must stay true: a file that counts goes only below the number that the supervisor allowed last, or within what a person approved.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tagout_sandbox::{Identity, Stop};

use crate::journal::Name;

/// Files that may go before the supervisor is asked whether they are many.
const FEW: u64 = 10;
/// How long no file may go before what a person approved is over.
const BURST_ENDS_AFTER: Duration = Duration::from_secs(30);
/// How long a refusal stands for every file that goes: a program that goes on after one does not ask anew for each.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Renamed folders that are followed. Past them nothing counts as build output.
const MOST_MOVES: usize = 10_000;

/// Folders whose contents are made from other files and can be made again, wherever they lie. Losing them is everyday work.
pub const DERIVED_FOLDERS: &[&str] = &[
    ".cache",
    ".gradle",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nuxt",
    ".parcel-cache",
    ".pytest_cache",
    ".ruff_cache",
    ".svelte-kit",
    ".tox",
    ".turbo",
    ".venv",
    "__pycache__",
    "bower_components",
    "build",
    "coverage",
    "dist",
    "htmlcov",
    "node_modules",
    "out",
    "target",
    "venv",
];

/// Whether a path relative to a tree lies in one of `folders` or of [`DERIVED_FOLDERS`].
pub fn is_derived(path: &Path, folders: &[String]) -> bool {
    let within = path.parent().unwrap_or(Path::new(""));
    within.components().any(|part| {
        let part = part.as_os_str();
        DERIVED_FOLDERS.iter().any(|folder| part == *folder)
            || folders.iter().any(|folder| part == folder.as_str())
    })
}

/// What the keeper asks the supervisor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Files that went since the last question.
    pub gone: Vec<Gone>,
    /// Files from before that are not there now, apart from those that a person let go.
    pub missing: u64,
    /// Files that stand where files from before were, and came in the session.
    pub taken_over: u64,
    /// Files that went while a person's approval lasted, in all.
    pub approved: u64,
    /// The one that would go next, where it is one of those on which a repository stands.
    pub pillar: Option<Gone>,
}

/// A file from before that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    path: Name,
    /// The name of its copy in the folder of what is kept.
    copy: Option<String>,
}

impl Gone {
    /// Its absolute path when it went.
    pub fn path(&self) -> &Path {
        &self.path.0
    }

    /// Its copy, relative to the folder of what is kept. `None` where it had changed before, or stood behind a twin.
    pub fn copy(&self) -> Option<&str> {
        self.copy
            .as_deref()
            .filter(|copy| crate::journal::is_plain(copy))
    }
}

/// What the supervisor answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// They are not many yet: so many may be missing before it is asked again.
    Below(u64),
    /// A person lets them go, and what goes with them.
    Approved,
    /// They stay, and why.
    Refused(String),
}

#[derive(Debug)]
enum State {
    Counting,
    Asked,
    /// The last file went then.
    Approved(Instant),
    /// Since then.
    Refused(Instant),
}

pub(crate) struct Losses {
    questions: UnixStream,
    trees: Vec<PathBuf>,
    bulk: Vec<String>,
    state: State,
    /// So many may be missing before the supervisor is asked.
    allowed: u64,
    missing: HashSet<PathBuf>,
    /// Those that the supervisor has not heard of.
    untold: Vec<Gone>,
    approved: u64,
    born: HashSet<Identity>,
    /// Files that came in the session to where one from before was.
    heirs: HashSet<Identity>,
    /// Files from before that were renamed one by one into a folder of build output.
    strayed: HashSet<Identity>,
    moves: Vec<Move>,
    /// Pillars that may go, and the one that was asked about last.
    pillars: HashSet<PathBuf>,
    pillar: Option<PathBuf>,
    /// Why they stay, until somebody was told.
    why: Option<String>,
    /// What happens when the change that was agreed to last is made.
    coming: Option<Coming>,
}

/// A folder that got another name, or two that changed places.
struct Move {
    from: PathBuf,
    to: PathBuf,
    exchanged: bool,
}

enum Coming {
    Lost(Gone, Identity),
    Born(PathBuf),
    Renamed {
        from: (PathBuf, Identity),
        to: PathBuf,
        replaced: bool,
    },
    Moved(Move),
}

impl Losses {
    pub(crate) fn new(questions: UnixStream, trees: &[PathBuf], bulk: &[String]) -> Losses {
        Losses {
            questions,
            trees: trees.to_vec(),
            bulk: bulk.to_vec(),
            state: State::Counting,
            allowed: FEW,
            missing: HashSet::new(),
            untold: Vec::new(),
            approved: 0,
            born: HashSet::new(),
            heirs: HashSet::new(),
            strayed: HashSet::new(),
            moves: Vec::new(),
            pillars: HashSet::new(),
            pillar: None,
            why: None,
            coming: None,
        }
    }

    /// Whether losing this file is a loss.
    pub(crate) fn counts(&self, path: &Path, file: &Identity) -> bool {
        let from_before = !self.born.contains(file) || self.heirs.contains(file);
        from_before && (self.strayed.contains(file) || !self.is_derived(path))
    }

    /// Whether one more file may go now.
    ///
    /// # Errors
    /// It has to wait, or stays.
    pub(crate) fn may_go(&mut self, path: &Path) -> Result<(), Stop> {
        let now = Instant::now();
        match self.state {
            State::Asked => return Err(Stop::Waits),
            State::Approved(last) if now.duration_since(last) < BURST_ENDS_AFTER => {
                self.state = State::Approved(now);
                return Ok(());
            }
            State::Approved(_) => {
                self.approved += self.missing.len() as u64;
                self.missing.clear();
                self.untold.clear();
                self.pillars.clear();
                self.allowed = FEW;
                self.state = State::Counting;
            }
            State::Refused(last) if now.duration_since(last) < REFUSED_FOR => {
                return Err(match self.why.take() {
                    Some(why) => Stop::Told(Errno::PERM, why),
                    None => Stop::Fails(Errno::PERM),
                });
            }
            State::Refused(_) | State::Counting => {}
        }
        let pillar = is_pillar(path) && !self.pillars.contains(path);
        if (self.missing.len() as u64) < self.allowed && !pillar {
            self.state = State::Counting;
            return Ok(());
        }
        self.ask(pillar.then_some(path)).map_err(|_| Errno::PERM)?;
        Err(Stop::Waits)
    }

    fn ask(&mut self, pillar: Option<&Path>) -> io::Result<()> {
        let question = Question {
            gone: std::mem::take(&mut self.untold),
            missing: self.missing.len() as u64,
            taken_over: self.heirs.len() as u64,
            approved: self.approved,
            pillar: pillar.map(|path| Gone {
                path: path.into(),
                copy: None,
            }),
        };
        let mut line = serde_json::to_vec(&question)?;
        line.push(b'\n');
        self.questions.write_all(&line)?;
        self.pillar = pillar.map(Path::to_path_buf);
        self.state = State::Asked;
        Ok(())
    }

    /// The supervisor's answer. What it says that cannot be read, is a no.
    pub(crate) fn answered(&mut self, line: &str) {
        let answer = serde_json::from_str(line).unwrap_or_else(|error| {
            Answer::Refused(format!("tagout: the answer could not be read: {error}"))
        });
        let now = Instant::now();
        let pillar = self.pillar.take();
        self.state = match answer {
            Answer::Below(count) => {
                self.allowed = count.max(self.missing.len() as u64 + 1);
                self.pillars.extend(pillar);
                State::Counting
            }
            Answer::Approved => State::Approved(now),
            Answer::Refused(why) => {
                // Whoever comes back later asks again.
                self.allowed = self.missing.len() as u64;
                self.why = Some(why);
                State::Refused(now)
            }
        };
    }

    /// A file is about to go.
    pub(crate) fn losing(&mut self, path: &Path, file: &Identity, copy: Option<String>) {
        let path = Name::from(path);
        self.coming = Some(Coming::Lost(Gone { path, copy }, *file));
    }

    /// Something is about to come.
    pub(crate) fn bearing(&mut self, path: &Path) {
        self.coming = Some(Coming::Born(path.to_path_buf()));
    }

    /// A file is about to get another name; whether that of a file that counts.
    pub(crate) fn renaming(&mut self, (from, file): (&Path, Identity), to: &Path, replaced: bool) {
        self.coming = Some(Coming::Renamed {
            from: (from.to_path_buf(), file),
            to: to.to_path_buf(),
            replaced,
        });
    }

    /// A folder is about to get another name; or two things to change places.
    pub(crate) fn moving(&mut self, from: &Path, to: &Path, exchanged: bool) {
        self.coming = Some(Coming::Moved(Move {
            from: from.to_path_buf(),
            to: to.to_path_buf(),
            exchanged,
        }));
    }

    /// Forgets what was about to happen.
    pub(crate) fn nothing(&mut self) {
        self.coming = None;
    }

    /// It happened; `made` is what came of it.
    pub(crate) fn happened(&mut self, made: Option<Identity>) {
        match self.coming.take() {
            Some(Coming::Lost(gone, file)) => {
                self.heirs.remove(&file);
                self.strayed.remove(&file);
                self.lost(gone);
            }
            Some(Coming::Born(path)) => {
                if let Some(made) = made {
                    self.born.insert(made);
                    self.comes_to(&path, made);
                }
            }
            Some(Coming::Renamed {
                from: (from, file),
                to,
                replaced,
            }) => {
                let counted = self.counts(&from, &file);
                if !counted && replaced {
                    self.heirs.insert(file);
                } else if !counted {
                    self.comes_to(&to, file);
                } else if replaced {
                    // Of two files from before one is left.
                    self.lost(Gone {
                        path: Name::from(&*from),
                        copy: None,
                    });
                }
                if counted && self.is_derived(&to) {
                    self.strayed.insert(file);
                }
            }
            Some(Coming::Moved(made)) => self.moves.push(made),
            None => self.born.extend(made),
        }
    }

    fn lost(&mut self, gone: Gone) {
        self.missing.insert(gone.path.0.clone());
        self.untold.push(gone);
    }

    /// A new file stands where one from before may have been.
    fn comes_to(&mut self, path: &Path, file: Identity) {
        if self.missing.remove(path) {
            self.heirs.insert(file);
        }
    }

    /// Whether what is at `path` lay in a folder of build output when the session began.
    fn is_derived(&self, path: &Path) -> bool {
        let path = self.origin(path);
        let relative = self
            .trees
            .iter()
            .find_map(|tree| path.strip_prefix(tree).ok());
        self.moves.len() <= MOST_MOVES && relative.is_some_and(|path| is_derived(path, &self.bulk))
    }

    /// Where what is at `path` was before any folder got another name.
    fn origin(&self, path: &Path) -> PathBuf {
        let mut path = path.to_path_buf();
        for made in self.moves.iter().rev() {
            if let Ok(rest) = path.strip_prefix(&made.to) {
                path = made.from.join(rest);
            } else if let (true, Ok(rest)) = (made.exchanged, path.strip_prefix(&made.from)) {
                path = made.to.join(rest);
            }
        }
        path
    }
}

/// Whether a repository is lost with this file: what git itself removes only when it has written another.
fn is_pillar(path: &Path) -> bool {
    let in_git = |folder: &Path| folder.file_name().is_some_and(|name| name == ".git");
    let is_head = path.ends_with("HEAD") && path.parent().is_some_and(in_git);
    let is_pack = path
        .extension()
        .is_some_and(|extension| extension == "pack")
        && path
            .ancestors()
            .any(|folder| folder.ends_with("objects/pack"));
    is_head || is_pack
}

#[cfg(test)]
mod tests;
