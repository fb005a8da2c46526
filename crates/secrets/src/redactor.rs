//! Takes attached values out of an answer again: whoever echoes a credential echoes its decoy. Works
//! on a stream without delaying it: bytes are held back only while they could be the beginning of a
//! value, so an event stream flows.
//!
//! Best effort by nature: an answer can spell a value in ways that nobody foresees. Read over identity
//! encoding only.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{AhoCorasick, Anchored, MatchKind};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encoding::spellings;

/// Spellings shorter than this are too likely to stand for something else.
const SHORTEST: usize = 6;

/// Replaces values by their decoys in a stream.
pub struct Redactor {
    table: Arc<Table>,
    held: Vec<u8>,
}

struct Table {
    finder: Option<AhoCorasick>,
    /// Tells whether a stream ends within a needle.
    prefixes: Option<NFA>,
    needles: Vec<Zeroizing<Vec<u8>>>,
    replacements: Vec<Vec<u8>>,
    longest: usize,
}

impl Redactor {
    /// A redactor for pairs of value and decoy. Every spelling of a value (raw, base64, hexadecimal,
    /// percent-encoded, JSON-escaped, in UTF-16) becomes the same spelling of its decoy. A decoy of the value's
    /// length and shape keeps the length of what it stands in; otherwise lengths may change.
    pub fn new(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let spelled = |(value, decoy): &(Vec<u8>, Vec<u8>)| -> Vec<_> {
            let narrow = spellings(value).into_iter().zip(spellings(decoy));
            let wide = utf16(value).into_iter().zip(utf16(decoy));
            narrow.chain(wide).collect()
        };
        Self::of(pairs, spelled)
    }

    /// A redactor that puts a notice, as it is, where any spelling of a value stood: for texts that
    /// people read.
    pub fn with_notices(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let spelled = |(value, notice): &(Vec<u8>, Vec<u8>)| -> Vec<_> {
            let all = spellings(value).into_iter();
            all.map(|spelling| (spelling, notice.clone())).collect()
        };
        Self::of(pairs, spelled)
    }

    fn of(
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
        spelled: impl Fn(&(Vec<u8>, Vec<u8>)) -> Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Self {
        let mut needles: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut replacements = Vec::new();
        let mut seen = HashSet::new();
        for pair in &pairs {
            for (needle, replacement) in spelled(pair) {
                if needle.len() >= SHORTEST && seen.insert(Sha256::digest(&needle)) {
                    needles.push(Zeroizing::new(needle));
                    replacements.push(replacement);
                }
            }
        }
        for (value, _) in pairs {
            drop(Zeroizing::new(value));
        }
        let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or(0);
        let some = !needles.is_empty();
        let finder = some
            .then(|| {
                AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(needles.iter().map(|needle| needle.as_slice()))
                    .ok()
            })
            .flatten();
        let prefixes = some
            .then(|| {
                NFA::builder()
                    .prefilter(false)
                    .build(needles.iter().map(|needle| needle.as_slice()))
                    .ok()
            })
            .flatten();
        Self {
            table: Arc::new(Table {
                finder,
                prefixes,
                needles,
                replacements,
                longest,
            }),
            held: Vec::new(),
        }
    }

    /// A redactor of the same values for another stream; cheap.
    #[must_use]
    pub fn for_another_stream(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            held: Vec::new(),
        }
    }

    /// Takes the next bytes and gives those that may go on.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.table.finder.is_none() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let (out, rest) = self.table.redact(&self.held, true);
        self.held.drain(..rest);
        out
    }

    /// The stream has ended: gives what was held back.
    pub fn finish(self) -> Vec<u8> {
        self.table.redact(&self.held, false).0
    }

    /// Whether a field's name, which HTTP folds to lower case, has a spelling of a value in it.
    pub fn is_told_by_name(&self, name: &str) -> bool {
        // Few names are as long as any value's spelling.
        let fits = |needle: &&Zeroizing<Vec<u8>>| needle.len() <= name.len();
        self.table.needles.iter().filter(fits).any(|needle| {
            let mut parts = name.as_bytes().windows(needle.len());
            parts.any(|part| part.eq_ignore_ascii_case(needle))
        })
    }

    /// `bytes` with every value replaced, when all of them are at hand.
    pub fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        self.table.redact(bytes, false).0
    }
}

/// A value of ASCII as UTF-16 has it, in both orders.
fn utf16(value: &[u8]) -> [Vec<u8>; 2] {
    let little = value.iter().flat_map(|byte| [*byte, 0]).collect();
    let big = value.iter().flat_map(|byte| [0, *byte]).collect();
    [little, big]
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} spellings)", self.table.needles.len())
    }
}

impl Table {
    /// The redacted front of `bytes`, and how many bytes of `bytes` it stands for.
    fn redact(&self, bytes: &[u8], more_may_come: bool) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let limit = if more_may_come {
                at + self.unfinished(rest)
            } else {
                bytes.len()
            };
            let found = self.finder.as_ref().and_then(|finder| finder.find(rest));
            // A match that begins where something unfinished begins may turn out longer.
            match found.map(|found| (found.start() + at, found.end() + at, found.pattern())) {
                Some((start, end, pattern)) if start < limit => {
                    out.extend_from_slice(bytes.get(at..start).unwrap_or_default());
                    if let Some(replacement) = self.replacements.get(pattern.as_usize()) {
                        out.extend_from_slice(replacement);
                    }
                    at = end;
                }
                _ => {
                    out.extend_from_slice(bytes.get(at..limit).unwrap_or_default());
                    return (out, limit);
                }
            }
        }
    }

    /// Where the longest tail of `bytes` begins that is the beginning, and not the whole, of a needle;
    /// the length of `bytes` where there is none.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let tail = bytes.get(from..).unwrap_or_default();
        if !self.ends_within_needle(tail) {
            return bytes.len();
        }
        (from..bytes.len())
            .find(|&start| {
                bytes.get(start..).is_some_and(|tail| {
                    self.needles
                        .iter()
                        .any(|needle| needle.len() > tail.len() && needle.starts_with(tail))
                })
            })
            .unwrap_or(bytes.len())
    }

    fn ends_within_needle(&self, tail: &[u8]) -> bool {
        let Some(automaton) = &self.prefixes else {
            return false;
        };
        let Ok(start) = automaton.start_state(Anchored::No) else {
            return true;
        };
        let end = tail.iter().fold(start, |state, &byte| {
            automaton.next_state(Anchored::No, state, byte)
        });
        end != start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoy::DecoyKey;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"sk-ant-api03-AbCdEfGhIjKlMnOpQrSt/+=x";

    fn decoy() -> Vec<u8> {
        DecoyKey::derive(b"install", b"workspace").decoy(SECRET)
    }

    fn redactor() -> Redactor {
        Redactor::new(vec![(SECRET.to_vec(), decoy())])
    }

    #[test]
    fn invariant_3_every_spelling_becomes_the_decoys() {
        for (spelling, expected) in spellings(SECRET).into_iter().zip(spellings(&decoy())) {
            let answer = [b"{\"echo\":\"", spelling.as_slice(), b"\"}"].concat();
            assert_eq!(
                redactor().redact(&answer),
                [b"{\"echo\":\"", expected.as_slice(), b"\"}"].concat()
            );
        }
    }

    #[test]
    fn invariant_3_a_value_in_utf16_becomes_the_decoys() {
        for (value, decoy) in utf16(SECRET).into_iter().zip(utf16(&decoy())) {
            let answer = [b"\xff\xfex\0", value.as_slice(), b"y\0"].concat();
            let expected = [b"\xff\xfex\0", decoy.as_slice(), b"y\0"].concat();
            assert_eq!(redactor().redact(&answer), expected);
        }
    }

    #[test]
    fn an_event_stream_is_not_held_back() {
        let mut redactor = redactor();
        assert_eq!(
            redactor.feed(b"data: {\"a\":1}\n\n"),
            b"data: {\"a\":1}\n\n"
        );
        assert_eq!(redactor.feed(b"data: sk-an"), b"data: ");
        assert_eq!(redactor.feed(b"other\n\n"), b"sk-another\n\n");
        assert_eq!(redactor.feed(b"sk-ant"), b"");
        assert_eq!(redactor.finish(), b"sk-ant");
    }

    #[test]
    fn invariant_3_a_name_of_a_field_tells_no_value() {
        let value = String::from_utf8(SECRET.to_vec()).unwrap();
        let folded = format!("x-{}-y", value.to_lowercase());
        assert!(redactor().is_told_by_name(&folded));
        assert!(redactor().is_told_by_name(&value));
        assert!(!redactor().is_told_by_name("x-sk-ant-api03-something-of-that-length-or-more"));
        assert!(!redactor().is_told_by_name(""));
    }

    #[test]
    fn no_pairs_and_empty_values_change_nothing() {
        for pairs in [
            vec![],
            vec![(vec![], vec![])],
            vec![(b"abc".to_vec(), b"xyz".to_vec())],
        ] {
            let mut redactor = Redactor::new(pairs);
            assert_eq!(redactor.feed(b"abc"), b"abc");
            assert_eq!(redactor.finish(), b"");
        }
    }

    #[test]
    fn invariant_3_debug_shows_no_value() {
        let mut redactor = redactor();
        redactor.feed(SECRET);
        assert!(!format!("{redactor:?}").contains("AbCd"));
    }

    proptest! {
        #[test]
        fn invariant_3_redaction_does_not_depend_on_chunks(
            // Two values, one the beginning of the other, over a small alphabet: overlaps abound.
            text in "[ab/]{0,80}",
            cuts in proptest::collection::vec(0_usize..80, 0..6),
        ) {
            let redactor = Redactor::new(vec![
                (b"aab/ab".to_vec(), b"xxx/xx".to_vec()),
                (b"aab/abab/b".to_vec(), b"yyy/yyyy/y".to_vec()),
                (b"b/abaab".to_vec(), b"z/zzzzz".to_vec()),
            ]);
            let whole = redactor.redact(text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut stream = redactor.for_another_stream();
            let mut out = Vec::new();
            let mut at = 0;
            for cut in cuts {
                out.extend(stream.feed(&text.as_bytes()[at..cut]));
                at = cut;
            }
            out.extend(stream.finish());
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn invariant_3_no_value_passes_whatever_the_split(cut in 0_usize..60, which in 0_usize..30) {
            let all = spellings(SECRET);
            let spelling = &all[which % all.len()];
            let text = [b"x", spelling.as_slice(), b"y"].concat();
            let cut = cut.min(text.len());
            let mut stream = redactor();
            let mut out = stream.feed(&text[..cut]);
            out.extend(stream.feed(&text[cut..]));
            out.extend(stream.finish());
            prop_assert!(!out.windows(spelling.len()).any(|window| window == spelling));
        }
    }
}
