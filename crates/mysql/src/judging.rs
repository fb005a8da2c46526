//! From a text to an action: what the classifier says of it becomes the operations that the authority
//! decides about. Nothing is decided here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tagout_catalog_sql::{Act, Classifier, Dialect, Object, Statement, Unreadable, with_values};
use tagout_core::{
    Action, CredentialUse, DatabaseRequest, DatabaseSystem, Effect, Fault, FaultKind, Flag, Flags,
    Operation, OperationName, Parameter, Scope,
};
use tagout_credentials::Broker;
use tagout_database::Tally;

use crate::database::Database;

/// Texts that are remembered with what they mean.
const MOST_REMEMBERED: usize = 2048;
/// The longest of them, in bytes.
const LONGEST_REMEMBERED: usize = 16 << 10;

/// The schema that tells of the others, and shows to each user what that user may see.
const ABOUT_ITSELF: &str = "information_schema";

/// What removes something of the database, as other systems do it in a transaction.
const REMOVES: &[&str] = &[
    "alter_column_type",
    "drop_column",
    "drop_function",
    "drop_index",
    "drop_partition",
    "drop_procedure",
    "drop_table",
    "drop_trigger",
    "drop_view",
    "replace_table",
    "truncate",
];

/// What a text means.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its statements, in order.
    pub(crate) statements: Vec<Statement>,
}

impl Reading {
    pub(crate) fn acts(&self) -> impl Iterator<Item = &Act> {
        self.statements.iter().flat_map(|statement| &statement.acts)
    }

    /// The connection that a text wants to interrupt, where it wants nothing else.
    pub(crate) fn interrupts(&self) -> Option<u32> {
        let mut acts = self.acts();
        let act = acts.next().filter(|act| act.name == "kill")?;
        let connection = act.objects.first()?;
        match (connection.kind, acts.next()) {
            ("connection", None) => connection.name.parse().ok(),
            _ => None,
        }
    }

    /// Whether settings under which texts are read may be others behind it: it sets one to what only the
    /// server knows, or runs something that nobody knows.
    pub(crate) fn may_move_pins(&self) -> bool {
        self.acts().any(|act| {
            !act.known
                || act.name == "call"
                || act.name == "set" && (!act.objects.is_empty() || act.flags != Flags::NONE)
        })
    }

    /// What a person should know of it that its operations' names do not say.
    pub(crate) fn reasons(&self) -> Vec<String> {
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

/// Reads texts, and remembers what they mean: a program sends the same ones over and over.
pub(crate) struct Reader {
    classifier: Classifier,
    remembered: Mutex<HashMap<String, Arc<Reading>>>,
}

impl Reader {
    /// Starts the classifier's threads.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        Ok(Self {
            classifier: Classifier::start(threads)?,
            remembered: Mutex::default(),
        })
    }

    /// What `text` means. One that cannot be read is a statement of the worst kind, about which a person can
    /// be asked: the parser is not the server's own and does not know all of its grammar.
    ///
    /// # Errors
    /// When nobody could look at it.
    pub(crate) async fn read(self: &Arc<Self>, text: &str) -> Result<Arc<Reading>, Unreadable> {
        if let Some(reading) = self.remembered().get(text) {
            return Ok(Arc::clone(reading));
        }
        let (reader, owned) = (Arc::clone(self), text.to_owned());
        // It waits for a thread of the classifier's.
        let read =
            tokio::task::spawn_blocking(move || reader.classifier.classify(Dialect::Mysql, &owned))
                .await
                .map_err(|_| Unreadable::NotExamined)?;
        let statements = match read {
            Ok(statements) => statements,
            Err(
                why @ (Unreadable::Grammar { .. }
                | Unreadable::UnknownNode(_)
                | Unreadable::ExecutableComment),
            ) => vec![Statement::unread(&why)],
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

    /// What a prepared text means with values in it. Which rows a condition names depends on them: a number
    /// compared with a text is nearly every text.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) async fn read_bound(
        self: &Arc<Self>,
        text: &str,
        values: &[Parameter],
    ) -> Result<Arc<Reading>, Unreadable> {
        let reading = self.read(text).await?;
        if values.is_empty() || reading.acts().all(|act| act.rows.is_none()) {
            return Ok(reading);
        }
        match with_values(text, values) {
            Some(whole) => self.read(&whole).await,
            None => Err(Unreadable::NotExamined),
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Reading>>> {
        // Entries are put in whole.
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that is to be judged.
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a str,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) reading: &'a Reading,
    pub(crate) tally: &'a Tally,
}

/// The action that a command is.
pub(crate) fn action(
    asked: Asked<'_>,
    database: &Database,
    generation: u64,
    broker: &Broker,
) -> Action<DatabaseRequest> {
    let mut faults = Vec::new();
    let known = broker.known();
    let sent =
        std::iter::once(asked.text.as_bytes()).chain(asked.parameters.iter().map(Parameter::bytes));
    for bytes in sent {
        if let Some(hit) = known.find(bytes) {
            faults.push(Fault {
                kind: FaultKind::KnownSecret,
                reason: format!("the statement holds the value of {}", hit.label),
                how_to_proceed: "Take the value out of the statement.".to_owned(),
            });
            break;
        }
    }
    let mut operations = Vec::new();
    let mut too_much = asked.tally.too_much(asked.reading.acts());
    for act in asked.reading.acts() {
        faults.extend(fault(act, database));
        operations.push(match act.name.as_str() {
            "delete" | "update" => tallied(operation(act), too_much.take()),
            // The database that it is in already.
            "use" => harmless("sql.use"),
            _ => operation(act),
        });
    }
    if operations.is_empty() {
        operations.push(harmless("sql.nothing"));
    }
    let request = DatabaseRequest {
        target: database.target(),
        system: DatabaseSystem::MySql,
        database: database.endpoint.database.clone(),
        user: database.user.clone(),
        search_path: None,
        text: asked.text.to_owned(),
        parameters: asked.parameters,
    };
    let uses: Vec<CredentialUse> = vec![database.credential_use(generation)];
    Action::new(request, operations, uses, faults, false)
}

/// What no approval can allow: another database of the same server, which may be of another environment,
/// and settings under which Tagout would not read what the server reads.
pub(crate) fn fault(act: &Act, database: &Database) -> Option<Fault> {
    let own = &database.endpoint.database;
    let elsewhere = |object: &Object| match (object.kind, &object.schema) {
        ("database", _) if object.name.eq_ignore_ascii_case(ABOUT_ITSELF) => None,
        ("database", _) if object.name != *own => Some(object.name.clone()),
        ("function" | "setting" | "connection" | "database", _) => None,
        (_, Some(schema)) if schema != own && !schema.eq_ignore_ascii_case(ABOUT_ITSELF) => {
            Some(schema.clone())
        }
        _ => None,
    };
    if let Some(name) = act.objects.iter().find_map(elsewhere) {
        return Some(Fault {
            kind: FaultKind::AuthorityMismatch,
            reason: format!(
                "the statement names the database {name}, and this task was given {own} alone"
            ),
            how_to_proceed:
                "Only your user can give this task another database, by a [[database]] in tagout.toml."
                    .to_owned(),
        });
    }
    let is_reading = act.name == "set"
        && act.flags.contains(Flag::PermissionChange)
        && act.objects.iter().any(|object| object.kind == "setting");
    is_reading.then(|| Fault {
        kind: FaultKind::UnknownEncoding,
        reason: "the setting changes how later statements are read".to_owned(),
        how_to_proceed: "Use utf8mb4, and a sql_mode without ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT and IGNORE_SPACE."
            .to_owned(),
    })
}

/// An operation of which too much was done already.
fn tallied(mut operation: Operation, too_much: Option<String>) -> Operation {
    if let Some(why) = too_much {
        operation.effect = operation.effect.max(Effect::Destructive);
        if let Some(arguments) = operation.arguments.as_object_mut() {
            arguments.insert("because".to_owned(), why.into());
        }
    }
    operation
}

/// Whatever a statement names is in the database that it is sent to, so no name is unresolved: one that
/// does not fit the grammar of resources is an argument.
fn operation(act: &Act) -> Operation {
    let mut operation = act.operation();
    // That MySQL commits it at once makes it no worse than what others call destructive: it waits for a person
    // where that does, and what an approved one takes is kept before.
    if REMOVES.contains(&act.name.as_str()) && act.known {
        operation.effect = Effect::Destructive;
    }
    if operation.unresolved.take().is_some() {
        let names: Vec<_> = act
            .objects
            .iter()
            .map(|object| match &object.schema {
                Some(schema) => format!("{schema}.{}", object.name),
                None => object.name.clone(),
            })
            .collect();
        if let Some(arguments) = operation.arguments.as_object_mut() {
            arguments.insert("names".to_owned(), names.into());
        }
    }
    operation
}

/// Something that changes nothing.
pub(crate) fn harmless(name: &str) -> Operation {
    Operation {
        name: OperationName::parse(name).unwrap_or_else(|_| unreachable!("a constant")),
        known: true,
        effect: Effect::Read,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: Vec::new(),
        unresolved: None,
        arguments: serde_json::Value::Null,
    }
}
