//! What requests mean: the incident first, then every form in which an agent might write it, then
//! everything that the corpus lists.

use serde_json::{Value as Json, json};
use tagout_core::{
    CanonicalPath, CanonicalQuery, Effect, Flag, HostName, HttpBody, HttpRequest, Method,
    Operation, Scope, Target, Transport,
};

use super::*;

/// A request to Railway.
pub(crate) fn request(
    method: &str,
    query: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> HttpRequest {
    let mut headers = vec![("authorization".to_owned(), "Bearer decoy".to_owned())];
    if let Some(content_type) = content_type {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse("backboard.railway.app").unwrap(),
            port: 443,
        },
        method: Method::parse(method).unwrap(),
        path: CanonicalPath::parse("/graphql/v2").unwrap(),
        query: CanonicalQuery::parse(query).unwrap(),
        headers,
        body: match body.is_empty() {
            true => HttpBody::Empty,
            false => HttpBody::Whole(body.to_vec()),
        },
    }
}

fn post(document: Json) -> Result<Meaning, Unrecognised> {
    let body = document.to_string();
    recognise(&request(
        "POST",
        "",
        Some("application/json"),
        body.as_bytes(),
    ))
}

fn graphql(query: &str, variables: Json) -> Vec<Operation> {
    post(json!({ "query": query, "variables": variables }))
        .unwrap()
        .operations
}

fn names(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(|it| it.name.as_str()).collect()
}

/// The body as it was sent, and the type that curl gave it.
const INCIDENT: &str =
    r#"{"query":"mutation { volumeDelete(volumeId: \"3d2c42fb-8e4d-4a87-9a55-0d2cbb5e35b1\") }"}"#;

#[test]
fn the_incident_is_understood() {
    for content_type in [
        Some("application/x-www-form-urlencoded"),
        Some("application/json"),
        Some("text/plain"),
        None,
    ] {
        let meaning = recognise(&request("POST", "", content_type, INCIDENT.as_bytes())).unwrap();
        let [operation] = meaning.operations.as_slice() else {
            panic!("{:?}", meaning.operations);
        };
        assert_eq!(operation.name.as_str(), "railway.volumeDelete");
        assert!(operation.known);
        assert_eq!(operation.effect, Effect::Irreversible);
        assert_eq!(operation.scope, Scope::Resources);
        assert_eq!(operation.unresolved, None);
        assert_eq!(
            operation.resources,
            ["railway:volume/3d2c42fb-8e4d-4a87-9a55-0d2cbb5e35b1"
                .parse()
                .unwrap()]
        );
        assert_eq!(
            operation.arguments,
            json!({"volumeId": "3d2c42fb-8e4d-4a87-9a55-0d2cbb5e35b1"})
        );
        let body = meaning.body.unwrap();
        assert_eq!(body.content_type, "application/json");
        assert_eq!(
            String::from_utf8(body.bytes).unwrap(),
            r#"{"query":"mutation{volumeDelete(volumeId:\"3d2c42fb-8e4d-4a87-9a55-0d2cbb5e35b1\")}"}"#
        );
    }
}

#[test]
fn names_and_ids_are_account_and_state_is_not() {
    for (query, scope, secret) in [
        ("{ me { id name email } }", Scope::Account, false),
        (
            "{ projects { edges { node { id name environments { edges { node { id name } } } } } } }",
            Scope::Account,
            false,
        ),
        (
            "{ projects { edges { node { id environments { edges { node { config } } } } } } }",
            Scope::Resources,
            true,
        ),
        (
            "{ projects { edges { node { environments { edges { node { ...C } } } } } } } fragment C on Environment { x: config(decryptVariables: true) @include(if: false) }",
            Scope::Resources,
            true,
        ),
        (
            "{ project(id: \"p\") { volumes { edges { node { volumeInstances { edges { node { state } } } } } } } }",
            Scope::Resources,
            false,
        ),
        (
            "{ variables(projectId: \"p\", environmentId: \"e\") }",
            Scope::Resources,
            true,
        ),
        (
            "{ projectToken { id environment { name } project { name } } }",
            Scope::Account,
            false,
        ),
        ("{ __typename }", Scope::Account, false),
        ("{ __schema { types { name } } }", Scope::Account, false),
        ("{ platformStatus { isStable } }", Scope::Account, false),
    ] {
        let operations = graphql(query, json!({}));
        assert_eq!(operations.len(), 1, "{query}");
        assert_eq!(operations[0].effect, Effect::Read, "{query}");
        assert!(operations[0].known, "{query}");
        assert_eq!(operations[0].scope, scope, "{query}");
        assert_eq!(
            operations[0].flags.contains(Flag::SecretRead),
            secret,
            "{query}"
        );
    }
    let spanning = graphql(
        "{ projects { edges { node { deployments { edges { node { status } } } } } } }",
        json!({}),
    );
    assert!(spanning[0].unresolved.is_some());
}

#[test]
fn everything_that_runs_counts() {
    let operations = graphql(
        "mutation($v: String = \"x\") { a: volumeDelete(volumeId: $v) ...F ... on Mutation @skip(if: true) { c: projectDelete(id: \"p\") } } \
         fragment F on Mutation { customDomainDelete(id: \"d\") }",
        json!({"v": "y"}),
    );
    assert_eq!(
        names(&operations),
        [
            "railway.volumeDelete",
            "railway.customDomainDelete",
            "railway.projectDelete"
        ]
    );
    assert_eq!(operations[0].resources[0].id(), "y");
}
