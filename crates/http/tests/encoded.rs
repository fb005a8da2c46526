//! Answers in which an attached credential could hide: in a content coding, a field's name, a trailer.
//! The origin is the worst there is: it echoes what it was sent in every dress it knows.

#[allow(dead_code)]
mod world;

use std::io::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::authority::{DECOY, SECRET};
use world::{Answer, HOST, World, get, read_answer, read_line};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .filename(SECRET)
        .comment(SECRET)
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let frame = |content: &[u8]| {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    };
    // Two frames with a skippable one between them, which says it in the clear.
    let (front, back) = content.split_at(content.len() / 2);
    let mut skipped = 0x184d_2a53_u32.to_le_bytes().to_vec();
    skipped.extend((SECRET.len() as u32).to_le_bytes());
    skipped.extend(SECRET.bytes());
    [frame(front), skipped, frame(back)].concat()
}

/// Brotli without compression (RFC 7932 §9.2): a window of 64 KiB, a meta-block for each piece.
fn brotli(pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        encoded.extend(meta_block(piece, index == 0));
    }
    encoded.push(3);
    encoded
}

fn meta_block(piece: &[u8], is_first: bool) -> Vec<u8> {
    // In the first one, a bit for the window stands in front.
    let shift = u32::from(is_first);
    let header = ((piece.len() as u32 - 1) << 3 | 1 << 19) << shift;
    [&header.to_le_bytes()[..3], piece].concat()
}

fn encoded(coding: &str, content: &[u8]) -> Vec<u8> {
    coding
        .split(", ")
        .fold(content.to_vec(), |content, coding| match coding {
            "gzip" | "X-GZip" => gzip(&content),
            "deflate" => deflate(&content),
            "Deflate" => bare_deflate(&content),
            "zstd" => zstd(&content),
            "br" => brotli(&content.chunks(11).collect::<Vec<_>>()),
            _ => content,
        })
}

/// As some send it: without zlib's two octets in front and four behind (RFC 9110 §8.4.1.2).
fn bare_deflate(content: &[u8]) -> Vec<u8> {
    let whole = deflate(content);
    whole[2..whole.len() - 4].to_vec()
}

/// An answer in chunks of `size` octets.
fn chunked(fields: &str, content: &[u8], size: usize, trailers: &str) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n").into_bytes();
    for piece in content.chunks(size) {
        answer.extend(format!("{:x}\r\n", piece.len()).bytes());
        answer.extend(piece);
        answer.extend(b"\r\n");
    }
    answer.extend(format!("0\r\n{trailers}\r\n").bytes());
    answer
}

async fn ask(world: &World, method: &str, path: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {DECOY}\r\n\
         Accept-Encoding: gzip, br, zstd\r\nTE: trailers\r\nConnection: close\r\n\r\n"
    );
    world.ask(&request).await
}

#[tokio::test]
async fn invariant_3_attached_values_do_not_come_back_in_any_coding() {
    let world = World::start().await;
    let filler = "something else, ".repeat(400);
    let content =
        format!("{{\"echo\":\"{SECRET}\",\"filler\":\"{filler}\",\"again\":\"{SECRET}\"}}");
    let expected = content.replace(SECRET, DECOY);
    for coding in [
        "gzip",
        "X-GZip",
        "deflate",
        "Deflate",
        "br",
        "zstd",
        "identity",
        "gzip, br",
        "br, identity, zstd",
        "deflate, zstd, gzip",
    ] {
        for size in [5, 100_000] {
            let fields = format!(
                "Content-Encoding: {coding}\r\nETag: \"strong\"\r\nContent-MD5: x\r\n\
                 Content-Digest: x\r\nRepr-Digest: x\r\nDigest: x\r\nAccept-Ranges: bytes\r\n"
            );
            let content = encoded(coding, content.as_bytes());
            world
                .origin
                .answers("/e", vec![chunked(&fields, &content, size, "")]);
            let answer = ask(&world, "GET", "/e").await;
            assert_eq!(answer.status, 200, "{coding}");
            assert!(
                world
                    .origin
                    .last()
                    .contains("accept-encoding: identity\r\n")
            );
            assert!(answer.text() == expected, "{coding} {size}");
            for field in ["content-encoding", "digest", "md5", "accept-ranges"] {
                assert!(!answer.head.contains(field), "{coding}: {}", answer.head);
            }
            let tag = match coding {
                "identity" => "etag: \"strong\"",
                _ => "etag: w/\"strong\"",
            };
            assert!(answer.head.contains(tag), "{coding}: {}", answer.head);
        }
    }
    // HEAD tells of the same answer.
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 77\r\nETag: W/\"weak\"\r\n\r\n";
    world.origin.answers("/e", vec![head.into()]);
    let answer = ask(&world, "HEAD", "/e").await;
    assert!(answer.head.contains("etag: w/\"weak\""), "{}", answer.head);
    assert!(!answer.head.contains("content-encoding") && !answer.head.contains("77"));
    // Nothing is nothing in every coding.
    let nothing = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n";
    world.origin.answers("/e", vec![nothing.into()]);
    assert_eq!(ask(&world, "GET", "/e").await.content, b"");
}

#[tokio::test]
async fn invariant_3_an_answer_that_is_not_encoded_as_it_says_is_not_passed_on() {
    let world = World::start().await;
    for fields in [
        "Content-Encoding: compress\r\n",
        "Content-Encoding: gzip, unknown\r\n",
        "Content-Encoding: dcb\r\n",
        "Content-Encoding: gzip;q=1\r\n",
        "Content-Encoding: gzip\r\nContent-Encoding: br, zstd, gzip\r\n",
        "Content-Encoding: \u{e4}\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let answer = chunked(fields, SECRET.as_bytes(), 100, "");
        world.origin.answers("/e", vec![answer]);
        let answer = ask(&world, "GET", "/e").await;
        assert_eq!(answer.status, 502, "{fields}");
        assert_eq!(answer.refusal()["error"], "tagout_denied", "{fields}");
        assert!(!answer.text().contains(SECRET));
    }
    for coding in ["gzip", "identity"] {
        let partial = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Encoding: {coding}\r\nContent-Length: 3\r\n\
             Content-Range: bytes 0-2/9\r\n\r\nabc"
        );
        world.origin.answers("/e", vec![partial.into()]);
        assert_eq!(ask(&world, "GET", "/e").await.status, 502);
    }
    // What is seen to be wrong only on its way is cut off there.
    let whole = gzip(SECRET.as_bytes());
    let (half, _) = whole.split_at(whole.len() - 4);
    for (coding, content) in [
        ("gzip", half.to_vec()),
        ("gzip", SECRET.as_bytes().to_vec()),
        ("gzip", [whole.clone(), SECRET.as_bytes().to_vec()].concat()),
        ("br", [brotli(&[b"a"]), SECRET.as_bytes().to_vec()].concat()),
        (
            "deflate",
            [deflate(b"a"), SECRET.as_bytes().to_vec()].concat(),
        ),
        ("zstd", [zstd(b"ab"), SECRET.as_bytes().to_vec()].concat()),
        ("gzip, br", brotli(&[SECRET.as_bytes()])),
    ] {
        let fields = format!("Content-Encoding: {coding}\r\n");
        world
            .origin
            .answers("/e", vec![chunked(&fields, &content, 5, "")]);
        let mut stream = world.tls().await;
        let request = get("/e").replace(
            "\r\n\r\n",
            &format!("\r\nAuthorization: Bearer {DECOY}\r\n\r\n"),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        let received = String::from_utf8_lossy(&received).into_owned();
        assert!(!received.contains(SECRET), "{coding}: {received}");
        assert!(!received.ends_with("0\r\n\r\n"), "{coding}: {received}");
    }
}

#[tokio::test]
async fn encoded_events_are_not_delayed() {
    let world = World::start().await;
    let event = |text: &str| format!("data: {text}\n\n").into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut flushed = |text: &str| {
        gzip.write_all(&event(text)).unwrap();
        gzip.flush().unwrap();
        std::mem::take(gzip.get_mut())
    };
    let gzipped = [flushed("1"), flushed("2")];
    let brotlied = [
        meta_block(&event("1"), true),
        meta_block(&event("2"), false),
    ];
    for (coding, [first, second]) in [("gzip", gzipped), ("br", brotlied)] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: {coding}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            first.len()
        );
        let front = [head.as_bytes(), &first, b"\r\n"].concat();
        let size = format!("{:x}\r\n", second.len());
        let back = [size.as_bytes(), &second, b"\r\n"].concat();
        world.origin.answers("/e", vec![front, back]);
        let mut stream = world.tls().await;
        stream.write_all(get("/e").as_bytes()).await.unwrap();
        let mut buffer = Vec::new();
        while !read_line(&mut stream, &mut buffer).await.is_empty() {}
        assert_eq!(read_line(&mut stream, &mut buffer).await, "9", "{coding}");
        assert_eq!(read_line(&mut stream, &mut buffer).await, "data: 1\n\n");
        assert!(buffer.is_empty());
        world.origin.go_on.notify_one();
        assert_eq!(read_line(&mut stream, &mut buffer).await, "9", "{coding}");
        assert_eq!(read_line(&mut stream, &mut buffer).await, "data: 2\n\n");
    }
}

#[tokio::test]
async fn invariant_3_attached_values_do_not_come_back_around_the_content() {
    let world = World::start().await;
    let trailers = format!(
        "X-Trailer: {SECRET}\r\nX-{SECRET}: 1\r\nSet-Cookie: a={SECRET}\r\nContent-Encoding: gzip\r\n"
    );
    let fields = format!(
        "X-{SECRET}: 1\r\nLocation: https://{HOST}/?t={SECRET}\r\nX-Kept: 1\r\n\
         X-{}: 1\r\nSet-Cookie: t={SECRET}\r\nWWW-Authenticate: Bearer realm=\"{SECRET}\"\r\n\
         Link: <https://x.example/{SECRET}>\r\n",
        SECRET.to_uppercase(),
    );
    let answer = chunked(&fields, b"ok", 2, &trailers);
    let answer = String::from_utf8(answer).unwrap();
    let answer = answer.replacen("200 OK", &format!("401 {SECRET}"), 1);
    world.origin.answers("/e", vec![answer.into_bytes()]);
    let mut stream = world.tls().await;
    let request = format!(
        "GET /e HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {DECOY}\r\nTE: trailers\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let received = String::from_utf8(received).unwrap().to_ascii_lowercase();
    assert!(
        received.starts_with("http/1.1 401 unauthorized\r\n"),
        "{received}"
    );
    assert!(!received.contains(&SECRET.to_lowercase()), "{received}");
    for kept in [
        "x-kept: 1",
        &format!("location: https://{HOST}/?t={DECOY}"),
        &format!("link: <https://x.example/{DECOY}>"),
        &format!("x-trailer: {DECOY}"),
    ] {
        assert!(received.contains(kept), "{kept}: {received}");
    }
    for gone in ["set-cookie", "www-authenticate", "content-encoding"] {
        assert!(!received.contains(gone), "{gone}: {received}");
    }
}

#[tokio::test]
async fn what_an_encoded_answer_hands_out_may_go_back() {
    let world = World::without_credential().await;
    let content = br#"{"access_token":"handed-out-in-gzip-0123456789"}"#;
    let fields = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let answer = chunked(fields, &gzip(content), 9, "");
    world.origin.answers("/e", vec![answer]);
    let back = get("/").replace(
        "\r\n\r\n",
        "\r\nAuthorization: Bearer handed-out-in-gzip-0123456789\r\n\r\n",
    );
    assert_eq!(world.ask(&back).await.status, 403);
    let mut stream = world.tls().await;
    let request = get("/e").replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    // A host without a credential is answered in what it was asked for.
    assert!(answer.head.contains("content-encoding: gzip"));
    assert_eq!(answer.content, gzip(content));
    assert_eq!(world.ask(&back).await.status, 200);
}
