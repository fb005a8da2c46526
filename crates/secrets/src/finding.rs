//! What a scan answers: where a credential stands and what it is, never the credential itself.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How sure the detector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Looks random in a place where credentials stand, or stands in a file made for credentials.
    Low,
    /// Name and value agree.
    Medium,
    /// A shape that only credentials have.
    High,
}

/// One credential in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The bytes of the file that hold the value, without quotes around it.
    pub span: Range<usize>,
    /// What it is: a rule's name such as `github-pat`, or `password`, `dsn-password`, `secret`,
    /// `private-key`, `unknown`.
    pub kind: String,
    /// The name that the file gives it, where it gives one.
    pub key: Option<String>,
    /// How sure the detector is.
    pub confidence: Confidence,
    /// Whether the value is one that people or programs would also write by chance. Such a value
    /// is replaced where it stands and matched in credential slots, but nowhere else.
    pub guessable: bool,
}
