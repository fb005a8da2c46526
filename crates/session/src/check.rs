//! What Tagout would decide, without doing it: the same catalog and the same policy as in a session,
//! asked about a request in a file or a line of JSON. No provider is contacted, so an environment is
//! known only as far as the manifest's pins tell.

mod sql;

use std::collections::BTreeSet;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::json;
pub use tagout_catalog_sql::Dialect;
use tagout_core::json::Json;
use tagout_core::{
    CanonicalPath, CanonicalQuery, EnvironmentName, Fault, FaultKind, Flags, HostName, HttpBody,
    HttpRequest, Method, Operation, OperationName, Scope, SessionId, Target, Transport,
};
use tagout_policy::{Decision, Policy, Question, Task};

/// What decides: a manifest's task, or none.
pub struct Checker {
    task: Option<Task>,
    policy: Policy,
    session: SessionId,
    statements: sql::Statements,
}

/// An answer, with the exit code that `tagout check` gives for it.
pub struct Checked {
    /// The object that is printed, without `id`.
    pub answer: Json,
    /// 0 allow, 10 hold, 11 deny.
    pub exit: u8,
}

impl Checker {
    /// A checker. Without a task, every host and credential counts as granted in the resource's own
    /// environment.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new(task: Option<Task>, policy: Policy) -> Result<Self, String> {
        let session = SessionId::random().map_err(|error| error.to_string())?;
        Ok(Self {
            task,
            policy,
            session,
            statements: sql::Statements::default(),
        })
    }

    /// Decides about one request.
    pub fn http(&self, request: &HttpRequest) -> Checked {
        let (operations, mut faults) = match tagout_catalog::recognise(request) {
            Ok(meaning) => (meaning.operations, Vec::new()),
            Err(unrecognised) => (Vec::new(), vec![Fault::from(unrecognised)]),
        };
        let encoded = |coding: &str| !coding.eq_ignore_ascii_case("identity");
        if request.header("content-encoding").any(encoded) {
            faults.push(Fault {
                kind: FaultKind::UnknownEncoding,
                reason: "the request's content is encoded, so that it cannot be read".to_owned(),
                how_to_proceed: "Send the content without Content-Encoding.".to_owned(),
            });
        }
        let unrecognised;
        let judged = if operations.is_empty() {
            unrecognised = [stand_in()];
            &unrecognised[..]
        } else {
            &operations[..]
        };
        let mut strictest: Option<(Decision, Option<String>)> = None;
        for operation in judged {
            let (decision, environment) = self.decide(request, operation, &faults);
            if strictest
                .as_ref()
                .is_none_or(|(other, _)| decision.strictness() > other.strictness())
            {
                strictest = Some((decision, environment));
            }
        }
        let (decision, environment) = strictest.unwrap_or_else(|| (nothing_recognised(), None));
        let effect = operations.iter().map(|operation| operation.effect).max();
        let flags = operations
            .iter()
            .fold(Flags::NONE, |flags, operation| flags.union(operation.flags));
        let resources: BTreeSet<_> = operations
            .iter()
            .flat_map(|operation| &operation.resources)
            .collect();
        let names: BTreeSet<_> = operations.iter().map(|operation| &operation.name).collect();
        let (verdict, reason, exit) = words(&decision);
        Checked {
            answer: json!({
                "effect": effect,
                "flags": flags,
                "operations": names,
                "resources": resources,
                "environment": environment,
                "verdict": verdict,
                "reason": reason,
            }),
            exit,
        }
    }

    /// Answers one line of `tagout check --jsonl`. Never fails: a line that cannot be read is denied
    /// with the reason.
    pub fn line(&self, line: &str) -> Json {
        let (id, answer) = match parse_line(line) {
            Ok((id, Asked::Http(request))) => (id, self.http(&request).answer),
            Ok((id, Asked::Sql(dialect, text))) => (id, self.sql(dialect, &text).answer),
            Err((id, why)) => (id, denied(&why)),
        };
        let mut object = serde_json::Map::new();
        object.insert("id".to_owned(), id);
        if let Json::Object(fields) = answer {
            object.extend(fields);
        }
        Json::Object(object)
    }

    fn decide(
        &self,
        request: &HttpRequest,
        operation: &Operation,
        faults: &[Fault],
    ) -> (Decision, Option<String>) {
        let target = &request.target;
        let (method, path) = (&request.method, &request.path);
        let own = EnvironmentName::development();
        let task = self.task.as_ref();
        let pinned: BTreeSet<EnvironmentName> = task
            .map(|task| {
                let resources = operation.resources.iter();
                resources
                    .filter_map(|resource| task.environment_of_resource(resource))
                    .chain(task.environment_of_host(&target.host))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        let unresolved = match task {
            Some(_) if operation.scope == Scope::Resources && pinned.is_empty() => {
                Some("no pin of the manifest tells, and `tagout check` asks no provider")
            }
            _ => None,
        };
        let environment = pinned
            .iter()
            .max_by_key(|name| task.is_some_and(|task| task.is_protected(Some(name))));
        let task_environment = task.map_or(&own, |task| &task.environment);
        let everything = task.is_none();
        // Without a manifest the question is about the operation alone: in the resource's own
        // environment, whatever that is called.
        let environment = environment.or(everything.then_some(&own));
        let decision = self.policy.decide(
            &Question {
                session: &self.session,
                channel: "http",
                target,
                method,
                path,
                operation,
                faults,
                granted: task.is_none_or(|task| task.grants_request(target, method, path)),
                operation_granted: task
                    .is_none_or(|task| task.grants_operation(operation, target, method, path, &[])),
                has_pack: tagout_catalog::pack_for_host(&target.host).is_some(),
                credential: task
                    .and_then(|task| task.credentials_for(target).next())
                    .map(|grant| grant.name.as_str()),
                resources: &operation.resources,
                unresolved,
                environment,
                protected: unresolved.is_some()
                    || environment
                        .is_some_and(|name| task.is_some_and(|task| task.is_protected(Some(name)))),
                disposable: environment
                    .is_some_and(|name| task.is_some_and(|task| task.is_disposable(Some(name)))),
                task_environment,
                in_task_environment: everything
                    || (unresolved.is_none() && pinned.iter().all(|name| name == task_environment)),
                in_credential_environments: everything
                    || (unresolved.is_none()
                        && pinned.iter().all(|name| {
                            task.is_some_and(|task| {
                                task.credentials_for(target).all(|grant| grant.lists(name))
                            })
                        })),
                manifest_has_protected: task.is_some_and(Task::has_protected_environment),
                only_task_resources: everything || unresolved.is_none(),
                fields_withheld: false,
                two_approvers_enrolled: false,
            },
            false,
        );
        let shown = match (environment, unresolved) {
            (_, Some(_)) => Some("production".to_owned()),
            (name, None) if !everything => name.map(ToString::to_string),
            (_, None) => None,
        };
        (decision, shown)
    }
}

impl Checker {
    /// Decides about an operation as if everything was granted, in the task's own environment, so that
    /// the operation alone decides.
    fn decide_everything_granted(
        &self,
        channel: &str,
        target: &Target,
        method: &Method,
        path: &CanonicalPath,
        operation: &Operation,
    ) -> Decision {
        let own = EnvironmentName::development();
        self.policy.decide(
            &Question {
                session: &self.session,
                channel,
                target,
                method,
                path,
                operation,
                faults: &[],
                granted: true,
                operation_granted: true,
                has_pack: true,
                credential: None,
                resources: &operation.resources,
                unresolved: None,
                environment: Some(&own),
                protected: false,
                disposable: false,
                task_environment: &own,
                in_task_environment: true,
                in_credential_environments: true,
                manifest_has_protected: false,
                only_task_resources: true,
                fields_withheld: false,
                two_approvers_enrolled: false,
            },
            false,
        )
    }
}

/// Reads a request as it stands in a file: request line, header fields, an empty line, body. The
/// target is a URL, or a path with a `Host` field (then over TLS on port 443 unless it says another).
///
/// # Errors
/// What is wrong with it.
pub fn parse_http(bytes: &[u8]) -> Result<HttpRequest, String> {
    let (head, body) = split_head(bytes);
    let head =
        std::str::from_utf8(head).map_err(|_| "the request's head is not text".to_owned())?;
    let mut lines = head.lines();
    let request_line = lines.next().unwrap_or_default();
    let mut words = request_line.split_ascii_whitespace();
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the first line is not METHOD TARGET HTTP/1.1".to_owned());
    };
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| "a header line has no colon".to_owned())?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let url = if target.starts_with('/') {
        let host = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, value)| value.clone())
            .ok_or_else(|| "the target is a path and there is no Host field".to_owned())?;
        format!("https://{host}{target}")
    } else {
        target.to_owned()
    };
    build(method, &url, headers, body.to_vec())
}

fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    for end in [b"\r\n\r\n".as_slice(), b"\n\n"] {
        if let Some(at) = bytes.windows(end.len()).position(|window| window == end) {
            return (&bytes[..at], &bytes[at + end.len()..]);
        }
    }
    (bytes, &[])
}

fn build(
    method: &str,
    url: &str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Result<HttpRequest, String> {
    let (transport, rest, default_port) = if let Some(rest) = url.strip_prefix("https://") {
        (Transport::Tls, rest, 443)
    } else if let Some(rest) = url.strip_prefix("http://") {
        (Transport::Plain, rest, 80)
    } else {
        return Err("the URL does not begin with https:// or http://".to_owned());
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse()
                .map_err(|_| "the URL's port is not a number".to_owned())?,
        ),
        None => (authority, default_port),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    Ok(HttpRequest {
        target: Target {
            transport,
            host: HostName::parse(host).map_err(|error| error.to_string())?,
            port,
        },
        method: Method::parse(method).map_err(|error| error.to_string())?,
        path: CanonicalPath::parse(path).map_err(|error| error.to_string())?,
        query: CanonicalQuery::parse(query).map_err(|error| error.to_string())?,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length" | "connection"))
            .collect(),
        body: if body.is_empty() {
            HttpBody::Empty
        } else {
            HttpBody::Whole(body)
        },
    })
}

/// A line's `http`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpLine {
    method: String,
    url: String,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
}

/// `{name: value}` or `[[name, value]]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    Object(serde_json::Map<String, Json>),
    Pairs(Vec<(String, String)>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

/// What a line asks about.
enum Asked {
    Http(Box<HttpRequest>),
    Sql(Dialect, String),
}

fn parse_line(line: &str) -> Result<(Json, Asked), (Json, String)> {
    let value = tagout_core::json::parse(line.as_bytes())
        .map_err(|error| (Json::Null, format!("the line is {error}")))?;
    let id = value.get("id").cloned().unwrap_or(Json::Null);
    let fail = |why: String| (id.clone(), why);
    if value.get("sql").is_some() {
        let (dialect, text) = sql::parse(&value).map_err(fail)?;
        return Ok((id, Asked::Sql(dialect, text)));
    }
    for later in ["shell", "mcp"] {
        if value.get(later).is_some() {
            return Err(fail(format!(
                "`{later}` cannot be judged yet: its gate comes later"
            )));
        }
    }
    let http = value
        .get("http")
        .cloned()
        .ok_or_else(|| fail("the line has neither `http` nor `sql`".to_owned()))?;
    let http: HttpLine = serde_json::from_value(http)
        .map_err(|error| fail(format!("`http` cannot be read: {error}")))?;
    let headers = match http.headers {
        Headers::Pairs(pairs) => pairs,
        Headers::Object(object) => object
            .into_iter()
            .map(|(name, value)| match value {
                Json::String(value) => Ok((name, value)),
                _ => Err(fail("a header's value is not a string".to_owned())),
            })
            .collect::<Result<_, _>>()?,
    };
    let body = match (http.body, http.body_base64) {
        (Some(_), Some(_)) => return Err(fail("give body or body_base64, not both".to_owned())),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| fail("body_base64 is not base64".to_owned()))?,
        (None, None) => Vec::new(),
    };
    let request = build(&http.method, &http.url, headers, body).map_err(fail)?;
    Ok((id, Asked::Http(Box::new(request))))
}

fn words(decision: &Decision) -> (&'static str, Option<String>, u8) {
    match decision {
        Decision::Allow => ("allow", None, 0),
        Decision::Ask { reason, .. } => ("hold", Some(reason.clone()), 10),
        Decision::Deny { reason, .. } => ("deny", Some(reason.clone()), 11),
    }
}

fn denied(why: &str) -> Json {
    json!({
        "effect": null,
        "flags": [],
        "operations": [],
        "resources": [],
        "environment": null,
        "verdict": "deny",
        "reason": why,
    })
}

fn nothing_recognised() -> Decision {
    Decision::Deny {
        policies: Vec::new(),
        reason: "nothing was recognised".to_owned(),
        how_to_proceed: String::new(),
    }
}

/// Stands for a request whose faults deny it.
fn stand_in() -> Operation {
    Operation {
        name: OperationName::parse("http.unrecognised")
            .unwrap_or_else(|_| unreachable!("a constant name")),
        known: false,
        effect: tagout_core::Effect::Irreversible,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: Vec::new(),
        unresolved: Some("the request was not understood".to_owned()),
        arguments: Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Json {
        let checker = Checker::new(None, Policy::load(None).unwrap()).unwrap();
        checker.line(line)
    }

    fn railway(query: &str) -> String {
        json!({
            "id": 1,
            "http": {
                "method": "POST",
                "url": "https://backboard.railway.app/graphql/v2",
                "headers": {"content-type": "application/x-www-form-urlencoded"},
                "body": json!({ "query": query }).to_string(),
            },
        })
        .to_string()
    }

    #[test]
    fn without_a_manifest_the_operation_alone_decides() {
        let deletion = answer(&railway(
            "mutation { volumeDelete(volumeId: \"3d2c42fb-1\") }",
        ));
        assert_eq!(deletion["verdict"], "hold", "{deletion}");
        assert_eq!(deletion["effect"], "irreversible");
        assert_eq!(deletion["operations"], json!(["railway.volumeDelete"]));
        assert_eq!(deletion["resources"], json!(["railway:volume/3d2c42fb-1"]));
        let read = answer(&railway("query { project(id: \"p-1\") { name } }"));
        assert_eq!(read["verdict"], "allow", "{read}");
    }

    #[test]
    fn invariant_8_what_cannot_be_read_is_denied_in_its_place() {
        for line in [
            "",
            "{",
            "[]",
            "{\"id\":7}",
            "{\"id\":7,\"id\":8}",
            "{\"id\":7,\"shell\":\"rm -rf /\"}",
            "{\"id\":7,\"http\":{\"method\":\"GET\",\"url\":\"ftp://a.example\"}}",
            "{\"id\":7,\"http\":{\"method\":\"get\",\"url\":\"https://a.example\"}}",
            "{\"id\":7,\"http\":{\"method\":\"GET\",\"url\":\"https://a.example/..\"}}",
            "{\"id\":7,\"http\":{\"method\":\"GET\",\"url\":\"https://a.example\",\"body\":\"x\",\"body_base64\":\"eA==\"}}",
        ] {
            let answer = answer(line);
            assert_eq!(answer["verdict"], "deny", "{line}");
            assert!(answer["reason"].is_string(), "{line}");
        }
    }

    #[test]
    fn a_request_in_a_file_is_read_as_it_stands() {
        let request = parse_http(
            b"DELETE /v1/things/1?x=2 HTTP/1.1\r\nHost: api.example.com\r\nX-A: b\r\n\r\nbody",
        )
        .unwrap();
        assert_eq!(request.target.to_string(), "api.example.com:443");
        assert_eq!(request.path_and_query(), "/v1/things/1?x=2");
        assert_eq!(request.body.bytes(), b"body");
        for broken in [
            "",
            "GET",
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\nhost api\n\n",
        ] {
            assert!(parse_http(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
