//! Which tables a statement is about: its names, looked up once where the client's connection would look,
//! and from there on OIDs. Questions here look names up in `pg_catalog` only ([`OWN_PATH`]), whatever the
//! client has put in front of it.

use std::collections::BTreeSet;

use tagout_catalog_sql::{Act, Object, RowQuery, WhereKind};

use super::{DamageError, Planned};
use crate::{Ask, ServerError, quoted_name, quoted_value};

/// Where questions of Tagout's own look for names; a temporary table is found last.
pub(super) const OWN_PATH: &str = "pg_catalog, pg_temp";

/// What a statement does to what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// Removes or changes rows of a table.
    Rows {
        table: u32,
        /// Which; or why nobody can say, so that it is about all.
        rows: Result<RowQuery, String>,
        removes: bool,
        /// Tables that its condition reads as well.
        reads: Vec<u32>,
    },
    /// Empties tables, and with CASCADE those that refer to them.
    Empties { tables: Vec<u32>, cascade: bool },
    /// Removes objects with what belongs to them, and with CASCADE with what depends on them.
    Drops {
        objects: Vec<Addressed>,
        cascade: bool,
    },
    /// Changes a table so that values are lost.
    Reshapes { table: u32, how: String },
}

/// An object by PostgreSQL's own address of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    /// The catalog that it stands in.
    pub(super) class: &'static str,
    pub(super) oid: u32,
}

/// Sets where names are looked up, until the transaction ends or it is set again.
pub(super) async fn look_in(ask: &mut impl Ask, path: &str) -> Result<(), ServerError> {
    ask.ask(&format!(
        "SELECT pg_catalog.set_config('search_path', {}, true)",
        quoted_value(path)
    ))
    .await
    .map(drop)
}

/// OIDs as an array of SQL.
pub(super) fn list(oids: &[u32]) -> String {
    let oids: Vec<_> = oids.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::oid[]", oids.join(","))
}

/// The blows of a text. `path` is where the client's names are looked up; afterwards it is [`OWN_PATH`].
pub(super) async fn blows(
    ask: &mut impl Ask,
    planned: &Planned<'_>,
    path: &str,
) -> Result<Vec<Blow>, DamageError> {
    look_in(ask, path).await?;
    let found = named_blows(ask, planned).await;
    // In a failed transaction this fails as well, and the first failure is the one to tell.
    let back = look_in(ask, OWN_PATH).await;
    let found = found?;
    back?;
    Ok(found)
}

async fn named_blows(ask: &mut impl Ask, planned: &Planned<'_>) -> Result<Vec<Blow>, DamageError> {
    let mut queries = row_queries(planned.text).await?.into_iter();
    let mut blows = Vec::new();
    for statement in planned.statements {
        let query = queries
            .next()
            .ok_or_else(|| unseen("its statements could not be told apart"))?;
        let mut reads = Vec::new();
        for act in statement
            .acts
            .iter()
            .filter(|act| act.rows.is_none() && act.name == "select")
        {
            for object in &act.objects {
                reads.push(relation(ask, object).await?);
            }
        }
        for act in &statement.acts {
            blows.extend(blow(ask, act, &query, &reads).await?);
        }
    }
    Ok(blows)
}

async fn blow(
    ask: &mut impl Ask,
    act: &Act,
    query: &Result<RowQuery, String>,
    reads: &[u32],
) -> Result<Option<Blow>, DamageError> {
    let cascade = act.cascade;
    Ok(match (act.name.as_str(), act.objects.as_slice()) {
        ("delete" | "update" | "merge", [table]) => Some(Blow::Rows {
            table: relation(ask, table).await?,
            rows: match act.rows {
                // Whatever it is, it is about all.
                None => Err("it does not say which rows".to_owned()),
                Some(
                    WhereKind::None | WhereKind::Tautology | WhereKind::Key | WhereKind::Other,
                ) => query.clone(),
            },
            removes: act.name != "update",
            reads: reads.to_vec(),
        }),
        ("truncate", objects) => {
            let mut tables = Vec::new();
            for object in objects {
                tables.push(relation(ask, object).await?);
            }
            Some(Blow::Empties { tables, cascade })
        }
        ("drop_column" | "alter_column_type" | "detach_partition", [table]) => {
            Some(Blow::Reshapes {
                table: relation(ask, table).await?,
                how: act.because.clone().unwrap_or_else(|| act.name.clone()),
            })
        }
        ("alter_table", [table]) if act.class >= tagout_catalog_sql::Class::Destructive => {
            Some(Blow::Reshapes {
                table: relation(ask, table).await?,
                how: act
                    .because
                    .clone()
                    .unwrap_or_else(|| "changes the table".to_owned()),
            })
        }
        (name, objects) if name.starts_with("drop_") => {
            let mut addressed = Vec::new();
            for object in objects {
                addressed.extend(address(ask, object).await?);
            }
            Some(Blow::Drops {
                objects: addressed,
                cascade,
            })
        }
        // What only reads, adds or sets takes nothing; what nobody can see into is said.
        _ if act.class <= tagout_catalog_sql::Class::Admin && act.known => None,
        (name, _) => {
            return Err(DamageError::Unseen(match &act.because {
                Some(why) => format!("sql.{name}: {why}"),
                None => format!("what sql.{name} does is not known before it runs"),
            }));
        }
    })
}

/// The table that a name means here.
async fn relation(ask: &mut impl Ask, object: &Object) -> Result<u32, DamageError> {
    let name = written(object);
    let rows = ask
        .ask(&format!(
            "SELECT pg_catalog.to_regclass({})::pg_catalog.oid",
            quoted_value(&name)
        ))
        .await?;
    let oid = rows.single().and_then(|oid| oid.parse().ok());
    oid.ok_or_else(|| {
        unseen(&format!(
            "{name} is not there, or is a temporary table of that connection"
        ))
    })
}

/// A name as SQL writes it.
fn written(object: &Object) -> String {
    match &object.schema {
        Some(schema) => format!("{}.{}", quoted_name(schema), quoted_name(&object.name)),
        None => quoted_name(&object.name),
    }
}

/// The object that a DROP names. Nothing where it is not there, as `IF EXISTS` may have it.
async fn address(ask: &mut impl Ask, object: &Object) -> Result<Option<Addressed>, DamageError> {
    let name = quoted_value(&written(object));
    let (class, question) = match object.kind {
        "table" | "view" | "materialized_view" | "sequence" | "index" | "foreign_table" => {
            ("pg_class", format!("pg_catalog.to_regclass({name})"))
        }
        "type" | "domain" => ("pg_type", format!("pg_catalog.to_regtype({name})")),
        "schema" => (
            "pg_namespace",
            format!("pg_catalog.to_regnamespace({name})"),
        ),
        kind => {
            return Err(DamageError::Unseen(format!(
                "what goes with the {} {} is not looked up",
                kind.replace('_', " "),
                written(object)
            )));
        }
    };
    let rows = ask
        .ask(&format!("SELECT {question}::pg_catalog.oid"))
        .await?;
    let oid = rows.single().and_then(|oid| oid.parse().ok());
    Ok(oid.map(|oid| Addressed { class, oid }))
}

/// For each statement the query for its rows.
async fn row_queries(text: &str) -> Result<Vec<Result<RowQuery, String>>, DamageError> {
    let text = text.to_owned();
    let queries = tokio::task::spawn_blocking(move || tagout_catalog_sql::row_queries(&text))
        .await
        .map_err(|_| unseen("it could not be examined"))?
        .map_err(|why| unseen(&why.to_string()))?;
    let said = |query: Result<RowQuery, tagout_catalog_sql::Uncountable>| {
        query.map_err(|why| why.to_string())
    };
    Ok(queries.into_iter().map(said).collect())
}

pub(super) fn unseen(why: &str) -> DamageError {
    DamageError::Unseen(why.to_owned())
}

/// The rows and columns of an answer.
pub(super) fn cell(row: &[Option<String>], at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

/// A number of an answer. What is no number is a server that says something else than was asked.
pub(super) fn number<T: std::str::FromStr>(
    row: &[Option<String>],
    at: usize,
) -> Result<T, ServerError> {
    cell(row, at)
        .parse()
        .map_err(|_| ServerError::Protocol("an answer without the number that was asked for"))
}

/// These and whatever inherits from them: partitions too.
pub(super) async fn with_inheritors(
    ask: &mut impl Ask,
    tables: &[u32],
) -> Result<BTreeSet<u32>, ServerError> {
    let rows = ask
        .ask(&format!(
            "WITH RECURSIVE heirs(oid) AS (SELECT unnest({}) UNION
               SELECT i.inhrelid FROM pg_inherits i JOIN heirs h ON h.oid = i.inhparent)
             SELECT oid FROM heirs",
            list(tables)
        ))
        .await?;
    rows.rows.iter().map(|row| number(row, 0)).collect()
}
