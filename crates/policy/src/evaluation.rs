//! A question in Cedar's terms, and one evaluation of it. Everything is built by constructors, not
//! from JSON, which costs as much as thirty policies; everything is validated against the schema,
//! and whatever Cedar cannot evaluate comes out as [`Outcome::Failed`], never as an answer: Cedar
//! itself skips a policy that errors, and a skipped forbid would allow.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    Request, RestrictedExpression, Schema,
};
use tagout_core::{Effect, EnvironmentName, Scope};

use crate::question::{Connection, Question};
use crate::sorted::{Attribute, Sorted};
use crate::wording::Subject;

/// What one evaluation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A permit and no forbid.
    Allowed,
    /// These forbids; none when not even a permit applied.
    Denied(Vec<String>),
    /// It could not be evaluated; these policies are to blame, as far as Cedar says.
    Failed(Vec<String>),
}

/// The schema with the parts of every question that never change.
pub(crate) struct Evaluator {
    authorizer: Authorizer,
    schema: Schema,
    actions: Entities,
    session: EntityTypeName,
    host: EntityTypeName,
    environment: EntityTypeName,
    action: EntityTypeName,
}

/// A question that can be evaluated with and without an approval.
pub(crate) struct Prepared<'q> {
    action: Action,
    /// What policies may name that are about one value of it only.
    named: Vec<(Attribute, &'q str)>,
    principal: EntityUid,
    resource: EntityUid,
    entities: Entities,
    attributes: Vec<(String, RestrictedExpression)>,
}

/// The Cedar actions that questions are asked about. Policies are sorted into one set for each, so
/// that no question pays for policies that cannot match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// An operation of this effect.
    Request(Effect),
    /// A connection.
    Connect,
}

impl Action {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Effect::ALL
            .into_iter()
            .map(Self::Request)
            .chain([Self::Connect])
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Request(effect) => effect.as_str(),
            Self::Connect => "connect",
        }
    }
}

impl Evaluator {
    /// From the schema's text.
    ///
    /// # Errors
    /// Cedar's own message: the schema is part of the program, and tests read it.
    pub(crate) fn new(schema: &str) -> Result<Self, String> {
        let type_name = |name| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        let schema = Schema::from_str(schema).map_err(|error| error.to_string())?;
        let actions = schema
            .action_entities()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            authorizer: Authorizer::new(),
            session: type_name("Session")?,
            host: type_name("Host")?,
            environment: type_name("Environment")?,
            action: type_name("Action")?,
            schema,
            actions,
        })
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn action_uid(&self, action: Action) -> EntityUid {
        uid(&self.action, action.as_str())
    }

    /// Whether a policy constrained to one of `actions` can match a question about `action`.
    pub(crate) fn concerns(&self, action: Action, actions: &[EntityUid]) -> bool {
        let asked = self.action_uid(action);
        actions
            .iter()
            .any(|named| *named == asked || self.actions.is_ancestor_of(named, &asked))
    }

    /// Puts a question into Cedar's terms.
    ///
    /// # Errors
    /// When it does not fit the schema, which denies.
    pub(crate) fn prepare<'q>(&self, subject: Subject<'q>) -> Result<Prepared<'q>, String> {
        let (session, host, environment) = match subject {
            Subject::Operation(question) => (
                question.session,
                &question.target.host,
                environment_of(question).map(|name| name.to_string()),
            ),
            Subject::Connection(connection) => (
                connection.session,
                &connection.target.host,
                connection.environment.map(ToString::to_string),
            ),
        };
        let principal = uid(&self.session, session.as_str());
        let resource = uid(&self.host, host.as_str());
        let environment = environment.map(|name| uid(&self.environment, &name));
        let mut entities = vec![
            Entity::with_uid(principal.clone()),
            Entity::new_no_attrs(resource.clone(), environment.iter().cloned().collect()),
        ];
        entities.extend(environment.map(Entity::with_uid));
        let mut named = vec![(Attribute::Host, host.as_str())];
        let (action, attributes) = match subject {
            Subject::Operation(question) => {
                named.push((Attribute::Operation, question.operation.name.as_str()));
                (
                    Action::Request(question.operation.effect),
                    request_attributes(question),
                )
            }
            Subject::Connection(connection) => (Action::Connect, connection_attributes(connection)),
        };
        let entities = self
            .actions
            .clone()
            .add_entities(entities, Some(&self.schema))
            .map_err(|error| error.to_string())?;
        Ok(Prepared {
            action,
            named,
            principal,
            resource,
            entities,
            attributes,
        })
    }

    /// Evaluates a question, as if approved or not, by the policies for its action.
    pub(crate) fn evaluate(
        &self,
        prepared: &Prepared<'_>,
        policies: &HashMap<Action, Sorted>,
        approved: bool,
    ) -> Outcome {
        let Some(policies) = policies.get(&prepared.action) else {
            return Outcome::Failed(Vec::new());
        };
        let mut attributes = prepared.attributes.clone();
        if approved && prepared.action != Action::Connect {
            let valid = [("valid".to_owned(), RestrictedExpression::new_bool(true))];
            match RestrictedExpression::new_record(valid) {
                Ok(record) => attributes.push(("approval".to_owned(), record)),
                Err(_) => return Outcome::Failed(Vec::new()),
            }
        }
        let request = Context::from_pairs(attributes).ok().and_then(|context| {
            Request::new(
                prepared.principal.clone(),
                self.action_uid(prepared.action),
                prepared.resource.clone(),
                context,
                Some(&self.schema),
            )
            .ok()
        });
        let Some(request) = request else {
            return Outcome::Failed(Vec::new());
        };
        let response = policies.for_question(&prepared.named, |policies| {
            self.authorizer
                .is_authorized(&request, policies, &prepared.entities)
        });
        let Some(response) = response else {
            return Outcome::Failed(Vec::new());
        };
        let mut errors = response.diagnostics().errors().peekable();
        if errors.peek().is_some() {
            return Outcome::Failed(errors.map(blamed).collect());
        }
        match response.decision() {
            cedar_policy::Decision::Allow => Outcome::Allowed,
            cedar_policy::Decision::Deny => Outcome::Denied(
                response
                    .diagnostics()
                    .reason()
                    .map(ToString::to_string)
                    .collect(),
            ),
        }
    }
}

fn blamed(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: impl Into<String>) -> RestrictedExpression {
    RestrictedExpression::new_string(value.into())
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    let different: HashSet<&str> = values.collect();
    RestrictedExpression::new_set(different.into_iter().map(text))
}

fn truth(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

fn connection_attributes(connection: &Connection<'_>) -> Vec<(String, RestrictedExpression)> {
    let faults = connection.faults.iter().map(|fault| fault.kind.as_str());
    named(vec![
        ("host", text(connection.target.host.as_str())),
        (
            "port",
            RestrictedExpression::new_long(connection.target.port.into()),
        ),
        ("faults", texts(faults)),
        ("granted", truth(connection.granted)),
    ])
}

fn request_attributes(question: &Question<'_>) -> Vec<(String, RestrictedExpression)> {
    let operation = question.operation;
    let resolved = question.environment.is_some() || operation.scope != Scope::Resources;
    let names_something = operation.known || !question.resources.is_empty();
    let unresolved = question.unresolved.is_some()
        || operation.unresolved.is_some()
        || (!resolved && names_something);
    let name = environment_of(question);
    let disposable = question.disposable && question.environment.is_some() && !question.protected;
    let environment = [
        (
            "name",
            text(name.as_ref().map_or("", EnvironmentName::as_str)),
        ),
        ("protected", truth(question.protected || !resolved)),
        ("disposable", truth(disposable)),
        ("resolved", truth(resolved)),
    ];
    // The names above are distinct, which is all that a record can fail on; were it to fail, the
    // attribute would be missing, the request not fit its schema, and the answer be no.
    let environment = RestrictedExpression::new_record(named(environment.into())).ok();
    let faults = question.faults.iter().map(|fault| fault.kind.as_str());
    let mut attributes = named(vec![
        ("channel", text(question.channel)),
        ("host", text(question.target.host.as_str())),
        (
            "port",
            RestrictedExpression::new_long(question.target.port.into()),
        ),
        ("method", text(question.method.as_str())),
        ("path", text(question.path.as_str())),
        ("faults", texts(faults)),
        ("operation", text(operation.name.as_str())),
        ("known", truth(operation.known)),
        ("effect", text(operation.effect.as_str())),
        (
            "flags",
            texts(operation.flags.iter().map(|flag| flag.as_str())),
        ),
        ("scope", text(operation.scope.as_str())),
        (
            "resources",
            texts(question.resources.iter().map(|resource| resource.as_str())),
        ),
        (
            "has_place",
            truth(name.is_some() && operation.scope != Scope::Account),
        ),
        ("unresolved", truth(unresolved)),
        ("granted", truth(question.granted)),
        ("operation_granted", truth(question.operation_granted)),
        ("has_pack", truth(question.has_pack)),
        ("task_environment", text(question.task_environment.as_str())),
        ("in_task_environment", truth(question.in_task_environment)),
        (
            "in_credential_environments",
            truth(question.in_credential_environments),
        ),
        ("only_task_resources", truth(question.only_task_resources)),
        (
            "manifest_has_protected",
            truth(question.manifest_has_protected),
        ),
        ("fields_withheld", truth(question.fields_withheld)),
        (
            "two_approvers_enrolled",
            truth(question.two_approvers_enrolled),
        ),
    ]);
    attributes.extend(environment.map(|record| ("environment".to_owned(), record)));
    let credential = question
        .credential
        .map(|name| ("credential".to_owned(), text(name)));
    attributes.extend(credential);
    attributes
}

/// Where an operation acts. What has resources and cannot be located is in production; what has none
/// and whose host is pinned nowhere is in no environment.
fn environment_of(question: &Question<'_>) -> Option<EnvironmentName> {
    match question.environment {
        Some(name) => Some(name.clone()),
        None if question.operation.scope == Scope::Resources => Some(EnvironmentName::production()),
        None => None,
    }
}

fn named(attributes: Vec<(&str, RestrictedExpression)>) -> Vec<(String, RestrictedExpression)> {
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
