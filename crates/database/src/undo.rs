//! What undoing is asked for, and what it tells: the same for the databases of every gate.

/// How to undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UndoOptions {
    /// Do it all, and take it back.
    pub dry_run: bool,
    /// Put back also what others changed since; their change is lost.
    pub force: bool,
}

/// What undoing did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoReport {
    /// What was put back, table by table.
    pub tables: Vec<UndoneTable>,
    /// How many statements made dropped objects again.
    pub definitions: usize,
    /// Whether it is so now. Otherwise nothing has changed.
    pub is_done: bool,
    /// What else there is to know, a sentence each.
    pub remarks: Vec<String>,
}

/// One table of an [`UndoReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoneTable {
    /// Its name, with the schema where there are some.
    pub name: String,
    /// Rows that were gone and are back.
    pub restored: u64,
    /// Rows that have their earlier values again.
    pub changed_back: u64,
    /// Rows that were as before already.
    pub already: u64,
    /// Rows that others removed, changed or made anew since.
    pub conflicts: u64,
    /// Some of them, by their key.
    pub examples: Vec<String>,
}

/// What a folder holds, for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSummary {
    /// The statement.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The database's name.
    pub database: String,
    /// Rows and tables: `users: 3 rows removed`.
    pub tables: Vec<String>,
    /// Whether it was put back.
    pub is_undone: bool,
}

impl UndoReport {
    /// Rows that others changed since, of all tables.
    pub fn conflicts(&self) -> u64 {
        self.tables.iter().map(|table| table.conflicts).sum()
    }
}
