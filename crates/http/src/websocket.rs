//! WebSocket (RFC 6455) on hosts that are granted for it. The handshake is a request of its own, judged
//! as `CONNECT` on its path (docs/adr/0006); after it no byte is passed on in the form in which it
//! came: frames are read, whole messages are looked at like requests, and written anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tagout_authority::{Outcome, Permit};
use tagout_catalog::{pack_for_host, recognise};
use tagout_core::{HttpBody, HttpRequest, Refusal};
use tagout_secrets::{Redactor, StreamFinder, is_guessable};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answer::SILENCE;
use crate::client::{AnswerHead, Answering, Asking, ClientError, Content, PAUSE};
use crate::exchange::{Asked, failed, gave_up, unsent};
use crate::frames::{Message, Reader, Side};
use crate::gate::Gate;
use crate::graphql_ws::{Conversation, Dialect, Judged};
use crate::head::{Framing, RequestHead, Version};
use crate::outgoing::outgoing;
use crate::server::{Lease, SendError, Server};
use crate::upload::OutgoingBody;

type Upstream = TokioIo<hyper::upgrade::Upgraded>;

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest name of a subprotocol; some clients put a token in its place.
const LONGEST_PROTOCOL: usize = 32;
/// Close codes of RFC 6455 §7.4.1.
const POLICY: u16 = 1008;
const GOING_AWAY: u16 = 1001;
/// How long the other side may take to say goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a client's handshake says (RFC 6455 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    key: String,
    /// The subprotocols that the client offers.
    pub(crate) protocols: Vec<String>,
}

/// A connection after both handshakes.
pub(crate) struct Open {
    upstream: Upstream,
    /// The subprotocol that the server chose.
    pub(crate) protocol: Option<String>,
}

/// Why a conversation ended.
enum Ended {
    /// One side left, or both said goodbye.
    Over,
    /// Frames that break the protocol.
    Broken(u16, &'static str),
    /// What the client said may not leave.
    Refused(Refusal),
}

/// What a client's messages are looked at with.
struct Looking<'a> {
    handshake: &'a HttpRequest,
    finder: StreamFinder,
    /// On a host with a pack.
    graphql: Option<Conversation>,
    /// Says to the client what the server does not.
    teller: mpsc::Sender<String>,
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

impl Gate {
    /// Sends a permitted handshake, and goes on as a WebSocket where the server takes it.
    pub(crate) async fn websocket(
        &self,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        server: &Server,
        permit: &Permit,
        asked: &Asked,
        handshake: &Handshake,
    ) -> Outcome {
        let failed = match self.shake_hands(server, permit, handshake).await {
            Err(error) => unsent(&error),
            Ok((answered, expected)) => {
                if answered.0.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let outcome = Outcome::default();
                    return self
                        .answer(
                            Some(asking),
                            answering,
                            server,
                            permit,
                            asked,
                            answered,
                            outcome,
                        )
                        .await;
                }
                match handshake.open(answered.0, &expected).await {
                    Ok(open) => {
                        let head = handshake.answer(&open);
                        if answering.head(head).await.is_err() || answering.flush().await.is_err() {
                            return gave_up(&ClientError::Gone.to_string(), 0);
                        }
                        return self.converse(asking, answering, permit, open).await;
                    }
                    Err(why) => failed(format!("{why}."), "Tell your user which URL answers so."),
                }
            }
        };
        self.fail(answering, permit, asked, &failed).await;
        gave_up(&failed.reason, 0)
    }

    async fn shake_hands(
        &self,
        server: &Server,
        permit: &Permit,
        handshake: &Handshake,
    ) -> Result<((Response<Incoming>, Lease), String), SendError> {
        let mut request = outgoing(permit, "identity", false, None)?;
        let expected = handshake
            .outgoing(&mut request)
            .ok_or_else(|| SendError::Request("no handshake could be made".to_owned()))?;
        let answered = timeout(PAUSE, server.send(request))
            .await
            .map_err(|_| SendError::Request("the server did not answer".to_owned()))??;
        Ok((answered, expected))
    }

    /// Passes messages both ways until either side leaves or says what may not be passed.
    async fn converse(
        &self,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        permit: &Permit,
        open: Open,
    ) -> Outcome {
        let mut outcome = Outcome {
            status: Some(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
            ..Outcome::default()
        };
        let graphql = match pack_for_host(&permit.action().request().target.host) {
            None => None,
            Some(_) => match Dialect::of(open.protocol.as_deref()) {
                Some(dialect) => Some(Conversation::new(dialect, permit.action().request())),
                // Nothing that is said could be understood.
                None => return gave_up("the server chose no subprotocol of GraphQL", 0),
            },
        };
        asking.switch();
        let host = &permit.action().request().target.host;
        let redactor = self.inner.attachable.redactor(host, permit.broker());
        let (reader, mut writer) = split(open.upstream);
        let ended = {
            let finder = permit.broker().stream();
            let handshake = permit.action().request();
            let sent = &mut outcome.request_bytes;
            let (teller, told) = mpsc::channel(8);
            let mut looking = Looking {
                handshake,
                finder,
                graphql,
                teller,
            };
            let outward = self.outward(asking, &mut writer, &mut looking, sent);
            let received = &mut outcome.response_bytes;
            let inward = inward(reader, answering, redactor.as_ref(), told, received);
            let (mut outward, mut inward) = (std::pin::pin!(outward), std::pin::pin!(inward));
            tokio::select! {
                ended = &mut outward => match ended {
                    // The server says goodbye too, and what it still had to say comes before that.
                    Ended::Over => timeout(GOODBYE, inward).await.unwrap_or(Ended::Over),
                    ended => ended,
                },
                ended = &mut inward => match ended {
                    Ended::Over => timeout(GOODBYE, outward).await.unwrap_or(Ended::Over),
                    ended => ended,
                },
            }
        };
        let (code, text) = match ended {
            Ended::Over => (None, String::new()),
            Ended::Broken(code, reason) => (Some(code), reason.to_owned()),
            Ended::Refused(refusal) => (Some(POLICY), refusal.to_string()),
        };
        if let Some(code) = code {
            let away = Message::Close(Some((GOING_AWAY, String::new())));
            let _ = timeout(GOODBYE, writer.write_all(&away.write(mask()))).await;
            let mut reason = text.clone();
            // RFC 6455 §5.5: a control frame has 125 octets, two of them the code.
            while reason.len() > 123 {
                reason.pop();
            }
            let close = Message::Close(Some((code, reason))).write(None);
            let _ = answering.data(close.into()).await;
            let _ = answering.flush().await;
            outcome.error = Some(text);
        }
        let _ = timeout(GOODBYE, writer.shutdown()).await;
        outcome
    }

    /// From the client to the server.
    async fn outward(
        &self,
        asking: &mut impl Asking,
        writer: &mut WriteHalf<Upstream>,
        looking: &mut Looking<'_>,
        sent: &mut u64,
    ) -> Ended {
        let mut reader = Reader::new(Side::Client);
        loop {
            let message = match reader.next_message() {
                Err(bad) => return Ended::Broken(bad.code, bad.reason),
                Ok(Some(message)) => message,
                Ok(None) => match asking.content().await {
                    Ok(Some(data)) => {
                        reader.feed(&data);
                        continue;
                    }
                    Ok(None) | Err(_) => return Ended::Over,
                },
            };
            let judged = tokio::select! {
                biased;
                // An approval must not release what nobody waits for any more.
                () = asking.gone() => return Ended::Over,
                judged = self.judged(looking, message) => judged,
            };
            let message = match judged {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(refusal) => return Ended::Refused(refusal),
            };
            *sent += message.content().len() as u64;
            let Some(mask) = mask() else {
                return Ended::Broken(1011, "the operating system gives no random bytes");
            };
            let written = timeout(SILENCE, async {
                writer.write_all(&message.write(Some(mask))).await?;
                writer.flush().await
            });
            if !matches!(written.await, Ok(Ok(()))) || matches!(message, Message::Close(_)) {
                return Ended::Over;
            }
        }
    }

    /// What of a message goes to the server, if anything. On a host with a pack it is an action;
    /// elsewhere one that is like any other needs no verdict beyond the handshake's.
    async fn judged(
        &self,
        looking: &mut Looking<'_>,
        message: Message,
    ) -> Result<Option<Message>, Refusal> {
        let message = match (&mut looking.graphql, message) {
            (Some(conversation), Message::Text(text)) => {
                let handshake = looking.handshake;
                match self.judge_graphql(conversation, handshake, &text).await? {
                    // The action that it came from was examined.
                    Judged::Send(text) => return Ok(Some(Message::Text(text))),
                    Judged::Answer(text) => {
                        // A client that does not listen any more is gone.
                        let _ = looking.teller.send(text).await;
                        return Ok(None);
                    }
                }
            }
            (Some(_), Message::Binary(_)) => {
                return Err(failed(
                    "a binary message is no GraphQL.",
                    "Send text messages of the subprotocol.",
                ));
            }
            // Nothing of these is read by the provider; the content of a ping only comes back.
            (Some(_), Message::Ping(_)) => Message::Ping(Vec::new()),
            (Some(_), Message::Pong(_)) => Message::Pong(Vec::new()),
            (Some(_), Message::Close(_)) => Message::Close(None),
            (None, message) => message,
        };
        self.examined(looking.handshake, message, &mut looking.finder)
            .await
            .map(Some)
    }

    /// Has a message refused for what stands in it.
    async fn examined(
        &self,
        handshake: &HttpRequest,
        message: Message,
        finder: &mut StreamFinder,
    ) -> Result<Message, Refusal> {
        if message.content().is_empty() {
            return Ok(message);
        }
        let mut request = HttpRequest {
            // The handshake's own fields were judged with it.
            headers: Vec::new(),
            query: tagout_core::CanonicalQuery::default(),
            body: HttpBody::Whole(message.content().to_vec()),
            ..handshake.clone()
        };
        let is_whole = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_whole && self.is_model_host(&request.target.host) {
            let broker = self.inner.authority.broker();
            if let Some(masked) = broker.mask_for_model_host(request.body.bytes()) {
                request.body = HttpBody::Whole(masked);
            }
        }
        let content = request.body.bytes().to_vec();
        let is_split = finder.feed(&content).is_some();
        let action = self.action(request, Vec::new(), recognise).await;
        let is_clean = action.faults().is_empty() && action.credentials().is_empty();
        if is_split || !is_clean {
            return Err(match self.inner.authority.judge(action).await {
                Err(refusal) => refusal,
                // A secret over two messages, or a placeholder where nothing would be attached.
                Ok(_) => failed(
                    "a message carries a secret or its placeholder.",
                    "Take the value out of the message.",
                ),
            });
        }
        Ok(match message {
            Message::Text(_) => {
                String::from_utf8(content).map_or(Message::Close(None), Message::Text)
            }
            Message::Binary(_) => Message::Binary(content),
            other => other,
        })
    }
}

/// From the server to the client.
async fn inward(
    mut reader: ReadHalf<Upstream>,
    answering: &mut impl Answering,
    redactor: Option<&Redactor>,
    mut told: mpsc::Receiver<String>,
    received: &mut u64,
) -> Ended {
    let mut frames = Reader::new(Side::Server);
    let mut buffer = bytes::BytesMut::with_capacity(16 * 1024);
    loop {
        let message = match frames.next_message() {
            Err(bad) => return Ended::Broken(bad.code, bad.reason),
            Ok(Some(message)) => message,
            Ok(None) => {
                buffer.clear();
                let read = tokio::select! {
                    read = timeout(SILENCE, reader.read_buf(&mut buffer)) => read,
                    () = answering.gone() => return Ended::Over,
                    Some(text) = told.recv() => {
                        let data = Message::Text(text).write(None).into();
                        if answering.data(data).await.is_err() || answering.flush().await.is_err() {
                            return Ended::Over;
                        }
                        continue;
                    }
                };
                match read {
                    Ok(Ok(count)) if count > 0 => frames.feed(&buffer),
                    _ => return Ended::Over,
                }
                continue;
            }
        };
        *received += message.content().len() as u64;
        let message = match redactor {
            Some(redactor) => redacted(message, redactor),
            None => message,
        };
        let is_last = matches!(message, Message::Close(_));
        let data = Bytes::from(message.write(None));
        if answering.data(data).await.is_err() || answering.flush().await.is_err() || is_last {
            return Ended::Over;
        }
    }
}

/// The message without what may have been attached on its host.
fn redacted(message: Message, redactor: &Redactor) -> Message {
    let clean = |bytes: &[u8]| redactor.redact(bytes);
    let text = |text: String| String::from_utf8_lossy(&clean(text.as_bytes())).into_owned();
    match message {
        Message::Text(content) => Message::Text(text(content)),
        Message::Binary(bytes) => Message::Binary(clean(&bytes)),
        // What does not fit any more is left out; nobody reads it.
        Message::Ping(bytes) => Message::Ping(short(clean(&bytes))),
        Message::Pong(bytes) => Message::Pong(short(clean(&bytes))),
        Message::Close(reason) => {
            Message::Close(reason.map(|(code, reason)| (code, text(reason)))).within_a_frame()
        }
    }
}

fn short(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() > 125 { Vec::new() } else { bytes }
}

/// RFC 6455 §10.3: unpredictable, and new for each frame.
fn mask() -> Option<[u8; 4]> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).ok()?;
    Some(mask)
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
