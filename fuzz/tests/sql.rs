//! SQL texts: whatever bytes come, a text has statements that were all looked at or it is refused, and
//! nothing that stands before a statement hides it.

use tagout_catalog_sql::{Class, Classifier, Dialect};

const SEEDS: &[&[u8]] = &[
    b"SELECT a, count(*) FILTER (WHERE b > 1) FROM t JOIN u USING (id) WHERE c = 'x' GROUP BY 1",
    b"WITH d AS (DELETE FROM t WHERE id = 5 RETURNING *) INSERT INTO u SELECT * FROM d",
    b"UPDATE t SET a = $1, b = E'it\\'s' WHERE id IN (1, 2) -- comment\n; COMMIT",
    b"DO $$ DECLARE r record; BEGIN FOR r IN SELECT 1 LOOP EXECUTE 'SELECT ' || r; END LOOP; END $$",
    b"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.a := now(); RETURN NEW; END $f$",
    b"ALTER TABLE t ADD COLUMN a int DEFAULT 1, DROP COLUMN b CASCADE",
    b"COPY (SELECT * FROM t) TO PROGRAM 'cat' WITH (FORMAT csv)",
    b"EXPLAIN (ANALYZE, VERBOSE off) MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
    b"SELECT `a` FROM `t` WHERE `id` = ? /* x */ # y\n LIMIT 1",
    b"PRAGMA table_info('t'); INSERT OR REPLACE INTO t VALUES (1, \"b\", [c])",
];

const DICTIONARY: &[&[u8]] = &[
    b"DROP TABLE users",
    b"DELETE FROM",
    b"WHERE",
    b"RETURNING",
    b";",
    b"--",
    b"/*",
    b"*/",
    b"/*!",
    b"#",
    b"'",
    b"''",
    b"\\'",
    b"E'",
    b"U&'",
    b"\"",
    b"`",
    b"[",
    b"$$",
    b"$a$",
    b"(",
    b")",
    b"SELECT",
    b"BEGIN",
    b"END",
    b"EXECUTE",
    b"evil()",
    b"::",
    b" AND ",
    b" UNION SELECT ",
    b"\r",
    b"\x00",
    b"\xc2\xa0",
];

#[test]
fn nothing_hides_a_statement() {
    let classifier = Classifier::start(1).expect("a thread");
    let removes = |dialect, text: &str| {
        let statements = classifier.classify(dialect, text);
        statements.map(|statements| {
            assert!(
                statements
                    .iter()
                    .all(|statement| !statement.acts.is_empty())
            );
            statements.last().map(|statement| statement.class())
        })
    };
    for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
        let alone = removes(dialect, "DROP TABLE users").expect("it is read");
        assert!(alone >= Some(Class::Destructive));
    }

    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let text = String::from_utf8_lossy(&bytes);
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            if removes(dialect, &text).is_err() {
                continue;
            }
            // What is read is whole, so what follows it is a statement of its own.
            let followed = removes(dialect, &format!("{text}\n;\nDROP TABLE users"));
            if let Ok(class) = followed {
                assert!(class >= Some(Class::Destructive), "{dialect:?}: {text}");
            }
        }
    });
}
