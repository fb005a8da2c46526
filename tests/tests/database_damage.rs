//! What a statement takes from a real PostgreSQL: shown before, held to what was shown, kept, put back.

use std::collections::BTreeMap;
use std::path::Path;

use tagout_catalog_sql::{Classifier, Dialect, Statement};
use tagout_core::Parameter;
use tagout_database::{StoreError, Trust};
use tagout_postgres::damage::{
    Bound, Breach, DamageError, Planned, Preview, Snapshot, UndoOptions, UndoReport, check,
    preview, snapshot, undo, watch,
};
use tagout_postgres::{Ask, Login, Rows, Server};
use tagout_tests::postgres::{Postgres, programs};
use tagout_tests::{Person, World, eventually, finish};
use tokio::net::UnixStream;

/// A server of one test.
fn start() -> Postgres {
    Postgres::with("SELECT 1", &["autovacuum = off"], &[])
}

/// A connection as `role` to the database `postgres`.
async fn connect(server: &Postgres, role: &str) -> Server<UnixStream> {
    let socket = format!(".s.PGSQL.{}", server.port());
    let stream = UnixStream::connect(server.socket_folder().join(socket)).await;
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    for text in [
        "user",
        role,
        "database",
        "postgres",
        "client_encoding",
        "UTF8",
        "",
    ] {
        startup.extend_from_slice(text.as_bytes());
        startup.push(0);
    }
    let length = u32::try_from(startup.len() + 4).expect("short");
    startup.splice(..0, length.to_be_bytes());
    let login = Login {
        startup: &startup,
        user: role,
        password: b"",
        trust: Trust::Verified,
        end_point: None,
    };
    Server::start(stream.expect("it listens"), &login)
        .await
        .expect("its socket lets everybody in")
}

/// Asks, and fails the test where the server says no.
async fn must(ask: &mut impl Ask, sql: &str) -> Rows {
    ask.ask(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What `pg_dump` says of a database.
fn dump(server: &Postgres, database: &str) -> String {
    let mut command = Person::ordinary().command(programs().join("pg_dump"));
    command
        .args([
            "-U",
            "postgres",
            "--column-inserts",
            "-p",
            &server.port().to_string(),
            "-h",
        ])
        .arg(server.socket_folder())
        .arg(database)
        .current_dir("/");
    let dumped = finish(&mut command).success();
    // Newer ones fence a dump with a random word.
    let lines = dumped.stdout.lines().filter(|line| !line.starts_with('\\'));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text as the gate has it.
struct Text {
    text: String,
    statements: Vec<Statement>,
    parameters: Vec<Parameter>,
}

impl Text {
    fn new(text: &str) -> Self {
        Self::with(text, &[])
    }

    fn with(text: &str, parameters: &[&str]) -> Self {
        let classifier = Classifier::start(1).expect("a thread");
        let statements = classifier.classify(Dialect::Postgres, text);
        Self {
            text: text.to_owned(),
            statements: statements.unwrap_or_else(|why| panic!("{text}: {why}")),
            parameters: parameters
                .iter()
                .map(|value| Parameter::Text(value.as_bytes().to_vec()))
                .collect(),
        }
    }

    fn planned(&self) -> Planned<'_> {
        Planned {
            statements: &self.statements,
            text: &self.text,
            parameters: &self.parameters,
            search_path: None,
        }
    }
}

/// Shown: the lines as one text, and the most rows by table.
fn bound(preview: &Preview) -> BTreeMap<String, u64> {
    let bound = preview.bound.as_ref();
    let bound = bound.unwrap_or_else(|| panic!("no bound: {:#?}", preview.lines));
    let most = |table: &tagout_postgres::damage::BoundTable| (table.name.clone(), table.most);
    bound.tables.iter().map(most).collect()
}

fn of(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
    rows.iter()
        .map(|(name, most)| ((*name).to_owned(), *most))
        .collect()
}

const SHOP: &str = r#"
CREATE TABLE people (id int PRIMARY KEY, name text, mail text);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL REFERENCES people ON DELETE CASCADE, paid bool DEFAULT true);
CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE, price numeric,
  twice numeric GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE notes (id int PRIMARY KEY, item int REFERENCES items ON DELETE SET NULL, said text);
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE, person int REFERENCES people ON DELETE CASCADE);
INSERT INTO people SELECT n, 'p' || n, 'p' || n || '@example.com' FROM generate_series(1, 20) n;
INSERT INTO orders SELECT n, (n - 1) % 20 + 1 FROM generate_series(1, 60) n;
INSERT INTO items ("order", price) SELECT (n - 1) % 60 + 1, n / 4.0 FROM generate_series(1, 180) n;
INSERT INTO notes SELECT n, n, 'note ' || n FROM generate_series(1, 90) n;
INSERT INTO tree SELECT n, NULLIF(n / 2, 0), CASE n WHEN 1 THEN 1 END FROM generate_series(1, 31) n;
"#;

/// All of a database: each statement that would make it again, in an order of its own.
fn state(server: &Postgres) -> Vec<String> {
    let dump = dump(server, "postgres");
    let is_said = |line: &&str| !line.starts_with("--") && !line.is_empty();
    let dump: Vec<_> = dump.lines().filter(is_said).collect();
    let dump = dump.join("\n");
    let mut statements: Vec<String> = dump.split(";\n").map(ToOwned::to_owned).collect();
    statements.sort();
    statements
}

/// Compares two states, and says only what differs.
fn same_state(server: &Postgres, before: &[String], what: &str) {
    let now = state(server);
    let lost: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
    let new: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
    assert!(now == before, "{what}: lost {lost:#?}, new {new:#?}");
}

/// Whether undoing had anything to do.
fn put_something_back(report: &UndoReport) -> bool {
    let rows = report
        .tables
        .iter()
        .map(|table| table.restored + table.changed_back);
    report.is_done && report.conflicts() == 0 && rows.sum::<u64>() + report.definitions as u64 > 0
}

/// Shows a text, keeps what it takes, runs it and holds it to what was shown, as the gate does.
async fn run_under_contract(
    client: &mut Server<UnixStream>,
    side: &mut Server<UnixStream>,
    text: &Text,
    into: &Path,
) -> Result<Snapshot, Breach> {
    let shown = preview(side, &text.planned()).await;
    let Some(bound) = shown.bound else {
        panic!("{}: {:#?}", text.text, shown.lines);
    };
    run_within(client, &bound, text, into).await
}

async fn run_within(
    client: &mut Server<UnixStream>,
    bound: &Bound,
    text: &Text,
    into: &Path,
) -> Result<Snapshot, Breach> {
    must(client, "BEGIN").await;
    let done = async {
        let mut kept = snapshot(client, bound, &text.planned(), into).await?;
        let watch = watch(client).await?;
        must(client, &text.text).await;
        check(client, bound, &watch, Some(&mut kept)).await?;
        Ok(kept)
    };
    let done = done.await;
    must(client, if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    done
}

async fn undone(server: &Postgres, from: &Path) -> UndoReport {
    let mut operator = connect(server, "postgres").await;
    let report = undo(&mut operator, from, UndoOptions::default()).await;
    report.unwrap_or_else(|error| panic!("{error}"))
}

async fn shop() -> (Postgres, Server<UnixStream>, Server<UnixStream>) {
    let server = start();
    let mut client = connect(&server, "postgres").await;
    must(&mut client, SHOP).await;
    let side = connect(&server, "postgres").await;
    (server, client, side)
}

#[tokio::test]
async fn a_preview_counts_what_goes_and_what_goes_with_it() {
    let (_server, _client, mut side) = shop().await;
    for (text, parameters, expected) in [
        (
            "DELETE FROM people WHERE id = 1",
            &[][..],
            of(&[
                ("public.people", 1),
                ("public.orders", 3),
                ("public.items", 9),
                ("public.notes", 5),
                ("public.tree", 31),
            ]),
        ),
        (
            "DELETE FROM tree WHERE id >= $2",
            &["unused", "4"],
            of(&[("public.tree", 28)]),
        ),
        (
            "UPDATE people SET name = 'x'",
            &[],
            of(&[("public.people", 20)]),
        ),
        (
            "DELETE FROM notes WHERE said ~ 'note 1.*'",
            &[],
            of(&[("public.notes", 11)]),
        ),
        (
            "TRUNCATE orders CASCADE",
            &[],
            of(&[
                ("public.orders", 60),
                ("public.items", 180),
                ("public.notes", 90),
            ]),
        ),
        ("DROP TABLE notes", &[], of(&[("public.notes", 90)])),
        ("SELECT 1; CREATE TABLE more (id int)", &[], of(&[])),
        (
            "DELETE FROM notes; DELETE FROM tree WHERE id = 31",
            &[],
            of(&[("public.notes", 90), ("public.tree", 1)]),
        ),
    ] {
        let text = Text::with(text, parameters);
        let shown = preview(&mut side, &text.planned()).await;
        let mut most = bound(&shown);
        most.retain(|_, most| *most > 0);
        assert_eq!(most, expected, "{}: {:#?}", text.text, shown.lines);
    }
}

#[tokio::test]
async fn what_was_destroyed_comes_back_as_it_was() {
    let (server, mut client, mut side) = shop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let before = state(&server);
    for (at, text) in [
        "DELETE FROM people WHERE id <= 3",
        "DELETE FROM people",
        "UPDATE people SET name = upper(name), mail = NULL",
        "UPDATE items SET price = price + 1 WHERE id > 90",
        "TRUNCATE people CASCADE",
        "TRUNCATE items, notes RESTART IDENTITY",
        "DELETE FROM tree; UPDATE notes SET said = 'gone'",
        "WITH gone AS (DELETE FROM notes WHERE id < 30 RETURNING *) SELECT count(*) FROM gone",
        "DROP TABLE notes",
        "DROP TABLE people, orders, items, notes, tree",
        "DROP TABLE people CASCADE",
    ]
    .into_iter()
    .enumerate()
    {
        let into = folder.path().join(at.to_string());
        let text = Text::new(text);
        let kept = run_under_contract(&mut client, &mut side, &text, &into).await;
        let kept = kept.unwrap_or_else(|breach| panic!("{}: {breach}", text.text));
        assert_eq!(kept.hash().len(), 64);
        let report = undone(&server, &into).await;
        assert!(put_something_back(&report), "{}: {report:#?}", text.text);
        same_state(&server, &before, &text.text);
    }
}

/// Everything that a table can have, under names that nobody should have chosen.
const HOSTILE: &str = r#"
CREATE ROLE "re;ader" NOLOGIN;
CREATE ROLE owner_of_things NOLOGIN;
CREATE SCHEMA "a.b"";--";
GRANT USAGE ON SCHEMA "a.b"";--" TO owner_of_things;
COMMENT ON SCHEMA "a.b"";--" IS 'it''s "quoted"';
CREATE TYPE "a.b"";--"."mo'od" AS ENUM ('so so', 'it''s', '"');
CREATE DOMAIN "a.b"";--".positive AS int DEFAULT 7 NOT NULL CONSTRAINT "gt;0" CHECK (VALUE > 0);
CREATE SEQUENCE "a.b"";--"."seq;" START 5 INCREMENT 3;
CREATE TABLE "a.b"";--"."ta""ble'; DROP TABLE x; --" (
  "i""d" int GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY,
  "naïve ☃" text COLLATE "C" DEFAULT $$it's a 'default'\$$ NOT NULL,
  "sixty-three-bytes-sixty-three-bytes-sixty-three-bytes-sixty-thr" "a.b"";--"."mo'od",
  p "a.b"";--".positive,
  n bigint DEFAULT nextval('"a.b"";--"."seq;"'),
  f double precision, ts timestamptz, iv interval, b bytea, j json, xs text[], big numeric(12, 3),
  CONSTRAINT "che;ck" CHECK (length("naïve ☃") < 1000),
  CONSTRAINT "uni'que" UNIQUE (n) DEFERRABLE);
ALTER SEQUENCE "a.b"";--"."seq;" OWNED BY "a.b"";--"."ta""ble'; DROP TABLE x; --".n;
CREATE TABLE "a.b"";--".child (id serial PRIMARY KEY,
  up int REFERENCES "a.b"";--"."ta""ble'; DROP TABLE x; --" ON UPDATE CASCADE ON DELETE SET NULL, self int REFERENCES "a.b"";--".child);
ALTER TABLE "a.b"";--"."ta""ble'; DROP TABLE x; --" ADD COLUMN best int REFERENCES "a.b"";--".child DEFERRABLE;
CREATE INDEX "in""dex" ON "a.b"";--"."ta""ble'; DROP TABLE x; --" (lower("naïve ☃")) WHERE p > 3;
COMMENT ON TABLE "a.b"";--"."ta""ble'; DROP TABLE x; --" IS E'line\nand \\ ''quote''';
COMMENT ON COLUMN "a.b"";--"."ta""ble'; DROP TABLE x; --"."naïve ☃" IS 'snow';
COMMENT ON INDEX "a.b"";--"."in""dex" IS 'an index';
COMMENT ON CONSTRAINT "che;ck" ON "a.b"";--"."ta""ble'; DROP TABLE x; --" IS 'a check';
GRANT SELECT, INSERT ON "a.b"";--"."ta""ble'; DROP TABLE x; --" TO "re;ader" WITH GRANT OPTION;
GRANT UPDATE ("naïve ☃") ON "a.b"";--"."ta""ble'; DROP TABLE x; --" TO "re;ader";
GRANT USAGE ON SEQUENCE "a.b"";--"."seq;" TO PUBLIC;
ALTER TABLE "a.b"";--".child OWNER TO owner_of_things;
CREATE FUNCTION "a.b"";--"."f;n"() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW."naïve ☃" := NEW."naïve ☃" || '!'; RETURN NEW; END$$;
CREATE TRIGGER "tri;gger" BEFORE UPDATE ON "a.b"";--"."ta""ble'; DROP TABLE x; --" FOR EACH ROW EXECUTE FUNCTION "a.b"";--"."f;n"();
CREATE POLICY "poli;cy" ON "a.b"";--".child FOR SELECT TO "re;ader" USING (id > 3);
ALTER TABLE "a.b"";--".child ENABLE ROW LEVEL SECURITY;
CREATE STATISTICS "a.b"";--"."sta;ts" ON p, n FROM "a.b"";--"."ta""ble'; DROP TABLE x; --";
CREATE VIEW "a.b"";--"."vi;ew" WITH (security_barrier=true) AS SELECT "i""d" AS "x;", p + 1 AS y FROM "a.b"";--"."ta""ble'; DROP TABLE x; --" WHERE p > 1;
CREATE VIEW public.on_view AS SELECT "x;" FROM "a.b"";--"."vi;ew";
CREATE MATERIALIZED VIEW public.kept_view AS SELECT count(*) AS many FROM "a.b"";--"."ta""ble'; DROP TABLE x; --";
CREATE UNIQUE INDEX kept_index ON public.kept_view (many);
GRANT SELECT ON public.on_view TO "re;ader";
CREATE TABLE public.keyless (a int, b text);
INSERT INTO "a.b"";--"."ta""ble'; DROP TABLE x; --" ("naïve ☃", "sixty-three-bytes-sixty-three-bytes-sixty-three-bytes-sixty-thr", p, f, ts, iv, b, j, xs, big)
  SELECT E'\\ '' " \n' || n, (ARRAY['so so', 'it''s', '"', NULL])[n % 4 + 1]::"a.b"";--"."mo'od", n, n / 3.0::float8, '2026-01-01 12:00:00+02'::timestamptz + n * '1 month'::interval,
    n * '1 mon 3 days 04:05:06.789'::interval, decode(md5(n::text), 'hex'), ('{"n":  ' || n || '}')::json, ARRAY['a,b', NULL, '"', '\'], n / 7.0 FROM generate_series(1, 20) n;
INSERT INTO "a.b"";--"."ta""ble'; DROP TABLE x; --" ("naïve ☃", f) VALUES ('nan', 'NaN'), ('inf', '-Infinity'), ('tiny', 5e-324);
INSERT INTO "a.b"";--".child (up, self) SELECT 99 + n, nullif(n, 1) FROM generate_series(1, 10) n;
UPDATE "a.b"";--"."ta""ble'; DROP TABLE x; --" SET best = "i""d" - 99 WHERE "i""d" < 105;
INSERT INTO public.keyless SELECT n / 2, 'same' FROM generate_series(1, 9) n;
REFRESH MATERIALIZED VIEW public.kept_view;
SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -3; SET bytea_output = 'escape'; SET TimeZone = 'Asia/Kolkata';
"#;

#[tokio::test]
async fn hostile_names_settings_and_all_that_a_table_has_come_back() {
    let server = start();
    let mut client = connect(&server, "postgres").await;
    must(&mut client, HOSTILE).await;
    let mut side = connect(&server, "postgres").await;
    let folder = tempfile::tempdir().expect("a folder");
    let before = state(&server);
    let settings = "SELECT current_setting('search_path'), current_setting('DateStyle'), current_setting('IntervalStyle'),
        current_setting('extra_float_digits'), current_setting('bytea_output'), current_setting('lock_timeout')";
    let set = must(&mut client, settings).await;
    for (at, text) in [
        r#"DELETE FROM "a.b"";--"."ta""ble'; DROP TABLE x; --" WHERE "naïve ☃" LIKE '%1' OR f = 'NaN'"#,
        r#"UPDATE "a.b"";--"."ta""ble'; DROP TABLE x; --" SET "i""d" = "i""d" + 1000, f = f + 1 WHERE p > 1"#,
        "UPDATE keyless SET a = a + 1, b = b || a WHERE a < 4",
        "DELETE FROM keyless WHERE a > 1",
        r#"TRUNCATE "a.b"";--"."ta""ble'; DROP TABLE x; --" RESTART IDENTITY CASCADE"#,
        r#"DROP TABLE "a.b"";--"."ta""ble'; DROP TABLE x; --" CASCADE"#,
        r#"DROP SCHEMA "a.b"";--" CASCADE"#,
        "DROP MATERIALIZED VIEW kept_view",
    ]
    .into_iter()
    .enumerate()
    {
        let into = folder.path().join(at.to_string());
        let text = Text::new(text);
        let kept = run_under_contract(&mut client, &mut side, &text, &into).await;
        kept.unwrap_or_else(|breach| panic!("{}: {breach}", text.text));
        assert_eq!(must(&mut client, settings).await.rows, set.rows, "{}", text.text);
        let report = undone(&server, &into).await;
        assert!(put_something_back(&report), "{}: {report:#?}", text.text);
        same_state(&server, &before, &text.text);
    }
}

#[tokio::test]
async fn rows_of_partitions_heirs_and_of_an_ordinary_role_come_back() {
    let server = start();
    let mut admin = connect(&server, "postgres").await;
    must(&mut admin, "GRANT CREATE ON SCHEMA public TO app").await;
    let mut client = connect(&server, "app").await;
    must(
        &mut client,
        "CREATE TABLE parts (id int, at int, n int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (200);
         CREATE TABLE of_parts (id int PRIMARY KEY, part int, at int, FOREIGN KEY (part, at) REFERENCES parts ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE moving (id int, half bool NOT NULL) PARTITION BY LIST (half);
         CREATE TABLE moving_0 PARTITION OF moving FOR VALUES IN (false);
         CREATE TABLE moving_1 PARTITION OF moving FOR VALUES IN (true);
         CREATE TABLE parent (id int PRIMARY KEY, t text);
         CREATE TABLE heir (more text) INHERITS (parent);
         INSERT INTO parts SELECT n, n, n FROM generate_series(1, 100) n;
         INSERT INTO of_parts SELECT n, n, n FROM generate_series(1, 100) n;
         INSERT INTO moving SELECT n, n % 2 = 0 FROM generate_series(1, 30) n;
         INSERT INTO parent SELECT n, 'parent' FROM generate_series(1, 5) n;
         INSERT INTO heir SELECT n, 'heir', 'more' FROM generate_series(1, 5) n",
    )
    .await;
    let mut side = connect(&server, "app").await;
    let folder = tempfile::tempdir().expect("a folder");
    let before = state(&server);
    for (at, text) in [
        "DELETE FROM parts WHERE n > 40",
        "DELETE FROM parts_2",
        "UPDATE parts SET n = 0 WHERE n > 45",
        "UPDATE parts SET at = at + 50 WHERE n > 49",
        "UPDATE moving SET id = id + 1 WHERE half",
        "TRUNCATE parts CASCADE",
        "DELETE FROM parent WHERE id > 2",
        "UPDATE ONLY parent SET t = 'x'",
    ]
    .into_iter()
    .enumerate()
    {
        let into = folder.path().join(at.to_string());
        let text = Text::new(text);
        let kept = run_under_contract(&mut client, &mut side, &text, &into).await;
        kept.unwrap_or_else(|breach| panic!("{}: {breach}", text.text));
        let mut operator = connect(&server, "app").await;
        let report = undo(&mut operator, &into, UndoOptions::default()).await;
        let report = report.unwrap_or_else(|error| panic!("{}: {error}", text.text));
        assert!(put_something_back(&report), "{}: {report:#?}", text.text);
        same_state(&server, &before, &text.text);
    }
    // Where a row goes with another key to another partition, nobody can follow it.
    let text = Text::new("UPDATE parts SET at = at + 50 WHERE n < 40");
    let done =
        run_under_contract(&mut client, &mut side, &text, &folder.path().join("moved")).await;
    assert!(
        matches!(&done, Err(Breach::Unknown(DamageError::Unkept(_)))),
        "{done:?}"
    );
    same_state(&server, &before, "nothing happened");
}

#[tokio::test]
async fn more_than_was_shown_is_rolled_back() {
    let (server, mut client, mut side) = shop().await;
    let mut other = connect(&server, "postgres").await;
    let folder = tempfile::tempdir().expect("a folder");
    must(
        &mut other,
        "CREATE TABLE bystander (n int); INSERT INTO bystander VALUES (1), (2);
         CREATE TABLE emptied (n int); INSERT INTO emptied VALUES (1);
         CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one VALUES (1), (2);
         CREATE TABLE two (id int PRIMARY KEY); INSERT INTO two VALUES (1), (2);
         CREATE FUNCTION quietly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE bystander SET n = 0; RETURN OLD; END';
         CREATE FUNCTION loudly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN TRUNCATE emptied; RETURN OLD; END';
         CREATE TRIGGER t AFTER DELETE ON one FOR EACH ROW EXECUTE FUNCTION quietly();
         CREATE TRIGGER t AFTER DELETE ON two FOR EACH STATEMENT EXECUTE FUNCTION loudly()",
    )
    .await;
    // What somebody else writes between the question and the answer was not approved.
    let grown = Text::new("DELETE FROM notes WHERE said LIKE 'note%'");
    let shown = preview(&mut side, &grown.planned())
        .await
        .bound
        .expect("a bound");
    must(
        &mut other,
        "INSERT INTO notes VALUES (1000, 1, 'note 1000')",
    )
    .await;
    let before = state(&server);
    let done = run_within(&mut client, &shown, &grown, &folder.path().join("grown")).await;
    assert!(
        matches!(&done, Err(Breach::MoreRows { table, touched: 91, most: 90 }) if table == "public.notes"),
        "{done:?}"
    );
    same_state(&server, &before, "nothing happened");
    // Nor what a trigger does to another table.
    let hidden = Text::new("DELETE FROM one");
    let done = run_under_contract(
        &mut client,
        &mut side,
        &hidden,
        &folder.path().join("hidden"),
    )
    .await;
    assert!(
        matches!(&done, Err(Breach::OtherTable { table, touched: 4 }) if table == "public.bystander"),
        "{done:?}"
    );
    let hidden = Text::new("DELETE FROM two");
    let done = run_under_contract(
        &mut client,
        &mut side,
        &hidden,
        &folder.path().join("emptied"),
    )
    .await;
    assert!(
        matches!(&done, Err(Breach::OtherObject { table }) if table == "public.emptied"),
        "{done:?}"
    );
    same_state(&server, &before, "nothing happened");
    // A table that grew before it is emptied or dropped is not what was shown either.
    for (at, text) in ["TRUNCATE notes", "DROP TABLE notes"]
        .into_iter()
        .enumerate()
    {
        let text = Text::new(text);
        let shown = preview(&mut side, &text.planned())
            .await
            .bound
            .expect("a bound");
        must(
            &mut other,
            "INSERT INTO notes SELECT max(id) + 1, 1, 'more' FROM notes",
        )
        .await;
        let before = state(&server);
        let into = folder.path().join(format!("whole {at}"));
        let done = run_within(&mut client, &shown, &text, &into).await;
        assert!(
            matches!(&done, Err(Breach::Unknown(DamageError::Unseen(why))) if why.contains("rows by now")),
            "{done:?}"
        );
        assert!(
            !into.exists(),
            "what is kept of what did not happen is removed"
        );
        same_state(&server, &before, "nothing happened");
    }
}

#[tokio::test]
async fn a_name_that_means_another_table_by_then_is_not_that_table() {
    let (_server, mut client, mut side) = shop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let text = Text::new("DELETE FROM notes");
    let shown = preview(&mut side, &text.planned())
        .await
        .bound
        .expect("a bound");
    for (at, swap) in [
        "CREATE TEMPORARY TABLE notes (id int)",
        "DROP TABLE pg_temp.notes; CREATE SCHEMA other; CREATE TABLE other.notes (id int); SET search_path = other, public",
        "SET search_path = public; DROP SCHEMA other CASCADE; ALTER TABLE notes ADD COLUMN swapped int",
        "ALTER TABLE notes RENAME TO shown; CREATE TABLE notes AS TABLE orders",
    ]
    .into_iter()
    .enumerate()
    {
        must(&mut client, swap).await;
        let into = folder.path().join(at.to_string());
        let done = run_within(&mut client, &shown, &text, &into).await;
        assert!(matches!(&done, Err(Breach::Unknown(DamageError::Unseen(why))) if why.contains("ask again")), "{swap}: {done:?}");
        assert!(!into.exists());
    }
    let shop = must(&mut client, "SELECT count(*) FROM shown").await;
    assert_eq!(shop.single(), Some("90"));
    // Names are looked up where the client's connection would.
    let mut planned = text.planned();
    must(&mut client, "CREATE SCHEMA other; CREATE TABLE other.notes (id int); INSERT INTO other.notes VALUES (1)").await;
    planned.search_path = Some("other, public");
    let shown = preview(&mut side, &planned).await;
    assert_eq!(bound(&shown), of(&[("other.notes", 1)]));
}

#[tokio::test]
async fn a_preview_runs_nothing_that_somebody_made_in_the_database() {
    let (_server, mut client, mut side) = shop().await;
    must(
        &mut client,
        "CREATE FUNCTION ran() RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'it ran'; END$$;
         CREATE FUNCTION ran(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'it ran'; END$$;
         CREATE FUNCTION ran(int, text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'it ran'; END$$;
         CREATE VIEW trap AS SELECT id FROM notes WHERE ran();
         CREATE VIEW over_notes AS SELECT * FROM notes;
         CREATE TABLE guarded (id int); INSERT INTO guarded VALUES (1); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         ALTER TABLE guarded FORCE ROW LEVEL SECURITY; CREATE POLICY p ON guarded USING (ran(id));
         GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
         CREATE RULE r AS ON DELETE TO tree DO ALSO DELETE FROM notes",
    )
    .await;
    let cannot = |preview: &Preview, text: &str| {
        let said = preview.lines.join("\n");
        assert!(
            said.starts_with("cannot be previewed: ") && preview.bound.is_none(),
            "{text}: {said}"
        );
        assert!(!said.contains("it ran"), "{text}: {said}");
    };
    for text in [
        "DELETE FROM notes WHERE id IN (SELECT id FROM trap)",
        "DELETE FROM over_notes",
        "DELETE FROM tree",
        "SELECT ran()",
        "VACUUM FULL notes; DROP DATABASE other",
        "DO $$BEGIN EXECUTE 'DELETE FROM ' || 'notes'; END$$",
        "DROP FUNCTION ran()",
        "DELETE FROM not_there",
    ] {
        let text = Text::new(text);
        cannot(&preview(&mut side, &text.planned()).await, &text.text);
    }
    let mut app = connect(&_server, "app").await;
    let text = Text::new("DELETE FROM guarded WHERE id > 0");
    cannot(&preview(&mut app, &text.planned()).await, &text.text);
    let text = Text::new("DELETE FROM notes WHERE said = 'x'");
    for trap in [
        "CREATE OPERATOR public.=~ (LEFTARG = int, RIGHTARG = text, FUNCTION = ran)",
        "DROP OPERATOR public.=~ (int, text); CREATE DOMAIN trapped AS int CHECK (ran(VALUE))",
        "DROP DOMAIN trapped; CREATE FUNCTION cast_it(point) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE 'it ran'; END$$;
         CREATE CAST (point AS text) WITH FUNCTION cast_it AS IMPLICIT",
    ] {
        must(&mut client, trap).await;
        cannot(&preview(&mut side, &text.planned()).await, trap);
    }
    must(&mut client, "DROP CAST (point AS text)").await;
    assert_eq!(
        bound(&preview(&mut side, &text.planned()).await),
        of(&[("public.notes", 0)])
    );
}

#[tokio::test]
async fn a_locked_table_is_said_to_be_locked() {
    let (server, mut client, mut side) = shop().await;
    must(&mut client, "BEGIN; LOCK TABLE notes").await;
    for text in [
        "DELETE FROM notes",
        "TRUNCATE notes",
        "DELETE FROM items WHERE price > 3",
    ] {
        let text = Text::new(text);
        let shown = preview(&mut side, &text.planned()).await;
        assert!(shown.bound.is_none());
        assert!(
            shown.lines[0].contains("another transaction holds a lock"),
            "{}: {:?}",
            text.text,
            shown.lines
        );
    }
    must(&mut client, "ROLLBACK").await;
    let text = Text::new("DELETE FROM notes");
    assert_eq!(
        bound(&preview(&mut side, &text.planned()).await),
        of(&[("public.notes", 90)])
    );
    drop(server);
}

#[tokio::test]
async fn what_others_changed_since_is_theirs() {
    let (server, mut client, mut side) = shop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("kept");
    let text =
        Text::new("UPDATE people SET name = 'same' WHERE id < 4; DELETE FROM notes WHERE id > 88");
    let kept = run_under_contract(&mut client, &mut side, &text, &into).await;
    assert_eq!(kept.expect("it is what was shown").rows(), 5);
    must(
        &mut client,
        "UPDATE people SET mail = 'new@example.com' WHERE id = 2; INSERT INTO notes VALUES (89, NULL, 'mine')",
    )
    .await;
    let before = state(&server);
    let report = undone(&server, &into).await;
    assert!(!report.is_done);
    assert_eq!(report.conflicts(), 2, "{report:#?}");
    same_state(&server, &before, "nothing is put back by halves");
    let mut operator = connect(&server, "postgres").await;
    let force = |dry_run| UndoOptions {
        dry_run,
        force: true,
    };
    let dry = undo(&mut operator, &into, force(true))
        .await
        .expect("it can be done");
    assert!(!dry.is_done);
    same_state(&server, &before, "nothing happened");
    let report = undo(&mut operator, &into, force(false))
        .await
        .expect("it can be done");
    assert!(report.is_done);
    let rows = must(
        &mut client,
        "SELECT name, mail FROM people WHERE id < 4 ORDER BY id",
    )
    .await;
    let told: Vec<_> = rows
        .rows
        .iter()
        .flatten()
        .flatten()
        .map(String::as_str)
        .collect();
    assert_eq!(
        told,
        [
            "p1",
            "p1@example.com",
            "p2",
            "p2@example.com",
            "p3",
            "p3@example.com"
        ]
    );
    let said = must(&mut client, "SELECT said FROM notes WHERE id = 89").await;
    assert_eq!(said.single(), Some("note 89"));
    let again = undo(&mut operator, &into, UndoOptions::default())
        .await
        .expect("it is read");
    assert!(!again.is_done && again.remarks[0].contains("already"));
}

#[tokio::test]
async fn what_is_kept_is_kept_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let (server, mut client, mut side) = shop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("kept");
    let text = Text::new("DELETE FROM notes WHERE id > 80");
    let mut kept = run_under_contract(&mut client, &mut side, &text, &into).await;
    assert!(kept.as_mut().is_ok_and(|kept| kept.rows() == 10));
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&into), 0o700);
    let files: Vec<_> = std::fs::read_dir(&into)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let rows = into.join("0-before.rows");
    let whole = std::fs::read(&rows).expect("rows");
    let mut operator = connect(&server, "postgres").await;
    for altered in [
        &whole[..whole.len() - 1],
        &whole[whole.iter().position(|byte| *byte == b'\n').expect("lines") + 1..],
    ] {
        std::fs::write(&rows, altered).expect("it is written");
        let before = state(&server);
        let undone = undo(&mut operator, &into, UndoOptions::default()).await;
        assert!(
            matches!(undone, Err(DamageError::Store(StoreError::Altered(_)))),
            "{undone:?}"
        );
        same_state(&server, &before, "nothing happened");
    }
    std::fs::write(&rows, &whole).expect("it is written");
    // A statement that did not commit has nothing to put back.
    let never = folder.path().join("never");
    let text = Text::new("DELETE FROM notes");
    let shown = preview(&mut side, &text.planned())
        .await
        .bound
        .expect("a bound");
    must(&mut client, "BEGIN").await;
    let mut kept = snapshot(&mut client, &shown, &text.planned(), &never)
        .await
        .expect("it is kept");
    let watching = watch(&mut client).await.expect("it counts");
    must(&mut client, &text.text).await;
    check(&mut client, &shown, &watching, Some(&mut kept))
        .await
        .expect("as shown");
    must(&mut client, "ROLLBACK").await;
    let report = undone(&server, &never).await;
    assert!(report.remarks[0].contains("rolled back"), "{report:?}");
    assert!(undone(&server, &into).await.is_done);
    // What is no part of a transaction is not kept.
    let text = Text::new("DROP DATABASE template1");
    must(&mut client, "BEGIN").await;
    let refused = snapshot(
        &mut client,
        &shown,
        &text.planned(),
        &folder.path().join("no"),
    )
    .await;
    assert!(
        matches!(refused, Err(DamageError::Unkept(_))),
        "{refused:?}"
    );
    assert!(!folder.path().join("no").exists());
}

const MANIFEST: &str = r#"
[task]
name = "shop"
environment = "staging"

[[database]]
name = "app"
url = "env:DATABASE_URL"
"#;

#[test]
fn tagout_undo_puts_back_what_was_approved() {
    let server = Postgres::start(SHOP);
    let world = World::new(Person::ordinary());
    world.manifest(MANIFEST);
    let before = dump(&server, "app");
    let line =
        "psql -X \"$DATABASE_URL\" -c 'DELETE FROM people WHERE id > 10' -c 'DROP TABLE notes'";
    let mut command = world.run_command(&["--hold-wait", "60"], line);
    command.env("DATABASE_URL", server.url("localhost"));
    let session = world.start(&mut command);
    for statement in ["DELETE FROM people", "DROP TABLE notes"] {
        let mut pending = None;
        eventually("a hold that is pending", || {
            pending = world
                .json(&["holds"])
                .into_iter()
                .find(|hold| hold["state"] == "pending");
            pending.is_some()
        });
        let hold = pending.expect("just found");
        let id = hold["id"].as_str().expect("an id");
        let shown = world.tagout(&["approve", id, "--yes"]).success();
        assert!(shown.everything().contains(statement), "{shown}");
        assert!(shown.everything().contains("exactly"), "{shown}");
    }
    let finished = session.end().success();
    assert!(
        finished.stdout.contains("DELETE 10") && finished.stdout.contains("DROP TABLE"),
        "{finished}"
    );
    let sessions = world.sessions();
    let undo = |options: &[&str], url: &str| {
        let arguments = [&["undo", &sessions[0], "--database"][..], options].concat();
        let mut command = world.tagout_command(&arguments);
        command.env("DATABASE_URL", url);
        finish(&mut command)
    };
    let url = server.url("localhost");
    let listed = undo(&["--list"], &url).success();
    assert!(
        listed.stdout.contains("public.people: 10 rows removed"),
        "{listed}"
    );
    assert!(
        listed.stdout.contains("public.notes: 90 rows dropped"),
        "{listed}"
    );
    // Another database than the one that it was taken from is left alone.
    let other = url.strip_suffix("/app").expect("its database").to_owned() + "/postgres";
    let elsewhere = undo(&[], &other);
    assert!(
        elsewhere.status != 0 && elsewhere.stderr.contains("none of the databases"),
        "{elsewhere}"
    );
    undo(&["--dry-run"], &url).success();
    assert_eq!(server.value("SELECT count(*) FROM people"), "10");
    let undone = undo(&[], &url).success();
    assert!(
        undone
            .stdout
            .contains("put back public.people: 10 rows again"),
        "{undone}"
    );
    let sorted = |dump: &str| {
        let mut lines: Vec<_> = dump.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&dump(&server, "app")), sorted(&before), "{undone}");
    assert!(
        undo(&["--list"], &url)
            .success()
            .stdout
            .contains("(put back)")
    );
}
