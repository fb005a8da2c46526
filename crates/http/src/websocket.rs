//! WebSocket (RFC 6455) on hosts that are granted for it. The handshake is a request of its own, judged
//! as `CONNECT` on its path (docs/adr/0006); after it no byte is passed on in the form in which it
//! came: frames are read, whole messages are looked at like requests, and written anew.

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tagout_authority::{Outcome, Permit};
use tagout_catalog::{pack_for_host, recognise};
use tagout_core::{HttpBody, HttpRequest, Refusal};
use tagout_secrets::{Redactor, StreamFinder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answer::SILENCE;
use crate::client::{Answering, Asking, ClientError, PAUSE};
use crate::exchange::Asked;
use crate::frames::{Message, Reader, Side};
use crate::gate::Gate;
use crate::graphql_ws::{Conversation, Dialect, Judged};
use crate::handshake::{Handshake, Open, Upstream};
use crate::outgoing::outgoing;
use crate::release::{failed, gave_up, unsent};
use crate::server::{Lease, SendError, Server};

/// Close codes of RFC 6455 §7.4.1.
const POLICY: u16 = 1008;
const GOING_AWAY: u16 = 1001;
/// How long the other side may take to say goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);

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
