//! What the gates of databases have in common: the URL that says where a server is, the way to it, what texts
//! mean and the actions that they are, the tally of what was removed without anybody being asked, and the store
//! of what approved statements took. What a protocol says and how its server undoes is each gate's own.
//!
//! What must stay true: a URL that was read never shows its password, not in an error either; and what is kept
//! is either whole and as it was written, or an error.

mod action;
mod database;
mod encryption;
mod kept;
mod place;
mod reach;
mod reading;
mod served;
mod tally;
mod told;
mod undo;
mod url;
mod words;

pub use action::{harmless, known_secret, operation, tallied};
pub use database::Database;
pub use encryption::{SslMode, Trust};
pub use kept::{Kept, RowsFile, RowsWriter, Shelf, Store, StoreError, hexadecimal, summary};
pub use place::{Place, is_this_machine};
pub use reach::{ReachError, Reached, reach_in_person};
pub use reading::{Reader, Reading};
pub use served::ServedDatabases;
pub use tally::{Done, Tally};
pub use told::{Told, held_too_long};
pub use undo::{KeptSummary, UndoOptions, UndoReport, UndoneTable};
pub use url::{ServerUrl, UrlError, encoded, system_of};
pub use words::DatabaseUrl;
