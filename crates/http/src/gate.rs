//! The gate as connections see it: who is meant, may it be dialled, is it read at all. Then each
//! request of a connection passes through [`crate::exchange`]. The gate decides nothing; it asks the
//! authority twice, once for the connection and once for each request.

use std::sync::Arc;

use serde_json::json;
use tagout_authority::{Admission, Authority};
use tagout_catalog::pack_for_host;
use tagout_core::{Action, Fault, FaultKind, HostName, HostPattern, Refusal, Target, Transport};
use tagout_net::{
    Captured, Destination, Opening, Protocol, Replayed, SessionCa, Upstream, pass_through,
    refuse_handshake,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::attached::{Attachable, is_attachable};
use crate::client::Client;
use crate::content::Room;
use crate::exchange::Next;
use crate::outgoing::Server;
use crate::refusal::{Dress, render};
use crate::understand::{bare_request, fault, mismatch, understand, unparsable};

/// The HTTP gate of one session. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) authority: Authority,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) ca: Arc<SessionCa>,
    model_hosts: Vec<HostPattern>,
    pub(crate) room: Room,
    pub(crate) attachable: Attachable,
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
            }),
        }
    }

    /// Serves one captured connection to its end. Returns when it is closed, whatever happened.
    pub async fn serve(&self, captured: Captured) {
        let (destination, port) = (captured.destination.clone(), captured.port);
        let Ok(opening) = captured.open().await else {
            return;
        };
        match destination {
            Destination::Known(host) => self.serve_known(host, port, opening).await,
            Destination::Unknown => self.serve_unknown(port, opening).await,
        }
    }

    /// A connection to the address of a granted name.
    async fn serve_known(&self, host: HostName, port: u16, opening: Opening) {
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
                Opening::Plain(stream) if refusable => refuse(stream, &target, &refusal).await,
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
            (Ok(admission), Opening::Tls(_, stream)) => {
                if let Some(tls) = self.accept(stream, &target).await {
                    self.serve_requests(tls, &admission).await;
                }
            }
            (Ok(admission), Opening::Plain(stream)) => {
                self.serve_requests(stream, &admission).await;
            }
            (Err(refusal), opening) => self.refuse_opening(opening, &target, &refusal).await,
            // `opening_fault` saw to it.
            (Ok(_), Opening::Broken(..)) => (),
        }
    }

    /// A connection to the address that stands for every name that is not granted. The name is taken
    /// from what the client says, for the record and for a refusal that it can read.
    async fn serve_unknown(&self, port: u16, opening: Opening) {
        match opening {
            Opening::Tls(hello, stream) => match hello.server_name {
                Some(host) => {
                    let target = Target {
                        transport: Transport::Tls,
                        host,
                        port,
                    };
                    let refusal = self.unknown_refusal(&target).await;
                    self.refuse_opening(Opening::Tls(hello_of(&target), stream), &target, &refusal)
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
        let mut client = Client::new(stream);
        let Ok(Some(head)) = client.head().await else {
            self.record_nameless(port, "a plain connection that is no HTTP request")
                .await;
            return client.close().await;
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
            status: 403,
            graphql: false,
            head_only: head.method == "HEAD",
            keeps_alive: false,
        };
        let _ = client.send(&render(&refusal, dress)).await;
        client.close().await;
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

    async fn record_nameless(&self, port: u16, reason: &str) {
        let fields = json!({
            "host": null,
            "port": port,
            "verdict": "deny",
            "reason": reason,
        });
        // Nothing passes on such a connection, recorded or not.
        let _ = self
            .inner
            .authority
            .record()
            .append("connection", fields)
            .await;
    }

    async fn refuse_opening(&self, opening: Opening, target: &Target, refusal: &Refusal) {
        match opening {
            Opening::Tls(_, stream) => {
                if let Some(tls) = self.accept(stream, target).await {
                    refuse(tls, target, refusal).await;
                }
            }
            Opening::Plain(stream) => refuse(stream, target, refusal).await,
            Opening::Broken(_, stream) => refuse_handshake(stream).await,
        }
    }

    /// Speaks TLS with the client. A client that does not like the session's CA (it pins another one,
    /// or has its own roots) only says so in an alert, which is recorded so that somebody sees it.
    async fn accept(
        &self,
        stream: Replayed<TcpStream>,
        target: &Target,
    ) -> Option<TlsStream<Replayed<TcpStream>>> {
        match self
            .inner
            .ca
            .accept(stream, &target.host, Protocol::Http1)
            .await
        {
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

    async fn serve_requests<S>(&self, stream: S, admission: &Admission)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut client = Client::new(stream);
        let mut server = Server::new(&self.inner.upstream, admission);
        while self.exchange(&mut client, &mut server, admission).await == Next::Again {}
        client.close().await;
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

fn hello_of(target: &Target) -> tagout_net::ClientHello {
    tagout_net::ClientHello {
        server_name: Some(target.host.clone()),
        encrypted: false,
        protocols: Vec::new(),
    }
}

/// Answers the first request of a connection with a refusal, and closes it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, target: &Target, refusal: &Refusal) {
    let mut client = Client::new(stream);
    let dress = match client.head().await {
        Ok(Some(head)) => {
            let head_only = head.method == "HEAD";
            let request = understand(head, target).request;
            Dress {
                status: 403,
                graphql: pack_for_host(&target.host)
                    .is_some_and(|pack| pack.is_graphql_endpoint(&request.path)),
                head_only,
                keeps_alive: false,
            }
        }
        Ok(None) => return,
        Err(_) => Dress {
            status: 403,
            graphql: false,
            head_only: false,
            keeps_alive: false,
        },
    };
    let _ = client.send(&render(refusal, dress)).await;
    client.close().await;
}
