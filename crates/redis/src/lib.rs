//! The protocol of Redis and Valkey (RESP2, the Redis serialization protocol) as a gate reads it from a client
//! that is an attacker.
//!
//! [`Gate`] serves a session's connections: whoever knows the decoy gets a server, where the real password
//! is said, and each command is judged before it is written there. Below it lies pure code: [`Commands`] (how
//! a stream is cut), [`Command`] (one of them), [`Replies`] (where what the server says to it ends) and
//! [`meaning`] (what a command does).
//!
//! What must stay true: a command that stands in no table is refused; nothing is forwarded as bytes, every
//! command is written anew from what was read; commands of a transaction reach the server together, after all
//! of them were judged as one; and no command leaves the database that the task was given.

mod command;
mod conversation;
mod dial;
mod gate;
mod judging;
mod preview;
mod refusal;
mod reply;
mod scripts;
mod server;
mod table;
mod tally;

pub use command::{Command, Commands, LONGEST_COMMAND, MOST_WORDS};
pub use dial::DialError;
pub use gate::Gate;
pub use preview::Bound;
pub use reply::{Replies, Value};
pub use server::ServerError;
pub use table::{Meaning, Unmeant, meaning};

/// What a client or a server sent cannot be read as the protocol.
///
/// No message repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A command as typed text.
    #[error("a command has to be an array of bulk strings, as all clients send them")]
    NotAnArray,
    /// A number that is none, or is written in another way than clients do.
    #[error("a length is not a plain number")]
    Length,
    /// Longer than what is read.
    #[error("a command of more than {0} bytes")]
    TooLong(usize),
    /// More words than what is read.
    #[error("a command of more than {0} words")]
    TooMany(usize),
    /// Something else than the end of a line.
    #[error("a line or a string does not end as announced")]
    End,
    /// An answer that no server of RESP2 gives.
    #[error("an answer that is not RESP2")]
    Answer,
}
