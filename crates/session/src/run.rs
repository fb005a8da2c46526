//! One governed run, to be read aloud: find the workspace, read the task, load the credentials, look
//! for secrets, open the ledger, build the sandbox, start the gates, join the terminal, tear all of
//! it down. Whatever fails before the command starts leaves nothing behind and is exit 125.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tagout_authority::approval::escape_untrusted;
use tagout_core::{Digest, EnvironmentName, HostPattern, SessionId, Timestamp};
use tagout_credentials::vault::VaultError;
use tagout_credentials::{Broker, Credential, Outside, Secret, Source};
use tagout_ledger::{InstallKey, Ledger, LedgerError};
use tagout_net::SessionCa;
use tagout_policy::Task;
use tagout_sandbox::{Control, Sandbox, Stage};
use tagout_secrets::{DecoyKey, KnownSecrets};
use tagout_store::{Ending, SessionRecord, Store};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::agent_state::Laid;
use crate::control::{Presence, Word};
use crate::control_files::{self, Since, Written};
use crate::databases::Databases;
use crate::deletions::Deletions;
use crate::gates::{self, Gates};
use crate::git_history::WorkspaceHistory;
use crate::history::{History, Looking};
use crate::home::Home;
use crate::login::Agent;
use crate::notify::Notifier;
use crate::pane::Pane;
use crate::profiles;
use crate::remembered::Remembered;
use crate::report::files::{Before, Changes};
use crate::report::{self, Report};
use crate::scan::{Scan, look_again, scan_again};
use crate::scanned::Scanned;
use crate::specify::{SpecSources, specify};
use crate::task::{self, Loaded, Review};
use crate::twins::Twins;
use crate::vault::LazyVault;
use crate::view::Looked;
use crate::withheld::withhold;
use crate::workspace::{self, Workspace};
use crate::{
    caches, database_undo, git_commits, git_credentials, keys, nested, publish, registries,
    remotes, specify, sweep, undo, view, watcher,
};
use tagout_catalog::Profile;

/// What `tagout run` was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--manifest`
    pub manifest: Option<PathBuf>,
    /// `--workspace`
    pub workspace: Option<PathBuf>,
    /// `--environment`
    pub environment: Option<String>,
    /// `--agent`
    pub agent: Option<String>,
    /// `--allow-host`, each time
    pub allow_hosts: Vec<String>,
    /// `--publish`, each time
    pub publish: Vec<u16>,
    /// `--hold-wait`
    pub hold_wait: Duration,
    /// `--pane`
    pub pane: bool,
    /// The command and its arguments.
    pub command: Vec<String>,
}

/// Who is told what happens, while the command does not have the terminal.
pub trait Screen: Sync {
    /// A line that stays.
    fn say(&self, text: &str);
    /// How many characters of such a line fit on a row; `None` where rows have no end.
    fn columns(&self) -> Option<usize>;
    /// A line that the next one replaces.
    fn progress(&self, text: &str);
    /// Shows a manifest or policy and asks whether it is accepted. `false` where nobody can be asked.
    fn accept(&self, review: &Review<'_>) -> bool;
    /// Asks for a passphrase, without showing it. `None` where nobody can be asked.
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>>;
    /// Shows what a session left, once the terminal is the person's again.
    fn report(&self, report: &Report);
}

/// Why Tagout refused or failed: exit 125.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `$TAGOUT_HOME`.
    #[error(transparent)]
    Home(#[from] crate::home::HomeError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] workspace::WorkspaceError),
    /// Manifest, policy, settings.
    #[error(transparent)]
    Task(#[from] task::TaskError),
    /// A credential of the manifest.
    #[error("credential `{name}`: {reason}")]
    Credential {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A database of the manifest.
    #[error("database `{name}`: {reason}")]
    Database {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] tagout_store::StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] tagout_ledger::LedgerError),
    /// Certificates or listeners.
    #[error(transparent)]
    Net(#[from] tagout_net::NetError),
    /// Approver keys.
    #[error(transparent)]
    Approver(#[from] tagout_authority::approver::ApproverError),
    /// The sandbox.
    #[error(transparent)]
    Launch(#[from] tagout_sandbox::LaunchError),
    /// An option that does not fit.
    #[error("{0}")]
    Option(String),
    /// The operating system.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

pub(crate) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> RunError {
    move |source| RunError::Io { doing, source }
}

/// Runs a command under Tagout and gives its exit status.
///
/// Must be called on the main thread: the sandbox ends with the thread that launched it. `stage` is the sandbox's, if the program split
/// one off when it began.
///
/// # Errors
/// See [`RunError`]; then the command never ran, or was ended.
pub fn run(options: &Options, stage: Option<Stage>, screen: &dyn Screen) -> Result<u8, RunError> {
    if let Some(id) = nested::session() {
        drop(stage);
        screen.say(&format!("session {id} governs this command already"));
        let (status, why) = nested::execute(&options.command);
        screen.say(&why);
        return Ok(status);
    }
    let mut begun = None;
    let outcome = govern(options, stage, screen, &mut begun);
    if let (Err(error), Some(begun)) = (&outcome, begun) {
        begun.refuse(error);
    }
    outcome
}

/// A session that is written down, and whose command has not run yet.
struct Begun {
    id: SessionId,
    store: Arc<Mutex<Store>>,
    /// Until the refusal is written down: else the session counts as crashed.
    _presence: Arc<Presence>,
}

impl Begun {
    fn refuse(self, why: &RunError) {
        if let Ok(store) = self.store.lock() {
            // Unwritten, the next command writes down that it crashed.
            let _ = store.end_session(&self.id, &Ending::refused(&why.to_string()));
        }
    }
}

fn govern(
    options: &Options,
    stage: Option<Stage>,
    screen: &dyn Screen,
    begun: &mut Option<Begun>,
) -> Result<u8, RunError> {
    let variable = |name: &str| std::env::var(name).ok();
    let home = Home::open(variable)?;
    let store = Store::open(home.path())?;
    sweep::sweep(&home, &store);
    refuse_visible_home(&home)?;
    let workspace = choose_workspace(options, &home, &store, None)?;
    let tmux = options
        .pane
        .then(|| Pane::tmux(&workspace.path, variable))
        .transpose()
        .map_err(RunError::Option)?;
    let loaded = task::load(
        &home,
        &workspace.path,
        options.manifest.as_deref(),
        &|review| screen.accept(review),
    )?;
    let config = task::load_config(&home)?;
    let (mut task, profile, model_hosts) = fit_task(options, &loaded)?;
    let decoy_key = DecoyKey::derive(
        &keys::install_secret(&home).map_err(io("reading the install secret"))?,
        workspace.path.as_os_str().as_encoded_bytes(),
    );
    let vault = LazyVault::of(&home, &workspace.path, screen);
    let mut credentials =
        load_credentials(&task, &loaded.folder, &workspace.path, &vault, &decoy_key)?;
    let databases = Databases::load(
        &mut task,
        &outside(&loaded.folder, &workspace.path, &|name| vault.get(name)),
        &decoy_key,
    )?;
    credentials.extend(databases.credentials());
    let mut agent = profile.map(|profile| Agent::find(profile, &task, &workspace, &decoy_key));
    if let Some(agent) = &agent {
        agent.grant(&mut task);
        credentials.extend(agent.credentials());
    }
    let memory = Arc::new(registries::Memory::open(home.path()));
    let mut learned = registries::of_this_machine(&workspace.path, &memory, &decoy_key);
    learned.grant(&mut task);
    let named = remotes::grant(&workspace, &mut task);
    let git = git_credentials::find(&named, &mut task, &decoy_key);
    credentials.extend(git.credentials.iter().cloned());
    credentials.extend(learned.credentials.iter().cloned());
    let published = publish::take(&options.publish, &crate::local_port::ports(&task))?;
    let held: Vec<_> = credentials
        .iter()
        .map(|credential| {
            (
                credential.secret.expose(),
                credential.decoy.as_str().as_bytes(),
            )
        })
        .chain(git.held())
        .collect();
    let before = Before::look(&workspace.path).map_err(io("looking at the workspace"))?;
    let scanned = Scanned::open(home.path(), &workspace.path, &held);
    let scanned_at = SystemTime::now();
    let history = {
        let (home, workspace) = (home.path().to_owned(), workspace.path.clone());
        std::thread::spawn(move || History::open(&home, &workspace))
    };
    let mut scan = scan_again(&workspace.path, &decoy_key, &held, &scanned, &|files| {
        screen.progress(&format!(
            "looking for secrets in {}: {files} files",
            workspace.path.display()
        ));
    });
    scanned.save();
    let mut remembered = Remembered::open(home.path(), &workspace.path, &decoy_key);
    look_again(&workspace.path, &decoy_key, &remembered, &mut scan);
    let mut history = history.join().unwrap_or_default();
    if let Some(history) = &mut history {
        let files: HashSet<&Path> = scan.twins.iter().map(|file| file.path.as_path()).collect();
        let known = history.look_at_promising(&files);
        scan.known.extend(known);
        scan.warnings.append(&mut history.warnings);
    }
    let values = scan.known.iter().filter(|known| !known.guessable);
    remembered.learn(values.map(|known| known.value.as_slice()));
    remembered.note(scan.twins.iter().map(|file| file.path.as_path()));
    remembered
        .save()
        .map_err(io("writing down which files hold secrets"))?;
    withhold(
        &mut scan,
        &workspace.path,
        loaded.policy.content(),
        home.path(),
    );
    let broker = Arc::new(broker(credentials, &scan, &decoy_key));
    if let Some(agent) = &agent {
        agent.teach(&broker);
    }

    let id = SessionId::random().map_err(|error| RunError::Option(error.to_string()))?;
    let presence = Arc::new(Presence::announce(&home, &id).map_err(io("announcing the session"))?);
    let store = Arc::new(Mutex::new(store));
    insert_session(
        &store,
        &id,
        &broker,
        options,
        &workspace,
        &task,
        loaded.policy.digest(),
    )?;
    *begun = Some(Begun {
        id: id.clone(),
        store: Arc::clone(&store),
        _presence: Arc::clone(&presence),
    });
    refuse_second(&store, &id, options, &home)?;
    // The first entry is on its way to the disk while the sandbox is built; nothing passes a gate and no
    // command runs before it is there.
    let opening = open_ledger(&home, &id, options, &workspace, &task, &loaded, &store)?;

    let ca = Arc::new(SessionCa::generate()?);
    let bundle = tagout_net::combined_bundle(&ca, &config.ca_files)?;
    if bundle.system.is_none() {
        screen.say("no bundle of certificate authorities was found on this machine; inside, only Tagout's own is trusted");
    }
    let laid = match &mut agent {
        Some(agent) => agent
            .lay_out(&home, &home.session(&id), &workspace.path)
            .map_err(io("laying out the agent's files"))?,
        None => None,
    };
    let inside = PathBuf::from(specify::home_inside());
    let caches = caches::of_workspace(&home, &workspace.path, &inside)
        .map_err(io("making the workspace's caches"))?;
    let looked = Looked::at(&workspace, &task);
    scan.warnings.extend(looked.warnings());
    let editable = view::editable(&workspace, &looked, &scan.twins)
        .map_err(io("looking at the files with secrets"))?;
    database_undo::note(&home, &id, &task.databases, &loaded.folder)
        .map_err(io("noting where the databases' URLs come from"))?;
    let mediation =
        undo::mediation(&home, &id, &task).map_err(io("making the folder of what is kept"))?;
    if mediation.is_none() {
        screen.say("warning: this kernel is older than Linux 5.19: what the session changes cannot be undone");
    }
    let spec = specify(&SpecSources {
        options,
        workspace: &workspace,
        task: &task,
        agent: agent.as_ref(),
        laid: laid.as_ref(),
        broker: &broker,
        scan: &scan,
        looked: &looked,
        editable: &editable,
        bundle: &bundle.pem,
        ca: &ca.ca_pem(),
        learned: &learned,
        databases: &databases,
        git: &git,
        caches: &caches,
        journal: presence.journal(),
        id: &id,
        mediation: &mediation,
    })?;
    let built = tagout_sandbox::launch_on(stage, spec)?;
    let ledger = Arc::new(opening.opened()?);
    let session = Session {
        id: id.clone(),
        home: home.clone(),
        store: Arc::clone(&store),
        ledger: Arc::clone(&ledger),
        profile,
        _presence: presence,
    };
    let runtime = gates::runtime().map_err(io("starting the gates' threads"))?;
    // Behind the session, so that it goes first when something fails from here on.
    let mut sandbox = built;
    for port in &published {
        screen.say(&port.notice());
    }
    let task = Arc::new(task);
    let gates = Gates {
        task: Arc::clone(&task),
        policy: loaded.policy,
        model_hosts,
        broker: Arc::clone(&broker),
        config,
        ca,
        hold_wait: options.hold_wait,
        notifier: Notifier::new(&id, &workspace.path, variable),
        registries: learned.targets().cloned().collect(),
        history: remotes::git_folder(&workspace)
            .map(|folder| WorkspaceHistory::of(&folder, &workspace.path)),
        databases,
        git_logins: git.into_logins(&broker, &workspace),
        indexes: std::mem::take(&mut learned.indexes),
        memory,
        published,
        logins: agent.as_mut().map(Agent::take_logins).unwrap_or_default(),
        deletions: Deletions {
            session: id.clone(),
            workspace: workspace.path.clone(),
            kept: undo::folder(&home, &id),
            bulk: task.bulk.clone(),
            history: remotes::git_folder(&workspace)
                .map(|folder| WorkspaceHistory::of(&folder, &workspace.path)),
            began: SystemTime::now(),
        },
    };
    gates.start(&runtime, &session, &mut sandbox)?;
    listen(&session, &sandbox.control())?;
    let learns = Arc::clone(&broker);
    let _looking = Looking::start(history, move |known| {
        let known = known.into_iter();
        learns.learn(
            known.map(|known| (known.label, known.value, known.guessable)),
            [],
        );
    });
    let twins = Twins::start(editable, remembered, sandbox.control(), &ledger, &home, &id)
        .map_err(|error| RunError::Option(error.to_string()))?;
    let watching = watcher::start(
        &sandbox,
        (&workspace, looked, scanned_at),
        decoy_key,
        &broker,
        (&runtime, &ledger),
        twins.shared(),
    )?;
    announce(
        screen, &session, &workspace, &task, profile, &scan, &sandbox,
    );
    for notice in agent.iter().flat_map(|agent| agent.notices(&task)) {
        screen.say(&notice);
    }

    let pane = tmux
        .map(|tmux| Pane::open(tmux, &home))
        .transpose()
        .map_err(RunError::Option)?;
    let before = before.ready();
    let ours = sandbox.placeholders();

    let since = Since::now();
    let commits = git_commits::Before::look(&workspace);
    *begun = None;
    let ended = sandbox.attach();
    drop(watching);
    let appeared = twins.shared();
    let mut remarks = twins.finish();
    remarks.extend(undo::finish(&home, &id));
    let written = control_files::written(&workspace.path, since);
    if written.is_cut() {
        session.record_written(&written);
    }
    remarks.extend(written.remarks(|paths| {
        let redact = |line: &str| broker.redact_text(line);
        undo::differences(&home, &id, (&workspace.path, paths), &redact)
    }));
    let decoys = [decoys(&scan, &broker), appeared.decoys()].concat();
    let made = commits.map(|commits| commits.remarks(&decoys));
    remarks.extend(made.into_iter().flatten());
    drop(pane);
    let report = session.end(&ended, runtime, remarks, || {
        let twins: Vec<PathBuf> = scan.twins.iter().map(|file| file.path.clone()).collect();
        before.compare(&ours, &twins, &decoys)
    });
    for left in laid.iter().flat_map(Laid::give_back) {
        screen.say(&format!("history that stays behind: {left}"));
    }
    let ended = ended?;
    if let Some(why) = &ended.not_executed {
        screen.say(why);
    }
    screen.report(&report);
    Ok(ended.exit.status())
}

/// What must be written down when the session is over, however it came.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) home: Home,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) profile: Option<&'static Profile>,
    _presence: Arc<Presence>,
}

impl Session {
    /// Puts down all names of what the report can only begin to name.
    fn record_written(&self, written: &Written) {
        let names = |paths: &[PathBuf]| -> Vec<String> {
            let names = paths.iter().map(|path| path.display().to_string());
            names.collect()
        };
        let about = json!({
            "files": names(&written.files),
            "repositories": names(&written.repositories),
        });
        // A ledger that cannot be written says so in the report.
        drop(self.ledger.append("control_files_written", about));
    }

    /// Ends the gates, then the ledger, then the record in the store. `changes` looks at what the
    /// command left; the report about it is the ledger's last entry but one.
    fn end(
        &self,
        ended: &Result<tagout_sandbox::Ended, tagout_sandbox::LaunchError>,
        runtime: Runtime,
        mut remarks: Vec<String>,
        changes: impl FnOnce() -> Changes,
    ) -> Report {
        // What still streams has lost its client already.
        runtime.shutdown_timeout(Duration::from_millis(500));
        if self.ledger.unsettled().is_none() {
            remarks.push(
                "the ledger could not be written any more (is the disk full?): everything that was asked for since was refused, and none of it is below"
                    .to_owned(),
            );
        }
        let changes = changes();
        let report = match self.store.lock() {
            Ok(store) => Report::of(&report::Sources {
                session: &self.id,
                ledger: self.ledger.path(),
                store: &store,
                changes: &changes,
                remarks,
                profile: self.profile,
            }),
            Err(_) => Report::default(),
        };
        let reported = self.ledger.append_with_next("report", report.to_json());
        let (status, reason) = match ended {
            Ok(ended) => (Some(i32::from(ended.exit.status())), "finished".to_owned()),
            Err(error) => (None, error.to_string()),
        };
        let finished = self
            .ledger
            .finish(json!({"exit_status": status, "reason": reason}));
        if let Err(error) = reported.wait() {
            eprintln!("tagout: the report is not in the ledger: {error}");
        }
        if let Err(error) = finished.wait() {
            eprintln!("tagout: {error}");
        }
        let ending = Ending {
            exit_status: status,
            reason,
        };
        if let Ok(store) = self.store.lock()
            && let Err(error) = store.end_session(&self.id, &ending)
        {
            eprintln!("tagout: {error}");
        }
        report
    }
}

/// Every decoy of the session: those of files, and those of credentials.
fn decoys(scan: &Scan, broker: &Broker) -> Vec<Vec<u8>> {
    let files = scan.twins.iter().flat_map(|file| file.decoys.clone());
    let credentials = broker.credentials();
    let bound = credentials
        .iter()
        .map(|credential| credential.decoy.as_str().as_bytes().to_vec());
    files.chain(bound).collect()
}

/// `$TAGOUT_HOME` must not lie in what is shown inside: the command is the same user.
fn refuse_visible_home(home: &Home) -> Result<(), RunError> {
    const SHOWN: &[&str] = &["/bin", "/etc", "/lib", "/nix", "/opt", "/sbin", "/usr"];
    let person = std::env::var_os("HOME").map(PathBuf::from);
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&searched).filter(|entry| {
        // The sandbox shows nothing of entries so high up.
        entry.components().count() > 2
            && !person
                .as_ref()
                .is_some_and(|person| person.starts_with(entry))
    });
    for shown in SHOWN.iter().map(PathBuf::from).chain(entries) {
        if shown
            .canonicalize()
            .is_ok_and(|shown| home.path().starts_with(shown))
        {
            return Err(RunError::Option(format!(
                "TAGOUT_HOME is {}, and {} is shown inside; set TAGOUT_HOME to a folder elsewhere",
                home.path().display(),
                shown.display()
            )));
        }
    }
    Ok(())
}

/// Looks again, now that this session is written down: of two that start at the same time at least
/// one sees the other.
fn refuse_second(
    store: &Mutex<Store>,
    id: &SessionId,
    options: &Options,
    home: &Home,
) -> Result<(), RunError> {
    let store = store
        .lock()
        .map_err(|_| RunError::Option("the store failed before".to_owned()))?;
    let open = store.open_sessions()?;
    if open.iter().all(|session| session.record.id == *id) {
        return Ok(());
    }
    let chosen = choose_workspace(options, home, &store, Some(id));
    if let Err(error) = &chosen {
        store.end_session(id, &Ending::refused(&error.to_string()))?;
    }
    chosen.map(drop)
}

/// `own` is this session, once it is written down.
fn choose_workspace(
    options: &Options,
    home: &Home,
    store: &Store,
    own: Option<&SessionId>,
) -> Result<Workspace, RunError> {
    let current = std::env::current_dir().map_err(io("finding the current folder"))?;
    let live: Vec<(String, PathBuf)> = store
        .open_sessions()?
        .into_iter()
        .filter(|session| session.state == tagout_store::SessionState::Running)
        .filter(|session| own != Some(&session.record.id))
        .map(|session| {
            (
                session.record.id.to_string(),
                PathBuf::from(session.record.workspace),
            )
        })
        .collect();
    Ok(Workspace::choose(
        options.workspace.as_deref(),
        &current,
        &workspace::homes(|name| std::env::var_os(name)),
        home.path(),
        &live,
    )?)
}

/// The task as the command line adapts it: another environment, further hosts, the agent's model.
fn fit_task(
    options: &Options,
    loaded: &Loaded,
) -> Result<(Task, Option<&'static Profile>, Vec<HostPattern>), RunError> {
    let mut task = loaded.task.clone();
    if let Some(name) = &options.environment {
        let name =
            EnvironmentName::parse(name).map_err(|error| RunError::Option(error.to_string()))?;
        task.choose_environment(&name)
            .map_err(|error| RunError::Option(error.to_string()))?;
    }
    for host in &options.allow_hosts {
        task.allow_host(host)
            .map_err(|error| RunError::Option(error.to_string()))?;
    }
    let wanted = options.agent.as_deref().unwrap_or(&task.agent_profile);
    let command = options.command.first().map_or("", String::as_str);
    let profile = profiles::find(wanted, command).map_err(RunError::Option)?;
    let model_hosts = profile.map_or_else(Vec::new, |profile| {
        profiles::grant_hosts(&mut task, profile)
    });
    Ok((task, profile, model_hosts))
}

/// Where the manifest's sources are read.
fn outside<'a>(
    folder: &'a Path,
    workspace: &'a Path,
    vault: &'a dyn Fn(&str) -> Result<Secret, VaultError>,
) -> Outside<'a> {
    Outside {
        environment: &|name| std::env::var(name).ok(),
        folder,
        workspace,
        vault,
    }
}

fn load_credentials(
    task: &Task,
    folder: &Path,
    workspace: &Path,
    vault: &LazyVault<'_>,
    key: &DecoyKey,
) -> Result<Vec<Credential>, RunError> {
    let vault = |name: &str| vault.get(name);
    let outside = outside(folder, workspace, &vault);
    let mut credentials = Vec::new();
    for grant in &task.credentials {
        let failed = |reason: String| RunError::Credential {
            name: grant.name.clone(),
            reason,
        };
        let secret = Source::parse(&grant.source)
            .and_then(|source| source.load(&outside))
            .map_err(|error| failed(error.to_string()))?;
        let decoy = secret.decoy(key);
        let credential = Credential::bind(
            &grant.name,
            &grant.provider,
            &grant.hosts,
            grant.slot.as_deref(),
            (secret, decoy),
            1,
        )
        .map_err(|error| failed(error.to_string()))?
        .exposed_as(grant.expose.as_deref());
        credentials.push(credential);
    }
    Ok(credentials)
}

fn broker(credentials: Vec<Credential>, scan: &Scan, key: &DecoyKey) -> Broker {
    let known = KnownSecrets::new(
        scan.known
            .iter()
            .map(|known| (known.label.clone(), known.value.clone(), known.guessable)),
    );
    Broker::new(credentials, known, watcher::file_decoys(&scan.twins)).with_decoy_key(key.clone())
}

fn insert_session(
    store: &Mutex<Store>,
    id: &SessionId,
    broker: &Broker,
    options: &Options,
    workspace: &Workspace,
    task: &Task,
    policy_digest: Digest,
) -> Result<(), RunError> {
    let record = SessionRecord {
        id: id.clone(),
        started: Timestamp::now(),
        pid: std::process::id(),
        pid_started: keys::process_started(std::process::id()).unwrap_or(0),
        command: without_secrets(&options.command, broker),
        workspace: workspace.path.display().to_string(),
        environment: task.environment.to_string(),
        task: Some(task.name.clone()),
        policy_digest,
        user: std::env::var("USER")
            .unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string()),
    };
    store
        .lock()
        .map_err(|_| RunError::Option("the store failed before".to_owned()))?
        .insert_session(&record)?;
    Ok(())
}

/// A command line as the store keeps it: a person may type a token into one, and `tagout sessions`
/// shows it later.
fn without_secrets(command: &[String], broker: &Broker) -> Vec<String> {
    command
        .iter()
        .map(|word| broker.redact_text(word))
        .collect()
}

fn open_ledger(
    home: &Home,
    id: &SessionId,
    options: &Options,
    workspace: &Workspace,
    task: &Task,
    loaded: &Loaded,
    store: &Arc<Mutex<Store>>,
) -> Result<Opening, RunError> {
    let install = InstallKey::load_or_create(home.path())?;
    let about = json!({
        "command": options.command.first(),
        "workspace": workspace.path.display().to_string(),
        "task": task.name,
        "environment": task.environment,
        "manifest": loaded.manifest.as_ref().map(|path| path.display().to_string()),
        "policy": loaded.policy.digest(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let marks = Arc::clone(store);
    let (session, marked, home) = (id.clone(), id.clone(), home.clone());
    let create = move || {
        Ledger::create(home.path(), &session, &install, about, move |mark| {
            if let Ok(store) = marks.lock() {
                // A missed mark makes `verify` say less, never something wrong.
                let _ = store.set_high_water(&marked, mark.entries, mark.root);
            }
        })
    };
    std::thread::Builder::new()
        .name("ledger-opening".to_owned())
        .spawn(create)
        .map(Opening)
        .map_err(io("starting a thread"))
}

/// A ledger whose first entry is on its way to the disk.
struct Opening(std::thread::JoinHandle<Result<Ledger, LedgerError>>);

impl Opening {
    /// The ledger, once that entry is durable.
    fn opened(self) -> Result<Ledger, RunError> {
        let created = self
            .0
            .join()
            .map_err(|_| RunError::Option("the ledger could not be opened".to_owned()))?;
        Ok(created?)
    }
}

/// Lets other `tagout` processes end the session.
fn listen(session: &Session, control: &Control) -> Result<(), RunError> {
    let control = control.clone();
    session
        ._presence
        .listen(move |word| match word {
            Word::Kill => control.kill(),
            // The store is looked at several times a second anyway.
            Word::Poke => {}
        })
        .map_err(io("listening for other tagout processes"))
}

fn announce(
    screen: &dyn Screen,
    session: &Session,
    workspace: &Workspace,
    task: &Task,
    profile: Option<&Profile>,
    scan: &Scan,
    sandbox: &Sandbox,
) {
    let secrets = match scan.twins.len() {
        0 => "no file with secrets".to_owned(),
        1 => format!(
            "decoys in {}",
            report::shorten_middle(&shown(&scan.twins[0].path), LONGEST_TWIN)
        ),
        count => format!("decoys in {count} files"),
    };
    let agent = match profile {
        // It is a model's host, a login and a home less than an agent has.
        None => "a plain command".to_owned(),
        Some(profile) if profile.switches_sandbox_off() => {
            format!("agent {} (its own sandbox is off inside)", profile.name)
        }
        Some(profile) => format!("agent {}", profile.name),
    };
    let mut place = shown(&workspace.path);
    let line = |place: &str| {
        format!(
            "session {} in {place}, environment {}, {agent}, {secrets}",
            session.id, task.environment
        )
    };
    if let Some(columns) = screen.columns() {
        let rest = line("").chars().count();
        let room = columns.saturating_sub(rest).max(SHORTEST_PLACE);
        place = report::shorten_middle(&place, room);
    }
    screen.say(&line(&place));
    let report = sandbox.report();
    for warning in scan.warnings.iter().chain(&report.warnings) {
        screen.say(&format!("warning: {warning}"));
    }
    for path in &report.multiply_linked {
        screen.say(&format!(
            "warning: {} has further hard links, under which its real content can be read",
            shown(path)
        ));
    }
}

/// The fewest characters of a workspace's path that say which one it is.
const SHORTEST_PLACE: usize = 24;
/// Characters of the path of the one file that shows decoys.
const LONGEST_TWIN: usize = 48;

/// A path as text of anybody's choice may stand on a screen.
fn shown(path: &Path) -> String {
    escape_untrusted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_3_a_known_value_on_the_command_line_is_not_kept() {
        let value = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";
        let known = KnownSecrets::new([(".env".to_owned(), value.into(), false)]);
        let broker = Broker::new(Vec::new(), known, Vec::new());
        let command = [
            "curl".to_owned(),
            format!("-HAuthorization: Bearer {value}"),
        ];
        let kept = without_secrets(&command, &broker);
        assert_eq!(kept[0], "curl");
        assert!(!kept.concat().contains(value), "{kept:?}");
    }
}
