//! A pack's judgements, read from its data files: what mutations are, which arguments raise that,
//! which queries and fields are more than plain reads, what arguments name. The files explain
//! themselves at their top; the tests read every row.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};
use tagout_core::{Effect, Flags, Scope};

/// All tables of a pack.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) mutations: HashMap<&'static str, Mutation>,
    rules: HashMap<&'static str, Vec<Rule>>,
    queries: HashMap<&'static str, Query>,
    /// By the argument's name; `None` where it names nothing that has an environment.
    kinds: HashMap<&'static str, Option<&'static str>>,
    secrets: HashSet<(&'static str, &'static str)>,
    identity: HashSet<(&'static str, &'static str)>,
}

/// The texts of a pack's tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableTexts {
    pub(crate) mutations: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) queries: &'static str,
    pub(crate) kinds: &'static str,
    pub(crate) secrets: &'static str,
    pub(crate) identity: &'static str,
}

/// A row of `mutations.tsv`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutation {
    pub(crate) effect: Effect,
    pub(crate) flags: Flags,
    pub(crate) scope: Scope,
    pub(crate) id_kind: Option<&'static str>,
    reach: Reach,
}

/// Whether an environment among the arguments confines the operation. Ordered: what is later reaches
/// further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// It does.
    Own,
    /// Only if it is a fork of another environment.
    Fork,
    /// It does not.
    Never,
}

/// What a query's root field makes of a selection that reaches identity alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// `account`.
    Names,
    /// `account`, unless the selection goes on to something that lives in a project.
    Public,
    /// `resources`.
    Resources,
}

#[derive(Clone, Copy, Debug)]
struct Query {
    baseline: Baseline,
    id_kind: Option<&'static str>,
}

/// A row of `arguments.tsv`.
#[derive(Debug)]
struct Rule {
    path: Vec<&'static str>,
    when: When,
    effect: Option<Effect>,
    flags: Flags,
    reach: Option<Reach>,
}

#[derive(Debug)]
enum When {
    Given,
    Missing,
    True,
    Not(Vec<&'static str>),
    NotPositive,
    Removes,
}

/// A mutation with its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judgement {
    pub(crate) effect: Effect,
    pub(crate) flags: Flags,
    pub(crate) scope: Scope,
    pub(crate) reach: Reach,
}

impl Tables {
    /// Reads a pack's own data: a row that cannot be read is a mistake in the program.
    pub(crate) fn read(texts: TableTexts) -> Self {
        let mut rules: HashMap<_, Vec<Rule>> = HashMap::new();
        for [mutation, path, when, effect, flags, reach, _] in rows(texts.arguments) {
            rules.entry(mutation).or_default().push(Rule {
                path: path.split('.').collect(),
                when: When::read(when),
                effect: optional(effect).map(effect_of),
                flags: flags_of(flags),
                reach: optional(reach).map(Reach::read),
            });
        }
        Self {
            mutations: rows(texts.mutations)
                .map(|[name, effect, flags, scope, id, reach, _]| {
                    let mutation = Mutation {
                        effect: effect_of(effect),
                        flags: flags_of(flags),
                        scope: match scope {
                            "account" => Scope::Account,
                            "resources" => Scope::Resources,
                            other => panic!("no scope: {other}"),
                        },
                        id_kind: optional(id),
                        reach: Reach::read(reach),
                    };
                    (name, mutation)
                })
                .collect(),
            rules,
            queries: rows(texts.queries)
                .map(|[name, scope, id]| {
                    let baseline = match scope {
                        "names" => Baseline::Names,
                        "public" => Baseline::Public,
                        "resources" => Baseline::Resources,
                        other => panic!("no scope of a query: {other}"),
                    };
                    let id_kind = optional(id);
                    (name, Query { baseline, id_kind })
                })
                .collect(),
            kinds: rows(texts.kinds)
                .map(|[name, kind]| (name, optional(kind)))
                .collect(),
            secrets: rows(texts.secrets)
                .map(|[on, field, _]| (on, field))
                .collect(),
            identity: rows(texts.identity)
                .map(|[on, field]| (on, field))
                .collect(),
        }
    }

    /// What the mutation is with these arguments; `None` for one that no row knows.
    pub(crate) fn judge(&self, name: &str, arguments: &Map<String, Json>) -> Option<Judgement> {
        let mutation = self.mutations.get(name)?;
        let mut judgement = Judgement {
            effect: mutation.effect,
            flags: mutation.flags,
            scope: mutation.scope,
            reach: mutation.reach,
        };
        for rule in self.rules.get(name).into_iter().flatten() {
            if rule.when.holds(at(arguments, &rule.path)) {
                judgement.effect = judgement.effect.max(rule.effect.unwrap_or(Effect::Read));
                judgement.flags = judgement.flags.union(rule.flags);
                judgement.reach = judgement.reach.max(rule.reach.unwrap_or(Reach::Own));
            }
        }
        Some(judgement)
    }

    /// What a query's root field makes of identity.
    pub(crate) fn baseline(&self, query: &str) -> Baseline {
        self.queries
            .get(query)
            .map_or(Baseline::Resources, |query| query.baseline)
    }

    /// What kind of thing the argument `id` of a root field names.
    pub(crate) fn id_kind(&self, root: &str, is_mutation: bool) -> Option<&'static str> {
        if is_mutation {
            self.mutations.get(root)?.id_kind
        } else {
            self.queries.get(root)?.id_kind
        }
    }

    /// What kind of thing an argument of that name names: `None` when no row knows the name,
    /// `Some(None)` when it names nothing that has an environment.
    pub(crate) fn kind(&self, argument: &str) -> Option<Option<&'static str>> {
        self.kinds.get(argument).copied()
    }

    /// Whether a field's value is a secret.
    pub(crate) fn is_secret(&self, on: &str, field: &str) -> bool {
        self.secrets.contains(&(on, field))
    }

    /// Whether a field is identity, a name or an id.
    pub(crate) fn is_identity(&self, on: &str, field: &str) -> bool {
        self.identity.contains(&(on, field))
    }
}

/// The argument at `path`; `Err` where something on the way is no object and so cannot be evaluated.
fn at<'a>(arguments: &'a Map<String, Json>, path: &[&str]) -> Result<Option<&'a Json>, ()> {
    let (Some(first), rest) = (path.first(), path.get(1..).unwrap_or_default()) else {
        return Err(());
    };
    let mut value = arguments.get(*first);
    for key in rest {
        value = match value {
            None | Some(Json::Null) => None,
            Some(Json::Object(members)) => members.get(*key),
            Some(_) => return Err(()),
        };
    }
    Ok(value)
}

impl When {
    fn read(text: &'static str) -> Self {
        match text.split_once(' ') {
            Some(("not", "positive")) => Self::NotPositive,
            Some(("not", values)) => Self::Not(values.split(',').collect()),
            _ => match text {
                "given" => Self::Given,
                "missing" => Self::Missing,
                "true" => Self::True,
                "removes" => Self::Removes,
                other => panic!("no condition: {other}"),
            },
        }
    }

    fn holds(&self, value: Result<Option<&Json>, ()>) -> bool {
        let Ok(value) = value else {
            return true;
        };
        let given = value.filter(|value| !value.is_null());
        match self {
            Self::Given => given.is_some(),
            Self::Missing => given.is_none(),
            Self::True => given.is_some_and(|value| *value != Json::Bool(false)),
            Self::Not(values) => given.is_some_and(|value| {
                let text = match value {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                };
                !values.contains(&text.as_str())
            }),
            Self::NotPositive => {
                given.is_some_and(|value| value.as_f64().is_none_or(|number| number <= 0.0))
            }
            // The document itself being null is for `missing` to judge.
            Self::Removes => given.is_some_and(removes),
        }
    }
}

/// Whether an opaque document deletes something: a null takes an entry away, `isDeleted` says so. A
/// document that is no object or list is not one that the provider defines.
fn removes(document: &Json) -> bool {
    fn inside(value: &Json) -> bool {
        match value {
            Json::Null => true,
            Json::Array(items) => items.iter().any(inside),
            Json::Object(members) => members.iter().any(|(name, member)| {
                let says_deleted = name.eq_ignore_ascii_case("isDeleted")
                    || name.eq_ignore_ascii_case("is_deleted");
                match says_deleted {
                    true => *member != Json::Bool(false),
                    false => inside(member),
                }
            }),
            _ => false,
        }
    }
    !(document.is_object() || document.is_array()) || inside(document)
}

impl Reach {
    fn read(word: &str) -> Self {
        match word {
            "own" => Self::Own,
            "fork" => Self::Fork,
            "never" => Self::Never,
            other => panic!("no reach: {other}"),
        }
    }
}

fn effect_of(word: &str) -> Effect {
    word.parse()
        .unwrap_or_else(|()| panic!("no effect: {word}"))
}

fn flags_of(words: &'static str) -> Flags {
    optional(words)
        .into_iter()
        .flat_map(|words| words.split(','))
        .map(|word| word.parse().unwrap_or_else(|()| panic!("no flag: {word}")))
        .collect()
}

fn optional(word: &'static str) -> Option<&'static str> {
    (word != "-").then_some(word)
}

/// The rows of a table: `N` columns behind tabs; lines that begin with `#` are comments.
fn rows<const N: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let columns: Vec<&'static str> = line.split('\t').collect();
            columns
                .try_into()
                .unwrap_or_else(|_| panic!("not {N} columns: {line}"))
        })
}

#[cfg(test)]
mod tests;
