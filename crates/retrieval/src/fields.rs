//! Reading a JSON body field by field, as liberal as the API's clients need and no more: what is required
//! and missing is told in the shape that they know (`{"detail": [...]}`, status 422), what is optional may
//! be absent, null or of a neighbouring type.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::message::Answer;

/// The longest name, path or identity that is kept, in bytes; longer ones are refused.
const LONGEST_NAME: usize = 4096;

/// A body, and what is wrong with it so far.
pub(crate) struct Body {
    object: Map<String, Value>,
    faults: Vec<Value>,
}

impl Body {
    /// Parses a body. Nesting deeper than 128 is refused by the parser.
    ///
    /// # Errors
    /// The answer that says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Answer> {
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

    /// The objects of a list; an absent list has none.
    pub(crate) fn objects(&mut self, name: &str) -> Vec<Map<String, Value>> {
        match self.object.get_mut(name).map(Value::take) {
            Some(Value::Array(items)) => items
                .into_iter()
                .filter_map(|item| match item {
                    Value::Object(object) => Some(object),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
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

/// The texts of a list; a single text is a list of one.
pub(crate) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(text).take(10_000).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
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
