//! From what a statement does to the operations that the authority decides about. Nothing is decided here.

use tagout_catalog_sql::Act;
use tagout_core::{Effect, Fault, FaultKind, Flags, Operation, OperationName, Scope};
use tagout_credentials::Broker;

/// The fault of sending the value of a credential, where one is among `sent`.
pub fn known_secret<'a>(
    broker: &Broker,
    mut sent: impl Iterator<Item = &'a [u8]>,
) -> Option<Fault> {
    let known = broker.known();
    let hit = sent.find_map(|bytes| known.find(bytes))?;
    Some(Fault {
        kind: FaultKind::KnownSecret,
        reason: format!("the statement holds the value of {}", hit.label),
        how_to_proceed: "Take the value out of the statement.".to_owned(),
    })
}

/// What an act is to the authority. Whatever a statement names is in the database that it is sent to, so no
/// name is unresolved: one that does not fit the grammar of resources is an argument.
pub fn operation(act: &Act) -> Operation {
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

/// An operation of which too much was done already, where `too_much` says so.
pub fn tallied(mut operation: Operation, too_much: Option<String>) -> Operation {
    if let Some(why) = too_much {
        operation.effect = operation.effect.max(Effect::Destructive);
        if let Some(arguments) = operation.arguments.as_object_mut() {
            arguments.insert("because".to_owned(), why.into());
        }
    }
    operation
}

/// Something that changes nothing. `name` is a constant of the caller's.
pub fn harmless(name: &str) -> Operation {
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
