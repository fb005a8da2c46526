//! gzip (RFC 1952) and deflate (RFC 1950), taken off piece by piece. What a gzip header says besides
//! (a file's name, a comment) is read over and goes nowhere. RFC 9110 §8.4.1.2 knows that some send
//! `deflate` without the zlib format around it; that is read as well.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Layer, STEP, Undecodable};

/// Longest header of a member. Real ones have ten octets, or a file's name more.
const LONGEST_HEADER: usize = 4 * 1024;
/// RFC 1952 §2.3.1.
const FIXED: usize = 10;
const HAS_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;
/// CRC-32 and length, both in four octets.
const TRAILER: usize = 8;

/// One or several gzip members.
pub(super) struct Gzip {
    state: State,
    body: Decompress,
    crc: Crc,
    is_whole: bool,
}

enum State {
    Header,
    Body,
    Trailer,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            body: Decompress::new(false),
            crc: Crc::new(),
            is_whole: false,
        }
    }
}

impl Layer for Gzip {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Undecodable> {
        match self.state {
            State::Header => {
                let Some(length) = header_length(input)? else {
                    return Ok(0);
                };
                self.is_whole = false;
                self.body.reset(false);
                self.crc.reset();
                self.state = State::Body;
                Ok(length)
            }
            State::Body => {
                let (used, has_ended) = inflate(&mut self.body, input, output)?;
                self.crc.update(output);
                if has_ended {
                    self.state = State::Trailer;
                }
                Ok(used)
            }
            State::Trailer => {
                let Some((&[a, b, c, d, e, f, g, h], _)) = input.split_first_chunk::<TRAILER>()
                else {
                    return Ok(0);
                };
                let sum = u32::from_le_bytes([a, b, c, d]);
                let length = u32::from_le_bytes([e, f, g, h]);
                if sum != self.crc.sum() || length != self.crc.amount() {
                    return Err(Undecodable::Broken);
                }
                self.is_whole = true;
                self.state = State::Header;
                Ok(TRAILER)
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// A zlib stream, which is what RFC 9110 means by `deflate`, or what should stand in one.
pub(super) struct Deflate {
    /// Known once two octets came.
    body: Option<Decompress>,
    is_whole: bool,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            body: None,
            is_whole: false,
        }
    }
}

impl Layer for Deflate {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Undecodable> {
        if self.is_whole {
            return match input.is_empty() {
                true => Ok(0),
                false => Err(Undecodable::Broken),
            };
        }
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let Some(&first) = input.first_chunk() else {
                    return Ok(0);
                };
                self.body.insert(Decompress::new(is_zlib(first)))
            }
        };
        let (used, has_ended) = inflate(body, input, output)?;
        self.is_whole = has_ended;
        Ok(used)
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// Whether a stream begins with zlib's two octets (RFC 1950 §2.2).
fn is_zlib(first: [u8; 2]) -> bool {
    first[0] & 0x0f == 8 && u16::from_be_bytes(first).is_multiple_of(31)
}

/// How much of `input` was used, and whether the stream ends there.
fn inflate(
    body: &mut Decompress,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(usize, bool), Undecodable> {
    output.reserve(STEP);
    let before = body.total_in();
    let status = body
        .decompress_vec(input, output, FlushDecompress::None)
        .map_err(|_| Undecodable::Broken)?;
    let used = usize::try_from(body.total_in() - before).unwrap_or(usize::MAX);
    Ok((used, status == Status::StreamEnd))
}

/// How long the member's header at the front of `input` is; `None` while it has not ended.
fn header_length(input: &[u8]) -> Result<Option<usize>, Undecodable> {
    const MAGIC: &[u8] = &[0x1f, 0x8b, 8];
    let front = input.get(..MAGIC.len().min(input.len()));
    if front.is_some_and(|front| !MAGIC.starts_with(front)) {
        return Err(Undecodable::Broken);
    }
    let Some(&flags) = input.get(3) else {
        return Ok(None);
    };
    if flags & RESERVED != 0 {
        return Err(Undecodable::Broken);
    }
    let mut length = FIXED;
    if flags & HAS_EXTRA != 0 {
        let Some(&[low, high]) = input.get(length..length + 2) else {
            return Ok(None);
        };
        length += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let rest = input.get(length..).unwrap_or_default();
            match rest.iter().position(|byte| *byte == 0) {
                Some(end) => length += end + 1,
                None if input.len() > LONGEST_HEADER => return Err(Undecodable::Broken),
                None => return Ok(None),
            }
        }
    }
    if flags & HAS_CRC != 0 {
        length += 2;
    }
    if length > LONGEST_HEADER {
        return Err(Undecodable::Broken);
    }
    Ok((input.len() >= length).then_some(length))
}
