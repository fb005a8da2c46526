//! What a client is told: errors of the server's own kind, on one line.

use tagout_core::Refusal;
use tagout_database::Told;

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
    denied(&Told::from(refusal).to_string())
}
