//! Puts back what a snapshot holds, with the rights of whoever undoes: rows in one transaction, compared with
//! what was kept before it is committed; dropped tables by making them again, which MySQL commits at once, so
//! they are dropped again where their rows do not come back whole.
//!
//! What others did to the same rows since is theirs: a row that is neither as the statement left it nor
//! as it was before is a conflict, and stays as it is unless told otherwise.

use std::collections::HashMap;
use std::path::Path;

use tagout_database::{UndoOptions, UndoReport, UndoneTable};
use tokio::io::{AsyncRead, AsyncWrite};

use super::snapshot::{AT_A_TIME, by_keys, key_of, server_name};
use super::store::{KeptTable, Shelf, rows};
use super::tables::{Column, quoted, table};
use super::{DamageError, Fate};
use crate::server::{Server, ServerError, Value};

/// Rows that are named in a report of conflicts.
const MOST_NAMED: usize = 5;

/// Whether `server` is the one that the snapshot in `from` is of, in the same database.
///
/// # Errors
/// Where the snapshot cannot be read, or the database does not answer.
pub async fn is_of<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    from: &Path,
) -> Result<bool, DamageError> {
    let kept = Shelf::open(from)?.kept;
    let here = server.ask("SELECT DATABASE()").await?.text(0, 0);
    Ok(here == kept.database && server_name(server).await? == kept.server)
}

/// Puts back what the snapshot in `from` holds. `server` is a connection to the same database, in no
/// transaction. Afterwards everything was done or nothing.
///
/// # Errors
/// Where the database refuses, what was kept was altered, or what was put back is not what was kept.
pub async fn undo<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
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
    if !is_of(server, from).await? {
        return Err(DamageError::Unseen(format!(
            "what was kept is of another database: {} on the server {}",
            shelf.kept.database, shelf.kept.server
        )));
    }
    for setting in [
        "time_zone = '+00:00'",
        "sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
        // Rows come back table by table, and the last one makes the others right.
        "foreign_key_checks = 0",
    ] {
        server.ask(&format!("SET SESSION {setting}")).await?;
    }
    let mut made = Vec::new();
    let done = put_back(server, &shelf, options, (&mut report, &mut made)).await;
    let is_good = done.is_ok() && !options.dry_run && (options.force || report.conflicts() == 0);
    if is_good {
        server.ask("COMMIT").await?;
        report.definitions += triggers(server, &shelf, &mut report.remarks).await;
        report.is_done = true;
        shelf.mark_undone()?;
        return Ok(report);
    }
    server.ask("ROLLBACK").await?;
    for name in made {
        server.ask(&format!("DROP TABLE {}", quoted(&name))).await?;
    }
    done.map(|()| report)
}

async fn put_back<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    shelf: &Shelf,
    options: UndoOptions,
    (report, made): (&mut UndoReport, &mut Vec<String>),
) -> Result<(), DamageError> {
    let database = &shelf.kept.database;
    // All of them first: making a table commits.
    for kept in shelf
        .kept
        .content
        .tables
        .iter()
        .filter(|kept| kept.fate == Fate::Dropped)
    {
        match server.ask(&kept.definition).await {
            Ok(_) => made.push(kept.name.clone()),
            // `ER_TABLE_EXISTS_ERROR`: somebody made one of its name since.
            Err(ServerError::Said(why)) if why.code == 1050 => report.remarks.push(format!(
                "There is a table {} again; it is not made anew.",
                kept.name
            )),
            Err(why) => return Err(why.into()),
        }
    }
    report.definitions += made.len();
    server.ask("START TRANSACTION READ WRITE").await?;
    for kept in &shelf.kept.content.tables {
        let now = table(server, database, &kept.name).await?;
        if now.columns != kept.columns {
            return Err(DamageError::Unseen(format!(
                "{} has other columns than when its rows were kept",
                kept.name
            )));
        }
        if !now.triggers.is_empty() {
            report.remarks.push(format!(
                "Triggers of {} ({}) run for what is put back: MySQL cannot switch them off.",
                kept.name,
                now.triggers.join(", ")
            ));
        }
        let undone = put_table_back(server, shelf, kept, options).await?;
        report.tables.push(undone);
    }
    if report.conflicts() > 0 && !options.force {
        return Ok(());
    }
    for kept in &shelf.kept.content.tables {
        verify(server, shelf, kept).await?;
    }
    Ok(())
}

async fn put_table_back<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    shelf: &Shelf,
    kept: &KeptTable,
    options: UndoOptions,
) -> Result<UndoneTable, DamageError> {
    let mut undone = UndoneTable {
        name: kept.name.clone(),
        ..UndoneTable::default()
    };
    let before = rows(shelf.rows(&kept.before)?)?;
    let after = match &kept.after {
        Some(file) => Some(rows(shelf.rows(file)?)?),
        None => None,
    };
    let Some(key) = &kept.key else {
        // Nothing tells its rows apart, so nothing tells whether one is there again.
        for part in before.chunks(AT_A_TIME) {
            insert(server, kept, part.iter()).await?;
        }
        undone.restored = kept.before.rows;
        return Ok(undone);
    };
    for (number, part) in before.chunks(AT_A_TIME).enumerate() {
        let left = after.as_ref().map(|rows| {
            let at = number * AT_A_TIME;
            rows.get(at..at + part.len()).unwrap_or_default()
        });
        let now = by_keys(server, (&kept.name, &kept.columns, key), part).await?;
        let now: HashMap<_, _> = now
            .rows
            .into_iter()
            .map(|row| (key_of(&row, key), row))
            .collect();
        let mut missing = Vec::new();
        for (place, row) in part.iter().enumerate() {
            let left = left.and_then(|rows| rows.get(place));
            match now.get(&key_of(row, key)) {
                Some(now) if now == row => undone.already += 1,
                None if left.is_none() => missing.push(row),
                Some(now) if left == Some(now) => {
                    change(server, kept, (row, key)).await?;
                    undone.changed_back += 1;
                }
                found => {
                    undone.conflicts += 1;
                    if undone.examples.len() < MOST_NAMED {
                        undone.examples.push(called(&kept.columns, row, key));
                    }
                    match found {
                        _ if !options.force => {}
                        Some(_) => {
                            change(server, kept, (row, key)).await?;
                            undone.changed_back += 1;
                        }
                        None => missing.push(row),
                    }
                }
            }
        }
        undone.restored += missing.len() as u64;
        if !missing.is_empty() {
            insert(server, kept, missing.into_iter()).await?;
        }
    }
    Ok(undone)
}

/// A row by its key, for a person.
fn called(columns: &[Column], row: &[Value], key: &[usize]) -> String {
    let parts: Vec<_> = key
        .iter()
        .filter_map(|place| Some((columns.get(*place)?, row.get(*place)?)))
        .map(|(column, value)| {
            let value = value.as_deref().map(String::from_utf8_lossy);
            format!("{} = {}", column.name, value.as_deref().unwrap_or("NULL"))
        })
        .collect();
    parts.join(", ")
}

/// The columns that can be written, with their places.
fn writable(columns: &[Column]) -> impl Iterator<Item = (usize, &Column)> {
    columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !column.is_generated)
}

fn written(column: &Column, row: &[Value], place: usize) -> String {
    let value = row.get(place).and_then(Option::as_deref);
    column.written(value)
}

async fn insert<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    kept: &KeptTable,
    rows: impl Iterator<Item = &Vec<Value>>,
) -> Result<(), DamageError> {
    /// The longest statement, in bytes; servers take 16 MiB by default.
    const LONGEST: usize = 1 << 20;
    let names: Vec<_> = writable(&kept.columns)
        .map(|(_, column)| quoted(&column.name))
        .collect();
    let head = format!(
        "INSERT INTO {} ({}) VALUES ",
        quoted(&kept.name),
        names.join(", ")
    );
    let mut batch = String::new();
    for row in rows {
        let values: Vec<_> = writable(&kept.columns)
            .map(|(place, column)| written(column, row, place))
            .collect();
        if !batch.is_empty() {
            batch.push_str(", ");
        }
        batch.push_str(&format!("({})", values.join(", ")));
        if batch.len() > LONGEST {
            server.ask(&format!("{head}{batch}")).await?;
            batch.clear();
        }
    }
    if !batch.is_empty() {
        server.ask(&format!("{head}{batch}")).await?;
    }
    Ok(())
}

async fn change<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    kept: &KeptTable,
    (row, key): (&[Value], &[usize]),
) -> Result<(), DamageError> {
    let is = |(place, column): (usize, &Column)| {
        format!("{} = {}", quoted(&column.name), written(column, row, place))
    };
    let sets: Vec<_> = writable(&kept.columns).map(is).collect();
    let keys: Vec<_> = key
        .iter()
        .filter_map(|place| Some((*place, kept.columns.get(*place)?)))
        .map(is)
        .collect();
    server
        .ask(&format!(
            "UPDATE {} SET {} WHERE {}",
            quoted(&kept.name),
            sets.join(", "),
            keys.join(" AND ")
        ))
        .await?;
    Ok(())
}

/// Compares what is there now with what was kept.
async fn verify<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    shelf: &Shelf,
    kept: &KeptTable,
) -> Result<(), DamageError> {
    let Some(key) = &kept.key else {
        return Ok(());
    };
    let before = rows(shelf.rows(&kept.before)?)?;
    for part in before.chunks(AT_A_TIME) {
        let now = by_keys(server, (&kept.name, &kept.columns, key), part).await?;
        let now: HashMap<_, _> = now
            .rows
            .into_iter()
            .map(|row| (key_of(&row, key), row))
            .collect();
        if let Some(other) = part
            .iter()
            .find(|row| now.get(&key_of(row, key)) != Some(row))
        {
            return Err(DamageError::Unseen(format!(
                "the database holds another row of {} than was put back: {}",
                kept.name,
                called(&kept.columns, other, key)
            )));
        }
    }
    Ok(())
}

/// Makes the triggers of dropped tables again, once their rows are there.
async fn triggers<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    shelf: &Shelf,
    remarks: &mut Vec<String>,
) -> usize {
    let mut made = 0;
    for kept in &shelf.kept.content.tables {
        for trigger in &kept.triggers {
            let mut done = server.ask(trigger).await;
            // `ER_SPECIFIC_ACCESS_DENIED_ERROR`: only few may make one for another user.
            if let (Err(ServerError::Said(why)), Some(own)) = (&done, without_definer(trigger))
                && why.code == 1227
            {
                done = server.ask(&own).await;
                if done.is_ok() {
                    remarks.push(format!(
                        "A trigger of {} belonged to another user, and runs as the one of this URL now.",
                        kept.name
                    ));
                }
            }
            match done {
                Ok(_) => made += 1,
                Err(why) => remarks.push(format!(
                    "A trigger of {} is not made again: {why}",
                    kept.name
                )),
            }
        }
    }
    made
}

/// A trigger's definition, for whoever makes it.
fn without_definer(definition: &str) -> Option<String> {
    let rest = definition.strip_prefix("CREATE DEFINER=")?;
    let at = rest.find(" TRIGGER ")?;
    Some(format!("CREATE{}", rest.get(at..)?))
}
