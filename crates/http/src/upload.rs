//! A large body on its way through, behind the verdict: searched for known secrets in such a way that
//! no part of one leaves before all of it was seen, and held only as far as that search looks ahead.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tagout_core::Fault;
use tagout_secrets::{Hit, StreamFinder};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answer::SILENCE;
use crate::client::{Asking, ClientError};
use crate::content::Room;
use crate::messages::Messages;

/// Content that was searched and is not sent yet. Longer than any known secret in any encoding, so
/// that the first octet of one is still here when its last one arrives.
const SEARCHED_AHEAD: usize = 256 * 1024;

/// Content that is looked through for fields at a time, and how much of what came before it is looked
/// at again, so that no name is cut off from its value.
const WINDOW: usize = 128 * 1024;
const OVERLAP: usize = 32 * 1024;

/// What streamed content is looked through with, beside the search for known secrets.
pub(crate) struct Looks<'a> {
    /// What is wrong with a part of the content.
    pub(crate) at_content: &'a (dyn Fn(&[u8]) -> Option<Fault> + Sync),
    /// What is wrong with the fields behind it.
    pub(crate) at_trailers: &'a (dyn Fn(Vec<(String, String)>) -> Option<Fault> + Sync),
}

/// A body of which only the beginning was read.
pub(crate) struct Upload {
    pub(crate) beginning: Vec<u8>,
    /// All of its octets, where that was announced.
    pub(crate) length: Option<u64>,
    /// Whether the client still waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    /// Where it may be cut.
    pub(crate) pieces: Pieces,
}

/// What of a streamed body is passed on at a time.
pub(crate) enum Pieces {
    /// As it comes, behind the search.
    AsTheyCome,
    /// Whole messages, each at once, so that whoever waits for its answer gets it.
    Messages(Room),
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
    /// A field in the content, or behind it, is one that may not stand there.
    #[error("{}", .0.reason)]
    Field(Fault),
    /// What should be a message is none.
    #[error("{0}")]
    Message(&'static str),
    /// The server no longer takes it, or its connection broke.
    #[error("the server stopped taking the content")]
    Server,
}

/// Moves the rest of a body from the client to the server's side of `sender`. Returns how many
/// octets were passed on.
///
/// # Errors
/// When it ended early; the receiving body then fails, and with it the connection to the server.
pub(crate) async fn pump(
    asking: &mut impl Asking,
    mut upload: Upload,
    mut finder: StreamFinder,
    sender: mpsc::Sender<Piece>,
    looks: &Looks<'_>,
) -> Result<u64, UploadError> {
    if let Pieces::Messages(room) = &upload.pieces {
        return pump_messages(asking, room, finder, sender, looks).await;
    }
    let mut window = Vec::new();
    let mut fresh = 0;
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut waiting_octets = 0;
    let mut sent = 0;
    let mut next = Some(Bytes::from(std::mem::take(&mut upload.beginning)));
    while let Some(data) = next {
        if let Some(hit) = finder.feed(&data) {
            return Err(UploadError::Secret(hit));
        }
        window.extend_from_slice(&data);
        fresh += data.len();
        if fresh >= WINDOW {
            look(looks, &window)?;
            window.drain(..window.len().saturating_sub(OVERLAP));
            fresh = 0;
        }
        waiting_octets += data.len();
        waiting.push_back(data);
        while let Some(front) = waiting.front()
            && waiting_octets - front.len() >= SEARCHED_AHEAD
        {
            waiting_octets -= front.len();
            sent += front.len() as u64;
            let data = waiting.pop_front().unwrap_or_default();
            pass(&sender, Piece::Data(data)).await?;
        }
        next = asking.content().await?;
    }
    look(looks, &window)?;
    if let Some(fault) = (looks.at_trailers)(asking.trailers()) {
        return Err(UploadError::Field(fault));
    }
    for data in waiting {
        sent += data.len() as u64;
        pass(&sender, Piece::Data(data)).await?;
    }
    pass(&sender, Piece::End).await?;
    Ok(sent)
}

/// The same for length-prefixed messages (gRPC, and what follows its example). A message is searched
/// whole before any of it goes on; the search goes on behind it, so that the message that completes a
/// secret stays here.
async fn pump_messages(
    asking: &mut impl Asking,
    room: &Room,
    mut finder: StreamFinder,
    sender: mpsc::Sender<Piece>,
    looks: &Looks<'_>,
) -> Result<u64, UploadError> {
    let mut messages = Messages::new(room.clone());
    let mut sent = 0;
    while let Some(data) = asking.content().await? {
        messages.feed(&data).map_err(UploadError::Message)?;
        while let Some(message) = messages.next().map_err(UploadError::Message)? {
            if let Some(hit) = finder.feed(&message) {
                return Err(UploadError::Secret(hit));
            }
            sent += message.len() as u64;
            pass(&sender, Piece::Data(message)).await?;
        }
    }
    messages.finish().map_err(UploadError::Message)?;
    if let Some(fault) = (looks.at_trailers)(asking.trailers()) {
        return Err(UploadError::Field(fault));
    }
    pass(&sender, Piece::End).await?;
    Ok(sent)
}

fn look(looks: &Looks<'_>, window: &[u8]) -> Result<(), UploadError> {
    (looks.at_content)(window).map_or(Ok(()), |fault| Err(UploadError::Field(fault)))
}

async fn pass(sender: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), UploadError> {
    match timeout(SILENCE, sender.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(UploadError::Server),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{RequestHead, parse_head};
    use crate::http1::Connection;
    use tagout_secrets::KnownSecrets;
    use tokio::io::AsyncWriteExt;

    const BLIND: Looks<'static> = Looks {
        at_content: &|_| None,
        at_trailers: &|_| None,
    };
    const SIZE: usize = 4 * 1024 * 1024;

    fn head() -> RequestHead {
        let text = format!("PUT / HTTP/1.1\r\nContent-Length: {SIZE}\r\n\r\n");
        parse_head(text.as_bytes()).unwrap()
    }

    fn upload() -> Upload {
        Upload {
            beginning: b"front".to_vec(),
            length: None,
            expects_continue: true,
            pieces: Pieces::AsTheyCome,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_nothing_stops_the_client() {
        let (mut near, far) = tokio::io::duplex(16 * 1024);
        let mut connection = Connection::new(far);
        let (mut asking, _) = connection.exchange(Some(&head()));
        let (sender, _body) = OutgoingBody::streamed(None);
        let finder = KnownSecrets::new([]).stream();
        let mut written = 0;
        let write = async {
            while written < SIZE {
                written += near.write(&[0; 16 * 1024]).await.unwrap();
            }
        };
        // The clock is a paused one: it advances when nothing can go on.
        let pumping = pump(&mut asking, upload(), finder, sender, &BLIND);
        let both = async { tokio::join!(pumping, write) };
        assert!(
            tokio::time::timeout(std::time::Duration::from_secs(5), both)
                .await
                .is_err()
        );
        assert!(written < SEARCHED_AHEAD + 256 * 1024, "{written}");
    }

    #[tokio::test]
    async fn invariant_4_nothing_of_a_secret_is_passed_on() {
        let secret = b"a-secret-value-of-some-length";
        let known = KnownSecrets::new([("it".to_owned(), secret.to_vec(), false)]);
        let (mut near, far) = tokio::io::duplex(16 * 1024);
        let mut connection = Connection::new(far);
        let (mut asking, _) = connection.exchange(Some(&head()));
        let (sender, body) = OutgoingBody::streamed(None);
        let write = async {
            near.write_all(&vec![b'.'; SIZE / 2]).await.unwrap();
            for octet in secret {
                near.write_all(&[*octet]).await.unwrap();
            }
            near
        };
        let collect = async {
            use http_body_util::BodyExt;
            let mut body = body;
            let mut passed = Vec::new();
            loop {
                match body.frame().await {
                    Some(Ok(frame)) => passed.extend(frame.into_data().unwrap()),
                    Some(Err(GivenUp)) => return passed,
                    None => panic!("the body ended as if it were whole"),
                }
            }
        };
        let pumping = pump(&mut asking, upload(), known.stream(), sender, &BLIND);
        let (pumped, passed, _near) = tokio::join!(pumping, collect, write);
        assert!(matches!(pumped, Err(UploadError::Secret(_))));
        let content = passed.strip_prefix(b"front").unwrap();
        assert!(content.iter().all(|octet| *octet == b'.') && !content.is_empty());
    }
}
