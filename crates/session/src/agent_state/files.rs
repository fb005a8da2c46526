//! What of the person's home is brought to the agent: credentials as decoys, settings as copies. This
//! is read once, outside, before anything starts.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;
use tagout_catalog::profile::{Binding, Class, CredentialFile, Rest, Setting};
use tagout_core::{Digest, HostName, HostPattern};
use tagout_credentials::login::{Document, Login};
use tagout_credentials::{Credential, Secret};
use tagout_secrets::DecoyKey;

use super::beneath::walk;
use super::{Places, of_class};
use crate::scan::{self, KnownValue};

/// The largest settings file that goes in.
const LARGEST_FILE: u64 = 4 << 20;
/// So many bytes of settings go in.
const MOST_BYTES: u64 = 128 << 20;
/// So many entries of settings folders are looked at.
const MOST_ENTRIES: usize = 10_000;

/// A file as the agent sees it.
pub(crate) struct InsideFile {
    /// Relative to the home.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// What was brought.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) files: Vec<InsideFile>,
    /// Keys and tokens, with their decoys.
    pub(crate) credentials: Vec<Credential>,
    /// Where each credential came from, by its place in `credentials`.
    pub(crate) sources: Vec<String>,
    pub(crate) logins: Vec<Login>,
    /// Variables that hold decoys.
    pub(crate) variables: Vec<(String, String)>,
    /// Secrets that were found in settings.
    pub(crate) known: Vec<KnownValue>,
    /// Decoys of those, with what may be said of them.
    pub(crate) decoys: Vec<(Vec<u8>, String)>,
    /// Values that may stand in the slots of a host although they look like credentials.
    pub(crate) public: Vec<(HostName, Digest)>,
    /// What a person should know, a sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Brings what the profile names. `variable` looks a variable up outside; `taken` are variables and
/// credential names that the manifest has already.
pub(crate) fn bring(
    places: &Places,
    variable: &dyn Fn(&str) -> Option<String>,
    taken: &dyn Fn(&str) -> bool,
    key: &DecoyKey,
) -> Brought {
    let mut brought = Brought::default();
    for known in &places.profile.keys {
        let Some(value) = variable(&known.variable).filter(|value| is_key(value)) else {
            continue;
        };
        if !taken(&known.variable) {
            let source = format!("env:{}", known.variable);
            let name = known.variable.clone();
            let secret = Secret::new(value.into_bytes());
            let decoy = brought.bind(name.clone(), source, secret, &known.binding, key);
            brought.variables.push((name, decoy));
        }
    }
    for file in &places.profile.files {
        brought.bring_credentials(places, file, taken, key);
    }
    for state in of_class(places.profile, Class::Settings) {
        for path in &state.paths {
            brought.bring_settings(places, path, key);
        }
    }
    for setting in &places.profile.settings {
        brought.set(setting);
    }
    brought
}

/// Fit to stand in a header field.
fn is_key(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Brought {
    /// Binds a credential; its decoy.
    fn bind(
        &mut self,
        name: String,
        source: String,
        secret: Secret,
        binding: &Binding,
        key: &DecoyKey,
    ) -> String {
        let decoy = secret.decoy(key);
        let text = decoy.as_str().to_owned();
        let hosts = binding.hosts.iter();
        self.credentials.push(Credential {
            name,
            provider: "http".to_owned(),
            hosts: hosts
                .filter_map(|host| HostPattern::parse(host).ok())
                .collect(),
            slots: binding.slots(),
            secret,
            decoy,
            generation: 1,
            repository: None,
        });
        self.sources.push(source);
        text
    }

    fn bring_credentials(
        &mut self,
        places: &Places,
        file: &'static CredentialFile,
        taken: &dyn Fn(&str) -> bool,
        key: &DecoyKey,
    ) {
        // Behind a link of the person's own: the new token goes where the old one was.
        let Ok(outside) = fs::canonicalize(places.outside(&file.path)) else {
            return;
        };
        let document = match Document::read(&outside) {
            Ok(document) => document,
            Err(error) => {
                let path = outside.display();
                self.warnings.push(format!("{path} is not used: {error}"));
                return;
            }
        };
        let mut inside = match file.rest {
            Rest::Dropped => Json::Object(serde_json::Map::new()),
            Rest::Masked => {
                let text = document.content().to_string();
                let masked = self.masked(Path::new(&file.path), text.into_bytes(), key);
                serde_json::from_slice(&masked).unwrap_or_else(|_| Json::Object(Default::default()))
            }
        };
        for field in &file.keep {
            if let Some(value) = document.field(field) {
                put(&mut inside, field, value.clone());
            }
        }
        let source = |field: &str| format!("file:{}#{field}", outside.display());
        for known in &file.secrets {
            let Some(value) = document.text(&known.field).filter(|value| is_key(value)) else {
                continue;
            };
            let name = format!("{} of {}", known.field, places.profile.name);
            let secret = Secret::new(value.as_bytes().to_vec());
            let from = source(&known.field);
            let decoy = self.bind(name, from, secret, &known.binding, key);
            put(&mut inside, &known.field, decoy.into());
        }
        for table in &file.logins {
            let found = Login::find(table, &places.profile.log_in, &outside, &document, key);
            let Some((login, credentials)) = found else {
                continue;
            };
            if credentials.iter().any(|credential| taken(&credential.name)) {
                continue;
            }
            login.show(&document, &credentials, &mut inside);
            let field = |name: &str| match name {
                name if name.ends_with("refresh token") => table.refresh.clone(),
                name if name.ends_with("id token") => table.id.clone().unwrap_or_default(),
                _ => table.access.clone(),
            };
            for credential in credentials {
                self.sources.push(source(&field(&credential.name)));
                self.credentials.push(credential);
            }
            if let Some(endpoint) = login.endpoint()
                && let (Ok(host), Some(digest)) =
                    (HostName::parse(&endpoint.host), endpoint.client_secret())
            {
                self.public.push((host, digest));
            }
            self.logins.push(login);
        }
        if inside.as_object().is_some_and(|fields| !fields.is_empty()) {
            let bytes = serde_json::to_vec_pretty(&inside).unwrap_or_default();
            self.files.push(InsideFile {
                path: file.path.clone(),
                bytes,
                mode: 0o600,
            });
        }
    }

    /// A file or a folder of settings.
    fn bring_settings(&mut self, places: &Places, path: &str, key: &DecoyKey) {
        let Ok(outside) = fs::canonicalize(places.outside(path)) else {
            return;
        };
        if outside.is_file() {
            let executable = false;
            self.bring_setting(path.to_owned(), &outside, executable, key);
            return;
        }
        let mut bytes = 0;
        for file in walk(&outside, MOST_ENTRIES) {
            bytes += file.size;
            if bytes > MOST_BYTES {
                let path = outside.display();
                let warning = format!("{path} is larger than 128 MiB; only a part of it is inside");
                self.warnings.push(warning);
                return;
            }
            if let Some(below) = file.path.to_str() {
                let name = format!("{path}/{below}");
                self.bring_setting(name, &outside.join(&file.path), file.executable, key);
            }
        }
    }

    fn bring_setting(&mut self, path: String, outside: &Path, executable: bool, key: &DecoyKey) {
        let mut bytes = Vec::new();
        let read = fs::File::open(outside)
            .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
        if read.is_err() || bytes.len() as u64 > LARGEST_FILE {
            return;
        }
        let bytes = self.masked(Path::new(&path), bytes, key);
        let mode = if executable { 0o700 } else { 0o600 };
        self.files.push(InsideFile { path, bytes, mode });
    }

    /// `bytes` with decoys for what the detector finds.
    fn masked(&mut self, path: &Path, bytes: Vec<u8>, key: &DecoyKey) -> Vec<u8> {
        let Some((file, known)) = scan::find_in(path, &bytes, key) else {
            return bytes;
        };
        let label = format!("~/{}", path.display());
        self.known.extend(known.into_iter().map(|known| KnownValue {
            label: label.clone(),
            ..known
        }));
        let decoys = file.decoys.into_iter().map(|decoy| (decoy, label.clone()));
        self.decoys.extend(decoys);
        file.twin
    }

    /// Puts a value into a settings file, which is made when it is not there. One that cannot be read
    /// stays as it is: the agent will say so itself.
    fn set(&mut self, setting: &Setting) {
        let found = self.files.iter().position(|file| file.path == setting.path);
        let text = found.and_then(|at| self.files.get(at)).map_or("", |file| {
            std::str::from_utf8(&file.bytes).unwrap_or_default()
        });
        let is_toml = setting.path.ends_with(".toml");
        let Some(bytes) = (match is_toml {
            true => with_toml(text, setting),
            false => with_json(text, setting),
        }) else {
            return;
        };
        match found.and_then(|at| self.files.get_mut(at)) {
            Some(file) => file.bytes = bytes,
            None => self.files.push(InsideFile {
                path: setting.path.clone(),
                bytes,
                mode: 0o600,
            }),
        }
    }
}

fn with_json(text: &str, setting: &Setting) -> Option<Vec<u8>> {
    let mut content: Json = match text.trim() {
        "" => Json::Object(serde_json::Map::new()),
        text => serde_json::from_str(text).ok()?,
    };
    put(
        &mut content,
        &setting.field,
        serde_json::to_value(&setting.value).ok()?,
    );
    serde_json::to_vec_pretty(&content).ok()
}

fn with_toml(text: &str, setting: &Setting) -> Option<Vec<u8>> {
    let mut content: toml::Table = toml::from_str(text).ok()?;
    let (parents, last) = setting
        .field
        .rsplit_once('.')
        .unwrap_or(("", &setting.field));
    let mut at = &mut content;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        let table = toml::Value::Table(toml::Table::new());
        at = at.entry(part).or_insert(table).as_table_mut()?;
    }
    at.insert(last.to_owned(), setting.value.clone());
    Some(toml::to_string(&content).ok()?.into_bytes())
}

/// Puts a value into a dotted field, making the objects on the way.
fn put(content: &mut Json, field: &str, value: Json) {
    let (parents, last) = field.rsplit_once('.').unwrap_or(("", field));
    let mut at = content;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        let Some(object) = at.as_object_mut() else {
            return;
        };
        at = object
            .entry(part)
            .or_insert_with(|| Json::Object(serde_json::Map::new()));
    }
    if let Some(object) = at.as_object_mut() {
        object.insert(last.to_owned(), value);
    }
}
