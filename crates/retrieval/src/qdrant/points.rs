//! Points as the store answers them: what is decided about, and what of one is shown.

use http::StatusCode;
use serde_json::{Map, Value};
use tagout_policy::Reader;

use super::reads::Shape;
use super::refused;
use crate::classifier::{content, is_label};
use crate::enforcement::{Candidate, Place};
use crate::fields::{Unreadable, texts};
use crate::message::Answer;
use crate::service::Service;

/// Where a loader writes who may read a document.
const READERS: &str = "authorized_identities";

/// A point of the store. Its readers are what was stored with it: whoever may write there may say so.
pub(super) fn candidate(
    service: &Service,
    item: &Value,
    (content_key, metadata_key): &(String, String),
) -> Candidate {
    let payload = item.get("payload");
    let metadata = payload.and_then(|payload| payload.get(metadata_key));
    let member = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let mut faults = Vec::new();
    // Readers that are named where nobody looks for them are not nobody.
    let elsewhere = payload
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .any(|(name, member)| match member {
            Value::Object(own) if name == metadata_key => own
                .iter()
                .any(|(name, member)| name != READERS && names_readers(name, member)),
            Value::Null if name == metadata_key => false,
            _ => name == metadata_key || names_readers(name, member),
        });
    if elsewhere {
        faults.push("unreadable_readers".to_owned());
    }
    // Loaders of different ages name the source differently, and one point may have both.
    let mut sources = Vec::new();
    for name in ["full_path", "source"] {
        match member(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(source)) if source.is_empty() => {}
            Some(Value::String(source)) => sources.push(source.clone()),
            Some(_) => faults.push("unreadable_source".to_owned()),
        }
    }
    let readers = texts(member(READERS)).unwrap_or_else(|Unreadable| {
        faults.push("unreadable_readers".to_owned());
        Vec::new()
    });
    let mut candidate = Candidate {
        hash: content(""),
        labels: None,
        places: vec![Place { readers, sources }],
        faults,
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
                .map(|payload| rest_of(payload, content_key, metadata_key))
                .unwrap_or_default();
            match service.labels_of(&rest) {
                Ok(more) => {
                    if let Some(labels) = &mut candidate.labels {
                        labels.entities.extend(more.entities);
                        labels.topics.extend(more.topics);
                    }
                }
                Err(_) => candidate.faults.push("unlabelled_payload".to_owned()),
            }
        }
        None => candidate.faults.push("no_text".to_owned()),
    }
    candidate
}

/// Whether a member, or one below it, has the name under which a loader writes readers, also as the end of a path.
fn names_readers(name: &str, member: &Value) -> bool {
    name == READERS
        || name.ends_with(&format!(".{READERS}"))
        || match member {
            Value::Object(members) => members
                .iter()
                .any(|(name, member)| names_readers(name, member)),
            Value::Array(items) => items.iter().any(|item| names_readers("", item)),
            _ => false,
        }
}

/// A payload beside its content, as lines of `name: value`: a number is recognised by its name, and a name may
/// itself be what must not leave.
fn rest_of(payload: &Value, content_key: &str, metadata_key: &str) -> String {
    fn gather(name: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                items.iter().for_each(|item| gather(name, item, into));
            }
            Value::Object(members) if !members.is_empty() => {
                into.push(name.to_owned());
                members
                    .iter()
                    .for_each(|(name, member)| gather(name, member, into));
            }
            Value::Array(_) | Value::Object(_) => into.push(name.to_owned()),
            Value::String(text) => into.push(format!("{name}: {text}")),
            other => into.push(format!("{name}: {other}")),
        }
    }
    let mut texts = Vec::new();
    for (name, member) in payload.as_object().into_iter().flatten() {
        match member {
            _ if name == content_key => {}
            Value::Object(metadata) if name == metadata_key => metadata
                .iter()
                .filter(|(name, member)| !is_a_loaders_own(name, member))
                .for_each(|(name, member)| gather(name, member, &mut texts)),
            member => gather(name, member, &mut texts),
        }
    }
    texts.join("\n")
}

/// Hashes, labels, and who may read, as a loader stores them: words of its own, which would read as context of
/// what stands beside them. Anything else under their names is looked at as all the rest is.
fn is_a_loaders_own(name: &str, member: &Value) -> bool {
    let text = member.as_str().unwrap_or_default();
    let checksum = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    match name {
        // Of these only the reader's own leave; see `shown`.
        READERS => true,
        "pb_checksum" => checksum,
        "pb_id" => checksum || uuid,
        "pebblo_semantic_entities" | "pebblo_semantic_topics" => match member {
            Value::Array(labels) => labels
                .iter()
                .all(|label| label.as_str().is_some_and(is_label)),
            _ => false,
        },
        _ => false,
    }
}

/// What of a released item a reader is shown: the members that are known, and of those who may read it the
/// reader's own names.
pub(super) fn shown(mut item: Value, reader: &Reader, metadata_key: &str) -> Value {
    let Some(members) = item.as_object_mut() else {
        return Value::Null;
    };
    members.retain(|name, _| {
        matches!(
            name.as_str(),
            "id" | "version" | "score" | "payload" | "vector"
        )
    });
    // Clients need a number; the true one counts what else was written.
    if let Some(version) = members.get_mut("version") {
        *version = 0.into();
    }
    let metadata = members
        .get_mut("payload")
        .and_then(|payload| payload.get_mut(metadata_key));
    if let Some(readers) = metadata.and_then(|metadata| metadata.get_mut(READERS)) {
        let own = reader.identities();
        let named = texts(Some(readers)).unwrap_or_default();
        *readers = named
            .into_iter()
            .filter(|name| own.contains(name))
            .collect::<Vec<_>>()
            .into();
    }
    item
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
