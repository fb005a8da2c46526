//! What is lost as a whole: tables that are emptied, dropped or reshaped, and what goes with them.

use std::collections::BTreeSet;

use super::super::definition;
use super::super::reach::{Asking, emptied, foreign_keys};
use super::super::tables::{Gone, goes_along, tables};
use super::super::target::{Addressed, number, with_inheritors};
use super::super::words::Count;
use super::super::{DamageError, Fate};
use super::{COUNTING, View};
use crate::{Ask, ServerError};

/// Catalogs of what is told when it goes with something else.
const TOLD: &[&str] = &[
    "pg_attrdef",
    "pg_class",
    "pg_constraint",
    "pg_event_trigger",
    "pg_extension",
    "pg_namespace",
    "pg_policy",
    "pg_proc",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_trigger",
    "pg_type",
];
/// Objects that are named one by one.
const MOST_NAMED: usize = 40;

impl<A: Ask> View<'_, A> {
    pub(super) async fn empties(
        &mut self,
        named: &[u32],
        cascade: bool,
    ) -> Result<(), DamageError> {
        let keys = foreign_keys(self.ask).await?;
        let (emptied, refusing) = emptied(self.ask, named, cascade, &keys).await?;
        self.whole(&emptied, Fate::Emptied, named).await?;
        for oid in &emptied {
            let owned = owned_sequences(self.ask, *oid).await?;
            self.goes_along.extend(owned);
        }
        let refusing = refusing.iter().map(|key| {
            format!(
                "{} refers to {}: without CASCADE the database refuses",
                key.child_name, key.parent_name
            )
        });
        self.lines.extend(refusing.collect::<Vec<_>>());
        Ok(())
    }

    pub(super) async fn reshapes(&mut self, table: u32, how: &str) -> Result<(), DamageError> {
        let heirs = with_inheritors(self.ask, &[table]).await?;
        self.whole(&heirs, Fate::Reshaped, &[table]).await?;
        self.lines.push(format!("  it {how}"));
        self.unkept = Some(format!(
            "it {how}, which is not put back by itself; copy the table first (CREATE TABLE … AS TABLE …) if that matters"
        ));
        Ok(())
    }

    pub(super) async fn drops(
        &mut self,
        objects: &[Addressed],
        cascade: bool,
    ) -> Result<(), DamageError> {
        let gone = goes_along(self.ask, objects, cascade).await?;
        let relations: BTreeSet<u32> = gone
            .iter()
            .filter(|gone| gone.column == 0 && matches!(gone.kind, 'r' | 'p' | 'm' | 'f'))
            .map(|gone| gone.oid)
            .collect();
        self.goes_along.extend(
            gone.iter()
                .filter(|gone| gone.column == 0 && matches!(gone.kind, 'v' | 'S'))
                .map(|gone| gone.oid),
        );
        let named: Vec<u32> = objects.iter().map(|object| object.oid).collect();
        self.whole(&relations, Fate::Dropped, &named).await?;
        let name = |gone: &Gone| {
            let name = gone.described.split_once(' ');
            name.map_or_else(String::new, |(_, name)| name.to_owned())
        };
        let is_relation = |gone: &Gone| gone.column == 0 && relations.contains(&gone.oid);
        let rows_of: BTreeSet<String> = gone
            .iter()
            .filter(|gone| is_relation(gone) || gone.kind == 'v')
            .map(|gone| name(gone).trim_start_matches("view ").to_owned())
            .collect();
        // What every table and view has of its own is not worth a line.
        let is_own = |gone: &Gone| {
            let on_its_own = |between: &str| {
                let place = gone.described.rsplit_once(between);
                place.is_some_and(|(_, table)| rows_of.contains(table))
            };
            match gone.class.as_str() {
                "pg_type" => rows_of.contains(name(gone).trim_end_matches("[]")),
                "pg_class" => matches!(gone.kind, 'i' | 'I' | 't') && !named.contains(&gone.oid),
                "pg_constraint" => on_its_own(" on table "),
                "pg_attrdef" => on_its_own(" of table "),
                "pg_rewrite" => gone.described.starts_with("rule _RETURN on "),
                // Those of foreign keys, whose constraint has a line.
                "pg_trigger" => gone.described.starts_with("trigger RI_ConstraintTrigger_"),
                _ => false,
            }
        };
        let others: Vec<&str> = gone
            .iter()
            .filter(|gone| TOLD.contains(&gone.class.as_str()))
            .filter(|gone| !is_relation(gone) && !is_own(gone))
            .map(|gone| gone.described.as_str())
            .collect();
        for other in others.iter().take(MOST_NAMED) {
            self.lines.push(format!("  with it goes: {other}"));
        }
        if others.len() > MOST_NAMED {
            self.lines
                .push(format!("  and {} objects more", others.len() - MOST_NAMED));
        }
        match definition::of(self.ask, &gone).await {
            Err(DamageError::Unkept(why)) => {
                self.unkept = Some(why);
                Ok(())
            }
            definitions => definitions.map(|_| ()),
        }
    }

    /// Tables that are about to be lost as a whole, with their rows.
    async fn whole(
        &mut self,
        oids: &BTreeSet<u32>,
        fate: Fate,
        named: &[u32],
    ) -> Result<(), DamageError> {
        let facts = tables(self.ask, oids).await?;
        for table in facts.values() {
            let count = match table.has_rows() {
                false => None,
                true => {
                    let question = format!("SELECT pg_catalog.count(*) FROM ONLY {}", table.name);
                    match self
                        .within(COUNTING, &Asking::new("", &question, None))
                        .await
                    {
                        Ok(Some(rows)) => Some(Count::Exact(
                            rows.single()
                                .and_then(|rows| rows.parse().ok())
                                .unwrap_or(table.about),
                        )),
                        Ok(None) => Some(Count::About(table.about)),
                        Err(error) => return Err(error),
                    }
                }
            };
            let taken = if named.contains(&table.oid) {
                ""
            } else {
                "  with it, "
            };
            self.lines.push(format!(
                "{taken}{} {} (owner {}, {} with indexes): {fate}{}",
                table.word(),
                table.name,
                table.owner,
                table.size,
                count
                    .map(|count| format!(", {}", count.words()))
                    .unwrap_or_default(),
            ));
            self.remark(table);
            self.cover(table, count.unwrap_or(Count::Exact(0)), fate);
        }
        Ok(())
    }
}

async fn owned_sequences(ask: &mut impl Ask, table: u32) -> Result<Vec<u32>, ServerError> {
    let rows = ask
        .ask(&format!(
            "SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = {table} AND d.deptype IN ('a', 'i')"
        ))
        .await?;
    rows.rows.iter().map(|row| number(row, 0)).collect()
}
