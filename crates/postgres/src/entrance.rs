//! What is said before a client is let in: whether the connection is encrypted, who it wants to be, and
//! whether it knows the decoy. A client says one thing at a time here, and whoever says more than was
//! asked for is not read any further.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tagout_database::Told;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::Stream;
use crate::message::framed;
use crate::refusal::{PROTOCOL, Severity, error};
use crate::{
    ChannelBinding, Frame, Frames, Opening, Password, ProtocolError, ScramError, Startup, Verifier,
};

pub(crate) enum Opened {
    Tls,
    Cancel(u32, Vec<u8>),
    Startup(Startup),
}

/// Reads what a connection begins with, nothing behind it. `None` when the client is gone.
pub(crate) async fn open<S: Stream>(
    stream: &mut S,
    may_encrypt: bool,
) -> Result<Opened, Option<ProtocolError>> {
    let mut arrived = Vec::new();
    loop {
        let opening = loop {
            if let Some((opening, length)) = Opening::read(&arrived)? {
                // Nothing was answered yet, so nothing may follow: who says more before an answer could
                // hide it in front of what is encrypted.
                if length != arrived.len() {
                    return Err(Some(ProtocolError::Fields("startup")));
                }
                break opening;
            }
            if stream.read_buf(&mut arrived).await.map_err(|_| None)? == 0 {
                return Err(None);
            }
        };
        arrived.clear();
        let answer = match opening {
            Opening::Startup(startup) => return Ok(Opened::Startup(startup)),
            Opening::Cancel { process, key } => return Ok(Opened::Cancel(process, key)),
            Opening::Tls if may_encrypt => b"S",
            Opening::Tls | Opening::Gss => b"N",
        };
        stream.write_all(answer).await.map_err(|_| None)?;
        if answer == b"S" {
            return Ok(Opened::Tls);
        }
    }
}

fn misunderstanding(why: &ProtocolError) -> Vec<u8> {
    let told = Told::new(
        format!("Tagout denied this: {why}."),
        "Connect with the URL in DATABASE_URL as it stands.",
    );
    error(Severity::Fatal, PROTOCOL, &told)
}

pub(crate) async fn misunderstood<S: Stream>(stream: &mut S, why: &ProtocolError) {
    let _ = stream.write_all(&misunderstanding(why)).await;
    let _ = stream.shutdown().await;
}

/// Asks for the decoy by SCRAM, bound to the connection's certificate where the client can do that.
pub(crate) async fn authenticate<S: Stream>(
    stream: &mut S,
    frames: &mut Frames,
    verifiers: Arc<[Verifier]>,
    binding: Option<Vec<u8>>,
) -> Result<(), Option<ScramError>> {
    let mut out = Vec::new();
    framed(&mut out, b'R', |out| {
        out.extend_from_slice(&10_u32.to_be_bytes());
        if binding.is_some() {
            out.extend_from_slice(b"SCRAM-SHA-256-PLUS\0");
        }
        out.extend_from_slice(b"SCRAM-SHA-256\0\0");
    });
    stream.write_all(&out).await.map_err(|_| None)?;
    let first = frame(stream, frames).await?;
    let Ok(Password::Initial { mechanism, data }) = Password::read_initial(&first) else {
        return Err(Some(ScramError::Message));
    };
    let binding = match (mechanism.as_str(), binding) {
        ("SCRAM-SHA-256-PLUS", Some(hash)) => ChannelBinding::EndPoint(hash),
        ("SCRAM-SHA-256", Some(_)) => ChannelBinding::NotTaken,
        ("SCRAM-SHA-256", None) => ChannelBinding::None,
        _ => return Err(Some(ScramError::Message)),
    };
    let mut nonce = [0; 18];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| ScramError::Message)?;
    let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    // They share their salt, so they ask the same question and differ only in the proof they take.
    let mut exchanges = Vec::new();
    for verifier in verifiers.iter() {
        exchanges.push(verifier.begin(&data, &binding, &nonce)?);
    }
    let (_, server_first) = exchanges.first().ok_or(ScramError::Message)?;
    say_sasl(stream, 11, server_first).await?;
    let last = frame(stream, frames).await?;
    let Ok(Password::Response(data)) = Password::read_response(&last) else {
        return Err(Some(ScramError::Message));
    };
    let mut finished = Err(ScramError::Message);
    for (exchange, _) in exchanges {
        if finished.is_err() {
            finished = exchange.finish(&data);
        }
    }
    let server_final = finished?;
    say_sasl(stream, 12, &server_final).await
}

async fn say_sasl<S: Stream>(
    stream: &mut S,
    kind: u32,
    text: &str,
) -> Result<(), Option<ScramError>> {
    let mut out = Vec::new();
    framed(&mut out, b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    });
    stream.write_all(&out).await.map_err(|_| None)
}

async fn frame<S: Stream>(
    stream: &mut S,
    frames: &mut Frames,
) -> Result<Frame, Option<ScramError>> {
    let mut bytes = [0; 2048];
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(_) => return Err(Some(ScramError::Message)),
        }
        let count = stream.read(&mut bytes).await.map_err(|_| None)?;
        match bytes.get(..count) {
            None | Some([]) => return Err(None),
            Some(read) => frames.push(read),
        }
    }
}
