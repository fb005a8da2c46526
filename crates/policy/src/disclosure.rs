//! Decides who is shown which content: by the same schema, the same `policy.cedar` and the same rule as
//! for actions, that whatever cannot be evaluated is denied. Three questions:
//!
//! - [`Disclosures::decide`]: may this reader see this content?
//! - [`Disclosures::plan`]: which content may this reader see? Answered by typed partial evaluation: the
//!   reader is known, the content is not, and what is left of the policies becomes a [`Condition`] that a
//!   vector store can be asked with;
//! - [`Disclosures::concerns_files`]: is there any rule of the user's that files have to be classified for?
//!
//! What must stay true: a plan never admits less carefully than it says: what of a policy cannot be put
//! into a condition makes the plan *wider* and is marked ([`Plan::Some`]'s `exact`), so whoever uses a plan
//! decides about each item again before it is released.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, PolicySet,
    Request, RestrictedExpression, Schema,
};
use serde_json::Value;
use tagout_core::Digest;

use crate::file_errors::FileErrors;
use crate::policy_file::{self, Rule};

/// The schema of actions and of content, one behind the other.
pub(crate) const SCHEMA: &str = concat!(
    include_str!("../cedar/schema.cedarschema"),
    "\n",
    include_str!("../cedar/content.cedarschema")
);
const BASE: &str = include_str!("../cedar/disclosure.cedar");
const OPERATIONS: &str = include_str!("../cedar/base.cedar");
const USER_FILE: &str = "policy.cedar";
/// The identity that everybody has who has one at all.
const EVERYONE: &str = "everyone";

/// The policies about content.
pub struct Disclosures {
    authorizer: Authorizer,
    schema: Schema,
    actions: Entities,
    set: PolicySet,
    rules: Vec<Rule>,
    /// Ids of the user's own rules.
    own: HashSet<String>,
    digest: Digest,
}

/// Through what content is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A batch of documents about to be released.
    Check,
    /// The reverse proxy in front of a vector store.
    Qdrant,
    /// A file of a session's workspace.
    Workspace,
}

impl Channel {
    /// The word in policies and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Qdrant => "qdrant",
            Self::Workspace => "workspace",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Check | Self::Qdrant => "retrieve",
            Self::Workspace => "open",
        }
    }
}

/// Somebody who is shown content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The subject of a verified token, or the name of the session's user.
    pub user: String,
    /// The groups that the same source gives.
    pub groups: Vec<String>,
    /// Whether it was verified.
    pub authenticated: bool,
}

impl Reader {
    /// Nobody: whoever has no verified identity.
    pub fn nobody() -> Self {
        Self {
            user: String::new(),
            groups: Vec::new(),
            authenticated: false,
        }
    }

    /// The subject, its groups, and `everyone`.
    pub fn identities(&self) -> BTreeSet<String> {
        if !self.authenticated {
            return BTreeSet::new();
        }
        self.groups
            .iter()
            .cloned()
            .chain([self.user.clone(), EVERYONE.to_owned()])
            .collect()
    }
}

/// Content, as far as policies speak of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its hash, or another name that is its own.
    pub id: String,
    /// Its labels; `None` where this version of the classifier has not seen it.
    pub labels: Option<Vec<String>>,
    /// Who may read it.
    pub readers: Vec<String>,
    /// Where it comes from.
    pub source: String,
    /// What went wrong on the way, one word each.
    pub faults: Vec<String>,
}

/// The answer about one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it may be shown.
    pub allowed: bool,
    /// The policies behind a denial, by id; empty where nothing permitted it or it failed.
    pub policies: Vec<String>,
}

/// Which content somebody may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// What fits.
    Some {
        /// The condition.
        condition: Condition,
        /// Whether it says all that the policies say; otherwise it admits more than they do.
        exact: bool,
    },
}

/// A field of a stored document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Its labels.
    Labels,
    /// Who may read it.
    Readers,
    /// Where it comes from.
    Source,
}

/// A condition on a stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always, or never.
    Constant(bool),
    /// All of these.
    And(Vec<Condition>),
    /// One of these.
    Or(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// The field has one of these values.
    HasAny(Field, BTreeSet<String>),
    /// The field has no value.
    Empty(Field),
}

/// A part of a policy that no store can be asked with.
struct Inexpressible;

impl Disclosures {
    /// Loads Tagout's own policies about content and those of the user's `policy.cedar` that are about it.
    ///
    /// # Errors
    /// Every mistake in the user's file, with its line, as for [`crate::Policy::load`].
    pub fn load(user: Option<&str>) -> Result<Self, FileErrors> {
        let failed = |message: String| FileErrors::one("schema.cedarschema", 1, message);
        let schema = Schema::from_str(SCHEMA).map_err(|error| failed(error.to_string()))?;
        let actions = schema
            .action_entities()
            .map_err(|error| failed(error.to_string()))?;
        let mut rules = policy_file::read("disclosure.cedar", BASE, &HashSet::new())?;
        let mut own = HashSet::new();
        if let Some(text) = user {
            let operations = policy_file::read("base.cedar", OPERATIONS, &HashSet::new())?;
            let taken = rules
                .iter()
                .chain(&operations)
                .map(|rule| rule.id.as_str())
                .collect();
            let theirs = policy_file::read(USER_FILE, text, &taken)?;
            // A rule for every action there is counts here too, unless it speaks of what only requests
            // have; `Policy::load` has told its author what else is wrong with it.
            let about = |rule: &Rule| match rule.policy.action_constraint() {
                ActionConstraint::Any => {
                    policy_file::validate(USER_FILE, text, std::slice::from_ref(rule), &schema)
                        .is_ok()
                }
                _ => names_content(rule),
            };
            let theirs: Vec<Rule> = theirs.into_iter().filter(about).collect();
            policy_file::validate(USER_FILE, text, &theirs, &schema)?;
            for rule in theirs {
                own.insert(rule.id.clone());
                rules.push(rule);
            }
        }
        let set = PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone()))
            .map_err(|error| FileErrors::one(USER_FILE, 1, error.to_string()))?;
        let digest = Digest::of_parts([
            SCHEMA.as_bytes(),
            BASE.as_bytes(),
            user.unwrap_or_default().as_bytes(),
        ]);
        Ok(Self {
            authorizer: Authorizer::new(),
            schema,
            actions,
            set,
            rules,
            own,
            digest,
        })
    }

    /// The digest of everything that decides here.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether the user has a rule about content, for which files have to be classified.
    pub fn concerns_files(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether `reader` may be shown `content`. Whatever fails is a no.
    pub fn decide(&self, reader: &Reader, channel: Channel, content: &Content) -> Ruling {
        self.try_decide(reader, channel, content)
            .unwrap_or_else(|_| denied(Vec::new()))
    }

    /// What `reader` may be shown. Whatever fails is nothing.
    pub fn plan(&self, reader: &Reader, channel: Channel) -> Plan {
        if !reader.authenticated {
            return Plan::None;
        }
        self.try_plan(reader, channel).unwrap_or(Plan::None)
    }

    fn try_decide(
        &self,
        reader: &Reader,
        channel: Channel,
        content: &Content,
    ) -> Result<Ruling, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let resource = uid("Content", &content.id)?;
        let attributes = [
            ("labels", strings(content.labels.iter().flatten())),
            (
                "labelled",
                RestrictedExpression::new_bool(content.labels.is_some()),
            ),
            ("readers", strings(content.readers.iter())),
            (
                "source",
                RestrictedExpression::new_string(content.source.clone()),
            ),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
        let entity = Entity::new(
            resource.clone(),
            attributes.into_iter().collect(),
            HashSet::new(),
        )
        .map_err(|error| text(&error))?;
        let entities = self.entities(reader, Some(entity))?;
        let request = Request::new(
            uid("User", &reader.user)?,
            uid("Action", channel.action())?,
            resource,
            context(reader, channel, &content.faults)?,
            Some(&self.schema),
        )
        .map_err(|error| text(&error))?;
        let response = self
            .authorizer
            .is_authorized(&request, &self.set, &entities);
        // Cedar skips a policy that errors, and a skipped forbid would allow.
        if response.diagnostics().errors().next().is_some() {
            return Err("a policy could not be evaluated".to_owned());
        }
        if response.decision() == CedarDecision::Allow {
            return Ok(Ruling {
                allowed: true,
                policies: Vec::new(),
            });
        }
        let ids: Vec<String> = response
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .collect();
        let ordered = self.rules.iter().filter(|rule| ids.contains(&rule.id));
        Ok(denied(ordered.map(|rule| rule.id.clone()).collect()))
    }

    fn try_plan(&self, reader: &Reader, channel: Channel) -> Result<Plan, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let kind = EntityTypeName::from_str("Content").map_err(|error| text(&error))?;
        let request = PartialRequest::new(
            PartialEntityUid::from_concrete(uid("User", &reader.user)?),
            uid("Action", channel.action())?,
            PartialEntityUid::new(kind, None),
            Some(context(reader, channel, &[])?),
            &self.schema,
        )
        .map_err(|error| text(&error))?;
        let entities = PartialEntities::from_concrete(self.entities(reader, None)?, &self.schema)
            .map_err(|error| text(&error))?;
        let response = self
            .set
            .tpe(&request, &entities, &self.schema)
            .map_err(|error| text(&error))?;
        if response.error_forbids().next().is_some() || response.true_forbids().next().is_some() {
            return Ok(Plan::None);
        }
        let permitted = response.true_permits().next().is_some();
        let mut exact = true;
        let mut permits = Vec::new();
        let mut all = Vec::new();
        for policy in response.residual_policies() {
            let json = policy.to_json().map_err(|error| text(&error))?;
            let clause = condition_of(&json);
            match (policy.effect(), clause) {
                (cedar_policy::Effect::Forbid, Ok(clause)) => all.push(not(clause)),
                // A forbid that cannot be said in the store's words: the check after it decides.
                (cedar_policy::Effect::Forbid, Err(Inexpressible)) => exact = false,
                (cedar_policy::Effect::Permit, Ok(clause)) => permits.push(clause),
                (cedar_policy::Effect::Permit, Err(Inexpressible)) => {
                    permits.push(Condition::Constant(true));
                    exact = false;
                }
            }
        }
        if !permitted {
            all.push(or(permits));
        }
        Ok(match and(all) {
            Condition::Constant(false) => Plan::None,
            Condition::Constant(true) if exact => Plan::All,
            condition => Plan::Some { condition, exact },
        })
    }

    /// The reader with its groups, the actions, and the content where it is known.
    fn entities(&self, reader: &Reader, content: Option<Entity>) -> Result<Entities, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let groups: HashSet<EntityUid> = reader
            .groups
            .iter()
            .map(|group| uid("Group", group))
            .collect::<Result<_, _>>()?;
        let identities = reader.identities();
        let attributes = [("identities".to_owned(), strings(identities.iter()))];
        let user = Entity::new(
            uid("User", &reader.user)?,
            attributes.into_iter().collect(),
            groups.clone(),
        )
        .map_err(|error| text(&error))?;
        let groups = groups.into_iter().map(Entity::with_uid);
        self.actions
            .clone()
            .add_entities(
                groups.chain([user]).chain(content).collect::<Vec<_>>(),
                Some(&self.schema),
            )
            .map_err(|error| text(&error))
    }
}

impl std::fmt::Debug for Disclosures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Disclosures({} rules, {})",
            self.rules.len(),
            self.digest
        )
    }
}

fn denied(policies: Vec<String>) -> Ruling {
    Ruling {
        allowed: false,
        policies,
    }
}

/// Whether a policy names one of the actions about content.
pub(crate) fn names_content(rule: &Rule) -> bool {
    let content: Vec<EntityUid> = ["disclose", "retrieve", "open"]
        .iter()
        .filter_map(|name| uid("Action", name).ok())
        .collect();
    match rule.policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::In(named) => named.iter().any(|action| content.contains(action)),
        ActionConstraint::Eq(named) => content.contains(&named),
    }
}

fn context(reader: &Reader, channel: Channel, faults: &[String]) -> Result<Context, String> {
    let pairs = [
        (
            "channel",
            RestrictedExpression::new_string(channel.as_str().to_owned()),
        ),
        (
            "authenticated",
            RestrictedExpression::new_bool(reader.authenticated),
        ),
        ("faults", strings(faults.iter())),
    ];
    Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))
        .map_err(|error| error.to_string())
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = EntityTypeName::from_str(kind).map_err(|error| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn strings<'a>(values: impl Iterator<Item = &'a String>) -> RestrictedExpression {
    let different: BTreeSet<&String> = values.collect();
    RestrictedExpression::new_set(
        different
            .into_iter()
            .map(|value| RestrictedExpression::new_string(value.clone())),
    )
}

/// The condition of a residual policy: its clauses, all of which must hold.
fn condition_of(policy: &Value) -> Result<Condition, Inexpressible> {
    let clauses = policy
        .get("conditions")
        .and_then(Value::as_array)
        .ok_or(Inexpressible)?;
    let mut all = Vec::new();
    for clause in clauses {
        let body = expression(clause.get("body").ok_or(Inexpressible)?)?;
        match clause.get("kind").and_then(Value::as_str) {
            Some("when") => all.push(body),
            Some("unless") => all.push(not(body)),
            _ => return Err(Inexpressible),
        }
    }
    Ok(and(all))
}

/// A Cedar expression (its JSON form) as a condition.
fn expression(json: &Value) -> Result<Condition, Inexpressible> {
    let (operator, operand) = json
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.iter().next())
        .ok_or(Inexpressible)?;
    let side = |name: &str| operand.get(name).ok_or(Inexpressible);
    match operator.as_str() {
        "Value" => operand
            .as_bool()
            .map(Condition::Constant)
            .ok_or(Inexpressible),
        "&&" => Ok(and(vec![
            expression(side("left")?)?,
            expression(side("right")?)?,
        ])),
        "||" => Ok(or(vec![
            expression(side("left")?)?,
            expression(side("right")?)?,
        ])),
        "!" => Ok(not(expression(side("arg")?)?)),
        "if-then-else" => {
            let test = expression(side("if")?)?;
            let (yes, no) = (expression(side("then")?)?, expression(side("else")?)?);
            Ok(or(vec![
                and(vec![test.clone(), yes]),
                and(vec![not(test), no]),
            ]))
        }
        "contains" => {
            let value = literal(side("right")?).ok_or(Inexpressible)?;
            Ok(Condition::HasAny(
                field(side("left")?)?,
                BTreeSet::from([value]),
            ))
        }
        "containsAny" => {
            let (left, right) = (side("left")?, side("right")?);
            // Either side may be the document's.
            match (field(left), field(right)) {
                (Ok(field), _) => Ok(Condition::HasAny(field, literals(right)?)),
                (_, Ok(field)) => Ok(Condition::HasAny(field, literals(left)?)),
                _ => Err(Inexpressible),
            }
        }
        "containsAll" => {
            let field = field(side("left")?)?;
            let each = literals(side("right")?)?;
            Ok(and(each
                .into_iter()
                .map(|value| Condition::HasAny(field, BTreeSet::from([value])))
                .collect()))
        }
        "isEmpty" => Ok(Condition::Empty(field(side("arg")?)?)),
        "==" | "!=" => {
            let (left, right) = (side("left")?, side("right")?);
            let (field, value) = match (field(left), field(right)) {
                (Ok(field), _) => (field, literal(right)),
                (_, Ok(field)) => (field, literal(left)),
                _ => return Err(Inexpressible),
            };
            // Sets are compared whole, which no store can do.
            let value = value
                .filter(|_| field == Field::Source)
                .ok_or(Inexpressible)?;
            let equal = Condition::HasAny(field, BTreeSet::from([value]));
            Ok(if operator == "==" { equal } else { not(equal) })
        }
        // `resource.labelled`: what was stored without labels is found by the check behind the store.
        "." if is_resource(side("left")?) => Err(Inexpressible),
        _ => Err(Inexpressible),
    }
}

fn is_resource(json: &Value) -> bool {
    json.get("Var").and_then(Value::as_str) == Some("resource")
}

fn field(json: &Value) -> Result<Field, Inexpressible> {
    let access = json.get(".").ok_or(Inexpressible)?;
    if !access.get("left").is_some_and(is_resource) {
        return Err(Inexpressible);
    }
    match access.get("attr").and_then(Value::as_str) {
        Some("labels") => Ok(Field::Labels),
        Some("readers") => Ok(Field::Readers),
        Some("source") => Ok(Field::Source),
        _ => Err(Inexpressible),
    }
}

fn literal(json: &Value) -> Option<String> {
    json.get("Value")
        .and_then(Value::as_str)
        .map(ToOwned::to_owned)
}

fn literals(json: &Value) -> Result<BTreeSet<String>, Inexpressible> {
    if let Some(values) = json.get("Value").and_then(Value::as_array) {
        return values
            .iter()
            .map(|value| value.as_str().map(ToOwned::to_owned).ok_or(Inexpressible))
            .collect();
    }
    let items = json
        .get("Set")
        .and_then(Value::as_array)
        .ok_or(Inexpressible)?;
    items
        .iter()
        .map(|item| literal(item).ok_or(Inexpressible))
        .collect()
}

fn not(condition: Condition) -> Condition {
    match condition {
        Condition::Constant(truth) => Condition::Constant(!truth),
        Condition::Not(inner) => *inner,
        other => Condition::Not(Box::new(other)),
    }
}

fn and(conditions: Vec<Condition>) -> Condition {
    let mut all = Vec::new();
    for condition in conditions {
        match condition {
            Condition::Constant(true) => {}
            Condition::Constant(false) => return Condition::Constant(false),
            Condition::And(inner) => all.extend(inner),
            other => all.push(other),
        }
    }
    match all.len() {
        0 => Condition::Constant(true),
        1 => all.remove(0),
        _ => Condition::And(all),
    }
}

fn or(conditions: Vec<Condition>) -> Condition {
    let mut any = Vec::new();
    for condition in conditions {
        match condition {
            Condition::Constant(false) => {}
            Condition::Constant(true) => return Condition::Constant(true),
            Condition::Or(inner) => any.extend(inner),
            other => any.push(other),
        }
    }
    match any.len() {
        0 => Condition::Constant(false),
        1 => any.remove(0),
        _ => Condition::Or(any),
    }
}

impl Condition {
    /// Whether a document with these fields fits.
    pub fn fits(&self, fields: &BTreeMap<&'static str, Vec<String>>) -> bool {
        let values = |field: Field| fields.get(field.as_str()).map_or(&[][..], Vec::as_slice);
        match self {
            Self::Constant(truth) => *truth,
            Self::And(all) => all.iter().all(|condition| condition.fits(fields)),
            Self::Or(any) => any.iter().any(|condition| condition.fits(fields)),
            Self::Not(condition) => !condition.fits(fields),
            Self::HasAny(field, wanted) => {
                values(*field).iter().any(|value| wanted.contains(value))
            }
            Self::Empty(field) => values(*field).is_empty(),
        }
    }

    /// The same condition where documents of which nobody said who may read them are everybody's.
    #[must_use]
    pub fn or_no_readers(self) -> Self {
        match self {
            Self::And(all) => Self::And(all.into_iter().map(Self::or_no_readers).collect()),
            Self::Or(any) => Self::Or(any.into_iter().map(Self::or_no_readers).collect()),
            Self::HasAny(Field::Readers, wanted) => Self::Or(vec![
                Self::HasAny(Field::Readers, wanted),
                Self::Empty(Field::Readers),
            ]),
            other => other,
        }
    }
}

impl Field {
    /// Its name in the policy's schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Readers => "readers",
            Self::Source => "source",
        }
    }
}

#[cfg(test)]
mod tests;
