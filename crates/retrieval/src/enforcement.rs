//! `POST /v1/retrieval/plan` and `POST /v1/retrieval/check`: who may retrieve what. The identity is the
//! token's, whatever the body says; without one the answer is nothing, and nothing is said about why.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tagout_core::Digest;
use tagout_policy::{Channel, Content, Plan, Reader};
use tagout_store::{ContentLabels, KnownDocument, Release};

use crate::classifier::{content, md5};
use crate::fields::{Body, LONGEST_NAME};
use crate::filters::{STORES, plan_answer};
use crate::message::{Answer, Asked};
use crate::rate::TOO_MANY_REQUESTS;
use crate::service::Service;

/// Documents of one check.
const MOST_DOCUMENTS: usize = 1000;

/// What is about to be released, as far as it is known.
pub(crate) struct Candidate {
    pub(crate) hash: Digest,
    pub(crate) labels: Option<ContentLabels>,
    /// Where it was loaded from; somebody who may read it at one place knows the content.
    pub(crate) places: Vec<Place>,
    pub(crate) faults: Vec<String>,
}

/// One place that content comes from.
#[derive(Default)]
pub(crate) struct Place {
    /// Who may read it there; where nobody is named, the operator's default readers.
    pub(crate) readers: Vec<String>,
    /// Its paths or addresses. A rule about one of them holds.
    pub(crate) sources: Vec<String>,
}

impl Service {
    /// Who asks: the bearer of a verified token, else nobody.
    pub(crate) fn reader(&self, headers: &HeaderMap) -> Reader {
        // Of two, one could be from the client and one from a server in front of this one.
        if ["authorization", "api-key"]
            .iter()
            .any(|name| headers.get_all(*name).iter().count() > 1)
        {
            return Reader::nobody();
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        // Qdrant's own clients put their key into `api-key`.
        bearer
            .or_else(|| text("api-key"))
            .and_then(|token| self.verifier.verify(token))
            .unwrap_or_else(Reader::nobody)
    }

    /// Who asks, unless too often. Whoever proves nothing is one asker.
    fn reader_in_time(&self, asked: &Asked) -> Result<Reader, Answer> {
        let reader = self.reader(&asked.headers);
        match self.rates.take(&reader.user) {
            Ok(()) => Ok(reader),
            Err(wait) => Err(
                Answer::message(StatusCode::TOO_MANY_REQUESTS, TOO_MANY_REQUESTS)
                    .with_header("retry-after", wait.to_string()),
            ),
        }
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
            let mut allowed = false;
            let mut policies = Vec::new();
            for place in &candidate.places {
                let readers = match place.readers.is_empty() {
                    true => &self.settings.access.default_readers,
                    false => &place.readers,
                };
                let nowhere = [String::new()];
                let sources = match place.sources.is_empty() {
                    true => nowhere.as_slice(),
                    false => place.sources.as_slice(),
                };
                let denial = sources.iter().find_map(|source| {
                    let content = Content {
                        id: candidate.hash.to_string(),
                        labels: labels.clone(),
                        readers: readers.clone(),
                        source: source.clone(),
                        faults: candidate.faults.clone(),
                    };
                    let ruling = self.disclosures.decide(reader, channel, &content);
                    (!ruling.allowed).then_some(ruling.policies)
                });
                match denial {
                    None => allowed = true,
                    Some(behind) => policies = behind,
                }
            }
            releases.push(Release {
                channel: channel.as_str().to_owned(),
                user: reader.user.clone(),
                content: candidate.hash,
                labels: labels.unwrap_or_default(),
                allowed,
                policies: match allowed {
                    true => Vec::new(),
                    false => policies,
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
    let mut answer = plan_answer(&service.plan(&service.reader_in_time(asked)?, Channel::Check));
    if let (Some(store), Some(Value::Object(filters))) = (store, answer.get_mut("filters")) {
        filters.retain(|name, _| *name == store);
    }
    Ok(Answer::ok(&answer))
}

pub(crate) fn check(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let documents = body.objects("documents");
    body.check()?;
    if documents.len() > MOST_DOCUMENTS {
        return Err(Answer::message(
            StatusCode::BAD_REQUEST,
            "a check is about at most 1000 documents; ask again for the rest",
        ));
    }
    let reader = service.reader_in_time(asked)?;
    let allowed = if reader.authenticated {
        let candidates: Vec<Candidate> = documents
            .iter()
            .map(|document| candidate(service, document))
            .collect();
        service.release(&reader, Channel::Check, &candidates)
    } else {
        // Whoever proves nothing makes no work, and leaves one line.
        let nothing = Candidate::denied("no_identity");
        service.release(&reader, Channel::Check, &[nothing]);
        vec![false; documents.len()]
    };
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

impl Candidate {
    /// Something that is denied for this reason, whatever else is known of it.
    fn denied(fault: &str) -> Self {
        Self {
            hash: Digest::from_bytes([0; 32]),
            labels: None,
            places: vec![Place::default()],
            faults: vec![fault.to_owned()],
        }
    }
}

/// A document of a check: by its text, or by the checksum that a loader was given. Who may read it, and where
/// it comes from, is what its loader said; what this request says can only forbid more.
fn candidate(service: &Service, document: &Map<String, Value>) -> Candidate {
    let source = match document.get("source") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(source)) if source.len() <= LONGEST_NAME => source.clone(),
        Some(_) => return Candidate::denied("unreadable_source"),
    };
    let mut candidate = Candidate {
        hash: Digest::from_bytes([0; 32]),
        labels: None,
        places: Vec::new(),
        faults: Vec::new(),
    };
    let text = document.get("text").and_then(Value::as_str);
    let named = match document.get("pb_checksum") {
        None | Some(Value::Null) => None,
        Some(named) => match named.as_str().and_then(checksum) {
            Some(named) => Some(named),
            None => return Candidate::denied("unreadable_checksum"),
        },
    };
    let known = |checksum: Option<[u8; 16]>| match checksum {
        Some(checksum) => service.labels().by_checksum(&checksum),
        None => Ok(Vec::new()),
    };
    let (Ok(by_text), Ok(by_name)) = (known(text.map(md5)), known(named)) else {
        return Candidate::denied("label_store");
    };
    let places = |known: Option<&KnownDocument>| -> Vec<Place> {
        let stored = known
            .map(|known| known.places.as_slice())
            .unwrap_or_default();
        let places = stored.iter().map(|place| Place {
            readers: place.readers.clone(),
            sources: [&place.path, &source]
                .into_iter()
                .filter(|source| !source.is_empty())
                .cloned()
                .collect(),
        });
        let places: Vec<Place> = places.collect();
        match places.is_empty() {
            // Nobody loaded it, so nobody said who may read it.
            true => vec![Place {
                readers: Vec::new(),
                sources: vec![source.clone()],
            }],
            false => places,
        }
    };
    match (text, by_name.as_slice()) {
        // A part of a document comes with the checksum of the whole, whose readers are the part's.
        (Some(text), whole) => {
            candidate.hash = content(text);
            candidate.labels = service.labels_of(text).ok();
            let own = by_text.iter().find(|entry| entry.content == candidate.hash);
            candidate.places = match (named, whole, own) {
                (None, _, own) => places(own),
                (Some(_), [whole], None) => places(Some(whole)),
                (Some(_), [whole], Some(own)) if whole.content == own.content => places(Some(own)),
                (Some(_), [], _) => return Candidate::denied("unknown_document"),
                (Some(_), ..) => return Candidate::denied("ambiguous_checksum"),
            };
        }
        (None, [only]) => {
            candidate.hash = only.content;
            let version = service.classifier.version();
            let stored = service.labels().labels(&only.content, version);
            candidate.labels = stored.ok().flatten();
            candidate.places = places(Some(only));
        }
        (None, []) => return Candidate::denied("unknown_document"),
        // Two contents of one MD5: somebody made them, or they are the same once anonymised.
        (None, _) => return Candidate::denied("ambiguous_checksum"),
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
