//! Keeps what a statement is about to take. Rows that change or go are read by a locking query in the
//! transaction that then changes them, so that they are the very rows; tables that are emptied or dropped are
//! locked for everybody else until it is done.

use std::path::Path;

use tagout_catalog_sql::with_values;
use tagout_core::DatabaseSystem;
use tagout_database::{RowsFile, Store};
use tokio::io::{AsyncRead, AsyncWrite};

use super::store::{Content, Kept, KeptTable, line, rows};
use super::tables::{Column, quoted, table};
use super::{Bound, BoundTable, DamageError, Fate, Planned, Target};
use crate::server::{Rows, Server, Value};

/// What may be kept of one statement, in bytes.
const BUDGET: u64 = 1 << 30;
/// Rows that are looked up by their keys at one time.
pub(super) const AT_A_TIME: usize = 500;

/// A snapshot, finished but for what the statement leaves behind.
#[derive(Debug)]
pub struct Snapshot {
    store: Store,
    kept: Kept,
    hash: String,
}

/// Keeps all of `bound` in the folder `into`, which must not be there. For rows the connection has to be in
/// a transaction; for whole tables they have to be locked for writing.
///
/// # Errors
/// When something cannot be kept, or is more than `bound`.
pub async fn snapshot<S: AsyncRead + AsyncWrite + Unpin + Send>(
    server: &mut Server<S>,
    bound: &Bound,
    planned: &Planned<'_>,
    into: &Path,
) -> Result<Snapshot, DamageError> {
    let text = match planned.parameters {
        [] => planned.text.to_owned(),
        values => with_values(planned.text, values).unwrap_or_else(|| planned.text.to_owned()),
    };
    let name = server_name(server).await?;
    let mut store = Store::make(into, BUDGET)?;
    let places = (name, planned.database.to_owned());
    let content = Content { tables: Vec::new() };
    let mut kept = Kept::new(DatabaseSystem::MySql, text, places, content);
    let done = async {
        for (at, bound) in bound.tables.iter().enumerate() {
            let table = keep(server, planned.database, bound, (&mut store, at)).await?;
            kept.content.tables.push(table);
        }
        Ok::<_, DamageError>(store.list(&kept)?)
    };
    match done.await {
        Ok(hash) => Ok(Snapshot { store, kept, hash }),
        Err(why) => {
            // What is not whole is nothing.
            let _ = store.remove();
            Err(why)
        }
    }
}

async fn keep<S: AsyncRead + AsyncWrite + Unpin + Send>(
    server: &mut Server<S>,
    database: &str,
    bound: &BoundTable,
    (store, at): (&mut Store, usize),
) -> Result<KeptTable, DamageError> {
    let found = table(server, database, &bound.name).await?;
    let name = &bound.name;
    if bound.fate == Fate::Changed && found.key.is_none() {
        return Err(DamageError::Unkept(format!(
            "{name} has no key by which its rows can be told apart afterwards"
        )));
    }
    let (from, called, locks) = match &bound.rows {
        Target::All => (quoted(name), quoted(name), ""),
        Target::Query { from, called } => (from.clone(), called.clone(), " FOR UPDATE"),
    };
    let selected = select(&found.columns, &called);
    let mut writer = store.rows(format!("{at}.before.rows"))?;
    let most = bound.most;
    server
        .each(
            &format!("SELECT {selected} FROM {from}{locks}"),
            &mut |row| {
                if writer.count() >= most {
                    return Err(DamageError::Unkept(format!(
                        "it would take more than the {most} rows of {name} that were shown"
                    )));
                }
                Ok(writer.add(&line(&row))?)
            },
        )
        .await?;
    let before = writer.finish()?;
    let definition = definition(server, "TABLE", name).await?;
    let mut triggers = Vec::new();
    if bound.fate == Fate::Dropped {
        for trigger in &found.triggers {
            triggers.push(self::definition(server, "TRIGGER", trigger).await?);
        }
    }
    Ok(KeptTable {
        name: name.clone(),
        fate: bound.fate,
        columns: found.columns,
        key: found.key,
        definition,
        triggers,
        before,
        after: None,
    })
}

/// What selects columns so that nothing of their values is lost.
pub(super) fn select(columns: &[Column], called: &str) -> String {
    let parts: Vec<_> = columns.iter().map(|column| column.read(called)).collect();
    parts.join(", ")
}

/// `SHOW CREATE`.
async fn definition<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    kind: &str,
    name: &str,
) -> Result<String, DamageError> {
    let shown = server
        .ask(&format!("SHOW CREATE {kind} {}", quoted(name)))
        .await?;
    // Name and definition; of a trigger its sql_mode stands between.
    let text = shown.text(0, if kind == "TABLE" { 1 } else { 2 });
    match text.is_empty() {
        true => Err(DamageError::Unkept(format!(
            "the definition of {name} cannot be read"
        ))),
        false => Ok(text),
    }
}

/// What names a server, and no other.
pub(super) async fn server_name<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
) -> Result<String, DamageError> {
    let found = server
        .ask("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('datadir', 'hostname', 'port', 'server_uid', 'server_uuid')")
        .await?;
    let value = |name: &str| {
        (0..found.rows.len())
            .find(|row| found.text(*row, 0) == name)
            .map(|row| found.text(row, 1))
    };
    Ok(value("server_uuid")
        .or(value("server_uid"))
        .unwrap_or_else(|| {
            let part = |name| value(name).unwrap_or_default();
            format!("{}:{}{}", part("hostname"), part("port"), part("datadir"))
        }))
}

/// The rows of a table with the keys of `rows`, as they are now.
pub(super) async fn by_keys<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    (name, columns, key): (&str, &[Column], &[usize]),
    rows: &[Vec<Value>],
) -> Result<Rows, DamageError> {
    let names: Vec<_> = key
        .iter()
        .filter_map(|place| columns.get(*place))
        .map(|column| quoted(&column.name))
        .collect();
    let keys: Vec<_> = rows
        .iter()
        .map(|row| {
            let values: Vec<_> = key
                .iter()
                .filter_map(|place| Some((columns.get(*place)?, row.get(*place)?)))
                .map(|(column, value)| column.written(value.as_deref()))
                .collect();
            format!("({})", values.join(", "))
        })
        .collect();
    let called = quoted(name);
    Ok(server
        .ask(&format!(
            "SELECT {} FROM {called} WHERE ({}) IN ({})",
            select(columns, &called),
            names.join(", "),
            keys.join(", ")
        ))
        .await?)
}

/// The values of a row's key.
pub(super) fn key_of(row: &[Value], key: &[usize]) -> Vec<Value> {
    key.iter()
        .map(|place| row.get(*place).cloned().flatten())
        .collect()
}

impl Snapshot {
    /// The rows of the first table, which the server's own count of the statement is about.
    pub fn rows_of_target(&self) -> u64 {
        self.kept
            .content
            .tables
            .first()
            .map_or(0, |table| table.before.rows)
    }

    /// All rows that are kept.
    pub fn rows(&self) -> u64 {
        self.kept
            .content
            .tables
            .iter()
            .map(|table| table.before.rows)
            .sum()
    }

    /// SHA-256 of the list, in hexadecimal: it covers everything.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Keeps what the statement left of rows that it changed.
    ///
    /// # Errors
    /// When a row is not found by its key any more: nobody could put it back.
    pub async fn settle<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        server: &mut Server<S>,
    ) -> Result<(), DamageError> {
        for at in 0..self.kept.content.tables.len() {
            let Some(table) = self.kept.content.tables.get(at).cloned() else {
                continue;
            };
            let (Fate::Changed, Some(key)) = (table.fate, &table.key) else {
                continue;
            };
            let before = rows(self.store.read(&table.before)?)?;
            let mut after: Vec<Vec<Value>> = Vec::with_capacity(before.len());
            for part in before.chunks(AT_A_TIME) {
                let now = by_keys(server, (&table.name, &table.columns, key), part).await?;
                let mut now: std::collections::HashMap<_, _> = now
                    .rows
                    .into_iter()
                    .map(|row| (key_of(&row, key), row))
                    .collect();
                for row in part {
                    let row = now.remove(&key_of(row, key)).ok_or_else(|| {
                        DamageError::Unkept(format!(
                            "it changes the columns by which rows of {} are told apart",
                            table.name
                        ))
                    })?;
                    after.push(row);
                }
            }
            let file = self.write(format!("{at}.after.rows"), &after)?;
            if let Some(table) = self.kept.content.tables.get_mut(at) {
                table.after = Some(file);
            }
        }
        self.hash = self.store.list(&self.kept)?;
        Ok(())
    }

    fn write(&mut self, name: String, rows: &[Vec<Value>]) -> Result<RowsFile, DamageError> {
        let mut writer = self.store.rows(name)?;
        for row in rows {
            writer.add(&line(row))?;
        }
        Ok(writer.finish()?)
    }

    /// Removes it: what it was made for did not happen.
    ///
    /// # Errors
    /// When that fails; it does no harm but for its room.
    pub fn discard(self) -> Result<(), DamageError> {
        Ok(self.store.remove()?)
    }
}
