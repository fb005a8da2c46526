//! What a statement would take, found out by a connection of the gate's own in a read-only transaction.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tagout_catalog_sql::{Act, mysql_rows, with_values};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::tables::{Table, other_than_tables, quoted, references, table};
use super::{Bound, BoundTable, DamageError, Fate, Planned, Preview, Target};
use crate::server::Server;

/// How long looking may take in all. Each question has two seconds at the server; on a busy machine many short
/// ones take longer than that together, and a preview that is not finished keeps nothing.
const BUDGET: Duration = Duration::from_secs(10);
/// How many foreign keys are followed from a table.
const DEEPEST: usize = 8;
/// Tables of a database that are named.
const MOST_NAMED: usize = 20;

/// Looks at what `planned` would take.
pub async fn preview<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    planned: &Planned<'_>,
) -> Preview {
    let mut lines = Vec::new();
    let looked = timeout(BUDGET, look(server, planned, &mut lines)).await;
    let bound = match looked {
        Ok(Ok(bound)) => bound,
        Ok(Err(why)) => {
            lines.push(format!("cannot be previewed: {why}"));
            None
        }
        Err(_) => {
            lines.push(format!("cannot be previewed within {} s", BUDGET.as_secs()));
            None
        }
    };
    Preview { lines, bound }
}

async fn look<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    planned: &Planned<'_>,
    lines: &mut Vec<String>,
) -> Result<Option<Bound>, DamageError> {
    let unseen = |why: &str| Err(DamageError::Unseen(why.to_owned()));
    let [statement] = planned.statements else {
        return unseen("it is several statements in one text");
    };
    // Whichever of the two this server knows; the time is kept here as well.
    for limit in ["max_statement_time = 2", "max_execution_time = 2000"] {
        let _ = server.ask(&format!("SET SESSION {limit}")).await;
    }
    server.ask("START TRANSACTION READ ONLY").await?;
    let Some(act) = statement.acts.first() else {
        return unseen("it does nothing that is known");
    };
    match act.name.as_str() {
        "delete" => rows(
            server,
            planned,
            (act, &statement.acts),
            Fate::Removed,
            lines,
        )
        .await
        .map(Some),
        "update" => rows(
            server,
            planned,
            (act, &statement.acts),
            Fate::Changed,
            lines,
        )
        .await
        .map(Some),
        "truncate" => whole(server, planned, act, Fate::Emptied, lines)
            .await
            .map(Some),
        "drop_table" => whole(server, planned, act, Fate::Dropped, lines)
            .await
            .map(Some),
        "drop_database" => {
            let found = server
                .ask(&format!(
                    "SELECT TABLE_NAME, TABLE_ROWS, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
                     ORDER BY TABLE_ROWS DESC",
                    super::tables::value(planned.database)
                ))
                .await?;
            lines.push(format!(
                "database {} with {} tables and views, all of them dropped",
                quoted(planned.database),
                found.rows.len()
            ));
            for row in 0..found.rows.len().min(MOST_NAMED) {
                lines.push(format!(
                    "table {}: about {} rows dropped",
                    quoted(&found.text(row, 0)),
                    found.number(row, 1).unwrap_or_default()
                ));
            }
            Ok(None)
        }
        "drop_column" | "alter_column_type" | "drop_partition" | "drop_index" | "replace_table" => {
            for object in act.objects.iter().filter(|object| object.kind == "table") {
                let found = table(server, planned.database, &object.name).await?;
                lines.push(format!(
                    "table {}: about {} rows, {} with indexes, all of them rewritten",
                    quoted(&object.name),
                    found.rows,
                    size(found.bytes)
                ));
            }
            Ok(None)
        }
        _ => unseen("it is none of DELETE, UPDATE, TRUNCATE, DROP TABLE and DROP DATABASE"),
    }
}

/// A statement that takes whole tables.
async fn whole<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    planned: &Planned<'_>,
    act: &Act,
    fate: Fate,
    lines: &mut Vec<String>,
) -> Result<Bound, DamageError> {
    let mut tables = Vec::new();
    for object in &act.objects {
        let found = table(server, planned.database, &object.name).await?;
        let rows = count(server, &quoted(&object.name)).await?;
        lines.push(told(&object.name, &found, rows, fate));
        tables.push(BoundTable {
            name: object.name.clone(),
            rows: Target::All,
            most: rows,
            fate,
        });
    }
    for at in &tables {
        for reference in references(server, planned.database, &at.name).await? {
            if tables.iter().all(|table| table.name != reference.table) {
                lines.push(format!(
                    "table {} refers to {}: the server refuses this while that is so",
                    quoted(&reference.table),
                    quoted(&at.name)
                ));
            }
        }
    }
    lines.push("MySQL commits it at once; what is kept before is the only way back.".to_owned());
    match tables.is_empty() {
        true => Err(DamageError::Unseen("it names no table".to_owned())),
        false => Ok(Bound { tables }),
    }
}

/// A DELETE or UPDATE, with what goes along by foreign keys.
async fn rows<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    planned: &Planned<'_>,
    (act, acts): (&Act, &[Act]),
    fate: Fate,
    lines: &mut Vec<String>,
) -> Result<Bound, DamageError> {
    let unseen = |why: String| DamageError::Unseen(why);
    let text = match planned.parameters {
        [] => planned.text.to_owned(),
        values => with_values(planned.text, values)
            .ok_or_else(|| unseen("its values do not fit its text".to_owned()))?,
    };
    let found = mysql_rows(&text)
        .map_err(|why| unseen(why.to_string()))?
        .map_err(|why| unseen(why.to_string()))?;
    let [target] = act.objects.as_slice() else {
        return Err(unseen("it is about several tables".to_owned()));
    };
    let read: Vec<String> = acts
        .iter()
        .filter(|act| act.name == "select")
        .flat_map(|act| &act.objects)
        .map(|object| object.name.clone())
        .collect();
    let others = other_than_tables(server, planned.database, &read).await?;
    if let Some(other) = others.first() {
        return Err(unseen(format!("{other} is no table of its own")));
    }
    let mut tables = Vec::new();
    let mut seen = HashSet::from([target.name.clone()]);
    let mut open = VecDeque::from([(
        target.name.clone(),
        fate,
        Target::Query {
            from: format!("{} {}", found.table, found.condition),
            called: found.called,
        },
        0,
    )]);
    while let Some((name, fate, rows, depth)) = open.pop_front() {
        let known = table(server, planned.database, &name).await?;
        if !known.engine.eq_ignore_ascii_case("innodb") {
            return Err(unseen(format!(
                "{name} is kept by {}, which takes nothing back",
                known.engine
            )));
        }
        let Target::Query { from, called } = &rows else {
            return Err(unseen(name));
        };
        let most = count(server, from).await?;
        lines.push(told(&name, &known, most, fate));
        for reference in references(server, planned.database, &name).await? {
            let rule = match fate {
                Fate::Changed => &reference.on_update,
                _ => &reference.on_delete,
            };
            let child = match rule.as_str() {
                "CASCADE" if fate != Fate::Changed => Fate::Removed,
                "CASCADE" | "SET NULL" | "SET DEFAULT" => Fate::Changed,
                _ => continue,
            };
            if fate == Fate::Changed {
                // Only where the columns that it refers to change; those of the key must not.
                let is_key = |name: &String| {
                    known.key.iter().flatten().any(|place| {
                        known
                            .columns
                            .get(*place)
                            .is_some_and(|column| column.name == *name)
                    })
                };
                if !reference.columns.iter().all(|(_, there)| is_key(there)) {
                    return Err(unseen(format!(
                        "rows of {} may change along",
                        reference.table
                    )));
                }
                continue;
            }
            if reference.schema != planned.database {
                return Err(unseen(format!(
                    "rows of another database, {}, go along",
                    reference.schema
                )));
            }
            if depth >= DEEPEST || !seen.insert(reference.table.clone()) {
                return Err(unseen(format!(
                    "rows of {} go along by more than one way",
                    reference.table
                )));
            }
            let (here, there): (Vec<_>, Vec<_>) = reference
                .columns
                .iter()
                .map(|(here, there)| (quoted(here), format!("{called}.{}", quoted(there))))
                .unzip();
            // In a table of its own, since a condition may end in LIMIT.
            let from = format!(
                "{} WHERE ({}) IN (SELECT * FROM (SELECT {} FROM {from}) AS tagout_{depth})",
                quoted(&reference.table),
                here.join(", "),
                there.join(", "),
            );
            let called = quoted(&reference.table);
            open.push_back((
                reference.table,
                child,
                Target::Query { from, called },
                depth + 1,
            ));
        }
        tables.push(BoundTable {
            name,
            rows,
            most,
            fate,
        });
    }
    Ok(Bound { tables })
}

async fn count<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    from: &str,
) -> Result<u64, DamageError> {
    let counted = server
        .ask(&format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {from}) AS tagout_counted"
        ))
        .await?;
    counted
        .number(0, 0)
        .ok_or_else(|| DamageError::Unseen("its rows were not counted".to_owned()))
}

fn told(name: &str, table: &Table, rows: u64, fate: Fate) -> String {
    let noun = if rows == 1 { "row" } else { "rows" };
    let triggers = match table.triggers.as_slice() {
        [] => String::new(),
        names => format!(
            "; its triggers ({}) run too, and what they do is neither counted nor kept",
            names.join(", ")
        ),
    };
    format!(
        "table {} ({} with indexes): exactly {rows} {noun} {fate}{triggers}",
        quoted(name),
        size(table.bytes)
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
