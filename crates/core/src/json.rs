//! JSON without second readings. Two parsers that disagree about a duplicate key or a huge integer
//! would let an agent show one request to Tagout and another to the provider, so such documents are
//! refused, and there is one canonical text (RFC 8785, JSON Canonicalization Scheme) that is both
//! digested and sent.

use std::fmt;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Objects keep the order in which their members came.
pub type Json = serde_json::Value;

/// Beyond this, doubles skip integers (RFC 8785 §3.2.2.3, ECMAScript's safe integers).
const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
#[error("not JSON that has exactly one meaning: {0}")]
pub struct JsonError(String);

/// Reads one JSON document.
///
/// # Errors
/// When it is not JSON in UTF-8, is nested deeper than 128, has a duplicate key, a lone surrogate,
/// an integer beyond 2^53, or anything but white space behind it.
pub fn parse(bytes: &[u8]) -> Result<Json, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            // serde_json's messages may quote the document; position and category do not.
            JsonError(match error.classify() {
                serde_json::error::Category::Data => error.to_string(),
                _ => format!("line {}, column {}", error.line(), error.column()),
            })
        })?;
    Ok(value)
}

/// The canonical text of a value (RFC 8785): members sorted by UTF-16 code units, no white space,
/// numbers as ECMAScript writes them.
pub fn canonical(value: &Json) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Json, text: &mut String) {
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(true) => text.push_str("true"),
        Json::Bool(false) => text.push_str("false"),
        Json::Number(number) => {
            // What most numbers are. ECMAScript writes an integer that it holds exactly by its digits.
            if let Some(integer) = number.as_u64().filter(|n| *n <= LARGEST_EXACT_INTEGER) {
                let _ = write!(text, "{integer}");
                return;
            }
            // A document that `parse` accepted has only numbers that a double holds exactly.
            let double = number.as_f64().unwrap_or(f64::NAN);
            text.push_str(ryu_js::Buffer::new().format(double));
        }
        Json::String(string) => write_string(string, text),
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // In ASCII the order of UTF-16 is that of the bytes.
            match members.iter().all(|(key, _)| key.is_ascii()) {
                true => members.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes())),
                false => {
                    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                }
            }
            text.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(key, text);
                text.push(':');
                write_canonical(member, text);
            }
            text.push('}');
        }
    }
}

/// RFC 8785 §3.2.2.2.
fn write_string(string: &str, text: &mut String) {
    text.push('"');
    let mut rest = string;
    // Whatever needs an escape is one byte long, so what lies between is copied as it is.
    while let Some(at) = rest
        .bytes()
        .position(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        let (plain, escaped) = rest.split_at(at);
        text.push_str(plain);
        let (character, behind) = escaped.split_at(1);
        match character {
            "\"" => text.push_str("\\\""),
            "\\" => text.push_str("\\\\"),
            "\u{8}" => text.push_str("\\b"),
            "\t" => text.push_str("\\t"),
            "\n" => text.push_str("\\n"),
            "\u{c}" => text.push_str("\\f"),
            "\r" => text.push_str("\\r"),
            control => {
                let _ = write!(text, "\\u{:04x}", control.as_bytes()[0]);
            }
        }
        rest = behind;
    }
    text.push_str(rest);
    text.push('"');
}

/// Builds a value while refusing what has two readings.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        if value > LARGEST_EXACT_INTEGER {
            return Err(E::custom("an integer beyond 2^53"));
        }
        Ok(Json::from(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Json, E> {
        if value.unsigned_abs() > LARGEST_EXACT_INTEGER {
            return Err(E::custom("an integer beyond 2^53"));
        }
        Ok(Json::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        // An integer too large for 64 bits arrives here, already rounded.
        if value.fract() == 0.0 && value.abs() > LARGEST_EXACT_INTEGER as f64 {
            return Err(E::custom("an integer beyond 2^53"));
        }
        Ok(Json::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(serde::de::Error::custom("a duplicate key"));
            }
            let value = map.next_value_seed(Strict)?;
            members.insert(key, value);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_second_readings() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            "9007199254740992",
            "-9007199254740992",
            "123456789012345678901234567890",
            r#""\ud800""#,
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "[1,]",
            "NaN",
            "1e999",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse("[".repeat(200_000).as_bytes()).is_err());
    }

    /// RFC 8785 §3.2.2 and §3.2.3.
    #[test]
    fn canonical_text_is_that_of_rfc_8785() {
        let text = r#"{"numbers":[333333333.33333329,1E6,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        assert_eq!(
            canonical(&parse(text.as_bytes()).unwrap()),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1000000,4.5,0.002,1e-27],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(
            canonical(&parse(text.as_bytes()).unwrap()),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    proptest! {
        #[test]
        fn canonical_text_is_a_fixed_point(text in r#"[\[\]{}":,a-c0-9.eE+\\u -]{0,60}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                let once = canonical(&value);
                let again = canonical(&parse(once.as_bytes()).unwrap());
                prop_assert_eq!(once, again);
            }
        }
    }
}
