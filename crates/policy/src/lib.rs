//! What a session may do, as a person wrote it down: the manifest ([`Task`]), the
//! proof that a person accepted it, the machine's own settings, and the
//! policy that turns a question about one operation into a decision.
//!
//! What must stay true: a file is read whole or not at all, and every mistake in it names its line;
//! a user's policy can only tighten; whatever fails while deciding denies. No network and no clock
//! here.

mod decision;
mod evaluation;
mod file_errors;
mod path_pattern;
mod pin;
mod policy;
mod policy_file;
mod question;
mod task;
mod wording;

pub use decision::Decision;
pub use file_errors::{FileError, FileErrors};
pub use path_pattern::{PathPattern, PathPatternError};
pub use pin::Pin;
pub use policy::Policy;
pub use question::{Connection, Question};
pub use task::{
    AllowHostError, CredentialGrant, Environment, EnvironmentError, HostGrant, Methods,
    OperationGrant, Task,
};
