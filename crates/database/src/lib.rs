//! What the gates of databases have in common: where a server is, the URL that says so, and the tally of what
//! was removed without anybody being asked, and what undoing tells.
//!
//! What must stay true: a URL that was read never shows its password, not in an error either.

mod place;
mod tally;
mod undo;
mod url;

pub use place::{Place, is_this_machine};
pub use tally::{Done, Tally};
pub use undo::{KeptSummary, UndoOptions, UndoReport, UndoneTable};
pub use url::{ServerUrl, UrlError, encoded, system_of};
