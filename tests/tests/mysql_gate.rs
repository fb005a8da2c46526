//! A real MariaDB behind the gate: what programs of a session find, what waits for a person, and what never
//! happens.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tagout_tests::mysql::{Mysql, PASSWORD};
use tagout_tests::{
    Person, Running, TestAuthority, WITH_DATABASE, World, eventually, for_each_person, id,
};

const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, name varchar(40));
    INSERT INTO people SELECT seq, CONCAT('person ', seq) FROM seq_1_to_50;";

/// The command line of MariaDB, told what the URL says, as `my`.
const MY: &str = r#"
rest=${DATABASE_URL#*://}; login=${rest%%@*}; rest=${rest#*@}; place=${rest%%/*}; base=${rest#*/}; base=${base%%\?*}
how() { echo --no-defaults --batch --skip-column-names -h "${place%:*}" -P "${place#*:}" --protocol=tcp -u "${login%%:*}" "-p${login#*:}" "$base"; }
my() { mariadb $(how) "$@"; }
"#;

/// A world whose session may use `server` at `host`.
fn world(person: Person, server: &Mysql, host: &str, manifest: &str) -> World {
    let world = World::beside(person, (host, server.port()), &server.address(), manifest);
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

for_each_person! {
    fn mariadb_works_with_the_url_that_it_finds(person: Person) {
        let server = Mysql::start(SCHEMA);
        for host in ["localhost", "db.example.com"] {
            let world = world(person, &server, host, WITH_DATABASE);
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
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
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
        let world = world(person, &server, "localhost", WITH_DATABASE);
        let lines = "my -vv -e 'DELETE FROM people WHERE id > 20'";
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
        let hold = world.hold_in("pending");
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
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let lines = "my -e 'DROP TABLE people'; my -e 'SELECT 40 + 2'";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert!(finished.stderr.contains("ERROR 1142 (42000)"), "{finished}");
    assert!(finished.stderr.contains("tagout approve"), "{finished}");
    assert!(finished.stdout.contains("42"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

/// Where `cargo xtask test` put the clients.
fn clients() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/databases");
    assert!(
        folder.join("node_modules/mysql2").exists() && folder.join("site/pymysql").exists(),
        "clients of MySQL are missing in {}; `cargo xtask test` installs them",
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
    fn the_usual_clients_of_mysql_work_unchanged(person: Person) {
        let server = Mysql::start(SCHEMA);
        let host = "db.example.com";
        let world = world(person, &server, host, WITH_DATABASE);
        let inside = world.workspace();
        world.place_all(&clients().join("site"), &inside.join(".venv/site"));
        world.place_all(&clients().join("node_modules"), &inside.join("node_modules"));
        world.place(&script("mysql_clients.py"), &inside.join("clients.py"));
        world.place(&script("mysql_client.mjs"), &inside.join("client.mjs"));
        let lines = "PYTHONPATH=.venv/site python3 clients.py && node client.mjs \
            && MYSQL_PWD=\"${login#*:}\" mariadb-dump --no-defaults --protocol=tcp -h \"${place%:*}\" -P \"${place#*:}\" -u app --no-tablespaces app > dump.sql \
            && grep -c 'INSERT INTO' dump.sql && sed 's/`people`/`again`/g; s/^DROP TABLE.*//' dump.sql > again.sql \
            && sed -n '/`again`/,/UNLOCK/p' again.sql | my && my -e 'SELECT count(*) FROM again'";
        let finished = run(&world, &server, host, &["--hold-wait", "0"], lines).end().success();
        for client in ["PyMySQL", "Connector/Python", "SQLAlchemy", "mysql2"] {
            assert!(finished.stdout.contains(&format!("{client} works")), "{finished}");
        }
        assert!(finished.stdout.trim().ends_with("50"), "{finished}");
        // Nobody was asked anything.
        assert_eq!(world.json(&["holds"]), Vec::<Value>::new());
        assert_eq!(server.value("SELECT count(*) FROM d"), "20");
    }
}

/// What reaches further than it looks (docs/sql.md), each as a program inside would send it.
const DISGUISED: &[&str] = &[
    "SELECT 1; DELETE FROM people",
    "/*!40000 DELETE FROM people */",
    "SELECT 1 /*!50000 ; DELETE FROM people */",
    "SELECT 1 /*M!50000 ; DELETE FROM people */",
    "/*!99999 SELECT 1; */ DELETE FROM people",
    "SELECT 1 -- x\n; DELETE FROM people",
    "SELECT 1 --x\n; DELETE FROM people",
    "DELETE FROM people WHERE id = 1 OR 1",
    "DELETE FROM people WHERE 1 || name AND id = 1",
    "DELETE FROM people WHERE name = 0",
    "DELETE people FROM people JOIN people other",
    "REPLACE INTO people SELECT id, wipe() FROM people",
    "UPDATE people SET name = NULL",
    "SELECT wipe()",
    "CALL wipe_all()",
    "PREPARE p FROM 'DELETE FROM people'",
    "EXECUTE IMMEDIATE CONCAT('DELETE ', 'FROM people')",
    "BEGIN NOT ATOMIC DELETE FROM people; END",
    "TRUNCATE people",
    "DROP TABLE people",
    "CREATE OR REPLACE TABLE people (a int)",
    "ALTER TABLE people DROP COLUMN name",
    "ALTER TABLE people MODIFY name int",
    "CREATE TRIGGER t AFTER INSERT ON people FOR EACH ROW DELETE FROM people",
    "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO DELETE FROM people",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = CONCAT('NO_BACKSLASH', '_ESCAPES')",
    "SET NAMES gbk",
    "SET GLOBAL general_log = 0",
    "SET STATEMENT sql_mode='ANSI_QUOTES' FOR DELETE FROM people",
    "HANDLER people OPEN",
    "XA START 'x'",
    "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE people",
    "SELECT * FROM people INTO OUTFILE '/tmp/people'",
    "SELECT LOAD_FILE('/etc/passwd')",
    "GRANT ALL ON app.* TO x@'%' IDENTIFIED BY 'x'",
    "SHOW GRANTS",
    "KILL 1",
    "USE other",
    "SELECT * FROM other.secrets",
    "INSERT INTO people SELECT a, a FROM other.secrets",
    "RENAME TABLE people TO other.people",
    "ALTER TABLE people RENAME TO other.people",
    "CREATE TABLE other.people AS SELECT * FROM people",
    "DROP DATABASE other",
];

#[test]
fn invariant_5_nothing_disguised_gets_past_to_mysql() {
    let server = Mysql::start(&format!(
        "{SCHEMA} CREATE PROCEDURE wipe_all() DELETE FROM people;
         CREATE FUNCTION wipe() RETURNS varchar(1) RETURN (SELECT 'x')"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let mut lines = String::new();
    for (number, statement) in DISGUISED.iter().enumerate() {
        world.write(&format!("{number}.sql"), statement);
        // As one message each, and several statements in it where there are some.
        lines.push_str(&format!(
            "my --comments --delimiter='~~' < {number}.sql && echo {number} ran\n"
        ));
    }
    // A refused one leaves the connection as it was.
    lines.push_str("printf 'TRUNCATE people;\\nSELECT 40 + 2;\\n' | my --force\n true\n");
    // Who cannot wait is told at once.
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], &lines)
        .end()
        .success();
    assert!(!finished.stdout.contains("ran"), "{finished}");
    assert!(finished.stdout.contains("42"), "{finished}");
    let refused = finished.stderr.matches("Tagout held this").count()
        + finished.stderr.matches("Tagout denied this").count();
    assert_eq!(refused, DISGUISED.len() + 1, "{finished}");
    assert_eq!(server.value("SELECT count(name) FROM people"), "50");
    let asked = server.asked();
    for word in [
        "DELETE ",
        "TRUNCATE",
        "OUTFILE",
        "wipe()",
        "ANSI_QUOTES",
        "other.",
    ] {
        let reached = asked
            .lines()
            .filter(|line| line.contains("Query") || line.contains("Prepare"))
            .filter(|line| line.contains(word))
            // What the test itself asked for, by the socket.
            .filter(|line| !line.contains("CREATE ") && !line.contains("GRANT ALL ON other"));
        assert_eq!(reached.collect::<Vec<_>>(), Vec::<&str>::new(), "{word}");
    }
}

#[test]
fn invariant_5_removing_row_by_row_from_mysql_asks_in_the_end() {
    let server = Mysql::start(&format!(
        "{SCHEMA} INSERT INTO people SELECT seq, 'more' FROM seq_51_to_300"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let lines = "for n in $(seq 300); do echo \"DELETE FROM people WHERE id = $n;\"; done > each.sql; my < each.sql; true";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert_eq!(
        finished.stderr.matches("Tagout held this").count(),
        1,
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "200");
}

/// Prepared by a driver, with values, by itself and within a transaction.
const DELETES: &str = r#"
import os
from urllib.parse import unquote, urlsplit
import mysql.connector
parts = urlsplit(os.environ["DATABASE_URL"])
connection = mysql.connector.connect(host=parts.hostname, port=parts.port, user=parts.username,
    password=unquote(parts.password), database=parts.path[1:], use_pure=True)
for autocommit, value in ((True, 3), (False, 5)):
    connection.autocommit = autocommit
    cursor = connection.cursor(prepared=True)
    cursor.execute("DELETE FROM people WHERE id %% 10 < ? AND name <> ?".replace("%%", "%"), (value, "it's \\"))
    print("gone", cursor.rowcount, flush=True)
    cursor.close()
    connection.commit()
# A number makes a number of every text, and most are 0.
cursor = connection.cursor(prepared=True)
try:
    cursor.execute("DELETE FROM codes WHERE id = ?", (0,))
    print("gone too far")
except mysql.connector.Error as error:
    print("refused", error.errno)
"#;

#[test]
fn what_a_driver_of_mysql_prepared_waits_with_its_values() {
    let server = Mysql::start(&format!(
        "{SCHEMA} CREATE TABLE codes (id varchar(9)); INSERT INTO codes VALUES ('a'), ('b')"
    ));
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    world.place_all(
        &clients().join("site"),
        &world.workspace().join(".venv/site"),
    );
    world.write("delete.py", DELETES);
    let lines = "PYTHONPATH=.venv/site python3 delete.py";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
    for rows in ["exactly 15 rows", "exactly 10 rows"] {
        let hold = world.hold_in("pending");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains(rows), "{shown}");
    }
    let hold = world.hold_in("pending");
    world.tagout(&["deny", id(&hold)]).success();
    let finished = session.end().success();
    assert!(
        finished.stdout.contains("gone 15\ngone 10\nrefused 1142"),
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "25");
    assert_eq!(server.value("SELECT count(*) FROM codes"), "2");
}

#[test]
fn invariant_7_what_would_take_more_of_mysql_than_was_shown_does_not_run() {
    let server = Mysql::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let lines = "my -e 'DELETE FROM people'; my -e 'TRUNCATE people'; true";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
    for id_of_row in [1000, 2000] {
        let hold = world.hold_in("pending");
        server
            .outside(&format!(
                "INSERT INTO people VALUES ({id_of_row}, 'came later')"
            ))
            .success();
        world.tagout(&["approve", id(&hold), "--yes"]).success();
        eventually("the hold is used", || {
            let holds = world.json(&["holds"]);
            holds
                .iter()
                .any(|one| one["id"] == hold["id"] && one["state"] == "used")
        });
    }
    let finished = session.end().success();
    let refused = finished.stderr.matches("more than the 5").count();
    assert_eq!(refused, 2, "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "52");
}

/// Values of every kind that text could lose.
const KINDS: &str = "CREATE TABLE kinds (id int AUTO_INCREMENT PRIMARY KEY, f float, d double, n decimal(30, 10), b bit(10),
        t timestamp(6) NULL, dt datetime(3), y year, bl longblob, tx text, la varchar(20) CHARACTER SET latin1,
        e enum('a', 'b'), s set('x', 'y'), j json, g int AS (y * 2) STORED, UNIQUE KEY (n));
    INSERT INTO kinds (f, d, n, b, t, dt, y, bl, tx, la, e, s, j) VALUES
        (0.1, 1e-300, 12345678901234567890.0123456789, b'1000000001', '2026-03-29 01:30:00.123456', '0999-01-01 00:00:00.001', 2026,
         x'00ff27225c', 'it''s \\\\ é 😀', 'naïve', 'b', 'x,y', '{\"a\": 1}'),
        (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    CREATE TABLE owners (id int PRIMARY KEY, name varchar(9));
    CREATE TABLE pets (id int PRIMARY KEY, owner int, FOREIGN KEY (owner) REFERENCES owners (id) ON DELETE CASCADE);
    CREATE TABLE toys (id int PRIMARY KEY, pet int, FOREIGN KEY (pet) REFERENCES pets (id) ON DELETE SET NULL);
    INSERT INTO owners VALUES (1, 'a'), (2, 'b'); INSERT INTO pets VALUES (1, 1), (2, 1), (3, 2); INSERT INTO toys VALUES (1, 1), (2, 3);
    CREATE TRIGGER keep BEFORE INSERT ON kinds FOR EACH ROW SET NEW.y = NEW.y;";

/// A hash of what a database holds.
fn state(server: &Mysql) -> String {
    server.value(
        "SELECT MD5(GROUP_CONCAT(x ORDER BY x SEPARATOR '|')) FROM (
            SELECT CONCAT_WS(',', 'k', id, f * 1e0, d, n, HEX(b), t, dt, y, HEX(bl), HEX(tx), HEX(la), e, s, j, g) AS x FROM kinds
            UNION ALL SELECT CONCAT_WS(',', 'p', id, name) FROM people
            UNION ALL SELECT CONCAT_WS(',', 'o', id, name) FROM owners
            UNION ALL SELECT CONCAT_WS(',', 'e', id, owner) FROM pets
            UNION ALL SELECT CONCAT_WS(',', 't', id, IFNULL(pet, 'none')) FROM toys) AS everything",
    )
}

for_each_person! {
    fn invariant_10_what_approved_statements_took_from_mysql_is_put_back(person: Person) {
        let server = Mysql::start(&format!("SET SESSION group_concat_max_len = 1000000; {SCHEMA} {KINDS}"));
        let before = state(&server);
        let world = world(person, &server, "localhost", WITH_DATABASE);
        let statements = [
            ("DELETE FROM owners WHERE name < 'b'", "table `pets`"),
            ("UPDATE kinds SET tx = 'gone', f = 7, b = NULL, t = NOW(6)", "exactly 2 rows changed"),
            ("DROP TABLE kinds", "exactly 2 rows dropped"),
            ("TRUNCATE people", "exactly 50 rows emptied"),
        ];
        let lines: Vec<_> = statements
            .iter()
            .map(|(statement, _)| format!("my -e \"{statement}\" || exit 1"))
            .collect();
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], &lines.join("\n"));
        for (statement, shows) in statements {
            let hold = world.hold_in("pending");
            let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
            assert!(shown.everything().contains(statement), "{shown}");
            assert!(shown.everything().contains(shows), "{shown}");
        }
        session.end().success();
        assert_eq!(server.value("SELECT count(*) FROM people"), "0");
        assert_eq!(server.value("SELECT count(*) FROM pets"), "1");
        assert_eq!(server.value("SELECT count(*) FROM toys WHERE pet IS NULL"), "1");
        let sessions = world.sessions();
        let undo = |options: &[&str]| {
            let mut arguments = vec!["undo", &sessions[0], "--database"];
            arguments.extend(options);
            let mut command = world.tagout_command(&arguments);
            command.env("DATABASE_URL", server.url("localhost"));
            world.start(&mut command).end()
        };
        let listed = undo(&["--list"]).success();
        assert!(listed.stdout.contains("DROP TABLE kinds"), "{listed}");
        let tried = undo(&["--dry-run"]).success();
        assert!(tried.everything().contains("people"), "{tried}");
        assert_eq!(server.value("SELECT count(*) FROM people"), "0");
        let undone = undo(&[]).success();
        assert_eq!(state(&server), before, "{undone}");
        assert!(server.value("SHOW TRIGGERS").contains("keep"));
        // A new row gets the next number.
        server.outside("INSERT INTO kinds (tx) VALUES ('new')").success();
        assert_eq!(server.value("SELECT max(id) FROM kinds"), "3");
    }
}

#[test]
fn what_others_changed_in_mysql_since_stays_unless_it_is_forced() {
    let server = Mysql::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let lines = "my -e \"UPDATE people SET name = 'x' WHERE id < 4\"";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
    let hold = world.hold_in("pending");
    world.tagout(&["approve", id(&hold), "--yes"]).success();
    session.end().success();
    server
        .outside("UPDATE people SET name = 'theirs' WHERE id = 2")
        .success();
    let sessions = world.sessions();
    let undo = |options: &[&str]| {
        let mut arguments = vec!["undo", &sessions[0], "--database"];
        arguments.extend(options);
        let mut command = world.tagout_command(&arguments);
        command.env("DATABASE_URL", server.url("localhost"));
        world.start(&mut command).end()
    };
    let refused = undo(&[]);
    assert!(refused.everything().contains("id = 2"), "{refused}");
    let names = "SELECT GROUP_CONCAT(name ORDER BY id) FROM people WHERE id < 4";
    assert_eq!(server.value(names), "x,theirs,x");
    undo(&["--force"]).success();
    assert_eq!(server.value(names), "person 1,person 2,person 3");
}

#[test]
fn a_protected_mysql_is_read_only_and_a_disposable_one_asks_nobody() {
    let server = Mysql::start(SCHEMA);
    let disposable = WITH_DATABASE.replace(
        "[[database]]",
        "[[environment]]\nname = \"staging\"\ndisposable = true\n\n[[database]]",
    );
    let world = world(Person::ordinary(), &server, "localhost", &disposable);
    let lines = "my -e 'DROP TABLE people; CREATE TABLE people (id int PRIMARY KEY, name text)' && echo dropped";
    let finished = run(&world, &server, "localhost", &[], lines)
        .end()
        .success();
    assert!(finished.stdout.contains("dropped"), "{finished}");

    let protected =
        WITH_DATABASE.replace("environment = \"staging\"", "environment = \"production\"");
    let world = self::world(Person::ordinary(), &server, "localhost", &protected);
    let lines = "my -e 'SELECT @@tx_read_only'; my -e 'INSERT INTO people VALUES (1, 2)'; my -e 'SET SESSION TRANSACTION READ WRITE; INSERT INTO people VALUES (1, 2)'; \
        my -e 'START TRANSACTION READ WRITE; INSERT INTO people VALUES (1, 2)'; true";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert_eq!(finished.stdout.trim(), "1", "{finished}");
    assert!(
        finished.stderr.matches("Tagout held this").count()
            + finished.stderr.matches("Tagout denied this").count()
            >= 2,
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "0");
}

#[test]
fn scope_a_mysql_pinned_to_production_is_out_of_reach() {
    let server = Mysql::start(SCHEMA);
    let pin = format!("mysql:db.example.com:{}/app", server.port());
    let manifest = WITH_DATABASE.replace(
        "protected = true",
        &format!("protected = true\nresources = [\"{pin}\"]"),
    );
    let world = world(Person::ordinary(), &server, "db.example.com", &manifest);
    let lines = "my -e 'SELECT * FROM people'; my -e 'DROP TABLE people'; true";
    let finished = run(&world, &server, "db.example.com", &[], lines)
        .end()
        .success();
    assert_eq!(finished.stdout.trim(), "", "{finished}");
    assert!(finished.stderr.contains("is in production"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

#[test]
fn a_statement_of_mysql_that_waits_can_be_interrupted() {
    let server = Mysql::start(SCHEMA);
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    // The client sends KILL QUERY over another connection when it is interrupted.
    let lines = "mariadb $(how) -e 'DELETE FROM people' & until [ -e go ]; do sleep 0.1; done; kill -INT $!; wait $!; my -e 'SELECT 40 + 2'";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
    world.hold_in("pending");
    world.write("go", "");
    let finished = session.end().success();
    assert!(finished.stderr.contains("ERROR 1317"), "{finished}");
    assert!(finished.stdout.contains("42"), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

for_each_person! {
    fn both_ends_of_mysql_are_encrypted_and_verified(person: Person) {
        let authority = TestAuthority::new();
        let (certificate, key) = authority.server_pem(&["db.example.com"]);
        let server = Mysql::with(
            SCHEMA,
            &["--ssl-cert={files}/server.crt", "--ssl-key={files}/server.key", "--require-secure-transport=ON"],
            &[("server.crt", &certificate), ("server.key", &key)],
        );
        let mut world = World::new(person);
        world.route_to(&format!("db.example.com:{}", server.port()), &server.address());
        world.believe(&authority);
        world.manifest(WITH_DATABASE);
        world.write("lines.sh", &format!("{MY}\nmy --ssl --ssl-verify-server-cert --ssl-ca=\"$SSL_CERT_FILE\" -e \"SHOW STATUS LIKE 'Ssl_version'; \\s\""));
        let run = |world: &World| {
            let mut command = world.run_command(&[], "sh lines.sh");
            command.env("DATABASE_URL", server.url("db.example.com"));
            world.start(&mut command).end()
        };
        let finished = run(&world).success();
        assert!(finished.stdout.contains("Ssl_version\tTLSv1.3"), "{finished}");
        assert!(finished.stdout.contains("Cipher in use is TLS_"), "{finished}");

        // Nobody vouches for its certificate.
        let mut world = World::new(person);
        world.route_to(&format!("db.example.com:{}", server.port()), &server.address());
        world.manifest(WITH_DATABASE);
        world.write("lines.sh", &format!("{MY}\nmy -e 'SELECT 40 + 2'"));
        let finished = run(&world);
        assert!(!finished.stdout.contains("42"), "{finished}");
        assert!(finished.stderr.contains("could not reach the database"), "{finished}");
    }
}

#[test]
fn a_password_of_ed25519_is_attached_too() {
    let server = Mysql::start(SCHEMA);
    server
        .admin(&format!(
            "INSTALL SONAME 'auth_ed25519'; ALTER USER app@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')"
        ))
        .success();
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    let finished = run(&world, &server, "localhost", &[], "my -e 'SELECT 40 + 2'");
    assert_eq!(finished.end().success().stdout.trim(), "42");
}

/// Says what no driver says: values in pieces for an execution that is refused, and types of one.
const PIECES: &str = r#"
import os, struct
from urllib.parse import unquote, urlsplit
import pymysql
parts = urlsplit(os.environ["DATABASE_URL"])
def connect():
    return pymysql.connect(host=parts.hostname, port=parts.port, user=parts.username,
        password=unquote(parts.password), database=parts.path[1:], autocommit=True)
def prepare(connection, text):
    connection._execute_command(0x16, text)
    head = connection._read_packet().get_all_data()
    statement, columns, parameters = struct.unpack("<IHH", head[1:9])
    for count in (parameters, columns):
        for _ in range(count + (count > 0)):
            connection._read_packet()
    return statement
def execute(connection, statement, values):
    connection._execute_command(0x17, struct.pack("<IBI", statement, 0, 1) + values)
    try:
        data = connection._read_packet().get_all_data()
        return "ran " + str(data[1])
    except pymysql.MySQLError as error:
        return "refused " + str(error.args[0])
TEXT, NUMBER = b"\0\x01\x0f\0", b"\0\x01\x08\0"
connection = connect()
statement = prepare(connection, "DELETE FROM codes WHERE id = ?")
print(execute(connection, statement, TEXT + b"\x02zz"))
# As a number 0 is nearly every text.
print(execute(connection, statement, NUMBER + struct.pack("<q", 0)))
# The same bytes, without their type.
print(execute(connection, statement, b"\0\0" + struct.pack("<q", 0)))
print(execute(connection, statement, b"\0\0" + struct.pack("<q", 7)))
# A piece of an execution that is refused, for its type, is none of the next one.
connection._execute_command(0x18, struct.pack("<IH", statement, 0) + b"a")
print(execute(connection, statement, b"\0\x01\x77\0"))
print(execute(connection, statement, TEXT + b"\x02zz"))
# A piece counts, whatever is said of NULL.
connection._execute_command(0x18, struct.pack("<IH", statement, 0) + b"b")
print(execute(connection, statement, b"\x01\x01\x0f\0"))
"#;

#[test]
fn invariant_6_mysql_reads_the_values_that_were_judged() {
    let server = Mysql::start(
        "CREATE TABLE codes (id varchar(9)); INSERT INTO codes VALUES ('a'), ('b'), ('c'), ('7')",
    );
    let world = world(Person::ordinary(), &server, "localhost", WITH_DATABASE);
    world.place_all(
        &clients().join("site"),
        &world.workspace().join(".venv/site"),
    );
    world.write("pieces.py", PIECES);
    let lines = "PYTHONPATH=.venv/site python3 pieces.py";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    let said: Vec<_> = finished.stdout.lines().collect();
    let expected = [
        "ran 0",
        "refused 1142",
        "refused 1142",
        "ran 1",
        "refused 1142",
        "ran 0",
        "ran 1",
    ];
    assert_eq!(said, expected, "{finished}");
    assert_eq!(
        server.value("SELECT GROUP_CONCAT(id ORDER BY id) FROM codes"),
        "a,c"
    );
}
