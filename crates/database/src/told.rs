//! What a client is told of what is not done, in the words that all gates of databases use.

use tagout_core::{HoldId, Refusal, RefusalKind};

/// What happened, where it happened, and what to do instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub message: String,
    /// Where: operation, resource, environment, hold.
    pub detail: Option<String>,
    /// What to do instead.
    pub hint: Option<String>,
}

impl Told {
    /// Without a place.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: None,
            hint: Some(hint.into()),
        }
    }
}

impl From<&Refusal> for Told {
    fn from(refusal: &Refusal) -> Self {
        let verb = match refusal.kind {
            RefusalKind::Denied => "denied",
            RefusalKind::Held => "held",
        };
        let mut details: Vec<String> = Vec::new();
        for (name, value) in [
            ("operation", &refusal.operation),
            ("resource", &refusal.resource),
            ("environment", &refusal.environment),
        ] {
            details.extend(value.as_ref().map(|value| format!("{name} {value}")));
        }
        details.extend(refusal.hold.as_ref().map(|hold| format!("hold {hold}")));
        Self {
            message: format!("Tagout {verb} this: {}", refusal.reason),
            detail: (!details.is_empty()).then(|| details.join(", ")),
            hint: Some(refusal.how_to_proceed.clone()),
        }
    }
}

/// On one line, for protocols whose errors are one text.
impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " {hint}"),
            None => Ok(()),
        }
    }
}

/// The end of waiting within an open transaction.
pub fn held_too_long(hold: Option<&HoldId>) -> Refusal {
    let hold = hold.map_or("its hold".to_owned(), ToString::to_string);
    Refusal::denied(
        "the statement waits for a person, and others may wait for the locks of its transaction.",
        format!(
            "Roll back, ask your user to run `tagout approve {hold}` (or `tagout deny {hold}`) in another terminal, \
             then send exactly the same statement again; it passes once. Do not look for another way."
        ),
    )
}
