//! Where an index of cargo keeps its packages, asked of the index itself when its name is first looked
//! up inside, before the name has an answer. The agent has no say in it: the index is the operator's,
//! the answer comes from its root over TLS, through the authority and the ledger as everything does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tagout_authority::Authority;
use tagout_core::HostPattern;
use tagout_net::{Names, Protocol, Upstream, UpstreamStream};
use tagout_policy::{Registries, Registry};

use super::{Index, Memory, download_host};

/// An index's configuration is two short lines.
const LARGEST: usize = 64 * 1024;
/// How long the index may take; the name is told then, whatever came.
const LONGEST: Duration = Duration::from_millis(3500);

/// What asking needs.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) authority: Authority,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) names: Arc<Names>,
    pub(crate) registries: Registries,
    pub(crate) memory: Arc<Memory>,
}

impl Asker {
    /// Asks when the index is first wanted. Must be called in a tokio runtime.
    pub(crate) fn watch(self, index: Index) {
        let question = self.names.question(index.target().host.clone());
        tokio::spawn(async move {
            question.asked().await;
            if let Ok(Ok(downloads)) = tokio::time::timeout(LONGEST, self.ask(&index)).await {
                // Its own network is the operator's word for the index alone.
                if downloads.target == *index.target() {
                    self.upstream
                        .allow_operators_network(downloads.target.clone());
                }
                let target = &downloads.target;
                let url = format!("https://{}:{}{}", target.host, target.port, downloads.path);
                self.memory.remember(&index.name(), &url);
                self.names.grant(HostPattern::Exact(target.host.clone()));
                self.registries.add(downloads);
            }
            question.settle();
        });
    }

    async fn ask(&self, index: &Index) -> Result<Registry, String> {
        let target = index.target();
        let admission = self
            .authority
            .admit(target)
            .await
            .map_err(|refusal| refusal.reason)?;
        let fields = json!({"host": target.host, "path": index.root()});
        self.authority
            .record()
            .append("registry", fields)
            .await
            .map_err(|error| error.to_string())?;
        let connection = self
            .upstream
            .connect(&admission, Protocol::Http1)
            .await
            .map_err(|error| error.to_string())?;
        let body = match connection.stream {
            UpstreamStream::Plain(stream) => get(stream, index).await,
            UpstreamStream::Tls(stream) => get(*stream, index).await,
        };
        download_host(&body?).ok_or_else(|| "it names no place".to_owned())
    }
}

async fn get<S>(stream: S, index: &Index) -> Result<Vec<u8>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the response, or with this function's sender.
    tokio::spawn(connection);
    let target = index.target();
    let host = match target.port {
        443 => target.host.to_string(),
        port => format!("{}:{port}", target.host),
    };
    let request = hyper::Request::get(index.root())
        .header("host", host)
        .header("accept-encoding", "identity")
        .header("user-agent", concat!("tagout/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    if response.status() != hyper::StatusCode::OK {
        return Err(format!("the registry answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|_| "the registry's answer could not be read".to_owned())?;
    Ok(body.to_bytes().to_vec())
}
