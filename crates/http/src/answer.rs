//! The server's answer on its way back: hop-by-hop fields removed, content codings taken off where
//! credentials could hide in them, attached credentials replaced by their decoys while it streams,
//! framing written anew. Each piece goes on as soon as it came, so that server-sent events are not
//! delayed.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tagout_secrets::Redactor;
use tokio::time::timeout;

use crate::client::{AnswerHead, Answering, Asking, ClientError, Content, gone};
use crate::coding::{Decoding, Undecodable};
use crate::content::Room;
use crate::handed_out::Search;

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

/// Fields that describe the content as the server has it, and are wrong once a coding was taken off or
/// a value replaced (RFC 9530 §5, RFC 1864), or offer parts of it, which are not asked for.
const DESCRIBING_FIELDS: &[&str] = &[
    "accept-ranges",
    "content-digest",
    "content-md5",
    "digest",
    "repr-digest",
];

/// Fields that mean something in a head alone (RFC 9110 §6.5.1).
const HEAD_FIELDS: &[&str] = &[
    "content-encoding",
    "content-range",
    "content-type",
    "location",
    "set-cookie",
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
    /// Credentials could hide in what it sent.
    #[error("the server's answer cannot be searched for credentials: {0}")]
    Unreadable(#[from] Undecodable),
    /// The server framed its content in a way that nobody asked for.
    #[error("the server sent its answer in a transfer coding that nobody asked for")]
    Framed,
    /// It sent a part of something whose values are taken out.
    #[error("the server sent a part of its answer, and the whole was asked for")]
    Part,
    /// Too much is being decoded already.
    #[error("too many encoded answers are read at this moment")]
    NoRoom,
}

impl DeliverError {
    /// Whether the answer itself is what is wrong.
    pub(crate) fn is_of_answer(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_) | Self::Framed | Self::Part | Self::NoRoom
        )
    }
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
    /// Bounds what answers that are being decoded hold together.
    pub(crate) room: &'a Room,
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
        refuse_transfer_codings(&head.headers)?;
        let mut decoding = self.decoding(&head)?;
        let _place = match &decoding {
            None => None,
            Some(decoding) => {
                let place = self.room.wait_for(decoding.memory()).await;
                Some(place.ok_or(DeliverError::NoRoom)?)
            }
        };
        let content = self.content(head.status, &head.headers, &body);
        let begun = AnswerHead {
            status: head.status,
            fields: self.head_fields(&head.headers),
            content,
        };
        answering.head(begun).await?;
        if matches!(content, Content::None(_)) {
            answering.end(None).await?;
            return Ok(0);
        }
        let mut redactor = self.redactor.map(Redactor::for_another_stream);
        let mut search = self.hand_out.and_then(|_| Search::of(&head.headers));
        let mut passed = 0;
        loop {
            let piece = next_piece(&mut body, asking.as_deref_mut(), answering).await?;
            if let Some(hand_out) = self.hand_out {
                let data = match &piece {
                    Piece::Data(data) => Some(data),
                    Piece::Trailers(_) | Piece::End => None,
                };
                hand_out(Search::take(&mut search, data, body.is_end_stream()));
            }
            let trailers = match piece {
                Piece::Data(data) => {
                    let Some(decoding) = &mut decoding else {
                        let data = redacted(&mut redactor, data);
                        passed += data.len() as u64;
                        answering.data(data).await?;
                        continue;
                    };
                    decoding.feed(&data);
                    while let Some(data) = decoding.next()? {
                        let data = redacted(&mut redactor, data.into());
                        passed += data.len() as u64;
                        answering.data(data).await?;
                    }
                    continue;
                }
                Piece::Trailers(fields) if self.wants_trailers => Some(self.trailers(&fields)),
                Piece::Trailers(_) | Piece::End => None,
            };
            if let Some(decoding) = decoding {
                decoding.finish()?;
            }
            let rest: Bytes = redactor.map(Redactor::finish).unwrap_or_default().into();
            passed += rest.len() as u64;
            answering.data(rest).await?;
            answering.end(trailers).await?;
            return Ok(passed);
        }
    }

    /// How the content of an answer is read in which credentials could hide.
    fn decoding(&self, head: &http::response::Parts) -> Result<Option<Decoding>, DeliverError> {
        if self.redactor.is_none() {
            return Ok(None);
        }
        // A part could begin or end within a value, and within what is encoded; none was asked for.
        if head.status == StatusCode::PARTIAL_CONTENT {
            return Err(DeliverError::Part);
        }
        Ok(Decoding::of_answer(&head.headers)?)
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

    /// The fields of a head that the client gets to see, true of the content as the client gets it.
    pub(crate) fn head_fields(&self, headers: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields(headers);
        if self.redactor.is_none() {
            return fields;
        }
        for name in DESCRIBING_FIELDS {
            fields.remove(*name);
        }
        let mut codings = fields.get_all(CONTENT_ENCODING).iter();
        let was_encoded = codings.any(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity"));
        fields.remove(CONTENT_ENCODING);
        // What was decoded is the same only in meaning (RFC 9110 §8.8.1).
        if was_encoded
            && let Some(strong) = fields.get(ETAG).filter(|tag| !is_weak(tag))
            && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat())
        {
            fields.insert(ETAG, weak);
        }
        fields
    }

    /// The fields behind content that the client gets to see.
    pub(crate) fn trailers(&self, headers: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields(headers);
        for name in HEAD_FIELDS {
            fields.remove(*name);
        }
        if self.redactor.is_some() {
            for name in DESCRIBING_FIELDS {
                fields.remove(*name);
            }
        }
        fields
    }

    fn fields(&self, headers: &HeaderMap) -> HeaderMap {
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
            let stays_here = is_own
                || (self.credentialed && is_credential(name, value))
                || self
                    .redactor
                    .is_some_and(|it| it.is_told_by_name(name.as_str()));
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
}

fn redacted(redactor: &mut Option<Redactor>, data: Bytes) -> Bytes {
    match redactor {
        None => data,
        Some(redactor) => redactor.feed(&data).into(),
    }
}

/// Every recipient would have to take such a coding off (RFC 9112 §6.1), and the library takes off
/// `chunked` alone.
fn refuse_transfer_codings(headers: &HeaderMap) -> Result<(), DeliverError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match codings.all(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) {
        true => Ok(()),
        false => Err(DeliverError::Framed),
    }
}

fn is_weak(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"W/")
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
