//! PostgreSQL's protocol: an opening or a message is refused or has one spelling, and a stream is cut
//! into the same frames however it arrives.

use tagout_fuzz::mutated;
use tagout_postgres::{Frame, Frames, FrontendMessage, Opening, ProtocolError};

const SEEDS: [&[u8]; 5] = [
    b"\0\0\0\x2d\0\x03\0\0user\0app\0database\0shop\0TimeZone\0UTC\0\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"Q\0\0\0\x0dselect 1\0",
    b"P\0\0\0\x16s\0select $1\0\0\x01\0\0\0\x17S\0\0\0\x04",
    b"B\0\0\0\x14\0s\0\0\x01\0\0\0\x01\0\0\0\x011\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
];

fn frames(bytes: &[u8], step: usize) -> Result<Vec<Frame>, ProtocolError> {
    let mut frames = Frames::default();
    let mut seen = Vec::new();
    for part in bytes.chunks(step) {
        frames.push(part);
        while let Some(frame) = frames.next_frame()? {
            seen.push(frame);
        }
    }
    Ok(seen)
}

#[test]
fn the_seeds_are_what_a_client_sends() {
    for seed in &SEEDS[..2] {
        let opening = Opening::read(seed).expect("an opening");
        assert_eq!(opening.map(|(_, length)| length), Some(seed.len()));
    }
    for seed in &SEEDS[2..] {
        for frame in frames(seed, seed.len()).expect("frames") {
            FrontendMessage::read(&frame).expect("a message");
        }
    }
}

#[test]
fn postgres() {
    bolero::check!().for_each(|choices: &[u8]| {
        let bytes = mutated(&SEEDS, &[b"\0", b"\xff\xff\xff\xff", b"options\0"], choices);
        if let Ok(Some((opening, length))) = Opening::read(&bytes) {
            assert!(length <= bytes.len());
            if let Opening::Startup(startup) = opening {
                let rebuilt = startup
                    .rebuilt("app", "shop", None, false)
                    .expect("names that fit");
                assert!(rebuilt.ends_with(b"standard_conforming_strings\0on\0\0"));
            }
        }
        let whole = frames(&bytes, bytes.len().max(1));
        assert_eq!(whole, frames(&bytes, 1));
        for frame in whole.unwrap_or_default() {
            let Ok(message) = FrontendMessage::read(&frame) else {
                continue;
            };
            let mut written = Vec::new();
            message.write(&mut written);
            let again = frames(&written, 3).expect("frames");
            assert_eq!(again.len(), 1);
            assert_eq!(FrontendMessage::read(&again[0]), Ok(message));
        }
    });
}
