//! `tagout init`: reads a workspace and proposes a `tagout.toml`. What is found is offered in comments,
//! with the place it was found at: which files hold credentials, and whose they are; which environments
//! there seem to be. What is granted without a person taking a `#` away is nothing.
//!
//! What must stay true: no value of any file is in the text, only names and places; nobody is contacted
//! unless the person asked for it; the text is a manifest that `tagout run` takes as it is.

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tagout_authority::approval::escape_untrusted;
use tagout_credentials::vault::VaultError;
use tagout_credentials::{Outside, Source};
use tagout_policy::Manifest;
use tagout_secrets::{DecoyKey, Detector};

use crate::home::Home;
use crate::{keys, probe, scan};

use places::{Place, Service};

/// The largest file that is read a second time.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Credentials that are offered; the rest is counted.
const MOST: usize = 24;

/// A manifest that nobody has accepted yet.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The text of `tagout.toml`.
    pub text: String,
    /// How many files hold credentials.
    pub files: usize,
}

/// Why nothing is proposed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a manifest.
    #[error("{0} is there already, and init never changes one; edit it, or remove it first")]
    Exists(PathBuf),
    /// The install secret could not be read.
    #[error("reading the install secret: {0}")]
    Secret(std::io::Error),
    /// What was written is no manifest: a mistake of Tagout's.
    #[error("the proposal is no valid manifest, which is a mistake of Tagout's: {0}")]
    Invalid(String),
}

/// Where a credential stands.
struct Found {
    file: PathBuf,
    key: Option<String>,
    kind: String,
    service: Option<&'static Service>,
}

/// Proposes a manifest for a workspace. `ask_providers`: each credential that can be probed is sent to
/// the provider that its shape belongs to. `progress` hears how many files were read.
///
/// # Errors
/// See [`InitError`].
pub fn propose(
    home: &Home,
    workspace: &Path,
    ask_providers: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Proposal, InitError> {
    let path = workspace.join("tagout.toml");
    if fs::symlink_metadata(&path).is_ok() {
        return Err(InitError::Exists(path));
    }
    let secret = keys::install_secret(home).map_err(InitError::Secret)?;
    let key = DecoyKey::derive(&secret, workspace.as_os_str().as_encoded_bytes());
    let scanned = scan::scan(workspace, &key, &[], progress);
    let files: Vec<&Path> = scanned
        .twins
        .iter()
        .map(|file| file.path.as_path())
        .collect();
    let found: Vec<Found> = files
        .iter()
        .flat_map(|file| credentials_in(workspace, file))
        .collect();
    let place = Place::read(workspace);
    let mut text = head(workspace);
    environments(&mut text, &place);
    credentials(&mut text, home, workspace, &found, ask_providers);
    databases(&mut text, &found);
    hosts(&mut text, &place);
    Manifest::parse(&text, "tagout.toml").map_err(|error| InitError::Invalid(error.to_string()))?;
    Ok(Proposal {
        text,
        files: files.len(),
    })
}

fn credentials_in(workspace: &Path, file: &Path) -> Vec<Found> {
    let full = workspace.join(file);
    let small =
        fs::symlink_metadata(&full).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
    let Some(bytes) = small.then(|| fs::read(&full).ok()).flatten() else {
        return Vec::new();
    };
    Detector::builtin()
        .scan(file, &bytes)
        .into_iter()
        .map(|finding| Found {
            service: finding.key.as_deref().and_then(Service::of_variable),
            file: file.to_owned(),
            key: finding.key,
            kind: finding.kind,
        })
        .collect()
}

fn head(workspace: &Path) -> String {
    let name = task_name(&workspace.file_name().unwrap_or_default().to_string_lossy());
    format!(
        "# What an agent may do in this folder. It counts after `tagout trust`.\n\
         # Written by `tagout init` from what it found here; lines with a # are\n\
         # offers, not grants.\n\
         # Never put a secret into this file: a source says where the value is.\n\n\
         [task]\nname = {}\nenvironment = \"development\"\n",
        quoted(&name)
    )
}

/// A task's name after a folder's: its words with dashes between them.
fn task_name(folder: &str) -> String {
    let words: Vec<&str> = folder
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || "._-".contains(letter)))
        .filter(|word| !word.is_empty())
        .collect();
    match words.join("-").chars().take(60).collect::<String>() {
        none if none.is_empty() => "task".to_owned(),
        name => name,
    }
}

fn environments(text: &mut String, place: &Place) {
    text.push_str(
        "\n# Nothing in a protected environment changes without you. Pin what belongs\n\
         # to it by id: a resource that is not pinned and cannot be looked up\n\
         # counts as production anyway.\n\
         [[environment]]\nname = \"production\"\nprotected = true\n",
    );
    for example in &place.resources {
        let _ = writeln!(text, "# resources = [{}]", quoted(example));
    }
    for (name, seen) in &place.environments {
        if name == "production" {
            let _ = writeln!(text, "# seen in {}", comment(seen));
            continue;
        }
        let _ = writeln!(
            text,
            "\n# seen in {}\n# [[environment]]\n# name = {}",
            comment(seen),
            quoted(name)
        );
    }
}

fn credentials(
    text: &mut String,
    home: &Home,
    workspace: &Path,
    found: &[Found],
    ask_providers: bool,
) {
    if found.is_empty() {
        text.push_str("\n# No credential was found in the files here.\n");
        return;
    }
    text.push_str(
        "\n# Credentials. Inside, each of these files shows decoys instead of the\n\
         # values. Without an entry here the agent can use none of them.\n",
    );
    let mut others: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut offered = 0;
    for one in found {
        let file = comment(&one.file.display().to_string());
        let offer = match (&one.key, one.service) {
            (Some(key), Some(service)) if is_variable(key) && offered < MOST => (key, service),
            (key, _) => {
                let what = key.as_deref().unwrap_or(&one.kind);
                others.entry(file).or_default().insert(comment(what));
                continue;
            }
        };
        offered += 1;
        let (key, service) = offer;
        let name = free_name(service.name, &mut names);
        let source = format!("file:{}#{key}", one.file.display());
        let _ = writeln!(text, "\n# {key} in {file}: {}", service.title);
        if ask_providers {
            for line in asked(home, workspace, &source) {
                let _ = writeln!(text, "#   {}", comment(&line));
            }
        }
        let _ = writeln!(
            text,
            "# [[credential]]\n# name = {}\n# provider = {}\n# source = {}",
            quoted(&name),
            quoted(service.provider()),
            quoted(&source),
        );
        if let Some((host, slot)) = service.http {
            let _ = writeln!(
                text,
                "# hosts = [{}]\n# slot = {}",
                quoted(host),
                quoted(slot)
            );
        }
        let _ = writeln!(
            text,
            "# expose = {}\n# operations = [\"read\"]",
            quoted(key)
        );
        if let Some((host, _)) = service.http {
            let _ = writeln!(text, "# [[host]]\n# name = {}", quoted(host));
        }
    }
    for (file, kinds) in &others {
        let kinds: Vec<&str> = kinds.iter().take(8).map(String::as_str).collect();
        let _ = writeln!(text, "# {file}: {} (decoys inside)", kinds.join(", "));
    }
}

/// What the provider says, a sentence each.
fn asked(home: &Home, workspace: &Path, source: &str) -> Vec<String> {
    let outside = Outside {
        environment: &|name| std::env::var(name).ok(),
        folder: workspace,
        workspace,
        vault: &|name| Err(VaultError::Unknown(name.to_owned())),
    };
    let value = match Source::parse(source).and_then(|source| source.load(&outside)) {
        Ok(value) => value,
        Err(error) => return vec![error.to_string()],
    };
    match probe::probe(home, &value) {
        Ok(found) => found.facts.into_iter().chain(found.unknown).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn databases(text: &mut String, found: &[Found]) {
    let urls = found
        .iter()
        .filter_map(|one| Some((one.key.as_deref()?, &one.file)))
        .filter(|(key, _)| is_variable(key) && key.to_ascii_uppercase().ends_with("DATABASE_URL"));
    for (key, file) in urls.take(MOST) {
        let _ = writeln!(
            text,
            "\n# {key} in {}: a database. Statements of PostgreSQL, MySQL and Redis are read; others have no gate.\n\
             # [[database]]\n# name = \"app\"\n# url = {}",
            comment(&file.display().to_string()),
            quoted(&format!("file:{}#{key}", file.display())),
        );
    }
}

fn hosts(text: &mut String, place: &Place) {
    for (port, what) in &place.local_ports {
        let _ = writeln!(
            text,
            "\n# {}: to reach the one that runs on this machine (passed through unread)\n# [[host]]\n\
             # local = {port}",
            comment(what)
        );
    }
    if !place.remotes.is_empty() {
        let list: Vec<String> = place.remotes.iter().map(|host| comment(host)).collect();
        let _ = writeln!(
            text,
            "\n# git fetches from {} without an entry here; the first push of a branch asks you.",
            list.join(", ")
        );
    }
    if !place.tools.is_empty() {
        let tools: Vec<&str> = place.tools.iter().copied().collect();
        let _ = writeln!(
            text,
            "\n# {}: packages are read from the registries that your own configuration names.",
            tools.join(", ")
        );
    }
    text.push_str(
        "\n# Any other host, by method and path:\n# [[host]]\n# name = \"api.example.com\"\n\
         # methods = [\"GET\", \"POST\"]\n# paths = [\"/v1/**\"]\n",
    );
}

/// A name that the manifest does not have yet.
fn free_name(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let name = (1..)
        .map(|number| match number {
            1 => wanted.to_owned(),
            number => format!("{wanted}-{number}"),
        })
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| wanted.to_owned());
    taken.insert(name.clone());
    name
}

fn is_variable(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 100
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A TOML string. Names of files are anybody's.
fn quoted(text: &str) -> String {
    toml::Value::String(escape_untrusted(text))
        .to_string()
        .replace('\n', " ")
}

/// Text within a comment: one line, nothing that a terminal acts on.
fn comment(text: &str) -> String {
    escape_untrusted(text)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(120)
        .collect()
}

#[cfg(test)]
mod tests;
