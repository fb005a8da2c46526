//! Puts back what a snapshot holds, in one transaction, with the rights of whoever undoes.
//!
//! What others did to the same rows since is theirs: a row that is neither as the statement left it nor
//! as it was before is a conflict, and stays as it is unless told otherwise. Rows go back in one single
//! statement, since the database checks foreign keys at the end of a statement: so tables that refer to
//! each other need no order. What was put back is compared with what was kept before it is committed.

use std::path::Path;

use tagout_database::{StoreError, UndoOptions, UndoReport, UndoneTable};

use super::snapshot::{columns, key, values};
use super::store::{Kept, KeptTable, Row, Shelf};
use super::target::{cell, number};
use super::{DamageError, Fate};

use crate::{Ask, ServerError, quoted_name, quoted_value};

/// The longest statement that brings kept values into the database, in bytes.
const AT_A_TIME: usize = 256 << 10;
/// Rows that are named in a report of conflicts.
const MOST_NAMED: usize = 5;

/// Puts back what the snapshot in `from` holds. `ask` is a connection to the same database, in no
/// transaction; the role needs the rights to do what is done. Afterwards the connection is in no
/// transaction, and everything was done or nothing.
///
/// # Errors
/// Where the database refuses, what was kept was altered, or what was put back is not what was kept.
pub async fn undo(
    ask: &mut impl Ask,
    from: &Path,
    options: UndoOptions,
) -> Result<UndoReport, DamageError> {
    let shelf = Shelf::open(from)?;
    let mut report = UndoReport::default();
    if shelf.is_undone() && !options.force {
        report
            .remarks
            .push("It was put back already; --force does it again.".to_owned());
        return Ok(report);
    }
    ask.ask(
        "BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';
         SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content';
         SET LOCAL row_security = off; SET LOCAL statement_timeout = 0; SET LOCAL check_function_bodies = off;
         SET LOCAL standard_conforming_strings = on",
    )
    .await?;
    let done = put_back(ask, &shelf, options, &mut report).await;
    match done {
        Ok(()) if !options.dry_run && (options.force || report.conflicts() == 0) => {
            ask.ask("COMMIT").await?;
            report.is_done = true;
            shelf.mark_undone()?;
        }
        done => {
            ask.ask("ROLLBACK").await?;
            done?;
        }
    }
    Ok(report)
}

async fn put_back(
    ask: &mut impl Ask,
    shelf: &Shelf,
    options: UndoOptions,
    report: &mut UndoReport,
) -> Result<(), DamageError> {
    let kept = &shelf.kept;
    if !is_its_database(ask, kept).await? {
        return Err(DamageError::Unseen(format!(
            "what was kept is of another database: {} on the server {}",
            kept.database, kept.server
        )));
    }
    if was_rolled_back(ask, kept).await? {
        report
            .remarks
            .push("The statement was rolled back: there is nothing to put back.".to_owned());
        return Ok(());
    }
    let mut steps = Vec::new();
    report.definitions += make_again(ask, &kept.content.definitions).await?;
    let mut triggers = Vec::new();
    for (at, table) in kept.content.tables.iter().enumerate() {
        is_of_same_columns(ask, table).await?;
        triggers.extend(silence(ask, table).await?);
        bring(ask, shelf, at, table).await?;
        let undone = compare(ask, at, table, options).await?;
        report.tables.push(undone);
        steps.push((at, table));
    }
    if report.conflicts() > 0 && !options.force {
        return Ok(());
    }
    write(ask, &steps, report).await?;
    for (at, table) in &steps {
        verify(ask, *at, table).await?;
    }
    for trigger in triggers {
        ask.ask(&trigger).await?;
    }
    report.definitions += make_again(ask, &kept.content.afterwards).await?;
    if !options.dry_run {
        for sequence in &kept.content.sequences {
            // It only ever goes forward: others may have taken numbers since.
            ask.ask(&format!(
                "SELECT setval({name}, {last}, {is_called}) FROM {sequence}
                 WHERE (last_value, is_called) < ({last}, {is_called})",
                name = quoted_value(&sequence.name),
                last = sequence.last,
                is_called = sequence.is_called,
                sequence = sequence.name,
            ))
            .await?;
        }
    }
    Ok(())
}

/// Whether `ask` leads to the database that the snapshot in `from` is of.
///
/// # Errors
/// Where the snapshot cannot be read, or the database does not answer.
pub async fn is_of(ask: &mut impl Ask, from: &Path) -> Result<bool, DamageError> {
    is_its_database(ask, &Shelf::open(from)?.kept).await
}

async fn is_its_database(ask: &mut impl Ask, kept: &Kept) -> Result<bool, DamageError> {
    let here = ask
        .ask("SELECT pg_catalog.current_database(), system_identifier FROM pg_catalog.pg_control_system()")
        .await?;
    let row = here.rows.first().map_or(&[][..], Vec::as_slice);
    Ok(cell(row, 0) == kept.database && cell(row, 1) == kept.server)
}

/// Whether the transaction did not commit. What the server no longer knows counts as committed.
async fn was_rolled_back(ask: &mut impl Ask, kept: &Kept) -> Result<bool, DamageError> {
    ask.ask("SAVEPOINT known").await?;
    let status = ask
        .ask(&format!(
            "SELECT pg_xact_status({}::xid8)",
            quoted_value(&kept.content.transaction)
        ))
        .await;
    match status {
        Ok(rows) => {
            ask.ask("RELEASE SAVEPOINT known").await?;
            Ok(rows.single() == Some("aborted"))
        }
        Err(ServerError::Said { .. }) => {
            ask.ask("ROLLBACK TO SAVEPOINT known").await?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs statements of which one may need another: as long as one more succeeds, the rest is tried again.
async fn make_again(ask: &mut impl Ask, statements: &[String]) -> Result<usize, DamageError> {
    let mut left: Vec<&String> = statements.iter().collect();
    while !left.is_empty() {
        let mut failed = Vec::new();
        let mut why = None;
        let tried = left.len();
        for statement in left {
            ask.ask("SAVEPOINT made").await?;
            match ask.ask(statement).await {
                Ok(_) => {
                    ask.ask("RELEASE SAVEPOINT made").await?;
                }
                Err(ServerError::Said { code, message }) => {
                    ask.ask("ROLLBACK TO SAVEPOINT made").await?;
                    why.get_or_insert(ServerError::Said { code, message });
                    failed.push(statement);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if failed.len() == tried
            && let Some(why) = why
        {
            return Err(DamageError::Unseen(format!(
                "a dropped object cannot be made again: {why}; the statement was: {}",
                failed.first().map_or("", |statement| statement.as_str())
            )));
        }
        left = failed;
    }
    Ok(statements.len())
}

async fn is_of_same_columns(ask: &mut impl Ask, table: &KeptTable) -> Result<(), DamageError> {
    let oid = ask
        .ask(&format!(
            "SELECT to_regclass({})::oid",
            quoted_value(&table.name)
        ))
        .await?;
    let oid = oid.single().and_then(|oid| oid.parse().ok());
    let oid: u32 =
        oid.ok_or_else(|| DamageError::Unseen(format!("{} is not there any more", table.name)))?;
    let now = columns(ask, oid).await?;
    let same_key = key(ask, oid, &now).await? == table.key;
    // A table that was made anew gets its keys behind the rows.
    if now != table.columns || !(same_key || table.fate == Fate::Dropped) {
        return Err(DamageError::Unseen(format!(
            "{} has other columns or keys than when its rows were kept",
            table.name
        )));
    }
    Ok(())
}

/// Keeps a table's own triggers from changing what is put back. What switches them on again.
async fn silence(ask: &mut impl Ask, table: &KeptTable) -> Result<Vec<String>, DamageError> {
    let rows = ask
        .ask(&format!(
            "SELECT quote_ident(tgname), tgenabled FROM pg_trigger WHERE tgrelid = {}::regclass
               AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
            quoted_value(&table.name)
        ))
        .await?;
    let mut back = Vec::new();
    for row in &rows.rows {
        let (trigger, name) = (cell(row, 0), &table.name);
        let always = if cell(row, 1) == "A" { "ALWAYS " } else { "" };
        ask.ask(&format!("ALTER TABLE {name} DISABLE TRIGGER {trigger}"))
            .await?;
        back.push(format!(
            "ALTER TABLE {name} ENABLE {always}TRIGGER {trigger}"
        ));
    }
    Ok(back)
}

/// The temporary tables of a kept table: rows before, rows after, what is to be done.
fn side(what: &str, at: usize) -> String {
    format!("pg_temp.\"tagout: {what} {at}\"")
}

fn from(table: &KeptTable) -> String {
    match table.is_partitioned {
        true => table.name.clone(),
        false => format!("ONLY {}", table.name),
    }
}

/// Brings kept rows into temporary tables, where the server can compare them.
async fn bring(
    ask: &mut impl Ask,
    shelf: &Shelf,
    at: usize,
    table: &KeptTable,
) -> Result<(), DamageError> {
    ask.ask(&format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        from(table)
    ))
    .await?;
    for (what, file) in [
        ("before", Some(&table.before)),
        ("after", table.after.as_ref()),
    ] {
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| format!(", {}", quoted_name(&column.name)))
            .collect();
        let to = side(what, at);
        ask.ask(&format!(
            "CREATE TEMPORARY TABLE {to} ON COMMIT DROP AS SELECT NULL::bigint AS \"tagout: n\"{} FROM {} WITH NO DATA",
            columns.concat(),
            from(table)
        ))
        .await?;
        let Some(file) = file else { continue };
        let mut batch = String::new();
        for row in shelf.rows::<Row>(file)? {
            let (n, values) = row?;
            if !table.columns.is_empty() && values.len() != table.columns.len() {
                return Err(StoreError::Altered(format!(
                    "a row of {} has other columns",
                    table.name
                ))
                .into());
            }
            batch.push_str(if batch.is_empty() { "(" } else { ", (" });
            batch.push_str(&n.to_string());
            for value in values.iter().take(table.columns.len()) {
                batch.push_str(", ");
                match value {
                    Some(value) => batch.push_str(&quoted_value(value)),
                    None => batch.push_str("NULL"),
                }
            }
            batch.push(')');
            if batch.len() > AT_A_TIME {
                ask.ask(&format!("INSERT INTO {to} VALUES {batch}")).await?;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            ask.ask(&format!("INSERT INTO {to} VALUES {batch}")).await?;
        }
        ask.ask(&format!("ANALYZE {to}")).await?;
    }
    Ok(())
}

/// A whole row as one text.
fn text(alias: &str, table: &KeptTable) -> String {
    format!("ROW({})::text", values(alias, &table.columns))
}

/// Whether two rows have one key.
fn same_key(one: &str, other: &str, table: &KeptTable, key: &[usize]) -> String {
    let columns = key.iter().filter_map(|at| table.columns.get(*at));
    let equal: Vec<_> = columns
        .map(|column| {
            let name = quoted_name(&column.name);
            format!("{one}.{name} = {other}.{name}")
        })
        .collect();
    equal.join(" AND ")
}

/// Decides for each row what is to be done: `i`nsert it, `u`pdate the one at a place, nothing (`=`); and
/// whether somebody else has to lose something by it.
async fn compare(
    ask: &mut impl Ask,
    at: usize,
    table: &KeptTable,
    options: UndoOptions,
) -> Result<UndoneTable, DamageError> {
    let (before, after, plan) = (side("before", at), side("after", at), side("plan", at));
    let from = from(table);
    let whole = |alias: &str| text(alias, table);
    let query = match &table.key {
        Some(key) => format!(
            "SELECT b.\"tagout: n\" AS n,
               CASE WHEN ub.ctid IS NOT NULL AND {ub} = {b} THEN '='
                    WHEN a.\"tagout: n\" IS NOT NULL AND ua.ctid IS NOT NULL THEN 'u'
                    WHEN ub.ctid IS NOT NULL THEN 'u' ELSE 'i' END AS act,
               coalesce(CASE WHEN ub.ctid IS NOT NULL AND {ub} = {b} THEN false
                    WHEN a.\"tagout: n\" IS NULL THEN ub.ctid IS NOT NULL
                    WHEN ua.ctid IS NULL THEN true
                    ELSE {ua} <> {a} OR (ub.ctid IS NOT NULL AND (ub.tableoid, ub.ctid) <> (ua.tableoid, ua.ctid)
                      AND NOT EXISTS (SELECT 1 FROM {after} o WHERE {o_is_ub})) END, false) AS conflict,
               CASE WHEN ua.ctid IS NOT NULL THEN ua.tableoid ELSE ub.tableoid END AS t,
               CASE WHEN ua.ctid IS NOT NULL THEN ua.ctid ELSE ub.ctid END AS c,
               ROW({named})::text AS named
             FROM {before} b LEFT JOIN {after} a ON a.\"tagout: n\" = b.\"tagout: n\"
             LEFT JOIN {from} ua ON {ua_is_a} LEFT JOIN {from} ub ON {ub_is_b}",
            ub = whole("ub"),
            b = whole("b"),
            ua = whole("ua"),
            a = whole("a"),
            ua_is_a = same_key("ua", "a", table, key),
            ub_is_b = same_key("ub", "b", table, key),
            o_is_ub = same_key("o", "ub", table, key),
            named = key
                .iter()
                .filter_map(|at| table.columns.get(*at))
                .map(|column| format!("b.{}", quoted_name(&column.name)))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        // Equal rows are as good as one another, as long as each is taken once.
        None => format!(
            "SELECT b.\"tagout: n\" AS n,
               CASE WHEN a.n IS NULL THEN 'i' WHEN u.c IS NOT NULL THEN 'u' ELSE 'i' END AS act,
               a.n IS NOT NULL AND u.c IS NULL AS conflict, u.t, u.c, {b} AS named
             FROM {before} b
             LEFT JOIN (SELECT \"tagout: n\" AS n, {a} AS whole, row_number() OVER (PARTITION BY {a}) AS nth FROM {after} a) a
               ON a.n = b.\"tagout: n\"
             LEFT JOIN (SELECT tableoid AS t, ctid AS c, {u} AS whole, row_number() OVER (PARTITION BY {u}) AS nth FROM {from} u) u
               ON u.whole = a.whole AND u.nth = a.nth",
            b = whole("b"),
            a = whole("a"),
            u = whole("u"),
        ),
    };
    ask.ask(&format!(
        "CREATE TEMPORARY TABLE {plan} ON COMMIT DROP AS {query}; ANALYZE {plan}"
    ))
    .await?;
    if !options.force {
        let examples = ask
            .ask(&format!(
                "SELECT named FROM {plan} WHERE conflict ORDER BY n LIMIT {MOST_NAMED}"
            ))
            .await?;
        let mut undone = counted(ask, table, &plan).await?;
        undone.examples = examples
            .rows
            .iter()
            .map(|row| cell(row, 0).to_owned())
            .collect();
        return Ok(undone);
    }
    counted(ask, table, &plan).await
}

async fn counted(
    ask: &mut impl Ask,
    table: &KeptTable,
    plan: &str,
) -> Result<UndoneTable, DamageError> {
    let counts = ask
        .ask(&format!(
            "SELECT count(*) FILTER (WHERE act = 'i'), count(*) FILTER (WHERE act = 'u'), count(*) FILTER (WHERE act = '='),
               count(*) FILTER (WHERE conflict) FROM {plan}"
        ))
        .await?;
    let row = counts.rows.first().map_or(&[][..], Vec::as_slice);
    Ok(UndoneTable {
        name: table.name.clone(),
        restored: number(row, 0)?,
        changed_back: number(row, 1)?,
        already: number(row, 2)?,
        conflicts: number(row, 3)?,
        examples: Vec::new(),
    })
}

/// All rows of all tables, in one statement.
async fn write(
    ask: &mut impl Ask,
    steps: &[(usize, &KeptTable)],
    report: &UndoReport,
) -> Result<(), DamageError> {
    let mut parts = Vec::new();
    for ((at, table), undone) in steps.iter().zip(&report.tables) {
        let (before, plan) = (side("before", *at), side("plan", *at));
        let names = |include: fn(&super::store::KeptColumn) -> bool| {
            let columns = table.columns.iter().filter(move |column| include(column));
            columns
                .map(|column| quoted_name(&column.name))
                .collect::<Vec<_>>()
        };
        if undone.restored > 0 {
            let columns = names(|column| !column.is_generated);
            let from: Vec<_> = columns.iter().map(|name| format!("b.{name}")).collect();
            parts.push(match columns.is_empty() {
                true => format!(
                    "i{at} AS (INSERT INTO {} SELECT FROM {before} b JOIN {plan} p ON p.n = b.\"tagout: n\" AND p.act = 'i')",
                    table.name
                ),
                false => format!(
                    "i{at} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {before} b
                       JOIN {plan} p ON p.n = b.\"tagout: n\" AND p.act = 'i' ORDER BY p.n)",
                    table.name,
                    columns.join(", "),
                    from.join(", ")
                ),
            });
        }
        if undone.changed_back > 0 {
            let columns = names(|column| !column.is_generated && !column.is_fixed);
            let sets: Vec<_> = columns
                .iter()
                .map(|name| format!("{name} = b.{name}"))
                .collect();
            if !sets.is_empty() {
                parts.push(format!(
                    "u{at} AS (UPDATE {from} u SET {sets} FROM {before} b JOIN {plan} p ON p.n = b.\"tagout: n\" AND p.act = 'u'
                       WHERE u.ctid = p.c AND u.tableoid = p.t)",
                    from = from(table),
                    sets = sets.join(", ")
                ));
            }
        }
    }
    if !parts.is_empty() {
        ask.ask(&format!("WITH {} SELECT 1", parts.join(", ")))
            .await?;
    }
    Ok(())
}

/// Whether every kept row is there now, as often as it was kept.
async fn verify(ask: &mut impl Ask, at: usize, table: &KeptTable) -> Result<(), DamageError> {
    let before = side("before", at);
    let from = from(table);
    let question = match &table.key {
        Some(key) => format!(
            "SELECT count(*) FROM {before} b WHERE NOT EXISTS (SELECT 1 FROM {from} u WHERE {same} AND {u} = {b})",
            same = same_key("u", "b", table, key),
            u = text("u", table),
            b = text("b", table),
        ),
        None => format!(
            "SELECT count(*) FROM (
               SELECT {b}, row_number() OVER (PARTITION BY {b}) FROM {before} b
               EXCEPT SELECT {u}, row_number() OVER (PARTITION BY {u}) FROM {from} u) missing",
            b = text("b", table),
            u = text("u", table),
        ),
    };
    let missing = ask.ask(&question).await?;
    match missing.single() {
        Some("0") => Ok(()),
        missing => Err(DamageError::Unseen(format!(
            "{} rows of {} did not come back as they were; nothing was changed",
            missing.unwrap_or("some"),
            table.name
        ))),
    }
}
