//! The server's side of one captured connection: dialled when the client's protocol has to be chosen
//! or the first permitted request needs it, used by the requests of that connection and by nobody
//! else's, and written to only in the canonical form of what a permit allows. A server that speaks
//! HTTP/2 gets one connection; one that does not gets as many as there are requests at one time.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tagout_authority::Admission;
use tagout_core::{Target, Transport};
use tagout_net::{NetError, Protocol, Upstream};
use tokio::task::JoinSet;

use crate::understand::default_port;
use crate::upload::OutgoingBody;

/// Fields of an answer's head. Real ones have about thirty.
const MOST_FIELDS: usize = 200;
/// All fields of an answer's head together, in octets.
const LONGEST_HEAD: u32 = 64 * 1024;
/// Octets of one answer, and of all answers of a connection, that may come before the client took
/// them.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Why a permitted request could not be sent, or had no answer. Fit for the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The server could not be reached.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The connection broke, or what came is no HTTP.
    #[error("the server's answer could not be read: {0}")]
    Http(#[from] hyper::Error),
    /// The request could not be written.
    #[error("the request could not be written: {0}")]
    Request(String),
}

/// The connections to the server of an admission.
pub(crate) struct Server {
    upstream: Arc<Upstream>,
    admission: Admission,
    newest: Protocol,
    /// Held while a connection is made that others could share.
    dialling: tokio::sync::Mutex<()>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// What the server chose last.
    protocol: Option<Protocol>,
    shared: Option<http2::SendRequest<OutgoingBody>>,
    idle: Vec<http1::SendRequest<OutgoingBody>>,
    /// Drives the connections; ends them when this is dropped.
    drivers: JoinSet<()>,
}

/// A connection that one request goes out on.
enum Sender {
    Own(http1::SendRequest<OutgoingBody>),
    Shared(http2::SendRequest<OutgoingBody>),
}

/// Gives a connection back once its answer was read to the end; dropped before, it is not used again.
pub(crate) struct Lease(Option<http1::SendRequest<OutgoingBody>>);

impl Server {
    /// Nothing is dialled yet. No protocol newer than `newest` will be spoken.
    pub(crate) fn new(upstream: Arc<Upstream>, admission: Admission, newest: Protocol) -> Self {
        Self {
            upstream,
            admission,
            newest,
            dialling: tokio::sync::Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// Where it is.
    pub(crate) fn target(&self) -> &Target {
        self.admission.target()
    }

    /// Dials, to know what the server speaks. The connection is kept for the first request.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(crate) async fn protocol(&self) -> Result<Protocol, SendError> {
        let sender = self.dial().await?;
        let protocol = sender.protocol();
        if let Sender::Own(sender) = sender {
            self.open().idle.push(sender);
        }
        Ok(protocol)
    }

    /// Sends a request and waits for the head of its answer. A connection that the server closed
    /// since the last request is replaced; a request of which anything was written is never sent
    /// twice.
    pub(crate) async fn send(
        &self,
        request: Request<OutgoingBody>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let (sender, is_fresh) = match self.at_hand().await {
            Some(sender) => (sender, false),
            None => (self.dial_or_share().await?, true),
        };
        match self.try_send(sender, request).await {
            Ok(answered) => Ok(answered),
            Err((Some(unsent), _)) if !is_fresh => {
                let sender = self.dial().await?;
                let sent = self.try_send(sender, *unsent).await;
                sent.map_err(|(_, error)| error)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Takes a connection back.
    pub(crate) fn give_back(&self, lease: Lease) {
        self.open().idle.extend(lease.0);
    }

    async fn try_send(
        &self,
        sender: Sender,
        mut request: Request<OutgoingBody>,
    ) -> Result<(Response<Incoming>, Lease), (Option<Box<Request<OutgoingBody>>>, SendError)> {
        address(&mut request, self.target(), sender.protocol()).map_err(|error| (None, error))?;
        let (sent, lease) = match sender {
            Sender::Own(mut sender) => {
                let sent = sender.try_send_request(request).await;
                (sent, Lease(Some(sender)))
            }
            Sender::Shared(mut sender) => (sender.try_send_request(request).await, Lease(None)),
        };
        match sent {
            Ok(response) => Ok((response, lease)),
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                Err((unsent, SendError::Http(error.into_error())))
            }
        }
    }

    /// A connection that is open already and takes a request.
    async fn at_hand(&self) -> Option<Sender> {
        loop {
            let mut idle = {
                let mut open = self.open();
                if let Some(shared) = open.shared.as_ref().filter(|shared| !shared.is_closed()) {
                    return Some(Sender::Shared(shared.clone()));
                }
                open.idle.pop()?
            };
            // Its answer was read to the end, so this comes at once.
            if idle.ready().await.is_ok() {
                return Some(Sender::Own(idle));
            }
        }
    }

    /// Of several requests that all want the first connection, one dials; if the server speaks HTTP/2
    /// the others use what it got.
    async fn dial_or_share(&self) -> Result<Sender, SendError> {
        if self.newest == Protocol::Http1 || self.open().protocol == Some(Protocol::Http1) {
            return self.dial().await;
        }
        let _turn = self.dialling.lock().await;
        match self.at_hand().await {
            Some(sender) => Ok(sender),
            None => self.dial().await,
        }
    }

    async fn dial(&self) -> Result<Sender, SendError> {
        let connection = self.upstream.connect(&self.admission, self.newest).await?;
        let protocol = connection.protocol;
        let io = TokioIo::new(connection.stream);
        // What goes wrong in a driver is seen by whoever waits for the answer.
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, driver) = http1::Builder::new()
                    .max_headers(MOST_FIELDS)
                    .handshake(io)
                    .await?;
                self.drive(async move {
                    let _ = driver.with_upgrades().await;
                });
                Sender::Own(sender)
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(LONGEST_HEAD)
                    .handshake(io)
                    .await?;
                self.drive(async move {
                    let _ = driver.await;
                });
                Sender::Shared(sender)
            }
        };
        let mut open = self.open();
        open.protocol = Some(protocol);
        if let Sender::Shared(shared) = &sender {
            open.shared = Some(shared.clone());
        }
        Ok(sender)
    }

    fn drive(&self, driver: impl Future<Output = ()> + Send + 'static) {
        let mut open = self.open();
        while open.drivers.try_join_next().is_some() {}
        open.drivers.spawn(driver);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        // Nothing is left half done in it by a panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Own(_) => Protocol::Http1,
            Self::Shared(_) => Protocol::Http2,
        }
    }
}

/// Writes where a request goes in the way of a protocol: `Host` and a path in HTTP/1.1 (RFC 9112
/// §3.2), pseudo-header fields, which are made of the URI, in HTTP/2 (RFC 9113 §8.3.1).
fn address(
    request: &mut Request<OutgoingBody>,
    target: &Target,
    protocol: Protocol,
) -> Result<(), SendError> {
    let invalid = |what: &str| SendError::Request(format!("its {what} is not valid in HTTP"));
    let authority = match target.port == default_port(target.transport) {
        true => target.host.as_str().to_owned(),
        false => target.to_string(),
    };
    let local = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    match protocol {
        Protocol::Http1 => {
            let host = HeaderValue::from_str(&authority).map_err(|_| invalid("host"))?;
            request.headers_mut().insert(HOST, host);
            request.headers_mut().remove(http::header::TE);
            *request.uri_mut() = Uri::from(local);
            *request.version_mut() = Version::HTTP_11;
        }
        Protocol::Http2 => {
            let scheme = match target.transport {
                Transport::Tls => "https",
                Transport::Plain => "http",
            };
            request.headers_mut().remove(HOST);
            *request.uri_mut() = Uri::builder()
                .scheme(scheme)
                .authority(authority)
                .path_and_query(local)
                .build()
                .map_err(|_| invalid("host"))?;
            *request.version_mut() = Version::HTTP_2;
        }
    }
    Ok(())
}
