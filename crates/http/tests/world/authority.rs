//! A real authority over a real store and ledger, for a task with one credential, one host that is
//! read and one that is passed through.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tagout_authority::approval::{Approval, Statement};
use tagout_authority::approver::EnrolledKeys;
use tagout_authority::{Answer, Ask, Authority, Setup};
use tagout_catalog::{Query, SlotPlace};
use tagout_core::{HoldId, HostPattern, SessionId, Target};
use tagout_credentials::{Broker, Credential, Decoy, Secret};
use tagout_ledger::{Entries, InstallKey, Ledger};
use tagout_policy::{Manifest, Policy};
use tagout_secrets::KnownSecrets;
use tagout_store::{HoldState, SessionRecord, Store};
use tokio::sync::watch;
use tokio::time::timeout;

/// The value of the task's credential.
pub(crate) const SECRET: &str = "real-0123456789-abcdefghij";
/// What the sandbox sees instead.
pub(crate) const DECOY: &str = "fake-9876543210-jihgfedcba";

/// The same of the credential for the host with a pack.
pub(crate) const TOKEN: &str = "11112222-3333-4444-8555-666677778888";
pub(crate) const TOKEN_DECOY: &str = "99990000-aaaa-4bbb-8ccc-ddddeeeeffff";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const TASK: &str = r#"
[task]
name = "gate"
environment = "staging"
"#;

const CREDENTIAL: &str = r#"
[[credential]]
name = "example"
provider = "http"
hosts = ["api.example.com"]
slot = "header:authorization"
source = "env:EXAMPLE_TOKEN"
expose = "EXAMPLE_TOKEN"
operations = ["read", "write", "DELETE"]

[[credential]]
name = "railway"
provider = "railway"
source = "env:RAILWAY_API_TOKEN"
expose = "RAILWAY_API_TOKEN"
"#;

const HOSTS: &str = r#"
[[host]]
name = "api.example.com"
ports = [443, 80, 8443]
methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT"]
paths = ["/**"]

[[host]]
name = "opaque.example.com"
inspect = false
"#;

pub(crate) struct Judged {
    pub(crate) authority: Authority,
    ledger: Arc<Ledger>,
    store: Arc<Mutex<Store>>,
    answered: watch::Sender<u64>,
}

/// No provider is asked anything here: hosts without a pack have no resources.
struct NoProvider;

impl Ask for NoProvider {
    fn ask<'a>(&'a self, _: &'a Target, _: &'a str, _: &'a Query) -> Answer<'a> {
        Box::pin(async { Err("there is no provider".to_owned()) })
    }
}

impl Judged {
    /// `hold_wait`: how long a held request stays open. Without a credential, the same host is a plain
    /// one, whose answers need no cleaning.
    pub(crate) async fn new(home: &Path, hold_wait: Duration, credentialed: bool) -> Self {
        let manifest = if credentialed {
            format!("{TASK}{CREDENTIAL}{HOSTS}")
        } else {
            format!("{TASK}{HOSTS}")
        };
        let session = SessionId::random().unwrap();
        let install = InstallKey::load_or_create(home).unwrap();
        let about = serde_json::json!({"command": ["true"]});
        let ledger = Ledger::create(home, &session, &install, about, |_| ()).unwrap();
        let ledger = Arc::new(ledger);
        let store = Store::open(home).unwrap();
        let policy = Policy::load(None).unwrap();
        store
            .insert_session(&SessionRecord {
                id: session.clone(),
                started: store.now().unwrap(),
                pid: std::process::id(),
                pid_started: 0,
                command: vec!["true".to_owned()],
                workspace: "/".to_owned(),
                environment: "staging".to_owned(),
                task: None,
                policy_digest: policy.digest(),
                user: "tester".to_owned(),
            })
            .unwrap();
        let store = Arc::new(Mutex::new(store));
        let (answered, changes) = watch::channel(0);
        let credential = Credential {
            name: "example".to_owned(),
            provider: "http".to_owned(),
            hosts: vec![HostPattern::parse(super::HOST).unwrap()],
            slots: vec![SlotPlace::Header {
                name: "authorization".to_owned(),
                scheme: None,
            }],
            secret: Secret::new(SECRET.as_bytes().to_vec()),
            decoy: Decoy::new(DECOY),
            generation: 1,
            repository: None,
        };
        let credentials = if credentialed {
            let pack = tagout_catalog::pack("railway").unwrap();
            let railway = Credential {
                name: "railway".to_owned(),
                provider: "railway".to_owned(),
                hosts: pack.hosts().to_vec(),
                slots: pack.slots().to_vec(),
                secret: Secret::new(TOKEN.as_bytes().to_vec()),
                decoy: Decoy::new(TOKEN_DECOY),
                generation: 1,
                repository: None,
            };
            vec![credential, railway]
        } else {
            vec![]
        };
        let broker = Broker::new(credentials, KnownSecrets::new([]), []);
        let authority = Authority::new(Setup {
            session,
            task: Arc::new(
                Manifest::parse(&manifest, "tagout.toml")
                    .unwrap()
                    .into_task(),
            ),
            policy,
            store: Arc::clone(&store),
            ledger: Arc::clone(&ledger),
            broker: Arc::new(broker),
            ask: Arc::new(NoProvider),
            enrolled: EnrolledKeys::default(),
            hold_wait,
            answered: changes,
        });
        Self {
            authority,
            ledger,
            store,
            answered,
        }
    }

    /// The ledger's durable entries so far, each with its kind and its own fields.
    pub(crate) fn entries(&self) -> Vec<(String, serde_json::Value)> {
        Entries::open(self.ledger.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap().to_json();
                (entry["kind"].as_str().unwrap().to_owned(), entry)
            })
            .collect()
    }

    /// Ends the ledger, as a full disk or a closed session would.
    pub(crate) async fn close_ledger(&self) {
        self.ledger.finish(serde_json::Value::Null).await.unwrap();
    }

    /// The entries of one kind, once there are at least `count` of them.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) -> Vec<serde_json::Value> {
        let search = async {
            loop {
                let found: Vec<_> = self
                    .entries()
                    .into_iter()
                    .filter(|(other, _)| other == kind)
                    .map(|(_, fields)| fields)
                    .collect();
                if found.len() >= count {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, search)
            .await
            .expect("entries of that kind")
    }

    /// Says yes to the one hold that waits, as the same user does while nobody is enrolled.
    pub(crate) fn approve(&self, id: &HoldId) {
        let store = self.store.lock().unwrap();
        let hold = store.hold(id).unwrap();
        let approval = Approval::unauthenticated(Statement::about(&hold));
        let record = serde_json::to_value(&approval).unwrap();
        store.approve(id, &approval.store_key(), &record).unwrap();
        drop(store);
        self.answered.send_modify(|count| *count += 1);
    }

    /// Says no to a hold.
    pub(crate) fn deny(&self, id: &HoldId) {
        self.store.lock().unwrap().deny(id, "ada", None).unwrap();
        self.answered.send_modify(|count| *count += 1);
    }

    /// The holds that wait at this moment, oldest first.
    pub(crate) fn waiting(&self) -> Vec<HoldId> {
        let store = self.store.lock().unwrap();
        let holds = store.holds(None, &[HoldState::Pending]).unwrap();
        holds.into_iter().map(|hold| hold.id).collect()
    }

    /// The one hold that waits, once there is one.
    pub(crate) async fn pending(&self) -> HoldId {
        let search = async {
            loop {
                let holds = {
                    let store = self.store.lock().unwrap();
                    store.holds(None, &[HoldState::Pending]).unwrap()
                };
                if let Some(hold) = holds.first() {
                    return hold.id.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, search).await.expect("a hold that waits")
    }
}
