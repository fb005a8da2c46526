//! The plain specification of a session's sandbox: what the command sees, which environment it has,
//! on which ports the gates listen.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tagout_core::SessionId;
use tagout_credentials::Broker;
use tagout_net::PROXY_PORT;
use tagout_policy::Task;
use tagout_sandbox::{PrivateFolder, Spec, Streams};

use crate::agent_state::Laid;
use crate::databases::Databases;
use crate::login::Agent;
use crate::registries::Learned;
use crate::run::{Options, RunError, io};
use crate::scan::Scan;
use crate::twins::Editable;
use crate::view::Looked;
use crate::workspace::Workspace;
use crate::{
    git_credentials, git_filter, git_identity, keys, local_port, login_shell, nested, remotes,
    stand_ins, trust_stores, variables, view,
};

/// What the sandbox is specified from.
pub(crate) struct SpecSources<'a> {
    pub(crate) options: &'a Options,
    pub(crate) workspace: &'a Workspace,
    pub(crate) task: &'a Task,
    pub(crate) agent: Option<&'a Agent>,
    pub(crate) laid: Option<&'a Laid>,
    pub(crate) broker: &'a Broker,
    pub(crate) scan: &'a Scan,
    pub(crate) looked: &'a Looked,
    pub(crate) editable: &'a Editable,
    pub(crate) bundle: &'a str,
    pub(crate) ca: &'a str,
    pub(crate) learned: &'a Learned,
    pub(crate) databases: &'a Databases,
    pub(crate) git: &'a git_credentials::Found,
    pub(crate) caches: &'a [PrivateFolder],
    pub(crate) journal: PathBuf,
    pub(crate) id: &'a SessionId,
    pub(crate) mediation: &'a Option<tagout_sandbox::Mediation>,
}

pub(crate) fn specify(sources: &SpecSources<'_>) -> Result<Spec, RunError> {
    let (tree, extra_trees) = view::trees(
        sources.workspace,
        sources.looked,
        &sources.scan.twins,
        sources.editable,
    )
    .map_err(io("opening the workspace"))?;
    let home = home_inside();
    let mut set: Vec<(String, String)> = sources.learned.variables.clone();
    set.extend(git_identity::variables(sources.git.settings()));
    let mut passed = sources.task.agent_variables.clone();
    if let Some(agent) = sources.agent {
        set.extend(agent.profile().environment.clone());
        set.extend(agent.variables().iter().cloned());
        passed.extend(agent.profile().pass.iter().cloned());
    }
    for credential in sources.broker.credentials().iter() {
        let grant = sources.task.credential(&credential.name);
        if let Some(name) = grant.and_then(|grant| grant.expose.clone()) {
            set.push((name, credential.decoy.to_string()));
        }
    }
    set.extend(sources.databases.variables());
    let hostname = format!("tagout-{}", sources.id);
    let outside = |name: &str| std::env::var(name).ok();
    let environment = variables::build(&variables::Sources {
        outside: &outside,
        user: &user_inside(),
        home: &home,
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
    let mut ports = BTreeSet::from([80, 443, PROXY_PORT]);
    ports.extend(
        sources
            .task
            .hosts
            .iter()
            .flat_map(|grant| grant.ports.iter().copied()),
    );
    let registries = sources.task.registries.all();
    ports.extend(registries.iter().map(|registry| registry.target.port));
    let endpoints = sources.task.databases.iter();
    ports.extend(endpoints.filter_map(|grant| Some(grant.endpoint.as_ref()?.port)));
    ports.extend(remotes::targets(sources.task).map(|target| target.port));
    let home = PathBuf::from(home);
    let filter = git_filter::Facts::of(&sources.workspace.path, &sources.scan.twins)
        .and_then(|facts| Some((facts, git_filter::Facts::program()?)));
    let filtering = filter.as_ref().map_or_else(String::new, |(_, program)| {
        git_filter::Facts::configuration(program)
    });
    Ok(Spec {
        command: sources.options.command.clone(),
        environment,
        working_directory,
        workspace: tree,
        extra_trees,
        copies: sources
            .laid
            .map_or_else(Vec::new, |laid| laid.copies.clone())
            .into_iter()
            .chain(sources.learned.copies.iter().cloned())
            .chain(stand_ins::files())
            .chain(login_shell::files(&home, &search_path))
            .chain(sources.git.helper())
            .chain(trust_stores::copies(sources.ca, &home))
            .collect(),
        private_folders: sources
            .laid
            .map_or_else(Vec::new, |laid| laid.folders.clone())
            .into_iter()
            .chain(sources.caches.iter().cloned())
            .collect(),
        readable: filter.iter().map(|(_, program)| program.clone()).collect(),
        overlays: view::overlays(&hostname)
            .into_iter()
            .chain(trust_stores::overlays(sources.bundle, sources.ca, &home))
            .chain(sources.learned.overlays.iter().cloned())
            .chain(git_identity::overlay(
                &home.to_string_lossy(),
                &(remotes::rewriting(sources.task) + &sources.git.configuration() + &filtering),
                &sources.workspace.path,
            ))
            .chain(filter.iter().flat_map(|(facts, _)| facts.overlays()))
            .chain([nested::mark(sources.id)])
            .collect(),
        home,
        search_path,
        ports: ports.into_iter().collect(),
        loopback_ports: local_port::ports(sources.task),
        hostname,
        umask: keys::umask(),
        streams: Streams::of_this_process(),
        placeholder_journal: Some(sources.journal.clone()),
        mediation: sources.mediation.clone(),
        stage_executable: None,
    })
}

/// The home folder inside: the same path as outside.
pub(crate) fn home_inside() -> String {
    std::env::var("HOME")
        .ok()
        .filter(|home| home.starts_with('/') && home.len() > 1)
        .unwrap_or_else(|| "/home/agent".to_owned())
}

/// The account's name inside. Who is root outside is an ordinary user inside.
fn user_inside() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| user != "root" && !user.is_empty())
        .unwrap_or_else(|| "agent".to_owned())
}
