//! From a text to an action: what the classifier says of it becomes the operations that the authority
//! decides about. Nothing is decided here.

use std::sync::Arc;

use tagout_catalog_sql::{Act, Object, Unreadable, with_values};
use tagout_core::{
    Action, DatabaseRequest, Effect, Fault, FaultKind, Flag, Flags, Operation, Parameter,
};
use tagout_credentials::Broker;
use tagout_database::{Database, Reader, Reading, Tally, harmless, known_secret, tallied};

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

/// The connection that a text wants to interrupt, where it wants nothing else.
pub(crate) fn interrupts(reading: &Reading) -> Option<u32> {
    let mut acts = reading.acts();
    let act = acts.next().filter(|act| act.name == "kill")?;
    let connection = act.objects.first()?;
    match (connection.kind, acts.next()) {
        ("connection", None) => connection.name.parse().ok(),
        _ => None,
    }
}

/// Whether settings under which texts are read may be others behind it: it sets one to what only the
/// server knows, or runs something that nobody knows.
pub(crate) fn may_move_pins(reading: &Reading) -> bool {
    reading.acts().any(|act| {
        !act.known
            || act.name == "call"
            || act.name == "set" && (!act.objects.is_empty() || act.flags != Flags::NONE)
    })
}

/// What a prepared text means with values in it. Which rows a condition names depends on them: a number
/// compared with a text is nearly every text.
///
/// # Errors
/// As [`Reader::read`].
pub(crate) async fn read_bound(
    reader: &Arc<Reader>,
    text: &str,
    values: &[Parameter],
) -> Result<Arc<Reading>, Unreadable> {
    let reading = reader.read(text).await?;
    if values.is_empty() || reading.acts().all(|act| act.rows.is_none()) {
        return Ok(reading);
    }
    match with_values(text, values) {
        Some(whole) => reader.read(&whole).await,
        None => Err(Unreadable::NotExamined),
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
    let sent =
        std::iter::once(asked.text.as_bytes()).chain(asked.parameters.iter().map(Parameter::bytes));
    let mut faults: Vec<_> = known_secret(broker, sent).into_iter().collect();
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
    database.action(
        (asked.text.to_owned(), asked.parameters),
        None,
        (operations, faults),
        generation,
    )
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

fn operation(act: &Act) -> Operation {
    let mut operation = tagout_database::operation(act);
    // That MySQL commits it at once makes it no worse than what others call destructive: it waits for a person
    // where that does, and what an approved one takes is kept before.
    if REMOVES.contains(&act.name.as_str()) && act.known {
        operation.effect = Effect::Destructive;
    }
    operation
}
