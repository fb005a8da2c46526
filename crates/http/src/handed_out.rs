//! Values that a server hands to its client to send back: cookies, and tokens in JSON answers. On a
//! host without a pack they are the agent's own, so they may go back to that host and to no other.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use tagout_catalog::{SlotPlace, fold_field_name, generic_slots};

use crate::coding::Decoding;

/// JSON that is looked through. Answers that hand out tokens are a few KiB.
const MOST_JSON: usize = 256 * 1024;

/// The value of a `Set-Cookie` field (RFC 6265 §5.2), `None` when it has none.
pub(crate) fn cookie_value(field: &[u8]) -> Option<Vec<u8>> {
    let pair = field.split(|byte| *byte == b';').next()?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let value = pair.get(equals + 1..)?.trim_ascii();
    (!value.is_empty()).then(|| value.to_vec())
}

/// An answer that may hand out tokens, as far as it came.
pub(crate) struct Search {
    decoding: Option<Decoding>,
    collected: Vec<u8>,
}

impl Search {
    /// For an answer with these fields; `None` when it is not JSON that can be read.
    pub(crate) fn of(fields: &HeaderMap) -> Option<Self> {
        let kind = fields.get(CONTENT_TYPE)?.as_bytes();
        kind.windows(4).find(|part| *part == b"json")?;
        Some(Self {
            decoding: Decoding::of_answer(fields).ok()?,
            collected: Vec::new(),
        })
    }

    /// Takes the next piece, `None` where there is no other. What the answer hands out is given before
    /// the piece that completes it goes on; the search is over then, or when the answer is too long.
    pub(crate) fn take(
        search: &mut Option<Self>,
        piece: Option<&Bytes>,
        is_end: bool,
    ) -> Vec<Vec<u8>> {
        let Some(mut taken) = search.take() else {
            return Vec::new();
        };
        if piece.is_some_and(|piece| taken.collect(piece).is_none()) {
            return Vec::new();
        }
        if is_end || piece.is_none() {
            return tokens(&taken.collected);
        }
        *search = Some(taken);
        Vec::new()
    }

    fn collect(&mut self, piece: &Bytes) -> Option<()> {
        let Some(decoding) = &mut self.decoding else {
            return self.push(piece);
        };
        decoding.feed(piece);
        while let Some(more) = self.decoding.as_mut()?.next().ok()? {
            self.push(&more)?;
        }
        Some(())
    }

    fn push(&mut self, data: &[u8]) -> Option<()> {
        let fits = self.collected.len() + data.len() <= MOST_JSON;
        fits.then(|| self.collected.extend_from_slice(data))
    }
}

/// Every string in a JSON answer whose name is one that carries credentials.
fn tokens(content: &[u8]) -> Vec<Vec<u8>> {
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
