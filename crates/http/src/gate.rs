//! The gate as connections see it: who is meant, may it be dialled, is it read at all. Then each
//! request of a connection passes through [`crate::exchange`]. The gate decides nothing; it asks the
//! authority twice, once for the connection and once for each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use serde_json::json;
use tagout_authority::{Admission, Authority};
use tagout_catalog::pack_for_host;
use tagout_core::{Action, Fault, FaultKind, HostName, HostPattern, Refusal, Target, Transport};
use tagout_credentials::login::Logins;
use tagout_net::{
    Captured, ClientHello, Destination, Names, Opening, Protocol, Replayed, SessionCa, Upstream,
    pass_through, refuse_handshake,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::attached::{Attachable, is_attachable};
use crate::client::{Answering, ClientError};
use crate::content::Room;
use crate::head::RequestHead;
use crate::http1::Connection;
use crate::http2::{self, Streams};
use crate::refusal::{self, Dress};
use crate::server::Server;
use crate::understand::{bare_request, fault, mismatch, understand, unparsable};

/// Servers of which it is remembered what they speak.
const MOST_REMEMBERED: usize = 4096;

/// How many requests a plain connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    AsTheyCome,
    /// The next one on it may be for another host.
    One,
}

/// The HTTP gate of one session. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) history: Option<Arc<dyn crate::History>>,
    /// Where what is asked of the proxy leads; without it there is no proxy.
    pub(crate) names: Option<Arc<Names>>,
    pub(crate) git_credentials: Option<Arc<dyn crate::GitCredentials>>,
}

pub(crate) struct Inner {
    pub(crate) authority: Authority,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) ca: Arc<SessionCa>,
    model_hosts: Vec<HostPattern>,
    pub(crate) room: Room,
    pub(crate) attachable: Attachable,
    streams: Streams,
    /// What servers were found to speak, so that a client need not wait for a server to be dialled.
    spoken: Mutex<HashMap<Target, Protocol>>,
}

impl Gate {
    /// A gate that asks `authority`, reaches the world through `upstream` and speaks TLS to the
    /// sandbox as `ca`. What goes to `model_hosts` is a conversation, not a place for credentials:
    /// its content has no slots.
    pub fn new(
        authority: Authority,
        upstream: Arc<Upstream>,
        ca: Arc<SessionCa>,
        model_hosts: Vec<HostPattern>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                authority,
                upstream,
                ca,
                model_hosts,
                room: Room::new(),
                attachable: Attachable::default(),
                streams: Streams::new(),
                spoken: Mutex::default(),
            }),
            logins: Arc::default(),
            history: None,
            names: None,
            git_credentials: None,
        }
    }

    /// With logins, whose tokens it keeps fresh.
    #[must_use]
    pub fn with_logins(self, logins: Arc<Logins>) -> Self {
        Self { logins, ..self }
    }

    /// With a proxy for tools that insist on one, which leads where these names lead.
    #[must_use]
    pub fn with_proxy(self, names: Arc<Names>) -> Self {
        let names = Some(names);
        Self { names, ..self }
    }

    /// Serves one captured connection to its end. Returns when it is closed, whatever happened.
    pub async fn serve(&self, captured: Captured) {
        self.serve_requests(captured, Requests::AsTheyCome).await;
    }

    pub(crate) async fn serve_requests(&self, captured: Captured, requests: Requests) {
        let (destination, port) = (captured.destination.clone(), captured.port);
        let Ok(opening) = captured.open().await else {
            return;
        };
        match destination {
            Destination::Known(host) => self.serve_known(host, port, opening, requests).await,
            Destination::Unknown => self.serve_unknown(port, opening).await,
            Destination::Proxy => self.serve_proxy(opening).await,
        }
    }

    /// A connection to the address of a granted name.
    async fn serve_known(&self, host: HostName, port: u16, opening: Opening, requests: Requests) {
        let transport = match &opening {
            Opening::Plain(_) => Transport::Plain,
            Opening::Tls(..) | Opening::Broken(..) => Transport::Tls,
        };
        let target = Target {
            transport,
            host,
            port,
        };
        if let Some((fault, refusable)) = opening_fault(&opening, &target) {
            let refusal = self.refusal_for(&target, fault).await;
            return match opening {
                Opening::Plain(stream) if refusable => {
                    refuse_http1(stream, &target, &refusal).await;
                }
                Opening::Plain(stream) | Opening::Tls(_, stream) | Opening::Broken(_, stream) => {
                    refuse_handshake(stream).await;
                }
            };
        }
        let admission = self.inner.authority.admit(&target).await;
        match (admission, opening) {
            (Ok(admission), Opening::Tls(hello, stream)) if !admission.inspect() => {
                if hello.encrypted {
                    let hidden = mismatch(
                        "the connection hides another server name (Encrypted Client Hello)",
                    );
                    self.refusal_for(&target, hidden).await;
                    return refuse_handshake(stream).await;
                }
                self.pass(stream, &admission).await;
            }
            (Ok(admission), Opening::Tls(hello, stream)) => {
                self.serve_encrypted(&hello, stream, admission).await;
            }
            (Ok(admission), Opening::Plain(stream)) => {
                let server = self.server(admission, Protocol::Http1);
                self.serve_http1(stream, server, requests).await;
            }
            (Err(refusal), Opening::Tls(hello, stream)) => {
                self.refuse_encrypted(&hello, stream, &target, refusal)
                    .await;
            }
            (Err(refusal), Opening::Plain(stream)) => {
                refuse_http1(stream, &target, &refusal).await;
            }
            // `opening_fault` saw to it.
            (_, Opening::Broken(..)) => (),
        }
    }

    /// A connection to the address that stands for every name that is not granted. The name is taken
    /// from what the client says, for the record and for a refusal that it can read.
    async fn serve_unknown(&self, port: u16, opening: Opening) {
        match opening {
            Opening::Tls(hello, stream) => match &hello.server_name {
                Some(host) => {
                    let target = Target {
                        transport: Transport::Tls,
                        host: host.clone(),
                        port,
                    };
                    let refusal = self.unknown_refusal(&target).await;
                    self.refuse_encrypted(&hello, stream, &target, refusal)
                        .await;
                }
                None => {
                    self.record_nameless(port, "a TLS connection without a server name")
                        .await;
                    refuse_handshake(stream).await;
                }
            },
            Opening::Broken(error, stream) => {
                self.record_nameless(port, &error.to_string()).await;
                refuse_handshake(stream).await;
            }
            Opening::Plain(stream) => self.refuse_plain(port, stream).await,
        }
    }

    async fn refuse_plain(&self, port: u16, stream: Replayed<TcpStream>) {
        let mut connection = Connection::new(stream);
        let Ok(Some(head)) = connection.head().await else {
            self.record_nameless(port, "a plain connection that is no HTTP request")
                .await;
            return connection.close().await;
        };
        let named = head
            .field("host")
            .next()
            .and_then(|text| HostName::parse(text.split(':').next().unwrap_or(text)).ok());
        let refusal = match named {
            Some(host) => {
                let target = Target {
                    transport: Transport::Plain,
                    host,
                    port,
                };
                self.unknown_refusal(&target).await
            }
            None => {
                let what = "a plain request whose Host field is no host name";
                self.record_nameless(port, what).await;
                Refusal::denied(
                    "this address stands for no host.",
                    "Use host names; addresses are not passed.",
                )
            }
        };
        let dress = Dress {
            status: StatusCode::FORBIDDEN,
            graphql: false,
            grpc: false,
            head_only: head.method == "HEAD",
        };
        let (_, mut answering) = connection.exchange(Some(&head));
        answering.close_after();
        let _ = refusal::refuse(&mut answering, &refusal, dress).await;
        connection.close().await;
    }

    /// The refusal for a name that the connection's address does not stand for. The authority is
    /// asked as for any other; should it grant the name, the address is still the wrong one.
    async fn unknown_refusal(&self, target: &Target) -> Refusal {
        match self.inner.authority.admit(target).await {
            Err(refusal) => refusal,
            Ok(_) => {
                let wrong = fault(
                    FaultKind::AuthorityMismatch,
                    "the connection went to an address that does not stand for its host",
                    "Look the host's name up again and connect to what the name server answers.",
                );
                self.refusal_for(target, wrong).await
            }
        }
    }

    /// Lets the authority refuse, and record, a connection that cannot be a request's.
    async fn refusal_for(&self, target: &Target, fault: Fault) -> Refusal {
        let action = Action::new(bare_request(target), vec![], vec![], vec![fault], false);
        match self.inner.authority.judge(action).await {
            Err(refusal) => refusal,
            // Whatever the authority says, nothing is sent for this one.
            Ok(_) => Refusal::denied(
                "the connection could not be understood.",
                "Make a plain HTTPS request.",
            ),
        }
    }

    pub(crate) async fn record_nameless(&self, port: u16, reason: &str) {
        let fields = json!({
            "host": null,
            "port": port,
            "verdict": "deny",
            "reason": reason,
        });
        self.record_refused_connection(fields).await;
    }

    /// Writes down that the proxy was asked for something that it does not give; `named` is the host and
    /// port of that, as the agent spelled them.
    pub(crate) async fn record_unproxied(&self, reason: &str, named: Option<&str>) {
        let broker = self.inner.authority.broker();
        let fields = json!({
            "host": null,
            "port": tagout_net::PROXY_PORT,
            "proxy_asked_for": named.map(|named| broker.redact_text(named)),
            "verdict": "deny",
            "reason": reason,
        });
        self.record_refused_connection(fields).await;
    }

    async fn record_refused_connection(&self, fields: serde_json::Value) {
        // Nothing passes on such a connection, recorded or not.
        let _ = self
            .inner
            .authority
            .record()
            .append("connection", fields)
            .await;
    }

    /// Answers every request of an encrypted connection with a refusal, in whatever version of HTTP
    /// the client reads.
    async fn refuse_encrypted(
        &self,
        hello: &ClientHello,
        stream: Replayed<TcpStream>,
        target: &Target,
        refusal: Refusal,
    ) {
        // The older one where both are read: it is understood by whatever prints what went wrong.
        let protocol = match hello.offers(Protocol::Http1) {
            true => Protocol::Http1,
            false => Protocol::Http2,
        };
        let Some(tls) = self.accept(stream, target, protocol).await else {
            return;
        };
        match protocol {
            Protocol::Http1 => refuse_http1(tls, target, &refusal).await,
            Protocol::Http2 => {
                let (target, refusal) = (Arc::new(target.clone()), Arc::new(refusal));
                http2::serve(tls, &self.inner.streams, |head, _, mut answering| {
                    let (target, refusal) = (Arc::clone(&target), Arc::clone(&refusal));
                    async move {
                        let dress = dress_of(head.ok(), &target);
                        let _ = refusal::refuse(&mut answering, &refusal, dress).await;
                        answering.answered()
                    }
                })
                .await;
            }
        }
    }

    /// Speaks TLS with the client. A client that does not like the session's CA (it pins another one,
    /// or has its own roots) only says so in an alert, which is recorded so that somebody sees it.
    async fn accept(
        &self,
        stream: Replayed<TcpStream>,
        target: &Target,
        protocol: Protocol,
    ) -> Option<TlsStream<Replayed<TcpStream>>> {
        match self.inner.ca.accept(stream, &target.host, protocol).await {
            Ok(tls) => Some(tls),
            Err(error) => {
                let fields = json!({
                    "host": target.host,
                    "port": target.port,
                    "error": error.to_string(),
                });
                let _ = self
                    .inner
                    .authority
                    .record()
                    .append("handshake", fields)
                    .await;
                None
            }
        }
    }

    /// Copies a connection that the task grants unread.
    async fn pass(&self, stream: Replayed<TcpStream>, admission: &Admission) {
        let passed = match self.inner.upstream.connect_opaque(admission).await {
            Ok(connection) => pass_through(stream, connection)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => {
                refuse_handshake(stream).await;
                Err(error.to_string())
            }
        };
        let fields = json!({
            "connection": admission.sequence(),
            "inspected": false,
            "sent_bytes": passed.as_ref().ok().map(|passed| passed.sent),
            "received_bytes": passed.as_ref().ok().map(|passed| passed.received),
            "error": passed.err(),
        });
        let _ = self.inner.authority.record().append("passed", fields).await;
    }

    fn server(&self, admission: Admission, newest: Protocol) -> Server {
        Server::new(Arc::clone(&self.inner.upstream), admission, newest)
    }

    /// Reads what is said on an encrypted connection. The client gets HTTP/2 where it offers it and
    /// the server speaks it, so that nothing has to be translated.
    async fn serve_encrypted(
        &self,
        hello: &ClientHello,
        stream: Replayed<TcpStream>,
        admission: Admission,
    ) {
        let target = admission.target().clone();
        let (server, protocol) = match hello.offers(Protocol::Http2) {
            false => (self.server(admission, Protocol::Http1), Protocol::Http1),
            true => {
                let server = self.server(admission, Protocol::Http2);
                let spoken = self.spoken(&server).await;
                let protocol = match hello.offers(Protocol::Http1) {
                    true => spoken,
                    false => Protocol::Http2,
                };
                (server, protocol)
            }
        };
        let Some(tls) = self.accept(stream, &target, protocol).await else {
            return;
        };
        match protocol {
            Protocol::Http1 => self.serve_http1(tls, server, Requests::AsTheyCome).await,
            Protocol::Http2 => self.serve_http2(tls, server).await,
        }
    }

    /// What the server speaks, or HTTP/1.1 where it cannot be reached: its requests will say so.
    async fn spoken(&self, server: &Server) -> Protocol {
        let spoken = || {
            let spoken = self.inner.spoken.lock();
            // Entries are put in whole, so one that is there is complete.
            spoken.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(&protocol) = spoken().get(server.target()) {
            return protocol;
        }
        let Ok(protocol) = server.protocol().await else {
            return Protocol::Http1;
        };
        let mut spoken = spoken();
        if spoken.len() < MOST_REMEMBERED {
            spoken.insert(server.target().clone(), protocol);
        }
        protocol
    }

    async fn serve_http1<S>(&self, stream: S, server: Server, requests: Requests)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut connection = Connection::new(stream);
        loop {
            let head = match connection.head().await {
                Ok(Some(head)) => Ok(head),
                Err(ClientError::Malformed(what)) => Err(what),
                Ok(None) | Err(ClientError::Gone | ClientError::Slow) => break,
            };
            let (mut asking, mut answering) = connection.exchange(head.as_ref().ok());
            if requests == Requests::One {
                answering.close_after();
            }
            self.exchange(head, &mut asking, &mut answering, &server)
                .await;
            if !answering.can_go_on() {
                break;
            }
        }
        connection.close().await;
    }

    async fn serve_http2<S>(&self, stream: S, server: Server)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let server = Arc::new(server);
        http2::serve(
            stream,
            &self.inner.streams,
            |head, mut asking, mut answering| {
                let (gate, server) = (self.clone(), Arc::clone(&server));
                async move {
                    gate.exchange(head, &mut asking, &mut answering, &server)
                        .await;
                    answering.answered()
                }
            },
        )
        .await;
    }

    pub(crate) fn is_model_host(&self, host: &HostName) -> bool {
        self.inner
            .model_hosts
            .iter()
            .any(|pattern| pattern.matches(host))
    }

    /// Whether answers of `host` may have something in them that Tagout attached, in whatever request.
    pub(crate) fn is_credentialed(&self, host: &HostName) -> bool {
        pack_for_host(host).is_some() || is_attachable(host, self.inner.authority.broker())
    }
}

/// What is wrong with how a connection begins, and whether the client could read a refusal.
fn opening_fault(opening: &Opening, target: &Target) -> Option<(Fault, bool)> {
    match opening {
        Opening::Broken(error, _) => Some((unparsable(error.to_string()), false)),
        Opening::Tls(hello, _) => match &hello.server_name {
            None => Some((mismatch("the TLS connection names no server (SNI)"), false)),
            Some(name) if *name != target.host => Some((
                mismatch("the TLS connection names another server than its address stands for"),
                false,
            )),
            Some(_) => None,
        },
        Opening::Plain(_) if target.port == 443 => Some((
            fault(
                FaultKind::Unparsable,
                "the request on port 443 is not encrypted",
                "Use https:// with this host.",
            ),
            true,
        )),
        Opening::Plain(_) => None,
    }
}

/// Answers the first request of a connection with a refusal, and closes it.
async fn refuse_http1<S>(stream: S, target: &Target, refusal: &Refusal)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connection = Connection::new(stream);
    let head = match connection.head().await {
        Ok(Some(head)) => Some(head),
        Ok(None) => return,
        Err(_) => None,
    };
    let (_, mut answering) = connection.exchange(head.as_ref());
    answering.close_after();
    let dress = dress_of(head, target);
    let _ = refusal::refuse(&mut answering, refusal, dress).await;
    connection.close().await;
}

/// How a refusal is told to whoever sent `head`.
fn dress_of(head: Option<RequestHead>, target: &Target) -> Dress {
    let head_only = head.as_ref().is_some_and(|head| head.method == "HEAD");
    let graphql = head.is_some_and(|head| {
        let path = understand(head, target).request.path;
        pack_for_host(&target.host).is_some_and(|pack| pack.is_graphql_endpoint(&path))
    });
    Dress {
        status: StatusCode::FORBIDDEN,
        graphql,
        grpc: false,
        head_only,
    }
}
