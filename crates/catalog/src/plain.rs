//! Hosts without a pack: all that is known of a request is its method (RFC 9110 §9), and whether it
//! asks the server to take it for another one.

use tagout_core::{
    CanonicalQuery, Effect, FaultKind, Flags, HttpRequest, Method, Operation, OperationName, Scope,
};

use crate::meaning::{Meaning, Unrecognised};
use crate::slots::fold_field_name;

/// Header fields by which frameworks let a POST stand for another method.
const OVERRIDE_HEADERS: [&str; 3] = [
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
];

/// The query parameter or form field for the same.
const OVERRIDE_FIELD: &[u8] = b"_method";

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

/// Every method that header, query or form names instead of the request line's.
pub(crate) fn overrides(request: &HttpRequest) -> Vec<String> {
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| OVERRIDE_HEADERS.contains(&fold_field_name(name).as_str()))
        .map(|(_, value)| value.trim().to_owned());
    let is_form = request
        .headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.contains("x-www-form-urlencoded"));
    let form = is_form
        .then(|| std::str::from_utf8(request.body.bytes()).ok())
        .flatten()
        .map(|text| form_values(text, OVERRIDE_FIELD))
        .unwrap_or_default();
    headers
        .chain(query_values(&request.query, OVERRIDE_FIELD))
        .chain(form)
        .collect()
}

fn query_values(query: &CanonicalQuery, name: &[u8]) -> Vec<String> {
    form_values(query.as_str(), name)
}

fn form_values(text: &str, name: &[u8]) -> Vec<String> {
    tagout_core::form_pairs(text)
        .into_iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| String::from_utf8_lossy(&value).trim().to_owned())
        .collect()
}

/// product.md: GET, HEAD, OPTIONS read; POST, PUT, PATCH write; DELETE destructive. What is none of
/// them may be anything.
pub(crate) fn effect(method: &Method) -> Effect {
    match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => Effect::Read,
        "POST" | "PUT" | "PATCH" => Effect::Write,
        _ => Effect::Destructive,
    }
}

fn is_known(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tagout_core::{CanonicalPath, HostName, HttpBody, Target, Transport};

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
            request("POST", "", &[form], "a=1&_method=DELETE"),
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
        let bad = request("POST", "", &[("x-http-method-override", "D\u{e9}")], "");
        assert!(crate::recognise(&bad).is_err());
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
