//! The values of a field's arguments: variables put in, their defaults and the schema's applied
//! (GraphQL specification, October 2021, sections 6.1.2 and 6.4.1). An explicit null beats a default;
//! a variable that was not provided leaves the argument absent.

use serde_json::{Map, Value as Json};

use super::document::{Document, DocumentError, OperationDefinition, Selection, Value};
use super::schema::{Schema, TypeKind, named};

/// What each variable of an operation holds.
#[derive(Debug)]
pub(crate) struct Variables(Map<String, Json>);

impl Variables {
    /// `provided` as the request gives them. What the operation does not declare is ignored, as
    /// servers do.
    pub(crate) fn new(operation: &OperationDefinition, provided: &Map<String, Json>) -> Self {
        let mut values = Map::new();
        for definition in &operation.variables {
            let value = match provided.get(&definition.name) {
                Some(value) => Some(value.clone()),
                None => definition
                    .default
                    .as_ref()
                    .and_then(|default| evaluate(default, &Self(Map::new()))),
            };
            if let Some(value) = value {
                values.insert(definition.name.clone(), value);
            }
        }
        Self(values)
    }
}

/// The arguments of a field by name, with the schema's defaults.
pub(crate) fn arguments(
    given: &[(String, Value)],
    variables: &Variables,
    schema: &Schema,
    on: &str,
    field: &str,
) -> Map<String, Json> {
    let mut values = Map::new();
    for (name, value) in given {
        if let Some(value) = evaluate(value, variables) {
            values.insert(name.clone(), value);
        }
    }
    if let Some(field) = schema.field(on, field) {
        for argument in &field.arguments {
            if !values.contains_key(argument.name)
                && let Some(default) = argument.default.and_then(literal)
            {
                values.insert(argument.name.to_owned(), default);
            }
            if let Some(value) = values.get_mut(argument.name) {
                put_defaults(value, argument.ty, schema, 0);
            }
        }
    }
    values
}

/// Puts the defaults of input objects' fields in, at every depth.
fn put_defaults(value: &mut Json, ty: &str, schema: &Schema, depth: usize) {
    let Some(input) = schema.get(named(ty)) else {
        return;
    };
    if input.kind != TypeKind::Input || depth > 64 {
        return;
    }
    match value {
        Json::Array(items) => {
            for item in items {
                put_defaults(item, named(ty), schema, depth + 1);
            }
        }
        Json::Object(members) => {
            for (name, field) in &input.fields {
                match members.get_mut(*name) {
                    Some(member) => put_defaults(member, field.ty, schema, depth + 1),
                    None => {
                        if let Some(default) = field.default.and_then(literal) {
                            members.insert((*name).to_owned(), default);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

/// `None` for a variable that has no value.
fn evaluate(value: &Value, variables: &Variables) -> Option<Json> {
    Some(match value {
        Value::Variable(name) => return variables.0.get(name).cloned(),
        Value::String(text) | Value::Enum(text) => Json::from(text.as_str()),
        Value::Number(text) => number(text),
        Value::Boolean(boolean) => Json::from(*boolean),
        Value::Null => Json::Null,
        // In a list, a variable without a value is null (section 3.11).
        Value::List(items) => items
            .iter()
            .map(|item| evaluate(item, variables).unwrap_or(Json::Null))
            .collect(),
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, member)| Some((name.clone(), evaluate(member, variables)?)))
            .collect::<Map<_, _>>()
            .into(),
    })
}

/// A number too large for JSON's exact integers stays its text: nobody rounds it here.
fn number(text: &str) -> Json {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(integer), _) if integer.unsigned_abs() < 1 << 53 => Json::from(integer),
        (Err(_), Ok(float)) if float.is_finite() && text.contains(['.', 'e', 'E']) => {
            Json::from(float)
        }
        _ => Json::from(text),
    }
}

/// The value of a literal of the schema, which has no variables.
fn literal(text: &str) -> Option<Json> {
    let parsed: Result<Document, DocumentError> = Document::parse(&format!("{{a(b:{text})}}"));
    let document = parsed.ok()?;
    match document.operations.first()?.selection.first()? {
        Selection::Field(field) => {
            let (_, value) = field.arguments.first()?;
            evaluate(value, &Variables(Map::new()))
        }
        _ => None,
    }
}
