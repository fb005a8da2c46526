//! The bypass catalogue of the facts about databases, and what an everyday session sends.

use tagout_core::Flag;

use crate::{Called, Class, Classifier, Dialect, Statement, Unreadable, WhereKind};

fn classify(text: &str) -> Vec<Statement> {
    let classifier = Classifier::start(1).unwrap();
    classifier
        .classify(Dialect::Postgres, text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn class(text: &str) -> Class {
    let statements = classify(text);
    statements
        .iter()
        .map(Statement::class)
        .max()
        .unwrap_or(Class::Read)
}

/// Whether a person is asked, as the verdict list has it.
fn is_held(text: &str) -> bool {
    let asks = [
        Flag::PermissionChange,
        Flag::CredentialMint,
        Flag::SecretRead,
    ];
    classify(text).iter().any(|statement| {
        statement.class() >= Class::Destructive
            || asks.iter().any(|flag| statement.flags().contains(*flag))
            || statement.acts.iter().any(|act| !act.known)
    })
}

fn held_or_refused(text: &str) -> bool {
    let classifier = Classifier::start(1).unwrap();
    classifier.classify(Dialect::Postgres, text).is_err() || is_held(text)
}

fn names(text: &str) -> Vec<String> {
    let acts = classify(text)
        .into_iter()
        .flat_map(|statement| statement.acts);
    acts.map(|act| act.name).collect()
}

#[test]
fn pg_dump_needs_nobody() {
    let dumps = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";
    assert_eq!(classify(dumps)[0].class(), Class::Session);
    let count = "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database                 WHERE datname = current_database())";
    assert!(!is_held(count));
    assert!(is_held(&count.replace("count(*)", "*")));
    let other = dumps.replace("restrict_nonsystem_relation_kind", "role");
    assert_eq!(classify(&other)[0].class(), Class::Admin);
}

#[test]
fn every_line_of_the_dangerous_corpus_is_held() {
    let corpus = include_str!("../../tests/corpus/postgres-dangerous.sql");
    let mut passed = Vec::new();
    let mut count = 0;
    for text in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--#"))
    {
        count += 1;
        if !held_or_refused(text) {
            passed.push(text);
        }
    }
    assert!(count > 150, "{count}");
    assert!(passed.is_empty(), "{passed:#?}");
}

#[test]
fn everyday_statements_ask_nobody() {
    let corpus = include_str!("../../tests/corpus/postgres-everyday.sql");
    let mut held = Vec::new();
    let mut count = 0;
    for text in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--#"))
    {
        count += 1;
        if held_or_refused(text) {
            held.push(text);
        }
    }
    assert!(count > 150, "{count}");
    assert!(held.len() * 100 <= count, "{held:#?}");
}

#[test]
fn statements_of_one_text_are_judged_each() {
    let statements = classify("select 1; commit; delete from users");
    assert_eq!(statements.len(), 3);
    assert_eq!(statements[0].class(), Class::Read);
    assert_eq!(statements[1].class(), Class::Session);
    assert_eq!(statements[2].class(), Class::Destructive);
    assert!(classify("").is_empty());
    assert!(classify(" -- nothing\n ; ; ").is_empty());
}

#[test]
fn what_a_statement_names_is_told() {
    let statements = classify("DROP TABLE IF EXISTS audit.\"Log Lines\", Users CASCADE");
    let act = &statements[0].acts[0];
    assert_eq!(act.name, "drop_table");
    assert!(act.cascade);
    assert_eq!(act.objects[0].schema.as_deref(), Some("audit"));
    assert_eq!(act.objects[0].name, "Log Lines");
    assert_eq!(act.objects[1].name, "users");
    let operation = act.operation();
    assert_eq!(operation.name.as_str(), "sql.drop_table");
    assert!(
        operation.unresolved.is_some(),
        "a name with a space is no resource"
    );
    assert_eq!(operation.resources[0].as_str(), "sql:table/users");
}

#[test]
fn which_rows_a_condition_names() {
    use WhereKind::{Key, None, Other, Tautology};
    for (condition, kind) in [
        ("", None),
        ("WHERE true", Tautology),
        ("WHERE 1 = 1", Tautology),
        ("WHERE id = id", Tautology),
        ("WHERE id = 5 OR true", Tautology),
        ("WHERE id IS NULL OR id IS NOT NULL", Tautology),
        ("WHERE name LIKE '%'", Tautology),
        ("WHERE id = 5", Key),
        ("WHERE users.id = $1 AND active", Key),
        ("WHERE id IN (1, 2, 3)", Key),
        ("WHERE 'a'::uuid = uuid", Key),
        ("WHERE \"userId\" = -4", Key),
        ("WHERE user_id = 7", Key),
        ("WHERE CURRENT OF c", Key),
        ("WHERE id > 0", Other),
        ("WHERE id <> 5", Other),
        ("WHERE NOT id = 5", Other),
        ("WHERE id = 5 OR id = 6", Other),
        ("WHERE id IN (SELECT id FROM users)", Other),
        ("WHERE id = ANY(ARRAY[1])", Other),
        ("WHERE id = (SELECT max(id) FROM users)", Other),
        ("WHERE id OPERATOR(public.=) 5", Other),
        ("WHERE tenant_id = 5", Other),
        ("WHERE active = true", Other),
        ("WHERE id = true", Other),
        ("WHERE id = 'x'::bool", Other),
        ("WHERE other.id = 5", Other),
    ] {
        let text = format!("DELETE FROM users {condition}");
        let statements = classify(&text);
        assert_eq!(statements[0].acts[0].rows, Some(kind), "{text}");
    }
    let joined = classify("DELETE FROM users u USING orders o WHERE o.id = 5");
    assert_eq!(joined[0].acts[0].rows, Some(Other));
    let joined = classify("DELETE FROM users u USING orders o WHERE id = 5");
    assert_eq!(joined[0].acts[0].rows, Some(Other));
    let joined = classify("DELETE FROM users u USING orders o WHERE u.id = 5");
    assert_eq!(joined[0].acts[0].rows, Some(Key));
    assert_eq!(
        class("UPDATE tenants SET name = 'x' WHERE tenant_id = 5"),
        Class::Write
    );
    assert_eq!(
        class("UPDATE users SET plan = 'free' WHERE plan IS NULL"),
        Class::Write
    );
    assert_eq!(
        class("UPDATE users SET plan = 'free', name = '' WHERE plan IS NULL"),
        Class::Destructive
    );
    assert_eq!(
        class("UPDATE users SET plan = 'free' WHERE plan IS NULL OR true"),
        Class::Destructive
    );
}

#[test]
fn explain_runs_nothing_unless_it_is_told_to() {
    assert!(!is_held("EXPLAIN DELETE FROM users"));
    assert!(!is_held("EXPLAIN (ANALYZE false) DELETE FROM users"));
    assert!(!is_held("EXPLAIN (ANALYZE off, VERBOSE) DELETE FROM users"));
    for text in [
        "EXPLAIN ANALYZE DELETE FROM users",
        "EXPLAIN (ANALYZE) DELETE FROM users",
        "EXPLAIN (ANALYZE 1) DELETE FROM users",
        "EXPLAIN (ANALYZE off, ANALYZE on) DELETE FROM users",
        "EXPLAIN (analyze \"true\") DELETE FROM users",
        "EXPLAIN SELECT evil()",
    ] {
        assert!(is_held(text), "{text}");
    }
}

#[test]
fn a_name_of_a_common_table_expression_hides_no_table() {
    assert!(!is_held(
        "WITH pg_authid AS (SELECT 1) SELECT * FROM pg_authid"
    ));
    assert!(is_held(
        "WITH pg_authid AS (SELECT 1) SELECT * FROM pg_catalog.pg_authid"
    ));
    assert!(is_held(
        "WITH x AS (WITH pg_authid AS (SELECT 1) SELECT 1) SELECT * FROM pg_authid"
    ));
    assert!(is_held(
        "WITH pg_authid AS (SELECT * FROM pg_authid) SELECT * FROM pg_authid"
    ));
    assert!(is_held(
        "SELECT (WITH pg_authid AS (SELECT 1) SELECT 1), rolpassword FROM pg_authid"
    ));
}

#[test]
fn prepared_statements_are_judged_when_prepared_and_when_executed() {
    assert!(is_held("PREPARE p AS DELETE FROM users"));
    assert!(!is_held("PREPARE p AS SELECT 1; EXECUTE p"));
    assert!(is_held("PREPARE p AS SELECT 1; DEALLOCATE p; EXECUTE p"));
    assert!(is_held("PREPARE p AS SELECT 1; DEALLOCATE ALL; EXECUTE p"));
    assert!(is_held("EXECUTE p"));
    assert!(is_held("PREPARE p AS SELECT $1; EXECUTE p(evil())"));
}

#[test]
fn bodies_are_read() {
    assert!(!is_held("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"));
    assert!(!is_held(
        "DO $$ DECLARE n int := 0; BEGIN FOR i IN 1..3 LOOP n := n + i; END LOOP; PERFORM now(); END $$"
    ));
    assert!(names("DO $$ BEGIN DELETE FROM users; END $$").contains(&"delete".to_owned()));
    for body in [
        "DELETE FROM users;",
        "PERFORM evil();",
        "EXECUTE 'DROP TABLE users';",
        "EXECUTE 'SELECT ' || x;",
        "FOR r IN EXECUTE q LOOP NULL; END LOOP;",
        "FOR r IN DELETE FROM users RETURNING * LOOP NULL; END LOOP;",
        "IF evil() THEN NULL; END IF;",
        "WHILE evil() LOOP NULL; END LOOP;",
        "x := evil();",
        "CALL evil();",
        "RAISE NOTICE '%', evil();",
        "ASSERT evil();",
        "CASE evil() WHEN 1 THEN NULL; ELSE NULL; END CASE;",
        "CASE 1 WHEN evil() THEN NULL; ELSE NULL; END CASE;",
        "BEGIN NULL; EXCEPTION WHEN OTHERS THEN TRUNCATE users; END;",
        "OPEN c FOR EXECUTE 'DELETE FROM users';",
        "OPEN c FOR SELECT evil();",
        "FOREACH x IN ARRAY evil() LOOP NULL; END LOOP;",
        "FOR i IN 1..evil() LOOP NULL; END LOOP;",
        "a[evil()] := 1;",
        "GET DIAGNOSTICS x = ROW_COUNT; DROP TABLE users;",
        "IF false THEN NULL; ELSIF evil() THEN NULL; ELSE NULL; END IF;",
        "EXIT WHEN evil();",
        "FETCH RELATIVE evil() FROM c INTO x;",
        "MOVE RELATIVE evil() FROM c;",
        "OPEN c FOR EXECUTE 'SELECT 1' USING evil();",
        "EXECUTE 'SELECT 1' USING evil();",
        "EXECUTE 'SELECT 1' INTO x USING evil();",
        "FOR r IN EXECUTE 'SELECT 1' USING evil() LOOP NULL; END LOOP;",
        "FOR i IN 1..2 BY evil() LOOP NULL; END LOOP;",
        "RAISE EXCEPTION USING MESSAGE = evil();",
        "ASSERT true, evil();",
        "FOR r IN k(evil()) LOOP NULL; END LOOP;",
        "OPEN k(evil());",
        "r := evil();",
        "r.x := evil();",
        "SELECT evil() INTO x;",
        "SELECT 1 INTO STRICT x FROM evil();",
        "INSERT INTO t VALUES (evil()) RETURNING a INTO x;",
        "<<l>> LOOP EXIT l WHEN evil(); END LOOP;",
        "DECLARE y int := evil(); BEGIN NULL; END;",
        "DECLARE y record := evil(); BEGIN NULL; END;",
        "execute(q);",
        "EXECUTE q;",
        "EXECUTE format('DROP TABLE %I', q);",
    ] {
        let text = format!(
            "DO $body$ DECLARE x int; r record; q text; a int[]; c refcursor; k CURSOR (n int) FOR SELECT n; BEGIN {body} END $body$"
        );
        assert!(is_held(&text), "{text}");
    }
    for declaration in [
        "x int := evil();",
        "r record := evil();",
        "r users := evil();",
        "r users%ROWTYPE := evil();",
        "\"R\" record DEFAULT evil();",
        "r/*c*/record/**/NOT NULL = evil();",
        "a int; r record := evil();",
        "U&\"r\" record := evil();",
        "c CURSOR FOR SELECT evil();",
        "c CURSOR (a int) FOR DELETE FROM users RETURNING *;",
        "k CONSTANT int NOT NULL DEFAULT evil();",
    ] {
        let text = format!("DO $body$ DECLARE {declaration} BEGIN NULL; END $body$");
        assert!(held_or_refused(&text), "{text}");
    }
    assert!(is_held("DO LANGUAGE plpython3u $$ import os $$"));
    assert!(is_held("DO $$ import os $$ LANGUAGE plperlu"));
}

#[test]
fn functions_are_judged_by_their_bodies_when_they_are_made() {
    let function = |body: &str, language: &str| {
        format!("CREATE FUNCTION f() RETURNS void LANGUAGE {language} AS $body$ {body} $body$")
    };
    assert!(!is_held(&function("SELECT 1", "sql")));
    assert!(!is_held(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$"
    ));
    let trigger = |body: &str| {
        format!("CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$")
    };
    assert!(!is_held(&trigger(
        "DECLARE r record; BEGIN IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; FOR r IN SELECT 1 LOOP NULL; END LOOP; NEW.a := TG_ARGV[0]; RETURN NEW; END;"
    )));
    assert!(!is_held(&trigger(
        "BEGIN INSERT INTO audit (id, what) VALUES (NEW.id, TG_TABLE_NAME); RETURN NULL; END -- done"
    )));
    assert!(is_held(&trigger(
        "BEGIN DELETE FROM users; RETURN NEW; END"
    )));
    assert!(is_held(&trigger("BEGIN NEW.a := evil(); RETURN NEW; END")));
    assert!(is_held(&trigger(
        "DECLARE r record := evil(); BEGIN RETURN NEW; END"
    )));
    assert!(is_held(&trigger("BEGIN EXECUTE NEW.sql; RETURN NEW; END")));
    assert!(is_held(&trigger(
        "BEGIN RETURN NEW; END $body0$; DROP TABLE users; $body0$"
    )));
    assert!(is_held(&function("DELETE FROM users", "sql")));
    assert!(is_held(&function(
        "BEGIN DELETE FROM users; END",
        "plpgsql"
    )));
    assert!(is_held(&function("x", "c")));
    assert!(is_held(&function("import os", "plpython3u")));
    assert!(is_held(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM users; SELECT 1; END"
    ));
    assert!(is_held("CREATE FUNCTION f() RETURNS int RETURN evil()"));
    assert!(is_held(
        "CREATE FUNCTION f(a int DEFAULT evil()) RETURNS int RETURN 1"
    ));
    assert!(is_held(
        "CREATE FUNCTION public.now() RETURNS timestamptz RETURN 'now'"
    ));
    assert!(is_held(
        "CREATE FUNCTION lower(int) RETURNS text LANGUAGE sql AS 'SELECT 1'"
    ));
    assert!(is_held(
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
    ));
}

#[test]
fn long_and_deep_texts_end_no_process() {
    let classifier = Classifier::start(1).unwrap();
    let texts = [
        format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT {}1", "- ".repeat(20_000)),
        format!("SELECT {}true", "NOT ".repeat(20_000)),
        format!("SELECT 1{}", "::int".repeat(20_000)),
        format!("SELECT a{}", "[1]".repeat(20_000)),
        format!(
            "{}SELECT 1{}",
            "SELECT (".repeat(10_000),
            ")".repeat(10_000)
        ),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(10_000)),
        format!("SELECT 1 FROM a{}", " JOIN a ON true".repeat(10_000)),
        format!(
            "SELECT {}1{}",
            "CASE WHEN true THEN ".repeat(10_000),
            " END".repeat(10_000)
        ),
        format!(
            "DO $$ {} {} $$",
            "BEGIN ".repeat(10_000),
            "END;".repeat(10_000)
        ),
        format!(
            "DO $$ BEGIN {} NULL; {} END $$",
            "IF true THEN ".repeat(10_000),
            "END IF;".repeat(10_000)
        ),
        format!("DO $$ BEGIN PERFORM 1{}; END $$", " + 1".repeat(20_000)),
        "(".repeat(1_000_000),
        "'".repeat(999_999),
        "$a$".repeat(100_000),
    ];
    for text in &texts {
        let _ = classifier.classify(Dialect::Postgres, text);
    }
    for depth in [100, 500, 1_000, 2_000, 3_000, 5_000, 9_000] {
        let _ = classifier.classify(
            Dialect::Postgres,
            &format!("SELECT 1{}", " + 1".repeat(depth)),
        );
    }
    assert!(classifier.classify(Dialect::Postgres, "SELECT 1").is_ok());
    // As long as people and programs write them.
    let chain = format!("SELECT 1{}", " + 1".repeat(200));
    assert!(classifier.classify(Dialect::Postgres, &chain).is_ok());
    let conditions = format!("SELECT 1 WHERE true{}", " AND 1 = 1".repeat(20_000));
    assert!(classifier.classify(Dialect::Postgres, &conditions).is_ok());
    let nested = format!("SELECT {}1{}", "(SELECT ".repeat(60), ")".repeat(60));
    assert!(classifier.classify(Dialect::Postgres, &nested).is_ok());
    assert_eq!(
        classifier.classify(Dialect::Postgres, &"x".repeat(crate::LONGEST_TEXT + 1)),
        Err(Unreadable::TooLong(crate::LONGEST_TEXT + 1))
    );
    assert_eq!(
        classifier.classify(Dialect::Postgres, "SELECT 1\0; x"),
        Err(Unreadable::Nul)
    );
}

#[test]
fn every_name_that_may_call_something_is_told_wherever_it_stands() {
    for text in [
        "SELECT f(1)",
        "SELECT s.f(1) FROM t",
        "EXPLAIN SELECT f(1)",
        "PREPARE p AS SELECT f(1)",
        "DECLARE c CURSOR FOR SELECT f(1)",
        "COPY (SELECT f(1)) TO STDOUT",
        "DO $$ BEGIN PERFORM f(1); END $$",
        "CREATE TABLE t (a int DEFAULT f(1))",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT f(1)'",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN f(1)",
        "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "INSERT INTO t VALUES (f(1)) ON CONFLICT DO NOTHING",
        "SELECT * FROM t, LATERAL f(t.a)",
        "CALL f(1)",
        "SELECT query_to_xml('SELECT f(1)', true, true, '')",
    ] {
        let statements = classify(text);
        let named = Called::Function("f".to_owned());
        let told = statements.iter().any(|one| one.calls.contains(&named));
        assert!(told, "{text}: {statements:?}");
    }
    let statements =
        classify("SELECT t.a, (b).c, d FROM t WHERE x OPERATOR(s.<<<) 1 AND lower(y) ~~ 'z'");
    let statement = &statements[0];
    for called in [
        Called::Attribute("a".to_owned()),
        Called::Attribute("c".to_owned()),
        Called::Operator("<<<".to_owned()),
        Called::Operator("~~".to_owned()),
        Called::Function("lower".to_owned()),
    ] {
        assert!(
            statement.calls.contains(&called),
            "{called:?}: {statement:?}"
        );
    }
    assert_eq!(statement.calls.len(), 5, "{statement:?}");
}
