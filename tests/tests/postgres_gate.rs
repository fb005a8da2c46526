//! A real PostgreSQL behind the gate: what programs of a session find, what waits for a person, and what
//! never happens.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tagout_tests::postgres::{PASSWORD, Postgres};
use tagout_tests::{Person, Running, World, eventually, for_each_person};

const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, name text);
    INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 50) n;";

const MANIFEST: &str = r#"
[task]
name = "shop"
environment = "staging"

[[environment]]
name = "production"
protected = true

[[database]]
name = "app"
url = "env:DATABASE_URL"
"#;

/// A world whose session may use `server` at `host`.
fn world(person: Person, server: &Postgres, host: &str, manifest: &str) -> World {
    let mut world = World::new(person);
    if host != "localhost" {
        world.route_to(&format!("{host}:{}", server.port()), &server.address());
    }
    world.manifest(manifest);
    world
}

/// Runs a line inside, with the URL outside where an operator has it.
fn run(world: &World, server: &Postgres, host: &str, options: &[&str], line: &str) -> Running {
    let mut command = world.run_command(options, line);
    let mut url = server.url(host);
    if host != "localhost" {
        url.push_str("?sslmode=disable");
    }
    command.env("DATABASE_URL", url);
    world.start(&mut command)
}

/// Waits for a hold in a state.
fn hold_in(world: &World, state: &str) -> Value {
    let mut found = None;
    eventually(&format!("a hold that is {state}"), || {
        found = world
            .json(&["holds"])
            .into_iter()
            .find(|hold| hold["state"] == state);
        found.is_some()
    });
    found.expect("just found")
}

fn id(hold: &Value) -> &str {
    hold["id"].as_str().expect("a hold has an id")
}

for_each_person! {
    fn psql_works_with_the_url_that_it_finds(person: Person) {
        let server = Postgres::start(SCHEMA);
        for host in ["localhost", "db.example.com"] {
            let world = world(person, &server, host, MANIFEST);
            let line = "echo $DATABASE_URL; psql -X -A -t \"$DATABASE_URL\" -c 'SELECT count(*), max(name) FROM people' \
                -c \"INSERT INTO people VALUES ((SELECT max(id) + 1 FROM people), 'new')\" -c 'UPDATE people SET name = 1 WHERE id = 1'";
            let finished = run(&world, &server, host, &[], line).end().success();
            assert!(finished.stdout.contains("person 9"), "{finished}");
            assert!(finished.stdout.contains("INSERT 0 1"), "{finished}");
            assert!(finished.stdout.contains("UPDATE 1"), "{finished}");
            assert!(!finished.everything().contains(PASSWORD), "{finished}");
            assert!(finished.stdout.contains(&format!("@{host}:{}/app", server.port())), "{finished}");
            world.verify_all();
        }
        assert_eq!(server.value("SELECT count(*) FROM people"), "52");
    }
}

/// Where `cargo xtask test` put the clients.
fn clients() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/databases");
    assert!(
        folder.join("node_modules/pg").exists(),
        "{} is missing; `cargo xtask test` installs it",
        folder.display()
    );
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

for_each_person! {
    fn the_usual_clients_work_unchanged(person: Person) {
        let server = Postgres::start(SCHEMA);
        let host = "db.example.com";
        let world = world(person, &server, host, MANIFEST);
        let inside = world.workspace();
        world.place_all(&clients().join("site"), &inside.join(".venv/site"));
        world.place_all(&clients().join("node_modules"), &inside.join("node_modules"));
        world.place(&script("postgres_clients.py"), &inside.join("clients.py"));
        world.place(&script("postgres_client.mjs"), &inside.join("client.mjs"));
        let line = "PYTHONPATH=.venv/site python3 clients.py && node client.mjs \
            && pg_dump --no-owner \"$DATABASE_URL\" > dump.sql && grep -c COPY dump.sql";
        let finished = run(&world, &server, host, &[], line).end().success();
        for client in ["asyncpg", "psycopg", "SQLAlchemy", "node-postgres"] {
            assert!(finished.stdout.contains(&format!("{client} works")), "{finished}");
        }
        // Nobody was asked anything.
        assert_eq!(world.json(&["holds"]), Vec::<Value>::new());
        assert_eq!(server.value("SELECT count(*) FROM b"), "60");
    }
}

#[test]
fn invariant_4_only_the_decoy_of_the_session_is_let_in() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    let port = server.port();
    let line = format!(
        "PGPASSWORD={PASSWORD} psql -X -h localhost -p {port} -U app app -c 'SELECT 1'; \
         PGPASSWORD=guess psql -X -h localhost -p {port} -U app app -c 'SELECT 1'; \
         psql -X -w -h localhost -p {port} -U app app -c 'SELECT 1'; \
         psql -X \"${{DATABASE_URL%/app}}/postgres\" -c 'SELECT 1'; \
         psql -X \"$(echo $DATABASE_URL | sed s/app:/postgres:/)\" -c 'SELECT 1'; true"
    );
    let finished = run(&world, &server, "localhost", &[], &line)
        .end()
        .success();
    assert!(!finished.stdout.contains("1 row"), "{finished}");
    assert!(
        finished.stderr.contains("Tagout denied this login"),
        "{finished}"
    );
    assert!(
        finished.stderr.contains("no other database or role"),
        "{finished}"
    );
}

for_each_person! {
    fn invariant_7_a_destructive_statement_waits_and_runs_once(person: Person) {
        let server = Postgres::start(SCHEMA);
        let world = world(person, &server, "localhost", MANIFEST);
        let line = "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people'";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
        let hold = hold_in(&world, "pending");
        assert_eq!(server.value("SELECT count(*) FROM people"), "50");
        assert_eq!(hold["action"]["effect"], "destructive", "{hold}");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("DELETE FROM people"), "{shown}");
        let finished = session.end().success();
        assert!(finished.stdout.contains("DELETE 50"), "{finished}");
        assert!(finished.stderr.contains("tagout approve"), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "0");
        assert_eq!(hold_in(&world, "used")["id"], hold["id"]);
        let sessions = world.sessions();
        let log = world.json(&["log", &sessions[0]]);
        let kept = log.iter().find(|entry| entry["kind"] == "database_kept");
        assert_eq!(kept.expect("it is kept")["rows"], 50, "{log:?}");
    }
}

#[test]
fn invariant_7_what_takes_more_than_was_shown_is_taken_back() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    let line = "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people'";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
    let hold = hold_in(&world, "pending");
    server
        .outside("INSERT INTO people VALUES (1000, 'came later')")
        .success();
    world.tagout(&["approve", id(&hold), "--yes"]).success();
    let finished = session.end();
    assert!(finished.stderr.contains("took this back"), "{finished}");
    assert!(!finished.stdout.contains("DELETE"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "51");
}

/// Prepared by a driver, with values, by itself and within a transaction.
const DELETES: &str = r#"
import os, psycopg
for autocommit in (True, False):
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=autocommit) as connection:
        gone = connection.execute("DELETE FROM people WHERE id %% 10 < %s", (3 if autocommit else 5,)).rowcount
        print("gone", gone)
"#;

for_each_person! {
    fn what_a_driver_prepared_waits_with_its_values(person: Person) {
        let server = Postgres::start(SCHEMA);
        let world = world(person, &server, "localhost", MANIFEST);
        world.place_all(&clients().join("site"), &world.workspace().join(".venv/site"));
        world.write("delete.py", DELETES);
        let line = "PYTHONPATH=.venv/site python3 delete.py";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
        for value in ["$1 = 3", "$1 = 5"] {
            let hold = hold_in(&world, "pending");
            let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
            assert!(shown.everything().contains(value), "{shown}");
            assert!(shown.everything().contains("exactly"), "{shown}");
        }
        let finished = session.end().success();
        assert!(finished.stdout.contains("gone 15\ngone 10"), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "25");
    }
}
