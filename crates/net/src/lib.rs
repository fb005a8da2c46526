//! The wire's edge: what the agent's connections arrive at and what Tagout's own connections leave
//! by. Synthetic names ([`Names`]), captured connections ([`Listeners`]), the session's certificate
//! authority ([`SessionCa`]) and connections to the world ([`Upstream`]).
//!
//! What must stay true: no name is resolved and nothing is dialled without an
//! [`Admission`](tagout_authority::Admission), which only the authority makes; the address that was
//! checked is the address that is dialled; the session CA's key never leaves this process.

mod address;
mod capture;
mod client_hello;
mod error;
mod names;
mod pass;
mod protocol;
mod proxy;
mod tls;
mod upstream;
mod verification;

pub use address::{AddressClass, refused_class};
pub use capture::{Captured, Destination, Listeners, Opening, Replayed};
pub use client_hello::{ClientHello, parse_client_hello};
pub use error::NetError;
pub use names::{AddressRange, NameServer, Names, PROXY_PORT, Question, Reply, answer_message};
pub use pass::{Passed, pass_through};
pub use protocol::Protocol;
pub use proxy::Proxy;
pub use tls::{Bundle, SessionCa, combined_bundle, refuse_handshake};
pub use upstream::{Connection, Upstream, UpstreamConfig, UpstreamStream};
pub use verification::{DatabaseTls, Verification};
