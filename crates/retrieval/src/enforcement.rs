//! `POST /v1/retrieval/plan` and `POST /v1/retrieval/check`: who may retrieve what. The identity is the
//! token's, whatever the body says; without one the answer is nothing, and nothing is said about why.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tagout_core::Digest;
use tagout_policy::{Channel, Content, Plan, Reader};
use tagout_store::{ContentLabels, Release};

use crate::classifier::{content, md5};
use crate::fields::Body;
use crate::filters::{STORES, plan_answer};
use crate::message::{Answer, Asked};
use crate::service::Service;

/// Documents of one check.
const MOST_DOCUMENTS: usize = 1000;

/// What is about to be released, as far as it is known.
pub(crate) struct Candidate {
    pub(crate) hash: Digest,
    pub(crate) labels: Option<ContentLabels>,
    /// Who may read it, one list for each place that it was loaded from.
    pub(crate) readers: Vec<Vec<String>>,
    pub(crate) source: String,
    pub(crate) faults: Vec<String>,
}

impl Service {
    /// Who asks: the bearer of a verified token, else nobody.
    pub(crate) fn reader(&self, asked: &Asked) -> Reader {
        // Of two, one could be from the client and one from a server in front of this one.
        if ["authorization", "api-key"]
            .iter()
            .any(|name| asked.headers.get_all(*name).iter().count() > 1)
        {
            return Reader::nobody();
        }
        let bearer = asked
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        // Qdrant's own clients put their key into `api-key`.
        bearer
            .or_else(|| asked.header("api-key"))
            .and_then(|token| self.verifier.verify(token))
            .unwrap_or_else(Reader::nobody)
    }

    /// What a store can be asked for on behalf of `reader`.
    pub(crate) fn plan(&self, reader: &Reader, channel: Channel) -> Plan {
        let plan = self.disclosures.plan(reader, channel);
        let identities = reader.identities();
        let open = self
            .settings
            .access
            .default_readers
            .iter()
            .any(|reader| identities.contains(reader));
        match plan {
            Plan::Some { condition, exact } if open => Plan::Some {
                condition: condition.or_no_readers(),
                exact,
            },
            other => other,
        }
    }

    /// Decides about each candidate and writes that down; whatever fails is a no.
    pub(crate) fn release(
        &self,
        reader: &Reader,
        channel: Channel,
        candidates: &[Candidate],
    ) -> Vec<bool> {
        let mut releases = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let labels: Option<Vec<String>> = candidate.labels.as_ref().map(|labels| {
                let both = labels.entities.iter().chain(&labels.topics);
                both.map(|(label, _)| label.clone()).collect()
            });
            let readers: Vec<&Vec<String>> = match candidate.readers.is_empty() {
                true => vec![&self.settings.access.default_readers],
                false => candidate.readers.iter().collect(),
            };
            // Somebody who may read one copy knows the content.
            let rulings = readers.into_iter().map(|readers| {
                let readers = match readers.is_empty() {
                    true => &self.settings.access.default_readers,
                    false => readers,
                };
                let content = Content {
                    id: candidate.hash.to_string(),
                    labels: labels.clone(),
                    readers: readers.clone(),
                    source: candidate.source.clone(),
                    faults: candidate.faults.clone(),
                };
                self.disclosures.decide(reader, channel, &content)
            });
            let mut rulings: Vec<_> = rulings.collect();
            let allowed = rulings.iter().any(|ruling| ruling.allowed);
            releases.push(Release {
                channel: channel.as_str().to_owned(),
                user: reader.user.clone(),
                content: candidate.hash,
                labels: labels.unwrap_or_default(),
                allowed,
                policies: match allowed {
                    true => Vec::new(),
                    false => rulings
                        .pop()
                        .map(|ruling| ruling.policies)
                        .unwrap_or_default(),
                },
            });
        }
        // What cannot be written down is not released.
        if self.labels().record(&releases).is_err() {
            return vec![false; candidates.len()];
        }
        releases
            .into_iter()
            .map(|release| release.allowed)
            .collect()
    }
}

pub(crate) fn plan(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let body = Body::parse(&asked.body)?;
    let store = body.optional("store");
    if let Some(store) = &store
        && !STORES.contains(&store.as_str())
    {
        return Err(Answer::message(
            StatusCode::BAD_REQUEST,
            format!("`store` is one of {}", STORES.join(", ")),
        ));
    }
    let mut answer = plan_answer(&service.plan(&service.reader(asked), Channel::Check));
    if let (Some(store), Some(Value::Object(filters))) = (store, answer.get_mut("filters")) {
        filters.retain(|name, _| *name == store);
    }
    Ok(Answer::ok(&answer))
}

pub(crate) fn check(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let documents = body.objects("documents");
    if documents.len() > MOST_DOCUMENTS {
        return Err(Answer::message(
            StatusCode::BAD_REQUEST,
            "a check is about at most 1000 documents; ask again for the rest",
        ));
    }
    let reader = service.reader(asked);
    let candidates: Vec<Candidate> = documents
        .iter()
        .map(|document| candidate(service, document))
        .collect();
    let allowed = service.release(&reader, Channel::Check, &candidates);
    let results: Vec<Value> = documents
        .iter()
        .zip(allowed)
        .map(|(document, allowed)| {
            let id = document.get("id").cloned().unwrap_or(Value::Null);
            json!({"id": id, "allowed": allowed})
        })
        .collect();
    Ok(Answer::ok(&json!({"results": results})))
}

/// A document of a check: by its text, or by the checksum that a loader was given. Who may read it is what
/// its loader said, never what this request says.
fn candidate(service: &Service, document: &Map<String, Value>) -> Candidate {
    let mut candidate = Candidate {
        hash: Digest::from_bytes([0; 32]),
        labels: None,
        readers: Vec::new(),
        source: crate::fields::name(document, "source"),
        faults: Vec::new(),
    };
    let text = document.get("text").and_then(Value::as_str);
    let checksum = match text {
        Some(text) => Some(md5(text)),
        None => document
            .get("pb_checksum")
            .and_then(Value::as_str)
            .and_then(checksum),
    };
    let known = match checksum {
        Some(checksum) => service.labels().by_checksum(&checksum),
        None => Ok(Vec::new()),
    };
    let Ok(known) = known else {
        candidate.faults.push("label_store".to_owned());
        return candidate;
    };
    match (text, known.as_slice()) {
        (Some(text), _) => {
            candidate.hash = content(text);
            candidate.labels = service.labels_of(text).ok();
            let own = known.iter().find(|entry| entry.content == candidate.hash);
            candidate.readers = own.map(|entry| entry.readers.clone()).unwrap_or_default();
        }
        (None, [only]) => {
            candidate.hash = only.content;
            let version = service.classifier.version();
            let stored = service.labels().labels(&only.content, version);
            candidate.labels = stored.ok().flatten();
            candidate.readers.clone_from(&only.readers);
        }
        (None, []) => candidate.faults.push("unknown_document".to_owned()),
        // Two contents of one MD5: somebody made them.
        (None, _) => candidate.faults.push("ambiguous_checksum".to_owned()),
    }
    candidate
}

fn checksum(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
