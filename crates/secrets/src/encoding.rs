//! The spellings of a value on the wire: as it is, in base64 at its three alignments (RFC 4648 §4 and
//! §5), hexadecimal, percent-encoded (RFC 3986 §2.1) and escaped in a JSON string (RFC 8259 §7).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How a known value was written where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Base64, either alphabet, at any alignment.
    Base64,
    /// Hexadecimal, either case.
    Hex,
    /// Percent-encoded, wholly or in part.
    Percent,
    /// With JSON's escapes, wholly or in part.
    Json,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "plain",
            Self::Base64 => "base64",
            Self::Hex => "hexadecimal",
            Self::Percent => "percent-encoded",
            Self::Json => "JSON-escaped",
        })
    }
}

/// The part of `value`'s base64 that does not depend on its neighbours, for 0, 1 and 2 bytes before
/// it in its group of three, in both alphabets. A character that mixes bits of a neighbour is left
/// out.
pub(crate) fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::with_capacity(6);
    for alignment in 0..3 {
        let mut shifted = vec![0; alignment];
        shifted.extend_from_slice(value);
        let stable = (alignment * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            forms.push(
                text.as_bytes()
                    .get(stable.clone())
                    .unwrap_or_default()
                    .to_vec(),
            );
        }
    }
    forms
}

/// Lower-case hexadecimal.
pub(crate) fn hex_form(value: &[u8]) -> Vec<u8> {
    digits(value, b"0123456789abcdef")
}

/// Every spelling that a well-behaved program gives `value`, always as many and in the same order,
/// so that those of a secret and of its decoy correspond.
pub(crate) fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    // encodeURI keeps what separates components; forms write a space as a plus sign.
    let uri = |byte: u8| unreserved(byte) || b"!*'();:@&=+$,/?#[]".contains(&byte);
    let component = |byte: u8| unreserved(byte) || b"!*'()".contains(&byte);
    let mut all = vec![value.to_vec()];
    all.extend(base64_forms(value));
    all.push(digits(value, b"0123456789abcdef"));
    all.push(digits(value, b"0123456789ABCDEF"));
    for alphabet in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        all.push(percent(value, unreserved, alphabet));
        all.push(percent(value, component, alphabet));
        all.push(percent(value, uri, alphabet));
        all.push(percent(value, |_| false, alphabet));
    }
    all.push(
        percent(
            value,
            |byte| unreserved(byte) || byte == b' ',
            b"0123456789ABCDEF",
        )
        .into_iter()
        .map(|byte| if byte == b' ' { b'+' } else { byte })
        .collect(),
    );
    for style in [
        JsonStyle::Plain,
        JsonStyle::Slashes,
        JsonStyle::Html,
        JsonStyle::HtmlSlashes,
    ] {
        all.push(json(value, style));
    }
    all
}

fn digits(value: &[u8], alphabet: &[u8; 16]) -> Vec<u8> {
    value
        .iter()
        .flat_map(|byte| {
            [
                alphabet[usize::from(byte >> 4)],
                alphabet[usize::from(byte & 15)],
            ]
        })
        .collect()
}

fn percent(value: &[u8], plain: impl Fn(u8) -> bool, alphabet: &[u8; 16]) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() * 3);
    for &byte in value {
        if plain(byte) {
            text.push(byte);
        } else {
            text.push(b'%');
            text.extend(digits(&[byte], alphabet));
        }
    }
    text
}

/// Which characters a JSON writer escapes though it need not.
#[derive(Clone, Copy, PartialEq)]
enum JsonStyle {
    Plain,
    /// PHP writes `\/`.
    Slashes,
    /// Go writes `<`, `>` and `&` as `\u003c`, `\u003e`, `\u0026`.
    Html,
    HtmlSlashes,
}

fn json(value: &[u8], style: JsonStyle) -> Vec<u8> {
    let slashes = matches!(style, JsonStyle::Slashes | JsonStyle::HtmlSlashes);
    let html = matches!(style, JsonStyle::Html | JsonStyle::HtmlSlashes);
    let mut text = Vec::with_capacity(value.len() + 8);
    for &byte in value {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', byte]),
            b'/' if slashes => text.extend(b"\\/"),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            b'\t' => text.extend(b"\\t"),
            8 => text.extend(b"\\b"),
            12 => text.extend(b"\\f"),
            0..=31 => {
                text.extend(b"\\u00");
                text.extend(digits(&[byte], b"0123456789abcdef"));
            }
            b'<' | b'>' | b'&' if html => {
                text.extend(b"\\u00");
                text.extend(digits(&[byte], b"0123456789abcdef"));
            }
            _ => text.push(byte),
        }
    }
    text
}

/// Takes one layer of escapes off a stream, a byte at a time, whatever the chunks are. What is not an
/// escape passes as it is.
#[derive(Clone, Debug)]
pub(crate) struct Unescaper {
    kind: Escapes,
    pending: [u8; 6],
    length: usize,
}

/// Which escapes an [`Unescaper`] takes off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Escapes {
    /// `%41`
    Percent,
    /// `\n`, `\"`, `\/`, `\u0041`, and JavaScript's `\x41`.
    Backslash,
}

impl Unescaper {
    pub(crate) fn new(kind: Escapes) -> Self {
        Self {
            kind,
            pending: [0; 6],
            length: 0,
        }
    }

    /// Whether no escape is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.length == 0
    }

    /// The byte that begins an escape.
    pub(crate) fn introducer(kind: Escapes) -> u8 {
        match kind {
            Escapes::Percent => b'%',
            Escapes::Backslash => b'\\',
        }
    }

    /// Takes `byte` and hands on what it completes.
    pub(crate) fn push(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        if self.length == 0 {
            if byte == Self::introducer(self.kind) {
                self.pending[0] = byte;
                self.length = 1;
            } else {
                out(byte);
            }
            return;
        }
        if let Some(slot) = self.pending.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
        let pending = self.pending;
        let seen = &pending[..self.length];
        match (self.kind, Self::decode(self.kind, seen)) {
            (_, Step::More) => {}
            (_, Step::Done(decoded)) => {
                self.length = 0;
                let mut buffer = [0; 4];
                if self.kind == Escapes::Percent || decoded < 128 {
                    out(decoded as u8);
                } else {
                    let decoded = char::from_u32(decoded).unwrap_or(char::REPLACEMENT_CHARACTER);
                    for &byte in decoded.encode_utf8(&mut buffer).as_bytes() {
                        out(byte);
                    }
                }
            }
            (_, Step::Broken) => {
                // Not an escape after all: it stands for itself, and its last byte may begin one.
                self.length = 0;
                let (&last, front) = seen.split_last().unwrap_or((&byte, &[]));
                for &byte in front {
                    out(byte);
                }
                self.push(last, out);
            }
        }
    }

    fn decode(kind: Escapes, seen: &[u8]) -> Step {
        let hex = |digits: &[u8], count: usize| {
            let value = digits.iter().try_fold(0_u32, |value, digit| {
                Some(value << 4 | char::from(*digit).to_digit(16)?)
            });
            match value {
                None => Step::Broken,
                Some(_) if digits.len() < count => Step::More,
                Some(value) => Step::Done(value),
            }
        };
        match (kind, seen) {
            (Escapes::Percent, [_, digits @ ..]) => hex(digits, 2),
            (Escapes::Backslash, [_, b'u', digits @ ..]) => hex(digits, 4),
            (Escapes::Backslash, [_, b'x', digits @ ..]) => hex(digits, 2),
            (Escapes::Backslash, [_, b'n']) => Step::Done(10),
            (Escapes::Backslash, [_, b'r']) => Step::Done(13),
            (Escapes::Backslash, [_, b't']) => Step::Done(9),
            (Escapes::Backslash, [_, b'b']) => Step::Done(8),
            (Escapes::Backslash, [_, b'f']) => Step::Done(12),
            (Escapes::Backslash, [_, other]) if other.is_ascii_punctuation() => {
                Step::Done(u32::from(*other))
            }
            _ => Step::Broken,
        }
    }
}

enum Step {
    More,
    Done(u32),
    Broken,
}

/// `bytes` with one layer of escapes taken off.
pub(crate) fn unescaped(kind: Escapes, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut unescaper = Unescaper::new(kind);
    for &byte in bytes {
        unescaper.push(byte, |byte| plain.push(byte));
    }
    plain.extend_from_slice(&unescaper.pending[..unescaper.length]);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_come_off_and_broken_ones_stay() {
        let percent = |text: &str| unescaped(Escapes::Percent, text.as_bytes());
        assert_eq!(percent("a%41%2fb"), b"aA/b");
        assert_eq!(percent("100%, %4, %%41 %"), b"100%, %4, %A %");
        let json = |text: &str| unescaped(Escapes::Backslash, text.as_bytes());
        assert_eq!(json(r#"a\u0041\/\"\n\x41"#), b"aA/\"\nA");
        assert_eq!(json(r"\q\u00zz\\u0041"), br"\q\u00zz\u0041");
        assert_eq!(json(r"\u00e9"), "\u{e9}".as_bytes());
    }

    proptest! {
        #[test]
        fn base64_forms_occur_in_the_base64_of_any_surrounding(
            value in proptest::collection::vec(any::<u8>(), 12..40),
            before in proptest::collection::vec(any::<u8>(), 0..7),
            after in proptest::collection::vec(any::<u8>(), 0..7),
        ) {
            let whole = [before, value.clone(), after].concat();
            let forms = base64_forms(&value);
            for text in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                let occurs = forms.iter().any(|form| {
                    text.as_bytes().windows(form.len()).any(|window| window == form)
                });
                prop_assert!(occurs);
            }
        }

        #[test]
        fn json_escapes_come_off_again(value in "\\PC{0,40}") {
            for style in [JsonStyle::Plain, JsonStyle::Slashes, JsonStyle::Html, JsonStyle::HtmlSlashes] {
                prop_assert_eq!(unescaped(Escapes::Backslash, &json(value.as_bytes(), style)), value.as_bytes());
            }
        }

        #[test]
        fn percent_comes_off_again(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(unescaped(Escapes::Percent, &percent(&value, |_| false, b"0123456789abcdef")), value);
        }
    }
}
