//! What a client is told: errors of the server's own kind, on one line.

use tagout_core::{Refusal, RefusalKind};

/// An error; `code` is the first word, by which clients know it.
pub(crate) fn error(code: &str, message: &str) -> Vec<u8> {
    let message: String = message
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    format!("-{code} {message}\r\n").into_bytes()
}

/// Something that is not done, and why.
pub(crate) fn denied(message: &str) -> Vec<u8> {
    error("NOPERM", message)
}

/// A refusal of the authority's.
pub(crate) fn refused(refusal: &Refusal) -> Vec<u8> {
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
    let details = match details.is_empty() {
        true => String::new(),
        false => format!(" ({})", details.join(", ")),
    };
    denied(&format!(
        "Tagout {verb} this: {}{details} {}",
        refusal.reason, refusal.how_to_proceed
    ))
}
