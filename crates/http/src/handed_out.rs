//! Values that a server hands to its client to send back: cookies, and tokens in JSON answers. On a
//! host without a pack they are the agent's own, so they may go back to that host and to no other.

use serde_json::Value;
use tagout_catalog::{SlotPlace, fold_field_name, generic_slots};

/// JSON that is looked through. Answers that hand out tokens are a few KiB.
pub(crate) const MOST_JSON: usize = 256 * 1024;

/// The value of a `Set-Cookie` field (RFC 6265 §5.2), `None` when it has none.
pub(crate) fn cookie_value(field: &[u8]) -> Option<Vec<u8>> {
    let pair = field.split(|byte| *byte == b';').next()?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let value = pair.get(equals + 1..)?.trim_ascii();
    (!value.is_empty()).then(|| value.to_vec())
}

/// Every string in a JSON answer whose name is one that carries credentials.
pub(crate) fn tokens(content: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    // serde_json refuses deep nesting by itself.
    if let Ok(document) = serde_json::from_slice::<Value>(content) {
        collect(&document, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if carries_credential(name) && !text.is_empty() => {
                        found.push(text.clone().into_bytes());
                    }
                    other => collect(other, found),
                }
            }
        }
        _ => (),
    }
}

fn carries_credential(name: &str) -> bool {
    let folded = fold_field_name(name);
    folded == "id-token"
        || generic_slots()
            .iter()
            .any(|slot| matches!(slot, SlotPlace::BodyField(field) if *field == folded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_tokens_are_found() {
        assert_eq!(
            cookie_value(b"sid=abc=; Path=/; HttpOnly").unwrap(),
            b"abc="
        );
        assert_eq!(cookie_value(b"sid=; Path=/"), None);
        assert_eq!(cookie_value(b"broken"), None);
        let json = br#"{"data":[{"access_token":"one","other":"x"}],"accessToken":"","refresh_token":"two"}"#;
        assert_eq!(tokens(json), [b"one".to_vec(), b"two".to_vec()]);
        assert!(tokens(b"{").is_empty());
        assert!(tokens("[".repeat(100_000).as_bytes()).is_empty());
    }
}
