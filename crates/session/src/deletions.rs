//! Says whether files of the workspace that go are many, and asks a person when they are.
//!
//! The keeper of the workspace ([`tagout_workspace`]) counts what goes and asks here; how much of it git holds, and how much there was, is
//! looked up outside. What must stay true: whatever goes wrong while looking counts as lost, and whatever goes wrong while asking is a no.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::SystemTime;

use ignore::{WalkBuilder, WalkState};
use serde_json::json;
use tagout_authority::{Authority, OnHold, Outcome};
use tagout_catalog::git::pack::{Kind, hash};
use tagout_core::{
    Action, Effect, FilesRequest, Flags, HoldId, Operation, OperationName, Refusal, RefusalKind,
    Scope, SessionId,
};
use tagout_http::History;
use tagout_workspace::{Answer, Gone, Question, is_derived};
use tokio::runtime::Handle;

use crate::git_history::WorkspaceHistory;
use crate::walk::each_entry;

/// So many files that git does not hold are many.
const MANY: u64 = 100;
/// So many of a workspace's files are many where they are more than half of it.
const MANY_OF_FEW: u64 = 10;
/// Octets of a file that is compared with what git holds.
const LARGEST_COMPARED: u64 = 16 << 20;
/// Folders that are named to the person.
const MOST_NAMED: usize = 8;
const OPERATION: &str = "fs.delete_many";

/// Where files go, and what there is to know of them.
pub(crate) struct Deletions {
    pub(crate) session: SessionId,
    pub(crate) workspace: PathBuf,
    /// The folder of what is kept.
    pub(crate) kept: PathBuf,
    pub(crate) bulk: Vec<String>,
    pub(crate) history: Option<WorkspaceHistory>,
    /// When the session began.
    pub(crate) began: SystemTime,
}

impl Deletions {
    /// Answers the keeper until the session is over.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn answer(
        self,
        questions: UnixStream,
        authority: Authority,
        runtime: Handle,
    ) -> std::io::Result<()> {
        let mut answers = questions.try_clone()?;
        let mut tally = Tally::of(self);
        let asking = move || {
            for line in BufReader::new(questions).lines() {
                let Ok(line) = line else { return };
                let answer = match serde_json::from_str::<Question>(&line) {
                    Ok(question) => tally.judge(&question, |request, facts| {
                        let (sender, answer) = mpsc::channel();
                        let authority = authority.clone();
                        // Dropped with the runtime when the session ends.
                        runtime.spawn(async move {
                            let answer = ask(&authority, request, facts).await;
                            let _ = sender.send(answer.map_err(Box::new));
                        });
                        answer.recv().unwrap_or_else(|_| {
                            Err(Box::new(Refusal::denied(
                                "the session is over.",
                                "Nothing is to be done.",
                            )))
                        })
                    }),
                    Err(error) => Answer::Refused(format!("tagout: {error}")),
                };
                let Ok(mut line) = serde_json::to_vec(&answer) else {
                    return;
                };
                line.push(b'\n');
                if answers.write_all(&line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("deletions".to_owned())
            .spawn(asking)
            .map(drop)
    }
}

/// What went so far.
struct Tally {
    of: Deletions,
    /// Files that the workspace had when they were first counted.
    total: Option<u64>,
    approved: u64,
    /// Files that git does not hold.
    not_in_git: HashSet<PathBuf>,
    /// How many lay in git's own folders.
    of_git: u64,
    /// How many went from each folder at the top.
    folders: BTreeMap<String, u64>,
}

impl Tally {
    fn of(deletions: Deletions) -> Self {
        Self {
            of: deletions,
            total: None,
            approved: 0,
            not_in_git: HashSet::new(),
            of_git: 0,
            folders: BTreeMap::new(),
        }
    }

    fn judge(
        &mut self,
        question: &Question,
        ask: impl FnOnce(FilesRequest, Vec<String>) -> Result<(), Box<Refusal>>,
    ) -> Answer {
        if question.approved != self.approved {
            self.total = None;
            self.not_in_git.clear();
            self.folders.clear();
            self.of_git = 0;
            self.approved = question.approved;
        }
        self.take_in(&question.gone);
        let lost = self.not_in_git.iter().filter(|path| is_gone(path)).count() as u64;
        let missing = question.missing.saturating_sub(self.of_git);
        let total = *self.total.get_or_insert_with(|| {
            count(&self.of.workspace, &self.of.bulk, self.of.began) + missing + question.taken_over
        });
        let is_pillar = question
            .pillar
            .as_ref()
            .is_some_and(|pillar| !self.is_replaced(pillar.path()));
        let is_most = missing >= MANY_OF_FEW && missing * 2 > total;
        if lost < MANY && !is_most && !is_pillar {
            let until_most = (total / 2 + 1).max(MANY_OF_FEW).saturating_sub(missing);
            return Answer::Below(question.missing + (MANY - lost).min(until_most).max(1));
        }
        let Some(target) = FilesRequest::here() else {
            return Answer::Refused("tagout: nobody can be asked".to_owned());
        };
        let request = FilesRequest {
            target,
            workspace: self.of.workspace.display().to_string(),
            gone: question.missing,
            not_in_git: lost,
            folders: self.most(),
        };
        let mut facts = vec![
            format!(
                "{} of {} files that were there are gone; git does not hold {lost} of them",
                missing, total
            ),
            "Approving lets more go, until for half a minute none does".to_owned(),
            format!(
                "`tagout undo {}` puts back what went, once the session is over",
                self.of.session
            ),
        ];
        if let (true, Some(pillar)) = (is_pillar, &question.pillar) {
            let path = pillar.path().display();
            facts.insert(0, format!("the repository is lost with {path}"));
        }
        match ask(request, facts) {
            Ok(()) => Answer::Approved,
            Err(refusal) => Answer::Refused(told(&refusal, missing, lost)),
        }
    }

    fn take_in(&mut self, gone: &[Gone]) {
        let mut objects = None;
        for file in gone {
            let path = file.path();
            let relative = path.strip_prefix(&self.of.workspace).unwrap_or(path);
            let top = relative
                .components()
                .next()
                .filter(|_| relative.components().nth(1).is_some());
            let top = top.map_or_else(|| ".".into(), |top| top.as_os_str().to_string_lossy());
            *self.folders.entry(top.into_owned()).or_default() += 1;
            let held = match below_git(path) {
                Some(name) => {
                    self.of_git += 1;
                    self.is_everyday_of_git(name, &mut objects)
                }
                None => self.is_held(file, &mut objects),
            };
            if !held {
                self.not_in_git.insert(path.to_path_buf());
            }
        }
    }

    /// Whether git has an object of the same content.
    fn is_held(&self, file: &Gone, objects: &mut Option<Objects>) -> bool {
        let content = file.copy().and_then(|copy| {
            let file = fs::File::open(self.of.kept.join(copy)).ok()?;
            let mut content = Vec::new();
            file.take(LARGEST_COMPARED + 1)
                .read_to_end(&mut content)
                .ok()?;
            (content.len() as u64 <= LARGEST_COMPARED).then_some(content)
        });
        let Some(content) = content else {
            return false;
        };
        self.has_object(&hash(Kind::Blob, &content, SHA1), objects)
    }

    /// Whether git itself removes files of this name in its folder when nothing is lost.
    fn is_everyday_of_git(&self, name: &Path, objects: &mut Option<Objects>) -> bool {
        if name.starts_with("refs") || name.starts_with("logs") {
            return true;
        }
        // A loose object that is in a pack by now.
        let Ok(object) = name.strip_prefix("objects") else {
            return false;
        };
        if object.starts_with("pack") || object.starts_with("info") {
            return true;
        }
        let name: String = object
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        self.has_object(&name, objects)
    }

    fn has_object(&self, name: &str, objects: &mut Option<Objects>) -> bool {
        let is_name = name.len() == SHA1 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name {
            return false;
        }
        if objects.is_none() {
            let history = self.of.history.as_ref();
            *objects = history.and_then(|history| history.objects(SHA1));
        }
        let found = objects.as_mut().and_then(|objects| objects.object(name));
        found.is_some_and(|(kind, content)| hash(kind, &content, SHA1) == name)
    }

    /// Whether git has written another pack, from which it removes the ones before.
    fn is_replaced(&self, pillar: &Path) -> bool {
        let (Some(folder), true) = (
            pillar.parent(),
            pillar
                .extension()
                .is_some_and(|extension| extension == "pack"),
        ) else {
            return false;
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut packs = entries.filter(|entry| {
            let path = entry.path();
            path != pillar
                && path
                    .extension()
                    .is_some_and(|extension| extension == "pack")
        });
        packs.any(|pack| {
            let written = pack.metadata().and_then(|metadata| metadata.modified());
            written.is_ok_and(|written| written >= self.of.began)
        })
    }

    /// The folders from which the most went.
    fn most(&self) -> Vec<String> {
        let mut folders: Vec<_> = self.folders.iter().collect();
        folders.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        folders
            .into_iter()
            .take(MOST_NAMED)
            .map(|(name, count)| format!("{name} ({count})"))
            .collect()
    }
}

type Objects = Box<dyn tagout_http::Objects>;

/// Digits of an object's name. Repositories of the longer ones count as holding nothing.
const SHA1: usize = 40;

/// The path in the git folder in which a file lies.
fn below_git(path: &Path) -> Option<&Path> {
    let folder = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.ends_with(".git"))?;
    path.strip_prefix(folder).ok()
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}

/// How many files from before `began` a workspace has, without build output and git's own.
fn count(workspace: &Path, bulk: &[String], began: SystemTime) -> u64 {
    let files = AtomicU64::new(0);
    each_entry(
        WalkBuilder::new(workspace).standard_filters(false),
        |entry| {
            let path = entry.path();
            let relative = path.strip_prefix(workspace).unwrap_or(path);
            if entry.file_name() == ".git" || is_derived(&relative.join("any"), bulk) {
                return WalkState::Skip;
            }
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            let is_new = || {
                let born = entry.metadata().ok().and_then(|file| file.created().ok());
                born.is_some_and(|born| born >= began)
            };
            if is_file && !is_new() {
                files.fetch_add(1, Ordering::Relaxed);
            }
            WalkState::Continue
        },
    );
    files.into_inner()
}

/// Has the authority decide.
async fn ask(
    authority: &Authority,
    request: FilesRequest,
    facts: Vec<String>,
) -> Result<(), Refusal> {
    let arguments = json!({"gone": request.gone, "not_in_git": request.not_in_git});
    let name = OperationName::parse(OPERATION)
        .map_err(|error| Refusal::denied(error.to_string(), "Tell your user."))?;
    let operation = Operation {
        name,
        known: true,
        effect: Effect::Destructive,
        flags: Flags::NONE,
        scope: Scope::None,
        resources: Vec::new(),
        unresolved: None,
        arguments,
    };
    let action = Action::new(request, vec![operation], Vec::new(), Vec::new(), false);
    let permit = authority.judge_seen(action, &Facts(facts)).await?;
    permit.outcome(Outcome::default());
    Ok(())
}

/// What a person is shown.
struct Facts(Vec<String>);

impl OnHold for Facts {
    fn preview(&self) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>> {
        Box::pin(std::future::ready(self.0.clone()))
    }

    fn held(&self, _: &HoldId) {}
}

/// What the program inside is told.
fn told(refusal: &Refusal, missing: u64, lost: u64) -> String {
    let so_far = format!(
        "{missing} files that were here before this session are gone already, {lost} of them not in git"
    );
    match (refusal.kind, &refusal.hold) {
        (RefusalKind::Held, Some(hold)) => format!(
            "Tagout held this: {so_far}; no more of them goes before a person has said so. Ask your \
             user to run `tagout approve {hold}` (or `tagout deny {hold}`) in another terminal, and \
             run the command again then. Files of this session and build output can be deleted as ever. \
             Do not look for another way."
        ),
        _ => format!("{refusal} ({so_far})"),
    }
}

#[cfg(test)]
mod tests;
