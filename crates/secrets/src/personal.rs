//! Finds personal data in text: numbers that a checksum or a word beside them gives away, addresses of
//! mail and machines, names of people and organisations. Text in, spans out; nothing is remembered.
//!
//! The labels and groups are those that users of Pebblo know, credentials included, so a policy written
//! against them keeps its meaning. What must stay true: every recogniser is linear in the text; a weak
//! shape counts only with a word beside it that says what it is; a number is found in whatever digits,
//! dashes and spaces Unicode offers to write it, and a span always fits the text that was given.

mod checksum;
mod companies;
mod entity;
mod folded;
mod lexicon;
mod names;
mod numbers;

use std::path::Path;

pub use entity::{Entity, EntityGroup, EntityKind, Score};

use crate::detector::Detector;
use crate::finding::Confidence;
use folded::Folded;

/// Changes whenever the same text could get other labels: labels that were stored under another version
/// are not labels any more.
pub const CLASSIFIER_VERSION: &str = "tagout-2";

/// Which recognisers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognisers {
    /// Names of people and organisations and street addresses, which only a lexicon and the words
    /// around them tell: the weakest labels.
    pub names: bool,
}

impl Default for Recognisers {
    fn default() -> Self {
        Self { names: true }
    }
}

/// The personal data and credentials in `text`, in order and without overlap. Spans are bytes of
/// `text` and lie on character boundaries.
pub fn entities(text: &str, recognisers: Recognisers) -> Vec<Entity> {
    let folded = Folded::of(text);
    let mut found = Vec::new();
    credentials(text, &mut found);
    numbers::find(folded.text(), &mut |entity| {
        found.push(folded.unfold(entity));
    });
    if recognisers.names {
        names::find(text, &mut found);
    }
    without_overlap(found)
}

/// `text` with each entity replaced by the name of its kind, as clients of Pebblo know it:
/// `&lt;US_SSN&gt;`, and the entities with their spans in the new text.
pub fn anonymized(text: &str, found: &[Entity]) -> (String, Vec<Entity>) {
    let mut shown = String::with_capacity(text.len());
    let mut moved = Vec::with_capacity(found.len());
    let mut from = 0;
    for entity in found {
        shown.push_str(text.get(from..entity.span.start).unwrap_or_default());
        let start = shown.len();
        shown.push_str("&lt;");
        shown.push_str(entity.kind.mask());
        shown.push_str("&gt;");
        moved.push(Entity {
            span: start..shown.len(),
            ..entity.clone()
        });
        from = entity.span.end;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    (shown, moved)
}

/// What the credential detector finds, under Pebblo's labels.
fn credentials(text: &str, found: &mut Vec<Entity>) {
    for finding in Detector::builtin().scan(Path::new("document.txt"), text.as_bytes()) {
        let secret = text.get(finding.span.clone()).unwrap_or_default();
        let kind = EntityKind::of_credential(&finding.kind, text, &finding.span);
        // A shape of its own keeps its label however sure the detector is; a password that is one only
        // by the word beside it needs more.
        let score = match (kind, finding.confidence) {
            (_, Confidence::High) => Score::percent(90),
            (EntityKind::ApiKey, Confidence::Low) => continue,
            (_, Confidence::Medium) => Score::percent(60),
            (_, Confidence::Low) => Score::percent(45),
        };
        if !secret.is_empty() {
            found.push(Entity {
                kind,
                span: finding.span,
                score,
            });
        }
    }
}

/// Of entities that overlap, the surer one stays; of equally sure ones the longer.
fn without_overlap(mut found: Vec<Entity>) -> Vec<Entity> {
    found.sort_by(|one, other| {
        (other.score, other.span.len(), one.span.start).cmp(&(
            one.score,
            one.span.len(),
            other.span.start,
        ))
    });
    let mut kept = std::collections::BTreeMap::<usize, Entity>::new();
    for entity in found {
        let before = kept.range(..entity.span.end).next_back();
        if entity.span.is_empty()
            || before.is_some_and(|(_, other)| other.span.end > entity.span.start)
        {
            continue;
        }
        kept.insert(entity.span.start, entity);
    }
    kept.into_values().collect()
}

#[cfg(test)]
mod tests;
