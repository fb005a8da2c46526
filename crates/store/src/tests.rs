//! The store on files that are new, newer, damaged, locked or full. [`World`] gives these tests and those
//! of holds and sessions a store whose clocks they move.

use std::os::unix::fs::chown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::json;
use tagout_core::{
    Action, AnyRequest, CanonicalPath, CanonicalQuery, Digest, Effect, Flag, Flags, HostName,
    HttpBody, HttpRequest, Method, Operation, OperationName, ResourceId, Scope, Target, Transport,
};
use tempfile::TempDir;

use super::*;

mod holds;
mod sessions;
mod upgrade;

const MINUTE: Duration = Duration::from_secs(60);

/// A store whose clocks the test moves: the wall clock and the one that nobody sets, in milliseconds.
struct World {
    home: TempDir,
    wall: Arc<AtomicU64>,
    elapsed: Arc<AtomicU64>,
    session: SessionId,
}

impl World {
    fn new() -> Self {
        let world = Self {
            home: tempfile::tempdir().unwrap(),
            wall: Arc::new(AtomicU64::new(1_776_988_800_000)),
            elapsed: Arc::default(),
            session: SessionId::random().unwrap(),
        };
        world
            .open()
            .insert_session(&world.session_record())
            .unwrap();
        world
    }

    /// The store as a process sees it that starts now.
    fn open(&self) -> Store {
        let (wall, elapsed) = (Arc::clone(&self.wall), Arc::clone(&self.elapsed));
        let start = elapsed.load(Ordering::SeqCst);
        Store::open_with(self.home.path(), |stored| {
            Clock::new(
                stored,
                Box::new(move || Timestamp::from_millis(wall.load(Ordering::SeqCst))),
                Box::new(move || Duration::from_millis(elapsed.load(Ordering::SeqCst) - start)),
            )
        })
        .unwrap()
    }

    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.elapsed.fetch_add(millis, Ordering::SeqCst);
    }

    fn set_wall_back(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.wall.fetch_sub(millis, Ordering::SeqCst);
    }

    fn session_record(&self) -> SessionRecord {
        SessionRecord {
            id: self.session.clone(),
            started: Timestamp::from_millis(self.wall.load(Ordering::SeqCst)),
            pid: 4711,
            pid_started: 815,
            command: vec!["bash".to_owned(), "-c".to_owned(), "true".to_owned()],
            workspace: "/home/ada/app".to_owned(),
            environment: "staging".to_owned(),
            task: Some("fix-login".to_owned()),
            policy_digest: Digest::of(b"policy"),
            user: "ada".to_owned(),
        }
    }

    fn new_hold(&self, digest: &str) -> NewHold {
        NewHold {
            session: self.session.clone(),
            digest: Digest::of(digest.as_bytes()),
            action: action(),
            environment: "staging".to_owned(),
            effect: Effect::Irreversible,
            flags: Flags::NONE.with(Flag::Billing),
            resources: vec![ResourceId::new("railway", "volume", "v-1").unwrap()],
            summary: "railway.volumeDelete of v-1".to_owned(),
            preview: vec!["2 backups live in it".to_owned()],
            shown: "operation railway.volumeDelete".to_owned(),
            approvers: 1,
            decide_within: 30 * MINUTE,
            use_within: 60 * MINUTE,
        }
    }

    fn hold(&self, digest: &str) -> HoldId {
        self.open()
            .open_hold(&self.new_hold(digest))
            .unwrap()
            .hold
            .id
    }

    fn state(&self, id: &HoldId) -> HoldState {
        self.open().hold(id).unwrap().state
    }
}

fn action() -> Action<AnyRequest> {
    let request = HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse("backboard.railway.com").unwrap(),
            port: 443,
        },
        method: Method::parse("POST").unwrap(),
        path: CanonicalPath::parse("/graphql/v2").unwrap(),
        query: CanonicalQuery::parse("").unwrap(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: HttpBody::Whole(
            b"{\"query\":\"mutation{volumeDelete(volumeId:\\\"v-1\\\")}\"}".to_vec(),
        ),
    };
    let operation = Operation {
        name: OperationName::parse("railway.volumeDelete").unwrap(),
        known: true,
        effect: Effect::Irreversible,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: vec![],
        unresolved: None,
        arguments: json!({"volumeId": "v-1"}),
    };
    Action::new(request, vec![operation], vec![], vec![], true).widen()
}

fn approve(store: &Store, id: &HoldId, who: &str) -> Result<HoldState, StoreError> {
    store.approve(id, who, &json!({"by": who}))
}

/// Runs `act` in as many threads at once, each with a store of its own; what they returned.
fn race<T: Send + 'static>(
    world: &World,
    threads: usize,
    act: impl Fn(usize, &Store) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(threads));
    let act = Arc::new(act);
    let racers: Vec<_> = (0..threads)
        .map(|number| {
            let store = world.open();
            let (barrier, act) = (Arc::clone(&barrier), Arc::clone(&act));
            thread::spawn(move || {
                barrier.wait();
                act(number, &store)
            })
        })
        .collect();
    racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .collect()
}

fn ending() -> Ending {
    Ending {
        exit_status: Some(0),
        reason: "finished".to_owned(),
    }
}

#[test]
fn the_home_becomes_private() {
    let parent = tempfile::tempdir().unwrap();
    let home = parent.path().join("deep").join("tagout");
    fs::create_dir_all(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(home.join("store.sqlite"), b"").unwrap();
    fs::set_permissions(home.join("store.sqlite"), fs::Permissions::from_mode(0o666)).unwrap();
    let store = Store::open(&home).unwrap();
    store.end_crashed().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&home), 0o700);
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        assert_eq!(mode(&home.join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_home_of_somebody_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let refused = if rustix::process::geteuid().is_root() {
        chown(home.path(), Some(65_534), None).unwrap();
        Store::open(home.path())
    } else {
        Store::open(Path::new("/usr"))
    };
    let Err(error) = refused else {
        panic!("opened");
    };
    assert!(matches!(error, StoreError::Folder { .. }), "{error}");
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store.sqlite");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", schema::version() + 1)
        .unwrap();
    let before = fs::read(&path).unwrap();
    let Err(error) = Store::open(home.path()) else {
        panic!("opened");
    };
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("newer tagout"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_store_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("store.sqlite"), [7; 8192]).unwrap();
    assert!(Store::open(home.path()).is_err());
}

#[test]
fn many_processes_may_come_first() {
    let home = tempfile::tempdir().unwrap();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (home, barrier) = (home.path().to_owned(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                Store::open(&home).unwrap().end_crashed().unwrap()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), []);
    }
}

#[test]
fn another_connections_change_shows_in_the_data_version() {
    let world = World::new();
    let (watcher, writer) = (world.open(), world.open());
    let before = watcher.data_version().unwrap();
    assert_eq!(watcher.data_version().unwrap(), before);
    writer.open_hold(&world.new_hold("a")).unwrap();
    assert_ne!(watcher.data_version().unwrap(), before);
}

#[test]
fn a_full_disk_is_an_error_and_uses_nothing() {
    let world = World::new();
    let id = world.hold("a");
    approve(&world.open(), &id, "ada").unwrap();
    let store = world.open();
    let pages: u32 = store
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    // Answers with the limit that is now in force.
    let limit: u32 = store
        .connection
        .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(limit, pages);
    let large = NewHold {
        shown: "x".repeat(1 << 20),
        ..world.new_hold("b")
    };
    assert!(matches!(
        store.open_hold(&large),
        Err(StoreError::Database(_))
    ));
    assert_eq!(world.open().holds(None, &[]).unwrap().len(), 1);
    assert_eq!(world.state(&id), HoldState::Approved);
}

#[test]
fn a_store_that_stays_locked_is_an_error() {
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    approve(&store, &id, "ada").unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    let other = world.open();
    let lock = Transaction::new_unchecked(&other.connection, TransactionBehavior::Immediate);
    assert!(matches!(store.use_once(&id), Err(StoreError::Database(_))));
    drop(lock);
    assert!(store.use_once(&id).unwrap());
}
