//! The name server: whatever is asked, the answer is a bounded reply to that question or silence.

use std::net::Ipv4Addr;
use tagout_net::answer_message;

/// A query for `api.example.com`, type A; and one with an EDNS option record.
const SEEDS: &[&[u8]] = &[
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x07example\x03com\x00\x00\x01\x00\x01",
    b"\xab\xcd\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x02bc\x00\x00\x1c\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
];

const DICTIONARY: &[&[u8]] = &[
    b"\xc0\x0c",
    b"\x00",
    b"\x3f",
    b"\x00\x01\x00\x01",
    b"\x00\xff",
    b"\x03com\x00",
    b"\x00\x29",
];

#[test]
fn answers_are_bounded_replies() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let query = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let address = Ipv4Addr::new(198, 18, 1, 0);
        let Some(answer) = answer_message(&query, |_| address) else {
            return;
        };
        assert!(answer.len() <= 512, "an answer of {} bytes", answer.len());
        assert_eq!(answer.get(..2), query.get(..2), "the question's id");
        assert_eq!(answer[2] & 0x80, 0x80, "the answer is marked as one");
        // An answer is no query, so two such servers never talk to each other.
        assert_eq!(answer_message(&answer, |_| address), None);
    });
}
