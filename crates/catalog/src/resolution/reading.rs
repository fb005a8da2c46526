//! Reading a provider's answer: everything that was asked for must be there, in the shape in which
//! the schema promises it, and speak of what it was asked about.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Answers, Halt};

impl Answers {
    /// Every page of a connection at `path`. A page that is not complete, a cursor that does not move
    /// on or an id that comes twice makes the whole unreliable.
    pub(super) fn pages(
        &self,
        document: &str,
        variables: &[(&str, &str)],
        path: &[&str],
    ) -> Result<Pages<'_>, Halt> {
        let mut pages = Pages::default();
        let mut seen = BTreeSet::new();
        let mut after: Option<&str> = None;
        loop {
            let mut variables = variables.to_vec();
            variables.extend(after.map(|after| ("after", after)));
            let data = self.ask(document, &variables)?;
            pages.data.push(data);
            let mut connection = data;
            for step in path {
                connection = member(connection, step)?;
            }
            for node in edges(connection)? {
                if !seen.insert(text(node, "id")?) {
                    return Err(unreliable("an id that is listed twice"));
                }
                pages.nodes.push(node);
            }
            let info = member(connection, "pageInfo")?;
            if !flag(info, "hasNextPage")? {
                return Ok(pages);
            }
            let next = text(info, "endCursor")?;
            if next.is_empty() || after == Some(next) {
                return Err(unreliable("a page without a next one"));
            }
            after = Some(next);
        }
    }
}

/// The `data` of each page, and the nodes of all.
#[derive(Default)]
pub(super) struct Pages<'a> {
    pub(super) data: Vec<&'a Json>,
    pub(super) nodes: Vec<&'a Json>,
}

pub(super) fn member<'j>(object: &'j Json, key: &str) -> Result<&'j Json, Halt> {
    object
        .get(key)
        .filter(|value| !value.is_null())
        .ok_or_else(|| unreliable("less than was asked for"))
}

pub(super) fn text<'j>(object: &'j Json, key: &str) -> Result<&'j str, Halt> {
    member(object, key)?
        .as_str()
        .ok_or_else(|| unreliable("a text that is none"))
}

pub(super) fn flag(object: &Json, key: &str) -> Result<bool, Halt> {
    member(object, key)?
        .as_bool()
        .ok_or_else(|| unreliable("a page that does not say whether it is the last"))
}

pub(super) fn edges(connection: &Json) -> Result<Vec<&Json>, Halt> {
    member(connection, "edges")?
        .as_array()
        .ok_or_else(|| unreliable("a list that is none"))?
        .iter()
        .map(|edge| member(edge, "node"))
        .collect()
}

pub(super) fn is(object: &Json, key: &str, value: &str) -> bool {
    object.get(key).and_then(Json::as_str) == Some(value)
}

/// The provider must speak of what it was asked about.
pub(super) fn same(object: &Json, key: &str, value: &str) -> Result<(), Halt> {
    match is(object, key, value) {
        true => Ok(()),
        false => Err(unreliable("something else than was asked for")),
    }
}

pub(super) fn unreliable(what: &str) -> Halt {
    Halt::Unresolved(format!("Railway's answer has {what}"))
}
