//! The query that counts the rows which a DELETE or UPDATE is about, so that a person can see the damage
//! before it is done. It is made from the parsed tree, never from pieces of the text: the target and what
//! stands in USING, FROM and WITH become the query's FROM, and the WHERE stays what it is.
//!
//! A count that is wrong is worse than none. So there is none where the query would do more than read,
//! could give another number when asked again, or would mean another table than the statement does; and
//! what libpg_query writes has to parse to the tree that it was given.

use std::collections::BTreeSet;

use pg_query::protobuf::{
    ColumnRef, DeleteStmt, Node, RangeVar, SelectStmt, UpdateStmt, WithClause,
};
use pg_query::{DeparseOptions, NodeEnum, ParserOptions};
use serde::Serialize;

use super::tree::{Message, Value, tree_of};
use super::{calls, each};
use crate::statement::{Class, RowQuery, Uncountable};

/// Counts rows of one table.
const ROWS: &str = "SELECT pg_catalog.count(*)";

/// Counts rows of the target where other tables are joined to it, each row once. Which target is
/// put in place of `target`.
const ROWS_OF_A_JOIN: &str = "SELECT pg_catalog.count(DISTINCT (target.tableoid, target.ctid))";

/// Says where each of its rows is.
const LISTED: &str = "SELECT target.tableoid, target.ctid";

/// The same where a join may meet a row more than once.
const LISTED_OF_A_JOIN: &str = "SELECT DISTINCT target.tableoid, target.ctid";

/// The query that counts the rows of this statement: one DELETE or UPDATE.
pub(super) fn count_query(statement: &str) -> Result<String, Uncountable> {
    let query = Affected::parse(statement)?.query(ROWS, ROWS_OF_A_JOIN)?;
    let tree = without_places(&query)?;
    is_repeatable(&tree)?;
    written(query, &tree)
}

/// The query that lists the rows of this statement, one DELETE or UPDATE, by table and place. Other than
/// a count it may depend on parameters, whose values its reader knows.
pub(super) fn row_query(statement: &str) -> Result<RowQuery, Uncountable> {
    let affected = Affected::parse(statement)?;
    let sets = affected.sets.clone();
    let query = affected.query(LISTED, LISTED_OF_A_JOIN)?;
    let tree = without_places(&query)?;
    let mut parameters = BTreeSet::new();
    let mut changing = None;
    tree.any(&mut |message: &Message| {
        if message.kind == "ParamRef" {
            parameters.insert(message.number("number"));
        } else {
            changing = changing.or(unrepeatable(message));
        }
        false
    });
    if let Some(why) = changing {
        return Err(why);
    }
    Ok(RowQuery {
        query: written(query, &tree)?,
        parameters: parameters
            .into_iter()
            .filter_map(|number| usize::try_from(number).ok())
            .collect(),
        sets,
    })
}

/// The query as a text that parses to the same tree, and does nothing but read.
fn written(query: SelectStmt, tree: &Value) -> Result<String, Uncountable> {
    let text = NodeEnum::SelectStmt(Box::new(query))
        .deparse(DeparseOptions::default())
        .map_err(|_| Uncountable::NotWritten)?;
    let read_again = match only_statement(&text)? {
        NodeEnum::SelectStmt(read_again) => without_places(&*read_again)?,
        _ => return Err(Uncountable::NotWritten),
    };
    if read_again != *tree {
        return Err(Uncountable::NotWritten);
    }
    let only_reads = each(&text).is_ok_and(|statements| {
        let mut acts = statements.iter().flat_map(|(_, statement)| &statement.acts);
        acts.all(|act| act.known && act.class == Class::Read)
    });
    match only_reads {
        true => Ok(text),
        false => Err(Uncountable::DoesMore),
    }
}

/// The parts of a DELETE or UPDATE that say which rows.
#[derive(Default)]
struct Affected {
    relation: RangeVar,
    joined: Vec<Node>,
    condition: Option<Box<Node>>,
    with: Option<WithClause>,
    /// The columns that an UPDATE sets.
    sets: Option<Vec<String>>,
}

impl Affected {
    fn parse(statement: &str) -> Result<Self, Uncountable> {
        let (relation, joined, condition, with, sets) = match only_statement(statement)? {
            NodeEnum::DeleteStmt(delete) => {
                let DeleteStmt {
                    relation,
                    using_clause,
                    where_clause,
                    with_clause,
                    returning_clause: _,
                } = *delete;
                (relation, using_clause, where_clause, with_clause, None)
            }
            NodeEnum::UpdateStmt(update) => {
                let UpdateStmt {
                    relation,
                    from_clause,
                    where_clause,
                    with_clause,
                    target_list,
                    returning_clause: _,
                } = *update;
                let sets = target_list.into_iter().filter_map(|node| match node.node {
                    Some(NodeEnum::ResTarget(column)) => Some(column.name),
                    _ => None,
                });
                (
                    relation,
                    from_clause,
                    where_clause,
                    with_clause,
                    Some(sets.collect()),
                )
            }
            _ => return Err(Uncountable::NotOne),
        };
        Ok(Self {
            relation: relation.ok_or(Uncountable::NotOne)?,
            joined,
            condition,
            with,
            sets,
        })
    }

    /// `of_one` or, where other tables are joined to the target, `of_a_join`, with these rows.
    fn query(self, of_one: &str, of_a_join: &str) -> Result<SelectStmt, Uncountable> {
        // The target of a DELETE is never a WITH query; in a FROM the same name would be.
        let named = self.with.iter().flat_map(|with| &with.ctes).any(|cte| {
            matches!(&cte.node, Some(NodeEnum::CommonTableExpr(cte)) if cte.ctename == self.relation.relname)
        });
        if named && self.relation.schemaname.is_empty() {
            return Err(Uncountable::TwoOfAName);
        }
        let mut query = template(match self.joined.is_empty() {
            true => of_one,
            false => of_a_join,
        })?;
        for column in row_columns(&mut query) {
            put_target(column, &self.relation)?;
        }
        query.from_clause = std::iter::once(Node {
            node: Some(NodeEnum::RangeVar(self.relation)),
        })
        .chain(self.joined)
        .collect();
        query.where_clause = self.condition;
        query.with_clause = self.with;
        Ok(query)
    }
}

/// The statement of a text that has one.
fn only_statement(text: &str) -> Result<NodeEnum, Uncountable> {
    let parsed =
        pg_query::parse(text, ParserOptions::DEFAULT).map_err(|_| Uncountable::NotWritten)?;
    let mut statements = parsed.protobuf.stmts.into_iter();
    match (statements.next(), statements.next()) {
        (Some(raw), None) => raw
            .stmt
            .and_then(|node| node.node)
            .ok_or(Uncountable::NotOne),
        _ => Err(Uncountable::NotOne),
    }
}

fn template(text: &str) -> Result<SelectStmt, Uncountable> {
    match only_statement(text)? {
        NodeEnum::SelectStmt(query) => Ok(*query),
        _ => Err(Uncountable::NotWritten),
    }
}

/// The columns of `target` in a template.
fn row_columns(query: &mut SelectStmt) -> Vec<&mut Node> {
    let mut columns = Vec::new();
    for node in &mut query.target_list {
        let Some(NodeEnum::ResTarget(target)) = &mut node.node else {
            continue;
        };
        let Some(value) = &mut target.val else {
            continue;
        };
        if matches!(value.node, Some(NodeEnum::ColumnRef(_))) {
            columns.push(&mut **value);
        } else if let Some(NodeEnum::FuncCall(call)) = &mut value.node {
            for argument in &mut call.args {
                if let Some(NodeEnum::RowExpr(row)) = &mut argument.node {
                    columns.extend(&mut row.args);
                }
            }
        }
    }
    columns
}

/// Puts the name by which the rest of the statement calls its target in place of a column's `target`.
fn put_target(column: &mut Node, relation: &RangeVar) -> Result<(), Uncountable> {
    let Some(NodeEnum::ColumnRef(ColumnRef { fields, .. })) = &mut column.node else {
        return Err(Uncountable::NotWritten);
    };
    let name = |name: &str| Node {
        node: Some(NodeEnum::String(pg_query::protobuf::String {
            sval: name.to_owned(),
        })),
    };
    let names = match &relation.alias {
        Some(alias) => vec![name(&alias.aliasname)],
        None if relation.schemaname.is_empty() => vec![name(&relation.relname)],
        None => vec![name(&relation.schemaname), name(&relation.relname)],
    };
    fields.splice(..1, names);
    Ok(())
}

/// The tree of a query, without where in a text each part of it stood.
fn without_places<T: Serialize>(query: &T) -> Result<Value, Uncountable> {
    fn strip(value: &mut Value) {
        match value {
            Value::Message(message) => {
                message.fields.retain(|(name, _)| {
                    !matches!(
                        *name,
                        "location"
                            | "rexpr_list_start"
                            | "rexpr_list_end"
                            | "list_start"
                            | "list_end"
                    )
                });
                message
                    .fields
                    .iter_mut()
                    .for_each(|(_, value)| strip(value));
            }
            Value::List(items) => items.iter_mut().for_each(strip),
            _ => (),
        }
    }
    let mut tree = tree_of(query).map_err(|_| Uncountable::NotWritten)?;
    strip(&mut tree);
    Ok(tree)
}

/// Whether asking twice gives one answer, as far as a text tells.
fn is_repeatable(tree: &Value) -> Result<(), Uncountable> {
    let mut why = None;
    tree.any(&mut |message: &Message| {
        why = unrepeatable(message);
        why.is_some()
    });
    why.map_or(Ok(()), Err)
}

fn unrepeatable(message: &Message) -> Option<Uncountable> {
    match message.kind {
        "ParamRef" => Some(Uncountable::Parameter),
        "CurrentOfExpr" => Some(Uncountable::Cursor),
        "LockingClause" => Some(Uncountable::DoesMore),
        "RangeTableSample" => Some(Uncountable::Changing),
        "FuncCall" if !calls::only_computes(message) => Some(Uncountable::Changing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Classifier, Dialect};

    fn count(text: &str) -> Option<Result<String, Uncountable>> {
        let classifier = Classifier::start(1).unwrap();
        let statements = classifier.classify(Dialect::Postgres, text);
        let mut statements = statements.unwrap_or_else(|error| panic!("{text}: {error}"));
        statements.pop().expect("a statement").row_count
    }

    #[test]
    fn rows_are_counted_by_the_statements_own_condition() {
        for (statement, query) in [
            ("DELETE FROM users", "SELECT pg_catalog.count(*) FROM users"),
            (
                "DELETE FROM ONLY app.users AS u WHERE u.seen < now() - '30 days'::interval RETURNING *",
                "SELECT pg_catalog.count(*) FROM ONLY app.users u WHERE u.seen < now() - '30 days'::interval",
            ),
            (
                "UPDATE users SET plan = 'none', token = random() WHERE plan <> 'paid' OR plan IS NULL",
                "SELECT pg_catalog.count(*) FROM users WHERE plan <> 'paid' OR plan IS NULL",
            ),
            (
                "WITH old AS (SELECT id FROM logins) DELETE FROM users WHERE id IN (SELECT id FROM old)",
                "WITH old AS (SELECT id FROM logins) SELECT pg_catalog.count(*) FROM users WHERE id IN (SELECT id FROM old)",
            ),
            (
                "DELETE FROM a.t USING u WHERE t.u = u.id",
                "SELECT pg_catalog.count(DISTINCT (a.t.tableoid, a.t.ctid)) FROM a.t, u WHERE t.u = u.id",
            ),
            (
                "UPDATE t AS x SET n = u.n FROM u JOIN v ON u.id = v.id WHERE x.id = u.id",
                "SELECT pg_catalog.count(DISTINCT (x.tableoid, x.ctid)) FROM t x, u JOIN v ON u.id = v.id WHERE x.id = u.id",
            ),
        ] {
            assert_eq!(count(statement), Some(Ok(query.to_owned())), "{statement}");
        }
    }

    #[test]
    fn names_and_literals_stay_what_they_are() {
        for statement in [
            r#"DELETE FROM "us""ers; DROP TABLE x; --" WHERE "Wh'ere" = 'it''s; DELETE FROM y'"#,
            r#"DELETE FROM "select" WHERE "from" = E'a\'; DROP TABLE x; --'"#,
            r#"DELETE FROM t WHERE a = $$'; DROP TABLE x; --$$ OR b = U&'\0027; --'"#,
            r#"DELETE FROM "t t"."*" USING "u.v" WHERE "u.v"."/*" = "t t"."*"."*/""#,
            "DELETE FROM t WHERE a = 'one' -- or\n'two' OR b ~ '\\' OR c = B'01' OR d = x'ff' OR f = 1e400",
        ] {
            let query = count(statement)
                .unwrap_or_else(|| panic!("{statement}"))
                .unwrap();
            let query = only_statement(&query).unwrap();
            let tree = without_places(&query).unwrap();
            let condition = match only_statement(statement).unwrap() {
                NodeEnum::DeleteStmt(delete) => without_places(&delete.where_clause).unwrap(),
                _ => unreachable!("all of them delete"),
            };
            let NodeEnum::SelectStmt(select) = query else {
                panic!("{statement}: {query:?}")
            };
            assert_eq!(without_places(&select.where_clause).unwrap(), condition);
            let writes =
                |message: &Message| message.kind.ends_with("Stmt") && message.kind != "SelectStmt";
            assert!(!tree.any(&mut |message| writes(message)), "{statement}");
        }
    }

    #[test]
    fn rows_are_listed_with_what_the_list_depends_on() {
        let listed = |text: &str| {
            let mut rows = crate::row_queries(text).unwrap();
            rows.pop().expect("a statement")
        };
        for (statement, query, parameters, sets) in [
            (
                "DELETE FROM t",
                "SELECT t.tableoid, t.ctid FROM t",
                vec![],
                None,
            ),
            (
                "DELETE FROM a.t x USING u WHERE x.u = u.id AND u.n IN ($2, $1, $2)",
                "SELECT DISTINCT x.tableoid, x.ctid FROM a.t x, u WHERE x.u = u.id AND u.n IN ($2, $1, $2)",
                vec![1, 2],
                None,
            ),
            (
                "UPDATE t SET (a, b) = ($1, 2), \"C\" = 3 WHERE id = 4",
                "SELECT t.tableoid, t.ctid FROM t WHERE id = 4",
                vec![],
                Some(["a", "b", "C"].map(ToOwned::to_owned).to_vec()),
            ),
        ] {
            let rows = listed(statement).unwrap_or_else(|why| panic!("{statement}: {why}"));
            let expected = RowQuery {
                query: query.to_owned(),
                parameters,
                sets,
            };
            assert_eq!(rows, expected, "{statement}");
        }
        for (statement, why) in [
            (
                "DELETE FROM t WHERE n > $1 AND random() < 0.5",
                Uncountable::Changing,
            ),
            ("DELETE FROM t WHERE n > evil($1)", Uncountable::Changing),
            ("DELETE FROM t WHERE CURRENT OF c", Uncountable::Cursor),
            ("TRUNCATE t", Uncountable::NotOne),
        ] {
            assert_eq!(listed(statement), Err(why), "{statement}");
        }
    }

    #[test]
    fn a_count_that_could_be_wrong_is_not_made() {
        for (statement, why) in [
            ("DELETE FROM t WHERE n > $1", Uncountable::Parameter),
            (
                "UPDATE t SET n = evil() WHERE CURRENT OF c",
                Uncountable::Cursor,
            ),
            ("DELETE FROM t WHERE random() < 0.5", Uncountable::Changing),
            ("DELETE FROM t WHERE n > evil()", Uncountable::Changing),
            (
                "DELETE FROM t WHERE n > public.now()",
                Uncountable::Changing,
            ),
            (
                "DELETE FROM t WHERE n > nextval('s')",
                Uncountable::Changing,
            ),
            (
                "DELETE FROM t WHERE n > extract(epoch FROM clock_timestamp())",
                Uncountable::Changing,
            ),
            (
                "DELETE FROM t USING u TABLESAMPLE system (1) WHERE t.u = u.id",
                Uncountable::Changing,
            ),
            (
                "DELETE FROM t WHERE id IN (SELECT id FROM u FOR UPDATE)",
                Uncountable::DoesMore,
            ),
            (
                "WITH gone AS (DELETE FROM u RETURNING id) DELETE FROM t WHERE id IN (SELECT id FROM gone)",
                Uncountable::DoesMore,
            ),
            (
                "DELETE FROM t WHERE n OPERATOR(evil.>) 1",
                Uncountable::DoesMore,
            ),
            // A DELETE's target is never the WITH query, a SELECT's would be: it would count nothing.
            (
                "WITH users AS (SELECT 1 WHERE false) DELETE FROM users",
                Uncountable::TwoOfAName,
            ),
            (
                "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
                Uncountable::NotOne,
            ),
            ("EXPLAIN ANALYZE DELETE FROM t", Uncountable::NotOne),
            ("PREPARE p AS DELETE FROM t", Uncountable::NotOne),
            (
                "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
                Uncountable::NotOne,
            ),
        ] {
            assert_eq!(count(statement), Some(Err(why)), "{statement}");
        }
    }

    #[test]
    fn what_nobody_is_asked_about_has_no_count() {
        for statement in ["SELECT 1", "DELETE FROM t WHERE id = 5", "DROP TABLE t"] {
            assert_eq!(count(statement), None, "{statement}");
        }
    }

    #[test]
    fn a_count_is_of_its_own_statement() {
        let text = "DELETE FROM é; /* 'x' */ DELETE FROM b";
        let classifier = Classifier::start(1).unwrap();
        let statements = classifier.classify(Dialect::Postgres, text).unwrap();
        let counts: Vec<_> = statements.into_iter().map(|each| each.row_count).collect();
        let of = |table: &str| Some(Ok(format!("SELECT pg_catalog.count(*) FROM {table}")));
        assert_eq!(counts, [of("\"\u{e9}\""), of("b")]);
    }

    #[test]
    fn a_deep_or_long_condition_ends_in_an_answer() {
        let classifier = Classifier::start(1).unwrap();
        for text in [
            format!("DELETE FROM t WHERE {}", vec!["n = 1"; 5_000].join(" OR ")),
            format!("DELETE FROM t WHERE n = {}1", "1 + ".repeat(3_000)),
            format!("DELETE FROM t WHERE {} true", "NOT ".repeat(3_000)),
            format!(
                "DELETE FROM t WHERE n = {}1{}",
                "abs(".repeat(2_000),
                ")".repeat(2_000)
            ),
        ] {
            // Too deep to be read is an answer, and so is a count that is not made.
            let _ = classifier.classify(Dialect::Postgres, &text);
            let after = classifier
                .classify(Dialect::Postgres, "DELETE FROM t")
                .unwrap();
            assert!(matches!(after[0].row_count, Some(Ok(_))));
        }
    }
}
