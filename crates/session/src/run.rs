//! One governed run, to be read aloud: find the workspace, read the task, load the credentials, look
//! for secrets, open the ledger, build the sandbox, start the gates, join the terminal, tear all of
//! it down. Whatever fails before the command starts leaves nothing behind and is exit 125.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tagout_authority::approver::EnrolledKeys;
use tagout_authority::{Authority, Setup};
use tagout_core::{Digest, EnvironmentName, HostName, HostPattern, SessionId, Timestamp};
use tagout_credentials::{Broker, Credential, Source};
use tagout_http::Gate;
use tagout_ledger::{InstallKey, Ledger};
use tagout_net::{AddressRange, Listeners, NameServer, Names, SessionCa, Upstream, UpstreamConfig};
use tagout_policy::{Config, Task};
use tagout_sandbox::{Control, Sandbox, Spec, Streams};
use tagout_secrets::{DecoyKey, KnownSecrets};
use tagout_store::{Ending, SessionRecord, Store};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::control::{Presence, Word};
use crate::git_identity;
use crate::home::Home;
use crate::profiles::{self, Profile};
use crate::resolver::Resolver;
use crate::scan::{Scan, scan};
use crate::task::{self, Loaded, Review};
use crate::watcher;
use crate::workspace::{self, Workspace};
use crate::{keys, sweep, variables, view};

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
    /// `--hold-wait`
    pub hold_wait: Duration,
    /// The command and its arguments.
    pub command: Vec<String>,
}

/// Who is told what happens, while the command does not have the terminal.
pub trait Screen: Sync {
    /// A line that stays.
    fn say(&self, text: &str);
    /// A line that the next one replaces.
    fn progress(&self, text: &str);
    /// Shows a manifest or policy and asks whether it is accepted. `false` where nobody can be asked.
    fn accept(&self, review: &Review<'_>) -> bool;
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

fn io(doing: &'static str) -> impl Fn(std::io::Error) -> RunError {
    move |source| RunError::Io { doing, source }
}

/// Runs a command under Tagout and gives its exit status.
///
/// Must be called on the main thread: the sandbox ends with the thread that launched it.
///
/// # Errors
/// See [`RunError`]; then the command never ran, or was ended.
pub fn run(options: &Options, screen: &dyn Screen) -> Result<u8, RunError> {
    let variable = |name: &str| std::env::var(name).ok();
    let home = Home::open(variable)?;
    let store = Store::open(home.path())?;
    sweep::sweep(&home, &store);
    let workspace = choose_workspace(options, &home, &store)?;
    let loaded = task::load(
        &home,
        &workspace.path,
        options.manifest.as_deref(),
        &|review| screen.accept(review),
    )?;
    let config = task::load_config(&home)?;
    let (task, profile, model_hosts) = fit_task(options, &loaded)?;
    let decoy_key = DecoyKey::derive(
        &keys::install_secret(&home).map_err(io("reading the install secret"))?,
        workspace.path.as_os_str().as_encoded_bytes(),
    );
    let credentials = load_credentials(&task, &loaded.folder, &decoy_key)?;
    let scan = scan(&workspace.path, &decoy_key, &|files| {
        screen.progress(&format!(
            "looking for secrets in {}: {files} files",
            workspace.path.display()
        ));
    });
    let broker = Arc::new(broker(credentials, &scan, &decoy_key));

    let id = SessionId::random().map_err(|error| RunError::Option(error.to_string()))?;
    let presence = Presence::announce(&home, &id).map_err(io("announcing the session"))?;
    let store = Arc::new(Mutex::new(store));
    insert_session(
        &store,
        &id,
        options,
        &workspace,
        &task,
        loaded.policy.digest(),
    )?;
    let ledger = Arc::new(open_ledger(
        &home, &id, options, &workspace, &task, &loaded, &store,
    )?);
    let session = Session {
        id: id.clone(),
        home: home.clone(),
        store: Arc::clone(&store),
        ledger: Arc::clone(&ledger),
        _presence: presence,
    };

    let runtime = Runtime::new().map_err(io("starting the gates' threads"))?;
    let ca = Arc::new(SessionCa::generate()?);
    let bundle = tagout_net::combined_bundle(&ca, &config.ca_files)?;
    if bundle.system.is_none() {
        screen.say("no bundle of certificate authorities was found on this machine; inside, only Tagout's own is trusted");
    }
    let spec = specify(&SpecSources {
        options,
        workspace: &workspace,
        task: &task,
        profile,
        broker: &broker,
        scan: &scan,
        bundle: &bundle.pem,
        journal: session._presence.journal(),
        id: &id,
    })?;
    let mut sandbox = tagout_sandbox::launch(spec)?;
    let task = Arc::new(task);
    let gates = Gates {
        task: Arc::clone(&task),
        policy: loaded.policy,
        model_hosts: model_hosts.into_iter().map(HostPattern::Exact).collect(),
        broker: Arc::clone(&broker),
        config,
        ca,
        hold_wait: options.hold_wait,
    };
    let names = gates.start(&runtime, &session, &mut sandbox)?;
    listen(&session, &sandbox.control())?;
    watcher::start(&sandbox, &workspace, decoy_key, &broker, &runtime, &ledger)?;
    announce(screen, &session, &workspace, &task, &scan, &sandbox);

    let ended = sandbox.attach();
    session.end(&ended, runtime);
    let ended = ended?;
    if let Some(why) = &ended.not_executed {
        screen.say(why);
    }
    report(screen, &id, &names);
    Ok(ended.exit.status())
}

/// What must be written down when the session is over, however it came.
struct Session {
    id: SessionId,
    home: Home,
    store: Arc<Mutex<Store>>,
    ledger: Arc<Ledger>,
    _presence: Presence,
}

impl Session {
    /// Ends the gates, then the ledger, then the record in the store.
    fn end(
        &self,
        ended: &Result<tagout_sandbox::Ended, tagout_sandbox::LaunchError>,
        runtime: Runtime,
    ) {
        // What still streams has lost its client already.
        runtime.shutdown_timeout(Duration::from_millis(500));
        let (status, reason) = match ended {
            Ok(ended) => (Some(i32::from(ended.exit.status())), "finished".to_owned()),
            Err(error) => (None, error.to_string()),
        };
        let finished = self
            .ledger
            .finish(json!({"exit_status": status, "reason": reason}));
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
    }
}

fn choose_workspace(options: &Options, home: &Home, store: &Store) -> Result<Workspace, RunError> {
    let current = std::env::current_dir().map_err(io("finding the current folder"))?;
    let live: Vec<(String, PathBuf)> = store
        .sessions()?
        .into_iter()
        .filter(|session| session.state == tagout_store::SessionState::Running)
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
) -> Result<(Task, Option<&'static Profile>, Vec<HostName>), RunError> {
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
        task::grant_model_hosts(&mut task, profile)
    });
    Ok((task, profile, model_hosts))
}

fn load_credentials(
    task: &Task,
    folder: &Path,
    key: &DecoyKey,
) -> Result<Vec<Credential>, RunError> {
    let mut credentials = Vec::new();
    for grant in &task.credentials {
        let failed = |reason: String| RunError::Credential {
            name: grant.name.clone(),
            reason,
        };
        let secret = Source::parse(&grant.source)
            .and_then(|source| source.load(|name| std::env::var(name).ok(), folder))
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
        .map_err(|error| failed(error.to_string()))?;
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
        command: options.command.clone(),
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

fn open_ledger(
    home: &Home,
    id: &SessionId,
    options: &Options,
    workspace: &Workspace,
    task: &Task,
    loaded: &Loaded,
    store: &Arc<Mutex<Store>>,
) -> Result<Ledger, RunError> {
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
    let session = id.clone();
    Ok(Ledger::create(
        home.path(),
        id,
        &install,
        about,
        move |mark| {
            if let Ok(store) = marks.lock() {
                // A missed mark makes `verify` say less, never something wrong.
                let _ = store.set_high_water(&session, mark.entries, mark.root);
            }
        },
    )?)
}

/// What the sandbox is specified from.
struct SpecSources<'a> {
    options: &'a Options,
    workspace: &'a Workspace,
    task: &'a Task,
    profile: Option<&'static Profile>,
    broker: &'a Broker,
    scan: &'a Scan,
    bundle: &'a str,
    journal: PathBuf,
    id: &'a SessionId,
}

fn specify(sources: &SpecSources<'_>) -> Result<Spec, RunError> {
    let (tree, extra_trees) =
        view::trees(sources.workspace, &sources.scan.twins).map_err(io("opening the workspace"))?;
    let home = std::env::var("HOME")
        .ok()
        .filter(|home| home.starts_with('/') && home.len() > 1)
        .unwrap_or_else(|| "/home/agent".to_owned());
    let mut set: Vec<(String, String)> = Vec::new();
    let mut passed = sources.task.agent_variables.clone();
    if let Some(profile) = sources.profile {
        set.extend(profile.environment.clone());
        passed.extend(profile.pass.iter().cloned());
    }
    for credential in sources.broker.credentials() {
        let grant = sources.task.credential(&credential.name);
        if let Some(name) = grant.and_then(|grant| grant.expose.clone()) {
            set.push((name, credential.decoy.to_string()));
        }
    }
    let hostname = format!("tagout-{}", sources.id);
    let outside = |name: &str| std::env::var(name).ok();
    let environment = variables::build(&variables::Sources {
        outside: &outside,
        user: &user_inside(),
        home: &home,
        ca_bundle: view::CA_BUNDLE_INSIDE,
        passed,
        set,
    });
    let search_path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or_else(String::new, |(_, value)| value.clone());
    let current = std::env::current_dir().map_err(io("finding the current folder"))?;
    let working_directory = if current.starts_with(&tree.path) {
        current
    } else {
        tree.path.clone()
    };
    let mut ports = BTreeSet::from([80, 443]);
    ports.extend(
        sources
            .task
            .hosts
            .iter()
            .flat_map(|grant| grant.ports.iter().copied()),
    );
    Ok(Spec {
        command: sources.options.command.clone(),
        environment,
        working_directory,
        workspace: tree,
        extra_trees,
        readable: Vec::new(),
        overlays: view::overlays(&hostname, sources.bundle)
            .into_iter()
            .chain(git_identity::overlay(&home))
            .collect(),
        home: PathBuf::from(home),
        search_path,
        ports: ports.into_iter().collect(),
        hostname,
        umask: keys::umask(),
        streams: Streams::of_this_process(),
        placeholder_journal: Some(sources.journal.clone()),
        stage_executable: None,
    })
}

/// The account's name inside. Who is root outside is an ordinary user inside.
fn user_inside() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| user != "root" && !user.is_empty())
        .unwrap_or_else(|| "agent".to_owned())
}

/// What the gates are built from.
struct Gates {
    task: Arc<Task>,
    policy: tagout_policy::Policy,
    model_hosts: Vec<HostPattern>,
    broker: Arc<Broker>,
    config: Config,
    ca: Arc<SessionCa>,
    hold_wait: Duration,
}

impl Gates {
    /// Starts name server, gates and whatever watches the store. Returns the book of names.
    fn start(
        self,
        runtime: &Runtime,
        session: &Session,
        sandbox: &mut Sandbox,
    ) -> Result<Arc<Names>, RunError> {
        let sockets = sandbox
            .listeners
            .take()
            .ok_or_else(|| RunError::Option("the sandbox has no gates".to_owned()))?;
        let upstream = Arc::new(Upstream::new(UpstreamConfig {
            addresses: self
                .config
                .addresses()
                .map(|(host, port, address)| ((host.clone(), port), address))
                .collect(),
            ca_files: self.config.ca_files.clone(),
        })?);
        let resolver = Arc::new(Resolver::new(
            Arc::clone(&upstream),
            Arc::clone(&self.broker),
        ));
        let (changed, answered) = watch::channel(0_u64);
        let authority = Authority::new(Setup {
            session: session.id.clone(),
            task: Arc::clone(&self.task),
            policy: self.policy,
            store: Arc::clone(&session.store),
            ledger: Arc::clone(&session.ledger),
            broker: Arc::clone(&self.broker),
            ask: Arc::clone(&resolver) as Arc<dyn tagout_authority::Ask>,
            enrolled: EnrolledKeys::load(session.home.path())?,
            hold_wait: self.hold_wait,
            answered,
        });
        resolver.answer_to(authority.clone());
        let names = Arc::new(Names::new(AddressRange::SYNTHETIC, {
            let record = authority.record().clone();
            let handle = runtime.handle().clone();
            move |host| {
                let (record, fields) = (record.clone(), json!({"host": host}));
                handle.spawn(async move {
                    // Nothing was released for a refused name, recorded or not.
                    let _ = record.append("name_refused", fields).await;
                });
            }
        }));
        for grant in &self.task.hosts {
            names.grant(grant.pattern.clone());
        }
        for pattern in self
            .broker
            .credentials()
            .iter()
            .flat_map(|known| &known.hosts)
        {
            names.grant(pattern.clone());
        }
        let _entered = runtime.enter();
        let name_server = NameServer::start(
            Arc::clone(&names),
            sockets.name_server_udp,
            sockets.name_server_tcp,
        )?;
        let mut listeners = Listeners::start(Arc::clone(&names), sockets.gates)?;
        let gate = Gate::new(authority.clone(), upstream, self.ca, self.model_hosts);
        runtime.spawn(async move {
            let _name_server = name_server;
            while let Some(captured) = listeners.accept().await {
                let gate = gate.clone();
                tokio::spawn(async move { gate.serve(captured).await });
            }
        });
        if self
            .broker
            .credentials()
            .iter()
            .any(|known| known.provider != "http")
        {
            runtime.spawn(async move {
                if let Err(why) = authority.freeze_environments().await {
                    let fields = json!({"reason": why});
                    let _ = authority
                        .record()
                        .append("environments_unknown", fields)
                        .await;
                }
            });
        }
        runtime.spawn(watcher::watch_store(
            session.home.path().to_owned(),
            changed,
        ));
        Ok(names)
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
    scan: &Scan,
    sandbox: &Sandbox,
) {
    let secrets = match scan.twins.len() {
        0 => "no file with secrets".to_owned(),
        1 => format!("decoys in {}", scan.twins[0].path.display()),
        count => format!("decoys in {count} files"),
    };
    screen.say(&format!(
        "session {} in {}, environment {}, {secrets}",
        session.id,
        workspace.path.display(),
        task.environment,
    ));
    let report = sandbox.report();
    for warning in scan.warnings.iter().chain(&report.warnings) {
        screen.say(&format!("warning: {warning}"));
    }
    for path in &report.multiply_linked {
        screen.say(&format!(
            "warning: {} has further hard links, under which its real content can be read",
            path.display()
        ));
    }
}

fn report(screen: &dyn Screen, id: &SessionId, names: &Names) {
    let refused = names.refused();
    if refused.is_empty() {
        return;
    }
    let list: Vec<String> = refused
        .iter()
        .take(5)
        .map(|(host, _)| host.to_string())
        .collect();
    let more = match refused.len().saturating_sub(list.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    screen.say(&format!(
        "refused: {}{more}; `tagout log {id}` tells the rest. To grant a host: [[host]] name = \"{}\" in tagout.toml, or --allow-host",
        list.join(", "),
        list.first().map_or("", String::as_str),
    ));
}
