//! Reading a JSON body field by field, as liberal as the API's clients need and no more: what is required
//! and missing is told in the shape that they know (`{"detail": [...]}`, status 422), what is optional may
//! be absent, null or of a neighbouring type.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::message::Answer;

/// The longest name, path or identity that is kept, in bytes; longer ones are refused.
pub(crate) const LONGEST_NAME: usize = 4096;
/// Texts of a list.
const MOST_TEXTS: usize = 10_000;
/// Values of a JSON body. Each takes far more memory parsed than the two bytes that it may have on the wire.
pub(crate) const MOST_VALUES: usize = 200_000;

/// A body, and what is wrong with it so far.
pub(crate) struct Body {
    object: Map<String, Value>,
    faults: Vec<Value>,
}

impl Body {
    /// Parses a body. Nesting deeper than 128 is refused by the parser, more than [`MOST_VALUES`] before it.
    ///
    /// # Errors
    /// The answer that says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Answer> {
        if values(bytes) > MOST_VALUES {
            return Err(refuse(vec![fault(
                "too_long",
                &[],
                "the body should have at most 200000 values; send smaller batches",
            )]));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self {
                object,
                faults: Vec::new(),
            }),
            Ok(_) => Err(refuse(vec![fault(
                "model_attributes_type",
                &[],
                "Input should be a valid dictionary or object to extract fields from",
            )])),
            Err(error) => Err(refuse(vec![fault(
                "json_invalid",
                &[],
                &format!(
                    "JSON decode error at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )])),
        }
    }

    /// A text that has to be there; it may be empty.
    pub(crate) fn required(&mut self, name: &str) -> String {
        match self.object.get(name) {
            None => self.missing(&[name]),
            Some(Value::String(text)) if text.len() > LONGEST_NAME => self.faults.push(fault(
                "string_too_long",
                &[name],
                "String should have at most 4096 bytes",
            )),
            Some(Value::String(text)) if text.contains('\0') => self.faults.push(fault(
                "string_type",
                &[name],
                "Input should be a text without NUL",
            )),
            Some(Value::String(text)) => return text.clone(),
            Some(_) => self.faults.push(fault(
                "string_type",
                &[name],
                "Input should be a valid string",
            )),
        }
        String::new()
    }

    /// A text of any length that has to be there.
    pub(crate) fn required_text(&mut self, name: &str) -> String {
        match self.object.get(name) {
            None => self.missing(&[name]),
            Some(Value::String(text)) => return text.clone(),
            Some(_) => self.faults.push(fault(
                "string_type",
                &[name],
                "Input should be a valid string",
            )),
        }
        String::new()
    }

    /// An object that has to have these members.
    pub(crate) fn required_object(&mut self, name: &str, members: &[&str]) -> Map<String, Value> {
        match self.object.get(name) {
            None => self.missing(&[name]),
            Some(Value::Object(object)) => {
                let object = object.clone();
                for member in members {
                    if !object.contains_key(*member) {
                        self.missing(&[name, member]);
                    }
                }
                return object;
            }
            Some(_) => self.faults.push(fault(
                "model_type",
                &[name],
                "Input should be a valid dictionary",
            )),
        }
        Map::new()
    }

    /// A truth value that has to be there; null counts as false.
    pub(crate) fn required_bool(&mut self, name: &str) -> bool {
        if !self.object.contains_key(name) {
            self.missing(&[name]);
        }
        self.optional_bool(name)
    }

    /// A text that may be absent.
    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        text(self.object.get(name)?)
    }

    /// A truth value that may be absent.
    pub(crate) fn optional_bool(&self, name: &str) -> bool {
        match self.object.get(name) {
            Some(Value::Bool(truth)) => *truth,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            _ => false,
        }
    }

    /// The objects of a list; an absent list has none. Whatever else stands there is a fault: an item that was
    /// left out would move all after it.
    pub(crate) fn objects(&mut self, name: &str) -> Vec<Map<String, Value>> {
        let items = match self.object.get_mut(name).map(Value::take) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.faults
                    .push(fault("list_type", &[name], "Input should be a valid list"));
                return Vec::new();
            }
        };
        let mut objects = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::Object(object) => objects.push(object),
                _ => self.faults.push(fault(
                    "model_type",
                    &[name, &at.to_string()],
                    "Input should be a valid dictionary",
                )),
            }
        }
        objects
    }

    /// Who may read a document; see [`texts`].
    pub(crate) fn readers(&mut self, list: &str, at: usize, value: Option<&Value>) -> Vec<String> {
        texts(value).unwrap_or_else(|Unreadable| {
            self.faults.push(fault(
                "list_type",
                &[list, &at.to_string(), "authorized_identities"],
                "Input should be a list of texts",
            ));
            Vec::new()
        })
    }

    /// Any member.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Refuses every member that is not named here.
    pub(crate) fn only(&mut self, names: &[&str]) {
        let unknown: Vec<String> = self
            .object
            .keys()
            .filter(|key| !names.contains(&key.as_str()))
            .cloned()
            .collect();
        for name in unknown {
            self.faults.push(fault(
                "extra_forbidden",
                &[&name],
                "Extra inputs are not permitted",
            ));
        }
    }

    /// The rest of the object, once nothing is wrong with it.
    ///
    /// # Errors
    /// The answer with everything that is.
    pub(crate) fn check(&mut self) -> Result<(), Answer> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(refuse(std::mem::take(&mut self.faults)))
    }

    /// Everything that was sent and is not text of a document, to be kept.
    pub(crate) fn into_object(self) -> Map<String, Value> {
        self.object
    }

    fn missing(&mut self, path: &[&str]) {
        self.faults.push(fault("missing", path, "Field required"));
    }
}

/// How many values a JSON text has at the most: those that begin with a bracket or follow a separator, outside of
/// strings. Whether it is JSON is for the parser to say.
pub(crate) fn values(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'[' | b'{' | b',' | b':' => count += 1,
            b'"' => {
                while let Some(byte) = rest.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(rest.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    count
}

/// A value as a text, where it can be one.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A member as a text, cut to what is kept of names; empty where there is none.
pub(crate) fn name(object: &Map<String, Value>, member: &str) -> String {
    let mut name = object.get(member).and_then(text).unwrap_or_default();
    let mut end = LONGEST_NAME.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// A member as a number; texts of digits count.
pub(crate) fn number(object: &Map<String, Value>, member: &str) -> u64 {
    match object.get(member) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0).min(1 << 53),
        Some(Value::String(text)) => text.trim().parse::<u64>().unwrap_or(0).min(1 << 53),
        _ => 0,
    }
}

/// A list of texts that is none, or too long a one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The texts of a list; a single text is a list of one. Only what is absent, null or `[]` is empty: a list that
/// names somebody in a form that is not known must not read as one that names nobody.
///
/// # Errors
/// When it is anything else, or has more than 10,000 items.
pub(crate) fn texts(value: Option<&Value>) -> Result<Vec<String>, Unreadable> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MOST_TEXTS => items
            .iter()
            .map(|item| text(item).ok_or(Unreadable))
            .collect(),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(_) => Err(Unreadable),
    }
}

fn fault(kind: &str, path: &[&str], message: &str) -> Value {
    let place: Vec<&str> = std::iter::once("body")
        .chain(path.iter().copied())
        .collect();
    // The input is not repeated: it may hold what nobody should read in a log.
    json!({"type": kind, "loc": place, "msg": message, "input": {}})
}

fn refuse(faults: Vec<Value>) -> Answer {
    Answer::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({"detail": faults}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_nobody_is_an_empty_list() {
        for empty in [None, Some(Value::Null), Some(json!([]))] {
            assert_eq!(texts(empty.as_ref()), Ok(Vec::new()));
        }
        assert_eq!(texts(Some(&json!("ann"))), Ok(vec!["ann".to_owned()]));
        assert_eq!(
            texts(Some(&json!(["ann", 7]))),
            Ok(vec!["ann".to_owned(), "7".to_owned()])
        );
        for unknown in [
            json!({"ann": true}),
            json!([{"id": "ann"}]),
            json!(["ann", null]),
            json!([["ann"]]),
            json!(7),
            json!(false),
            json!(vec!["a"; MOST_TEXTS + 1]),
        ] {
            assert_eq!(texts(Some(&unknown)), Err(Unreadable), "{unknown}");
        }
    }

    #[test]
    fn values_are_counted_before_they_take_memory() {
        assert_eq!(values(br#"{"a":[1,2,{"b":"[,,\",:{"}]}"#), 7);
        assert!(values(&b"[],".repeat(MOST_VALUES)) > MOST_VALUES);
        assert_eq!(values(br#""[[[[[\"#), 0);
        assert!(
            Body::parse(format!("{{\"a\":[{}1]}}", "1,".repeat(MOST_VALUES)).as_bytes()).is_err()
        );
    }
}
