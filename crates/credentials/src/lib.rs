//! Credentials: where their values come from, which decoy stands for each, in which slot of which
//! host it may go, and the one place where a decoy becomes a value.
//!
//! [`Broker`] is the whole of it to a gate: [`examine`](Broker::examine) says what a request carries,
//! the authority decides, [`attach`](Broker::attach) puts values where their decoys stood,
//! [`redactor`](Broker::redactor) takes them out of the answer.
//!
//! What must stay true: examining and attaching read a request through one walk over its slots
//! (`slots`), so a slot that one of them sees is a slot for both; a value is attached only where its
//! decoy stood alone; what a slot carries that is nobody's decoy is a fault; no value is ever shown by
//! `Debug`, `Display` or an error.

mod body;
mod broker;
mod credential;
mod examination;
pub mod login;
mod program;
mod repository;
mod slots;
mod source;
mod value;
pub mod vault;
mod veil;

pub use broker::{AttachError, Broker, Change};
pub use credential::{Credential, CredentialError};
pub use examination::Examination;
pub use program::{ProgramError, find_program};
pub use repository::Repository;
pub use slots::Outgoing;
pub use source::{Outside, Source, SourceError};
pub use value::{Decoy, Secret};
pub use veil::Veil;
