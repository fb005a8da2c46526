//! Which environments a resource lives in, asked of the provider without doing I/O here: a
//! [`Resolution`] says what to ask, takes the answer, and says what to ask next. Who drives it owns
//! the connection, the credential and the budget. Ids travel as variables only; every query is
//! read-only; whatever is not answered beyond doubt stays unresolved.

use tagout_core::{CanonicalPath, Method, Operation, ResourceId};

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
    /// Its name at the provider.
    pub name: Option<String>,
    /// Every environment that the operation reaches through it.
    pub environments: Vec<EnvironmentRef>,
    /// Why `environments` does not tell everything; then the resource is unresolved.
    pub unresolved: Option<String>,
    /// Facts for the person who is asked, as label and text: instances, mount paths, sizes, backups.
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
    state: Step,
}

impl Resolution {
    pub(crate) fn of(_operation: &Operation) -> Self {
        Self {
            state: Step::Failed("the provider cannot be asked yet".to_owned()),
        }
    }

    pub(crate) fn of_everything() -> Self {
        Self {
            state: Step::Failed("the provider cannot be asked yet".to_owned()),
        }
    }

    /// What to do next. Until an [`Step::Ask`] is answered, the same again.
    #[expect(
        clippy::should_implement_trait,
        reason = "this is no iterator: it repeats itself until it is answered"
    )]
    pub fn next(&mut self) -> Step {
        self.state.clone()
    }

    /// Takes the whole body of the response to the last [`Step::Ask`]. The response's status must
    /// have been 200; otherwise call [`Resolution::fail`].
    pub fn answer(&mut self, _body: &[u8]) {}

    /// The query could not be sent, or its answer was no success. `reason` is shown.
    pub fn fail(&mut self, reason: &str) {
        self.state = Step::Failed(reason.to_owned());
    }
}
