//! Credentials: where their values come from, the decoys that stand for them inside, the slots that
//! carry them, and the one place that turns a decoy into a value.
//!
//! What must stay true: a [`Secret`] is never shown, logged or serialised; a value is attached only
//! in the slot whose decoy was found there, on a host that the credential is bound to; everything
//! else that stands in a slot is foreign.

mod attach;
mod broker;
mod examine;
mod secret;
mod source;

pub use attach::{AttachError, Outgoing};
pub use broker::{Broker, Credential};
pub use examine::Examination;
pub use secret::{Decoy, Secret};
pub use source::{Source, SourceError};
