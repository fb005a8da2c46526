//! What a statement would take from a database, and the way back: shown before anybody approves it
//! ([`preview`]), kept before it runs ([`snapshot`]), held against what was shown before it is committed
//! ([`check`]), and put back afterwards ([`undo`]).
//!
//! What must stay true. Counting runs nothing of the database's own (no functions, views, policies or
//! operators that somebody made there): a preview comes before the approval. "Cannot be previewed" is
//! never an empty preview. What was approved is tables by their OIDs with the most rows of each; what
//! runs against it is compared with what the server itself counted. And a snapshot that lacks a row is
//! no snapshot: either everything that the statement takes is kept, or [`DamageError::Unkept`] says
//! what is not. Where that is known beforehand ([`Bound::unkept`]) the person is told, and decides.

mod contract;
mod definition;
mod known;
mod preview;
mod reach;
mod settings;
mod snapshot;
mod store;
mod tables;
mod target;
mod undo;
mod words;

pub use contract::{Watch, check, watch};
pub use preview::preview;
pub use snapshot::{Snapshot, snapshot};
pub use tagout_database::{UndoOptions, UndoReport, UndoneTable};
pub use undo::{is_of, undo};

use std::fmt;

use serde::{Deserialize, Serialize};
use tagout_catalog_sql::Statement;
use tagout_core::Parameter;
use tagout_database::StoreError;

use crate::ServerError;

/// What is about to run, as it was judged.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// Its statements, in the order of the text.
    pub statements: &'a [Statement],
    /// The text that was classified.
    pub text: &'a str,
    /// The values of `$1` and so on.
    pub parameters: &'a [Parameter],
    /// Where the client's connection looks for names without a schema; as the server reports it.
    pub search_path: Option<&'a str>,
}

/// What a person is shown before approving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// One fact a line, the loss first. Never empty. Names of the database's own stand in quotes.
    pub lines: Vec<String>,
    /// What the statement may touch, where that could be found out. Without one nothing holds it to
    /// what was shown.
    pub bound: Option<Bound>,
}

/// What was shown, and so what an approval covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The tables, each partition by itself.
    pub tables: Vec<BoundTable>,
    /// Views, sequences and other relations that go along or begin anew, by OID.
    pub goes_along: Vec<u32>,
    /// Why nothing of it is kept, where something of it cannot be; whoever approves it is told.
    pub unkept: Option<String>,
}

/// How much of one table an approval covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTable {
    /// Its OID.
    pub oid: u32,
    /// Schema and name, quoted where SQL needs it.
    pub name: String,
    /// The most rows that may be removed or changed. With `all`, what it has.
    pub most: u64,
    /// Whether `most` was counted; else it is an estimate with room on top.
    pub is_exact: bool,
    /// What happens to it.
    pub fate: Fate,
    /// A hash of its columns, constraints and file, so that another table in its place is noticed.
    pub shape: String,
}

/// What a statement does to rows, or to a whole table. Ordered: the later one includes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Rows change.
    Changed,
    /// Rows go.
    Removed,
    /// Its columns change, and values with them.
    Reshaped,
    /// All rows go and the table stays.
    Emptied,
    /// The table goes.
    Dropped,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Reshaped => "reshaped",
            Self::Emptied => "emptied",
            Self::Dropped => "dropped",
        })
    }
}

/// Why something is not previewed, kept or put back. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum DamageError {
    /// The database.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// There is no way to know beforehand.
    #[error("{0}")]
    Unseen(String),
    /// Something that the statement takes cannot be kept.
    #[error("{0}")]
    Unkept(String),
    /// The store of what is kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The statement did other than what was approved: it has to be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// More rows than were shown.
    #[error("{touched} rows of {table} were removed or changed, and {most} were approved")]
    MoreRows {
        /// Schema and name.
        table: String,
        /// What the server counted.
        touched: u64,
        /// What was approved.
        most: u64,
    },
    /// A table that was not shown.
    #[error(
        "{touched} rows of {table} were removed or changed, a table that was not in what was approved"
    )]
    OtherTable {
        /// Schema and name.
        table: String,
        /// What the server counted.
        touched: u64,
    },
    /// A table that was not shown was emptied, rewritten or dropped.
    #[error("{table} was emptied, rewritten or dropped, and that was not in what was approved")]
    OtherObject {
        /// Schema and name.
        table: String,
    },
    /// More rows than were kept.
    #[error(
        "{touched} rows of {table} were removed or changed, and {kept} of them were kept before: others wrote to it at the same time"
    )]
    Unkept {
        /// Schema and name.
        table: String,
        /// What the server counted.
        touched: u64,
        /// What the snapshot has.
        kept: u64,
    },
    /// What was done cannot be found out, so it counts as more.
    #[error("what it did cannot be compared with what was approved: {0}")]
    Unknown(#[from] DamageError),
}

impl From<ServerError> for Breach {
    fn from(error: ServerError) -> Self {
        Self::Unknown(error.into())
    }
}
