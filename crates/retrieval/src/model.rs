//! A model of the operator's, asked over HTTP for labels that recognisers and lexicon do not have. It is sent
//! `{"text": ...}` and answers `{"entities": [{"label", "start", "end", "score"}], "topics": [{"label",
//! "score"}]}`, offsets in code points. It can only add: what the built-in classifier found stays.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tagout_secrets::personal::{Entity, EntityKind};
use tokio::runtime::Handle;

use crate::classifier::{Classified, score};
use crate::settings::ModelSettings;
use crate::topics::Topic;
use crate::upstream::Upstream;

/// What a model may add to one text.
const MOST: usize = 10_000;

/// A model that is asked.
pub(crate) struct Model {
    upstream: Upstream,
    version: String,
    handle: Handle,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    entities: Vec<FoundEntity>,
    #[serde(default)]
    topics: Vec<FoundTopic>,
}

#[derive(Deserialize)]
struct FoundEntity {
    label: String,
    start: usize,
    end: usize,
    #[serde(default = "half")]
    score: f64,
}

#[derive(Deserialize)]
struct FoundTopic {
    label: String,
    #[serde(default = "half")]
    score: f64,
}

impl Model {
    /// # Errors
    /// What is wrong with the URL.
    pub(crate) fn new(settings: &ModelSettings, handle: Handle) -> Result<Self, String> {
        Ok(Self {
            upstream: Upstream::new(&settings.url, Duration::from_secs(settings.timeout))?,
            version: settings.version.clone(),
            handle,
        })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Asks. Runs on a thread that may wait.
    ///
    /// # Errors
    /// When it does not answer as it should, in words.
    pub(crate) fn classify(&self, text: &str) -> Result<Classified, String> {
        let body = json!({"text": text}).to_string().into_bytes();
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ];
        let reply = self
            .handle
            .block_on(self.upstream.send(Method::POST, "", &headers, body))
            .map_err(|error| format!("the model cannot be asked: {error}"))?;
        if reply.status != StatusCode::OK {
            return Err(format!("the model answered {}", reply.status));
        }
        let found: Found = serde_json::from_slice(&reply.body)
            .map_err(|error| format!("the model's answer cannot be read: {error}"))?;
        // The place of each code point, and the end.
        let places: Vec<usize> = text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect();
        let mut entities: Vec<Entity> = Vec::new();
        for entity in found.entities.into_iter().take(MOST) {
            let kind = EntityKind::with_label(&entity.label).ok_or_else(|| {
                format!(
                    "the model knows a label {:?} that Tagout does not",
                    entity.label
                )
            })?;
            let span = match (places.get(entity.start), places.get(entity.end)) {
                (Some(&start), Some(&end)) if start < end => start..end,
                _ => return Err("the model names a place outside of the text".to_owned()),
            };
            let overlaps =
                |other: &Entity| other.span.start < span.end && span.start < other.span.end;
            if !entities.iter().any(overlaps) {
                entities.push(Entity {
                    kind,
                    span,
                    score: score(entity.score),
                });
            }
        }
        let topics = found.topics.into_iter().take(20).map(|topic| Topic {
            label: topic.label,
            score: score(topic.score),
        });
        Ok(Classified {
            entities,
            topics: topics.collect(),
        })
    }
}

fn half() -> f64 {
    0.5
}
