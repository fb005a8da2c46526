//! What is kept of a statement: a folder with files of rows, and a list that says what they are. The list is
//! written last and whole, and holds the hash of every file; a folder without one is a snapshot that was never
//! finished.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{Context, SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tagout_core::DatabaseSystem;

use crate::KeptSummary;

/// The version of what is written here.
const FORMAT: u32 = 1;
/// The list of a folder.
const LIST: &str = "kept.json";
/// Says that a folder was put back.
const UNDONE: &str = "undone";
/// The longest list, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Why something is not kept, or not read again. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The machine.
    #[error("what is kept of the database cannot be {done}: {source}")]
    Io {
        /// `written`, `read`.
        done: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// More than the budget.
    #[error(
        "what it takes is larger than what is kept of one statement; make a backup, and do it outside of this session"
    )]
    TooLarge,
    /// What was kept is not what was written.
    #[error("what was kept was changed since: {0}")]
    Altered(String),
}

/// The list: what is kept, beside the rows themselves. `C` is what a system needs to put it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<C> {
    format: u32,
    /// Whose gate can put it back.
    #[serde(default = "postgres")]
    pub system: DatabaseSystem,
    /// The statement, as it was approved.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The database's name.
    pub database: String,
    /// What names the server.
    pub server: String,
    /// The system's own.
    #[serde(flatten)]
    pub content: C,
}

/// Lists named no system when there was one.
fn postgres() -> DatabaseSystem {
    DatabaseSystem::Postgres
}

impl<C> Kept<C> {
    /// A list of what a statement takes now.
    pub fn new(
        system: DatabaseSystem,
        text: String,
        (server, database): (String, String),
        content: C,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            format: FORMAT,
            system,
            text,
            at: now.map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            database,
            server,
            content,
        }
    }
}

/// A file of a snapshot, a row a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsFile {
    name: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256, in hexadecimal.
    hash: String,
}

/// What a list of any system says of its tables.
#[derive(Deserialize)]
struct Tables {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    fate: String,
    before: RowsFile,
}

/// Whose gate can put back what `folder` holds, and what that is.
///
/// # Errors
/// Where it cannot be read, or was never finished.
pub fn summary(folder: &Path) -> Result<(DatabaseSystem, KeptSummary), StoreError> {
    let shelf = Shelf::<Tables>::open(folder)?;
    let rows = |count| if count == 1 { "row" } else { "rows" };
    let tables = shelf.kept.content.tables.iter().map(|table| {
        let count = table.before.rows;
        format!("{}: {count} {} {}", table.name, rows(count), table.fate)
    });
    let summary = KeptSummary {
        tables: tables.collect(),
        text: shelf.kept.text.clone(),
        at: shelf.kept.at,
        database: shelf.kept.database.clone(),
        is_undone: shelf.is_undone(),
    };
    Ok((shelf.kept.system, summary))
}

fn written(source: io::Error) -> StoreError {
    StoreError::Io {
        done: "written",
        source,
    }
}

fn read(source: io::Error) -> StoreError {
    StoreError::Io {
        done: "read",
        source,
    }
}

/// Bytes in hexadecimal, as digests are written.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open_new(path: &Path, is_first: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match is_first {
        true => options.create_new(true),
        false => options.create(true).truncate(true),
    };
    options.open(path)
}

/// The folder that a snapshot is written to.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Bytes that may still be written.
    left: u64,
}

impl Store {
    /// Makes a folder that is not there yet, for nobody else to see. `budget` is the most bytes of rows.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn make(folder: &Path, budget: u64) -> Result<Self, StoreError> {
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

    /// A file for rows; its name ends with `.rows`.
    ///
    /// # Errors
    /// [`StoreError::Io`], where there is one of that name as well.
    pub fn rows(&mut self, name: String) -> Result<RowsWriter<'_>, StoreError> {
        let file = open_new(&self.folder.join(&name), true).map_err(written)?;
        Ok(RowsWriter {
            store: self,
            file: BufWriter::new(file),
            hash: Context::new(&SHA256),
            name,
            rows: 0,
        })
    }

    /// Writes the list, in place of an earlier one. Its hash, in hexadecimal: it covers everything.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list<C: Serialize>(&self, kept: &Kept<C>) -> Result<String, StoreError> {
        let text = serde_json::to_vec(kept).map_err(|error| written(error.into()))?;
        let new = self.folder.join("new");
        let mut file = open_new(&new, false).map_err(written)?;
        file.write_all(&text).map_err(written)?;
        file.sync_all().map_err(written)?;
        fs::rename(&new, self.folder.join(LIST)).map_err(written)?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(written)?;
        Ok(hexadecimal(digest(&SHA256, &text).as_ref()))
    }

    /// The rows of a file that was finished.
    ///
    /// # Errors
    /// As [`Shelf::rows`].
    pub fn read<R: DeserializeOwned>(
        &self,
        file: &RowsFile,
    ) -> Result<impl Iterator<Item = Result<R, StoreError>> + use<R>, StoreError> {
        rows(&self.folder, file)
    }

    /// Removes it: what it was made for did not happen.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self) -> Result<(), StoreError> {
        fs::remove_dir_all(&self.folder).map_err(written)
    }
}

/// Writes rows.
pub struct RowsWriter<'a> {
    store: &'a mut Store,
    file: BufWriter<File>,
    hash: Context,
    name: String,
    rows: u64,
}

impl RowsWriter<'_> {
    /// Adds a row.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] and [`StoreError::Io`].
    pub fn add(&mut self, row: &impl Serialize) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(row).map_err(|error| written(error.into()))?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.store.left = self
            .store
            .left
            .checked_sub(length)
            .ok_or(StoreError::TooLarge)?;
        self.hash.update(&line);
        self.file.write_all(&line).map_err(written)?;
        self.rows += 1;
        Ok(())
    }

    /// How many there are so far.
    pub fn count(&self) -> u64 {
        self.rows
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish(self) -> Result<RowsFile, StoreError> {
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
pub struct Shelf<C> {
    folder: PathBuf,
    /// Its list.
    pub kept: Kept<C>,
}

impl<C: DeserializeOwned> Shelf<C> {
    /// Opens the snapshot in `folder`.
    ///
    /// # Errors
    /// Where it cannot be read, was never finished, or was altered.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(LIST);
        let length = fs::metadata(&path).map_err(read)?.len();
        if length > LONGEST_LIST {
            return Err(StoreError::Altered("its list is too long".to_owned()));
        }
        let text = fs::read(&path).map_err(read)?;
        let kept: Kept<C> = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Altered(format!("its list cannot be read: {error}")))?;
        if kept.format != FORMAT {
            return Err(StoreError::Altered(format!(
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
    ///
    /// # Errors
    /// Where it cannot be read, or was altered.
    pub fn rows<R: DeserializeOwned>(
        &self,
        file: &RowsFile,
    ) -> Result<impl Iterator<Item = Result<R, StoreError>> + use<R, C>, StoreError> {
        rows(&self.folder, file)
    }

    /// Whether it was put back.
    pub fn is_undone(&self) -> bool {
        self.folder.join(UNDONE).exists()
    }

    /// Notes that it was put back.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn mark_undone(&self) -> Result<(), StoreError> {
        let made = open_new(&self.folder.join(UNDONE), false);
        made.and_then(|file| file.sync_all()).map_err(written)
    }
}

fn rows<R: DeserializeOwned>(
    folder: &Path,
    file: &RowsFile,
) -> Result<impl Iterator<Item = Result<R, StoreError>> + use<R>, StoreError> {
    // A name is Tagout's own; one that is not would lead out of the folder.
    if !file.name.ends_with(".rows") || file.name.contains('/') {
        let why = format!("{} is no file of it", file.name);
        return Err(StoreError::Altered(why));
    }
    let path = folder.join(&file.name);
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
        let why = format!("{} has another hash", file.name);
        return Err(StoreError::Altered(why));
    }
    let lines = BufReader::new(File::open(&path).map_err(read)?).lines();
    Ok(lines.map(|line| {
        serde_json::from_str(&line.map_err(read)?)
            .map_err(|error| StoreError::Altered(error.to_string()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Content {
        tables: Vec<serde_json::Value>,
    }

    fn kept(file: &RowsFile) -> Kept<Content> {
        let table = serde_json::json!({"name": "users", "fate": "removed", "before": file});
        let places = ("server".to_owned(), "shop".to_owned());
        let content = Content {
            tables: vec![table],
        };
        Kept::new(
            DatabaseSystem::MySql,
            "DELETE FROM users".to_owned(),
            places,
            content,
        )
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("hold");
        let mut store = Store::make(&into, 1 << 20).expect("a store");
        let mut writer = store.rows("0.rows".to_owned()).expect("a file");
        for row in [("a", 1), ("b", 2)] {
            writer.add(&row).expect("room");
        }
        let file = writer.finish().expect("a file");
        assert!(summary(&into).is_err(), "never finished");
        store.list(&kept(&file)).expect("a list");
        let (system, found) = summary(&into).expect("a snapshot");
        assert_eq!(system, DatabaseSystem::MySql);
        assert_eq!(found.tables, ["users: 2 rows removed"]);
        let shelf = Shelf::<Content>::open(&into).expect("a snapshot");
        let rows: Result<Vec<(String, u64)>, _> = shelf.rows(&file).expect("rows").collect();
        assert_eq!(
            rows.expect("rows"),
            [("a".to_owned(), 1), ("b".to_owned(), 2)]
        );
        fs::write(into.join("0.rows"), "[\"a\",1]\n[\"b\",3]\n").expect("altered");
        assert!(matches!(
            shelf.rows::<(String, u64)>(&file).map(|_| ()),
            Err(StoreError::Altered(_))
        ));
        let outside = RowsFile {
            name: "../hold/0.rows".to_owned(),
            ..file
        };
        assert!(shelf.rows::<(String, u64)>(&outside).is_err());
    }

    #[test]
    fn more_than_the_budget_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::make(&folder.path().join("hold"), 10).expect("a store");
        let mut writer = store.rows("0.rows".to_owned()).expect("a file");
        writer.add(&"short").expect("room");
        assert!(matches!(writer.add(&"short"), Err(StoreError::TooLarge)));
    }
}
