//! Approvers' files against whoever can read or write them: without the passphrase they give no
//! signature, and damaged they never mean that nobody is enrolled.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::{Value, json};

use super::*;

const PASSPHRASE: &str = "correct horse";

/// Enrols with a hash that is cheap enough for a test.
pub(crate) fn enroll_cheaply(home: &Path, name: &str) -> Signer {
    enroll_with(home, name, PASSPHRASE, 8, 1).unwrap();
    unlock(home, name, PASSPHRASE).unwrap()
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn file(home: &Path, name: &str) -> PathBuf {
    home.join("approvers").join(format!("{name}.json"))
}

fn failure<T>(result: Result<T, ApproverError>) -> ApproverError {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn who_is_enrolled_is_listed_and_signs_with_the_passphrase() {
    let home = home();
    assert!(EnrolledKeys::load(home.path()).unwrap().is_empty());
    let key = enroll(home.path(), "ada", PASSPHRASE).unwrap();
    let signer = unlock(home.path(), "ada", PASSPHRASE).unwrap();
    assert_eq!((signer.name(), signer.key()), ("ada", &key));
    let message = Digest::of(b"message");
    let signature = signer.sign(&message);
    assert!(key.verifies(&message, &signature));
    assert!(!key.verifies(&Digest::of(b"another"), &signature));

    let enrolled = EnrolledKeys::load(home.path()).unwrap();
    assert_eq!(enrolled.iter().collect::<Vec<_>>(), [("ada", &key)]);
    assert_eq!(enrolled.name_of(&key), Some("ada"));
    let metadata = fs::metadata(file(home.path(), "ada")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(home.path().join("approvers")).unwrap().count(),
        1
    );
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_says_no_more() {
    let home = home();
    enroll_cheaply(home.path(), "ada");
    for wrong in ["", "correct hors", "correct horse ", "CORRECT HORSE"] {
        let error = failure(unlock(home.path(), "ada", wrong));
        assert_eq!(error.to_string(), "the passphrase is wrong");
    }
    let error = failure(unlock(home.path(), "bob", PASSPHRASE));
    assert!(matches!(error, ApproverError::Unknown(_)));
}

/// Neither the passphrase nor the key stands in the file.
#[test]
fn the_file_holds_no_secret_in_the_clear() {
    let home = home();
    let signer = enroll_cheaply(home.path(), "ada");
    let text = fs::read_to_string(file(home.path(), "ada")).unwrap();
    let seed = signer.key.to_bytes();
    for secret in [
        PASSPHRASE.to_owned(),
        BASE64.encode(seed),
        format!("{seed:02x?}"),
    ] {
        assert!(!text.contains(&secret));
    }
}

#[test]
fn a_file_with_any_field_changed_opens_nothing() {
    let home = home();
    enroll_cheaply(home.path(), "ada");
    let stranger = enroll_cheaply(home.path(), "bob");
    let path = file(home.path(), "ada");
    let text = fs::read_to_string(&path).unwrap();
    let original: Value = serde_json::from_str(&text).unwrap();
    let changes = [
        ("format", json!(2)),
        ("name", json!("bob")),
        ("public_key", json!(stranger.key())),
        ("kdf", json!("argon2d")),
        ("memory_kib", json!(9)),
        ("memory_kib", json!(u32::MAX)),
        ("passes", json!(2)),
        ("passes", json!(u32::MAX)),
        ("salt", json!(BASE64.encode([0; 16]))),
        ("cipher", json!("none")),
        ("nonce", json!(BASE64.encode([0; 24]))),
        ("sealed", json!(BASE64.encode([0; 48]))),
        ("sealed", json!("")),
        ("extra", json!(1)),
    ];
    for (field, value) in changes {
        let mut changed = original.clone();
        changed[field] = value;
        fs::write(&path, changed.to_string()).unwrap();
        assert!(unlock(home.path(), "ada", PASSPHRASE).is_err(), "{field}");
    }
    fs::write(&path, text).unwrap();
    assert!(unlock(home.path(), "ada", PASSPHRASE).is_ok());
}

/// Else damaging a file would turn "somebody is enrolled" into "anybody may approve".
#[test]
fn an_unreadable_file_is_an_error_and_not_nobody() {
    let home = home();
    enroll_cheaply(home.path(), "ada");
    let path = file(home.path(), "ada");
    let text = fs::read_to_string(&path).unwrap();
    let renamed = text.replace("\"ada\"", "\"eve\"");
    for damaged in ["", "{}", &"x".repeat(100_000), &renamed] {
        fs::write(&path, damaged).unwrap();
        let error = failure(EnrolledKeys::load(home.path()));
        assert!(matches!(error, ApproverError::Malformed(_)), "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(EnrolledKeys::load(home.path()).is_err());
}

#[test]
fn a_name_is_enrolled_once() {
    let home = home();
    let barrier = Arc::new(Barrier::new(4));
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let (home, barrier) = (home.path().to_owned(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                enroll_with(&home, "ada", PASSPHRASE, 8, 1)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for racer in racers {
        match racer.join().unwrap() {
            Ok(key) => winners.push(key),
            Err(error) => assert!(matches!(error, ApproverError::Exists(_)), "{error}"),
        }
    }
    let enrolled = EnrolledKeys::load(home.path()).unwrap();
    assert_eq!(winners.len(), 1);
    assert_eq!(enrolled.iter().collect::<Vec<_>>(), [("ada", &winners[0])]);
}

#[test]
fn names_that_leave_the_folder_and_short_passphrases_are_refused() {
    let home = home();
    for name in [
        "",
        ".ada",
        "..",
        "../ada",
        "a/b",
        "a b",
        "a\n",
        &"a".repeat(65),
    ] {
        let error = failure(enroll_with(home.path(), name, PASSPHRASE, 8, 1));
        assert!(matches!(error, ApproverError::Name), "{name:?}");
        assert!(matches!(
            failure(unlock(home.path(), name, PASSPHRASE)),
            ApproverError::Name
        ));
    }
    let error = failure(enroll_with(home.path(), "ada", "12345", 8, 1));
    assert!(matches!(error, ApproverError::ShortPassphrase));
    assert!(EnrolledKeys::load(home.path()).unwrap().is_empty());
}

#[test]
fn a6_one_key_under_two_names_is_one_approver() {
    let home = home();
    let ada = enroll_cheaply(home.path(), "ada");
    let text = fs::read_to_string(file(home.path(), "ada")).unwrap();
    fs::write(file(home.path(), "eve"), text.replace("\"ada\"", "\"eve\"")).unwrap();
    let enrolled = EnrolledKeys::load(home.path()).unwrap();
    assert_eq!(enrolled.iter().count(), 2);
    assert_eq!(enrolled.len(), 1);
    assert_eq!(enrolled.name_of(ada.key()), Some("ada"));
    // Nor does the passphrase open it under the other name.
    assert!(unlock(home.path(), "eve", PASSPHRASE).is_err());
}

#[test]
fn keys_of_small_order_and_other_text_are_no_keys() {
    let identity = format!("ed25519:{}", BASE64.encode([&[1u8][..], &[0; 31]].concat()));
    for text in ["", "ed25519:", "ed25519:AAAA", identity.as_str()] {
        assert!(text.parse::<ApproverKey>().is_err(), "{text}");
    }
    assert!(Signature::try_from("AAAA".to_owned()).is_err());
}
