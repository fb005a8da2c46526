//! Carries an edit of a twin over to the file behind it. A decoy that stands where it stood becomes its
//! value again; one that stands anywhere else stays a decoy, so that an edit moves no value to a place
//! from which a program of the person would show or send it.
//!
//! "Where it stood" is a whole line of the twin, whatever its indentation and place in the file; a
//! block of bare lines, as in a private key, only as a whole and below the line that introduces it; in
//! one-line formats a field with the same name and exactly the same text between its quotes or blanks,
//! the host of a URL included. What once stood is remembered: a line that was removed and comes back
//! gets its value back.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::detector::Detector;

/// What stands in a file where its twin has decoys.
#[derive(Clone, Default)]
pub struct Edits {
    /// Lines with decoys, trimmed, by the first of them; what the file has there. The longest first.
    places: HashMap<Vec<u8>, Vec<Place>>,
    /// Fields with decoys: name, and the whole text between quotes or blanks.
    fields: HashMap<(String, Vec<u8>), Vec<u8>>,
    /// A file that is shown as zeros.
    whole: Option<Vec<u8>>,
}

/// One line, or a block of lines that belong together.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    twin: Vec<Vec<u8>>,
    real: Vec<Vec<u8>>,
}

/// An edited twin, carried over.
#[derive(Clone, PartialEq, Eq)]
pub struct Carried {
    /// What belongs into the file.
    pub bytes: Vec<u8>,
    /// Ranges of `bytes` that are lines whose decoys became values again.
    pub restored: Vec<Range<usize>>,
}

impl Edits {
    /// Learns what stands in `real`, a file, where `twin`, its twin, has decoys. `false`, and nothing is
    /// learned, where the two do not have the same lines: then one is no twin of the other. A twin of zeros stands
    /// for all of its file.
    pub fn learn(&mut self, path: &Path, real: &[u8], twin: &[u8]) -> bool {
        if real.len() == twin.len() && is_zeros(twin) {
            self.whole = Some(real.to_vec());
            return true;
        }
        if !is_twin(real, twin) {
            return false;
        }
        let lines: Vec<Range<usize>> = lines(twin).collect();
        let mut at = 0;
        while at < lines.len() {
            let differs = |line: usize| {
                lines
                    .get(line)
                    .is_some_and(|line| real.get(line.clone()) != twin.get(line.clone()))
            };
            if !differs(at) {
                at += 1;
                continue;
            }
            // A block without names of its own belongs to the line above it.
            let first = if at > 0 && is_bare(trimmed(twin, &lines[at])) {
                at - 1
            } else {
                at
            };
            let mut end = at + 1;
            while differs(end) && is_bare(trimmed(twin, &lines[end])) {
                end += 1;
            }
            let of = |bytes: &[u8]| {
                lines[first..end]
                    .iter()
                    .map(|line| trimmed(bytes, line).to_vec())
                    .collect::<Vec<_>>()
            };
            self.add(Place {
                twin: of(twin),
                real: of(real),
            });
            at = end;
        }
        for finding in Detector::builtin().scan(path, twin) {
            let (Some(key), token) = (finding.key, token(twin, finding.span)) else {
                continue;
            };
            let (Some(shown), Some(value)) = (twin.get(token.clone()), real.get(token)) else {
                continue;
            };
            if shown != value {
                self.fields.insert((key, shown.to_vec()), value.to_vec());
            }
        }
        true
    }

    /// Learns what `other` knows.
    pub fn extend(&mut self, other: Edits) {
        for place in other.places.into_values().flatten() {
            self.add(place);
        }
        self.fields.extend(other.fields);
    }

    /// The lines of a carried edit, from 1, in which a decoy of the twin stands that did not become its
    /// value. Decoys of less than eight characters are not looked for: they would be found by chance.
    pub fn misplaced(&self, carried: &Carried) -> Vec<usize> {
        let Ok(decoys) = aho_corasick::AhoCorasick::new(self.decoys()) else {
            return Vec::new();
        };
        lines(&carried.bytes)
            .enumerate()
            .filter(|(_, line)| {
                let restored = carried
                    .restored
                    .iter()
                    .any(|range| range.start <= line.start && line.end <= range.end);
                let text = carried.bytes.get(line.clone()).unwrap_or_default();
                !restored && decoys.is_match(text)
            })
            .map(|(number, _)| number + 1)
            .collect()
    }

    /// The longest stretches by which the twin differs from its file.
    fn decoys(&self) -> Vec<Vec<u8>> {
        let mut decoys = Vec::new();
        for place in self.places.values().flatten() {
            for (twin, real) in place.twin.iter().zip(&place.real) {
                let differs = |at: &usize| twin.get(*at) != real.get(*at);
                let first = (0..twin.len()).find(differs);
                let last = (0..twin.len()).rfind(differs);
                if let (Some(first), Some(last)) = (first, last)
                    && last - first >= 8
                {
                    decoys.push(twin[first..=last].to_vec());
                }
            }
        }
        decoys
    }

    fn add(&mut self, place: Place) {
        let Some(first) = place.twin.first().cloned() else {
            return;
        };
        let places = self.places.entry(first).or_default();
        places.retain(|known| known.twin != place.twin);
        places.push(place);
        places.sort_by_key(|place| usize::MAX - place.twin.len());
    }

    /// The file that `edited`, the twin after an edit, stands for.
    pub fn carry(&self, path: &Path, edited: &[u8]) -> Carried {
        if let Some(real) = self
            .whole
            .as_ref()
            .filter(|real| real.len() == edited.len() && is_zeros(edited))
        {
            return Carried {
                bytes: real.clone(),
                restored: std::iter::once(0..real.len()).collect(),
            };
        }
        let lines: Vec<Range<usize>> = lines(edited).collect();
        let mut carried = Carried {
            bytes: Vec::with_capacity(edited.len()),
            restored: Vec::new(),
        };
        let mut fields = None;
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let found = self.places.get(trimmed(edited, line)).and_then(|places| {
                places.iter().find(|place| {
                    place.twin.iter().enumerate().all(|(offset, shown)| {
                        lines
                            .get(at + offset)
                            .is_some_and(|line| trimmed(edited, line) == shown)
                    })
                })
            });
            let start = carried.bytes.len();
            let Some(place) = found else {
                let fields = fields.get_or_insert_with(|| self.fields_in(path, edited));
                if put_line(edited, line, fields, &mut carried.bytes) {
                    carried.restored.push(start..carried.bytes.len());
                }
                at += 1;
                continue;
            };
            for (line, real) in lines.iter().skip(at).zip(&place.real) {
                let whole = edited.get(line.clone()).unwrap_or_default();
                let front = whole.len() - whole.trim_ascii_start().len();
                let back = whole.trim_ascii_end().len();
                carried.bytes.extend_from_slice(&whole[..front]);
                carried.bytes.extend_from_slice(real);
                carried.bytes.extend_from_slice(&whole[back.max(front)..]);
            }
            carried.restored.push(start..carried.bytes.len());
            at += place.real.len();
        }
        carried
    }

    /// Fields of an edited twin whose name and text are those of a field that it had.
    fn fields_in(&self, path: &Path, edited: &[u8]) -> Vec<(Range<usize>, &[u8])> {
        if self.fields.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<(Range<usize>, &[u8])> = Vec::new();
        for finding in Detector::builtin().scan(path, edited) {
            let token = token(edited, finding.span);
            let text = edited.get(token.clone()).unwrap_or_default().to_vec();
            let Some(real) = finding.key.and_then(|key| self.fields.get(&(key, text))) else {
                continue;
            };
            if found.last().is_none_or(|(last, _)| last.end <= token.start) {
                found.push((token, real));
            }
        }
        found
    }
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Edits({} places)", self.places.len())
    }
}

/// Whether `twin` has the length and the lines of `real`.
fn is_zeros(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| byte == 0)
}

fn is_twin(real: &[u8], twin: &[u8]) -> bool {
    real.len() == twin.len()
        && real
            .iter()
            .zip(twin)
            .all(|(&real, &twin)| (real == b'\n') == (twin == b'\n'))
}

/// Writes a line with those of its fields replaced; whether there was any.
fn put_line(
    edited: &[u8],
    line: &Range<usize>,
    fields: &[(Range<usize>, &[u8])],
    out: &mut Vec<u8>,
) -> bool {
    let mut from = line.start;
    for (span, real) in fields {
        if span.start >= from && span.end <= line.end {
            out.extend_from_slice(edited.get(from..span.start).unwrap_or_default());
            out.extend_from_slice(real);
            from = span.end;
        }
    }
    out.extend_from_slice(edited.get(from..line.end).unwrap_or_default());
    from > line.start
}

/// The lines of `bytes`, with their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(move |line| {
            at += line.len();
            at - line.len()..at
        })
}

fn trimmed<'a>(bytes: &'a [u8], line: &Range<usize>) -> &'a [u8] {
    bytes.get(line.clone()).unwrap_or_default().trim_ascii()
}

/// Whether a line is nothing but the alphabet of base64, as in the body of a key: it has no name.
fn is_bare(line: &[u8]) -> bool {
    let padding = line.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = line.get(..line.len() - padding).unwrap_or_default();
    !body.is_empty()
        && padding <= 2
        && body
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        || line.starts_with(b"-----END ")
}

/// All around `span` that stands between the same quotes or blanks, on its line.
fn token(bytes: &[u8], span: Range<usize>) -> Range<usize> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`<>".contains(byte);
    let start = bytes
        .get(..span.start)
        .and_then(|front| front.iter().rposition(ends))
        .map_or(0, |at| at + 1);
    let end = bytes
        .get(span.end..)
        .and_then(|rest| rest.iter().position(ends))
        .map_or(bytes.len(), |length| span.end + length);
    start..end
}

#[cfg(test)]
mod tests;
