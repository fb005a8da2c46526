//! Hosts without a pack: all that is known of a request is its method (RFC 9110 §9), and whether it
//! asks the server to take it for another one.

use tagout_core::{Effect, FaultKind, Flags, HttpRequest, Method, Operation, OperationName, Scope};

use crate::meaning::{Meaning, Unrecognised};
use crate::slots::fold_field_name;

/// Header fields by which frameworks let a POST stand for another method.
pub(crate) const OVERRIDE_HEADERS: [&str; 3] = [
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
];

/// The query parameter or form field for the same.
const OVERRIDE_FIELD: &[u8] = b"_method";

/// Further query parameters and form fields for the same, folded: Google's APIs, and proxies that take the header
/// fields' names there.
const OVERRIDE_PARAMETERS: [&str; 6] = [
    "-method",
    "$httpmethod",
    "httpmethod",
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
];

/// Query parameters by which Google's APIs take whole header fields.
const HEADER_PARAMETERS: [&str; 2] = ["$httpheaders", "$req"];

/// Reads a request to a host that no pack claims: one operation `http.METHOD`, scope `none`.
///
/// # Errors
/// When a method override names no method.
pub(crate) fn recognise(request: &HttpRequest) -> Result<Meaning, Unrecognised> {
    let mut method = request.method.clone();
    for word in overrides(request) {
        let stricter = Method::parse(&word.to_ascii_uppercase()).map_err(|_| Unrecognised {
            kind: FaultKind::Unparsable,
            reason: "the request overrides its method with something that is no method".to_owned(),
            how_to_proceed: "Send the method that is meant, without an override.".to_owned(),
            graphql: false,
        })?;
        if effect(&stricter) > effect(&method) {
            method = stricter;
        }
    }
    let name = OperationName::parse(&format!("http.{method}")).map_err(|_| Unrecognised {
        kind: FaultKind::Unparsable,
        reason: "the request's method is not one that can be named".to_owned(),
        how_to_proceed: "Use a method of RFC 9110.".to_owned(),
        graphql: false,
    })?;
    Ok(Meaning {
        operations: vec![Operation {
            known: is_known(&method),
            effect: effect(&method),
            name,
            flags: Flags::NONE,
            scope: Scope::None,
            resources: Vec::new(),
            unresolved: None,
            arguments: serde_json::Value::Null,
        }],
        body: None,
        query: None,
        graphql: false,
    })
}

/// Header fields by which some servers are told another path, or another host, than the request's own.
const PATH_HEADERS: [&str; 3] = ["x-original-url", "x-rewrite-url", "x-original-uri"];
const HOST_HEADERS: [&str; 4] = [
    "x-forwarded-host",
    "x-host",
    "x-http-host-override",
    "x-original-host",
];

/// Whether a header field says that the request is for another path or host: what is granted, decided
/// on and dialled is what the request line and the connection say.
pub(crate) fn means_elsewhere(request: &HttpRequest) -> bool {
    request.headers.iter().any(|(name, value)| {
        let name = fold_field_name(name);
        let is_path = PATH_HEADERS.contains(&name.as_str());
        let is_host = HOST_HEADERS.contains(&name.as_str());
        is_path && value.trim() != request.path_and_query()
            || is_host
                && !value
                    .trim()
                    .eq_ignore_ascii_case(request.target.host.as_str())
    })
}

/// Every method that header, query or form names instead of the request line's.
pub(crate) fn overrides(request: &HttpRequest) -> Vec<String> {
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| OVERRIDE_HEADERS.contains(&fold_field_name(name).as_str()))
        .map(|(_, value)| value.trim().to_owned());
    headers
        .chain(form_values(request.query.as_str()))
        .chain(body_values(request.body.bytes()))
        .collect()
}

/// The override in a body, which is looked at for what it is: frameworks disagree on the content types
/// under which they read a form, and some take the field from JSON too.
fn body_values(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if text.starts_with(['{', '[']) {
        return in_json(text);
    }
    if text.starts_with("--") {
        return in_multipart(text);
    }
    form_values(text)
}

fn in_json(text: &str) -> Vec<String> {
    match tagout_core::json::parse(text.as_bytes()) {
        Ok(value) => {
            let mut methods = Vec::new();
            batched(&value, &mut methods);
            if let serde_json::Value::Object(members) = value {
                let own = members
                    .into_iter()
                    .filter(|(name, _)| name.as_bytes().eq_ignore_ascii_case(OVERRIDE_FIELD))
                    .map(|(_, value)| value.as_str().unwrap_or_default().trim().to_owned());
                methods.extend(own);
            }
            methods
        }
        // Nobody knows how the server reads it; an empty word is no method, and refuses.
        Err(_) if text.to_ascii_lowercase().contains("\"_method\"") => vec![String::new()],
        Err(_) => Vec::new(),
    }
}

/// The methods of requests in a batch: objects with a method and an address, at any depth.
fn batched(value: &serde_json::Value, methods: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            let member = |names: &[&str]| {
                members
                    .iter()
                    .find(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()))
                    .and_then(|(_, value)| value.as_str())
            };
            let address = member(&["url", "uri", "path", "relative_url", "relativeurl"]);
            let method = member(&["method", "httpmethod", "http_method", "verb"]);
            // Of what is called a method, only what is one of HTTP's.
            if let (Some(_), Some(method)) = (address, method)
                && Method::parse(&method.trim().to_ascii_uppercase())
                    .is_ok_and(|method| is_known(&method))
            {
                methods.push(method.trim().to_owned());
            }
            members.values().for_each(|member| batched(member, methods));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| batched(item, methods)),
        _ => {}
    }
}

/// Parts of a multipart form (RFC 7578) that are named like the override.
fn in_multipart(text: &str) -> Vec<String> {
    let folded = text.to_ascii_lowercase();
    folded
        .match_indices("name=")
        .filter_map(|(at, key)| {
            let rest = folded.get(at + key.len()..)?;
            let rest = rest
                .trim_start_matches(['"', '\''])
                .strip_prefix("_method")?;
            // Another field whose name only begins so.
            rest.starts_with(['"', '\'', ';', ' ', '\t', '\r', '\n'])
                .then_some(rest)
        })
        .map(|rest| {
            let value = rest
                .split_once("\r\n\r\n")
                .or_else(|| rest.split_once("\n\n"))
                .map_or("", |(_, value)| value);
            let line = value.split(['\r', '\n']).next().unwrap_or_default();
            line.trim().to_owned()
        })
        .collect()
}

fn form_values(text: &str) -> Vec<String> {
    tagout_core::form_pairs(text)
        .into_iter()
        .filter_map(|(key, value)| {
            let name = fold_field_name(&String::from_utf8_lossy(&key));
            if HEADER_PARAMETERS.contains(&name.as_str()) {
                // No method, so it refuses.
                return Some(String::new());
            }
            OVERRIDE_PARAMETERS
                .contains(&name.as_str())
                .then(|| String::from_utf8_lossy(&value).trim().to_owned())
        })
        .collect()
}

/// product.md: GET, HEAD, OPTIONS read; POST, PUT, PATCH write; DELETE destructive. What is none of
/// them may be anything.
pub(crate) fn effect(method: &Method) -> Effect {
    match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => Effect::Read,
        // What is said on a WebSocket is what could be said in a POST.
        "POST" | "PUT" | "PATCH" | "CONNECT" => Effect::Write,
        _ => Effect::Destructive,
    }
}

fn is_known(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE" | "CONNECT"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tagout_core::{CanonicalPath, CanonicalQuery, HostName, HttpBody, Target, Transport};

    use super::*;

    fn request(method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
        HttpRequest {
            target: Target {
                transport: Transport::Tls,
                host: HostName::parse("api.example.com").unwrap(),
                port: 443,
            },
            method: Method::parse(method).unwrap(),
            path: CanonicalPath::parse("/v1/things").unwrap(),
            query: CanonicalQuery::parse(query).unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: HttpBody::Whole(body.as_bytes().to_vec()),
        }
    }

    fn seen(request: &HttpRequest) -> (String, Effect, bool) {
        let meaning = crate::recognise(request).unwrap();
        assert_eq!((&meaning.body, &meaning.query), (&None, &None));
        let [operation] = meaning.operations.as_slice() else {
            panic!("{meaning:?}");
        };
        assert_eq!(operation.scope, Scope::None);
        let name = operation.name.as_str().to_owned();
        (name, operation.effect, operation.known)
    }

    #[test]
    fn the_method_is_the_operation() {
        for (method, effect, known) in [
            ("GET", Effect::Read, true),
            ("HEAD", Effect::Read, true),
            ("OPTIONS", Effect::Read, true),
            ("POST", Effect::Write, true),
            ("PUT", Effect::Write, true),
            ("PATCH", Effect::Write, true),
            ("DELETE", Effect::Destructive, true),
            ("CONNECT", Effect::Write, true),
            ("PURGE", Effect::Destructive, false),
            ("MKCOL", Effect::Destructive, false),
        ] {
            assert_eq!(
                seen(&request(method, "", &[], "")),
                (format!("http.{method}"), effect, known)
            );
        }
    }

    #[test]
    fn an_override_can_only_make_it_stricter() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let delete = ("http.DELETE".to_owned(), Effect::Destructive, true);
        for it in [
            request("POST", "", &[("x-http-method-override", "DELETE")], ""),
            request("POST", "", &[("x_http_method_override", "delete")], ""),
            request("GET", "", &[("x-method-override", " DELETE ")], ""),
            request(
                "POST",
                "",
                &[("x-http-method", "GET"), ("x-http-method", "DELETE")],
                "",
            ),
            request("POST", "_method=DELETE", &[], ""),
            request("POST", "a=1&_METHOD=delete", &[], ""),
            request("POST", "%5Fmethod=DELETE", &[], ""),
            request("POST", "$httpMethod=DELETE", &[], ""),
            request("POST", "%24httpMethod=DELETE", &[], ""),
            request("POST", "httpmethod=delete", &[], ""),
            request("POST", "X-HTTP-Method-Override=DELETE", &[], ""),
            // A batch is as strict as what is in it.
            request(
                "POST",
                "",
                &[],
                r#"{"requests":[{"method":"GET","url":"/a"},{"method":"DELETE","url":"/me/messages/1"}]}"#,
            ),
            request(
                "POST",
                "",
                &[],
                r#"[{"method":"delete","relative_url":"1"}]"#,
            ),
            request("POST", "", &[form], "a=1&_method=DELETE"),
            // The same under other content types, or none.
            request("POST", "", &[], "a=1&_method=DELETE"),
            request(
                "POST",
                "",
                &[("content-type", "Application/X-WWW-Form-URLencoded")],
                "_method=DELETE",
            ),
            request(
                "POST",
                "",
                &[("content-type", "multipart/form-data; boundary=b")],
                "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--b--\r\n",
            ),
            request("POST", "", &[], " {\"a\":1,\"_method\":\"delete\"}"),
        ] {
            assert_eq!(seen(&it), delete, "{it:?}");
        }
        let get = request(
            "DELETE",
            "_method=GET",
            &[("x-http-method-override", "GET")],
            "",
        );
        assert_eq!(seen(&get), delete);
        for bad in [
            request("POST", "", &[("x-http-method-override", "D\u{e9}")], ""),
            request(
                "POST",
                "",
                &[],
                "{\"_method\":\"POST\",\"_method\":\"DELETE\"}",
            ),
            request("POST", "", &[], "{\"_method\":[\"DELETE\"]}"),
        ] {
            assert!(crate::recognise(&bad).is_err(), "{bad:?}");
        }
        let other = request(
            "POST",
            "",
            &[],
            "{\"pay_method\":\"card\",\"a\":{\"_method\":1}}",
        );
        assert_eq!(seen(&other).1, Effect::Write);
    }

    #[test]
    fn invariant_6_no_header_field_sends_a_request_elsewhere() {
        for header in [
            ("x-original-url", "/admin"),
            ("x_rewrite_url", "/admin"),
            ("x-forwarded-host", "admin.example.com"),
            ("x-http-host-override", "admin.example.com"),
        ] {
            let it = request("GET", "", &[header], "");
            assert!(crate::recognise(&it).is_err(), "{header:?}");
        }
        for header in [
            ("x-original-url", "/v1/things"),
            ("x-forwarded-host", "API.example.com"),
        ] {
            assert!(crate::recognise(&request("GET", "", &[header], "")).is_ok());
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            name in "[a-zA-Z_-]{1,24}",
            value in "\\PC{0,20}",
            body in "\\PC{0,60}",
        ) {
            let headers = [(name.as_str(), value.as_str()), ("content-type", "application/x-www-form-urlencoded")];
            let _ = crate::recognise(&request("POST", "", &headers, &body));
        }
    }
}
