//! Checkpoints: a signed statement of how many entries a ledger has and what their root is. The form
//! is that of C2SP `tlog-checkpoint` inside a `signed-note` (c2sp.org), so that witnesses and tools of
//! the transparency world can read them. Reading is strict: one form, no extension lines, no second
//! signature; anything else is not a checkpoint of this ledger.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tagout_core::{Digest, SessionId};

use crate::key::{PublicKey, SessionKey};

/// How far a ledger had come: what the store keeps as its high-water mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How many entries.
    pub entries: u64,
    /// The root of the Merkle tree over them (RFC 6962 §2.1).
    pub root: Digest,
}

/// The name under which a session's ledger signs.
pub(crate) fn origin(session: &SessionId) -> String {
    format!("tagout/session/{session}")
}

/// Lines of a checkpoint in a ledger: origin, size, root, empty, signature.
pub(crate) const LINES: usize = 5;

/// The bytes of a signed checkpoint, five lines.
pub(crate) fn write(origin: &str, mark: Mark, key: &SessionKey) -> String {
    let body = body(origin, mark);
    let mut signed = key_id(origin, &key.public()).to_vec();
    signed.extend(key.sign(body.as_bytes()));
    format!("{body}\n\u{2014} {origin} {}\n", BASE64.encode(signed))
}

/// What a checkpoint states, before anybody looked at its signature.
pub(crate) struct Checkpoint {
    pub(crate) mark: Mark,
    body: String,
    key_id: [u8; 4],
    signature: [u8; 64],
}

impl Checkpoint {
    /// Reads the text that [`write`] makes; `None` when it is anything else.
    pub(crate) fn parse(text: &str, origin: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        if lines.next()? != origin {
            return None;
        }
        let mark = Mark {
            entries: decimal(lines.next()?)?,
            root: Digest::from_bytes(BASE64.decode(lines.next()?).ok()?.try_into().ok()?),
        };
        if !lines.next()?.is_empty() {
            return None;
        }
        let signed = lines
            .next()?
            .strip_prefix("\u{2014} ")?
            .strip_prefix(origin)?
            .strip_prefix(' ')?;
        if (lines.next(), lines.next()) != (Some(""), None) {
            return None;
        }
        let signed = BASE64.decode(signed).ok()?;
        let (key_id, signature) = signed.split_first_chunk::<4>()?;
        Some(Self {
            mark,
            body: body(origin, mark),
            key_id: *key_id,
            signature: signature.try_into().ok()?,
        })
    }

    /// Whether `key` signed it.
    pub(crate) fn is_signed_by(&self, origin: &str, key: &PublicKey) -> bool {
        self.key_id == key_id(origin, key) && key.verifies(self.body.as_bytes(), &self.signature)
    }
}

/// How long the signature line is, without its line feed: what tells a torn one from a changed one.
pub(crate) fn signature_line_length(origin: &str) -> usize {
    "\u{2014} ".len() + origin.len() + 1 + (4usize + 64).div_ceil(3) * 4
}

fn body(origin: &str, mark: Mark) -> String {
    format!(
        "{origin}\n{}\n{}\n",
        mark.entries,
        BASE64.encode(mark.root.as_bytes())
    )
}

/// The first four bytes of SHA-256(name || 0x0A || 0x01 || public key).
fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([0x0a, 0x01])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// A decimal number without sign or leading zero.
fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.starts_with('0') && text != "0") {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: &str = "tagout/session/s-0123456789";

    fn mark() -> Mark {
        Mark {
            entries: 17,
            root: Digest::of(b"root"),
        }
    }

    #[test]
    fn what_was_written_reads_back_and_verifies() {
        let key = SessionKey::generate().unwrap();
        let text = write(ORIGIN, mark(), &key);
        assert_eq!(text.lines().count(), LINES);
        assert_eq!(
            text.lines().last().unwrap().len(),
            signature_line_length(ORIGIN)
        );
        let read = Checkpoint::parse(&text, ORIGIN).unwrap();
        assert_eq!(read.mark, mark());
        assert!(read.is_signed_by(ORIGIN, &key.public()));
        let other = SessionKey::generate().unwrap();
        assert!(!read.is_signed_by(ORIGIN, &other.public()));
    }

    #[test]
    fn there_is_one_form() {
        let key = SessionKey::generate().unwrap();
        let text = write(ORIGIN, mark(), &key);
        for other in [
            text.replace("\n17\n", "\n017\n"),
            text.replace("\n17\n", "\n+17\n"),
            text.replace("=\n", "\n"),
            text.replace("\n\n", "\nextension\n\n"),
            format!("{text}{}\n", text.lines().last().unwrap()),
            text.trim_end().to_owned(),
            format!(" {text}"),
        ] {
            assert!(Checkpoint::parse(&other, ORIGIN).is_none(), "{other}");
        }
        assert!(Checkpoint::parse(&text, "tagout/session/s-0000000000").is_none());
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(position in 0usize..200, change in 1u8..=255) {
            let key = SessionKey::generate().unwrap();
            let mut bytes = write(ORIGIN, mark(), &key).into_bytes();
            let position = position % bytes.len();
            bytes[position] ^= change;
            let accepted = String::from_utf8(bytes)
                .ok()
                .and_then(|text| Checkpoint::parse(&text, ORIGIN))
                .is_some_and(|read| read.is_signed_by(ORIGIN, &key.public()));
            prop_assert!(!accepted);
        }

        #[test]
        fn foreign_text_never_panics(text in any::<String>()) {
            let _ = Checkpoint::parse(&text, ORIGIN);
        }
    }
}
