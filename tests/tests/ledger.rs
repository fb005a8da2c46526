//! The record of a session, as `tagout verify` judges it from outside.

use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use tagout_tests::{Answer, Person, Server, TestAuthority, World, for_each_person};

/// The one ledger of a world.
fn ledger(world: &World) -> PathBuf {
    let folder = world.tagout_home().join("ledgers");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the ledgers' folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ledger")
        })
        .collect();
    assert_eq!(files.len(), 1, "one session, one ledger");
    files.remove(0)
}

for_each_person! {
    fn a_meddled_ledger_does_not_verify(person: Person) {
        let world = World::new(person);
        world.run(&[], "curl -sS https://example.org; curl -sS https://example.com").success();
        world.verify_all();
        let session = world.sessions().remove(0);
        let path = ledger(&world);
        let genuine = std::fs::read_to_string(&path).expect("the ledger");
        let lines: Vec<&str> = genuine.split_inclusive('\n').collect();
        let entries: Vec<usize> = (0..lines.len()).filter(|&line| lines[line].starts_with('{')).collect();
        assert!(entries.len() >= 4, "a start, two refusals, an end: {genuine}");

        let without = |gone: usize| -> String {
            lines.iter().enumerate().filter(|(line, _)| *line != gone).map(|(_, text)| *text).collect()
        };
        let mut swapped = lines.clone();
        swapped.swap(entries[1], entries[2]);
        let cases = [
            ("changed", genuine.replacen("example.org", "example.net", 1)),
            ("dropped", without(entries[1])),
            ("swapped", swapped.concat()),
            ("cut off", lines[..entries[2]].concat()),
            ("doubled", lines[..=entries[1]].concat() + &lines[entries[1]..].concat()),
            ("extended", format!("{genuine}{}", lines[entries[1]])),
            ("emptied", String::new()),
        ];
        for (what, text) in cases {
            assert_ne!(text, genuine, "{what} changes nothing");
            std::fs::write(&path, text).expect("write the ledger");
            let finished = world.tagout(&["verify", &session]);
            assert_ne!(finished.status, 0, "a ledger that was {what} verifies: {finished}");
        }
        std::fs::write(&path, genuine).expect("write the ledger");
        world.tagout(&["verify", &session]).success();
    }
}

/// Only root can make a small disk, so this runs as root alone.
#[test]
fn invariant_8_a_full_disk_refuses_as_root() {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |_| {
        Answer::json(&json!({"reached": true}))
    });
    let mut world = World::new(Person::root());
    // The state lies on a disk of one megabyte, which is full from some request on.
    world.write_home(".local/state/tagout/.keep", "");
    let disk = world.tagout_home();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none"])
        .arg(&disk)
        .status()
        .expect("mount starts");
    assert!(mounted.success());
    let unmount = Unmount(disk.clone());
    world.believe(&authority);
    world.route("api.example.com", 443, &server);

    let get = "curl -sS https://api.example.com/; echo";
    // The last page of a file that is not full takes a little more, so some requests may still pass.
    let line = format!(
        "{get}; touch ready; until [ -e go ]; do sleep 0.05; done; \
         for request in $(seq 20); do {get}; done"
    );
    let mut command = world.run_command(&["--allow-host", "api.example.com"], &line);
    let session = world.start(&mut command);
    tagout_tests::eventually("the first answer", || world.read("ready").is_some());
    let _ = std::fs::write(disk.join("filler"), vec![0_u8; 2 << 20]);
    world.write("go", "");
    let finished = session.end();

    let answers: Vec<&str> = finished
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    let reached = answers
        .iter()
        .filter(|answer| answer.contains("reached"))
        .count();
    assert_eq!(server.received().len(), reached, "{finished}");
    assert!(
        answers
            .last()
            .is_some_and(|last| last.contains("tagout_denied")),
        "{finished}"
    );
    let first_refusal = answers
        .iter()
        .position(|answer| answer.contains("tagout_denied"));
    assert_eq!(
        first_refusal,
        Some(reached),
        "once refused, nothing is released: {finished}"
    );
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily, so that a failed test does not leave it either.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

for_each_person! {
    fn a_ledger_that_is_gone_is_no_proof(person: Person) {
        let world = World::new(person);
        world.run(&[], "true").success();
        let session = world.sessions().remove(0);
        let ledger = world.tagout_home().join("ledgers").join(format!("{session}.ledger"));
        std::fs::remove_file(&ledger).expect("the ledger");
        let finished = world.tagout(&["verify", &session]);
        assert_ne!(finished.status, 0, "{finished}");
        assert!(finished.stderr.contains("is gone"), "{finished}");
    }
}

#[test]
fn a_session_that_there_never_was_is_said_to_be_unknown() {
    let world = World::new(Person::ordinary());
    for command in ["log", "verify"] {
        let finished = world.tagout(&[command, "s-aaaaaaaaaa"]);
        assert_eq!(finished.status, 1, "{finished}");
        let told = "there is no session s-aaaaaaaaaa; `tagout sessions` lists them";
        assert!(finished.stderr.contains(told), "{finished}");
    }
}
