//! A small Qdrant: collections with real points in memory, behind the parts of its published REST schema that
//! clients of vector stores use. It stands for the server, which no package registry has; its filters do what
//! Qdrant's documentation says of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The key that this server wants.
pub const KEY: &str = "the-key-of-the-store-itself";

type Points = BTreeMap<String, Value>;

/// A running store; it ends with the test's process.
pub struct Qdrant {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, (Value, Points)>,
    /// Every request with a body: its path and the body.
    asked: Vec<(String, Value)>,
    refused: u64,
}

impl Qdrant {
    /// Starts an empty store.
    pub fn start() -> Qdrant {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        listener
            .set_nonblocking(true)
            .expect("a listener for tokio");
        let address = listener.local_addr().expect("the listener's address");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener in tokio");
                while let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let service =
                            service_fn(move |request| answer(request, Arc::clone(&state)));
                        // A client that breaks off is that test's business.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            });
        });
        Qdrant { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request with a body so far: path and body.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.state
            .lock()
            .expect("no handler panicked")
            .asked
            .clone()
    }

    /// Requests without its key so far.
    pub fn refused(&self) -> u64 {
        self.state.lock().expect("no handler panicked").refused
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let mut state = state.lock().expect("no handler panicked");
    let key = head.headers.get("api-key").map(|key| key.as_bytes());
    let (status, result) = if key == Some(KEY.as_bytes()) {
        if !body.is_null() {
            state.asked.push((path.clone(), body.clone()));
        }
        state.respond(head.method.as_str(), &path, &body)
    } else {
        state.refused += 1;
        (401, Value::Null)
    };
    let text = json!({"result": result, "status": "ok", "time": 0.001}).to_string();
    Ok(hyper::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(text)))
        .expect("an answer"))
}

impl State {
    fn respond(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (name, rest) = match segments.as_slice() {
            ["collections", name, rest @ ..] => (*name, rest),
            ["collections"] => {
                let names: Vec<Value> = self
                    .collections
                    .keys()
                    .map(|name| json!({"name": name}))
                    .collect();
                return (200, json!({"collections": names}));
            }
            _ => return (200, json!({"title": "qdrant", "version": "1.12.2"})),
        };
        if (method, rest) == ("PUT", &[][..]) {
            self.collections
                .insert(name.to_owned(), (body.clone(), Points::new()));
            return (200, json!(true));
        }
        if rest == ["exists"] {
            return (200, json!({"exists": self.collections.contains_key(name)}));
        }
        let Some((config, points)) = self.collections.get_mut(name) else {
            return (404, Value::Null);
        };
        match (method, rest) {
            ("GET", []) => (200, description(config, points.len())),
            ("PUT", ["points"]) => {
                for point in body["points"].as_array().into_iter().flatten() {
                    points.insert(point["id"].to_string(), point.clone());
                }
                (200, json!({"operation_id": 1, "status": "completed"}))
            }
            ("POST", ["points"]) => {
                let ids = body["ids"].as_array().into_iter().flatten();
                let found = ids.filter_map(|id| points.get(&id.to_string()));
                (200, found.map(|point| shown(point, body, None)).collect())
            }
            ("POST", ["points", "scroll"]) => {
                let limit = usize::try_from(body["limit"].as_u64().unwrap_or(10)).unwrap_or(10);
                let from = body["offset"].to_string();
                let mut fitting = points
                    .iter()
                    .filter(|(id, _)| body["offset"].is_null() || **id >= from)
                    .filter(|(_, point)| fits(&body["filter"], point))
                    .map(|(_, point)| point);
                let page: Vec<Value> = fitting
                    .by_ref()
                    .take(limit)
                    .map(|point| shown(point, body, None))
                    .collect();
                let next = fitting
                    .next()
                    .map_or(Value::Null, |point| point["id"].clone());
                (200, json!({"points": page, "next_page_offset": next}))
            }
            ("POST", ["points", kind @ ("search" | "query")]) => {
                let query = if *kind == "search" {
                    &body["vector"]
                } else {
                    &body["query"]
                };
                let query = query.get("nearest").unwrap_or(query);
                let mut scored: Vec<(f64, &Value)> = points
                    .values()
                    .filter(|point| fits(&body["filter"], point))
                    .map(|point| (cosine(query, &point["vector"]), point))
                    .collect();
                scored.sort_by(|one, other| other.0.total_cmp(&one.0));
                let number = |name: &str, default| {
                    usize::try_from(body[name].as_u64().unwrap_or(default)).unwrap_or(10)
                };
                let page: Vec<Value> = scored
                    .into_iter()
                    .skip(number("offset", 0))
                    .take(number("limit", 10))
                    .map(|(score, point)| shown(point, body, Some(score)))
                    .collect();
                (
                    200,
                    if *kind == "search" {
                        Value::Array(page)
                    } else {
                        json!({"points": page})
                    },
                )
            }
            _ => (404, Value::Null),
        }
    }
}

fn description(config: &Value, many: usize) -> Value {
    json!({
        "status": "green", "optimizer_status": {"error": "cannot read point 2"}, "segments_count": 8,
        "points_count": many, "indexed_vectors_count": many, "payload_schema": {},
        "config": {
            "params": {"vectors": config["vectors"], "shard_number": 1, "replication_factor": 1,
                "write_consistency_factor": 1, "on_disk_payload": true},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0},
            "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                "default_segment_number": 0, "flush_interval_sec": 5},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            "metadata": {"note": "of the loader's"},
        },
    })
}

fn shown(point: &Value, body: &Value, score: Option<f64>) -> Value {
    let mut item = json!({"id": point["id"], "payload": null});
    if body["with_payload"] == json!(true) {
        item["payload"] = point["payload"].clone();
    }
    if body["with_vector"] == json!(true) {
        item["vector"] = point["vector"].clone();
    }
    if let Some(score) = score {
        item["score"] = json!(score);
        item["version"] = json!(41);
        item["order_value"] = json!(42);
    }
    item
}

/// Qdrant's filtering clauses: must, should, must_not, and the conditions that the tests use.
fn fits(filter: &Value, point: &Value) -> bool {
    let clause = |name: &str| match &filter[name] {
        Value::Array(list) => list.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let should = clause("should");
    clause("must")
        .iter()
        .all(|condition| holds(condition, point))
        && !clause("must_not")
            .iter()
            .any(|condition| holds(condition, point))
        && (should.is_empty() || should.iter().any(|condition| holds(condition, point)))
}

fn holds(condition: &Value, point: &Value) -> bool {
    if let Some(ids) = condition["has_id"].as_array() {
        return ids.contains(&point["id"]);
    }
    if let Some(key) = condition["is_empty"]["key"].as_str() {
        return values(point, key).is_empty();
    }
    let Some(key) = condition["key"].as_str() else {
        return fits(condition, point);
    };
    let wanted = &condition["match"];
    values(point, key)
        .iter()
        .any(|value| match wanted["any"].as_array() {
            Some(any) => any.contains(value),
            None => *value == wanted["value"],
        })
}

/// The values at a dotted key; a list is each of its items.
fn values(point: &Value, key: &str) -> Vec<Value> {
    let found = key
        .split('.')
        .fold(&point["payload"], |value, part| &value[part]);
    match found {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

fn cosine(one: &Value, other: &Value) -> f64 {
    let numbers = |vector: &Value| -> Vec<f64> {
        vector
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    let dot: f64 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
    let length = |vector: &[f64]| {
        vector
            .iter()
            .map(|number| number * number)
            .sum::<f64>()
            .sqrt()
    };
    dot / (length(&one) * length(&other)).max(f64::EPSILON)
}
