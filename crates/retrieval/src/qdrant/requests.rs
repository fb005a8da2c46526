//! What a request may look like: names that are one segment of a path whoever reads it, searches by vectors
//! alone, and nothing that is not known.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::refused;
use crate::fields::values;
use crate::message::Answer;

/// Values of one JSON body; a writer's batch is mostly numbers.
const MOST_VALUES: usize = 1_000_000;

/// A vector, dense or sparse, or one in `{"nearest": ...}`.
pub(super) fn is_vector(query: &Value) -> bool {
    match query {
        Value::Array(numbers) => numbers.iter().all(|number| {
            number.is_number()
                || number
                    .as_array()
                    .is_some_and(|row| row.iter().all(Value::is_number))
        }),
        Value::Object(members) => match members.get("nearest") {
            Some(nearest) => members.len() == 1 && is_vector(nearest),
            None => {
                members.len() == 2
                    && ["indices", "values"].iter().all(|name| {
                        let numbers = members.get(*name).and_then(Value::as_array);
                        numbers.is_some_and(|numbers| numbers.iter().all(Value::is_number))
                    })
            }
        },
        _ => false,
    }
}

/// A vector, or `{"name": ..., "vector": ...}`.
pub(super) fn is_named_vector(vector: &Value) -> bool {
    match vector.get("vector") {
        Some(inner) => {
            vector.as_object().is_some_and(|members| members.len() == 2) && is_vector(inner)
        }
        None => is_vector(vector),
    }
}

/// Whether a request below `/collections` writes. What reads by POST was recognised before, or is refused.
pub(super) fn writes(method: &Method, rest: &[&str]) -> bool {
    match rest {
        [_] => matches!(*method, Method::PUT | Method::PATCH | Method::DELETE),
        [_, "points"] => *method == Method::PUT,
        [_, "points", "delete" | "payload" | "vectors" | "batch"] => *method != Method::GET,
        [_, "points", "payload" | "vectors", "delete" | "clear"] => *method == Method::POST,
        [_, "index"] => *method == Method::PUT,
        [_, "index", _] => *method == Method::DELETE,
        _ => false,
    }
}

/// The segments of a path, each of them one name whoever reads it, so that the store cannot read other ones. The
/// root has none.
///
/// # Errors
/// When a segment is empty, `.` or `..`, or has other characters.
pub(super) fn segments(path: &str) -> Result<Vec<&str>, Answer> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let segments: Vec<&str> = rest.split('/').collect();
    match segments.iter().all(|segment| is_name(segment)) {
        true => Ok(segments),
        false => Err(refused(
            StatusCode::BAD_REQUEST,
            "names of collections, indexes and points have letters, digits, . _ and -",
        )),
    }
}

/// A name that is one segment of a path whoever reads it.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(plain)
        && name.bytes().any(|byte| byte != b'.')
}

pub(super) fn parent(path: &str, levels: usize) -> &str {
    (0..levels).fold(path.trim_end_matches('/'), |path, _| {
        path.rsplit_once('/').map_or("", |(above, _)| above)
    })
}

pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Answer> {
    if values(body) > MOST_VALUES {
        return Err(refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has too many values; send smaller batches",
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(refused(
            StatusCode::BAD_REQUEST,
            "the body is a JSON object",
        )),
    }
}

pub(super) fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Answer> {
    let unknown = body
        .iter()
        .find(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    match unknown {
        None => Ok(()),
        Some((name, _)) => Err(refused(
            StatusCode::FORBIDDEN,
            &format!("the proxy does not pass on `{}`", name.escape_debug()),
        )),
    }
}
