//! What a statement takes from a real PostgreSQL: shown before, held to what was shown, kept, put back.

use std::collections::BTreeMap;

use tagout_catalog_sql::{Classifier, Dialect, Statement};
use tagout_core::Parameter;
use std::path::Path;

use tagout_postgres::damage::{
    Bound, Breach, DamageError, Planned, Preview, Snapshot, UndoOptions, UndoReport, check, preview,
    snapshot, undo, watch,
};
use tagout_postgres::{Ask, Server};
use tagout_tests::postgresql::{Postgresql, must};
use tokio::net::UnixStream;

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

/// All of a database: its definitions, and every row in an order of its own.
fn state(server: &Postgresql) -> (String, Vec<String>) {
    let rows = server.dump("postgres", &["--data-only", "--column-inserts"]);
    let mut rows: Vec<String> = rows.lines().map(ToOwned::to_owned).collect();
    rows.sort();
    (server.dump("postgres", &["--schema-only"]), rows)
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

async fn undone(server: &Postgresql, from: &Path) -> UndoReport {
    let mut operator = server.connect("postgres", "postgres").await;
    let report = undo(&mut operator, from, UndoOptions::default()).await;
    report.unwrap_or_else(|error| panic!("{error}"))
}

async fn shop() -> (Postgresql, Server<UnixStream>, Server<UnixStream>) {
    let server = Postgresql::start();
    let mut client = server.connect("postgres", "postgres").await;
    must(&mut client, SHOP).await;
    let side = server.connect("postgres", "postgres").await;
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
        assert_ne!(state(&server), before, "{}: nothing happened", text.text);
        let report = undone(&server, &into).await;
        assert!(report.is_done && report.conflicts() == 0, "{}: {report:#?}", text.text);
        let now = state(&server);
        assert_eq!(now.0, before.0, "{}", text.text);
        assert_eq!(now.1, before.1, "{}", text.text);
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
    let server = Postgresql::start();
    let mut client = server.connect("postgres", "postgres").await;
    must(&mut client, HOSTILE).await;
    let mut side = server.connect("postgres", "postgres").await;
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
        assert_ne!(state(&server), before, "{}: nothing happened", text.text);
        let report = undone(&server, &into).await;
        assert!(report.is_done && report.conflicts() == 0, "{}: {report:#?}", text.text);
        let now = state(&server);
        assert_eq!(now.0, before.0, "{}", text.text);
        assert_eq!(now.1, before.1, "{}", text.text);
    }
}
