//! Reading it back, for reports and pages. Every list has a bound that its reader gives.

use rusqlite::{OptionalExtension as _, Row, params};
use tagout_core::{Digest, Timestamp};

use super::{Application, ApplicationKind, Labels, Load, Release, counts_from, texts_from};
use crate::StoreError;

/// A load with its sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSummary {
    /// Which.
    pub load: Load,
    /// What the client told when it announced it, as a JSON object.
    pub details: String,
    /// When it began.
    pub started: Timestamp,
    /// When something of it was last heard.
    pub seen: Timestamp,
    /// When the client said that it was over.
    pub ended: Option<Timestamp>,
    /// How many findings: entities, topics.
    pub findings: (u64, u64),
    /// Files, and files with findings.
    pub files: (u64, u64),
}

/// One file of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// Where it lies.
    pub path: String,
    /// Whose it is.
    pub owner: String,
    /// Its size in bytes.
    pub size: u64,
    /// Who may read it.
    pub readers: Vec<String>,
    /// Loader class, its path, the kind of that path, its size in bytes.
    pub loader: (String, String, String, u64),
    /// Documents that were made of it.
    pub documents: u64,
    /// Findings in it: entities, topics.
    pub findings: (u64, u64),
}

/// One label of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRow {
    /// The label.
    pub label: String,
    /// `entities` or `topics`.
    pub kind: String,
    /// How often it was found.
    pub count: u64,
    /// In how many snippets.
    pub snippets: u64,
    /// In how many files.
    pub files: u64,
}

/// A snippet with findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnippetRow {
    /// Its place in the load.
    pub number: u64,
    /// Where it comes from.
    pub path: String,
    /// The redacted text.
    pub text: String,
    /// Entity and topic details, as JSON objects.
    pub details: (String, String),
    /// Whose file.
    pub owner: String,
    /// Who may read it.
    pub readers: Vec<String>,
}

/// A question that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retrieval {
    /// When it was recorded.
    pub time: Timestamp,
    /// As it was told.
    pub retrieval: super::NewRetrieval,
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Who, as the client says.
    pub user: String,
    /// How often.
    pub retrievals: u64,
    /// When last.
    pub last: Timestamp,
    /// The identities that came with the last question.
    pub identities: Vec<String>,
}

/// A decision about a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRow {
    /// When.
    pub time: Timestamp,
    /// What was decided.
    pub release: Release,
}

impl Labels {
    /// Applications of a kind, the one heard of last first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn applications(&self, kind: ApplicationKind) -> Result<Vec<Application>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, owner, description, details, created, seen FROM applications
             WHERE kind = ?1 ORDER BY seen DESC, name",
        )?;
        let rows = statement.query_map([kind.as_str()], |row| application(row, kind))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One application.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn application(
        &self,
        name: &str,
        kind: ApplicationKind,
    ) -> Result<Option<Application>, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT name, owner, description, details, created, seen FROM applications
                 WHERE name = ?1 AND kind = ?2",
            )?
            .query_row(params![name, kind.as_str()], |row| application(row, kind))
            .optional()?)
    }

    /// The newest loads of an application, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn loads(&self, application: &str, most: u32) -> Result<Vec<LoadSummary>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT application, load, details, started, seen, ended,
                (SELECT coalesce(sum(count), 0) FROM findings WHERE load = loads.id AND kind = 'entities'),
                (SELECT coalesce(sum(count), 0) FROM findings WHERE load = loads.id AND kind = 'topics'),
                (SELECT count(*) FROM sources WHERE load = loads.id),
                (SELECT count(DISTINCT path) FROM findings WHERE load = loads.id)
             FROM loads WHERE application = ?1 ORDER BY seen DESC, id DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![application, most], |row| {
            Ok(LoadSummary {
                load: Load {
                    application: row.get(0)?,
                    load: row.get(1)?,
                },
                details: row.get(2)?,
                started: time(row, 3)?,
                seen: time(row, 4)?,
                ended: row.get::<_, Option<u64>>(5)?.map(Timestamp::from_millis),
                findings: (row.get(6)?, row.get(7)?),
                files: (row.get(8)?, row.get(9)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The files of a load, those with most findings first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sources(&self, load: &Load, most: u32) -> Result<Vec<SourceRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT path, owner, size, readers, loader, loader_path, loader_type, loader_size, documents,
                (SELECT coalesce(sum(count), 0) FROM findings
                    WHERE load = sources.load AND path = sources.path AND kind = 'entities') AS entities,
                (SELECT coalesce(sum(count), 0) FROM findings
                    WHERE load = sources.load AND path = sources.path AND kind = 'topics') AS topics
             FROM sources WHERE load = (SELECT id FROM loads WHERE application = ?1 AND load = ?2)
             ORDER BY entities + topics DESC, path LIMIT ?3",
        )?;
        let rows = statement.query_map(params![load.application, load.load, most], |row| {
            let readers: String = row.get(3)?;
            Ok((
                readers,
                SourceRow {
                    path: row.get(0)?,
                    owner: row.get(1)?,
                    size: row.get(2)?,
                    readers: Vec::new(),
                    loader: (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?),
                    documents: row.get(8)?,
                    findings: (row.get(9)?, row.get(10)?),
                },
            ))
        })?;
        rows.map(|row| {
            let (readers, mut source) = row?;
            source.readers = texts_from(&readers)?;
            Ok(source)
        })
        .collect()
    }

    /// The labels that a load found, the most frequent first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn findings(&self, load: &Load) -> Result<Vec<FindingRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT label, kind, sum(count) AS count, sum(snippets), count(DISTINCT path) FROM findings
             WHERE load = (SELECT id FROM loads WHERE application = ?1 AND load = ?2)
             GROUP BY kind, label ORDER BY count DESC, label",
        )?;
        let rows = statement.query_map(params![load.application, load.load], |row| {
            Ok(FindingRow {
                label: row.get(0)?,
                kind: row.get(1)?,
                count: row.get(2)?,
                snippets: row.get(3)?,
                files: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The snippets of a load that its report shows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn snippets(&self, load: &Load) -> Result<Vec<SnippetRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, snippets.path, text, entities, topics, sources.owner, sources.readers
             FROM snippets JOIN sources ON sources.load = snippets.load AND sources.path = snippets.path
             WHERE snippets.load = (SELECT id FROM loads WHERE application = ?1 AND load = ?2)
             ORDER BY number",
        )?;
        let rows = statement.query_map(params![load.application, load.load], |row| {
            let readers: String = row.get(6)?;
            Ok((
                readers,
                SnippetRow {
                    number: row.get(0)?,
                    path: row.get(1)?,
                    text: row.get(2)?,
                    details: (row.get(3)?, row.get(4)?),
                    owner: row.get(5)?,
                    readers: Vec::new(),
                },
            ))
        })?;
        rows.map(|row| {
            let (readers, mut snippet) = row?;
            snippet.readers = texts_from(&readers)?;
            Ok(snippet)
        })
        .collect()
    }

    /// The newest retrievals, of one application or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn retrievals(
        &self,
        application: Option<&str>,
        most: u32,
    ) -> Result<Vec<Retrieval>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT application, time, prompt_time, user, identities, prompt, response, context,
                prompt_findings, response_findings
             FROM retrievals WHERE ?1 IS NULL OR application = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let mut rows = statement.query(params![application, most])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let text = |column: usize| row.get::<_, String>(column);
            found.push(Retrieval {
                time: time(row, 1)?,
                retrieval: super::NewRetrieval {
                    application: text(0)?,
                    prompt_time: text(2)?,
                    user: text(3)?,
                    identities: texts_from(&text(4)?)?,
                    prompt: text(5)?,
                    response: text(6)?,
                    context: text(7)?,
                    prompt_findings: counts_from(&text(8)?)?,
                    response_findings: counts_from(&text(9)?)?,
                },
            });
        }
        Ok(found)
    }

    /// Who asked, of one application or of all, the busiest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn users(&self, application: Option<&str>, most: u32) -> Result<Vec<UserRow>, StoreError> {
        // SQLite takes the bare column `identities` from the row that has the maximum.
        let mut statement = self.connection.prepare_cached(
            "SELECT user, count(*) AS retrievals, max(time), identities FROM retrievals
             WHERE ?1 IS NULL OR application = ?1 GROUP BY user ORDER BY retrievals DESC, user LIMIT ?2",
        )?;
        let mut rows = statement.query(params![application, most])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(UserRow {
                user: row.get(0)?,
                retrievals: row.get(1)?,
                last: time(row, 2)?,
                identities: texts_from(&row.get::<_, String>(3)?)?,
            });
        }
        Ok(found)
    }

    /// The newest denials.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn denials(&self, most: u32) -> Result<Vec<ReleaseRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time, channel, user, content, labels, allowed, policies FROM releases
             WHERE NOT allowed ORDER BY id DESC LIMIT ?1",
        )?;
        let mut rows = statement.query([most])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(ReleaseRow {
                time: time(row, 0)?,
                release: Release {
                    channel: row.get(1)?,
                    user: row.get(2)?,
                    content: Digest::from_bytes(row.get(3)?),
                    labels: texts_from(&row.get::<_, String>(4)?)?,
                    allowed: row.get(5)?,
                    policies: texts_from(&row.get::<_, String>(6)?)?,
                },
            });
        }
        Ok(found)
    }
}

fn application(row: &Row<'_>, kind: ApplicationKind) -> rusqlite::Result<Application> {
    Ok(Application {
        name: row.get(0)?,
        kind,
        owner: row.get(1)?,
        description: row.get(2)?,
        details: row.get(3)?,
        created: time(row, 4)?,
        seen: time(row, 5)?,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}
