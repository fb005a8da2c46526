//! Text to labels: entities from `tagout-secrets`, topics from [`crate::topics`], and what an external
//! model adds, when one is configured.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};
use tagout_core::Digest;
use tagout_secrets::personal::{self, CLASSIFIER_VERSION, Entity, EntityKind, Recognisers, Score};
use tagout_store::ContentLabels;

use crate::model::Model;
use crate::topics::{Topic, is_topic, topics};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    All,
    Entity,
    Topic,
}

impl Mode {
    /// The word that clients use; absent or empty is everything.
    pub(crate) fn parse(word: Option<&str>) -> Option<Self> {
        match word.unwrap_or_default() {
            "" | "all" => Some(Self::All),
            "entity" => Some(Self::Entity),
            "topic" => Some(Self::Topic),
            _ => None,
        }
    }
}

/// Whether a text is a label of this classifier, of an entity or a topic, and so nothing else.
pub(crate) fn is_label(text: &str) -> bool {
    is_topic(text) || EntityKind::ALL.iter().any(|kind| kind.label() == text)
}

/// The classifier with its settings.
pub(crate) struct Classifier {
    recognisers: Recognisers,
    model: Option<Arc<Model>>,
    version: String,
}

/// What was found in one text.
pub(crate) struct Classified {
    /// In the order of the text; none overlaps another.
    pub(crate) entities: Vec<Entity>,
    /// Kinds that a model gave to a place which another kind has already: labels all the same.
    also: Vec<EntityKind>,
    pub(crate) topics: Vec<Topic>,
}

impl Classifier {
    pub(crate) fn new(recognisers: Recognisers, model: Option<Arc<Model>>) -> Self {
        let names = if recognisers.names { "" } else { "-numbers" };
        let external = model
            .as_ref()
            .map_or(String::new(), |model| format!("+{}", model.version()));
        Self {
            recognisers,
            version: format!("{CLASSIFIER_VERSION}{names}{external}"),
            model,
        }
    }

    /// The version under which labels are stored.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Classifies a text.
    ///
    /// # Errors
    /// When an external model is configured and does not answer as it should: without it the labels
    /// would be fewer than promised, and a policy would release what it must not.
    pub(crate) fn classify(&self, text: &str, mode: Mode) -> Result<Classified, String> {
        let mut entities = match mode {
            Mode::Topic => Vec::new(),
            _ => personal::entities(text, self.recognisers),
        };
        let mut found = match mode {
            Mode::Entity => Vec::new(),
            _ => topics(text),
        };
        let mut also = Vec::new();
        if let Some(model) = &self.model {
            let more = model.classify(text)?;
            if mode != Mode::Topic {
                (entities, also) = joined(entities, more.entities);
            }
            if mode != Mode::Entity {
                for topic in more.topics {
                    if !found.iter().any(|known| known.label == topic.label) {
                        found.push(topic);
                    }
                }
            }
        }
        Ok(Classified {
            entities,
            also,
            topics: found,
        })
    }
}

/// The built-in classifier's entities and a model's, as one list without overlaps: a place that both name is
/// masked as far as either reaches, under the kind that was built in; the other kind is the second answer.
fn joined(own: Vec<Entity>, more: Vec<Entity>) -> (Vec<Entity>, Vec<EntityKind>) {
    let mut all: Vec<(Entity, bool)> = own
        .into_iter()
        .map(|entity| (entity, true))
        .chain(more.into_iter().map(|entity| (entity, false)))
        .collect();
    all.sort_by_key(|(entity, own)| (entity.span.start, !own));
    let mut joined: Vec<(Entity, bool)> = Vec::with_capacity(all.len());
    let mut also = Vec::new();
    for (mut entity, own) in all {
        match joined.last_mut() {
            Some((last, last_own)) if entity.span.start < last.span.end => {
                last.span.end = last.span.end.max(entity.span.end);
                if own && !*last_own {
                    std::mem::swap(&mut last.kind, &mut entity.kind);
                    last.score = entity.score;
                    *last_own = true;
                }
                if entity.kind != last.kind {
                    also.push(entity.kind);
                }
            }
            _ => joined.push((entity, own)),
        }
    }
    (joined.into_iter().map(|(entity, _)| entity).collect(), also)
}

impl Classified {
    /// Nothing was found, or nothing looked at.
    pub(crate) fn nothing() -> Self {
        Self {
            entities: Vec::new(),
            also: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// Labels with how often each was found, in the order of the table of kinds.
    pub(crate) fn labels(&self) -> ContentLabels {
        let entities = EntityKind::ALL
            .iter()
            .map(|kind| {
                let found = self.entities.iter().map(|entity| &entity.kind);
                let count = found
                    .chain(&self.also)
                    .filter(|found| *found == kind)
                    .count();
                (kind.label().to_owned(), count as u64)
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        let topics = self
            .topics
            .iter()
            .map(|topic| (topic.label.clone(), 1))
            .collect();
        ContentLabels { entities, topics }
    }

    /// What clients are told of each entity: `location` counts code points of `shown`, in which the
    /// entities stand at `spans`.
    pub(crate) fn entity_details(shown: &str, spans: &[Entity]) -> Value {
        let mut details: Map<String, Value> = Map::new();
        let (mut bytes, mut points) = (0, 0);
        for entity in spans {
            points += count_points(shown, bytes, entity.span.start);
            let start = points;
            points += count_points(shown, entity.span.start, entity.span.end);
            bytes = entity.span.end;
            let list = details
                .entry(entity.kind.label())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(json!({
                    "location": format!("{start}_{points}"),
                    "confidence_score": entity.score.word(),
                    "entity_group": entity.kind.group().as_str(),
                }));
            }
        }
        Value::Object(details)
    }

    pub(crate) fn topic_details(&self) -> Value {
        let details = self.topics.iter().map(|topic| {
            (
                topic.label.clone(),
                json!([{"confidence_score": topic.score.word()}]),
            )
        });
        Value::Object(details.collect())
    }

    /// The text with every entity replaced, and the entities in it.
    pub(crate) fn anonymized(&self, text: &str) -> (String, Vec<Entity>) {
        personal::anonymized(text, &self.entities)
    }
}

/// Labels as the object that clients expect.
pub(crate) fn counts(labels: &[(String, u64)]) -> Value {
    Value::Object(
        labels
            .iter()
            .map(|(label, count)| (label.clone(), Value::from(*count)))
            .collect(),
    )
}

pub(crate) fn total(labels: &[(String, u64)]) -> u64 {
    labels.iter().map(|(_, count)| count).sum()
}

/// MD5, by which clients know a text. It protects nothing here: whatever is decided is decided by SHA-256.
pub(crate) fn md5(text: &str) -> [u8; 16] {
    Md5::digest(text.as_bytes()).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash under which labels are stored.
pub(crate) fn content(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// A score from a number between 0 and 1.
pub(crate) fn score(number: f64) -> Score {
    Score::percent((number.clamp(0.0, 1.0) * 100.0) as u8)
}

fn count_points(text: &str, from: usize, to: usize) -> usize {
    text.get(from..to).map_or(0, |piece| piece.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(kind: EntityKind, span: std::ops::Range<usize>) -> Entity {
        Entity {
            kind,
            span,
            score: Score::percent(90),
        }
    }

    #[test]
    fn a_label_of_a_model_is_not_lost_to_an_overlap() {
        let own = vec![
            entity(EntityKind::PhoneNumber, 5..10),
            entity(EntityKind::EmailAddress, 20..30),
        ];
        let more = vec![
            entity(EntityKind::UsSsn, 3..12),
            entity(EntityKind::BbanCode, 12..14),
            entity(EntityKind::UsSsn, 29..33),
            entity(EntityKind::PersonName, 31..35),
        ];
        let (joined, also) = joined(own, more);
        let spans: Vec<_> = joined
            .iter()
            .map(|entity| (entity.kind, entity.span.clone()))
            .collect();
        assert_eq!(
            spans,
            [
                (EntityKind::PhoneNumber, 3..12),
                (EntityKind::BbanCode, 12..14),
                (EntityKind::EmailAddress, 20..35),
            ]
        );
        assert_eq!(
            also,
            [EntityKind::UsSsn, EntityKind::UsSsn, EntityKind::PersonName]
        );
        let classified = Classified {
            entities: joined,
            also,
            topics: Vec::new(),
        };
        assert!(
            classified
                .labels()
                .entities
                .contains(&("us-ssn".to_owned(), 2))
        );
    }
}
