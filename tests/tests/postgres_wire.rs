//! The wire as an attacker uses it: a client of our own that speaks the protocol byte by byte against the
//! gate and a real server.

use std::path::Path;

use tagout_tests::postgres::{PASSWORD, Postgres};
use tagout_tests::{Person, WITH_DATABASE, World, eventually, for_each_person};

const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, name text);
    INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 50) n;";

for_each_person! {
    fn invariant_5_no_bytes_get_past_the_gate(person: Person) {
        let server = Postgres::start(SCHEMA);
        let world = World::new(person);
        world.manifest(WITH_DATABASE);
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/postgres_wire.py");
        world.place(&client, &world.workspace().join("wire.py"));
        let mut command = world.run_command(&["--hold-wait", "0"], "python3 wire.py");
        command.env("DATABASE_URL", server.url("localhost"));
        let finished = world.start(&mut command).end().success();
        assert!(!finished.stdout.contains("not as expected"), "{finished}");
        let stopped = finished.stdout.matches("stopped: ").count();
        assert!(finished.stdout.contains(&format!("all of {stopped} tried")), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "50");
        assert!(!finished.everything().contains(PASSWORD), "{finished}");
        let log = server.log();
        let ran = |line: &&str| {
            (line.contains("statement: ") || line.contains("execute ")) && line.contains("DELETE FROM people")
        };
        assert_eq!(log.lines().filter(ran).collect::<Vec<_>>(), Vec::<&str>::new());
        world.verify_all();
    }
}

#[test]
fn invariant_6_a_role_whose_settings_change_the_reading_is_not_let_in() {
    let server = Postgres::start(SCHEMA);
    let world = World::new(Person::ordinary());
    world.manifest(WITH_DATABASE);
    for setting in [
        "standard_conforming_strings = off",
        "client_encoding = 'SJIS'",
    ] {
        server
            .admin(&format!("ALTER ROLE app SET {setting}"))
            .success();
        let line = r"psql -X -A -t $DATABASE_URL -c 'SHOW standard_conforming_strings' \
            -c 'SHOW client_encoding' -c $'SELECT \'a\\\'; DELETE FROM people; --\'' ; true";
        let mut command = world.run_command(&["--hold-wait", "0"], line);
        command.env("DATABASE_URL", server.url("localhost"));
        let finished = world.start(&mut command).end().success();
        let is_pinned = finished.stdout.starts_with("on\nUTF8\n");
        assert!(
            is_pinned || finished.stdout.is_empty(),
            "{setting}: {finished}"
        );
        assert_eq!(server.value("SELECT count(*) FROM people"), "50");
        server.admin("ALTER ROLE app RESET ALL").success();
    }
}

#[test]
fn invariant_5_a_protected_database_cannot_be_made_writable() {
    let server = Postgres::start(SCHEMA);
    let world = World::new(Person::ordinary());
    world.manifest(
        &WITH_DATABASE.replace("environment = \"staging\"", "environment = \"production\""),
    );
    let insert = "INSERT INTO people VALUES (99)";
    let texts = [
        format!("SET TRANSACTION READ WRITE; {insert}"),
        format!("BEGIN READ WRITE; {insert}; COMMIT"),
        format!("BEGIN; SET LOCAL transaction_read_only = off; {insert}; COMMIT"),
        format!("SET default_transaction_read_only = off; {insert}"),
        format!("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; {insert}"),
        format!("SELECT set_config('transaction_read_only', 'off', true); {insert}"),
        format!("START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE; {insert}; COMMIT"),
        format!("COMMIT; BEGIN READ WRITE; {insert}; COMMIT"),
        format!("RESET ALL; {insert}"),
        format!("RESET ALL; COMMIT; {insert}"),
        format!("DISCARD ALL; {insert}"),
        format!("RESET default_transaction_read_only; {insert}"),
        format!("SET default_transaction_read_only TO DEFAULT; {insert}"),
    ];
    let mut script = String::new();
    for (number, text) in texts.iter().enumerate() {
        world.write(&format!("{number}.sql"), text);
        // As one message, and statement by statement.
        script.push_str(&format!(
            "psql -X $DATABASE_URL -c \"$(cat {number}.sql)\"; psql -X $DATABASE_URL -f {number}.sql\n"
        ));
    }
    world.write("all.sh", &script);
    let mut command = world.run_command(&["--hold-wait", "0"], "sh all.sh; true");
    command.env("DATABASE_URL", server.url("localhost"));
    let finished = world.start(&mut command).end().success();
    assert!(!finished.stdout.contains("INSERT"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

#[test]
fn invariant_5_an_approved_text_leaves_a_protected_database_read_only() {
    let server = Postgres::start(SCHEMA);
    let world = World::new(Person::ordinary());
    world.manifest(
        &WITH_DATABASE.replace("environment = \"staging\"", "environment = \"production\""),
    );
    // One approval, whose transaction is then rolled back: what follows is as read-only as before.
    world.write(
        "all.sql",
        "BEGIN\\; DELETE FROM people;\nROLLBACK;\nINSERT INTO people VALUES (99);\nSHOW default_transaction_read_only;\n",
    );
    let mut command = world.run_command(
        &["--hold-wait", "60"],
        "psql -X -A -t $DATABASE_URL -f all.sql; true",
    );
    command.env("DATABASE_URL", server.url("localhost"));
    let session = world.start(&mut command);
    let mut hold = None;
    eventually("a hold", || {
        hold = world
            .json(&["holds"])
            .first()
            .map(|hold| hold["id"].to_string());
        hold.is_some()
    });
    let hold = hold.expect("just found");
    world
        .tagout(&["approve", hold.trim_matches('"'), "--yes"])
        .success();
    let finished = session.end().success();
    assert!(finished.stdout.ends_with("on\n"), "{finished}");
    assert!(!finished.stdout.contains("INSERT"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}
