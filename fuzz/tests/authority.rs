//! Host names: one spelling each, whatever was typed.

use tagout_core::{HostName, HostPattern};

const SEEDS: &[&[u8]] = &[
    b"api.example.com",
    b"*.example.com",
    b"xn--bcher-kva.example",
    b"127.0.0.1",
    b"backboard.railway.com",
    b"a-b.c0.example.",
];

const DICTIONARY: &[&[u8]] = &[
    b".",
    b"*.",
    b"@",
    b":443",
    b"%2e",
    b"\0",
    b"[::1]",
    b"0x7f",
    b"_",
    b"--",
    "\u{ff0e}".as_bytes(),
];

#[test]
fn host_names_have_one_spelling() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return;
        };
        if let Ok(host) = HostName::parse(text) {
            assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host));
            assert!(host.as_str().bytes().all(|byte| byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || byte == b'-'
                || byte == b'_'
                || byte == b'.'));
            // A name that was accepted is matched by itself and by nothing shorter.
            let pattern = HostPattern::parse(host.as_str()).expect("a name is a pattern");
            assert!(pattern.matches(&host));
        }
        if let Ok(pattern) = HostPattern::parse(text) {
            assert!(pattern.overlaps(&pattern));
        }
    });
}
