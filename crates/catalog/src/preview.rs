//! What a person reads before answering a hold: what will be lost, line by line.

use tagout_core::{Effect, Operation};

use crate::resolution::Resolved;

/// What `operation` will do to what the provider said it acts on, a line a fact. The text holds names
/// that the provider or the agent chose: who shows it escapes it.
pub fn preview(operation: &Operation, resolved: &Resolved) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in &resolved.resources {
        let name = resource.name.as_deref().unwrap_or("unnamed");
        lines.push(format!(
            "{} {name} ({})",
            resource.resource.kind(),
            resource.resource.id()
        ));
        for (label, text) in &resource.details {
            lines.push(format!("  {label}: {text}"));
        }
        if let Some(reason) = &resource.unresolved {
            lines.push(format!("  environment unknown: {reason}"));
        }
    }
    if operation.effect == Effect::Irreversible {
        lines.push("No recovery path is left afterwards.".to_owned());
    }
    lines
}
