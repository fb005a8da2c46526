//! `tagout serve` as whoever attacks it: readers in front of the proxy who want what is not theirs, pages of other sites,
//! clients that send what pages show, and a model that answers wrongly or not at all.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tagout_tests::qdrant::{KEY, Qdrant};
use tagout_tests::retrieval::{Serve, ask, raw, settings, token};
use tagout_tests::shielded::{Shielded, point, points};
use tagout_tests::{Person, World};

#[test]
fn invariant_8_no_form_of_a_filter_or_a_request_shows_another_readers_points() {
    let shielded = Shielded::start(&points());
    let ann = token("ann", &[]);
    // A filter of the client's stands beside the plan's, whatever it says.
    let bobs = json!({"key": "metadata.authorized_identities", "match": {"any": ["bob"]}});
    for filter in [
        json!({}),
        json!({"should": [bobs, {"has_id": [2]}]}),
        json!({"must": [bobs]}),
        json!({"must_not": [{"has_id": [1]}]}),
        json!({"should": [{"must": [bobs]}, {"must_not": [bobs]}]}),
        bobs.clone(),
        json!({"should": [], "must": [], "must_not": []}),
        json!({"has_id": [2]}),
    ] {
        for (path, body) in [
            (
                "scroll",
                json!({"filter": filter, "limit": 10, "with_payload": true, "with_vector": true}),
            ),
            (
                "search",
                json!({"vector": [1.0, 0.02], "filter": filter, "limit": 10, "with_payload": true}),
            ),
            (
                "query",
                json!({"query": [1.0, 0.02], "filter": filter, "limit": 10, "with_payload": true}),
            ),
            (
                "search/batch",
                json!({"searches": [{"vector": [1.0, 0.02], "filter": filter, "limit": 10, "with_payload": true}]}),
            ),
            (
                "query/batch",
                json!({"searches": [{"query": [1.0, 0.02], "filter": filter, "limit": 10, "with_payload": true}]}),
            ),
        ] {
            let (_, text) = shielded.ask_as(
                &ann,
                "POST",
                &format!("/collections/docs/points/{path}"),
                &body,
            );
            assert!(
                !text.contains("coffee") && !text.contains("\"id\":2"),
                "{path} {body}: {text}"
            );
        }
    }
    // A member that is there twice is there once when it is sent on: the last, beside the plan's.
    let twice = "{\"limit\":10,\"with_payload\":true,\"filter\":{\"has_id\":[1]},\"filter\":{\"has_id\":[2]},\"\\u0066ilter\":{\"has_id\":[2]}}";
    let authorization = format!("authorization: Bearer {ann}");
    let (_, _, text) = ask(
        shielded.proxy,
        "POST",
        "/collections/docs/points/scroll",
        &[&authorization],
        twice,
    );
    assert!(!text.contains("coffee"), "{text}");

    // Paths that somebody else may read otherwise, and names of other places.
    let before = shielded.store.asked().len();
    for path in [
        "//collections/docs/points/scroll",
        "/collections//docs/points/scroll",
        "/collections/docs/points/scroll/",
        "/collections/docs/points/scroll/../../../docs/points/count",
        "/collections/./docs/points/scroll",
        "/collections/docs%2fpoints%2fscroll",
        "/collections/do%63s/points/scroll",
        "/collections/docs/points/%73croll",
        "/collections/docs/points/scroll;x",
        "/collections/docs/../docs/points/scroll",
        "/COLLECTIONS/docs/points/scroll",
        "/collections/docs\\points\\scroll",
        "/collections/aliases",
        "/collections/docs/points/discover",
        "/collections/docs/points/recommend/batch",
        "/collections/docs/points/search/groups",
        "/collections/docs/points/recommend/groups",
        "/collections/docs/points/query/groups",
        "/collections/docs/points/search/matrix/pairs",
        "/collections/docs/snapshots",
        "/collections/docs/snapshots/upload",
        "/snapshots",
        "/collections/docs/shards",
        "/collections/docs/cluster",
        "/locks",
        "/cluster",
        "/issues",
        "/metrics",
        "/collections/docs/points/batch",
        "/collections/docs/index",
        "http://127.0.0.1:1/collections/docs/points/count",
    ] {
        let body = json!({"limit": 10, "with_payload": true});
        let (status, text) = shielded.ask_as(&ann, "POST", path, &body);
        assert!(matches!(status, 400 | 403 | 421), "{path}: {status} {text}");
        let (status, text) = shielded.ask_as(&ann, "GET", path, &Value::Null);
        assert!(
            matches!(status, 400 | 403 | 404 | 421) && !text.contains("coffee"),
            "{path}: {status} {text}"
        );
    }
    let reached: Vec<_> = shielded.store.asked().split_off(before);
    assert!(
        reached
            .iter()
            .all(|(path, _)| path == "/collections/docs/points"),
        "{reached:?}"
    );
    // Points as examples, in every dress.
    for query in [
        json!(2),
        json!("43cf51e2-8777-4f52-bc74-c2cbde0c8b04"),
        json!({"nearest": 2}),
        json!({"recommend": {"positive": [2]}}),
        json!({"discover": {"target": 2, "context": []}}),
        json!({"context": []}),
        json!({"order_by": "metadata.source"}),
        json!({"sample": "random"}),
        json!({"fusion": "rrf"}),
        json!({"nearest": [1.0, 0.0], "mmr": {"diversity": 1.0}}),
        json!({"text": "coffee", "model": "m"}),
        json!({"indices": {"point": 2}, "values": [1.0]}),
        json!([[2], ["x"]]),
    ] {
        let (status, text) = shielded.ask_as(
            &ann,
            "POST",
            "/collections/docs/points/query",
            &json!({"query": query, "limit": 3}),
        );
        assert_eq!(status, 403, "{query}: {text}");
    }
    // Deep, huge and broken bodies end here.
    let deep = format!(
        "{{\"filter\":{}{}}}",
        "{\"must\":".repeat(5_000),
        "}".repeat(5_000)
    );
    for body in [
        deep.as_str(),
        "[]",
        "",
        "{\"limit\":-1}",
        "{\"limit\":1e9}",
        "{\"limit\":10,\"offset\":{\"a\":1}}",
    ] {
        let (status, _, text) = ask(
            shielded.proxy,
            "POST",
            "/collections/docs/points/scroll",
            &[&authorization],
            body,
        );
        assert!(
            matches!(status, 200 | 400) && !text.contains("coffee"),
            "{body:.40}: {status} {text}"
        );
    }
}

#[test]
fn invariant_8_what_a_payload_says_beside_its_text_is_looked_at_too() {
    // A rule is there only in the policy of the operator; without one only readers count. Here: what recognisers see.
    let world = World::new(Person::ordinary());
    let store = Qdrant::start();
    world.write_home(".local/state/tagout/qdrant.key", KEY);
    let rule = "@id(\"no-ssn-leaves\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
                when { resource.labels.contains(\"us-ssn\") };\n";
    world.write("policy.cedar", rule);
    let digest = tagout_tests::retrieval::sha256_hex(rule.as_bytes());
    world
        .tagout(&["trust", "--digest", &digest, "policy.cedar"])
        .success();
    settings(
        &world,
        &format!(
            "[access]\npolicy = {:?}\n[qdrant]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\napi_key_file = {:?}\nwriters = [\"ingest\"]\n",
            world.workspace().join("policy.cedar").display().to_string(),
            store.address(),
            world.tagout_home().join("qdrant.key").display().to_string(),
        ),
    );
    let server = Serve::start(&world, true);
    let proxy = server.proxy.expect("a proxy");
    let writer = format!("authorization: Bearer {}", token("loader", &["ingest"]));
    let points = json!({"points": [
        point(1, "Nothing.", &["ann"], &json!({"note": "her SSN is 219-09-9999"})),
        point(2, "Nothing.", &["ann"], &json!({"ssn": 219_099_999})),
        point(3, "Nothing.", &["ann"], &json!({"people": [{"social security number": {"value": "219-09-9999"}}]})),
        point(4, "Nothing.", &["ann"], &json!({"219-09-9999": true})),
        point(5, "Open.", &["ann"], &json!({"page": 219, "pebblo_semantic_entities": ["email-address"]})),
        {"id": 6, "vector": [1.0, 0.1], "payload": {"metadata": {"authorized_identities": ["ann"]}, "text": "No text where text should be."}},
        {"id": 7, "vector": [1.0, 0.1], "payload": {"metadata": {"authorized_identities": ["ann"]}, "page_content": ["219-09-9999"]}},
        {"id": 8, "vector": [1.0, 0.1], "payload": null},
    ]});
    for (path, body) in [
        (
            "/collections/docs",
            json!({"vectors": {"size": 2, "distance": "Cosine"}}),
        ),
        ("/collections/docs/points", points),
    ] {
        assert_eq!(
            ask(proxy, "PUT", path, &[&writer], &body.to_string()).0,
            200
        );
    }
    let ann = format!("authorization: Bearer {}", token("ann", &[]));
    let ids = |path: &str, body: Value| -> BTreeSet<u64> {
        let (status, _, text) = ask(proxy, "POST", path, &[&ann], &body.to_string());
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let list = answer["result"]["points"]
            .as_array()
            .or(answer["result"].as_array())
            .cloned()
            .unwrap_or_default();
        assert!(
            list.iter().all(|item| item.get("payload").is_none()),
            "a payload that nobody asked for: {text}"
        );
        list.iter().filter_map(|item| item["id"].as_u64()).collect()
    };
    let only_open = BTreeSet::from([5]);
    // Whoever asks without payloads gets no more points than with.
    assert_eq!(
        ids(
            "/collections/docs/points/scroll",
            json!({"limit": 100, "with_payload": false})
        ),
        only_open
    );
    assert_eq!(
        ids(
            "/collections/docs/points",
            json!({"ids": [1, 2, 3, 4, 5, 6, 7, 8, 5], "with_payload": false})
        ),
        only_open
    );
    assert_eq!(
        ids(
            "/collections/docs/points/query",
            json!({"query": [1.0, 0.1], "limit": 100})
        ),
        only_open
    );
}

#[test]
fn invariant_8_one_readers_requests_never_serve_another() {
    let shielded = Arc::new(Shielded::start(&points()));
    let wrong = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (who, theirs, other) in [
            ("ann", "tea", "coffee"),
            ("bob", "coffee", "tea"),
            ("eve", "nothing", "drinks"),
        ] {
            let (shielded, wrong) = (Arc::clone(&shielded), Arc::clone(&wrong));
            scope.spawn(move || {
                let token = token(who, &[]);
                for _ in 0..40 {
                    let body = json!({"query": [1.0, 0.0], "limit": 10, "with_payload": true});
                    let (_, text) =
                        shielded.ask_as(&token, "POST", "/collections/docs/points/query", &body);
                    let right = !text.contains(other) && (who == "eve" || text.contains(theirs));
                    wrong.fetch_add(usize::from(!right), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn requests_that_servers_frame_differently_are_one_request_or_none() {
    let shielded = Shielded::start(&points());
    let (proxy, ann) = (shielded.proxy, token("ann", &[]));
    let before = shielded.store.asked().len();
    let smuggled = "POST /collections/docs/points/count HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
    let start = format!(
        "POST /collections/docs/points/scroll HTTP/1.1\r\nhost: {proxy}\r\nauthorization: Bearer {ann}\r\nconnection: close\r\n"
    );
    for framing in [
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 0\r\ncontent-length: 70\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "x: y\r\n content-length: 70\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    ] {
        let request = format!("{start}{framing}\r\n0\r\n\r\n{smuggled}");
        let (status, _, text) = raw(proxy, request.as_bytes());
        assert!(
            (400..=415).contains(&status) || status == 0,
            "{framing:?}: {status} {text}"
        );
    }
    // Chunks with what some read past.
    for chunks in [
        "2;x=\"\r\n\r\n\"\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "00000000000000000002\r\n{}x\r\n0\r\n\r\n",
    ] {
        let (status, _, text) = raw(
            proxy,
            format!("{start}transfer-encoding: chunked\r\n\r\n{chunks}{smuggled}").as_bytes(),
        );
        assert!(
            status != 200 || !text.contains("coffee"),
            "{chunks:?}: {status} {text}"
        );
    }
    assert!(
        shielded
            .store
            .asked()
            .iter()
            .skip(before)
            .all(|(path, _)| !path.ends_with("/count"))
    );
    // Two who say who they are.
    let bob = token("bob", &[]);
    for headers in [
        format!("authorization: Bearer {ann}\r\nauthorization: Bearer {bob}\r\n"),
        format!("api-key: {ann}\r\napi-key: {bob}\r\n"),
    ] {
        let request = format!(
            "POST /collections/docs/points/scroll HTTP/1.1\r\nhost: {proxy}\r\n{headers}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(raw(proxy, request.as_bytes()).0, 401);
    }
}

#[test]
fn pages_of_other_sites_get_nothing_through_a_browser() {
    let shielded = Shielded::start(&points());
    let ann = format!("authorization: Bearer {}", token("ann", &[]));
    for (address, path) in [
        (shielded.proxy, "/collections/docs/points/scroll"),
        (shielded.server.address, "/v1/retrieval/plan"),
    ] {
        for headers in [
            // A name server that leads a page's own name here, to whatever port.
            ["host: evil.example", "x: y"],
            [
                "host: evil.example:8000",
                "origin: http://evil.example:8000",
            ],
            ["host: localhost.evil.example", "x: y"],
            ["host: 127.0.0.1.nip.io", "x: y"],
            ["host: 0.0.0.0", "x: y"],
            ["host: [::ffff:127.0.0.1]", "x: y"],
            // A page of another site, or of another port of this machine.
            ["host: localhost", "origin: http://localhost:3000"],
            ["host: localhost", "origin: null"],
            ["host: localhost", "sec-fetch-site: cross-site"],
            ["host: localhost", "sec-fetch-site: same-site"],
        ] {
            let (status, head, text) = ask(
                address,
                "POST",
                path,
                &[headers[0], headers[1], &ann, "content-type: text/plain"],
                "{}",
            );
            assert!(
                matches!(status, 403 | 421),
                "{path} {headers:?}: {status} {text}"
            );
            assert!(!head.contains("access-control-"), "{head}");
        }
        let (status, head, _) = ask(
            address,
            "OPTIONS",
            path,
            &[
                "origin: http://evil.example",
                "access-control-request-method: POST",
            ],
            "",
        );
        assert!(
            status == 403 && !head.contains("access-control-"),
            "{status} {head}"
        );
    }
}

#[test]
fn whatever_clients_send_is_text_on_every_page() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></script><!--";
    let world = World::new(Person::ordinary());
    let server = Serve::start(&world, false);
    let runtime = json!({"host": EVIL, "path": EVIL, "platform": EVIL, "os": EVIL, "os_version": EVIL, "language": EVIL, "language_version": EVIL, "ip": EVIL});
    let chains = json!([{"name": EVIL, "model": {"name": EVIL, "vendor": EVIL},
        "vector_dbs": [{"name": EVIL, "version": EVIL, "location": EVIL, "embedding_model": EVIL}]}]);
    for load in [json!(EVIL), Value::Null] {
        let mut body = json!({"name": EVIL, "owner": EVIL, "description": EVIL, "plugin_version": EVIL, "runtime": runtime, "chains": chains,
            "framework": {"name": EVIL, "version": EVIL}, "client_version": {"name": EVIL, "version": EVIL}});
        if !load.is_null() {
            body["load_id"] = load;
        }
        assert_eq!(server.post("/v1/app/discover", &body).0, 200);
    }
    let loaded = server.post("/v1/loader/doc", &json!({
        "name": EVIL, "owner": EVIL, "plugin_version": EVIL, "load_id": EVIL, "loading_end": true, "source_owner": EVIL,
        "loader_details": {"loader": EVIL, "source_path": EVIL, "source_type": EVIL},
        "docs": [{"doc": format!("{EVIL} SSN 219-09-9999 {EVIL}"), "pb_id": EVIL, "source_path": EVIL, "file_owner": EVIL, "authorized_identities": [EVIL]},
            {"pb_id": "1", "pb_checksum": EVIL, "entities": {EVIL: 1}, "topics": {EVIL: 1}, "source_path": "/x"}],
    }));
    assert_eq!(loaded.0, 200);
    let asked = server.post("/v1/prompt", &json!({
        "name": EVIL, "context": [{"retrieved_from": EVIL, "doc": EVIL, "vector_db": EVIL, "pb_checksum": EVIL}],
        "prompt": {"data": format!("{EVIL} 219-09-9999"), "entities": {EVIL: 1}, "entityCount": 1, "prompt_gov_enabled": true},
        "response": {"data": EVIL}, "prompt_time": EVIL, "user": EVIL, "user_identities": [EVIL], "classifier_location": EVIL,
    }));
    assert_eq!(asked.0, 200);
    let name: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [
        "/pebblo/".to_owned(),
        "/pebblo/safe_retrieval/".to_owned(),
        format!("/pebblo/app/?app_name={name}"),
        format!("/pebblo/safe_retrieval/app/?app_name={name}"),
        format!("/pebblo/not-found/?app_name={name}"),
        format!("/{name}"),
    ] {
        let (_, head, page) = server.ask("GET", &path, &[], "");
        assert!(
            head.contains("content-security-policy: default-src 'none'")
                || head.contains("application/json"),
            "{path}: {head}"
        );
        let lower = page.to_ascii_lowercase();
        if head.contains("text/html") {
            assert_eq!(
                lower.matches("<script").count(),
                1,
                "only the page's own data: {page}"
            );
            assert_eq!(lower.matches("</script").count(), 1, "{page}");
            assert!(
                !lower.contains("<img") && !lower.contains("<!--"),
                "{path}: {page}"
            );
        }
        assert!(
            path.contains("not-found")
                || !head.contains("text/html")
                || lower.contains("&lt;script&gt;"),
            "{path}: {page}"
        );
    }
    let (status, head, report) = server.ask(
        "GET",
        &format!("/pebblo/report/?app_name={name}&format=json"),
        &[],
        "",
    );
    assert!(
        status == 200 && head.contains("application/json") && head.contains("nosniff"),
        "{head}"
    );
    assert!(!report.contains("219-09-9999"), "{report}");
}

/// A model on loopback that answers each request with these bytes and counts them; `None` never answers.
fn model(answer: Option<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            match &answer {
                // Held open: the one who asks has to give up.
                None => held.push(stream),
                Some(answer) => {
                    read_request(&mut stream);
                    // Whoever has heard enough breaks off.
                    let _ = stream.write_all(answer);
                }
            }
        }
    });
    (address, asked)
}

/// Reads a whole request: an answer to half of one could be lost when the connection closes.
fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1);
            let length: usize = length
                .and_then(|rest| rest.lines().next()?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(many @ 1..) => request.extend_from_slice(&piece[..many]),
            _ => return,
        }
    }
}

fn says(status: &str, body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes())
}

/// What a server with this model says about a text: of the loader, whether the text may be released to ann, of the classifier.
fn with_model(address: SocketAddr) -> (u16, bool, u16, Value) {
    let world = World::new(Person::ordinary());
    settings(
        &world,
        &format!(
            "[access]\ndefault_readers = [\"everyone\"]\n[model]\nurl = \"http://{address}/\"\nversion = \"test\"\ntimeout = 1\n",
        ),
    );
    let server = Serve::start(&world, false);
    let text = "Ann keeps 7 sheep";
    let (loaded, _) = server.post("/v1/loader/doc", &json!({
        "name": "app", "owner": "Joe", "docs": [{"doc": text, "pb_id": "0"}], "plugin_version": "0.1.1", "load_id": "load",
        "loader_details": {}, "loading_end": true, "source_owner": "joe", "classifier_location": "local",
    }));
    let (_, checked) = server.post_as(
        &token("ann", &[]),
        "/v1/retrieval/check",
        &json!({"documents": [{"id": "0", "text": text}]}),
    );
    let (classified, labels) = server.post("/api/v1/classify", &json!({"data": text}));
    (
        loaded,
        checked["results"][0]["allowed"] == json!(true),
        classified,
        labels,
    )
}

#[test]
fn invariant_8_a_model_that_fails_releases_nothing() {
    let many: Vec<Value> = (0..10_001)
        .map(|_| json!({"label": "us-ssn", "start": 0, "end": 1}))
        .collect();
    let entity = |entity: Value| says("200 OK", &json!({"entities": [entity]}).to_string());
    for (what, answer) in [
        ("an error", says("500 Internal Server Error", "{}")),
        (
            "a redirect",
            Some(
                b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                    .to_vec(),
            ),
        ),
        ("no JSON", says("200 OK", "<html>")),
        ("another shape", says("200 OK", "[]")),
        (
            "a failure that says it went well",
            says("200 OK", "{\"error\":\"overloaded\"}"),
        ),
        (
            "a place outside",
            entity(json!({"label": "us-ssn", "start": 0, "end": 1000})),
        ),
        (
            "a place backwards",
            entity(json!({"label": "us-ssn", "start": 3, "end": 1})),
        ),
        (
            "a negative place",
            entity(json!({"label": "us-ssn", "start": -1, "end": 1})),
        ),
        (
            "an unknown label",
            entity(json!({"label": "sheep", "start": 0, "end": 1})),
        ),
        (
            "a topic that is markup",
            says("200 OK", "{\"topics\":[{\"label\":\"<b>\"}]}"),
        ),
        (
            "more than is taken",
            says("200 OK", &json!({"entities": many}).to_string()),
        ),
        (
            "more than is read",
            says("200 OK", &format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20))),
        ),
        (
            "half an answer",
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()),
        ),
        ("a word", Some(b"sheep".to_vec())),
        ("silence", None),
    ] {
        let (address, asked) = model(answer);
        let (loaded, allowed, classified, labels) = with_model(address);
        assert_eq!(
            (loaded, allowed, classified),
            (500, false, 500),
            "{what}: {labels}"
        );
        assert!(
            asked.load(Ordering::Relaxed) >= 3,
            "{what}: it was not asked"
        );
        assert!(!labels.to_string().contains("sheep and"), "{labels}");
    }
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that was free");
    let (loaded, allowed, classified, _) = with_model(closed);
    assert_eq!((loaded, allowed, classified), (500, false, 500));
}

#[test]
fn a_model_adds_labels_and_takes_none_away() {
    let body = json!({"entities": [{"label": "us-ssn", "start": 10, "end": 11, "score": 0.9}, {"label": "organization", "start": 0, "end": 3}],
        "topics": [{"label": "farming", "score": 0.7}]});
    let (address, _) = model(says("200 OK", &body.to_string()));
    let (loaded, allowed, classified, labels) = with_model(address);
    assert_eq!((loaded, allowed, classified), (200, true, 200), "{labels}");
    assert_eq!(labels["entities"]["us-ssn"], 1, "{labels}");
    assert_eq!(labels["topics"]["farming"], 1, "{labels}");
    // A place that both name has both labels.
    assert_eq!(labels["entities"]["organization"], 1, "{labels}");
}
