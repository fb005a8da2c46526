//! What the catalog says of tables and of what depends on them.

use std::collections::{BTreeMap, BTreeSet};

use super::DamageError;
use super::target::{Addressed, cell, list, number, unseen};
use crate::{Ask, Rows, ServerError};

/// Objects that one statement may take and still be looked at.
const MOST_OBJECTS: usize = 50_000;

/// What a person is told of a table, and how it is known again.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) oid: u32,
    /// Schema and name, quoted where SQL needs it.
    pub(super) name: String,
    /// `pg_class.relkind`.
    pub(super) kind: char,
    pub(super) owner: String,
    /// As `pg_size_pretty` says it, with indexes.
    pub(super) size: String,
    /// `reltuples`: how many rows the server believes it has.
    pub(super) about: u64,
    /// Changes with its columns, its constraints, its triggers and its file.
    pub(super) shape: String,
    /// Triggers and rules of somebody's own, policies, publications: a line each.
    pub(super) remarks: Vec<String>,
}

impl Table {
    /// PostgreSQL's word for what it is.
    pub(super) fn word(&self) -> &'static str {
        word(self.kind)
    }

    pub(super) fn has_rows(&self) -> bool {
        matches!(self.kind, 'r' | 'm')
    }
}

/// PostgreSQL's word for a `relkind`.
pub(super) fn word(kind: char) -> &'static str {
    match kind {
        'r' => "table",
        'p' => "partitioned table",
        'v' => "view",
        'm' => "materialized view",
        'f' => "foreign table",
        'S' => "sequence",
        'i' | 'I' => "index",
        'c' => "composite type",
        _ => "relation",
    }
}

/// The tables with these OIDs.
pub(super) async fn tables(
    ask: &mut impl Ask,
    oids: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, Table>, ServerError> {
    let oids: Vec<u32> = oids.iter().copied().collect();
    let rows = ask
        .ask(&format!(
            "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind,
               quote_ident(pg_get_userbyid(c.relowner)), pg_size_pretty(pg_total_relation_size(c.oid)),
               greatest(c.reltuples, 0)::bigint,
               md5(concat_ws('|', n.nspname, c.relname, c.relfilenode, c.relkind, c.relrowsecurity,
                 (SELECT string_agg(concat_ws(',', attnum, attname, atttypid, atttypmod, attnotnull, attgenerated), ';' ORDER BY attnum)
                    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
                 (SELECT string_agg(concat_ws(',', k.oid, k.confdeltype, k.confupdtype), ';' ORDER BY k.oid)
                    FROM pg_constraint k WHERE c.oid IN (k.conrelid, k.confrelid)),
                 (SELECT string_agg(concat_ws(',', t.oid, t.tgfoid, t.tgenabled), ';' ORDER BY t.oid)
                    FROM pg_trigger t WHERE t.tgrelid = c.oid))),
               ARRAY(SELECT 'trigger ' || quote_ident(t.tgname) || ' runs ' || t.tgfoid::regprocedure
                       FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
                     UNION ALL SELECT 'rule ' || quote_ident(r.rulename) || ' runs other statements instead or besides'
                       FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
                     UNION ALL SELECT 'row security is on: some rows may not be seen' WHERE c.relrowsecurity
                     UNION ALL SELECT 'publication ' || quote_ident(p.pubname) || ' carries this to its subscribers'
                       FROM pg_publication p WHERE p.puballtables OR EXISTS (SELECT 1 FROM pg_publication_rel pr
                         WHERE pr.prpubid = p.oid AND pr.prrelid = c.oid))::text
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ({oids})",
            oids = list(&oids)
        ))
        .await?;
    let mut found = BTreeMap::new();
    for row in &rows.rows {
        let oid = number(row, 0)?;
        let table = Table {
            oid,
            name: cell(row, 1).to_owned(),
            kind: cell(row, 2).chars().next().unwrap_or(' '),
            owner: cell(row, 3).to_owned(),
            size: cell(row, 4).to_owned(),
            about: number(row, 5)?,
            shape: cell(row, 6).to_owned(),
            remarks: array(cell(row, 7)),
        };
        found.insert(oid, table);
    }
    Ok(found)
}

/// The elements of a one-dimensional array of text in its text form.
pub(super) fn array(text: &str) -> Vec<String> {
    let Some(inner) = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
    else {
        return Vec::new();
    };
    if inner.is_empty() {
        return Vec::new();
    }
    let mut elements = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match (character, elements.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            (',', _) if !is_quoted => elements.push(String::new()),
            ('\\', Some(element)) => element.extend(characters.next()),
            (character, Some(element)) => element.push(character),
            (_, None) => {}
        }
    }
    elements
}

/// An object that goes with what a DROP names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// The catalog that it stands in, such as `pg_class`.
    pub(super) class: String,
    pub(super) oid: u32,
    /// A column's number, or 0 for the whole.
    pub(super) column: i32,
    /// What PostgreSQL calls it, such as `view app.totals`.
    pub(super) described: String,
    /// For a relation its `relkind`; else a space.
    pub(super) kind: char,
}

/// These with what belongs to them and, with CASCADE, what depends on them.
pub(super) async fn goes_along(
    ask: &mut impl Ask,
    objects: &[Addressed],
    cascade: bool,
) -> Result<Vec<Gone>, DamageError> {
    let seeds: Vec<String> = objects
        .iter()
        .map(|object| {
            format!(
                "('{}'::regclass::oid, {}::oid, 0)",
                object.class, object.oid
            )
        })
        .collect();
    if seeds.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Rows = ask
        .ask(&format!(
            "WITH RECURSIVE gone(classid, objid, objsubid) AS (
               SELECT * FROM (VALUES {seeds}) named(classid, objid, objsubid)
               UNION SELECT x.classid, x.objid, x.objsubid FROM gone g CROSS JOIN LATERAL (
                 SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
                   WHERE d.refclassid = g.classid AND d.refobjid = g.objid
                     AND (g.objsubid = 0 OR d.refobjsubid IN (0, g.objsubid)) AND d.deptype IN ({kinds})
                 UNION ALL
                 -- A view goes with the rule that is its query.
                 SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
                   WHERE d.classid = g.classid AND d.objid = g.objid AND d.deptype = 'i'
                     AND g.classid = 'pg_rewrite'::regclass) x)
             SELECT gone.classid::regclass, gone.objid, gone.objsubid,
               coalesce(pg_describe_object(gone.classid, gone.objid, gone.objsubid), '?'), c.relkind
             FROM gone LEFT JOIN pg_class c ON gone.classid = 'pg_class'::regclass AND c.oid = gone.objid
             WHERE coalesce(c.relkind, 'r') <> 't' ORDER BY 2, 3",
            seeds = seeds.join(", "),
            kinds = match cascade {
                true => "'n', 'a', 'i', 'P', 'S', 'e', 'x'",
                false => "'a', 'i', 'P', 'S'",
            }
        ))
        .await?;
    if rows.rows.len() > MOST_OBJECTS {
        return Err(unseen("it takes too many objects to look at"));
    }
    let mut gone = Vec::new();
    for row in &rows.rows {
        gone.push(Gone {
            class: cell(row, 0).to_owned(),
            oid: number(row, 1)?,
            column: number(row, 2)?,
            described: cell(row, 3).to_owned(),
            kind: cell(row, 4).chars().next().unwrap_or(' '),
        });
    }
    Ok(gone)
}
