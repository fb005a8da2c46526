//! A reverse proxy in front of Qdrant's REST API for readers. Every search is sent with the filter of the
//! verified reader's plan beside the client's own; every point of an answer is decided about again, by its
//! text, before it is released. There is one filter for each request and nothing is remembered between
//! two, so one user's filter can never serve another.
//!
//! What must stay true: only what is understood is passed on, written anew from what was parsed; without a
//! verified reader nothing is asked upstream; what was denied leaves no trace in an answer, not as a count,
//! a score, an id or an offset. docs/pebblo.md lists what is refused: counts, facets, groups, points as
//! examples, and writing for everybody outside of the writers' groups.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tagout_policy::{Channel, Plan, Reader};

use crate::classifier::content;
use crate::enforcement::Candidate;
use crate::fields::texts;
use crate::filters::qdrant_filter;
use crate::guard::Guard;
use crate::message::{Answer, Asked};
use crate::service::Service;
use crate::settings::QdrantSettings;
use crate::upstream::Upstream;

/// Items that one answer has at the most.
const MOST_ITEMS: usize = 1000;
/// Searches of one batch.
const MOST_SEARCHES: usize = 32;
/// How often a search is widened, each time fourfold, until enough items are allowed.
const WIDENINGS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(30);

/// The proxy.
pub(crate) struct Proxy {
    upstream: Upstream,
    key: Option<String>,
    settings: QdrantSettings,
    guard: Guard,
    service: Arc<Service>,
}

/// What an answer's items stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{"result": [...]}`
    List,
    /// `{"result": {"points": [...]}}`
    Points,
}

/// Members of a search that are passed on. Whatever else is asked is refused: a member that nobody here
/// knows could name a point, another collection, or another filter.
const SEARCH_MEMBERS: &[&str] = &[
    "vector",
    "query",
    "filter",
    "limit",
    "offset",
    "with_payload",
    "with_vector",
    "with_vectors",
    "score_threshold",
    "params",
    "using",
    "shard_key",
];

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
            upstream: Upstream::new(&settings.upstream, WITHIN)?,
            key,
            settings: settings.clone(),
            // The reader's token is what is needed here, wherever the proxy listens.
            guard: Guard::new(settings.listen.ip(), hosts, String::new()).for_readers(),
            service,
        })
    }

    /// Answers a request of a client.
    pub(crate) async fn answer(&self, asked: &Asked) -> Answer {
        self.route(asked).await.unwrap_or_else(|refusal| refusal)
    }

    async fn route(&self, asked: &Asked) -> Result<Answer, Answer> {
        self.guard
            .check(&asked.method, &asked.path, &asked.headers)?;
        let segments: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        if asked.method == Method::GET
            && matches!(segments.as_slice(), [""] | ["healthz" | "readyz" | "livez"])
        {
            return self.pass(asked).await;
        }
        let reader = self.service.reader(asked);
        if !reader.authenticated {
            return Err(refused(
                StatusCode::UNAUTHORIZED,
                "who asks has to be proved by a token (api_key, or Authorization: Bearer)",
            ));
        }
        if let ["collections", name, ..] = segments.as_slice()
            && !is_name(name)
        {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "a collection has a name of letters, digits, . _ and -",
            ));
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
            (&Method::POST, ["collections", _, "points"]) => {
                let body = object(&asked.body)?;
                only(
                    &body,
                    &[
                        "ids",
                        "with_payload",
                        "with_vector",
                        "with_vectors",
                        "shard_key",
                    ],
                )?;
                let ids = match body.get("ids") {
                    Some(Value::Array(ids)) if ids.len() <= MOST_ITEMS => ids.clone(),
                    _ => {
                        return Err(refused(
                            StatusCode::BAD_REQUEST,
                            "`ids` is a list of at most 1000 points",
                        ));
                    }
                };
                let items = self
                    .by_ids(&reader, &asked.path, ids, &Value::Object(body))
                    .await?;
                Ok(done(Value::Array(items)))
            }
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
                if reader
                    .groups
                    .iter()
                    .any(|group| self.settings.writers.contains(group))
                {
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

    async fn batch(&self, reader: &Reader, asked: &Asked, kind: &str) -> Result<Answer, Answer> {
        let body = object(&asked.body)?;
        only(&body, &["searches"])?;
        let Some(Value::Array(searches)) = body.get("searches") else {
            return Err(refused(StatusCode::BAD_REQUEST, "`searches` is a list"));
        };
        if searches.len() > MOST_SEARCHES {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "a batch has at most 32 searches here",
            ));
        }
        let path = parent(&asked.path, 1);
        let shape = if kind == "query" {
            Shape::Points
        } else {
            Shape::List
        };
        let mut results = Vec::new();
        for search in searches {
            let Value::Object(search) = search else {
                return Err(refused(StatusCode::BAD_REQUEST, "a search is an object"));
            };
            let items = self.search(reader, path, search.clone(), shape).await?;
            results.push(match shape {
                Shape::List => Value::Array(items),
                Shape::Points => json!({"points": items}),
            });
        }
        Ok(done(Value::Array(results)))
    }

    /// A search, widened until as many items are allowed as were asked for, or a bound.
    async fn search(
        &self,
        reader: &Reader,
        path: &str,
        body: Map<String, Value>,
        shape: Shape,
    ) -> Result<Vec<Value>, Answer> {
        let body: Map<String, Value> = body
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        only(&body, SEARCH_MEMBERS)?;
        // A point as an example would tell how near a hidden one is.
        if body.get("query").is_some_and(|query| !is_vector(query))
            || body
                .get("vector")
                .is_some_and(|vector| !is_named_vector(vector))
        {
            return Err(refused(
                StatusCode::FORBIDDEN,
                "search by a vector; points as examples are not released",
            ));
        }
        let number = |name: &str, default: u64| body.get(name).map_or(Some(default), Value::as_u64);
        let (Some(limit), Some(offset)) = (number("limit", 10), number("offset", 0)) else {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "`limit` and `offset` are numbers",
            ));
        };
        let wanted = usize::try_from(limit.saturating_add(offset)).unwrap_or(usize::MAX);
        if wanted > MOST_ITEMS {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "limit and offset together are at most 1000 here",
            ));
        }
        let Some(filter) = self.filter(reader, body.get("filter"))? else {
            return Ok(Vec::new());
        };
        let mut ask = body.clone();
        ask.insert("filter".to_owned(), filter);
        ask.insert("offset".to_owned(), json!(0));
        ask.insert("with_payload".to_owned(), json!(true));
        let mut many = wanted.max(1);
        for round in 0.. {
            ask.insert("limit".to_owned(), json!(many));
            let result = self.ask(path, &Value::Object(ask.clone())).await?;
            let found = items(result, shape)?;
            let all = found.len() < many;
            let allowed = self.allowed(reader, found).await;
            if all || allowed.len() >= wanted || round == WIDENINGS || many >= 10 * MOST_ITEMS {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = usize::try_from(limit).unwrap_or(usize::MAX);
                return Ok(allowed
                    .into_iter()
                    .skip(start)
                    .take(end)
                    .map(|item| as_asked(item, &body))
                    .collect());
            }
            many *= 4;
        }
        Ok(Vec::new())
    }

    /// Points in the order of their ids. The offset that is told is one of an allowed point.
    async fn scroll(&self, reader: &Reader, asked: &Asked) -> Result<Answer, Answer> {
        let body: Map<String, Value> = object(&asked.body)?
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        only(
            &body,
            &[
                "filter",
                "limit",
                "offset",
                "with_payload",
                "with_vector",
                "with_vectors",
                "shard_key",
            ],
        )?;
        let limit = body.get("limit").map_or(Some(10), Value::as_u64);
        let limit = limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=MOST_ITEMS).contains(limit));
        let limit = limit.ok_or_else(|| {
            refused(
                StatusCode::BAD_REQUEST,
                "`limit` is between 1 and 1000 here",
            )
        })?;
        let Some(filter) = self.filter(reader, body.get("filter"))? else {
            return Ok(done(json!({"points": [], "next_page_offset": null})));
        };
        let mut ask = body.clone();
        ask.insert("filter".to_owned(), filter);
        ask.insert("with_payload".to_owned(), json!(true));
        ask.insert("limit".to_owned(), json!(limit + 1));
        let mut allowed: Vec<Value> = Vec::new();
        for _ in 0..=WIDENINGS * 4 {
            let mut result = self.ask(&asked.path, &Value::Object(ask.clone())).await?;
            let next = result
                .get_mut("next_page_offset")
                .map(Value::take)
                .unwrap_or_default();
            allowed.extend(self.allowed(reader, items(result, Shape::Points)?).await);
            if next.is_null() || allowed.len() > limit {
                break;
            }
            ask.insert("offset".to_owned(), next);
        }
        let next = allowed
            .get(limit)
            .and_then(|item| item.get("id"))
            .cloned()
            .unwrap_or_default();
        let points: Vec<Value> = allowed
            .into_iter()
            .take(limit)
            .map(|item| as_asked(item, &body))
            .collect();
        Ok(done(json!({"points": points, "next_page_offset": next})))
    }

    async fn by_ids(
        &self,
        reader: &Reader,
        path: &str,
        ids: Vec<Value>,
        body: &Value,
    ) -> Result<Vec<Value>, Answer> {
        let known: HashSet<String> = ids.iter().map(ToString::to_string).collect();
        if !ids
            .iter()
            .all(|id| id.is_u64() || id.as_str().is_some_and(is_name))
        {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "an id is a number or a UUID",
            ));
        }
        let mut body = body.as_object().cloned().unwrap_or_default();
        if body.get("with_payload").is_none_or(Value::is_null) {
            body.insert("with_payload".to_owned(), json!(true));
        }
        let mut ask = body.clone();
        ask.insert("ids".to_owned(), Value::Array(ids));
        ask.insert("with_payload".to_owned(), json!(true));
        let result = self.ask(path, &Value::Object(ask)).await?;
        let found = items(result, Shape::List)?;
        debug_assert!(found.len() <= known.len());
        let allowed = self.allowed(reader, found).await;
        Ok(allowed
            .into_iter()
            .map(|item| as_asked(item, &body))
            .collect())
    }

    /// The client's filter and the plan's, both of which must match; `None` where nothing may be seen.
    fn filter(&self, reader: &Reader, own: Option<&Value>) -> Result<Option<Value>, Answer> {
        let plan = match self.service.plan(reader, Channel::Qdrant) {
            Plan::None => return Ok(None),
            Plan::All => json!({}),
            Plan::Some { condition, .. } => qdrant_filter(&condition, &self.settings.metadata_key),
        };
        Ok(Some(match own {
            None | Some(Value::Null) => plan,
            Some(Value::Object(own)) => json!({"must": [plan, own]}),
            Some(_) => return Err(refused(StatusCode::BAD_REQUEST, "`filter` is an object")),
        }))
    }

    /// The items that may be released.
    async fn allowed(&self, reader: &Reader, found: Vec<Value>) -> Vec<Value> {
        let service = Arc::clone(&self.service);
        let reader = reader.clone();
        let keys = (
            self.settings.content_key.clone(),
            self.settings.metadata_key.clone(),
        );
        let decided = tokio::task::spawn_blocking(move || {
            let candidates: Vec<Candidate> = found
                .iter()
                .map(|item| candidate(&service, item, &keys))
                .collect();
            let rulings = service.release(&reader, Channel::Qdrant, &candidates);
            let both = found.into_iter().zip(rulings);
            both.filter(|(_, allowed)| *allowed)
                .map(|(item, _)| item)
                .collect()
        });
        decided.await.unwrap_or_default()
    }

    /// What a collection is, without how much is in it.
    async fn description(&self, asked: &Asked) -> Result<Answer, Answer> {
        let mut answer = self.forward(asked).await?;
        if let Some(Value::Object(result)) = answer.get_mut("result") {
            result.retain(|name, _| {
                matches!(
                    name.as_str(),
                    "status" | "optimizer_status" | "config" | "payload_schema" | "segments_count"
                )
            });
            result.insert("payload_schema".to_owned(), json!({}));
            result.insert("segments_count".to_owned(), json!(1));
        }
        Ok(Answer::ok(&answer))
    }

    async fn pass(&self, asked: &Asked) -> Result<Answer, Answer> {
        self.forward(asked).await.map(|answer| Answer::ok(&answer))
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

/// A point of the store. Its readers are what was stored with it: whoever may write there may say so.
fn candidate(
    service: &Service,
    item: &Value,
    (content_key, metadata_key): &(String, String),
) -> Candidate {
    let payload = item.get("payload");
    let metadata = payload.and_then(|payload| payload.get(metadata_key));
    let member = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let source = ["full_path", "source"]
        .iter()
        .find_map(|name| member(name)?.as_str());
    let mut candidate = Candidate {
        hash: content(""),
        labels: None,
        readers: vec![texts(member("authorized_identities"))],
        source: source.unwrap_or_default().to_owned(),
        faults: Vec::new(),
    };
    match payload
        .and_then(|payload| payload.get(content_key))
        .and_then(Value::as_str)
    {
        // Everything that leaves is looked at, not the text alone.
        Some(text) => {
            candidate.hash = content(text);
            candidate.labels = service.labels_of(text).ok();
            let rest = payload
                .map(|payload| rest_of(payload, content_key))
                .unwrap_or_default();
            match service.labels_of(&rest) {
                Ok(more) => {
                    if let Some(labels) = &mut candidate.labels {
                        labels.entities.extend(more.entities);
                    }
                }
                Err(_) => candidate.faults.push("unlabelled_payload".to_owned()),
            }
        }
        None => candidate.faults.push("no_text".to_owned()),
    }
    candidate
}

/// The texts of a payload beside its content.
fn rest_of(payload: &Value, content_key: &str) -> String {
    fn gather(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| gather(item, into)),
            Value::Object(members) => members
                .iter()
                // Hashes, and who may read: names of the store's own.
                .filter(|(name, _)| {
                    !matches!(
                        name.as_str(),
                        "authorized_identities" | "pb_checksum" | "pb_id"
                    )
                })
                .for_each(|(_, member)| gather(member, into)),
            _ => {}
        }
    }
    let mut texts = Vec::new();
    if let Value::Object(members) = payload {
        for (_, member) in members.iter().filter(|(name, _)| *name != content_key) {
            gather(member, &mut texts);
        }
    }
    texts.join("\n")
}

/// An item without the payload that only the check needed.
fn as_asked(mut item: Value, body: &Map<String, Value>) -> Value {
    let Some(members) = item.as_object_mut() else {
        return item;
    };
    // `true` is all of it; a list of keys, or `include` and `exclude`, only by their first names.
    let keep = |name: &str| match body.get("with_payload") {
        Some(Value::Bool(all)) => *all,
        Some(Value::Array(names)) => names.iter().any(|wanted| first(wanted) == Some(name)),
        Some(Value::Object(choice)) => match (choice.get("include"), choice.get("exclude")) {
            (Some(Value::Array(names)), _) => {
                names.iter().any(|wanted| first(wanted) == Some(name))
            }
            (_, Some(Value::Array(names))) => {
                !names.iter().any(|wanted| wanted.as_str() == Some(name))
            }
            _ => false,
        },
        _ => false,
    };
    if let Some(Value::Object(payload)) = members.get_mut("payload") {
        payload.retain(|name, _| keep(name));
        if payload.is_empty() {
            members.remove("payload");
        }
    }
    item
}

fn first(name: &Value) -> Option<&str> {
    name.as_str()?.split(['.', '[']).next()
}

fn items(result: Value, shape: Shape) -> Result<Vec<Value>, Answer> {
    let list = match (shape, result) {
        (Shape::List, Value::Array(list)) => Some(list),
        (Shape::Points, Value::Object(mut members)) => match members.remove("points") {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        },
        _ => None,
    };
    list.ok_or_else(|| {
        refused(
            StatusCode::BAD_GATEWAY,
            "the vector store's answer cannot be read",
        )
    })
}

/// A vector, dense or sparse, or one in `{"nearest": ...}`.
fn is_vector(query: &Value) -> bool {
    match query {
        Value::Array(numbers) => numbers.iter().all(|number| {
            number.is_number()
                || number
                    .as_array()
                    .is_some_and(|row| row.iter().all(Value::is_number))
        }),
        Value::Object(members) => match members.get("nearest") {
            Some(nearest) => members.len() == 1 && is_vector(nearest),
            None => {
                members.len() == 2
                    && members.contains_key("indices")
                    && members.contains_key("values")
            }
        },
        _ => false,
    }
}

/// A vector, or `{"name": ..., "vector": ...}`.
fn is_named_vector(vector: &Value) -> bool {
    match vector.get("vector") {
        Some(inner) => {
            vector.as_object().is_some_and(|members| members.len() == 2) && is_vector(inner)
        }
        None => is_vector(vector),
    }
}

/// Whether a request below `/collections` writes. What reads by POST was recognised before, or is refused.
fn writes(method: &Method, rest: &[&str]) -> bool {
    match rest {
        [_] => matches!(*method, Method::PUT | Method::PATCH | Method::DELETE),
        [_, "points"] => *method == Method::PUT,
        [_, "points", "delete" | "payload" | "vectors" | "batch"] => *method != Method::GET,
        [_, "points", "payload" | "vectors", "delete" | "clear"] => *method == Method::POST,
        [_, "index"] => *method == Method::PUT,
        [_, "index", _] => *method == Method::DELETE,
        _ => false,
    }
}

/// A name that is one segment of a path whoever reads it.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(plain)
        && name.bytes().any(|byte| byte != b'.')
}

fn parent(path: &str, levels: usize) -> &str {
    (0..levels).fold(path.trim_end_matches('/'), |path, _| {
        path.rsplit_once('/').map_or("", |(above, _)| above)
    })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Answer> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(refused(
            StatusCode::BAD_REQUEST,
            "the body is a JSON object",
        )),
    }
}

fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Answer> {
    let unknown = body
        .iter()
        .find(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    match unknown {
        None => Ok(()),
        Some((name, _)) => Err(refused(
            StatusCode::FORBIDDEN,
            &format!("the proxy does not pass on `{}`", name.escape_debug()),
        )),
    }
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
