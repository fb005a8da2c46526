use super::*;
use crate::{DecoyKey, twin};
use proptest::prelude::*;

const TOKEN: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

/// A file, its twin, and what was learned of both.
fn pair(path: &str, real: &str) -> (String, Edits) {
    let path = Path::new(path);
    let key = DecoyKey::derive(b"install", b"workspace");
    let findings = Detector::builtin().scan(path, real.as_bytes());
    assert!(!findings.is_empty(), "{real}");
    let shown = twin(real.as_bytes(), &findings, &key);
    let mut edits = Edits::default();
    assert!(edits.learn(path, real.as_bytes(), &shown));
    (String::from_utf8(shown).unwrap(), edits)
}

fn carry(edits: &Edits, path: &str, edited: &str) -> String {
    String::from_utf8(edits.carry(Path::new(path), edited.as_bytes()).bytes).unwrap()
}

#[test]
fn an_added_line_and_the_values_around_it() {
    let real = format!("A=1\nRAILWAY_API_TOKEN={TOKEN}\nDB_PASSWORD=correct horse 7\n");
    let (shown, edits) = pair(".env", &real);
    assert!(!shown.contains(TOKEN));
    assert_eq!(carry(&edits, ".env", &shown), real);
    let edited = format!("# first\n{shown}PORT=3000\n");
    assert_eq!(
        carry(&edits, ".env", &edited),
        format!("# first\n{real}PORT=3000\n")
    );
    // Without the last line feed, with another indentation, in another order, twice.
    let line = shown.lines().nth(1).unwrap();
    let value = real.lines().nth(1).unwrap();
    for (before, after) in [("", ""), ("  ", "\r\n"), ("x=1\n", ""), ("", "\nA=1\n")] {
        assert_eq!(
            carry(&edits, ".env", &format!("{before}{line}{after}")),
            format!("{before}{value}{after}")
        );
    }
    assert_eq!(
        carry(&edits, ".env", &format!("{line}\n{line}\n")),
        format!("{value}\n{value}\n")
    );
}

#[test]
fn a_decoy_elsewhere_stays_one() {
    let real = format!("RAILWAY_API_TOKEN={TOKEN}\n");
    let (shown, edits) = pair(".env", &real);
    let decoy = shown.trim_end().split_once('=').unwrap().1.to_owned();
    for edited in [
        format!("NEXT_PUBLIC_TOKEN={decoy}\n"),
        format!("# {decoy}\n"),
        format!("{decoy}\n"),
        format!("RAILWAY_API_TOKEN=x{decoy}\n"),
    ] {
        assert!(!carry(&edits, ".env", &edited).contains(TOKEN), "{edited}");
    }
    let edited = format!("RAILWAY_API_TOKEN={decoy} # {decoy}\n");
    assert_eq!(
        carry(&edits, ".env", &edited),
        format!("RAILWAY_API_TOKEN={TOKEN} # {decoy}\n")
    );
}

#[test]
fn a_password_follows_no_other_host() {
    let real = "DATABASE_URL=postgres://app:kJ8s0qW2zR5tXv@db.example.com/app\n";
    let (shown, edits) = pair(".env", real);
    let edited = shown.replace("db.example.com", "db.attacker.example");
    let carried = carry(&edits, ".env", &edited);
    assert_eq!(carried, edited);
}

#[test]
fn fields_of_one_line_are_told_apart() {
    let real = format!(
        r#"{{"name":"x","api_token":"{TOKEN}","database":{{"password":"kJ8s0qW2zR5tXv"}}}}"#
    );
    let (shown, edits) = pair("config.json", &real);
    assert!(!shown.contains(TOKEN) && !shown.contains("kJ8s0qW2zR5tXv"));
    let edited = shown.replace(r#""name":"x""#, r#""name":"y","port":1"#);
    assert_eq!(
        carry(&edits, "config.json", &edited),
        real.replace(r#""name":"x""#, r#""name":"y","port":1"#)
    );
    let moved = shown.replace("api_token", "public_token_for_everybody");
    assert!(!carry(&edits, "config.json", &moved).contains(TOKEN));
}

#[test]
fn a_key_comes_back_as_a_whole_and_where_it_stood() {
    let body: String = (0..6)
        .map(|line| format!("{}\n", format!("k{line}Zq7Xv2LmN9pR4tYs8WbC").repeat(3)))
        .collect();
    let real = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\n");
    let (shown, edits) = pair("server.pem", &real);
    assert_ne!(shown, real);
    assert_eq!(
        carry(&edits, "server.pem", &format!("{shown}\n# x\n")),
        format!("{real}\n# x\n")
    );
    let third = shown.lines().nth(3).unwrap();
    let told = real.lines().nth(3).unwrap();
    assert!(!carry(&edits, "server.pem", &format!("comment:\n{third}\n")).contains(told));
}

#[test]
fn what_was_removed_comes_back_with_its_value() {
    let real = format!("RAILWAY_API_TOKEN={TOKEN}\nA=1\n");
    let (shown, mut edits) = pair(".env", &real);
    let line = shown.lines().next().unwrap().to_owned();
    let without = carry(&edits, ".env", "A=1\n");
    assert_eq!(without, "A=1\n");
    assert!(edits.learn(Path::new(".env"), without.as_bytes(), b"A=1\n"));
    assert!(carry(&edits, ".env", &format!("A=1\n{line}\n")).contains(TOKEN));
}

#[test]
fn what_is_no_twin_teaches_nothing() {
    let mut edits = Edits::default();
    assert!(!edits.learn(Path::new(".env"), b"A=12\n", b"A=1\n"));
    assert!(!edits.learn(Path::new(".env"), b"A=1\nB", b"A=1 \nB"));
    assert!(!edits.learn(Path::new(".env"), b"A=1\nB", b"A=1B\n"));
    assert_eq!(carry(&edits, ".env", "A=x\n"), "A=x\n");
}

proptest! {
    /// An untouched twin is its file, whatever stands in it; and lines around it change nothing.
    #[test]
    fn an_untouched_twin_is_its_file(
        names in prop::collection::vec("[A-Z]{2,6}_(TOKEN|PASSWORD|SECRET)", 1..6),
        values in prop::collection::vec("[a-z0-9]{4,40}|[ -~]{1,30}", 6),
        more in "([a-z ]{0,9}\n){0,3}",
    ) {
        let real: String = names.iter().zip(&values).map(|(n, v)| format!("{n}={v}\n")).collect();
        let path = Path::new(".env");
        let key = DecoyKey::derive(b"install", b"workspace");
        let findings = Detector::builtin().scan(path, real.as_bytes());
        let shown = twin(real.as_bytes(), &findings, &key);
        let mut edits = Edits::default();
        prop_assert!(edits.learn(path, real.as_bytes(), &shown));
        let carried = edits.carry(path, &[more.as_bytes(), &shown].concat());
        prop_assert_eq!(carried.bytes, [more.as_bytes(), real.as_bytes()].concat());
    }

    #[test]
    fn any_bytes_are_carried(real: Vec<u8>, edited: Vec<u8>) {
        let mut edits = Edits::default();
        let path = Path::new("x.json");
        prop_assert!(edits.learn(path, &real, &real));
        prop_assert_eq!(edits.carry(path, &edited).bytes, edited);
    }
}
