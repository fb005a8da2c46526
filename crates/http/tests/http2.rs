//! HTTP/2 through the gate, from a client's fields to an origin's, with a real authority in between.

#[allow(dead_code)]
mod world;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tagout_net::Destination;
use tokio::io::AsyncWriteExt;
use world::authority::{DECOY, SECRET};
use world::http2::{Client, read, request};
use world::{HOST, STRANGER, World, get, known, read_answer};

#[tokio::test]
async fn the_client_gets_what_the_server_took() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let world = World::with_http2(false).await;
    let (_stream, chosen) = world.tls_offering(both).await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
    let world = World::without_credential().await;
    let (mut stream, chosen) = world.tls_offering(both).await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));
    stream.write_all(get("/").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.text(), "hello");
    // What was dialled to find out is what the request went out on.
    assert_eq!(*world.origin.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn invariant_6_an_http2_request_arrives_in_its_canonical_form() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let asked = request("POST", "/a/../%62?q=%41")
        .header("x-b", " 2")
        .header("cookie", "")
        .header("authorization", format!("Bearer {DECOY}"))
        .header("te", "trailers");
    let answer = client.ask(asked, b"abc", None).await.unwrap();
    assert_eq!((answer.status, &answer.content[..]), (200, &b"hello"[..]));
    let arrived = world.origin.last();
    let (head, content) = arrived.split_once("\n\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    lines.sort_unstable();
    let authorization = format!("authorization: Bearer {SECRET}");
    let line = format!("POST https://{HOST}/b?q=A");
    assert_eq!(
        lines,
        [
            &line,
            "accept-encoding: identity",
            &authorization,
            "content-length: 3",
            "cookie: ",
            "te: trailers",
            "x-b: 2"
        ]
    );
    assert_eq!(content, "abc");
}

#[tokio::test]
async fn invariant_6_http2_requests_that_mean_two_things_are_refused() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let elsewhere = |authority: &str| {
        Request::builder()
            .method("GET")
            .uri(format!("https://{authority}/"))
    };
    for (name, asked, status) in [
        ("authority", elsewhere("evil.example"), 421),
        ("userinfo", elsewhere(&format!("u:p@{HOST}")), 421),
        ("port", elsewhere(&format!("{HOST}:8443")), 421),
        (
            "scheme",
            Request::builder().uri(format!("http://{HOST}/")),
            403,
        ),
        (
            "host",
            request("GET", "/").header("host", "evil.example"),
            403,
        ),
        (
            "two hosts",
            request("GET", "/")
                .header("host", HOST)
                .header("host", "evil.example"),
            403,
        ),
        ("slashes", request("GET", "/a//b"), 403),
        ("dots", request("GET", "/%2e%2e/b"), 403),
        ("nul", request("GET", "/%00"), 403),
        (
            "star",
            Request::builder()
                .method("OPTIONS")
                .uri(format!("https://{HOST}")),
            403,
        ),
        ("trace", request("TRACE", "/"), 403),
        ("lower case", request("get", "/"), 403),
        (
            "disguise",
            request("GET", "/").header("content_length", "1"),
            403,
        ),
        (
            "encoded",
            request("POST", "/").header("content-encoding", "x-own"),
            403,
        ),
        (
            "two types",
            request("POST", "/")
                .header("content-type", "a/b")
                .header("content-type", "c/d"),
            403,
        ),
        (
            "foreign",
            request("GET", "/").header("authorization", "Bearer another-token-123456"),
            403,
        ),
        (
            "crumbs",
            request("GET", "/")
                .header("cookie", "a=1")
                .header("cookie", "session=another-token-123456"),
            403,
        ),
    ] {
        // `OPTIONS *` is what the client makes of a URI without a path.
        let answer = client.ask(asked, b"", None).await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.refusal()["error"], "tagout_denied", "{name}");
    }
    assert_eq!(world.origin.count(), 0);
    // None of it harmed the connection.
    let answer = client.ask(request("GET", "/"), b"", None).await.unwrap();
    assert_eq!(answer.content, b"hello");
}

#[tokio::test]
async fn invariant_6_what_http2_forbids_resets_the_stream() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let connect = Request::builder().method("CONNECT").uri(HOST);
    for (name, asked, content) in [
        ("connect", connect, &b""[..]),
        (
            "a length that is not the content's",
            request("POST", "/").header("content-length", "5"),
            b"three",
        ),
        (
            "two lengths",
            request("POST", "/")
                .header("content-length", "3")
                .header("content-length", "5"),
            b"three",
        ),
    ] {
        let shorter = content.get(..content.len().saturating_sub(2)).unwrap();
        let outcome = client.ask(asked, shorter, None).await;
        assert!(
            outcome.as_ref().is_err() || outcome.as_ref().unwrap().status >= 400,
            "{name}: {outcome:?}"
        );
    }
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test]
async fn invariant_4_trailers_of_a_request_are_judged_and_go_nowhere() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let trailers = |name: &'static str, value: &str| {
        let mut fields = HeaderMap::new();
        fields.insert(name, HeaderValue::from_str(value).unwrap());
        Some(fields)
    };
    for (name, value) in [
        ("authorization", format!("Bearer {DECOY}")),
        ("authorization", "Bearer another-token-123456".to_owned()),
        ("x-note", format!("it is {SECRET}")),
        ("content-length", "3".to_owned()),
        ("host", "evil.example".to_owned()),
    ] {
        let answer = client
            .ask(request("POST", "/"), b"abc", trailers(name, &value))
            .await;
        assert_eq!(answer.unwrap().status, 403, "{name}: {value}");
    }
    assert_eq!(world.origin.count(), 0);
    let answer = client
        .ask(request("POST", "/"), b"abc", trailers("x-sum", "1"))
        .await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(
        world.origin.last().ends_with("\n\nabc"),
        "{}",
        world.origin.last()
    );
}

#[tokio::test]
async fn invariant_3_attached_values_do_not_come_back_in_trailers() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    for path in ["/trailers", "/alone"] {
        let asked = request("POST", path)
            .header("te", "trailers")
            .header("authorization", format!("Bearer {DECOY}"));
        let answer = client.ask(asked, b"abc", None).await.unwrap();
        let fields = answer.trailers.unwrap_or(answer.fields);
        assert_eq!(fields["grpc-status"], "0", "{path}");
        assert_eq!(fields["x-echo"], format!("Bearer {DECOY}"), "{path}");
    }
}

#[tokio::test]
async fn many_requests_share_one_connection_upstream() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let mut answers = tokio::task::JoinSet::new();
    for index in 0..60 {
        let client = Client {
            sender: client.sender.clone(),
        };
        answers.spawn(async move {
            let asked = request("POST", &format!("/{index}"));
            client.ask(asked, b"x", None).await.unwrap().status
        });
    }
    while let Some(status) = answers.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(*world.origin.connections.lock().unwrap(), 1);
    assert_eq!(world.origin.count(), 60);
}

#[tokio::test]
async fn a_client_that_reads_http2_alone_is_served_from_a_server_that_does_not() {
    let world = World::start().await;
    let (stream, chosen) = world.tls_offering(&[b"h2"]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
    let client = Client::over(stream).await;
    for _ in 0..3 {
        let asked = request("POST", "/echo").header("authorization", format!("Bearer {DECOY}"));
        let answer = client.ask(asked, b"x", None).await.unwrap();
        let text = String::from_utf8(answer.content).unwrap();
        assert_eq!(text, format!("Bearer {DECOY}"));
    }
    assert!(
        world
            .origin
            .last()
            .starts_with(&format!("POST /echo HTTP/1.1\r\nhost: {HOST}\r\n"))
    );
    assert_eq!(*world.origin.connections.lock().unwrap(), 1);
    // An upstream line of HTTP/1.1 is not left by what HTTP/2 can carry in a value.
    let asked = request("GET", "/").header("x-a", HeaderValue::from_bytes(b"b\tc").unwrap());
    assert_eq!(client.ask(asked, b"", None).await.unwrap().status, 200);
    assert!(world.origin.last().contains("x-a: b\tc\r\n"));
}

#[tokio::test]
async fn a_refused_name_is_told_in_http2_where_nothing_else_is_read() {
    let world = World::start().await;
    let stream = world.connect(Destination::Unknown, 443).await;
    let client = Client::over(world.handshake_http2(stream, STRANGER).await.unwrap()).await;
    let asked = Request::builder().uri(format!("https://{STRANGER}/x"));
    let answer = client.ask(asked, b"", None).await.unwrap();
    assert_eq!(answer.status, 403);
    let reason = answer.refusal()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(STRANGER), "{reason}");
    assert_eq!(*world.origin.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn invariant_6_plain_text_is_no_http2() {
    let world = World::without_credential().await;
    let mut stream = world.connect(known(HOST), 80).await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 403);
}

#[tokio::test]
async fn streams_that_are_given_up_at_once_end_the_connection() {
    let world = World::with_http2(true).await;
    let mut client = Client::connect(&world).await;
    for _ in 0..100_000 {
        let Ok(ready) = client.sender.clone().ready().await else {
            return;
        };
        client.sender = ready;
        let Ok((_, mut stream)) = client
            .sender
            .send_request(request("POST", "/").body(()).unwrap(), false)
        else {
            return;
        };
        // So that the head is on its way before it is taken back.
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
    }
    panic!("a flood of resets was served to its end");
}

#[tokio::test]
async fn a_stream_of_messages_goes_both_ways_at_one_time() {
    let world = World::with_http2(false).await;
    let client = Client::connect(&world).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let asked = request("POST", "/stream")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (response, mut stream) = sender.send_request(asked.body(()).unwrap(), false).unwrap();
    let message = |text: &str| {
        let mut bytes = vec![0];
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        Bytes::from(bytes)
    };
    stream.send_data(message("one"), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    // Each is answered before the next is sent, and half a message waits for its other half.
    assert_eq!(body.data().await.unwrap().unwrap(), message("one"));
    let second = message("two");
    stream.send_data(second.slice(..6), false).unwrap();
    stream.send_data(second.slice(6..), false).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), second);
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn invariant_4_a_message_with_a_known_secret_does_not_leave() {
    let world = World::with_http2(true).await;
    let client = Client::connect(&world).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let asked = request("POST", "/stream").header("content-type", "application/grpc");
    let (response, mut stream) = sender.send_request(asked.body(()).unwrap(), false).unwrap();
    let mut bytes = vec![0];
    bytes.extend((SECRET.len() as u32).to_be_bytes());
    bytes.extend(SECRET.as_bytes());
    stream.send_data(Bytes::from(bytes), false).unwrap();
    let refused = match response.await {
        Ok(response) => read(response).await.map(|answer| answer.fields),
        Err(error) => Err(error),
    };
    assert_eq!(refused.unwrap()["grpc-status"], "7");
    let requests = world.origin.requests.lock().unwrap();
    let arrived = requests.concat();
    assert!(
        !String::from_utf8_lossy(&arrived).contains(&SECRET[..8]),
        "some of it arrived"
    );
}
