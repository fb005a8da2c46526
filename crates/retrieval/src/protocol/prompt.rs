//! `POST /v1/prompt/governance` and `POST /v1/prompt`: questions and answers, labelled and remembered.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tagout_store::NewRetrieval;

use crate::classifier::{counts, total};
use crate::fields::{self, Body, name, texts};
use crate::message::{Answer, Asked};
use crate::service::{Service, store_failed};

/// Documents behind one answer that are remembered.
const MOST_CONTEXT: usize = 100;
/// What is remembered of a question, an answer and a document, in characters.
const LONGEST_TEXT: usize = 4000;

pub(crate) fn governance(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let prompt = body.required_text("prompt");
    body.check()?;
    let failed = |message: String| {
        Answer::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"entities": {}, "entityCount": 0, "message": format!("Error : {message}")}),
        )
    };
    let labels = service.labels_of(&prompt).map_err(failed)?;
    Ok(Answer::ok(&json!({
        "entities": counts(&labels.entities),
        "entityCount": total(&labels.entities),
        "message": "Prompt Governance Processed Successfully",
    })))
}

pub(crate) fn prompt(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let application = body.required("name");
    let prompt_time = body.required("prompt_time");
    let user = body.required("user");
    body.check()?;
    let failed = |message: String| Answer::message(StatusCode::INTERNAL_SERVER_ERROR, message);
    let side = |member: &str| match body.get(member) {
        Some(Value::Object(side)) => side.clone(),
        _ => Map::new(),
    };
    let (question, answer) = (side("prompt"), side("response"));
    let question_text = data(&question);
    let answer_text = data(&answer);
    // The client says what governance told it; that is believed for the page, not for a decision.
    let governed = question.get("prompt_gov_enabled") != Some(&Value::Bool(false));
    let told = question.get("entities").and_then(Value::as_object);
    let question_entities: Vec<(String, u64)> = match told {
        Some(entities) if governed => entities
            .iter()
            .take(100)
            .map(|(label, count)| (label.clone(), count.as_u64().unwrap_or(0)))
            .collect(),
        _ => service.labels_of(&question_text).map_err(failed)?.entities,
    };
    let answer_labels = service.labels_of(&answer_text).map_err(failed)?;
    let mut context = Vec::new();
    for document in body.objects("context").iter().take(MOST_CONTEXT) {
        let text = document
            .get("doc")
            .and_then(fields::text)
            .unwrap_or_default();
        context.push(json!({
            "retrieved_from": name(document, "retrieved_from"),
            "vector_db": name(document, "vector_db"),
            "pb_checksum": name(document, "pb_checksum"),
            "doc": short(&service.redacted(&text).map_err(failed)?),
        }));
    }
    let retrieval = NewRetrieval {
        application,
        prompt_time,
        user,
        // Only shown: nothing is decided by what a body says of its sender.
        identities: texts(body.get("user_identities")).unwrap_or_default(),
        prompt: short(&service.redacted(&question_text).map_err(failed)?),
        response: short(&service.redacted(&answer_text).map_err(failed)?),
        context: Value::Array(context).to_string(),
        prompt_findings: question_entities.clone(),
        response_findings: answer_labels
            .entities
            .iter()
            .chain(&answer_labels.topics)
            .cloned()
            .collect(),
    };
    service
        .labels()
        .add_retrieval(&retrieval)
        .map_err(store_failed)?;
    Ok(Answer::ok(&json!({
        "retrieval_data": {
            "prompt": {"entities": counts(&question_entities), "topics": {}},
            "response": {
                "entities": counts(&answer_labels.entities),
                "topics": counts(&answer_labels.topics),
            },
        },
        "message": "AiApp prompt request completed successfully",
    })))
}

/// The text of a side, or of its parts.
fn data(side: &Map<String, Value>) -> String {
    match side.get("data") {
        Some(Value::Array(parts)) => {
            let parts: Vec<String> = parts.iter().filter_map(fields::text).collect();
            parts.join("\n")
        }
        Some(value) => fields::text(value).unwrap_or_default(),
        None => String::new(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}
