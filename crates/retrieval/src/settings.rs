//! `$TAGOUT_HOME/retrieval.toml`: whose tokens are believed, what stands behind the proxy, which model is
//! asked. The operator's file, never a repository's; absent is a server that labels and shows, and that
//! releases nothing to anybody because nobody can prove who they are.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What the operator says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Names under which clients ask for this server, beside localhost and its own addresses.
    pub hosts: Vec<String>,
    /// The classifier.
    pub classifier: ClassifierSettings,
    /// A model that adds labels, asked over HTTP.
    pub model: Option<ModelSettings>,
    /// Whose tokens are believed.
    pub identity: Vec<IdentitySettings>,
    /// Who may see what.
    pub access: AccessSettings,
    /// The vector store behind the proxy.
    pub qdrant: Option<QdrantSettings>,
}

/// `[classifier]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierSettings {
    /// Whether names of people and organisations and street addresses are looked for.
    pub names: bool,
    /// Whether replies to loaders carry the checksum of the anonymised text by default.
    pub anonymize_snippets: bool,
}

impl Default for ClassifierSettings {
    fn default() -> Self {
        Self {
            names: true,
            anonymize_snippets: false,
        }
    }
}

/// `[model]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Where it answers: POST, see docs/pebblo.md.
    pub url: String,
    /// Its version: part of the name under which labels are stored.
    pub version: String,
    /// How long it may take, in seconds.
    #[serde(default = "ten")]
    pub timeout: u64,
}

/// `[[identity]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySettings {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `aud`.
    pub audience: String,
    /// `HS256`, `RS256`, `ES256` or `EdDSA`: the only one that is accepted from this issuer.
    pub algorithm: String,
    /// HS256: a file with the shared secret, 32 bytes or more. Others: a JWK set.
    pub key_file: PathBuf,
    /// The claim that names the person.
    #[serde(default = "sub")]
    pub user_claim: String,
    /// The claim that lists groups.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// What its users and groups begin with here, such as `partner:`; with several issuers each has one.
    #[serde(default)]
    pub prefix: String,
}

/// `[access]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessSettings {
    /// A `policy.cedar`, accepted by `tagout trust`.
    pub policy: Option<PathBuf>,
    /// Who may read documents of which nobody said who may: absent is nobody, `["everyone"]` is everybody
    /// with a token.
    pub default_readers: Vec<String>,
}

/// `[qdrant]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantSettings {
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// Where Qdrant answers.
    pub upstream: String,
    /// A file with Qdrant's own API key, which the proxy attaches.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Groups that may write; everybody else reads.
    #[serde(default)]
    pub writers: Vec<String>,
    /// The payload's member that holds the text.
    #[serde(default = "page_content")]
    pub content_key: String,
    /// The payload's member that holds the rest.
    #[serde(default = "metadata")]
    pub metadata_key: String,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{path}: {message}")]
    Mistaken {
        /// Which.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
}

impl Settings {
    /// Reads `retrieval.toml` in `home`; an absent file is the defaults.
    ///
    /// # Errors
    /// When it cannot be read or says something unknown.
    pub fn read(home: &Path) -> Result<Self, SettingsError> {
        let path = home.join("retrieval.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(SettingsError::Unreadable { path, source }),
        };
        toml::from_str(&text).map_err(|error| SettingsError::Mistaken {
            path,
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

fn ten() -> u64 {
    10
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

fn page_content() -> String {
    "page_content".to_owned()
}

fn metadata() -> String {
    "metadata".to_owned()
}
