//! Finds credentials in bytes, shapes decoys, redacts streams. Bytes in, findings out: nothing here
//! opens a file, waits, or knows a session.
//!
//! Four rooms, each usable alone:
//! - finding: [`Detector`] reads bytes of a named file and answers [`Finding`]s, [`StreamScan`] those
//!   of a stream; [`file_kind`] says what a path promises before anyone reads it;
//! - replacing: [`DecoyKey`] shapes a worthless value like a real one, [`twin`] makes the decoy copy
//!   of a file, [`Edits`] carries an edit of the copy over to the file;
//! - recognising: [`KnownSecrets`] finds values that are known, in every encoding that Tagout
//!   promises to refuse;
//! - redacting: [`Redactor`] takes attached values out of a stream again.
//!
//! What must stay true: no value ever appears in `Debug`, `Display` or an error; a scan is linear in
//! its input whatever the bytes are; what a detector is unsure about in a file whose name promises
//! credentials is a finding, not a pass.

mod decoy;
mod detector;
mod edit;
mod encoding;
mod file_kind;
mod finding;
mod judge;
mod known;
pub mod personal;
mod reader;
mod redactor;
mod rules;
mod stream;
mod twin;

pub use decoy::DecoyKey;
pub use detector::Detector;
pub use edit::{Carried, Edits};
pub use encoding::Encoding;
pub use file_kind::{FileKind, file_kind};
pub use finding::{Confidence, Finding};
pub use judge::is_guessable;
pub use known::{Hit, KnownSecrets, StreamFinder};
pub use redactor::Redactor;
pub use stream::{StreamFinding, StreamScan};
pub use twin::{is_wide, known_values, twin};
