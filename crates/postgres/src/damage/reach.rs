//! How far a DELETE or UPDATE reaches through foreign keys: which tables can be touched, decided on the
//! graph of the constraints, and one query that lists every row, decided by the rows themselves. Cycles
//! end because a row is listed once for each fate.

use std::collections::{BTreeMap, BTreeSet};

use tagout_catalog_sql::RowQuery;

use super::target::{cell, number, unseen, with_inheritors};
use super::{DamageError, Fate};
use crate::{Ask, Rows, ServerError, quoted_name, quoted_value};

/// Constraints beyond which a graph is nothing that anybody could look at.
const MOST_KEYS: usize = 20_000;

/// A foreign key.
#[derive(Clone, Debug)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    pub(super) child: u32,
    pub(super) parent: u32,
    /// As a FROM takes them: without heirs, but with partitions.
    child_rows: String,
    parent_rows: String,
    pub(super) child_name: String,
    pub(super) parent_name: String,
    /// `c`ascade, set `n`ull, set `d`efault, `a` no action, `r`estrict.
    pub(super) on_delete: char,
    on_update: char,
    /// Child's column, parent's column, operator between parent and child.
    columns: Vec<(String, String, String)>,
    /// The columns that SET NULL or SET DEFAULT sets.
    sets: Vec<String>,
}

/// All foreign keys of the database; those of partitions are in their table's.
pub(super) async fn foreign_keys(ask: &mut impl Ask) -> Result<Vec<ForeignKey>, DamageError> {
    let rows = ask
        .ask(
            "SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confdeltype, k.confupdtype,
                    quote_ident(cn.nspname) || '.' || quote_ident(c.relname), c.relkind,
                    quote_ident(pn.nspname) || '.' || quote_ident(p.relname), p.relkind,
                    ca.attname, pa.attname,
                    'OPERATOR(' || quote_ident(opn.nspname) || '.' || op.oprname || ')'
             FROM pg_constraint k
             JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
             JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
             CROSS JOIN LATERAL unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(child, parent, op, at)
             JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.child
             JOIN pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
             JOIN pg_operator op ON op.oid = u.op JOIN pg_namespace opn ON opn.oid = op.oprnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0
             ORDER BY k.oid, u.at",
        )
        .await?;
    let mut keys: BTreeMap<u32, ForeignKey> = BTreeMap::new();
    for row in &rows.rows {
        let only = |name: &str, kind: &str| match kind {
            "p" => name.to_owned(),
            _ => format!("ONLY {name}"),
        };
        let letter = |at: usize| cell(row, at).chars().next().unwrap_or('a');
        let key = keys.entry(number(row, 0)?).or_insert(ForeignKey {
            name: cell(row, 1).to_owned(),
            child: number(row, 2)?,
            parent: number(row, 3)?,
            child_rows: only(cell(row, 6), cell(row, 7)),
            parent_rows: only(cell(row, 8), cell(row, 9)),
            child_name: cell(row, 6).to_owned(),
            parent_name: cell(row, 8).to_owned(),
            on_delete: letter(4),
            on_update: letter(5),
            columns: Vec::new(),
            sets: Vec::new(),
        });
        let column = |at: usize| identifier(cell(row, at));
        key.sets.push(column(10));
        key.columns
            .push((column(10), column(11), cell(row, 12).to_owned()));
    }
    if keys.len() > MOST_KEYS {
        return Err(unseen("the database has too many foreign keys to follow"));
    }
    Ok(keys.into_values().collect())
}

/// What can happen to rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touch {
    pub(super) removes: bool,
    /// The columns that may change, quoted. `None` where nobody knows which.
    pub(super) changes: Option<BTreeSet<String>>,
}

impl Touch {
    fn nothing() -> Self {
        Self::changed(BTreeSet::new())
    }

    pub(super) fn removed() -> Self {
        Self {
            removes: true,
            ..Self::nothing()
        }
    }

    pub(super) fn changed(columns: BTreeSet<String>) -> Self {
        Self {
            removes: false,
            changes: Some(columns),
        }
    }

    /// An UPDATE of these columns, as they are called.
    pub(super) fn updates(columns: Option<Vec<String>>) -> Self {
        Self {
            removes: false,
            changes: columns.map(|columns| columns.iter().map(|name| identifier(name)).collect()),
        }
    }

    /// Nobody knows what.
    pub(super) fn anything(removes: bool) -> Self {
        Self {
            removes,
            changes: None,
        }
    }

    pub(super) fn fate(&self) -> Fate {
        match self.removes {
            true => Fate::Removed,
            false => Fate::Changed,
        }
    }

    pub(super) fn may_change(&self, column: &str) -> bool {
        self.changes
            .as_ref()
            .is_none_or(|columns| columns.contains(column))
    }

    /// Takes over what another one does. Whether that was something new.
    fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.removes |= other.removes;
        self.changes = match (self.changes.take(), &other.changes) {
            (Some(mut mine), Some(others)) => {
                mine.extend(others.iter().cloned());
                Some(mine)
            }
            _ => None,
        };
        *self != before
    }
}

/// A way from a row to those that change with it.
#[derive(Clone, Debug)]
struct Step {
    key: usize,
    /// Whether it is taken when the parent goes, else when its key changes.
    on_removal: bool,
    removes: bool,
}

/// How far a statement about rows of one table reaches.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// By table of a constraint, or the target and its heirs.
    pub(super) touched: BTreeMap<u32, Touch>,
    steps: Vec<Step>,
    keys: Vec<ForeignKey>,
    /// Constraints that would refuse the removal of rows that others still refer to.
    pub(super) refusing: Vec<ForeignKey>,
}

impl Reach {
    /// From rows of `table`.
    pub(super) async fn of(
        ask: &mut impl Ask,
        table: u32,
        touch: Touch,
        keys: &[ForeignKey],
    ) -> Result<Self, DamageError> {
        let families = families(ask).await?;
        let family = |table: u32| families.get(&table).copied().unwrap_or(table);
        let mut touched: BTreeMap<u32, Touch> = BTreeMap::new();
        // By family of partitions: a constraint of the whole is one of each part.
        let mut reached: BTreeMap<u32, Touch> = BTreeMap::new();
        for heir in with_inheritors(ask, &[table]).await? {
            reached
                .entry(family(heir))
                .or_insert(Touch::nothing())
                .join(&touch);
            touched.insert(heir, touch.clone());
        }
        let mut steps: Vec<Step> = Vec::new();
        loop {
            let mut is_new = false;
            for (at, key) in keys.iter().enumerate() {
                let Some(parent) = reached.get(&family(key.parent)).cloned() else {
                    continue;
                };
                let moves = key
                    .columns
                    .iter()
                    .any(|(_, column, _)| parent.may_change(column));
                let ways = [
                    (true, parent.removes, key.on_delete),
                    (false, moves, key.on_update),
                ];
                for (on_removal, happens, action) in ways {
                    if !happens || !matches!(action, 'c' | 'n' | 'd') {
                        continue;
                    }
                    let removes = on_removal && action == 'c';
                    let does = match removes {
                        true => Touch::removed(),
                        false => Touch::changed(key.sets.iter().cloned().collect()),
                    };
                    let child = reached.entry(family(key.child)).or_insert(Touch::nothing());
                    is_new |= child.join(&does);
                    touched
                        .entry(key.child)
                        .or_insert(Touch::nothing())
                        .join(&does);
                    if !steps
                        .iter()
                        .any(|step| step.key == at && step.on_removal == on_removal)
                    {
                        steps.push(Step {
                            key: at,
                            on_removal,
                            removes,
                        });
                        is_new = true;
                    }
                }
            }
            if !is_new {
                break;
            }
        }
        let refusing = keys.iter().filter(|key| {
            matches!(key.on_delete, 'a' | 'r')
                && reached
                    .get(&family(key.parent))
                    .is_some_and(|touch| touch.removes)
        });
        Ok(Self {
            touched,
            steps,
            refusing: refusing.cloned().collect(),
            keys: keys.to_vec(),
        })
    }

    /// Whether rows of other tables may go along.
    pub(super) fn spreads(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The tables that it may spread to.
    pub(super) fn spread_to(&self) -> BTreeSet<u32> {
        let key = |step: &Step| self.keys.get(step.key).map(|key| key.child);
        self.steps.iter().filter_map(key).collect()
    }

    /// A query that lists every row: its table `t`, its place `c` and whether it goes (`d`) or changes
    /// (`u`) as `f`. A row may be listed for both.
    pub(super) fn query(&self, rows: &str, removes: bool) -> String {
        let fate = |removes: bool| match removes {
            true => "'d'::pg_catalog.\"char\"",
            false => "'u'::pg_catalog.\"char\"",
        };
        let first = format!("SELECT r.t, r.c, {} FROM ({rows}) r(t, c)", fate(removes));
        if self.steps.is_empty() {
            return format!("SELECT DISTINCT t, c, f FROM ({first}) listed(t, c, f)");
        }
        let steps: Vec<_> = self
            .steps
            .iter()
            .filter_map(|step| {
                let key = self.keys.get(step.key)?;
                let columns = key.columns.iter().map(|(child, parent, operator)| {
                    format!("p.{parent} {operator} ch.{child}")
                });
                Some(format!(
                    "SELECT ch.tableoid, ch.ctid, {fate} FROM {parents} p JOIN {children} ch ON {columns}
                     WHERE g.f OPERATOR(pg_catalog.=) {when} AND p.tableoid OPERATOR(pg_catalog.=) g.t
                       AND p.ctid OPERATOR(pg_catalog.=) g.c",
                    fate = fate(step.removes),
                    parents = key.parent_rows,
                    children = key.child_rows,
                    columns = columns.collect::<Vec<_>>().join(" AND "),
                    when = fate(step.on_removal),
                ))
            })
            .collect();
        format!(
            "WITH RECURSIVE gone(t, c, f) AS ({first} UNION SELECT x.t, x.c, x.f FROM gone g
               CROSS JOIN LATERAL ({steps}) x(t, c, f)) SELECT t, c, f FROM gone",
            steps = steps.join(" UNION ALL ")
        )
    }
}

/// The tables that a TRUNCATE of `named` empties, and the constraints that refuse it.
pub(super) async fn emptied(
    ask: &mut impl Ask,
    named: &[u32],
    cascade: bool,
    keys: &[ForeignKey],
) -> Result<(BTreeSet<u32>, Vec<ForeignKey>), ServerError> {
    let mut emptied = with_inheritors(ask, named).await?;
    loop {
        let beyond: Vec<ForeignKey> = keys
            .iter()
            .filter(|key| emptied.contains(&key.parent) && !emptied.contains(&key.child))
            .cloned()
            .collect();
        if beyond.is_empty() || !cascade {
            return Ok((emptied, beyond));
        }
        let children: Vec<u32> = beyond.iter().map(|key| key.child).collect();
        emptied.extend(with_inheritors(ask, &children).await?);
    }
}

/// The table whose partition, at whatever remove, a table is.
async fn families(ask: &mut impl Ask) -> Result<BTreeMap<u32, u32>, ServerError> {
    let rows = ask
        .ask("SELECT oid, pg_partition_root(oid)::oid FROM pg_class WHERE relispartition AND relkind IN ('r', 'p', 'f')")
        .await?;
    rows.rows
        .iter()
        .map(|row| Ok((number(row, 0)?, number(row, 1)?)))
        .collect()
}

/// A column's name as it is written here everywhere, so that names can be compared.
fn identifier(name: &str) -> String {
    quoted_name(name)
}

/// All rows of a table, with those of its heirs.
pub(super) fn all_rows(name: &str) -> String {
    format!("SELECT every.tableoid, every.ctid FROM {name} every")
}

/// How a query with parameters is asked: prepared under a name of its own, with the values quoted, so
/// that only the server reads them.
#[derive(Clone, Debug)]
pub(super) struct Bindings {
    types: String,
    values: String,
}

impl Bindings {
    /// For a query that holds parameters.
    ///
    /// # Errors
    /// Where a value is missing or in a form that only the type's own code reads.
    pub(super) fn of(
        query: &RowQuery,
        parameters: &[tagout_core::Parameter],
    ) -> Result<Option<Self>, DamageError> {
        use tagout_core::Parameter;
        let Some(last) = query.parameters.last() else {
            return Ok(None);
        };
        let mut types = Vec::new();
        let mut values = Vec::new();
        for at in 1..=*last {
            let is_used = query.parameters.contains(&at);
            // The type of one that the query does not hold cannot be inferred, and does not matter.
            types.push(if is_used {
                "unknown"
            } else {
                "pg_catalog.text"
            });
            values.push(match parameters.get(at - 1) {
                _ if !is_used => "NULL".to_owned(),
                Some(Parameter::Null) => "NULL".to_owned(),
                Some(Parameter::Text(text)) => {
                    let text = std::str::from_utf8(text)
                        .map_err(|_| unseen("a parameter is not UTF-8"))?;
                    quoted_value(text)
                }
                Some(Parameter::Binary(_)) => {
                    return Err(unseen("a parameter of its condition is in binary form"));
                }
                None => return Err(unseen("a parameter of its condition has no value yet")),
            });
        }
        Ok(Some(Self {
            types: types.join(", "),
            values: values.join(", "),
        }))
    }
}

/// A query as it is asked: what comes before, itself, and what comes behind.
pub(super) struct Asking {
    before: Option<String>,
    question: String,
    behind: Option<String>,
}

impl Asking {
    /// `query` behind `prefix`, which may be nothing or a `CREATE TABLE … AS`.
    pub(super) fn new(prefix: &str, query: &str, bindings: Option<&Bindings>) -> Self {
        match bindings {
            None => Self {
                before: None,
                question: format!("{prefix}{query}"),
                behind: None,
            },
            Some(Bindings { types, values }) => {
                let name = quoted_name("tagout: rows");
                Self {
                    before: Some(format!("PREPARE {name} ({types}) AS {query}")),
                    question: format!("{prefix}EXECUTE {name}({values})"),
                    behind: Some(format!("DEALLOCATE {name}")),
                }
            }
        }
    }

    /// Asks it. What was prepared is gone again, even when it failed.
    pub(super) async fn ask(&self, ask: &mut impl Ask) -> Result<Rows, ServerError> {
        if let Some(before) = &self.before {
            ask.ask(before).await?;
        }
        let answer = ask.ask(&self.question).await;
        if let (Some(behind), Ok(_)) = (&self.behind, &answer) {
            ask.ask(behind).await?;
        }
        answer
    }

    /// What removes what was prepared, once a failed transaction was taken back.
    pub(super) fn behind(&self) -> Option<&str> {
        self.behind.as_deref()
    }
}
