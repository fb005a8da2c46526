//! The server's answer on its way back: hop-by-hop fields removed, attached credentials replaced by
//! their decoys while it streams, framing written anew. Each piece goes on as soon as it came, so
//! that server-sent events are not delayed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tagout_secrets::Redactor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::client::{Client, ClientError};
use crate::handed_out::{MOST_JSON, tokens};

/// How long a server may be silent. Models think for minutes.
pub(crate) const SILENCE: Duration = Duration::from_secs(15 * 60);

/// Fields that concern the server's connection, offer other ways to reach it, or are written anew.
const OWN_FIELDS: &[&str] = &[
    "alt-svc",
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why an answer did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliverError {
    /// Because of the client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Because of the server.
    #[error("the server's answer broke off")]
    Server,
    /// The server sent content in an encoding in which credentials could hide.
    #[error("the server sent an encoded answer although none was asked for")]
    Encoded,
}

/// How an answer is written.
pub(crate) struct Delivery<'a> {
    /// The request was HEAD.
    pub(crate) head_only: bool,
    /// The client reads the chunked coding.
    pub(crate) is_http_11: bool,
    /// The connection stays open afterwards.
    pub(crate) keeps_alive: bool,
    /// A credential may be attached on this host: cookies and challenges stay here.
    pub(crate) credentialed: bool,
    /// Replaces what may be attached on this host by its decoys.
    pub(crate) redactor: Option<&'a Redactor>,
    /// Takes values that the host handed out, before the client can have them.
    pub(crate) hand_out: Option<&'a (dyn Fn(Vec<Vec<u8>>) + Sync)>,
}

/// How an answer's content is framed for the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length,
    Chunked,
    UntilClose,
}

impl Delivery<'_> {
    /// Writes the whole answer. Returns how many octets of content were passed on, and whether the
    /// connection can be used again.
    pub(crate) async fn deliver<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        response: Response<Incoming>,
    ) -> Result<(u64, bool), DeliverError> {
        let (head, mut body) = response.into_parts();
        if self.redactor.is_some() && is_encoded(&head.headers) {
            return Err(DeliverError::Encoded);
        }
        let framing = self.framing(head.status, &body);
        let keeps_alive = self.keeps_alive && framing != Framing::UntilClose;
        let text = self.head(head.status, &head.headers, &body, framing, keeps_alive);
        client.send(&text).await?;
        if framing == Framing::None {
            return Ok((0, keeps_alive));
        }
        let mut redactor = self.redactor.map(Redactor::for_another_stream);
        let is_json = head
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().windows(4).any(|part| part == b"json"));
        let mut searched = self.hand_out.filter(|_| is_json).map(|_| Vec::new());
        let mut passed = 0;
        loop {
            let piece = tokio::select! {
                piece = timeout(SILENCE, next_piece(&mut body)) => {
                    piece.map_err(|_| DeliverError::Server)??
                }
                () = client.gone() => return Err(ClientError::Gone.into()),
            };
            self.search(&mut searched, piece.as_ref(), body.is_end_stream());
            let is_last = piece.is_none();
            let data = match (piece, &mut redactor) {
                (Some(data), None) => data,
                (Some(data), Some(redactor)) => redactor.feed(&data).into(),
                (None, _) => redactor
                    .take()
                    .map(Redactor::finish)
                    .unwrap_or_default()
                    .into(),
            };
            passed += data.len() as u64;
            if framing == Framing::Chunked {
                client.send(&chunk(&data, is_last)).await?;
            } else if !data.is_empty() {
                client.send(&data).await?;
            }
            if is_last {
                return Ok((passed, keeps_alive));
            }
        }
    }

    fn framing(&self, status: StatusCode, body: &Incoming) -> Framing {
        let has_none =
            self.head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match body.size_hint().exact() {
            _ if has_none => Framing::None,
            // A decoy may be longer than what it replaces.
            Some(_) if self.redactor.is_none() => Framing::Length,
            _ if self.is_http_11 => Framing::Chunked,
            _ => Framing::UntilClose,
        }
    }

    fn head(
        &self,
        status: StatusCode,
        headers: &http::HeaderMap,
        body: &Incoming,
        framing: Framing,
        keeps_alive: bool,
    ) -> Vec<u8> {
        let reason = status.canonical_reason().unwrap_or("");
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        let hop_by_hop: Vec<String> = headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|token| token.trim().to_ascii_lowercase())
            .collect();
        for (name, value) in headers {
            let is_own = OWN_FIELDS.contains(&name.as_str())
                || hop_by_hop.iter().any(|token| token == name.as_str());
            let stays_here = is_own || (self.credentialed && is_credential(name, value));
            if !stays_here {
                push_field(&mut text, name.as_str(), &self.redacted(value.as_bytes()));
            }
        }
        match framing {
            Framing::None => {
                // For HEAD and 304 it says how long the content would be, if nothing replaces any.
                if let Some(length) = headers.get(http::header::CONTENT_LENGTH)
                    && self.redactor.is_none()
                    && status != StatusCode::NO_CONTENT
                {
                    push_field(&mut text, "content-length", length.as_bytes());
                }
            }
            Framing::Length => {
                let length = body.size_hint().exact().unwrap_or(0).to_string();
                push_field(&mut text, "content-length", length.as_bytes());
            }
            Framing::Chunked => push_field(&mut text, "transfer-encoding", b"chunked"),
            Framing::UntilClose => (),
        }
        if !keeps_alive {
            push_field(&mut text, "connection", b"close");
        }
        text.extend(b"\r\n");
        text
    }

    fn redacted(&self, value: &[u8]) -> Vec<u8> {
        match self.redactor {
            None => value.to_vec(),
            Some(redactor) => redactor.redact(value),
        }
    }

    /// Collects JSON and hands its tokens out before the piece that completes it goes on.
    fn search(&self, searched: &mut Option<Vec<u8>>, piece: Option<&Bytes>, is_end: bool) {
        let Some(collected) = searched else {
            return;
        };
        if let Some(piece) = piece {
            if collected.len() + piece.len() > MOST_JSON {
                *searched = None;
                return;
            }
            collected.extend_from_slice(piece);
        }
        if is_end || piece.is_none() {
            if let Some(hand_out) = self.hand_out {
                hand_out(tokens(collected));
            }
            *searched = None;
        }
    }
}

/// The next content; `None` at its end. Trailers are dropped.
async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, DeliverError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(DeliverError::Server),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => (),
            },
        }
    }
}

fn is_encoded(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(http::header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Fields in which a provider hands out or asks for credentials. `Basic` is kept: git asks its helper
/// only when it sees that challenge.
fn is_credential(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str() {
        "set-cookie" | "set-cookie2" | "authentication-info" => true,
        "www-authenticate" => !value
            .as_bytes()
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic")),
        _ => false,
    }
}

fn push_field(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend(name.as_bytes());
    text.extend(b": ");
    text.extend(value);
    text.extend(b"\r\n");
}

fn chunk(data: &[u8], is_last: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len() + 24);
    if !data.is_empty() {
        text.extend(format!("{:x}\r\n", data.len()).as_bytes());
        text.extend(data);
        text.extend(b"\r\n");
    }
    if is_last {
        text.extend(b"0\r\n\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Decoded, Decoder};
    use crate::head::Framing;
    use proptest::prelude::*;

    #[test]
    fn credentials_of_the_host_stay_here() {
        let stays = |name: &str, value: &str| {
            is_credential(
                &HeaderName::from_bytes(name.as_bytes()).unwrap(),
                &HeaderValue::from_str(value).unwrap(),
            )
        };
        assert!(stays("set-cookie", "sid=1"));
        assert!(stays("authentication-info", "nextnonce=1"));
        assert!(stays("www-authenticate", "Bearer realm=x"));
        assert!(!stays("www-authenticate", "basic realm=x"));
        assert!(!stays("etag", "1"));
    }

    proptest! {
        #[test]
        fn what_is_chunked_reads_back(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let mut buffer = bytes::BytesMut::new();
            for piece in &pieces {
                buffer.extend_from_slice(&chunk(piece, false));
            }
            buffer.extend_from_slice(&chunk(&[], true));
            let mut decoder = Decoder::new(Framing::Chunked);
            let mut content = Vec::new();
            while let Decoded::Data(data) = decoder.decode(&mut buffer).unwrap() {
                content.extend(data);
            }
            prop_assert_eq!(content, pieces.concat());
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(decoder.decode(&mut buffer).unwrap(), Decoded::End);
        }
    }
}
