//! `POST /tools/document_report`: files in, a report out; nothing of them is kept.

use http::StatusCode;
use serde_json::json;
use tagout_core::Timestamp;

use crate::classifier::{Classified, Mode, counts, total};
use crate::message::{Answer, Asked};
use crate::multipart::parts;
use crate::pdf;
use crate::report::date;
use crate::service::Service;

/// Files of one request.
const MOST_FILES: usize = 100;

pub(crate) fn document_report(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let error = |status, message: String| Answer::json(status, &json!({"error": message}));
    let parts = parts(
        asked.header("content-type").unwrap_or_default(),
        &asked.body,
    )
    .map_err(|message| error(StatusCode::BAD_REQUEST, message.to_owned()))?;
    let format = parts
        .iter()
        .find(|part| part.name == "output_format")
        .map_or("json".to_owned(), |part| {
            String::from_utf8_lossy(part.content).trim().to_owned()
        });
    if !matches!(format.as_str(), "json" | "pdf") {
        return Err(error(
            StatusCode::BAD_REQUEST,
            "output_format is json or pdf".to_owned(),
        ));
    }
    let files: Vec<_> = parts
        .iter()
        .filter(|part| part.name == "files[]" || part.name == "files")
        .collect();
    if files.is_empty() || files.len() > MOST_FILES {
        return Err(error(
            StatusCode::BAD_REQUEST,
            "send between 1 and 100 files as `files[]`".to_owned(),
        ));
    }
    let name = format!("document-report-{}", Timestamp::now().as_millis());
    let mut documents = Vec::new();
    let mut lines = Vec::new();
    for file in files {
        let Ok(text) = std::str::from_utf8(file.content) else {
            return Err(error(
                StatusCode::BAD_REQUEST,
                "files have to be text in UTF-8; extract the text of others first".to_owned(),
            ));
        };
        let classified = service
            .classifier
            .classify(text, Mode::All)
            .map_err(|message| error(StatusCode::INTERNAL_SERVER_ERROR, message))?;
        let labels = classified.labels();
        let (shown, spans) = classified.anonymized(text);
        lines.push(format!(
            "{}: {} entities, {} topics",
            file.file_name.as_deref().unwrap_or("(no name)"),
            total(&labels.entities),
            total(&labels.topics)
        ));
        for (label, count) in labels.entities.iter().chain(&labels.topics) {
            lines.push(format!("    {label}: {count}"));
        }
        documents.push(json!({
            "fileName": file.file_name,
            "sourceSize": file.content.len(),
            "entityCount": total(&labels.entities),
            "entities": counts(&labels.entities),
            "entityDetails": Classified::entity_details(&shown, &spans),
            "topicCount": total(&labels.topics),
            "topics": counts(&labels.topics),
        }));
    }
    if format == "pdf" {
        return Ok(Answer {
            status: StatusCode::OK,
            content_type: "application/pdf",
            headers: vec![("x-app-name", name.clone())],
            body: pdf::document(&name, &[("Files".to_owned(), lines)]),
        });
    }
    let content =
        json!({"name": name, "createdAt": date(Timestamp::now()), "documents": documents});
    Ok(Answer::ok(&json!({
        "app_name": name,
        "output_format": "json",
        "json_content": content.to_string(),
    })))
}
