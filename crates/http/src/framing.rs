//! Takes a request's content out of its framing (RFC 9112 §6, §7.1). No I/O: bytes go in, content
//! comes out. Chunk extensions are refused; trailers are read like a head's fields, so that they can be
//! judged. Nothing here is forwarded in the framing it came in.

use bytes::{Buf, Bytes, BytesMut};

use crate::head::{Framing, Malformed, parse_field};

/// Longest line with a chunk's size: sixteen digits and the line end.
const LONGEST_SIZE_LINE: usize = 18;
/// All trailers together.
const LONGEST_TRAILERS: usize = 8 * 1024;

/// Where in the content one request is.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    trailers: Vec<(String, String)>,
}

#[derive(Debug)]
enum State {
    /// So much more of the content, of which nothing follows.
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    /// Octets of trailers seen.
    Trailers(usize),
    /// Whatever comes.
    Switched,
    End,
}

/// What the bytes at hand gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// Some content, never empty.
    Data(Bytes),
    /// More bytes are needed.
    NeedMore,
    /// All content was given; what is left in the buffer belongs to the next request.
    End,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
        };
        Self {
            state,
            trailers: Vec::new(),
        }
    }

    /// All that comes on a connection that carries another protocol now.
    pub(crate) fn switched() -> Self {
        Self {
            state: State::Switched,
            trailers: Vec::new(),
        }
    }

    /// The fields behind the content, once that has ended.
    pub(crate) fn take_trailers(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.trailers)
    }

    /// Takes what it can from `buffer`.
    ///
    /// # Errors
    /// When the chunked coding is broken. The connection cannot go on then.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Switched => {
                    return Ok(
                        take_up_to(buffer, u64::MAX).map_or(Decoded::NeedMore, Decoded::Data)
                    );
                }
                State::Length(0) => self.state = State::End,
                State::Length(left) => {
                    let Some(data) = take_up_to(buffer, left) else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = State::Length(left - data.len() as u64);
                    return Ok(Decoded::Data(data));
                }
                State::ChunkSize => {
                    let Some(line) = take_line(buffer, LONGEST_SIZE_LINE)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = match chunk_size(&line)? {
                        0 => State::Trailers(0),
                        size => State::ChunkData(size),
                    };
                }
                State::ChunkData(0) => self.state = State::ChunkEnd,
                State::ChunkData(left) => {
                    let Some(data) = take_up_to(buffer, left) else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = State::ChunkData(left - data.len() as u64);
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => match take_line(buffer, 2)? {
                    None => return Ok(Decoded::NeedMore),
                    Some(line) if line.is_empty() => self.state = State::ChunkSize,
                    Some(_) => return Err(Malformed("a chunk is longer than its size says")),
                },
                State::Trailers(seen) => match take_line(buffer, LONGEST_TRAILERS)? {
                    None => return Ok(Decoded::NeedMore),
                    Some(line) if line.is_empty() => self.state = State::End,
                    Some(line) => {
                        let seen = seen + line.len() + 2;
                        if seen > LONGEST_TRAILERS {
                            return Err(Malformed("the request's trailers are longer than 8 KiB"));
                        }
                        let line = std::str::from_utf8(&line)
                            .map_err(|_| Malformed("a trailer is not text in UTF-8"))?;
                        self.trailers.push(parse_field(line)?);
                        self.state = State::Trailers(seen);
                    }
                },
            }
        }
    }
}

fn take_up_to(buffer: &mut BytesMut, most: u64) -> Option<Bytes> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match buffer.len().min(most) {
        0 => None,
        count => Some(buffer.split_to(count).freeze()),
    }
}

/// A line without its end; `None` while it has not ended.
fn take_line(buffer: &mut BytesMut, longest: usize) -> Result<Option<Bytes>, Malformed> {
    const BROKEN: Malformed = Malformed("the request's chunked coding is broken");
    let Some(end) = buffer.iter().take(longest).position(|byte| *byte == b'\n') else {
        return if buffer.len() >= longest {
            Err(BROKEN)
        } else {
            Ok(None)
        };
    };
    let mut line = buffer.split_to(end).freeze();
    buffer.advance(1);
    if line.last() != Some(&b'\r') {
        return Err(BROKEN);
    }
    line.truncate(line.len() - 1);
    if line.contains(&b'\r') {
        return Err(BROKEN);
    }
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    const BROKEN: Malformed =
        Malformed("a chunk's size is not a plain hexadecimal number (extensions are refused)");
    if line.is_empty() || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err(BROKEN);
    }
    let digits = std::str::from_utf8(line).map_err(|_| BROKEN)?;
    u64::from_str_radix(digits, 16).map_err(|_| BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that comes out when the bytes come in pieces of `size`, and what is left.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        size: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let mut decoder = Decoder::new(framing);
        let mut buffer = BytesMut::new();
        let mut content = Vec::new();
        let mut pieces = bytes.chunks(size);
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => content.extend(data),
                Decoded::NeedMore => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Err(Malformed("cut off")),
                },
                Decoded::End => {
                    let mut left = buffer.to_vec();
                    left.extend(pieces.flatten());
                    return Ok((content, left));
                }
            }
        }
    }

    #[test]
    fn content_is_taken_out_and_the_next_request_is_left() {
        let chunked = b"4\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Checksum: 1\r\n\r\nGET /";
        for size in 1..chunked.len() {
            let taken = decode(Framing::Chunked, chunked, size).unwrap();
            assert_eq!(taken, (b"Wikipedia".to_vec(), b"GET /".to_vec()), "{size}");
            let taken = decode(Framing::Length(9), b"WikipediaGET /", size).unwrap();
            assert_eq!(taken, (b"Wikipedia".to_vec(), b"GET /".to_vec()), "{size}");
        }
        assert_eq!(decode(Framing::Empty, b"", 1).unwrap(), (vec![], vec![]));
    }

    #[test]
    fn invariant_6_chunks_that_servers_read_differently_are_refused() {
        for bytes in [
            &b"4;ext=1\r\nWiki\r\n0\r\n\r\n"[..],
            b"4 \r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b"-4\r\nWiki\r\n0\r\n\r\n",
            b"4\nWiki\n0\n\n",
            b"4\r\nWikipedia\r\n0\r\n\r\n",
            b"4\r\nWikiXX0\r\n\r\n",
            b"\r\n",
            b"10000000000000000\r\n",
            b"4\r\r\nWiki\r\n0\r\n\r\n",
            b"0000000000000000000004\r\nWiki",
            b"0\r\nX: a\n\r\n",
            b"0\r\nX : a\r\n\r\n",
            b"0\r\nX: a\r\n b\r\n\r\n",
            b"0\r\nX: \xff\r\n\r\n",
        ] {
            for size in [1, 3, 100] {
                let outcome = decode(Framing::Chunked, bytes, size);
                assert!(
                    outcome.is_err_and(|error| error.0 != "cut off"),
                    "{bytes:?}"
                );
            }
        }
        let trailers = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(2000)].concat();
        assert!(decode(Framing::Chunked, &trailers, 64).is_err_and(|e| e.0 != "cut off"));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), size in 1usize..20) {
            let _ = decode(Framing::Chunked, &bytes, size);
        }
    }
}
