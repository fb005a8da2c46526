//! What is not in the form that a loader or a reader gives it: readers, sources and payloads that could read as
//! nothing, requests that could cost too much, and tokens that could last for ever.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use tagout_tests::retrieval::{Serve, ask, raw, settings, sha256_hex, token};
use tagout_tests::shielded::{Shielded, point, points};
use tagout_tests::{Person, World};

/// Where nobody is named, everybody with a token reads.
const OPEN: &str = "[access]\ndefault_readers = [\"everyone\"]\n";

fn load(documents: &Value) -> Value {
    json!({"name": "app", "owner": "o", "plugin_version": "0.1.1", "load_id": "1", "loading_end": true,
        "loader_details": {"loader": "x", "source_path": "/x", "source_type": "file"}, "source_owner": "o", "docs": documents})
}

fn allowed(answer: &Value) -> Vec<bool> {
    answer["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|item| item["allowed"] == json!(true))
        .collect()
}

/// A world whose operator's policy is `rule`, and the settings that name it.
fn with_rule(rule: &str) -> (World, String) {
    let world = World::new(Person::ordinary());
    world.write("policy.cedar", rule);
    let digest = sha256_hex(rule.as_bytes());
    world
        .tagout(&["trust", "--digest", &digest, "policy.cedar"])
        .success();
    let access = format!(
        "[access]\npolicy = {:?}\ndefault_readers = [\"everyone\"]\n",
        world.workspace().join("policy.cedar").display().to_string()
    );
    (world, access)
}

#[test]
fn invariant_8_readers_in_a_form_that_is_not_known_are_not_nobody() {
    let unknown = [
        json!({"ann": true}),
        json!([{"id": "ann"}]),
        json!([["ann"]]),
        json!(["ann", null]),
        json!(7),
    ];
    // A loader is told; nothing of the batch is kept.
    let world = World::new(Person::ordinary());
    settings(&world, OPEN);
    let server = Serve::start(&world, false);
    for readers in &unknown {
        let documents = json!([
            {"doc": "Everybody's.", "pb_id": "0", "source_path": "/a"},
            {"doc": "Bob's alone.", "pb_id": "1", "source_path": "/b", "authorized_identities": readers},
        ]);
        let (status, answer) = server.post("/v1/loader/doc", &load(&documents));
        assert_eq!(status, 422, "{answer}");
        assert_eq!(
            answer["detail"][0]["loc"],
            json!(["body", "docs", "1", "authorized_identities"])
        );
    }
    // In the store it denies, while what truly names nobody is everybody's.
    let mut stored: Vec<Value> = unknown
        .iter()
        .zip(10..)
        .map(|(readers, id)| {
            let mut point = point(id, "Bob's alone.", &[], &json!({}));
            point["payload"]["metadata"]["authorized_identities"] = readers.clone();
            point
        })
        .collect();
    // Named where nobody looks for them.
    for (id, payload) in [
        (
            30,
            json!({"page_content": "Bob's alone.", "metadata": ["authorized_identities", "bob"]}),
        ),
        (
            31,
            json!({"page_content": "Bob's alone.", "metadata": "bob"}),
        ),
        (
            32,
            json!({"page_content": "Bob's alone.", "authorized_identities": ["bob"]}),
        ),
        (
            33,
            json!({"page_content": "Bob's alone.", "metadata.authorized_identities": ["bob"], "metadata": {}}),
        ),
        (
            34,
            json!({"page_content": "Bob's alone.", "metadata": {"deeper": [{"authorized_identities": ["bob"]}]}}),
        ),
    ] {
        stored.push(json!({"id": id, "vector": [1.0, 0.1], "payload": payload}));
    }
    stored.push(point(1, "Everybody's.", &[], &json!({})));
    stored.push(json!({"id": 2, "vector": [1.0, 0.1], "payload": {"page_content": "Everybody's too.", "metadata": null}}));
    let shielded = Shielded::start_with(OPEN, &json!(stored));
    let ids: Vec<u64> = (1..40).collect();
    let (_, text) = shielded.ask_as(
        &token("ann", &[]),
        "POST",
        "/collections/docs/points",
        &json!({"ids": ids, "with_payload": true}),
    );
    assert!(
        text.contains("Everybody's.") && text.contains("too."),
        "{text}"
    );
    assert!(!text.contains("Bob's"), "{text}");
}

#[test]
fn invariant_8_a_rule_about_a_source_holds_whatever_a_request_says_of_it() {
    let (world, access) = with_rule(
        "@id(\"no-hr\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
         when { resource.source like \"/hr/*\" };\n",
    );
    settings(&world, &access);
    let server = Serve::start(&world, false);
    let documents = json!([
        {"doc": "Of the people.", "pb_id": "0", "source_path": "/hr/a"},
        {"doc": "Of the garden.", "pb_id": "1", "source_path": "/open/b"},
    ]);
    let (_, reply) = server.post("/v1/loader/doc", &load(&documents));
    let sum = |at: usize| reply["docs"][at]["pb_checksum"].clone();
    let question = json!({"documents": [
        {"pb_checksum": sum(0)},
        {"pb_checksum": sum(0), "source": "/open/a"},
        {"text": "Of the people.", "source": "/open/a"},
        {"pb_checksum": sum(1)},
        {"pb_checksum": sum(1), "source": "/hr/b"},
        {"pb_checksum": sum(1), "source": ["/open/b"]},
        {"text": "Never loaded.", "source": "/hr/c"},
        {"text": "Never loaded.", "source": "/open/c"},
    ]});
    let (_, answer) = server.post_as(&token("ann", &[]), "/v1/retrieval/check", &question);
    assert_eq!(
        allowed(&answer),
        [false, false, false, true, false, false, false, true]
    );
}

#[test]
fn invariant_8_a_point_is_judged_by_every_source_that_it_has() {
    let (world, access) = with_rule(
        "@id(\"no-hr\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
         when { resource.source like \"/hr/*\" };\n",
    );
    let stored = json!([
        point(1, "one", &["ann"], &json!({"source": "/open/a"})),
        point(
            2,
            "two",
            &["ann"],
            &json!({"source": "/hr/a", "full_path": "/open/a"})
        ),
        point(
            3,
            "three",
            &["ann"],
            &json!({"source": "/open/a", "full_path": "/hr/a"})
        ),
        point(
            4,
            "four",
            &["ann"],
            &json!({"source": "/hr/a", "full_path": ""})
        ),
        point(
            5,
            "five",
            &["ann"],
            &json!({"source": "/hr/a", "full_path": null})
        ),
        point(6, "six", &["ann"], &json!({"source": ["/hr/a"]})),
        point(
            7,
            "seven",
            &["ann"],
            &json!({"full_path": {"path": "/hr/a"}})
        ),
    ]);
    let shielded = Shielded::start_in(world, &access, &stored);
    assert_eq!(shielded.ids("ann", &[1, 2, 3, 4, 5, 6, 7]), [1]);
}

#[test]
fn invariant_8_what_stands_under_a_loaders_own_names_is_looked_at_where_it_is_not_the_loaders() {
    let (world, access) = with_rule(
        "@id(\"no-ssn\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
         when { resource.labels.contains(\"us-ssn\") };\n",
    );
    let secret = "her SSN is 219-09-9999";
    let stored = json!([
        point(1, "open", &["ann"], &json!({"pb_checksum": "0cc175b9c0f1b6a831c399e269772661",
            "pebblo_semantic_entities": ["us-ssn", "email-address"], "pebblo_semantic_topics": ["medical-advice"]})),
        point(2, "two", &["ann"], &json!({"pb_checksum": secret})),
        point(12, "twelve", &["ann"], &json!({"pb_checksum": "219-09-9999---------------------"})),
        point(13, "thirteen", &["ann"], &json!({"pb_id": "219-09-9999-------------------------"})),
        point(3, "three", &["ann"], &json!({"pb_id": {"ssn": secret}})),
        point(4, "four", &["ann"], &json!({"pebblo_semantic_topics": [secret]})),
        point(5, "five", &["ann"], &json!({"pebblo_semantic_entities": {"us-ssn": secret}})),
        point(6, "six", &["ann"], &json!({"deeper": {"pb_checksum": secret}})),
        point(7, "seven", &["ann"], &json!({"her SSN is 219-09-9999": {"a": 1}})),
        point(8, "eight", &["ann"], &json!({"her SSN is 219-09-9999": []})),
        point(9, "nine", &["ann"], &json!({"her SSN is 219-09-9999": {}})),
        {"id": 10, "vector": [1.0, 0.1], "payload": {"page_content": "ten", "authorized_identities": [secret],
            "metadata": {"authorized_identities": ["ann"]}}},
        // Names of other readers do not leave, so they need not be looked at.
        point(11, "eleven", &["ann", secret], &json!({})),
    ]);
    let shielded = Shielded::start_in(world, &access, &stored);
    let all: Vec<u64> = (1..=13).collect();
    assert_eq!(shielded.ids("ann", &all), [1, 11]);
    let (_, text) = shielded.ask_as(
        &token("ann", &[]),
        "POST",
        "/collections/docs/points",
        &json!({"ids": all, "with_payload": true}),
    );
    assert!(
        text.contains("eleven") && !text.contains("219-09"),
        "{text}"
    );
}

#[test]
fn invariant_8_a_rule_about_topics_holds_for_the_rest_of_a_payload_too() {
    let (world, access) = with_rule(
        "@id(\"no-medicine\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
         when { resource.labels.contains(\"medical-advice\") };\n",
    );
    settings(&world, &access);
    let server = Serve::start(&world, false);
    let text = "The patient should take 20 mg of the medication twice a day after a meal. Consult the doctor \
                about the dosage, the symptoms, the diagnosis and the treatment, and stop the medicine if a rash appears.";
    let (_, answer) = server.post("/api/v1/classify", &json!({"data": text}));
    assert_eq!(
        answer["topics"]
            .as_object()
            .map(|topics| topics.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["medical-advice".to_owned()]),
        "{answer}"
    );
    drop(server);
    let stored = json!([
        point(1, "Nothing.", &["ann"], &json!({})),
        point(2, "Nothing.", &["ann"], &json!({"summary": text})),
    ]);
    let shielded = Shielded::start_in(world, &access, &stored);
    assert_eq!(shielded.ids("ann", &[1, 2]), [1]);
}

#[test]
fn invariant_8_of_an_item_and_of_a_collection_only_what_is_known_leaves() {
    let shielded = Shielded::start(&points());
    let ann = token("ann", &[]);
    let (_, text) = shielded.ask_as(
        &ann,
        "POST",
        "/collections/docs/points/search",
        &json!({"vector": [1.0, 0.0], "limit": 5, "with_payload": true}),
    );
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let item = answer["result"][0].as_object().expect("an item");
    assert_eq!(item["version"], 0, "{text}");
    assert!(!item.contains_key("order_value"), "{text}");
    let (status, text) = shielded.ask_as(&ann, "GET", "/collections/docs", &Value::Null);
    assert_eq!(status, 200);
    assert!(
        text.contains("hnsw_config") && !text.contains("point 2") && !text.contains("loader's"),
        "{text}"
    );
    for path in [
        "/collections/docs/index/..",
        "/collections/docs/index/x%2f..%2f..",
        "/collections/docs/index/%2e%2e",
        "/collections/docs/points/a%00",
    ] {
        let (status, text) =
            shielded.ask_as(&token("loader", &["ingest"]), "DELETE", path, &Value::Null);
        assert_eq!(status, 400, "{path}: {text}");
    }
}

#[test]
fn invariant_8_a_search_that_finds_too_little_says_so() {
    // 150 points that the plan's filter lets through and the text denies, nearer than the one that is allowed.
    let (world, access) = with_rule(
        "@id(\"no-ssn\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
         when { resource.labels.contains(\"us-ssn\") };\n",
    );
    let mut stored: Vec<Value> = (1..=150)
        .map(|id| {
            point(
                id,
                &format!("SSN 219-09-9999 no {id}"),
                &["ann"],
                &json!({}),
            )
        })
        .collect();
    stored.push(point(900, "open", &["ann"], &json!({})));
    let shielded = Shielded::start_in(world, &access, &json!(stored));
    let ask_for = |limit: u64| {
        let (status, text) = shielded.ask_as(
            &token("ann", &[]),
            "POST",
            "/collections/docs/points/search",
            &json!({"vector": [1.0, 0.0], "limit": limit, "with_payload": true}),
        );
        (status, text)
    };
    // It was beyond the sixty-fourfold of one.
    let (status, text) = ask_for(1);
    assert_eq!(status, 200);
    assert!(text.contains("open"), "{text}");
}

#[test]
fn a_check_of_what_is_no_document_is_refused_and_moves_nothing() {
    let world = World::new(Person::ordinary());
    settings(&world, OPEN);
    let server = Serve::start(&world, false);
    let ann = token("ann", &[]);
    for documents in [
        json!(["x", {"id": 1}]),
        json!([{"id": 1}, null]),
        json!({"id": 1}),
    ] {
        let (status, answer) = server.post_as(
            &ann,
            "/v1/retrieval/check",
            &json!({"documents": documents}),
        );
        assert_eq!(status, 422, "{answer}");
    }
    // Nobody's question costs one line, however many documents it has.
    let many = json!({"documents": vec![json!({"text": "a"}); 1000]});
    let (_, answer) = server.post("/v1/retrieval/check", &many);
    assert_eq!(allowed(&answer), vec![false; 1000]);
    let (_, _, page) = server.ask("GET", "/pebblo/safe_retrieval/", &[], "");
    assert_eq!(page.matches("\"channel\":\"check\"").count(), 1, "{page}");
}

#[test]
fn a_document_is_found_by_the_checksum_of_its_anonymised_text() {
    let world = World::new(Person::ordinary());
    settings(&world, "");
    let server = Serve::start(&world, false);
    let mut batch = load(
        &json!([{"doc": "Mail ann@example.com about it.", "pb_id": "0", "source_path": "/a",
        "authorized_identities": ["ann"]}]),
    );
    batch["anonymize_snippets"] = json!(true);
    let (_, reply) = server.post("/v1/loader/doc", &batch);
    let question = json!({"documents": [
        {"pb_checksum": reply["docs"][0]["pb_checksum"]},
        {"text": "Mail ann@example.com about it."},
    ]});
    let (_, answer) = server.post_as(&token("ann", &[]), "/v1/retrieval/check", &question);
    assert_eq!(allowed(&answer), [true, true]);
    let (_, answer) = server.post_as(&token("bob", &[]), "/v1/retrieval/check", &question);
    assert_eq!(allowed(&answer), [false, false]);
}

#[test]
fn invariant_8_a_part_of_a_document_is_for_the_readers_of_the_whole() {
    let world = World::new(Person::ordinary());
    settings(&world, OPEN);
    let server = Serve::start(&world, false);
    let documents = json!([
        {"doc": "Bob's first line. Bob's second line.", "pb_id": "0", "source_path": "/b", "authorized_identities": ["bob"]},
        {"doc": "Everybody's.", "pb_id": "1", "source_path": "/e"},
    ]);
    let (_, reply) = server.post("/v1/loader/doc", &load(&documents));
    let sum = |at: usize| reply["docs"][at]["pb_checksum"].clone();
    let question = json!({"documents": [
        {"text": "Bob's second line.", "pb_checksum": sum(0)},
        {"text": "Bob's first line. Bob's second line.", "pb_checksum": sum(0)},
        {"text": "Bob's first line. Bob's second line.", "pb_checksum": sum(1)},
        {"text": "Everybody's.", "pb_checksum": sum(1)},
        {"text": "Never loaded.", "pb_checksum": "0".repeat(32)},
        {"text": "Never loaded.", "pb_checksum": 7},
        {"text": "Never loaded.", "pb_checksum": null},
    ]});
    let (_, answer) = server.post_as(&token("ann", &[]), "/v1/retrieval/check", &question);
    assert_eq!(
        allowed(&answer),
        [false, false, false, true, false, false, true]
    );
    let (_, answer) = server.post_as(&token("bob", &[]), "/v1/retrieval/check", &question);
    assert_eq!(
        allowed(&answer),
        [true, true, false, true, false, false, true]
    );
}

#[test]
fn announcing_a_large_body_costs_nobody_else_anything() {
    let shielded = Shielded::start(&points());
    let address = shielded.server.address;
    // Without a token nothing of a body is read by the proxy, and too much of it by nobody.
    let (status, _, _) = raw(
        shielded.proxy,
        b"POST /collections/docs/points/search HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33000000\r\n\r\n",
    );
    assert_eq!(status, 401);
    let (status, _, _) = raw(
        address,
        b"POST /v1/app/discover HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000000\r\n\r\n",
    );
    assert_eq!(status, 413);
    let (status, _, _) = raw(
        address,
        b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
    );
    assert_eq!(status, 413);
    // Eight that announce 32 MiB each and send a byte.
    let _waiting: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream
                .write_all(
                    b"POST /v1/loader/doc HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33000000\r\n\r\n{",
                )
                .expect("it reads");
            stream
        })
        .collect();
    let (status, _) = shielded.server.post("/v1/loader/doc", &load(&json!([])));
    assert_eq!(status, 200);
    let (status, _) = shielded.ask_as(
        &token("ann", &[]),
        "POST",
        "/collections/docs/points/search",
        &json!({"vector": [1.0, 0.0], "limit": 1}),
    );
    assert_eq!(status, 200);
}

#[test]
fn large_uploads_at_once_all_arrive() {
    let world = World::new(Person::ordinary());
    settings(&world, "");
    let server = Serve::start(&world, false);
    // Together more than there is room for, and none waits for another that waits for it. Nobody proves anything, so
    // reading is all the work.
    let body = json!({"documents": [{"text": "a word ".repeat(4_000_000)}]});
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| server.post("/v1/retrieval/check", &body).0))
            .collect();
        uploads
            .into_iter()
            .map(|upload| upload.join().expect("an answer"))
            .collect()
    });
    assert_eq!(statuses, [200; 6]);
}

#[test]
fn connections_to_one_port_take_none_from_the_other() {
    let shielded = Shielded::start(&points());
    let idle: Vec<TcpStream> = (0..600)
        .map_while(|_| TcpStream::connect(shielded.server.address).ok())
        .collect();
    assert_eq!(idle.len(), 600);
    for _ in 0..3 {
        let (status, _) = shielded.ask_as(
            &token("ann", &[]),
            "POST",
            "/collections/docs/points/search",
            &json!({"vector": [1.0, 0.0], "limit": 1}),
        );
        assert_eq!(status, 200);
    }
    // Idle connections are closed after ten seconds; these answers did not wait for that.
    let first = idle.first().expect("one");
    first.set_nonblocking(true).expect("a flag");
    let still_open = first.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(still_open, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_body_of_nothing_but_brackets_is_refused_before_it_takes_memory() {
    let world = World::new(Person::ordinary());
    settings(&world, "");
    let server = Serve::start(&world, false);
    let body = format!("{{\"docs\":[{}[]]}}", "[],".repeat(2_000_000));
    let (status, _, text) = server.ask("POST", "/v1/loader/doc", &[], &body);
    assert_eq!(status, 422, "{text}");
    assert!(text.contains("smaller batches"), "{text}");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("a peak");
    // The body is 6 MB; parsed it would be hundreds.
    assert!(peak < 120_000, "{peak} kB");
}

#[test]
fn a_reader_who_asks_without_end_is_told_when_to_ask_again() {
    let shielded = Shielded::start(&points());
    let authorization = format!("authorization: Bearer {}", token("ann", &[]));
    let mut seen = None;
    for _ in 0..20_000 {
        let (status, head, _) = ask(
            shielded.proxy,
            "POST",
            "/collections/docs/points/count",
            &[&authorization],
            "{}",
        );
        if status == 429 {
            seen = Some(head);
            break;
        }
    }
    let head = seen.expect("a limit").to_ascii_lowercase();
    assert!(head.contains("retry-after: 1"), "{head}");
    // Another one is not made to wait.
    let (status, _) = shielded.ask_as(
        &token("bob", &[]),
        "POST",
        "/collections/docs/points/search",
        &json!({"vector": [1.0, 0.0], "limit": 1}),
    );
    assert_eq!(status, 200);
}
