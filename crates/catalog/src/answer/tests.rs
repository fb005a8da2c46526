//! Requests, the answers that a server would give, and what is left of the secrets in them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::meaning::recognise;
use crate::meaning::tests::request;

/// The request as the gate sends it: in the canonical form.
fn canonical(document: &Json) -> HttpRequest {
    let mut request = request(
        "POST",
        "",
        Some("application/json"),
        document.to_string().as_bytes(),
    );
    let meaning = recognise(&request).expect("a request");
    request.body = tagout_core::HttpBody::Whole(meaning.body.expect("a body").bytes);
    request
}

/// The answer as it comes in, each secret shown as `NAME?` in a document and `!` otherwise.
fn cleaned(document: &Json, answer: &Json) -> Result<Json, OddAnswer> {
    let secrets = answer_secrets(&canonical(document)).expect("secrets");
    let replaced =
        secrets.replaced(
            answer.to_string().as_bytes(),
            &mut |place, name, _| match place {
                SecretPlace::Document => format!("{name}?"),
                SecretPlace::Credential => "!".to_owned(),
            },
        )?;
    Ok(serde_json::from_slice(&replaced).expect("JSON"))
}

#[test]
fn plain_questions_have_plain_answers() {
    for query in [
        "{ me { id name } }",
        "query { project(id: \"p\") { name environments { edges { node { id name } } } } }",
        "mutation { deploymentRedeploy(id: \"d\") { id } }",
    ] {
        assert_eq!(answer_secrets(&canonical(&json!({"query": query}))), None);
    }
}

#[test]
fn invariant_3_secrets_are_replaced_under_every_alias() {
    let query = "query($p: String!) { one: variables(projectId: $p, environmentId: \"e\") ...F } \
                 fragment F on Query { variables(projectId: $p, environmentId: \"e\") \
                 ... { other: variables(projectId: $p, environmentId: \"e\") } }";
    let answer = json!({"data": {
        "one": {"DATABASE_URL": "postgres://u:p@h/d", "NODE_ENV": "production"},
        "variables": {"A": {"value": "x"}},
        "other": null,
    }});
    let cleaned = cleaned(&json!({"query": query, "variables": {"p": "p"}}), &answer);
    assert_eq!(
        cleaned,
        Ok(json!({"data": {
            "one": {"DATABASE_URL": "DATABASE_URL?", "NODE_ENV": "NODE_ENV?"},
            "variables": {"A": {"value": "A?"}},
            "other": null,
        }}))
    );
}

#[test]
fn invariant_3_new_credentials_are_replaced() {
    for (query, answer, expected) in [
        (
            "mutation { t: apiTokenCreate(input: {name: \"n\"}) }",
            json!({"t": "secret"}),
            json!({"t": "!"}),
        ),
        (
            "mutation { recoveryCodeGenerate { recoveryCodes __typename } }",
            json!({"recoveryCodeGenerate": {"recoveryCodes": ["a", "b"], "__typename": "RecoveryCodes"}}),
            json!({"recoveryCodeGenerate": {"recoveryCodes": ["!", "!"], "__typename": "!"}}),
        ),
        (
            "mutation { twoFactorInfoSecret { s: secret ... on TwoFactorInfoSecret { uri } } }",
            json!({"twoFactorInfoSecret": {"s": "a", "uri": "otpauth://b"}}),
            json!({"twoFactorInfoSecret": {"s": "!", "uri": "!"}}),
        ),
        (
            "query { c: bucketS3Credentials(bucketId: \"b\", environmentId: \"e\", projectId: \"p\") \
             { accessKeyId key: secretAccessKey } }",
            json!({"c": [{"accessKeyId": "a", "key": "b"}]}),
            json!({"c": [{"accessKeyId": "!", "key": "!"}]}),
        ),
    ] {
        let cleaned = cleaned(&json!({"query": query}), &json!({"data": answer}));
        assert_eq!(cleaned, Ok(json!({"data": expected})), "{query}");
    }
}

#[test]
fn invariant_5_a_field_that_nobody_knows_is_secret_as_a_whole() {
    let document = json!({"query": "query { somethingNew(id: \"p\") { notes } }"});
    let answer = json!({"data": {"somethingNew": {"notes": "plain words"}}});
    let expected = json!({"data": {"somethingNew": {"notes": "!"}}});
    assert_eq!(cleaned(&document, &answer), Ok(expected));
}

#[test]
fn documents_within_texts_are_documents() {
    let query = "query { template(id: \"t\") { serializedConfig } }";
    let inner = json!({"services": {"a": {"variables": {"TOKEN": {"value": "secret"}}}}});
    let answer = json!({"data": {"template": {"serializedConfig": inner.to_string()}}});
    let cleaned = cleaned(&json!({"query": query}), &answer).expect("an answer");
    let text = cleaned["data"]["template"]["serializedConfig"]
        .as_str()
        .expect("a text");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn invariant_3_an_answer_of_another_shape_is_not_passed_on() {
    let document = json!({"query": "query { variables(projectId: \"p\", environmentId: \"e\") }"});
    for answer in [
        json!([]),
        json!("text"),
        json!({}),
        json!({"data": "text"}),
        json!({"data": ["text"]}),
        json!({"data": {"variables": {}, "leaked": "text"}}),
        json!([{"data": {"variables": {}}}]),
    ] {
        // Whatever is let through has no text of the server's in it.
        if let Ok(cleaned) = cleaned(&document, &answer) {
            assert!(!cleaned.to_string().contains("text"), "{answer}: {cleaned}");
        }
    }
    let refused = cleaned(
        &document,
        &json!({"data": null, "errors": [{"message": "no"}]}),
    );
    assert_eq!(
        refused,
        Ok(json!({"data": null, "errors": [{"message": "no"}]}))
    );
    let extended = cleaned(
        &document,
        &json!({"data": {"variables": {"A": "b"}}, "extensions": {"x": "b"}}),
    );
    assert_eq!(extended, Ok(json!({"data": {"variables": {"A": "A?"}}})));
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let batch = json!([
        {"query": "{ me { id } }"},
        {"query": "query { variables(projectId: \"p\", environmentId: \"e\") }"},
    ]);
    let answer = json!([{"data": {"me": {"id": "u"}}}, {"data": {"variables": {"A": "b"}}}]);
    let expected = json!([{"data": {"me": {"id": "u"}}}, {"data": {"variables": {"A": "A?"}}}]);
    assert_eq!(cleaned(&batch, &answer), Ok(expected));
    let swapped = json!([{"data": {"variables": {"A": "b"}}}, {"data": {"me": {"id": "u"}}}]);
    assert_eq!(cleaned(&batch, &swapped), Err(OddAnswer));
}

#[test]
fn a_selection_that_doubles_is_one_secret() {
    let mut query = "query { project(id: \"p\") { ...F0 } }".to_owned();
    for depth in 0..40 {
        query.push_str(&format!(
            " fragment F{depth} on Project {{ ...F{next} ... {{ ...F{next} }} }}",
            next = depth + 1
        ));
    }
    query.push_str(" fragment F40 on Project { id }");
    let secrets = answer_secrets(&canonical(&json!({"query": query}))).expect("secrets");
    assert_eq!(secrets.shapes, [Shape::Secret(SecretPlace::Document)]);
}

proptest! {
    /// No server's bytes make it fail otherwise than by an error, and no text of theirs survives at a
    /// secret place.
    #[test]
    fn any_answer_is_read(answer in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-z]{12}") {
        let document = json!({"query": "mutation { apiTokenCreate(input: {name: \"n\"}) }"});
        let secrets = answer_secrets(&canonical(&document)).expect("secrets");
        let _ = secrets.replaced(&answer, &mut |_, _, _| String::new());
        for answer in [
            json!({"data": {"apiTokenCreate": text}}),
            json!({"data": {"apiTokenCreate": [{"a": text}]}}),
            json!({"apiTokenCreate": text}),
        ] {
            let cleaned = secrets.replaced(answer.to_string().as_bytes(), &mut |_, _, _| String::new());
            let cleaned = cleaned.map(|it| String::from_utf8_lossy(&it).into_owned());
            prop_assert!(!cleaned.unwrap_or_default().contains(&text));
        }
    }
}
