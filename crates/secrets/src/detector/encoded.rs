//! Credentials in an encoding: base64 and percent-encoding around something that the detector knows, and
//! the values of a Kubernetes Secret, all of which are base64. What is found within is found here; one
//! encoding within the other, and no deeper.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Detector, Scan};
use crate::file_kind::FileKind;
use crate::finding::{Confidence, Finding};
use crate::judge::{Name, Setting, judge};
use crate::reader;
use crate::twin::decoded_base64;

/// A run that is shorter holds nothing that is worth its decoding.
const SHORTEST_RUN: usize = 20;
/// A longer run is not decoded: it is a file of its own.
const LONGEST_RUN: usize = 64 * 1024;

/// What is looked for within base64: runs that hold none of these are not decoded.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "://", "-----BEGIN", "ghp_", "github_pat_", "glpat-", "sk_live_", "sk-", "xoxb-", "AKIA",
    "password", "PASSWORD", "secret", "SECRET", "token", "TOKEN", "api_key", "API_KEY", "apiKey",
];

/// [`WORDS`] in base64 at its three alignments (RFC 4648 §4), without the characters that depend on what
/// stands beside the word.
pub(super) fn words() -> Vec<String> {
    let mut words = Vec::new();
    for word in WORDS {
        for shift in 0..3 {
            let shifted = [&[0; 2][..shift.min(2)], word.as_bytes()].concat();
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            let core = encoded.get((shift * 8).div_ceil(6)..shifted.len() * 8 / 6);
            // Three characters without case stand everywhere; the run around them is short or decodes to nothing.
            words.extend(core.filter(|core| core.len() >= 3).map(str::to_owned));
        }
    }
    words
}

/// What is looked for within hexadecimal digits, of [`WORDS`]: what is shorter stands in many a digest.
const SHORTEST_IN_HEX: usize = 4;

/// [`WORDS`] in hexadecimal digits.
pub(super) fn hexadecimal_words() -> Vec<String> {
    WORDS
        .iter()
        .filter(|word| word.len() >= SHORTEST_IN_HEX)
        .map(|word| word.bytes().map(|byte| format!("{byte:02x}")).collect())
        .collect()
}

impl Scan<'_> {
    /// The run of hexadecimal digits around `hit`. Answers where it ends; what is before `covered` was looked at.
    pub(super) fn hexadecimal_around(
        &mut self,
        detector: &Detector,
        hit: &Range<usize>,
        covered: usize,
    ) -> usize {
        let front = self.slice(covered.min(hit.start)..hit.start);
        let before = front.iter().rev().take(LONGEST_RUN / 2);
        let before = before.take_while(|byte| byte.is_ascii_hexdigit()).count();
        // Whole bytes, as the word that was found begins one.
        let start = hit.start - before / 2 * 2;
        let rest = self.slice(start..(start + LONGEST_RUN).min(self.bytes.len()));
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let end = start + length / 2 * 2;
        if self.depth > 0
            && length >= SHORTEST_RUN
            && let Some(decoded) = decoded_hexadecimal(self.slice(start..end))
            && let Some(best) = detector.best_within(&decoded, self.depth - 1)
        {
            self.add(
                start..end,
                &format!("{HEXADECIMAL}{}", best.kind),
                None,
                best.confidence,
            );
        }
        end.max(hit.end)
    }

    /// The run of base64 around `hit`, which looks like the middle of an encoded URL, key or token.
    /// Answers where it ends; what is before `covered` was looked at.
    pub(super) fn base64_around(
        &mut self,
        detector: &Detector,
        hit: &Range<usize>,
        covered: usize,
    ) -> usize {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        let front = self.slice(covered.min(hit.start)..hit.start);
        let before = front
            .iter()
            .rev()
            .take_while(|byte| is_base64(byte))
            .count();
        // Of a giant run the part around the hit, at a distance of whole groups from its beginning.
        let skipped = before.saturating_sub(LONGEST_RUN / 2) / 4 * 4;
        let start = hit.start - before + skipped;
        let rest = self.slice(start..(start + LONGEST_RUN).min(self.bytes.len()));
        let length = rest.iter().take_while(|byte| is_base64(byte)).count();
        let padding = rest
            .get(length..)
            .unwrap_or_default()
            .iter()
            .take_while(|&&byte| byte == b'=')
            .count();
        let end = start + length + padding.min(2);
        if self.depth > 0 && length >= SHORTEST_RUN {
            self.base64(detector, start..end, None);
        }
        end.max(hit.end)
    }

    /// Looks into base64; `key` is its name in the file.
    fn base64(
        &mut self,
        detector: &Detector,
        span: Range<usize>,
        key: Option<Range<usize>>,
    ) -> bool {
        let Some(decoded) = decoded_base64(self.slice(span.clone())) else {
            return false;
        };
        let Some(best) = detector.best_within(&decoded, self.depth - 1) else {
            return false;
        };
        self.add(
            span,
            &format!("{ENCODED}{}", best.kind),
            key,
            best.confidence,
        );
        true
    }

    /// The percent-encoded run around `hit`, which looks like the middle of an encoded URL or of JSON.
    /// Answers where it ends; what is before `covered` was looked at.
    pub(super) fn percent_around(
        &mut self,
        detector: &Detector,
        hit: &Range<usize>,
        covered: usize,
    ) -> usize {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`<>&".contains(byte);
        let front = self.slice(covered.min(hit.start)..hit.start);
        let start = hit.start - front.iter().rev().take_while(|byte| !ends(byte)).count();
        let rest = self.slice(start..(start + LONGEST_RUN).min(self.bytes.len()));
        let end = start + rest.iter().position(ends).unwrap_or(rest.len());
        if self.depth == 0 {
            return end.max(hit.end);
        }
        let (decoded, places) = without_percent(self.slice(start..end));
        for finding in detector.scan_within(&decoded, FileKind::Plain, self.depth - 1) {
            let at = |index: usize| places.get(index).map(|place| start + place);
            let (Some(first), Some(last)) = (at(finding.span.start), at(finding.span.end)) else {
                continue;
            };
            if finding.confidence > Confidence::Low {
                self.add(first..last, &finding.kind, None, finding.confidence);
            }
        }
        end.max(hit.end)
    }

    /// The values of the Kubernetes Secret whose `kind` is at `hit`: of `data`, base64; of `stringData`,
    /// plain. What it holds is secret whatever the names and values look like. Answers where its document
    /// ends.
    pub(super) fn kubernetes_secret(&mut self, detector: &Detector, hit: &Range<usize>) -> usize {
        let front = self.slice(0..hit.start);
        let document = find_last(front, b"\n---").map_or(0, |at| at + 4);
        let rest = self.slice(hit.end..self.bytes.len());
        let end = find(rest, b"\n---").map_or(self.bytes.len(), |at| hit.end + at);
        let lines: Vec<Range<usize>> = reader::lines(self.slice(document..end))
            .map(|line| line.start + document..line.end + document)
            .collect();
        let mut block: Option<(usize, bool)> = None;
        for line in lines {
            let text = self.slice(line.clone());
            let indentation = text.len() - text.trim_ascii_start().len();
            let word = text.trim_ascii();
            if word.is_empty() || word.starts_with(b"#") {
                continue;
            }
            if let Some((outer, encoded)) = block {
                let closes = indentation <= outer || word.starts_with(b"}");
                if !closes {
                    if let Some(field) = reader::line_field(self.bytes, line) {
                        self.secret_value(detector, field, encoded);
                    }
                    continue;
                }
                block = None;
            }
            let name = word.split(|&byte| byte == b':').next().unwrap_or_default();
            let name: Vec<u8> = name.iter().copied().filter(|byte| *byte != b'"').collect();
            match name.trim_ascii() {
                b"data" => block = Some((indentation, true)),
                b"stringData" => block = Some((indentation, false)),
                _ => {}
            }
        }
        end
    }

    fn secret_value(&mut self, detector: &Detector, field: reader::Field, encoded: bool) {
        let value = self.slice(field.value.clone());
        if encoded {
            let Some(decoded) = decoded_base64(value) else {
                return;
            };
            if judge(&decoded, Name::Secret, Setting::Store, true).is_none() {
                return;
            }
            let found = self.depth > 0
                && self.base64(detector, field.value.clone(), Some(field.name.clone()));
            if !found {
                self.add(
                    field.value,
                    "kubernetes-secret",
                    Some(field.name),
                    Confidence::Medium,
                );
            }
        } else if judge(value, Name::Secret, Setting::Store, true).is_some() {
            self.add(
                field.value,
                "kubernetes-secret",
                Some(field.name),
                Confidence::Medium,
            );
        }
    }
}

/// Front of the kind of a finding that is the base64 of something with findings in it.
pub(crate) const ENCODED: &str = "encoded-";

/// Front of the kind of a finding that is the hexadecimal digits of something with findings in it.
pub(crate) const HEXADECIMAL: &str = "hexadecimal-";

impl Detector {
    /// The surest of what is in `decoded`, where that is text.
    fn best_within(&self, decoded: &[u8], depth: usize) -> Option<Finding> {
        let readable = std::str::from_utf8(decoded)
            .is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
        let inner = match readable {
            true => self.scan_within(decoded, FileKind::Plain, depth),
            false => Vec::new(),
        };
        inner
            .into_iter()
            .filter(|finding| finding.confidence > Confidence::Low)
            .max_by_key(|finding| finding.confidence)
    }
}

/// The bytes that hexadecimal digits of either case stand for.
pub(crate) fn decoded_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What is inside of an encoded finding.
pub(crate) fn inner(decoded: &[u8]) -> Vec<Finding> {
    Detector::builtin().scan_within(decoded, FileKind::Plain, 1)
}

/// `bytes` without percent-encoding (RFC 3986 §2.1), and where each byte of the answer, and its end, stood.
fn without_percent(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut places = Vec::with_capacity(bytes.len() + 1);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        places.push(at);
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    places.push(bytes.len());
    (decoded, places)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

fn find_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .rposition(|window| window == needle)
}
