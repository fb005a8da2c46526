//! The client's side of one exchange, whatever version of HTTP it speaks: a request's content comes
//! in by [`Asking`], its answer goes out by [`Answering`]. There is one exchange for all versions, and
//! this is all that it knows of them.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::head::Malformed;

/// How long a connection may be idle between two requests.
pub(crate) const IDLE: Duration = Duration::from_secs(120);
/// How long a head may take from its first octet.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// How long a client may pause within content, or not take what is sent to it.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// Why nothing more can be read from or written to a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It closed the connection or gave the request up, or the connection broke.
    #[error("the client went away")]
    Gone,
    /// It was silent for too long.
    #[error("the client was silent for too long")]
    Slow,
    /// It sent something that is no request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Where the content of one request comes from.
pub(crate) trait Asking: Send {
    /// The next piece of content; `None` at its end.
    fn content(&mut self) -> impl Future<Output = Result<Option<Bytes>, ClientError>> + Send;

    /// The fields behind the content, once that has ended: names in lower case.
    fn trailers(&mut self) -> Vec<(String, String)>;

    /// Comes back when the client has gone away, as far as this side can tell.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// From here on the connection carries another protocol: all octets are content.
    fn switch(&mut self);
}

/// Where the answer to one request goes.
pub(crate) trait Answering: Send {
    /// Tells the client to send its content (RFC 9110 §10.1.1).
    fn go_on(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Begins the answer. It is on its way after the next [`flush`](Self::flush) or
    /// [`end`](Self::end).
    fn head(&mut self, head: AnswerHead) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Adds content; waits while the client does not take it.
    fn data(&mut self, data: Bytes) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Makes sure that everything so far is on its way.
    fn flush(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Ends the answer. Without it, the client sees that the answer was cut off.
    fn end(
        &mut self,
        trailers: Option<HeaderMap>,
    ) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Whether the answer's head was given.
    fn has_begun(&self) -> bool;

    /// The client's connection shall carry no request after this one, where that can be said.
    fn close_after(&mut self);

    /// Comes back when the client has gone away, as far as this side can tell.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// The beginning of an answer.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Without those that frame the content.
    pub(crate) fields: HeaderMap,
    pub(crate) content: Content,
}

/// What follows an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing; the octets that a HEAD or a 304 announces, if any.
    None(Option<u64>),
    /// So many octets.
    Length(u64),
    /// As many as come.
    Unknown,
    /// Another protocol (RFC 9110 §15.2.2).
    Switched,
}

/// Comes back when either side tells that the client is gone.
pub(crate) async fn gone(asking: &mut impl Asking, answering: &mut impl Answering) {
    tokio::select! {
        () = asking.gone() => (),
        () = answering.gone() => (),
    }
}

/// Stands for the asking side of an exchange where another part of the exchange has it.
pub(crate) enum Nobody {}

impl Asking for Nobody {
    async fn content(&mut self) -> Result<Option<Bytes>, ClientError> {
        match *self {}
    }

    fn trailers(&mut self) -> Vec<(String, String)> {
        match *self {}
    }

    async fn gone(&mut self) {
        match *self {}
    }

    fn switch(&mut self) {
        match *self {}
    }
}
