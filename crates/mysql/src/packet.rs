//! Packets: three bytes of length, one of sequence, and what they carry (MySQL's manual, "MySQL Packets").
//! What is longer than a packet goes on in the next one.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::ProtocolError;

/// The most that one packet carries, in bytes. One that is full goes on in the next.
pub const FULL: usize = 0xFF_FFFF;
/// Length and sequence.
const HEADER: usize = 4;

/// Cuts a stream into packets.
#[derive(Debug, Default)]
pub struct Packets {
    arrived: BytesMut,
    /// What a message that is not complete has so far.
    begun: Option<(u8, BytesMut)>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// As it arrived, with its header.
    pub whole: Bytes,
}

impl Packet {
    /// What it carries.
    pub fn payload(&self) -> &[u8] {
        self.whole.get(HEADER..).unwrap_or_default()
    }

    /// Whether the next one goes on with it.
    pub fn is_full(&self) -> bool {
        self.whole.len() == HEADER + FULL
    }
}

/// A whole message, of one packet or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number that the answer's first packet has.
    pub answer: u8,
    /// What it says.
    pub payload: Bytes,
}

impl Packets {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// The next packet, where it is complete.
    pub fn next_packet(&mut self) -> Option<Packet> {
        let length = self.announced()?;
        if self.arrived.len() < HEADER + length {
            self.arrived.reserve(HEADER + length - self.arrived.len());
            return None;
        }
        Some(Packet {
            whole: self.arrived.split_to(HEADER + length).freeze(),
        })
    }

    fn announced(&self) -> Option<usize> {
        let header = self.arrived.get(..HEADER)?;
        Some(
            header
                .iter()
                .take(3)
                .rev()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        )
    }

    /// The next message of a client's, of at most `most` bytes, whose first packet has the number 0.
    ///
    /// # Errors
    /// When it is longer, or its packets are not numbered as they have to be.
    pub fn next_message(&mut self, most: usize) -> Result<Option<Message>, ProtocolError> {
        loop {
            let Some(length) = self.announced() else {
                return Ok(None);
            };
            let so_far = self.begun.as_ref().map_or(0, |(_, begun)| begun.len());
            if so_far + length > most {
                return Err(ProtocolError::TooLong(most));
            }
            let expected = self.begun.as_ref().map_or(0, |(next, _)| *next);
            if self.arrived.get(3) != Some(&expected) {
                return Err(ProtocolError::Sequence);
            }
            let Some(packet) = self.next_packet() else {
                return Ok(None);
            };
            let next = expected.wrapping_add(1);
            let is_full = packet.is_full();
            let mut payload = packet.whole;
            payload.advance(HEADER);
            match (self.begun.take(), is_full) {
                (None, false) => {
                    return Ok(Some(Message {
                        answer: next,
                        payload,
                    }));
                }
                (Some((_, mut begun)), false) => {
                    begun.extend_from_slice(&payload);
                    return Ok(Some(Message {
                        answer: next,
                        payload: begun.freeze(),
                    }));
                }
                (begun, true) => {
                    let mut begun = begun.map(|(_, begun)| begun).unwrap_or_default();
                    begun.extend_from_slice(&payload);
                    self.begun = Some((next, begun));
                }
            }
        }
    }
}

/// Writes a message as packets, the first with the number `sequence`. The number of the one after the last.
pub fn write_message(out: &mut Vec<u8>, mut sequence: u8, payload: &[u8]) -> u8 {
    let mut rest = payload;
    loop {
        let (part, left) = rest.split_at(rest.len().min(FULL));
        let length = u32::try_from(part.len()).unwrap_or_default().to_le_bytes();
        out.extend_from_slice(length.get(..3).unwrap_or_default());
        out.push(sequence);
        out.extend_from_slice(part);
        sequence = sequence.wrapping_add(1);
        if part.len() < FULL {
            return sequence;
        }
        rest = left;
    }
}

/// Reads the fields of a message. Every one is an error where the message ends within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(payload: &'a [u8], what: &'static str) -> Self {
        Self {
            rest: payload,
            what,
        }
    }

    fn short(&self) -> ProtocolError {
        ProtocolError::Fields(self.what)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let short = self.short();
        self.bytes(N)?.try_into().map_err(|_| short)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A "length-encoded integer". 0xFB, which is NULL in rows, and 0xFF are none.
    pub(crate) fn length(&mut self) -> Result<u64, ProtocolError> {
        let short = self.short();
        Ok(match self.u8()? {
            byte @ 0..=0xFA => u64::from(byte),
            0xFC => u64::from(self.u16()?),
            0xFD => {
                let [a, b, c] = self.array()?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xFE => u64::from_le_bytes(self.array()?),
            _ => return Err(short),
        })
    }

    /// A "length-encoded string".
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = usize::try_from(self.length()?).map_err(|_| self.short())?;
        self.bytes(length)
    }

    /// What stands before a NUL.
    pub(crate) fn until_nul(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let text = self.bytes(end.ok_or(self.short())?)?;
        self.bytes(1)?;
        Ok(text)
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// That nothing follows.
    pub(crate) fn end(self) -> Result<(), ProtocolError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(self.short()),
        }
    }

    pub(crate) fn text(&self, bytes: &[u8]) -> Result<String, ProtocolError> {
        String::from_utf8(bytes.to_vec()).map_err(|_| ProtocolError::Text(self.what))
    }
}

/// Writes a "length-encoded string".
pub(crate) fn write_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=0xFA => out.push(length as u8),
        length @ 0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        length => {
            out.push(0xFE);
            out.extend_from_slice(&(length as u64).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_full_packets_is_whole_again() {
        for length in [0, 1, FULL - 1, FULL, FULL + 1, 2 * FULL] {
            let payload = vec![7; length];
            let mut out = Vec::new();
            let next = write_message(&mut out, 0, &payload);
            let mut packets = Packets::default();
            for part in out.chunks(1 << 20) {
                packets.push(part);
            }
            let message = packets.next_message(3 * FULL).unwrap().unwrap();
            assert_eq!(message.answer, next);
            assert!(message.payload == payload);
            assert_eq!(packets.next_message(10), Ok(None));
        }
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut packets = Packets::default();
        packets.push(&[11, 0, 0, 0]);
        assert_eq!(packets.next_message(10), Err(ProtocolError::TooLong(10)));
        let mut packets = Packets::default();
        packets.push(&[1, 0, 0, 1, 3]);
        assert_eq!(packets.next_message(10), Err(ProtocolError::Sequence));
    }
}
