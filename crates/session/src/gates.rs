//! The gates of a session: name server, HTTP gate, the authority that both ask, and whatever must be
//! running for it to answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tagout_authority::approver::EnrolledKeys;
use tagout_authority::{Authority, Setup};
use tagout_core::{HostPattern, Target};
use tagout_credentials::Broker;
use tagout_credentials::login::Login;
use tagout_http::Gate;
use tagout_net::{
    AddressRange, Listeners, NameServer, Names, Proxy, SessionCa, Upstream, UpstreamConfig,
};
use tagout_policy::{Config, Task};
use tagout_sandbox::Sandbox;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::databases::{self, Databases};
use crate::deletions::Deletions;
use crate::git_credentials::GitLogins;
use crate::git_history::WorkspaceHistory;
use crate::local_port;
use crate::login::keep_fresh;
use crate::notify::Notifier;
use crate::publish::{self, Published};
use crate::registries::{Asker, Index, Memory};
use crate::remotes;
use crate::resolver::Resolver;
use crate::run::{RunError, Session, io};
use crate::watcher;

/// What the gates are built from.
pub(crate) struct Gates {
    pub(crate) task: Arc<Task>,
    pub(crate) policy: tagout_policy::Policy,
    pub(crate) model_hosts: Vec<HostPattern>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) config: Config,
    pub(crate) ca: Arc<SessionCa>,
    pub(crate) hold_wait: Duration,
    pub(crate) notifier: Notifier,
    /// What the operator's configuration of package managers names.
    pub(crate) registries: Vec<Target>,
    /// Where the workspace's repository keeps its objects.
    pub(crate) history: Option<WorkspaceHistory>,
    pub(crate) git_logins: Arc<GitLogins>,
    pub(crate) databases: Databases,
    /// Those that have not said yet where their downloads lie.
    pub(crate) indexes: Vec<Index>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) published: Vec<Published>,
    pub(crate) logins: Vec<Login>,
    pub(crate) deletions: Deletions,
}

impl Gates {
    /// Starts name server, gates and whatever watches the store. Returns the book of names.
    pub(crate) fn start(
        self,
        runtime: &Runtime,
        session: &Session,
        sandbox: &mut Sandbox,
    ) -> Result<Arc<Names>, RunError> {
        allow_many_connections();
        let sockets = sandbox
            .listeners
            .take()
            .ok_or_else(|| RunError::Option("the sandbox has no gates".to_owned()))?;
        let upstream = Arc::new(Upstream::new(upstream_config(&self.config))?);
        let remotes = remotes::targets(&self.task);
        for target in self.registries.into_iter().chain(remotes) {
            upstream.allow_operators_network(target);
        }
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
        for registry in self.task.registries.all() {
            names.grant(HostPattern::Exact(registry.target.host));
        }
        for target in remotes::targets(&self.task) {
            names.grant(HostPattern::Exact(target.host));
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
        let logins = keep_fresh(
            self.logins,
            &self.broker,
            &upstream,
            &authority,
            &session.home,
        );
        let asker = Asker {
            authority: authority.clone(),
            upstream: Arc::clone(&upstream),
            names: Arc::clone(&names),
            registries: self.task.registries.clone(),
            memory: self.memory,
        };
        for index in self.indexes {
            asker.clone().watch(index);
        }
        let databases = self
            .databases
            .gates(
                &authority,
                &upstream,
                (&self.ca, &names),
                &databases::kept(&session.home, &session.id),
            )
            .map_err(io("starting the gates of databases"))?;
        let gate =
            Gate::new(authority.clone(), upstream, self.ca, self.model_hosts).with_logins(logins);
        let gate = gate.with_proxy(Arc::clone(&names));
        self.git_logins.answer_to(authority.clone());
        let gate = gate.with_git_credentials(self.git_logins);
        let gate = match self.history {
            Some(history) => gate.with_history(Arc::new(history)),
            None => gate,
        };
        local_port::serve(
            sockets.loopback,
            &self.task,
            (&gate, &databases),
            authority.record(),
        )?;
        if let Some(questions) = sandbox.questions.take() {
            self.deletions
                .answer(questions, authority.clone(), runtime.handle().clone())
                .map_err(io("watching what is deleted"))?;
        }
        publish::serve(self.published, &sandbox.control(), authority.record())?;
        runtime.spawn(async move {
            let _name_server = name_server;
            while let Some(captured) = listeners.accept().await {
                match databases.at(&captured.destination, captured.port) {
                    Some(gate) => tokio::spawn(async move { gate.serve(captured).await }),
                    None => {
                        let gate = gate.clone();
                        tokio::spawn(async move { gate.serve(captured).await })
                    }
                };
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
            self.notifier,
        ));
        Ok(names)
    }
}

/// The most threads that serve the gates of a session. An agent's traffic seldom keeps one busy, and
/// many sessions share a machine.
const MOST_THREADS: usize = 4;

/// What a short statement needs that is as deep as it is long (`classify_short`); memory is taken as it is
/// touched.
const STACK: usize = 16 << 20;

/// The threads that serve the gates.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(MOST_THREADS))
        .thread_stack_size(STACK)
        .enable_all()
        .build()
}

/// What the operator says about the way to the world.
pub(crate) fn upstream_config(config: &Config) -> UpstreamConfig {
    use base64::Engine as _;
    UpstreamConfig {
        addresses: config
            .addresses()
            .map(|(host, port, address)| ((host.clone(), port), address))
            .collect(),
        ca_files: config.ca_files.clone(),
        proxy: config.upstream_proxy.as_ref().map(|proxy| Proxy {
            host: proxy.host.clone(),
            port: proxy.port,
            authorization: proxy.user_password.as_ref().map(|(user, password)| {
                let pair = Zeroizing::new(format!("{user}:{password}"));
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
                Zeroizing::new(format!("Basic {encoded}"))
            }),
        }),
    }
}

/// Each connection takes up to two descriptors, and the usual soft limit of 1,024 is for programs that
/// call select(2). The sandbox was launched before and keeps the limit that the person has.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum.map(|most| most.min(65_536)).or(Some(65_536)),
        maximum: limit.maximum,
    };
    // With the old limit, connections beyond it wait; nothing breaks.
    let _ = setrlimit(Resource::Nofile, raised);
}
