//! Holds a statement to what was approved. The server counts what each transaction does to each table,
//! whatever caused it: a statement, a cascade, a trigger, a function. [`watch`] reads those counts before,
//! [`check`] after, and the difference has to lie within the [`Bound`].

use std::collections::BTreeMap;

use super::snapshot::Snapshot;
use super::target::{OWN_PATH, cell, look_in, number, unseen};
use super::{Bound, Breach, DamageError, Fate};
use crate::{Ask, ServerError};

/// What the server had counted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    relations: BTreeMap<u32, Relation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Relation {
    name: String,
    /// Changes when a table is emptied or rewritten.
    file: String,
    /// Rows removed and changed in this transaction.
    touched: u64,
    /// Rows that came in it.
    inserted: u64,
}

/// Reads what this transaction did so far. To be asked on the connection that runs the statement, right
/// before it.
///
/// # Errors
/// Where the server does not count, or does not answer.
pub async fn watch(ask: &mut impl Ask) -> Result<Watch, DamageError> {
    let path = ask
        .ask("SELECT pg_catalog.current_setting('search_path')")
        .await?;
    let path = path.single().unwrap_or_default().to_owned();
    look_in(ask, OWN_PATH).await?;
    let counted = counted(ask).await;
    look_in(ask, &path).await?;
    Ok(Watch {
        relations: counted?,
    })
}

async fn counted(ask: &mut impl Ask) -> Result<BTreeMap<u32, Relation>, DamageError> {
    let counts = ask.ask("SELECT current_setting('track_counts')").await?;
    if counts.single() != Some("on") {
        return Err(unseen(
            "the server does not count what a transaction does (track_counts is off)",
        ));
    }
    let rows = ask
        .ask(
            "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relfilenode,
               pg_stat_get_xact_tuples_deleted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid),
               pg_stat_get_xact_tuples_inserted(c.oid)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND c.relpersistence <> 't'
               AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'",
        )
        .await?;
    let relation = |row: &Vec<Option<String>>| -> Result<_, ServerError> {
        Ok((
            number(row, 0)?,
            Relation {
                name: cell(row, 1).to_owned(),
                file: cell(row, 2).to_owned(),
                touched: number(row, 3)?,
                inserted: number(row, 4)?,
            },
        ))
    };
    Ok(rows.rows.iter().map(relation).collect::<Result<_, _>>()?)
}

/// Compares what the statement did with what was approved, and completes the snapshot. To be asked right
/// behind it, before anything is committed; any [`Breach`] means that it has to be rolled back, and the
/// snapshot [discarded](Snapshot::discard).
///
/// # Errors
/// What was more.
pub async fn check(
    ask: &mut impl Ask,
    bound: &Bound,
    watch: &Watch,
    snapshot: Option<&mut Snapshot>,
) -> Result<(), Breach> {
    let path = ask
        .ask("SELECT pg_catalog.current_setting('search_path')")
        .await?;
    let path = path.single().unwrap_or_default().to_owned();
    look_in(ask, OWN_PATH).await?;
    let now = counted(ask).await?;
    look_in(ask, &path).await?;
    let approved = |oid: u32| bound.tables.iter().find(|table| table.oid == oid);
    let mut may_have_moved = false;
    for (oid, before) in &watch.relations {
        let approved = approved(*oid);
        let fate = approved.map(|table| table.fate);
        let Some(after) = now.get(oid) else {
            let is_approved = fate == Some(Fate::Dropped) || bound.goes_along.contains(oid);
            match is_approved {
                true => continue,
                false => {
                    return Err(Breach::OtherObject {
                        table: before.name.clone(),
                    });
                }
            }
        };
        if after.file != before.file && fate < Some(Fate::Reshaped) {
            // Sequences get a new file by RESTART IDENTITY, and have no rows to lose.
            if approved.is_some() || !bound.goes_along.contains(oid) {
                return Err(Breach::OtherObject {
                    table: before.name.clone(),
                });
            }
        }
        may_have_moved |= approved.is_some() && after.inserted > before.inserted;
        let touched = after.touched.saturating_sub(before.touched);
        if touched == 0 {
            continue;
        }
        let Some(approved) = approved else {
            return Err(Breach::OtherTable {
                table: before.name.clone(),
                touched,
            });
        };
        if touched > approved.most {
            return Err(Breach::MoreRows {
                table: before.name.clone(),
                touched,
                most: approved.most,
            });
        }
        if let Some(snapshot) = &snapshot
            && approved.fate <= Fate::Removed
        {
            let kept = snapshot.listed.get(oid).copied().unwrap_or(0);
            if touched > kept {
                return Err(Breach::Unkept {
                    table: before.name.clone(),
                    touched,
                    kept,
                });
            }
        }
    }
    if let Some(snapshot) = snapshot {
        snapshot.complete(ask, may_have_moved).await?;
    }
    Ok(())
}
