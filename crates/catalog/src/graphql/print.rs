//! A document's tree as text: the one spelling in which it is sent. No white space but where names
//! would run together, strings with every special character escaped.

use std::fmt::Write as _;

use super::document::{Directive, Kind, Selected, Selection, Value};

/// The text of the operation that runs, and of the fragments that it uses.
pub(crate) fn print(selected: &Selected) -> String {
    let mut text = String::new();
    let operation = &selected.operation;
    text.push_str(match operation.kind {
        Kind::Query => "query",
        Kind::Mutation => "mutation",
        Kind::Subscription => "subscription",
    });
    if let Some(name) = &operation.name {
        text.push(' ');
        text.push_str(name);
    }
    for (index, variable) in operation.variables.iter().enumerate() {
        text.push(if index == 0 { '(' } else { ',' });
        text.push('$');
        text.push_str(&variable.name);
        text.push(':');
        text.push_str(&variable.ty);
        if let Some(default) = &variable.default {
            text.push('=');
            value(default, &mut text);
        }
        directives(&variable.directives, &mut text);
    }
    if !operation.variables.is_empty() {
        text.push(')');
    }
    directives(&operation.directives, &mut text);
    selection(&operation.selection, &mut text);
    for (name, fragment) in &selected.fragments {
        text.push_str(" fragment ");
        text.push_str(name);
        text.push_str(" on ");
        text.push_str(&fragment.on);
        directives(&fragment.directives, &mut text);
        selection(&fragment.selection, &mut text);
    }
    text
}

fn selection(selections: &[Selection], text: &mut String) {
    text.push('{');
    for (index, it) in selections.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        match it {
            Selection::Field(field) => {
                if let Some(alias) = &field.alias {
                    text.push_str(alias);
                    text.push(':');
                }
                text.push_str(&field.name);
                arguments(&field.arguments, text);
                directives(&field.directives, text);
                if !field.selection.is_empty() {
                    selection(&field.selection, text);
                }
            }
            Selection::Spread {
                name,
                directives: on_spread,
            } => {
                text.push_str("...");
                text.push_str(name);
                directives(on_spread, text);
            }
            Selection::Inline {
                on,
                directives: on_fragment,
                selection: below,
            } => {
                text.push_str("...");
                if let Some(on) = on {
                    text.push_str(" on ");
                    text.push_str(on);
                }
                directives(on_fragment, text);
                selection(below, text);
            }
        }
    }
    text.push('}');
}

fn directives(all: &[Directive], text: &mut String) {
    for directive in all {
        text.push_str(" @");
        text.push_str(&directive.name);
        arguments(&directive.arguments, text);
    }
}

fn arguments(all: &[(String, Value)], text: &mut String) {
    for (index, (name, it)) in all.iter().enumerate() {
        text.push(if index == 0 { '(' } else { ',' });
        text.push_str(name);
        text.push(':');
        value(it, text);
    }
    if !all.is_empty() {
        text.push(')');
    }
}

fn value(it: &Value, text: &mut String) {
    match it {
        Value::Variable(name) => {
            text.push('$');
            text.push_str(name);
        }
        Value::String(string) => quoted(string, text),
        Value::Number(number) => text.push_str(number.trim()),
        Value::Boolean(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
        Value::Null => text.push_str("null"),
        Value::Enum(name) => text.push_str(name),
        Value::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                value(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(name);
                text.push(':');
                value(member, text);
            }
            text.push('}');
        }
    }
}

/// Everything but printable ASCII goes as `\uXXXX`, above the basic plane as a surrogate pair: the
/// form that every edition of the specification and every server reads.
fn quoted(string: &str, text: &mut String) {
    text.push('"');
    for unit in string.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'"') => text.push_str("\\\""),
            Ok(b'\\') => text.push_str("\\\\"),
            Ok(byte @ b' '..=b'~') => text.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.push('"');
}
