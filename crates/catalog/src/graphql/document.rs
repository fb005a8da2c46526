//! A GraphQL document (GraphQL specification, October 2021, section 2) as a tree of our own. The
//! text is parsed once, here, with limits on depth and tokens; what is sent is printed from the tree,
//! so that the server cannot read the text differently.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use apollo_parser::Parser;
use apollo_parser::cst::{self, CstNode};

/// Nesting of selections, and of values, that is read.
const DEEPEST: usize = 64;

/// Tokens that are read, white space and commas included.
const MOST_TOKENS: usize = 20_000;

/// Why a text is no document that could be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("the GraphQL document is not well-formed, or is too large or too deep")]
    Syntax,
    #[error("the GraphQL document defines types; only operations and fragments are executed")]
    NotExecutable,
    #[error("the GraphQL document defines `{0}` twice")]
    Duplicate(String),
    #[error("the GraphQL document has {0} operations, and the request does not name one of them")]
    NoOperation(usize),
    #[error("the GraphQL document uses the fragment `{0}`, which it does not define")]
    UnknownFragment(String),
    #[error("the GraphQL document's fragment `{0}` contains itself")]
    Cycle(String),
}

/// A whole document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) operations: Vec<OperationDefinition>,
    pub(crate) fragments: BTreeMap<String, Fragment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Mutation,
    Subscription,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OperationDefinition {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) variables: Vec<VariableDefinition>,
    pub(crate) directives: Vec<Directive>,
    pub(crate) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VariableDefinition {
    pub(crate) name: String,
    /// In GraphQL's notation, without white space.
    pub(crate) ty: String,
    pub(crate) default: Option<Value>,
    pub(crate) directives: Vec<Directive>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fragment {
    pub(crate) on: String,
    pub(crate) directives: Vec<Directive>,
    pub(crate) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Selection {
    Field(Field),
    Spread {
        name: String,
        directives: Vec<Directive>,
    },
    Inline {
        on: Option<String>,
        directives: Vec<Directive>,
        selection: Vec<Selection>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) alias: Option<String>,
    pub(crate) name: String,
    pub(crate) arguments: Vec<(String, Value)>,
    pub(crate) directives: Vec<Directive>,
    /// Empty where the field has no selection: an empty pair of braces is no GraphQL.
    pub(crate) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Directive {
    pub(crate) name: String,
    pub(crate) arguments: Vec<(String, Value)>,
}

/// A literal, or a variable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Variable(String),
    String(String),
    /// An integer or float as it is written.
    Number(String),
    Boolean(bool),
    Null,
    Enum(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Document {
    /// Reads a document.
    pub(crate) fn parse(text: &str) -> Result<Self, DocumentError> {
        // The parser is foreign code on an attacker's bytes: its panic is a refusal, not ours.
        catch_unwind(|| Self::parse_or_panic(text)).unwrap_or(Err(DocumentError::Syntax))
    }

    fn parse_or_panic(text: &str) -> Result<Self, DocumentError> {
        let tree = Parser::new(text)
            .recursion_limit(DEEPEST)
            .token_limit(MOST_TOKENS)
            .parse();
        if tree.errors().len() > 0 {
            return Err(DocumentError::Syntax);
        }
        let mut document = Self {
            operations: Vec::new(),
            fragments: BTreeMap::new(),
        };
        for definition in tree.document().definitions() {
            match definition {
                cst::Definition::OperationDefinition(it) => {
                    document.operations.push(operation(&it)?);
                }
                cst::Definition::FragmentDefinition(it) => {
                    let name = name(it.fragment_name().and_then(|it| it.name()))?;
                    let fragment = Fragment {
                        on: condition(it.type_condition())?.ok_or(DocumentError::Syntax)?,
                        directives: directives(it.directives())?,
                        selection: selection(it.selection_set())?,
                    };
                    if document.fragments.insert(name.clone(), fragment).is_some() {
                        return Err(DocumentError::Duplicate(name));
                    }
                }
                _ => return Err(DocumentError::NotExecutable),
            }
        }
        Ok(document)
    }

    /// The one operation that runs, with the fragments that it uses: what else the document holds is
    /// dropped. `name` is the request's `operationName`.
    pub(crate) fn select(mut self, name: Option<&str>) -> Result<Selected, DocumentError> {
        let count = self.operations.len();
        let mut wanted = self
            .operations
            .drain(..)
            .filter(|operation| match name {
                None => count == 1,
                Some(name) => operation.name.as_deref() == Some(name),
            })
            .collect::<Vec<_>>();
        let operation = match (wanted.pop(), wanted.pop()) {
            (Some(operation), None) => operation,
            (Some(operation), Some(_)) => {
                return Err(DocumentError::Duplicate(operation.name.unwrap_or_default()));
            }
            _ => return Err(DocumentError::NoOperation(count)),
        };
        let mut used = BTreeMap::new();
        let mut open = Vec::new();
        keep_used(&operation.selection, &self.fragments, &mut used, &mut open)?;
        Ok(Selected {
            operation,
            fragments: used,
        })
    }
}

/// The operation that runs, and the fragments that it uses, none of which contains itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selected {
    pub(crate) operation: OperationDefinition,
    pub(crate) fragments: BTreeMap<String, Fragment>,
}

/// Moves what `selection` uses into `used`; `open` holds the fragments that are being walked. Each
/// fragment is walked once, so the work is bounded by the document's size.
fn keep_used(
    selection: &[Selection],
    all: &BTreeMap<String, Fragment>,
    used: &mut BTreeMap<String, Fragment>,
    open: &mut Vec<String>,
) -> Result<(), DocumentError> {
    for selection in selection {
        match selection {
            Selection::Field(field) => keep_used(&field.selection, all, used, open)?,
            Selection::Inline { selection, .. } => keep_used(selection, all, used, open)?,
            Selection::Spread { name, .. } => {
                if open.contains(name) {
                    return Err(DocumentError::Cycle(name.clone()));
                }
                if used.contains_key(name) {
                    continue;
                }
                // A chain of fragments is followed on the stack.
                if open.len() >= DEEPEST {
                    return Err(DocumentError::Syntax);
                }
                let fragment = all
                    .get(name)
                    .ok_or_else(|| DocumentError::UnknownFragment(name.clone()))?;
                open.push(name.clone());
                keep_used(&fragment.selection, all, used, open)?;
                open.pop();
                used.insert(name.clone(), fragment.clone());
            }
        }
    }
    Ok(())
}

fn operation(it: &cst::OperationDefinition) -> Result<OperationDefinition, DocumentError> {
    let kind = match it.operation_type() {
        None => Kind::Query,
        Some(kind) if kind.mutation_token().is_some() => Kind::Mutation,
        Some(kind) if kind.subscription_token().is_some() => Kind::Subscription,
        Some(kind) if kind.query_token().is_some() => Kind::Query,
        Some(_) => return Err(DocumentError::Syntax),
    };
    let mut variables: Vec<VariableDefinition> = Vec::new();
    for definition in it
        .variable_definitions()
        .iter()
        .flat_map(cst::VariableDefinitions::variable_definitions)
    {
        let name = name(definition.variable().and_then(|it| it.name()))?;
        if variables.iter().any(|it| it.name == name) {
            return Err(DocumentError::Duplicate(name));
        }
        let default = match definition.default_value() {
            Some(default) => Some(value(default.value())?),
            None => None,
        };
        variables.push(VariableDefinition {
            name,
            ty: ty(&definition.ty().ok_or(DocumentError::Syntax)?)?,
            default,
            directives: directives(definition.directives())?,
        });
    }
    Ok(OperationDefinition {
        kind,
        name: match it.name() {
            Some(it) => Some(name(Some(it))?),
            None => None,
        },
        variables,
        directives: directives(it.directives())?,
        selection: selection(it.selection_set())?,
    })
}

fn selection(set: Option<cst::SelectionSet>) -> Result<Vec<Selection>, DocumentError> {
    let set = set.ok_or(DocumentError::Syntax)?;
    let mut selections = Vec::new();
    for it in set.selections() {
        selections.push(match it {
            cst::Selection::Field(it) => Selection::Field(Field {
                alias: match it.alias() {
                    Some(alias) => Some(name(alias.name())?),
                    None => None,
                },
                name: name(it.name())?,
                arguments: arguments(it.arguments())?,
                directives: directives(it.directives())?,
                selection: match it.selection_set() {
                    Some(set) => selection(Some(set))?,
                    None => Vec::new(),
                },
            }),
            cst::Selection::FragmentSpread(it) => Selection::Spread {
                name: name(it.fragment_name().and_then(|it| it.name()))?,
                directives: directives(it.directives())?,
            },
            cst::Selection::InlineFragment(it) => Selection::Inline {
                on: condition(it.type_condition())?,
                directives: directives(it.directives())?,
                selection: selection(it.selection_set())?,
            },
        });
    }
    match selections.is_empty() {
        true => Err(DocumentError::Syntax),
        false => Ok(selections),
    }
}

fn condition(it: Option<cst::TypeCondition>) -> Result<Option<String>, DocumentError> {
    match it {
        Some(it) => Ok(Some(name(it.named_type().and_then(|it| it.name()))?)),
        None => Ok(None),
    }
}

fn directives(it: Option<cst::Directives>) -> Result<Vec<Directive>, DocumentError> {
    it.iter()
        .flat_map(cst::Directives::directives)
        .map(|it| {
            Ok(Directive {
                name: name(it.name())?,
                arguments: arguments(it.arguments())?,
            })
        })
        .collect()
}

fn arguments(it: Option<cst::Arguments>) -> Result<Vec<(String, Value)>, DocumentError> {
    let mut arguments: Vec<(String, Value)> = Vec::new();
    for it in it.iter().flat_map(cst::Arguments::arguments) {
        let name = name(it.name())?;
        if arguments.iter().any(|(other, _)| *other == name) {
            return Err(DocumentError::Duplicate(name));
        }
        arguments.push((name, value(it.value())?));
    }
    Ok(arguments)
}

fn value(it: Option<cst::Value>) -> Result<Value, DocumentError> {
    Ok(match it.ok_or(DocumentError::Syntax)? {
        cst::Value::Variable(it) => Value::Variable(name(it.name())?),
        cst::Value::StringValue(it) => Value::String(String::from(it)),
        cst::Value::IntValue(it) => Value::Number(it.syntax().text().to_string()),
        cst::Value::FloatValue(it) => Value::Number(it.syntax().text().to_string()),
        cst::Value::BooleanValue(it) => Value::Boolean(it.true_token().is_some()),
        cst::Value::NullValue(_) => Value::Null,
        cst::Value::EnumValue(it) => Value::Enum(name(it.name())?),
        cst::Value::ListValue(it) => Value::List(
            it.values()
                .map(|it| value(Some(it)))
                .collect::<Result<_, _>>()?,
        ),
        cst::Value::ObjectValue(it) => {
            let mut members: Vec<(String, Value)> = Vec::new();
            for it in it.object_fields() {
                let name = name(it.name())?;
                if members.iter().any(|(other, _)| *other == name) {
                    return Err(DocumentError::Duplicate(name));
                }
                members.push((name, value(it.value())?));
            }
            Value::Object(members)
        }
    })
}

fn ty(it: &cst::Type) -> Result<String, DocumentError> {
    let named = |it: &cst::NamedType| name(it.name());
    let list = |it: &cst::ListType| -> Result<String, DocumentError> {
        Ok(format!("[{}]", ty(&it.ty().ok_or(DocumentError::Syntax)?)?))
    };
    match it {
        cst::Type::NamedType(it) => named(it),
        cst::Type::ListType(it) => list(it),
        cst::Type::NonNullType(it) => match (it.named_type(), it.list_type()) {
            (Some(it), None) => Ok(format!("{}!", named(&it)?)),
            (None, Some(it)) => Ok(format!("{}!", list(&it)?)),
            _ => Err(DocumentError::Syntax),
        },
    }
}

/// Names are of GraphQL's grammar: `[_A-Za-z][_0-9A-Za-z]*`.
fn name(it: Option<cst::Name>) -> Result<String, DocumentError> {
    let name = it.ok_or(DocumentError::Syntax)?.text().to_string();
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    match bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit()) {
        true => Ok(name),
        false => Err(DocumentError::Syntax),
    }
}
