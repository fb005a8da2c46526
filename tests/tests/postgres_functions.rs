//! Functions that somebody made in the database: what only reads asks nobody, whatever else may be meant by
//! a name is found, and what was looked up once does not hide what the name means now.

use tagout_tests::postgres::Postgres;
use tagout_tests::{Finished, Person, World};

const SCHEMA: &str = "
CREATE TABLE people (id int PRIMARY KEY, name text, seen timestamptz);
INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 50) n;
CREATE TABLE said (at timestamptz DEFAULT now(), what text);

CREATE FUNCTION headcount() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM people';
CREATE FUNCTION twice_headcount() RETURNS bigint LANGUAGE plpgsql SET search_path = public AS
  $$ DECLARE n bigint; BEGIN n := headcount(); RETURN n * 2; END $$;
CREATE FUNCTION named(p people) RETURNS text LANGUAGE sql STABLE AS 'SELECT p.name';
CREATE FUNCTION say(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO said (what) VALUES ($1)';
CREATE FUNCTION seen_now() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.seen := now(); RETURN NEW; END $$;
CREATE FUNCTION odd(id int) RETURNS bool LANGUAGE sql RETURN id % 2 = 1;

CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql IMMUTABLE AS
  'WITH gone AS (DELETE FROM people RETURNING 1) SELECT count(*) FROM gone';
CREATE FUNCTION sly() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN wipe(); END $$;
CREATE FUNCTION composed(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DELETE FROM ' || t; END $$;
CREATE FUNCTION by_key(int) RETURNS void LANGUAGE sql AS 'DELETE FROM people WHERE id = $1';
CREATE FUNCTION by_cursor() RETURNS void LANGUAGE plpgsql AS
  $$ DECLARE c CURSOR FOR SELECT * FROM people; BEGIN FOR r IN c LOOP DELETE FROM people WHERE CURRENT OF c; END LOOP; END $$;
CREATE FUNCTION size(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION size(text) RETURNS bigint LANGUAGE sql AS 'SELECT wipe()';
CREATE FUNCTION gone(p people) RETURNS bigint LANGUAGE sql AS 'SELECT wipe()';
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM wipe(); RETURN NEW; END $$;
CREATE FUNCTION less_than(people, people) RETURNS bool LANGUAGE sql AS 'SELECT wipe() > 0';
CREATE OPERATOR <<< (LEFTARG = people, RIGHTARG = people, FUNCTION = less_than);
CREATE FUNCTION own_settings() RETURNS int LANGUAGE sql SET standard_conforming_strings = off AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE SCHEMA evil;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT wipe()::text $$;
CREATE FUNCTION public.abs(people) RETURNS bigint LANGUAGE sql AS 'SELECT wipe()';
";

const MANIFEST: &str = r#"
[task]
name = "shop"
environment = "staging"

[[database]]
name = "app"
url = "env:DATABASE_URL"
"#;

/// Texts that are one message each, run by psql inside one after the other; what was let through
/// prints its number.
fn run(server: &Postgres, texts: &[&str]) -> (World, Finished) {
    let world = World::new(Person::ordinary());
    world.manifest(MANIFEST);
    let mut script = String::new();
    for (number, text) in texts.iter().enumerate() {
        world.write(&format!("{number}.sql"), text);
        script.push_str(&format!(
            "psql -X -A -t -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -c \"$(cat {number}.sql)\" && echo {number} ran\n"
        ));
    }
    world.write("all.sh", &script);
    let mut command = world.run_command(&["--hold-wait", "0"], "sh all.sh; true");
    command.env("DATABASE_URL", server.url("localhost"));
    let finished = world.start(&mut command).end().success();
    (world, finished)
}

#[test]
fn functions_that_only_read_and_add_need_nobody() {
    let server = Postgres::start(SCHEMA);
    let texts = [
        "SELECT headcount(), public.headcount()",
        "SELECT twice_headcount()",
        "SELECT p.named, (p).named FROM people p WHERE odd(p.id)",
        "SELECT say('hello')",
        "CREATE TRIGGER seen BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION seen_now()",
        "CREATE FUNCTION third() RETURNS bigint LANGUAGE sql AS 'SELECT headcount() / 3'; SELECT third(); \
         CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
         CREATE TRIGGER kept BEFORE DELETE ON said FOR EACH ROW EXECUTE PROCEDURE keep()",
        "CREATE VIEW heads AS SELECT headcount() AS n",
        "CREATE TABLE later (n bigint DEFAULT twice_headcount(), m int CHECK (odd(m)))",
        "DO $$ BEGIN PERFORM twice_headcount(); END $$",
    ];
    let (world, finished) = run(&server, &texts);
    for number in 0..texts.len() {
        assert!(
            finished.stdout.contains(&format!("{number} ran")),
            "{number}: {finished}"
        );
    }
    assert!(finished.stdout.contains("50|50\n"), "{finished}");
    assert!(world.json(&["holds"]).is_empty(), "{finished}");
    assert_eq!(
        server.value("SELECT string_agg(what, ',') FROM said"),
        "hello"
    );
}

#[test]
fn invariant_5_a_call_asks_when_anything_that_it_may_mean_does_more() {
    let server = Postgres::start(SCHEMA);
    let texts = [
        "SELECT wipe()",
        "SELECT sly()",
        "SELECT public.sly() FROM people",
        "SELECT composed('people')",
        "SELECT by_key(id) FROM people",
        "SELECT by_cursor()",
        // Which of the two, the types of its arguments say.
        "SELECT size('x'::text)",
        "SELECT p.gone FROM people p",
        "SELECT (p).gone FROM people p",
        "SELECT count(*) FROM people a, people b WHERE a <<< b",
        "SELECT own_settings()",
        "SELECT total(id) FROM people",
        "SELECT no_such_function()",
        // Behind a name of PostgreSQL's own.
        "SELECT abs(p) FROM people p",
        "SET search_path = evil, pg_catalog, public; SELECT lower('A'::text)",
        "CREATE TRIGGER t BEFORE INSERT ON said FOR EACH ROW EXECUTE FUNCTION on_change()",
        "CREATE TABLE later (n bigint DEFAULT sly())",
        "CREATE INDEX i ON people (gone(people))",
        "CREATE VIEW v AS SELECT sly()",
        "DO $$ BEGIN PERFORM sly(); END $$",
        "DO $$ DECLARE c CURSOR FOR SELECT * FROM people; BEGIN FOR r IN c LOOP DELETE FROM people WHERE CURRENT OF c; END LOOP; END $$",
        // What a name means is changed by its name, not by its body.
        "ALTER FUNCTION headcount() RENAME TO was_headcount; ALTER FUNCTION wipe() RENAME TO headcount; SELECT headcount()",
        "ALTER FUNCTION evil.lower(text) SET SCHEMA public",
        "ALTER SCHEMA evil RENAME TO good",
        "CREATE FUNCTION sly(int) RETURNS bigint LANGUAGE sql AS 'SELECT 1'; SELECT sly()",
        "CREATE FUNCTION new() RETURNS bigint LANGUAGE sql AS 'SELECT sly()'; SELECT new()",
        "CREATE OPERATOR === (LEFTARG = people, RIGHTARG = people, FUNCTION = less_than)",
    ];
    let (_world, finished) = run(&server, &texts);
    assert!(!finished.stdout.contains("ran"), "{finished}");
    let refused = finished.stderr.matches("Tagout held this").count()
        + finished.stderr.matches("Tagout denied this").count();
    assert_eq!(refused, texts.len(), "{finished}");
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}

#[test]
fn invariant_5_a_function_that_changed_is_looked_up_anew() {
    let server = Postgres::start(SCHEMA);
    let world = World::new(Person::ordinary());
    world.manifest(MANIFEST);
    // Within one connection and one transaction: nobody was asked about the first body, nor about one that
    // only another connection has seen.
    world.write(
        "all.sql",
        "SELECT headcount();
         BEGIN;
         CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM people';
         SELECT mine();
         ROLLBACK;
         SELECT mine();
         PREPARE p AS SELECT headcount();
         EXECUTE p;
         SET statement_timeout = 1;
         SELECT headcount();
         SELECT sly();",
    );
    let mut command = world.run_command(
        &["--hold-wait", "0"],
        "psql -X -A -t \"$DATABASE_URL\" -f all.sql; true",
    );
    command.env("DATABASE_URL", server.url("localhost"));
    let finished = world.start(&mut command).end().success();
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "50",
            "BEGIN",
            "CREATE FUNCTION",
            "50",
            "ROLLBACK",
            "PREPARE",
            "SET",
            "50"
        ],
        "{finished}"
    );
    assert!(finished.stderr.contains("what EXECUTE runs"), "{finished}");
    assert_eq!(
        finished.stderr.matches("Tagout held this").count(),
        2,
        "{finished}"
    );
    assert_eq!(server.value("SELECT count(*) FROM people"), "50");
}
