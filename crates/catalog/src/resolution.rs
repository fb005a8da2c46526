//! Which environments a resource lives in, asked of the provider without doing I/O here: a
//! [`Resolution`] says what to ask, takes the answer, and says what to ask next. Who drives it owns
//! the connection, the credential and the budget. Ids travel as variables only; every query is
//! read-only; whatever is not answered beyond doubt stays unresolved.
//!
//! Inside, the reasoning is an ordinary function over the answers so far. It is run from its start at
//! each step and stops at the first question that has no answer yet, so there is no state that could
//! disagree with what was asked.

mod railway;
mod reading;

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use tagout_core::{CanonicalPath, Method, Operation, ResourceId, json};

use crate::tables::Reach;

/// Objects that answers may hold, over a whole resolution.
const MOST_OBJECTS: usize = 10_000;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this, then give the response's body to [`Resolution::answer`].
    Ask(Query),
    /// Everything that could be learned.
    Done(Resolved),
    /// The provider's answers cannot be relied on; everything asked for is unresolved. The text says
    /// why and contains nothing of the answer.
    Failed(String),
}

/// A request to the provider, with the pack's host and the session's credential still to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: CanonicalPath,
    /// The `content-type` field's value.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// What the provider said about each resource, in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Resolved {
    /// One entry a resource.
    pub resources: Vec<ResolvedResource>,
}

/// What the provider said about one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedResource {
    /// Which one.
    pub resource: ResourceId,
    /// Its name at the provider; foreign text.
    pub name: Option<String>,
    /// Every environment that the operation reaches through it.
    pub environments: Vec<EnvironmentRef>,
    /// Why `environments` does not tell everything; then the resource is unresolved.
    pub unresolved: Option<String>,
    /// Facts for the person who is asked, as label and text: instances, mount paths, sizes, backups.
    /// Foreign text.
    pub details: Vec<(String, String)>,
}

/// An environment at the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentRef {
    /// Such as `railway:environment/ID`.
    pub id: ResourceId,
    /// The name that the provider gives it; foreign text.
    pub name: String,
    /// The id of the project that it belongs to, without prefix.
    pub project: Option<String>,
}

/// A conversation with the provider. Drive it: `next`, and for each [`Step::Ask`] one `answer`.
#[derive(Debug)]
pub struct Resolution {
    question: Question,
    path: CanonicalPath,
    answers: Answers,
    /// The query that [`Resolution::answer`] answers.
    open: Option<Query>,
    failed: Option<String>,
}

/// What is asked for.
#[derive(Debug)]
enum Question {
    Operation {
        operation: Box<Operation>,
        reach: Reach,
    },
    Everything,
}

/// What the provider said so far, by the question's canonical text.
#[derive(Debug, Default)]
struct Answers {
    given: HashMap<String, Result<Json, String>>,
    objects: usize,
}

/// Why the reasoning stopped.
#[derive(Debug)]
enum Halt {
    /// It needs the answer to this, in canonical text.
    Ask(String),
    /// The answers do not tell. Contains nothing of them.
    Unresolved(String),
}

impl Resolution {
    pub(crate) fn of(operation: &Operation, reach: Reach, path: CanonicalPath) -> Self {
        let question = Question::Operation {
            operation: Box::new(operation.clone()),
            reach,
        };
        Self::new(question, path)
    }

    pub(crate) fn of_everything(path: CanonicalPath) -> Self {
        Self::new(Question::Everything, path)
    }

    fn new(question: Question, path: CanonicalPath) -> Self {
        Self {
            question,
            path,
            answers: Answers::default(),
            open: None,
            failed: None,
        }
    }

    /// What to do next. Until an [`Step::Ask`] is answered, the same again.
    #[expect(
        clippy::should_implement_trait,
        reason = "this is no iterator: it repeats itself until it is answered"
    )]
    pub fn next(&mut self) -> Step {
        if let Some(reason) = &self.failed {
            return Step::Failed(reason.clone());
        }
        if self.answers.objects > MOST_OBJECTS {
            return Step::Failed(format!(
                "the provider lists more than {MOST_OBJECTS} objects"
            ));
        }
        let outcome = match &self.question {
            Question::Operation { operation, reach } => {
                railway::resolve(&self.answers, operation, *reach)
            }
            Question::Everything => railway::everything(&self.answers),
        };
        match outcome {
            Ok(resolved) => Step::Done(resolved),
            Err(Halt::Unresolved(reason)) => Step::Failed(reason),
            Err(Halt::Ask(body)) => {
                let Ok(method) = Method::parse("POST") else {
                    return Step::Failed("a method that is none".to_owned());
                };
                let query = Query {
                    method,
                    path: self.path.clone(),
                    content_type: "application/json",
                    body: body.into_bytes(),
                };
                self.open = Some(query.clone());
                Step::Ask(query)
            }
        }
    }

    /// Takes the whole body of the response to the last [`Step::Ask`]. The response's status must
    /// have been 200; otherwise call [`Resolution::fail`]. Without an open question, the answer is to
    /// nothing and changes nothing.
    pub fn answer(&mut self, body: &[u8]) {
        let Some(query) = self.open.take() else {
            return;
        };
        let answer = read_answer(body);
        if let Ok(data) = &answer {
            self.answers.objects += count_objects(data);
        }
        let key = String::from_utf8_lossy(&query.body).into_owned();
        self.answers.given.insert(key, answer);
    }

    /// The query could not be sent, or its answer was no success. `reason` is shown.
    pub fn fail(&mut self, reason: &str) {
        self.failed = Some(reason.to_owned());
    }
}

impl Answers {
    /// The `data` that the provider gave for a document with these variables.
    fn ask(&self, document: &str, variables: &[(&str, &str)]) -> Result<&Json, Halt> {
        let variables: Map<String, Json> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Json::from(*value)))
            .collect();
        let mut body = Map::new();
        body.insert("query".to_owned(), Json::from(document));
        body.insert("variables".to_owned(), variables.into());
        let key = json::canonical(&body.into());
        match self.given.get(&key) {
            None => Err(Halt::Ask(key)),
            Some(Err(reason)) => Err(Halt::Unresolved(reason.clone())),
            Some(Ok(data)) => Ok(data),
        }
    }
}

/// The `data` of a GraphQL response that has nothing wrong with it: an answer with errors may be a
/// part of the truth only.
fn read_answer(body: &[u8]) -> Result<Json, String> {
    let answer = json::parse(body).map_err(|_| "the provider's answer is not JSON".to_owned())?;
    let Json::Object(mut members) = answer else {
        return Err("the provider's answer is no object".to_owned());
    };
    match (members.remove("errors"), members.remove("data")) {
        (None | Some(Json::Null), Some(data @ Json::Object(_))) => Ok(data),
        _ => Err("the provider did not find it, or answered with an error".to_owned()),
    }
}

fn count_objects(value: &Json) -> usize {
    match value {
        Json::Array(items) => items.iter().map(count_objects).sum(),
        Json::Object(members) => 1 + members.values().map(count_objects).sum::<usize>(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
