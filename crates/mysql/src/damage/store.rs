//! What a snapshot says of the tables of MySQL that it holds rows of, and how a row is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use tagout_database::{RowsFile, StoreError};

use super::Fate;
use super::tables::Column;
use crate::server::Value;

/// What is kept of a statement.
pub(super) type Kept = tagout_database::Kept<Content>;
/// A finished snapshot.
pub(super) type Shelf = tagout_database::Shelf<Content>;

/// What is kept, beside the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) tables: Vec<KeptTable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptTable {
    pub(super) name: String,
    pub(super) fate: Fate,
    pub(super) columns: Vec<Column>,
    /// Columns that tell its rows apart, by their numbers in `columns`.
    pub(super) key: Option<Vec<usize>>,
    /// What makes it, and its triggers, again.
    pub(super) definition: String,
    pub(super) triggers: Vec<String>,
    /// Rows as they were.
    pub(super) before: RowsFile,
    /// Rows that changed, in the same order, as the statement left them.
    pub(super) after: Option<RowsFile>,
}

/// A row as it is written: its values in base64, since text of MySQL's is of any encoding.
pub(super) type Line = Vec<Option<String>>;

pub(super) fn line(row: &[Value]) -> Line {
    let encoded = |value: &Value| value.as_ref().map(|bytes| STANDARD_NO_PAD.encode(bytes));
    row.iter().map(encoded).collect()
}

/// All rows of a file.
pub(super) fn rows(
    lines: impl Iterator<Item = Result<Line, StoreError>>,
) -> Result<Vec<Vec<Value>>, StoreError> {
    let altered = |error: base64::DecodeError| StoreError::Altered(error.to_string());
    let decoded = |value: Option<String>| {
        let bytes = value.map(|text| STANDARD_NO_PAD.decode(text));
        bytes.transpose().map_err(altered)
    };
    lines
        .map(|line| line?.into_iter().map(decoded).collect())
        .collect()
}
