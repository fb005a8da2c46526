//! What a snapshot says of the tables of PostgreSQL that it holds rows of.

use serde::{Deserialize, Serialize};
use tagout_database::RowsFile;

use super::Fate;

/// What is kept of a statement.
pub(super) type Kept = tagout_database::Kept<Content>;
/// A finished snapshot.
pub(super) type Shelf = tagout_database::Shelf<Content>;

/// What is kept, beside the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// The transaction that it ran in, as `pg_current_xact_id` gives it.
    pub(super) transaction: String,
    pub(super) tables: Vec<KeptTable>,
    /// What makes dropped objects again before rows are put back, in order.
    pub(super) definitions: Vec<String>,
    /// What makes the rest of them again, once the rows are there. Each may need another of these first.
    pub(super) afterwards: Vec<String>,
    pub(super) sequences: Vec<KeptSequence>,
}

/// A table, or a table with all of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptTable {
    /// Schema and name, quoted where SQL needs it.
    pub(super) name: String,
    /// Whether its rows are those of its partitions.
    pub(super) is_partitioned: bool,
    pub(super) fate: Fate,
    pub(super) columns: Vec<KeptColumn>,
    /// Columns that tell its rows apart, by their numbers in `columns`. None where nothing does.
    pub(super) key: Option<Vec<usize>>,
    /// Rows as they were: number, then a value a column.
    pub(super) before: RowsFile,
    /// The same rows, by the same numbers, as the statement left them; those that went are not in it.
    pub(super) after: Option<RowsFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptColumn {
    /// As it is called.
    pub(super) name: String,
    /// As `format_type` says it.
    pub(super) kind: String,
    /// Computed from others.
    pub(super) is_generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: an UPDATE may not set it.
    pub(super) is_fixed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptSequence {
    /// Schema and name, quoted where SQL needs it.
    pub(super) name: String,
    pub(super) last: i64,
    pub(super) is_called: bool,
}

/// A row: its number, and its values in text.
pub(super) type Row = (u64, Vec<Option<String>>);
