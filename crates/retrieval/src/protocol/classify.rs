//! `POST /api/v1/classify`: one text, with everything that was found.

use http::StatusCode;
use serde_json::json;

use crate::classifier::{Classified, Mode, counts, total};
use crate::fields::Body;
use crate::message::{Answer, Asked};
use crate::service::Service;

pub(crate) fn classify(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let data = body.required_text("data");
    body.only(&["data", "mode", "anonymize"]);
    body.check()?;
    let error = |status, message: String| Answer::json(status, &json!({"error": message}));
    if data.is_empty() {
        return Err(error(
            StatusCode::BAD_REQUEST,
            "Input data is missing".to_owned(),
        ));
    }
    let mode = Mode::parse(body.optional("mode").as_deref()).ok_or_else(|| {
        error(
            StatusCode::BAD_REQUEST,
            "mode is one of all, entity, topic".to_owned(),
        )
    })?;
    let classified = service
        .classifier
        .classify(&data, mode)
        .map_err(|message| error(StatusCode::INTERNAL_SERVER_ERROR, message))?;
    let labels = classified.labels();
    let (shown, spans) = match body.optional_bool("anonymize") {
        true => classified.anonymized(&data),
        false => (data, classified.entities.clone()),
    };
    Ok(Answer::ok(&json!({
        "entityCount": total(&labels.entities),
        "entities": counts(&labels.entities),
        "entityDetails": Classified::entity_details(&shown, &spans),
        "topicCount": total(&labels.topics),
        "topics": counts(&labels.topics),
        "topicDetails": classified.topic_details(),
        "data": shown,
    })))
}
