//! From a request to what it means: the one entrance that gates use. Hosts with a pack are read by
//! that pack, all others by their method alone.

use tagout_core::{CanonicalQuery, Fault, FaultKind, HttpRequest, Operation};

use crate::pack::pack_for_host;

/// What a request means, and the one form in which it may be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// What the request does: at least one operation.
    pub operations: Vec<Operation>,
    /// The body to send instead of the agent's bytes; `None` leaves the body (and its content type)
    /// as it came.
    pub body: Option<CanonicalBody>,
    /// The query to send instead of the agent's; `None` leaves it as it came.
    pub query: Option<CanonicalQuery>,
    /// Whether refusals should have GraphQL's shape.
    pub graphql: bool,
}

/// A body in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalBody {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The value of the `content-type` field to send with it, whatever the agent's said.
    pub content_type: &'static str,
}

/// Why a request has no meaning that could be judged. It denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unrecognised {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// What happened, to what. Never quotes the agent's bytes beyond names of a narrow grammar.
    pub reason: String,
    /// What the agent should do instead.
    pub how_to_proceed: String,
    /// Whether refusals should have GraphQL's shape.
    pub graphql: bool,
}

impl From<Unrecognised> for Fault {
    fn from(unrecognised: Unrecognised) -> Self {
        Self {
            kind: unrecognised.kind,
            reason: unrecognised.reason,
            how_to_proceed: unrecognised.how_to_proceed,
        }
    }
}

/// Says what `request` means. Its body holds the bytes as the agent sent them.
///
/// # Errors
/// [`Unrecognised`] when a pack must read the request and cannot.
pub fn recognise(request: &HttpRequest) -> Result<Meaning, Unrecognised> {
    recognise_as(request, Documents::Executed)
}

/// The same for a document that came over a WebSocket, where a subscription is what is expected.
///
/// # Errors
/// As for [`recognise`].
pub fn recognise_subscription(request: &HttpRequest) -> Result<Meaning, Unrecognised> {
    recognise_as(request, Documents::Subscribed)
}

/// Which documents a GraphQL request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Documents {
    /// Queries and mutations: there is one answer.
    Executed,
    /// Subscriptions too.
    Subscribed,
}

fn recognise_as(request: &HttpRequest, documents: Documents) -> Result<Meaning, Unrecognised> {
    if crate::plain::means_elsewhere(request) {
        return Err(Unrecognised {
            kind: FaultKind::AuthorityMismatch,
            reason: "a header field of the request names another path or host than the request"
                .to_owned(),
            how_to_proceed: "Send the request to the host and path that are meant.".to_owned(),
            graphql: false,
        });
    }
    match pack_for_host(&request.target.host) {
        Some(pack) => crate::recognise::recognise(pack, request, documents),
        None => crate::git::recognise(request).unwrap_or_else(|| crate::plain::recognise(request)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
