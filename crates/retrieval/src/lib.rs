//! Scoped retrieval: the API that Pebblo's clients speak, served from the one binary, and what it lacks:
//! enforcement.
//!
//! The first half can only inform, since its clients ignore every error: it labels documents, prompts and
//! answers ([`classifier`]), remembers what it saw, and shows it ([`report`], pages). The second half
//! decides: who may retrieve what ([`enforcement`]), from the same Cedar policy that decides about files,
//! for an identity that comes from a verified token ([`identity`]) and from nowhere else, and in front of a
//! vector store ([`qdrant`]) so that a client that forgets to ask gets nothing.
//!
//! What must stay true: no name that a client sends becomes a path; no text is stored or shown before it
//! was redacted; nothing grows with the number of requests; whatever fails while deciding denies.

mod classifier;
mod enforcement;
mod fields;
mod filters;
mod guard;
mod identity;
mod message;
mod model;
mod multipart;
mod openapi;
mod pages;
mod pdf;
mod protocol;
mod qdrant;
mod rate;
mod report;
mod routes;
mod server;
mod service;
mod settings;
mod topics;
mod upstream;

pub use server::{ServeError, Serving, serve};
pub use settings::{Settings, SettingsError};

/// What clients of Pebblo are told the server's version is: the API's, and ours.
pub const SERVER_VERSION: &str = concat!("0.1.21+tagout.", env!("CARGO_PKG_VERSION"));
