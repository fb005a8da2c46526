//! MySQL's and MariaDB's client/server protocol (MySQL's manual, "Client/Server Protocol") as a gate reads it
//! from a client that is an attacker.
//!
//! [`Gate`] serves a session's connections: whoever knows the decoy gets a server, where the real password
//! is said, and each command that runs something is judged before it is written there. Below it lies pure
//! code: [`Packets`] (how a stream is cut), [`Introduction`] (who a client says that it is), [`Command`]
//! (everything it may say after that) and [`Answer`] (where what the server says to it ends). [`damage`]
//! says what a statement would take, and keeps it.
//!
//! What must stay true: a command that is not fully understood is refused or ends the connection; nothing is
//! forwarded as bytes, every command is written anew from what was read; a text that was judged as one
//! statement can run as one only; and the server reads a text under the settings that [`pins`] names, or
//! the connection ends.

mod answer;
mod capability;
mod command;
mod conversation;
pub mod damage;
mod dial;
mod gate;
mod greeting;
mod judging;
mod packet;
mod pins;
mod refusal;
mod scramble;
mod server;
mod values;

pub use answer::{Answer, Complaint, Shape, Status};
pub use command::Command;
pub use dial::{DialError, Link, Stream, connect_in_person};
pub use gate::Gate;
pub use greeting::{Greeting, Introduction, Login};
pub use packet::{FULL, Message, Packet, Packets, write_message};
pub use server::{Rows, Server, ServerError, Value};

/// What a client or a server sent cannot be read as the protocol.
///
/// No message repeats what was sent beyond names that were matched against a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than what is read.
    #[error("a message of more than {0} bytes was announced")]
    TooLong(usize),
    /// Packets are numbered from 0.
    #[error("a packet has another number than its turn")]
    Sequence,
    /// A message ends within a field, or goes on behind its last one.
    #[error("a {0} message does not have the fields that the protocol gives it")]
    Fields(&'static str),
    /// Text that is not UTF-8, the one encoding that is used.
    #[error("a {0} message has text that is not UTF-8; use utf8mb4")]
    Text(&'static str),
    /// A command that no client may send here.
    #[error("{0} is not possible through Tagout")]
    Refused(&'static str),
    /// Not version 10.
    #[error("another version of the protocol than 10")]
    Version,
    /// Older than MySQL 4.1.
    #[error("the protocol of before MySQL 4.1")]
    Capabilities,
    /// An answer that no server gives to what was asked.
    #[error("an answer that belongs nowhere here")]
    Answer,
}
