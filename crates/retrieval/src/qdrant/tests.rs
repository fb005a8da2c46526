//! What a request may look like; the end-to-end tests ask the proxy in front of a store.

use super::points::as_asked;
use super::requests::{is_name, is_named_vector, is_vector, parent, segments};
use serde_json::{Map, Value, json};

#[test]
fn only_vectors_are_queries() {
    for query in [
        json!([0.1, 2]),
        json!({"nearest": [1.0]}),
        json!({"indices": [1], "values": [0.5]}),
        json!([[0.1], [0.2]]),
    ] {
        assert!(is_vector(&query), "{query}");
    }
    for query in [
        json!(7),
        json!("43cf51e2-8777-4f52-bc74-c2cbde0c8b04"),
        json!({"recommend": {"positive": [1]}}),
        json!({"nearest": 7}),
        json!({"nearest": [1.0], "mmr": {}}),
        json!({"fusion": "rrf"}),
        json!([["a"]]),
        json!({"formula": {}}),
        json!({"indices": {"lookup": 7}, "values": [1.0]}),
    ] {
        assert!(!is_vector(&query), "{query}");
    }
    assert!(is_named_vector(&json!({"name": "text", "vector": [1.0]})));
    assert!(!is_named_vector(&json!({"name": "text", "vector": 7})));
}

#[test]
fn a_payload_is_what_was_asked_for() {
    let item = json!({"id": 1, "payload": {"page_content": "x", "metadata": {"a": 1}}});
    let shown = |with: Value| {
        let body = Map::from_iter([("with_payload".to_owned(), with)]);
        as_asked(item.clone(), &body).get("payload").cloned()
    };
    assert_eq!(shown(json!(false)), None);
    assert_eq!(shown(json!(true)), item.get("payload").cloned());
    assert_eq!(
        shown(json!(["metadata.a"])),
        Some(json!({"metadata": {"a": 1}}))
    );
    assert_eq!(
        shown(json!({"exclude": ["metadata"]})),
        Some(json!({"page_content": "x"}))
    );
    assert_eq!(as_asked(item, &Map::new()).get("payload"), None);
}

#[test]
fn names_stay_one_segment() {
    for name in ["docs", "my.docs-1"] {
        assert!(is_name(name));
    }
    for name in ["", ".", "..", "a%2Fb", "a b", "a?x", "a\\b"] {
        assert!(!is_name(name), "{name}");
    }
    assert_eq!(parent("/collections/c/points/7", 2), "/collections/c");
    for path in [
        "//collections/c",
        "/collections//points",
        "/collections/c/",
        "/collections/c/points//scroll",
    ] {
        assert!(segments(path).is_err(), "{path}");
    }
    assert_eq!(
        segments("/collections/c").ok(),
        Some(vec!["collections", "c"])
    );
    assert_eq!(segments("/").ok(), Some(Vec::new()));
}
