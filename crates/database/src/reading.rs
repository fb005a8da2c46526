//! What texts mean, remembered: a program sends the same ones over and over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tagout_catalog_sql::{Act, Classifier, Dialect, Statement, Unreadable, classify_short};

/// Texts that are remembered with what they mean.
const MOST_REMEMBERED: usize = 2048;
/// The longest of them, in bytes.
const LONGEST_REMEMBERED: usize = 16 << 10;

/// What a text means.
#[derive(Debug)]
pub struct Reading {
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

impl Reading {
    /// What they do, in order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> + Clone {
        self.statements.iter().flat_map(|statement| &statement.acts)
    }

    /// What a person should know of it that its operations' names do not say.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for act in self.acts() {
            if let Some(because) = &act.because {
                let reason = format!("sql.{}: {because}", act.name);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        reasons
    }
}

/// Reads texts of one dialect.
pub struct Reader {
    dialect: Dialect,
    classifier: Classifier,
    remembered: Mutex<HashMap<String, Arc<Reading>>>,
}

impl Reader {
    /// Starts the classifier's threads.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(dialect: Dialect, threads: usize) -> std::io::Result<Self> {
        Ok(Self {
            dialect,
            classifier: Classifier::start(threads)?,
            remembered: Mutex::default(),
        })
    }

    /// What `text` means. Where the parser is not the server's own, as only PostgreSQL's is, it does not know
    /// all of the server's grammar: a text that it cannot read is a statement of the worst kind then, about
    /// which a person can be asked.
    ///
    /// # Errors
    /// When nobody can say.
    pub async fn read(self: &Arc<Self>, text: &str) -> Result<Arc<Reading>, Unreadable> {
        if let Some(reading) = self.remembered().get(text) {
            return Ok(Arc::clone(reading));
        }
        let read = match classify_short(self.dialect, text) {
            Some(read) => read,
            None => {
                let (reader, owned) = (Arc::clone(self), text.to_owned());
                // It waits for a thread of the classifier's.
                tokio::task::spawn_blocking(move || {
                    reader.classifier.classify(reader.dialect, &owned)
                })
                .await
                .map_err(|_| Unreadable::NotExamined)?
            }
        };
        let statements = match read {
            Ok(statements) => statements,
            Err(
                why @ (Unreadable::Grammar { .. }
                | Unreadable::UnknownNode(_)
                | Unreadable::ExecutableComment),
            ) if self.dialect != Dialect::Postgres => vec![Statement::unread(&why)],
            Err(why) => return Err(why),
        };
        let reading = Arc::new(Reading { statements });
        if text.len() <= LONGEST_REMEMBERED {
            let mut remembered = self.remembered();
            if remembered.len() >= MOST_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(text.to_owned(), Arc::clone(&reading));
        }
        Ok(reading)
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Arc<Reading>>> {
        // Entries are put in whole.
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
