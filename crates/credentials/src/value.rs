//! A value and its stand-in are different types: what can be shown cannot be attached, and what can
//! be attached cannot be shown.

use std::fmt;

use tagout_secrets::DecoyKey;
use zeroize::Zeroizing;

/// The value of a credential. Erased when dropped; cannot be shown, compared or stored.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a value into keeping. See [`Source::load`](crate::Source::load) for what a source's
    /// bytes must be.
    pub fn new(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself, for attaching it and for recognising it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The decoy that stands for it in a workspace.
    pub fn decoy(&self, key: &DecoyKey) -> Decoy {
        Decoy(String::from_utf8_lossy(&key.decoy(&self.0)).into_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What stands for a value inside the sandbox. Worthless, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decoy(String);

impl Decoy {
    /// A decoy that was made before, such as one in a twin.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
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
