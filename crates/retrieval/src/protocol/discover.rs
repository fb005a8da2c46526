//! `POST /v1/app/discover`: an application says who it is.

use http::StatusCode;
use serde_json::{Value, json};
use tagout_core::Timestamp;
use tagout_store::{Application, ApplicationKind};

use crate::SERVER_VERSION;
use crate::fields::Body;
use crate::message::{Answer, Asked};
use crate::service::{Service, store_failed};

/// What is kept of what an application tells about itself.
const LONGEST_DETAILS: usize = 64 * 1024;

pub(crate) fn discover(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let mut body = Body::parse(&asked.body)?;
    let name = body.required("name");
    let owner = body.required("owner");
    body.required("plugin_version");
    body.required_object(
        "runtime",
        &[
            "host",
            "path",
            "platform",
            "os",
            "os_version",
            "language",
            "language_version",
        ],
    );
    body.required_object("framework", &["name", "version"]);
    body.check()?;
    if name.is_empty() {
        return Err(Answer::message(
            StatusCode::BAD_REQUEST,
            "an application needs a name",
        ));
    }
    let description = body.optional("description").unwrap_or_default();
    let load = body
        .optional("load_id")
        .filter(|load| !load.is_empty() && load.len() <= 200);
    let kind = match &load {
        Some(_) => ApplicationKind::Loader,
        None => ApplicationKind::Retrieval,
    };
    let mut details = body.into_object();
    details.retain(|_, value| !value.is_null());
    let mut text = Value::Object(details).to_string();
    if text.len() > LONGEST_DETAILS {
        text = "{}".to_owned();
    }
    let now = Timestamp::now();
    let application = Application {
        name,
        kind,
        owner,
        description,
        details: text,
        created: now,
        seen: now,
    };
    service
        .labels()
        .discover(&application, load.as_deref())
        .map_err(store_failed)?;
    Ok(Answer::ok(&json!({
        "pebblo_server_version": SERVER_VERSION,
        "message": "App Discover Request Processed Successfully",
    })))
}
