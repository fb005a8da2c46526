//! A provider's published GraphQL schema in the compact form that packs ship. A type's line is
//! `kind name` and, for unions and interfaces, the names of its possible types; below it, each behind
//! a tab, its fields: `name type` and the arguments `name:type` or `name:type=default`. Fields of
//! inputs may have a ` =default`; values of enums stand alone.

use std::collections::HashMap;

use super::document::Kind;

/// Types by name. Borrowed from the text.
#[derive(Debug)]
pub(crate) struct Schema {
    types: HashMap<&'static str, Type>,
}

#[derive(Debug, Default)]
pub(crate) struct Type {
    pub(crate) kind: TypeKind,
    /// Fields of an object, interface or input; values of an enum.
    pub(crate) fields: HashMap<&'static str, Field>,
    /// The types that a value of a union or interface may have.
    pub(crate) possible: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TypeKind {
    Object,
    Interface,
    Union,
    Input,
    Enum,
    #[default]
    Scalar,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// In GraphQL's notation: `[Project!]!`.
    pub(crate) ty: &'static str,
    pub(crate) arguments: Vec<Argument>,
    /// Of an input's field, as GraphQL.
    pub(crate) default: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) ty: &'static str,
    /// As GraphQL.
    pub(crate) default: Option<&'static str>,
}

/// The innermost name of a type: `Project` of `[Project!]!`.
pub(crate) fn named(ty: &str) -> &str {
    ty.trim_matches(|c| matches!(c, '[' | ']' | '!'))
}

impl Schema {
    /// Reads the compact form. A line that it does not understand is left out: what is not in the
    /// schema is unknown, which is the stricter reading.
    pub(crate) fn read(text: &'static str) -> Self {
        let mut types: HashMap<&'static str, Type> = HashMap::new();
        let mut current = "";
        for line in text.lines() {
            let mut words = line.trim_start_matches('\t').split(' ');
            let (Some(first), second) = (words.next(), words.next()) else {
                continue;
            };
            if line.starts_with('\t') {
                let Some(ty) = types.get_mut(current) else {
                    continue;
                };
                let mut field = Field {
                    ty: second.unwrap_or_default(),
                    arguments: Vec::new(),
                    default: None,
                };
                for word in words {
                    match (word.strip_prefix('='), word.split_once(':')) {
                        (Some(default), _) => field.default = Some(default),
                        (None, Some((name, rest))) => {
                            let (ty, default) = match rest.split_once('=') {
                                Some((ty, default)) => (ty, Some(default)),
                                None => (rest, None),
                            };
                            field.arguments.push(Argument { name, ty, default });
                        }
                        (None, None) => {}
                    }
                }
                ty.fields.insert(first, field);
            } else if let (Some(kind), Some(name)) = (TypeKind::read(first), second) {
                current = name;
                let ty = Type {
                    kind,
                    fields: HashMap::new(),
                    possible: words.collect(),
                };
                types.insert(name, ty);
            }
        }
        Self { types }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Every type.
    #[cfg(test)]
    pub(crate) fn types(&self) -> impl Iterator<Item = (&'static str, &Type)> {
        self.types.iter().map(|(name, ty)| (*name, ty))
    }

    /// A field of an object or interface, or of an input.
    pub(crate) fn field(&self, on: &str, name: &str) -> Option<&Field> {
        self.get(on)?.fields.get(name)
    }

    /// The name of the type that an operation starts from.
    pub(crate) fn root(kind: Kind) -> &'static str {
        match kind {
            Kind::Query => "Query",
            Kind::Mutation => "Mutation",
            Kind::Subscription => "Subscription",
        }
    }
}

impl TypeKind {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "object" => Self::Object,
            "interface" => Self::Interface,
            "union" => Self::Union,
            "input" => Self::Input,
            "enum" => Self::Enum,
            "scalar" => Self::Scalar,
            _ => return None,
        })
    }

    /// Whether values have fields that a selection names.
    pub(crate) fn is_composite(self) -> bool {
        matches!(self, Self::Object | Self::Interface | Self::Union)
    }
}
