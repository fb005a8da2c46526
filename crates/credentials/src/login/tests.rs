//! Logins against an endpoint that keeps state as real ones do: each refresh token counts once, and
//! one that comes a second time ends the login.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex as StdMutex;

use tagout_catalog::profile::profile;
use tagout_core::{CanonicalPath, CanonicalQuery, HttpBody, Method, Target, Transport};
use tagout_secrets::KnownSecrets;

use super::*;
use crate::slots::Outgoing;

#[derive(Default)]
struct Provider {
    state: StdMutex<Issued>,
}

#[derive(Default)]
struct Issued {
    count: u32,
    good: Option<String>,
    used: HashSet<String>,
    asked: Vec<String>,
    revoked: bool,
    lasts: u64,
}

impl Provider {
    /// Tokens that last so many seconds from now on.
    fn new(lasts: u64) -> Arc<Self> {
        let provider = Self::default();
        provider.state.lock().unwrap().lasts = lasts;
        Arc::new(provider)
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// A login as its file holds it.
    fn log_in(&self, path: &Path, expires: Timestamp) {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        state.revoked = false;
        let refresh = format!(
            "sk-ant-ort01-refresh-token-number-{:04}-of-many",
            state.count
        );
        state.good = Some(refresh.clone());
        let content = serde_json::json!({
            "claudeAiOauth": {
                "accessToken": access(state.count), "refreshToken": refresh,
                "expiresAt": expires.as_millis(), "scopes": ["user:inference", "user:profile"],
                "subscriptionType": "max",
            },
            "mcpOAuth": {"server": {"accessToken": "another-credential-of-the-file"}},
        });
        fs::write(path, content.to_string()).unwrap();
    }
}

fn access(number: u32) -> String {
    format!("sk-ant-oat01-access-token-number-{number:04}-of-many")
}

impl TokenEndpoint for Provider {
    fn post<'a>(
        &'a self,
        host: &'a HostName,
        path: &'a str,
        content_type: &'static str,
        content: Zeroizing<Vec<u8>>,
    ) -> EndpointAnswer<'a> {
        Box::pin(async move {
            assert_eq!(
                (host.as_str(), path),
                ("platform.claude.com", "/v1/oauth/token")
            );
            assert_eq!(content_type, "application/json");
            let asked: Json = serde_json::from_slice(&content).unwrap();
            assert_eq!(asked["grant_type"], "refresh_token");
            assert_eq!(asked["scope"], "user:inference user:profile");
            let token = asked["refresh_token"].as_str().unwrap().to_owned();
            // Others get their turn here, as they do while a network answers.
            tokio::task::yield_now().await;
            let mut state = self.state.lock().unwrap();
            state.asked.push(token.clone());
            if !state.used.insert(token.clone()) {
                state.revoked = true;
            }
            if state.revoked || state.good.as_ref() != Some(&token) {
                return Ok((400, br#"{"error":"invalid_grant"}"#.to_vec().into()));
            }
            state.count += 1;
            let next = format!(
                "sk-ant-ort01-refresh-token-number-{:04}-of-many",
                state.count
            );
            state.good = Some(next.clone());
            let answer = serde_json::json!({
                "access_token": access(state.count), "refresh_token": next,
                "expires_in": state.lasts, "token_type": "Bearer",
            });
            Ok((200, answer.to_string().into_bytes().into()))
        })
    }
}

struct Session {
    logins: Logins,
    broker: Arc<Broker>,
}

impl Session {
    fn start(folder: &Path, provider: &Arc<Provider>) -> Self {
        let path = folder.join("credentials.json");
        let claude = profile("claude").unwrap();
        let table = &claude.files[0].logins[0];
        let key = DecoyKey::derive(b"install", b"workspace");
        let document = Document::read(&path).unwrap();
        let (login, credentials) =
            Login::find(table, &claude.log_in, &path, &document, &key).unwrap();
        let broker = Arc::new(Broker::new(credentials, KnownSecrets::new([]), []));
        let endpoint = Arc::clone(provider) as Arc<dyn TokenEndpoint>;
        let logins = Logins::new(
            vec![login],
            Arc::clone(&broker),
            endpoint,
            folder.join("logins"),
        );
        Self { logins, broker }
    }

    fn decoy(&self, name: &str) -> String {
        let credentials = self.broker.credentials();
        let known = credentials.iter().find(|known| known.name == name).unwrap();
        known.decoy.as_str().to_owned()
    }

    /// What a request of the agent to its model is sent with.
    async fn send(&self) -> Result<String, Prepared> {
        let request = to("api.anthropic.com", "/v1/messages", String::new());
        let mut request = request;
        let decoy = self.decoy("Claude login");
        request
            .headers
            .push(("authorization".to_owned(), format!("Bearer {decoy}")));
        let examined = self.broker.examine(&request, true);
        assert_eq!(examined.faults, []);
        match self.logins.prepare(&request, &examined.uses).await {
            Prepared::Send => {}
            other => return Err(other),
        }
        let mut parts = Outgoing::new(&request.headers, &request.query);
        self.broker.attach(&mut parts, &examined.uses).unwrap();
        let sent = String::from_utf8(parts.headers[0].1.to_vec()).unwrap();
        Ok(sent.trim_start_matches("Bearer ").to_owned())
    }

    async fn ask(&self, content: Json) -> Prepared {
        let request = to(
            "platform.claude.com",
            "/v1/oauth/token",
            content.to_string(),
        );
        let examined = self.broker.examine(&request, false);
        assert_eq!(examined.faults, []);
        self.logins.prepare(&request, &examined.uses).await
    }

    async fn ask_for_refresh(&self) -> Prepared {
        let decoy = self.decoy("Claude login, refresh token");
        self.ask(serde_json::json!({
            "grant_type": "refresh_token", "refresh_token": decoy,
            "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
        }))
        .await
    }
}

fn to(host: &str, path: &str, content: String) -> HttpRequest {
    HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse(host).unwrap(),
            port: 443,
        },
        method: Method::parse("POST").unwrap(),
        path: CanonicalPath::parse(path).unwrap(),
        query: CanonicalQuery::default(),
        headers: vec![],
        body: HttpBody::Whole(content.into_bytes()),
    }
}

fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_millis(Timestamp::now().as_millis() - seconds * 1000)
}

fn in_an_hour() -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(3600))
}

fn file(folder: &Path) -> Json {
    serde_json::from_slice(&fs::read(folder.join("credentials.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn an_expired_token_is_refreshed_before_it_is_sent_and_stands_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), ago(60));
    let session = Session::start(folder.path(), &provider);
    assert_eq!(session.send().await.unwrap(), access(2));
    assert_eq!(session.send().await.unwrap(), access(2));
    assert_eq!(provider.asked(), 1);
    let file = file(folder.path());
    assert_eq!(file["claudeAiOauth"]["accessToken"], access(2));
    assert_eq!(file["claudeAiOauth"]["subscriptionType"], "max");
    assert_eq!(
        file["mcpOAuth"]["server"]["accessToken"],
        "another-credential-of-the-file"
    );
    assert!(file["claudeAiOauth"]["expiresAt"].as_u64().unwrap() > Timestamp::now().as_millis());
    // The next session has the rotated token.
    let next = Session::start(folder.path(), &provider);
    assert_eq!(next.send().await.unwrap(), access(2));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sessions_that_find_an_expired_token_refresh_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), ago(60));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let session = Arc::new(Session::start(folder.path(), &provider));
        for _ in 0..3 {
            let session = Arc::clone(&session);
            tasks.spawn(async move { session.send().await.unwrap() });
        }
    }
    while let Some(sent) = tasks.join_next().await {
        assert_eq!(sent.unwrap(), access(2));
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn another_sessions_refresh_is_noticed_and_voids_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), in_an_hour());
    let one = Session::start(folder.path(), &provider);
    let two = Session::start(folder.path(), &provider);
    assert!(matches!(one.ask_for_refresh().await, Prepared::Answer(_)));
    assert_eq!(two.send().await.unwrap(), access(2));
    assert_eq!(two.broker.credentials()[0].generation, 1);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn invariant_3_the_agents_own_refresh_is_answered_with_decoys() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), in_an_hour());
    let session = Session::start(folder.path(), &provider);
    let Prepared::Answer(answer) = session.ask_for_refresh().await else {
        panic!("an answer")
    };
    let text = String::from_utf8(answer).unwrap();
    assert!(!text.contains("-of-many"), "{text}");
    let answer: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["access_token"], session.decoy("Claude login"));
    assert_eq!(
        answer["refresh_token"],
        session.decoy("Claude login, refresh token")
    );
    assert!(answer["expires_in"].as_u64().unwrap() > 0);
    assert_eq!(session.send().await.unwrap(), access(2));
    // However often it asks.
    for _ in 0..20 {
        assert!(matches!(
            session.ask_for_refresh().await,
            Prepared::Answer(_)
        ));
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn invariant_4_nothing_else_is_asked_of_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), in_an_hour());
    let session = Session::start(folder.path(), &provider);
    let decoy = session.decoy("Claude login, refresh token");
    let client = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";
    for content in [
        serde_json::json!({"grant_type": "authorization_code", "code": "c", "client_id": client}),
        serde_json::json!({"grant_type": "token_exchange", "refresh_token": decoy, "client_id": client}),
        serde_json::json!({"grant_type": "refresh_token", "refresh_token": decoy, "client_id": "x"}),
        serde_json::json!({"nested": {"refresh_token": decoy}}),
        serde_json::json!({}),
    ] {
        let prepared = session.ask(content.clone()).await;
        assert!(
            matches!(prepared, Prepared::Refuse { .. }),
            "{content}: {prepared:?}"
        );
    }
    assert_eq!(provider.asked(), 0);
}

#[tokio::test]
async fn a_revoked_login_says_so_and_a_new_one_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials.json");
    let provider = Provider::new(3600);
    provider.log_in(&path, ago(60));
    let session = Session::start(folder.path(), &provider);
    provider.state.lock().unwrap().revoked = true;
    let Err(Prepared::Refuse {
        reason,
        how_to_proceed,
    }) = session.send().await
    else {
        panic!("refused")
    };
    assert!(reason.contains("counts no more"), "{reason}");
    assert!(how_to_proceed.contains("claude /login"), "{how_to_proceed}");

    provider.log_in(&path, in_an_hour());
    let request = to("api.anthropic.com", "/v1/messages", String::new());
    let uses = [CredentialUse {
        name: "Claude login".to_owned(),
        generation: 1,
        slot: "header authorization".to_owned(),
    }];
    assert_eq!(
        session.logins.prepare(&request, &uses).await,
        Prepared::Send
    );
    // A person logged in anew: it may be another account.
    assert_eq!(session.broker.credentials()[0].generation, 2);
    assert_eq!(session.send().await.unwrap(), access(2));

    fs::remove_file(&path).unwrap();
    let Err(Prepared::Refuse { reason, .. }) = session.send().await else {
        panic!("refused")
    };
    assert!(reason.contains("no longer in its file"), "{reason}");
}

#[tokio::test]
async fn a_token_that_a_server_no_longer_takes_is_refreshed_once() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(3600);
    provider.log_in(&folder.path().join("credentials.json"), in_an_hour());
    let session = Session::start(folder.path(), &provider);
    assert_eq!(session.send().await.unwrap(), access(1));
    let uses = [CredentialUse {
        name: "Claude login".to_owned(),
        generation: 1,
        slot: "header authorization".to_owned(),
    }];
    let sent = session.logins.sent_with(&uses);
    assert!(session.logins.unauthorized(&sent).await);
    assert_eq!(session.send().await.unwrap(), access(2));
    // One that was sent before comes back late: there is a newer token already.
    assert!(session.logins.unauthorized(&sent).await);
    assert_eq!(provider.asked(), 1);
    // A server that refuses everything does not have tokens made for ever.
    let sent = session.logins.sent_with(&uses);
    assert!(!session.logins.unauthorized(&sent).await);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_login_that_the_agent_outside_refreshed_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials.json");
    let provider = Provider::new(3600);
    provider.log_in(&path, ago(60));
    let session = Session::start(folder.path(), &provider);
    // Between the look and the endpoint's word.
    let outside = Session::start(folder.path(), &provider);
    outside.send().await.unwrap();
    fs::remove_dir_all(folder.path().join("logins")).unwrap();
    let request = to("api.anthropic.com", "/v1/messages", String::new());
    let uses = [CredentialUse {
        name: "Claude login".to_owned(),
        generation: 1,
        slot: "header authorization".to_owned(),
    }];
    assert_eq!(
        session.logins.prepare(&request, &uses).await,
        Prepared::Send
    );
    assert_eq!(provider.asked(), 1);
    assert_eq!(session.send().await.unwrap(), access(2));
}
