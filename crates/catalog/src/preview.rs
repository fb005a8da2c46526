//! What a person reads before answering a hold: what the operation acts on, what will be lost with it,
//! and whether anything is left afterwards.

use tagout_core::{Effect, Flag, Operation, Scope};

use crate::resolution::{Resolved, ResolvedResource};

/// What `operation` will do to what the provider said it acts on, a line a fact. The text holds names
/// that the provider or the agent chose: who shows it escapes it.
pub fn preview(operation: &Operation, resolved: &Resolved) -> Vec<String> {
    let mut lines = crate::git::told(operation);
    for resource in &resolved.resources {
        describe(resource, &mut lines);
    }
    if operation.scope == Scope::Resources && operation.resources.is_empty() {
        lines.push(
            "The request names no resource: it may reach everything that the credential sees."
                .to_owned(),
        );
    }
    if let Some(reason) = &operation.unresolved {
        lines.push(format!("Not known in full: {reason}."));
    }
    if !operation.known {
        lines.push("Nobody here knows what this operation does.".to_owned());
    }
    lines.extend(consequence(operation).map(str::to_owned));
    lines.extend(operation.flags.iter().map(|flag| remark(flag).to_owned()));
    lines
}

fn describe(resource: &ResolvedResource, lines: &mut Vec<String>) {
    let (kind, id) = (resource.resource.kind(), resource.resource.id());
    let kind = kind.replace('-', " ");
    lines.push(match &resource.name {
        Some(name) => format!("{kind} {name} ({id})"),
        None => format!("{kind} {id}"),
    });
    for (label, text) in &resource.details {
        lines.push(format!("  {label}: {text}"));
    }
    match &resource.unresolved {
        Some(reason) => lines.push(format!("  environment unknown: {reason}")),
        // Where the details say nothing of the environments, their names do.
        None if resource.details.is_empty() && kind != "environment" => {
            let names: Vec<_> = resource
                .environments
                .iter()
                .map(|environment| environment.name.as_str())
                .collect();
            if !names.is_empty() {
                lines.push(format!("  in {}", names.join(", ")));
            }
        }
        None => {}
    }
}

fn consequence(operation: &Operation) -> Option<&'static str> {
    match operation.effect {
        Effect::Read | Effect::Write => None,
        // A database's gate says what it keeps.
        Effect::Destructive if operation.name.as_str().starts_with("sql.") => Some(
            "Getting this back needs what Tagout keeps of it, where it says so here, or a backup.",
        ),
        Effect::Destructive => {
            Some("Getting this back needs a backup, a retention window or a rebuild.")
        }
        Effect::Irreversible => {
            Some("There is no way back: what it destroys goes with everything to restore it from.")
        }
    }
}

fn remark(flag: Flag) -> &'static str {
    match flag {
        Flag::SecretRead => "The answer contains secret values; the agent will see decoys.",
        Flag::CredentialMint => {
            "The answer contains a new credential; the agent will see a decoy, and the value is not kept."
        }
        Flag::PermissionChange => "This changes who may act, or where.",
        Flag::Egress => "The provider will send data to a place that the caller chose.",
        Flag::Exec => "This runs code that the caller chose.",
        Flag::Billing => "This changes what is paid.",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;
    use tagout_core::{Flags, OperationName, ResourceId};

    use super::*;
    use crate::resolution::EnvironmentRef;

    fn operation(effect: Effect, flags: Flags) -> Operation {
        Operation {
            name: OperationName::parse("railway.deploymentStop").unwrap(),
            known: true,
            effect,
            flags,
            scope: Scope::Resources,
            resources: vec![ResourceId::new("railway", "deployment", "d1").unwrap()],
            unresolved: None,
            arguments: Json::Null,
        }
    }

    #[test]
    fn says_what_where_and_what_is_left() {
        let resource = ResolvedResource {
            resource: ResourceId::new("railway", "deployment", "d1").unwrap(),
            name: None,
            environments: vec![EnvironmentRef {
                id: ResourceId::new("railway", "environment", "e1").unwrap(),
                name: "staging".to_owned(),
                project: Some("p1".to_owned()),
            }],
            unresolved: None,
            details: Vec::new(),
        };
        let resolved = Resolved {
            resources: vec![resource],
        };
        let flags = Flags::NONE.with(Flag::Exec);
        assert_eq!(
            preview(&operation(Effect::Destructive, flags), &resolved),
            [
                "deployment d1",
                "  in staging",
                "Getting this back needs a backup, a retention window or a rebuild.",
                "This runs code that the caller chose.",
            ]
        );
    }

    #[test]
    fn says_what_is_not_known() {
        let mut unknown = operation(Effect::Irreversible, Flags::NONE);
        unknown.known = false;
        unknown.resources.clear();
        let lines = preview(&unknown, &Resolved::default());
        assert!(lines[0].contains("everything that the credential sees"));
        assert!(lines[1].contains("Nobody here knows"));
        assert!(lines[2].contains("no way back"));
    }
}
