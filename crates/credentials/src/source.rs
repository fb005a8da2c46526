//! Where a manifest says a value comes from: `env:VAR`, `file:PATH[#key]`, `vault:NAME` or
//! `command:ARGV`. Read once, outside the sandbox, before anything starts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tagout_core::json;
use zeroize::Zeroizing;

use crate::program::{self, ProgramError};
use crate::value::Secret;
use crate::vault::{self, VaultError};

/// A credential's source. Names a place, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A variable of the environment in which `tagout` runs.
    Env(String),
    /// A file, or one key of it.
    File {
        /// Relative to the manifest's folder, unless absolute or beginning with `~/`.
        path: PathBuf,
        /// The key, dotted for nested ones; absent, the whole file is the value.
        key: Option<String>,
    },
    /// An entry of the vault.
    Vault(String),
    /// What a program prints. No shell; `line` is split at blanks, quotes hold words together.
    Command {
        /// As the manifest has it.
        line: String,
        /// The program and its arguments.
        words: Vec<String>,
    },
}

/// Where a source is read: what of the machine it may ask.
pub struct Outside<'a> {
    /// Looks a variable up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The manifest's folder, to which paths are relative.
    pub folder: &'a Path,
    /// Where no program is taken from: an agent writes there.
    pub workspace: &'a Path,
    /// Gets an entry of the vault.
    pub vault: &'a dyn Fn(&str) -> Result<Secret, VaultError>,
}

/// Why a value could not be had. Names the place, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not one of the known forms.
    #[error(
        "`{0}` is no source; write env:VAR, file:PATH#key, vault:NAME or command:PROGRAM ARGUMENTS"
    )]
    Unknown(String),
    /// The vault gave nothing.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The program gave nothing.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The variable is not there.
    #[error("the variable {0} is not set; export it before starting tagout")]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file lacks the key.
    #[error("{path} has no key `{key}` with a text as its value")]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
    },
    /// Nothing there.
    #[error("{0} is empty")]
    Empty(String),
    /// A line end or another control character, with which a value could leave its slot.
    #[error("the value of {0} has a line end or control character in it; a credential is one line")]
    ControlCharacter(String),
}

/// A file larger than this holds no credential.
const LARGEST_FILE: u64 = 1 << 20;

impl Source {
    /// Reads a source as a manifest writes it.
    ///
    /// # Errors
    /// When the text is no source.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let unknown = || SourceError::Unknown(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "env" => {
                let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if rest.is_empty() || !rest.bytes().all(name) {
                    return Err(unknown());
                }
                Ok(Self::Env(rest.to_owned()))
            }
            "file" => {
                let (path, key) = match rest.split_once('#') {
                    Some((path, key)) => (path, Some(key.to_owned())),
                    None => (rest, None),
                };
                if path.is_empty() || key.as_deref() == Some("") {
                    return Err(unknown());
                }
                Ok(Self::File {
                    path: PathBuf::from(path),
                    key,
                })
            }
            "vault" => {
                vault::check_name(rest).map_err(|_| unknown())?;
                Ok(Self::Vault(rest.to_owned()))
            }
            "command" => Ok(Self::Command {
                line: rest.to_owned(),
                words: program::words(rest)?,
            }),
            _ => Err(unknown()),
        }
    }

    /// Gets the value. One line end at the end of a file, or of what a program printed, is not part
    /// of it.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn load(&self, outside: &Outside<'_>) -> Result<Secret, SourceError> {
        let Outside {
            environment,
            folder,
            workspace,
            vault,
        } = outside;
        let (place, value) = match self {
            Self::Vault(name) => (self.to_string(), vault(name)?.expose().to_vec()),
            Self::Command { words, .. } => {
                let path = environment("PATH");
                let printed =
                    program::output_of(words, path.as_deref().map(OsStr::new), workspace)?;
                // Not the whole line: its arguments may be a person's own.
                let place = format!("command:{}", words.first().map_or("", String::as_str));
                (place, without_line_end(&printed).to_vec())
            }
            Self::Env(name) => {
                let value = environment(name).ok_or_else(|| SourceError::NotSet(name.clone()))?;
                (self.to_string(), value.into_bytes())
            }
            Self::File { path, key } => {
                let full = match (path.strip_prefix("~"), environment("HOME")) {
                    (Ok(rest), Some(home)) => Path::new(&home).join(rest),
                    _ => folder.join(path),
                };
                let content = read(&full)?;
                let value = match key {
                    None => without_line_end(&content).to_vec(),
                    Some(key) => {
                        let text = String::from_utf8_lossy(&content);
                        let text = Zeroizing::new(text.into_owned());
                        lookup(&full, &text, key)
                            .ok_or_else(|| SourceError::NoKey {
                                path: path.clone(),
                                key: key.clone(),
                            })?
                            .into_bytes()
                    }
                };
                (self.to_string(), value)
            }
        };
        if value.is_empty() {
            return Err(SourceError::Empty(place));
        }
        if value.iter().any(u8::is_ascii_control) {
            return Err(SourceError::ControlCharacter(place));
        }
        Ok(Secret::new(value))
    }

    /// The file that is read, when one is and others can read it too: worth a warning.
    pub fn is_readable_by_others(&self, folder: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        match self {
            Self::Env(_) | Self::Vault(_) | Self::Command { .. } => false,
            Self::File { path, .. } => std::fs::metadata(folder.join(path))
                .is_ok_and(|data| data.permissions().mode() & 0o044 != 0),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File { path, key: None } => write!(f, "file:{}", path.display()),
            Self::File {
                path,
                key: Some(key),
            } => write!(f, "file:{}#{key}", path.display()),
            Self::Vault(name) => write!(f, "vault:{name}"),
            Self::Command { line, .. } => write!(f, "command:{line}"),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let error = |error| SourceError::File {
        path: path.to_owned(),
        error,
    };
    let data = std::fs::metadata(path).map_err(error)?;
    if !data.is_file() || data.len() > LARGEST_FILE {
        let reason = std::io::Error::other("not a file of at most 1 MiB");
        return Err(error(reason));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(error)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The text under `key` in JSON or TOML, dotted for nested keys, else in the first line that reads
/// `key = value`, `key: value`, `export key=value`, within `[section]` for `section.key`.
fn lookup(path: &Path, text: &str, key: &str) -> Option<String> {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("");
    if extension.eq_ignore_ascii_case("json") || text.trim_start().starts_with('{') {
        let document = json::parse(text.as_bytes()).ok()?;
        return document
            .get(key)
            .or_else(|| {
                key.split('.')
                    .try_fold(&document, |value, part| value.get(part))
            })?
            .as_str()
            .map(str::to_owned);
    }
    if extension.eq_ignore_ascii_case("toml")
        && let Ok(document) = text.parse::<toml::Table>()
    {
        let nested = || {
            let mut parts = key.split('.');
            let first = document.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        };
        return document
            .get(key)
            .or_else(nested)?
            .as_str()
            .map(str::to_owned);
    }
    lookup_line(text, key)
}

fn lookup_line(text: &str, key: &str) -> Option<String> {
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.trim().trim_matches(['"', '\'']).to_owned();
            continue;
        }
        if line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let Some(at) = line.find(['=', ':']) else {
            continue;
        };
        let (name, value) = line.split_at(at);
        let name = name.trim().trim_matches(['"', '\'']);
        if name == key || (!section.is_empty() && key == format!("{section}.{name}")) {
            return Some(unquoted(value.get(1..)?.trim()));
        }
    }
    None
}

/// Takes quotes, or a comment behind blanks, off a value.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some(end) = rest.find(quote)
        {
            return rest.get(..end).unwrap_or_default().to_owned();
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn load(
        source: &str,
        environment: impl Fn(&str) -> Option<String>,
        folder: &Path,
    ) -> Result<Secret, SourceError> {
        Source::parse(source).unwrap().load(&Outside {
            environment: &environment,
            folder,
            workspace: folder,
            vault: &|name| match name {
                "stored" => Ok(Secret::new(b"value".to_vec())),
                _ => Err(VaultError::Unknown(name.to_owned())),
            },
        })
    }

    #[test]
    fn sources_read_and_write_alike() {
        for text in [
            "env:TOKEN",
            "file:.env#TOKEN",
            "file:secrets/key",
            "vault:railway",
            "command:pass show 'a b'",
        ] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "TOKEN",
            "env:",
            "env:A B",
            "file:",
            "file:x#",
            "http:x",
            "vault:",
            "vault:../x",
        ] {
            assert!(
                matches!(Source::parse(text), Err(SourceError::Unknown(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_variable_is_looked_up() {
        let environment = |name: &str| (name == "TOKEN").then(|| "value".to_owned());
        let secret = load("env:TOKEN", environment, Path::new(".")).unwrap();
        assert_eq!(secret.expose(), b"value");
        assert!(matches!(
            load("env:TOKEN", nothing, Path::new(".")),
            Err(SourceError::NotSet(_))
        ));
    }

    #[test]
    fn a_file_is_read_by_key() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, key) in [
            (
                ".env",
                "# TOKEN=no\nOTHER=x\nexport TOKEN=\"value\" # comment\n",
                "TOKEN",
            ),
            ("plain.env", "TOKEN=value # comment\n", "TOKEN"),
            (
                "config.ini",
                "[a]\ntoken=no\n[b]\ntoken = value\n",
                "b.token",
            ),
            ("config.json", r#"{"a":{"token":"value"}}"#, "a.token"),
            ("config.toml", "[a]\ntoken = 'value'\n", "a.token"),
            ("config.yaml", "token: 'value'\n", "token"),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
            let secret = load(&format!("file:{name}#{key}"), nothing, folder.path()).unwrap();
            assert_eq!(secret.expose(), b"value", "{name}");
            let absent = format!("file:{name}#absent");
            assert!(matches!(
                load(&absent, nothing, folder.path()),
                Err(SourceError::NoKey { .. })
            ));
        }
        std::fs::write(folder.path().join("key"), "value\n").unwrap();
        let secret = load("file:key", nothing, folder.path()).unwrap();
        assert_eq!(secret.expose(), b"value");
    }

    #[test]
    fn vault_and_programs_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| (name == "PATH").then(|| "/usr/bin:/bin".to_owned());
        for source in [
            "vault:stored",
            "command:printf 'value\\n'",
            "command:echo value",
        ] {
            let secret = load(source, path, folder.path()).unwrap();
            assert_eq!(secret.expose(), b"value", "{source}");
        }
        for source in ["vault:absent", "command:false", "command:printf 'a\\nb'"] {
            assert!(load(source, path, folder.path()).is_err(), "{source}");
        }
    }

    #[test]
    fn invariant_3_values_that_could_leave_their_slot_are_refused_and_never_named() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["hunter2\r\nX-Evil: 1", "hunter2\nsecond", "hunter2\0", "\n"] {
            std::fs::write(folder.path().join("key"), content).unwrap();
            let error = load("file:key", nothing, folder.path()).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let environment = |_: &str| Some("hunter2\nX: y".to_owned());
        assert!(load("env:A", environment, folder.path()).is_err());
        assert!(load("file:absent", nothing, folder.path()).is_err());
        assert!(load("file:.", nothing, folder.path()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_looked_up(text in "\\PC{0,80}", key in "[a-z.\\[\\]=#]{1,8}") {
            for name in ["a", "a.json", "a.toml"] {
                lookup(Path::new(name), &text, &key);
            }
        }
    }
}
