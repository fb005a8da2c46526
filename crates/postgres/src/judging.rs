//! From a text to an action: what the classifier says of it becomes the operations that the authority
//! decides about. Nothing is decided here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tagout_catalog_sql::{Act, Class, Classifier, Dialect, Statement, Unreadable, classify_short};
use tagout_core::{
    Action, CredentialUse, DatabaseRequest, DatabaseSystem, Effect, Fault, FaultKind, Flags,
    Operation, OperationName, Parameter, Scope,
};
use tagout_credentials::Broker;

use crate::database::Database;
use crate::tally::Tally;

/// Texts that are remembered with what they mean.
const MOST_REMEMBERED: usize = 2048;
/// The longest of them, in bytes.
const LONGEST_REMEMBERED: usize = 16 << 10;

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

    fn has(&self, names: &[&str]) -> bool {
        self.acts().any(|act| names.contains(&act.name.as_str()))
    }

    /// Whether names of prepared statements may mean something else behind it.
    pub(crate) fn renames(&self) -> bool {
        self.has(&["prepare", "deallocate", "discard"])
    }

    /// Whether names without a schema may be looked up elsewhere behind it.
    pub(crate) fn moves_search_path(&self) -> bool {
        self.acts().any(|act| {
            act.name == "discard"
                || (act.name == "set"
                    && act
                        .objects
                        .iter()
                        .all(|setting| setting.name == "search_path"))
        })
    }

    /// Whether a name may call something else behind it.
    pub(crate) fn moves_routines(&self) -> bool {
        /// Writes that make, change and remove no function, operator or type.
        const ROWS: &[&str] = &[
            "alter_sequence",
            "analyze",
            "comment",
            "copy",
            "copy_from",
            "create_index",
            "create_sequence",
            "create_table",
            "delete",
            "insert",
            "lock",
            "merge",
            "notify",
            "refresh_materialized_view",
            "truncate",
            "update",
            "vacuum",
        ];
        self.acts()
            .any(|act| act.class >= Class::Write && !ROWS.contains(&act.name.as_str()))
    }

    /// Whether a transaction is open behind it.
    pub(crate) fn opens_transaction(&self) -> bool {
        self.has(&["begin"])
    }

    /// Whether it calls anything by a name.
    pub(crate) fn calls(&self) -> bool {
        let mut statements = self.statements.iter();
        statements.any(|statement| !statement.calls.is_empty())
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

    /// What `text` means.
    ///
    /// # Errors
    /// When nobody can say.
    pub(crate) async fn read(self: &Arc<Self>, text: &str) -> Result<Arc<Reading>, Unreadable> {
        if let Some(reading) = self.remembered().get(text) {
            return Ok(Arc::clone(reading));
        }
        let statements = match classify_short(Dialect::Postgres, text) {
            Some(statements) => statements?,
            None => {
                let (reader, owned) = (Arc::clone(self), text.to_owned());
                // It waits for a thread of the classifier's.
                let classified = tokio::task::spawn_blocking(move || {
                    reader.classifier.classify(Dialect::Postgres, &owned)
                });
                classified.await.map_err(|_| Unreadable::NotExamined)??
            }
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

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Reading>>> {
        // Entries are put in whole.
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is to be judged.
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a str,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) search_path: Option<String>,
    pub(crate) reading: &'a Reading,
    /// What SQL prepared on this connection, by name.
    pub(crate) prepared: &'a HashMap<String, Vec<Act>>,
    pub(crate) tally: &'a Tally,
}

/// The action that a message is.
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
        match executed(act, asked.prepared) {
            None if matches!(act.name.as_str(), "delete" | "update") => {
                operations.push(tallied(operation(act), too_much.take()));
            }
            None => operations.push(operation(act)),
            Some(Ok(acts)) => operations.extend(acts.iter().map(operation)),
            Some(Err(fault)) => faults.push(fault),
        }
    }
    if operations.is_empty() {
        operations.push(nothing());
    }
    let request = DatabaseRequest {
        target: database.target(),
        system: DatabaseSystem::Postgres,
        database: database.endpoint.database.clone(),
        user: database.user.clone(),
        search_path: asked.search_path,
        text: asked.text.to_owned(),
        parameters: asked.parameters,
    };
    let uses: Vec<CredentialUse> = vec![database.credential_use(generation)];
    Action::new(request, operations, uses, faults, false)
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

/// What `EXECUTE` runs, where it is one: the acts that were judged when they were prepared, as long as
/// nobody would have to be asked. Who is asked about a name has to see what it stands for.
fn executed<'p>(
    act: &Act,
    prepared: &'p HashMap<String, Vec<Act>>,
) -> Option<Result<&'p [Act], Fault>> {
    if act.name != "execute" || act.known {
        return None;
    }
    let acts = act
        .objects
        .first()
        .and_then(|object| prepared.get(&object.name));
    Some(match acts {
        Some(acts)
            if acts
                .iter()
                .all(|act| act.known && act.class <= Class::Write && act.flags == Flags::NONE) =>
        {
            Ok(acts)
        }
        _ => Err(Fault {
            kind: FaultKind::Unparsable,
            reason: "what EXECUTE runs is not told by its text".to_owned(),
            how_to_proceed: "Send the statement itself instead of PREPARE and EXECUTE.".to_owned(),
        }),
    })
}

/// A value in the binary form of the type that the client gave (`pg_type.dat`), as text where that form
/// is simple: a person and a preview can read it then. It is the same value for the server.
pub(crate) fn read_binary(oid: u32, value: &[u8]) -> Parameter {
    let text = match (oid, value) {
        (16, [0]) => Some("f".to_owned()),
        (16, [1]) => Some("t".to_owned()),
        (21, &[a, b]) => Some(i16::from_be_bytes([a, b]).to_string()),
        (23, &[a, b, c, d]) => Some(i32::from_be_bytes([a, b, c, d]).to_string()),
        (26, &[a, b, c, d]) => Some(u32::from_be_bytes([a, b, c, d]).to_string()),
        (20, _) => value
            .try_into()
            .ok()
            .map(|bytes| i64::from_be_bytes(bytes).to_string()),
        // text, varchar, char(n), name, json
        (25 | 1043 | 1042 | 19 | 114, _) => std::str::from_utf8(value).ok().map(str::to_owned),
        (2950, _) if value.len() == 16 => {
            Some(value.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        _ => None,
    };
    match text {
        Some(text) => Parameter::Text(text.into_bytes()),
        None => Parameter::Binary(value.to_vec()),
    }
}

/// The statements that a text prepares, by name.
pub(crate) fn prepares(reading: &Reading) -> Vec<(String, Vec<Act>)> {
    let mut found = Vec::new();
    for statement in &reading.statements {
        if let [first, rest @ ..] = statement.acts.as_slice()
            && first.name == "prepare"
            && let Some(object) = first.objects.first()
        {
            found.push((object.name.clone(), rest.to_vec()));
        }
    }
    found
}

/// Whatever a statement names is in the database that it is sent to, so no name is unresolved: one that
/// does not fit the grammar of resources is an argument.
fn operation(act: &Act) -> Operation {
    let mut operation = act.operation();
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

/// Comments, or nothing at all.
fn nothing() -> Operation {
    Operation {
        name: OperationName::parse("sql.nothing").unwrap_or_else(|_| unreachable!("a constant")),
        known: true,
        effect: Effect::Read,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: Vec::new(),
        unresolved: None,
        arguments: serde_json::Value::Null,
    }
}
