//! The server's answer on its way back: hop-by-hop fields removed, attached credentials replaced by
//! their decoys while it streams, framing written anew. Each piece goes on as soon as it came, so
//! that server-sent events are not delayed.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tagout_secrets::Redactor;
use tokio::time::timeout;

use crate::client::{AnswerHead, Answering, Asking, ClientError, Content, gone};
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
    /// The client reads fields behind the content.
    pub(crate) wants_trailers: bool,
    /// A credential may be attached on this host: cookies and challenges stay here.
    pub(crate) credentialed: bool,
    /// Replaces what may be attached on this host by its decoys.
    pub(crate) redactor: Option<&'a Redactor>,
    /// Takes values that the host handed out, before the client can have them.
    pub(crate) hand_out: Option<&'a (dyn Fn(Vec<Vec<u8>>) + Sync)>,
}

/// A part of an answer's content.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Delivery<'_> {
    /// Writes the whole answer. Returns how many octets of content were passed on. `asking` is where
    /// it can be noticed that the client left; `None` while content still comes from there.
    pub(crate) async fn deliver(
        &self,
        mut asking: Option<&mut impl Asking>,
        answering: &mut impl Answering,
        response: Response<Incoming>,
    ) -> Result<u64, DeliverError> {
        let (head, mut body) = response.into_parts();
        if self.redactor.is_some() && is_encoded(&head.headers) {
            return Err(DeliverError::Encoded);
        }
        let is_json = head
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().windows(4).any(|part| part == b"json"));
        let content = self.content(head.status, &head.headers, &body);
        let begun = AnswerHead {
            status: head.status,
            fields: self.fields(&head.headers),
            content,
        };
        answering.head(begun).await?;
        if matches!(content, Content::None(_)) {
            answering.end(None).await?;
            return Ok(0);
        }
        let mut redactor = self.redactor.map(Redactor::for_another_stream);
        let mut searched = self.hand_out.filter(|_| is_json).map(|_| Vec::new());
        let mut passed = 0;
        loop {
            let piece = next_piece(&mut body, asking.as_deref_mut(), answering).await?;
            let data = match &piece {
                Piece::Data(data) => Some(data),
                Piece::Trailers(_) | Piece::End => None,
            };
            self.search(&mut searched, data, body.is_end_stream());
            let data = match (data, &mut redactor) {
                (Some(data), None) => data.clone(),
                (Some(data), Some(redactor)) => redactor.feed(data).into(),
                (None, _) => redactor
                    .take()
                    .map(Redactor::finish)
                    .unwrap_or_default()
                    .into(),
            };
            passed += data.len() as u64;
            answering.data(data).await?;
            let trailers = match piece {
                Piece::Data(_) => continue,
                Piece::Trailers(fields) if self.wants_trailers => Some(self.fields(&fields)),
                Piece::Trailers(_) | Piece::End => None,
            };
            answering.end(trailers).await?;
            return Ok(passed);
        }
    }

    fn content(&self, status: StatusCode, headers: &HeaderMap, body: &Incoming) -> Content {
        if self.head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // For HEAD and 304 it says how long the content would be, if nothing replaces any.
            let announced = headers
                .get(http::header::CONTENT_LENGTH)
                .filter(|_| self.redactor.is_none() && status != StatusCode::NO_CONTENT)
                .and_then(|length| length.to_str().ok()?.parse().ok());
            return Content::None(announced);
        }
        match body.size_hint().exact() {
            // A decoy may be longer than what it replaces.
            Some(length) if self.redactor.is_none() || length == 0 => Content::Length(length),
            _ => Content::Unknown,
        }
    }

    /// The fields of a head, or behind content, that the client gets to see.
    pub(crate) fn fields(&self, headers: &HeaderMap) -> HeaderMap {
        let hop_by_hop: Vec<String> = headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|token| token.trim().to_ascii_lowercase())
            .collect();
        let mut fields = HeaderMap::with_capacity(headers.keys_len());
        for (name, value) in headers {
            let is_own = OWN_FIELDS.contains(&name.as_str())
                || hop_by_hop.iter().any(|token| token == name.as_str());
            let stays_here = is_own || (self.credentialed && is_credential(name, value));
            if !stays_here && let Ok(value) = self.redacted(value) {
                fields.append(name.clone(), value);
            }
        }
        fields
    }

    fn redacted(
        &self,
        value: &HeaderValue,
    ) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        match self.redactor {
            None => Ok(value.clone()),
            Some(redactor) => HeaderValue::from_bytes(&redactor.redact(value.as_bytes())),
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

/// The next part of an answer. What the client has not got yet is sent on its way before anything is
/// waited for.
async fn next_piece(
    body: &mut Incoming,
    asking: Option<&mut impl Asking>,
    answering: &mut impl Answering,
) -> Result<Piece, DeliverError> {
    let at_hand = poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await;
    if let Poll::Ready(frame) = at_hand {
        return piece(frame);
    }
    answering.flush().await?;
    let client_gone = async {
        match asking {
            Some(asking) => gone(asking, answering).await,
            None => answering.gone().await,
        }
    };
    tokio::select! {
        frame = timeout(SILENCE, body.frame()) => piece(frame.map_err(|_| DeliverError::Server)?),
        () = client_gone => Err(ClientError::Gone.into()),
    }
}

fn piece(frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Result<Piece, DeliverError> {
    let frame = match frame {
        None => return Ok(Piece::End),
        Some(frame) => frame.map_err(|_| DeliverError::Server)?,
    };
    Ok(match frame.into_data() {
        Ok(data) => Piece::Data(data),
        Err(frame) => frame
            .into_trailers()
            .map_or(Piece::Data(Bytes::new()), Piece::Trailers),
    })
}

pub(crate) fn is_encoded(headers: &http::HeaderMap) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
