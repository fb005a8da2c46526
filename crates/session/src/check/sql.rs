//! `tagout check --sql` and the `sql` lines of `--jsonl`: each act of each statement is put to the policy
//! as the operation that it is.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::json;
use tagout_catalog_sql::{Act, Classifier, Dialect, Statement};
use tagout_core::json::Json;
use tagout_core::{
    CanonicalPath, DatabaseSystem, Effect, Flags, HostName, Method, Operation, Target, Transport,
};
use tagout_policy::{Decision, Question};

use super::{Checked, Checker, denied, words};

/// The longest query in a reason, in bytes: beyond that nobody reads it.
const LONGEST_COUNT: usize = 2_048;

/// Started by the first statement.
#[derive(Default)]
pub(super) struct Statements(OnceLock<Option<Classifier>>);

impl Checker {
    /// Decides about a SQL text.
    pub fn sql(&self, dialect: Dialect, text: &str) -> Checked {
        let refused = |why: String| Checked {
            answer: denied(&why),
            exit: 11,
        };
        let classifier = self.statements.0.get_or_init(|| Classifier::start(1).ok());
        let Some(classifier) = classifier else {
            return refused("the system gives no thread to read SQL on".to_owned());
        };
        let statements = match classifier.classify(dialect, text) {
            Ok(statements) => statements,
            Err(unreadable) => return refused(unreadable.to_string()),
        };
        let acts: Vec<&Act> = statements
            .iter()
            .flat_map(|statement| &statement.acts)
            .collect();
        let mut strictest: Option<(Decision, Option<&str>)> = None;
        for act in &acts {
            let decision = self.decide_act(act);
            if strictest
                .as_ref()
                .is_none_or(|(other, _)| decision.strictness() > other.strictness())
            {
                strictest = Some((decision, act.because.as_deref()));
            }
        }
        let (verdict, reason, exit) = match &strictest {
            // Nothing but comments.
            None => ("allow", None, 0),
            Some((decision, because)) => {
                let (verdict, reason, exit) = words(decision);
                let reason = reason.map(|reason| match because {
                    Some(because) => format!("{reason} ({because})"),
                    None => reason,
                });
                (
                    verdict,
                    reason.map(|why| with_count(why, &statements, decision)),
                    exit,
                )
            }
        };
        let operations: Vec<Operation> = acts.iter().map(|act| act.operation()).collect();
        let names: BTreeSet<_> = operations.iter().map(|operation| &operation.name).collect();
        let resources: BTreeSet<_> = operations
            .iter()
            .flat_map(|operation| &operation.resources)
            .collect();
        let effect = operations.iter().map(|operation| operation.effect).max();
        let flags = statements
            .iter()
            .map(Statement::flags)
            .fold(Flags::NONE, Flags::union);
        Checked {
            answer: json!({
                "effect": effect.unwrap_or(Effect::Read),
                "flags": flags,
                "operations": names,
                "resources": resources,
                "environment": null,
                "verdict": verdict,
                "reason": reason,
            }),
            exit,
        }
    }

    /// With a manifest, as for each of its databases, and the strictest of that. Where a database is stands in
    /// its URL, which is not read here, so pins of hosts and databases do not count.
    fn decide_act(&self, act: &Act) -> Decision {
        let (Ok(host), Ok(method), Ok(path)) = (
            HostName::parse("database.invalid"),
            Method::parse("POST"),
            CanonicalPath::parse("/"),
        ) else {
            return super::nothing_recognised();
        };
        let target = Target {
            transport: Transport::Tls,
            host,
            port: 5432,
        };
        let mut operation = act.operation();
        // Whatever it names is in the database's own environment.
        operation.unresolved = None;
        let Some(task) = &self.task else {
            return self.decide_everything_granted("sql", &target, &method, &path, &operation);
        };
        let decisions = task.databases.iter().map(|grant| {
            let environment = Some(&grant.environment);
            self.policy.decide(
                &Question {
                    session: &self.session,
                    channel: DatabaseSystem::Postgres.as_str(),
                    target: &target,
                    method: &method,
                    path: &path,
                    operation: &operation,
                    faults: &[],
                    granted: true,
                    operation_granted: true,
                    has_pack: true,
                    credential: Some(&grant.name),
                    resources: &operation.resources,
                    unresolved: None,
                    environment,
                    protected: task.is_protected(environment),
                    disposable: task.is_disposable(environment),
                    task_environment: &task.environment,
                    in_task_environment: grant.environment == task.environment,
                    in_credential_environments: true,
                    manifest_has_protected: task.has_protected_environment(),
                    only_task_resources: grant.environment == task.environment,
                    fields_withheld: false,
                    two_approvers_enrolled: false,
                },
                false,
            )
        });
        decisions
            .max_by_key(Decision::strictness)
            .unwrap_or_else(|| Decision::Deny {
                policies: Vec::new(),
                reason: "The manifest grants no database.".to_owned(),
                how_to_proceed: "Add a [[database]] to it.".to_owned(),
            })
    }
}

/// Why a statement is held, with how to see which rows it is about. Not where others stand before it, after
/// which the number may be another one.
fn with_count(reason: String, statements: &[Statement], decision: &Decision) -> String {
    let (Decision::Ask { .. }, [statement]) = (decision, statements) else {
        return reason;
    };
    match &statement.row_count {
        Some(Ok(query)) if query.len() <= LONGEST_COUNT => format!(
            "{reason} This counts its rows, not what cascades, triggers, rules and functions do besides: {query}"
        ),
        Some(Err(why)) => {
            format!("{reason} How many rows it changes cannot be counted beforehand: {why}.")
        }
        _ => reason,
    }
}

/// What a line of `--jsonl` asks about SQL.
pub(super) fn parse(line: &Json) -> Result<(Dialect, String), String> {
    let known = |name: &String| matches!(name.as_str(), "id" | "sql" | "dialect");
    let fields = line.as_object().ok_or("the line is not an object")?;
    if let Some(name) = fields.keys().find(|name| !known(name)) {
        return Err(format!("`{name}` is not a field of a `sql` line"));
    }
    let text = line
        .get("sql")
        .and_then(Json::as_str)
        .ok_or("`sql` is not a string")?;
    let dialect = match line.get("dialect") {
        None => Dialect::Postgres,
        Some(word) => word
            .as_str()
            .and_then(|word| word.parse().ok())
            .ok_or("`dialect` is not postgres, mysql or sqlite")?,
    };
    Ok((dialect, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tagout_policy::Policy;

    fn answer(line: &Json) -> Json {
        let checker = Checker::new(None, Policy::load(None).unwrap()).unwrap();
        checker.line(&line.to_string())
    }

    #[test]
    fn statements_are_decided_by_their_effect() {
        let read = answer(&json!({"id": 1, "sql": "SELECT * FROM users", "dialect": "postgres"}));
        assert_eq!(read["id"], 1);
        assert_eq!(read["verdict"], "allow", "{read}");
        assert_eq!(read["effect"], "read");
        assert_eq!(read["operations"], json!(["sql.select"]));
        assert_eq!(read["resources"], json!(["sql:table/users"]));
        let gone = answer(&json!({"id": 2, "sql": "SELECT 1; DELETE FROM app.users"}));
        assert_eq!(gone["verdict"], "hold", "{gone}");
        assert_eq!(gone["effect"], "destructive");
        assert_eq!(gone["operations"], json!(["sql.delete", "sql.select"]));
        assert_eq!(gone["resources"], json!(["sql:table/app.users"]));
        let why = gone["reason"].as_str().unwrap();
        assert!(why.contains("every row"), "{why}");
        assert!(!why.contains("database.invalid"), "{why}");
        let counted = answer(&json!({"id": 2, "sql": "DELETE FROM users WHERE age > 9"}));
        let why = counted["reason"].as_str().unwrap();
        assert!(
            why.ends_with(": SELECT pg_catalog.count(*) FROM users WHERE age > 9"),
            "{why}"
        );
        let uncounted = answer(&json!({"id": 2, "sql": "DELETE FROM users WHERE random() < 1"}));
        let why = uncounted["reason"].as_str().unwrap();
        assert!(why.contains("cannot be counted"), "{why}");
        let call = answer(&json!({"id": 3, "sql": "SELECT evil()"}));
        assert_eq!(call["verdict"], "hold", "{call}");
        assert_eq!(call["flags"], json!(["exec"]));
        let dropped = answer(&json!({"id": 4, "sql": "DROP TABLE `a b`", "dialect": "mysql"}));
        assert_eq!(dropped["verdict"], "hold", "{dropped}");
        assert_eq!(dropped["effect"], "irreversible");
        let insert =
            answer(&json!({"id": 5, "sql": "INSERT INTO t VALUES (1)", "dialect": "sqlite"}));
        assert_eq!(insert["verdict"], "allow", "{insert}");
        let role = answer(&json!({"id": 6, "sql": "GRANT ALL ON users TO PUBLIC"}));
        assert_eq!(role["verdict"], "hold", "{role}");
        let nothing = answer(&json!({"id": 7, "sql": "-- nothing"}));
        assert_eq!(nothing["verdict"], "allow", "{nothing}");
    }

    #[test]
    fn invariant_8_a_text_that_cannot_be_read_is_denied() {
        for line in [
            json!({"id": 1, "sql": "DELETE FORM users"}),
            json!({"id": 1, "sql": "SELECT 1\u{0}"}),
            json!({"id": 1, "sql": 5}),
            json!({"id": 1, "sql": "SELECT 1", "dialect": "oracle"}),
            json!({"id": 1, "sql": "SELECT 1", "dialect": null}),
            json!({"id": 1, "sql": "SELECT 1", "http": {}}),
            json!({"id": 1, "sql": "SELECT 1 /*! + 1", "dialect": "mysql"}),
            json!({"id": 1, "sql": "SELECT 1", "dialekt": "mysql"}),
        ] {
            let answer = answer(&line);
            assert_eq!(answer["verdict"], "deny", "{line}: {answer}");
            assert!(answer["reason"].is_string(), "{line}");
        }
    }
}
