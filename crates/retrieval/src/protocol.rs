//! The API that Pebblo's clients speak, endpoint by endpoint, as daxa-ai/pebblo 0.1.21 answers it. Its
//! clients go on whatever they are told, so nothing here enforces anything; it labels and remembers.
//!
//! Rules that its clients' own code makes: every useful answer is 200 and a JSON object; keys are left out,
//! never null; each document of a reply carries the `pb_id` that it came with; a reply has this request's
//! documents, in order, and no others.

mod classify;
mod discover;
mod loader;
mod prompt;
mod tools;

pub(crate) use classify::classify;
pub(crate) use discover::discover;
pub(crate) use loader::load;
pub(crate) use prompt::{governance, prompt};
pub(crate) use tools::document_report;
