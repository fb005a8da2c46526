//! Tools that change schemas: the everyday evolution of one asks nobody, and what resets it waits, whichever
//! tool says it and however it is told to ask nobody.

use std::path::{Path, PathBuf};

use tagout_tests::postgres::Postgres;
use tagout_tests::{Person, World};

const MANIFEST: &str = r#"
[task]
name = "shop"
environment = "development"

[workspace]
bulk = ["node_modules", ".venv"]

[[database]]
name = "app"
url = "env:DATABASE_URL"
"#;

/// Where `cargo xtask test` put the tools.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/databases");
    assert!(
        folder.join("node_modules/drizzle-kit").exists() && folder.join("site/django").exists(),
        "{} lacks tools; `cargo xtask test` installs them",
        folder.display()
    );
    folder
}

/// A world with one of the scripts of tests/clients, and what it needs.
fn world(script: &str) -> World {
    let world = World::new(Person::ordinary());
    world.manifest(MANIFEST);
    let inside = world.workspace();
    match script.ends_with(".py") {
        true => world.place_all(&tools().join("site"), &inside.join(".venv/site")),
        false => world.place_all(&tools().join("node_modules"), &inside.join("node_modules")),
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    world.place(&from, &inside.join(script));
    world
}

/// Runs lines in a session of their own, whatever becomes of each, and gives what was printed.
fn run(world: &World, server: &Postgres, lines: &[&str]) -> String {
    let line = lines.join(" 2>&1; ");
    let mut session = world.run_command(&["--hold-wait", "0"], &format!("{line} 2>&1; true"));
    session.env("DATABASE_URL", server.url("localhost"));
    world.start(&mut session).end().success().everything()
}

#[test]
fn djangos_migrations_ask_nobody_and_flush_waits() {
    let server = Postgres::start("SELECT 1");
    let world = world("orm_django.py");
    let migrate = "PYTHONPATH=.venv/site python3 orm_django.py migrate";
    let said = run(&world, &server, &[migrate, migrate]);
    assert!(said.contains("Django migrated 1"), "{said}");
    assert!(world.json(&["holds"]).is_empty(), "{said}");
    let flush = "PYTHONPATH=.venv/site python3 orm_django.py flush";
    let said = run(&world, &server, &[flush]);
    assert!(!said.contains("Django flushed"), "{said}");
    assert!(said.contains("Tagout held this: sql.truncate"), "{said}");
    assert_eq!(server.value("SELECT count(*) FROM shop_order"), "2");
}

#[test]
fn alembics_migrations_ask_nobody_and_taking_them_back_waits() {
    let server = Postgres::start("SELECT 1");
    let world = world("orm_alembic.py");
    let said = run(
        &world,
        &server,
        &["PYTHONPATH=.venv/site python3 orm_alembic.py upgrade"],
    );
    assert!(said.contains("Alembic did upgrade"), "{said}");
    assert!(world.json(&["holds"]).is_empty(), "{said}");
    let resets = [
        "PYTHONPATH=.venv/site python3 orm_alembic.py downgrade",
        "PYTHONPATH=.venv/site python3 orm_alembic.py init_db",
    ];
    let said = run(&world, &server, &resets);
    assert!(!said.contains("Alembic did"), "{said}");
    assert!(said.contains("Tagout held this: sql.drop_column"), "{said}");
    assert!(said.contains("Tagout held this: sql.drop_table"), "{said}");
    assert_eq!(server.value("SELECT count(weight) FROM parcels"), "1");
}

#[test]
fn drizzles_push_adds_without_asking_and_cannot_force_a_drop() {
    let server = Postgres::start("CREATE SCHEMA drizzled");
    let world = world("orm_drizzle.sh");
    let said = run(&world, &server, &["sh orm_drizzle.sh push"]);
    assert!(said.contains("Drizzle did push"), "{said}");
    assert!(world.json(&["holds"]).is_empty(), "{said}");
    server
        .outside("INSERT INTO drizzled.readers VALUES (1, 'ada')")
        .success();
    let said = run(&world, &server, &["sh orm_drizzle.sh reset"]);
    assert!(said.contains("Tagout held this"), "{said}");
    assert_eq!(server.value("SELECT count(*) FROM drizzled.readers"), "1");
}
