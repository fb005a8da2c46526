//! The workspace gate: every change that the inside makes to its workspace passes here before it is made.
//!
//! [`keeper`] runs in the sandbox's mediator and writes down what was there before: a copy of each file before it is first changed or
//! lost, and a line in a journal for each name that comes, goes or moves. [`Undo`] reads the journal afterwards, outside, and puts back
//! what a session changed. Between the two lies a folder of `$TAGOUT_HOME` that nothing inside can see.
//!
//! What must stay true: a change that cannot be kept is not made; undo touches nothing outside of the session's trees, whatever links lie
//! in them by then; and it does not overwrite what the host changed since, unless told to.

mod history;
mod journal;
mod keep;
mod losses;
mod moves;
mod outside;
mod restore;
mod retention;
mod sparse;

pub use keep::keeper;
pub use losses::{Answer, DERIVED_FOLDERS, Gone, Question, is_derived};
pub use moves::Moves;
pub use outside::keep_from_outside;
pub use restore::{Entry, Kind, Outcome, Undo, UndoError, finish};
pub use retention::prune;
