//! `POST /v1/loader/doc`: a batch of documents, labelled.

use serde_json::{Map, Value, json};
use tagout_store::{ContentLabels, Load, NewDocument};

use crate::classifier::{Classified, Mode, content, counts, hex, md5, total};
use crate::fields::{self, Body, name, number};
use crate::message::{Answer, Asked};
use crate::service::{Service, store_failed};

/// What of a text a report shows, in bytes.
const LONGEST_SNIPPET: usize = 4096;

/// What is the same for all documents of a batch.
struct Batch {
    mode: Mode,
    anonymize: bool,
    loader_path: String,
    loader: (String, String, String, u64),
}

pub(crate) fn load(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let application = body.required("name");
    body.required("owner");
    body.required("plugin_version");
    let load = body.required("load_id");
    let details = body.required_object("loader_details", &[]);
    let ended = body.required_bool("loading_end");
    body.required("source_owner");
    let documents = body.objects("docs");
    let readers: Vec<Vec<String>> = documents
        .iter()
        .enumerate()
        .map(|(at, document)| body.readers("docs", at, document.get("authorized_identities")))
        .collect();
    body.check()?;
    let mode = Mode::parse(body.optional("classifier_mode").as_deref()).unwrap_or(Mode::All);
    let anonymize =
        body.optional_bool("anonymize_snippets") || service.settings.classifier.anonymize_snippets;
    let source_owner = body.optional("source_owner").unwrap_or_default();
    let loader_path = name(&details, "source_path");
    let batch = Batch {
        mode,
        anonymize,
        loader: (
            name(&details, "loader"),
            loader_path.clone(),
            name(&details, "source_type"),
            number(&details, "source_aggregate_size")
                .max(number(&details, "source_aggr_size"))
                .max(number(&details, "source_path_size")),
        ),
        loader_path,
    };
    let mut replies = Vec::with_capacity(documents.len());
    let mut stored = Vec::with_capacity(documents.len());
    for (document, readers) in documents.iter().zip(readers) {
        let (reply, mut new) = label(service, &batch, document).map_err(failed)?;
        new.readers = readers;
        if new.owner.is_empty() {
            new.owner.clone_from(&source_owner);
        }
        replies.push(reply);
        stored.push(new);
    }
    if !application.is_empty() {
        let load = Load { application, load };
        service
            .labels()
            .add_documents(&load, &stored, ended)
            .map_err(store_failed)?;
    }
    Ok(Answer::ok(&json!({
        "docs": replies,
        "message": "Loader Doc API Request processed successfully",
    })))
}

/// One document: what the client is told, and what is kept.
fn label(
    service: &Service,
    batch: &Batch,
    document: &Map<String, Value>,
) -> Result<(Value, NewDocument), String> {
    let text = document
        .get("doc")
        .and_then(fields::text)
        .unwrap_or_default();
    // The cloud copy of a client has no text, only what we told it before.
    let copied = document.get("doc").is_none_or(Value::is_null);
    let classified = match copied {
        true => Classified::nothing(),
        false => service.classify_and_remember(&text)?,
    };
    let all = match copied {
        true => copied_labels(document),
        false => classified.labels(),
    };
    let labels = ContentLabels {
        entities: if batch.mode == Mode::Topic {
            Vec::new()
        } else {
            all.entities
        },
        topics: if batch.mode == Mode::Entity {
            Vec::new()
        } else {
            all.topics
        },
    };
    let (shown, moved) = classified.anonymized(&text);
    let original = md5(&text);
    let checksum = match batch.anonymize {
        true => md5(&shown),
        false => original,
    };
    let source_path = match name(document, "source_path") {
        empty if empty.is_empty() => batch.loader_path.clone(),
        path => path,
    };
    let mut reply = Map::new();
    if let Some(id) = document.get("pb_id").filter(|id| !id.is_null()) {
        reply.insert("pb_id".to_owned(), id.clone());
    }
    let told = document
        .get("pb_checksum")
        .and_then(Value::as_str)
        .filter(|_| copied);
    let checksum_text = told.map_or_else(|| hex(&checksum), ToOwned::to_owned);
    reply.insert("pb_checksum".to_owned(), checksum_text.into());
    reply.insert("source_path".to_owned(), source_path.clone().into());
    reply.insert(
        "loader_source_path".to_owned(),
        batch.loader_path.clone().into(),
    );
    for (count, list, labels) in [
        ("entity_count", "entities", &labels.entities),
        ("topic_count", "topics", &labels.topics),
    ] {
        if !labels.is_empty() {
            reply.insert(count.to_owned(), total(labels).into());
            reply.insert(list.to_owned(), counts(labels));
        }
    }
    let new = NewDocument {
        md5: original,
        told: checksum,
        content: content(&text),
        path: source_path,
        owner: name(document, "file_owner"),
        size: number(document, "source_path_size"),
        readers: Vec::new(),
        loader: batch.loader.clone(),
        snippet: shortened(&shown),
        details: (
            Classified::entity_details(&shown, &moved).to_string(),
            classified.topic_details().to_string(),
        ),
        entities: labels.entities,
        topics: labels.topics,
    };
    Ok((Value::Object(reply), new))
}

fn copied_labels(document: &Map<String, Value>) -> ContentLabels {
    let read = |member: &str| match document.get(member) {
        Some(Value::Object(labels)) => labels
            .iter()
            .take(100)
            .map(|(label, count)| {
                (
                    label.chars().take(100).collect(),
                    count.as_u64().unwrap_or(0),
                )
            })
            .collect(),
        _ => Vec::new(),
    };
    ContentLabels {
        entities: read("entities"),
        topics: read("topics"),
    }
}

fn shortened(text: &str) -> String {
    let mut end = LONGEST_SNIPPET.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn failed(message: String) -> Answer {
    Answer::json(
        http::StatusCode::INTERNAL_SERVER_ERROR,
        &json!({"docs": [], "message": message}),
    )
}
