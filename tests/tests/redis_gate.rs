//! A real Redis behind the gate: what programs of a session find, what waits for a person, and what never
//! happens.

use tagout_redis::{Command, Unmeant, meaning};
use tagout_tests::redis::{PASSWORD, Redis};
use tagout_tests::{Person, Running, World, for_each_person, id};

const SEED: &str = "SET greeting hello\nRPUSH jobs one two three\nSET session:1 ann EX 1000";

const MANIFEST: &str = r#"
[task]
name = "shop"
environment = "staging"

[[environment]]
name = "production"
protected = true

[[database]]
name = "cache"
url = "env:REDIS_URL"
"#;

/// A world whose session may use `server` at `host`.
fn world(person: Person, server: &Redis, host: &str, manifest: &str) -> World {
    World::beside(person, (host, server.port()), &server.address(), manifest)
}

/// Runs lines inside, with the URL outside where an operator has it. `r` is redis-cli with the URL.
fn run(world: &World, server: &Redis, host: &str, options: &[&str], lines: &str) -> Running {
    world.write(
        "lines.sh",
        &format!("r() {{ redis-cli --no-auth-warning -u $REDIS_URL \"$@\"; }}\n{lines}\n"),
    );
    let mut command = world.run_command(options, "sh lines.sh");
    command.env("REDIS_URL", server.url(host));
    world.start(&mut command)
}

for_each_person! {
    fn redis_works_with_the_url_that_it_finds(person: Person) {
        let server = Redis::start(SEED);
        for host in ["localhost", "cache.example.com"] {
            let world = world(person, &server, host, MANIFEST);
            let lines = "echo $REDIS_URL; r GET greeting; r SET made 'two words'; r GET made; r INCR visits; r DEL made; \
                printf 'MULTI\\nINCR visits\\nGET greeting\\nEXEC\\n' | r; r LRANGE jobs 0 -1";
            let finished = run(&world, &server, host, &[], lines).end().success();
            assert!(finished.stdout.contains("hello"), "{finished}");
            assert!(finished.stdout.contains("two words"), "{finished}");
            assert!(finished.stdout.contains("QUEUED\nQUEUED\n"), "{finished}");
            assert!(finished.stdout.ends_with("one\ntwo\nthree\n"), "{finished}");
            assert!(finished.stdout.contains(&format!("@{host}:{}/0", server.port())), "{finished}");
            assert!(!finished.everything().contains(PASSWORD), "{finished}");
            world.verify_all();
        }
        assert_eq!(server.value("GET visits"), "4");
        assert_eq!(server.value("EXISTS made"), "0");
    }
}

#[test]
fn invariant_4_only_the_decoy_of_the_session_is_let_in_to_redis() {
    let server = Redis::start(SEED);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    // In two halves, since the whole of it becomes a decoy in files.
    let (first, second) = PASSWORD.split_at(9);
    let lines = format!(
        "place=${{REDIS_URL#*@}}; port=${{place#*:}}; port=${{port%/*}}; c() {{ redis-cli --no-auth-warning -h localhost -p $port \"$@\"; }}
         c GET greeting; c -a '{first}''{second}' GET greeting; c -a guess GET greeting; r GET greeting"
    );
    let finished = run(&world, &server, "localhost", &[], &lines)
        .end()
        .success();
    let everything = finished.everything();
    assert_eq!(everything.matches("hello").count(), 1, "{finished}");
    assert!(
        everything.matches("Tagout denied this login").count() >= 2,
        "{finished}"
    );
    assert!(everything.contains("NOAUTH"), "{finished}");
}

#[test]
fn what_leaves_the_database_or_administers_it_never_reaches_redis() {
    let server = Redis::start(SEED);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    let lines = "r SELECT 1; r CONFIG SET maxmemory 1; r CONFIG GET '*'; r MOVE greeting 1; r SWAPDB 0 1; \
        r COPY greeting other DB 1; r DEBUG SLEEP 0; r REPLICAOF other.example.com 6379; r SHUTDOWN NOSAVE; r ACL LIST; \
        r CLIENT REPLY OFF; r RESET; r MIGRATE other.example.com 6379 greeting 0 100; r MONITOR; r NO.SUCH thing; \
        printf 'MULTI\\nSET greeting bye\\nSELECT 1\\nEXEC\\n' | r; r GET greeting";
    let finished = run(&world, &server, "localhost", &[], lines)
        .end()
        .success();
    let everything = finished.everything();
    assert_eq!(
        everything.matches("NOPERM Tagout denied this").count(),
        16,
        "{finished}"
    );
    assert!(everything.contains("EXECABORT"), "{finished}");
    assert!(finished.stdout.trim_end().ends_with("hello"), "{finished}");
    let stats = server.value("INFO commandstats");
    for never in [
        "config|set",
        "select",
        "move",
        "swapdb",
        "shutdown",
        "multi",
    ] {
        assert!(!stats.contains(&format!("cmdstat_{never}:")), "{stats}");
    }
}

for_each_person! {
    fn invariant_7_emptying_redis_waits_and_is_held_to_what_was_shown(person: Person) {
        let server = Redis::start(SEED);
        let world = world(person, &server, "localhost", MANIFEST);
        let session = run(&world, &server, "localhost", &["--hold-wait", "60"], "r FLUSHDB; r FLUSHDB");
        let hold = world.hold_in("pending");
        assert_eq!(hold["action"]["effect"], "irreversible", "{hold}");
        server.value("SET later x");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("exactly 3 keys removed"), "{shown}");
        let hold = world.hold_in("pending");
        assert_eq!(server.value("DBSIZE"), "4");
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("exactly 4 keys removed"), "{shown}");
        let finished = session.end().success();
        assert!(finished.everything().contains("more keys now than were shown"), "{finished}");
        assert!(finished.stdout.contains("OK"), "{finished}");
        assert_eq!(server.value("DBSIZE"), "0");
    }
}

#[test]
fn a_script_is_shown_whole_once_and_then_runs() {
    let server = Redis::start(SEED);
    let world = world(Person::ordinary(), &server, "localhost", MANIFEST);
    let lines = "r EVALSHA 0000000000000000000000000000000000000000 0; \
        r EVAL \"return redis.call('INCR', KEYS[1])\" 1 a; sha=$(r SCRIPT LOAD \"return redis.call('INCR', KEYS[1])\"); r EVALSHA $sha 1 b; r EVALSHA $sha 1 b";
    let session = run(&world, &server, "localhost", &["--hold-wait", "60"], lines);
    let hold = world.hold_in("pending");
    assert_eq!(server.value("EXISTS a"), "0");
    let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
    assert!(
        shown
            .everything()
            .contains("  return redis.call('INCR', KEYS[1])"),
        "{shown}"
    );
    let finished = session.end().success();
    assert!(finished.everything().contains("NOSCRIPT"), "{finished}");
    assert_eq!(server.value("GET b"), "2");
}

#[test]
fn a_protected_redis_is_read_only() {
    let server = Redis::start(SEED);
    let manifest = MANIFEST.replace(
        "url = \"env:REDIS_URL\"",
        "url = \"env:REDIS_URL\"\nenvironment = \"production\"",
    );
    let world = world(Person::ordinary(), &server, "localhost", &manifest);
    let lines =
        "r GET greeting; r SET greeting bye; r DEL greeting; r FLUSHDB; r EVAL 'return 1' 0";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert!(finished.stdout.starts_with("hello"), "{finished}");
    assert_eq!(
        finished.everything().matches("NOPERM Tagout").count(),
        4,
        "{finished}"
    );
    assert_eq!(server.value("GET greeting"), "hello");
    // The same where the task itself is in that environment, where a person may let a change pass.
    let manifest = MANIFEST.replace("environment = \"staging\"", "environment = \"production\"");
    let world = self::world(Person::ordinary(), &server, "localhost", &manifest);
    let lines = "r GET greeting; r SET greeting bye; r DEL greeting; r RENAME greeting jobs; r SORT jobs ALPHA STORE greeting";
    let finished = run(&world, &server, "localhost", &["--hold-wait", "0"], lines)
        .end()
        .success();
    assert!(finished.stdout.starts_with("hello"), "{finished}");
    let held = finished.everything().matches("NOPERM Tagout held").count();
    assert_eq!(held, 4, "{finished}");
    assert_eq!(server.value("GET greeting"), "hello");
}

#[test]
fn every_command_of_the_installed_server_is_known() {
    let server = Redis::start(SEED);
    let names = server.value("COMMAND LIST");
    assert!(names.lines().count() > 200, "{names}");
    for name in names.lines() {
        // Subcommands stand as `config|get`.
        let words = name.split('|').map(|word| word.as_bytes().to_vec());
        let command = Command::new(words.collect());
        let meant = meaning(&command.expect("it has words"));
        assert_ne!(meant, Err(Unmeant::Unknown), "{name}");
    }
}
