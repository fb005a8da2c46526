//! A plan in the words of each vector store. Stores know the fields that Pebblo's clients write: the
//! document's readers as `authorized_identities`, its labels as `pebblo_semantic_entities` and
//! `pebblo_semantic_topics`, its place as `full_path`.
//!
//! A filter only narrows what a store offers: labels in a store are as old as its index, so whoever uses a
//! filter asks `check` before anything is released.

use serde_json::{Value, json};
use tagout_policy::{Condition, Field, Plan};

/// The stores that a plan is written for.
pub(crate) const STORES: &[&str] = &["qdrant", "pinecone", "pgvector", "chroma", "weaviate"];

/// The plan as a client gets it.
pub(crate) fn plan_answer(plan: &Plan) -> Value {
    match plan {
        Plan::All => json!({"decision": "all", "exact": true, "filters": {}}),
        Plan::None => json!({"decision": "none", "exact": true, "filters": {}}),
        Plan::Some { condition, exact } => {
            let filters = STORES
                .iter()
                .map(|store| ((*store).to_owned(), filter(store, condition)))
                .collect();
            json!({"decision": "some", "exact": exact, "filters": Value::Object(filters)})
        }
    }
}

fn filter(store: &str, condition: &Condition) -> Value {
    let plain = Filter::of(condition, false);
    match store {
        "qdrant" => qdrant(&plain, "metadata"),
        "pinecone" => mongo(&plain, false),
        "chroma" => mongo(&plain, true),
        "weaviate" => weaviate(&plain),
        _ => {
            let mut parameters = Vec::new();
            let sql = pgvector(&plain, &mut parameters);
            json!({"where": sql, "parameters": parameters})
        }
    }
}

/// A condition without negation above its leaves: not every store can negate.
enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Has(&'static str, Vec<String>),
    HasNot(&'static str, Vec<String>),
    Empty(&'static str),
    NotEmpty(&'static str),
}

fn keys(field: Field) -> &'static [&'static str] {
    match field {
        Field::Labels => &["pebblo_semantic_entities", "pebblo_semantic_topics"],
        Field::Readers => &["authorized_identities"],
        Field::Source => &["full_path"],
    }
}

impl Filter {
    fn of(condition: &Condition, negated: bool) -> Self {
        let each = |list: &[Condition]| list.iter().map(|inner| Self::of(inner, negated)).collect();
        match (condition, negated) {
            (Condition::Constant(truth), _) if *truth != negated => Self::All(Vec::new()),
            (Condition::Constant(_), _) => Self::Any(Vec::new()),
            (Condition::Not(inner), _) => Self::of(inner, !negated),
            (Condition::And(list), false) | (Condition::Or(list), true) => Self::All(each(list)),
            (Condition::Or(list), false) | (Condition::And(list), true) => Self::Any(each(list)),
            (Condition::HasAny(field, values), _) => {
                let values: Vec<String> = values.iter().cloned().collect();
                let leaves: Vec<Self> = keys(*field)
                    .iter()
                    .map(|key| match negated {
                        false => Self::Has(key, values.clone()),
                        true => Self::HasNot(key, values.clone()),
                    })
                    .collect();
                if negated {
                    Self::All(leaves)
                } else {
                    Self::Any(leaves)
                }
                .flat()
            }
            (Condition::Empty(field), _) => {
                let leaves: Vec<Self> = keys(*field)
                    .iter()
                    .map(|key| {
                        if negated {
                            Self::NotEmpty(key)
                        } else {
                            Self::Empty(key)
                        }
                    })
                    .collect();
                if negated {
                    Self::Any(leaves)
                } else {
                    Self::All(leaves)
                }
                .flat()
            }
        }
    }

    /// One of one is that one.
    fn flat(self) -> Self {
        match self {
            Self::All(mut list) | Self::Any(mut list) if list.len() == 1 => list.remove(0),
            other => other,
        }
    }
}

/// Qdrant's filter; the keys lie below `prefix` in the payload.
pub(crate) fn qdrant_filter(condition: &Condition, prefix: &str) -> Value {
    qdrant(&Filter::of(condition, false), prefix)
}

fn qdrant(filter: &Filter, prefix: &str) -> Value {
    let key = |key: &str| match prefix {
        "" => key.to_owned(),
        prefix => format!("{prefix}.{key}"),
    };
    let each = |list: &[Filter]| {
        list.iter()
            .map(|inner| qdrant(inner, prefix))
            .collect::<Vec<_>>()
    };
    match filter {
        Filter::All(list) => json!({"must": each(list)}),
        // Nothing matches an empty list of ids.
        Filter::Any(list) if list.is_empty() => json!({"must": [{"has_id": []}]}),
        Filter::Any(list) => json!({"should": each(list)}),
        Filter::Has(name, values) => {
            json!({"must": [{"key": key(name), "match": {"any": values}}]})
        }
        Filter::HasNot(name, values) => {
            json!({"must_not": [{"key": key(name), "match": {"any": values}}]})
        }
        Filter::Empty(name) => json!({"must": [{"is_empty": {"key": key(name)}}]}),
        Filter::NotEmpty(name) => json!({"must_not": [{"is_empty": {"key": key(name)}}]}),
    }
}

/// Pinecone's filter, and Chroma's, which has its own operators for lists.
fn mongo(filter: &Filter, chroma: bool) -> Value {
    let each = |list: &[Filter]| {
        list.iter()
            .map(|inner| mongo(inner, chroma))
            .collect::<Vec<_>>()
    };
    let lists = |name: &str| name != "full_path";
    match filter {
        Filter::All(list) if list.is_empty() => json!({}),
        Filter::Any(list) if list.is_empty() => {
            json!({"authorized_identities": {"$in": ["\u{0}"]}})
        }
        Filter::All(list) | Filter::Any(list) if list.len() == 1 => {
            list.first().map_or(Value::Null, |only| mongo(only, chroma))
        }
        Filter::All(list) => json!({"$and": each(list)}),
        Filter::Any(list) => json!({"$or": each(list)}),
        Filter::Has(name, values) if chroma && lists(name) => {
            let any: Vec<Value> = values
                .iter()
                .map(|value| json!({*name: {"$contains": value}}))
                .collect();
            if any.len() == 1 {
                any.into_iter().next().unwrap_or_default()
            } else {
                json!({"$or": any})
            }
        }
        Filter::HasNot(name, values) if chroma && lists(name) => {
            let all: Vec<Value> = values
                .iter()
                .map(|value| json!({*name: {"$not_contains": value}}))
                .collect();
            if all.len() == 1 {
                all.into_iter().next().unwrap_or_default()
            } else {
                json!({"$and": all})
            }
        }
        Filter::Has(name, values) => json!({*name: {"$in": values}}),
        Filter::HasNot(name, values) => json!({*name: {"$nin": values}}),
        // Chroma cannot ask for what is not there; nobody's document stays with nobody.
        Filter::Empty(name) if chroma => json!({*name: {"$contains": "\u{0}"}}),
        Filter::NotEmpty(name) if chroma => json!({*name: {"$ne": "\u{0}"}}),
        Filter::Empty(name) => json!({*name: {"$exists": false}}),
        Filter::NotEmpty(name) => json!({*name: {"$exists": true}}),
    }
}

/// A `where` of SQL over LangChain's `cmetadata` column (jsonb), with `$1`, `$2`, ... for its parameters,
/// each a text array.
fn pgvector(filter: &Filter, parameters: &mut Vec<Value>) -> String {
    let mut has = |name: &str, values: &[String]| {
        parameters.push(json!(values));
        let place = parameters.len();
        match name {
            "full_path" => {
                format!("coalesce(cmetadata->>'{name}' = ANY (${place}::text[]), false)")
            }
            _ => format!("coalesce(cmetadata->'{name}' ?| ${place}::text[], false)"),
        }
    };
    match filter {
        Filter::Has(name, values) => has(name, values),
        Filter::HasNot(name, values) => format!("NOT {}", has(name, values)),
        Filter::Empty(name) => {
            format!("coalesce(cmetadata->'{name}', '[]'::jsonb) IN ('[]'::jsonb, 'null'::jsonb)")
        }
        Filter::NotEmpty(name) => {
            format!(
                "coalesce(cmetadata->'{name}', '[]'::jsonb) NOT IN ('[]'::jsonb, 'null'::jsonb)"
            )
        }
        Filter::All(list) | Filter::Any(list) => {
            let (word, none) = match filter {
                Filter::All(_) => (" AND ", "true"),
                _ => (" OR ", "false"),
            };
            let parts: Vec<String> = list
                .iter()
                .map(|inner| pgvector(inner, parameters))
                .collect();
            match parts.len() {
                0 => none.to_owned(),
                _ => format!("({})", parts.join(word)),
            }
        }
    }
}

/// Weaviate's `where` (GraphQL and REST share its shape).
fn weaviate(filter: &Filter) -> Value {
    let each = |list: &[Filter]| list.iter().map(weaviate).collect::<Vec<_>>();
    let leaf = |name: &str, operator: &str, values: &[String]| json!({"path": [name], "operator": operator, "valueTextArray": values});
    match filter {
        Filter::All(list) if list.is_empty() => json!({}),
        Filter::Any(list) if list.is_empty() => leaf(
            "authorized_identities",
            "ContainsAny",
            &["\u{0}".to_owned()],
        ),
        Filter::All(list) => json!({"operator": "And", "operands": each(list)}),
        Filter::Any(list) => json!({"operator": "Or", "operands": each(list)}),
        Filter::Has(name, values) => leaf(name, "ContainsAny", values),
        Filter::HasNot(name, values) => leaf(name, "ContainsNone", values),
        Filter::Empty(name) => json!({"path": [name], "operator": "IsNull", "valueBoolean": true}),
        Filter::NotEmpty(name) => {
            json!({"path": [name], "operator": "IsNull", "valueBoolean": false})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn condition() -> Condition {
        let set = |values: &[&str]| {
            values
                .iter()
                .map(|&value| value.to_owned())
                .collect::<BTreeSet<_>>()
        };
        Condition::And(vec![
            Condition::HasAny(Field::Readers, set(&["ann", "finance"])),
            Condition::Not(Box::new(Condition::HasAny(Field::Labels, set(&["us-ssn"])))),
        ])
    }

    #[test]
    fn each_store_is_asked_in_its_own_words() {
        let plan = plan_answer(&Plan::Some {
            condition: condition(),
            exact: false,
        });
        let filters = &plan["filters"];
        assert_eq!(
            filters["qdrant"],
            json!({"must": [
                {"must": [{"key": "metadata.authorized_identities", "match": {"any": ["ann", "finance"]}}]},
                {"must": [
                    {"must_not": [{"key": "metadata.pebblo_semantic_entities", "match": {"any": ["us-ssn"]}}]},
                    {"must_not": [{"key": "metadata.pebblo_semantic_topics", "match": {"any": ["us-ssn"]}}]},
                ]},
            ]})
        );
        assert_eq!(
            filters["pinecone"]["$and"][0],
            json!({"authorized_identities": {"$in": ["ann", "finance"]}})
        );
        assert_eq!(
            filters["pinecone"]["$and"][1]["$and"][0],
            json!({"pebblo_semantic_entities": {"$nin": ["us-ssn"]}})
        );
        assert_eq!(
            filters["pgvector"]["where"],
            "(coalesce(cmetadata->'authorized_identities' ?| $1::text[], false) AND \
             (NOT coalesce(cmetadata->'pebblo_semantic_entities' ?| $2::text[], false) AND \
             NOT coalesce(cmetadata->'pebblo_semantic_topics' ?| $3::text[], false)))"
        );
        assert_eq!(
            filters["pgvector"]["parameters"][0],
            json!(["ann", "finance"])
        );
        assert_eq!(
            filters["weaviate"]["operands"][0]["operator"],
            "ContainsAny"
        );
        assert_eq!(
            filters["weaviate"]["operands"][1]["operands"][0]["operator"],
            "ContainsNone"
        );
        assert_eq!(
            filters["chroma"]["$and"][0]["$or"][0],
            json!({"authorized_identities": {"$contains": "ann"}})
        );
        assert_eq!(plan_answer(&Plan::None)["filters"], json!({}));
    }

    #[test]
    fn a_value_never_becomes_part_of_a_statement() {
        let values = BTreeSet::from(["x'); DROP TABLE t; --".to_owned()]);
        let hostile = Condition::HasAny(Field::Readers, values);
        let answer = filter("pgvector", &hostile);
        assert!(!answer["where"].as_str().unwrap().contains("DROP"));
    }
}
