//! A real PostgreSQL behind the gate: what programs of a session find, what waits for a person, and what
//! never happens.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tagout_tests::postgres::{PASSWORD, Postgres, programs};
use tagout_tests::{Person, Running, TestAuthority, WITH_DATABASE, World, for_each_person, id};

const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, name text);
    INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 50) n;";

/// A world whose session may use `server` at `host`.
fn world(person: Person, server: &Postgres, host: &str, manifest: &str) -> World {
    World::beside(person, (host, server.port()), &server.address(), manifest)
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

for_each_person! {
    fn psql_works_with_the_url_that_it_finds(person: Person) {
        let server = Postgres::start(SCHEMA);
        for host in ["localhost", "db.example.com"] {
            let world = world(person, &server, host, WITH_DATABASE);
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
        let world = world(person, &server, host, WITH_DATABASE);
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
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
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
        let world = world(person, &server, "localhost", WITH_DATABASE);
        let line = "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people'";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
        let hold = world.hold_in("pending");
        assert_eq!(server.value("SELECT count(*) FROM people"), "50");
        assert_eq!(hold["action"]["effect"], "destructive", "{hold}");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("DELETE FROM people"), "{shown}");
        let way_back = format!("`tagout undo {} --database` puts it back", world.sessions()[0]);
        assert!(shown.everything().contains(&way_back), "{shown}");
        assert!(!shown.everything().contains("a retention window"), "{shown}");
        let finished = session.end().success();
        assert!(finished.stdout.contains("DELETE 50"), "{finished}");
        assert!(finished.stderr.contains("tagout approve"), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "0");
        assert_eq!(world.hold_in("used")["id"], hold["id"]);
        let sessions = world.sessions();
        let log = world.json(&["log", &sessions[0]]);
        let kept = log.iter().find(|entry| entry["kind"] == "database_kept");
        assert_eq!(kept.expect("it is kept")["rows"], 50, "{log:?}");
    }
}

#[test]
fn invariant_7_what_takes_more_than_was_shown_is_taken_back() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let line = "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people'";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
    let hold = world.hold_in("pending");
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
        let world = world(person, &server, "localhost", WITH_DATABASE);
        world.place_all(&clients().join("site"), &world.workspace().join(".venv/site"));
        world.write("delete.py", DELETES);
        let line = "PYTHONPATH=.venv/site python3 delete.py";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
        for value in ["$1 = 3", "$1 = 5"] {
            let hold = world.hold_in("pending");
            let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
            assert!(shown.everything().contains(value), "{shown}");
            assert!(shown.everything().contains("exactly"), "{shown}");
        }
        let finished = session.end().success();
        assert!(finished.stdout.contains("gone 15\ngone 10"), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "25");
    }
}

#[test]
fn invariant_7_what_cannot_be_kept_is_said_before_and_runs_when_approved() {
    let server = Postgres::start(&format!(
        "{SCHEMA} CREATE AGGREGATE most(int) (SFUNC = int4larger, STYPE = int); CREATE SCHEMA s;
            CREATE TABLE s.one (id int); CREATE AGGREGATE s.most(int) (SFUNC = int4larger, STYPE = int)"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    for (statement, why) in [
        (
            "ALTER TABLE people DROP COLUMN name",
            "copy the table first",
        ),
        ("DROP SCHEMA s CASCADE", "function s.most(integer)"),
    ] {
        let line = format!("psql -X \"$DATABASE_URL\" -c '{statement}'");
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], &line);
        let hold = world.hold_in("pending");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        let told = shown.everything();
        assert!(told.contains("Nothing of what it takes is kept"), "{shown}");
        assert!(told.contains(why), "{shown}");
        session.end().success();
    }
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE table_name IN ('people', 'one')";
    assert_eq!(server.value(columns), "1");
    world.verify_all();
}

/// What reaches further than it looks (docs/sql.md), each as a program inside would send it.
const DISGUISED: &[&str] = &[
    "SELECT 1; COMMIT; DELETE FROM people",
    "BEGIN READ ONLY; ROLLBACK; TRUNCATE people",
    "WITH gone AS (DELETE FROM people RETURNING 1) SELECT count(*) FROM gone",
    "EXPLAIN ANALYZE DELETE FROM people",
    "DO $$ BEGIN EXECUTE 'DELETE ' || 'FROM people'; END $$",
    "SELECT wipe()",
    "SELECT pg_catalog.query_to_xml('DELETE FROM people RETURNING 1', true, true, '')",
    "PREPARE p AS DELETE FROM people",
    "DECLARE c CURSOR FOR SELECT wipe()",
    "COPY people TO PROGRAM 'cat > /tmp/people'",
    "COPY (SELECT wipe()) TO STDOUT",
    "SET standard_conforming_strings = off",
    "SELECT set_config('standard_conforming_' || 'strings', 'off', false)",
    "SET session_replication_role = replica",
    "ALTER ROLE app SET standard_conforming_strings = off",
    "CREATE RULE r AS ON INSERT TO people DO ALSO DELETE FROM people",
    "CREATE FUNCTION w2() RETURNS void LANGUAGE sql AS 'DELETE FROM people'",
    "DROP SCHEMA public CASCADE",
    "ALTER TABLE people DROP COLUMN name",
    "UPDATE people SET name = NULL",
    "MERGE INTO people p USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "MERGE INTO people p USING people q ON p.id = q.id WHEN MATCHED THEN UPDATE SET name = NULL",
    "INSERT INTO people SELECT * FROM people ON CONFLICT (id) DO UPDATE SET name = NULL",
    "GRANT ALL ON people TO PUBLIC",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "SELECT lo_unlink(1)",
    // What resets send: Rails, Prisma, database cleaners, provisioners, everybody's own script.
    "DROP TABLE IF EXISTS \"people\" CASCADE",
    "DROP DATABASE IF EXISTS app WITH (FORCE)",
    "DROP SCHEMA IF EXISTS \"public\" CASCADE; CREATE SCHEMA \"public\"",
    "TRUNCATE TABLE \"people\" RESTART IDENTITY CASCADE",
    "REASSIGN OWNED BY app TO postgres",
    "DROP OWNED BY app",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "DROP ROLE app",
    "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$",
    "DELETE FROM people; this is no SQL",
];

#[test]
fn invariant_5_nothing_disguised_gets_past() {
    let server = Postgres::start(&format!(
        "{SCHEMA} CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql IMMUTABLE AS
            'WITH gone AS (DELETE FROM people RETURNING 1) SELECT count(*) FROM gone'"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let mut script = String::new();
    for (number, statement) in DISGUISED.iter().enumerate() {
        world.write(&format!("{number}.sql"), statement);
        // As one message each; a refused one must leave the connection as it was.
        script.push_str(&format!(
            "psql -X \"$DATABASE_URL\" -c \"$(cat {number}.sql)\" && echo {number} ran\n"
        ));
    }
    script.push_str("psql -X -A -t \"$DATABASE_URL\" -c 'SELECT 40 + 2'\n");
    world.write("all.sh", &script);
    // Who cannot wait is told at once.
    let finished = run(
        &world,
        &server,
        "localhost",
        &["--hold-wait", "0"],
        "sh all.sh",
    )
    .end()
    .success();
    assert!(!finished.stdout.contains("ran"), "{finished}");
    assert!(finished.stdout.contains("42"), "{finished}");
    let refused = finished.stderr.matches("Tagout held this").count()
        + finished.stderr.matches("Tagout denied this").count();
    // What is no SQL is refused by the server, which was asked to parse it and no more.
    let unread = finished
        .stderr
        .matches("syntax error at or near \"this\"")
        .count();
    assert_eq!((refused, unread), (DISGUISED.len() - 1, 1), "{finished}");
    assert_eq!(server.value("SELECT count(name) FROM people"), "50");
    let log = server.log();
    for word in ["DELETE ", "TRUNCATE", "PROGRAM", "wipe()\"", "query_to_xml"] {
        let asked = log
            .lines()
            .filter(|line| line.contains("statement:") && line.contains(word))
            // What Tagout asks for previews counts in read-only transactions of its own.
            .filter(|line| !line.contains("count(*)") && !line.contains("CREATE FUNCTION wipe"));
        assert_eq!(asked.collect::<Vec<_>>(), Vec::<&str>::new(), "{word}");
    }
}

#[test]
fn invariant_5_removing_row_by_row_asks_in_the_end() {
    let server = Postgres::start(&format!(
        "{SCHEMA} INSERT INTO people SELECT n, 'more' FROM generate_series(51, 500) n; CREATE TABLE others AS SELECT * FROM people; CREATE TABLE thirds AS SELECT * FROM people"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let line = "for n in $(seq 500); do echo \"DELETE FROM people WHERE id = $n;\"; done > each.sql; \
        psql -X -q -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -f each.sql; \
        psql -X -q \"$DATABASE_URL\" -c 'DELETE FROM public.people WHERE id IN (200, 201)'; \
        psql -X -q \"$DATABASE_URL\" -c \"$(sed s/people/others/ each.sql)\"; \
        { echo 'PREPARE d (int) AS DELETE FROM thirds WHERE id = $1;'; for n in $(seq 500); do echo \"EXECUTE d ($n);\"; done; } > run.sql; \
        psql -X -q -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -f run.sql; true";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], line)
        .end()
        .success();
    assert_eq!(
        finished.stderr.matches("Tagout held this").count(),
        4,
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "400");
    // Its PREPARE counts as one.
    assert_eq!(server.value("SELECT count(*) FROM thirds"), "401");
    let holds = world.json(&["holds"]);
    let shown = |hold: &Value| {
        hold["preview"]
            .to_string()
            .contains("100 rows of people or more")
    };
    assert!(holds.iter().any(shown), "{holds:?}");
}

#[test]
fn invariant_6_a_start_that_changes_the_reading_is_refused() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let line = "PGOPTIONS='-c standard_conforming_strings=off' psql -X \"$DATABASE_URL\" -c 'SELECT 1'; \
        psql -X \"$DATABASE_URL?replication=database\" -c 'IDENTIFY_SYSTEM'; \
        PGCLIENTENCODING=SJIS psql -X \"$DATABASE_URL\" -c 'SELECT 1'; \
        PGGSSENCMODE=prefer psql -X -A -t \"$DATABASE_URL\" -c 'SELECT 40 + 2'";
    let finished = run(&world, &server, "localhost", &[], line).end().success();
    assert_eq!(finished.stdout.trim(), "42", "{finished}");
    for what in ["`options`", "replication", "a client_encoding"] {
        let denied = format!("Tagout denied this: {what}");
        assert!(finished.stderr.contains(&denied), "{finished}");
    }
}

#[test]
fn scope_a_database_pinned_to_production_is_out_of_reach() {
    let server = Postgres::start(SCHEMA);
    let pin = format!("postgres:db.example.com:{}/app", server.port());
    let manifest = WITH_DATABASE.replace(
        "protected = true",
        &format!("protected = true\nresources = [\"{pin}\"]"),
    );
    let world = world(Person::ordinary(), &server, "db.example.com", &manifest);
    let line = "psql -X \"$DATABASE_URL\" -c 'SELECT * FROM people'; psql -X \"$DATABASE_URL\" -c 'DROP TABLE people'; true";
    let finished = run(&world, &server, "db.example.com", &[], line)
        .end()
        .success();
    assert_eq!(finished.stdout.trim(), "", "{finished}");
    assert!(finished.stderr.contains("is in production"), "{finished}");
    assert_eq!(world.json(&["holds"]), Vec::<Value>::new());
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

#[test]
fn a_disposable_database_asks_nobody_and_a_protected_one_is_read_only() {
    let server = Postgres::start(SCHEMA);
    let disposable = WITH_DATABASE.replace(
        "[[database]]",
        "[[environment]]\nname = \"staging\"\ndisposable = true\n\n[[database]]",
    );
    let world = world(Person::ordinary(), &server, "localhost", &disposable);
    let line = "psql -X \"$DATABASE_URL\" -c 'DROP TABLE people' -c 'CREATE TABLE people (id int)'";
    let finished = run(&world, &server, "localhost", &[], line).end().success();
    assert!(finished.stdout.contains("DROP TABLE"), "{finished}");

    let protected =
        WITH_DATABASE.replace("environment = \"staging\"", "environment = \"production\"");
    let world = self::world(Person::ordinary(), &server, "localhost", &protected);
    let line = "psql -X -A -t \"$DATABASE_URL\" -c 'SHOW transaction_read_only'; psql -X \"$DATABASE_URL\" -c 'INSERT INTO people VALUES (1)'; \
        psql -X \"$DATABASE_URL\" -c 'INSERT INTO people VALUES (2); DROP TABLE people'";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
    let hold = world.hold_in("pending");
    world.tagout(&["approve", id(&hold), "--yes"]).success();
    let finished = session.end().success();
    assert!(finished.stdout.starts_with("on\n"), "{finished}");
    assert!(
        finished.stderr.contains("read-only transaction"),
        "{finished}"
    );
    assert!(finished.stdout.contains("DROP TABLE"), "{finished}");
}

#[test]
fn a_statement_that_waits_can_be_cancelled() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    // psql sends a CancelRequest when it is interrupted.
    let line = "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people' & until [ -e go ]; do sleep 0.1; done; kill -INT $!; wait $!; echo ended $?";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], line);
    world.hold_in("pending");
    world.write("go", "");
    let finished = session.end().success();
    assert!(
        finished.stderr.contains("canceling statement"),
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

for_each_person! {
    fn both_ends_are_encrypted_and_verified(person: Person) {
        let authority = TestAuthority::new();
        let (certificate, key) = authority.server_pem(&["db.example.com"]);
        let server = Postgres::with(
            SCHEMA,
            &["ssl = on", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'"],
            &[("server.crt", &certificate), ("server.key", &key)],
        );
        let mut world = World::new(person);
        world.route_to(&format!("db.example.com:{}", server.port()), &server.address());
        world.believe(&authority);
        world.manifest(WITH_DATABASE);
        let line = "psql -X -A -t \"$DATABASE_URL&channel_binding=require\" -c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()' -c '\\conninfo'";
        let mut command = world.run_command(&[], line);
        command.env("DATABASE_URL", format!("{}?sslmode=verify-full", server.url("db.example.com")));
        let finished = world.start(&mut command).end().success();
        assert!(finished.stdout.contains("t\n"), "{finished}");
        assert!(finished.stdout.contains("TLSv1.3"), "{finished}");

        // Somebody else's certificate.
        let stranger = TestAuthority::new();
        world.believe(&stranger);
        let mut command = world.run_command(&[], "psql -X \"$DATABASE_URL\" -c 'SELECT 1'; true");
        command.env("DATABASE_URL", server.url("db.example.com"));
        let finished = world.start(&mut command).end().success();
        assert!(finished.stderr.contains("could not reach the database"), "{finished}");
    }
}

#[test]
fn invariant_2_reads_of_a_kind_wait_for_the_disk_once_and_each_is_recorded() {
    let server = Postgres::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let line = "for n in $(seq 40); do echo \"SELECT id FROM people WHERE id = $n;\"; echo \"INSERT INTO people SELECT 1000 + $n, 'x';\"; done | psql -X -q -t \"$DATABASE_URL\"";
    run(&world, &server, "localhost", &[], line).end().success();
    let logged = world.tagout(&["log", "--json"]).success();
    let entries: Vec<Value> = logged
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |kind: &str, operation: &str| -> Vec<&Value> {
        entries
            .iter()
            .filter(|entry| entry["kind"] == kind)
            .filter(|entry| {
                let name = &entry["operations"][0]["name"];
                operation.is_empty() || name == operation
            })
            .collect()
    };
    let selects = of("intent", "sql.select");
    let again = of("again", "");
    assert_eq!(selects.len() + again.len(), 40, "{logged}");
    assert!(selects.len() < 3, "{logged}");
    let mut digests: Vec<&Value> = selects
        .iter()
        .chain(&again)
        .map(|entry| &entry["digest"])
        .collect();
    digests.sort_by_key(|digest| digest.to_string());
    digests.dedup();
    assert_eq!(digests.len(), 40, "each by its own digest: {logged}");
    for entry in again {
        let first = selects
            .iter()
            .find(|select| select["seq"] == entry["intent"]);
        assert!(first.is_some(), "{entry}");
        assert_eq!(entry["error"], Value::Null, "{entry}");
    }
    // What writes is recorded, and waits, one by one.
    assert_eq!(of("intent", "sql.insert").len(), 40, "{logged}");
    world.verify_all();
}

#[test]
fn transactions_of_a_driver_that_prepares_ask_nobody() {
    let server = Postgres::start(SCHEMA);
    let program = programs().join("pgbench");
    let mut fill = std::process::Command::new(&program);
    fill.args(["-i", "-q", &server.url("127.0.0.1")]);
    assert!(fill.output().expect("pgbench").status.success());
    // Its keys have no names of keys, so that elsewhere each update by one asks somebody.
    let disposable = WITH_DATABASE.replace(
        "[[database]]",
        "[[environment]]\nname = \"staging\"\ndisposable = true\n\n[[database]]",
    );
    let world = world(Person::ordinary(), &server, "localhost", &disposable);
    let program = program.display();
    let line = format!(
        "for mode in simple extended prepared; do {program} -n -M $mode -c 4 -t 25 \"$DATABASE_URL\" || exit 1; done"
    );
    let finished = run(&world, &server, "localhost", &[], &line)
        .end()
        .success();
    let done = finished.stdout.matches("actually processed: 100/100");
    assert_eq!(done.count(), 3, "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM pgbench_history"), "300");
}
