//! How far TLS goes with a server, and what is known of whoever answers.

use tagout_core::Transport;
use tagout_net::Verification;

use crate::{Place, is_this_machine};

/// What a URL says of TLS, in libpq's words (`sslmode`); MySQL and Redis mean the same by other ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server has it, unverified.
    Prefer,
    /// Always, unverified unless an authority is named.
    Require,
    /// Always, of a known authority.
    VerifyCa,
    /// Always, of a known authority and for the host's name.
    VerifyFull,
}

impl SslMode {
    /// What a URL that says nothing means: verified, but for a server on this machine.
    pub fn or_usual(mode: Option<Self>, place: &Place) -> Self {
        match (mode, place) {
            // Nobody can stand between.
            (_, Place::Socket(_)) => Self::Disable,
            (Some(mode), _) => mode,
            (None, Place::Host(host)) if is_this_machine(host) => Self::Prefer,
            (None, Place::Host(_)) => Self::VerifyFull,
        }
    }

    /// What the server's certificate has to prove; `has_root` where the URL names an authority.
    pub fn verification(self, has_root: bool) -> Verification {
        match self {
            Self::VerifyFull => Verification::Full,
            Self::VerifyCa => Verification::Authority,
            // As libpq: whoever gives an authority means it.
            Self::Require if has_root => Verification::Authority,
            Self::Disable | Self::Prefer | Self::Require => Verification::Nothing,
        }
    }

    /// What can be promised of a connection before there is one.
    pub fn transport(self) -> Transport {
        match self {
            Self::Disable | Self::Prefer => Transport::Plain,
            Self::Require | Self::VerifyCa | Self::VerifyFull => Transport::Tls,
        }
    }
}

/// How far the other end of a connection is known, which decides what may be sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its certificate was verified for its name, or it is this machine.
    Verified,
    /// Encrypted or not, nobody knows who is there: no password may go as text or as a simple hash.
    Unverified,
}
