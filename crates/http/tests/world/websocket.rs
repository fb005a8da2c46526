//! The world's WebSocket: an origin that remembers every message and says it again, and a client that
//! can write any frame.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Seen;

/// Takes the handshake of `head`, unless its path says how to answer wrongly, and echoes messages.
pub(crate) async fn serve(
    seen: &Seen,
    head: &str,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    };
    let mut hash = Sha1::new();
    hash.update(field("sec-websocket-key").unwrap());
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = STANDARD.encode(hash.finalize());
    let mut extra = String::new();
    if let Some(offered) = field("sec-websocket-protocol") {
        let first = offered.split(',').next().unwrap();
        extra = format!("Sec-WebSocket-Protocol: {first}\r\n");
    }
    match head.split(' ').nth(1).unwrap() {
        "/wrong-key" => accept = STANDARD.encode([0; 20]),
        "/extension" => extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n".to_owned(),
        "/protocol" => extra = "Sec-WebSocket-Protocol: other\r\n".to_owned(),
        "/refused" => {
            let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        _ => (),
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    while let Some((opcode, payload)) = read(&mut stream).await {
        seen.requests.lock().unwrap().push(payload.clone());
        let echo = frame(0x80 | opcode, &payload, None);
        if stream.write_all(&echo).await.is_err() || stream.flush().await.is_err() || opcode == 8 {
            return;
        }
    }
}

/// One frame, its payload without the mask.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let length = match head[1] & 0x7f {
        126 => usize::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()? as usize,
        length => usize::from(length),
    };
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await.ok()?;
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    Some((head[0] & 0x0f, payload))
}

/// A frame with any first octet.
pub(crate) fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(masked | length as u8),
        length => {
            frame.push(masked | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    frame.extend(mask.into_iter().flatten());
    frame.extend(
        payload
            .iter()
            .enumerate()
            .map(|(index, byte)| byte ^ key[index % 4]),
    );
    frame
}

/// What a client writes for a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes(), Some([1, 2, 3, 4]))
}

/// A handshake as clients send it.
pub(crate) fn handshake(host: &str, path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n{fields}\r\n"
    )
}
