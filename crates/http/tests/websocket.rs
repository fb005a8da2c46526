//! WebSocket through the gate, from a client's frames to an origin's, with a real authority in
//! between.

#[allow(dead_code)]
mod world;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use world::authority::{DECOY, SECRET, TOKEN, TOKEN_DECOY};
use world::websocket::{frame, handshake, read, text};
use world::{HOST, PACKED, World, read_answer};

const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

/// A connection on which the server took the handshake.
async fn open(
    world: &World,
    host: &str,
    path: &str,
    fields: &str,
) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let mut stream = world.tls_to(host).await;
    stream
        .write_all(handshake(host, path, fields).as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut octet)
            .await
            .unwrap();
        head.extend(octet);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The example of RFC 6455, section 1.3: the answer to this client's own key.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(!head.to_ascii_lowercase().contains("extensions"), "{head}");
    stream
}

#[tokio::test]
async fn messages_pass_both_ways_and_are_written_anew() {
    let world = World::start().await;
    let fields = format!("Authorization: Bearer {DECOY}\r\n");
    let mut stream = open(&world, HOST, "/ws?a=%41", &fields).await;
    let arrived = world.origin.last();
    assert!(
        arrived.starts_with(&format!("GET /ws?a=A HTTP/1.1\r\nhost: {HOST}\r\n")),
        "{arrived}"
    );
    assert!(
        arrived.contains(&format!("authorization: Bearer {SECRET}\r\n")),
        "{arrived}"
    );
    assert!(
        !arrived.contains("dGhlIHNhbXBsZSBub25jZQ==") && !arrived.contains("deflate"),
        "{arrived}"
    );
    // A message in fragments with a ping in between.
    for bytes in [
        frame(0x01, b"hel", MASK),
        frame(0x89, b"?", MASK),
        frame(0x80, b"lo", MASK),
    ] {
        stream.write_all(&bytes).await.unwrap();
    }
    assert_eq!(read(&mut stream).await.unwrap(), (9, b"?".to_vec()));
    assert_eq!(read(&mut stream).await.unwrap(), (1, b"hello".to_vec()));
    let large = vec![7; 40_000];
    stream.write_all(&frame(0x82, &large, MASK)).await.unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), (2, large));
    stream
        .write_all(&frame(0x88, &1000_u16.to_be_bytes(), MASK))
        .await
        .unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), (8, vec![3, 0xe8]));
    let outcome = &world.authority.wait_for("outcome", 1).await[0];
    assert_eq!(
        (&outcome["status"], &outcome["error"]),
        (&json!(101), &Value::Null)
    );
}

#[tokio::test]
async fn invariant_4_a_secret_in_a_message_ends_the_conversation() {
    let world = World::start().await;
    let (front, back) = SECRET.split_at(9);
    let last = |bytes: &[u8]| frame(0x80, bytes, MASK);
    for (name, frames) in [
        ("text", vec![text(&format!("it is {SECRET}"))]),
        ("binary", vec![frame(0x82, SECRET.as_bytes(), MASK)]),
        (
            "fragments",
            vec![frame(0x01, front.as_bytes(), MASK), last(back.as_bytes())],
        ),
        ("ping", vec![frame(0x89, SECRET.as_bytes(), MASK)]),
        (
            "close",
            vec![frame(0x88, &[&[3, 0xe8], SECRET.as_bytes()].concat(), MASK)],
        ),
        (
            "slot",
            vec![text("{\"access_token\":\"another-token-123456\"}")],
        ),
        (
            "decoy in a slot",
            vec![text(&format!("{{\"access_token\":\"{DECOY}\"}}"))],
        ),
        ("two messages", vec![text(front), text(back)]),
    ] {
        let mut stream = open(&world, HOST, "/ws", "").await;
        for bytes in frames {
            stream.write_all(&bytes).await.unwrap();
        }
        let closed = loop {
            match read(&mut stream).await {
                Some((8, payload)) => break payload,
                Some(_) => (),
                None => panic!("{name}: no close frame"),
            }
        };
        assert_eq!(&closed[..2], 1008_u16.to_be_bytes(), "{name}");
    }
    let seen = world.origin.requests.lock().unwrap().concat();
    let seen = String::from_utf8_lossy(&seen);
    assert!(!seen.contains(SECRET) && !seen.contains(back), "{seen}");
}

#[tokio::test]
async fn invariant_3_attached_values_do_not_come_back_in_messages() {
    let world = World::start().await;
    let fields = format!("Authorization: Bearer {DECOY}\r\n");
    let mut stream = open(&world, HOST, "/ws", &fields).await;
    // The echo of the decoy is the decoy; a value can only come from the server.
    stream.write_all(&text(DECOY)).await.unwrap();
    assert_eq!(read(&mut stream).await.unwrap().1, DECOY.as_bytes());
}

#[tokio::test]
async fn invariant_6_frames_that_break_the_protocol_end_the_conversation() {
    let world = World::start().await;
    for (name, bytes) in [
        ("compressed", frame(0xc1, b"x", MASK)),
        ("not masked", frame(0x81, b"x", None)),
        ("unknown", frame(0x83, b"x", MASK)),
        ("not text", frame(0x81, b"\xff", MASK)),
    ] {
        let mut stream = open(&world, HOST, "/ws", "").await;
        let before = world.origin.count();
        stream.write_all(&bytes).await.unwrap();
        let (opcode, payload) = read(&mut stream).await.unwrap();
        assert_eq!(opcode, 8, "{name}");
        assert!(
            payload[1] == 0xea || payload[1] == 0xef,
            "{name}: {payload:?}"
        );
        let requests = world.origin.requests.lock().unwrap();
        let later = requests[before..].concat();
        assert!(!later.contains(&b'x'), "{name}");
    }
}

#[tokio::test]
async fn invariant_6_an_answer_that_is_no_handshake_is_refused() {
    let world = World::start().await;
    for (path, status) in [
        ("/wrong-key", 502),
        ("/extension", 502),
        ("/protocol", 502),
        ("/refused", 401),
    ] {
        let mut stream = world.tls().await;
        let asked = handshake(HOST, path, "");
        stream.write_all(asked.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_granted_for_it_has_no_websocket() {
    let world = World::start().await;
    for (name, asked) in [
        (
            "token as subprotocol",
            handshake(
                HOST,
                "/ws",
                "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-proj-q8Zr2Lw0vX\r\n",
            ),
        ),
        (
            "foreign",
            handshake(
                HOST,
                "/ws",
                "Authorization: Bearer another-token-123456\r\n",
            ),
        ),
        (
            "h2c",
            handshake(HOST, "/ws", "").replace("Upgrade: websocket", "Upgrade: h2c"),
        ),
    ] {
        let mut stream = world.tls().await;
        stream.write_all(asked.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer.status, 426, "{name}");
        assert_eq!(answer.refusal()["error"], "tagout_denied", "{name}");
    }
    // What is not granted is decided like any other method.
    let mut stream = world.connect(tagout_net::Destination::Unknown, 80).await;
    stream
        .write_all(handshake("stranger.example.com", "/", "").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 403);
    assert_eq!(world.origin.count(), 0);
}

const GRAPHQL: &str = "/graphql/v2";

async fn say(stream: &mut (impl AsyncWrite + Unpin), message: &Value) {
    stream.write_all(&text(&message.to_string())).await.unwrap();
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Value) {
    let (opcode, payload) = read(stream).await.unwrap();
    (
        opcode,
        serde_json::from_slice(&payload).unwrap_or(Value::Null),
    )
}

#[tokio::test]
async fn invariant_5_each_document_on_a_websocket_is_an_action() {
    let world = World::start().await;
    for (protocol, begin) in [
        ("graphql-transport-ws", "subscribe"),
        ("graphql-ws", "start"),
    ] {
        let fields = format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        let mut stream = open(&world, PACKED, GRAPHQL, &fields).await;
        let init = json!({"type": "connection_init", "payload": {"Authorization": format!("Bearer {TOKEN_DECOY}")}});
        say(&mut stream, &init).await;
        // The server gets the value, and its echo has the decoy again.
        assert_eq!(hear(&mut stream).await, (1, init));
        assert!(world.origin.last().contains(&format!("Bearer {TOKEN}")));
        let query =
            |id: &str, query: &str| json!({"id": id, "type": begin, "payload": {"query": query}});
        say(&mut stream, &query("1", "query  { __typename  }")).await;
        let (_, echo) = hear(&mut stream).await;
        assert_eq!((&echo["id"], &echo["type"]), (&json!("1"), &json!(begin)));
        assert!(
            echo["payload"]["query"]
                .as_str()
                .unwrap()
                .contains("__typename"),
            "{echo}"
        );
        let before = world.origin.count();
        for (id, document) in [
            ("2", "mutation { volumeDelete(volumeId: \"v-1\") }"),
            (
                "3",
                "subscription { environmentLogs(environmentId: \"e-1\") { message } }",
            ),
            ("4", "mutation {"),
        ] {
            say(&mut stream, &query(id, document)).await;
            let (_, refused) = hear(&mut stream).await;
            assert_eq!(
                (&refused["id"], &refused["type"]),
                (&json!(id), &json!("error")),
                "{document}"
            );
            assert!(refused.to_string().contains("tagout_denied"), "{refused}");
        }
        assert_eq!(world.origin.count(), before, "none of it arrived");
        // What is no message of the subprotocol ends it.
        say(
            &mut stream,
            &json!({"type": "subscribe", "id": "5", "payload": {}, "query": "{me}"}),
        )
        .await;
        assert_eq!(hear(&mut stream).await.0, 8);
    }
    // Without a subprotocol that can be read there is nothing to judge.
    for fields in ["", "Sec-WebSocket-Protocol: graphql-ws, other\r\n"] {
        let mut stream = world.tls_to(PACKED).await;
        stream
            .write_all(handshake(PACKED, GRAPHQL, fields).as_bytes())
            .await
            .unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 426, "{fields}");
    }
}

#[tokio::test]
async fn invariant_4_a_foreign_credential_opens_no_websocket() {
    let world = World::start().await;
    let fields = "Sec-WebSocket-Protocol: graphql-transport-ws\r\n";
    for token in [TOKEN, "another-token-123456", DECOY] {
        let mut stream = open(&world, PACKED, GRAPHQL, fields).await;
        let before = world.origin.count();
        let init = json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {token}")}});
        say(&mut stream, &init).await;
        assert_eq!(hear(&mut stream).await.0, 8, "{token}");
        let requests = world.origin.requests.lock().unwrap();
        let later = requests[before..].concat();
        assert!(!String::from_utf8_lossy(&later).contains(token));
    }
}
