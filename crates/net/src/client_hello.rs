//! The TLS `ClientHello` (RFC 8446 §4.1.2), read before anything else happens on a connection: the
//! server name in it must agree with the synthetic address, and on a host that is passed through
//! uninspected it is all that Tagout sees. Own parser, because the bytes must stay at hand to be
//! passed on, and small enough to be read against the RFC.

use tagout_core::HostName;

use crate::error::NetError;
use crate::protocol::Protocol;

/// Longest handshake message that is read; browsers with post-quantum keys send about 2 KiB.
const LONGEST_HELLO: usize = 32 * 1024;
/// RFC 8446 §5.1.
const LONGEST_RECORD: usize = 16 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What a client says before it knows whom it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name (RFC 6066 §3), when there is one.
    pub server_name: Option<HostName>,
    /// Whether there is an Encrypted Client Hello (RFC 9849), behind which another name may stand.
    pub encrypted: bool,
    /// The protocols that the client offers (RFC 7301 §3.1), as they are registered; empty when it
    /// does not negotiate.
    pub protocols: Vec<Vec<u8>>,
}

impl ClientHello {
    /// Whether the client speaks `protocol`. One that does not negotiate speaks HTTP/1.1.
    pub fn offers(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Http1 if self.protocols.is_empty() => true,
            _ => self.protocols.iter().any(|name| name == protocol.alpn()),
        }
    }
}

/// Reads a `ClientHello` from the first bytes of a connection, which may be split over any number of
/// records. `Ok(None)`: so far so good, more bytes are needed.
///
/// # Errors
/// When the bytes are no `ClientHello`, or its server name is no host name.
pub fn parse_client_hello(bytes: &[u8]) -> Result<Option<ClientHello>, NetError> {
    let mut message = Vec::new();
    let mut rest = Reader(bytes);
    loop {
        if let Some(hello) = complete_message(&message)? {
            return read_hello(hello).map(Some);
        }
        let Some(kind) = rest.u8() else {
            return Ok(None);
        };
        if kind != RECORD_HANDSHAKE {
            return Err(NetError::Handshake("it begins with something else"));
        }
        let Some(version) = rest.u8() else {
            return Ok(None);
        };
        if version != 3 {
            return Err(NetError::Handshake("its record version is unknown"));
        }
        let (Some(_), Some(length)) = (rest.u8(), rest.u16()) else {
            return Ok(None);
        };
        let length = usize::from(length);
        if length == 0 || length > LONGEST_RECORD {
            return Err(NetError::Handshake("a record is empty or too long"));
        }
        let Some(fragment) = rest.take(length) else {
            return Ok(None);
        };
        message.extend(fragment);
    }
}

/// The body of the message once all of it is there.
fn complete_message(message: &[u8]) -> Result<Option<&[u8]>, NetError> {
    let mut reader = Reader(message);
    let Some(kind) = reader.u8() else {
        return Ok(None);
    };
    if kind != HANDSHAKE_CLIENT_HELLO {
        return Err(NetError::Handshake("its first message is no ClientHello"));
    }
    let Some(length) = reader.u24() else {
        return Ok(None);
    };
    if length > LONGEST_HELLO {
        return Err(NetError::Handshake("the ClientHello is too long"));
    }
    match reader.take(length) {
        None => Ok(None),
        // RFC 8446 §5.1: no other message may share the record before a key change.
        Some(_) if !reader.0.is_empty() => Err(NetError::Handshake(
            "something stands behind the ClientHello in its record",
        )),
        Some(body) => Ok(Some(body)),
    }
}

fn read_hello(body: &[u8]) -> Result<ClientHello, NetError> {
    const BROKEN: NetError = NetError::Handshake("the ClientHello is cut off");
    let mut reader = Reader(body);
    reader.take(2 + 32).ok_or(BROKEN)?;
    reader.vector8().ok_or(BROKEN)?;
    reader.vector16().ok_or(BROKEN)?;
    reader.vector8().ok_or(BROKEN)?;
    let mut hello = ClientHello {
        server_name: None,
        encrypted: false,
        protocols: Vec::new(),
    };
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(reader.vector16().ok_or(BROKEN)?);
    if !reader.0.is_empty() {
        return Err(NetError::Handshake(
            "something stands behind the extensions",
        ));
    }
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(BROKEN)?;
        let content = extensions.vector16().ok_or(BROKEN)?;
        if seen.contains(&kind) {
            return Err(NetError::Handshake("an extension stands there twice"));
        }
        seen.push(kind);
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = Some(read_server_name(content)?),
            EXTENSION_ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            EXTENSION_ALPN => hello.protocols = read_protocols(content)?,
            _ => (),
        }
    }
    Ok(hello)
}

/// RFC 6066 §3: a list, in which a name type must not stand twice; there is only the one type.
fn read_server_name(content: &[u8]) -> Result<HostName, NetError> {
    const BROKEN: NetError = NetError::Handshake("its server name is cut off");
    let mut outer = Reader(content);
    let mut list = Reader(outer.vector16().ok_or(BROKEN)?);
    let kind = list.u8().ok_or(BROKEN)?;
    let name = list.vector16().ok_or(BROKEN)?;
    if kind != 0 || !list.0.is_empty() || !outer.0.is_empty() {
        return Err(NetError::Handshake("it has more than one server name"));
    }
    let name = std::str::from_utf8(name)
        .map_err(|_| NetError::Handshake("its server name is not ASCII"))?;
    Ok(HostName::parse(name)?)
}

/// RFC 7301 §3.1: a list of names, none of them empty.
fn read_protocols(content: &[u8]) -> Result<Vec<Vec<u8>>, NetError> {
    const BROKEN: NetError = NetError::Handshake("its list of protocols is broken");
    let mut outer = Reader(content);
    let mut list = Reader(outer.vector16().ok_or(BROKEN)?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8().ok_or(BROKEN)?;
        if name.is_empty() {
            return Err(BROKEN);
        }
        protocols.push(name.to_vec());
    }
    if protocols.is_empty() || !outer.0.is_empty() {
        return Err(BROKEN);
    }
    Ok(protocols)
}

/// What is left to read. Every step takes something or says that it is not there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn u24(&mut self) -> Option<usize> {
        let (&[a, b, c], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector16(content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as u16).to_be_bytes().to_vec();
        bytes.extend(content);
        bytes
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend(vector16(content));
        bytes
    }

    fn server_name(name: &[u8]) -> Vec<u8> {
        let mut entry = vec![0];
        entry.extend(vector16(name));
        extension(EXTENSION_SERVER_NAME, &vector16(&entry))
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(vector16(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(vector16(extensions));
        let mut message = vec![HANDSHAKE_CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for fragment in message.chunks(size) {
            bytes.extend([RECORD_HANDSHAKE, 3, 1]);
            bytes.extend(vector16(fragment));
        }
        bytes
    }

    /// A whole hello for `name`.
    pub(crate) fn hello_for(name: &str) -> Vec<u8> {
        records(&message(&server_name(name.as_bytes())), LONGEST_RECORD)
    }

    fn parse(extensions: &[u8]) -> Result<Option<ClientHello>, NetError> {
        parse_client_hello(&records(&message(extensions), LONGEST_RECORD))
    }

    #[test]
    fn the_server_name_is_read_and_folded() {
        let hello = parse_client_hello(&hello_for("API.example.com"))
            .unwrap()
            .unwrap();
        assert_eq!(hello.server_name.unwrap().as_str(), "api.example.com");
        assert!(!hello.encrypted);
        let hello = parse(&extension(43, b"x")).unwrap().unwrap();
        assert_eq!(hello.server_name, None);
        let hello = parse(&extension(EXTENSION_ENCRYPTED_CLIENT_HELLO, b"x")).unwrap();
        assert!(hello.unwrap().encrypted);
    }

    #[test]
    fn the_protocols_are_read() {
        let offer = |list: &[u8]| parse(&extension(EXTENSION_ALPN, &vector16(list)));
        let both = offer(b"\x02h2\x08http/1.1").unwrap().unwrap();
        assert!(both.offers(Protocol::Http2) && both.offers(Protocol::Http1));
        let one = offer(b"\x02h2").unwrap().unwrap();
        assert!(one.offers(Protocol::Http2) && !one.offers(Protocol::Http1));
        let none = parse(&[]).unwrap().unwrap();
        assert!(!none.offers(Protocol::Http2) && none.offers(Protocol::Http1));
        for broken in [&b""[..], b"\0", b"\x03h2", b"\x02h2\0"] {
            assert!(offer(broken).is_err(), "{broken:?}");
        }
        assert!(parse(&extension(EXTENSION_ALPN, b"\x00\x03\x02h2!")).is_err());
    }

    #[test]
    fn invariant_6_a_hello_that_parsers_disagree_on_is_refused() {
        let twice = [server_name(b"a.example"), server_name(b"b.example")].concat();
        assert!(parse(&twice).is_err());
        let mut two = vec![0];
        two.extend(vector16(b"a.example"));
        two.push(0);
        two.extend(vector16(b"b.example"));
        assert!(parse(&extension(EXTENSION_SERVER_NAME, &vector16(&two))).is_err());
        for name in [
            "",
            "a.example.",
            "localhost:9443",
            "127.0.0.1",
            "a\0.example",
            "*.a.example",
        ] {
            assert!(parse(&server_name(name.as_bytes())).is_err(), "{name:?}");
        }
        assert!(parse(&server_name(b"\xff\xfe")).is_err());
        let mut behind = message(&server_name(b"a.example"));
        behind.extend([11, 0, 0, 0]);
        assert!(parse_client_hello(&records(&behind, LONGEST_RECORD)).is_err());
        assert!(parse_client_hello(b"GET / HTTP/1.1\r\n").is_err());
        assert!(parse_client_hello(b"\x80\x2e\x01\x03\x01").is_err());
        assert!(parse_client_hello(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn fragmentation_changes_nothing(size in 1usize..80) {
            let bytes = records(&message(&server_name(b"api.example.com")), size);
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse_client_hello(&bytes[..cut]).unwrap(), None);
            }
            let hello = parse_client_hello(&bytes).unwrap().unwrap();
            prop_assert_eq!(hello.server_name.unwrap().as_str().to_owned(), "api.example.com");
        }

        #[test]
        fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), like in any::<bool>()) {
            if like && bytes.len() > 9 {
                bytes[..3].copy_from_slice(&[22, 3, 1]);
                bytes[5] = 1;
            }
            let _ = parse_client_hello(&bytes);
        }
    }
}
