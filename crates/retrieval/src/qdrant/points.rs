//! Points as the store answers them: what is decided about, and what of one is shown.

use http::StatusCode;
use serde_json::{Map, Value};

use super::reads::Shape;
use super::refused;
use crate::classifier::content;
use crate::enforcement::Candidate;
use crate::fields::texts;
use crate::message::Answer;
use crate::service::Service;

/// A point of the store. Its readers are what was stored with it: whoever may write there may say so.
pub(super) fn candidate(
    service: &Service,
    item: &Value,
    (content_key, metadata_key): &(String, String),
) -> Candidate {
    let payload = item.get("payload");
    let metadata = payload.and_then(|payload| payload.get(metadata_key));
    let member = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let source = ["full_path", "source"]
        .iter()
        .find_map(|name| member(name)?.as_str());
    let mut candidate = Candidate {
        hash: content(""),
        labels: None,
        readers: vec![texts(member("authorized_identities"))],
        source: source.unwrap_or_default().to_owned(),
        faults: Vec::new(),
    };
    match payload
        .and_then(|payload| payload.get(content_key))
        .and_then(Value::as_str)
    {
        // Everything that leaves is looked at, not the text alone.
        Some(text) => {
            candidate.hash = content(text);
            candidate.labels = service.labels_of(text).ok();
            let rest = payload
                .map(|payload| rest_of(payload, content_key))
                .unwrap_or_default();
            match service.labels_of(&rest) {
                Ok(more) => {
                    if let Some(labels) = &mut candidate.labels {
                        labels.entities.extend(more.entities);
                    }
                }
                Err(_) => candidate.faults.push("unlabelled_payload".to_owned()),
            }
        }
        None => candidate.faults.push("no_text".to_owned()),
    }
    candidate
}

/// A payload beside its content, as lines of `name: value`: a number is recognised by its name, and a name may
/// itself be what must not leave.
fn rest_of(payload: &Value, content_key: &str) -> String {
    fn gather(name: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| gather(name, item, into)),
            Value::Object(members) => gather_all(members, into),
            Value::String(text) => into.push(format!("{name}: {text}")),
            other => into.push(format!("{name}: {other}")),
        }
    }
    fn gather_all(members: &Map<String, Value>, into: &mut Vec<String>) {
        members
            .iter()
            // Hashes, labels, and who may read: words of the store's own, which would read as context.
            .filter(|(name, _)| {
                !matches!(
                    name.as_str(),
                    "authorized_identities"
                        | "pb_checksum"
                        | "pb_id"
                        | "pebblo_semantic_entities"
                        | "pebblo_semantic_topics"
                )
            })
            .for_each(|(name, member)| gather(name, member, into));
    }
    let mut texts = Vec::new();
    if let Value::Object(members) = payload {
        for (name, member) in members.iter().filter(|(name, _)| *name != content_key) {
            gather(name, member, &mut texts);
        }
    }
    texts.join("\n")
}

/// An item without the payload that only the check needed.
pub(super) fn as_asked(mut item: Value, body: &Map<String, Value>) -> Value {
    let Some(members) = item.as_object_mut() else {
        return item;
    };
    // `true` is all of it; a list of keys, or `include` and `exclude`, only by their first names.
    let keep = |name: &str| match body.get("with_payload") {
        Some(Value::Bool(all)) => *all,
        Some(Value::Array(names)) => names.iter().any(|wanted| first(wanted) == Some(name)),
        Some(Value::Object(choice)) => match (choice.get("include"), choice.get("exclude")) {
            (Some(Value::Array(names)), _) => {
                names.iter().any(|wanted| first(wanted) == Some(name))
            }
            (_, Some(Value::Array(names))) => {
                !names.iter().any(|wanted| wanted.as_str() == Some(name))
            }
            _ => false,
        },
        _ => false,
    };
    if let Some(Value::Object(payload)) = members.get_mut("payload") {
        payload.retain(|name, _| keep(name));
        if payload.is_empty() {
            members.remove("payload");
        }
    }
    item
}

fn first(name: &Value) -> Option<&str> {
    name.as_str()?.split(['.', '[']).next()
}

pub(super) fn items(result: Value, shape: Shape) -> Result<Vec<Value>, Answer> {
    let list = match (shape, result) {
        (Shape::List, Value::Array(list)) => Some(list),
        (Shape::Points, Value::Object(mut members)) => match members.remove("points") {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        },
        _ => None,
    };
    list.ok_or_else(|| {
        refused(
            StatusCode::BAD_GATEWAY,
            "the vector store's answer cannot be read",
        )
    })
}
