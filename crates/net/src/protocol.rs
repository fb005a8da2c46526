//! The versions of HTTP that a connection can carry, and how ALPN calls them.

/// A version of HTTP over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112), and what a peer speaks that does not negotiate.
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Protocol {
    /// Its name in the registry of ALPN protocol ids.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// What to offer so that nothing newer than `self` is spoken, best first.
    pub(crate) fn offer(self) -> Vec<Vec<u8>> {
        [Self::Http2, Self::Http1]
            .into_iter()
            .filter(|protocol| *protocol <= self)
            .map(|protocol| protocol.alpn().to_vec())
            .collect()
    }

    /// What a handshake ended with.
    pub(crate) fn negotiated(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(Self::Http2.alpn()) {
            Self::Http2
        } else {
            Self::Http1
        }
    }
}
