//! A model of the operator's, asked over HTTP for labels that recognisers and lexicon do not have. It is sent
//! `{"text": ...}` and answers `{"entities": [{"label", "start", "end", "score"}], "topics": [{"label",
//! "score"}]}`, offsets in code points. It can only add: what the built-in classifier found stays.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tagout_secrets::personal::{Entity, EntityKind};
use tokio::runtime::Handle;

use crate::classifier::score;
use crate::settings::ModelSettings;
use crate::topics::Topic;
use crate::upstream::Upstream;

/// What a model may add to one text.
const MOST: usize = 10_000;
const MOST_TOPICS: usize = 20;
/// The largest answer, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;
/// The longest label of a topic, in bytes.
const LONGEST_LABEL: usize = 100;

/// What a model adds.
pub(crate) struct Added {
    /// May overlap.
    pub(crate) entities: Vec<Entity>,
    pub(crate) topics: Vec<Topic>,
}

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
            upstream: Upstream::new(
                &settings.url,
                Duration::from_secs(settings.timeout),
                LARGEST,
            )?,
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
    pub(crate) fn classify(&self, text: &str) -> Result<Added, String> {
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
        let unreadable =
            |why: &dyn std::fmt::Display| format!("the model's answer cannot be read: {why}");
        // An empty list would do for a `Found`, and so would somebody else's error message.
        let answer: Map<String, Value> =
            serde_json::from_slice(&reply.body).map_err(|error| unreadable(&error))?;
        if !answer.contains_key("entities") && !answer.contains_key("topics") {
            return Err(unreadable(&"it has neither `entities` nor `topics`"));
        }
        let found: Found =
            serde_json::from_value(Value::Object(answer)).map_err(|error| unreadable(&error))?;
        // Less than what it found would be released under fewer labels.
        if found.entities.len() > MOST || found.topics.len() > MOST_TOPICS {
            return Err("the model found more than is taken from one text".to_owned());
        }
        // The place of each code point, and the end.
        let places: Vec<usize> = text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect();
        let mut entities: Vec<Entity> = Vec::with_capacity(found.entities.len());
        for entity in found.entities {
            let kind = EntityKind::with_label(&entity.label).ok_or_else(|| {
                format!(
                    "the model knows a label {:?} that Tagout does not",
                    entity.label.chars().take(LONGEST_LABEL).collect::<String>()
                )
            })?;
            let span = match (places.get(entity.start), places.get(entity.end)) {
                (Some(&start), Some(&end)) if start < end => start..end,
                _ => return Err("the model names a place outside of the text".to_owned()),
            };
            entities.push(Entity {
                kind,
                span,
                score: score(entity.score),
            });
        }
        let is_label = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !found.topics.iter().all(|topic| is_label(&topic.label)) {
            return Err(
                "the model names a topic that is not made of lower-case letters, digits and dashes"
                    .to_owned(),
            );
        }
        let topics = found.topics.into_iter().map(|topic| Topic {
            label: topic.label,
            score: score(topic.score),
        });
        Ok(Added {
            entities,
            topics: topics.collect(),
        })
    }
}

fn half() -> f64 {
    0.5
}
