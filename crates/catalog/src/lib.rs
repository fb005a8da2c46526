//! What a request means. Provider packs (data) and pure functions over them turn an HTTP request
//! into operations with effect, flags, scope and resources, and say how a resource's environment is
//! asked for. Nothing here does I/O, nothing decides, and every function is total: bytes that have
//! no one meaning come back as [`Unrecognised`], never as a guess.

mod answer;
pub mod git;
mod graphql;
mod meaning;
mod pack;
mod plain;
mod preview;
pub mod profile;
mod reach;
mod recognise;
mod resolution;
mod slots;
mod tables;

pub use answer::{AnswerSecrets, OddAnswer, SecretPlace, answer_secrets};
pub use meaning::{CanonicalBody, Meaning, Unrecognised, recognise, recognise_subscription};
pub use pack::{Pack, UnknownOperation, pack, pack_for_host};
pub use preview::preview;
pub use profile::{Profile, profile_of_command, profiles};
pub use resolution::{EnvironmentRef, Query, Resolution, Resolved, ResolvedResource, Step};
pub use slots::{SlotPlace, fold_field_name, generic_slots};
