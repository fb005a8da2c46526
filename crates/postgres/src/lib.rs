//! PostgreSQL's frontend/backend protocol (version 3, PostgreSQL's manual, chapter "Frontend/Backend
//! Protocol") as a gate reads it from a client that is an attacker.
//!
//! [`Gate`] serves a session's connections: whoever knows the decoy gets a server, where the real password
//! is said, and each message that runs something is judged before it is written there. Below it lies pure
//! code: [`Opening`] (what a connection begins with), [`FrontendMessage`] (everything a client may say
//! after that), [`Names`] (which prepared statement and portal a name means in the server, not in the
//! client's hopes) and [`Verifier`] (the client's password is a decoy, asked for by SCRAM). [`damage`] says
//! what a statement would take, and keeps it.
//!
//! What must stay true: a message that is not fully understood is an error and ends the connection;
//! nothing is forwarded as bytes, every message is written anew from what was read; a length is
//! checked before anything of that length is kept.

mod answers;
mod channel;
mod conversation;
pub mod damage;
mod dial;
mod entrance;
mod frame;
mod gate;
mod judging;
mod message;
mod names;
mod refusal;
mod routines;
mod scram;
mod server;
mod startup;
mod tally;

pub use dial::connect_in_person;
pub use frame::{Frame, Frames};
pub use gate::{DialError, Gate};
pub use message::{Format, FrontendMessage, Password, Target};
pub use names::{Names, NamesError, PreparedStatement, Status};
pub use scram::{ChannelBinding, Exchange, ITERATIONS, ScramError, Verifier};
pub use server::{Ask, Login, Rows, Server, ServerError, quoted_name, quoted_value};
pub use startup::{Opening, Startup};

/// What a client sent cannot be read as the protocol. The connection ends.
///
/// No message repeats what the client sent beyond names that were matched against a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A length lies outside of what its message may have.
    #[error("a {what} of {length} bytes was announced; at most {most} are read")]
    Length {
        /// What kind of message.
        what: &'static str,
        /// The announced length, in bytes.
        length: u32,
        /// The longest that is read, in bytes.
        most: u32,
    },
    /// A message ends within a field, or goes on behind its last one.
    #[error("a {0} message does not have the fields that the protocol gives it")]
    Fields(&'static str),
    /// Text that is not UTF-8, the one encoding that is used.
    #[error("a {0} message has text that is not UTF-8; use client_encoding = UTF8")]
    Text(&'static str),
    /// A message that no client may send here.
    #[error("{0} is not possible through Tagout")]
    Refused(&'static str),
    /// A protocol other than 3.
    #[error("protocol version {0} is not spoken here, only 3.0")]
    Version(u16),
    /// A startup parameter that is not in the list.
    #[error(
        "a startup parameter is not possible through Tagout; these are: {list}. Set others by SET",
        list = startup::listed()
    )]
    Parameter,
}
