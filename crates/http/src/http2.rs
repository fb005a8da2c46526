//! HTTP/2 with a client (RFC 9113). Framing, header compression and flow control are the `h2`
//! crate's, within the bounds set here; what a request says is read under the same strict grammar as
//! in HTTP/1.1 and becomes the same head, so that everything behind it is one path.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{COOKIE, HOST, HeaderMap};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{AnswerHead, Answering, Asking, ClientError, Content, HEAD, IDLE, PAUSE};
use crate::head::{LONGEST_HEAD, Malformed, RequestHead, Version, field_value};
use crate::understand::NO_TUNNEL;

/// Requests of one connection at one time.
const MOST_STREAMS: u32 = 100;
/// Requests of all connections of a session at one time; what comes beyond is told to come again.
const MOST_STREAMS_TOGETHER: usize = 2048;
/// Octets of one request's content, and of all requests of a connection, that may come before the
/// gate has read them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Octets of an answer that wait for the client in this process.
const MOST_WAITING: usize = 256 * 1024;
/// Requests that the client gave up before they had an answer, beyond those that had one
/// (CVE-2023-44487), and streams that were reset for what was wrong in them. Then the connection ends.
const MOST_GIVEN_UP: usize = 100;
const MOST_WRONG: usize = 256;

/// What bounds the streams of all connections of a session.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Streams {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_STREAMS_TOGETHER)))
    }
}

/// Whether an exchange got as far as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Its head at least.
    Yes,
    /// The client gave the request up.
    No,
}

/// Serves a connection to its end: each request is handed to `handle` with both its sides, and
/// several are handled at one time.
pub(crate) async fn serve<S, F, H>(stream: S, streams: &Streams, handle: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answered> + Send + 'static,
    H: Fn(Result<RequestHead, Malformed>, Http2Asking, Http2Answering) -> F,
{
    let handshake = builder().handshake(stream);
    let Ok(Ok(mut connection)) = timeout(HEAD, handshake).await else {
        return;
    };
    let mut exchanges = JoinSet::new();
    let mut given_up = 0_usize;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Some(ended) = exchanges.join_next() => {
                given_up = match ended {
                    Ok(Answered::Yes) => given_up.saturating_sub(1),
                    Ok(Answered::No) | Err(_) => given_up + 1,
                };
                if given_up > MOST_GIVEN_UP {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                continue;
            }
            () = tokio::time::sleep(IDLE), if exchanges.is_empty() => break,
        };
        let Some(Ok((request, mut respond))) = accepted else {
            break;
        };
        let Ok(place) = Arc::clone(&streams.0).try_acquire_owned() else {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        };
        let (parts, body) = request.into_parts();
        let has_content = !body.is_end_stream();
        let head = read_head(Request::from_parts(parts, ()), has_content);
        let exchange = handle(head, Http2Asking::new(body), Http2Answering::new(respond));
        exchanges.spawn(async move {
            let answered = exchange.await;
            drop(place);
            answered
        });
    }
    // What an idle client gets; one that is gone gets nothing.
    connection.graceful_shutdown();
    let _ = timeout(HEAD, poll_fn(|context| connection.poll_closed(context))).await;
    drop(connection);
    // Each notices that its client is gone, and records how far it came.
    while exchanges.join_next().await.is_some() {}
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LONGEST_HEAD as u32)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(MOST_WAITING)
        .max_concurrent_reset_streams(MOST_GIVEN_UP)
        .max_pending_accept_reset_streams(MOST_GIVEN_UP)
        .max_local_error_reset_streams(Some(MOST_WRONG));
    builder
}

/// A request's head under the grammar of all versions. What RFC 9113 §8.2 and §8.3 forbid outright
/// (fields of the connection, upper case, pseudo-header fields that are unknown, doubled or late)
/// never gets here: `h2` resets such a stream.
fn read_head(request: Request<()>, has_content: bool) -> Result<RequestHead, Malformed> {
    let (parts, ()) = request.into_parts();
    // It has neither :scheme nor :path (RFC 9113 §8.5), which says nothing to who sent it.
    if parts.method == http::Method::CONNECT {
        return Err(NO_TUNNEL);
    }
    let authority = parts
        .uri
        .authority()
        .ok_or(Malformed("the request has no :authority"))?
        .as_str();
    if parts.uri.scheme_str() != Some("https") {
        return Err(Malformed("the request's :scheme is not https"));
    }
    let target = parts
        .uri
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str)
        .filter(|path| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(Malformed("the request's :path is no path"))?;
    let fields = read_fields(&parts.headers, authority)?;
    let mut head = RequestHead::new(
        parts.method.as_str().to_owned(),
        target.to_owned(),
        Version::Http2,
        fields,
    )?;
    if head.framing == crate::head::Framing::Empty && has_content {
        head.framing = crate::head::Framing::Chunked;
    }
    Ok(head)
}

/// The fields in order, `Host` in front, cookies joined (RFC 9113 §8.2.3) so that they are read as the
/// server reads them.
fn read_fields(headers: &HeaderMap, authority: &str) -> Result<Vec<(String, String)>, Malformed> {
    let mut fields = vec![("host".to_owned(), authority.to_owned())];
    let mut cookies: Vec<String> = Vec::new();
    for (name, value) in headers {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Malformed("a header field's value is not text in UTF-8"))?;
        let text = field_value(text)?;
        if name == HOST {
            if text != authority {
                return Err(Malformed("the Host field is not what :authority says"));
            }
        } else if name == COOKIE {
            cookies.push(text);
        } else {
            fields.push((name.as_str().to_owned(), text));
        }
    }
    if !cookies.is_empty() {
        fields.push(("cookie".to_owned(), cookies.join("; ")));
    }
    Ok(fields)
}

/// The content of one request.
pub(crate) struct Http2Asking {
    stream: RecvStream,
    trailers: Vec<(String, String)>,
    has_ended: bool,
}

impl Http2Asking {
    fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            trailers: Vec::new(),
            has_ended: false,
        }
    }

    async fn read_trailers(&mut self) -> Result<(), ClientError> {
        let trailers = timeout(PAUSE, self.stream.trailers())
            .await
            .map_err(|_| ClientError::Slow)?
            .map_err(|_| ClientError::Gone)?;
        for (name, value) in trailers.iter().flatten() {
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Malformed("a trailer is not text in UTF-8"))?;
            let field = (name.as_str().to_owned(), field_value(text)?);
            self.trailers.push(field);
        }
        Ok(())
    }
}

impl Asking for Http2Asking {
    async fn content(&mut self) -> Result<Option<Bytes>, ClientError> {
        while !self.has_ended {
            let data = timeout(PAUSE, self.stream.data())
                .await
                .map_err(|_| ClientError::Slow)?;
            match data {
                Some(Ok(data)) => {
                    let flow = self.stream.flow_control();
                    flow.release_capacity(data.len())
                        .map_err(|_| ClientError::Gone)?;
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) => return Err(ClientError::Gone),
                None => {
                    self.has_ended = true;
                    self.read_trailers().await?;
                }
            }
        }
        Ok(None)
    }

    fn trailers(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.trailers)
    }

    /// A client that is gone, or gave the request up, is noticed where its answer goes.
    async fn gone(&mut self) {
        std::future::pending().await
    }

    /// A stream never carries anything else: extended CONNECT (RFC 8441) is not offered.
    fn switch(&mut self) {}
}

/// The answer to one request.
pub(crate) struct Http2Answering {
    state: State,
}

enum State {
    Before(SendResponse<Bytes>),
    Within(SendStream<Bytes>),
    Ended,
}

impl Http2Answering {
    /// Whether the client got an answer.
    pub(crate) fn answered(&self) -> Answered {
        match self.has_begun() {
            true => Answered::Yes,
            false => Answered::No,
        }
    }

    fn new(respond: SendResponse<Bytes>) -> Self {
        Self {
            state: State::Before(respond),
        }
    }
}

impl Answering for Http2Answering {
    async fn go_on(&mut self) -> Result<(), ClientError> {
        let State::Before(respond) = &mut self.state else {
            return Ok(());
        };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        respond
            .send_informational(response)
            .map_err(|_| ClientError::Gone)
    }

    async fn head(&mut self, head: AnswerHead) -> Result<(), ClientError> {
        let State::Before(respond) = &mut self.state else {
            return Err(ClientError::Gone);
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.fields;
        let (announced, is_whole) = match head.content {
            Content::None(announced) => (announced, true),
            // An answer of a head alone may be one of trailers alone, as gRPC has them.
            Content::Length(0) => (None, true),
            Content::Length(length) => (Some(length), false),
            Content::Unknown => (None, false),
            Content::Switched => return Err(ClientError::Gone),
        };
        if let Some(length) = announced {
            let fields = response.headers_mut();
            fields.insert(http::header::CONTENT_LENGTH, length.into());
        }
        let stream = respond
            .send_response(response, is_whole)
            .map_err(|_| ClientError::Gone)?;
        self.state = match is_whole {
            true => State::Ended,
            false => State::Within(stream),
        };
        Ok(())
    }

    async fn data(&mut self, mut data: Bytes) -> Result<(), ClientError> {
        let State::Within(stream) = &mut self.state else {
            return Ok(());
        };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let capacity = timeout(PAUSE, poll_fn(|context| stream.poll_capacity(context)))
                .await
                .map_err(|_| ClientError::Slow)?;
            let Some(Ok(capacity)) = capacity else {
                return Err(ClientError::Gone);
            };
            let piece = data.split_to(capacity.min(data.len()));
            stream
                .send_data(piece, false)
                .map_err(|_| ClientError::Gone)?;
        }
        Ok(())
    }

    /// The connection sends what it has by itself.
    async fn flush(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        let State::Within(stream) = &mut self.state else {
            return Ok(());
        };
        let ended = match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        self.state = State::Ended;
        ended.map_err(|_| ClientError::Gone)
    }

    fn has_begun(&self) -> bool {
        !matches!(self.state, State::Before(_))
    }

    /// Each request has a stream of its own, which ends with its answer.
    fn close_after(&mut self) {}

    async fn gone(&mut self) {
        let reset = poll_fn(|context| match &mut self.state {
            State::Before(respond) => respond.poll_reset(context).map(|_| ()),
            State::Within(stream) => stream.poll_reset(context).map(|_| ()),
            State::Ended => Poll::Pending,
        });
        reset.await;
    }
}
