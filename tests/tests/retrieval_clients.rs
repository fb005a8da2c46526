//! Clients beside Pebblo's own loader and chain: LlamaIndex' reader, the example retriever, and one rule for the files of
//! a workspace and for what is retrieved.

use serde_json::{Value, json};
use tagout_tests::retrieval::{Serve, run_python, settings, sha256_hex, token};
use tagout_tests::{Person, World};

const RULE: &str = "@id(\"no-ssn-leaves\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
                    when { resource.labels.contains(\"us-ssn\") };\n";

/// Writes the rule beside the manifest and accepts it, for sessions and for the server.
fn rule(world: &World) {
    world.write("policy.cedar", RULE);
    world
        .tagout(&[
            "trust",
            "--digest",
            &sha256_hex(RULE.as_bytes()),
            "policy.cedar",
        ])
        .success();
    let policy = world.workspace().join("policy.cedar").display().to_string();
    settings(world, &format!("[access]\npolicy = {policy:?}\n"));
}

#[test]
fn the_reader_of_llama_index_is_understood() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    world.write("data.csv", "name,ssn\nAnn Lee,219-09-9999\nBob Ray,none\n");
    let file = world.workspace().join("data.csv").display().to_string();
    let told = run_python("b", "llama.py", &server.url(), &[&file]);
    assert_eq!(
        told["documents"].as_array().map(Vec::len),
        Some(2),
        "{told}"
    );
    // It only warns when it is not understood.
    assert_eq!(told["warnings"], json!([]), "{told}");
    let (status, _, text) = server.ask(
        "GET",
        "/pebblo/report/?app_name=llama-app&format=json",
        &[],
        "",
    );
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(status, 200, "{text}");
    assert_eq!(report["dataSources"][0]["name"], "CSVReader", "{report}");
    assert_eq!(
        report["dataSources"][0]["sourcePath"],
        file.as_str(),
        "{report}"
    );
    assert_eq!(report["reportSummary"]["filesWithFindings"], 1, "{report}");
    assert!(
        text.contains("us-ssn") && !text.contains("219-09-9999"),
        "{report}"
    );
}

#[test]
fn invariant_8_the_example_retriever_hands_on_what_is_allowed() {
    let world = World::new(Person::ordinary());
    rule(&world);
    let server = Serve::start(&world, false);
    let tokens = [
        token("ann", &[]),
        token("bob", &["finance"]),
        token("eve", &[]),
        "no-token".to_owned(),
    ];
    let url = server.url();
    // In front of two stores that take the plan's filter, and of one that takes none.
    for (stack, kind) in [("a", "chroma"), ("b", "qdrant"), ("b", "none")] {
        let mut arguments = vec![kind, &url];
        arguments.extend(tokens.iter().map(String::as_str));
        let told = run_python(stack, "retriever.py", &url, &arguments);
        assert_eq!(told["0"], json!(["Ann likes green tea."]), "{kind}: {told}");
        let bobs = [
            "Bob likes coffee.",
            "The quarterly figures are for the finance department.",
        ];
        assert_eq!(told["1"], json!(bobs), "{kind}: {told}");
        assert_eq!(told["2"], json!([]), "{kind}: {told}");
        assert_eq!(told["3"], json!([]), "{kind}: {told}");
        assert_eq!(told["away"], "ConnectionError", "{kind}: {told}");
    }
}

#[test]
fn invariant_8_one_rule_holds_for_files_and_for_what_is_retrieved() {
    let world = World::new(Person::ordinary());
    let kept = "Ann Lee, 219-09-9999\n";
    let open = "Ann Lee drinks tea.\n";
    world.write("people/ann.txt", kept).write("tea.txt", open);
    rule(&world);

    // Files: the agent finds a note in the place of one, and the other as it is.
    let seen = world
        .run(&[], "cat people/ann.txt tea.txt; grep -r 219-09 . || true")
        .success();
    assert!(
        seen.stdout.contains("no-ssn-leaves") && seen.stdout.contains(open),
        "{seen}"
    );
    assert!(!seen.everything().contains("219-09"), "{seen}");

    // Retrieval: the same texts, from the same folder, for a reader of both.
    let server = Serve::start(&world, false);
    let documents: Vec<Value> = [kept, open]
        .iter()
        .map(|text| json!({"doc": text, "pb_id": "0", "source_path": "/x", "authorized_identities": ["ann"]}))
        .collect();
    let (status, loaded) = server.post("/v1/loader/doc", &json!({
        "name": "app", "owner": "Joe", "docs": documents, "plugin_version": "0.1.1", "load_id": "load",
        "loader_details": {}, "loading_end": true, "source_owner": "joe", "classifier_location": "local",
    }));
    assert_eq!(status, 200, "{loaded}");
    let sums: Vec<Value> = loaded["docs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|document| json!({"id": "x", "pb_checksum": document["pb_checksum"]}))
        .collect();
    let (_, checked) = server.post_as(
        &token("ann", &[]),
        "/v1/retrieval/check",
        &json!({"documents": sums}),
    );
    assert_eq!(
        (
            &checked["results"][0]["allowed"],
            &checked["results"][1]["allowed"]
        ),
        (&json!(false), &json!(true)),
        "{checked}"
    );

    // Without the rule both are there.
    let without = world.workspace().join("policy.cedar");
    std::fs::remove_file(without).expect("the rule");
    let seen = world.run(&[], "cat people/ann.txt").success();
    assert_eq!(seen.stdout, kept, "{seen}");
}
