//! What applications tell while they load and retrieve: who they are, which documents they saw, which
//! questions were asked. Written batch by batch, each in one transaction, so that what a report needs is
//! never in memory.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Transaction, params};
use tagout_core::{Digest, Timestamp};

use super::{Labels, counts_text, texts};
use crate::StoreError;

/// Applications, and loads of one application, that are kept; beyond it the oldest go.
const MOST_APPLICATIONS: u64 = 1_000;
const MOST_LOADS: u64 = 100;
/// Different places that one load's report tells apart; what comes later is counted under one name.
const MOST_SOURCES: u64 = 10_000;
const OTHER_SOURCES: &str = "(other documents)";
/// Snippets that a report shows.
const MOST_SNIPPETS: u64 = 100;
/// Retrievals of one application that are kept.
const MOST_RETRIEVALS: u64 = 10_000;

/// What an application does with documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationKind {
    /// Loads them.
    Loader,
    /// Answers questions from them.
    Retrieval,
}

impl ApplicationKind {
    /// The word that stands in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Retrieval => "retrieval",
        }
    }
}

/// An application as it described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name: a key, never a path.
    pub name: String,
    /// What it does.
    pub kind: ApplicationKind,
    /// Whose it is.
    pub owner: String,
    /// What it is for.
    pub description: String,
    /// Everything else that it told, as a JSON object.
    pub details: String,
    /// When it was first heard of.
    pub created: Timestamp,
    /// When it was last heard of.
    pub seen: Timestamp,
}

/// One run of a loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The application's name.
    pub application: String,
    /// The client's own id of the run.
    pub load: String,
}

/// One document of a batch, as the report and later decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    /// MD5 of the text, which clients keep as its name.
    pub md5: [u8; 16],
    /// The checksum that the loader was given, by which it asks: another one where snippets are anonymised.
    pub told: [u8; 16],
    /// SHA-256 of the text.
    pub content: Digest,
    /// Where it comes from.
    pub path: String,
    /// Whose file it is.
    pub owner: String,
    /// The file's size in bytes.
    pub size: u64,
    /// Who may read it.
    pub readers: Vec<String>,
    /// The loader's class, its path, the kind of that path, and its size in bytes.
    pub loader: (String, String, String, u64),
    /// Entities with how often each was found.
    pub entities: Vec<(String, u64)>,
    /// Topics.
    pub topics: Vec<(String, u64)>,
    /// The text, redacted: only asked for when the document has findings and the report has room.
    pub snippet: String,
    /// What the client is shown about each entity and topic, as JSON objects.
    pub details: (String, String),
}

/// A question that an application answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRetrieval {
    /// The application's name.
    pub application: String,
    /// When, as the client says.
    pub prompt_time: String,
    /// Who asked, as the client says: nothing is decided by it.
    pub user: String,
    /// The identities that the client says the user has.
    pub identities: Vec<String>,
    /// Question and answer, redacted.
    pub prompt: String,
    /// The answer, redacted.
    pub response: String,
    /// The documents behind it: a JSON list of `{retrieved_from, vector_db, pb_checksum, doc}`.
    pub context: String,
    /// Labels of the question.
    pub prompt_findings: Vec<(String, u64)>,
    /// Labels of the answer.
    pub response_findings: Vec<(String, u64)>,
}

impl Labels {
    /// Remembers an application, and its load when it is about to load.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn discover(
        &self,
        application: &Application,
        load: Option<&str>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now().as_millis();
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO applications VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                     ON CONFLICT DO UPDATE SET owner = excluded.owner, details = excluded.details,
                        description = excluded.description, seen = excluded.seen",
                )?
                .execute(params![
                    application.name,
                    application.kind.as_str(),
                    application.owner,
                    application.description,
                    application.details,
                    now,
                ])?;
            transaction
                .prepare_cached(
                    "DELETE FROM applications WHERE (name, kind) IN (SELECT name, kind FROM applications
                     ORDER BY seen DESC, name LIMIT -1 OFFSET ?1)",
                )?
                .execute([MOST_APPLICATIONS])?;
            if let Some(load) = load {
                load_id(transaction, &application.name, load, &application.details, now)?;
            }
            Ok(())
        })
    }

    /// Remembers a batch of documents of one load, which is made when nobody announced it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn add_documents(
        &self,
        load: &Load,
        documents: &[NewDocument],
        ended: bool,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now().as_millis();
        self.write(|transaction| {
            let id = load_id(transaction, &load.application, &load.load, "{}", now)?;
            let mut sources: u64 = transaction
                .prepare_cached("SELECT count(*) FROM sources WHERE load = ?1")?
                .query_row([id], |row| row.get(0))?;
            let mut snippets: u64 = transaction
                .prepare_cached("SELECT count(*) FROM snippets WHERE load = ?1")?
                .query_row([id], |row| row.get(0))?;
            for document in documents {
                let known: bool = transaction
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM sources WHERE load = ?1 AND path = ?2)",
                    )?
                    .query_row(params![id, document.path], |row| row.get(0))?;
                let path = match known || sources < MOST_SOURCES {
                    true => document.path.as_str(),
                    false => OTHER_SOURCES,
                };
                sources += u64::from(!known);
                add_source(transaction, id, path, document)?;
                remember_readers(transaction, &load.application, document, now)?;
                add_findings(transaction, id, path, document)?;
                let found = !document.entities.is_empty() || !document.topics.is_empty();
                if found && snippets < MOST_SNIPPETS {
                    transaction
                        .prepare_cached("INSERT INTO snippets VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                        .execute(params![
                            id,
                            snippets,
                            path,
                            document.snippet,
                            document.details.0,
                            document.details.1,
                        ])?;
                    snippets += 1;
                }
            }
            if ended {
                transaction
                    .prepare_cached("UPDATE loads SET ended = ?2 WHERE id = ?1")?
                    .execute(params![id, now])?;
            }
            Ok(())
        })?;
        documents.iter().try_for_each(|_| self.count_insertion())
    }

    /// Remembers a question and its answer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn add_retrieval(&self, retrieval: &NewRetrieval) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO retrievals (application, time, prompt_time, user, identities, prompt,
                        response, context, prompt_findings, response_findings)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    retrieval.application,
                    Timestamp::now().as_millis(),
                    retrieval.prompt_time,
                    retrieval.user,
                    texts(&retrieval.identities),
                    retrieval.prompt,
                    retrieval.response,
                    retrieval.context,
                    counts_text(&retrieval.prompt_findings),
                    counts_text(&retrieval.response_findings),
                ])?;
            transaction
                .prepare_cached(
                    "DELETE FROM retrievals WHERE application = ?1 AND id <= (SELECT id FROM retrievals
                     WHERE application = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![retrieval.application, MOST_RETRIEVALS])?;
            Ok(())
        })
    }

    /// Forgets an application with its loads, documents and retrievals; whether there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self, application: &str) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let mut gone = 0;
            for statement in [
                "DELETE FROM loads WHERE application = ?1",
                "DELETE FROM documents WHERE application = ?1",
                "DELETE FROM retrievals WHERE application = ?1",
                "DELETE FROM applications WHERE name = ?1",
            ] {
                gone = transaction.execute(statement, [application])?;
            }
            Ok(gone > 0)
        })
    }
}

/// The row of a load, made when it is new; the oldest loads of its application go.
fn load_id(
    transaction: &Transaction<'_>,
    application: &str,
    load: &str,
    details: &str,
    now: u64,
) -> Result<i64, StoreError> {
    let known: Option<i64> = transaction
        .prepare_cached("SELECT id FROM loads WHERE application = ?1 AND load = ?2")?
        .query_row(params![application, load], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        transaction
            .prepare_cached("UPDATE loads SET seen = ?2 WHERE id = ?1")?
            .execute(params![id, now])?;
        return Ok(id);
    }
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO applications VALUES (?1, 'loader', '', '', '{}', ?2, ?2)",
        )?
        .execute(params![application, now])?;
    transaction.execute(
        "INSERT INTO loads (application, load, details, started, seen) VALUES (?1, ?2, ?3, ?4, ?4)",
        params![application, load, details, now],
    )?;
    let id = transaction.last_insert_rowid();
    transaction.execute(
        "DELETE FROM loads WHERE id IN (SELECT id FROM loads WHERE application = ?1
         ORDER BY seen DESC, id DESC LIMIT -1 OFFSET ?2)",
        params![application, MOST_LOADS],
    )?;
    Ok(id)
}

fn add_source(
    transaction: &Transaction<'_>,
    load: i64,
    path: &str,
    document: &NewDocument,
) -> Result<(), StoreError> {
    let (loader, loader_path, loader_type, loader_size) = &document.loader;
    transaction
        .prepare_cached(
            "INSERT INTO sources VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)
             ON CONFLICT DO UPDATE SET documents = documents + 1, owner = excluded.owner,
                size = max(size, excluded.size), readers = excluded.readers,
                loader_size = max(loader_size, excluded.loader_size)",
        )?
        .execute(params![
            load,
            path,
            document.owner,
            document.size,
            texts(&document.readers),
            loader,
            loader_path,
            loader_type,
            loader_size,
        ])?;
    Ok(())
}

fn remember_readers(
    transaction: &Transaction<'_>,
    application: &str,
    document: &NewDocument,
    now: u64,
) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET readers = excluded.readers, seen = excluded.seen",
    )?;
    // One row where both are the same.
    for md5 in BTreeSet::from([document.md5, document.told]) {
        statement.execute(params![
            md5.as_slice(),
            document.content.as_bytes().as_slice(),
            application,
            document.path,
            texts(&document.readers),
            now,
        ])?;
    }
    Ok(())
}

fn add_findings(
    transaction: &Transaction<'_>,
    load: i64,
    path: &str,
    document: &NewDocument,
) -> Result<(), StoreError> {
    for (kind, labels) in [
        ("entities", &document.entities),
        ("topics", &document.topics),
    ] {
        for (label, count) in labels {
            transaction
                .prepare_cached(
                    "INSERT INTO findings VALUES (?1, ?2, ?3, ?4, ?5, 1)
                     ON CONFLICT DO UPDATE SET count = count + excluded.count,
                        snippets = snippets + 1",
                )?
                .execute(params![load, path, label, kind, count])?;
        }
    }
    Ok(())
}
