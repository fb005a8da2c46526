//! The server's side of one connection: dialled when the first permitted request needs it, used by
//! the requests of one captured connection and by nobody else's, and written to only in the
//! canonical form of what a permit allows.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tagout_authority::{Admission, Permit};
use tagout_core::{HttpBody, Target};
use tagout_credentials::Outgoing;
use tagout_net::{NetError, Protocol, Upstream};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::understand::default_port;
use crate::upload::OutgoingBody;

/// Fields of an answer's head. Real ones have about thirty.
const MOST_FIELDS: usize = 200;

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

/// At most one connection to the server of an admission.
pub(crate) struct Server<'a> {
    upstream: &'a Upstream,
    admission: &'a Admission,
    sender: Option<SendRequest<OutgoingBody>>,
    /// Drives the connection; ends it when this is dropped.
    connection: JoinSet<()>,
}

impl<'a> Server<'a> {
    /// Nothing is dialled yet.
    pub(crate) fn new(upstream: &'a Upstream, admission: &'a Admission) -> Self {
        Self {
            upstream,
            admission,
            sender: None,
            connection: JoinSet::new(),
        }
    }

    /// Sends a request and waits for the head of its answer. A connection that the server closed
    /// since the last request is replaced; a request of which anything was written is never sent
    /// twice.
    pub(crate) async fn send(
        &mut self,
        request: Request<OutgoingBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let is_fresh = self.ready().await?;
        match self.try_send(request).await {
            Ok(response) => Ok(response),
            Err((Some(unsent), _)) if !is_fresh => {
                self.dial().await?;
                self.try_send(unsent).await.map_err(|(_, error)| error)
            }
            Err((_, error)) => Err(error),
        }
    }

    async fn try_send(
        &mut self,
        request: Request<OutgoingBody>,
    ) -> Result<Response<Incoming>, (Option<Request<OutgoingBody>>, SendError)> {
        let Some(sender) = &mut self.sender else {
            let error = SendError::Request("the connection is gone".to_owned());
            return Err((Some(request), error));
        };
        sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            (unsent, SendError::Http(error.into_error()))
        })
    }

    /// Makes sure that there is a connection; whether it is a new one.
    async fn ready(&mut self) -> Result<bool, SendError> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_ok()
        {
            return Ok(false);
        }
        self.dial().await?;
        Ok(true)
    }

    async fn dial(&mut self) -> Result<(), SendError> {
        self.sender = None;
        self.connection = JoinSet::new();
        let connection = self
            .upstream
            .connect(self.admission, Protocol::Http1)
            .await?;
        let (sender, driver) = http1::Builder::new()
            .max_headers(MOST_FIELDS)
            .handshake(TokioIo::new(connection.stream))
            .await?;
        self.connection.spawn(async move {
            // What goes wrong here is seen by whoever waits for the answer.
            let _ = driver.await;
        });
        self.sender = Some(sender);
        Ok(())
    }
}

/// The canonical form of what `permit` allows, with the credentials that it carries.
///
/// # Errors
/// When a credential cannot be attached; then nothing is sent.
pub(crate) fn outgoing(
    permit: &Permit,
    accept_encoding: &str,
    streamed: Option<OutgoingBody>,
) -> Result<Request<OutgoingBody>, SendError> {
    let action = permit.action();
    let stored = action.request();
    let mut parts = Outgoing::new(&stored.headers, &stored.query);
    permit
        .broker()
        .attach(&mut parts, action.credentials())
        .map_err(|error| SendError::Request(error.to_string()))?;
    let mut local = Zeroizing::new(stored.path.as_str().to_owned());
    if !parts.query.is_empty() {
        local.push('?');
        local.push_str(&parts.query);
    }
    let body = match (&stored.body, streamed) {
        (HttpBody::Streamed, Some(body)) => body,
        (HttpBody::Streamed, None) | (_, Some(_)) => {
            let reason = "its content is not the one that was judged".to_owned();
            return Err(SendError::Request(reason));
        }
        (HttpBody::Empty, None) => OutgoingBody::whole(Vec::new()),
        (HttpBody::Whole(bytes), None) => OutgoingBody::whole(bytes.clone()),
    };
    let attached: Vec<&str> = action
        .credentials()
        .iter()
        .filter_map(|used| match used.slot.split_once(' ') {
            Some(("header", name)) => Some(name),
            Some(("cookie", _)) => Some("cookie"),
            _ => None,
        })
        .collect();
    let invalid = |what: &str| SendError::Request(format!("its {what} is not valid in HTTP"));
    let mut request = Request::new(body);
    *request.method_mut() = stored
        .method
        .as_str()
        .parse()
        .map_err(|_| invalid("method"))?;
    *request.uri_mut() = local.parse::<Uri>().map_err(|_| invalid("path"))?;
    let host = host_field(&stored.target).map_err(|_| invalid("host"))?;
    let length = http_body::Body::size_hint(request.body()).exact();
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    for (name, value) in &parts.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("header"))?;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| invalid("header"))?;
        value.set_sensitive(attached.contains(&name.as_str()));
        headers.append(field, value);
    }
    let coding = HeaderValue::from_str(accept_encoding).map_err(|_| invalid("header"))?;
    headers.insert(ACCEPT_ENCODING, coding);
    // RFC 9110 §8.6: a method that anticipates content has a length even when there is none.
    let needs_length = matches!(stored.method.as_str(), "POST" | "PUT" | "PATCH");
    if let Some(length) = length
        && (length > 0 || needs_length)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}

fn host_field(target: &Target) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    if target.port == default_port(target.transport) {
        HeaderValue::from_str(target.host.as_str())
    } else {
        HeaderValue::from_maybe_shared(Bytes::from(target.to_string()))
    }
}
