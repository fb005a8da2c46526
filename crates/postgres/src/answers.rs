//! What a server sends, cut into messages. The server is not the attacker here, but what it sends may
//! be as long as the agent asks for: rows and copied data pass in parts, everything else is short.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest message that is kept as a whole, in bytes, its header included. Beyond that, rows and
/// copied data come in parts; any other message of that length ends the connection.
const LONGEST_WHOLE: usize = 1 << 20;
/// What is read at once, in bytes.
const READ: usize = 16 << 10;

/// A message of the server, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole message: its type byte, and all of it as it came.
    Whole(u8, Bytes),
    /// A part of a long `DataRow` or `CopyData`, the first one with its header.
    Part(Bytes),
}

impl Answer {
    /// What follows the header of a whole message.
    pub(crate) fn body(message: &Bytes) -> &[u8] {
        message.get(5..).unwrap_or_default()
    }
}

/// Bytes of a server, cut into messages however they arrive.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    arrived: BytesMut,
    /// What of a long message is still to come, in bytes.
    left: usize,
}

impl Answers {
    /// The next message that has arrived whole, or the next part of a long one.
    ///
    /// # Errors
    /// A length that no message of its type has.
    pub(crate) fn take(&mut self) -> io::Result<Option<Answer>> {
        if self.left > 0 {
            let part = self.left.min(self.arrived.len());
            if part == 0 {
                return Ok(None);
            }
            self.left -= part;
            return Ok(Some(Answer::Part(self.arrived.split_to(part).freeze())));
        }
        let Some((&kind, rest)) = self.arrived.split_first() else {
            return Ok(None);
        };
        let Some((length, _)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        let whole = length.saturating_add(1);
        let broken = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a message of no possible length",
            )
        };
        // PostgreSQL's own limit (`PQ_LARGE_MESSAGE_LIMIT`) is a gigabyte.
        if !(4..1 << 30).contains(&length) {
            return Err(broken());
        }
        if whole <= LONGEST_WHOLE {
            if self.arrived.len() < whole {
                return Ok(None);
            }
            return Ok(Some(Answer::Whole(
                kind,
                self.arrived.split_to(whole).freeze(),
            )));
        }
        if !matches!(kind, b'D' | b'd') {
            return Err(broken());
        }
        let part = whole.min(self.arrived.len());
        self.left = whole - part;
        Ok(Some(Answer::Part(self.arrived.split_to(part).freeze())))
    }

    /// Reads more. Cancel safe.
    ///
    /// # Errors
    /// What reading gives; the end of the stream is `UnexpectedEof`.
    pub(crate) async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        self.arrived.reserve(READ);
        match stream.read_buf(&mut self.arrived).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// As [`Answers::take`] and [`Answers::read`].
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(answer);
            }
            self.read(stream).await?;
        }
    }
}

/// A text of a message, without the NUL that ends it.
pub(crate) fn text(body: &mut &[u8]) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(body.get(..end)?).into_owned();
    body.advance(end + 1);
    Some(text)
}

/// What `ErrorResponse` and `NoticeResponse` say, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// SQLSTATE, five letters.
    pub(crate) code: String,
    /// One line.
    pub(crate) message: String,
}

impl Complaint {
    pub(crate) fn read(message: &Bytes) -> Self {
        let mut body = Answer::body(message);
        let mut complaint = Self {
            code: String::new(),
            message: String::new(),
        };
        while let Some((&field, rest)) = body.split_first() {
            body = rest;
            let Some(value) = text(&mut body) else { break };
            match field {
                b'C' => complaint.code = value,
                b'M' => complaint.message = value,
                _ => {}
            }
        }
        complaint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u32 + 4;
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn messages_are_the_same_however_they_are_split() {
        let sent = [
            message(b'T', b"columns"),
            message(b'D', b"row"),
            message(b'Z', b"I"),
        ]
        .concat();
        for step in 1..sent.len() {
            let mut answers = Answers::default();
            let mut kinds = Vec::new();
            for piece in sent.chunks(step) {
                answers.arrived.extend_from_slice(piece);
                while let Some(answer) = answers.take().expect("messages") {
                    match answer {
                        Answer::Whole(kind, bytes) => kinds.push((kind, bytes.len())),
                        Answer::Part(_) => panic!("short messages come whole"),
                    }
                }
            }
            assert_eq!(kinds, [(b'T', 12), (b'D', 8), (b'Z', 6)], "step {step}");
        }
    }

    #[test]
    fn a_long_row_comes_in_parts_and_a_long_anything_else_is_refused() {
        let mut answers = Answers::default();
        let long = message(b'D', &vec![7; LONGEST_WHOLE]);
        let mut came = Vec::new();
        for piece in long.chunks(100_000) {
            answers.arrived.extend_from_slice(piece);
            while let Some(answer) = answers.take().expect("a part") {
                match answer {
                    Answer::Part(bytes) => came.extend_from_slice(&bytes),
                    Answer::Whole(..) => panic!("too long to be kept"),
                }
            }
        }
        assert_eq!(came, long);
        answers.arrived.extend_from_slice(&message(b'Z', b"I"));
        assert!(matches!(answers.take(), Ok(Some(Answer::Whole(b'Z', _)))));
        let mut answers = Answers::default();
        answers
            .arrived
            .extend_from_slice(&message(b'E', &vec![7; LONGEST_WHOLE]));
        assert!(answers.take().is_err());
        let mut answers = Answers::default();
        answers.arrived.extend_from_slice(b"Z\0\0\0\x03");
        assert!(answers.take().is_err());
    }
}
