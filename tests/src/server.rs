//! A small HTTPS server on loopback that remembers every request it got.
//!
//! It stands for an origin: a session reaches it by the origin's real name, which the operator's
//! `config.toml` points at this server's address. What arrived here is what really left the gate.

use crate::TestAuthority;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as the server received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The version that it came in.
    pub version: hyper::Version,
    /// The method, as sent.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Header fields in the order of the wire, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Received {
    /// The first value of a header field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What the server says. The pieces of the body are written one by one.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body; without any piece it is empty.
    pub pieces: Vec<Vec<u8>>,
}

impl Answer {
    /// An answer of one piece.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            pieces: vec![body.into()],
        }
    }

    /// A 200 with JSON.
    pub fn json(value: &serde_json::Value) -> Answer {
        Answer::new(200, "application/json", value.to_string())
    }
}

/// A running server; it ends with the test's process.
pub struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<u64>>,
}

impl Server {
    /// Starts a server for `names` that answers with `answer`.
    pub fn start(
        authority: &TestAuthority,
        names: &[&str],
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Server {
        Server::speaking(authority, names, &["http/1.1"], answer)
    }

    /// The same for a server that speaks these protocols, as ALPN calls them, best first.
    pub fn speaking(
        authority: &TestAuthority,
        names: &[&str],
        protocols: &[&str],
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let acceptor = TlsAcceptor::from(authority.server_config(names, protocols));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        listener
            .set_nonblocking(true)
            .expect("a listener for tokio");
        let server = Server {
            address: listener.local_addr().expect("the listener's address"),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let received = Arc::clone(&server.received);
        let connections = Arc::clone(&server.connections);
        let answer: Arc<Handler> = Arc::new(answer);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener in tokio");
                while let Ok((stream, _)) = listener.accept().await {
                    *connections.lock().expect("no handler panicked") += 1;
                    let acceptor = acceptor.clone();
                    let answer = Arc::clone(&answer);
                    let received = Arc::clone(&received);
                    tokio::spawn(async move {
                        // A client that breaks off is that test's business, not the server's.
                        let Ok(stream) = acceptor.accept(stream).await else {
                            return;
                        };
                        let service = service_fn(move |request| {
                            serve(request, Arc::clone(&answer), Arc::clone(&received))
                        });
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let stream = TokioIo::new(stream);
                        if is_http2 {
                            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(stream, service)
                                .await;
                        } else {
                            let _ = hyper::server::conn::http1::Builder::new()
                                .serve_connection(stream, service)
                                .await;
                        }
                    });
                }
            });
        });
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no handler panicked").clone()
    }

    /// How many connections were opened so far, with or without a request.
    pub fn connections(&self) -> u64 {
        *self.connections.lock().expect("no handler panicked")
    }
}

type Handler = dyn Fn(&Received) -> Answer + Send + Sync;

async fn serve(
    request: hyper::Request<Incoming>,
    answer: Arc<Handler>,
    log: Arc<Mutex<Vec<Received>>>,
) -> Result<hyper::Response<Pieces>, hyper::Error> {
    let (head, body) = request.into_parts();
    let received = Received {
        version: head.version,
        method: head.method.to_string(),
        target: match head.uri.path_and_query() {
            // In HTTP/2 the rest of it stands in fields of its own.
            Some(local) if head.version == hyper::Version::HTTP_2 => local.to_string(),
            _ => head.uri.to_string(),
        },
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: body.collect().await?.to_bytes().to_vec(),
    };
    log.lock()
        .expect("no handler panicked")
        .push(received.clone());
    let answer = answer(&received);
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    Ok(response
        .body(Pieces(answer.pieces.into_iter()))
        .expect("a test's answer has valid header fields"))
}

/// The pieces of a body, one frame each.
struct Pieces(std::vec::IntoIter<Vec<u8>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.next();
        Poll::Ready(next.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}
