//! What readers may ask: searches and their batches, pages, points by id. Each is sent with the filter of the
//! reader's plan beside the client's own, and each point that comes back is decided about before it is
//! released.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tagout_policy::{Channel, Plan, Reader};

use super::points::{as_asked, candidate, items, shown};
use super::requests::{is_name, is_named_vector, is_vector, object, only, parent};
use super::{Proxy, done, refused};
use crate::enforcement::Candidate;
use crate::filters::qdrant_filter;
use crate::message::{Answer, Asked};

/// Items that one answer has at the most.
const MOST_ITEMS: usize = 1000;
/// Searches of one batch.
const MOST_SEARCHES: usize = 32;
/// A search is widened, each time fourfold, until enough items are allowed or it finds this many.
const WIDEST: usize = 10 * MOST_ITEMS;
/// Pages of the store that one page of a scroll may take.
const MOST_PAGES: u32 = 20;
/// What an answer's items stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
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
    pub(super) async fn batch(
        &self,
        reader: &Reader,
        asked: &Asked,
        kind: &str,
    ) -> Result<Answer, Answer> {
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
        for (at, search) in searches.iter().enumerate() {
            let Value::Object(search) = search else {
                return Err(refused(StatusCode::BAD_REQUEST, "a search is an object"));
            };
            // The request itself counted for the first.
            if at > 0 {
                self.in_time(reader)?;
            }
            let items = self.search(reader, path, search.clone(), shape).await?;
            results.push(match shape {
                Shape::List => Value::Array(items),
                Shape::Points => json!({"points": items}),
            });
        }
        Ok(done(Value::Array(results)))
    }

    /// A search, widened until as many items are allowed as were asked for, or a bound.
    pub(super) async fn search(
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
        loop {
            ask.insert("limit".to_owned(), json!(many));
            let result = self.ask(path, &Value::Object(ask.clone())).await?;
            let found = items(result, shape)?;
            let all = found.len() < many;
            let allowed = self.allowed(reader, found).await;
            if all || allowed.len() >= wanted {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = usize::try_from(limit).unwrap_or(usize::MAX);
                return Ok(allowed
                    .into_iter()
                    .skip(start)
                    .take(end)
                    .map(|item| as_asked(item, &body))
                    .collect());
            }
            // What ends here without a word would look like all there is.
            if many == WIDEST {
                return Err(refused(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "too little of what is near may be released; ask for fewer, or with a narrower filter",
                ));
            }
            self.in_time(reader)?;
            many = (many * 4).min(WIDEST);
        }
    }

    /// Points in the order of their ids. The offset that is told is one of an allowed point.
    pub(super) async fn scroll(&self, reader: &Reader, asked: &Asked) -> Result<Answer, Answer> {
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
        for page in 0.. {
            // What ends here without a word would look like all there is.
            if page == MOST_PAGES {
                return Err(refused(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "too little of this may be released to page through it; ask with a narrower filter",
                ));
            }
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
            ask.insert("limit".to_owned(), json!(MOST_ITEMS));
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

    /// Points by their ids.
    pub(super) async fn points(&self, reader: &Reader, asked: &Asked) -> Result<Answer, Answer> {
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
            .by_ids(reader, &asked.path, ids, &Value::Object(body))
            .await?;
        Ok(done(Value::Array(items)))
    }

    pub(super) async fn by_ids(
        &self,
        reader: &Reader,
        path: &str,
        ids: Vec<Value>,
        body: &Value,
    ) -> Result<Vec<Value>, Answer> {
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
                .map(|(item, _)| shown(item, &reader, &keys.1))
                .collect()
        });
        decided.await.unwrap_or_default()
    }
}
