//! The decoy copy of a file: the same bytes, with each found value replaced where it stands.

use crate::decoy::DecoyKey;
use crate::detector::encoded::{ENCODED, HEXADECIMAL, decoded_hexadecimal, inner};
use crate::encoding::{Escapes, unescaped};
use crate::finding::Finding;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// `bytes` with every finding's value replaced by its decoy: as long as `bytes`, lines where they
/// were. Findings that lie outside `bytes` are cut to it.
pub fn twin(bytes: &[u8], findings: &[Finding], key: &DecoyKey) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for finding in findings {
        let start = finding.span.start.min(bytes.len());
        let end = finding.span.end.clamp(start, bytes.len());
        let (Some(value), Some(place)) = (bytes.get(start..end), copy.get_mut(start..end)) else {
            continue;
        };
        if let Some(wide) = Wide::of(bytes) {
            wide.replace(value, place, key);
        } else {
            place.copy_from_slice(&decoy_of(value, finding, key));
        }
    }
    copy
}

/// The decoy of a finding's bytes. Within base64 of `user:password` the password alone is replaced, so
/// that its decoy is the one that it has everywhere.
fn decoy_of(value: &[u8], finding: &Finding, key: &DecoyKey) -> Vec<u8> {
    if wraps_password(finding)
        && let Some(decoded) = decoded_base64(value)
        && let Some(colon) = decoded.iter().position(|&byte| byte == b':')
        && let Some((user, password)) = decoded.split_at_checked(colon + 1)
    {
        let replaced = [user, &key.decoy(password)].concat();
        let encoded = STANDARD.encode(replaced).into_bytes();
        if encoded.len() == value.len() && encoded != value {
            return encoded;
        }
    }
    // What is encoded stays so: a program that decodes it finds a decoy of the same shape.
    if finding.kind.starts_with(ENCODED)
        && let Some(decoded) = decoded_base64(value)
    {
        let replaced = twin(&decoded, &inner(&decoded), key);
        let encoded = STANDARD.encode(replaced).into_bytes();
        if encoded.len() == value.len() && encoded != value {
            return encoded;
        }
    }
    if finding.kind.starts_with(HEXADECIMAL)
        && let Some(decoded) = decoded_hexadecimal(value)
    {
        let upper = value.iter().any(u8::is_ascii_uppercase);
        let digits = |byte: u8| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        let replaced = twin(&decoded, &inner(&decoded), key);
        let encoded: String = replaced.into_iter().map(digits).collect();
        if encoded.len() == value.len() && encoded.as_bytes() != value {
            return encoded.into_bytes();
        }
    }
    key.decoy(value)
}

/// Whether a finding is the base64 of `user:password`.
fn wraps_password(finding: &Finding) -> bool {
    finding.kind == "basic-authorization" || finding.kind == "docker-auth"
}

/// What a finding's bytes mean: the value as it stands, and without the escapes or the base64 that the
/// file's format puts around it. All of them belong into [`KnownSecrets`](crate::KnownSecrets).
pub fn known_values(bytes: &[u8], finding: &Finding) -> Vec<Vec<u8>> {
    let Some(raw) = bytes.get(finding.span.clone()) else {
        return Vec::new();
    };
    let raw = match Wide::of(bytes) {
        Some(wide) => wide.narrowed(raw),
        None => raw.to_vec(),
    };
    let mut values = vec![raw.clone()];
    let mut add = |value: Vec<u8>| {
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    };
    add(unescaped(Escapes::Percent, &raw));
    add(unescaped(Escapes::Backslash, &raw));
    if wraps_password(finding)
        && let Some(decoded) = decoded_base64(&raw)
    {
        if let Some(colon) = decoded.iter().position(|&byte| byte == b':') {
            add(decoded.get(colon + 1..).unwrap_or_default().to_vec());
        }
        add(decoded);
    }
    let decoded = match () {
        () if finding.kind.starts_with(ENCODED) => decoded_base64(&raw),
        () if finding.kind.starts_with(HEXADECIMAL) => decoded_hexadecimal(&raw),
        () => None,
    };
    if let Some(decoded) = decoded {
        for finding in inner(&decoded) {
            known_values(&decoded, &finding)
                .into_iter()
                .for_each(&mut add);
        }
    }
    if finding.kind == "kubernetes-secret"
        && let Some(decoded) = decoded_base64(&raw)
    {
        add(decoded);
    }
    values
}

/// Base64 of either alphabet, padded or not.
pub(crate) fn decoded_base64(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, config)
        .decode(text)
        .or_else(|_| GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(text))
        .ok()
}

/// Whether a file is UTF-16 or UTF-32, with a mark at its beginning or without: text, though most bytes of
/// it may be zero.
pub fn is_wide(bytes: &[u8]) -> bool {
    Wide::of(bytes).is_some()
}

/// UTF-16 or UTF-32, in one of its byte orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    /// Bytes a unit, 2 or 4.
    width: usize,
    /// Which byte of a unit holds an ASCII character: the first or the last.
    low: usize,
}

impl Wide {
    const ALL: [Self; 4] = [
        Self { width: 4, low: 0 },
        Self { width: 4, low: 3 },
        Self { width: 2, low: 0 },
        Self { width: 2, low: 1 },
    ];

    /// The form that the mark at the beginning of a file tells, or, without one, that almost all bytes of its
    /// beginning but every second or fourth are zero, as in text of Western languages and in all configuration.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let marked = Self::ALL
            .into_iter()
            .find(|wide| bytes.starts_with(wide.mark()));
        let beginning = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
        marked.or_else(|| {
            Self::ALL
                .into_iter()
                .find(|wide| wide.is_form_of(beginning))
        })
    }

    /// How many bytes a unit has.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// U+FEFF.
    fn mark(self) -> &'static [u8] {
        match (self.width, self.low) {
            (4, 0) => b"\xFF\xFE\0\0",
            (4, _) => b"\0\0\xFE\xFF",
            (_, 0) => b"\xFF\xFE",
            _ => b"\xFE\xFF",
        }
    }

    fn is_form_of(self, beginning: &[u8]) -> bool {
        let units = beginning.chunks_exact(self.width);
        let all = units.len();
        let text = |byte: u8| (b' '..=b'~').contains(&byte) || byte.is_ascii_whitespace();
        let fit = units
            .filter(|unit| self.ascii(unit).is_some_and(text))
            .count();
        all >= 6 && fit * 10 >= all * 9
    }

    /// The character of a unit, where it is ASCII.
    fn ascii(self, unit: &[u8]) -> Option<u8> {
        let low = *unit.get(self.low)?;
        let is_one = unit.len() == self.width
            && low.is_ascii()
            && unit
                .iter()
                .enumerate()
                .all(|(at, &byte)| at == self.low || byte == 0);
        is_one.then_some(low)
    }

    /// One byte for each unit: its character where that is ASCII, a blank for the mark, else 0xFF. A unit of
    /// the file is one byte of the answer, so spans translate by the width.
    pub(crate) fn narrowed(self, bytes: &[u8]) -> Vec<u8> {
        bytes
            .chunks(self.width)
            .map(|unit| match self.ascii(unit) {
                Some(character) => character,
                None if unit == self.mark() => b' ',
                None => 0xFF,
            })
            .collect()
    }

    fn replace(self, value: &[u8], place: &mut [u8], key: &DecoyKey) {
        let decoy = key.decoy(&self.narrowed(value));
        for (unit, character) in place.chunks_mut(self.width).zip(decoy) {
            let whole = unit.len() == self.width;
            unit.fill(if whole { 0 } else { b'x' });
            if let Some(low) = unit.get_mut(self.low) {
                *low = character;
            }
        }
    }
}
