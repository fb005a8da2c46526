//! PostgreSQL's own regression SQL, run directly and through the gate: what programs see must be the
//! same, but for what docs/gate-postgres.md lists. `cargo xtask test` fetches the SQL, as the source package
//! of the server that is installed; nothing of it is in this repository.
//!
//! `TAGOUT_REGRESSION=all` runs every file of the schedule; otherwise a part of them that takes seconds.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tagout_tests::postgres::{PASSWORD, Postgres};
use tagout_tests::{Person, World, finish};

/// Files that use what psql can send and show, and few statements that wait.
const PART: &[&str] = &[
    "boolean",
    "numerology",
    "errors",
    "case",
    "enum",
    "arrays",
    "union",
    "hash_func",
];

const MANIFEST: &str = r#"
[task]
name = "regression"
environment = "development"

[[environment]]
name = "development"
disposable = true

[[database]]
name = "regression"
url = "env:DATABASE_URL"
"#;

/// Where `cargo xtask test` put the source.
fn source() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/regression");
    assert!(
        folder.join("sql").exists(),
        "{} is missing; `cargo xtask test` fetches it",
        folder.display()
    );
    folder
}

/// The files of the schedule, in its order.
fn scheduled(source: &Path) -> Vec<String> {
    let schedule = fs::read_to_string(source.join("parallel_schedule")).expect("a schedule");
    let lines = schedule
        .lines()
        .filter_map(|line| line.strip_prefix("test: "));
    lines
        .flat_map(str::split_whitespace)
        .map(ToOwned::to_owned)
        .collect()
}

/// A server as `pg_regress` sets one up.
fn server() -> Postgres {
    let server = Postgres::start("SELECT 1");
    server
        .admin(&format!("ALTER ROLE postgres PASSWORD '{PASSWORD}'"))
        .success();
    server
        .admin("CREATE DATABASE regression TEMPLATE template0")
        .success();
    for setting in [
        "intervalstyle TO 'postgres_verbose'",
        "lc_messages TO 'C'",
        "lc_monetary TO 'C'",
        "lc_numeric TO 'C'",
        "lc_time TO 'C'",
        "bytea_output TO 'hex'",
        "timezone_abbreviations TO 'Default'",
    ] {
        server
            .admin(&format!("ALTER DATABASE regression SET {setting}"))
            .success();
    }
    server
}

fn url(server: &Postgres) -> String {
    format!(
        "postgres://postgres:{PASSWORD}@localhost:{}/regression",
        server.port()
    )
}

/// A script that runs the files in order; each one's output goes to a file of its own.
fn script(files: &[String], folder: &Path) -> String {
    let mut script = format!(
        "export PGTZ=America/Los_Angeles PGDATESTYLE='Postgres, MDY' PG_ABS_SRCDIR={0} PG_ABS_BUILDDIR={0} PG_LIBDIR={0}/lib PG_DLSUFFIX=.so\nmkdir -p {0}/results {0}/testtablespace\n",
        folder.display()
    );
    for file in files {
        writeln!(
            script,
            "psql -X -a -q -v HIDE_TABLEAM=on -v HIDE_TOAST_COMPRESSION=on \"$DATABASE_URL\" < sql/{file}.sql > results/{file}.out 2>&1"
        )
        .expect("text grows");
    }
    script
}

/// Lines of what a client saw, without the notices of statements that waited and what differs from run
/// to run.
fn seen(output: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut of_tagout = false;
    for line in output.lines() {
        if line.contains("Tagout holds this statement as") {
            of_tagout = true;
        } else if std::mem::take(&mut of_tagout) && line.starts_with("HINT:") {
        } else {
            lines.push(line);
        }
    }
    lines
}

#[test]
#[ignore = "needs PostgreSQL's source package: cargo xtask regression"]
fn the_regression_sql_gives_the_same_through_the_gate() {
    let source = source();
    let files = match std::env::var("TAGOUT_REGRESSION").as_deref() {
        Ok("all") => scheduled(&source),
        Ok(some) => some.split(' ').map(ToOwned::to_owned).collect(),
        Err(_) => PART.iter().map(|file| (*file).to_owned()).collect(),
    };
    let world = World::new(Person::ordinary());
    let folder = world.workspace();
    for part in ["sql", "data", "lib", "expected"] {
        if source.join(part).exists() {
            world.place_all(&source.join(part), &folder.join(part));
        }
    }
    let line = script(&files, &folder);
    let results = folder.join("results");
    let outputs = || -> Vec<String> {
        let output = |file: &String| {
            let bytes = fs::read(results.join(format!("{file}.out"))).expect("its output");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        files.iter().map(output).collect()
    };

    let direct = server();
    finish(
        world
            .outside("bash")
            .args(["-c", &line])
            .env("DATABASE_URL", url(&direct)),
    );
    let wanted = outputs();
    let kept = std::env::var("TAGOUT_REGRESSION_OUTPUT")
        .ok()
        .map(PathBuf::from);
    let keep = |kind: &str, outputs: &[String]| {
        for (file, output) in files.iter().zip(outputs) {
            if let Some(folder) = &kept {
                fs::write(
                    folder.join(format!("{file}.{kind}")),
                    seen(output).join("\n"),
                )
                .expect("kept");
            }
        }
    };
    keep("direct", &wanted);
    drop(direct);
    fs::remove_dir_all(&results).expect("its outputs");

    let gated = server();
    world.manifest(MANIFEST);
    let mut command = world.run_command(&["--hold-wait", "600"], &line);
    command.env("DATABASE_URL", url(&gated));
    let session = world.start(&mut command);
    let mut watching = world.tagout_command(&["holds", "--watch", "--json"]);
    let mut watching = watching
        .stdout(Stdio::piped())
        .spawn()
        .expect("tagout starts");
    let holds = BufReader::new(watching.stdout.take().expect("its output"));
    let finished = std::thread::scope(|scope| {
        // The person who says yes to everything.
        scope.spawn(|| {
            for line in holds.lines().map_while(Result::ok) {
                let hold: Value = serde_json::from_str(&line).expect("a hold");
                if hold["state"] == "pending" {
                    world.tagout(&["approve", hold["id"].as_str().expect("an id"), "--yes"]);
                }
            }
        });
        let finished = session.end();
        watching.kill().expect("it watches until it is killed");
        watching.wait().expect("its end");
        finished
    });
    let found = outputs();

    keep("gate", &found);
    let pairs = files.iter().zip(wanted.iter().zip(&found));
    let differ: Vec<_> = pairs
        .filter(|(_, (wanted, found))| seen(wanted) != seen(found))
        .map(|(file, _)| file)
        .collect();
    assert!(differ.is_empty(), "{differ:?}: {finished}");
    world.verify_all();
}
