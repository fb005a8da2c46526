//! Brotli (RFC 7932), taken off piece by piece. Windows beyond the standard's 16 MiB are refused.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Layer, STEP, Undecodable};

pub(super) struct Brotli {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    produced: usize,
    is_whole: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())),
            produced: 0,
            is_whole: false,
        }
    }
}

impl Layer for Brotli {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Undecodable> {
        if self.is_whole {
            return match input.is_empty() {
                true => Ok(0),
                false => Err(Undecodable::Broken),
            };
        }
        let start = output.len();
        output.resize(start + STEP, 0);
        let (mut waiting, mut used) = (input.len(), 0);
        let (mut room, mut written) = (STEP, 0);
        let result = BrotliDecompressStream(
            &mut waiting,
            &mut used,
            input,
            &mut room,
            &mut written,
            output.get_mut(start..).unwrap_or_default(),
            &mut self.produced,
            &mut self.state,
        );
        output.truncate(start + written);
        match result {
            BrotliResult::ResultFailure => return Err(Undecodable::Broken),
            BrotliResult::ResultSuccess => self.is_whole = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => (),
        }
        Ok(used)
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }
}
