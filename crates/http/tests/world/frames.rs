//! HTTP/2 frame by frame (RFC 9113 §4), for a client that keeps no rule: fields are written as literals
//! (RFC 7541 §6.2.2), octet by octet what the test says.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::World;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Indexed `:status: 200` (RFC 7541, Appendix A).
const OK: u8 = 0x88;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered with 200.
    Passed,
    /// It was answered otherwise.
    Refused,
    /// Its stream was reset.
    Reset,
    /// The connection ended.
    Ended,
}

pub(crate) struct Raw<S> {
    stream: S,
}

/// A frame as it goes out.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as a block of literals that are not indexed.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name.as_ref());
        text(&mut block, value.as_ref());
    }
    block
}

/// A string without Huffman coding (RFC 7541 §5.2).
pub(crate) fn text(block: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(127) {
        None => block.push(text.len() as u8),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

/// A connection to the granted host after the preface.
pub(crate) async fn connect(
    world: &World,
) -> Raw<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let (mut stream, _) = world.tls_offering(&[b"h2"]).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    Raw { stream }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Sends octets; whether the gate still takes them.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> bool {
        let sending = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sending)
            .await
            .expect("octets are taken or refused")
            .is_ok()
    }

    /// Reads until it is clear what became of stream `of`.
    pub(crate) async fn outcome(&mut self, of: u32) -> Outcome {
        timeout(PATIENCE, async {
            loop {
                let Some((kind, stream, payload)) = self.frame().await else {
                    return Outcome::Ended;
                };
                match kind {
                    GOAWAY => return Outcome::Ended,
                    RST_STREAM if stream == of => return Outcome::Reset,
                    HEADERS if stream == of && payload.first() == Some(&OK) => {
                        return Outcome::Passed;
                    }
                    HEADERS if stream == of => return Outcome::Refused,
                    _ => (),
                }
            }
        })
        .await
        .expect("an outcome")
    }

    async fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((kind, u32::from_be_bytes(stream), payload))
    }
}
