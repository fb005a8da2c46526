//! What the agent is told when an action does not pass: what happened, to what, and what to do
//! instead. One shape for every gate; each gate wraps it in its protocol's own error.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::identity::HoldId;
use crate::json::Json;

/// Whether a person can still let the action through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalKind {
    /// No.
    Denied,
    /// Not before a person has answered.
    Held,
}

/// Why an action did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Denied, or waiting for a person.
    pub kind: RefusalKind,
    /// What happened, for the person and the agent. Never contains a secret.
    pub reason: String,
    /// The strictest operation, where one was recognised.
    pub operation: Option<String>,
    /// The resource that decided.
    pub resource: Option<String>,
    /// The environment that decided.
    pub environment: Option<String>,
    /// The hold that a person can answer.
    pub hold: Option<HoldId>,
    /// What to do instead.
    pub how_to_proceed: String,
}

impl Refusal {
    /// A denial that says nothing but why and what to do.
    pub fn denied(reason: impl Into<String>, how_to_proceed: impl Into<String>) -> Self {
        Self {
            kind: RefusalKind::Denied,
            reason: reason.into(),
            operation: None,
            resource: None,
            environment: None,
            hold: None,
            how_to_proceed: how_to_proceed.into(),
        }
    }

    /// `tagout_denied` or `tagout_held`.
    pub fn code(&self) -> &'static str {
        match self.kind {
            RefusalKind::Denied => "tagout_denied",
            RefusalKind::Held => "tagout_held",
        }
    }

    /// The structured refusal: every field present, `null` where absent.
    pub fn to_json(&self) -> Json {
        json!({
            "error": self.code(),
            "reason": self.reason,
            "operation": self.operation,
            "resource": self.resource,
            "environment": self.environment,
            "hold": self.hold,
            "how_to_proceed": self.how_to_proceed,
        })
    }

    /// The same as a GraphQL response (GraphQL specification, October 2021, §7.1): one error with
    /// the structured refusal as its extensions.
    pub fn to_graphql(&self) -> Json {
        json!({
            "errors": [{
                "message": self.to_string(),
                "extensions": self.to_json(),
            }],
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            RefusalKind::Denied => "denied",
            RefusalKind::Held => "held",
        };
        let reason = self.reason.trim_end();
        let end = if reason.ends_with(['.', '!', '?']) {
            ""
        } else {
            "."
        };
        write!(
            f,
            "Tagout {verb} this: {reason}{end} {}",
            self.how_to_proceed
        )
    }
}
