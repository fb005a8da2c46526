//! HTTP/2 from a client that keeps no rule, frame by frame: what could be read in two ways, or written
//! to an HTTP/1.1 server as more than one request, reaches nobody; floods end, and harm nobody else.

#[allow(dead_code)]
mod world;

use world::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, connect, frame, text,
};
use world::{HOST, World};

type Field = (&'static str, String);

fn fields(of: &[(&'static str, &str)]) -> Vec<Field> {
    of.iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

/// A well-formed request's fields with `more` behind them.
fn with(more: &[(&'static str, &str)]) -> Vec<Field> {
    let mut all = fields(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/"),
    ]);
    all.extend(fields(more));
    all
}

/// The same with one of the four replaced.
fn but(name: &'static str, value: &str) -> Vec<Field> {
    let mut all = with(&[]);
    for field in &mut all {
        if field.0 == name {
            field.1 = value.to_owned();
        }
    }
    all
}

/// The same without one of the four.
fn without(name: &str) -> Vec<Field> {
    with(&[])
        .into_iter()
        .filter(|field| field.0 != name)
        .collect()
}

fn whole(fields: &[Field]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// A world with an origin of each version: what HTTP/2 lets through must not become two requests of
/// HTTP/1.1 either.
async fn worlds() -> [World; 2] {
    [
        World::with_http2(false).await,
        World::without_credential().await,
    ]
}

#[tokio::test]
async fn a_request_made_by_hand_passes() {
    for world in worlds().await {
        let mut raw = connect(&world).await;
        assert!(raw.send(&whole(&with(&[("x-a", "1")]))).await);
        assert_eq!(raw.outcome(1).await, Outcome::Passed);
        // In pieces and with padding as well.
        let block = block(&with(&[]));
        let (front, back) = block.split_at(7);
        let padded = [&[3][..], front, &[0; 3]].concat();
        assert!(raw.send(&frame(HEADERS, END_STREAM | 8, 3, &padded)).await);
        assert!(raw.send(&frame(CONTINUATION, END_HEADERS, 3, back)).await);
        assert_eq!(raw.outcome(3).await, Outcome::Passed);
        assert_eq!(world.origin.count(), 2);
    }
}

#[tokio::test]
async fn invariant_6_fields_that_two_servers_read_differently_reach_nobody() {
    let cases: Vec<(&str, Vec<Field>)> = vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("no path", without(":path")),
        ("an empty path", but(":path", "")),
        ("a path that is none", but(":path", "x")),
        (
            "a path that is a URL",
            but(":path", "https://evil.example/"),
        ),
        (
            "a path with a request in it",
            but(":path", "/ HTTP/1.1\r\nX: y"),
        ),
        ("a path with a space", but(":path", "/a b")),
        ("a path with NUL", but(":path", "/a\0")),
        ("a star", but(":path", "*")),
        (
            "a method with a request in it",
            but(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"),
        ),
        ("a method with a space", but(":method", "GET /x")),
        ("an empty method", but(":method", "")),
        ("another scheme", but(":scheme", "http")),
        (
            "a scheme with a host in it",
            but(":scheme", "https://evil.example/x?"),
        ),
        ("another authority", but(":authority", "evil.example")),
        (
            "an authority with two",
            but(":authority", "api.example.com, evil.example"),
        ),
        (
            "an authority with a request",
            but(":authority", "api.example.com\r\nX: y"),
        ),
        (
            "an authority with a user",
            but(":authority", "evil.example@api.example.com"),
        ),
        (
            "an authority with a path",
            but(":authority", "api.example.com/x"),
        ),
        ("two paths", with(&[(":path", "/other")])),
        ("two methods", with(&[(":method", "GET")])),
        ("two authorities", with(&[(":authority", HOST)])),
        ("an unknown pseudo field", with(&[(":own", "1")])),
        ("an answer's pseudo field", with(&[(":status", "200")])),
        ("a pseudo field behind the others", {
            let mut late = without(":path");
            late.extend(fields(&[("x-a", "1"), (":path", "/")]));
            late
        }),
        ("upper case", with(&[("X-Upper", "1")])),
        ("a name with a space", with(&[("x a", "1")])),
        ("a name with a colon", with(&[("x:a", "1")])),
        ("a name with a line end", with(&[("x\r\ny", "1")])),
        ("an empty name", with(&[("", "1")])),
        ("a value with a line end", with(&[("x-a", "1\r\nx-b: 2")])),
        (
            "a value with a bare line feed",
            with(&[("x-a", "1\nx-b: 2")]),
        ),
        (
            "a value with a bare carriage return",
            with(&[("x-a", "1\rx-b: 2")]),
        ),
        ("a value with NUL", with(&[("x-a", "1\0")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        (
            "proxy-connection",
            with(&[("proxy-connection", "keep-alive")]),
        ),
        ("upgrade", with(&[("upgrade", "websocket")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        (
            "a transfer coding in disguise",
            with(&[("transfer_encoding", "chunked")]),
        ),
        ("te", with(&[("te", "gzip")])),
        ("another host", with(&[("host", "evil.example")])),
        ("a length without content", with(&[("content-length", "5")])),
        (
            "a length that is no number",
            with(&[("content-length", "+0")]),
        ),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "5")]),
        ),
        (
            "CONNECT",
            fields(&[(":method", "CONNECT"), (":authority", HOST)]),
        ),
        (
            "CONNECT elsewhere",
            fields(&[(":method", "CONNECT"), (":authority", "evil.example:443")]),
        ),
        ("extended CONNECT", {
            let mut asked = but(":method", "CONNECT");
            asked.insert(1, (":protocol", "websocket".to_owned()));
            asked
        }),
        ("CONNECT with a path", but(":method", "CONNECT")),
    ];
    for world in worlds().await {
        let mut passed = Vec::new();
        for (name, asked) in &cases {
            let mut raw = connect(&world).await;
            raw.send(&whole(asked)).await;
            if raw.outcome(1).await == Outcome::Passed {
                passed.push(name);
            }
        }
        assert!(passed.is_empty(), "{passed:?}");
        assert_eq!(world.origin.count(), 0, "{}", world.origin.last());
    }
}

#[tokio::test]
async fn invariant_6_frames_that_break_the_protocol_reach_nobody() {
    let request = block(&with(&[]));
    let longer = block(&with(&[("content-length", "3")]));
    let open = frame(HEADERS, END_HEADERS, 1, &longer);
    let join = |frames: &[Vec<u8>]| frames.concat();
    let end = END_HEADERS | END_STREAM;
    let cases = [
        ("an even stream", 2, frame(HEADERS, end, 2, &request)),
        ("stream nought", 0, frame(HEADERS, end, 0, &request)),
        (
            "content on stream nought",
            0,
            frame(DATA, END_STREAM, 0, b"abc"),
        ),
        (
            "content of no stream",
            1,
            frame(DATA, END_STREAM, 1, b"abc"),
        ),
        (
            "more than the length",
            1,
            join(&[open.clone(), frame(DATA, END_STREAM, 1, b"abcd")]),
        ),
        (
            "less than the length",
            1,
            join(&[open.clone(), frame(DATA, END_STREAM, 1, b"ab")]),
        ),
        (
            "trailers before the length is there",
            1,
            join(&[
                open.clone(),
                frame(HEADERS, end, 1, &block(&[("x-t", "1")])),
            ]),
        ),
        (
            "a second head that does not end it",
            1,
            join(&[open.clone(), frame(HEADERS, END_HEADERS, 1, &request)]),
        ),
        (
            "something between a head and its continuation",
            1,
            join(&[
                frame(HEADERS, END_STREAM, 1, &request),
                frame(PING, 0, 0, &[0; 8]),
            ]),
        ),
        (
            "a continuation of another stream",
            1,
            join(&[
                frame(HEADERS, END_STREAM, 1, &request[..5]),
                frame(CONTINUATION, END_HEADERS, 3, &request[5..]),
            ]),
        ),
        (
            "a continuation of nothing",
            1,
            frame(CONTINUATION, END_HEADERS, 1, &request),
        ),
        (
            "more padding than frame",
            1,
            frame(HEADERS, end | 8, 1, &[255, 0, 0]),
        ),
        ("a stream that depends on itself", 1, {
            let priority = [&[0, 0, 0, 1, 16][..], &request].concat();
            frame(HEADERS, end | 0x20, 1, &priority)
        }),
        (
            "a promise",
            1,
            frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&[0, 0, 0, 2][..], &request].concat(),
            ),
        ),
        (
            "an index of nothing",
            1,
            frame(HEADERS, end, 1, &[0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
        ("an index nought", 1, frame(HEADERS, end, 1, &[0x80])),
        (
            "a string longer than its block",
            1,
            frame(HEADERS, end, 1, &[0, 5, b'x']),
        ),
        ("a table larger than allowed", 1, {
            // Dynamic table size update to 2^28 (RFC 7541 §6.3).
            let block = [&[0x3f, 0xe1, 0xff, 0xff, 0x7f][..], &request].concat();
            frame(HEADERS, end, 1, &block)
        }),
        (
            "a window of nothing",
            1,
            join(&[open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])]),
        ),
        (
            "settings with an odd length",
            0,
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        ("settings of a stream", 0, frame(SETTINGS, 0, 1, &[])),
        ("a ping that is too short", 0, frame(PING, 0, 0, &[0; 7])),
        (
            "a frame that is too long",
            0,
            frame(HEADERS, end, 1, &vec![0; 1 << 20]),
        ),
    ];
    for world in worlds().await {
        let mut passed = Vec::new();
        for (name, stream, octets) in &cases {
            let mut raw = connect(&world).await;
            raw.send(octets).await;
            if raw.outcome(*stream).await == Outcome::Passed {
                passed.push(name);
            }
        }
        assert!(passed.is_empty(), "{passed:?}");
        assert_eq!(world.origin.count(), 0, "{}", world.origin.last());
    }
}

#[tokio::test]
async fn invariant_6_what_is_read_over_is_not_sent_either() {
    for world in worlds().await {
        let mut raw = connect(&world).await;
        // A fragment is nobody's but the client's (RFC 9110 §7.1).
        raw.send(&whole(&but(":path", "/a#b"))).await;
        assert_eq!(raw.outcome(1).await, Outcome::Passed);
        assert!(
            !world.origin.last().contains('#'),
            "{}",
            world.origin.last()
        );
        // Trailers go nowhere, and name no other path.
        let open = frame(HEADERS, END_HEADERS, 3, &block(&with(&[])));
        let trailers = block(&[(":path", "/other"), (":authority", "evil.example")]);
        raw.send(&open).await;
        raw.send(&frame(DATA, 0, 3, b"abc")).await;
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &trailers))
            .await;
        raw.outcome(3).await;
        let last = world.origin.last();
        assert!(!last.contains("other") && !last.contains("evil"), "{last}");
    }
}

/// How many frames a flood has before it is clear that nobody stops it.
const FLOOD: usize = 20_000;

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let world = World::with_http2(false).await;
    let fields = [(("x-filler"), "y".repeat(1000))];
    let more = frame(CONTINUATION, 0, 1, &block(&fields));
    let empty = frame(CONTINUATION, 0, 1, b"");
    for more in [more, empty] {
        let mut raw = connect(&world).await;
        assert!(
            raw.send(&frame(HEADERS, END_STREAM, 1, &block(&with(&[]))))
                .await
        );
        // The gate need not read what comes behind its own end.
        for _ in 0..FLOOD / 100 {
            if !raw.send(&more.repeat(100)).await {
                break;
            }
        }
        assert_eq!(raw.outcome(1).await, Outcome::Ended);
    }
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test]
async fn a_small_block_that_means_much_is_refused() {
    let world = World::with_http2(false).await;
    let mut raw = connect(&world).await;
    // One entry of the dynamic table, and a thousand times its index (62 is the newest).
    let mut bomb = block(&with(&[]));
    bomb.push(0x40);
    text(&mut bomb, b"x-bomb");
    text(&mut bomb, &[b'y'; 3000]);
    bomb.extend([0x80 | 62; 1000]);
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
        .await;
    assert_ne!(raw.outcome(1).await, Outcome::Passed);
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test]
async fn floods_of_small_frames_harm_nobody_else() {
    let world = World::with_http2(false).await;
    let open = frame(HEADERS, END_HEADERS, 1, &block(&with(&[])));
    for (name, flood) in [
        ("ping", frame(PING, 0, 0, &[1; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("empty content", frame(DATA, 0, 1, b"")),
        ("window", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xfa, 0, 0, &[0; 16])),
        ("goaway", frame(GOAWAY, 0, 0, &[0; 8])),
    ] {
        let mut raw = connect(&world).await;
        assert!(raw.send(&open).await);
        // Nothing that comes back is read: what the gate would say to it must not pile up either. It
        // may stop reading, so this ends when somebody else was served.
        let flooding = async {
            while raw.send(&flood.repeat(100)).await {}
            std::future::pending::<()>().await
        };
        let other = async {
            let mut other = connect(&world).await;
            assert!(other.send(&whole(&with(&[]))).await);
            other.outcome(1).await
        };
        tokio::select! {
            () = flooding => (),
            outcome = other => assert_eq!(outcome, Outcome::Passed, "{name}"),
        }
    }
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let world = World::with_http2(false).await;
    let mut raw = connect(&world).await;
    let request = block(&with(&[("x-a", "1")]));
    let mut stream = 1;
    let mut taken = 0;
    while taken < FLOOD {
        let mut rapid = Vec::new();
        for _ in 0..50 {
            rapid.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &request));
            rapid.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        if !raw.send(&rapid).await {
            break;
        }
        taken += 50;
    }
    assert!(taken < FLOOD);
}
