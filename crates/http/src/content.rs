//! A request's content on its way in. What a pack must read, or a person may be asked about, is held
//! whole before the verdict; on other hosts what is larger streams behind it, searched for known
//! secrets on the way, in such a way that no part of one leaves before all of it was seen.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tagout_core::{Fault, FaultKind, HttpBody};
use tagout_secrets::{Hit, StreamFinder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::client::{Client, ClientError};
use crate::framing::Decoder;
use crate::head::Framing;
use crate::understand::{Understood, fault};

/// Content that is held before a verdict.
const MOST_HELD: usize = 8 * 1024 * 1024;
/// Content that all connections of a session hold at one time, in KiB.
const MOST_HELD_TOGETHER: usize = 256 * 1024;
/// Streamed content that was searched and is not sent yet. Longer than any known secret in any
/// encoding, so that the first octet of one is still here when its last one arrives.
const SEARCHED_AHEAD: usize = 256 * 1024;
/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What all connections of a session may hold together.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_HELD_TOGETHER)))
    }
}

/// Content as it is known before the verdict.
pub(crate) struct Taken {
    pub(crate) body: HttpBody,
    /// Where the rest of a streamed body comes from.
    pub(crate) upload: Option<Upload>,
    _room: Option<OwnedSemaphorePermit>,
}

/// A body of which only the beginning was read.
pub(crate) struct Upload {
    beginning: Vec<u8>,
    decoder: Decoder,
    /// All of its octets, where that was announced.
    pub(crate) length: Option<u64>,
    /// Whether the client still waits for `100 Continue`.
    expects_continue: bool,
}

/// Why an upload ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client did.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A known secret was about to leave.
    #[error("the content has a known secret in it ({})", .0.label)]
    Secret(Hit),
    /// The server no longer takes it, or its connection broke.
    #[error("the server stopped taking the content")]
    Server,
}

/// Reads content, all of it where `whole` or as long as it is small; otherwise the beginning. What
/// is wrong becomes a fault of `understood`.
pub(crate) async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    understood: &mut Understood,
    whole: bool,
    room: &Room,
) -> Result<Taken, ClientError> {
    let mut taken = Taken {
        body: HttpBody::Empty,
        upload: None,
        _room: None,
    };
    let length = match understood.framing {
        Framing::Empty => return Ok(taken),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    let mut decoder = Decoder::new(understood.framing);
    let too_long = length.is_some_and(|length| length > MOST_HELD as u64);
    if too_long && whole {
        understood.faults.push(too_large());
        return Ok(taken);
    }
    let reserved = length.map_or(MOST_HELD, |length| {
        usize::try_from(length).unwrap_or(MOST_HELD)
    });
    let kibibytes = u32::try_from(reserved.min(MOST_HELD).div_ceil(1024)).unwrap_or(u32::MAX);
    taken._room = Arc::clone(&room.0).try_acquire_many_owned(kibibytes).ok();
    if taken._room.is_none() {
        understood.faults.push(fault(
            FaultKind::TooLarge,
            "too much content is waiting for a verdict at this moment",
            "Send it again when other requests are done.",
        ));
        return Ok(taken);
    }
    // What is too long to be held is not asked for before the verdict.
    if understood.expects_continue && !too_long {
        client.send(CONTINUE).await?;
    }
    let mut beginning = Vec::with_capacity(if too_long { 0 } else { reserved.min(64 * 1024) });
    while !too_long {
        match client.content(&mut decoder).await? {
            None => {
                taken.body = match beginning.len() {
                    0 => HttpBody::Empty,
                    _ => HttpBody::Whole(beginning),
                };
                return Ok(taken);
            }
            Some(data) => beginning.extend_from_slice(&data),
        }
        if beginning.len() > MOST_HELD {
            break;
        }
    }
    if whole {
        understood.faults.push(too_large());
        return Ok(taken);
    }
    if is_structured(understood) {
        understood.faults.push(fault(
            FaultKind::TooLarge,
            "a JSON or form body of more than 8 MiB cannot be searched for credential fields",
            "Send it in parts of at most 8 MiB, or as a file upload.",
        ));
        return Ok(taken);
    }
    taken.body = HttpBody::Streamed;
    taken.upload = Some(Upload {
        beginning,
        decoder,
        length,
        expects_continue: understood.expects_continue && too_long,
    });
    Ok(taken)
}

pub(crate) fn too_large() -> Fault {
    fault(
        FaultKind::TooLarge,
        "the content is larger than the 8 MiB that are held before a verdict",
        "Send it in parts of at most 8 MiB.",
    )
}

/// Whether credential fields could stand in content of this type.
fn is_structured(understood: &Understood) -> bool {
    understood.request.header("content-type").any(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("json") || value.contains("x-www-form-urlencoded")
    })
}

/// Moves the rest of a body from the client to the server's side of `sender`. Returns how many
/// octets were passed on.
///
/// # Errors
/// When it ended early; the receiving body then fails, and with it the connection to the server.
pub(crate) async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    mut upload: Upload,
    mut finder: StreamFinder,
    sender: mpsc::Sender<Piece>,
) -> Result<u64, UploadError> {
    if upload.expects_continue {
        client.send(CONTINUE).await?;
    }
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut waiting_octets = 0;
    let mut sent = 0;
    let mut next = Some(Bytes::from(std::mem::take(&mut upload.beginning)));
    while let Some(data) = next {
        if let Some(hit) = finder.feed(&data) {
            return Err(UploadError::Secret(hit));
        }
        waiting_octets += data.len();
        waiting.push_back(data);
        while let Some(front) = waiting.front()
            && waiting_octets - front.len() >= SEARCHED_AHEAD
        {
            waiting_octets -= front.len();
            sent += front.len() as u64;
            let data = waiting.pop_front().unwrap_or_default();
            let passed = sender.send(Piece::Data(data)).await;
            passed.map_err(|_| UploadError::Server)?;
        }
        next = client.content(&mut upload.decoder).await?;
    }
    for data in waiting {
        sent += data.len() as u64;
        let passed = sender.send(Piece::Data(data)).await;
        passed.map_err(|_| UploadError::Server)?;
    }
    sender
        .send(Piece::End)
        .await
        .map_err(|_| UploadError::Server)?;
    Ok(sent)
}

/// A part of a streamed body. Without the end, what came before it is no body.
pub(crate) enum Piece {
    Data(Bytes),
    End,
}

/// A body on its way to a server.
pub(crate) enum OutgoingBody {
    /// All of it, or none.
    Whole(Option<Bytes>),
    /// What a [`pump`] sends.
    Streamed {
        pieces: mpsc::Receiver<Piece>,
        length: Option<u64>,
        ended: bool,
    },
}

/// The upload was given up; the server must not take what it got for a whole body.
#[derive(Debug, thiserror::Error)]
#[error("the upload was given up")]
pub(crate) struct GivenUp;

impl OutgoingBody {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole((!bytes.is_empty()).then(|| bytes.into()))
    }

    pub(crate) fn streamed(length: Option<u64>) -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(4);
        let body = Self::Streamed {
            pieces,
            length,
            ended: false,
        };
        (sender, body)
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed { ended: true, .. } => Poll::Ready(None),
            Self::Streamed { pieces, ended, .. } => pieces.poll_recv(context).map(|piece| {
                *ended = !matches!(piece, Some(Piece::Data(_)));
                match piece {
                    Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
                    Some(Piece::End) => None,
                    None => Some(Err(GivenUp)),
                }
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Streamed { ended: true, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed { length, .. } => {
                length.map_or_else(SizeHint::new, SizeHint::with_exact)
            }
        }
    }
}
