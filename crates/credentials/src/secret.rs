//! A value and what stands for it. They are different types on purpose: whatever takes a [`Decoy`]
//! may be shown to anyone, whatever takes a [`Secret`] goes to a wire and nowhere else.

use std::fmt;

use zeroize::Zeroizing;

/// A real value. It has no `Display` and no `Serialize`, its `Debug` says nothing, and its memory is
/// cleared when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a value over.
    pub fn new(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A worthless value of the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decoy(String);

impl Decoy {
    /// A decoy. `None` when it is not text that a header field could carry.
    pub fn new(value: Vec<u8>) -> Option<Self> {
        String::from_utf8(value)
            .ok()
            .filter(|text| !text.is_empty() && !text.contains(['\r', '\n', '\0']))
            .map(Self)
    }

    /// The decoy as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Decoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
