//! Keeps what a statement is about to take, on the client's own connection, in the transaction that will
//! run it. The rows are found by the statement's own condition and by the foreign keys, written down by
//! their places, and read from there; what nobody could tell beforehand is kept whole.
//!
//! The settings by which values are written are changed for that and put back, and names are looked up
//! as in the preview: a name that means another table on this connection is an error, not another table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tagout_core::DatabaseSystem;
use tagout_database::{RowsFile, Store};

use super::definition;
use super::reach::{Asking, Bindings, Reach, Touch, all_rows, emptied, foreign_keys};
use super::settings::Settings;
use super::store::{Content, Kept, KeptColumn, KeptTable, Row};
use super::tables::{Table, goes_along, tables};
use super::target::{Blow, OWN_PATH, blows, cell, list, number, unseen, with_inheritors};
use super::{Bound, DamageError, Fate, Planned};
use crate::{Ask, Rows, quoted_name, quoted_value};

/// What is kept of one statement, in bytes.
const BUDGET: u64 = 1 << 30;
/// Rows that are read at a time.
const AT_A_TIME: usize = 500;
/// The temporary table that holds where rows are.
const PLACES: &str = "pg_temp.\"tagout: rows\"";

/// A snapshot, and what the database had counted when it was taken.
#[derive(Debug)]
pub struct Snapshot {
    store: Store,
    kept: Kept,
    /// Touches that are accounted for, by table.
    pub(super) listed: BTreeMap<u32, u64>,
    hash: String,
}

impl Snapshot {
    /// SHA-256 over everything that is kept, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How many rows are kept, of all tables.
    pub fn rows(&self) -> u64 {
        self.kept
            .content
            .tables
            .iter()
            .map(|table| table.before.rows)
            .sum()
    }

    /// Removes it: the statement did not happen.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub fn discard(self) -> Result<(), DamageError> {
        Ok(self.store.remove()?)
    }
}

/// Keeps what `planned` is about to take in the new folder `into`. To be asked on the connection and in
/// the transaction that will run it, before it; nothing else may run between. When this fails the
/// transaction is to be rolled back.
///
/// # Errors
/// [`DamageError::Unkept`] where something of it cannot be kept: then there is nothing in `into`. Also
/// where it is no longer what `bound` says.
pub async fn snapshot(
    ask: &mut impl Ask,
    bound: &Bound,
    planned: &Planned<'_>,
    into: &Path,
) -> Result<Snapshot, DamageError> {
    if let Some(statement) = planned.statements.iter().find(|each| !each.transactional) {
        let name = statement.acts.first().map_or("", |act| act.name.as_str());
        return Err(DamageError::Unkept(format!(
            "sql.{name} is no part of a transaction: nothing of it can be kept or taken back"
        )));
    }
    let settings = Settings::set(ask).await?;
    let mut store = Store::make(into, BUDGET)?;
    let taken = take(ask, bound, planned, &settings, &mut store).await;
    let back = settings.back(ask).await;
    match (taken, back) {
        (Ok((kept, listed)), Ok(())) => {
            let hash = store.list(&kept)?;
            Ok(Snapshot {
                store,
                kept,
                listed,
                hash,
            })
        }
        (Err(error), _) | (_, Err(error)) => {
            store.remove()?;
            Err(error)
        }
    }
}

async fn take(
    ask: &mut impl Ask,
    bound: &Bound,
    planned: &Planned<'_>,
    settings: &Settings,
    store: &mut Store,
) -> Result<(Kept, BTreeMap<u32, u64>), DamageError> {
    let path = settings.search_path();
    let blows = blows(ask, planned, path).await?;
    let about = ask
        .ask("SELECT current_database(), pg_current_xact_id()::text, system_identifier FROM pg_control_system()")
        .await?;
    let row = about
        .rows
        .first()
        .ok_or_else(|| unseen("the database has no name"))?;
    let content = Content {
        transaction: cell(row, 1).to_owned(),
        tables: Vec::new(),
        definitions: Vec::new(),
        afterwards: Vec::new(),
        sequences: Vec::new(),
    };
    let kept = Kept::new(
        DatabaseSystem::Postgres,
        planned.text.to_owned(),
        (cell(row, 2).to_owned(), cell(row, 0).to_owned()),
        content,
    );
    let mut taking = Taking {
        ask,
        bound,
        planned,
        path: path.to_owned(),
        store,
        kept,
        listed: BTreeMap::new(),
        places: Vec::new(),
        whole: BTreeMap::new(),
    };
    for blow in &blows {
        taking.blow(blow).await?;
    }
    taking.rows().await?;
    taking.wholes().await?;
    Ok((taking.kept, taking.listed))
}

struct Taking<'a, A> {
    ask: &'a mut A,
    bound: &'a Bound,
    planned: &'a Planned<'a>,
    path: String,
    store: &'a mut Store,
    kept: Kept,
    listed: BTreeMap<u32, u64>,
    /// Temporary tables that hold where rows are, one a blow.
    places: Vec<String>,
    /// Tables that are kept with all rows.
    whole: BTreeMap<u32, Fate>,
}

impl<A: Ask> Taking<'_, A> {
    async fn blow(&mut self, blow: &Blow) -> Result<(), DamageError> {
        match blow {
            Blow::Rows {
                table,
                rows,
                removes,
                ..
            } => {
                let touch = match (rows, removes) {
                    (Ok(_), true) => Touch::removed(),
                    (Ok(rows), false) => Touch::updates(rows.sets.clone()),
                    (Err(_), removes) => Touch::anything(*removes),
                };
                let heirs = with_inheritors(self.ask, &[*table]).await?;
                let facts = self.unchanged(&heirs).await?;
                let target = facts
                    .get(table)
                    .ok_or_else(|| unseen("its table is gone"))?;
                let name = target.name.clone();
                let keys = foreign_keys(self.ask).await?;
                let reach = Reach::of(self.ask, *table, touch, &keys).await?;
                let mut reached =
                    with_inheritors(self.ask, &reach.touched.keys().copied().collect::<Vec<_>>())
                        .await?;
                reached.extend(&heirs);
                self.lock(&reached).await?;
                let (query, bindings) = match rows {
                    Ok(rows) => (
                        rows.query.clone(),
                        Bindings::of(rows, self.planned.parameters)?,
                    ),
                    Err(_) => (all_rows(&name), None),
                };
                self.place(&reach.query(&query, *removes), bindings.as_ref())
                    .await
            }
            Blow::Empties { tables, cascade } => {
                let keys = foreign_keys(self.ask).await?;
                let (emptied, _) = emptied(self.ask, tables, *cascade, &keys).await?;
                self.all_of(&emptied, Fate::Emptied).await
            }
            Blow::Drops { objects, cascade } => {
                let gone = goes_along(self.ask, objects, *cascade).await?;
                let relations: BTreeSet<u32> = gone
                    .iter()
                    .filter(|gone| gone.column == 0 && matches!(gone.kind, 'r' | 'p' | 'm' | 'f'))
                    .map(|gone| gone.oid)
                    .collect();
                self.all_of(&relations, Fate::Dropped).await?;
                let definitions = definition::of(self.ask, &gone).await?;
                self.kept.content.definitions.extend(definitions.before);
                self.kept.content.afterwards.extend(definitions.afterwards);
                Ok(())
            }
            Blow::Reshapes { how, .. } => Err(DamageError::Unkept(format!(
                "a statement that {how} is not kept"
            ))),
        }
    }

    /// What these tables are, once it is sure that they are the ones that were shown.
    async fn unchanged(
        &mut self,
        oids: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, Table>, DamageError> {
        let facts = tables(self.ask, oids).await?;
        for table in facts.values() {
            let shown = self
                .bound
                .tables
                .iter()
                .find(|shown| shown.oid == table.oid);
            match shown {
                Some(shown) if shown.shape == table.shape => {}
                Some(_) => {
                    return Err(DamageError::Unseen(format!(
                        "{} was changed since it was shown; ask again",
                        table.name
                    )));
                }
                // A table without rows of its own is covered by those that have them.
                None if !table.has_rows() => {}
                None => {
                    return Err(DamageError::Unseen(format!(
                        "on this connection the statement means {}, which was not shown; ask again",
                        table.name
                    )));
                }
            }
        }
        Ok(facts)
    }

    /// Keeps others from writing until the end, where the role may. Where it may not, what was touched
    /// is counted against what is kept.
    async fn lock(&mut self, oids: &BTreeSet<u32>) -> Result<(), DamageError> {
        let oids: Vec<u32> = oids.iter().copied().collect();
        let rows = self
            .ask
            .ask(&format!(
                "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = ANY ({}) AND c.relkind IN ('r', 'p')
                   AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') ORDER BY c.oid",
                list(&oids)
            ))
            .await?;
        let names: Vec<_> = rows.rows.iter().map(|row| cell(row, 0)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let only: Vec<_> = names.iter().map(|name| format!("ONLY {name}")).collect();
        self.ask
            .ask(&format!(
                "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
                only.join(", ")
            ))
            .await?;
        Ok(())
    }

    /// Writes down, in the database, where the rows of a query are.
    async fn place(&mut self, query: &str, bindings: Option<&Bindings>) -> Result<(), DamageError> {
        let name = format!("pg_temp.\"tagout: rows {}\"", self.places.len());
        let prefix = format!("CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS ");
        super::target::look_in(self.ask, &self.path).await?;
        let placed = Asking::new(&prefix, query, bindings).ask(self.ask).await;
        placed.map_err(|error| match error {
            crate::ServerError::Said { code, message } if code == "42501" => {
                DamageError::Unkept(format!("the role cannot list the rows that go: {message}"))
            }
            error => error.into(),
        })?;
        super::target::look_in(self.ask, OWN_PATH).await?;
        let counted = self
            .ask
            .ask(&format!("SELECT t, count(*) FROM {name} GROUP BY t"))
            .await?;
        for row in &counted.rows {
            let (table, rows): (u32, u64) = (number(row, 0)?, number(row, 1)?);
            *self.listed.entry(table).or_default() += rows;
        }
        self.places.push(name);
        Ok(())
    }

    async fn all_of(&mut self, oids: &BTreeSet<u32>, fate: Fate) -> Result<(), DamageError> {
        let facts = self.unchanged(oids).await?;
        if let Some(foreign) = facts.values().find(|table| table.kind == 'f') {
            return Err(DamageError::Unkept(format!(
                "{} is on another server, and is not kept",
                foreign.name
            )));
        }
        self.lock(oids).await?;
        for oid in facts
            .values()
            .filter(|table| table.kind == 'r')
            .map(|table| table.oid)
        {
            let known = self.whole.entry(oid).or_insert(fate);
            *known = fate.max(*known);
        }
        Ok(())
    }

    /// Keeps the rows whose places are written down.
    async fn rows(&mut self) -> Result<(), DamageError> {
        if self.places.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = self
            .places
            .iter()
            .map(|place| format!("SELECT t, c, f FROM {place}"))
            .collect();
        self.ask
            .ask(&format!(
                "CREATE TEMPORARY TABLE {PLACES} ON COMMIT DROP AS
                 SELECT row_number() OVER (ORDER BY t, c) AS n, t, c, f FROM (
                   SELECT t, c, min(f::text) AS f FROM ({}) listed GROUP BY t, c) listed; ANALYZE {PLACES}",
                all.join(" UNION ALL ")
            ))
            .await?;
        // Partitions are kept as their table: an UPDATE may move a row from one to another.
        let groups = self
            .ask
            .ask(&format!(
                "SELECT coalesce(pg_partition_root(t), t)::oid, bool_or(f = 'd') FROM (
                   SELECT t, min(f) AS f FROM {PLACES} GROUP BY t) listed GROUP BY 1 ORDER BY 1"
            ))
            .await?;
        for group in &groups.rows {
            let root: u32 = number(group, 0)?;
            let fate = if cell(group, 1) == "t" {
                Fate::Removed
            } else {
                Fate::Changed
            };
            let facts = tables(self.ask, &BTreeSet::from([root])).await?;
            let table = facts.get(&root).ok_or_else(|| unseen("a table is gone"))?;
            let columns = columns(self.ask, root).await?;
            let from = source(table);
            let question = format!(
                "SELECT k.n, {values} FROM {PLACES} k JOIN {from} p ON p.ctid = k.c AND p.tableoid = k.t ORDER BY k.n",
                values = values("p", &columns),
            );
            self.keep(table, fate, columns, &question).await?;
        }
        Ok(())
    }

    /// Keeps tables with all rows.
    async fn wholes(&mut self) -> Result<(), DamageError> {
        let whole = self.whole.clone();
        let facts = tables(self.ask, &whole.keys().copied().collect()).await?;
        for table in facts.values() {
            let Some(fate) = whole.get(&table.oid) else {
                continue;
            };
            let columns = columns(self.ask, table.oid).await?;
            let question = format!(
                "SELECT row_number() OVER (), {values} FROM ONLY {name} p",
                values = values("p", &columns),
                name = table.name,
            );
            let rows = self.keep(table, *fate, columns, &question).await?;
            let shown = self
                .bound
                .tables
                .iter()
                .find(|shown| shown.oid == table.oid);
            let most = shown.map_or(0, |shown| shown.most);
            if rows > most {
                return Err(DamageError::Unseen(format!(
                    "{} has {rows} rows by now, and {most} were shown; ask again",
                    table.name
                )));
            }
            let sequences = definition::sequences(self.ask, table.oid).await?;
            self.kept.content.sequences.extend(sequences);
        }
        Ok(())
    }

    async fn keep(
        &mut self,
        table: &Table,
        fate: Fate,
        columns: Vec<KeptColumn>,
        question: &str,
    ) -> Result<u64, DamageError> {
        let key = key(self.ask, table.oid, &columns).await?;
        let at = self.kept.content.tables.len();
        let before = write(self.ask, self.store, format!("{at}-before.rows"), question).await?;
        let rows = before.rows;
        self.kept.content.tables.push(KeptTable {
            name: table.name.clone(),
            is_partitioned: table.kind == 'p',
            fate,
            columns,
            key,
            before,
            after: None,
        });
        Ok(rows)
    }
}

/// Reads rows through a cursor into a file.
async fn write(
    ask: &mut impl Ask,
    store: &mut Store,
    name: String,
    question: &str,
) -> Result<RowsFile, DamageError> {
    let mut writer = store.rows(name)?;
    let cursor = quoted_name("tagout: rows");
    ask.ask(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR {question}"))
        .await?;
    loop {
        let rows: Rows = ask.ask(&format!("FETCH {AT_A_TIME} FROM {cursor}")).await?;
        for row in &rows.rows {
            let number = number(row, 0)?;
            let row: Row = (number, row.get(1..).unwrap_or_default().to_vec());
            writer.add(&row)?;
        }
        if rows.rows.len() < AT_A_TIME {
            break;
        }
    }
    ask.ask(&format!("CLOSE {cursor}")).await?;
    Ok(writer.finish()?)
}

/// The table in a FROM: with its partitions, without heirs.
fn source(table: &Table) -> String {
    match table.kind {
        'p' => table.name.clone(),
        _ => format!("ONLY {}", table.name),
    }
}

pub(super) fn values(alias: &str, columns: &[KeptColumn]) -> String {
    let values: Vec<_> = columns
        .iter()
        .map(|column| format!("{alias}.{}::text", quoted_name(&column.name)))
        .collect();
    match values.is_empty() {
        // A row of nothing is a row.
        true => "NULL".to_owned(),
        false => values.join(", "),
    }
}

pub(super) async fn columns(
    ask: &mut impl Ask,
    table: u32,
) -> Result<Vec<KeptColumn>, DamageError> {
    let rows = ask
        .ask(&format!(
            "SELECT attname, format_type(atttypid, atttypmod), attgenerated <> '', attidentity = 'a'
             FROM pg_attribute WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ))
        .await?;
    let column = |row: &Vec<Option<String>>| KeptColumn {
        name: cell(row, 0).to_owned(),
        kind: cell(row, 1).to_owned(),
        is_generated: cell(row, 2) == "t",
        is_fixed: cell(row, 3) == "t",
    };
    Ok(rows.rows.iter().map(column).collect())
}

/// The columns of the primary key, or of another key that every row has.
pub(super) async fn key(
    ask: &mut impl Ask,
    table: u32,
    columns: &[KeptColumn],
) -> Result<Option<Vec<usize>>, DamageError> {
    let rows = ask
        .ask(&format!(
            "SELECT i.indexrelid, a.attname FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY u(num, at)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num
             WHERE i.indrelid = {table} AND i.indisunique AND i.indisvalid AND i.indimmediate
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT 1 FROM pg_attribute n WHERE n.attrelid = i.indrelid
                 AND n.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) AND NOT n.attnotnull)
             ORDER BY i.indisprimary DESC, i.indexrelid, u.at"
        ))
        .await?;
    let Some(first) = rows.rows.first().map(|row| cell(row, 0)) else {
        return Ok(None);
    };
    let names = rows
        .rows
        .iter()
        .filter(|row| cell(row, 0) == first)
        .map(|row| cell(row, 1));
    Ok(names
        .map(|name| columns.iter().position(|column| column.name == name))
        .collect())
}

impl Snapshot {
    /// Keeps how the statement left the rows, so that what others do to them later is noticed, and
    /// removes what it put into the database. `may_have_moved` where rows came as well, which is how a
    /// row goes from one partition to another.
    pub(super) async fn complete(
        &mut self,
        ask: &mut impl Ask,
        may_have_moved: bool,
    ) -> Result<(), DamageError> {
        let places = self
            .kept
            .content
            .tables
            .iter()
            .any(|table| table.fate <= Fate::Removed);
        if !places {
            return Ok(());
        }
        let settings = Settings::set(ask).await?;
        for at in 0..self.kept.content.tables.len() {
            let Some(table) = self
                .kept
                .content
                .tables
                .get(at)
                .filter(|table| table.fate <= Fate::Removed)
            else {
                continue;
            };
            let from = match table.is_partitioned {
                true => table.name.clone(),
                false => format!("ONLY {}", table.name),
            };
            // Follows each row to where it is now. A row that went leads to nothing.
            let values = values("a", &table.columns);
            let question = format!(
                "SELECT k.n AS \"tagout: n\", {values} FROM {PLACES} k JOIN {from} a
                   ON a.tableoid = k.t AND a.ctid = currtid2(k.t::regclass::text, k.c)
                 WHERE coalesce(pg_partition_root(k.t), k.t) = {name}::regclass",
                name = quoted_value(&table.name),
            );
            let after = write(ask, &mut self.store, format!("{at}-after.rows"), &question).await?;
            if table.is_partitioned && may_have_moved && after.rows < table.before.rows {
                return Err(DamageError::Unkept(format!(
                    "rows of {} went from one partition to another with another key, and nobody could tell them from new ones",
                    table.name
                )));
            }
            if let Some(table) = self.kept.content.tables.get_mut(at) {
                table.after = Some(after);
            }
        }
        let found = ask
            .ask(
                "SELECT quote_ident(relname) FROM pg_class
                 WHERE relnamespace = pg_my_temp_schema() AND relname LIKE 'tagout: rows%' AND relkind = 'r'",
            )
            .await?;
        for row in &found.rows {
            ask.ask(&format!("DROP TABLE pg_temp.{}", cell(row, 0)))
                .await?;
        }
        settings.back(ask).await?;
        self.hash = self.store.list(&self.kept)?;
        Ok(())
    }
}
