//! Policies sorted by what they can be about, so that no question pays for those that cannot match it:
//! by their Cedar action, and by the operations or hosts that their first condition names. A thousand
//! policies about single operations of fifty providers cost a question about one of them as much as
//! those that name it.
//!
//! What must stay true: a policy that is left out is one that Cedar would find unsatisfied, without an
//! error. So only a *first* condition counts: Cedar looks at the scope, then at the conditions in their
//! order, and stops at the first that is false; and what it compares, the schema requires.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Policy as CedarPolicy, PolicySet};
use tagout_core::json::Json;

/// Sets that are kept; beyond it they are forgotten, all at once, and made again.
const MOST_SETS: usize = 256;

/// What a policy may name: an attribute of the context that every question of its action has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Attribute {
    /// `context.host`
    Host,
    /// `context.operation`
    Operation,
}

impl Attribute {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Self::Host),
            "operation" => Some(Self::Operation),
            _ => None,
        }
    }
}

/// An attribute, and a value of it that a policy names.
type Named = (Attribute, String);

/// Sets of policies, by the values that they are about.
type Sets = HashMap<Vec<Named>, Arc<PolicySet>>;

/// The policies of one action.
pub(crate) struct Sorted {
    /// Those that every question meets, in a set of their own.
    every: PolicySet,
    /// Those that can match only where an attribute has this value. One policy may have several.
    naming: HashMap<Named, Vec<CedarPolicy>>,
    /// Sets for questions that some of them are about, by their values that policies name.
    sets: Mutex<Sets>,
}

impl Sorted {
    /// Sorts policies whose ids are different.
    ///
    /// # Errors
    /// Cedar's own message, when they are not.
    pub(crate) fn new<'p>(policies: impl Iterator<Item = &'p CedarPolicy>) -> Result<Self, String> {
        let mut every = PolicySet::new();
        let mut naming: HashMap<_, Vec<CedarPolicy>> = HashMap::new();
        for policy in policies {
            match named_first(policy) {
                None => every
                    .add(policy.clone())
                    .map_err(|error| error.to_string())?,
                Some((attribute, values)) => {
                    for value in values {
                        let place = naming.entry((attribute, value)).or_default();
                        place.push(policy.clone());
                    }
                }
            }
        }
        Ok(Self {
            every,
            naming,
            sets: Mutex::default(),
        })
    }

    /// Evaluates `with` over the policies that can match a question with these attributes. `None` when
    /// they cannot be put together, which denies.
    pub(crate) fn for_question<T>(
        &self,
        attributes: &[(Attribute, &str)],
        with: impl FnOnce(&PolicySet) -> T,
    ) -> Option<T> {
        if self.naming.is_empty() {
            return Some(with(&self.every));
        }
        let named: Vec<Named> = attributes
            .iter()
            .map(|(attribute, value)| (*attribute, (*value).to_owned()))
            .filter(|named| self.naming.contains_key(named))
            .collect();
        if named.is_empty() {
            return Some(with(&self.every));
        }
        let set = self.set(named)?;
        Some(with(&set))
    }

    fn set(&self, named: Vec<Named>) -> Option<Arc<PolicySet>> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(&named) {
            return Some(Arc::clone(set));
        }
        let mut set = self.every.clone();
        for policy in named
            .iter()
            .filter_map(|name| self.naming.get(name))
            .flatten()
        {
            set.add(policy.clone()).ok()?;
        }
        let set = Arc::new(set);
        if sets.len() >= MOST_SETS {
            sets.clear();
        }
        sets.insert(named, Arc::clone(&set));
        Some(set)
    }
}

/// The values of one attribute of which a question must have one for the policy's first condition to
/// hold. `None` where it does not begin like that.
fn named_first(policy: &CedarPolicy) -> Option<(Attribute, BTreeSet<String>)> {
    let policy = policy.to_json().ok()?;
    let first = policy.get("conditions")?.get(0)?;
    if first.get("kind")?.as_str()? != "when" {
        return None;
    }
    named(first.get("body")?)
}

/// The same of an expression in Cedar's JSON format.
fn named(expression: &Json) -> Option<(Attribute, BTreeSet<String>)> {
    let (operator, sides) = expression.as_object()?.iter().next()?;
    let (left, right) = (sides.get("left")?, sides.get("right")?);
    match operator.as_str() {
        "==" => {
            let (attribute, value) = match attribute(left) {
                Some(attribute) => (attribute, right),
                None => (attribute(right)?, left),
            };
            Some((attribute, BTreeSet::from([text(value)?])))
        }
        "contains" => {
            let values = left.get("Set")?.as_array()?;
            let values = values.iter().map(text).collect::<Option<_>>()?;
            Some((attribute(right)?, values))
        }
        // What stands on the right is looked at only where the left holds.
        "&&" => named(left),
        "||" => {
            let ((one, mut values), (other, more)) = (named(left)?, named(right)?);
            values.extend(more);
            (one == other).then_some((one, values))
        }
        _ => None,
    }
}

/// `context.host` or `context.operation`.
fn attribute(expression: &Json) -> Option<Attribute> {
    let access = expression.get(".")?;
    let of_context = access.get("left")?.get("Var")?.as_str()? == "context";
    of_context
        .then(|| Attribute::parse(access.get("attr")?.as_str()?))
        .flatten()
}

fn text(expression: &Json) -> Option<String> {
    Some(expression.get("Value")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_of(conditions: &str) -> Option<(Attribute, Vec<String>)> {
        let text = format!("forbid (principal, action, resource) {conditions};");
        let policy = CedarPolicy::parse(None, text).unwrap();
        named_first(&policy).map(|(attribute, values)| (attribute, values.into_iter().collect()))
    }

    #[test]
    fn what_a_policy_names_first_is_found() {
        let found = |attribute, values: &[&str]| {
            Some((
                attribute,
                values.iter().map(|text| (*text).to_owned()).collect(),
            ))
        };
        let operation = |values: &[&str]| found(Attribute::Operation, values);
        for (conditions, expected) in [
            (
                r#"when { context.operation == "a.b" }"#,
                operation(&["a.b"]),
            ),
            (
                r#"when { "a.b" == context.operation }"#,
                operation(&["a.b"]),
            ),
            (
                r#"when { context.host == "h" } unless { context.granted }"#,
                found(Attribute::Host, &["h"]),
            ),
            (
                r#"when { context.operation == "a" && context.port * 9223372036854775807 == 3 }"#,
                operation(&["a"]),
            ),
            (
                r#"when { ["b", "a"].contains(context.operation) && context.granted }"#,
                operation(&["a", "b"]),
            ),
            (
                r#"when { context.operation == "a" || context.operation == "b" }"#,
                operation(&["a", "b"]),
            ),
            (
                r#"when { (context.operation == "a" || context.operation == "b\"") && context.granted } when { true }"#,
                operation(&["a", "b\""]),
            ),
        ] {
            assert_eq!(first_of(conditions), expected, "{conditions}");
        }
    }

    #[test]
    fn invariant_8_whatever_else_comes_first_every_question_meets_the_policy() {
        for conditions in [
            "",
            "when { context.granted }",
            r#"unless { context.operation == "a" }"#,
            r#"when { !(context.operation == "a") }"#,
            r#"when { context.operation != "a" }"#,
            r#"when { context.operation like "a*" }"#,
            // It may be what cannot be evaluated, and then the answer is no.
            r#"when { context.port * 9223372036854775807 == 3 && context.operation == "a" }"#,
            r#"when { context.port * 9223372036854775807 == 3 } when { context.operation == "a" }"#,
            r#"when { context.operation == "a" || context.granted }"#,
            r#"when { context.operation == "a" || context.host == "h" }"#,
            r#"when { context.path == "a" }"#,
            r#"when { context.environment.name == "a" }"#,
            "when { context.operation == context.host }",
            r#"when { context.resources.contains("a") }"#,
            r#"when { if context.operation == "a" then true else context.granted }"#,
        ] {
            assert_eq!(first_of(conditions), None, "{conditions}");
        }
    }
}
