//! Where one message ends and the next begins: a type byte, a length that counts itself, a body.
//! Lengths are an attacker's, so each type has a limit, checked as soon as the header is there.

use crate::ProtocolError;

/// A message's type byte and body, in the form of the protocol after startup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// Bytes of a client, cut into frames however they arrive.
#[derive(Debug, Default)]
pub struct Frames {
    arrived: Vec<u8>,
    broken: Option<ProtocolError>,
}

impl Frames {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` while it is incomplete.
    ///
    /// Callers take all frames before they read more, so that no more than one frame and one read's
    /// worth of bytes are kept.
    ///
    /// # Errors
    /// A type that no client may send, or a length outside of its type's limit; from then on always.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let taken = self.take();
        if let Err(error) = taken {
            self.broken = Some(error);
            self.arrived = Vec::new();
        }
        taken
    }

    /// How many bytes are kept.
    pub(crate) fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// Whether bytes of an incomplete frame are kept.
    pub fn is_within_frame(&self) -> bool {
        !self.arrived.is_empty()
    }

    fn take(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let Some((&kind, rest)) = self.arrived.split_first() else {
            return Ok(None);
        };
        // The type alone is enough to refuse: nothing waits for a length that does not matter.
        let (what, most) = limit(kind)?;
        let Some((&length, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length);
        if !(4..=most).contains(&length) {
            return Err(ProtocolError::Length { what, length, most });
        }
        let Some(body) = rest.get(..length as usize - 4) else {
            return Ok(None);
        };
        let body = body.to_vec();
        self.arrived.drain(..length as usize + 1);
        Ok(Some(Frame { kind, body }))
    }
}

/// The longest text of a statement is 1 MiB (`tagout-catalog-sql`); names and types stand beside it.
const STATEMENT: u32 = (1 << 20) + (1 << 16);
/// Values and rows: long enough for a picture in a `bytea`.
const VALUES: u32 = 1 << 26;
/// PostgreSQL's own limit for short messages (`PQ_SMALL_MESSAGE_LIMIT`).
const SHORT: u32 = 10_000;

/// The name of a client's message type and its greatest length (which counts itself), in bytes.
fn limit(kind: u8) -> Result<(&'static str, u32), ProtocolError> {
    Ok(match kind {
        b'Q' => ("Query", STATEMENT),
        b'P' => ("Parse", STATEMENT),
        b'B' => ("Bind", VALUES),
        b'd' => ("CopyData", VALUES),
        b'C' => ("Close", SHORT),
        b'D' => ("Describe", SHORT),
        b'E' => ("Execute", SHORT),
        b'H' => ("Flush", SHORT),
        b'S' => ("Sync", SHORT),
        b'X' => ("Terminate", SHORT),
        b'c' => ("CopyDone", SHORT),
        b'f' => ("CopyFail", SHORT),
        b'p' => ("password", SHORT),
        // Calls a function by its OID, with no SQL that could be judged.
        b'F' => return Err(ProtocolError::Refused("FunctionCall")),
        _ => return Err(ProtocolError::Refused("a message of an unknown type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"Q\0\0\0\x0dselect 1\0";

    #[test]
    fn a_frame_is_the_same_however_it_is_split() {
        let two = [QUERY, b"S\0\0\0\x04"].concat();
        for split in 0..=two.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in [&two[..split], &two[split..]] {
                frames.push(part);
                while let Some(frame) = frames.next_frame().expect("frames") {
                    seen.push(frame);
                }
            }
            assert_eq!(seen.len(), 2, "split at {split}");
            assert_eq!(seen[0].body, b"select 1\0");
            assert_eq!((seen[1].kind, seen[1].body.len()), (b'S', 0));
            assert!(!frames.is_within_frame());
        }
    }

    #[test]
    fn invariant_8_hostile_lengths_are_refused_before_anything_is_kept() {
        for (kind, length) in [
            (b'Q', 0_u32),
            (b'Q', 3),
            (b'Q', STATEMENT + 1),
            (b'Q', u32::MAX),
            (b'd', 0x8000_0000),
            (b'S', SHORT + 1),
        ] {
            let mut frames = Frames::default();
            frames.push(&[kind]);
            frames.push(&length.to_be_bytes());
            let refused = frames.next_frame();
            assert!(
                matches!(refused, Err(ProtocolError::Length { .. })),
                "{length}"
            );
            assert!(!frames.is_within_frame());
        }
    }

    #[test]
    fn invariant_5_unknown_types_and_function_calls_are_refused_at_once_and_for_good() {
        for kind in 0..=u8::MAX {
            if b"QPBdCDEHSXcfp".contains(&kind) {
                continue;
            }
            let mut frames = Frames::default();
            frames.push(&[kind]);
            assert!(frames.next_frame().is_err());
            frames.push(QUERY);
            assert!(frames.next_frame().is_err(), "nothing after it is read");
        }
    }
}
