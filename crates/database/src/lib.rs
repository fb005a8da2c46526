//! What the gates of databases have in common: where a server is, and the URL that says so.
//!
//! What must stay true: a URL that was read never shows its password, not in an error either.

mod place;
mod url;

pub use place::{Place, is_this_machine};
pub use url::{ServerUrl, UrlError, encoded, system_of};
