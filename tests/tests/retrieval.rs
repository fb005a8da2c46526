//! `tagout serve` with the real clients of Pebblo, and as whoever attacks it.

use serde_json::{Value, json};
use tagout_tests::qdrant::{KEY, Qdrant};
use tagout_tests::retrieval::{Serve, ask, run_python, settings, token};
use tagout_tests::{Person, World, for_each_person};

const CSV: &str = "name,ssn,email\nAnn Lee,219-09-9999,ann@example.com\nBob Ray,,bob@example.org\n";

fn csv(world: &World) -> String {
    world.write("data.csv", CSV);
    world.workspace().join("data.csv").display().to_string()
}

fn discover(server: &Serve, name: &str) {
    let (status, _) = server.post(
        "/v1/app/discover",
        &json!({
            "name": name, "owner": "Joe", "load_id": "load", "plugin_version": "0.1.1",
            "runtime": {"host": "h", "path": "/", "platform": "p", "os": "Linux", "os_version": "6",
                "language": "python", "language_version": "3"},
            "framework": {"name": "langchain", "version": "0.3"},
        }),
    );
    assert_eq!(status, 200);
}

fn batch(name: &str, documents: &Value, end: bool) -> Value {
    json!({
        "name": name, "owner": "Joe", "docs": documents, "plugin_version": "0.1.1", "load_id": "load",
        "loader_details": {"loader": "CSVLoader", "source_path": null, "source_type": "file"},
        "loading_end": end, "source_owner": "joe", "classifier_location": "local",
    })
}

for_each_person! {
    /// The snippet that users have, unchanged.
    fn the_seed_snippet_runs_unchanged(person: Person) {
        let world = World::new(person);
        let server = Serve::start(&world, false);
        let told = run_python("a", "seed.py", &server.url(), &[&csv(&world)]);
        let documents = told["documents"].as_array().expect("documents");
        assert_eq!(documents.len(), 2, "{told}");
        assert_eq!(documents[0]["pebblo_semantic_entities"], json!(["us-ssn", "email-address", "person-name"]));
        assert_eq!(documents[0]["pb_checksum"], "adf752f59b326b9ecc2c3cdbbdc7fdac");
        // The text is the loader's own.
        assert_eq!(documents[0]["text"], "name: Ann Lee\nssn: 219-09-9999\nemail: ann@example.com");
        assert_eq!(told["found"], 2);

        let (status, _, text) = server.ask("GET", "/pebblo/report/?app_name=acme-corp-rag&format=json", &[], "");
        let report: Value = serde_json::from_str(&text).expect("a report");
        assert_eq!((status, &report["reportSummary"]["findingsEntities"]), (200, &json!(5)), "{report}");
        assert_eq!(report["loadHistory"]["history"][0]["findings"], 5);
        assert!(!text.contains("219-09-9999"), "a snippet is not redacted: {text}");
        let (_, head, pdf) = server.ask("GET", "/pebblo/report/?app_name=acme-corp-rag", &[], "");
        assert!(head.contains("application/pdf") && pdf.starts_with("%PDF-"), "{head}");
        let (_, head, page) = server.ask("GET", "/pebblo/app/?app_name=acme-corp-rag", &[], "");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(page.contains("us-ssn") && !page.contains("219-09-9999"), "{page}");
    }
}

#[test]
fn the_loader_runs_lazily_and_with_the_last_version_of_its_library() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    let file = csv(&world);
    for (stack, arguments) in [
        ("a", vec![file.as_str(), "lazy"]),
        ("b", vec![file.as_str()]),
    ] {
        let told = run_python(stack, "loader.py", &server.url(), &arguments);
        assert_eq!(
            told[0]["pebblo_semantic_entities"][0], "us-ssn",
            "{stack}: {told}"
        );
        assert_eq!(
            told[1]["pebblo_semantic_entities"][0], "email-address",
            "{stack}: {told}"
        );
    }
}

#[test]
fn the_full_client_runs_unchanged_on_a_store_of_its_own() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    for stack in ["a", "b"] {
        let told = run_python(stack, "qa.py", &server.url(), &[":memory:", "w", "a"]);
        assert_eq!(
            told["labels"][0],
            json!(["us-ssn", "person-name"]),
            "{told}"
        );
        assert_eq!(told["ann"].as_array().map(Vec::len), Some(2), "{told}");
        // The client's own fault: without a context it returns everything.
        assert_eq!(
            told["ann without context"].as_array().map(Vec::len),
            Some(3),
            "{told}"
        );
        assert_eq!(told["deny"].as_array().map(Vec::len), Some(1), "{told}");
    }
    let (_, _, page) = server.ask("GET", "/pebblo/safe_retrieval/", &[], "");
    assert!(
        page.contains("what do they drink") && !page.contains("219-09-9999"),
        "{page}"
    );
}

for_each_person! {
    /// In front of a store, the same client gets what its token proves, whatever it claims or forgets.
    fn invariant_8_behind_the_proxy_a_client_that_forgets_gets_nothing(person: Person) {
        let world = World::new(person);
        let store = Qdrant::start();
        world.write_home(".local/state/tagout/qdrant.key", KEY);
        let policy = world.workspace().join("policy.cedar");
        let text = "@id(\"no-ssn-leaves\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
                    when { resource.labels.contains(\"us-ssn\") };\n";
        world.write("policy.cedar", text);
        settings(&world, &format!(
            "[access]\npolicy = {:?}\n[qdrant]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\napi_key_file = {:?}\nwriters = [\"ingest\"]\n",
            policy.display().to_string(), store.address(), world.tagout_home().join("qdrant.key").display().to_string(),
        ));
        // Nobody accepted the policy yet.
        let refused = world.tagout(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(refused.status == 1 && refused.stderr.contains("tagout trust"), "{refused}");
        let digest = tagout_tests::retrieval::sha256_hex(text.as_bytes());
        world.tagout(&["trust", "--digest", &digest, "policy.cedar"]).success();

        let server = Serve::start(&world, true);
        let proxy = server.proxy.expect("a proxy");
        let (writer, ann, bob) = (token("loader", &["ingest"]), token("ann", &[]), token("bob", &[]));
        let told = run_python("a", "qa.py", &server.url(), &[&format!("http://{proxy}"), &writer, &ann, &bob, "no-token"]);
        let tea = json!(["Ann likes green tea in the morning and black tea in the evening."]);
        let coffee = json!(["Bob likes coffee at any time of the day and never tea."]);
        assert_eq!(told["ann"], tea, "{told}");
        assert_eq!(told["ann without context"], tea, "{told}");
        // Bob claims to be ann: what is left of both filters is nothing. Without the claim he is himself.
        assert_eq!(told["bob"], json!([]), "{told}");
        assert_eq!(told["bob without context"], coffee, "{told}");
        assert_eq!(told["nobody"], "UnexpectedResponse", "{told}");
        assert_eq!(told["nobody without context"], "UnexpectedResponse", "{told}");
        assert_eq!(store.refused(), 0);
        let searches: Vec<_> = store.asked().into_iter()
            .filter(|(path, _)| path.ends_with("/search") || path.ends_with("/query")).collect();
        assert!(!searches.is_empty());
        for (path, body) in &searches {
            assert!(body["filter"].to_string().contains("authorized_identities"), "{path} {body}");
        }

        let as_ann = format!("authorization: Bearer {ann}");
        let get = |method: &str, path: &str, body: Value| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            ask(proxy, method, path, &[&as_ann], &body)
        };
        // By id, by page, by batch: the same.
        let (_, _, page) = get("POST", "/collections/docs/points/scroll", json!({"limit": 100, "with_payload": true}));
        let page: Value = serde_json::from_str(&page).expect("a page");
        assert_eq!(page["result"]["points"].as_array().map(Vec::len), Some(1), "{page}");
        assert_eq!(page["result"]["next_page_offset"], Value::Null);
        let all: Vec<Value> = store.asked().iter().filter(|(path, _)| path.ends_with("/points"))
            .flat_map(|(_, body)| body["points"].as_array().cloned().unwrap_or_default())
            .map(|point| point["id"].clone()).collect();
        let (_, _, by_id) = get("POST", "/collections/docs/points", json!({"ids": all}));
        assert!(by_id.contains("green tea") && !by_id.contains("coffee") && !by_id.contains("219-09"), "{by_id}");
        let (_, _, about) = get("GET", "/collections/docs", Value::Null);
        assert!(about.contains("Cosine") && !about.contains("points_count"), "{about}");
        for (method, path, body) in [
            ("POST", "/collections/docs/points/count", json!({"exact": true})),
            ("POST", "/collections/docs/facet", json!({"key": "metadata.source"})),
            ("POST", "/collections/docs/points/recommend", json!({"positive": [all[0]], "limit": 3})),
            ("POST", "/collections/docs/points/query", json!({"query": all[0], "limit": 3})),
            ("POST", "/collections/docs/points/query", json!({"prefetch": [{"query": [1.0]}], "query": [1.0]})),
            ("POST", "/collections/docs/points/query/groups", json!({"query": [1.0], "group_by": "x"})),
            ("POST", "/collections/docs/points/query", json!({"query": [1.0], "lookup_from": {"collection": "other"}})),
            ("PUT", "/collections/docs/points", json!({"points": []})),
            ("POST", "/collections/docs/points/payload", json!({"payload": {}, "points": [1]})),
            ("DELETE", "/collections/docs", Value::Null),
            ("PUT", "/collections/docs%2F..%2Fx", json!({})),
            ("GET", "/collections/docs/snapshots", Value::Null),
            ("GET", "/telemetry", Value::Null),
            ("POST", "/collections/docs/points/scroll", json!({"limit": 0})),
        ] {
            let (status, _, text) = get(method, path, body);
            assert!(matches!(status, 400 | 403), "{method} {path}: {status} {text}");
        }
        let (_, _, page) = server.ask("GET", "/pebblo/safe_retrieval/", &[], "");
        assert!(page.contains("no-ssn-leaves"), "no violation is shown: {page}");
    }
}

#[test]
fn invariant_8_who_may_retrieve_is_told_by_a_token_alone() {
    let world = World::new(Person::ordinary());
    settings(&world, "");
    let server = Serve::start(&world, false);
    discover(&server, "app");
    let documents = json!([
        {"doc": "Ann drinks tea.", "pb_id": "0", "source_path": "/a", "authorized_identities": ["ann"]},
        {"doc": "Nobody said who may read this.", "pb_id": "1", "source_path": "/b"},
        {"doc": "For all of finance.", "pb_id": "2", "source_path": "/c", "authorized_identities": ["finance"]},
    ]);
    let (_, reply) = server.post("/v1/loader/doc", &batch("app", &documents, true));
    let checksums: Vec<Value> = reply["docs"]
        .as_array()
        .expect("documents")
        .iter()
        .map(|document| document["pb_checksum"].clone())
        .collect();
    let question = json!({
        // What a body claims counts for nothing.
        "user": "ann", "auth_context": {"user_auth": ["ann"]}, "authorized_identities": ["ann"],
        "documents": checksums.iter().map(|sum| json!({"id": sum, "pb_checksum": sum, "authorized_identities": ["bob"]}))
            .chain([json!({"id": "x", "pb_checksum": "0".repeat(32)}), json!({"id": "y"}),
                json!({"id": "z", "text": "Ann drinks tea."}), json!({"id": "w", "text": "Never loaded."})])
            .collect::<Vec<_>>(),
    });
    let allowed = |answer: Value| -> Vec<bool> {
        answer["results"]
            .as_array()
            .expect("results")
            .iter()
            .map(|item| item["allowed"] == json!(true))
            .collect()
    };
    let (_, nobody) = server.post("/v1/retrieval/check", &question);
    assert_eq!(allowed(nobody), [false; 7]);
    let (_, ann) = server.post_as(&token("ann", &[]), "/v1/retrieval/check", &question);
    assert_eq!(
        allowed(ann),
        [true, false, false, false, false, true, false]
    );
    let (_, eve) = server.post_as(
        &token("eve", &["finance"]),
        "/v1/retrieval/check",
        &question,
    );
    assert_eq!(
        allowed(eve),
        [false, false, true, false, false, false, false]
    );
    let (_, plan) = server.post("/v1/retrieval/plan", &json!({"user": "ann"}));
    assert_eq!(plan["decision"], "none");
    let (_, plan) = server.post_as(
        &token("ann", &["x"]),
        "/v1/retrieval/plan",
        &json!({"store": "qdrant"}),
    );
    assert_eq!(plan["decision"], "some", "{plan}");
    assert_eq!(
        plan["filters"].as_object().map(serde_json::Map::len),
        Some(1)
    );
    // Revoked at the source, and gone at the next request.
    let documents = json!([{"doc": "Ann drinks tea.", "pb_id": "0", "source_path": "/a", "authorized_identities": ["bob"]}]);
    server.post("/v1/loader/doc", &batch("app", &documents, true));
    let (_, ann) = server.post_as(&token("ann", &[]), "/v1/retrieval/check", &question);
    assert_eq!(allowed(ann), [false; 7]);
}

#[test]
fn replies_are_what_clients_can_read() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    // Before anybody discovered, without ids, with nulls, with what is no text: still usable.
    let documents = json!([
        {"doc": "SSN 219-09-9999", "source_path": null, "file_owner": null},
        {"doc": null, "pb_id": "7"},
        {"doc": "x", "pb_id": 3, "extra": {}},
        {"doc": "SSN 219-09-9998", "pb_id": "0"}, {"doc": "same", "pb_id": "0"},
    ]);
    let (status, reply) = server.post(
        "/v1/loader/doc",
        &batch("never discovered", &documents, false),
    );
    assert_eq!(status, 200, "{reply}");
    let docs = reply["docs"].as_array().expect("documents");
    let ids: Vec<&Value> = docs.iter().map(|document| &document["pb_id"]).collect();
    assert_eq!(
        ids,
        [
            &Value::Null,
            &json!("7"),
            &json!(3),
            &json!("0"),
            &json!("0")
        ]
    );
    assert!(docs.iter().all(|document| {
        document["pb_checksum"]
            .as_str()
            .is_some_and(|sum| sum.len() == 32)
    }));
    assert!(!reply.to_string().contains("null"), "{reply}");
    // The next batch has its own documents only.
    let (_, reply) = server.post(
        "/v1/loader/doc",
        &batch(
            "never discovered",
            &json!([{"doc": "b", "pb_id": "0"}]),
            false,
        ),
    );
    assert_eq!(reply["docs"].as_array().map(Vec::len), Some(1));

    let (status, reply) = server.post(
        "/v1/prompt/governance",
        &json!({"prompt": "my ssn is 219-09-9999"}),
    );
    assert_eq!(
        (status, &reply["entities"]["us-ssn"], &reply["entityCount"]),
        (200, &json!(1), &json!(1))
    );
    let (status, reply) = server.post("/v1/prompt", &json!({
        "name": "app", "context": [{"retrieved_from": null, "doc": "SSN 219-09-9999", "vector_db": "Qdrant"}],
        "prompt": null, "response": null, "prompt_time": "2024-01-01T00:00:00", "user": "unknown", "classifier_location": "local",
    }));
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["retrieval_data"]["prompt"]["entities"], json!({}));
    // The cloud copy of a client has labels and no text.
    let copy = json!([{"pb_id": "0", "pb_checksum": "0".repeat(32), "entities": {"us-ssn": 2}, "topics": {}}]);
    let (_, reply) = server.post("/v1/loader/doc", &batch("copy", &copy, true));
    assert_eq!(
        (
            &reply["docs"][0]["entity_count"],
            &reply["docs"][0]["pb_checksum"]
        ),
        (&json!(2), &json!("0".repeat(32)))
    );
    for (path, body) in [
        ("/v1/app/discover", json!({"owner": ""})),
        ("/v1/loader/doc", json!({})),
        ("/v1/prompt", json!({})),
        ("/v1/prompt/governance", json!({"prompt": 7})),
        ("/api/v1/classify", json!({"data": "x", "other": 1})),
        ("/v1/app/discover", json!([])),
    ] {
        let (status, reply) = server.post(path, &body);
        assert_eq!(status, 422, "{path}: {reply}");
        assert!(
            reply["detail"][0]["loc"][0] == "body" && reply["detail"][0]["msg"].is_string(),
            "{reply}"
        );
    }
    let (status, reply) = server.post("/api/v1/classify", &json!({"data": ""}));
    assert_eq!(
        (status, reply),
        (400, json!({"error": "Input data is missing"}))
    );
    let form = "--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.txt\"\r\n\r\nSSN 219-09-9999\r\n--b--\r\n";
    let (status, _, text) = server.ask(
        "POST",
        "/tools/document_report",
        &["content-type: multipart/form-data; boundary=b"],
        form,
    );
    assert!(
        status == 200 && text.contains("us-ssn") && !text.contains("219-09-9999"),
        "{text}"
    );
}

#[test]
fn names_are_keys_and_strangers_get_nothing() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    let before = listing(&world);
    for name in [
        "../x",
        "/etc/passwd",
        "a/b",
        "..",
        "%2e%2e",
        "<script>alert(1)</script>",
        "\u{202E}x",
    ] {
        discover(&server, name);
        server.post(
            "/v1/loader/doc",
            &batch(
                name,
                &json!([{"doc": "SSN 219-09-9999", "pb_id": "0", "source_path": name}]),
                true,
            ),
        );
    }
    assert_eq!(before, listing(&world), "a name became a path");
    let (_, _, page) = server.ask("GET", "/pebblo/", &[], "");
    assert!(!page.contains("<script>alert"), "{page}");
    for (name, wanted) in [("nul\0", 422), (&*"x".repeat(10_000), 422), ("", 400)] {
        let (status, _) = server.post("/v1/app/discover", &json!({
            "name": name, "owner": "", "plugin_version": "1",
            "runtime": {"host": "", "path": "", "platform": "", "os": "", "os_version": "", "language": "", "language_version": ""},
            "framework": {"name": "", "version": ""},
        }));
        assert_eq!(status, wanted, "{name:?}");
    }
    let delete = "/pebblo/app/delete/?app_name=..%2Fx";
    assert_eq!(server.ask("DELETE", delete, &[], "").0, 401);
    let token =
        std::fs::read_to_string(world.tagout_home().join("retrieval-token")).expect("a token");
    let header = format!("x-tagout-token: {token}");
    let (status, _, text) = server.ask("DELETE", delete, &[&header], "");
    assert!(
        status == 200 && text.contains("\"status_code\":200"),
        "{text}"
    );
    assert!(
        server
            .ask("DELETE", delete, &[&header], "")
            .2
            .contains("\"status_code\":404")
    );
    // Pages of other sites, and names that lead here.
    assert_eq!(
        server
            .ask(
                "POST",
                "/v1/prompt/governance",
                &["origin: http://evil.example"],
                "{}"
            )
            .0,
        403
    );
    assert_eq!(
        server.ask("GET", "/pebblo/", &["host: evil.example"], "").0,
        421
    );
    let (_, head, _) = server.ask("POST", "/v1/prompt/governance", &[], "{\"prompt\":\"\"}");
    assert!(!head.contains("access-control-allow"), "{head}");
    let (status, head, _) = server.ask("GET", "/nowhere", &[], "");
    assert!(status == 404 && head.contains("application/json"), "{head}");
    // Too large, too deep, compressed, no JSON.
    assert_eq!(
        server
            .ask(
                "POST",
                "/v1/loader/doc",
                &["content-length: 99999999999"],
                ""
            )
            .0,
        400
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.ask("POST", "/v1/loader/doc", &[], &deep).0, 422);
    assert_eq!(
        server
            .ask("POST", "/v1/loader/doc", &["content-encoding: gzip"], "x")
            .0,
        415
    );
    assert_eq!(server.ask("GET", "/health", &[], "").0, 200);
}

#[test]
fn memory_stays_flat_over_batches() {
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    let send = |from: u64, to: u64| {
        for number in from..to {
            let documents: Vec<Value> = (0..10).map(|place| json!({
                "doc": format!("Row {number} {place}: SSN 219-09-{:04}, {}", 1 + number % 9000, "words ".repeat(100)),
                "pb_id": place.to_string(), "source_path": format!("/data/{}.csv", number % 50),
            })).collect();
            let (status, _) =
                server.post("/v1/loader/doc", &batch("flat", &json!(documents), false));
            assert_eq!(status, 200);
        }
    };
    let resident = || -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    send(0, 100);
    let early = resident();
    // `cargo xtask bench retrieval` sends a hundred thousand.
    send(100, 400);
    let late = resident();
    assert!(late < early + 8 * 1024, "{early} kB became {late} kB");
    assert!(late < 80 * 1024, "{late} kB");
}

fn listing(world: &World) -> Vec<String> {
    let mut names = Vec::new();
    for folder in [world.tagout_home(), world.home(), world.workspace()] {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("labels.sqlite") {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}
