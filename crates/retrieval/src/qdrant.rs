//! A reverse proxy in front of Qdrant's REST API for readers. Every search is sent with the filter of the
//! verified reader's plan beside the client's own; every point of an answer is decided about again, by its
//! text, before it is released. There is one filter for each request and nothing is remembered between
//! two, so one user's filter can never serve another.
//!
//! What must stay true: only what is understood is passed on, written anew from what was parsed; without a
//! verified reader nothing is asked upstream; what was denied leaves no trace in an answer, not as a count,
//! a score, an id or an offset. docs/pebblo.md lists what is refused: counts, facets, groups, points as
//! examples, and writing for everybody outside of the writers' groups.

mod points;
mod reads;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use tagout_policy::Reader;
use tokio::sync::Semaphore;

use crate::guard::Guard;
use crate::message::{Answer, Asked};
use crate::rate::TOO_MANY_REQUESTS;
use crate::service::Service;
use crate::settings::QdrantSettings;
use crate::upstream::Upstream;

use reads::Shape;
use requests::{object, parent, segments, writes};

const WITHIN: Duration = Duration::from_secs(30);
/// The store's largest answer, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;
/// Requests that are worked on at once; further ones wait. It bounds the memory for the store's answers.
const AT_ONCE: usize = 8;
/// The largest body of a reader's question and of a writer's batch, in bytes.
const LARGEST_QUESTION: usize = 1024 * 1024;
const LARGEST_WRITE: usize = 32 * 1024 * 1024;

/// The proxy.
pub(crate) struct Proxy {
    upstream: Upstream,
    key: Option<String>,
    settings: QdrantSettings,
    guard: Guard,
    service: Arc<Service>,
    turns: Semaphore,
    probes: Semaphore,
}

impl Proxy {
    /// # Errors
    /// What is wrong with the settings.
    pub(crate) fn new(
        settings: &QdrantSettings,
        hosts: &[String],
        service: Arc<Service>,
    ) -> Result<Self, String> {
        let key = match &settings.api_key_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self {
            upstream: Upstream::new(&settings.upstream, WITHIN, LARGEST)?,
            key,
            settings: settings.clone(),
            // The reader's token is what is needed here, wherever the proxy listens.
            guard: Guard::new(settings.listen.ip(), hosts, String::new()).for_readers(),
            service,
            turns: Semaphore::new(AT_ONCE),
            probes: Semaphore::new(1),
        })
    }

    /// Answers a request of a client.
    pub(crate) async fn answer(&self, asked: &Asked) -> Answer {
        let turns = match segments(&asked.path) {
            // Whoever proves nothing takes no turn of readers.
            Ok(segments) if is_probe(&asked.method, &segments) => &self.probes,
            _ => &self.turns,
        };
        // Neither is ever closed.
        let _turn = turns.acquire().await;
        self.route(asked).await.unwrap_or_else(|refusal| refusal)
    }

    /// Whether a request is answered at all, and how long its body may be, in bytes, before any of that is read.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admit(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<usize, Answer> {
        self.guard.check(method, path, headers)?;
        let segments = segments(path)?;
        if is_probe(method, &segments) {
            return Ok(0);
        }
        let reader = self.service.reader(headers);
        if !reader.authenticated {
            return Err(refused(
                StatusCode::UNAUTHORIZED,
                "who asks has to be proved by a token (api_key, or Authorization: Bearer)",
            ));
        }
        self.in_time(&reader)?;
        Ok(match segments.as_slice() {
            _ if *method == Method::GET => 0,
            ["collections", rest @ ..] if writes(method, rest) && self.may_write(&reader) => {
                LARGEST_WRITE
            }
            _ => LARGEST_QUESTION,
        })
    }

    /// One more question of this reader, unless there were too many.
    fn in_time(&self, reader: &Reader) -> Result<(), Answer> {
        self.service.rates.take(&reader.user).map_err(|wait| {
            refused(StatusCode::TOO_MANY_REQUESTS, TOO_MANY_REQUESTS)
                .with_header("retry-after", wait.to_string())
        })
    }

    fn may_write(&self, reader: &Reader) -> bool {
        reader
            .groups
            .iter()
            .any(|group| self.settings.writers.contains(group))
    }

    /// Only what was admitted comes here.
    async fn route(&self, asked: &Asked) -> Result<Answer, Answer> {
        let segments = segments(&asked.path)?;
        if is_probe(&asked.method, &segments) {
            return self.pass(asked).await;
        }
        let reader = self.service.reader(&asked.headers);
        if !reader.authenticated {
            return Err(refused(StatusCode::UNAUTHORIZED, "the token ended"));
        }
        match (&asked.method, segments.as_slice()) {
            (&Method::GET, ["collections"] | ["collections", _, "exists"]) => {
                self.pass(asked).await
            }
            (&Method::GET, ["collections", _]) => self.description(asked).await,
            (&Method::GET, ["collections", _, "points", id]) => {
                let id = id
                    .parse::<u64>()
                    .map_or_else(|_| json!(id), |number| json!(number));
                let path = format!("{}/points", parent(&asked.path, 2));
                let mut items = self.by_ids(&reader, &path, vec![id], &json!({})).await?;
                match items.pop() {
                    Some(item) => Ok(done(item)),
                    None => Err(refused(
                        StatusCode::NOT_FOUND,
                        "Not found: there is no such point",
                    )),
                }
            }
            (&Method::POST, ["collections", _, "points"]) => self.points(&reader, asked).await,
            (&Method::POST, ["collections", _, "points", "scroll"]) => {
                self.scroll(&reader, asked).await
            }
            (&Method::POST, ["collections", _, "points", "search"]) => {
                let items = self
                    .search(&reader, &asked.path, object(&asked.body)?, Shape::List)
                    .await?;
                Ok(done(Value::Array(items)))
            }
            (&Method::POST, ["collections", _, "points", "query"]) => {
                let items = self
                    .search(&reader, &asked.path, object(&asked.body)?, Shape::Points)
                    .await?;
                Ok(done(json!({"points": items})))
            }
            (
                &Method::POST,
                [
                    "collections",
                    _,
                    "points",
                    kind @ ("search" | "query"),
                    "batch",
                ],
            ) => self.batch(&reader, asked, kind).await,
            (
                &Method::PUT | &Method::POST | &Method::PATCH | &Method::DELETE,
                ["collections", rest @ ..],
            ) if writes(&asked.method, rest) => {
                if self.may_write(&reader) {
                    return self.pass(asked).await;
                }
                Err(refused(
                    StatusCode::FORBIDDEN,
                    "writing is for the groups that `writers` in retrieval.toml names",
                ))
            }
            _ => Err(refused(
                StatusCode::FORBIDDEN,
                "the proxy knows scroll, search, query, their batches, and points by id; what counts, groups or compares \
                 points would show what is not released",
            )),
        }
    }

    /// What a collection is, without how much is in it.
    async fn description(&self, asked: &Asked) -> Result<Answer, Answer> {
        let answer = self.forward(asked).await?;
        let told = |name: &str| answer.pointer(name).cloned().unwrap_or_default();
        let mut config = Map::new();
        for part in [
            "params",
            "hnsw_config",
            "optimizer_config",
            "wal_config",
            "quantization_config",
        ] {
            config.insert(part.to_owned(), told(&format!("/result/config/{part}")));
        }
        Ok(done(json!({
            "status": told("/result/status"),
            // Its errors may name points.
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": config,
            "payload_schema": {},
        })))
    }

    /// The store's own `result`; what it says beside that, such as how much work it was, stays behind.
    async fn pass(&self, asked: &Asked) -> Result<Answer, Answer> {
        let mut answer = self.forward(asked).await?;
        match answer.get_mut("result") {
            Some(result) => Ok(done(result.take())),
            // `/` and the probes have none.
            None => Ok(Answer::ok(&answer)),
        }
    }

    /// Sends a request on as it was understood; the answer's JSON.
    async fn forward(&self, asked: &Asked) -> Result<Value, Answer> {
        let body = match asked.body.is_empty() {
            true => None,
            false => Some(Value::Object(object(&asked.body)?)),
        };
        let wait = asked
            .parameter("wait")
            .filter(|wait| matches!(*wait, "true" | "false"));
        let path = match wait {
            Some(wait) => format!("{}?wait={wait}", asked.path),
            None => asked.path.clone(),
        };
        self.exchange(asked.method.clone(), &path, body.as_ref())
            .await
    }

    /// Asks; the `result` of the answer.
    async fn ask(&self, path: &str, body: &Value) -> Result<Value, Answer> {
        let mut answer = self.exchange(Method::POST, path, Some(body)).await?;
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Answer> {
        let mut headers = vec![("accept", "application/json")];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        if let Some(key) = &self.key {
            headers.push(("api-key", key));
        }
        let bytes = body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        let unavailable = |_| refused(StatusCode::BAD_GATEWAY, "the vector store cannot be asked");
        let reply = self
            .upstream
            .send(method, path, &headers, bytes)
            .await
            .map_err(unavailable)?;
        if reply.status.is_success() {
            let is_json = reply
                .headers
                .get("content-type")
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
            return match (serde_json::from_slice(&reply.body), is_json) {
                (Ok(value), _) => Ok(value),
                (Err(_), false) => Ok(json!({"result": true, "status": "ok"})),
                (Err(_), true) => Err(refused(
                    StatusCode::BAD_GATEWAY,
                    "the vector store's answer cannot be read",
                )),
            };
        }
        // Its words may tell of what is stored; the status is enough.
        Err(refused(reply.status, "the vector store refused this"))
    }
}

/// Whether a request asks only if the store is there.
fn is_probe(method: &Method, segments: &[&str]) -> bool {
    *method == Method::GET && matches!(segments, [] | ["healthz" | "readyz" | "livez"])
}

/// An answer as Qdrant words it.
fn done(result: Value) -> Answer {
    Answer::ok(&json!({"result": result, "status": "ok", "time": 0.0}))
}

/// A refusal as Qdrant words its errors.
fn refused(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, &json!({"status": {"error": message}, "time": 0.0}))
}

#[cfg(test)]
mod tests;
