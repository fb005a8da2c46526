//! From a text to an action: what the classifier says of it becomes the operations that the authority
//! decides about. Nothing is decided here.

use std::collections::HashMap;

use tagout_catalog_sql::{Act, Class};
use tagout_core::{Action, DatabaseRequest, Fault, FaultKind, Flags, Parameter};
use tagout_credentials::Broker;
use tagout_database::{Database, Reading, Tally, harmless, known_secret, operation, tallied};

fn has(reading: &Reading, names: &[&str]) -> bool {
    reading.acts().any(|act| names.contains(&act.name.as_str()))
}

/// Whether names of prepared statements may mean something else behind it.
pub(crate) fn renames(reading: &Reading) -> bool {
    has(reading, &["prepare", "deallocate", "discard"])
}

/// Whether names without a schema may be looked up elsewhere behind it.
pub(crate) fn moves_search_path(reading: &Reading) -> bool {
    let is_it = |act: &Act| {
        let mut settings = act.objects.iter();
        settings.all(|setting| setting.name == "search_path")
    };
    reading
        .acts()
        .any(|act| act.name == "discard" || (act.name == "set" && is_it(act)))
}

/// Whether a name may call something else behind it.
pub(crate) fn moves_routines(reading: &Reading) -> bool {
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
    reading
        .acts()
        .any(|act| act.class >= Class::Write && !ROWS.contains(&act.name.as_str()))
}

/// Whether a transaction is open behind it.
pub(crate) fn opens_transaction(reading: &Reading) -> bool {
    has(reading, &["begin"])
}

/// Whether it calls anything by a name.
pub(crate) fn calls(reading: &Reading) -> bool {
    let mut statements = reading.statements.iter();
    statements.any(|statement| !statement.calls.is_empty())
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
    let sent =
        std::iter::once(asked.text.as_bytes()).chain(asked.parameters.iter().map(Parameter::bytes));
    let mut faults: Vec<_> = known_secret(broker, sent).into_iter().collect();
    let mut operations = Vec::new();
    let mut too_much = asked.tally.too_much(asked.reading.acts());
    for act in asked.reading.acts() {
        match executed(act, asked.prepared) {
            // Those of which more is known stand there already.
            None if matches!(act.name.as_str(), "delete" | "insert" | "merge" | "update") => {
                operations.push(tallied(operation(act), too_much.take()));
            }
            None => operations.push(operation(act)),
            Some(Ok(acts)) => operations.extend(acts.iter().map(operation)),
            Some(Err(fault)) => faults.push(fault),
        }
    }
    if operations.is_empty() {
        // Comments, or nothing at all.
        operations.push(harmless("sql.nothing"));
    }
    database.action(
        (asked.text.to_owned(), asked.parameters),
        asked.search_path,
        (operations, faults),
        generation,
    )
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

/// `reading` with what its `EXECUTE`s run in their places; nothing where there are none that are known.
pub(crate) fn with_executed(
    reading: &Reading,
    prepared: &HashMap<String, Vec<Act>>,
) -> Option<Reading> {
    if !has(reading, &["execute"]) {
        return None;
    }
    let statements = reading.statements.iter().cloned().map(|mut statement| {
        let acts = statement.acts.into_iter();
        let acts = acts.flat_map(|act| match executed(&act, prepared) {
            Some(Ok(run)) => run.to_vec(),
            None | Some(Err(_)) => vec![act],
        });
        statement.acts = acts.collect();
        statement
    });
    Some(Reading {
        statements: statements.collect(),
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
