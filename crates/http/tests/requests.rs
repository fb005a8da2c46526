//! Requests through the gate, from a client's raw octets to an origin's, with a real authority in
//! between.

#[allow(dead_code)]
mod world;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::authority::{DECOY, SECRET};
use world::{
    HOST, OPAQUE, STRANGER, World, get, known, post, read_answer, read_line, read_next_answer,
};

use tagout_net::Destination;

#[tokio::test]
async fn invariant_6_the_origin_gets_the_canonical_form() {
    let world = World::start().await;
    let request = format!(
        "POST /a/../%62?q=%41 HTTP/1.1\r\nhOsT: {HOST}:443\r\nX-B:  2 \r\nTE: trailers\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
    );
    let answer = world.ask(&request).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(
        world.origin.last(),
        format!(
            "POST /b?q=A HTTP/1.1\r\nhost: {HOST}\r\nx-b: 2\r\naccept-encoding: identity\r\n\
             content-length: 3\r\n\r\nabc"
        )
    );
}

#[tokio::test]
async fn invariant_6_requests_that_servers_read_differently_are_refused_and_nothing_is_dialled() {
    let world = World::start().await;
    let host = format!("Host: {HOST}\r\n");
    for request in [
        format!(
            "POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!(
            "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n4;x\r\nabcd\r\n0\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
        format!("GET / HTTP/1.1\nHost: {HOST}\n\n"),
        format!("GET / HTTP/1.1\r\n{host}Content-Length : 0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}Host: {HOST}\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n"),
        format!("GET https://evil.example/ HTTP/1.1\r\n{host}\r\n"),
        format!("GET https://{HOST}@evil.example/ HTTP/1.1\r\n{host}\r\n"),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\n{host}\r\n"),
        format!("TRACE / HTTP/1.1\r\n{host}\r\n"),
        format!("get / HTTP/1.1\r\n{host}\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /a//b HTTP/1.1\r\n{host}\r\n"),
        format!("GET /%2e%2e/b HTTP/1.1\r\n{host}\r\n"),
        format!("GET /a\\b HTTP/1.1\r\n{host}\r\n"),
        format!("GET /%00 HTTP/1.1\r\n{host}\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        format!(
            "POST / HTTP/1.1\r\n{host}Content-Encoding: br, gzip\r\nContent-Length: 1\r\n\r\nx"
        ),
        format!(
            "POST / HTTP/1.1\r\n{host}Content-Encoding: compress\r\nContent-Length: 1\r\n\r\nx"
        ),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(200)),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(70_000)),
    ] {
        let shown = &request[..request.len().min(90)];
        let answer = world.ask(&request).await;
        assert_eq!(answer.status, 403, "{shown:?}");
        assert_eq!(answer.refusal()["error"], "tagout_denied", "{shown:?}");
        assert!(answer.head.contains("connection: close"), "{shown:?}");
    }
    let upgrade =
        format!("GET / HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let answer = world.ask(&upgrade).await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.refusal()["error"], "tagout_denied");
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn requests_on_one_connection_share_one_upstream_and_keep_their_order() {
    let world = World::start().await;
    let mut stream = world.tls().await;
    // All at once: a client may send before it was answered, and the second must not be lost.
    let both = format!("{}{}", get("/1"), post("/2", "", "two"));
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    for _ in 0..2 {
        let answer = read_next_answer(&mut stream, &mut buffer).await;
        assert_eq!(answer.text(), "hello");
    }
    let denied = format!(
        "POST /3 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer foreign-token-123\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(denied.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 403);
    assert_eq!(*world.origin.connections.lock().unwrap(), 1);
    assert_eq!(world.origin.count(), 2);
}

#[tokio::test]
async fn invariant_1_a_host_that_is_not_granted_is_refused_legibly() {
    let world = World::start().await;
    let stream = world.connect(Destination::Unknown, 443).await;
    let mut tls = world.handshake(stream, STRANGER).await.unwrap();
    let request = format!("GET /x HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut tls).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.refusal()["reason"]
            .as_str()
            .unwrap()
            .contains(STRANGER)
    );

    let mut stream = world.connect(Destination::Unknown, 80).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(
        answer.refusal()["reason"]
            .as_str()
            .unwrap()
            .contains(STRANGER)
    );

    // A client that trusts other roots than the session's fails, and the ledger says why.
    let stream = world.connect(known(HOST), 443).await;
    assert!(world.handshake_with_origin(stream, HOST).await.is_err());
    let failed = world.authority.wait_for("handshake", 1).await;
    assert!(
        failed[0]["error"].as_str().unwrap().contains("UnknownCA"),
        "{failed:?}"
    );

    // A granted name on the address of the others is still the wrong address.
    let stream = world.connect(Destination::Unknown, 443).await;
    let mut tls = world.handshake(stream, HOST).await.unwrap();
    tls.write_all(get("/x").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tls).await.status, 403);

    let mut stream = world.connect(Destination::Unknown, 80).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 403);
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn invariant_6_another_server_name_ends_the_handshake() {
    let world = World::start().await;
    for name in [STRANGER, OPAQUE] {
        let stream = world.connect(known(HOST), 443).await;
        assert!(world.handshake(stream, name).await.is_err(), "{name}");
    }
    let mut stream = world.connect(known(HOST), 443).await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 403, "plain text on port 443");
    let faults: Vec<_> = world
        .authority
        .wait_for("verdict", 3)
        .await
        .into_iter()
        .map(|fields| fields["faults"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        faults,
        ["authority_mismatch", "authority_mismatch", "unparsable"]
    );
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn plain_http_works_where_it_is_granted() {
    let world = World::start().await;
    let mut stream = world.connect(known(HOST), 80).await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.text(), "hello");
    let request = post("/", &format!("Authorization: Bearer {DECOY}\r\n"), "");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(
        read_answer(&mut stream).await.status,
        403,
        "no credential in the clear"
    );
}

#[tokio::test]
async fn a_host_that_is_passed_through_answers_for_itself() {
    let world = World::start().await;
    let stream = world.connect(known(OPAQUE), 443).await;
    let mut tls = world.handshake_with_origin(stream, OPAQUE).await.unwrap();
    let request = format!("GET /a//b HTTP/1.1\r\nHost: {OPAQUE}\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tls).await.text(), "hello");
    assert!(world.origin.last().starts_with("GET /a//b "));
}

#[tokio::test]
async fn invariant_3_attached_values_do_not_come_back() {
    let world = World::start().await;
    let answer = world
        .ask(&post(
            "/echo",
            &format!("Authorization: Bearer {DECOY}\r\n"),
            "x",
        ))
        .await;
    assert!(
        world
            .origin
            .last()
            .contains(&format!("authorization: Bearer {SECRET}\r\n"))
    );
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains(&format!("x-echo: bearer {DECOY}")),
        "{}",
        answer.head
    );
    assert!(
        answer.text().contains(&format!("Bearer {DECOY}")),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains(SECRET));
    assert!(!answer.head.contains("set-cookie"));
}

#[tokio::test]
async fn invariant_3_no_range_of_an_answer_with_a_credential_can_be_asked_for() {
    let range = "Range: bytes=0-3\r\nIf-Range: \"x\"\r\n";
    let plain = World::without_credential().await;
    plain.ask(&post("/", range, "")).await;
    assert!(plain.origin.last().contains("range: bytes=0-3"));
    let world = World::start().await;
    let both = format!("{range}Authorization: Bearer {DECOY}\r\n");
    world.ask(&post("/", &both, "")).await;
    assert!(!world.origin.last().contains("range"));
    // What was attached, by this session or another, may be echoed later, without a credential in
    // the request.
    world.ask(&post("/", range, "")).await;
    assert!(!world.origin.last().contains("range"));
}

#[tokio::test]
async fn invariant_4_a_foreign_credential_and_a_known_secret_stay_here() {
    let world = World::start().await;
    let foreign = post("/", "Authorization: Bearer another-token-123456\r\n", "");
    assert_eq!(world.ask(&foreign).await.status, 403);
    assert_eq!(
        world
            .ask(&post("/", "", &format!("x={SECRET}")))
            .await
            .status,
        403
    );
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_a_plain_host_hands_out_may_go_back_to_it() {
    let world = World::without_credential().await;
    let back = "Authorization: Bearer handed-out-0123456789\r\n";
    assert_eq!(world.ask(&post("/", back, "")).await.status, 403);
    assert_eq!(world.ask(&post("/login", "", "")).await.status, 200);
    assert_eq!(world.ask(&post("/", back, "")).await.status, 200);
    let cookie = "Cookie: sid=1\r\n";
    assert_eq!(world.ask(&post("/", cookie, "")).await.status, 403);
    assert_eq!(world.ask(&get("/fields")).await.status, 200);
    assert_eq!(world.ask(&post("/", cookie, "")).await.status, 200);
}

#[tokio::test]
async fn events_are_not_delayed() {
    let world = World::start().await;
    let mut stream = world.tls().await;
    stream.write_all(get("/events").as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    while !buffer.windows(7).any(|part| part == b"data: 1") {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
    assert!(!String::from_utf8_lossy(&buffer).contains("data: 2"));
    world.origin.go_on.notify_one();
    while !buffer.ends_with(b"0\r\n\r\n") {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
    assert!(String::from_utf8_lossy(&buffer).contains("data: 2"));
    assert!(!String::from_utf8_lossy(&buffer).contains("X-Trailer"));
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_content_is_sent() {
    let world = World::start().await;
    let mut stream = world.tls().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 100);
    stream.write_all(b"body").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    assert!(world.origin.last().ends_with("\r\n\r\nbody"));
    assert!(!world.origin.last().contains("expect"));
}

#[tokio::test]
async fn answers_without_content_and_fields_of_the_connection() {
    let world = World::without_credential().await;
    let mut stream = world.tls().await;
    for (path, status) in [
        ("/nothing", 204),
        ("/unchanged", 304),
        ("/hints", 200),
        ("/", 200),
    ] {
        stream.write_all(get(path).as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, status, "{path}");
    }
    let head = get("/").replace("GET", "HEAD");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    for expected in ["HTTP/1.1 200 OK", "content-length: 5", ""] {
        assert_eq!(read_line(&mut stream, &mut buffer).await, expected);
    }
    assert!(buffer.is_empty());
    stream.write_all(get("/fields").as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    for gone in ["alt-svc", "x-hop", "keep-alive", "connection"] {
        assert!(!answer.head.contains(gone), "{gone}");
    }
    assert!(answer.head.contains("x-kept: 1") && answer.head.contains("set-cookie: sid=1"));
    let old = format!("GET /events HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
    world.origin.go_on.notify_one();
    let answer = world.ask(&old).await;
    assert!(answer.head.contains("connection: close") && !answer.head.contains("chunked"));
    assert_eq!(answer.text(), "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn a_server_that_fails_is_reported_and_a_cut_answer_stays_cut() {
    let world = World::without_credential().await;
    let stream = world.connect(known(HOST), 8443).await;
    let mut tls = world.handshake(stream, HOST).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut tls).await;
    assert_eq!(answer.status, 502);
    assert!(answer.refusal()["reason"].as_str().unwrap().contains(HOST));
    assert_eq!(world.ask(&get("/switch")).await.status, 502);
    let answer = world.ask(&get("/broken")).await;
    assert_eq!(
        answer.text(),
        "half",
        "four of the ten octets that were announced"
    );
}

#[tokio::test]
async fn a_large_upload_streams_and_arrives_whole() {
    let world = World::start().await;
    let size = 10 * 1024 * 1024;
    for chunked in [false, true] {
        let mut stream = world.tls().await;
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {size}"),
        };
        let head = format!("PUT /file HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..size / 65536 {
            if chunked {
                stream.write_all(b"10000\r\n").await.unwrap();
            }
            stream.write_all(&[b'a'; 65536]).await.unwrap();
            if chunked {
                stream.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        assert_eq!(read_answer(&mut stream).await.status, 200);
        let requests = world.origin.requests.lock().unwrap();
        let octets = requests
            .iter()
            .map(|request| request.iter().filter(|b| **b == b'a').count());
        assert!(octets.max().unwrap() >= size);
    }
}

#[tokio::test]
async fn invariant_4_a_known_secret_in_a_stream_is_never_sent_in_part() {
    let world = World::start().await;
    let size = 12 * 1024 * 1024;
    let mut stream = world.tls().await;
    let head = format!("PUT /file HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut content = vec![b'.'; size];
    content[9_000_000..9_000_000 + SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        for piece in content.chunks(9_000_013) {
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    let (_, answer) = tokio::join!(send, read_answer(&mut reader));
    assert_eq!(answer.status, 502);
    assert!(
        answer.refusal()["reason"]
            .as_str()
            .unwrap()
            .contains("known secret")
    );
    let requests = world.origin.requests.lock().unwrap();
    assert!(!requests.iter().any(
        |request| request.ends_with(b"real") || request.windows(5).any(|part| part == b"real-")
    ));
}

#[tokio::test]
async fn invariant_2_the_connection_verdict_comes_first_and_the_outcome_last() {
    let world = World::start().await;
    assert_eq!(world.ask(&get("/")).await.status, 200);
    // The outcome is written after the answer was delivered.
    let outcomes = world.authority.wait_for("outcome", 1).await;
    assert_eq!(
        (&outcomes[0]["status"], &outcomes[0]["response_bytes"]),
        (&200.into(), &5.into())
    );
    let kinds: Vec<_> = world
        .authority
        .entries()
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["start", "connection", "intent", "outcome"]);
}

#[tokio::test]
async fn a_held_request_is_told_to_wait() {
    let world = World::start().await;
    let request = format!("DELETE /thing HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let answer = world.ask(&request).await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.refusal()["error"],
        "tagout_held",
        "{}",
        answer.text()
    );
    assert!(answer.head.contains("retry-after: "));
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn invariant_7_an_approved_request_is_sent_once_as_it_was_held() {
    let world = World::with_hold_wait(Duration::from_secs(600)).await;
    let request = format!("DELETE /thing?b=%41 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let asking = async { world.ask(&request).await };
    let approving = async {
        let hold = world.authority.pending().await;
        assert_eq!(
            *world.origin.connections.lock().unwrap(),
            0,
            "no early dial"
        );
        world.authority.approve(&hold);
    };
    let (answer, ()) = tokio::join!(asking, approving);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert!(
        world
            .origin
            .last()
            .starts_with("DELETE /thing?b=A HTTP/1.1\r\n")
    );
    assert_eq!(world.origin.count(), 1);
}

#[tokio::test]
async fn invariant_7_a_client_that_left_has_nothing_released() {
    let world = World::with_hold_wait(Duration::from_secs(600)).await;
    let request = format!("DELETE /thing HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut stream = world.tls().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let hold = world.authority.pending().await;
    // The gate closes its side once it has noticed; only then is the question answered.
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0u8; 1]).await.unwrap_or(0), 0);
    world.authority.approve(&hold);
    assert_eq!(world.origin.count(), 0);
    // The approval is still there for whoever asks again.
    assert_eq!(world.ask(&request).await.status, 200);
    assert_eq!(world.origin.count(), 1);
}

#[tokio::test]
async fn invariant_8_without_a_ledger_nothing_is_dialled_or_sent() {
    let world = World::start().await;
    let mut stream = world.tls().await;
    stream.write_all(get("/1").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    world.authority.wait_for("outcome", 1).await;
    world.authority.close_ledger().await;
    // On a connection that was admitted before, and on a new one.
    stream.write_all(get("/2").as_bytes()).await.unwrap();
    assert_eq!(
        read_answer(&mut stream).await.refusal()["error"],
        "tagout_denied"
    );
    assert_eq!(
        world.ask(&get("/3")).await.refusal()["error"],
        "tagout_denied"
    );
    assert_eq!(world.origin.count(), 1);
    assert_eq!(*world.origin.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_graphql_endpoint_is_refused_in_its_own_shape() {
    let world = World::without_credential().await;
    let host = "backboard.railway.com";
    let stream = world.connect(Destination::Unknown, 443).await;
    let mut tls = world.handshake(stream, host).await.unwrap();
    let body = r#"{"query":"mutation { volumeDelete(volumeId: \"v\") }"}"#;
    let request = format!(
        "POST /graphql/v2 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut tls).await;
    assert_eq!(answer.status, 403);
    let error = &answer.refusal()["errors"][0];
    assert_eq!(error["extensions"]["error"], "tagout_denied");
    assert!(error["message"].as_str().unwrap().contains(host));
}

#[tokio::test]
async fn invariant_4_encoded_content_is_read_and_sent_as_it_was_read() {
    let world = World::start().await;
    let gzip = |content: &str| {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for (content, status) in [
        (format!("it is {SECRET}"), 403),
        (
            "{\"access_token\":\"another-token-123456\"}".to_owned(),
            403,
        ),
        ("_method=DELETE".to_owned(), 403),
        ("all is well".to_owned(), 200),
    ] {
        let encoded = gzip(&content);
        let mut stream = world.tls().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            encoded.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&encoded).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, status, "{content}");
    }
    assert_eq!(world.origin.count(), 1);
    let arrived = world.origin.last();
    assert!(
        arrived.ends_with("content-length: 11\r\n\r\nall is well"),
        "{arrived}"
    );
    assert!(!arrived.contains("content-encoding"), "{arrived}");
}

#[tokio::test]
async fn invariant_4_fields_of_a_large_body_are_looked_at() {
    let world = World::start().await;
    let size = 9 * 1024 * 1024;
    let part = "--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\nanother-token-123456\r\n";
    let json = "\"access_token\":\"another-token-123456\",";
    for (kind, front, field, status) in [
        ("multipart/form-data; boundary=b", "--b\r\n", part, 502),
        ("application/octet-stream", "{\"a\":1,", json, 502),
        (
            "text/plain",
            "a=1&",
            "&access_token=another-token-123456&",
            502,
        ),
        ("text/plain", "_method=DELETE&", "&", 502),
        ("text/plain", "a=1&", "&b=another-token-123456&", 200),
    ] {
        let mut stream = world.tls().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n{front}"
        );
        let filling = vec![b'.'; (size - front.len() - field.len()) / 2];
        let rest = vec![b'.'; size - front.len() - field.len() - filling.len()];
        let (mut reading, mut writing) = tokio::io::split(stream);
        let send = async {
            for bytes in [head.as_bytes(), &filling, field.as_bytes(), &rest] {
                // The gate may stop reading at any time.
                if writing.write_all(bytes).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(read_answer(&mut reading), send);
        assert_eq!(answer.status, status, "{kind} {front}");
        stream = reading.unsplit(writing);
        drop(stream);
    }
    let requests = world.origin.requests.lock().unwrap();
    for request in requests.iter().take(requests.len() - 1) {
        assert!(!String::from_utf8_lossy(request).contains("another-token"));
    }
}
