//! The decoy copy of a file: the same bytes, with each found value replaced where it stands.

use crate::decoy::DecoyKey;
use crate::detector::encoded::{ENCODED, inner};
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
    if finding.kind.starts_with(ENCODED)
        && let Some(decoded) = decoded_base64(&raw)
    {
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

/// Whether a file is UTF-16, with a mark at its beginning or without: text, though every second byte of
/// it may be zero.
pub fn is_utf16(bytes: &[u8]) -> bool {
    Wide::of(bytes).is_some()
}

/// UTF-16, in one of its byte orders.
#[derive(Clone, Copy)]
pub(crate) enum Wide {
    Little,
    Big,
}

impl Wide {
    /// The byte order that the mark at the beginning of a file tells, or, without one, that almost every
    /// second byte of its beginning is zero, as in text of Western languages and in all configuration.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xFF, 0xFE, ..] => Some(Self::Little),
            [0xFE, 0xFF, ..] => Some(Self::Big),
            _ => Self::without_mark(bytes.get(..bytes.len().min(1024))?),
        }
    }

    fn without_mark(beginning: &[u8]) -> Option<Self> {
        let units = beginning.len() / 2;
        let text = |byte: u8| (b' '..=b'~').contains(&byte) || byte.is_ascii_whitespace();
        let (mut little, mut big) = (0, 0);
        for unit in beginning.chunks_exact(2) {
            match unit {
                [low, 0] if text(*low) => little += 1,
                [0, low] if text(*low) => big += 1,
                _ => {}
            }
        }
        let most = |count: usize| units >= 6 && count * 10 >= units * 9;
        match (most(little), most(big)) {
            (true, _) => Some(Self::Little),
            (_, true) => Some(Self::Big),
            _ => None,
        }
    }

    /// One byte for each unit: its character where that is ASCII, a blank for the mark, else 0xFF. Two
    /// bytes of the file are one byte of the answer, so spans translate by doubling.
    pub(crate) fn narrowed(self, bytes: &[u8]) -> Vec<u8> {
        bytes
            .chunks(2)
            .map(|unit| match (self, unit) {
                (Self::Little, [low, 0]) | (Self::Big, [0, low]) if low.is_ascii() => *low,
                (_, [0xFF, 0xFE] | [0xFE, 0xFF]) => b' ',
                _ => 0xFF,
            })
            .collect()
    }

    fn replace(self, value: &[u8], place: &mut [u8], key: &DecoyKey) {
        let decoy = key.decoy(&self.narrowed(value));
        for (unit, byte) in place.chunks_mut(2).zip(decoy) {
            match (self, unit) {
                (Self::Little, [low, high]) | (Self::Big, [high, low]) => {
                    *low = byte;
                    *high = 0;
                }
                (_, unit) => unit.fill(b'x'),
            }
        }
    }
}
