//! The pages for people: applications, their findings, documents and snippets, who retrieved what, and what
//! was refused. Plain HTML without a script; every text is escaped; the data of a page stands in it once
//! more as JSON, as programs that read Pebblo's pages expect.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};
use tagout_store::{Application, ApplicationKind, Retrieval, StoreError};

use crate::message::{Answer, Asked, encode};
use crate::report::{Report, date, unescaped};
use crate::service::{Service, store_failed};

const ROWS: u32 = 200;

/// The style of every page.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--warm:#b45309;--link:#1d4ed8}\
@media (prefers-color-scheme:dark){:root{--warm:#fbbf24;--link:#93c5fd}}\
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1.5rem}a{color:var(--link)}\
nav a{margin-right:1.2rem}h1{font-size:1.5rem;margin:.8rem 0;overflow-wrap:anywhere}\
h2{font-size:1.1rem;margin:1.6rem 0 .4rem}p{overflow-wrap:anywhere}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:600;background:var(--soft);white-space:nowrap}td{overflow-wrap:anywhere;min-width:7rem}\
td.number{min-width:0;font-variant-numeric:tabular-nums}td.long{min-width:16rem}time,mark{white-space:nowrap}\
.sums{display:flex;flex-wrap:wrap;gap:1rem;padding:0;list-style:none}.sums li{border:1px solid var(--line);\
border-radius:.4rem;padding:.5rem 1rem}.sums b{display:block;font-size:1.4rem}pre{white-space:pre-wrap;background:var(--soft);\
padding:.6rem;margin:0;border-radius:.4rem}.none{opacity:.7}mark{background:none;color:var(--warm);font-weight:600}";

/// A page being written.
struct Page {
    title: String,
    body: String,
    data: Value,
}

impl Page {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: String::new(),
            data: json!({}),
        }
    }

    fn heading(&mut self, text: &str) {
        // Writing to a text cannot fail.
        let _ = write!(self.body, "<h2>{}</h2>", escape(text));
    }

    fn sums(&mut self, sums: &[(&str, u64)]) {
        self.body.push_str("<ul class=\"sums\">");
        for (name, sum) in sums {
            let _ = write!(self.body, "<li><b>{sum}</b>{}</li>", escape(name));
        }
        self.body.push_str("</ul>");
    }

    /// A table; cells are HTML already. Without a row it says what would be there.
    fn table(&mut self, heads: &[&str], rows: &[Vec<String>], none: &str) {
        if rows.is_empty() {
            let _ = write!(self.body, "<p class=\"none\">{}</p>", escape(none));
            return;
        }
        self.body.push_str("<div class=\"wide\"><table><thead><tr>");
        for head in heads {
            let _ = write!(self.body, "<th scope=\"col\">{}</th>", escape(head));
        }
        self.body.push_str("</tr></thead><tbody>");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                let class = match cell.len() {
                    1.. if cell.bytes().all(|byte| byte.is_ascii_digit()) => " class=\"number\"",
                    81.. => " class=\"long\"",
                    _ => "",
                };
                let _ = write!(self.body, "<td{class}>{cell}</td>");
            }
            self.body.push_str("</tr>");
        }
        self.body.push_str("</tbody></table></div>");
    }

    fn answer(self, status: StatusCode) -> Answer {
        // A closing tag within the data would end it.
        let data = self
            .data
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026");
        Answer::html(
            status,
            format!(
                "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - Tagout</title>\
                 <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
                 <link rel=\"stylesheet\" href=\"/static/tagout.css\"></head><body>\
                 <nav aria-label=\"Pages\"><a href=\"/pebblo/\">Safe Loader</a>\
                 <a href=\"/pebblo/safe_retrieval/\">Safe Retriever</a></nav><main><h1>{title}</h1>{body}</main>\
                 <script type=\"application/json\" id=\"data\">{data}</script></body></html>",
                title = escape(&self.title),
                body = self.body,
            ),
        )
    }
}

/// `GET /pebblo/`: applications that load.
pub(crate) fn loader(service: &Service, _: &Asked) -> Result<Answer, Answer> {
    loader_page(service).map_err(store_failed)
}

fn loader_page(service: &Service) -> Result<Answer, StoreError> {
    let labels = service.labels();
    let applications = labels.applications(ApplicationKind::Loader)?;
    let mut page = Page::new("Safe Loader");
    let (mut rows, mut findings, mut documents, mut sources) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut all, mut with) = (0, 0);
    for application in applications.iter().take(ROWS as usize) {
        let Some(report) = Report::newest(&labels, &application.name)? else {
            rows.push(vec![
                link("/pebblo/app/", &application.name),
                "0".into(),
                escape(&application.owner),
                String::new(),
            ]);
            continue;
        };
        let found: u64 = report.findings.iter().map(|finding| finding.count).sum();
        all += found;
        with += u64::from(found > 0);
        rows.push(vec![
            link("/pebblo/app/", &application.name),
            found.to_string(),
            escape(&application.owner),
            moment(&date(application.seen)),
        ]);
        for finding in report.findings.iter().take(20) {
            findings.push(vec![
                mark(&finding.label),
                escape(&finding.kind),
                finding.count.to_string(),
                finding.files.to_string(),
                escape(&application.name),
            ]);
        }
        for source in report.sources.iter().take(20) {
            let found = source.findings.0 + source.findings.1;
            if found > 0 {
                documents.push(vec![
                    escape(&source.path),
                    found.to_string(),
                    escape(&source.owner),
                    source.size.to_string(),
                    escape(&application.name),
                ]);
            }
        }
        if let Some(source) = report.sources.first() {
            sources.push(vec![
                escape(&source.loader.0),
                escape(&source.loader.1),
                escape(&source.loader.2),
                escape(&application.name),
            ]);
        }
    }
    page.data = json!({
        "pebbloServerVersion": crate::SERVER_VERSION,
        "applicationsAtRiskCount": with, "findingsCount": all,
        "documentsWithFindingsCount": documents.len(), "dataSourceCount": sources.len(),
        "appList": applications.iter().map(|application| json!({
            "name": application.name, "owner": application.owner, "seen": date(application.seen),
        })).collect::<Vec<_>>(),
    });
    page.sums(&[
        ("applications with findings", with),
        ("findings", all),
        ("documents with findings", documents.len() as u64),
        ("data sources", sources.len() as u64),
    ]);
    page.heading("Applications");
    page.table(&["Application", "Findings", "Owner", "Last load"], &rows, "No application has loaded a document yet. Start one that uses PebbloSafeLoader with PEBBLO_CLASSIFIER_URL set to the address of this page.");
    page.heading("Findings");
    page.table(
        &["Label", "Type", "Findings", "Files", "Application"],
        &findings,
        "Nothing was found yet.",
    );
    page.heading("Documents with findings");
    page.table(
        &["Document", "Findings", "Owner", "Bytes", "Application"],
        &documents,
        "No document has findings.",
    );
    page.heading("Data sources");
    page.table(
        &["Loader", "Path", "Type", "Application"],
        &sources,
        "No application has loaded a document yet.",
    );
    Ok(page.answer(StatusCode::OK))
}

/// `GET /pebblo/app/?app_name=`: one application that loads.
pub(crate) fn loader_application(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let name = asked.parameter("app_name").unwrap_or_default();
    let found = Report::newest(&service.labels(), name).map_err(store_failed)?;
    let Some(report) = found else {
        return Ok(not_found());
    };
    let mut page = Page::new(&report.application.name);
    page.data = report.json();
    let sum = |name: &str| page.data["reportSummary"][name].as_u64().unwrap_or(0);
    let sums = [
        ("findings", sum("findings")),
        ("entities", sum("findingsEntities")),
        ("topics", sum("findingsTopics")),
        ("files", sum("totalFiles")),
        ("files with findings", sum("filesWithFindings")),
    ];
    page.sums(&sums);
    let _ = write!(
        page.body,
        "<p>{}</p><p>Owner: {}. <a href=\"/pebblo/report/?app_name={}\">Download the report (PDF)</a></p>",
        escape(&report.application.description),
        escape(&report.application.owner),
        encode(name)
    );
    page.heading("Findings");
    let findings: Vec<Vec<String>> = report
        .findings
        .iter()
        .map(|finding| {
            vec![
                mark(&finding.label),
                escape(&finding.kind),
                finding.count.to_string(),
                finding.snippets.to_string(),
                finding.files.to_string(),
            ]
        })
        .collect();
    page.table(
        &["Label", "Type", "Findings", "Snippets", "Files"],
        &findings,
        "Nothing was found in the last load.",
    );
    page.heading("Documents with findings");
    let documents: Vec<Vec<String>> = report
        .sources
        .iter()
        .filter(|source| source.findings.0 + source.findings.1 > 0)
        .take(ROWS as usize)
        .map(|source| {
            vec![
                escape(&source.path),
                (source.findings.0 + source.findings.1).to_string(),
                escape(&source.owner),
                escape(&source.readers.join(", ")),
            ]
        })
        .collect();
    page.table(
        &["Document", "Findings", "Owner", "Authorized identities"],
        &documents,
        "No document has findings.",
    );
    page.heading("Snippets");
    let snippets: Vec<Vec<String>> = report
        .snippets
        .iter()
        .map(|snippet| {
            vec![
                escape(&snippet.path),
                format!("<pre>{}</pre>", escape(&unescaped(&snippet.text))),
            ]
        })
        .collect();
    page.table(
        &["Document", "Redacted text"],
        &snippets,
        "No snippet was kept: nothing was found.",
    );
    page.heading("Instance");
    let details: Vec<Vec<String>> = page.data["instanceDetails"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, value.as_str().unwrap_or_default()))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![escape(name), escape(value)])
        .collect();
    page.table(
        &["Detail", "Value"],
        &details,
        "The application did not say where it runs.",
    );
    page.heading("Load history");
    let history: Vec<Vec<String>> = report
        .loads
        .iter()
        .map(|load| {
            vec![
                moment(&date(load.seen)),
                escape(&load.load.load),
                (load.findings.0 + load.findings.1).to_string(),
                load.files.1.to_string(),
                if load.ended.is_some() {
                    "complete"
                } else {
                    "not ended by its client"
                }
                .to_owned(),
            ]
        })
        .collect();
    page.table(
        &["Time", "Load", "Findings", "Files with findings", "State"],
        &history,
        "There was no load yet.",
    );
    let _ = write!(
        page.body,
        "<p class=\"none\">To delete this application: <code>curl -X DELETE -H \"x-tagout-token: $(cat \
         $TAGOUT_HOME/retrieval-token)\" 'http://HOST:PORT/pebblo/app/delete/?app_name={}'</code></p>",
        escape(&encode(name))
    );
    Ok(page.answer(StatusCode::OK))
}

/// `GET /pebblo/safe_retrieval/`: applications that answer questions, and what was refused.
pub(crate) fn retriever(service: &Service, _: &Asked) -> Result<Answer, Answer> {
    retriever_page(service, None).map_err(store_failed)
}

/// `GET /pebblo/safe_retrieval/app/?app_name=`: one of them.
pub(crate) fn retriever_application(service: &Service, asked: &Asked) -> Result<Answer, Answer> {
    let name = asked.parameter("app_name").unwrap_or_default();
    let known = service
        .labels()
        .application(name, ApplicationKind::Retrieval)
        .map_err(store_failed)?;
    match known {
        Some(application) => retriever_page(service, Some(&application)).map_err(store_failed),
        None => Ok(not_found()),
    }
}

fn retriever_page(service: &Service, only: Option<&Application>) -> Result<Answer, StoreError> {
    let labels = service.labels();
    let name = only.map(|application| application.name.as_str());
    let mut page = Page::new(name.unwrap_or("Safe Retriever"));
    let retrievals = labels.retrievals(name, ROWS)?;
    let users = labels.users(name, ROWS)?;
    let denials = labels.denials(ROWS)?;
    let risky: Vec<&Retrieval> = retrievals
        .iter()
        .filter(|row| !row.retrieval.prompt_findings.is_empty())
        .collect();
    page.sums(&[
        ("retrievals", retrievals.len() as u64),
        ("prompts with findings", risky.len() as u64),
        ("active users", users.len() as u64),
        ("violations", denials.len() as u64),
    ]);
    if only.is_none() {
        let applications = labels.applications(ApplicationKind::Retrieval)?;
        page.heading("Applications");
        let rows: Vec<Vec<String>> = applications
            .iter()
            .take(ROWS as usize)
            .map(|application| {
                vec![
                    link("/pebblo/safe_retrieval/app/", &application.name),
                    escape(&application.owner),
                    moment(&date(application.seen)),
                ]
            })
            .collect();
        page.table(
            &["Application", "Owner", "Last seen"],
            &rows,
            "No application that answers questions was seen yet. PebbloRetrievalQA reports here.",
        );
    }
    page.heading("Violations");
    let rows: Vec<Vec<String>> = denials
        .iter()
        .map(|row| {
            vec![
                moment(&date(row.time)),
                escape(&row.release.channel),
                escape(if row.release.user.is_empty() {
                    "(no verified identity)"
                } else {
                    &row.release.user
                }),
                row.release
                    .labels
                    .iter()
                    .map(|label| mark(label))
                    .collect::<Vec<_>>()
                    .join(", "),
                escape(&row.release.policies.join(", ")),
                escape(&row.release.content.short()),
            ]
        })
        .collect();
    page.table(
        &["Time", "Through", "User", "Labels", "Policies", "Content"],
        &rows, "Nothing was refused yet. Refusals of /v1/retrieval/check and of the proxy for Qdrant stand here.");
    page.heading("Retrievals");
    let rows: Vec<Vec<String>> = retrievals.iter().map(retrieval_row).collect();
    page.table(
        &[
            "Prompt",
            "User (as told)",
            "Time",
            "Findings",
            "Context",
            "Response",
        ],
        &rows,
        "No question was reported yet.",
    );
    page.heading("Prompts with findings");
    let rows: Vec<Vec<String>> = risky
        .iter()
        .map(|row| {
            vec![
                escape(&unescaped(&row.retrieval.prompt)),
                findings(&row.retrieval.prompt_findings),
                escape(&row.retrieval.user),
                escape(&row.retrieval.application),
            ]
        })
        .collect();
    page.table(
        &["Prompt", "Findings", "User (as told)", "Application"],
        &rows,
        "No question had findings.",
    );
    page.heading("Active users");
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|row| {
            vec![
                escape(&row.user),
                row.retrievals.to_string(),
                moment(&date(row.last)),
                escape(&row.identities.join(", ")),
            ]
        })
        .collect();
    page.table(
        &["User (as told)", "Retrievals", "Last", "Linked groups"],
        &rows,
        "Nobody asked yet.",
    );
    if let Some(application) = only {
        page.heading("Documents");
        let mut rows: Vec<Vec<String>> = Vec::new();
        for row in &retrievals {
            for document in context(row) {
                let text = |name: &str| escape(document[name].as_str().unwrap_or_default());
                let entry = vec![text("retrieved_from"), text("vector_db")];
                if !rows.contains(&entry) {
                    rows.push(entry);
                }
            }
        }
        page.table(
            &["Document", "Vector database"],
            &rows,
            "No document was retrieved yet.",
        );
        page.heading("Vector databases");
        let details: Value = serde_json::from_str(&application.details).unwrap_or_default();
        let mut rows = Vec::new();
        for chain in details["chains"].as_array().into_iter().flatten() {
            for store in chain["vector_dbs"].as_array().into_iter().flatten() {
                let text = |name: &str| escape(store[name].as_str().unwrap_or_default());
                rows.push(vec![
                    text("name"),
                    text("version"),
                    text("location"),
                    text("embedding_model"),
                ]);
            }
        }
        page.table(
            &["Name", "Version", "Location", "Embedding model"],
            &rows,
            "The application named none.",
        );
    }
    page.data = json!({
        "pebbloServerVersion": crate::SERVER_VERSION,
        "retrievals": retrievals.iter().map(|row| json!({
            "prompt": row.retrieval.prompt, "response": row.retrieval.response, "user": row.retrieval.user,
            "prompt_time": row.retrieval.prompt_time, "context": context(row), "app": row.retrieval.application,
        })).collect::<Vec<_>>(),
        "violations": denials.iter().map(|row| json!({
            "time": date(row.time), "channel": row.release.channel, "user": row.release.user,
            "labels": row.release.labels, "policies": row.release.policies,
        })).collect::<Vec<_>>(),
    });
    Ok(page.answer(StatusCode::OK))
}

fn retrieval_row(row: &Retrieval) -> Vec<String> {
    let from: Vec<String> = context(row)
        .iter()
        .map(|document| escape(document["retrieved_from"].as_str().unwrap_or_default()))
        .collect();
    vec![
        escape(&unescaped(&row.retrieval.prompt)),
        escape(&row.retrieval.user),
        moment(&row.retrieval.prompt_time),
        findings(&row.retrieval.response_findings),
        from.join("<br>"),
        escape(&unescaped(&row.retrieval.response)),
    ]
}

fn context(row: &Retrieval) -> Vec<Value> {
    serde_json::from_str(&row.retrieval.context).unwrap_or_default()
}

fn findings(labels: &[(String, u64)]) -> String {
    let each = labels
        .iter()
        .map(|(label, count)| format!("{} {count}", mark(label)));
    each.collect::<Vec<_>>().join(", ")
}

/// `GET /pebblo/not-found/`, and whatever is asked for and does not exist.
pub(crate) fn not_found() -> Answer {
    let mut page = Page::new("Not found");
    page.body
        .push_str("<p>There is no such application. <a href=\"/pebblo/\">All applications</a></p>");
    page.answer(StatusCode::NOT_FOUND)
}

fn link(path: &str, name: &str) -> String {
    format!(
        "<a href=\"{path}?app_name={}\">{}</a>",
        encode(name),
        escape(name)
    )
}

/// A time to the second where it is one; whatever else a client sent is shown as it is.
fn moment(time: &str) -> String {
    let shape = "dddd-dd-dd dd:dd:dd";
    let start = time.get(..shape.len()).unwrap_or_default();
    let is_time = !start.is_empty()
        && start
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, wanted)| match wanted {
                b'd' => byte.is_ascii_digit(),
                b' ' => matches!(byte, b' ' | b'T'),
                other => byte == other,
            });
    match is_time {
        true => format!("<time>{}</time>", start.replace('T', " ")),
        false => escape(time),
    }
}

fn mark(label: &str) -> String {
    format!("<mark>{}</mark>", escape(label))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Directional and other controls could make a name look like another one.
            control if control.is_control() && control != '\n' => escaped.push('\u{FFFD}'),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}
