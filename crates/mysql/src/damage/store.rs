//! What is kept of a statement: a folder with one file of rows for each table, and a list that says what
//! they are. The list is written last and whole, and holds the hash of every file; a folder without one
//! is a snapshot that was never finished.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use super::tables::Column;
use super::{DamageError, Fate};
use crate::server::Value;

/// The version of what is written here.
const FORMAT: u32 = 1;
/// The list of a folder. PostgreSQL's are called otherwise, and so the two are told apart.
pub(super) const LIST: &str = "kept.mysql.json";
/// Says that a folder was put back.
const UNDONE: &str = "undone";
/// The longest list, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// What is kept, beside the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    format: u32,
    /// The statement, with its values.
    pub(super) text: String,
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    /// The database's name.
    pub(super) database: String,
    /// What names the server.
    pub(super) server: String,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowsFile {
    name: String,
    pub(super) rows: u64,
    /// SHA-256, in hexadecimal.
    hash: String,
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Kept {
    pub(super) fn new(text: String, database: &str, server: String) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            text,
            at: now.map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            database: database.to_owned(),
            server,
            tables: Vec::new(),
        }
    }
}

/// The folder that a snapshot is written to.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// Bytes that may still be written.
    left: u64,
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
        let new = self.folder.join("new");
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
    pub(super) fn remove(&self) -> Result<(), DamageError> {
        fs::remove_dir_all(&self.folder).map_err(written)
    }

    /// The rows of a file of this snapshot.
    pub(super) fn read(&self, file: &RowsFile) -> Result<Vec<Vec<Value>>, DamageError> {
        rows(&self.folder, file)
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
    pub(super) fn add(&mut self, row: &[Value]) -> Result<(), DamageError> {
        let values: Vec<Option<String>> = row
            .iter()
            .map(|value| value.as_ref().map(|bytes| STANDARD_NO_PAD.encode(bytes)))
            .collect();
        let mut line = serde_json::to_vec(&values).map_err(|error| written(error.into()))?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.store.left = self.store.left.checked_sub(length).ok_or_else(|| {
            DamageError::Unkept(
                "what it takes is larger than what is kept of one statement; make a backup, and do it outside of this session"
                    .to_owned(),
            )
        })?;
        self.hash.update(&line);
        self.file.write_all(&line).map_err(written)?;
        self.rows += 1;
        Ok(())
    }

    pub(super) fn count(&self) -> u64 {
        self.rows
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

    pub(super) fn rows(&self, file: &RowsFile) -> Result<Vec<Vec<Value>>, DamageError> {
        rows(&self.folder, file)
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

/// Checks that a file is what was written, and gives its rows.
fn rows(folder: &Path, file: &RowsFile) -> Result<Vec<Vec<Value>>, DamageError> {
    // A name is Tagout's own; one that is not would lead out of the folder.
    if !file.name.ends_with(".rows") || file.name.contains('/') {
        return Err(DamageError::Altered(format!(
            "{} is no file of it",
            file.name
        )));
    }
    let mut hash = Context::new(&SHA256);
    let mut lines = BufReader::new(File::open(folder.join(&file.name)).map_err(read)?);
    let mut line = Vec::new();
    let mut found = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(read)? > 0 {
        hash.update(&line);
        let values: Vec<Option<String>> = serde_json::from_slice(&line)
            .map_err(|error| DamageError::Altered(error.to_string()))?;
        let mut row = Vec::with_capacity(values.len());
        for value in values {
            let bytes = value.map(|text| STANDARD_NO_PAD.decode(text)).transpose();
            row.push(bytes.map_err(|error| DamageError::Altered(error.to_string()))?);
        }
        found.push(row);
        line.clear();
    }
    if hexadecimal(hash.finish().as_ref()) != file.hash || found.len() as u64 != file.rows {
        return Err(DamageError::Altered(format!(
            "{} has another hash",
            file.name
        )));
    }
    Ok(found)
}
