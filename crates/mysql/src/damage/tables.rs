//! What a database says of its tables: `information_schema` and `SHOW`, in names quoted by the gate.

use tokio::io::{AsyncRead, AsyncWrite};

use super::DamageError;
use crate::server::Server;

/// A column, as far as keeping and putting back needs it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// `data_type`, in lower case: `int`, `varchar`, …
    pub(super) kind: String,
    /// `column_type`, as it is declared.
    pub(super) declared: String,
    /// Computed from others.
    pub(super) is_generated: bool,
}

impl Column {
    /// What selects it so that nothing of its value is lost in text.
    pub(super) fn read(&self, called: &str) -> String {
        let name = quoted(&self.name);
        match self.kind.as_str() {
            // Text shows six digits of one.
            "float" => format!("{called}.{name} * 1e0"),
            "bit" => format!("HEX({called}.{name})"),
            // In text it depends on the time zone of whoever asks.
            "timestamp" => format!("UNIX_TIMESTAMP({called}.{name})"),
            _ => format!("{called}.{name}"),
        }
    }

    /// A value that was read so, as a literal.
    pub(super) fn written(&self, value: Option<&[u8]>) -> String {
        let Some(bytes) = value else {
            return "NULL".to_owned();
        };
        let hexadecimal = || -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        match self.kind.as_str() {
            "bit" => {
                // Two digits a byte; HEX() of a number leaves the first one out.
                let first = if bytes.len() % 2 == 0 { "" } else { "0" };
                format!("x'{first}{}'", String::from_utf8_lossy(bytes))
            }
            "timestamp" => {
                let seconds = String::from_utf8_lossy(bytes);
                let is_number = seconds
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.');
                match seconds.trim_matches(['0', '.']) {
                    "" => "'0000-00-00 00:00:00'".to_owned(),
                    _ if is_number => format!("FROM_UNIXTIME({seconds})"),
                    _ => "NULL".to_owned(),
                }
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" | "json" => format!("_utf8mb4 x'{}'", hexadecimal()),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float"
            | "double" | "year" | "date" | "datetime" | "time" | "uuid" | "inet4" | "inet6" => {
                // None of these has a quote in it; one that had would not end the literal.
                let text = String::from_utf8_lossy(bytes);
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
            }
            _ => format!("x'{}'", hexadecimal()),
        }
    }
}

/// A table that can be kept.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    /// Places in `columns` of a key without NULL: the primary one, else the first unique one.
    pub(super) key: Option<Vec<usize>>,
    pub(super) engine: String,
    /// The server's estimates.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Its triggers, by name.
    pub(super) triggers: Vec<String>,
}

/// A foreign key that refers to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) table: String,
    pub(super) schema: String,
    /// Pairs of the columns here and there.
    pub(super) columns: Vec<(String, String)>,
    pub(super) on_delete: String,
    pub(super) on_update: String,
}

/// A name in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as a literal, whatever `sql_mode` says of `\`.
pub(super) fn value(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    match digits.is_empty() {
        true => "''".to_owned(),
        false => format!("CONVERT(x'{digits}' USING utf8mb4)"),
    }
}

/// What is known of a base table.
///
/// # Errors
/// Where it is none: a view runs what somebody made.
pub(super) async fn table<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    database: &str,
    name: &str,
) -> Result<Table, DamageError> {
    let at = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        value(database),
        value(name)
    );
    let found = server
        .ask(&format!(
            "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS, COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0) \
             FROM information_schema.TABLES WHERE {at}"
        ))
        .await?;
    if found.rows.is_empty() {
        return Err(DamageError::Unseen(format!("there is no table {name}")));
    }
    if found.text(0, 0) != "BASE TABLE" {
        return Err(DamageError::Unseen(format!(
            "{name} is a {}, behind which other tables are",
            found.text(0, 0).to_lowercase()
        )));
    }
    let engine = found.text(0, 1);
    let (rows, bytes) = (
        found.number(0, 2).unwrap_or_default(),
        found.number(0, 3).unwrap_or_default(),
    );
    let found = server
        .ask(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, EXTRA, IS_NULLABLE FROM information_schema.COLUMNS \
             WHERE {at} ORDER BY ORDINAL_POSITION"
        ))
        .await?;
    let columns: Vec<Column> = (0..found.rows.len())
        .map(|row| Column {
            name: found.text(row, 0),
            kind: found.text(row, 1).to_lowercase(),
            declared: found.text(row, 2),
            // `DEFAULT_GENERATED` is only a default.
            is_generated: found
                .text(row, 3)
                .split(' ')
                .collect::<Vec<_>>()
                .windows(2)
                .any(|words| words == ["STORED", "GENERATED"] || words == ["VIRTUAL", "GENERATED"]),
        })
        .collect();
    let nullable: Vec<bool> = (0..found.rows.len())
        .map(|row| found.text(row, 4) == "YES")
        .collect();
    let indexes = server
        .ask(&format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS WHERE {at} AND NON_UNIQUE = 0 \
             ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    let mut keys: Vec<(String, Option<Vec<usize>>)> = Vec::new();
    for row in 0..indexes.rows.len() {
        let index = indexes.text(row, 0);
        let name = indexes.text(row, 1);
        let place = columns.iter().position(|column| {
            column.name == name && !column.is_generated && indexes.text(row, 2).is_empty()
        });
        let place = place.filter(|place| nullable.get(*place) == Some(&false));
        match keys.last_mut().filter(|(last, _)| *last == index) {
            Some((_, places)) => match (places.as_mut(), place) {
                (Some(places), Some(place)) => places.push(place),
                _ => *places = None,
            },
            None => keys.push((index, place.map(|place| vec![place]))),
        }
    }
    let triggers = server
        .ask(&format!(
            "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {} \
             AND EVENT_OBJECT_TABLE = {} ORDER BY ACTION_ORDER",
            value(database),
            value(name)
        ))
        .await?;
    Ok(Table {
        columns,
        key: keys.into_iter().find_map(|(_, places)| places),
        engine,
        rows,
        bytes,
        triggers: (0..triggers.rows.len())
            .map(|row| triggers.text(row, 0))
            .collect(),
    })
}

/// The foreign keys that refer to a table, of any database that the user may see.
pub(super) async fn references<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    database: &str,
    name: &str,
) -> Result<Vec<Reference>, DamageError> {
    let found = server
        .ask(&format!(
            "SELECT k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME, \
             r.DELETE_RULE, r.UPDATE_RULE FROM information_schema.KEY_COLUMN_USAGE k \
             JOIN information_schema.REFERENTIAL_CONSTRAINTS r ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA \
             AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
             WHERE k.REFERENCED_TABLE_SCHEMA = {} AND k.REFERENCED_TABLE_NAME = {} \
             ORDER BY k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION",
            value(database),
            value(name)
        ))
        .await?;
    let mut references: Vec<(String, Reference)> = Vec::new();
    for row in 0..found.rows.len() {
        let id = format!(
            "{}.{}.{}",
            found.text(row, 0),
            found.text(row, 1),
            found.text(row, 2)
        );
        let pair = (found.text(row, 3), found.text(row, 4));
        match references.last_mut().filter(|(last, _)| *last == id) {
            Some((_, reference)) => reference.columns.push(pair),
            None => references.push((
                id,
                Reference {
                    schema: found.text(row, 0),
                    table: found.text(row, 1),
                    columns: vec![pair],
                    on_delete: found.text(row, 5),
                    on_update: found.text(row, 6),
                },
            )),
        }
    }
    Ok(references
        .into_iter()
        .map(|(_, reference)| reference)
        .collect())
}

/// The relations that a query reads, as far as its text tells, that are no base tables of `database`.
pub(super) async fn other_than_tables<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    database: &str,
    names: &[String],
) -> Result<Vec<String>, DamageError> {
    let mut others = Vec::new();
    for name in names {
        let found = server
            .ask(&format!(
                "SELECT TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
                value(database),
                value(name)
            ))
            .await?;
        if found.text(0, 0) != "BASE TABLE" {
            others.push(name.clone());
        }
    }
    Ok(others)
}
