//! The decision itself, top to bottom: locate, ask the policy, hold if it must be, record, permit.
//! `judge` is meant to be read aloud.

use std::future::Future;
use std::pin::Pin;

use serde_json::json;
use tagout_core::json::Json;
use tagout_core::{
    Action, AnyRequest, CanonicalPath, Digest, Effect, Fault, FaultKind, Flag, Flags, HoldId,
    Method, Operation, OperationName, Refusal, RefusalKind, Request, ResourceId, Scope, Target,
};
use tagout_policy::{Connection, Decision, Question};
use tagout_store::HoldRecord;

use crate::entries::entry;
use crate::environment::Freshness;
use crate::holds::{Answered, Held};
use crate::permit::{Admission, Permit};
use crate::standing::Standing;
use crate::{Authority, shown};

/// Who is at hand while an action waits for a person.
pub trait OnHold: Send + Sync {
    /// What is known about what it would destroy, for the person; beside what a provider's pack says.
    /// Called before the hold is opened, and only for one.
    fn preview(&self) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>>;

    /// It waits as this hold from now on.
    fn held(&self, hold: &HoldId);
}

/// Nobody.
struct Unseen;

impl OnHold for Unseen {
    fn preview(&self) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn held(&self, _: &HoldId) {}
}

/// Who let a held action through.
struct Approval {
    hold: HoldId,
    approvers: Vec<String>,
}

/// What of a request the grants of the task are compared with.
struct Asked {
    method: Method,
    path: CanonicalPath,
    granted: bool,
    operation_granted: bool,
    has_pack: bool,
}

impl Asked {
    fn of(authority: &Authority, action: &Action<AnyRequest>, operation: &Operation) -> Self {
        let task = &authority.inner.task;
        match action.request() {
            AnyRequest::Http(request) => {
                let (target, path) = (&request.target, &request.path);
                let method = effective_method(operation, &request.method);
                let uses = action.credentials();
                Self {
                    granted: task.grants_request(target, &request.method, path)
                        && task.grants_request(target, &method, path),
                    operation_granted: task
                        .grants_operation(operation, target, &method, path, uses),
                    has_pack: tagout_catalog::pack_for_host(&target.host).is_some(),
                    method,
                    path: path.clone(),
                }
            }
            // The workspace is the agent's to change; how much of it may go at once is what is decided.
            AnyRequest::Files(_) => Self {
                method: Method::delete_files(),
                path: CanonicalPath::root(),
                granted: true,
                operation_granted: true,
                has_pack: true,
            },
            // A database is granted as a whole; what its statements do is what is decided.
            AnyRequest::Database(request) => {
                let granted = task
                    .databases_at(&request.target.host, request.target.port)
                    .any(|grant| {
                        action
                            .credentials()
                            .iter()
                            .any(|used| used.name == grant.name)
                    });
                Self {
                    method: Method::statement(),
                    path: CanonicalPath::parse(&format!("/{}", request.database))
                        .unwrap_or_else(|_| CanonicalPath::root()),
                    granted,
                    operation_granted: granted,
                    has_pack: true,
                }
            }
        }
    }
}

/// An action after everything about it was found out.
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    /// The operation that decided.
    pub(crate) operation: Operation,
    pub(crate) resources: Vec<ResourceId>,
    /// The environment that decided, as it is shown and digested.
    pub(crate) environment: Option<String>,
    pub(crate) preview: Vec<String>,
    pub(crate) digest: Digest,
    /// How many different approvers it takes, whoever has approved already.
    pub(crate) approvers: u8,
}

impl Authority {
    /// The connection verdict: may this name be resolved and dialled? Durable before anyone does.
    ///
    /// # Errors
    /// The refusal, recorded.
    pub async fn admit(&self, target: &Target) -> Result<Admission, Refusal> {
        let inner = &*self.inner;
        let environment = inner.task.environment_of_host(&target.host);
        // A value can be told in a name that is looked up as well as in a request.
        let host = inner.broker.redact_text(target.host.as_str());
        let faults: Vec<_> = (host != target.host.as_str())
            .then(|| Fault {
                kind: FaultKind::KnownSecret,
                reason: "The host's name holds a secret's value.".to_owned(),
                how_to_proceed: "Leave the value out of the name.".to_owned(),
            })
            .into_iter()
            .collect();
        let decision = inner.policy.decide_connection(&Connection {
            session: &inner.session,
            target,
            faults: &faults,
            granted: inner.task.grants_connection(&target.host, target.port),
            environment,
        });
        let inspect = inner.task.inspects(&target.host, target.port);
        let (verdict, refusal) = match decision {
            Decision::Allow => ("allow", None),
            // Nobody can be asked about a connection before its request is known.
            Decision::Ask { reason, .. } => (
                "deny",
                Some(Refusal::denied(
                    reason,
                    "Ask your user to grant this host in tagout.toml.",
                )),
            ),
            Decision::Deny {
                reason,
                how_to_proceed,
                ..
            } => ("deny", Some(Refusal::denied(reason, how_to_proceed))),
        };
        let fields = json!({
            "host": host,
            "port": target.port,
            "transport": target.transport,
            "inspected": inspect,
            "verdict": verdict,
            "reason": refusal.as_ref().map(|refusal| refusal.reason.clone()),
            "how_to_proceed": refusal.as_ref().map(|refusal| refusal.how_to_proceed.clone()),
        });
        let sequence = inner
            .record
            .append("connection", fields)
            .await
            .map_err(|error| unrecorded(&error))?;
        match refusal {
            None => Ok(Admission::new(target.clone(), inspect, sequence)),
            Some(refusal) => Err(refusal),
        }
    }

    /// May this action happen? Waits while it is held, as long as the session's hold-wait.
    ///
    /// # Errors
    /// The refusal, recorded. A held action's refusal names the hold; the same request sent again
    /// joins it.
    pub async fn judge<R: Request>(&self, action: Action<R>) -> Result<Permit<R>, Refusal> {
        self.judge_seen(action, &Unseen).await
    }

    /// As [`Authority::judge`], with somebody who says what a held action would destroy and is told that
    /// it waits.
    ///
    /// # Errors
    /// As [`Authority::judge`].
    pub async fn judge_seen<R: Request>(
        &self,
        action: Action<R>,
        seen: &dyn OnHold,
    ) -> Result<Permit<R>, Refusal> {
        let action = action.widen();
        let judged = self.evaluate(&action, Freshness::Cached, false).await;
        let permit = match &judged.decision {
            Decision::Allow => self.let_through(action, &judged).await,
            Decision::Ask { .. } => self.hold(action, judged, seen).await,
            Decision::Deny { .. } => Err(self.refuse(&action, &judged).await),
        }?;
        permit.narrow().ok_or_else(|| {
            Refusal::denied(
                "what was approved came by another gate.",
                "Send the request again; it will be held anew.",
            )
        })
    }

    /// Finds out where every operation acts and asks the policy about each. The strictest answer is
    /// the action's.
    async fn evaluate(
        &self,
        action: &Action<AnyRequest>,
        freshness: Freshness,
        approved: bool,
    ) -> Judged {
        let inner = &*self.inner;
        let unrecognised = [not_recognised(action)];
        let operations = match action.operations() {
            [] => &unrecognised[..],
            operations => operations,
        };
        let mut strictest: Option<(Decision, &Operation, Option<String>)> = None;
        let mut resources = Vec::new();
        let mut environments = Vec::new();
        let mut preview = Vec::new();
        let mut approvers = 0;
        for operation in operations {
            let freshness = match operation.effect {
                Effect::Destructive | Effect::Irreversible => Freshness::Anew,
                Effect::Read | Effect::Write => freshness,
            };
            let place = self.place(action, operation, freshness).await;
            let asked = Asked::of(self, action, operation);
            let target = action.request().target();
            let question = Question {
                session: &inner.session,
                channel: action.channel(),
                target,
                method: &asked.method,
                path: &asked.path,
                operation,
                faults: action.faults(),
                granted: asked.granted,
                operation_granted: asked.operation_granted,
                has_pack: asked.has_pack,
                credential: action.credentials().first().map(|used| used.name.as_str()),
                resources: &place.resources,
                unresolved: place.unresolved.as_deref(),
                environment: place.environment.as_ref(),
                protected: place.protected,
                disposable: place.disposable,
                task_environment: &inner.task.environment,
                in_task_environment: place.in_task_environment,
                in_credential_environments: place.in_credential_environments,
                manifest_has_protected: inner.task.has_protected_environment(),
                only_task_resources: place.only_task_resources,
                fields_withheld: false,
                two_approvers_enrolled: inner.two_approvers_enrolled,
            };
            let unapproved = inner.policy.decide(&question, false);
            let unapproved = inner.pushes.tighten(operation, unapproved);
            if let Decision::Ask {
                approvers: asked, ..
            } = &unapproved
            {
                approvers = approvers.max(*asked);
            }
            let decision = match approved {
                true => inner.policy.decide(&question, true),
                false => unapproved,
            };
            let environment = place.shown();
            environments.extend(environment.clone());
            preview.extend(tagout_catalog::preview(operation, &place.resolved));
            resources.extend(place.resources);
            let stricter = strictest
                .as_ref()
                .is_none_or(|(other, ..)| decision.strictness() > other.strictness());
            if stricter {
                strictest = Some((decision, operation, environment));
            }
        }
        resources.sort();
        resources.dedup();
        environments.sort();
        environments.dedup();
        // `operations` is never empty, so there is a strictest one; if there were not, deny.
        let (decision, operation, environment) = strictest.unwrap_or((
            Decision::Deny {
                policies: Vec::new(),
                reason: "nothing was recognised.".to_owned(),
                how_to_proceed: "Send a request that does one named thing.".to_owned(),
            },
            &unrecognised[0],
            None,
        ));
        let digest = action.digest(
            &inner.session,
            inner.policy.digest(),
            &resources,
            &environments.join(" and "),
        );
        Judged {
            decision,
            operation: operation.clone(),
            resources,
            environment,
            preview,
            digest,
            approvers,
        }
    }

    /// Holds the action until a person has answered, or the agent has to come back.
    async fn hold(
        &self,
        action: Action<AnyRequest>,
        mut judged: Judged,
        seen: &dyn OnHold,
    ) -> Result<Permit<AnyRequest>, Refusal> {
        let inner = &*self.inner;
        judged.preview.extend(seen.preview().await);
        let approvers = judged.approvers;
        let (reason, policies) = match &judged.decision {
            Decision::Ask {
                reason, policies, ..
            } => (reason.clone(), policies.clone()),
            Decision::Allow | Decision::Deny { .. } => {
                return Err(self.refuse(&action, &judged).await);
            }
        };
        let environment = judged.environment.clone().unwrap_or_default();
        let text = shown::text(&shown::Facts {
            session: &inner.session,
            task: &inner.task.name,
            action: &action,
            operation: &judged.operation,
            environment: &environment,
            preview: &judged.preview,
            reason: &reason,
            approvers,
            digest: judged.digest,
        });
        let summary = summary(&judged);
        let mut fields = entry(self, &action, &judged, "hold", &reason, &policies);
        let held = Held {
            action,
            operation: judged.operation.name.clone(),
            digest: judged.digest,
            environment,
            effect: judged.operation.effect,
            flags: judged.operation.flags,
            resources: judged.resources.clone(),
            summary,
            preview: judged.preview.clone(),
            shown: text,
            approvers,
        };
        let (hold, fresh) = match inner.holds.open(held).await {
            Ok(opened) => opened,
            Err(problem) => {
                let refusal = problem.refusal(&judged.operation);
                fields["verdict"] = json!("deny");
                fields["reason"] = json!(refusal.reason);
                inner
                    .record
                    .append("verdict", fields)
                    .await
                    .map_err(|error| unrecorded(&error))?;
                return Err(refusal);
            }
        };
        if fresh {
            fields["hold"] = json!(hold.id);
            inner
                .record
                .append("hold", fields)
                .await
                .map_err(|error| unrecorded(&error))?;
        }
        seen.held(&hold.id);
        match inner
            .holds
            .answered(&hold.id)
            .await
            .map_err(|problem| problem.refusal(&judged.operation))?
        {
            Answered::Approved(hold) => self.use_approval(*hold).await,
            Answered::Pending => Err(Refusal {
                kind: RefusalKind::Held,
                reason: reason.clone(),
                operation: Some(judged.operation.name.to_string()),
                resource: judged.resources.first().map(ToString::to_string),
                environment: judged.environment.clone(),
                hold: Some(hold.id.clone()),
                how_to_proceed: format!(
                    "Ask your user to run `tagout approve {0}` (or `tagout deny {0}`) in another \
                     terminal. Then send exactly the same request again; it passes once. Do not \
                     look for another way.",
                    hold.id
                ),
            }),
            Answered::Denied(by) => {
                let fields = json!({"hold": hold.id, "by": by.by, "reason": by.reason});
                inner
                    .record
                    .append("denied", fields)
                    .await
                    .map_err(|error| unrecorded(&error))?;
                Err(Refusal {
                    kind: RefusalKind::Denied,
                    reason: match by.reason {
                        Some(reason) => format!("a person denied it: {reason}"),
                        None => "a person denied it.".to_owned(),
                    },
                    operation: Some(judged.operation.name.to_string()),
                    resource: judged.resources.first().map(ToString::to_string),
                    environment: judged.environment.clone(),
                    hold: Some(hold.id),
                    how_to_proceed: "Do not try again or by another way. Ask your user what to do \
                                     instead."
                        .to_owned(),
                })
            }
            Answered::Gone(state) => Err(Refusal {
                kind: RefusalKind::Denied,
                reason: format!("the hold is {state}."),
                operation: Some(judged.operation.name.to_string()),
                resource: judged.resources.first().map(ToString::to_string),
                environment: judged.environment.clone(),
                hold: Some(hold.id),
                how_to_proceed:
                    "An approval covers one exact action, once. If it is needed again, \
                                 send the request again and ask your user."
                        .to_owned(),
            }),
        }
    }

    /// Approvals, environment and policy are looked at anew, and must still give the digest that was
    /// approved. Then the approval is used up, and what was stored and shown is released.
    async fn use_approval(&self, hold: HoldRecord) -> Result<Permit<AnyRequest>, Refusal> {
        let inner = &*self.inner;
        let approvers = match inner.holds.verified(&hold).await {
            Ok(approvers) => approvers,
            Err(why) => {
                inner.holds.supersede(&hold.id).await;
                return Err(self.void(&hold.id, why).await);
            }
        };
        let judged = self.evaluate(&hold.action, Freshness::Anew, true).await;
        if judged.digest != hold.digest {
            inner.holds.supersede(&hold.id).await;
            let why = "what was approved is no longer what would happen: environment, policy or \
                       credential changed since.";
            return Err(self.void(&hold.id, why.to_owned()).await);
        }
        if !judged.decision.is_allow() {
            inner.holds.supersede(&hold.id).await;
            return Err(self.refuse(&hold.action, &judged).await);
        }
        // The store's word for how many it takes proves as little as its word for who they are.
        if approvers.len() < usize::from(judged.approvers) {
            inner.holds.supersede(&hold.id).await;
            let why = format!(
                "it takes {} different approvers, and {} approved.",
                judged.approvers,
                approvers.len()
            );
            return Err(self.void(&hold.id, why).await);
        }
        if !inner.holds.use_once(&hold.id).await {
            let why = "the approval was used already, or its time is over.".to_owned();
            return Err(self.void(&hold.id, why).await);
        }
        let approval = Approval {
            hold: hold.id.clone(),
            approvers,
        };
        for (repository, name) in inner.pushes.grant(hold.action.operations()) {
            let fields = json!({"hold": hold.id, "repository": repository, "ref": name});
            inner
                .record
                .append("push_grant", fields)
                .await
                .map_err(|error| unrecorded(&error))?;
        }
        self.release(hold.action, &judged, Some(approval)).await
    }

    /// Refuses to use an approval, and records that somebody tried.
    async fn void(&self, hold: &HoldId, reason: String) -> Refusal {
        let fields = json!({"hold": hold, "reason": reason});
        if let Err(error) = self.inner.record.append("approval_void", fields).await {
            return unrecorded(&error);
        }
        Refusal {
            kind: RefusalKind::Denied,
            reason,
            operation: None,
            resource: None,
            environment: None,
            hold: Some(hold.clone()),
            how_to_proceed: "Send the request again; it will be held anew with what is true now."
                .to_owned(),
        }
    }

    /// Records the intent, and only then makes the permit.
    /// What nobody has to be asked about. A read of a database waits for the disk once for its kind.
    async fn let_through(
        &self,
        action: Action<AnyRequest>,
        judged: &Judged,
    ) -> Result<Permit<AnyRequest>, Refusal> {
        let inner = &*self.inner;
        let kind = Standing::kind(&action, judged);
        let first = kind
            .as_deref()
            .and_then(|kind| inner.standing.first(kind, &inner.record));
        if let Some(first) = first {
            let (broker, record) = (std::sync::Arc::clone(&inner.broker), inner.record.clone());
            return Ok(Permit::again(action, judged.digest, first, broker, record));
        }
        let permit = self.release(action, judged, None).await?;
        if let Some(kind) = kind {
            inner.standing.add(kind, permit.sequence());
        }
        Ok(permit)
    }

    async fn release(
        &self,
        action: Action<AnyRequest>,
        judged: &Judged,
        approval: Option<Approval>,
    ) -> Result<Permit<AnyRequest>, Refusal> {
        let mut fields = entry(self, &action, judged, "allow", "", &[]);
        fields["approval"] = approval.as_ref().map_or(
            Json::Null,
            |approval| json!({"hold": approval.hold, "approvers": approval.approvers}),
        );
        let sequence = self
            .inner
            .record
            .append("intent", fields)
            .await
            .map_err(|error| unrecorded(&error))?;
        Ok(Permit::new(
            action,
            sequence,
            approval.map(|approval| approval.hold),
            std::sync::Arc::clone(&self.inner.broker),
            self.inner.record.clone(),
        ))
    }

    async fn refuse(&self, action: &Action<AnyRequest>, judged: &Judged) -> Refusal {
        let (reason, how_to_proceed, policies) = match &judged.decision {
            Decision::Deny {
                reason,
                how_to_proceed,
                policies,
            } => (reason.clone(), how_to_proceed.clone(), policies.clone()),
            Decision::Ask {
                reason, policies, ..
            } => (
                reason.clone(),
                "Send the request again; it will be held anew.".to_owned(),
                policies.clone(),
            ),
            Decision::Allow => (String::new(), String::new(), Vec::new()),
        };
        let mut fields = entry(self, action, judged, "deny", &reason, &policies);
        fields["how_to_proceed"] = json!(self.inner.broker.redact_text(&how_to_proceed));
        if let Err(error) = self.inner.record.append("verdict", fields).await {
            return unrecorded(&error);
        }
        Refusal {
            kind: RefusalKind::Denied,
            reason,
            operation: Some(judged.operation.name.to_string()),
            resource: judged.resources.first().map(ToString::to_string),
            environment: judged.environment.clone(),
            hold: None,
            how_to_proceed,
        }
    }
}

/// The method that a request really has: an override counts as its verb, for grants too. A host that
/// is granted for GET is not granted for a GET that says that it is a PUT.
fn effective_method(operation: &Operation, sent: &Method) -> Method {
    if operation.scope != Scope::None {
        return sent.clone();
    }
    operation
        .name
        .as_str()
        .strip_prefix("http.")
        .and_then(|verb| Method::parse(verb).ok())
        .unwrap_or_else(|| sent.clone())
}

fn summary(judged: &Judged) -> String {
    let mut summary = judged.operation.name.to_string();
    for resource in &judged.operation.resources {
        summary.push(' ');
        summary.push_str(resource.as_str());
    }
    if let Some(environment) = &judged.environment {
        summary.push_str(" in ");
        summary.push_str(environment);
    }
    summary
}

/// Stands for a request in which nothing could be recognised; its faults deny it.
fn not_recognised(action: &Action<AnyRequest>) -> Operation {
    let name = format!("{}.unrecognised", action.channel());
    Operation {
        name: OperationName::parse(&name).unwrap_or_else(|_| unreachable!("a constant name")),
        known: false,
        effect: Effect::Irreversible,
        flags: Flags::NONE.with(Flag::Exec),
        scope: Scope::Resources,
        resources: Vec::new(),
        unresolved: Some("the request was not understood".to_owned()),
        arguments: Json::Null,
    }
}

fn unrecorded(error: &tagout_ledger::LedgerError) -> Refusal {
    Refusal::denied(
        format!("the verdict could not be recorded: {error}."),
        "Nothing passes until the ledger can be written. Ask your user to free disk space and start \
         a new session.",
    )
}
