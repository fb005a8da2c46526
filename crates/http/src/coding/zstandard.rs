//! Zstandard (RFC 8878) with the window that RFC 9659 gives its content coding, taken off block by
//! block. Where a frame's blocks end is read here, so that no more than one of them, 128 KiB, is
//! unpacked in one step. Dictionaries are not known.
//!
//! Dictionaries are not known, and checksums are read over: TLS saw to it that nothing changed on the way.
//!
//! What a frame holds is given when it no longer is part of its window, or the frame ends: the
//! decoder keeps the window to itself.

use ruzstd::decoding::FrameDecoder;

use super::{Layer, Undecodable};

/// RFC 9659 §3.
const LARGEST_WINDOW: u64 = 8 * 1024 * 1024;
/// RFC 8878 §3.1.1.2.
const LARGEST_BLOCK: usize = 128 * 1024;
const MAGIC: u32 = 0xfd2f_b528;
/// The first of sixteen.
const SKIPPABLE: u32 = 0x184d_2a50;
const CHECKSUM: usize = 4;

pub(super) struct Zstandard {
    decoder: FrameDecoder,
    state: State,
    is_whole: bool,
}

enum State {
    Header,
    /// Octets of a frame that means nothing.
    Skippable(usize),
    Block {
        has_checksum: bool,
    },
    Checksum,
}

impl Zstandard {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Self {
            decoder,
            state: State::Header,
            is_whole: false,
        }
    }

    fn header(&mut self, input: &[u8]) -> Result<usize, Undecodable> {
        let Some((magic, rest)) = split_u32(input) else {
            return Ok(0);
        };
        if magic & 0xffff_fff0 == SKIPPABLE {
            let Some((length, _)) = split_u32(rest) else {
                return Ok(0);
            };
            let length = usize::try_from(length).map_err(|_| Undecodable::Broken)?;
            self.state = State::Skippable(length);
            return Ok(8);
        }
        if magic != MAGIC {
            return Err(Undecodable::Broken);
        }
        let Some(&descriptor) = rest.first() else {
            return Ok(0);
        };
        let length = 5 + after_descriptor(descriptor);
        let Some(header) = input.get(..length) else {
            return Ok(0);
        };
        self.decoder.init(header).map_err(|_| Undecodable::Broken)?;
        self.is_whole = false;
        self.state = State::Block {
            has_checksum: descriptor & 4 != 0,
        };
        Ok(length)
    }

    fn block(
        &mut self,
        has_checksum: bool,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<usize, Undecodable> {
        let Some(&[a, b, c]) = input.get(..3) else {
            return Ok(0);
        };
        let head = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let (is_last, kind, size) = (head & 1 == 1, head >> 1 & 3, head >> 3);
        if size > LARGEST_BLOCK {
            return Err(Undecodable::Broken);
        }
        let length = 3 + match kind {
            // One octet, so many times.
            1 => 1,
            0 | 2 => size,
            _ => return Err(Undecodable::Broken),
        };
        let Some(block) = input.get(..length) else {
            return Ok(0);
        };
        self.unpack(block)?;
        match (is_last, has_checksum) {
            (false, _) => self.collect(output)?,
            (true, true) => self.state = State::Checksum,
            (true, false) => self.end(output)?,
        }
        Ok(length)
    }

    fn unpack(&mut self, octets: &[u8]) -> Result<(), Undecodable> {
        match self.decoder.decode_from_to(octets, &mut []) {
            Ok((used, _)) if used == octets.len() => Ok(()),
            _ => Err(Undecodable::Broken),
        }
    }

    fn collect(&mut self, output: &mut Vec<u8>) -> Result<(), Undecodable> {
        self.decoder
            .collect_to_writer(output)
            .map(|_| ())
            .map_err(|_| Undecodable::Broken)
    }

    /// The frame has ended: all that was kept back is given.
    fn end(&mut self, output: &mut Vec<u8>) -> Result<(), Undecodable> {
        self.collect(output)?;
        self.is_whole = true;
        self.state = State::Header;
        Ok(())
    }
}

impl Layer for Zstandard {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Undecodable> {
        match self.state {
            State::Header => self.header(input),
            State::Skippable(0) => {
                self.is_whole = true;
                self.state = State::Header;
                self.header(input)
            }
            State::Skippable(left) => {
                let used = left.min(input.len());
                self.state = State::Skippable(left - used);
                Ok(used)
            }
            State::Block { has_checksum } => self.block(has_checksum, input, output),
            State::Checksum => {
                let Some(checksum) = input.get(..CHECKSUM) else {
                    return Ok(0);
                };
                self.unpack(checksum)?;
                self.end(output)?;
                Ok(CHECKSUM)
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.is_whole || matches!(self.state, State::Skippable(0))
    }
}

fn split_u32(input: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = input.split_first_chunk()?;
    Some((u32::from_le_bytes(first), rest))
}

/// Octets of a frame's header behind its descriptor (RFC 8878 §3.1.1.1).
fn after_descriptor(descriptor: u8) -> usize {
    let is_single_segment = descriptor & 0x20 != 0;
    let window = usize::from(!is_single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    window + dictionary + content_size
}
