//! The HTTP proxy for tools that insist on one leads nowhere that they would not come by themselves.

#[allow(dead_code)]
mod world;

use tagout_net::{Destination, PROXY_PORT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::authority::{DECOY, SECRET};
use world::{Answer, HOST, OPAQUE, STRANGER, World, get, read_answer, read_next_answer};

/// A connection to the proxy on which `text` was sent.
async fn say(world: &World, text: &str) -> TcpStream {
    let mut stream = world.connect(Destination::Proxy, PROXY_PORT).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn ask(world: &World, text: &str) -> Answer {
    read_answer(&mut say(world, text).await).await
}

/// A connection to `authority` through the proxy, which takes every name at its word.
async fn tunnel(world: &World, authority: &str) -> TcpStream {
    let asked = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut stream = say(world, &asked).await;
    let expected = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, expected);
    stream
}

#[tokio::test]
async fn a_tunnel_leads_where_a_connection_leads() {
    let world = World::start().await;
    let stream = tunnel(&world, &format!("{HOST}:443")).await;
    let mut tls = world.handshake(stream, HOST).await.unwrap();
    let request =
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {DECOY}\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tls).await.text(), "hello");
    assert!(world.origin.last().contains(SECRET));
    let kinds: Vec<_> = world
        .authority
        .entries()
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds[..3], ["start", "connection", "intent"]);
    // Plain, where that is granted; what the client said at once is not lost.
    let both = format!(
        "CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n{}",
        get("/")
    );
    let mut stream = say(&world, &both).await;
    let mut answers = Vec::new();
    while !answers.ends_with(b"hello\r\n0\r\n\r\n") {
        assert!(stream.read_buf(&mut answers).await.unwrap() > 0);
    }
    assert!(answers.starts_with(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n"));
    // And a host that is not read is not read here either.
    let stream = tunnel(&world, &format!("{OPAQUE}:443")).await;
    assert!(world.handshake_with_origin(stream, OPAQUE).await.is_ok());
}

#[tokio::test]
async fn plain_requests_are_forwarded_one_by_one() {
    let world = World::start().await;
    let one = |path: &str| {
        format!(
            "GET http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Connection: keep-alive\r\n\r\n"
        )
    };
    // The second would be for another host as often as not, so it has to come on its own connection.
    let mut stream = say(&world, &format!("{}{}", one("/a"), one("/b"))).await;
    let mut rest = Vec::new();
    let answer = read_next_answer(&mut stream, &mut rest).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert!(
        answer.head.contains("connection: close\r\n"),
        "{}",
        answer.head
    );
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    assert_eq!(world.origin.count(), 1);
    assert!(world.origin.last().starts_with("GET /a HTTP/1.1\r\n"));
    assert!(!world.origin.last().contains("proxy-"));
}

#[tokio::test]
async fn invariant_1_the_proxy_is_no_way_around() {
    let world = World::start().await;
    // What is no host by its name.
    for asked in [
        "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("CONNECT {HOST}:443\nHost: {HOST}\n\n"),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\nX: a\r\n b\r\n\r\n"),
        format!("GET https://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".to_owned(),
        get("/"),
    ] {
        let answer = ask(&world, &asked).await;
        assert_eq!(answer.status, 403, "{asked:?}");
        assert_eq!(answer.refusal()["error"], "tagout_denied", "{asked:?}");
    }
    // A name that is not granted, by either way.
    let stream = tunnel(&world, &format!("{STRANGER}:443")).await;
    let mut tls = world.handshake(stream, STRANGER).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tls).await.status, 403);
    let asked = format!("GET http://{STRANGER}/ HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n");
    assert_eq!(ask(&world, &asked).await.status, 403);
    // A granted name behind one that is not, and the other way round.
    for (outside, inside) in [(STRANGER, HOST), (HOST, STRANGER), (HOST, OPAQUE)] {
        let stream = tunnel(&world, &format!("{outside}:443")).await;
        let answered = match world.handshake(stream, inside).await {
            Err(_) => None,
            Ok(mut tls) => {
                let request = format!("GET / HTTP/1.1\r\nHost: {inside}\r\n\r\n");
                tls.write_all(request.as_bytes()).await.unwrap();
                Some(read_answer(&mut tls).await.status)
            }
        };
        assert!(
            matches!(answered, None | Some(403)),
            "{outside} {inside}: {answered:?}"
        );
    }
    let asked = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n");
    assert_eq!(ask(&world, &asked).await.status, 403);
    // A port that is not granted, a tunnel in a tunnel, and a proxy behind the proxy.
    let stream = tunnel(&world, &format!("{HOST}:22")).await;
    let mut tls = world.handshake(stream, HOST).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}:22\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tls).await.status, 403);
    for inner in [
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"),
        format!("GET http://{STRANGER}/ HTTP/1.1\r\nHost: {STRANGER}\r\n\r\n"),
    ] {
        let mut stream = tunnel(&world, &format!("{HOST}:80")).await;
        stream.write_all(inner.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 403, "{inner:?}");
    }
    let stream = tunnel(&world, "localhost:443").await;
    assert!(world.handshake(stream, HOST).await.is_err() || world.origin.count() == 0);
    assert_eq!(world.origin.count(), 0);
    // A credential for the proxy goes nowhere, and one behind it is looked at.
    let asked = format!(
        "GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Basic {SECRET}\r\n\r\n"
    );
    assert_eq!(ask(&world, &asked).await.status, 403);
    // Nothing but HTTP: TLS to the proxy itself ends.
    let stream = world.connect(Destination::Proxy, PROXY_PORT).await;
    assert!(world.handshake(stream, HOST).await.is_err());
    assert_eq!(world.origin.count(), 0);
}
