//! The agent of a session and the person's login of it: what the agent gets of the home, what the task
//! grants because of it, and the way to token endpoints, which is the session's own upstream: the same
//! address rules, the same ledger.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tagout_authority::Authority;
use tagout_catalog::Profile;
use tagout_core::{Digest, HostName, HostPattern, Method, Target, Transport};
use tagout_credentials::login::{EndpointAnswer, Login, Logins, TokenEndpoint};
use tagout_credentials::{Broker, Credential, Decoy};
use tagout_net::{Protocol, Upstream, UpstreamStream};
use tagout_policy::{CredentialGrant, OperationGrant, PathPattern, Task};
use tagout_secrets::DecoyKey;
use zeroize::Zeroizing;

use crate::agent_state::{Brought, Laid, Places, bring};
use crate::home::Home;
use crate::profiles;
use crate::workspace::Workspace;

/// The largest answer of a token endpoint that is read.
const LARGEST_ANSWER: usize = 256 * 1024;
/// How long a token endpoint may take.
const LONGEST: Duration = Duration::from_secs(30);

/// The agent of a session, with what was brought of the person's home.
pub(crate) struct Agent {
    profile: &'static Profile,
    places: Option<Places>,
    brought: Brought,
}

impl Agent {
    /// Looks for the agent's keys, logins and settings outside.
    pub(crate) fn find(
        profile: &'static Profile,
        task: &Task,
        workspace: &Workspace,
        key: &DecoyKey,
    ) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let mut folders = vec![workspace.path.clone()];
        if let Ok(current) = std::env::current_dir()
            && current.starts_with(&workspace.path)
            && current != workspace.path
        {
            folders.push(current);
        }
        let taken = |name: &str| {
            let exposes = |grant: &CredentialGrant| grant.expose.as_deref() == Some(name);
            task.credential(name).is_some() || task.credentials.iter().any(exposes)
        };
        let places = Places::new(profile, &variable, folders);
        let brought = places.as_ref().map_or_else(Brought::default, |places| {
            bring(places, &variable, &taken, key)
        });
        Self {
            profile,
            places,
            brought,
        }
    }

    /// Its table.
    pub(crate) fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// Grants what was brought: each credential for its hosts, each token endpoint for refreshes.
    pub(crate) fn grant(&self, task: &mut Task) {
        let brought = self.brought.credentials.iter().zip(&self.brought.sources);
        for (credential, source) in brought {
            task.credentials.push(CredentialGrant {
                name: credential.name.clone(),
                provider: credential.provider.clone(),
                source: source.clone(),
                expose: None,
                hosts: credential.hosts.clone(),
                slot: None,
                operations: vec![OperationGrant::Read, OperationGrant::Write],
                environments: vec![task.environment.clone()],
                follows_task_environment: true,
                line: 0,
            });
        }
        for endpoint in self.brought.logins.iter().filter_map(Login::endpoint) {
            let granted = HostPattern::parse(&endpoint.host).ok().and_then(|host| {
                let (method, path) = (Method::parse("POST"), PathPattern::parse(&endpoint.path));
                Some(profiles::grant(host, vec![method.ok()?], vec![path.ok()?]))
            });
            task.hosts.extend(granted);
        }
    }

    /// The credentials that were brought.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = Credential> {
        self.brought.credentials.iter().cloned()
    }

    /// Variables that hold decoys of keys.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.brought.variables
    }

    /// Tells the broker what was found in settings.
    pub(crate) fn teach(&self, broker: &Broker) {
        let known = self.brought.known.iter();
        let known = known.map(|known| (known.label.clone(), known.value.clone(), known.guessable));
        let decoys = self.brought.decoys.iter().map(|(decoy, label)| {
            let text = String::from_utf8_lossy(decoy).into_owned();
            (Decoy::new(text), label.clone())
        });
        broker.learn(known, decoys);
        for (host, digest) in &self.brought.public {
            broker.allow_public(host, *digest);
        }
    }

    /// The logins, to be kept fresh.
    pub(crate) fn take_logins(&mut self) -> Vec<Login> {
        std::mem::take(&mut self.brought.logins)
    }

    /// Lays out what the agent has of the home.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn lay_out(
        &mut self,
        home: &Home,
        session: &Path,
        workspace: &Path,
    ) -> std::io::Result<Option<Laid>> {
        let Some(places) = self.places.take() else {
            return Ok(None);
        };
        let workspace = Digest::of(workspace.as_os_str().as_encoded_bytes()).to_string();
        let kept = home.path().join("agents").join(workspace);
        let kept = kept.join(&self.profile.name);
        Laid::out(places, &self.brought, session, &kept).map(Some)
    }

    /// What a person should know before the agent starts, a sentence each. `task` says whether the
    /// manifest gives the agent's model a credential.
    pub(crate) fn notices(&self, task: &Task) -> Vec<String> {
        let mut notices = self.brought.warnings.clone();
        let name = &self.profile.name;
        let models = self.profile.hosts.iter().filter(|host| host.model);
        let models: Vec<HostPattern> = models
            .filter_map(|host| HostPattern::parse(&host.name).ok())
            .collect();
        let serves = |grant: &CredentialGrant| {
            let bound = |model: &HostPattern| grant.hosts.iter().any(|host| host.overlaps(model));
            models.iter().any(bound)
        };
        if !task.credentials.iter().any(serves) {
            notices.push(format!(
                "no login of {name} was found; log in outside first ({}), it cannot be done inside",
                self.profile.log_in
            ));
        }
        notices
    }
}

/// Reaches token endpoints through the session's upstream.
pub(crate) struct SessionEndpoint {
    upstream: Arc<Upstream>,
    authority: OnceLock<Authority>,
}

/// The session's logins, with their way to the token endpoints. `authority` admits its connections.
pub(crate) fn keep_fresh(
    logins: Vec<Login>,
    broker: &Arc<Broker>,
    upstream: &Arc<Upstream>,
    authority: &Authority,
    home: &Home,
) -> Arc<Logins> {
    let endpoint = SessionEndpoint {
        upstream: Arc::clone(upstream),
        authority: OnceLock::from(authority.clone()),
    };
    let folder: PathBuf = home.path().join("logins");
    Arc::new(Logins::new(
        logins,
        Arc::clone(broker),
        Arc::new(endpoint),
        folder,
    ))
}

impl SessionEndpoint {
    async fn send(
        &self,
        host: &HostName,
        path: &str,
        content_type: &'static str,
        content: Zeroizing<Vec<u8>>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), String> {
        let authority = self.authority.get().ok_or("the session is not ready")?;
        let target = Target {
            transport: Transport::Tls,
            host: host.clone(),
            port: 443,
        };
        let admission = authority
            .admit(&target)
            .await
            .map_err(|refusal| refusal.reason)?;
        let fields = json!({"host": host, "path": path});
        authority
            .record()
            .append("login_refresh", fields)
            .await
            .map_err(|error| error.to_string())?;
        let connection = self
            .upstream
            .connect(&admission, Protocol::Http1)
            .await
            .map_err(|error| error.to_string())?;
        let request = hyper::Request::post(path)
            .header("host", host.as_str())
            .header("content-type", content_type)
            .header("content-length", content.len())
            .header("accept", "application/json")
            .header("accept-encoding", "identity")
            .header("user-agent", concat!("tagout/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from_owner(content)))
            .map_err(|error| error.to_string())?;
        let answered = match connection.stream {
            UpstreamStream::Plain(_) => return Err("the connection is not encrypted".to_owned()),
            UpstreamStream::Tls(stream) => exchange(*stream, request).await,
        };
        answered.map_err(|error| error.to_string())
    }
}

impl TokenEndpoint for SessionEndpoint {
    fn post<'a>(
        &'a self,
        host: &'a HostName,
        path: &'a str,
        content_type: &'static str,
        content: Zeroizing<Vec<u8>>,
    ) -> EndpointAnswer<'a> {
        Box::pin(async move {
            let sent = self.send(host, path, content_type, content);
            tokio::time::timeout(LONGEST, sent)
                .await
                .map_err(|_| format!("{host} did not answer in time"))?
        })
    }
}

async fn exchange<S>(
    stream: S,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(u16, Zeroizing<Vec<u8>>), Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response, or with this function's sender.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER);
    let content = body.collect().await?.to_bytes();
    Ok((status, Zeroizing::new(content.to_vec())))
}
