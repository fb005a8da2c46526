//! Where a server listens.

use std::net::IpAddr;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A name or an address, the address without brackets.
    Host(String),
    /// A path of this machine: the server's socket, or for PostgreSQL the folder of it.
    Socket(String),
}

impl Place {
    /// Whether nobody else can stand between.
    pub fn is_here(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Host(host) => is_this_machine(host),
        }
    }
}

/// Whether `host` is this machine's own loopback.
pub fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
