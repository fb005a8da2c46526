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

/// One line a form of request; `corpus/railway.jsonl`. `operations` are written as
/// `name effect flags scope resource… [unresolved] [unknown]`.
const CORPUS: &str = include_str!("../../corpus/railway.jsonl");

fn describe(operation: &Operation) -> String {
    let flags: Vec<_> = operation.flags.iter().map(Flag::as_str).collect();
    let mut flags_sorted = flags.clone();
    flags_sorted.sort_unstable();
    let mut words = vec![
        operation.name.without_prefix().to_owned(),
        operation.effect.to_string(),
        match flags.is_empty() {
            true => "-".to_owned(),
            false => flags_sorted.join(","),
        },
        operation.scope.as_str().to_owned(),
    ];
    let mut resources: Vec<_> = operation
        .resources
        .iter()
        .map(|it| format!("{}/{}", it.kind(), it.id()))
        .collect();
    resources.sort_unstable();
    words.extend(resources);
    words.extend(operation.unresolved.iter().map(|_| "unresolved".to_owned()));
    words.extend((!operation.known).then(|| "unknown".to_owned()));
    words.join(" ")
}

fn from_corpus(line: &Json) -> HttpRequest {
    use base64::Engine as _;
    let text = |key: &str| line.get(key).and_then(Json::as_str);
    let body = match (text("body"), text("body_base64")) {
        (Some(body), _) => body.as_bytes().to_vec(),
        (None, Some(body)) => base64::engine::general_purpose::STANDARD
            .decode(body)
            .unwrap(),
        (None, None) => Vec::new(),
    };
    let mut request = request(
        text("method").unwrap(),
        text("query").unwrap_or_default(),
        text("content_type"),
        &body,
    );
    request.path = CanonicalPath::parse(text("path").unwrap()).unwrap();
    for pair in line
        .get("headers")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        let of = |index: usize| pair[index].as_str().unwrap().to_owned();
        request.headers.push((of(0), of(1)));
    }
    request
}

#[test]
fn the_corpus_is_understood() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in CORPUS.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        count += 1;
        let got = match recognise(&from_corpus(&line)) {
            Ok(meaning) => json!(meaning.operations.iter().map(describe).collect::<Vec<_>>()),
            Err(unrecognised) => json!(unrecognised.kind.as_str()),
        };
        let expected = match (line.get("operations"), line.get("refused")) {
            (Some(Json::Array(operations)), _) => operations
                .iter()
                .map(|it| {
                    // The order of resources is not the corpus's to say.
                    let mut words: Vec<_> = it.as_str().unwrap().split(' ').collect();
                    if let Some(resources) = words.get_mut(4..) {
                        resources
                            .sort_by_key(|word| (!word.contains('/'), *word == "unknown", *word));
                    }
                    Json::from(words.join(" "))
                })
                .collect(),
            (_, Some(kind)) => kind.clone(),
            _ => panic!("{line}"),
        };
        if got != expected {
            wrong.push(format!(
                "{}:\n  expected {expected}\n  got      {got}",
                line["name"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200);
}

/// What is sent means what was judged: the canonical form of a request has the same operations, and
/// is its own canonical form.
#[test]
fn invariant_6_the_canonical_form_means_the_same() {
    for line in CORPUS.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let mut request = from_corpus(&line);
        let Ok(first) = recognise(&request) else {
            continue;
        };
        if let Some(body) = &first.body {
            request.body = HttpBody::Whole(body.bytes.clone());
            request.headers.retain(|(name, _)| name != "content-type");
            request
                .headers
                .push(("content-type".to_owned(), body.content_type.to_owned()));
        }
        if let Some(query) = &first.query {
            request.query = query.clone();
        }
        let second = recognise(&request).unwrap();
        assert_eq!(first, second, "{}", line["name"]);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Root fields of a mutation, each as its text and the operation that it must be seen as.
    fn root() -> impl Strategy<Value = (String, &'static str, Effect)> {
        let id = "[A-Za-z0-9_-]{1,12}";
        prop_oneof![
            id.prop_map(|id| (
                format!("volumeDelete(volumeId:\"{id}\")"),
                "railway.volumeDelete",
                Effect::Irreversible
            )),
            id.prop_map(|id| (
                format!("serviceDelete(id:\"{id}\")"),
                "railway.serviceDelete",
                Effect::Irreversible
            )),
            id.prop_map(|id| (
                format!("deploymentStop(id:\"{id}\")"),
                "railway.deploymentStop",
                Effect::Destructive
            )),
            id.prop_map(|id| (
                format!("deploymentRestart(id:\"{id}\")"),
                "railway.deploymentRestart",
                Effect::Write
            )),
        ]
    }

    /// How a root field is hidden.
    #[derive(Clone, Debug)]
    enum Wrapping {
        Plain,
        Alias(String),
        Inline,
        InlineOn,
        Fragment,
        Nested,
        Skipped,
    }

    fn wrapping() -> impl Strategy<Value = Wrapping> {
        prop_oneof![
            Just(Wrapping::Plain),
            "[a-z]{1,8}".prop_map(Wrapping::Alias),
            Just(Wrapping::Inline),
            Just(Wrapping::InlineOn),
            Just(Wrapping::Fragment),
            Just(Wrapping::Nested),
            Just(Wrapping::Skipped),
        ]
    }

    fn document(parts: &[((String, &'static str, Effect), Wrapping)]) -> String {
        let mut selection = String::new();
        let mut fragments = String::new();
        for (index, ((field, _, _), wrapping)) in parts.iter().enumerate() {
            selection.push(' ');
            selection.push_str(&match wrapping {
                Wrapping::Plain => field.clone(),
                Wrapping::Alias(alias) => format!("{alias}: {field}"),
                Wrapping::Inline => format!("... {{ {field} }}"),
                Wrapping::InlineOn => format!("... on Mutation {{ {field} }}"),
                Wrapping::Skipped => format!("{field} @skip(if: true)"),
                Wrapping::Fragment => {
                    fragments.push_str(&format!(" fragment F{index} on Mutation {{ {field} }}"));
                    format!("...F{index}")
                }
                Wrapping::Nested => {
                    fragments.push_str(&format!(
                        " fragment F{index} on Mutation {{ ...G{index} }} \
                         fragment G{index} on Mutation {{ x: {field} }}"
                    ));
                    format!("... on Mutation {{ ...F{index} }}")
                }
            });
        }
        format!("mutation {{{selection} }}{fragments}")
    }

    proptest! {
        /// However they are written, every operation is seen, none is milder, and none is hidden.
        #[test]
        fn wrapping_hides_nothing(
            parts in prop::collection::vec((root(), wrapping()), 1..8),
            in_batch in any::<bool>(),
        ) {
            let text = document(&parts);
            let meaning = match in_batch {
                true => post(json!([{"query": "{me{id}}"}, {"query": text}])),
                false => post(json!({"query": text})),
            }
            .unwrap();
            let seen = &meaning.operations[usize::from(in_batch)..];
            let mut names: Vec<_> = seen.iter().map(|it| (it.name.as_str(), it.effect)).collect();
            let mut expected: Vec<_> = parts
                .iter()
                .map(|((_, name, effect), _)| (*name, *effect))
                .collect();
            names.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(names, expected);
        }

        #[test]
        fn no_bytes_panic(
            body in prop::collection::vec(any::<u8>(), 0..300),
            content_type in prop_oneof![
                Just(None),
                Just(Some("application/json")),
                Just(Some("application/graphql")),
                Just(Some("application/x-www-form-urlencoded")),
            ],
        ) {
            let _ = recognise(&request("POST", "", content_type, &body));
        }

        #[test]
        fn no_document_panics(text in r#"[{}()\[\]$:=!@.,"\\a-gmnoqrtuy0-9é# \n-]{0,200}"#) {
            let _ = post(json!({"query": text}));
        }

        /// Strings keep their value on the way through the tree and out again.
        #[test]
        fn strings_survive(value in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let literal = serde_json::to_string(&value).unwrap();
            // JSON escapes are GraphQL escapes, but for a bare DEL.
            let text = format!(
                "mutation {{ variableUpsert(input: {{projectId: \"p\", environmentId: \"e\", name: \"A\", value: {literal}}}) }}"
            );
            let meaning = post(json!({"query": text})).unwrap();
            prop_assert_eq!(&meaning.operations[0].arguments["input"]["value"], &json!(value));
            let sent: Json = serde_json::from_slice(&meaning.body.unwrap().bytes).unwrap();
            let again = post(sent).unwrap();
            prop_assert_eq!(&again.operations[0].arguments["input"]["value"], &json!(value));
        }
    }
}

/// Bounded work on what is made to be slow.
#[test]
fn hostile_documents_are_read_quickly() {
    use std::fmt::Write as _;
    use std::time::Duration;
    let mut doubling = String::from("{ me { ...F0 } }");
    for index in 0..500 {
        let next = index + 1;
        let _ = write!(
            doubling,
            " fragment F{index} on User {{ ...F{next} ...F{next} }}"
        );
    }
    doubling.push_str(" fragment F500 on User { id }");
    let mut wide = String::from("{ me { ...F0 } }");
    for index in 0..50 {
        let next = index + 1;
        let _ = write!(
            wide,
            " fragment F{index} on User {{ ...F{next} ...F{next} ...F{next} }}"
        );
    }
    wide.push_str(" fragment F50 on User { id }");
    let documents = [
        doubling,
        wide,
        "{".repeat(100_000),
        format!("{}{}", "{a".repeat(100_000), "}".repeat(100_000)),
        format!(
            "{{me(x:{}{}){{id}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!(
            "query($a:{}Int{}){{me{{id}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!("{{me{}{{id}}}}", "@a".repeat(100_000)),
        "\"".repeat(100_000),
        "\"\"\"".repeat(100_000),
        "#".repeat(1_000_000),
    ];
    for document in documents {
        let before = processor_time();
        let _ = post(json!({ "query": document }));
        let used = processor_time() - before;
        assert!(
            used < Duration::from_secs(2),
            "{used:?}: {}",
            &document[..20]
        );
    }
}

/// The processor time that this thread has used (proc_pid_stat(5): `utime` and `stime`, in hundredths of a second). Time on the wall says
/// what else the machine does.
fn processor_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    std::time::Duration::from_millis(ticks * 10)
}
