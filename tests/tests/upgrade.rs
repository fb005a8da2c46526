//! What an older Tagout left behind: its `$TAGOUT_HOME` is opened, listed, proved and migrated by the
//! binary of today.
//!
//! `tests/fixtures/state-1` was made by the binary of the first slice, with every kind of record in
//! it; [`make_state`] is how. A release that changes a format adds a folder and keeps those before it.

use serde_json::{Value, json};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tagout_tests::{
    Answer, Person, Server, Terminal, TestAuthority, World, eventually, finish, for_each_person,
};

const MANIFEST: &str = r#"
[task]
name = "tidy"

[[host]]
name = "api.example.com"
methods = ["GET", "DELETE"]
"#;

const GET: &str = "curl -sS https://api.example.com/v1/items";
const DOTENV: &str = "STRIPE_SECRET_KEY=sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u\n";
const PASSPHRASE: &str = "correct horse battery staple";

fn delete(item: u32) -> String {
    format!("curl -sS -X DELETE https://api.example.com/v1/items/{item}")
}

/// The state that the first slice left, in the home of a person's new world.
struct Upgraded {
    world: World,
    server: Server,
    expected: Value,
    /// Every command sweeps what the crashed session of the fixture left where its workspace was: a test that
    /// has a workspace there is alone.
    _workspace: File,
}

/// What tests of the fixture's own workspace lock.
fn first_workspace() -> File {
    File::create("/tmp/tagout-test-first-workspace.lock").expect("a lock file in /tmp")
}

impl Upgraded {
    fn new(person: Person) -> Upgraded {
        let lock = first_workspace();
        lock.lock_shared().expect("the lock on the workspace");
        Upgraded::holding(lock, person)
    }

    /// While no other test sweeps the fixture's own workspace.
    fn alone(person: Person) -> Upgraded {
        let lock = first_workspace();
        lock.lock().expect("the lock on the workspace");
        Upgraded::holding(lock, person)
    }

    fn holding(lock: File, person: Person) -> Upgraded {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state-1");
        let authority = TestAuthority::new();
        let server = Server::start(&authority, &["api.example.com"], |request| {
            Answer::json(&json!({"done": request.target}))
        });
        let mut world = World::new(person);
        world.believe(&authority);
        world.route("api.example.com", 443, &server);
        copy(&fixture.join("home"), &world.tagout_home());
        give(&world.tagout_home(), person);
        let expected = std::fs::read_to_string(fixture.join("expected.json")).expect("it exists");
        Upgraded {
            world,
            server,
            expected: serde_json::from_str(&expected).expect("JSON"),
            _workspace: lock,
        }
    }

    fn expected(&self, list: &str) -> &[Value] {
        self.expected[list].as_array().expect("a list")
    }
}

/// Fails the test unless every member that the old binary printed is printed again.
#[track_caller]
fn assert_covers(now: &Value, then: &Value, but: &[&str]) {
    for (name, value) in then.as_object().expect("an object") {
        if !but.contains(&name.as_str()) {
            assert_eq!(&now[name], value, "{name} of {then}");
        }
    }
}

for_each_person! {
    fn what_the_first_slice_recorded_is_listed_and_proved(person: Person) {
        let Upgraded { world, expected, .. } = &Upgraded::new(person);
        let old = Upgraded::new(person);
        let now = world.json(&["sessions"]);
        assert_eq!(now.len(), old.expected("sessions").len());
        for then in old.expected("sessions") {
            let session = now.iter().find(|session| session["id"] == then["id"]).expect("it is listed");
            let killed = then["state"] == "running";
            // Its supervisor was killed after the old binary had said this.
            let changed: &[&str] = &["state", "ended", "reason", "pending_holds", "ledger_entries"];
            assert_covers(session, then, if killed { changed } else { &[] });
            assert_eq!(session["state"], if killed { "crashed" } else { "ended" });

            let id = then["id"].as_str().expect("an id");
            let verified = world.tagout(&["verify", id]).success();
            assert_eq!(verified.stdout.contains("not finished"), killed, "{verified}");
            let entries = world.json(&["log", id]);
            let recorded = expected["logs"][id].as_array().expect("a list");
            assert!(entries.len() >= recorded.len());
            for (entry, then) in entries.iter().zip(recorded) {
                assert_covers(entry, then, &[]);
            }
        }
        let now = world.json(&["holds"]);
        for then in old.expected("holds") {
            let hold = now.iter().find(|hold| hold["id"] == then["id"]).expect("it is listed");
            let waited = then["state"] == "pending";
            assert_covers(hold, then, if waited { &["state"] } else { &[] });
            assert_ne!(hold["state"], "pending", "nothing waits in a session that is gone");
        }
        assert_eq!(world.tagout(&["approver", "list"]).success().stdout, expected["approvers"]);
    }
}

for_each_person! {
    fn the_work_goes_on_with_what_the_first_slice_left(person: Person) {
        let Upgraded { world, server, .. } = &Upgraded::new(person);
        // The manifest is trusted still.
        world.write("tagout.toml", MANIFEST);
        let session = world.start(&mut world.run_command(&["--hold-wait", "60"], &delete(6)));
        // Who was enrolled is asked for the passphrase, and nobody else's answer counts.
        let hold = pending(world);
        assert_ne!(world.tagout(&["approve", &hold, "--yes"]).status, 0);
        let terminal = Terminal::open(world);
        terminal
            .line(&format!("clear; tagout approve {hold}"))
            .shows("passphrase of ada")
            .line(PASSPHRASE)
            .shows("approved");
        let finished = session.end().success();
        assert!(finished.stdout.contains("/v1/items/6"), "{finished}");
        assert_eq!(server.received().len(), 1, "{finished}");
        assert_eq!(world.verify_all(), 5);
    }
}

/// Caches, databases and git inside know the decoys of earlier sessions.
#[test]
fn a_secret_keeps_the_decoy_that_it_had() {
    let Upgraded {
        world, expected, ..
    } = &Upgraded::alone(Person::ordinary());
    // Decoys are a workspace's own, so this is where the fixture's workspace was.
    let workspace = PathBuf::from(
        expected["sessions"][0]["workspace"]
            .as_str()
            .expect("a path"),
    );
    let place = workspace.parent().expect("a folder of its own");
    std::fs::create_dir_all(&workspace).expect("the workspace");
    std::fs::write(workspace.join(".env"), DOTENV).expect("a file");
    for path in [place, &workspace, &workspace.join(".env")] {
        world.person().own(path);
    }
    let mut command = world.tagout_command(&["run", "--", "cat", ".env"]);
    let finished = finish(command.current_dir(&workspace));
    std::fs::remove_dir_all(place).expect("it goes again");
    let decoy = expected["decoy"].as_str().expect("a line");
    assert_eq!(finished.success().stdout.trim_end(), decoy);
}

for_each_person! {
    fn a_meddled_ledger_of_the_first_slice_is_found_out(person: Person) {
        let Upgraded { world, expected, .. } = &Upgraded::new(person);
        let id = expected["sessions"][3]["id"].as_str().expect("an id");
        let path = world.tagout_home().join(format!("ledgers/{id}.ledger"));
        let text = std::fs::read_to_string(&path).expect("the ledger");
        std::fs::write(&path, text.replacen("example.org", "example.net", 1)).expect("write");
        let finished = world.tagout(&["verify", id]);
        assert_eq!(finished.status, 1, "{finished}");
    }
}

for_each_person! {
    fn many_commands_may_come_first_after_an_upgrade(person: Person) {
        let Upgraded { world, .. } = &Upgraded::new(person);
        let commands: Vec<_> = (0..8).map(|_| world.start(&mut world.tagout_command(&["sessions"]))).collect();
        for command in commands {
            let finished = command.end().success();
            assert!(finished.stdout.contains("crashed"), "{finished}");
        }
    }
}

for_each_person! {
    fn state_of_a_newer_tagout_is_left_alone(person: Person) {
        let Upgraded { world, .. } = &Upgraded::new(person);
        let store = world.tagout_home().join("store.sqlite");
        let newer = "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); \
                     store.execute('PRAGMA user_version = 9999'); store.commit(); store.close()";
        finish(world.outside("python3").args(["-c", newer]).arg(&store)).success();
        let bytes = std::fs::read(&store).expect("the store");
        for arguments in [&["run", "--", "true"][..], &["holds"], &["log"], &["trust"]] {
            let finished = world.tagout(arguments);
            assert_eq!(finished.status, if arguments[0] == "run" { 125 } else { 1 }, "{finished}");
            assert!(finished.stderr.contains("use the newer tagout"), "{finished}");
        }
        assert!(std::fs::read(&store).expect("the store") == bytes, "it was changed");
    }
}

/// Makes everything in a folder this person's, and nobody else's to read.
fn give(folder: &Path, person: Person) {
    person.own(folder);
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).expect("its mode");
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            give(&entry.path(), person);
        } else {
            person.own(&entry.path());
            std::fs::set_permissions(entry.path(), Permissions::from_mode(0o600))
                .expect("its mode");
        }
    }
}

/// Makes a fixture with the binary that `TAGOUT_BINARY` names, in the folder that `TAGOUT_FIXTURE` names:
/// `home`, as a supervisor that was killed leaves it, and `expected.json`, what the binary said of it.
#[test]
#[ignore = "makes a fixture; needs TAGOUT_BINARY and TAGOUT_FIXTURE"]
fn make_state() {
    let fixture = PathBuf::from(std::env::var_os("TAGOUT_FIXTURE").expect("where to put it"));
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |request| {
        Answer::json(&json!({"done": request.target}))
    });
    let mut world = World::new(Person::ordinary());
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    world.manifest(MANIFEST);
    world.write(".env", DOTENV);

    // Allowed, refused, held and approved.
    let line = format!("{GET}; curl -sS https://example.org; {}", delete(1));
    let session = world.start(&mut world.run_command(&["--hold-wait", "60"], &line));
    world
        .tagout(&["approve", &pending(&world), "--yes"])
        .success();
    session.end().success();

    // Held and denied; held and never answered.
    let line = format!("cat .env; {}; {} --max-time 5; true", delete(2), delete(3));
    let session = world.start(&mut world.run_command(&["--hold-wait", "60"], &line));
    world
        .tagout(&["deny", &pending(&world), "--reason", "ask the owner"])
        .success();
    let second = session.end().success();

    // Approved with an enrolled approver's signature.
    let terminal = Terminal::open(&world);
    terminal
        .line("tagout approver enroll ada")
        .shows("new passphrase of ada")
        .line(PASSPHRASE)
        .shows("the same again")
        .line(PASSPHRASE)
        .shows("from the next session on");
    let session = world.start(&mut world.run_command(&["--hold-wait", "60"], &delete(4)));
    terminal
        .line(&format!("clear; tagout approve {}", pending(&world)))
        .shows("passphrase of ada")
        .line(PASSPHRASE)
        .shows("approved");
    session.end().success();
    drop(terminal);

    // The supervisor is killed while an action waits.
    let line = format!("{GET}; {}", delete(5));
    let session = world.start(&mut world.run_command(&["--hold-wait", "60"], &line));
    pending(&world);
    let sessions = world.sessions();
    let expected = json!({
        "sessions": world.json(&["sessions"]),
        "holds": world.json(&["holds"]),
        "decoy": second.stdout.lines().find(|line| line.starts_with("STRIPE")),
        "approvers": world.tagout(&["approver", "list"]).success().stdout,
        "logs": sessions.iter().map(|id| (id.clone(), Value::from(world.json(&["log", id]))))
            .collect::<serde_json::Map<_, _>>(),
    });
    session.kill();

    // It names places of this run alone.
    std::fs::remove_file(world.tagout_home().join("config.toml")).expect("its config.toml");
    copy(&world.tagout_home(), &fixture.join("home"));
    let text = serde_json::to_string_pretty(&expected).expect("JSON");
    std::fs::write(fixture.join("expected.json"), text + "\n").expect("write");
}

/// The id of the hold that waits.
fn pending(world: &World) -> String {
    let mut found = None;
    eventually("a hold that is pending", || {
        found = world
            .json(&["holds"])
            .into_iter()
            .find(|hold| hold["state"] == "pending");
        found.is_some()
    });
    found.expect("just found")["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// Copies files and folders; sockets mean nothing without their process.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}
