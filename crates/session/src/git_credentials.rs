//! Logins of the workspace's remotes. Inside there is a credential helper that knows decoys only; what
//! the person's own helpers know is asked outside, once a request was allowed that carries a decoy, and
//! goes to git's services of that repository alone. A token in a remote's URL, or in an `extraHeader`
//! as continuous integration writes it, is a decoy inside and is attached the same way.
//!
//! What must stay true: a helper is a program that runs outside, so it is chosen by configuration that
//! nothing inside can write, and found where nothing inside can put a program ([`crate::git_outside`]).
//! What it said is in the broker and nowhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tagout_authority::Authority;
use tagout_catalog::SlotPlace;
use tagout_core::{CredentialUse, Digest, HostPattern, Refusal, Target, Transport, percent_decode};
use tagout_credentials::{Broker, Credential, Decoy, Repository, Secret};
use tagout_http::{GitCredentials, Waiting};
use tagout_policy::Task;
use tagout_sandbox::OverlayFile;
use tagout_secrets::{DecoyKey, is_guessable};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::git_outside::{Asked, Outside, Pair, Unanswered};
use crate::remotes::Named;
use crate::stand_ins;
use crate::workspace::Workspace;

/// Names of these credentials begin so; no name in a manifest can.
const PREFIX: &str = "git:";
/// A token is at least so long where it stands as a name.
const SHORTEST_TOKEN: usize = 20;

/// What was found at launch.
#[derive(Default)]
pub(crate) struct Found {
    /// To be bound.
    pub(crate) credentials: Vec<Credential>,
    /// Spellings of values in files, and what is shown instead.
    held: Vec<(Zeroizing<Vec<u8>>, Vec<u8>)>,
    logins: Vec<Login>,
}

/// The login of one repository.
struct Login {
    name: String,
    target: Target,
    /// As the helper inside is asked for it: decoded, without `.git`.
    path: String,
    /// What the helper inside says.
    user: String,
    password: String,
    /// `None` where the value was there at launch.
    outside: Option<ToAsk>,
}

/// What has to be asked outside.
struct ToAsk {
    asked: Asked,
    over_ssh: bool,
    state: Mutex<State>,
}

enum State {
    Unasked,
    Known {
        pair: Pair,
        /// A server took it.
        proved: bool,
    },
}

/// Finds how the remotes of a workspace are logged in to, and grants each repository its credential.
pub(crate) fn find(remotes: &[Named], task: &mut Task, key: &DecoyKey) -> Found {
    let mut found = Found::default();
    for named in remotes {
        let remote = &named.remote;
        if remote.target.transport != Transport::Tls {
            continue;
        }
        let port = match remote.target.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let name = format!("{PREFIX}{}{port}{}", remote.target.host, remote.path);
        let Ok(path) = String::from_utf8(percent_decode(remote.path.trim_start_matches('/')))
        else {
            continue;
        };
        if path.chars().any(char::is_control) {
            continue;
        }
        for granted in &mut task.remotes {
            if granted.target == remote.target && granted.path == remote.path {
                granted.credential = Some(name.clone());
            }
        }
        if found.logins.iter().any(|login| login.name == name) {
            continue;
        }
        found.login(named, name, path, key);
    }
    found
}

impl Found {
    fn login(&mut self, named: &Named, name: String, path: String, key: &DecoyKey) {
        let target = named.remote.target.clone();
        let mut scheme = "Basic";
        let given = match Given::of(named) {
            Some(Given::Bearer(token)) => {
                scheme = "Bearer";
                let decoy = token.decoy(key);
                Some((token, decoy, String::new(), String::new()))
            }
            Some(Given::Basic {
                user,
                password,
                spelled,
            }) => {
                let decoy = password.decoy(key);
                self.hold(&spelled, &user, decoy.as_str(), key);
                let said = (user, decoy.to_string());
                Some((password, decoy, said.0, said.1))
            }
            Some(Given::User(token)) => {
                let decoy = token.decoy(key);
                let user = decoy.to_string();
                Some((token, decoy, user, "x-oauth-basic".to_owned()))
            }
            None => None,
        };
        let is_given = given.is_some();
        let (secret, decoy, user, password) = given.unwrap_or_else(|| {
            // What is no text cannot be attached, should anybody try before it was asked for.
            let none =
                Secret::new([&[0xff], Digest::of(name.as_bytes()).to_string().as_bytes()].concat());
            let shape = Digest::of(format!("tagout {name}").as_bytes()).to_string();
            let decoy = Decoy::new(String::from_utf8_lossy(&key.decoy(&shape.as_bytes()[..40])));
            let password = decoy.to_string();
            let user = named.user.clone().unwrap_or_else(|| "tagout".to_owned());
            (none, decoy, user, password)
        });
        let outside = (!is_given).then(|| ToAsk {
            asked: Asked {
                host: match target.port {
                    443 => target.host.to_string(),
                    port => format!("{}:{port}", target.host),
                },
                path: named.asked_path.clone(),
                user: named.user.clone(),
            },
            over_ssh: named.over_ssh,
            state: Mutex::new(State::Unasked),
        });
        self.credentials.push(Credential {
            name: name.clone(),
            provider: "http".to_owned(),
            hosts: vec![HostPattern::Exact(target.host.clone())],
            slots: vec![SlotPlace::Header {
                name: "authorization".to_owned(),
                scheme: Some(scheme.to_owned()),
            }],
            secret,
            decoy,
            generation: 1,
            repository: Some(Repository::new(target.clone(), &named.remote.path)),
        });
        self.logins.push(Login {
            name,
            target,
            path,
            user,
            password,
            outside,
        });
    }

    /// Shows `decoy` where a password is spelled in a file: percent-encoded in a URL, or with its user in
    /// base64. What the detector may have made of the spelling is replaced as well.
    fn hold(&mut self, spelled: &Spelled, user: &str, decoy: &str, key: &DecoyKey) {
        let (text, shown) = match spelled {
            Spelled::Plain => return,
            Spelled::Percent(text) => (text, encoded(decoy)),
            Spelled::Base64(text) => (text, STANDARD.encode(format!("{user}:{decoy}"))),
        };
        let value = text.as_bytes();
        for seen in [value.to_vec(), key.decoy(value)] {
            self.held
                .push((Zeroizing::new(seen), shown.clone().into_bytes()));
        }
    }

    /// Spellings of values that files are to be searched for, with what is shown instead.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.held
            .iter()
            .map(|(value, shown)| (value.as_slice(), shown.as_slice()))
    }

    /// The helper inside.
    pub(crate) fn helper(&self) -> Option<OverlayFile> {
        let spoken: Vec<_> = self.said().collect();
        (!spoken.is_empty()).then(|| OverlayFile {
            path: Path::new(stand_ins::FOLDER).join(HELPER),
            bytes: script(&spoken).into_bytes(),
            mode: 0o755,
        })
    }

    /// What git is told about it, name and value, in the order in which it counts.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut hosts: Vec<String> = self.said().map(|login| origin(&login.target)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let program = format!("{}/{HELPER}", stand_ins::FOLDER);
        hosts
            .iter()
            .flat_map(|host| {
                // An empty one forgets those before it (gitcredentials(7)).
                [
                    ("helper", ""),
                    ("helper", &program),
                    ("useHttpPath", "true"),
                ]
                .map(|(key, value)| (format!("credential.{host}.{key}"), value.to_owned()))
            })
            .collect()
    }

    /// The same as a part of `~/.gitconfig`, for programs that git starts without its variables.
    pub(crate) fn configuration(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.settings() {
            let parts = key
                .strip_prefix("credential.")
                .and_then(|it| it.rsplit_once('.'));
            if let Some((host, key)) = parts {
                text.push_str(&format!("[credential \"{host}\"]\n\t{key} = {value}\n"));
            }
        }
        text
    }

    fn said(&self) -> impl Iterator<Item = &Login> {
        self.logins
            .iter()
            .filter(|login| !login.password.is_empty())
    }

    /// Ready to be asked while the session runs.
    pub(crate) fn into_logins(self, broker: &Arc<Broker>, workspace: &Workspace) -> Arc<GitLogins> {
        let outside = Outside::new(workspace);
        let logins = self.logins.into_iter();
        Arc::new(GitLogins {
            logins: logins.map(|login| (login.name.clone(), login)).collect(),
            broker: Arc::clone(broker),
            outside: Arc::new(outside),
            authority: OnceLock::new(),
        })
    }
}

/// A login that stands in the repository's configuration.
enum Given {
    Basic {
        user: String,
        password: Secret,
        spelled: Spelled,
    },
    /// A token in the place of the name.
    User(Secret),
    Bearer(Secret),
}

/// How a file spells a password.
enum Spelled {
    Plain,
    Percent(Zeroizing<String>),
    Base64(Zeroizing<String>),
}

impl Given {
    fn of(named: &Named) -> Option<Self> {
        if let Some(header) = &named.extra_header {
            return Self::of_header(header);
        }
        let user = named.user.clone().unwrap_or_default();
        if let Some(password) = named.password.as_ref().filter(|it| !is_filler(it)) {
            let decoded = percent_decode(password);
            let spelled = match decoded == password.as_bytes() {
                true => Spelled::Plain,
                false => Spelled::Percent(password.clone()),
            };
            return is_sendable(&decoded).then(|| Self::Basic {
                user,
                password: Secret::new(decoded),
                spelled,
            });
        }
        let is_token = user.len() >= SHORTEST_TOKEN && !is_guessable(user.as_bytes());
        is_token.then(|| Self::User(Secret::new(user.into_bytes())))
    }

    /// `Authorization: basic …` or `bearer …`, as `http.extraHeader` has it.
    fn of_header(header: &str) -> Option<Self> {
        let (name, value) = header.split_once(':')?;
        let (scheme, text) = value.trim().split_once(' ')?;
        if !name.trim().eq_ignore_ascii_case("authorization") {
            return None;
        }
        let text = text.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return is_sendable(text.as_bytes()).then(|| Self::Bearer(Secret::new(text.into())));
        }
        let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
        let pair = std::str::from_utf8(&decoded).ok()?;
        let (user, password) = pair.split_once(':')?;
        let usable = scheme.eq_ignore_ascii_case("basic") && is_sendable(password.as_bytes());
        usable.then(|| Self::Basic {
            user: user.to_owned(),
            password: Secret::new(password.into()),
            spelled: Spelled::Base64(Zeroizing::new(text.to_owned())),
        })
    }
}

/// Words that stand where a password would when the name is the token.
fn is_filler(password: &str) -> bool {
    matches!(password, "" | "x" | "X" | "x-oauth-basic")
}

fn is_sendable(value: &[u8]) -> bool {
    !value.is_empty()
        && std::str::from_utf8(value).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Percent-encoded, but for unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn origin(target: &Target) -> String {
    match target.port {
        443 => format!("https://{}", target.host),
        port => format!("https://{}:{port}", target.host),
    }
}

/// The program inside, as git finds it.
const HELPER: &str = "git-credential-tagout";

/// Answers `get` with what stands for the login of a repository (gitcredentials(7), "Custom helpers").
fn script(logins: &[&Login]) -> String {
    let mut text = String::from(
        "#!/bin/sh\n# Stands here for the credential helpers of your user, which stay outside. What it says is worthless\n# anywhere else.\n[ \"$1\" = get ] || exit 0\nprotocol= host= path= username=\nwhile IFS= read -r line && [ -n \"$line\" ]; do\n\tcase $line in\n\tprotocol=*) protocol=${line#*=} ;;\n\thost=*) host=${line#*=} ;;\n\tpath=*) path=${line#*=} ;;\n\tusername=*) username=${line#*=} ;;\n\tesac\ndone\npath=${path%/}\npath=${path%.git}\ncase $protocol://$host/$path in\n",
    );
    for login in logins {
        let place = quoted(&format!("{}/{}", origin(&login.target), login.path));
        let (user, password) = (quoted(&login.user), quoted(&login.password));
        text.push_str(&format!(
            "{place})\n\t[ -n \"$username\" ] || username={user}\n\tprintf 'username=%s\\npassword=%s\\n' \"$username\" {password} ;;\n",
        ));
    }
    text.push_str("esac\n");
    text
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The logins of a session's repositories.
pub(crate) struct GitLogins {
    logins: BTreeMap<String, Login>,
    broker: Arc<Broker>,
    outside: Arc<Outside>,
    authority: OnceLock<Authority>,
}

impl GitLogins {
    /// Whose ledger is told when a helper was asked.
    pub(crate) fn answer_to(&self, authority: Authority) {
        // The session has one.
        let _ = self.authority.set(authority);
    }

    fn to_ask<'a>(
        &'a self,
        uses: &'a [CredentialUse],
    ) -> impl Iterator<Item = (&'a Login, &'a ToAsk)> {
        uses.iter().filter_map(|used| {
            let login = self.logins.get(&used.name)?;
            Some((login, login.outside.as_ref()?))
        })
    }

    /// Asks the person's helpers, and gives the broker what they say.
    async fn ask(&self, login: &Login, to_ask: &ToAsk) -> Result<Pair, Unanswered> {
        let (outside, asked) = (Arc::clone(&self.outside), to_ask.asked.clone());
        let answered = tokio::task::spawn_blocking(move || outside.fill(&asked))
            .await
            .unwrap_or(Err(Unanswered::NoGit));
        if let Some(authority) = self.authority.get() {
            let fields = json!({
                "credential": login.name,
                "answered": answered.is_ok(),
                "reason": answered.as_ref().err().map(ToString::to_string),
            });
            // The verdict that led here is durable already.
            let _ = authority.record().append("git_login", fields).await;
        }
        let pair = answered?;
        let (user, password) = (pair.user.clone(), pair.password.clone());
        self.broker.renew_pair(&login.name, user, password);
        Ok(pair)
    }
}

impl GitCredentials for GitLogins {
    fn ready<'a>(&'a self, uses: &'a [CredentialUse]) -> Waiting<'a, Result<(), Refusal>> {
        Box::pin(async move {
            for (login, to_ask) in self.to_ask(uses) {
                let mut state = to_ask.state.lock().await;
                if let State::Known { pair, .. } = &*state
                    && !pair.has_expired()
                {
                    continue;
                }
                let pair = self
                    .ask(login, to_ask)
                    .await
                    .map_err(|why| refusal(login, to_ask, &why))?;
                *state = State::Known {
                    pair,
                    proved: false,
                };
            }
            Ok(())
        })
    }

    fn renewed<'a>(&'a self, uses: &'a [CredentialUse]) -> Waiting<'a, bool> {
        Box::pin(async move {
            let mut renewed = false;
            for (login, to_ask) in self.to_ask(uses) {
                let mut state = to_ask.state.lock().await;
                // Only what worked before can have expired since.
                let State::Known {
                    pair: former,
                    proved: true,
                } = &*state
                else {
                    continue;
                };
                let Ok(pair) = self.ask(login, to_ask).await else {
                    continue;
                };
                renewed |= !pair.is_same(former);
                *state = State::Known {
                    pair,
                    proved: false,
                };
            }
            renewed
        })
    }

    fn answered<'a>(&'a self, uses: &'a [CredentialUse], status: u16) -> Waiting<'a, ()> {
        Box::pin(async move {
            for (_, to_ask) in self.to_ask(uses) {
                let mut state = to_ask.state.lock().await;
                let (word, next) = match (status, &*state) {
                    (
                        200..=299,
                        State::Known {
                            pair,
                            proved: false,
                        },
                    ) => {
                        let pair = pair.clone();
                        ("approve", State::Known { pair, proved: true })
                    }
                    (401, State::Known { .. }) => ("reject", State::Unasked),
                    _ => continue,
                };
                let State::Known { pair, .. } = std::mem::replace(&mut *state, next) else {
                    continue;
                };
                let (outside, asked) = (Arc::clone(&self.outside), to_ask.asked.clone());
                // Helpers that keep nothing need not be told; one that fails will be asked again.
                let told = tokio::task::spawn_blocking(move || outside.tell(word, &asked, &pair));
                let _ = told.await;
            }
        })
    }
}

fn refusal(login: &Login, to_ask: &ToAsk, why: &Unanswered) -> Refusal {
    let repository = login.name.strip_prefix(PREFIX).unwrap_or(&login.name);
    let over_ssh = match to_ask.over_ssh {
        true => {
            " The remote is written for SSH, whose keys stay outside: in a session git goes over HTTPS."
        }
        false => "",
    };
    let log_in = match login.target.host.as_str() {
        "github.com" => "`gh auth login` and `gh auth setup-git`",
        "gitlab.com" => "`glab auth login`, or a token in git's credential helper",
        _ => "a token in git's credential helper",
    };
    Refusal::denied(
        format!("{repository} wants a login, and {why}.{over_ssh}"),
        format!(
            "Ask your user to log in outside of this session ({log_in}; `git ls-remote {}/{}` in \
             another terminal shows whether it works), then try again. Nothing has to be restarted.",
            origin(&login.target),
            to_ask.asked.path,
        ),
    )
}
