//! The one table of routes: what answers, and what the API's description says about it.

use http::{Method, StatusCode};
use serde_json::json;

use crate::message::{Answer, Asked};
use crate::report::Report;
use crate::service::{Service, store_failed};
use crate::{SERVER_VERSION, enforcement, openapi, pages, protocol};

type Handler = fn(&Service, &Asked) -> Result<Answer, Answer>;

/// A method and a path, and what they are for.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// Members that a JSON body has to have.
    pub(crate) required: &'static [&'static str],
    /// Parameters of the query.
    pub(crate) parameters: &'static [&'static str],
    handler: Handler,
}

const fn route(
    method: Method,
    path: &'static str,
    summary: &'static str,
    required: &'static [&'static str],
    parameters: &'static [&'static str],
    handler: Handler,
) -> Route {
    Route {
        method,
        path,
        summary,
        required,
        parameters,
        handler,
    }
}

/// Every route there is.
#[rustfmt::skip]
pub(crate) static ROUTES: &[Route] = &[
    route(Method::POST, "/v1/app/discover", "An application says who it is.",
        &["name", "owner", "runtime", "framework", "plugin_version"], &[], protocol::discover),
    route(Method::POST, "/v1/loader/doc", "Label a batch of documents.",
        &["name", "owner", "plugin_version", "load_id", "loader_details", "loading_end", "source_owner"], &[], protocol::load),
    route(Method::POST, "/v1/prompt", "Remember a question and its answer.",
        &["name", "prompt_time", "user"], &[], protocol::prompt),
    route(Method::POST, "/v1/prompt/governance", "Label a question.", &["prompt"], &[], protocol::governance),
    route(Method::POST, "/api/v1/classify", "Label one text.", &["data"], &[], protocol::classify),
    route(Method::POST, "/tools/document_report", "Report on files (multipart: files[], output_format).",
        &[], &[], protocol::document_report),
    route(Method::POST, "/v1/retrieval/plan", "What the bearer of a token may retrieve, as a filter for its store.",
        &[], &[], enforcement::plan),
    route(Method::POST, "/v1/retrieval/check", "Which documents may be released to the bearer of a token.",
        &["documents"], &[], enforcement::check),
    route(Method::GET, "/health", "Whether the server runs.", &[], &[],
        |_, _| Ok(Answer::text(format!("Pebblo Server version {SERVER_VERSION} is running")))),
    route(Method::GET, "/", "To the pages.", &[], &[], |_, _| Ok(Answer::redirect("/pebblo/"))),
    route(Method::GET, "/pebblo/", "Applications that load documents.", &[], &[], pages::loader),
    route(Method::GET, "/pebblo/app/", "One of them.", &[], &["app_name"], pages::loader_application),
    route(Method::GET, "/pebblo/safe_retrieval/", "Applications that retrieve, and violations.", &[], &[], pages::retriever),
    route(Method::GET, "/pebblo/safe_retrieval/app/", "One of them.", &[], &["app_name"], pages::retriever_application),
    route(Method::GET, "/pebblo/not-found/", "What does not exist.", &[], &[], |_, _| Ok(pages::not_found())),
    route(Method::GET, "/pebblo/report/", "The newest report of an application (PDF; format=json for JSON).",
        &[], &["app_name", "format"], report),
    route(Method::DELETE, "/pebblo/app/delete/", "Forget an application. Needs the server's token.",
        &[], &["app_name"], delete),
    route(Method::GET, "/openapi.json", "This description.", &[], &[], |_, _| Ok(Answer::ok(&openapi::description()))),
    route(Method::GET, "/static/tagout.css", "The style of the pages.", &[], &[], |_, _| Ok(Answer {
        content_type: "text/css; charset=utf-8", ..Answer::text(pages::STYLE)
    })),
];

/// The largest body of a batch of documents and of everything else, in bytes: loaders send batches of 100 KB, or
/// one document of any size.
const LARGEST_BATCH: usize = 32 * 1024 * 1024;
const LARGEST_OTHER: usize = 1024 * 1024;

/// How long the body of a request may be, in bytes.
pub(crate) fn largest_body(method: &Method, path: &str) -> usize {
    match path {
        _ if *method == Method::GET || *method == Method::HEAD => 0,
        "/v1/loader/doc"
        | "/v1/prompt"
        | "/api/v1/classify"
        | "/tools/document_report"
        | "/v1/retrieval/check" => LARGEST_BATCH,
        _ => LARGEST_OTHER,
    }
}

/// Answers a request.
pub(crate) fn answer(service: &Service, asked: &Asked) -> Answer {
    let path = match asked.path.as_str() {
        // Pebblo's own pages are found with and without their last slash.
        path if path.starts_with("/pebblo") && !path.ends_with('/') => format!("{path}/"),
        path => path.to_owned(),
    };
    let mut there = ROUTES.iter().filter(|route| route.path == path).peekable();
    if there.peek().is_none() {
        return Answer::message(
            StatusCode::NOT_FOUND,
            "there is nothing here; /openapi.json lists what there is",
        );
    }
    let fits = |route: &&Route| {
        route.method == asked.method
            || (route.method == Method::GET && asked.method == Method::HEAD)
    };
    match there.find(fits) {
        Some(route) => (route.handler)(service, asked).unwrap_or_else(|refusal| refusal),
        None => Answer::message(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path has another method",
        ),
    }
}

fn report(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let name = asked.parameter("app_name").unwrap_or_default();
    let found = Report::newest(&service.labels(), name).map_err(store_failed)?;
    let Some(report) = found else {
        return Ok(Answer::message(
            StatusCode::NOT_FOUND,
            "no report of such an application",
        ));
    };
    if asked.parameter("format") == Some("json") {
        return Ok(Answer::ok(&report.json()));
    }
    Ok(Answer {
        status: StatusCode::OK,
        content_type: "application/pdf",
        headers: vec![(
            "content-disposition",
            "attachment; filename=\"report.pdf\"".to_owned(),
        )],
        body: report.pdf(),
    })
}

/// HTTP 200 always, the status in the body: so the API's users know it.
fn delete(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let name = asked.parameter("app_name").unwrap_or_default();
    let (status, message) = match name {
        "" => (422, "app_name is missing".to_owned()),
        name => match service.labels().forget(name) {
            Ok(true) => (200, format!("Application {name} has been deleted.")),
            Ok(false) => (404, format!("Application {name} does not exist.")),
            Err(error) => (500, error.to_string()),
        },
    };
    Ok(Answer::ok(
        &json!({"message": message, "status_code": status}),
    ))
}
