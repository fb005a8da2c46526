//! The HTTP gate: reads every request of a captured connection once, in full, under one strict
//! grammar; has it recognised and judged; sends the canonical form of what was judged with the
//! credential attached; cleans the answer.
//!
//! What must stay true: the gate decides nothing, a fault in a request is put before the authority
//! like everything else; nothing is sent without a permit; no byte is forwarded in the form in which
//! it came.

mod answer;
mod attached;
mod client;
mod coding;
mod content;
mod exchange;
mod frames;
mod framing;
mod gate;
mod git;
mod graphql_ws;
mod handed_out;
mod handshake;
mod head;
mod http1;
mod http2;
mod login;
mod messages;
mod outgoing;
mod proxy;
mod pushes;
mod refusal;
mod release;
mod server;
mod spool;
mod streaming;
mod understand;
mod upload;
mod veiled;
mod websocket;

pub use frames::{BadFrame, Message, Reader as FrameReader, Side};
pub use gate::Gate;
pub use git::{GitCredentials, History, Objects, Waiting};
pub use head::{Framing, Malformed, RequestHead, Version, parse_head};
pub use understand::names_target;
