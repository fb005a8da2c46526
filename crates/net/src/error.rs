//! What can go wrong at the wire's edge. Every message may be shown to the agent, so none contains
//! what a peer sent beyond a validated name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tagout_core::{HostName, HostNameError};

use crate::address::AddressClass;

/// Something at the wire's edge failed. Whoever gets one refuses.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listening socket could not be taken over.
    #[error("a listening socket could not be used: {0}")]
    Listener(#[source] io::Error),
    /// The client went away or its connection broke.
    #[error("the client's connection broke: {0}")]
    Client(#[source] io::Error),
    /// The client was silent, or sent too slowly.
    #[error("the client took longer than {seconds} s to {what}")]
    ClientTooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long it may take.
        seconds: u64,
    },
    /// The client's first bytes are no TLS `ClientHello` (RFC 8446 §4.1.2).
    #[error("the client's TLS handshake cannot be read: {0}")]
    Handshake(&'static str),
    /// The client's server name (RFC 6066 §3) is no host name.
    #[error("the client's TLS server name is no host name: {0}; send the name without a port")]
    ServerName(#[from] HostNameError),
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Certificate(String),
    /// A file of certificates in `config.toml` could not be read.
    #[error("the CA file {path} cannot be used: {reason}; check [network] ca_files", path = path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The name has no address.
    #[error("{host} could not be resolved: {source}")]
    Resolve {
        /// The name.
        host: HostName,
        /// What the resolver said.
        source: io::Error,
    },
    /// Every address of the name is one that Tagout does not dial.
    #[error(
        "{host} resolves to {address}, {class}, which Tagout does not dial; if that is meant, pin it in config.toml: [address] \"{host}:{port}\" = \"{address}:{port}\""
    )]
    Address {
        /// The name.
        host: HostName,
        /// The port.
        port: u16,
        /// The first address that was refused.
        address: IpAddr,
        /// Why.
        class: AddressClass,
    },
    /// The operator's proxy did not connect.
    #[error("{host} cannot be reached through upstream_proxy: {reason}")]
    Proxy {
        /// The name.
        host: HostName,
        /// Why not.
        reason: String,
    },
    /// None of the name's addresses took the connection.
    #[error("{host} at {address} did not take the connection: {source}")]
    Dial {
        /// The name.
        host: HostName,
        /// The last address tried.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The server's TLS handshake failed; its certificate may not be valid for the name.
    #[error("the TLS handshake with {host} failed: {source}")]
    ServerHandshake {
        /// The name.
        host: HostName,
        /// What went wrong.
        source: io::Error,
    },
    /// The server took too long.
    #[error("{host} took longer than {seconds} s to {what}")]
    ServerTooSlow {
        /// The name.
        host: HostName,
        /// What was waited for.
        what: &'static str,
        /// How long it may take.
        seconds: u64,
    },
}
