//! The handshake of a WebSocket (RFC 6455 §4), checked on both sides: a client's is read whole or not
//! at all, and what goes to the server has a key and fields of the gate's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tagout_secrets::is_guessable;

use crate::client::{AnswerHead, Content};
use crate::head::{Framing, RequestHead, Version};
use crate::upload::OutgoingBody;

pub(crate) type Upstream = TokioIo<hyper::upgrade::Upgraded>;

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest name of a subprotocol; some clients put a token in its place.
const LONGEST_PROTOCOL: usize = 32;

/// What a client's handshake says (RFC 6455 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    key: String,
    /// The subprotocols that the client offers.
    pub(crate) protocols: Vec<String>,
}

/// A connection after both handshakes.
pub(crate) struct Open {
    pub(crate) upstream: Upstream,
    /// The subprotocol that the server chose.
    pub(crate) protocol: Option<String>,
}

impl Handshake {
    /// Reads the handshake in a request's head; `None` where it is none, or not a whole one.
    pub(crate) fn read(head: &RequestHead) -> Option<Self> {
        let one = |name: &'static str| {
            let mut values = head.field(name);
            values.next().filter(|_| values.next().is_none())
        };
        let key = one("sec-websocket-key")?;
        let is_handshake = head.version == Version::Http11
            && head.method == "GET"
            && head.framing == Framing::Empty
            && one("upgrade")?.eq_ignore_ascii_case("websocket")
            && head.lists("connection", "upgrade")
            && one("sec-websocket-version")? == "13"
            && STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
        let protocols: Vec<String> = head
            .field("sec-websocket-protocol")
            .flat_map(|value| value.split(','))
            .map(|token| token.trim().to_owned())
            .collect();
        (is_handshake && protocols.iter().all(|name| is_protocol(name))).then(|| Self {
            key: key.to_owned(),
            protocols,
        })
    }

    /// The permitted handshake as it goes out, with a key of its own; and what must come back.
    pub(crate) fn outgoing(&self, request: &mut Request<OutgoingBody>) -> Option<String> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        let key = STANDARD.encode(nonce);
        *request.method_mut() = Method::GET;
        let fields = request.headers_mut();
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(VERSION, HeaderValue::from_static("13"));
        fields.insert(KEY, HeaderValue::from_str(&key).ok()?);
        // Extensions change what frames mean, and the gate reads frames.
        fields.remove(EXTENSIONS);
        Some(accept(&key))
    }

    /// What the client gets for a server that took the handshake.
    pub(crate) fn answer(&self, open: &Open) -> AnswerHead {
        let mut fields = HeaderMap::new();
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(value) = HeaderValue::from_str(&accept(&self.key)) {
            fields.insert(ACCEPT, value);
        }
        if let Some(protocol) = &open.protocol
            && let Ok(value) = HeaderValue::from_str(protocol)
        {
            fields.insert(PROTOCOL, value);
        }
        AnswerHead {
            status: StatusCode::SWITCHING_PROTOCOLS,
            fields,
            content: Content::Switched,
        }
    }

    /// Takes over the connection on which a server took the handshake (RFC 6455 §4.2.2).
    ///
    /// # Errors
    /// When what the server answered is no answer to it.
    pub(crate) async fn open(
        &self,
        mut response: Response<Incoming>,
        expected: &str,
    ) -> Result<Open, &'static str> {
        let fields = response.headers();
        let is = |name: &HeaderName, expected: &str| {
            let mut values = fields.get_all(name).iter();
            values
                .next()
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
                && values.next().is_none()
        };
        let connection = fields.get(CONNECTION).and_then(|value| value.to_str().ok());
        let is_switched = connection.is_some_and(|value| {
            let mut tokens = value.split(',');
            tokens.any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        });
        if !is_switched || !is(&UPGRADE, "websocket") {
            return Err("the server switched to another protocol than WebSocket");
        }
        let accepted = fields.get(&ACCEPT).map(HeaderValue::as_bytes);
        if accepted != Some(expected.as_bytes()) {
            return Err("the server's Sec-WebSocket-Accept is wrong");
        }
        if fields.contains_key(&EXTENSIONS) {
            return Err("the server uses a WebSocket extension that was not offered");
        }
        let protocol = match fields.get(&PROTOCOL).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(name)) if self.protocols.iter().any(|offered| offered == name) => {
                Some(name.to_owned())
            }
            Some(_) => return Err("the server chose a subprotocol that was not offered"),
        };
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|_| "the server closed the connection after its handshake")?;
        Ok(Open {
            upstream: TokioIo::new(upgraded),
            protocol,
        })
    }
}

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// A name, not a token that somebody hides there: nothing looks at subprotocols for credentials.
fn is_protocol(name: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty()
        && name.len() <= LONGEST_PROTOCOL
        && name.bytes().all(ok)
        && (name.len() < 16
            || is_guessable(name.as_bytes())
            || !name.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::parse_head;

    fn handshake(fields: &str) -> Option<Handshake> {
        let text = format!(
            "GET /s HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\n{fields}\r\n"
        );
        Handshake::read(&parse_head(text.as_bytes()).unwrap())
    }

    const WHOLE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    #[test]
    fn a_handshake_is_read_and_answered() {
        let read = handshake(&format!(
            "{WHOLE}Sec-WebSocket-Protocol: chat, superchat\r\n"
        ))
        .unwrap();
        assert_eq!(read.protocols, ["chat", "superchat"]);
        // The example of RFC 6455 §1.3.
        assert_eq!(accept(&read.key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn invariant_6_half_a_handshake_is_none() {
        for fields in [
            "Upgrade: websocket\r\n".to_owned(),
            WHOLE.replace("websocket\r\n", "websocket, h2c\r\n"),
            WHOLE.replace("websocket\r\n", "h2c\r\n"),
            WHOLE.replace("13", "8"),
            WHOLE.replace("dGhlIHNhbXBsZSBub25jZQ==", "abc"),
            format!("{WHOLE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            format!("{WHOLE}Upgrade: websocket\r\n"),
            format!("{WHOLE}Content-Length: 3\r\n"),
        ] {
            assert_eq!(handshake(&fields), None, "{fields}");
        }
    }

    #[test]
    fn invariant_4_a_subprotocol_is_a_name_and_no_token() {
        for name in [
            "graphql-transport-ws",
            "graphql-ws",
            "mqtt",
            "v12.stomp",
            "actioncable-v1-json",
            "actioncable-unsupported",
            "v4.channel.k8s.io",
            "vite-hmr",
            "realtime",
            "ocpp1.6",
            "openai-beta.realtime-v1",
        ] {
            assert!(is_protocol(name), "{name}");
        }
        for name in [
            "openai-insecure-api-key.sk-proj-q8Zr2Lw0vXcB5nM1tYkJ",
            "base64url.bearer.authorization.k8s.io.bXl0b2tlbg",
            "k3Qm8VtR2xLp7NcYw0Zs",
            "",
            "a b",
        ] {
            assert!(!is_protocol(name), "{name}");
        }
    }
}
