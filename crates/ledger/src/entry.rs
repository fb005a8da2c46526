//! One entry of a ledger: a line of canonical JSON (RFC 8785) with `seq`, `time`, `kind`, the links to
//! what stands before it, and fields of its own. The text that is written is the text that is hashed;
//! an entry whose text could be read in two ways is refused before it is written.

use serde::Deserialize;
use serde_json::{Map, json};
use tagout_core::json::{Json, canonical};
use tagout_core::{Digest, Timestamp};

use crate::LedgerError;

/// The longest entry, in bytes without its line feed: what fits the 16-bit length of a C2SP
/// `tlog-tiles` entry bundle.
pub const LARGEST_ENTRY: usize = 65_535;

/// The kind of a ledger's first entry, which carries its keys.
pub(crate) const START: &str = "start";
/// The kind of a ledger's last entry.
pub(crate) const END: &str = "end";

/// Member names that the ledger gives itself.
const OWN_NAMES: [&str; 6] = ["seq", "time", "kind", "prev", "checkpoint", "clock"];
/// Deeper documents would not be read back.
const DEEPEST: usize = 64;
/// Integers beyond this are not exact in JSON (RFC 8785 §3.2.2.3).
const LARGEST_EXACT_INTEGER: f64 = 9_007_199_254_740_991.0;

/// An entry as it was read from a ledger. Reading is not verifying.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry's number; the first has 0.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC, milliseconds. Never before the entry ahead of it.
    pub time: String,
    /// What it is about, such as `start`, `verdict`, `outcome`, `end`.
    pub kind: String,
    /// Its own fields, without the links between entries.
    pub fields: Map<String, Json>,
}

impl Entry {
    /// The shape of `tagout log --json`: `seq`, `time`, `kind`, then the entry's own fields.
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("seq".to_owned(), json!(self.seq));
        object.insert("time".to_owned(), json!(self.time));
        object.insert("kind".to_owned(), json!(self.kind));
        object.extend(self.fields.clone());
        Json::Object(object)
    }

    /// Reads one line; `None` when it is not an entry.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let Json::Object(mut fields) = serde_json::from_slice(line).ok()? else {
            return None;
        };
        let seq = fields.remove("seq")?.as_u64()?;
        let Json::String(time) = fields.remove("time")? else {
            return None;
        };
        let Json::String(kind) = fields.remove("kind")? else {
            return None;
        };
        fields.remove("prev");
        fields.remove("checkpoint");
        Some(Self {
            seq,
            time,
            kind,
            fields,
        })
    }
}

/// What `verify` needs of an entry; the rest is covered by its hash.
#[derive(Deserialize)]
pub(crate) struct Links<'a> {
    pub(crate) seq: u64,
    pub(crate) kind: &'a str,
    #[serde(default, borrow)]
    pub(crate) prev: Option<&'a str>,
    #[serde(default, borrow)]
    pub(crate) checkpoint: Option<&'a str>,
}

/// Fields that were found fit to be written: an object, no name of the ledger's own, every number
/// exact, not too deep.
pub(crate) struct Fields(Map<String, Json>);

impl Fields {
    pub(crate) fn new(kind: &str, fields: Json) -> Result<Self, LedgerError> {
        let refuse = |what: String| Err(LedgerError::Entry(what));
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return refuse("its kind is not lower-case letters and `_`".to_owned());
        }
        let fields = match fields {
            Json::Object(fields) => fields,
            Json::Null => Map::new(),
            _ => return refuse(format!("the fields of `{kind}` are not an object")),
        };
        if let Some(name) = OWN_NAMES.iter().find(|name| fields.contains_key(**name)) {
            return refuse(format!(
                "`{kind}` has a field `{name}`, which the ledger sets"
            ));
        }
        if !fields.values().all(|value| is_exact(value, DEEPEST)) {
            return refuse(format!(
                "`{kind}` holds a number that JSON cannot hold exactly, or is nested deeper than {DEEPEST}"
            ));
        }
        Ok(Self(fields))
    }
}

/// Where an entry stands: what the writer adds to its fields.
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    /// What the system's clock said, when that was before the entry ahead.
    pub(crate) clock: Option<Timestamp>,
    /// The leaf hash of the entry ahead.
    pub(crate) prev: Option<Digest>,
    /// The hash of the checkpoint right ahead, when one is.
    pub(crate) checkpoint: Option<Digest>,
}

/// The line of an entry, without its line feed.
pub(crate) fn encode(kind: &str, fields: Fields, place: &Place) -> Result<String, LedgerError> {
    let Fields(mut object) = fields;
    object.insert("seq".to_owned(), json!(place.seq));
    object.insert("time".to_owned(), json!(place.time.to_string()));
    object.insert("kind".to_owned(), json!(kind));
    if let Some(clock) = place.clock {
        object.insert("clock".to_owned(), json!(clock.to_string()));
    }
    if let Some(prev) = place.prev {
        object.insert("prev".to_owned(), json!(prev));
    }
    if let Some(checkpoint) = place.checkpoint {
        object.insert("checkpoint".to_owned(), json!(checkpoint));
    }
    let line = canonical(&Json::Object(object));
    if line.len() > LARGEST_ENTRY {
        return Err(LedgerError::Entry(format!(
            "`{kind}` has {} bytes, an entry has at most {LARGEST_ENTRY}",
            line.len()
        )));
    }
    Ok(line)
}

fn is_exact(value: &Json, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Json::Number(number) => number
            .as_f64()
            .is_some_and(|double| double.fract() != 0.0 || double.abs() <= LARGEST_EXACT_INTEGER),
        Json::Array(items) => items.iter().all(|item| is_exact(item, below)),
        Json::Object(members) => members.values().all(|member| is_exact(member, below)),
        Json::Null | Json::Bool(_) | Json::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> Place {
        Place {
            seq: 7,
            time: Timestamp::from_millis(1_776_988_800_123),
            clock: None,
            prev: Some(Digest::of(b"before")),
            checkpoint: None,
        }
    }

    #[test]
    fn an_entry_reads_back_without_its_links() {
        let fields = Fields::new("verdict", json!({"zebra": 1, "host": "a\nb"})).unwrap();
        let line = encode("verdict", fields, &place()).unwrap();
        assert!(!line.contains('\n') && line.starts_with('{'));
        let entry = Entry::parse(line.as_bytes()).unwrap();
        assert_eq!(
            entry.to_json().to_string(),
            r#"{"seq":7,"time":"2026-04-24T00:00:00.123Z","kind":"verdict","host":"a\nb","zebra":1}"#
        );
    }

    #[test]
    fn what_cannot_be_recorded_exactly_is_refused() {
        let deep = (0..DEEPEST).fold(json!(1), |inner, _| json!([inner]));
        for (kind, fields) in [
            ("verdict", json!({"seq": 1})),
            ("verdict", json!({"prev": ""})),
            ("verdict", json!({"inode": u64::MAX})),
            ("verdict", json!({"deep": deep})),
            ("verdict", json!([1])),
            ("", json!({})),
            ("two words", json!({})),
        ] {
            assert!(Fields::new(kind, fields).is_err(), "{kind}");
        }
        let long = Fields::new("verdict", json!({"body": "x".repeat(LARGEST_ENTRY)})).unwrap();
        assert!(encode("verdict", long, &place()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>(), name in "[a-z]{7,9}") {
            let fields = Fields::new("note", json!({&name: &text})).unwrap();
            let line = encode("note", fields, &place()).unwrap();
            prop_assert!(!line.contains('\n'));
            let entry = Entry::parse(line.as_bytes()).unwrap();
            prop_assert_eq!(entry.fields.get(&name), Some(&json!(text)));
            let links: Links = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(links.seq, 7);
        }
    }
}
