//! One DNS message in, one out (RFC 1035 §4). Only what a stub resolver sends is understood: one
//! question in class IN, without compression, with or without an EDNS option record (RFC 6891).
//! The question's bytes are echoed as they came, because resolvers check the letters' case.

use std::net::Ipv4Addr;

use tagout_core::HostName;

const HEADER: usize = 12;
/// RFC 1035 §2.3.4.
const LONGEST_NAME: usize = 255;
/// Seconds a client may keep an answer. Short, so that a name granted later is found soon.
const TIME_TO_LIVE: u32 = 60;
/// What our answers may measure over UDP (DNS flag day 2020); none is longer than 512 anyway.
const UDP_SIZE: u16 = 1232;

const TYPE_A: u16 = 1;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;

/// A response code (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There may be an answer, or the name has none of the type.
    NoError = 0,
    /// The question cannot be read.
    FormatError = 1,
    /// No such name.
    NameError = 3,
    /// An operation other than a query.
    NotImplemented = 4,
    /// A class other than IN.
    Refused = 5,
}

/// The answer to `query`, with addresses from `address`; `None` for what is no query at all.
/// Answers A for every valid name; every other type of a valid name has no data, so that no client
/// waits for IPv6 or learns an HTTP/3 or ECH hint.
pub fn answer_message(
    query: &[u8],
    address: impl FnOnce(&HostName) -> Ipv4Addr,
) -> Option<Vec<u8>> {
    let header = Header::read(query)?;
    if header.is_response {
        return None;
    }
    if header.operation != 0 {
        return Some(header.reply(Reply::NotImplemented, &[], None, false));
    }
    let Some(question) = Question::read(&header, query) else {
        return Some(header.reply(Reply::FormatError, &[], None, false));
    };
    let reply = |code, answer| {
        let bytes = question.bytes;
        Some(header.reply(code, bytes, answer, question.has_options))
    };
    if question.class != CLASS_IN {
        return reply(Reply::Refused, None);
    }
    let Some(host) = &question.host else {
        return reply(Reply::NameError, None);
    };
    // Also for other types: the name was asked for, and that is what gets reported.
    let address = address(host);
    reply(Reply::NoError, (question.kind == TYPE_A).then_some(address))
}

struct Header {
    id: [u8; 2],
    is_response: bool,
    operation: u8,
    recursion_desired: bool,
    counts: [u16; 4],
}

impl Header {
    fn read(message: &[u8]) -> Option<Self> {
        let [a, b, flags, _, counts @ ..] = message.first_chunk::<HEADER>()?;
        let count = |at: usize| u16::from_be_bytes([counts[at], counts[at + 1]]);
        Some(Self {
            id: [*a, *b],
            is_response: flags & 0x80 != 0,
            operation: (flags >> 3) & 0x0f,
            recursion_desired: flags & 1 != 0,
            counts: [count(0), count(2), count(4), count(6)],
        })
    }

    fn reply(
        &self,
        code: Reply,
        question: &[u8],
        answer: Option<Ipv4Addr>,
        options: bool,
    ) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + question.len() + 32);
        message.extend(self.id);
        // A response, authoritative, recursion available: nobody need ask further.
        message.push(0x84 | u8::from(self.recursion_desired));
        message.push(0x80 | code as u8);
        message.extend(u16::from(!question.is_empty()).to_be_bytes());
        message.extend(u16::from(answer.is_some()).to_be_bytes());
        message.extend(0u16.to_be_bytes());
        message.extend(u16::from(options).to_be_bytes());
        message.extend(question);
        if let Some(address) = answer {
            // The name is the question's, at offset 12.
            message.extend(0xc00c_u16.to_be_bytes());
            message.extend(TYPE_A.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(TIME_TO_LIVE.to_be_bytes());
            message.extend(4u16.to_be_bytes());
            message.extend(address.octets());
        }
        if options {
            message.push(0);
            message.extend(TYPE_OPT.to_be_bytes());
            message.extend(UDP_SIZE.to_be_bytes());
            message.extend([0; 6]);
        }
        message
    }
}

struct Question<'a> {
    /// As it came, for the echo.
    bytes: &'a [u8],
    /// `None` where the name is well-formed DNS but no host name.
    host: Option<HostName>,
    kind: u16,
    class: u16,
    has_options: bool,
}

impl<'a> Question<'a> {
    fn read(header: &Header, message: &'a [u8]) -> Option<Self> {
        let [questions, answers, authorities, additional] = header.counts;
        if questions != 1 || answers != 0 || authorities != 0 || additional > 1 {
            return None;
        }
        let rest = message.get(HEADER..)?;
        let (name, name_length) = read_name(rest)?;
        let &[k0, k1, c0, c1] = rest.get(name_length..)?.first_chunk::<4>()?;
        let behind = rest.get(name_length + 4..)?;
        if additional == 1 && !is_option_record(behind) {
            return None;
        }
        if additional == 0 && !behind.is_empty() {
            return None;
        }
        Some(Self {
            bytes: rest.get(..name_length + 4)?,
            host: name.and_then(|name| HostName::parse(&name).ok()),
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            has_options: additional == 1,
        })
    }
}

/// A name and the octets it takes. The outer `None`: broken, too long, or compressed. The inner: a
/// label that is not ASCII or has a dot in it, so that text cannot say which name it is.
fn read_name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let mut name = Some(String::new());
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // 0xc0 is a compression pointer, 0x40 and 0x80 are unassigned.
        if length > 63 {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        if at >= LONGEST_NAME {
            return None;
        }
        let clean = label.is_ascii() && !label.contains(&b'.');
        name = match (name, std::str::from_utf8(label)) {
            (Some(mut name), Ok(label)) if clean => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                Some(name)
            }
            _ => None,
        };
    }
}

/// RFC 6891 §6.1.2: root name, type OPT, size, four octets of flags, length, options; nothing behind.
fn is_option_record(bytes: &[u8]) -> bool {
    let Some(&[root, k0, k1, _, _, _, _, _, _, l0, l1]) = bytes.first_chunk::<11>() else {
        return false;
    };
    root == 0
        && u16::from_be_bytes([k0, k1]) == TYPE_OPT
        && bytes.len() == 11 + usize::from(u16::from_be_bytes([l0, l1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 7);

    fn query(name: &[u8], kind: u16, counts: [u16; 4], behind: &[u8]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0x00];
        for count in counts {
            message.extend(count.to_be_bytes());
        }
        message.extend(name);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(behind);
        message
    }

    fn ask(name: &[u8], kind: u16) -> Vec<u8> {
        let message = query(name, kind, [1, 0, 0, 0], &[]);
        answer_message(&message, |_| ADDRESS).unwrap()
    }

    fn code(answer: &[u8]) -> u8 {
        answer[3] & 0x0f
    }

    #[test]
    fn a_question_for_an_address_is_answered_with_its_case_kept() {
        let answer = ask(b"\x03aPi\x07exAmple\x03com\x00", TYPE_A);
        assert_eq!(&answer[..4], &[0xab, 0xcd, 0x85, 0x80]);
        assert_eq!(&answer[4..12], &[0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(&answer[12..29], b"\x03aPi\x07exAmple\x03com\x00");
        assert_eq!(&answer[answer.len() - 4..], &ADDRESS.octets());
        assert_eq!(answer.len(), 12 + 17 + 4 + 16);
    }

    #[test]
    fn other_types_have_no_data() {
        for kind in [28, 65, 64, 16, 15, 12, 255, 33, 5] {
            let answer = ask(b"\x03api\x03com\x00", kind);
            assert_eq!((code(&answer), answer[7]), (0, 0), "type {kind}");
        }
    }

    #[test]
    fn invariant_6_names_that_are_no_host_names_do_not_exist() {
        for name in [
            &b"\x0aattacker\x00x\x06google\x03com\x00"[..],
            b"\x05a.b.c\x03com\x00",
            b"\x03\xff\xfe\xfd\x03com\x00",
            b"\x09127-0-0-1\x01\x31\x00",
            b"\x00",
            b"\x03-ab\x03com\x00",
            b"\x01a\x01@\x00",
        ] {
            let answer = ask(name, TYPE_A);
            assert_eq!((code(&answer), answer[7]), (3, 0), "{name:?}");
        }
    }

    #[test]
    fn broken_and_compressed_questions_are_format_errors() {
        let long = [&[63u8; 64][..]; 5].concat();
        for name in [
            &b"\xc0\x0c"[..],
            b"\x40abc\x00",
            b"\x03ab",
            b"\x3fabc",
            &long,
        ] {
            let answer = ask(name, TYPE_A);
            assert_eq!((code(&answer), answer.len()), (1, 12), "{name:?}");
        }
        for counts in [
            [0, 0, 0, 0],
            [2, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [1, 0, 0, 2],
        ] {
            let message = query(b"\x01a\x00", TYPE_A, counts, &[]);
            assert_eq!(code(&answer_message(&message, |_| ADDRESS).unwrap()), 1);
        }
    }

    #[test]
    fn options_are_answered_with_options() {
        let options = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 10, 0, 0];
        let message = query(b"\x01a\x00", TYPE_A, [1, 0, 0, 1], &options);
        let answer = answer_message(&message, |_| ADDRESS).unwrap();
        assert_eq!((code(&answer), answer[11]), (0, 1));
        assert_eq!(&answer[answer.len() - 11..][..3], &[0, 0, 41]);
    }

    #[test]
    fn responses_and_fragments_get_no_answer_and_other_operations_are_not_implemented() {
        assert!(answer_message(&[0; 11], |_| ADDRESS).is_none());
        let mut message = query(b"\x01a\x00", TYPE_A, [1, 0, 0, 0], &[]);
        message[2] |= 0x80;
        assert!(answer_message(&message, |_| ADDRESS).is_none());
        message[2] = 0x28;
        assert_eq!(code(&answer_message(&message, |_| ADDRESS).unwrap()), 4);
    }

    proptest! {
        #[test]
        fn no_message_panics_and_no_answer_outgrows_udp(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answer) = answer_message(&bytes, |_| ADDRESS) {
                prop_assert!(answer.len() <= 512);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
            }
        }

        #[test]
        fn every_label_sequence_is_answered(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..64), 0..8)) {
            let mut name = Vec::new();
            for label in &labels {
                name.push(label.len() as u8);
                name.extend(label);
            }
            name.push(0);
            let answer = ask(&name, TYPE_A);
            prop_assert!(code(&answer) != 0 || answer[7] == 1);
        }
    }
}
