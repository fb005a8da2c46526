//! What the authority asks: one [`Question`] for each operation of an action, one [`Connection`]
//! before a name is resolved and dialled. Plain data; whoever fills it in has resolved environments
//! and compared them with the task already.

use tagout_core::{
    CanonicalPath, EnvironmentName, Fault, Method, Operation, ResourceId, SessionId, Target,
};

/// May this operation happen?
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The session that asks.
    pub session: &'a SessionId,
    /// The gate that captured the action: `http`.
    pub channel: &'a str,
    /// Where the request goes.
    pub target: &'a Target,
    /// The request's method.
    pub method: &'a Method,
    /// The request's path.
    pub path: &'a CanonicalPath,
    /// What would be done.
    pub operation: &'a Operation,
    /// What went wrong before anyone could decide.
    pub faults: &'a [Fault],
    /// Whether host, port, method and path are granted ([`crate::Task::grants_request`]).
    pub granted: bool,
    /// Whether a grant covers the operation ([`crate::Task::grants_operation`]).
    pub operation_granted: bool,
    /// Whether the host has a pack.
    pub has_pack: bool,
    /// The credential that would be attached, by its name in the manifest.
    pub credential: Option<&'a str>,
    /// What the operation acts on, after resolving.
    pub resources: &'a [ResourceId],
    /// Why something of it stayed unresolved. The operation's own `unresolved` counts as well.
    pub unresolved: Option<&'a str>,
    /// The environment it acts in, the most protected one where it spans several. `None` means, for
    /// scope `resources`, that it is unresolved: then it counts as production, protected and never
    /// disposable. For other scopes it means that no environment is spoken of.
    pub environment: Option<&'a EnvironmentName>,
    /// Whether that environment is protected.
    pub protected: bool,
    /// Whether that environment is disposable.
    pub disposable: bool,
    /// The task's own environment, for the texts.
    pub task_environment: &'a EnvironmentName,
    /// Whether everything it acts on is in the task's environment.
    pub in_task_environment: bool,
    /// Whether everything it acts on is in an environment that its credential lists.
    pub in_credential_environments: bool,
    /// Whether the manifest has a protected environment.
    pub manifest_has_protected: bool,
    /// Whether it names no resource, or only resources of the task's environment.
    pub only_task_resources: bool,
    /// Whether the secret fields of the answer are withheld, so that reading them gives no real
    /// secret.
    pub fields_withheld: bool,
    /// Whether two approvers are enrolled.
    pub two_approvers_enrolled: bool,
}

/// May this name be resolved and dialled?
#[derive(Clone, Debug)]
pub struct Connection<'a> {
    /// The session that asks.
    pub session: &'a SessionId,
    /// Where to.
    pub target: &'a Target,
    /// What went wrong before anyone could decide.
    pub faults: &'a [Fault],
    /// Whether host and port are granted ([`crate::Task::grants_connection`]).
    pub granted: bool,
    /// The environment that the host is pinned to ([`crate::Task::environment_of_host`]).
    pub environment: Option<&'a EnvironmentName>,
}
