//! What a session may do, as a person wrote it down: the manifest ([`Manifest`], [`Task`]), the
//! proof that a person accepted it ([`Trust`]), the machine's own settings ([`Config`]), and the
//! policy that turns a question about one operation into a decision ([`Policy`]).
//!
//! What must stay true: a file is read whole or not at all, and every mistake in it names its line;
//! a user's policy can only tighten; whatever fails while deciding denies. Nothing here touches the
//! network; only [`Trust`] touches files.

mod allowed;
mod config;
mod decision;
mod difference;
mod disclosure;
mod evaluation;
mod file_errors;
mod globs;
mod manifest;
mod path_pattern;
mod pin;
mod policy;
mod policy_file;
mod question;
mod registry;
mod remote;
mod section;
mod sorted;
mod task;
mod trust;
mod wording;

pub use config::{Config, UpstreamProxy};
pub use decision::Decision;
pub use difference::changed_lines;
pub use disclosure::{Channel, Condition, Content, Disclosures, Field, Plan, Reader, Ruling};
pub use file_errors::{FileError, FileErrors};
pub use manifest::Manifest;
pub use path_pattern::{PathPattern, PathPatternError};
pub use pin::{DatabasePin, Pin};
pub use policy::Policy;
pub use question::{Connection, Question};
pub use registry::{Registries, Registry};
pub use remote::Remote;
pub use task::{
    AllowHostError, CredentialGrant, DatabaseGrant, Endpoint, Environment, EnvironmentError,
    HostGrant, LocalPort, Methods, OperationGrant, Task,
};
pub use trust::{Trust, TrustError};
