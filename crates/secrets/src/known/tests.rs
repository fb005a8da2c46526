//! Known secrets in every spelling and split.

use super::*;
use crate::encoding::spellings;
use proptest::prelude::*;

const SECRET: &[u8] = b"p4ss/W0rd+with=all&kinds?";

fn known() -> KnownSecrets {
    KnownSecrets::new([
        ("database password".to_owned(), SECRET.to_vec(), false),
        ("short".to_owned(), b"hunter2".to_vec(), false),
        (
            "guessable".to_owned(),
            b"correct-horse-battery".to_vec(),
            true,
        ),
    ])
}

#[test]
fn invariant_4_every_spelling_is_found() {
    for spelling in spellings(SECRET) {
        let wrapped = [b"before ", spelling.as_slice(), b" after"].concat();
        let hit = known().find(&wrapped);
        assert_eq!(
            hit.map(|hit| hit.label).as_deref(),
            Some("database password"),
            "{}",
            String::from_utf8_lossy(&spelling)
        );
    }
}

#[test]
fn invariant_4_mixed_spellings_are_found() {
    for (spelling, encoding) in [
        ("p4ss%2fW0%72d+with%3Dall&kinds?", Encoding::Percent),
        (r"p4ss\/W0\u0072d+with=all\u0026kinds?", Encoding::Json),
        (r"p4ss%5c%2FW0%5Cu0072d+with=all&kinds?", Encoding::Percent),
        ("p4ss/W0rd+wi\n  th=all&kinds?", Encoding::Raw),
        ("cDRzcy9X\r\nMHJkK3dpdGg9YWxsJmtpbmRzPw==", Encoding::Base64),
        (
            "p\u{0}4\u{0}s\u{0}s\u{0}/W0rd+w\u{0}ith=all&kinds?",
            Encoding::Raw,
        ),
        (
            "703473732F573072642b776974683D616c6c266B696e64733F",
            Encoding::Hex,
        ),
    ] {
        let hit = known().find(spelling.as_bytes());
        assert_eq!(hit.map(|hit| hit.encoding), Some(encoding), "{spelling}");
    }
}

#[test]
fn short_and_guessable_values_are_known_in_slots_only() {
    assert_eq!(known().find(b"hunter2 correct-horse-battery"), None);
    assert_eq!(known().label_of(b"hunter2"), Some("short"));
    assert_eq!(
        known().label_of(b"correct-horse-battery"),
        Some("guessable")
    );
    assert_eq!(known().label_of(b"else"), None);
    let empty = KnownSecrets::new([(String::new(), Vec::new(), false)]);
    assert!(empty.is_empty());
    assert_eq!(empty.find(b"anything"), None);
}

#[test]
fn invariant_3_debug_shows_no_value() {
    let text = format!(
        "{:?} {:?} {:?}",
        known(),
        known().stream(),
        known().find(SECRET)
    );
    assert!(!text.contains("p4ss"), "{text}");
}

proptest! {
    #[test]
    fn a_value_is_found_across_every_split(
        secret in "[ -~]{12,40}",
        // What stands before must not itself begin an escape: to every reader that is another text.
        before in "[a-z{}:=&\"]{0,12}",
        which in 0_usize..20,
        cut in 0_usize..200,
        second in 0_usize..200,
    ) {
        let all = spellings(secret.as_bytes());
        let spelling = &all[which % all.len()];
        let stream = [before.as_bytes(), spelling, b"."].concat();
        let known = KnownSecrets::new([("it".to_owned(), secret.into_bytes(), false)]);
        let (low, high) = (cut.min(second).min(stream.len()), cut.max(second).min(stream.len()));
        let mut finder = known.stream();
        let hit = finder.feed(&stream[..low])
            .or_else(|| finder.feed(&stream[low..high]))
            .or_else(|| finder.feed(&stream[high..]));
        prop_assert!(hit.is_some());
    }

    #[test]
    fn what_holds_no_value_is_clean(text in "[a-z ]{0,200}") {
        prop_assert_eq!(known().find(text.as_bytes()), None);
    }
}

/// Prints how fast a stream is searched: `cargo test --release -p tagout-secrets -- --ignored --nocapture
/// bench`.
#[test]
#[ignore = "a measurement; run it in a release build"]
fn bench_stream() {
    let values = (0..500_u32).map(|index| {
        let value = crate::encoding::hex_form(&index.wrapping_mul(2_654_435_761).to_be_bytes());
        (
            format!("value {index}"),
            [b"secret-value-".as_slice(), &value].concat(),
            false,
        )
    });
    let known = KnownSecrets::new(values);
    let text = "{\"path\": \"src\\/main.rs\", \"text\": \"let secret = value + 1;\\n\", \"at\": \"50%20\"}\n";
    let text = text.repeat(8 * 1024 * 1024 / text.len());
    let start = std::time::Instant::now();
    assert_eq!(known.find(text.as_bytes()), None);
    let seconds = start.elapsed().as_secs_f64();
    println!("known: {:.1} MB/s", text.len() as f64 / 1e6 / seconds);
}
