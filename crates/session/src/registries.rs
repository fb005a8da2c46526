//! Where packages come from: what the *operator's* own configuration of npm, pip, uv, cargo, go,
//! maven and gem names, and where it names nothing, the default that the installed tool brings. Read
//! from files outside, at launch; no tool is run for it but, once, a Python that has to look into an
//! archive, and a Go that has its defaults compiled in. No name of a registry is written in this source.
//!
//! What must stay true: nothing that an agent can write counts. A file or a program in the workspace
//! is not read, wherever a variable or a link leads; configuration in the workspace can therefore only
//! choose among what is granted here. Credentials found on the way go to their own registries as
//! everything else does: a decoy inside, the value attached outside, for reading.

mod ask;
mod cargo;
mod downloads;
mod gem;
mod go;
mod maven;
mod memory;
mod netrc;
mod npm;
mod python;
mod yarn;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_core::{HostName, HostPattern, Target};
use tagout_credentials::{Credential, Secret};
use tagout_policy::{CredentialGrant, OperationGrant, Registry, Task};
use tagout_sandbox::OverlayFile;
use tagout_secrets::DecoyKey;

pub(crate) use self::cargo::Index;
use self::cargo::download_host;
pub(crate) use self::downloads::Asker;
pub(crate) use self::memory::Memory;
use crate::scan;

/// The largest configuration file that is read.
const LARGEST: u64 = 1 << 20;

/// The operator's machine, as far as it is the operator's.
pub(crate) struct Outside<'a> {
    /// Looks a variable up.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The person's home.
    pub(crate) home: &'a Path,
    /// What the agent could have written: nothing in it is read.
    pub(crate) workspace: &'a Path,
    /// What was found out before.
    pub(crate) memory: &'a Memory,
}

impl Outside<'_> {
    fn set(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The text of a configuration file; `None` where there is none that counts.
    fn read(&self, path: &Path) -> Option<String> {
        let real = self.ours(path)?;
        let metadata = fs::metadata(&real).ok()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return None;
        }
        String::from_utf8(fs::read(&real).ok()?).ok()
    }

    /// Where a path really leads, unless that is the workspace.
    fn ours(&self, path: &Path) -> Option<PathBuf> {
        let real = path.is_absolute().then(|| path.canonicalize().ok())??;
        (!real.starts_with(self.workspace)).then_some(real)
    }

    /// The program of that name on PATH, where it really lies.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let search = self.set("PATH")?;
        std::env::split_paths(&search).find_map(|folder| {
            // Most entries have no such program; resolving their links would cost more than all else here.
            if !folder.join(name).is_file() {
                return None;
            }
            self.ours(&self.ours(&folder)?.join(name))
        })
    }

    /// The paths that match `pattern`, in which `*` stands for a part of one name. Newest names last.
    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            let Some((front, back)) = text.split_once('*') else {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            };
            found = found
                .iter()
                .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
                .map(|entry| entry.path())
                .filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    name.len() >= front.len() + back.len()
                        && name.starts_with(front)
                        && name.ends_with(back)
                })
                .collect();
            found.sort();
        }
        found.retain(|path| path.exists());
        found
    }

    fn config_home(&self) -> PathBuf {
        self.set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| self.home.join(".config"))
    }
}

/// How a value is spelled where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it is.
    Plain,
    /// In base64.
    Base64,
    /// As the second half of `user:password` in base64.
    Pair(String),
}

/// A credential in a configuration file.
struct FoundSecret {
    tool: &'static str,
    /// Where it may go; `None`, nowhere: it is only kept out of sight.
    host: Option<HostName>,
    value: String,
    /// What stands in the file for it.
    written: String,
    spelling: Spelling,
}

/// A file that the tool finds inside, with decoys where its secrets stood.
struct FoundFile {
    /// Relative to the home.
    place: &'static str,
    text: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    registries: Vec<Registry>,
    indexes: Vec<Index>,
    secrets: Vec<FoundSecret>,
    files: Vec<FoundFile>,
    /// Files that are visible inside where they are.
    visible: Vec<(PathBuf, String)>,
    variables: Vec<(String, String)>,
}

impl Found {
    /// Takes a registry's URL as a configuration has it. What cannot be reached by a name is left out:
    /// the tool is refused inside, legibly.
    fn url(&mut self, tool: &'static str, url: &str) {
        let Some((registry, userinfo)) = Registry::parse(tool, url) else {
            return;
        };
        self.userinfo(tool, &registry.target.host, userinfo);
        self.add(registry);
    }

    fn add(&mut self, registry: Registry) {
        if !self.registries.contains(&registry) {
            self.registries.push(registry);
        }
    }

    /// `user:password` or a token alone, as it stands in a URL.
    fn userinfo(&mut self, tool: &'static str, host: &HostName, userinfo: Option<&str>) {
        let Some(userinfo) = userinfo else { return };
        let written = match userinfo.split_once(':') {
            // A token may stand for the user, with nothing or a word behind it.
            Some((user, "" | "x-oauth-basic")) => user,
            Some((_, password)) => password,
            None => userinfo,
        };
        let value = tagout_core::percent_decode(written);
        if let Ok(value) = String::from_utf8(value) {
            self.secret(tool, Some(host), value, written.to_owned(), Spelling::Plain);
        }
    }

    fn secret(
        &mut self,
        tool: &'static str,
        host: Option<&HostName>,
        value: String,
        written: String,
        spelling: Spelling,
    ) {
        // What is empty, names a variable that is not set, or could leave a header field, is no credential.
        let stands_for_itself = value.contains("${") && value == written;
        let control = value.chars().any(char::is_control);
        if value.is_empty() || written.is_empty() || control || stands_for_itself {
            return;
        }
        self.secrets.push(FoundSecret {
            tool,
            host: host.cloned(),
            value,
            written,
            spelling,
        });
    }

    /// A variable that the tool reads, for the inside.
    fn variable(&mut self, name: &str, value: String) {
        self.variables.push((name.to_owned(), value));
    }
}

/// What a session gets.
pub(crate) struct Learned {
    registries: Vec<Registry>,
    /// Registries of cargo that have not said yet where their downloads lie.
    pub(crate) indexes: Vec<Index>,
    /// Files in the home, for the command to read and change.
    pub(crate) copies: Vec<OverlayFile>,
    /// Files that are visible inside, and hold secrets: their copies, to be laid over them.
    pub(crate) overlays: Vec<OverlayFile>,
    /// Variables with which tools find their registries.
    pub(crate) variables: Vec<(String, String)>,
    /// Credentials of registries.
    pub(crate) credentials: Vec<Credential>,
}

/// Reads everything on this machine, for a session in `workspace`.
pub(crate) fn of_this_machine(workspace: &Path, memory: &Memory, key: &DecoyKey) -> Learned {
    let home = crate::specify::home_inside();
    let outside = Outside {
        variable: &|name| std::env::var(name).ok(),
        home: Path::new(&home),
        workspace,
        memory,
    };
    learn(&outside, key)
}

/// Reads everything.
fn learn(outside: &Outside<'_>, key: &DecoyKey) -> Learned {
    let mut found = Found::default();
    npm::find(outside, &mut found);
    yarn::find(outside, &mut found);
    python::find(outside, &mut found);
    cargo::find(outside, &mut found);
    go::find(outside, &mut found);
    maven::find(outside, &mut found);
    gem::find(outside, &mut found);
    netrc::find(outside, &mut found);
    settle(found, outside, key)
}

/// Gives every secret its decoy.
fn settle(found: Found, outside: &Outside<'_>, key: &DecoyKey) -> Learned {
    let mut registries = found.registries;
    let mut credentials: Vec<Credential> = Vec::new();
    let mut spelled: Vec<(String, String)> = Vec::new();
    for secret in found.secrets {
        let value = Secret::new(secret.value.clone().into_bytes());
        let decoy = value.decoy(key);
        let stands = match secret.spelling {
            Spelling::Plain => decoy.as_str().to_owned(),
            Spelling::Base64 => STANDARD.encode(decoy.as_str()),
            Spelling::Pair(user) => STANDARD.encode(format!("{user}:{}", decoy.as_str())),
        };
        spelled.push((secret.written, stands));
        let Some(host) = secret.host else { continue };
        let same = |known: &Credential| known.decoy == decoy && known.is_bound_to(&host);
        // Where nothing is read, nothing is attached.
        if !registries
            .iter()
            .any(|registry| registry.target.host == host)
            || credentials.iter().any(same)
        {
            continue;
        }
        let base = format!("{}:{host}", secret.tool);
        let taken = |name: &str| {
            credentials
                .iter()
                .any(|known: &Credential| known.name == name)
        };
        let name = (1_u32..)
            .map(|number| match number {
                1 => base.clone(),
                _ => format!("{base}#{number}"),
            })
            .find(|name| !taken(name))
            .unwrap_or(base);
        let hosts = [HostPattern::Exact(host.clone())];
        let bound = Credential::bind(
            &name,
            "http",
            &hosts,
            Some("authorization"),
            (value, decoy),
            1,
        );
        if let Ok(credential) = bound {
            for registry in &mut registries {
                if registry.target.host == host && registry.credential.is_none() {
                    registry.credential = Some(name.clone());
                }
            }
            // A second credential of one host is one more entry of the list, at the same place.
            if !registries
                .iter()
                .any(|registry| registry.credential.as_ref() == Some(&name))
            {
                let at = registries
                    .iter()
                    .find(|registry| registry.target.host == host)
                    .cloned();
                registries.extend(at.map(|registry| Registry {
                    credential: Some(name.clone()),
                    ..registry
                }));
            }
            credentials.push(credential);
        }
    }
    // The longest first: one value may be a part of another.
    spelled.sort_by_key(|(written, _)| std::cmp::Reverse(written.len()));
    let covered = |text: &str| {
        spelled
            .iter()
            .fold(text.to_owned(), |text, (written, stands)| {
                text.replace(written.as_str(), stands)
            })
    };
    let copies = found
        .files
        .iter()
        .map(|file| {
            let path = outside.home.join(file.place);
            let text = covered(&file.text).into_bytes();
            let what = format!("{} of {}", path.display(), outside.workspace.display());
            // What else the detector takes for a secret in there is none of the inside's business.
            let bytes = outside.memory.of_text(&what, text, |text| {
                let (twin, _) = scan::find_in(&path, text, key)?;
                Some(keep_decoys(&spelled, twin.twin, text))
            });
            OverlayFile {
                path,
                bytes,
                mode: 0o600,
            }
        })
        .collect();
    let overlays = found
        .visible
        .iter()
        .filter_map(|(path, text)| {
            let safe = covered(text);
            (safe != *text).then(|| OverlayFile {
                path: path.clone(),
                bytes: safe.into_bytes(),
                mode: 0o644,
            })
        })
        .collect();
    let variables = found
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), covered(value)))
        .collect();
    Learned {
        registries,
        indexes: found.indexes,
        copies,
        overlays,
        variables,
        credentials,
    }
}

/// A decoy looks like the secret for which it stands, so the detector finds it, and makes another one in
/// its place, of the same length: put those back.
fn keep_decoys(spelled: &[(String, String)], mut twin: Vec<u8>, before: &[u8]) -> Vec<u8> {
    for (_, stands) in spelled {
        let stands = stands.as_bytes();
        for at in 0..before.len().saturating_sub(stands.len() - 1) {
            if before.get(at..at + stands.len()) == Some(stands)
                && let Some(place) = twin.get_mut(at..at + stands.len())
            {
                place.copy_from_slice(stands);
            }
        }
    }
    twin
}

impl Learned {
    /// Grants the registries. What the manifest passes through unread stays as the manifest says.
    pub(crate) fn grant(&self, task: &mut Task) {
        for registry in &self.registries {
            if task.inspects(&registry.target.host, registry.target.port) {
                task.registries.add(registry.clone());
            }
        }
        for credential in &self.credentials {
            task.credentials.push(CredentialGrant {
                name: credential.name.clone(),
                provider: "http".to_owned(),
                source: "the operator's configuration".to_owned(),
                expose: None,
                hosts: credential.hosts.clone(),
                slot: Some("authorization".to_owned()),
                operations: vec![OperationGrant::Read],
                environments: vec![task.environment.clone()],
                follows_task_environment: true,
                line: 0,
            });
        }
    }

    /// What the operator's configuration may lead to on the operator's own network.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.registries.iter().map(|registry| &registry.target)
    }
}

/// `key = value` lines with sections, comments and values that go on in indented lines, as the INI
/// dialects of npm and pip have them. Gives section, key and value.
fn ini(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut entries: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.trim().to_owned();
            continue;
        }
        if line.starts_with([' ', '\t'])
            && let Some((_, _, value)) = entries.last_mut()
        {
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        let Some((key, value)) = trimmed.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        entries.push((
            section.clone(),
            key.trim().to_owned(),
            bare.unwrap_or(value).to_owned(),
        ));
    }
    entries
}

/// Leaves out lines of an INI file that name something that is not there inside: proxies, and bundles
/// of certificate authorities.
fn without_keys(text: &str, unwanted: &[&str]) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or("").trim();
        if !unwanted.contains(&key) || !line.contains('=') {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests;
