//! What a statement would take from a database, and the way back: shown before anybody approves it
//! ([`preview`]), kept before it runs ([`snapshot`]) under locks that hold until it has run, and put back
//! afterwards ([`undo`]).
//!
//! What must stay true. Counting runs nothing that somebody made in the database. "Cannot be previewed" is
//! never an empty preview. What was approved is tables with the most rows of each: nothing runs that would
//! take more. And a snapshot that lacks a row is no snapshot: either everything that the statement takes is
//! kept, or [`DamageError::Unkept`] says what is not.

mod preview;
mod snapshot;
mod store;
mod tables;
mod undo;

pub use preview::preview;
pub use snapshot::{Snapshot, snapshot};
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
    /// The text that was classified, with `?` where values go.
    pub text: &'a str,
    /// The values.
    pub parameters: &'a [Parameter],
    /// The database that names without one are in.
    pub database: &'a str,
}

/// What a person is shown before approving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// One fact a line, the loss first. Never empty.
    pub lines: Vec<String>,
    /// What the statement may touch, where that could be found out. Without one nothing holds it to
    /// what was shown.
    pub bound: Option<Bound>,
}

impl Preview {
    /// None, and why.
    pub(crate) fn unseen(why: impl fmt::Display) -> Self {
        Self {
            lines: vec![format!("cannot be previewed: {why}")],
            bound: None,
        }
    }
}

/// What was shown, and so what an approval covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The tables.
    pub tables: Vec<BoundTable>,
}

/// How much of one table an approval covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundTable {
    /// Its name in the database, unquoted.
    pub name: String,
    /// `WHERE …`, in which the table has the name `called`; which of its rows.
    pub rows: Target,
    /// The most rows that may be removed or changed.
    pub most: u64,
    /// What happens to it.
    pub fate: Fate,
}

/// Which rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    All,
    /// What a query of the statement's own finds: everything behind `FROM`, and the table's name in it.
    Query {
        /// Behind `FROM`.
        from: String,
        /// How columns are qualified.
        called: String,
    },
}

/// What a statement does to rows, or to a whole table. Ordered: the later one includes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Rows change.
    Changed,
    /// Rows go.
    Removed,
    /// All rows go and the table stays.
    Emptied,
    /// The table goes.
    Dropped,
}

impl Fate {
    /// Whether MySQL commits it by itself.
    pub fn is_definition(self) -> bool {
        matches!(self, Self::Emptied | Self::Dropped)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
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
    /// Something that the statement takes cannot be kept, or is more than what was approved.
    #[error("{0}")]
    Unkept(String),
    /// The store of what is kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
