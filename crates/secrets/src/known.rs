//! Known secrets: values that Tagout holds or has seen, recognised wherever they turn up. Matching is
//! exact, so it is the one mechanism with near-complete recall, and it runs over a stream: a value
//! cut in two by a chunk border is found as if there were none.
//!
//! A sender may mix encodings (`%61bc`, half of a JSON string escaped), so nobody lists spellings
//! here. Instead the stream is read in several ways at once - as it is, without percent-encoding
//! (once and twice), without JSON escapes, without both, without white space, in lower case - and each
//! reading runs
//! through an automaton of the values and their base64.

use std::fmt;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encoding::{Encoding, Escapes, Unescaper, base64_forms, hex_form};

/// Values shorter than this are matched in credential slots only.
const SHORTEST: usize = 12;

/// A set of values that must not leave, with the name that may be said of each.
#[derive(Clone)]
pub struct KnownSecrets {
    shared: Arc<Shared>,
}

struct Shared {
    values: Vec<Known>,
    /// The values as they are and in base64.
    exact: Needles,
    /// The values in lower-case hexadecimal, run over the stream in lower case.
    hex: Needles,
}

struct Known {
    label: String,
    value: Zeroizing<Vec<u8>>,
    guessable: bool,
}

/// A known value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The name that may be said of it.
    pub label: String,
    /// How it was written.
    pub encoding: Encoding,
}

impl KnownSecrets {
    /// A set from label, value, and whether the value is guessable. Values that are guessable or
    /// under 12 bytes are recognised by [`label_of`](Self::label_of) only.
    pub fn new(values: impl IntoIterator<Item = (String, Vec<u8>, bool)>) -> Self {
        Self::from_known(
            values
                .into_iter()
                .map(|(label, value, guessable)| Known {
                    label,
                    value: Zeroizing::new(value),
                    guessable,
                })
                .collect(),
        )
    }

    /// This set and more values. Automata are built anew: for the few moments in a session when a
    /// value becomes known.
    #[must_use]
    pub fn with(&self, values: impl IntoIterator<Item = (String, Vec<u8>, bool)>) -> Self {
        let mut all: Vec<Known> = self
            .shared
            .values
            .iter()
            .map(|known| Known {
                label: known.label.clone(),
                value: known.value.clone(),
                guessable: known.guessable,
            })
            .collect();
        all.extend(values.into_iter().map(|(label, value, guessable)| Known {
            label,
            value: Zeroizing::new(value),
            guessable,
        }));
        Self::from_known(all)
    }

    fn from_known(mut values: Vec<Known>) -> Self {
        values.retain(|known| !known.value.is_empty());
        let mut seen = std::collections::HashSet::new();
        values.retain(|known| seen.insert(Sha256::digest(known.value.as_slice())));
        let mut exact = Vec::new();
        let mut hex = Vec::new();
        for (index, known) in values.iter().enumerate() {
            if known.guessable || known.value.len() < SHORTEST {
                continue;
            }
            exact.push((known.value.to_vec(), index, Encoding::Raw));
            // One reading has no white space, and forms write a space as a plus sign.
            let solid: Vec<u8> = known
                .value
                .iter()
                .copied()
                .filter(|byte| !is_white_space(*byte))
                .collect();
            if solid.len() < known.value.len() {
                if solid.len() >= SHORTEST {
                    exact.push((solid, index, Encoding::Raw));
                }
                let plus = known
                    .value
                    .iter()
                    .map(|&b| if b == b' ' { b'+' } else { b });
                exact.push((plus.collect(), index, Encoding::Percent));
            }
            for form in base64_forms(&known.value) {
                exact.push((form, index, Encoding::Base64));
            }
            hex.push((hex_form(&known.value), index, Encoding::Hex));
        }
        Self {
            shared: Arc::new(Shared {
                values,
                exact: Needles::new(exact),
                hex: Needles::new(hex),
            }),
        }
    }

    /// How many values are known.
    pub fn len(&self) -> usize {
        self.shared.values.len()
    }

    /// Whether no value is known.
    pub fn is_empty(&self) -> bool {
        self.shared.values.is_empty()
    }

    /// The label of the value that equals `value`, short and guessable ones too: for a place that
    /// carries credentials and nothing else.
    pub fn label_of(&self, value: &[u8]) -> Option<&str> {
        self.shared
            .values
            .iter()
            .find(|known| known.value.as_slice() == value)
            .map(|known| known.label.as_str())
    }

    /// The first known value in `bytes`, in any encoding.
    pub fn find(&self, bytes: &[u8]) -> Option<Hit> {
        self.stream().feed(bytes)
    }

    /// Finds in a stream.
    pub fn stream(&self) -> StreamFinder {
        StreamFinder {
            shared: Arc::clone(&self.shared),
            raw: Cursor::default(),
            solid: Cursor::default(),
            lower: Cursor::default(),
            layers: [
                Layer::new(Escapes::Percent, None),
                Layer::new(Escapes::Backslash, None),
                Layer::new(Escapes::Percent, Some(Escapes::Backslash)),
                Layer::new(Escapes::Percent, Some(Escapes::Percent)),
            ],
        }
    }

    /// Label, value and whether it is guessable, of everything: for putting sets together.
    pub fn values(&self) -> impl Iterator<Item = (String, Vec<u8>, bool)> {
        self.shared
            .values
            .iter()
            .map(|known| (known.label.clone(), known.value.to_vec(), known.guessable))
    }

    /// Label and value of everything that is matched outside slots, for a redactor.
    pub fn matchable(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.shared
            .values
            .iter()
            .filter(|known| !known.guessable && known.value.len() >= SHORTEST)
            .map(|known| (known.label.as_str(), known.value.as_slice()))
    }
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownSecrets({} values)", self.len())
    }
}

/// Looks for known values in a stream. Feed it every byte, in any chunks.
#[derive(Clone)]
pub struct StreamFinder {
    shared: Arc<Shared>,
    raw: Cursor,
    solid: Cursor,
    lower: Cursor,
    layers: [Layer; 4],
}

impl StreamFinder {
    /// Takes the next bytes of the stream; answers the first known value that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Hit> {
        let shared = Arc::clone(&self.shared);
        if shared.exact.is_empty() {
            return None;
        }
        for &byte in bytes {
            // A layer reads as the raw stream does until the first escape; it joins there.
            for layer in &mut self.layers {
                if !layer.joined && layer.begins_with(byte) {
                    layer.joined = true;
                    layer.cursor = self.raw;
                }
            }
            let mut found = shared.exact.step(&mut self.raw, byte);
            if !is_white_space(byte) {
                found = found.or(shared.exact.step(&mut self.solid, byte));
            }
            found = found.or(shared.hex.step(&mut self.lower, byte.to_ascii_lowercase()));
            for layer in self.layers.iter_mut().filter(|layer| layer.joined) {
                found = found.or(layer.step(byte, &shared.exact));
                // Once it stands where the raw stream does, it reads as that again.
                layer.joined = !(layer.is_idle() && layer.cursor == self.raw);
            }
            if let Some((index, encoding)) = found {
                return Some(shared.hit(index, encoding));
            }
        }
        None
    }
}

impl fmt::Debug for StreamFinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamFinder")
    }
}

impl Shared {
    fn hit(&self, index: usize, encoding: Encoding) -> Hit {
        Hit {
            label: self
                .values
                .get(index)
                .map(|known| known.label.clone())
                .unwrap_or_default(),
            encoding,
        }
    }
}

/// The stream without one or two layers of escapes.
#[derive(Clone)]
struct Layer {
    outer: Unescaper,
    inner: Option<Unescaper>,
    kind: Escapes,
    cursor: Cursor,
    joined: bool,
}

impl Layer {
    fn new(outer: Escapes, inner: Option<Escapes>) -> Self {
        Self {
            outer: Unescaper::new(outer),
            inner: inner.map(Unescaper::new),
            kind: outer,
            cursor: Cursor::default(),
            joined: false,
        }
    }

    /// Whether no escape is under way.
    fn is_idle(&self) -> bool {
        self.outer.is_idle() && self.inner.as_ref().is_none_or(Unescaper::is_idle)
    }

    /// Whether `byte` begins an escape of one of the layers.
    fn begins_with(&self, byte: u8) -> bool {
        byte == Unescaper::introducer(self.kind) || (self.inner.is_some() && byte == b'\\')
    }

    fn step(&mut self, byte: u8, needles: &Needles) -> Option<(usize, Encoding)> {
        let Self {
            outer,
            inner,
            cursor,
            kind,
            ..
        } = self;
        let mut found = None;
        let mut advance = |byte| found = found.or(needles.step(cursor, byte));
        match inner {
            None => outer.push(byte, advance),
            Some(inner) => outer.push(byte, |byte| inner.push(byte, &mut advance)),
        }
        let outermost = match kind {
            Escapes::Percent => Encoding::Percent,
            Escapes::Backslash => Encoding::Json,
        };
        found.map(|(index, encoding)| match encoding {
            Encoding::Raw => (index, outermost),
            other => (index, other),
        })
    }
}

/// Where one reading of a stream stands.
#[derive(Clone, Copy, Default, PartialEq)]
struct Cursor {
    /// The last four bytes.
    recent: u32,
    /// The automaton's state while the last bytes are the beginning of a needle.
    within: Option<StateID>,
}

/// An automaton and, for each of its patterns, whose value it is and how written.
struct Needles {
    automaton: Option<(NFA, StateID)>,
    patterns: Vec<(usize, Encoding)>,
    /// One bit for each first four bytes of a needle. Most of a stream fails this test, and the
    /// automaton need not run there.
    beginnings: Vec<u64>,
}

/// The number of bits in [`Needles::beginnings`], as a power of two: 32 KiB.
const BEGINNING_BITS: u32 = 18;

impl Needles {
    fn new(needles: Vec<(Vec<u8>, usize, Encoding)>) -> Self {
        let needles: Vec<_> = needles
            .into_iter()
            .filter(|(bytes, ..)| bytes.len() >= SHORTEST)
            .collect();
        let mut beginnings = vec![0_u64; 1 << (BEGINNING_BITS - 6)];
        for (bytes, ..) in &needles {
            if let Some(first) = bytes.first_chunk() {
                let (word, bit) = place_of(u32::from_be_bytes(*first));
                if let Some(bits) = beginnings.get_mut(word) {
                    *bits |= bit;
                }
            }
        }
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(needles.iter().map(|(bytes, ..)| bytes))
            .ok()
            .filter(|_| !needles.is_empty())
            .and_then(|automaton| {
                let start = automaton.start_state(Anchored::No).ok()?;
                Some((automaton, start))
            });
        Self {
            automaton,
            patterns: needles
                .into_iter()
                .map(|(_, index, encoding)| (index, encoding))
                .collect(),
            beginnings,
        }
    }

    fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// Advances by one byte; answers the needle that it completes.
    fn step(&self, cursor: &mut Cursor, byte: u8) -> Option<(usize, Encoding)> {
        cursor.recent = cursor.recent << 8 | u32::from(byte);
        let (automaton, start) = self.automaton.as_ref()?;
        let Some(state) = cursor.within else {
            let (word, bit) = place_of(cursor.recent);
            if self
                .beginnings
                .get(word)
                .is_some_and(|bits| bits & bit != 0)
            {
                let state = cursor
                    .recent
                    .to_be_bytes()
                    .iter()
                    .fold(*start, |state, &byte| {
                        automaton.next_state(Anchored::No, state, byte)
                    });
                cursor.within = Some(state).filter(|state| state != start);
            }
            return None;
        };
        let state = automaton.next_state(Anchored::No, state, byte);
        cursor.within = Some(state).filter(|state| state != start);
        if !automaton.is_match(state) {
            return None;
        }
        self.patterns
            .get(automaton.match_pattern(state, 0).as_usize())
            .copied()
    }
}

/// The word and the bit of [`Needles::beginnings`] for four bytes (Fibonacci hashing).
fn place_of(four: u32) -> (usize, u64) {
    let bit = four.wrapping_mul(0x9E37_79B1) >> (32 - BEGINNING_BITS);
    ((bit >> 6) as usize, 1 << (bit & 63))
}

/// What the reading without white space leaves out; NUL too, which UTF-16 puts beside each character.
fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)
}

#[cfg(test)]
mod tests;
