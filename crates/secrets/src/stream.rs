//! The detector over a stream whose end nobody waits for: what passes a gate, a file too large to hold.
//!
//! The stream is cut into windows at places that depend on the stream alone, so it does not matter how
//! it arrives; windows overlap by more than any finding but a giant one is long. Memory is bounded by a
//! window, whatever the stream is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::detector::Detector;
use crate::finding::Finding;
use crate::twin::Wide;

/// What is looked at in one go. Even, so that no window begins within a unit of UTF-16.
const WINDOW: usize = 256 * 1024;
/// What two windows share: a finding that begins before it is whole in the first of them.
const OVERLAP: usize = 32 * 1024;
/// What a window sees of what is before it: names and the beginning of a line.
const CONTEXT: usize = 4 * 1024;

/// Finds credentials in bytes that come in parts.
pub struct StreamScan {
    path: PathBuf,
    wide: Option<Wide>,
    held: VecDeque<u8>,
    /// Offset in the stream of the first held byte.
    offset: u64,
    /// Findings that begin before this offset are told already.
    told: u64,
}

/// A finding in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFinding {
    /// Offset of its first byte in the stream.
    pub start: u64,
    /// What was found; its span counts from `start`.
    pub finding: Finding,
}

impl StreamScan {
    /// For the content of `path`, which decides how strictly it is read, as in [`Detector::scan`].
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            wide: None,
            held: VecDeque::new(),
            offset: 0,
            told: 0,
        }
    }

    /// What is certain after these bytes, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<StreamFinding> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = WINDOW - self.held.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.held.extend(now);
            rest = later;
            if self.held.len() == WINDOW {
                self.look(WINDOW - OVERLAP, &mut found);
                self.held.drain(..WINDOW - OVERLAP - CONTEXT);
                self.offset += (WINDOW - OVERLAP - CONTEXT) as u64;
            }
        }
        found
    }

    /// What is in the rest, when the stream is over.
    pub fn finish(mut self) -> Vec<StreamFinding> {
        let mut found = Vec::new();
        self.look(self.held.len(), &mut found);
        found
    }

    /// Tells what begins in the first `certain` bytes of those held.
    fn look(&mut self, certain: usize, found: &mut Vec<StreamFinding>) {
        let bytes: &[u8] = self.held.make_contiguous();
        if self.offset == 0 {
            self.wide = Wide::of(bytes);
        }
        let findings = Detector::builtin().scan_as(&self.path, bytes, self.wide);
        let until = self.offset + certain as u64;
        for finding in findings {
            let start = self.offset + finding.span.start as u64;
            let length = finding.span.len();
            if start < self.told || start >= until {
                continue;
            }
            self.told = start + length as u64;
            found.push(StreamFinding {
                start,
                finding: Finding {
                    span: 0..length,
                    ..finding
                },
            });
        }
        self.told = self.told.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "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";

    fn scan(bytes: &[u8], parts: &[usize]) -> Vec<(u64, String)> {
        let mut scan = StreamScan::new(Path::new("body.json"));
        let mut found = Vec::new();
        let mut rest = bytes;
        let mut parts = parts.iter().cycle();
        while !rest.is_empty() {
            let part = parts
                .next()
                .copied()
                .unwrap_or(rest.len())
                .clamp(1, rest.len());
            let (now, later) = rest.split_at(part);
            found.extend(scan.feed(now));
            rest = later;
        }
        found.extend(scan.finish());
        found
            .into_iter()
            .map(|found| (found.start, found.finding.kind))
            .collect()
    }

    #[test]
    fn memory_is_bounded() {
        let mut scan = StreamScan::new(Path::new("x"));
        for _ in 0..40 {
            scan.feed(&[b'a'; 100_000]);
            assert!(scan.held.len() <= WINDOW);
        }
    }

    #[test]
    fn utf_16_is_read_beyond_the_first_window() {
        let text = format!("{}\npassword = kJ8s0qW2zR5tXv\n", "x ".repeat(WINDOW / 2));
        let mut bytes = vec![0xFF, 0xFE];
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut scan = StreamScan::new(Path::new("a.ini"));
        let mut found = scan.feed(&bytes);
        found.extend(scan.finish());
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Wherever a credential lies and however the stream is cut: what a scan of the whole finds.
        #[test]
        fn a_stream_has_the_findings_of_the_whole(
            gaps in prop::collection::vec(0usize..120_000, 1..6),
            parts in prop::collection::vec(1usize..90_000, 1..5),
            near in -3000i64..3000,
        ) {
            let mut text = String::new();
            for (number, gap) in gaps.iter().enumerate() {
                let lines = gap / 24;
                text.extend((0..lines).map(|line| format!("a line with number {line:05}\n")));
                text.push_str(&format!("{{\"name{number}\": \"x\", \"token\": \"{TOKEN}\"}}\n"));
            }
            // One of them at the edge of a window.
            let edge = (WINDOW - OVERLAP) as i64 + near;
            if let Some(room) = usize::try_from(edge).ok().and_then(|edge| edge.checked_sub(text.len())) {
                text.push_str(&"\n".repeat(room));
                text.push_str(&format!("token = \"{TOKEN}\"\n"));
            }
            let whole: Vec<_> = Detector::builtin()
                .scan(Path::new("body.json"), text.as_bytes())
                .into_iter()
                .map(|finding| (finding.span.start as u64, finding.kind))
                .collect();
            prop_assert_eq!(whole.len(), text.matches(TOKEN).count());
            prop_assert_eq!(&scan(text.as_bytes(), &parts), &whole);
            prop_assert_eq!(&scan(text.as_bytes(), &[text.len()]), &whole);
        }
    }
}
