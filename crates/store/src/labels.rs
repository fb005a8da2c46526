//! What is known about content: the labels that a classifier gave it, by the content's hash and the
//! classifier's version, and who may read it. Documents of a retrieval application, files of a
//! workspace and prompts share this one memory, so a rule about a label means the same everywhere and
//! nothing is classified twice.
//!
//! It is a file of its own beside the store: a loader that writes a thousand batches a second must never
//! make a hold wait, and losing the newest labels in a power cut costs only classifying again. What must
//! stay true: no text of a document stands here unless it was redacted before; every table has a bound;
//! labels of another classifier version are no labels.

mod applications;
mod reports;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use tagout_core::{Digest, Timestamp};

use crate::{BUSY, StoreError};

pub use applications::{Application, ApplicationKind, Load, NewDocument, NewRetrieval};
pub use reports::{FindingRow, LoadSummary, ReleaseRow, Retrieval, SnippetRow, SourceRow, UserRow};

/// The statements that make version n+1 of `labels.sqlite` out of version n; only ever added to.
const MIGRATIONS: &[&str] = &[include_str!("labels/schema.sql")];

/// Rows of content whose labels are kept; beyond it the ones seen longest ago go.
const MOST_CONTENTS: u64 = 1_000_000;
/// Releases and denials that are kept for the page about violations.
const MOST_RELEASES: u64 = 100_000;
/// How many insertions pass between two looks at the bounds.
const PRUNE_EVERY: u64 = 10_000;

/// The label store of one `$TAGOUT_HOME`.
pub struct Labels {
    connection: Connection,
    inserted: std::cell::Cell<u64>,
}

/// What a classifier said about one content: labels with how often each was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentLabels {
    /// Entities, `us-ssn` and the like.
    pub entities: Vec<(String, u64)>,
    /// Topics, `financial-report` and the like.
    pub topics: Vec<(String, u64)>,
}

/// One decision about one content, as the page about violations shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What was asked through: `check`, `qdrant`, `workspace`.
    pub channel: String,
    /// For whom, as the verified token says.
    pub user: String,
    /// The content's hash; zeros where it could not even be read.
    pub content: Digest,
    /// Its labels at that moment.
    pub labels: Vec<String>,
    /// Whether it was released.
    pub allowed: bool,
    /// The policies behind a denial.
    pub policies: Vec<String>,
}

/// One place that a document was loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path or address, as the loader said; empty where it did not.
    pub path: String,
    /// Who may read it there; empty where the loader did not say.
    pub readers: Vec<String>,
}

/// A document as the label store knows it, to decide about it without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDocument {
    /// The content's hash.
    pub content: Digest,
    /// The places that it was loaded from.
    pub places: Vec<Place>,
}

impl Labels {
    /// Opens `labels.sqlite` in `home`, making it on first use, mode 0600.
    ///
    /// # Errors
    /// As for [`crate::Store::open`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let path = crate::prepare_file(home, "labels.sqlite")?;
        let mut connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        crate::schema::migrate(&mut connection, &path, MIGRATIONS)?;
        // Labels can be made again: a commit need not wait for the disk, only never be half there.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -4096)?;
        connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        Ok(Self {
            connection,
            inserted: std::cell::Cell::new(0),
        })
    }

    /// The labels that this version of the classifier gave this content; `None` where it never saw it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn labels(
        &self,
        content: &Digest,
        classifier: &str,
    ) -> Result<Option<ContentLabels>, StoreError> {
        let row: Option<(String, String)> = self
            .connection
            .prepare_cached(
                "SELECT entities, topics FROM labels WHERE content = ?1 AND classifier = ?2",
            )?
            .query_row(params![content.as_bytes().as_slice(), classifier], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        row.map(|(entities, topics)| {
            Ok(ContentLabels {
                entities: counts_from(&entities)?,
                topics: counts_from(&topics)?,
            })
        })
        .transpose()
    }

    /// Remembers what the classifier said.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember(
        &self,
        content: &Digest,
        classifier: &str,
        labels: &ContentLabels,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO labels (content, classifier, entities, topics, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET seen = excluded.seen",
            )?
            .execute(params![
                content.as_bytes().as_slice(),
                classifier,
                counts_text(&labels.entities),
                counts_text(&labels.topics),
                Timestamp::now().as_millis(),
            ])?;
        self.count_insertion()
    }

    /// What is known of documents with this MD5 checksum, as clients of the loader API hold it, in any
    /// application. Two contents of one checksum are two entries, and whoever decides refuses both.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_checksum(&self, md5: &[u8; 16]) -> Result<Vec<KnownDocument>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT content, path, readers FROM documents WHERE md5 = ?1 LIMIT 1000",
        )?;
        let rows = statement.query_map([md5.as_slice()], |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?;
        let mut known: Vec<KnownDocument> = Vec::new();
        for row in rows {
            let (content, path, readers) = row?;
            let content = Digest::from_bytes(content);
            let readers = texts_from(&readers)?;
            let place = Place { path, readers };
            match known.iter_mut().find(|entry| entry.content == content) {
                Some(entry) => entry.places.push(place),
                None => known.push(KnownDocument {
                    content,
                    places: vec![place],
                }),
            }
        }
        Ok(known)
    }

    /// Writes down decisions about contents.
    ///
    /// # Errors
    /// When the store cannot be written; whoever was about to release denies.
    pub fn record(&self, releases: &[Release]) -> Result<(), StoreError> {
        let now = Timestamp::now().as_millis();
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO releases (time, channel, user, content, labels, allowed, policies)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for release in releases {
                statement.execute(params![
                    now,
                    release.channel,
                    release.user,
                    release.content.as_bytes().as_slice(),
                    texts(&release.labels),
                    release.allowed,
                    texts(&release.policies),
                ])?;
            }
            Ok(())
        })?;
        releases.iter().try_for_each(|_| self.count_insertion())
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction =
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Keeps every table within its bound, now and then.
    fn count_insertion(&self) -> Result<(), StoreError> {
        let inserted = self.inserted.get() + 1;
        self.inserted.set(inserted % PRUNE_EVERY);
        if inserted < PRUNE_EVERY {
            return Ok(());
        }
        self.prune(MOST_CONTENTS, MOST_RELEASES)
    }

    fn prune(&self, contents: u64, releases: u64) -> Result<(), StoreError> {
        self.write(|transaction| {
            for (table, order, most) in [
                ("labels", "seen", contents),
                ("documents", "seen", contents),
                ("releases", "id", releases),
            ] {
                let surplus: u64 = transaction
                    .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                        row.get::<_, u64>(0)
                    })?
                    .saturating_sub(most);
                if surplus > 0 {
                    transaction.execute(
                        &format!(
                            "DELETE FROM {table} WHERE {order} <=
                             (SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET ?1)"
                        ),
                        [surplus - 1],
                    )?;
                }
            }
            Ok(())
        })
    }
}

/// A list of texts as a column holds it.
fn texts(list: &[String]) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

fn texts_from(column: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(column).map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn counts_text(counts: &[(String, u64)]) -> String {
    serde_json::to_string(counts).unwrap_or_else(|_| "[]".to_owned())
}

fn counts_from(column: &str) -> Result<Vec<(String, u64)>, StoreError> {
    serde_json::from_str(column).map_err(|error| StoreError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests;
