//! What a stored credential can really do, asked of its provider: `tagout vault probe`. The shape of the
//! value says whose it is; it is sent to that provider alone, in the slot that belongs to it, with
//! requests that read.
//!
//! What must stay true: a value of no known shape is sent nowhere; what could not be found out is said;
//! what a provider answers is escaped before it is shown.

mod github;
mod railway;
mod stripe;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tagout_authority::approval::escape_untrusted;
use tagout_core::{HostName, Target, Transport};
use tagout_credentials::Secret;
use tagout_net::{Upstream, UpstreamStream};

use crate::gates::upstream_config;
use crate::home::Home;
use crate::task::{TaskError, load_config};

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How long a provider may take for one answer.
const LONGEST: Duration = Duration::from_secs(20);
/// The longest piece of an answer that is shown.
const LONGEST_SHOWN: usize = 80;

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whose credential it is.
    pub provider: &'static str,
    /// What it can do, a sentence each.
    pub facts: Vec<String>,
    /// What nobody told, a sentence each.
    pub unknown: Vec<String>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody's shape.
    #[error(
        "its shape is none of Railway, GitHub or Stripe, so it was sent to nobody; what it can do is for its provider to say"
    )]
    Shape,
    /// The provider does not take it.
    #[error("{0} does not accept it: it is expired, revoked or incomplete")]
    Refused(&'static str),
    /// The provider could not be asked.
    #[error("{provider} could not be asked: {reason}")]
    Unreachable {
        /// Whom.
        provider: &'static str,
        /// Why.
        reason: String,
    },
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] TaskError),
    /// The machine.
    #[error("cannot ask anybody from this machine: {0}")]
    Machine(String),
}

/// Asks the provider that the value's shape belongs to.
///
/// # Errors
/// See [`ProbeError`]. None of them has anything of the value in it.
pub fn probe(home: &Home, value: &Secret) -> Result<Found, ProbeError> {
    let text = std::str::from_utf8(value.expose()).map_err(|_| ProbeError::Shape)?;
    let provider = Provider::of(text).ok_or(ProbeError::Shape)?;
    let config = load_config(home)?;
    let upstream = Upstream::new(upstream_config(&config))
        .map_err(|error| ProbeError::Machine(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProbeError::Machine(error.to_string()))?;
    runtime.block_on(async {
        match provider {
            Provider::Railway => railway::probe(&upstream, text).await,
            Provider::GitHub => github::probe(&upstream, text).await,
            Provider::Stripe => stripe::probe(&upstream, text).await,
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Railway,
    GitHub,
    Stripe,
}

impl Provider {
    fn of(value: &str) -> Option<Self> {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| value.starts_with(prefix));
        if begins(github::PREFIXES) {
            return Some(Self::GitHub);
        }
        if begins(stripe::PREFIXES) {
            return Some(Self::Stripe);
        }
        is_uuid(value).then_some(Self::Railway)
    }
}

/// Railway's tokens are UUIDs (8-4-4-4-12 hexadecimal digits).
fn is_uuid(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && parts
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// One question.
struct Ask<'a> {
    provider: &'static str,
    host: &'a str,
    path: &'a str,
    /// Header field and value that carry the credential.
    slot: (&'static str, String),
    /// A body in JSON, sent with POST; without one the method is GET.
    body: Option<Json>,
}

/// One answer.
struct Answered {
    status: u16,
    headers: hyper::HeaderMap,
    body: Json,
}

impl Answered {
    /// A header field as it may be shown.
    fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(shown(value))
    }

    /// A text of the body, by JSON pointer, as it may be shown.
    fn text(&self, pointer: &str) -> Option<String> {
        self.body.pointer(pointer)?.as_str().map(shown)
    }
}

/// What a provider said, as it may be shown.
fn shown(text: &str) -> String {
    escape_untrusted(text).chars().take(LONGEST_SHOWN).collect()
}

async fn ask(upstream: &Upstream, question: Ask<'_>) -> Result<Answered, ProbeError> {
    let provider = question.provider;
    let unreachable = |reason: String| ProbeError::Unreachable { provider, reason };
    tokio::time::timeout(LONGEST, send(upstream, question))
        .await
        .unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
        .map_err(unreachable)
}

async fn send(upstream: &Upstream, question: Ask<'_>) -> Result<Answered, String> {
    let host = HostName::parse(question.host).map_err(|error| error.to_string())?;
    let target = Target {
        transport: Transport::Tls,
        host,
        port: 443,
    };
    let connection = upstream
        .connect_in_person(&target)
        .await
        .map_err(|error| error.to_string())?;
    let UpstreamStream::Tls(stream) = connection.stream else {
        return Err("the connection is not encrypted".to_owned());
    };
    let (name, value) = question.slot;
    let mut value = hyper::header::HeaderValue::from_str(&value)
        .map_err(|_| "the value cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    let content = question.body.as_ref().map(Json::to_string);
    let request = hyper::Request::builder()
        .method(if content.is_some() { "POST" } else { "GET" })
        .uri(question.path)
        .header("host", question.host)
        .header("accept", "application/json")
        .header("accept-encoding", "identity")
        .header("content-type", "application/json")
        .header("user-agent", concat!("tagout/", env!("CARGO_PKG_VERSION")))
        .header(name, value)
        .body(Full::new(Bytes::from(content.unwrap_or_default())))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(*stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let content = Limited::new(body, LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|_| "its answer is longer than any that was expected".to_owned())?
        .to_bytes();
    Ok(Answered {
        status: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_slice(&content).unwrap_or(Json::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_shapes_belong_to_somebody() {
        for (value, provider) in [
            (
                "ghp_0123456789abcdef0123456789abcdef0123",
                Some(Provider::GitHub),
            ),
            ("github_pat_11A_x", Some(Provider::GitHub)),
            ("sk_test_x", Some(Provider::Stripe)),
            ("rk_live_x", Some(Provider::Stripe)),
            (
                "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97",
                Some(Provider::Railway),
            ),
            ("3f6e1c2a9b7d4e58a1c05d2f8b6e4a97", None),
            ("3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a9g", None),
            ("sk-proj-x", None),
            ("hunter2", None),
            ("", None),
        ] {
            assert_eq!(Provider::of(value), provider, "{value}");
        }
    }
}
