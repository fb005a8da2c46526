//! Pushes: the first to a branch of a repository waits for a person, whose approval is a grant for
//! further ones of that pair until the session ends. It is the only approval that covers more than one
//! action; what is shown says so, and the ledger has the grant as one.
//!
//! What must stay true: only a push that was proved to keep the branch's history is ever covered. One
//! that forces, deletes or creates a ref, or has options, is asked about each time.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tagout_catalog::git::Pushed;
use tagout_core::{Effect, Operation};
use tagout_policy::Decision;

/// The policy's name in the ledger, beside those of Cedar.
const POLICY: &str = "push-asks";

/// Repository and full name of the branch.
type Pair = (String, String);

/// What was granted so far.
#[derive(Default)]
pub(crate) struct Pushes(Mutex<BTreeSet<Pair>>);

impl Pushes {
    /// What the policy allows without an approval, and a push needs one for nevertheless.
    pub(crate) fn tighten(&self, operation: &Operation, decision: Decision) -> Decision {
        let (Decision::Allow, Some(push)) = (&decision, Pushed::of(operation)) else {
            return decision;
        };
        if operation.effect <= Effect::Read || self.covers(operation, &push) {
            return decision;
        }
        let (repository, name) = (push.repository, push.name);
        let reason = match grantable(operation) {
            Some(_) => format!(
                "nothing was pushed to {name} of {repository} in this session yet. Approving this \
                 grants fast-forward pushes to that branch of that repository until the session ends."
            ),
            None => {
                format!("it changes {name} of {repository}, and each such push needs an approval.")
            }
        };
        Decision::Ask {
            policies: vec![POLICY.to_owned()],
            approvers: 1,
            reason,
        }
    }

    /// What was approved is granted from now on. The pairs that are new.
    pub(crate) fn grant(&self, operations: &[Operation]) -> Vec<Pair> {
        let mut granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        operations
            .iter()
            .filter_map(grantable)
            .filter(|pair| granted.insert(pair.clone()))
            .collect()
    }

    fn covers(&self, operation: &Operation, push: &Pushed<'_>) -> bool {
        let granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        operation.name.as_str() == "git.push"
            && !push.has_options
            && granted.contains(&(push.repository.to_owned(), push.name.to_owned()))
    }
}

/// The pair that an approval of `operation` grants: of a branch that is made, or goes on.
fn grantable(operation: &Operation) -> Option<Pair> {
    let push = Pushed::of(operation)?;
    let is_kept = matches!(operation.name.as_str(), "git.push" | "git.create_ref");
    (is_kept && push.is_branch() && !push.has_options)
        .then(|| (push.repository.to_owned(), push.name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tagout_core::{Flags, OperationName, Scope};

    fn operation(name: &str, to: &str, options: &[&str]) -> Operation {
        Operation {
            name: OperationName::parse(name).unwrap(),
            known: true,
            effect: Effect::Write,
            flags: Flags::NONE,
            scope: Scope::None,
            resources: Vec::new(),
            unresolved: None,
            arguments: json!({"repository": "git.example/a", "ref": to, "old": "1", "new": "2", "options": options}),
        }
    }

    #[test]
    fn invariant_7_an_approved_push_grants_its_branch_and_nothing_else() {
        let pushes = Pushes::default();
        let allows = |operation: &Operation| pushes.tighten(operation, Decision::Allow).is_allow();
        let main = operation("git.push", "refs/heads/main", &[]);
        assert!(!allows(&main));
        assert_eq!(pushes.grant(std::slice::from_ref(&main)).len(), 1);
        assert_eq!(pushes.grant(std::slice::from_ref(&main)).len(), 0);
        assert!(allows(&main));
        for other in [
            operation("git.push", "refs/heads/other", &[]),
            operation("git.push", "refs/heads/main", &["merge_request.create"]),
            operation("git.push_force", "refs/heads/main", &[]),
            operation("git.create_ref", "refs/heads/main", &[]),
            operation("git.create_ref", "refs/tags/v1", &[]),
            operation("git.delete_ref", "refs/heads/main", &[]),
        ] {
            assert!(!allows(&other), "{other:?}");
        }
        // What was approved of these grants nothing.
        for other in [
            operation("git.push_force", "refs/heads/x", &[]),
            operation("git.create_ref", "refs/tags/v1", &[]),
            operation("git.push", "refs/heads/y", &["ci.skip"]),
        ] {
            assert!(pushes.grant(&[other]).is_empty());
        }
        assert!(allows(&operation("http.GET", "", &[])));
    }

    #[test]
    fn a_denial_stays_one() {
        let denied = Decision::Deny {
            policies: Vec::new(),
            reason: "no".to_owned(),
            how_to_proceed: "ask".to_owned(),
        };
        let push = operation("git.push", "refs/heads/main", &[]);
        let pushes = Pushes::default();
        assert!(matches!(
            pushes.tighten(&push, denied),
            Decision::Deny { .. }
        ));
    }
}
