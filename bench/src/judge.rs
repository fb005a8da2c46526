//! What judging one action takes: recognising a GraphQL mutation, deciding on it with its environment
//! at hand, and recording the verdict. With a hundred and a thousand policies, of which a question
//! meets those for its own action.
//!
//! The provider is the real look-alike, asked once over its real protocol; the state lies in memory, so
//! that a sync costs nothing and what is left is work.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tagout_authority::approver::EnrolledKeys;
use tagout_authority::{Answer, Ask, Authority, Outcome, Setup};
use tagout_catalog::{Query, recognise};
use tagout_core::{
    Action, CanonicalPath, CanonicalQuery, HostName, HttpBody, HttpRequest, Method, SessionId,
    Target, Timestamp, Transport,
};
use tagout_credentials::{Broker, Credential, Decoy, Secret};
use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};
use tagout_ledger::{InstallKey, Ledger};
use tagout_policy::{Manifest, Policy};
use tagout_secrets::KnownSecrets;
use tagout_store::{SessionRecord, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{median, processor_time};

const HOST: &str = "backboard.railway.app";
/// A host without a pack.
const PLAIN: &str = "api.example.com";
const DECOY: &str = "00000000-1111-4222-8333-444444444444";
/// Of each figure.
const TURNS: u32 = 400;
const ROUNDS: usize = 5;

/// The actions that policies are constrained to, in turn: a question meets a fifth of them.
const ACTIONS: &[&str] = &["read", "write", "destructive", "irreversible", "connect"];

pub(crate) fn measure(_: &Subject) -> Result<Section> {
    let machine = machine();
    let demo = Demo::new();
    let fake = FakeRailway::start(Options {
        world: demo.world.clone(),
        ..Options::default()
    })
    .map_err(|error| anyhow!("the provider: {error}"))?;
    let fake = Arc::new(fake);
    let request = request(&demo)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut rows = vec![recognition(&request)?];
        let mut anchor = f64::NAN;
        for policies in [0, 100, 1_000] {
            let court = Court::new(&fake, &demo, policies)?;
            for (what, fresh) in [("the mutation, again and again", false), ("a GET of a new path each time", true)] {
                let (wall, processor) = court.judge_all(&request, fresh).await?;
                anchor = if anchor.is_nan() { processor } else { anchor };
                rows.push(vec![
                    format!("judged and recorded, {policies} policies of the task: {what}"),
                    format!("{wall:.0} µs"),
                    format!("{processor:.0} µs"),
                    format!("{:.2}×", processor / anchor),
                ]);
            }
        }
        Ok(Section {
            title: "Judging",
            about: format!(
                "One GraphQL mutation with five arguments in a granted environment, {TURNS} times in \
                 each of {ROUNDS} rounds on {machine}. Judged and recorded: catalog, Tagout's own 20 \
                 rules and the task's, digest, permit, the entries of verdict and outcome with hash, \
                 signature and write; without the wait for a disk. The task's policies are constrained \
                 to the five actions in turn. A read or write that was allowed before is not evaluated \
                 again, so a plain GET of another path each time shows what evaluating takes."
            ),
            columns: vec!["what", "wall", "processor", "over no policies"],
            rows,
        })
    })
}

fn recognition(request: &HttpRequest) -> Result<Vec<String>> {
    let mut walls = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TURNS {
            let meaning = recognise(std::hint::black_box(request));
            ensure!(meaning.is_ok(), "the mutation is recognised");
        }
        walls.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS));
    }
    let wall = median(walls);
    Ok(vec![
        "recognised: a GraphQL mutation by the provider's schema".to_owned(),
        format!("{wall:.0} µs"),
        "—".to_owned(),
        "—".to_owned(),
    ])
}

fn request(demo: &Demo) -> Result<HttpRequest> {
    let body = json!({
        "query": "mutation($input: VariableUpsertInput!) { variableUpsert(input: $input) }",
        "variables": {"input": {
            "projectId": demo.project,
            "environmentId": demo.staging,
            "serviceId": demo.api,
            "name": "LOG_LEVEL",
            "value": "debug",
        }},
    });
    Ok(HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse(HOST)?,
            port: 443,
        },
        method: Method::parse("POST")?,
        path: CanonicalPath::parse("/graphql/v2")?,
        query: CanonicalQuery::default(),
        headers: vec![
            ("authorization".to_owned(), format!("Bearer {DECOY}")),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), "tagout-bench".to_owned()),
        ],
        body: HttpBody::Whole(body.to_string().into_bytes()),
    })
}

/// A read that nobody has asked for before.
fn plain(round: usize, turn: u32) -> Result<HttpRequest> {
    Ok(HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse(PLAIN)?,
            port: 443,
        },
        method: Method::parse("GET")?,
        path: CanonicalPath::parse(&format!("/v1/items/{round}/{turn}"))?,
        query: CanonicalQuery::default(),
        headers: vec![("user-agent".to_owned(), "tagout-bench".to_owned())],
        body: HttpBody::Empty,
    })
}

/// An authority over real parts.
struct Court {
    authority: Authority,
    broker: Arc<Broker>,
    _answered: watch::Sender<u64>,
    _home: tempfile::TempDir,
}

impl Court {
    fn new(fake: &Arc<RunningFake>, demo: &Demo, policies: usize) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("tagout-bench-")
            .tempdir_in("/dev/shm")?;
        let session = SessionId::random().map_err(|error| anyhow!("an id: {error}"))?;
        let policy = Policy::load(Some(&policy_text(policies)))
            .map_err(|errors| anyhow!("the policies: {errors:?}"))?;
        let store = Store::open(home.path())?;
        store.insert_session(&SessionRecord {
            id: session.clone(),
            started: Timestamp::now(),
            pid: std::process::id(),
            pid_started: 0,
            command: vec!["bench".to_owned()],
            workspace: "/".to_owned(),
            environment: "staging".to_owned(),
            task: None,
            policy_digest: policy.digest(),
            user: "bench".to_owned(),
        })?;
        let install = InstallKey::load_or_create(home.path())?;
        let ledger = Ledger::create(home.path(), &session, &install, json!({}), |_| ())?;
        let manifest = format!(
            "[task]\nname = \"bench\"\nenvironment = \"staging\"\n\n\
             [[environment]]\nname = \"staging\"\nresources = [\"railway:environment/{}\"]\n\n\
             [[host]]\nname = \"{PLAIN}\"\n\n\
             [[credential]]\nname = \"railway\"\nprovider = \"railway\"\nsource = \"env:RAILWAY_API_TOKEN\"\n\
             expose = \"RAILWAY_API_TOKEN\"\noperations = [\"read\", \"write\", \"variableUpsert\"]\n\
             environments = [\"staging\"]\n",
            demo.staging
        );
        let task = Manifest::parse(&manifest, "tagout.toml")
            .map_err(|errors| anyhow!("the manifest: {errors:?}"))?
            .into_task();
        let secret = Secret::new(demo.account_token.clone().into_bytes());
        let credential = Credential::bind(
            "railway",
            "railway",
            &[],
            None,
            (secret, Decoy::new(DECOY)),
            1,
        )
        .map_err(|error| anyhow!("{error}"))?;
        let broker = Arc::new(Broker::new(vec![credential], KnownSecrets::new([]), []));
        let (answered, changes) = watch::channel(0);
        let authority = Authority::new(Setup {
            session,
            task: Arc::new(task),
            policy,
            store: Arc::new(Mutex::new(store)),
            ledger: Arc::new(ledger),
            broker: Arc::clone(&broker),
            ask: Arc::new(Provider {
                fake: Arc::clone(fake),
                token: demo.account_token.clone(),
            }),
            enrolled: EnrolledKeys::default(),
            hold_wait: Duration::ZERO,
            answered: changes,
        });
        Ok(Self {
            authority,
            broker,
            _answered: answered,
            _home: home,
        })
    }

    /// Wall and processor time of one action, in µs.
    async fn judge_all(&self, request: &HttpRequest, fresh: bool) -> Result<(f64, f64)> {
        // The first asks the provider.
        self.judge(request).await?;
        let (mut walls, mut processors) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let before = processor_time(std::process::id())?;
            let start = Instant::now();
            for turn in 0..TURNS {
                match fresh {
                    false => self.judge(request).await?,
                    true => self.judge(&plain(round, turn)?).await?,
                }
            }
            walls.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS));
            let used = processor_time(std::process::id())?.saturating_sub(before);
            processors.push(used.as_secs_f64() * 1e6 / f64::from(TURNS));
        }
        Ok((median(walls), median(processors)))
    }

    /// As the HTTP gate does it, without the network.
    async fn judge(&self, request: &HttpRequest) -> Result<()> {
        let mut request = request.clone();
        let examined = self.broker.examine(&request, false);
        ensure!(examined.faults.is_empty(), "{:?}", examined.faults);
        let meaning = recognise(&request).map_err(|_| anyhow!("the mutation is recognised"))?;
        if let Some(body) = meaning.body {
            request.body = HttpBody::Whole(body.bytes);
        }
        let action = Action::new(request, meaning.operations, examined.uses, vec![], true);
        let permit = self.authority.judge(action).await.map_err(|refusal| {
            anyhow!(
                "refused, and what is measured is an allowed one: {}",
                refusal.reason
            )
        })?;
        permit.outcome(Outcome::default());
        Ok(())
    }
}

/// Policies that are looked at and do not apply.
fn policy_text(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let action = ACTIONS[number % ACTIONS.len()];
        let condition = match action {
            "connect" => format!("context.host == \"never-{number}.example.com\""),
            _ => format!(
                "context.operation == \"railway.never{number}\" && context.resources.contains(\"railway:volume/{number}\")"
            ),
        };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "@id(\"bench-{number}\")\nforbid (principal, action == Action::\"{action}\", resource)\nwhen {{ {condition} }};\n"
        );
    }
    text
}

/// Asks the look-alike over TLS.
struct Provider {
    fake: Arc<RunningFake>,
    token: String,
}

impl Ask for Provider {
    fn ask<'a>(&'a self, _: &'a Target, _: &'a str, query: &'a Query) -> Answer<'a> {
        Box::pin(async move { self.send(query).await.map_err(|error| error.to_string()) })
    }
}

impl Provider {
    async fn send(&self, query: &Query) -> Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.fake.ca_pem.as_bytes())?)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(self.fake.address).await?;
        let mut stream = TlsConnector::from(Arc::new(tls))
            .connect(ServerName::try_from(HOST)?, stream)
            .await?;
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            query.method.as_str(),
            query.path.as_str(),
            self.token,
            query.content_type,
            query.body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&query.body).await?;
        let mut answer = Vec::new();
        // A server that ends without TLS's own goodbye has said everything.
        let _ = stream.read_to_end(&mut answer).await;
        let end = answer
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .context("an answer has a head")?;
        Ok(answer.split_off(end + 4))
    }
}
