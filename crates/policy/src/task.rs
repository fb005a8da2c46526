//! The task: what a session is for and what it was given. Read from a manifest, or the plain one of
//! a session without; then changed only by the operator's own command line, before the session
//! starts. The questions that an authority has about grants and environments are answered here.

use tagout_core::{
    CanonicalPath, CredentialUse, DatabaseSystem, Effect, EnvironmentName, Flag, HostName,
    HostPattern, Method, Operation, ResourceId, Scope, Target, Transport,
};

use crate::path_pattern::PathPattern;
use crate::pin::Pin;
use crate::registry::Registries;
use crate::remote::Remote;

/// The port that a host is granted on where its entry names none.
pub(crate) const DEFAULT_PORT: u16 = 443;

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Shown on screen and in the ledger.
    pub name: String,
    /// Where the task may change things.
    pub environment: EnvironmentName,
    /// What the manifest says of environments. The task's own need not be among them.
    pub environments: Vec<Environment>,
    /// Credentials, each for operations in environments.
    pub credentials: Vec<CredentialGrant>,
    /// Databases, each in an environment.
    pub databases: Vec<DatabaseGrant>,
    /// Hosts, with methods and paths.
    pub hosts: Vec<HostGrant>,
    /// Where the operator's package managers read packages.
    pub registries: Registries,
    /// Git repositories that the workspace names as its remotes.
    pub remotes: Vec<Remote>,
    /// Ports of this machine's own loopback that are let in.
    pub local_ports: Vec<LocalPort>,
    /// Globs of what is absent inside, below the workspace.
    pub hidden: Vec<String>,
    /// Globs of what cannot be changed inside, below the workspace.
    pub read_only: Vec<String>,
    /// Folders whose contents may be written at native speed and cannot be undone.
    pub bulk: Vec<String>,
    /// The agent profile, `auto` unless the manifest names one.
    pub agent_profile: String,
    /// Variables of the operator's environment that the agent may see.
    pub agent_variables: Vec<String>,
}

/// What the manifest says of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Two approvers where two are enrolled, and no account-wide writes anywhere in the session.
    pub protected: bool,
    /// Destructive operations need no approval here.
    pub disposable: bool,
    /// What belongs to it.
    pub pins: Vec<Pin>,
}

/// A credential, and what it may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialGrant {
    /// Its name in the manifest.
    pub name: String,
    /// A provider pack, or `http`.
    pub provider: String,
    /// Where its value comes from: `env:VAR`, `file:PATH[#key]`, `vault:NAME`, `command:ARGV`.
    pub source: String,
    /// The variable that holds the decoy inside.
    pub expose: Option<String>,
    /// Where it may go: the pack's hosts, or those that an `http` credential lists.
    pub hosts: Vec<HostPattern>,
    /// The header field (lower case) that carries an `http` credential. A pack knows its own slots.
    pub slot: Option<String>,
    /// What it may be used for.
    pub operations: Vec<OperationGrant>,
    /// Where it may be used.
    pub environments: Vec<EnvironmentName>,
    /// Whether the manifest lists no environments, so that they are the task's own.
    pub follows_task_environment: bool,
    /// Its line in the manifest.
    pub line: usize,
}

/// Operations that a credential may be used for. Listing one never waives a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationGrant {
    /// Every operation that changes nothing and reads no secret.
    Read,
    /// Every operation whose effect is `write` and that neither reads secrets nor mints credentials.
    Write,
    /// One operation, by its name without the provider: `customDomainCreate`.
    Named(String),
}

/// A database that may be reached, with the role of its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseGrant {
    /// Its name in the manifest.
    pub name: String,
    /// Where its URL comes from, as a credential's [`source`](CredentialGrant::source).
    pub source: String,
    /// The environment that it is of, where no pin says otherwise.
    pub environment: EnvironmentName,
    /// Whether the manifest names no environment, so that it is the task's own.
    pub follows_task_environment: bool,
    /// Where it is; known once a session has read the URL.
    pub endpoint: Option<Endpoint>,
    /// Its line in the manifest.
    pub line: usize,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it speaks.
    pub system: DatabaseSystem,
    /// The host as its URL names it: what pins are compared with.
    pub outside: String,
    /// The name by which programs inside reach it.
    pub inside: HostName,
    /// The TCP port, the same inside and outside.
    pub port: u16,
    /// The database on that server.
    pub database: String,
}

impl Endpoint {
    /// Whether a connection to `target` is one to this server.
    pub fn reaches(&self, target: &Target) -> bool {
        self.inside == target.host && self.port == target.port
    }
}

/// A host that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGrant {
    /// The host, or every host below a suffix.
    pub pattern: HostPattern,
    /// On which ports.
    pub ports: Vec<u16>,
    /// With which methods.
    pub methods: Methods,
    /// On which paths.
    pub paths: Vec<PathPattern>,
    /// Whether TLS is opened and requests are read.
    pub inspect: bool,
    /// Whether it comes from `--allow-host` and not from the manifest.
    pub allow_host: bool,
    /// Its line in the manifest.
    pub line: Option<usize>,
}

/// A port of the machine's own loopback that the inside reaches under `localhost`, unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPort {
    /// The same number inside and outside.
    pub port: u16,
    /// Its line in the manifest.
    pub line: usize,
}

/// Methods of a host grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Every method.
    All,
    /// These.
    These(Vec<Method>),
}

/// Why `--allow-host` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowHostError {
    /// Not `HOST` or `HOST:PORT`.
    #[error("--allow-host takes HOST or HOST:PORT: {0}")]
    NotAHost(String),
    /// The manifest passes this host through unread, and `--allow-host` promises to inspect.
    #[error(
        "--allow-host would inspect a host that the manifest grants with inspect = false (line {0}); \
         remove one of the two"
    )]
    PassedThrough(usize),
}

/// Why `--environment` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest names no environment `{name}`; it names {known}")]
pub struct EnvironmentError {
    name: String,
    known: String,
}

impl Task {
    /// The task of a session without a manifest: environment `development`, nothing granted.
    pub fn without_manifest() -> Self {
        Self {
            name: "no manifest".to_owned(),
            environment: EnvironmentName::development(),
            environments: Vec::new(),
            credentials: Vec::new(),
            databases: Vec::new(),
            hosts: Vec::new(),
            registries: Registries::default(),
            remotes: Vec::new(),
            local_ports: Vec::new(),
            hidden: Vec::new(),
            read_only: Vec::new(),
            bulk: Vec::new(),
            agent_profile: "auto".to_owned(),
            agent_variables: Vec::new(),
        }
    }

    /// `--environment NAME`: works in another environment that the manifest names. Credentials that
    /// list no environments follow.
    ///
    /// # Errors
    /// When the manifest does not name it.
    pub fn choose_environment(&mut self, name: &EnvironmentName) -> Result<(), EnvironmentError> {
        let named = *name == self.environment || self.environment_named(name).is_some();
        if !named {
            let mut known = vec![self.environment.to_string()];
            known.extend(self.environments.iter().map(|entry| entry.name.to_string()));
            known.dedup();
            return Err(EnvironmentError {
                name: name.to_string(),
                known: known.join(", "),
            });
        }
        self.environment = name.clone();
        for credential in &mut self.credentials {
            if credential.follows_task_environment {
                credential.environments = vec![name.clone()];
            }
        }
        for database in &mut self.databases {
            if database.follows_task_environment {
                database.environment = name.clone();
            }
        }
        Ok(())
    }

    /// `--allow-host HOST[:PORT]`: all methods and paths of one host, inspected. Binds no
    /// credential. The port is 443 unless given.
    ///
    /// # Errors
    /// When the text is no host, or the manifest passes that host through unread.
    pub fn allow_host(&mut self, text: &str) -> Result<(), AllowHostError> {
        let not_a_host =
            |error: &dyn std::fmt::Display| AllowHostError::NotAHost(error.to_string());
        if text.contains('/') {
            return Err(not_a_host(&"without `https://` and without a path"));
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, DEFAULT_PORT),
            Some((host, digits)) => {
                let port = digits.parse().ok().filter(|port| *port != 0);
                let port = port.ok_or_else(|| not_a_host(&"a port is a number from 1 to 65535"))?;
                (host, port)
            }
        };
        if host.eq_ignore_ascii_case("localhost") {
            return Err(not_a_host(
                &"localhost inside is the command's own; write `[[host]] local = PORT` in tagout.toml",
            ));
        }
        let pattern = HostPattern::parse(host).map_err(|error| not_a_host(&error))?;
        let unread = self.hosts.iter().find(|grant| {
            !grant.inspect && grant.ports.contains(&port) && grant.pattern.overlaps(&pattern)
        });
        if let Some(grant) = unread {
            return Err(AllowHostError::PassedThrough(grant.line.unwrap_or(0)));
        }
        self.hosts.push(HostGrant {
            pattern,
            ports: vec![port],
            methods: Methods::All,
            paths: vec![PathPattern::everything()],
            inspect: true,
            allow_host: true,
            line: None,
        });
        Ok(())
    }

    /// What the manifest says of `name`.
    pub fn environment_named(&self, name: &EnvironmentName) -> Option<&Environment> {
        self.environments.iter().find(|entry| entry.name == *name)
    }

    /// Whether `environment` is protected. What is unresolved is.
    pub fn is_protected(&self, environment: Option<&EnvironmentName>) -> bool {
        environment.is_none_or(|name| {
            self.environment_named(name)
                .is_some_and(|entry| entry.protected)
        })
    }

    /// Whether `environment` is disposable. What is unresolved is not.
    pub fn is_disposable(&self, environment: Option<&EnvironmentName>) -> bool {
        environment
            .and_then(|name| self.environment_named(name))
            .is_some_and(|entry| entry.disposable)
    }

    /// Whether the manifest has a protected environment.
    pub fn has_protected_environment(&self) -> bool {
        self.environments.iter().any(|entry| entry.protected)
    }

    /// The environment that `resource` itself is pinned to.
    pub fn environment_of_resource(&self, resource: &ResourceId) -> Option<&EnvironmentName> {
        let is_pin = |pin: &Pin| matches!(pin, Pin::Resource(pinned) if pinned == resource);
        let entry = self
            .environments
            .iter()
            .find(|entry| entry.pins.iter().any(is_pin));
        entry.map(|entry| &entry.name)
    }

    /// The environment that `host` is pinned to: the most protected one where pins of several match.
    pub fn environment_of_host(&self, host: &HostName) -> Option<&EnvironmentName> {
        let is_pin = |pin: &Pin| matches!(pin, Pin::Host(pattern) if pattern.matches(host));
        let entries = self
            .environments
            .iter()
            .filter(|entry| entry.pins.iter().any(is_pin));
        entries
            .max_by_key(|entry| entry.strictness())
            .map(|entry| &entry.name)
    }

    /// Whether a connection to `host` on `port` may be made at all. What is asked on it is judged
    /// request by request.
    pub fn grants_connection(&self, host: &HostName, port: u16) -> bool {
        self.hosts.iter().any(|grant| grant.reaches(host, port))
            || self.registries.reaches(host, port)
            || self.remotes.iter().any(|remote| remote.reaches(host, port))
            || self.credentials_at(host, port).next().is_some()
            || self.databases_at(host, port).next().is_some()
    }

    /// The databases that are reached at `host` and `port` from inside.
    pub fn databases_at(&self, host: &HostName, port: u16) -> impl Iterator<Item = &DatabaseGrant> {
        self.databases.iter().filter(move |grant| {
            grant
                .endpoint
                .as_ref()
                .is_some_and(|endpoint| endpoint.inside == *host && endpoint.port == port)
        })
    }

    /// The database of that name.
    pub fn database(&self, name: &str) -> Option<&DatabaseGrant> {
        self.databases.iter().find(|grant| grant.name == name)
    }

    /// The environments that a database is in: those that pins say, else the one that its entry names.
    pub fn environments_of_database<'t>(
        &'t self,
        grant: &'t DatabaseGrant,
    ) -> Vec<&'t EnvironmentName> {
        let is_pin = |pin: &Pin| match (pin, &grant.endpoint) {
            (Pin::Database(pin), Some(endpoint)) => pin.matches(endpoint),
            (Pin::Host(pattern), Some(endpoint)) => {
                HostName::parse(&endpoint.outside).is_ok_and(|host| pattern.matches(&host))
            }
            _ => false,
        };
        let pinned: Vec<_> = self
            .environments
            .iter()
            .filter(|entry| entry.pins.iter().any(is_pin))
            .map(|entry| &entry.name)
            .collect();
        match pinned.is_empty() {
            true => vec![&grant.environment],
            false => pinned,
        }
    }

    /// Whether requests to `host` on `port` are read. True unless the manifest says
    /// `inspect = false`.
    pub fn inspects(&self, host: &HostName, port: u16) -> bool {
        !self
            .hosts
            .iter()
            .any(|grant| grant.reaches(host, port) && !grant.inspect)
    }

    /// The host grant that covers a request, on every reading of its path.
    pub fn host_grant(
        &self,
        target: &Target,
        method: &Method,
        path: &CanonicalPath,
    ) -> Option<&HostGrant> {
        self.hosts
            .iter()
            .find(|grant| grant.covers(target, method, path))
    }

    /// The workspace's remote that a request is for.
    pub fn remote(
        &self,
        target: &Target,
        method: &Method,
        path: &CanonicalPath,
    ) -> Option<&Remote> {
        self.remotes
            .iter()
            .find(|remote| remote.covers(target, method, path))
    }

    /// Whether host, port, method and path are granted. Host entries decide for the hosts they
    /// name; elsewhere a credential's hosts are granted by the credential, whose operations then
    /// decide ([`Task::grants_operation`]).
    pub fn grants_request(&self, target: &Target, method: &Method, path: &CanonicalPath) -> bool {
        if self.host_grant(target, method, path).is_some()
            || self.registries.cover(target, method, path)
            || self.remote(target, method, path).is_some()
        {
            return true;
        }
        let named = self
            .hosts
            .iter()
            .any(|grant| grant.reaches(&target.host, target.port));
        // A registry's credential grants no more of its host than the registry.
        !named
            && self
                .credentials_for(target)
                .any(|grant| !self.registries.own_credential(&grant.name))
    }

    /// Whether a grant covers `operation`: every credential that the request uses, or where it uses
    /// none, one of those for this host. A host grant covers plain HTTP methods, never a provider's
    /// operations.
    pub fn grants_operation(
        &self,
        operation: &Operation,
        target: &Target,
        method: &Method,
        path: &CanonicalPath,
        credentials: &[CredentialUse],
    ) -> bool {
        if !credentials.is_empty() {
            // What a repository's own credential is for is git, in that repository.
            let of_remote = |name: &str| {
                self.remote(target, method, path)
                    .is_some_and(|remote| remote.credential.as_deref() == Some(name))
                    && operation.name.as_str().starts_with("git.")
            };
            return credentials.iter().all(|used| {
                of_remote(&used.name)
                    || self
                        .credentials_for(target)
                        .any(|grant| grant.name == used.name && grant.covers(operation))
            });
        }
        let by_host = operation.scope == Scope::None
            && (self.host_grant(target, method, path).is_some()
                || self.registries.cover(target, method, path)
                || self.remote(target, method, path).is_some());
        by_host
            || self
                .credentials_for(target)
                .any(|grant| grant.covers(operation))
    }

    /// The credential of that name.
    pub fn credential(&self, name: &str) -> Option<&CredentialGrant> {
        self.credentials.iter().find(|grant| grant.name == name)
    }

    /// The credentials that may go to `target`: over TLS, to hosts whose traffic is read.
    pub fn credentials_for(&self, target: &Target) -> impl Iterator<Item = &CredentialGrant> {
        let tls = target.transport == Transport::Tls;
        self.credentials_at(&target.host, target.port)
            .filter(move |_| tls)
    }

    fn credentials_at(&self, host: &HostName, port: u16) -> impl Iterator<Item = &CredentialGrant> {
        // A host entry may move a credential's host to another port; without one it is 443.
        let entry = self
            .hosts
            .iter()
            .any(|grant| grant.reaches(host, port) && !grant.allow_host);
        let inspected = self.inspects(host, port);
        let registry = inspected && self.registries.reaches(host, port);
        let reachable = (entry || port == DEFAULT_PORT) && inspected;
        self.credentials.iter().filter(move |grant| {
            (reachable || (registry && self.registries.own_credential(&grant.name)))
                && grant.hosts.iter().any(|pattern| pattern.matches(host))
        })
    }
}

impl Environment {
    /// Orders environments by how much care they ask for.
    pub(crate) fn strictness(&self) -> u8 {
        match (self.protected, self.disposable) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        }
    }
}

impl CredentialGrant {
    /// Whether one of its operation grants covers `operation`.
    pub fn covers(&self, operation: &Operation) -> bool {
        self.operations.iter().any(|grant| grant.covers(operation))
    }

    /// Whether it may be used in `environment`.
    pub fn lists(&self, environment: &EnvironmentName) -> bool {
        self.environments.contains(environment)
    }
}

impl OperationGrant {
    /// Whether `operation` is among what this grants. Reading secrets and minting credentials are
    /// granted by name only.
    pub fn covers(&self, operation: &Operation) -> bool {
        let sensitive = operation.flags.contains(Flag::SecretRead)
            || operation.flags.contains(Flag::CredentialMint);
        match self {
            Self::Read => operation.effect == Effect::Read && !sensitive,
            Self::Write => operation.effect == Effect::Write && !sensitive,
            Self::Named(name) => operation.name.without_prefix() == name,
        }
    }
}

impl std::fmt::Display for OperationGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Named(name) => name,
        })
    }
}

impl HostGrant {
    /// Whether the grant is for `host` on `port`, whatever is asked there.
    pub fn reaches(&self, host: &HostName, port: u16) -> bool {
        self.ports.contains(&port) && self.pattern.matches(host)
    }

    /// Whether the grant covers a request.
    pub fn covers(&self, target: &Target, method: &Method, path: &CanonicalPath) -> bool {
        self.reaches(&target.host, target.port)
            && self.methods.contain(method)
            && self.paths.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether some request is covered by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.pattern.overlaps(&other.pattern)
            && self.ports.iter().any(|port| other.ports.contains(port))
            && self.methods.overlap(&other.methods)
            && self
                .paths
                .iter()
                .any(|path| other.paths.iter().any(|theirs| path.overlaps(theirs)))
    }
}

impl Methods {
    /// GET, HEAD and OPTIONS: what a host is granted where its entry names no methods.
    pub fn reading() -> Self {
        let parse = |text| Method::parse(text).ok();
        Self::These(
            ["GET", "HEAD", "OPTIONS"]
                .into_iter()
                .filter_map(parse)
                .collect(),
        )
    }

    /// Whether `method` is among them.
    pub fn contain(&self, method: &Method) -> bool {
        match self {
            Self::All => true,
            Self::These(methods) => methods.contains(method),
        }
    }

    fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => true,
            (Self::These(ours), theirs) => ours.iter().any(|method| theirs.contain(method)),
        }
    }
}
