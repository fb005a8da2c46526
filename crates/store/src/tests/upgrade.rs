//! The store that the first slice left behind (`tests/fixtures/state-1`), migrated to a version that
//! these tests invent: whole, once, with a copy kept, whoever races and whenever somebody is killed.

use std::process::Command;

use super::*;
use crate::{backup, schema};

/// A migration that takes long enough to be killed in.
const INVENTED: &str = "
CREATE TABLE invented (number INTEGER PRIMARY KEY) STRICT;
WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted LIMIT 50000)
INSERT INTO invented SELECT number FROM counted;
ALTER TABLE sessions ADD COLUMN invented TEXT NOT NULL DEFAULT 'nothing';
";

/// Where the child of [`a_migration_that_is_killed_happened_or_did_not`] finds its store.
const STORE: &str = "TAGOUT_TEST_STORE";

/// A home with the first slice's store in it, as its killed supervisor left it.
fn first_slice() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/state-1/home");
    for name in ["store.sqlite", "store.sqlite-wal"] {
        fs::copy(fixture.join(name), home.path().join(name)).unwrap();
    }
    let path = home.path().join("store.sqlite");
    (home, path)
}

fn migrations(more: &[&'static str]) -> Vec<&'static str> {
    [schema::MIGRATIONS, more].concat()
}

fn migrate(path: &Path, more: &[&'static str]) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    schema::migrate(&mut connection, path, &migrations(more))?;
    Ok(connection)
}

fn count(connection: &Connection, table: &str) -> u32 {
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}

fn version(connection: &Connection) -> usize {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

/// Everything that the first slice wrote is there.
fn assert_whole(connection: &Connection) {
    let found = ["sessions", "holds", "approvals"].map(|table| count(connection, table));
    assert_eq!(found, [4, 5, 2]);
    let check: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// The copy is the whole store at its old version, and nobody else's to read.
fn assert_kept(path: &Path) {
    let kept = backup::place(path, 1);
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    let copy = Connection::open(&kept).unwrap();
    assert_eq!(version(&copy), 1);
    assert_whole(&copy);
}

#[test]
fn the_first_slices_store_opens_as_it_is() {
    let (home, path) = first_slice();
    let store = Store::open(home.path()).unwrap();
    assert_eq!(store.sessions().unwrap().len(), 4);
    assert_whole(&store.connection);
    assert_eq!(version(&store.connection), schema::version());
    assert_eq!(backup::place(&path, 1).exists(), schema::version() > 1);
}

#[test]
fn a_migration_keeps_a_copy_and_loses_nothing() {
    let (_home, path) = first_slice();
    // What a process that was killed while copying left there.
    fs::write(path.with_file_name("store.sqlite.v1.unfinished"), "half").unwrap();
    let connection = migrate(&path, &[INVENTED]).unwrap();
    assert_eq!(version(&connection), migrations(&[INVENTED]).len());
    assert_eq!(count(&connection, "invented"), 50_000);
    assert_whole(&connection);
    assert_kept(&path);
    assert!(!path.with_file_name("store.sqlite.v1.unfinished").exists());
    // The older one knows better than to touch it.
    let older = migrate(&path, &[]);
    assert!(matches!(older, Err(StoreError::Newer { .. })));
}

#[test]
fn a_session_under_the_older_tagout_goes_on() {
    let (home, path) = first_slice();
    let older = Store::open(home.path()).unwrap();
    migrate(&path, &[INVENTED]).unwrap();
    let world = World::new();
    older.insert_session(&world.session_record()).unwrap();
    let hold = NewHold {
        session: world.session.clone(),
        ..world.new_hold("later")
    };
    let hold = older.open_hold(&hold).unwrap().hold.id;
    approve(&older, &hold, "ada").unwrap();
    assert!(older.use_once(&hold).unwrap());
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let (_home, path) = first_slice();
    let failed = migrate(
        &path,
        &[INVENTED, "CREATE TABLE sessions (again TEXT) STRICT;"],
    );
    assert!(matches!(failed, Err(StoreError::Database(_))));
    let connection = Connection::open(&path).unwrap();
    assert_eq!(version(&connection), 1);
    assert_whole(&connection);
}

#[test]
fn without_room_for_a_copy_nothing_is_migrated() {
    let (_home, path) = first_slice();
    // A folder stands where the copy would.
    fs::create_dir(backup::place(&path, 1)).unwrap();
    let Err(error) = migrate(&path, &[INVENTED]) else {
        panic!("migrated without a copy");
    };
    assert!(matches!(error, StoreError::Backup { .. }), "{error}");
    assert!(error.to_string().contains("store.sqlite.v1"), "{error}");
    assert_eq!(version(&Connection::open(&path).unwrap()), 1);
}

#[test]
fn of_many_that_migrate_at_once_one_does() {
    let (_home, path) = first_slice();
    let barrier = Arc::new(Barrier::new(6));
    let racers: Vec<_> = (0..6)
        .map(|_| {
            let (path, barrier) = (path.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                let connection = migrate(&path, &[INVENTED]).unwrap();
                assert_eq!(count(&connection, "invented"), 50_000);
            })
        })
        .collect();
    for racer in racers {
        racer.join().unwrap();
    }
    assert_whole(&Connection::open(&path).unwrap());
    assert_kept(&path);
}

#[test]
fn a_migration_that_is_killed_happened_or_did_not() {
    // Milliseconds: before the copy, in it, in the migration, behind it.
    let instants = [0, 2, 4, 6, 8, 11, 14, 18, 23, 29, 37, 47, 60, 80, 110];
    for instant in instants {
        let (_home, path) = first_slice();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::upgrade::migrates_for_a_test_that_kills_it",
                "--ignored",
            ])
            .env(STORE, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // The instant is what is tested here, so this waits for nothing.
        thread::sleep(Duration::from_millis(instant));
        child.kill().unwrap();
        child.wait().unwrap();

        let found = Connection::open(&path).unwrap();
        assert_whole(&found);
        if version(&found) != 1 {
            assert_eq!(version(&found), migrations(&[INVENTED]).len());
            assert_eq!(count(&found, "invented"), 50_000, "after {instant} ms");
            assert_kept(&path);
        }
        drop(found);
        let connection = migrate(&path, &[INVENTED]).unwrap();
        assert_eq!(count(&connection, "invented"), 50_000);
        assert_whole(&connection);
        assert_kept(&path);
    }
}

#[test]
#[ignore = "a child of a_migration_that_is_killed_happened_or_did_not"]
fn migrates_for_a_test_that_kills_it() {
    if let Some(path) = std::env::var_os(STORE) {
        migrate(Path::new(&path), &[INVENTED]).unwrap();
    }
}
