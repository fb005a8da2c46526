//! What is kept of a statement: a folder with one file of rows for each table, and a list that says what
//! they are. The list is written last and whole, and holds the hash of every file; a folder without one
//! is a snapshot that was never finished.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{DamageError, Fate};

/// The version of what is written here.
const FORMAT: u32 = 1;
/// The list of a folder.
const LIST: &str = "kept.json";
/// Says that a folder was put back.
const UNDONE: &str = "undone";
/// The longest list, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// What is kept, beside the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) format: u32,
    /// The statement.
    pub(super) text: String,
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    /// The database's name.
    pub(super) database: String,
    /// The server's `system_identifier`.
    pub(super) server: String,
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
pub(super) struct RowsFile {
    pub(super) name: String,
    pub(super) rows: u64,
    /// SHA-256, in hexadecimal.
    pub(super) hash: String,
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

/// The folder that a snapshot is written to.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// Bytes that may still be written.
    left: u64,
}

fn written(source: io::Error) -> DamageError {
    DamageError::Store {
        done: "written",
        source,
    }
}

fn read(source: io::Error) -> DamageError {
    DamageError::Store {
        done: "read",
        source,
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Makes a folder that is not there yet, for nobody else to see.
    pub(super) fn make(folder: &Path, budget: u64) -> Result<Self, DamageError> {
        if let Some(above) = folder.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(above)
                .map_err(written)?;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(written)?;
        Ok(Self {
            folder: folder.to_owned(),
            left: budget,
        })
    }

    /// A file for rows.
    pub(super) fn rows(&mut self, name: String) -> Result<RowsWriter<'_>, DamageError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join(&name))
            .map_err(written)?;
        Ok(RowsWriter {
            store: self,
            file: BufWriter::new(file),
            hash: Context::new(&SHA256),
            name,
            rows: 0,
        })
    }

    /// Writes the list, in place of an earlier one. Its hash, in hexadecimal: it covers everything.
    pub(super) fn list(&self, kept: &Kept) -> Result<String, DamageError> {
        let text = serde_json::to_vec(kept).map_err(|error| written(error.into()))?;
        let new = self.folder.join("kept.json.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(written)?;
        file.write_all(&text).map_err(written)?;
        file.sync_all().map_err(written)?;
        fs::rename(&new, self.folder.join(LIST)).map_err(written)?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(written)?;
        Ok(hexadecimal(digest(&SHA256, &text).as_ref()))
    }

    /// Removes it: what it was made for did not happen.
    pub(super) fn remove(self) -> Result<(), DamageError> {
        fs::remove_dir_all(&self.folder).map_err(written)
    }
}

/// Writes rows.
pub(super) struct RowsWriter<'a> {
    store: &'a mut Store,
    file: BufWriter<File>,
    hash: Context,
    name: String,
    rows: u64,
}

impl RowsWriter<'_> {
    pub(super) fn add(&mut self, row: &Row) -> Result<(), DamageError> {
        let mut line = serde_json::to_vec(row).map_err(|error| written(error.into()))?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.store.left = self.store.left.checked_sub(length).ok_or_else(|| {
            DamageError::Unkept(
                "what it takes is larger than what is kept of one statement; make a backup, and have it approved without one here"
                    .to_owned(),
            )
        })?;
        self.hash.update(&line);
        self.file.write_all(&line).map_err(written)?;
        self.rows += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<RowsFile, DamageError> {
        let file = self
            .file
            .into_inner()
            .map_err(|error| written(error.into_error()))?;
        file.sync_all().map_err(written)?;
        Ok(RowsFile {
            name: self.name,
            rows: self.rows,
            hash: hexadecimal(self.hash.finish().as_ref()),
        })
    }
}

/// A finished snapshot.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    pub(super) kept: Kept,
}

impl Shelf {
    pub(super) fn open(folder: &Path) -> Result<Self, DamageError> {
        let path = folder.join(LIST);
        let length = fs::metadata(&path).map_err(read)?.len();
        if length > LONGEST_LIST {
            return Err(DamageError::Altered("its list is too long".to_owned()));
        }
        let text = fs::read(&path).map_err(read)?;
        let kept: Kept = serde_json::from_slice(&text)
            .map_err(|error| DamageError::Altered(format!("its list cannot be read: {error}")))?;
        if kept.format != FORMAT {
            return Err(DamageError::Altered(format!(
                "it is of format {}, which this version does not read",
                kept.format
            )));
        }
        Ok(Self {
            folder: folder.to_owned(),
            kept,
        })
    }

    /// Checks that a file is what was written, and gives its rows.
    pub(super) fn rows(
        &self,
        file: &RowsFile,
    ) -> Result<impl Iterator<Item = Result<Row, DamageError>> + use<>, DamageError> {
        // A name is Tagout's own; one that is not would lead out of the folder.
        if !file.name.ends_with(".rows") || file.name.contains('/') {
            return Err(DamageError::Altered(format!(
                "{} is no file of it",
                file.name
            )));
        }
        let path = self.folder.join(&file.name);
        let mut hash = Context::new(&SHA256);
        let mut count = 0;
        let mut lines = BufReader::new(File::open(&path).map_err(read)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(read)? > 0 {
            hash.update(&line);
            line.clear();
            count += 1;
        }
        if hexadecimal(hash.finish().as_ref()) != file.hash || count != file.rows {
            return Err(DamageError::Altered(format!(
                "{} has another hash",
                file.name
            )));
        }
        let lines = BufReader::new(File::open(&path).map_err(read)?).lines();
        Ok(lines.map(|line| {
            serde_json::from_str(&line.map_err(read)?)
                .map_err(|error| DamageError::Altered(error.to_string()))
        }))
    }

    pub(super) fn is_undone(&self) -> bool {
        self.folder.join(UNDONE).exists()
    }

    pub(super) fn mark_undone(&self) -> Result<(), DamageError> {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.folder.join(UNDONE));
        made.and_then(|file| file.sync_all()).map_err(written)
    }
}

impl Kept {
    pub(super) fn new(text: &str, server: String, database: String, transaction: String) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            text: text.to_owned(),
            at: now.map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            database,
            server,
            transaction,
            tables: Vec::new(),
            definitions: Vec::new(),
            afterwards: Vec::new(),
            sequences: Vec::new(),
        }
    }
}
