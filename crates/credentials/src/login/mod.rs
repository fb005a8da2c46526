//! Logins of the host's agents, kept fresh outside. The agent inside has decoys of the tokens; here the
//! tokens are refreshed before they expire, when a server no longer takes them, and when the agent asks
//! its token endpoint for it, which it never reaches.
//!
//! What must stay true: one process at a time refreshes a login (a lock in `$TAGOUT_HOME`), after it
//! has looked whether another has, since a refresh token that is used twice ends the login; what an
//! endpoint granted is in the host's file before it is used; no token is in an answer to the agent.

mod document;
mod lineage;
mod tokens;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tagout_catalog::profile::{Encoding, Endpoint, OAuthLogin};
use tagout_catalog::{SlotPlace, fold_field_name};
use tagout_core::json::{self, Json};
use tagout_core::{
    CredentialUse, Digest, HostName, HostPattern, HttpRequest, Timestamp, form_pairs,
};
use tagout_secrets::DecoyKey;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

pub use self::document::Document;
use self::document::{Stamp, set};
use self::lineage::Lineage;
pub use self::tokens::{FAR, decoy_of_token};
use self::tokens::{LARGEST_ANSWER, TokenAnswer, Tokens};
use crate::broker::{Broker, Change};
use crate::credential::Credential;
use crate::value::Secret;

/// A token is refreshed when it has less than this left.
const MARGIN: Duration = Duration::from_secs(60);
/// After an attempt nobody tries again for so long, however often the agent asks.
const PAUSE: Duration = Duration::from_secs(10);
/// What the agent is told a token lasts when it is kept fresh for it, in seconds.
const LASTS: u64 = 30 * 24 * 60 * 60;

/// The answer of an endpoint: status and content.
pub type EndpointAnswer<'a> =
    Pin<Box<dyn Future<Output = Result<(u16, Zeroizing<Vec<u8>>), String>> + Send + 'a>>;

/// Reaches token endpoints, under the session's address rules and on its record.
pub trait TokenEndpoint: Send + Sync {
    /// Posts `content` to a path of a host over TLS. The error is fit to be shown.
    fn post<'a>(
        &'a self,
        host: &'a HostName,
        path: &'a str,
        content_type: &'static str,
        content: Zeroizing<Vec<u8>>,
    ) -> EndpointAnswer<'a>;
}

/// What becomes of a permitted request.
#[derive(Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It is sent.
    Send,
    /// It asked for a refresh; this JSON is the answer.
    Answer(Vec<u8>),
    /// Nothing is sent.
    Refuse {
        /// Why.
        reason: String,
        /// What to do.
        how_to_proceed: String,
    },
}

/// Which values of logins a request was sent with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentWith(Vec<(usize, u64)>);

/// The logins of a session.
#[derive(Default)]
pub struct Logins {
    logins: Vec<Login>,
    with: Option<With>,
}

struct With {
    broker: Arc<Broker>,
    endpoint: Arc<dyn TokenEndpoint>,
    /// Where locks and lineages lie.
    folder: PathBuf,
}

/// One login: the tokens of one file.
pub struct Login {
    table: &'static OAuthLogin,
    /// How a person logs in, for messages.
    log_in: &'static str,
    path: PathBuf,
    names: Names,
    /// Counts the tokens that were had.
    version: AtomicU64,
    state: Mutex<State>,
}

/// The names of a login's credentials.
struct Names {
    access: String,
    refresh: String,
    id: String,
}

struct State {
    tokens: Tokens,
    stamp: Stamp,
    tried: Option<Tried>,
    /// The version whose expiry the agent was told last.
    told: u64,
    /// What the agent said of itself when it asked: with it Tagout can ask alone the next time.
    learned: Vec<(String, String)>,
}

/// An attempt, and why it failed.
struct Tried {
    at: std::time::Instant,
    failure: Option<Failure>,
}

/// Why tokens are not fresh.
#[derive(Clone, Debug, thiserror::Error)]
enum Failure {
    #[error("the login {0} counts no more: its provider refused to refresh it")]
    Revoked(String),
    #[error("the login {0} is no longer in its file")]
    Gone(String),
    #[error("the login {name} could not be refreshed: {why}")]
    Failed { name: String, why: String },
    #[error("the login {0} has expired, and only its agent can ask for a new token")]
    AgentsTurn(String),
}

/// Why somebody wants a refresh.
enum Wish {
    /// The access token of this version no longer does, by the clock or by a server's word.
    Outworn(u64),
    /// The agent asked, with these fields of its own.
    Asked(Vec<(String, String)>),
}

impl Login {
    /// The login that `document`, the content of `path`, holds; `None` when it holds none. Gives what
    /// the broker has to know: the access token, bound to its hosts, the refresh token, bound to the
    /// endpoint, and the id token, bound to nothing.
    pub fn find(
        table: &'static OAuthLogin,
        log_in: &'static str,
        path: &Path,
        document: &Document,
        key: &DecoyKey,
    ) -> Option<(Self, Vec<Credential>)> {
        let tokens = Tokens::of(document, table)?;
        let name = &table.name;
        let names = Names {
            access: format!("{name} login"),
            refresh: format!("{name} login, refresh token"),
            id: format!("{name} login, id token"),
        };
        let hosts = |hosts: &[String]| {
            let parsed = hosts
                .iter()
                .filter_map(|host| HostPattern::parse(host).ok());
            parsed.collect::<Vec<_>>()
        };
        let credential = |name: &str, secret: &Secret, hosts, slots| Credential {
            name: name.to_owned(),
            provider: "http".to_owned(),
            hosts,
            slots,
            decoy: decoy_of_token(secret, key),
            secret: secret.clone(),
            generation: 1,
            repository: None,
        };
        let mut credentials = vec![credential(
            &names.access,
            &tokens.access,
            hosts(&table.binding.hosts),
            table.binding.slots(),
        )];
        if let Some(refresh) = &tokens.refresh {
            let endpoint = table.endpoint.iter().map(|endpoint| endpoint.host.clone());
            let slot = SlotPlace::BodyField(fold_field_name("refresh_token"));
            let bound = hosts(&endpoint.collect::<Vec<_>>());
            credentials.push(credential(&names.refresh, refresh, bound, vec![slot]));
        }
        if let Some(id) = &tokens.id {
            credentials.push(credential(&names.id, id, Vec::new(), Vec::new()));
        }
        let login = Self {
            table,
            log_in,
            path: path.to_owned(),
            names,
            version: AtomicU64::new(1),
            state: Mutex::new(State {
                tokens,
                stamp: document.stamp(),
                tried: None,
                told: 1,
                learned: Vec::new(),
            }),
        };
        Some((login, credentials))
    }

    /// What a person calls it.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// Where its tokens are refreshed.
    pub fn endpoint(&self) -> Option<&'static Endpoint> {
        self.table.endpoint.as_ref()
    }

    /// Whether Tagout can refresh it without the agent.
    fn refreshes_alone(&self) -> bool {
        self.endpoint()
            .is_some_and(|endpoint| endpoint.client_secret_sha256.is_none())
    }

    /// Writes the fields of this login into what the agent sees of its file: decoys, and an expiry
    /// that has the agent ask for a refresh only where nobody else can.
    pub fn show(&self, document: &Document, credentials: &[Credential], inside: &mut Json) {
        let table = self.table;
        let decoy = |name: &str| {
            let known = credentials.iter().find(|known| known.name == *name)?;
            Some(Json::from(known.decoy.as_str()))
        };
        for (field, name) in [
            (Some(&table.access), &self.names.access),
            (Some(&table.refresh), &self.names.refresh),
            (table.id.as_ref(), &self.names.id),
        ] {
            if let (Some(field), Some(decoy)) = (field, decoy(name)) {
                set(inside, field, decoy);
            }
        }
        if let Some(expiry) = &table.expires {
            let shown = match (self.refreshes_alone(), expiry.unit) {
                (true, tagout_catalog::profile::Unit::Seconds) => Some(FAR.into()),
                (true, tagout_catalog::profile::Unit::Milliseconds) => Some((FAR * 1000).into()),
                (false, _) => document.field(&expiry.field).cloned(),
            };
            if let Some(shown) = shown {
                set(inside, &expiry.field, shown);
            }
        }
        if let Some(field) = &table.refreshed {
            set(inside, field, Timestamp::now().to_string().into());
        }
    }

    fn is_endpoint(&self, request: &HttpRequest) -> bool {
        self.endpoint().is_some_and(|endpoint| {
            request.target.host.as_str() == endpoint.host && request.path.as_str() == endpoint.path
        })
    }

    fn failed(&self, why: impl ToString) -> Failure {
        Failure::Failed {
            name: self.table.name.clone(),
            why: why.to_string(),
        }
    }
}

impl Logins {
    /// Keeps `logins` fresh. `broker` has their credentials; `folder` is where this user's processes
    /// lock them, and is made when it is not there.
    pub fn new(
        logins: Vec<Login>,
        broker: Arc<Broker>,
        endpoint: Arc<dyn TokenEndpoint>,
        folder: PathBuf,
    ) -> Self {
        Self {
            logins,
            with: Some(With {
                broker,
                endpoint,
                folder,
            }),
        }
    }

    /// What becomes of a permitted request that carries `uses`: tokens in it are made fresh before it
    /// is sent, and one that asks for a refresh is answered here.
    pub async fn prepare(&self, request: &HttpRequest, uses: &[CredentialUse]) -> Prepared {
        let Some(with) = &self.with else {
            return Prepared::Send;
        };
        for (number, login) in self.logins.iter().enumerate() {
            let carries = |name: &str| uses.iter().any(|used| used.name == *name);
            if login.is_endpoint(request) {
                // Another login of the same provider may be the one that is meant.
                if carries(&login.names.refresh) {
                    return self.answer(with, login, request).await;
                }
                let meant =
                    |other: &Login| other.is_endpoint(request) && carries(&other.names.refresh);
                if self.logins.iter().skip(number).any(meant) {
                    continue;
                }
                return Prepared::Refuse {
                    reason: format!("logging in to {} happens outside.", login.table.name),
                    how_to_proceed: format!("Ask your user to run `{}` outside.", login.log_in),
                };
            }
            if carries(&login.names.access)
                && let Err(failure) = login.freshen(with).await
            {
                return login.refuse(&failure);
            }
        }
        Prepared::Send
    }

    /// Which values a request with `uses` is about to be sent with.
    pub fn sent_with(&self, uses: &[CredentialUse]) -> SentWith {
        let used = self
            .logins
            .iter()
            .enumerate()
            .filter(|(_, login)| uses.iter().any(|used| used.name == login.names.access));
        SentWith(
            used.map(|(number, login)| (number, login.version.load(Ordering::Acquire)))
                .collect(),
        )
    }

    /// A server answered 401 to a request that was sent with those values. `true` when there are
    /// others now, so that the request is worth another attempt.
    pub async fn unauthorized(&self, sent: &SentWith) -> bool {
        let Some(with) = &self.with else {
            return false;
        };
        let mut renewed = false;
        for (number, version) in &sent.0 {
            if let Some(login) = self.logins.get(*number)
                && login.endpoint().is_some()
            {
                let had = login.renew(with, Wish::Outworn(*version)).await;
                renewed |= had.is_ok() && login.version.load(Ordering::Acquire) != *version;
            }
        }
        renewed
    }

    /// Answers the agent's own request for a refresh.
    async fn answer(&self, with: &With, login: &Login, request: &HttpRequest) -> Prepared {
        let asked = match login.fields_of(request) {
            Ok(fields) => fields,
            Err(reason) => {
                return Prepared::Refuse {
                    reason,
                    how_to_proceed: "Ask for a refresh as the agent's own program does.".to_owned(),
                };
            }
        };
        match login.renew(with, Wish::Asked(asked)).await {
            Ok(expires) => Prepared::Answer(login.answer(with, expires)),
            Err(failure) => login.refuse(&failure),
        }
    }
}

impl Login {
    fn refuse(&self, failure: &Failure) -> Prepared {
        let how_to_proceed = match failure {
            Failure::AgentsTurn(_) => "Refresh the token, then try again.".to_owned(),
            Failure::Failed { .. } => "Try again in a minute.".to_owned(),
            Failure::Revoked(_) | Failure::Gone(_) => {
                format!("Ask your user to run `{}` outside.", self.log_in)
            }
        };
        Prepared::Refuse {
            reason: format!("{failure}."),
            how_to_proceed,
        }
    }

    /// The fields of a request for a refresh that are the agent's to say.
    fn fields_of(&self, request: &HttpRequest) -> Result<Vec<(String, String)>, String> {
        let endpoint = self.endpoint().ok_or("it has no token endpoint")?;
        let content = request.body.bytes();
        let given: Vec<(String, String)> = if content.trim_ascii_start().starts_with(b"{") {
            let fields = json::parse(content).map_err(|error| error.to_string())?;
            let fields = fields.as_object().into_iter().flatten();
            fields
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        } else {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
            form_pairs(std::str::from_utf8(content).unwrap_or_default())
                .into_iter()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect()
        };
        let one = |wanted: &str| {
            let mut values = given.iter().filter(|(name, _)| name == wanted);
            match (values.next(), values.next()) {
                (Some((_, value)), None) => Some(value.as_str()),
                _ => None,
            }
        };
        if one("grant_type") != Some("refresh_token") || request.method.as_str() != "POST" {
            return Err(format!(
                "only a refresh of {} can be asked for inside; logging in happens outside",
                self.table.name
            ));
        }
        // Some clients authenticate without naming themselves in the content.
        if one("client_id").is_some_and(|id| id != endpoint.client_id) {
            return Err("it names another client than the agent that logged in".to_owned());
        }
        let mut fields = Vec::new();
        if let (Some(expected), Some(secret)) = (endpoint.client_secret(), one("client_secret"))
            && Digest::of(secret.as_bytes()) == expected
        {
            fields.push(("client_secret".to_owned(), secret.to_owned()));
        }
        Ok(fields)
    }

    /// The tokens for the agent, as an endpoint would answer (RFC 6749 §5.1).
    fn answer(&self, with: &With, expires: Option<Timestamp>) -> Vec<u8> {
        let credentials = with.broker.credentials();
        let mut answer = Json::Object(serde_json::Map::new());
        for (field, name) in [
            ("access_token", &self.names.access),
            ("refresh_token", &self.names.refresh),
            ("id_token", &self.names.id),
        ] {
            if let Some(known) = credentials.iter().find(|known| known.name == *name) {
                set(&mut answer, field, known.decoy.as_str().into());
            }
        }
        let left = expires.map(|expires| {
            let left = expires
                .as_millis()
                .saturating_sub(Timestamp::now().as_millis());
            left / 1000
        });
        let lasts = match (self.refreshes_alone(), left) {
            (false, Some(left)) => left,
            _ => LASTS,
        };
        set(&mut answer, "token_type", "Bearer".into());
        set(&mut answer, "expires_in", lasts.into());
        answer.to_string().into_bytes()
    }

    /// Sees to it that the access token can be sent.
    async fn freshen(&self, with: &With) -> Result<(), Failure> {
        let version = {
            let mut state = self.state.lock().await;
            self.look(with, &mut state)?;
            // Where nobody knows how to refresh it, its server is the one to say no.
            if !is_outworn(&state.tokens) || self.endpoint().is_none() {
                return Ok(());
            }
            self.version.load(Ordering::Acquire)
        };
        self.renew(with, Wish::Outworn(version)).await.map(drop)
    }

    /// Has the login refreshed, unless somebody has already. Gives when the token expires.
    async fn renew(&self, with: &With, wish: Wish) -> Result<Option<Timestamp>, Failure> {
        // Held throughout: who waits here finds the tokens that the one before them got.
        let mut state = self.state.lock().await;
        let lineage = self.locked(with).await?;
        self.look_closely(with, &mut state, &lineage)?;
        let fields = match wish {
            Wish::Outworn(version) => {
                let newer = self.version.load(Ordering::Acquire) != version;
                if newer && !is_outworn(&state.tokens) {
                    return Ok(state.tokens.expires);
                }
                if !self.refreshes_alone() && state.learned.is_empty() {
                    return Err(Failure::AgentsTurn(self.table.name.clone()));
                }
                state.learned.clone()
            }
            Wish::Asked(fields) => {
                let version = self.version.load(Ordering::Acquire);
                let is_news = std::mem::replace(&mut state.told, version) != version;
                state.learned.clone_from(&fields);
                if is_news && !is_outworn(&state.tokens) {
                    return Ok(state.tokens.expires);
                }
                fields
            }
        };
        if let Some(tried) = &state.tried
            && tried.at.elapsed() < PAUSE
        {
            return match &tried.failure {
                Some(failure) => Err(failure.clone()),
                None => Ok(state.tokens.expires),
            };
        }
        let refreshed = self.refresh(with, &mut state, &fields, lineage).await;
        state.tried = Some(Tried {
            at: std::time::Instant::now(),
            failure: refreshed.as_ref().err().cloned(),
        });
        state.told = self.version.load(Ordering::Acquire);
        refreshed.map(|()| state.tokens.expires)
    }

    /// Asks the endpoint. The lock is held: `lineage` has it.
    async fn refresh(
        &self,
        with: &With,
        state: &mut State,
        fields: &[(String, String)],
        mut lineage: Lineage,
    ) -> Result<(), Failure> {
        let endpoint = self
            .endpoint()
            .ok_or_else(|| self.failed("nobody knows where"))?;
        let refresh = state
            .tokens
            .refresh
            .clone()
            .ok_or_else(|| self.failed("its file holds no refresh token"))?;
        let host = HostName::parse(&endpoint.host).map_err(|error| self.failed(error))?;
        let (content_type, content) = self.request(endpoint, &refresh, fields);
        let (status, answer) = with
            .endpoint
            .post(&host, &endpoint.path, content_type, content)
            .await
            .map_err(|why| self.failed(why))?;
        if answer.len() > LARGEST_ANSWER {
            return Err(self.failed("its answer is too large"));
        }
        let now = Timestamp::now();
        match TokenAnswer::read(status, &answer, &state.tokens, now) {
            TokenAnswer::Granted(tokens) => {
                lineage.add(&tokens);
                // The grant is used up: what follows may fail, and the tokens count all the same.
                let written = self.write(&tokens, &state.tokens, now);
                if let Ok(Some(stamp)) = written {
                    state.stamp = stamp;
                }
                self.adopt(with, state, tokens, Change::Refreshed);
                written.map(drop).map_err(|why| {
                    self.failed(format!(
                        "the new token could not be written to its file: {why}"
                    ))
                })
            }
            // The agent outside may have been first.
            TokenAnswer::Revoked => {
                let before = state.tokens.clone();
                self.look_closely(with, state, &lineage)?;
                match state.tokens.are(&before) {
                    true => Err(Failure::Revoked(self.table.name.clone())),
                    false => Ok(()),
                }
            }
            TokenAnswer::Failed(why) => Err(self.failed(why)),
        }
    }

    /// A request for a refresh (RFC 6749 §6), as this endpoint wants it.
    fn request(
        &self,
        endpoint: &Endpoint,
        refresh: &Secret,
        further: &[(String, String)],
    ) -> (&'static str, Zeroizing<Vec<u8>>) {
        let refresh = Zeroizing::new(String::from_utf8_lossy(refresh.expose()).into_owned());
        let document = Document::read(&self.path).ok();
        let of_file = endpoint.fields.iter().filter_map(|(name, field)| {
            let value = match document.as_ref()?.field(field)? {
                Json::Array(items) => {
                    let words: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
                    words.join(" ")
                }
                value => value.as_str()?.to_owned(),
            };
            Some((name.as_str(), value))
        });
        let of_file: Vec<(&str, String)> = of_file.collect();
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
            ("client_id", &endpoint.client_id),
        ];
        let of_file = of_file.iter().map(|(name, value)| (*name, value.as_str()));
        fields.extend(of_file);
        fields.extend(
            further
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let mut content = Zeroizing::new(Vec::new());
        match endpoint.encoding {
            Encoding::Json => {
                let object: serde_json::Map<String, Json> = fields
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), Json::from(*value)))
                    .collect();
                content.extend(Json::Object(object).to_string().into_bytes());
                ("application/json", content)
            }
            Encoding::Form => {
                for (name, value) in fields {
                    if !content.is_empty() {
                        content.push(b'&');
                    }
                    content.extend(crate::slots::encoded(name.as_bytes()).into_bytes());
                    content.push(b'=');
                    content.extend(crate::slots::encoded(value.as_bytes()).into_bytes());
                }
                ("application/x-www-form-urlencoded", content)
            }
        }
    }

    /// Puts new tokens into the host's file as it is now, unless a person logged in anew meanwhile.
    fn write(
        &self,
        tokens: &Tokens,
        former: &Tokens,
        now: Timestamp,
    ) -> std::io::Result<Option<Stamp>> {
        let mut document = Document::read(&self.path)?;
        if Tokens::of(&document, self.table).is_none_or(|found| !found.are(former)) {
            return Ok(None);
        }
        tokens.write(&mut document, self.table, now);
        document.replace(&self.path)?;
        Ok(Some(document.stamp()))
    }

    /// Takes over what the host's file says, should it have changed.
    fn look(&self, with: &With, state: &mut State) -> Result<(), Failure> {
        match Stamp::of(&self.path) {
            Ok(stamp) if stamp == state.stamp => Ok(()),
            Ok(_) => {
                let lineage = Lineage::read(&with.folder, &self.path);
                self.look_closely(with, state, &lineage)
            }
            Err(_) => Err(Failure::Gone(self.table.name.clone())),
        }
    }

    /// As [`look`](Self::look), whatever the file's stamp says.
    fn look_closely(
        &self,
        with: &With,
        state: &mut State,
        lineage: &Lineage,
    ) -> Result<(), Failure> {
        let document = match Document::read(&self.path) {
            Ok(document) => document,
            // The agent outside may be writing it just now.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(()),
            Err(_) => return Err(Failure::Gone(self.table.name.clone())),
        };
        let Some(found) = Tokens::of(&document, self.table) else {
            return Err(Failure::Gone(self.table.name.clone()));
        };
        state.stamp = document.stamp();
        if found.are(&state.tokens) {
            return Ok(());
        }
        let same_account = found.account.is_some() && found.account == state.tokens.account;
        let change = match same_account || lineage.has(&found) {
            true => Change::Refreshed,
            false => Change::Replaced,
        };
        state.tried = None;
        self.adopt(with, state, found, change);
        Ok(())
    }

    /// The tokens count from now on.
    fn adopt(&self, with: &With, state: &mut State, tokens: Tokens, change: Change) {
        let renew = |name: &str, before: Option<&Secret>, after: Option<&Secret>| {
            if let Some(after) = after
                && before.map(Secret::expose) != Some(after.expose())
            {
                with.broker.renew(name, after.clone(), change);
            }
        };
        let former = &state.tokens;
        renew(
            &self.names.access,
            Some(&former.access),
            Some(&tokens.access),
        );
        renew(
            &self.names.refresh,
            former.refresh.as_ref(),
            tokens.refresh.as_ref(),
        );
        renew(&self.names.id, former.id.as_ref(), tokens.id.as_ref());
        state.tokens = tokens;
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the login's lock, which other processes may have.
    async fn locked(&self, with: &With) -> Result<Lineage, Failure> {
        let (folder, path) = (with.folder.clone(), self.path.clone());
        tokio::task::spawn_blocking(move || Lineage::lock(&folder, &path))
            .await
            .map_err(|error| self.failed(error))?
            .map_err(|error| self.failed(format!("its lock could not be taken: {error}")))
    }
}

/// Whether the clock says that a token no longer does, or soon will not.
fn is_outworn(tokens: &Tokens) -> bool {
    tokens
        .expires
        .is_some_and(|expires| expires <= Timestamp::now().plus(MARGIN))
}

#[cfg(test)]
mod tests;
