//! The environment resolver's own way to a provider: the session's upstream, under the same address
//! rules and in the same ledger as the agent's traffic, with a credential of the task attached. Its
//! answers never reach the agent.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tagout_authority::{Answer, Ask, Authority};
use tagout_catalog::{Query, SlotPlace};
use tagout_core::{CredentialUse, Target};
use tagout_credentials::{Broker, Credential, Outgoing};
use tagout_net::{Protocol, Upstream, UpstreamStream};

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
/// How long one query may take.
const LONGEST: Duration = Duration::from_secs(15);

/// Asks providers where resources live.
pub(crate) struct Resolver {
    upstream: Arc<Upstream>,
    broker: Arc<Broker>,
    /// The authority asks the resolver and admits its connections; it is made second.
    authority: OnceLock<Authority>,
}

impl Resolver {
    pub(crate) fn new(upstream: Arc<Upstream>, broker: Arc<Broker>) -> Self {
        Self {
            upstream,
            broker,
            authority: OnceLock::new(),
        }
    }

    /// Gives the resolver the authority that admits its connections.
    pub(crate) fn answer_to(&self, authority: Authority) {
        let _ = self.authority.set(authority);
    }

    async fn send(
        &self,
        target: &Target,
        credential: &str,
        query: &Query,
    ) -> Result<Vec<u8>, String> {
        let authority = self
            .authority
            .get()
            .ok_or_else(|| "the session is not ready".to_owned())?;
        let credentials = self.broker.credentials();
        let credential = credentials
            .iter()
            .find(|known| known.name == credential)
            .ok_or_else(|| format!("the session has no credential `{credential}`"))?;
        let admission = authority
            .admit(target)
            .await
            .map_err(|refusal| refusal.reason)?;
        let fields = json!({
            "host": target.host,
            "credential": credential.name,
            "method": query.method,
            "path": query.path,
        });
        authority
            .record()
            .append("resolver", fields)
            .await
            .map_err(|error| error.to_string())?;
        let connection = self
            .upstream
            .connect(&admission, Protocol::Http1)
            .await
            .map_err(|error| error.to_string())?;
        let request = self.request(target, credential, query)?;
        let response = match connection.stream {
            UpstreamStream::Plain(stream) => exchange(stream, request).await,
            UpstreamStream::Tls(stream) => exchange(*stream, request).await,
        };
        response.map_err(|error| self.broker.redact_text(&error))
    }

    fn request(
        &self,
        target: &Target,
        credential: &Credential,
        query: &Query,
    ) -> Result<hyper::Request<Full<Bytes>>, String> {
        let (name, scheme) = credential
            .slots
            .iter()
            .find_map(|slot| match slot {
                SlotPlace::Header { name, scheme } => Some((name.clone(), scheme.clone())),
                _ => None,
            })
            .ok_or_else(|| format!("`{}` has no header to stand in", credential.name))?;
        let decoy = credential.decoy.as_str();
        let value = scheme.map_or_else(|| decoy.to_owned(), |scheme| format!("{scheme} {decoy}"));
        let used = CredentialUse {
            name: credential.name.clone(),
            generation: credential.generation,
            slot: format!("header {name}"),
        };
        let mut outgoing = Outgoing::new(&[(name, value)], &tagout_core::CanonicalQuery::default());
        self.broker
            .attach(&mut outgoing, &[used])
            .map_err(|error| error.to_string())?;
        let mut request = hyper::Request::builder()
            .method(query.method.as_str())
            .uri(query.path.as_str())
            .header("host", target.host.as_str())
            .header("content-type", query.content_type)
            .header("accept", "application/json")
            .header("accept-encoding", "identity")
            .header("user-agent", concat!("tagout/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &outgoing.headers {
            let mut value = http::HeaderValue::from_bytes(value)
                .map_err(|_| format!("`{}` cannot stand in a header", credential.name))?;
            value.set_sensitive(true);
            request = request.header(name.as_str(), value);
        }
        request
            .body(Full::new(Bytes::from(query.body.clone())))
            .map_err(|error| error.to_string())
    }
}

impl Ask for Resolver {
    fn ask<'a>(&'a self, target: &'a Target, credential: &'a str, query: &'a Query) -> Answer<'a> {
        Box::pin(async move {
            tokio::time::timeout(LONGEST, self.send(target, credential, query))
                .await
                .map_err(|_| format!("{} did not answer in time", target.host))?
        })
    }
}

async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<Vec<u8>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the response, or with this function's sender.
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    if response.status() != hyper::StatusCode::OK {
        return Err(format!("the provider answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|_| "the provider's answer could not be read".to_owned())?;
    Ok(body.to_bytes().to_vec())
}
