//! WebSocket frames (RFC 6455 §5): bytes go in, whole messages come out, and the other way round. No
//! I/O. Fragments are put together, so that nothing is split where a reader looks; extensions are never
//! agreed on, so every reserved bit is a fault. What comes out is written anew in one frame, with a
//! mask of its own.

use bytes::{Buf, BytesMut};

/// Longest message. Models' answers and pictures are below it.
const LONGEST: usize = 16 * 1024 * 1024;
/// Fragments of one message: empty ones cost a reader without ever becoming longer.
const MOST_FRAGMENTS: usize = 4096;
/// RFC 6455 §5.5.
const LONGEST_CONTROL: usize = 125;

/// Who wrote a frame: a client masks its frames, a server must not (§5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The agent's.
    Client,
    /// The world's.
    Server,
}

/// A message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Octets.
    Binary(Vec<u8>),
    /// Asks the other side to say that it is there.
    Ping(Vec<u8>),
    /// Says so.
    Pong(Vec<u8>),
    /// Status code and reason, when there are any.
    Close(Option<(u16, String)>),
}

/// Why frames cannot be read any more, with the status code that says so (§7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadFrame {
    /// The code.
    pub code: u16,
    /// What is wrong, for the client and the ledger.
    pub reason: &'static str,
}

const fn broken(reason: &'static str) -> BadFrame {
    BadFrame { code: 1002, reason }
}

const TOO_LONG: BadFrame = BadFrame {
    code: 1009,
    reason: "a message is longer than 16 MiB",
};
const NOT_TEXT: BadFrame = BadFrame {
    code: 1007,
    reason: "a text message is not text in UTF-8",
};

/// Reads the frames of one direction.
pub struct Reader {
    from: Side,
    buffer: BytesMut,
    /// The message that is being put together: whether it is text, and its fragments so far.
    begun: Option<(bool, Vec<u8>, usize)>,
}

struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Reader {
    /// Reads what that side wrote.
    pub fn new(from: Side) -> Self {
        Self {
            from,
            buffer: BytesMut::new(),
            begun: None,
        }
    }

    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` while there is none.
    ///
    /// # Errors
    /// When the frames break the protocol; the connection cannot go on then.
    pub fn next_message(&mut self) -> Result<Option<Message>, BadFrame> {
        while let Some(frame) = self.frame()? {
            if let Some(message) = self.message(frame)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        let Some((&[first, second], rest)) = self.buffer.split_first_chunk() else {
            return Ok(None);
        };
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(broken("a frame uses an extension that was not agreed on"));
        }
        if !matches!(opcode, 0..=2 | 8..=10) {
            return Err(broken("a frame is of an unknown kind"));
        }
        if (second & 0x80 != 0) != (self.from == Side::Client) {
            return Err(broken("a frame is masked wrongly"));
        }
        let (length, prefix) = match second & 0x7f {
            126 => {
                let Some((bytes, _)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(*bytes)), 2)
            }
            127 => {
                let Some((bytes, _)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*bytes), 8)
            }
            length => (u64::from(length), 0),
        };
        let shortest = match length {
            0..=125 => 0,
            126..=65_535 => 2,
            _ => 8,
        };
        if prefix != shortest {
            return Err(broken(
                "a frame's length is not written in the shortest way",
            ));
        }
        if opcode >= 8 && (!is_last || length > LONGEST_CONTROL as u64) {
            return Err(broken("a control frame is split or too long"));
        }
        let held = self.begun.as_ref().map_or(0, |(_, bytes, _)| bytes.len());
        let length = usize::try_from(length).map_err(|_| TOO_LONG)?;
        if length > LONGEST - held {
            return Err(TOO_LONG);
        }
        let mask = match self.from {
            Side::Server => None,
            Side::Client => match rest.get(prefix..).and_then(<[u8]>::first_chunk::<4>) {
                Some(mask) => Some(*mask),
                None => return Ok(None),
            },
        };
        let head = 2 + prefix + mask.map_or(0, |mask| mask.len());
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let mut payload = self.buffer.split_to(length).to_vec();
        if let Some(mask) = mask {
            apply(mask, &mut payload);
        }
        Ok(Some(Frame {
            is_last,
            opcode,
            payload,
        }))
    }

    fn message(&mut self, frame: Frame) -> Result<Option<Message>, BadFrame> {
        match (frame.opcode, self.begun.take()) {
            (8, _) => close(&frame.payload).map(Some),
            (9, begun) => {
                self.begun = begun;
                Ok(Some(Message::Ping(frame.payload)))
            }
            (10, begun) => {
                self.begun = begun;
                Ok(Some(Message::Pong(frame.payload)))
            }
            (0, Some((is_text, mut bytes, count))) => {
                bytes.extend(frame.payload);
                if count >= MOST_FRAGMENTS {
                    return Err(broken("a message has too many fragments"));
                }
                self.add(frame.is_last, is_text, bytes, count + 1)
            }
            (0, None) => Err(broken("a message begins in its middle")),
            (1 | 2, None) => self.add(frame.is_last, frame.opcode == 1, frame.payload, 1),
            _ => Err(broken("a message begins within another one")),
        }
    }

    fn add(
        &mut self,
        is_last: bool,
        is_text: bool,
        bytes: Vec<u8>,
        count: usize,
    ) -> Result<Option<Message>, BadFrame> {
        if !is_last {
            self.begun = Some((is_text, bytes, count));
            return Ok(None);
        }
        Ok(Some(match is_text {
            true => Message::Text(String::from_utf8(bytes).map_err(|_| NOT_TEXT)?),
            false => Message::Binary(bytes),
        }))
    }
}

impl Message {
    /// What of it a reader at the other end may take for content.
    pub fn content(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
            Self::Close(Some((_, reason))) => reason.as_bytes(),
            Self::Close(None) => &[],
        }
    }

    /// A goodbye without its reason where that is too long for a frame.
    pub(crate) fn within_a_frame(self) -> Self {
        match self {
            Self::Close(Some((code, reason))) if reason.len() + 2 > LONGEST_CONTROL => {
                Self::Close(Some((code, String::new())))
            }
            other => other,
        }
    }

    /// The message in one frame; with a mask where a client writes it.
    pub fn write(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let closing;
        let (opcode, payload) = match self {
            Self::Text(text) => (1, text.as_bytes()),
            Self::Binary(bytes) => (2, bytes.as_slice()),
            Self::Close(None) => (8, &[][..]),
            Self::Close(Some((code, reason))) => {
                closing = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                (8, closing.as_slice())
            }
            Self::Ping(bytes) => (9, bytes.as_slice()),
            Self::Pong(bytes) => (10, bytes.as_slice()),
        };
        let mut frame = Vec::with_capacity(payload.len() + 14);
        frame.push(0x80 | opcode);
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..=125 => frame.push(masked | length as u8),
            length @ 126..=65_535 => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(masked | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        let begin = frame.len();
        frame.extend(payload);
        if let (Some(mask), Some(written)) = (mask, frame.get_mut(begin..)) {
            apply(mask, written);
        }
        frame
    }
}

/// RFC 6455 §5.5.1 and §7.4: no code, or one that may be sent, and a reason in UTF-8.
fn close(payload: &[u8]) -> Result<Message, BadFrame> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(Message::Close(None)),
        None => Err(broken("a close frame is cut off")),
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(broken("a close frame has a code that may not be sent"));
            }
            let reason = String::from_utf8(reason.to_vec()).map_err(|_| NOT_TEXT)?;
            Ok(Message::Close(Some((code, reason))))
        }
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASK: [u8; 4] = [7, 99, 0, 255];

    fn read(from: Side, bytes: &[u8], size: usize) -> Result<Vec<Message>, BadFrame> {
        let mut reader = Reader::new(from);
        let mut messages = Vec::new();
        for piece in bytes.chunks(size.max(1)) {
            reader.feed(piece);
            while let Some(message) = reader.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_come_in_between() {
        let bytes = [
            &[0x01, 2][..],
            b"he",
            &[0x89, 1],
            b"?",
            &[0x00, 0],
            &[0x80, 3],
            b"llo",
            &[0x82, 1],
            b"\xff",
        ]
        .concat();
        for size in 1..bytes.len() {
            assert_eq!(
                read(Side::Server, &bytes, size).unwrap(),
                [
                    Message::Ping(b"?".to_vec()),
                    Message::Text("hello".to_owned()),
                    Message::Binary(vec![0xff])
                ]
            );
        }
    }

    #[test]
    fn invariant_6_frames_that_readers_take_differently_are_refused() {
        for (name, bytes) in [
            ("reserved", &[0xc1, 0][..]),
            ("unknown kind", &[0x83, 0]),
            ("unknown control", &[0x8b, 0]),
            ("masked by a server", &[0x81, 0x80, 0, 0, 0, 0]),
            ("split control", &[0x09, 0]),
            ("long control", &[0x89, 126, 0, 200]),
            ("long length", &[0x81, 126, 0, 5]),
            ("longer length", &[0x81, 127, 0, 0, 0, 0, 0, 0, 1, 0]),
            ("too long", &[0x82, 127, 0, 0, 0, 0, 0xff, 0, 0, 0]),
            ("more than can be", &[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]),
            ("middle", &[0x80, 0]),
            ("two at a time", &[0x01, 0, 0x81, 0]),
            ("not text", &[0x81, 1, 0xff]),
            ("close of one octet", &[0x88, 1, 3]),
            ("close code", &[0x88, 2, 3, 0xed]),
            ("close reason", &[0x88, 3, 3, 0xe8, 0xff]),
        ] {
            assert!(read(Side::Server, bytes, 1).is_err(), "{name}");
        }
        assert!(
            read(Side::Client, &[0x81, 0], 1).is_err(),
            "unmasked by a client"
        );
        let empty = [[0x01, 0], [0x00, 0]].concat();
        let endless = [&empty[..2], &empty[2..].repeat(MOST_FRAGMENTS + 1)].concat();
        assert!(read(Side::Server, &endless, 4096).is_err(), "fragments");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(content in proptest::collection::vec(any::<u8>(), 0..300), repeat in 1usize..300, size in 1usize..5000) {
            let content = content.repeat(repeat);
            for (from, mask) in [(Side::Client, Some(MASK)), (Side::Server, None)] {
                let message = Message::Binary(content.clone());
                prop_assert_eq!(read(from, &message.write(mask), size).unwrap(), vec![message]);
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), size in 1usize..20) {
            let _ = read(Side::Client, &bytes, size);
            let _ = read(Side::Server, &bytes, size);
        }
    }
}
