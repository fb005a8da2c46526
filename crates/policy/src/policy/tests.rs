//! What the tests of the policy share: a question that is granted and harmless until a test changes
//! it.

mod matrix;
mod properties;
mod user_file;

use std::sync::LazyLock;

use tagout_core::{
    CanonicalPath, Effect, EnvironmentName, Fault, FaultKind, Flag, Flags, HostName, Method,
    Operation, OperationName, ResourceId, Scope, SessionId, Target, Transport,
};

use super::*;

/// Everything that a question borrows, granted and harmless until a test changes it.
#[derive(Clone, Debug)]
struct Case {
    session: SessionId,
    target: Target,
    method: Method,
    path: CanonicalPath,
    operation: Operation,
    faults: Vec<Fault>,
    granted: bool,
    operation_granted: bool,
    has_pack: bool,
    credential: Option<String>,
    resources: Vec<ResourceId>,
    unresolved: Option<String>,
    environment: Option<EnvironmentName>,
    protected: bool,
    disposable: bool,
    task_environment: EnvironmentName,
    in_task_environment: bool,
    in_credential_environments: bool,
    manifest_has_protected: bool,
    only_task_resources: bool,
    fields_withheld: bool,
    two_approvers_enrolled: bool,
}

fn staging() -> EnvironmentName {
    EnvironmentName::parse("staging").unwrap()
}

impl Case {
    /// A read of a staging volume with the credential that was given for it.
    fn new(effect: Effect, scope: Scope) -> Self {
        let volume: ResourceId = "railway:volume/v-1".parse().unwrap();
        Self {
            session: "s-0123456789".parse().unwrap(),
            target: Target {
                transport: Transport::Tls,
                host: HostName::parse("backboard.railway.com").unwrap(),
                port: 443,
            },
            method: Method::parse("POST").unwrap(),
            path: CanonicalPath::parse("/graphql/v2").unwrap(),
            operation: Operation {
                name: OperationName::parse("railway.volumeThing").unwrap(),
                known: true,
                effect,
                flags: Flags::NONE,
                scope,
                resources: vec![volume.clone()],
                unresolved: None,
                arguments: serde_json::Value::Null,
            },
            faults: Vec::new(),
            granted: true,
            operation_granted: true,
            has_pack: true,
            credential: Some("railway".to_owned()),
            resources: vec![volume],
            unresolved: None,
            environment: Some(staging()),
            protected: false,
            disposable: false,
            task_environment: staging(),
            in_task_environment: true,
            in_credential_environments: true,
            manifest_has_protected: false,
            only_task_resources: true,
            fields_withheld: false,
            two_approvers_enrolled: false,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn flagged(self, flag: Flag) -> Self {
        self.with(|case| case.operation.flags = case.operation.flags.with(flag))
    }

    fn question(&self) -> Question<'_> {
        Question {
            session: &self.session,
            channel: "http",
            target: &self.target,
            method: &self.method,
            path: &self.path,
            operation: &self.operation,
            faults: &self.faults,
            granted: self.granted,
            operation_granted: self.operation_granted,
            has_pack: self.has_pack,
            credential: self.credential.as_deref(),
            resources: &self.resources,
            unresolved: self.unresolved.as_deref(),
            environment: self.environment.as_ref(),
            protected: self.protected,
            disposable: self.disposable,
            task_environment: &self.task_environment,
            in_task_environment: self.in_task_environment,
            in_credential_environments: self.in_credential_environments,
            manifest_has_protected: self.manifest_has_protected,
            only_task_resources: self.only_task_resources,
            fields_withheld: self.fields_withheld,
            two_approvers_enrolled: self.two_approvers_enrolled,
        }
    }

    fn decide(&self, policy: &Policy) -> Decision {
        policy.decide(&self.question(), false)
    }
}

/// What loading does to a user's file, without reading ours anew.
fn read_only(text: &str) -> Result<(), FileErrors> {
    static OURS: LazyLock<Policy> = LazyLock::new(base);
    let rules = policy_file::read(USER_FILE, text, &HashSet::new())?;
    policy_file::validate(
        USER_FILE,
        text,
        &rules,
        OURS.compiled().as_ref().unwrap().evaluator.schema(),
    )
}

fn base() -> Policy {
    Policy::load(None).unwrap()
}

/// `allow`, `ask 1 id id`, `deny id id`.
fn summary(decision: &Decision) -> String {
    match decision {
        Decision::Allow => "allow".to_owned(),
        Decision::Ask {
            policies,
            approvers,
            ..
        } => {
            format!("ask {approvers} {}", policies.join(" "))
        }
        Decision::Deny { policies, .. } => format!("deny {}", policies.join(" ")),
    }
}

/// A policy of the user's, on its own line behind the head it needs.
fn user(text: &str) -> Policy {
    Policy::load(Some(text)).unwrap_or_else(|errors| panic!("{errors}"))
}

const APPROVED: &str = "unless { context has approval && context.approval.valid };";
