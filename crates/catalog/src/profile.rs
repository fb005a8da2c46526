//! What Tagout knows about agents: which command is which, where its model lives, what it keeps in the
//! home folder and which of that is a credential. A profile is one file in `profiles/`; nothing about
//! an agent is written anywhere else. Paths are relative to the home folder, fields are dotted.
//!
//! What must stay true: what a profile does not name does not go in, and only `history` comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use tagout_core::{Digest, HostName, HostPattern};

use crate::slots::{SlotPlace, header_place};

/// One agent's table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name that `--agent` and the manifest use.
    pub name: String,
    /// Base names of the commands that start it.
    pub commands: Vec<String>,
    /// What a person does outside to log it in.
    pub log_in: String,
    /// Variables that are set inside.
    pub environment: BTreeMap<String, String>,
    /// Variables that are passed on when they are set outside. None of them holds a secret.
    pub pass: Vec<String>,
    /// What its own settings say inside, whatever they say outside: its own sandbox, telemetry and
    /// updates are off.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Folders of its own, which it may fill.
    pub folders: Vec<String>,
    /// Variables that move its state.
    #[serde(default)]
    pub moved: Vec<Moved>,
    /// The hosts of its model, by method and path.
    #[serde(default, rename = "host")]
    pub hosts: Vec<ProfileHost>,
    /// What it asks for by itself and does without: refused as everything that is not granted, and in the
    /// ledger, but no news for the person at the end.
    #[serde(default)]
    pub does_without: Vec<DoesWithout>,
    /// Variables that hold a key.
    #[serde(default, rename = "key")]
    pub keys: Vec<ApiKey>,
    /// Files that hold credentials.
    #[serde(default, rename = "file")]
    pub files: Vec<CredentialFile>,
    /// What else it keeps.
    #[serde(default)]
    pub state: Vec<State>,
}

impl Profile {
    /// Whether it has a sandbox of its own, which cannot work inside another.
    pub fn switches_sandbox_off(&self) -> bool {
        let settings = self.settings.iter().map(|setting| setting.field.as_str());
        settings.into_iter().any(|field| field.contains("sandbox"))
    }

    /// Whether a refusal of this is one that the agent does without. The path is without its query.
    pub fn does_without(&self, host: &HostName, path: &str) -> bool {
        self.does_without.iter().any(|row| {
            let named = HostPattern::parse(&row.name).is_ok_and(|name| name.matches(host));
            named && row.paths.iter().any(|known| known == path)
        })
    }
}

/// A place that is not granted and not missed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoesWithout {
    /// The host's name, or `*.` and what its name ends with.
    pub name: String,
    /// Paths, each as it is.
    pub paths: Vec<String>,
}

/// A host, granted by method and path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileHost {
    /// The host's name, or `*.` and what its name ends with.
    pub name: String,
    /// The methods that are granted.
    pub methods: Vec<String>,
    /// The paths that are granted, as globs on the canonical path.
    pub paths: Vec<String>,
    /// Whether what goes there is a conversation with a model, in which nothing is a credential slot.
    #[serde(default = "yes")]
    pub model: bool,
}

/// A value in a settings file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The file, JSON or TOML by its name.
    pub path: String,
    /// The field.
    pub field: String,
    /// What stands there.
    pub value: toml::Value,
}

/// A variable that moves state to another place outside. Inside, state is where it is by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The variable; it holds an absolute path.
    pub variable: String,
    /// What it moves.
    pub path: String,
    /// Where that then is below the variable's path.
    #[serde(default)]
    pub below: String,
}

/// Hosts, and the header fields in which they take a credential.
#[derive(Clone, Debug, Deserialize)]
pub struct Binding {
    /// Names, or `*.` and what names end with.
    pub hosts: Vec<String>,
    /// `x-api-key`, or `authorization: Bearer`.
    pub headers: Vec<String>,
}

impl Binding {
    /// The header fields as slots.
    pub fn slots(&self) -> Vec<SlotPlace> {
        self.headers.iter().map(|text| header_place(text)).collect()
    }
}

/// A variable that holds a key.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiKey {
    /// The variable.
    pub variable: String,
    /// Where the key may go.
    #[serde(flatten)]
    pub binding: Binding,
}

/// A JSON file that holds credentials. Inside stands another file with the same fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialFile {
    /// The file.
    pub path: String,
    /// Fields that are no credentials and stay.
    #[serde(default)]
    pub keep: Vec<String>,
    /// What becomes of every other field.
    #[serde(default)]
    pub rest: Rest,
    /// Fields that hold a key.
    #[serde(default, rename = "secret")]
    pub secrets: Vec<FileSecret>,
    /// Logins, whose tokens change.
    #[serde(default, rename = "login")]
    pub logins: Vec<OAuthLogin>,
}

/// What becomes of fields that no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// They are not there inside.
    #[default]
    Dropped,
    /// They are, with decoys for what looks like a secret.
    Masked,
}

/// A field that holds a key.
#[derive(Clone, Debug, Deserialize)]
pub struct FileSecret {
    /// The field.
    pub field: String,
    /// Where the key may go.
    #[serde(flatten)]
    pub binding: Binding,
}

/// Tokens of OAuth 2 (RFC 6749) in a file.
#[derive(Clone, Debug, Deserialize)]
pub struct OAuthLogin {
    /// What a person calls it.
    pub name: String,
    /// The field with the access token.
    pub access: String,
    /// The field with the refresh token.
    pub refresh: String,
    /// The field with the id token, a JWT that is sent nowhere.
    #[serde(default)]
    pub id: Option<String>,
    /// The field that says whose login it is.
    #[serde(default)]
    pub account: Option<String>,
    /// The field that says when the access token expires; without it the token says so, being a JWT.
    #[serde(default)]
    pub expires: Option<Expiry>,
    /// The field that says when it was refreshed last, in RFC 3339.
    #[serde(default)]
    pub refreshed: Option<String>,
    /// Where the access token may go.
    #[serde(flatten)]
    pub binding: Binding,
    /// Where it is refreshed; without it the login lasts as long as its access token.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
}

/// When an access token expires.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// The field.
    pub field: String,
    /// What it counts since 1970.
    pub unit: Unit,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// A token endpoint (RFC 6749 §3.2).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its host.
    pub host: String,
    /// Its path.
    pub path: String,
    /// How requests are written.
    pub encoding: Encoding,
    /// The agent's public name there.
    pub client_id: String,
    /// Where the endpoint wants a client secret too, which is part of the agent's program and no
    /// secret (RFC 8252 §8.5): its SHA-256. Then only the agent can ask for a refresh.
    #[serde(default)]
    pub client_secret_sha256: Option<String>,
    /// Further fields of a request, and the fields of the file that hold them; lists are joined by
    /// spaces.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

impl Endpoint {
    /// The digest of the client secret that the agent sends.
    pub fn client_secret(&self) -> Option<Digest> {
        self.client_secret_sha256.as_ref()?.parse().ok()
    }
}

/// How a request to a token endpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As JSON.
    Json,
    /// As a form (RFC 6749 §6).
    Form,
}

/// What an agent keeps beside credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What becomes of it.
    pub class: Class,
    /// Files and folders.
    pub paths: Vec<String>,
    /// Which of it belongs to a workspace.
    #[serde(default)]
    pub of_workspace: Option<OfWorkspace>,
    /// Globs of file names that belong to it; without any, all do.
    #[serde(default)]
    pub files: Vec<String>,
}

/// What becomes of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A copy goes in, with decoys for what looks like a secret; nothing comes back.
    Settings,
    /// What belongs to the workspace goes in, and comes back.
    History,
    /// It stays with Tagout, for each workspace, and is never the host's.
    Kept,
}

/// How it is told which history belongs to a workspace.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by", deny_unknown_fields)]
pub enum OfWorkspace {
    /// It lies in a folder named after the workspace, with dashes for all but letters and digits.
    DashedFolder,
    /// The first line of each file is JSON with a field that names a folder in the workspace.
    FirstLine {
        /// The field.
        field: String,
    },
    /// It lies in a folder with a file `.project_root` that names the workspace.
    RootFile,
}

/// Every profile.
pub fn profiles() -> &'static [Profile] {
    static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        TEXTS
            .iter()
            // The files are part of the program; a test reads each.
            .map(|text| toml::from_str(text).expect("the profiles are well-formed"))
            .collect()
    });
    &PROFILES
}

const TEXTS: &[&str] = &[
    include_str!("../profiles/claude.toml"),
    include_str!("../profiles/codex.toml"),
    include_str!("../profiles/gemini.toml"),
    include_str!("../profiles/opencode.toml"),
    include_str!("../profiles/cursor-agent.toml"),
    include_str!("../profiles/copilot.toml"),
    include_str!("../profiles/aider.toml"),
    include_str!("../profiles/goose.toml"),
];

/// The profile of that name.
pub fn profile(name: &str) -> Option<&'static Profile> {
    profiles().iter().find(|profile| profile.name == name)
}

/// The profile of the agent that a command starts, by the command's base name.
pub fn profile_of_command(command: &str) -> Option<&'static Profile> {
    let base = Path::new(command).file_name()?.to_str()?;
    // Most commands are no agent: reading all profiles to learn that would be a good part of their launch.
    let quoted = format!("\"{base}\"");
    let names_it = |text: &str| {
        text.lines()
            .any(|line| line.starts_with("commands") && line.contains(&quoted))
    };
    if !TEXTS.iter().any(|text| names_it(text)) {
        return None;
    }
    profiles()
        .iter()
        .find(|profile| profile.commands.iter().any(|command| command == base))
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use tagout_core::Method;

    #[test]
    fn every_profile_reads_and_names_what_exists() {
        assert_eq!(profiles().len(), 8);
        for profile in profiles() {
            let name = &profile.name;
            for command in &profile.commands {
                let found = profile_of_command(&format!("/usr/bin/{command}")).unwrap();
                assert_eq!(found.name, *name);
            }
            for host in &profile.hosts {
                HostPattern::parse(&host.name).unwrap();
                for method in &host.methods {
                    Method::parse(method).unwrap();
                }
                assert!(host.paths.iter().all(|path| path.starts_with('/')));
            }
            let logins = || profile.files.iter().flat_map(|file| &file.logins);
            for endpoint in logins().filter_map(|login| login.endpoint.as_ref()) {
                HostName::parse(&endpoint.host).unwrap();
                let secret = endpoint.client_secret_sha256.is_some();
                assert_eq!(endpoint.client_secret().is_some(), secret, "{name}");
            }
            let bindings = profile
                .keys
                .iter()
                .map(|key| &key.binding)
                .chain(logins().map(|login| &login.binding));
            for binding in bindings {
                for host in &binding.hosts {
                    let granted = profile.hosts.iter().any(|granted| granted.name == *host);
                    assert!(granted, "{name}: {host} is bound and not granted");
                }
                assert!(!binding.slots().is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn invariant_3_no_path_of_a_profile_leaves_the_home() {
        for profile in profiles() {
            let state = profile.state.iter().flat_map(|state| &state.paths);
            let files = profile.files.iter().map(|file| &file.path);
            let moved = profile
                .moved
                .iter()
                .flat_map(|moved| [&moved.path, &moved.below]);
            for path in state.chain(files).chain(moved).chain(&profile.folders) {
                let mut parts = Path::new(path).components();
                let plain = parts.all(|part| matches!(part, std::path::Component::Normal(_)));
                assert!(plain, "{}: {path}", profile.name);
            }
        }
    }

    #[test]
    fn invariant_9_only_transcripts_come_back() {
        let history = |state: &&State| state.class == Class::History;
        for state in profiles().iter().flat_map(|p| &p.state).filter(history) {
            assert!(state.of_workspace.is_some());
            assert!(!state.files.is_empty());
            for name in &state.files {
                assert!(
                    name.ends_with(".json") || name.ends_with(".jsonl"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_an_agent_does_without_is_granted_nowhere_and_named_exactly() {
        for profile in profiles() {
            for row in &profile.does_without {
                HostPattern::parse(&row.name).unwrap();
                assert!(!row.paths.is_empty());
                for path in &row.paths {
                    assert!(path.starts_with('/') && !path.contains('*'), "{path}");
                    let granted = profile.hosts.iter().flat_map(|host| &host.paths);
                    assert!(granted.into_iter().all(|granted| granted != path), "{path}");
                }
            }
        }
        let copilot = profile("copilot").unwrap();
        let host = |name| HostName::parse(name).unwrap();
        let telemetry = host("telemetry.individual.githubcopilot.com");
        assert!(copilot.does_without(&telemetry, "/telemetry"));
        assert!(!copilot.does_without(&telemetry, "/telemetry/more"));
        assert!(!copilot.does_without(&host("example.com"), "/telemetry"));
        assert!(
            !profile("claude")
                .unwrap()
                .does_without(&telemetry, "/telemetry")
        );
    }

    #[test]
    fn a_command_is_known_by_its_base_name() {
        assert_eq!(profile_of_command("/opt/x/claude").unwrap().name, "claude");
        assert!(profile_of_command("bash").is_none());
        assert!(profile_of_command("").is_none());
    }
}
