//! A real MariaDB behind the gate: what programs of a session find, what waits for a person, and what never
//! happens.

use serde_json::Value;
use tagout_tests::mysql::{Mysql, PASSWORD};
use tagout_tests::{Person, Running, World, eventually, for_each_person};

const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, name varchar(40));
    INSERT INTO people SELECT seq, CONCAT('person ', seq) FROM seq_1_to_50;";

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

/// The command line of MariaDB, told what the URL says, as `my`.
const MY: &str = r#"
rest=${DATABASE_URL#*://}; login=${rest%%@*}; rest=${rest#*@}; place=${rest%%/*}; base=${rest#*/}; base=${base%%\?*}
my() { mariadb --no-defaults --batch --skip-column-names -h "${place%:*}" -P "${place#*:}" --protocol=tcp -u "${login%%:*}" -p"${login#*:}" "$base" "$@"; }
"#;

/// A world whose session may use `server` at `host`.
fn world(person: Person, server: &Mysql, host: &str, manifest: &str) -> World {
    let mut world = World::new(person);
    if host != "localhost" {
        world.route_to(&format!("{host}:{}", server.port()), &server.address());
    }
    world.manifest(manifest);
    world.write("my.sh", MY);
    world
}

/// Runs lines inside, with the URL outside where an operator has it.
fn run(world: &World, server: &Mysql, host: &str, options: &[&str], lines: &str) -> Running {
    world.write("lines.sh", &format!(". ./my.sh\n{lines}\n"));
    let mut command = world.run_command(options, "sh lines.sh");
    let mut url = server.url(host);
    if host != "localhost" {
        url.push_str("?ssl-mode=DISABLED");
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
    fn mariadb_works_with_the_url_that_it_finds(person: Person) {
        let server = Mysql::start(SCHEMA);
        for host in ["localhost", "db.example.com"] {
            let world = world(person, &server, host, MANIFEST);
            let lines = "echo $DATABASE_URL; my -e 'SELECT count(*), max(name) FROM people; SELECT DATABASE()'; \
                my -e \"INSERT INTO people SELECT max(id) + 1, 'new' FROM people\"; my -vv -e \"UPDATE people SET name = 'é' WHERE id = 1\"";
            let finished = run(&world, &server, host, &[], lines).end().success();
            assert!(finished.stdout.contains("person 9"), "{finished}");
            assert!(finished.stdout.contains("\napp\n"), "{finished}");
            assert!(finished.stdout.contains("1 row affected") || finished.stdout.contains("Rows matched: 1"), "{finished}");
            assert!(!finished.everything().contains(PASSWORD), "{finished}");
            assert!(finished.stdout.contains(&format!("@{host}:{}/app", server.port())), "{finished}");
            world.verify_all();
        }
        assert_eq!(server.value("SELECT count(*) FROM people"), "52");
        assert_eq!(server.value("SELECT HEX(name) FROM people WHERE id = 1"), "C3A9");
    }
}

#[test]
fn invariant_4_only_the_decoy_of_the_session_is_let_in() {
    let server = Mysql::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    // In two halves, since the whole of it becomes a decoy in files.
    let (first, second) = PASSWORD.split_at(9);
    let lines = format!(
        "good=$login; login=app:'{first}''{second}'; my -e 'SELECT 1'; login=app:guess; my -e 'SELECT 1'; \
         login=app:; my -e 'SELECT 1'; login=$good; base=other; my -e 'SELECT 1'; \
         base=app; login=root:${{good#*:}}; my -e 'SELECT 1'; login=$good; my -e 'SELECT 40 + 2'"
    );
    let finished = run(&world, &server, "localhost", &[], &lines)
        .end()
        .success();
    assert_eq!(finished.stdout.trim(), "42", "{finished}");
    let count = |what: &str| finished.stderr.matches(what).count();
    assert_eq!(count("Tagout denied this login"), 3, "{finished}");
    assert_eq!(count("no other database or user"), 2, "{finished}");
    // Neither reached the server.
    assert!(!server.asked().contains("Access denied"), "{finished}");
}

for_each_person! {
    fn invariant_7_a_destructive_statement_of_mysql_waits_and_runs_once(person: Person) {
        let server = Mysql::start(SCHEMA);
        let world = world(person, &server, "localhost", MANIFEST);
        let lines = "my -vv -e 'DELETE FROM people WHERE id > 20'";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
        let hold = hold_in(&world, "pending");
        assert_eq!(server.value("SELECT count(*) FROM people"), "50");
        assert_eq!(hold["action"]["effect"], "destructive", "{hold}");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("exactly 30 rows removed"), "{shown}");
        let finished = session.end().success();
        assert!(finished.stdout.contains("30 rows affected"), "{finished}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "20");
        let sessions = world.sessions();
        let log = world.json(&["log", &sessions[0]]);
        let kept = log.iter().find(|entry| entry["kind"] == "database_kept");
        assert_eq!(kept.expect("it is kept")["rows"], 30, "{log:?}");
    }
}

#[test]
fn who_cannot_wait_is_told_which_hold_it_is() {
    let server = Mysql::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    let lines = "my -e 'DROP TABLE people'; my -e 'SELECT 40 + 2'";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert!(finished.stderr.contains("ERROR 1142 (42000)"), "{finished}");
    assert!(finished.stderr.contains("tagout approve"), "{finished}");
    assert!(finished.stdout.contains("42"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}
