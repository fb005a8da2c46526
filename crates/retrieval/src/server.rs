//! The HTTP server: listens, reads requests under limits, hands them to the routes on threads that may
//! wait, writes the answers. HTTP/1.1 without TLS: beyond loopback a proxy of the operator's adds that.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::guard::Guard;
use crate::message::{Answer, Asked, query_pairs};
use crate::qdrant::Proxy;
use crate::routes;
use crate::service::Service;
use crate::settings::Settings;

/// Requests with a body of more than [`UNIT`] that are read or worked on at once, at each of the two ports; further
/// ones wait with so much read.
const LARGE_AT_ONCE: usize = 4;
const UNIT: usize = 64 * 1024;
/// How long a head and a body may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const BODY_WITHIN: Duration = Duration::from_secs(20);
/// How long any next part of a body may take.
const FRAME_WITHIN: Duration = Duration::from_secs(5);
/// Requests that are worked on at once; further ones wait their turn, which is the limit on the rate: a
/// loader is slowed down, not refused, since its library would go on without labels.
const AT_ONCE: usize = 4;
/// Connections that are open at once, at each of the two ports.
const CONNECTIONS: usize = 512;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen ADDRESS:PORT")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Settings, keys, policy or store cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// A server that listens already.
pub struct Serving {
    listener: TcpListener,
    gate: Arc<Gate>,
    proxy: Option<(TcpListener, Arc<Proxy>)>,
}

/// What every connection shares.
struct Gate {
    guard: Guard,
    service: Arc<Service>,
    workers: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    /// The same for the proxy.
    proxied: Arc<Semaphore>,
}

/// Opens everything and listens; answers come once [`Serving::run`] is awaited.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    home: &Path,
    address: SocketAddr,
    settings: Settings,
) -> Result<Serving, ServeError> {
    let token =
        token(home).map_err(|error| ServeError::Unusable(format!("retrieval-token: {error}")))?;
    let hosts = settings.hosts.clone();
    let qdrant = settings.qdrant.clone();
    let service = Service::open(home, settings, Handle::current()).map_err(ServeError::Unusable)?;
    let service = Arc::new(service);
    let bind = |address| async move {
        TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })
    };
    let listener = bind(address).await?;
    let proxy = match qdrant {
        None => None,
        Some(qdrant) => {
            let listener = bind(qdrant.listen).await?;
            let proxy =
                Proxy::new(&qdrant, &hosts, Arc::clone(&service)).map_err(ServeError::Unusable)?;
            Some((listener, Arc::new(proxy)))
        }
    };
    Ok(Serving {
        listener,
        gate: Arc::new(Gate {
            guard: Guard::new(address.ip(), &hosts, token),
            service,
            workers: Arc::new(Semaphore::new(AT_ONCE)),
            bodies: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            proxied: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }),
        proxy,
    })
}

impl Serving {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the proxy in front of Qdrant listens, if there is one.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy
            .as_ref()
            .and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Answers until the future is dropped.
    pub async fn run(self) {
        let gate = Arc::clone(&self.gate);
        let main = accept(
            self.listener,
            Arc::clone(&gate),
            move |gate, request| async move { respond(&gate, request).await },
        );
        match self.proxy {
            None => main.await,
            Some((listener, proxy)) => {
                let beside = accept(listener, gate, move |gate, request| {
                    let proxy = Arc::clone(&proxy);
                    async move {
                        let admitted =
                            proxy.admit(request.method(), request.uri().path(), request.headers());
                        let read = match admitted {
                            Ok(largest) => read(&gate.proxied, request, largest).await,
                            Err(refusal) => Err(refusal),
                        };
                        response(match read {
                            Ok((asked, _turn)) => proxy.answer(&asked).await,
                            Err(refusal) => refusal,
                        })
                    }
                });
                tokio::join!(main, beside);
            }
        }
    }
}

async fn accept<F, A>(listener: TcpListener, gate: Arc<Gate>, handler: F)
where
    F: Fn(Arc<Gate>, Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: a moment later some are free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // An answer in two packets must not wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let gate = Arc::clone(&gate);
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answered = handler(Arc::clone(&gate), request);
                async { Ok::<_, Infallible>(answered.await) }
            });
            // A client that breaks off is no news.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(UNIT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

async fn respond(gate: &Arc<Gate>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let head_only = request.method() == http::Method::HEAD;
    let checked = gate
        .guard
        .check(request.method(), request.uri().path(), request.headers());
    let answer = match checked {
        Err(refusal) => refusal,
        Ok(()) => {
            let largest = routes::largest_body(request.method(), request.uri().path());
            match read(&gate.bodies, request, largest).await {
                Err(refusal) => refusal,
                Ok((asked, _turn)) => work(gate, asked).await,
            }
        }
    };
    let mut response = response(answer);
    if head_only {
        *response.body_mut() = Full::default();
    }
    response
}

/// Runs a handler on a thread that may wait, when it is this request's turn.
async fn work(gate: &Arc<Gate>, asked: Asked) -> Answer {
    let failed = || {
        Answer::message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be worked on",
        )
    };
    let Ok(permit) = Arc::clone(&gate.workers).acquire_owned().await else {
        return failed();
    };
    let service = Arc::clone(&gate.service);
    let done = tokio::task::spawn_blocking(move || {
        let _turn = permit;
        routes::answer(&service, &asked)
    });
    done.await.unwrap_or_else(|_| failed())
}

/// A request that was read, and its turn if it has a large body: held until it is answered.
type Read = (Asked, Option<OwnedSemaphorePermit>);

/// Reads a body of at most `largest` bytes. What is longer than [`UNIT`] takes a turn, as bytes arrive and not as they
/// are announced, so that announcing costs the others nothing; whoever has a turn waits for nothing else.
async fn read(
    turns: &Arc<Semaphore>,
    request: Request<Incoming>,
    largest: usize,
) -> Result<Read, Answer> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Answer::message(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body without a content encoding",
        ));
    }
    if head.headers.contains_key(header::CONTENT_LENGTH)
        && head.headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(Answer::message(
            StatusCode::BAD_REQUEST,
            "a body has a content length or a transfer encoding, not both",
        ));
    }
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > largest) {
        return Err(too_large(largest));
    }
    let (body, turn) = gather(turns, body, largest).await?;
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: query_pairs(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
    };
    Ok((asked, turn))
}

async fn gather(
    turns: &Arc<Semaphore>,
    mut body: Incoming,
    largest: usize,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Answer> {
    let mut gathered = BytesMut::new();
    let mut turn = None;
    let mut end = Instant::now() + BODY_WITHIN;
    loop {
        let next = end.min(Instant::now() + FRAME_WITHIN);
        let frame = tokio::time::timeout_at(next, body.frame())
            .await
            .map_err(|_| {
                Answer::message(
                    StatusCode::REQUEST_TIMEOUT,
                    "a body has 20 s, and 5 s for any next part of it",
                )
            })?;
        let Some(frame) = frame else {
            return Ok((gathered.freeze(), turn));
        };
        let frame =
            frame.map_err(|_| Answer::message(StatusCode::BAD_REQUEST, "the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if gathered.len() + data.len() > largest {
            return Err(too_large(largest));
        }
        if gathered.len() + data.len() > UNIT && turn.is_none() {
            let own = Arc::clone(turns).acquire_owned().await;
            turn = Some(own.map_err(|_| {
                Answer::message(StatusCode::SERVICE_UNAVAILABLE, "the server ends")
            })?);
            // Who waited for the others has all the time.
            end = Instant::now() + BODY_WITHIN;
        }
        gathered.extend_from_slice(&data);
    }
}

fn too_large(largest: usize) -> Answer {
    let most = match largest {
        0 => "this request has no body".to_owned(),
        bytes => format!(
            "the body of this request has at most {} MiB; send smaller batches",
            bytes / (1024 * 1024)
        ),
    };
    Answer::message(StatusCode::PAYLOAD_TOO_LARGE, most)
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(answer.content_type),
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The server's token, made at first use, readable by this user alone.
fn token(home: &Path) -> std::io::Result<String> {
    let path = home.join("retrieval-token");
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| std::io::Error::other("no random bytes"))?;
    let fresh = crate::classifier::hex(&bytes);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(mut file) => {
            file.write_all(fresh.as_bytes())?;
            Ok(fresh)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            std::fs::File::open(&path)?
                .take(200)
                .read_to_string(&mut text)?;
            let text = text.trim().to_owned();
            match text.len() {
                16.. => Ok(text),
                _ => Err(std::io::Error::other(
                    "is shorter than 16 bytes; remove it, and a new one is made",
                )),
            }
        }
        Err(error) => Err(error),
    }
}
