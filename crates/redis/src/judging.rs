//! From commands to an action: what the table says of them becomes the operations that the authority decides
//! about. Nothing is decided here.

use serde_json::json;
use tagout_core::{Action, DatabaseRequest, Effect, Flags, Operation, OperationName, Scope};
use tagout_credentials::Broker;
use tagout_database::{Database, harmless, known_secret};

use crate::command::Command;
use crate::scripts::Scripts;
use crate::table::Meaning;
use crate::tally::Tally;

/// Keys that are named in an operation.
const MOST_NAMED: usize = 100;
/// Redis has no transactions that only read, so each change of a protected database waits for a person.
const PROTECTED: &str = "the database is of a protected environment";

/// Commands that reach the server together, each with what it does.
pub(crate) struct Batch {
    pub(crate) commands: Vec<(Command, Meaning)>,
    /// Whether they stand between MULTI and EXEC.
    pub(crate) is_transaction: bool,
}

impl Batch {
    pub(crate) fn of(command: Command, meaning: Meaning) -> Self {
        Self {
            commands: vec![(command, meaning)],
            is_transaction: false,
        }
    }

    /// As people see it, one command a line.
    pub(crate) fn text(&self) -> String {
        let lines = self.commands.iter().map(|(command, _)| command.text());
        let mut lines: Vec<_> = lines.collect();
        if self.is_transaction {
            lines.insert(0, "MULTI".to_owned());
            lines.push("EXEC".to_owned());
        }
        lines.join("\n")
    }

    /// The keys that may be gone behind it.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.commands.iter().flat_map(|(_, meaning)| match meaning {
            Meaning::Removes(keys) => keys.as_slice(),
            _ => &[],
        })
    }

    pub(crate) fn scripts(&self) -> impl Iterator<Item = &Command> {
        let scripts = self.commands.iter();
        scripts.filter_map(|(command, meaning)| (*meaning == Meaning::Script).then_some(command))
    }
}

/// The action that a batch is. Keys are counted here, before anything is removed.
pub(crate) fn action(
    batch: &Batch,
    (tally, scripts): (&Tally, &Scripts),
    (database, is_protected): (&Database, bool),
    generation: u64,
    broker: &Broker,
) -> Action<DatabaseRequest> {
    let words = batch
        .commands
        .iter()
        .flat_map(|(command, _)| command.words());
    let faults: Vec<_> = known_secret(broker, words.map(Vec::as_slice))
        .into_iter()
        .collect();
    let too_much = match faults.is_empty() {
        true => tally.count(batch.removed()).err(),
        false => None,
    };
    let operations = batch.commands.iter().map(|(command, meaning)| {
        let too_much = match meaning {
            Meaning::Removes(_) => too_much.as_deref(),
            _ => None,
        };
        let is_approved = scripts.is_approved(command);
        let because = too_much.or(is_protected.then_some(PROTECTED));
        operation(command, meaning, because, is_approved)
    });
    let mut operations: Vec<_> = operations.collect();
    if operations.is_empty() {
        operations.push(harmless("redis.exec"));
    }
    database.action(
        (batch.text(), Vec::new()),
        None,
        (operations, faults),
        generation,
    )
}

fn operation(
    command: &Command,
    meaning: &Meaning,
    because: Option<&str>,
    is_approved: bool,
) -> Operation {
    // Nothing of what is removed is kept, so nothing that waits for a person can be taken back.
    let effect = match meaning {
        Meaning::Read
        | Meaning::Session
        | Meaning::Gate
        | Meaning::Selects(_)
        | Meaning::Subscribes => Effect::Read,
        Meaning::Write | Meaning::LoadsScript if because.is_none() => Effect::Write,
        Meaning::Write | Meaning::LoadsScript => Effect::Destructive,
        Meaning::Removes(_) if because.is_none() => Effect::Write,
        Meaning::Script if is_approved && because.is_none() => Effect::Write,
        Meaning::Removes(_) | Meaning::Script | Meaning::Opaque => Effect::Irreversible,
        Meaning::Empties | Meaning::EmptiesAll => Effect::Irreversible,
    };
    let mut arguments = serde_json::Map::new();
    if let Meaning::Removes(keys) = meaning {
        let named = keys.iter().take(MOST_NAMED);
        let named: Vec<_> = named.map(|key| String::from_utf8_lossy(key)).collect();
        arguments.insert("keys".to_owned(), json!(named));
    }
    if let Some(why) = because.filter(|_| effect != Effect::Read) {
        arguments.insert("because".to_owned(), why.into());
    }
    let name = match command.name().as_str() {
        // The same, whichever way it is called.
        "evalsha" => "redis.eval".to_owned(),
        name => format!("redis.{name}"),
    };
    Operation {
        name: OperationName::parse(&name).unwrap_or_else(|_| {
            OperationName::parse("redis.unknown").unwrap_or_else(|_| unreachable!("a constant"))
        }),
        known: true,
        effect,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: Vec::new(),
        unresolved: None,
        arguments: serde_json::Value::Object(arguments),
    }
}
