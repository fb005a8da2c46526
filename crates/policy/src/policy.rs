//! The policy of a session: Tagout's own rules, which are the verdict list of the product as Cedar,
//! and the task's `policy.cedar`, which can only tighten them.
//!
//! At most two evaluations decide. The first is without an approval; what it denies is a hold only
//! if every forbid behind it carries `@ask`, and only if a second, hypothetical one with a valid
//! approval would allow: nobody is asked for what would be refused anyway. The hypothetical outcome
//! never leaves this module. What was approved is evaluated anew when it is used.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::OnceLock;

use cedar_policy::{ActionConstraint, Schema};
use tagout_core::Digest;

use crate::allowed::{Allowed, Exactly};
use crate::decision::Decision;
use crate::disclosure::{self, Disclosures};
use crate::evaluation::{Action, Evaluator, Outcome};
use crate::file_errors::FileErrors;
use crate::policy_file::{self, Rule};
use crate::question::{Connection, Question};
use crate::sorted::Sorted;
use crate::wording::{self, Subject};

const SCHEMA: &str = include_str!("../cedar/schema.cedarschema");
const BASE: &str = include_str!("../cedar/base.cedar");

/// The user's policy as messages name it.
const USER_FILE: &str = "policy.cedar";

/// Everything that decides, loaded once a session.
pub struct Policy {
    /// Made at once where the task has a policy of its own, whose mistakes must show before anything
    /// runs; otherwise by the first question. Tagout's own rules are the same in every session, a test
    /// validates them, and reading them takes longer than the rest of what is loaded at a launch.
    compiled: OnceLock<Result<Compiled, FileErrors>>,
    allowed: Allowed,
    digest: Digest,
    /// The rules about content, where the user has any.
    content: Option<Disclosures>,
}

/// What questions are put to.
struct Compiled {
    evaluator: Evaluator,
    /// In the order in which reasons are shown: ours in the order of the verdict list, the user's.
    rules: Vec<Rule>,
    policies: HashMap<Action, Sorted>,
}

impl Policy {
    /// Loads Tagout's own policies and the text of the task's `policy.cedar`.
    ///
    /// # Errors
    /// Every mistake in the user's file, with its line: what does not parse, what strict validation
    /// refuses, what can never match, an annotation that means nothing, an id that is taken.
    pub fn load(user: Option<&str>) -> Result<Self, FileErrors> {
        let compiled = OnceLock::new();
        let mut content = None;
        if user.is_some() {
            let policies = Compiled::new(user)?;
            if policies.rules.iter().any(disclosure::names_content) {
                content = Some(Disclosures::load(user)?);
            }
            // The cell is new, so this one is the first.
            let _ = compiled.set(Ok(policies));
        }
        let absent: &[u8] = b"absent";
        let digest = Digest::of_parts([
            SCHEMA.as_bytes(),
            BASE.as_bytes(),
            user.map_or(absent, |_| b"present"),
            user.unwrap_or_default().as_bytes(),
        ]);
        Ok(Self {
            compiled,
            allowed: Allowed::default(),
            digest,
            content,
        })
    }

    /// Decides about one operation. `approved` is true when an approval of this exact action was
    /// verified and is about to be used; then the answer is allow or deny.
    pub fn decide(&self, question: &Question<'_>, approved: bool) -> Decision {
        let exactly = match approved {
            false => Exactly::of(question),
            true => None,
        };
        if let Some(exactly) = &exactly
            && self.allowed.has(exactly)
        {
            return Decision::Allow;
        }
        let decision = self.decide_subject(Subject::Operation(question), approved);
        if let (Decision::Allow, Some(exactly)) = (&decision, exactly) {
            self.allowed.keep(exactly);
        }
        decision
    }

    /// Decides whether a name may be resolved and dialled. Nobody is asked about connections, so the
    /// answer is allow or deny.
    pub fn decide_connection(&self, connection: &Connection<'_>) -> Decision {
        self.decide_subject(Subject::Connection(connection), false)
    }

    /// The digest of everything that decides: schema, Tagout's own policies, the user's.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The rules about content, where the user's policy has any: only then files have to be classified.
    pub fn content(&self) -> Option<&Disclosures> {
        self.content.as_ref()
    }

    /// The schema that `policy.cedar` is validated against.
    pub fn schema_text() -> &'static str {
        disclosure::SCHEMA
    }

    fn decide_subject(&self, subject: Subject<'_>, approved: bool) -> Decision {
        match self.compiled() {
            Ok(compiled) => compiled.decide(subject, approved),
            Err(_) => failed(Vec::new()),
        }
    }

    fn compiled(&self) -> &Result<Compiled, FileErrors> {
        self.compiled.get_or_init(|| Compiled::new(None))
    }
}

impl Compiled {
    /// Reads Tagout's own policies and the user's.
    fn new(user: Option<&str>) -> Result<Self, FileErrors> {
        let evaluator = Evaluator::new(SCHEMA)
            .map_err(|message| FileErrors::one("schema.cedarschema", 1, message))?;
        // Ours are the same in every session; a test validates them.
        let mut rules = policy_file::read("base.cedar", BASE, &HashSet::new())?;
        if let Some(text) = user {
            let taken = rules.iter().map(|rule| rule.id.as_str()).collect();
            let theirs = policy_file::read(USER_FILE, text, &taken)?;
            // Rules about content are decided by elsewhere, but a mistake in them is a mistake in this file.
            let (content, theirs): (Vec<Rule>, Vec<Rule>) =
                theirs.into_iter().partition(disclosure::names_content);
            policy_file::validate(USER_FILE, text, &theirs, evaluator.schema())?;
            if !content.is_empty() {
                let schema = Schema::from_str(disclosure::SCHEMA).map_err(|error| {
                    FileErrors::one("content.cedarschema", 1, error.to_string())
                })?;
                policy_file::validate(USER_FILE, text, &content, &schema)?;
            }
            rules.extend(theirs);
            rules.extend(content);
        }
        let mut policies = HashMap::new();
        for action in Action::all() {
            let concerned = rules
                .iter()
                .filter(|rule| match rule.policy.action_constraint() {
                    ActionConstraint::Any => true,
                    ActionConstraint::In(named) => evaluator.concerns(action, &named),
                    ActionConstraint::Eq(named) => evaluator.action_uid(action) == named,
                });
            let sorted = Sorted::new(concerned.map(|rule| &rule.policy))
                .map_err(|message| FileErrors::one(USER_FILE, 1, message))?;
            policies.insert(action, sorted);
        }
        Ok(Self {
            evaluator,
            rules,
            policies,
        })
    }

    fn decide(&self, subject: Subject<'_>, approved: bool) -> Decision {
        let Ok(prepared) = self.evaluator.prepare(subject) else {
            return failed(Vec::new());
        };
        let evaluate = |approved| self.evaluator.evaluate(&prepared, &self.policies, approved);
        let forbids = match evaluate(approved) {
            Outcome::Allowed => return Decision::Allow,
            Outcome::Failed(policies) => return failed(policies),
            Outcome::Denied(ids) => self.in_order(&ids),
        };
        let denying: Vec<&Rule> = forbids
            .iter()
            .copied()
            .filter(|rule| rule.ask.is_none())
            .collect();
        if approved || forbids.is_empty() {
            return deny(&forbids, subject);
        }
        if !denying.is_empty() {
            return deny(&denying, subject);
        }
        match evaluate(true) {
            Outcome::Allowed => ask(&forbids, subject),
            Outcome::Failed(policies) => failed(policies),
            Outcome::Denied(ids) => deny(&self.in_order(&ids), subject),
        }
    }

    /// The rules with these ids, in the order in which reasons are shown.
    fn in_order(&self, ids: &[String]) -> Vec<&Rule> {
        self.rules
            .iter()
            .filter(|rule| ids.contains(&rule.id))
            .collect()
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({})", self.digest)
    }
}

fn ids(rules: &[&Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.clone()).collect()
}

fn reason(rule: &Rule, subject: Subject<'_>) -> String {
    match &rule.reason {
        Some(template) => wording::fill(template, subject),
        None => {
            let what = match rule.ask {
                Some(_) => "asks for an approval of",
                None => "is against",
            };
            wording::fill(
                &format!("The task's policy `{}` {what} {{operation}}.", rule.id),
                subject,
            )
        }
    }
}

fn ask(rules: &[&Rule], subject: Subject<'_>) -> Decision {
    let reasons: Vec<String> = rules.iter().map(|rule| reason(rule, subject)).collect();
    Decision::Ask {
        policies: ids(rules),
        approvers: rules.iter().filter_map(|rule| rule.ask).max().unwrap_or(2),
        reason: wording::each(reasons.iter().map(String::as_str)),
    }
}

/// The first rule of the list that denies says why; what else would have denied follows from it more
/// often than not, and is only named.
fn deny(rules: &[&Rule], subject: Subject<'_>) -> Decision {
    let Some(first) = rules.first() else {
        return Decision::Deny {
            policies: Vec::new(),
            reason: "No policy permits this.".to_owned(),
            how_to_proceed: "Tell the user: Tagout's own policies are incomplete.".to_owned(),
        };
    };
    let advice = first.how_to_proceed.as_deref().unwrap_or(
        "Find another way to do the task, or ask the user about the task's policy.cedar.",
    );
    Decision::Deny {
        policies: ids(rules),
        reason: reason(first, subject),
        how_to_proceed: wording::fill(advice, subject),
    }
}

fn failed(mut policies: Vec<String>) -> Decision {
    policies.sort();
    let reason = if policies.is_empty() {
        "Tagout could not evaluate its policies for this, and what cannot be evaluated is denied."
            .to_owned()
    } else {
        format!(
            "The policy {} could not be evaluated for this, and what cannot be evaluated is denied.",
            policies.join(", ")
        )
    };
    Decision::Deny {
        policies,
        reason,
        how_to_proceed: "Ask the user to run `tagout policy check` and to mend the policy."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
