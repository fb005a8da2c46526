//! The client's side of one connection: heads and content in, answers out, each with a bound in
//! length and time, so that a slow or silent client costs a place among the session's connections
//! for a while and nothing else.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::framing::{Decoded, Decoder};
use crate::head::{Malformed, RequestHead, head_end, parse_head};

/// How long a connection may be idle between two requests.
const IDLE: Duration = Duration::from_secs(120);
/// How long a head may take from its first octet.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may pause within content, or not take what is sent to it.
const PAUSE: Duration = Duration::from_secs(60);
/// What is read and thrown away so that a refusal reaches a client that is still sending.
const MOST_DRAINED: usize = 1024 * 1024;
const DRAIN: Duration = Duration::from_secs(2);
/// Octets of later requests that are taken in while one is under way.
const MOST_READ_AHEAD: usize = 64 * 1024;

/// RFC 9110 §10.1.1.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why nothing more can be read from or written to a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It closed the connection, or the connection broke.
    #[error("the client went away")]
    Gone,
    /// It was silent for too long.
    #[error("the client was silent for too long")]
    Slow,
    /// It sent something that is no request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// One connection with a client, after TLS.
pub(crate) struct Client<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(8 * 1024),
        }
    }

    /// The next request's head; `None` when the client closed the connection between two requests.
    pub(crate) async fn head(&mut self) -> Result<Option<RequestHead>, ClientError> {
        if self.buffer.is_empty() {
            match timeout(IDLE, self.fill()).await {
                Ok(Ok(())) => (),
                _ => return Ok(None),
            }
        }
        timeout(HEAD, self.rest_of_head())
            .await
            .map_err(|_| ClientError::Slow)?
            .map(Some)
    }

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

    /// The next piece of content; `None` at its end.
    pub(crate) async fn content(
        &mut self,
        decoder: &mut Decoder,
    ) -> Result<Option<Bytes>, ClientError> {
        loop {
            match decoder.decode(&mut self.buffer)? {
                Decoded::Data(data) => return Ok(Some(data)),
                Decoded::End => return Ok(None),
                Decoded::NeedMore => timeout(PAUSE, self.fill())
                    .await
                    .map_err(|_| ClientError::Slow)??,
            }
        }
    }

    /// Comes back when the client has closed the connection. What it sends meanwhile is kept, up to
    /// a bound; beyond that it has to wait.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.len() < MOST_READ_AHEAD {
            if self.fill().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Sends octets and makes sure that they are on their way.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        timeout(PAUSE, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| ClientError::Slow)?
        .map_err(|_: io::Error| ClientError::Gone)
    }

    /// Closes the connection in such a way that the client reads what was sent: a close with unread
    /// octets becomes a reset, which destroys the answer on its way.
    pub(crate) async fn close(mut self) {
        let _ = timeout(DRAIN, async {
            self.stream.shutdown().await?;
            let mut drained = self.buffer.len();
            while drained < MOST_DRAINED {
                self.buffer.clear();
                match self.stream.read_buf(&mut self.buffer).await? {
                    0 => break,
                    count => drained += count,
                }
            }
            io::Result::Ok(())
        })
        .await;
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(ClientError::Gone),
            Ok(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Framing;

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut client = Client::new(far);
        let bytes = b"POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\n";
        near.write_all(bytes).await.unwrap();
        drop(near);
        let head = client.head().await.unwrap().unwrap();
        assert_eq!(head.target, "/1");
        let mut decoder = Decoder::new(head.framing);
        assert_eq!(client.content(&mut decoder).await.unwrap().unwrap(), "abc");
        assert!(client.content(&mut decoder).await.unwrap().is_none());
        let head = client.head().await.unwrap().unwrap();
        assert_eq!((head.target.as_str(), head.framing), ("/2", Framing::Empty));
        assert!(client.head().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_are_bounded() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut client = Client::new(far);
        assert!(client.head().await.unwrap().is_none());
        near.write_all(b"GET / HTTP/1.1\r\nX-").await.unwrap();
        assert!(matches!(client.head().await, Err(ClientError::Slow)));
        let mut decoder = Decoder::new(Framing::Length(1000));
        assert!(client.content(&mut decoder).await.unwrap().is_some());
        assert!(matches!(
            client.content(&mut decoder).await,
            Err(ClientError::Slow)
        ));
        // A client that takes nothing.
        let error = client.send(&[0; 4096]).await;
        assert!(matches!(error, Err(ClientError::Slow)));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed_and_keeps_what_it_sent() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut client = Client::new(far);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(near);
        client.gone().await;
        assert!(client.head().await.unwrap().is_some());
    }
}
