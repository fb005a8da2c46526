//! HTTP/1.1 with a client (RFC 9112): heads and content in, answers out, each with a bound in length
//! and time, so that a slow or silent client costs a place among the session's connections for a
//! while and nothing else.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::answer::SILENCE;
use crate::client::{AnswerHead, Answering, Asking, ClientError, Content, HEAD, IDLE, PAUSE};
use crate::framing::{Decoded, Decoder};
use crate::head::{Framing, RequestHead, Version, head_end, parse_head};

/// What is read and thrown away so that a refusal reaches a client that is still sending.
const MOST_DRAINED: usize = 1024 * 1024;
const DRAIN: Duration = Duration::from_secs(2);
/// Octets of later requests that are taken in while one is under way.
const MOST_READ_AHEAD: usize = 64 * 1024;
/// Octets of an answer that are collected before they are written; what is larger goes by itself.
const MOST_COLLECTED: usize = 16 * 1024;

/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One connection with a client, after TLS.
pub(crate) struct Connection<S> {
    reader: Reader<S>,
    writer: WriteHalf<S>,
}

struct Reader<S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
}

/// The content of one request on a connection.
pub(crate) struct Http1Asking<'a, S> {
    reader: &'a mut Reader<S>,
    decoder: Decoder,
    /// How long the client may be silent.
    patience: Duration,
}

/// The answer to one request on a connection.
pub(crate) struct Http1Answering<'a, S> {
    writer: &'a mut WriteHalf<S>,
    version: Version,
    framing: Option<AnswerFraming>,
    collected: Vec<u8>,
    keeps_alive: bool,
    has_ended: bool,
}

/// How an answer's content is framed for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerFraming {
    None,
    Length,
    Chunked,
    UntilClose,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (stream, writer) = split(stream);
        Self {
            reader: Reader {
                stream,
                buffer: BytesMut::with_capacity(8 * 1024),
            },
            writer,
        }
    }

    /// The next request's head; `None` when the client closed the connection between two requests.
    pub(crate) async fn head(&mut self) -> Result<Option<RequestHead>, ClientError> {
        if self.reader.buffer.is_empty() {
            match timeout(IDLE, self.reader.fill()).await {
                Ok(Ok(())) => (),
                _ => return Ok(None),
            }
        }
        timeout(HEAD, self.reader.rest_of_head())
            .await
            .map_err(|_| ClientError::Slow)?
            .map(Some)
    }

    /// Both sides of the exchange that a head begins. Without a head that could be read, there is no
    /// content, and the answer is the connection's last.
    pub(crate) fn exchange(
        &mut self,
        head: Option<&RequestHead>,
    ) -> (Http1Asking<'_, S>, Http1Answering<'_, S>) {
        let version = head.map_or(Version::Http11, |head| head.version);
        let asking = Http1Asking {
            reader: &mut self.reader,
            decoder: Decoder::new(head.map_or(Framing::Empty, |head| head.framing)),
            patience: PAUSE,
        };
        let answering = Http1Answering {
            writer: &mut self.writer,
            version,
            framing: None,
            collected: Vec::new(),
            keeps_alive: version == Version::Http11
                && head.is_some_and(|head| !head.lists("connection", "close")),
            has_ended: false,
        };
        (asking, answering)
    }

    /// Closes the connection in such a way that the client reads what was sent: a close with unread
    /// octets becomes a reset, which destroys the answer on its way.
    pub(crate) async fn close(mut self) {
        let _ = timeout(DRAIN, async {
            self.writer.shutdown().await?;
            let mut drained = self.reader.buffer.len();
            while drained < MOST_DRAINED {
                self.reader.buffer.clear();
                match self.reader.stream.read_buf(&mut self.reader.buffer).await? {
                    0 => break,
                    count => drained += count,
                }
            }
            io::Result::Ok(())
        })
        .await;
    }
}

impl<S: AsyncRead> Reader<S> {
    async fn rest_of_head(&mut self) -> Result<RequestHead, ClientError> {
        let mut scanned = 0;
        loop {
            if let Some(end) = head_end(&self.buffer, scanned)? {
                let head = self.buffer.split_to(end);
                return Ok(parse_head(&head)?);
            }
            scanned = self.buffer.len();
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(ClientError::Gone),
            Ok(_) => Ok(()),
        }
    }
}

impl<S: AsyncRead + Send> Asking for Http1Asking<'_, S> {
    async fn content(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.decoder.decode(&mut self.reader.buffer)? {
                Decoded::Data(data) => return Ok(Some(data)),
                Decoded::End => return Ok(None),
                Decoded::NeedMore => timeout(self.patience, self.reader.fill())
                    .await
                    .map_err(|_| ClientError::Slow)??,
            }
        }
    }

    fn trailers(&mut self) -> Vec<(String, String)> {
        self.decoder.take_trailers()
    }

    /// What the client sends meanwhile is kept, up to a bound; beyond that it has to wait.
    async fn gone(&mut self) {
        while self.reader.buffer.len() < MOST_READ_AHEAD {
            if self.reader.fill().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    fn switch(&mut self) {
        self.decoder = Decoder::switched();
        self.patience = SILENCE;
    }
}

impl<S> Http1Answering<'_, S> {
    /// Whether the answer was given in full and another request may come.
    pub(crate) fn can_go_on(&self) -> bool {
        self.has_ended && self.keeps_alive
    }
}

impl<S: AsyncWrite + Send> Http1Answering<'_, S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        timeout(PAUSE, async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        })
        .await
        .map_err(|_| ClientError::Slow)?
        .map_err(|_: io::Error| ClientError::Gone)
    }

    async fn collect(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if self.collected.len() + bytes.len() > MOST_COLLECTED {
            self.flush().await?;
        }
        if bytes.len() > MOST_COLLECTED {
            return self.write(bytes).await;
        }
        self.collected.extend_from_slice(bytes);
        Ok(())
    }
}

impl<S: AsyncWrite + Send> Answering for Http1Answering<'_, S> {
    async fn go_on(&mut self) -> Result<(), ClientError> {
        self.write(CONTINUE).await
    }

    async fn head(&mut self, head: AnswerHead) -> Result<(), ClientError> {
        let framing = match head.content {
            Content::None(_) | Content::Switched => AnswerFraming::None,
            Content::Length(_) => AnswerFraming::Length,
            Content::Unknown if self.version == Version::Http11 => AnswerFraming::Chunked,
            Content::Unknown => AnswerFraming::UntilClose,
        };
        if framing == AnswerFraming::UntilClose {
            self.keeps_alive = false;
        }
        let reason = head.status.canonical_reason().unwrap_or("");
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
        for (name, value) in &head.fields {
            push_field(&mut text, name.as_str(), value.as_bytes());
        }
        match head.content {
            Content::None(Some(length)) | Content::Length(length) => {
                push_field(&mut text, "content-length", length.to_string().as_bytes());
            }
            Content::Unknown if framing == AnswerFraming::Chunked => {
                push_field(&mut text, "transfer-encoding", b"chunked");
            }
            Content::None(None) | Content::Unknown | Content::Switched => (),
        }
        if head.content == Content::Switched {
            self.keeps_alive = false;
        } else if !self.keeps_alive {
            push_field(&mut text, "connection", b"close");
        }
        text.extend(b"\r\n");
        self.framing = Some(framing);
        self.collect(&text).await
    }

    async fn data(&mut self, data: Bytes) -> Result<(), ClientError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.framing == Some(AnswerFraming::Chunked) {
            let size = format!("{:x}\r\n", data.len());
            self.collect(size.as_bytes()).await?;
            self.collect(&data).await?;
            self.collect(b"\r\n").await
        } else {
            self.collect(&data).await
        }
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let collected = std::mem::take(&mut self.collected);
        self.write(&collected).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        if self.framing == Some(AnswerFraming::Chunked) {
            let mut text = b"0\r\n".to_vec();
            for (name, value) in trailers.iter().flatten() {
                push_field(&mut text, name.as_str(), value.as_bytes());
            }
            text.extend(b"\r\n");
            self.collect(&text).await?;
        }
        self.flush().await?;
        self.has_ended = true;
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.framing.is_some()
    }

    fn close_after(&mut self) {
        self.keeps_alive = false;
    }

    /// A client that is gone is noticed where its requests come from.
    async fn gone(&mut self) {
        std::future::pending().await
    }
}

fn push_field(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend(name.as_bytes());
    text.extend(b": ");
    text.extend(value);
    text.extend(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut connection = Connection::new(far);
        let bytes = b"POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\n";
        near.write_all(bytes).await.unwrap();
        drop(near);
        let head = connection.head().await.unwrap().unwrap();
        assert_eq!(head.target, "/1");
        let (mut asking, _) = connection.exchange(Some(&head));
        assert_eq!(asking.content().await.unwrap().unwrap(), "abc");
        assert!(asking.content().await.unwrap().is_none());
        let head = connection.head().await.unwrap().unwrap();
        assert_eq!((head.target.as_str(), head.framing), ("/2", Framing::Empty));
        assert!(connection.head().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_are_bounded() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut connection = Connection::new(far);
        assert!(connection.head().await.unwrap().is_none());
        near.write_all(b"GET / HTTP/1.1\r\nX-").await.unwrap();
        assert!(matches!(connection.head().await, Err(ClientError::Slow)));
        let head = parse_head(b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").unwrap();
        let (mut asking, mut answering) = connection.exchange(Some(&head));
        assert!(asking.content().await.unwrap().is_some());
        assert!(matches!(asking.content().await, Err(ClientError::Slow)));
        // A client that takes nothing.
        let error = answering.write(&[0; 4096]).await;
        assert!(matches!(error, Err(ClientError::Slow)));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed_and_keeps_what_it_sent() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut connection = Connection::new(far);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(near);
        connection.exchange(None).0.gone().await;
        assert!(connection.head().await.unwrap().is_some());
    }

    /// What a client gets for an answer in pieces.
    async fn written(version: Version, content: Content, pieces: &[Vec<u8>]) -> (Vec<u8>, bool) {
        let (mut near, far) = tokio::io::duplex(256);
        let mut connection = Connection::new(far);
        let mut head = parse_head(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        head.version = version;
        let write = async {
            let (_, mut answering) = connection.exchange(Some(&head));
            let answer = AnswerHead {
                status: StatusCode::OK,
                fields: HeaderMap::new(),
                content,
            };
            answering.head(answer).await.unwrap();
            for piece in pieces {
                answering.data(piece.clone().into()).await.unwrap();
            }
            answering.end(None).await.unwrap();
            let can_go_on = answering.can_go_on();
            drop(connection);
            can_go_on
        };
        let read = async {
            let mut bytes = Vec::new();
            near.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        let (can_go_on, bytes) = tokio::join!(write, read);
        (bytes, can_go_on)
    }

    #[tokio::test]
    async fn an_answer_ends_where_its_framing_says() {
        let piece = [b"hello".to_vec()];
        let (bytes, can_go_on) = written(Version::Http11, Content::Length(5), &piece).await;
        assert_eq!(bytes, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        assert!(can_go_on);
        let (bytes, can_go_on) = written(Version::Http10, Content::Unknown, &piece).await;
        assert_eq!(bytes, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello");
        assert!(!can_go_on);
        let (bytes, _) = written(Version::Http11, Content::None(Some(9)), &[]).await;
        assert_eq!(bytes, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    }

    proptest! {
        #[test]
        fn what_is_chunked_reads_back(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (bytes, can_go_on) = runtime.block_on(written(Version::Http11, Content::Unknown, &pieces));
            prop_assert!(can_go_on);
            let front = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut buffer = BytesMut::from(bytes.strip_prefix(front).unwrap());
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
