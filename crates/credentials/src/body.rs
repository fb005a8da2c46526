//! Credential fields of a body: JSON at any depth, JSON lines, forms, multipart forms. The body is
//! looked at for what it is, not for what its content type says. What looks like JSON and cannot be
//! read is searched as text, and refused where it names a slot. Nothing is attached in a body.

use tagout_catalog::SlotPlace;
use tagout_core::json::{self, Json};
use tagout_core::{HttpRequest, form_pairs};

use crate::slots::{Carried, SlotTable};

/// Takes what a field carries.
type Visit<'v> = dyn FnMut(&Carried<'_>) + 'v;

/// Visits the slots of the body. Answers what no two servers read in one way.
pub(crate) fn visit(
    request: &HttpRequest,
    table: &SlotTable<'_>,
    visit: &mut Visit<'_>,
) -> Vec<String> {
    let content_type: String = request
        .header("content-type")
        .map(str::to_ascii_lowercase)
        .collect();
    let text = request.body.bytes().trim_ascii();
    if text.is_empty() {
        return Vec::new();
    }
    if matches!(text.first(), Some(b'{' | b'[')) || content_type.contains("json") {
        return in_json_text(text, table, visit);
    }
    if content_type.contains("multipart/") || text.starts_with(b"--") {
        in_multipart(text, table, visit);
    } else if let Ok(text) = std::str::from_utf8(text)
        && text.contains('=')
    {
        // curl -d and many others send forms under any content type.
        for (name, value) in form_pairs(text) {
            if let Some(slot) = table.body_field(&String::from_utf8_lossy(&name)) {
                offer(&slot, &value, visit);
            }
        }
    }
    Vec::new()
}

fn in_json_text(text: &[u8], table: &SlotTable<'_>, visit: &mut Visit<'_>) -> Vec<String> {
    let documents = match json::parse(text) {
        Ok(document) => Some(vec![document]),
        // JSON lines, as bulk interfaces take them.
        Err(_) => text
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(|line| json::parse(line).ok())
            .collect(),
    };
    if let Some(documents) = documents {
        for document in &documents {
            in_json(document, table, visit);
        }
        return Vec::new();
    }
    let text = String::from_utf8_lossy(text);
    quoted_names(&text)
        .filter_map(|name| table.body_field(name))
        .map(|slot| {
            format!(
                "the content looks like JSON with a field {slot} in it and cannot be read as JSON"
            )
        })
        .collect()
}

fn in_json(value: &Json, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                match table.body_field(name) {
                    Some(slot) => carried(value, &slot, table, visit),
                    None => in_json(value, table, visit),
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| in_json(value, table, visit)),
        _ => {}
    }
}

/// What stands under a slot's name: a text, texts in a list, or more fields.
fn carried(value: &Json, slot: &str, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    match value {
        Json::String(text) => offer(slot, text.as_bytes(), visit),
        Json::Number(number) => offer(slot, number.to_string().as_bytes(), visit),
        Json::Array(values) => values
            .iter()
            .for_each(|value| carried(value, slot, table, visit)),
        Json::Object(_) => in_json(value, table, visit),
        Json::Null | Json::Bool(_) => {}
    }
}

fn offer(slot: &str, value: &[u8], visit: &mut Visit<'_>) {
    visit(&Carried {
        slot: format!("body {slot}"),
        place: SlotPlace::BodyField(slot.to_owned()),
        scheme: None,
        value,
        beside_password: false,
    });
}

/// Parts of a multipart form (RFC 7578) that are named like a slot.
fn in_multipart(text: &[u8], table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    let text = String::from_utf8_lossy(text);
    for (at, key) in text.match_indices("name=") {
        let rest = text.get(at + key.len()..).unwrap_or_default();
        let name = match rest.strip_prefix('"') {
            Some(rest) => rest.split('"').next(),
            None => rest.split([';', '\r', '\n']).next(),
        };
        let Some(slot) = name.and_then(|name| table.body_field(name)) else {
            continue;
        };
        let value = rest
            .split_once("\r\n\r\n")
            .or_else(|| rest.split_once("\n\n"))
            .map_or("", |(_, value)| value);
        let value = value.split("\n--").next().unwrap_or_default().trim();
        offer(&slot, value.as_bytes(), visit);
    }
}

/// Every text in quotes that a colon follows.
fn quoted_names(text: &str) -> impl Iterator<Item = &str> {
    let mut parts = text.split('"').peekable();
    parts.next();
    std::iter::from_fn(move || {
        let part = parts.next()?;
        let is_name = parts
            .peek()
            .is_some_and(|next| next.trim_start().starts_with(':'));
        Some(is_name.then_some(part))
    })
    .flatten()
}
