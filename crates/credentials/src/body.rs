//! Credential fields of a body: JSON at any depth, JSON lines, forms, multipart forms, markup. The body is
//! looked at for what it is, not for what its content type says. What looks like JSON and cannot be
//! read is searched as text, and refused where it names a slot. Nothing is attached in a body.

use std::borrow::Cow;

use tagout_catalog::{SlotPlace, fold_field_name};
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
    let plain = without_wide(request.body.bytes());
    let text = plain.trim_ascii();
    if text.is_empty() {
        return Vec::new();
    }
    let mut ambiguous: Vec<String> = unknown_charset(&content_type).into_iter().collect();
    if matches!(text.first(), Some(b'{' | b'[')) || content_type.contains("json") {
        ambiguous.extend(in_json_text(text, table, visit));
    }
    if content_type.contains("multipart/") || text.starts_with(b"--") {
        ambiguous.extend(in_multipart(text, table, visit));
    }
    if content_type.contains("yaml") {
        ambiguous.extend(in_yaml(text, table));
    }
    if BINARY_TREES.iter().any(|kind| content_type.contains(kind)) {
        ambiguous.extend(in_binary_tree(text, table));
    }
    if holds_a_request(text) {
        ambiguous.push("the content holds whole requests; send them one by one".to_owned());
    }
    if text.first() == Some(&b'<') {
        in_markup(text, table, visit);
    }
    // curl -d and many others send forms under any content type, and a server that expects a form
    // finds its pairs in the middle of anything.
    // An octet that is no UTF-8 hides the fields around it from nobody but us.
    if !content_type.contains("json") && text.contains(&b'=') {
        for (name, value) in form_pairs(&String::from_utf8_lossy(text)) {
            if let Some(slot) = table.body_field(&String::from_utf8_lossy(&name)) {
                offer(&slot, &value, visit);
            }
        }
    }
    ambiguous
}

/// Binary forms of JSON, whose names stand in them as they are.
const BINARY_TREES: &[&str] = &["msgpack", "messagepack", "cbor", "bson", "ubjson", "smile"];

/// Charsets in which the letters of names are what they seem: the ones that ASCII is a part of, and UTF-16.
const CHARSETS: &[&str] = &[
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "iso-8859-15",
    "latin1",
    "windows-1252",
    "utf-16",
    "utf-16le",
    "utf-16be",
];

/// Other charsets write names so that nobody here can read them (UTF-7, EBCDIC).
fn unknown_charset(content_type: &str) -> Option<String> {
    content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.trim().split_once('='))
        .filter(|(name, _)| name.trim() == "charset")
        .map(|(_, charset)| charset.trim().trim_matches(['"', '\'']))
        .find(|charset| !CHARSETS.contains(charset))
        .map(|_| "the content is in a charset that is not read here; send it in UTF-8".to_owned())
}

/// Whether a line of the body is the first of a request (RFC 9112 §3), as batches of them have it
/// (`multipart/mixed` of `application/http`).
fn holds_a_request(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').any(|line| {
        let mut words = line.trim_ascii_end().splitn(3, |&byte| byte == b' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let version = words.next().unwrap_or_default();
        !method.is_empty()
            && method.iter().all(u8::is_ascii_uppercase)
            && !target.is_empty()
            && version.trim_ascii().starts_with(b"HTTP/1.")
    })
}

/// YAML has too many forms to be read twice alike; a slot's name in it refuses.
fn in_yaml(text: &[u8], table: &SlotTable<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    names_before_colons(&text)
        .filter_map(|name| table.body_field(name))
        .map(|slot| format!("the content is YAML with a field {slot} in it; send JSON"))
        .collect()
}

/// A slot's name anywhere in a binary form of JSON refuses: where a name begins and ends there is told by octets that
/// may look like letters.
fn in_binary_tree(bytes: &[u8], table: &SlotTable<'_>) -> Vec<String> {
    let folded = fold_field_name(&String::from_utf8_lossy(bytes));
    table
        .body_fields()
        .find(|name| folded.contains(name))
        .map(|slot| format!("the content is binary with a field {slot} in it; send JSON"))
        .into_iter()
        .collect()
}

/// The body without a byte order mark, and without the NULs of UTF-16: RFC 7159 allowed JSON so.
fn without_wide(bytes: &[u8]) -> Cow<'_, [u8]> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let wide = bytes.get(..4).is_some_and(|front| front.contains(&0))
        || bytes.starts_with(b"\xFF\xFE")
        || bytes.starts_with(b"\xFE\xFF");
    if wide {
        let kept = bytes.iter().filter(|byte| !matches!(byte, 0 | 0xFE | 0xFF));
        return kept.copied().collect();
    }
    Cow::Borrowed(bytes)
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
    let mut ambiguous: Vec<String> = names_before_colons(&text)
        .filter_map(|name| table.body_field(name))
        .map(|slot| {
            format!(
                "the content looks like JSON with a field {slot} in it and cannot be read as JSON"
            )
        })
        .collect();
    if text.contains("\\u") {
        ambiguous.push(
            "the content looks like JSON with escapes in it and cannot be read as JSON".to_owned(),
        );
    }
    ambiguous
}

fn in_json(value: &Json, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                if name.eq_ignore_ascii_case("headers") {
                    in_headers(value, table, visit);
                }
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

/// The header fields of a request in a batch: `{"name": value}`, or a list of `{"name": name, "value": value}` or of
/// `name: value`.
fn in_headers(value: &Json, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    let is_slot = |name: &str| {
        let folded = fold_field_name(name.trim());
        // What a body's field of that name carries is seen anyway.
        (table.header(&folded) && table.body_field(&folded).is_none()).then_some(folded)
    };
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                if let Some(slot) = is_slot(name) {
                    carried(value, &slot, table, visit);
                }
            }
        }
        Json::Array(fields) => {
            for field in fields {
                let named = ["name", "key"]
                    .iter()
                    .find_map(|member| field.get(member)?.as_str());
                if let (Some(name), Some(value)) = (named, field.get("value"))
                    && table.header(&fold_field_name(name.trim()))
                {
                    carried(value, &fold_field_name(name.trim()), table, visit);
                }
                if let Some((name, value)) = field.as_str().and_then(|line| line.split_once(':'))
                    && table.header(&fold_field_name(name.trim()))
                {
                    offer(
                        &fold_field_name(name.trim()),
                        value.trim().as_bytes(),
                        visit,
                    );
                }
            }
        }
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

/// Parts of a multipart form (RFC 7578) that are named like a slot. A name in the form `name*=` (RFC 5987), which
/// §4.2 forbids there, is one that only some servers read.
fn in_multipart(text: &[u8], table: &SlotTable<'_>, visit: &mut Visit<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let folded = text.to_ascii_lowercase();
    let starred = folded.match_indices("name*").any(|(at, name)| {
        let before = folded
            .get(..at)
            .and_then(|before| before.chars().next_back());
        let behind = folded.get(at + name.len()..).unwrap_or_default();
        let behind = behind.trim_start_matches(|c: char| c.is_ascii_digit() || c == '*');
        let in_a_head = folded
            .get(..at)
            .and_then(|before| before.rsplit("content-disposition").next())
            .is_some_and(|head| {
                head.len() < at && !head.contains("\n\n") && !head.contains("\r\n\r\n")
            });
        in_a_head
            && before.is_none_or(|before| !before.is_ascii_alphanumeric())
            && behind.trim_start().starts_with('=')
    });
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
    match starred {
        true => {
            vec!["a part of the form has a name in the form `name*=`; write it plainly".to_owned()]
        }
        false => Vec::new(),
    }
}

/// Elements and attributes of XML and the like that are named like a slot.
fn in_markup(text: &[u8], table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    let text = String::from_utf8_lossy(text);
    for tag in text.split('<').skip(1) {
        let (inside, content) = tag.split_once('>').unwrap_or((tag, ""));
        let name = inside
            .split([' ', '\t', '\r', '\n', '/'])
            .next()
            .unwrap_or_default();
        let name = name.rsplit(':').next().unwrap_or_default();
        if let Some(slot) = table.body_field(name) {
            offer(&slot, content.trim().as_bytes(), visit);
        }
        for (at, _) in inside.match_indices('=') {
            let (before, behind) = inside.split_at(at);
            let name = before
                .trim_end()
                .rsplit([' ', '\t', '\r', '\n', ':'])
                .next()
                .unwrap_or_default();
            if let Some(slot) = table.body_field(name) {
                let value = behind.trim_start_matches(['=', ' ']);
                let quote = value
                    .chars()
                    .next()
                    .filter(|first| matches!(first, '"' | '\''));
                let value = match quote {
                    Some(quote) => value.trim_start_matches(quote).split(quote).next(),
                    None => value.split(' ').next(),
                };
                offer(&slot, value.unwrap_or_default().as_bytes(), visit);
            }
        }
    }
}

/// Every name, in any quotes or none, that a colon follows.
fn names_before_colons(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(':').map(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().trim_end();
        let before = before.trim_end_matches(['"', '\'', '`']);
        before
            .rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .next()
            .unwrap_or_default()
    })
}
