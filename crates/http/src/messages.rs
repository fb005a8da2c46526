//! Length-prefixed messages in a request's content, as gRPC frames them (one octet of flags, four of
//! length) and Connect does after it. Both sides of such a request talk at the same time, so its
//! content cannot be held until it ends; it is held message by message.

use bytes::Bytes;
use tagout_core::HttpRequest;

use crate::content::{Held, Room};

/// Longest message. Servers take 4 MiB unless they are told otherwise.
const LONGEST: usize = 8 * 1024 * 1024;
const PREFIX: usize = 5;

/// Fields by which a client says how an answer's messages may be compressed.
pub(crate) const ACCEPT_ENCODING: &[&str] = &["grpc-accept-encoding", "connect-accept-encoding"];

/// Whether the content of a request is a stream of messages.
pub(crate) fn are_in(request: &HttpRequest) -> bool {
    request.method.as_str() == "POST"
        && request.header("content-type").all(|value| {
            let value = value.to_ascii_lowercase();
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind == "application/grpc"
                || kind.starts_with("application/grpc+")
                || kind.starts_with("application/connect+")
        })
        && request.header("content-type").next().is_some()
}

/// Whether whoever sent a request reads its answer as gRPC does.
pub(crate) fn are_grpc(request: &HttpRequest) -> bool {
    let mut kinds = request.header("content-type");
    are_in(request) && kinds.all(|kind| kind.to_ascii_lowercase().starts_with("application/grpc"))
}

/// Cuts content into its messages.
pub(crate) struct Messages {
    held: Held,
    room: Room,
}

impl Messages {
    pub(crate) fn new(room: Room) -> Self {
        Self {
            held: Held::default(),
            room,
        }
    }

    /// Takes more content.
    ///
    /// # Errors
    /// When too much is held already, by this stream or all together.
    pub(crate) fn feed(&mut self, data: &[u8]) -> Result<(), &'static str> {
        self.held.bytes.extend_from_slice(data);
        match self.held.reserve(&self.room) {
            true => Ok(()),
            false => Err("too much content is waiting at this moment"),
        }
    }

    /// The next whole message with its prefix, `None` while there is none.
    ///
    /// # Errors
    /// When what comes is no message, is compressed, or is too long.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, &'static str> {
        let Some((&[flags, a, b, c, d], rest)) = self.held.bytes.split_first_chunk() else {
            return Ok(None);
        };
        if flags != 0 {
            return Err("a message is compressed, so that it cannot be read");
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > LONGEST {
            return Err("a message is longer than 8 MiB");
        }
        if rest.len() < length {
            return Ok(None);
        }
        let rest = self.held.bytes.split_off(PREFIX + length);
        let message = std::mem::take(&mut self.held);
        self.held.bytes = rest;
        Ok(Some(message.bytes.into()))
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// When the content ended within a message.
    pub(crate) fn finish(self) -> Result<(), &'static str> {
        match self.held.bytes.is_empty() {
            true => Ok(()),
            false => Err("the content ends within a message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(content: &[u8]) -> Vec<u8> {
        [&[0][..], &(content.len() as u32).to_be_bytes(), content].concat()
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&[1, 0, 0, 0, 0][..], b"_method=DELETE", &[0, 0xff, 0, 0, 0]] {
            let mut messages = Messages::new(Room::new());
            messages.feed(bytes).unwrap();
            assert!(messages.next().is_err(), "{bytes:?}");
        }
        let mut messages = Messages::new(Room::new());
        messages.feed(&message(b"abc")[..7]).unwrap();
        assert_eq!(messages.next(), Ok(None));
        assert!(messages.finish().is_err());
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            size in 1usize..30,
        ) {
            let expected: Vec<_> = contents.iter().map(|content| message(content)).collect();
            let mut messages = Messages::new(Room::new());
            let mut found = Vec::new();
            for piece in expected.concat().chunks(size) {
                messages.feed(piece).unwrap();
                while let Some(message) = messages.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert!(messages.finish().is_ok());
        }
    }
}
