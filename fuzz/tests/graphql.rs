//! Requests to a host with a pack: whatever bytes come, they have one meaning or none, and the form
//! that is sent on means exactly what was decided on.

use tagout_catalog::{Meaning, recognise};
use tagout_core::{
    CanonicalPath, CanonicalQuery, HostName, HttpBody, HttpRequest, Method, Target, Transport,
};

const SEEDS: &[&[u8]] = &[
    br#"{"query":"mutation { volumeDelete(volumeId: \"3f0c\") }"}"#,
    br#"{"query":"mutation D($id: String! = \"3f0c\") { a: volumeDelete(volumeId: $id) ...f } fragment f on Mutation { b: volumeDelete(volumeId: $id) @skip(if: true) }","variables":{"id":"3f0d"},"operationName":"D"}"#,
    br#"{"query":"{ projects { edges { node { id name environments { edges { node { id name } } } } } } }"}"#,
    br#"{"query":"mutation($i: VolumeInstanceUpdateInput!) { volumeInstanceUpdate(volumeId: \"v\", input: $i) }","variables":{"i":{"state":"DELETING"}}}"#,
    br#"[{"query":"{ me { id } }"},{"query":"mutation { projectDelete(id: \"p\") }"}]"#,
    b"query=mutation+%7B+volumeDelete%28volumeId%3A+%22v%22%29+%7D",
];

const DICTIONARY: &[&[u8]] = &[
    b"volumeDelete",
    b"mutation",
    b"query",
    b"fragment f on Mutation {",
    b"...f",
    b"... on Mutation {",
    b"{",
    b"}",
    b"(",
    b")",
    b"\\\"",
    b"$id",
    b"@include(if: false)",
    b"variables\":",
    b"#",
    b"\\n",
    b"\"\"\"",
    b"\\u0022",
    b"\xef\xbb\xbf",
    b",\"query\":",
    b"\"extensions\":{}",
    b"null",
    b"[[[[[[[[",
];

fn request(body: Vec<u8>, content_type: &str) -> HttpRequest {
    HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse("backboard.railway.com").expect("a host name"),
            port: 443,
        },
        method: Method::parse("POST").expect("a method"),
        path: CanonicalPath::parse("/graphql/v2").expect("a path"),
        query: CanonicalQuery::parse("").expect("no query"),
        headers: vec![("content-type".into(), content_type.into())],
        body: HttpBody::Whole(body),
    }
}

#[test]
fn what_is_sent_means_what_was_decided() {
    for seed in SEEDS.iter().take(2) {
        let meaning = recognise(&request(seed.to_vec(), "application/json"));
        let meaning = meaning.expect("the seeds are understood");
        assert!(names(&meaning).contains("volumeDelete"), "{meaning:?}");
    }

    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let types = [
            "application/json",
            "application/x-www-form-urlencoded",
            "application/graphql",
            "",
        ];
        for content_type in types {
            let Ok(meaning) = recognise(&request(bytes.clone(), content_type)) else {
                continue;
            };
            assert!(!meaning.operations.is_empty());
            let body = meaning.body.as_ref().expect("a pack re-serialises");
            let sent = recognise(&request(body.bytes.clone(), body.content_type));
            let sent = sent.expect("the canonical form is understood");
            assert_eq!(names(&sent), names(&meaning));
            assert_eq!(sent.operations, meaning.operations);
            assert_eq!(
                sent.body.as_ref(),
                Some(body),
                "the canonical form is a fixed point"
            );
        }
    });
}

fn names(meaning: &Meaning) -> String {
    let operations = meaning.operations.iter();
    operations
        .map(|operation| format!("{operation:?}\n"))
        .collect()
}
