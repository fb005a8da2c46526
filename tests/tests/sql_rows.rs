//! The query that `tagout check --sql` gives with a held DELETE or UPDATE, beside a real PostgreSQL: it
//! counts as many rows as the statement then changes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tagout_tests::{Person, World, json_lines};

/// What the statements are about: a table with partitions, one that others inherit from, hostile names,
/// NULLs, and rows that a join meets more than once.
const SCHEMA: &[&str] = &[
    "CREATE TABLE orders (id int, person int, paid bool, touched bool) PARTITION BY RANGE (id)",
    "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (50)",
    "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (50) TO (200)",
    "INSERT INTO orders SELECT n, n % 7, CASE n % 3 WHEN 0 THEN true WHEN 1 THEN false END, false FROM generate_series(1, 100) n",
    "CREATE TABLE people (id int, name text)",
    "INSERT INTO people SELECT n % 4, repeat('n', n) FROM generate_series(1, 20) n",
    "CREATE SCHEMA \"a.b\"",
    "CREATE TABLE \"a.b\".\"t\"\"; DROP TABLE people; --\" (\"it's\" text, touched bool)",
    "INSERT INTO \"a.b\".\"t\"\"; DROP TABLE people; --\" VALUES ('x'';y', false), ('z', false), (NULL, false)",
    "CREATE TABLE parent (n int, touched bool)",
    "CREATE TABLE child () INHERITS (parent)",
    "INSERT INTO parent VALUES (1, false), (2, false)",
    "INSERT INTO child VALUES (1, false), (2, false), (3, false)",
];

/// A table, a statement about it, and the rows that it changes.
const STATEMENTS: &[(&str, &str, u64)] = &[
    ("orders", "DELETE FROM orders", 100),
    ("orders", "DELETE FROM orders WHERE paid", 33),
    (
        "orders",
        "DELETE FROM orders WHERE NOT (paid AND person > 3)",
        72,
    ),
    (
        "orders",
        "DELETE FROM orders o USING people p WHERE o.person = p.id",
        58,
    ),
    (
        "orders",
        "UPDATE orders SET touched = true FROM people p JOIN people q ON p.id = q.id WHERE orders.person = p.id AND orders.id > 40",
        35,
    ),
    (
        "orders",
        "WITH known AS (SELECT DISTINCT id FROM people WHERE length(name) > 18) UPDATE orders SET touched = true WHERE person IN (TABLE known)",
        28,
    ),
    (
        "\"a.b\".\"t\"\"; DROP TABLE people; --\"",
        "DELETE FROM \"a.b\".\"t\"\"; DROP TABLE people; --\" WHERE \"it's\" = 'x'';y' OR \"it's\" IS NULL",
        2,
    ),
    ("parent", "UPDATE parent SET touched = true WHERE n < 3", 4),
    (
        "parent",
        "UPDATE ONLY parent SET touched = true WHERE n < 3",
        2,
    ),
    (
        "parent",
        "DELETE FROM parent p USING orders o WHERE p.n <= o.id AND o.id < 3",
        4,
    ),
];

/// A database in a folder, asked by a server without connections that ends with its input.
struct Database {
    person: Person,
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Database {
    fn make(person: Person) -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let programs = versions
            .flatten()
            .map(|version| version.path().join("bin"))
            .find(|programs| programs.join("initdb").exists())
            .expect("no PostgreSQL here: apt-get install postgresql, as `cargo xtask test` does");
        let folder = tempfile::tempdir().expect("a folder");
        person.own(folder.path());
        let database = Self {
            person,
            programs,
            folder,
        };
        let made = database
            .person
            .command(database.programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"])
            .arg("--username=postgres")
            .arg("--pgdata")
            .arg(database.data())
            .current_dir(database.folder.path())
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{made:?}");
        database
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs statements, one a line, and gives every number that came back.
    fn run(&self, statements: &[String]) -> Vec<u64> {
        let mut server = self
            .person
            .command(self.programs.join("postgres"))
            .arg("--single")
            .arg("-D")
            .arg(self.data())
            .args(["-c", "fsync=off", "postgres"])
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres starts");
        let mut input = server.stdin.take().expect("its input");
        input
            .write_all((statements.join("\n") + "\n").as_bytes())
            .expect("it reads");
        drop(input);
        let ended = server.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.success() && !errors.contains("ERROR"),
            "{statements:#?}: {errors}"
        );
        let output = String::from_utf8_lossy(&ended.stdout).into_owned();
        // A value is shown as `1: count = "3"	(typeid = 20, …)`.
        let values = output.lines().filter_map(|line| {
            let (_, rest) = line.split_once(" = \"")?;
            rest.split_once("\"\t(")?.0.parse().ok()
        });
        values.collect()
    }
}

#[test]
fn a_count_is_of_the_rows_that_the_statement_changes() {
    let world = World::new(Person::ordinary());
    let database = Database::make(Person::ordinary());
    let lines = STATEMENTS
        .iter()
        .map(|(_, statement, _)| json!({"id": 1, "sql": statement}).to_string() + "\n");
    world.write("lines", &lines.collect::<String>());
    let lines = std::fs::File::open(world.workspace().join("lines")).expect("the lines");
    let mut check = world.tagout_command(&["check", "--jsonl"]);
    let finished = tagout_tests::finish(check.stdin(lines));
    let answers = json_lines(&finished.stdout);
    assert_eq!(answers.len(), STATEMENTS.len(), "{finished}");
    let mut input: Vec<String> = SCHEMA.iter().map(|line| (*line).to_owned()).collect();
    for ((table, statement, _), answer) in STATEMENTS.iter().zip(answers) {
        assert_eq!(answer["verdict"], "hold", "{statement}: {answer}");
        let reason = answer["reason"].as_str().expect("a reason");
        let (_, query) = reason
            .split_once("do besides: ")
            .unwrap_or_else(|| panic!("{statement}: {reason}"));
        let all = format!("SELECT pg_catalog.count(*) FROM {table}");
        let left = match statement.contains("DELETE") {
            true => all.clone(),
            false => format!("{all} WHERE NOT touched"),
        };
        let lines = ["BEGIN", query, &all, statement, &left, "ROLLBACK"];
        input.extend(lines.map(ToOwned::to_owned));
    }
    let numbers = database.run(&input);
    assert_eq!(numbers.len(), 3 * STATEMENTS.len(), "{numbers:?}");
    for ((_, statement, rows), numbers) in STATEMENTS.iter().zip(numbers.chunks(3)) {
        let [counted, before, after] = numbers else {
            unreachable!("chunks of three")
        };
        assert_eq!(*counted, before - after, "{statement}");
        assert_eq!(counted, rows, "{statement}");
    }
}
