//! The vocabulary of Tagout as types. Every other crate speaks in these words, and a value of one
//! of these types cannot be wrong: a [`HostName`] was validated, a [`CanonicalPath`] has exactly one
//! spelling, an [`Action`] cannot be changed after a gate built it. No I/O happens here.

mod action;
mod clock;
mod digest;
mod effect;
mod host;
mod identity;
pub mod json;
mod operation;
mod refusal;
mod request;
mod statement;
mod uri;

pub use action::{Action, CredentialUse, Fault, FaultKind};
pub use clock::Timestamp;
pub use digest::Digest;
pub use effect::{Effect, Flag, Flags, Scope};
pub use host::{HostName, HostNameError, HostPattern};
pub use identity::{HoldId, IdError, SessionId};
pub use operation::{EnvironmentName, NameError, Operation, OperationName, ResourceId};
pub use refusal::{Refusal, RefusalKind};
pub use request::{HttpBody, HttpRequest, Method, MethodError, Target, Transport};
pub use statement::{
    AnyRequest, DatabaseRequest, DatabaseSystem, FilesRequest, Parameter, Request,
};
pub use uri::{CanonicalPath, CanonicalQuery, UriError, form_decode, form_pairs, percent_decode};
