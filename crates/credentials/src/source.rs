//! Where a credential's value comes from: a variable or a file of the operator's, read outside the
//! sandbox. A manifest only names the place.

use std::fs;
use std::path::{Path, PathBuf};

use tagout_core::json::Json;

use crate::secret::Secret;

/// The longest value that is taken over.
const LONGEST: usize = 16 * 1024;
/// The largest file that a value is read from.
const LARGEST_FILE: u64 = 1024 * 1024;

/// A place that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `env:VAR`
    Variable(String),
    /// `file:PATH` or `file:PATH#key`
    File {
        /// Absolute, or relative to the manifest's folder; `~/` is the operator's home.
        path: PathBuf,
        /// The key whose value is meant; without it, the whole file.
        key: Option<String>,
    },
}

/// Why a source gave no value. Never contains one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not one of the forms.
    #[error("`{0}` is no source: write env:VAR or file:PATH or file:PATH#key")]
    Form(String),
    /// A form that this version does not have.
    #[error("`{0}:` sources come with a later version; use env:VAR or file:PATH#key")]
    Later(&'static str),
    /// The variable is not set, or empty.
    #[error("the variable {0} is not set; set it before `tagout run`")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has no such key.
    #[error("{path} has no key `{key}` with a value")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value that no slot could carry: it would end the field and begin another.
    #[error(
        "the value from {0} is empty, too long, or has a line break or a control character in it"
    )]
    Unusable(String),
}

impl Source {
    /// Reads a manifest's `source`.
    ///
    /// # Errors
    /// When it is none of the forms.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Variable(name.to_owned())),
            Some(("file", place)) if !place.is_empty() => {
                let (path, key) = match place.rsplit_once('#') {
                    Some((path, key)) if !key.is_empty() => (path, Some(key.to_owned())),
                    _ => (place, None),
                };
                Ok(Self::File {
                    path: PathBuf::from(path),
                    key,
                })
            }
            Some(("vault", _)) => Err(SourceError::Later("vault")),
            Some(("command", _)) => Err(SourceError::Later("command")),
            _ => Err(SourceError::Form(text.chars().take(60).collect())),
        }
    }

    /// Reads the value. `variable` looks one up outside; `folder` is the manifest's.
    ///
    /// # Errors
    /// When there is no value, or one that no slot could carry.
    pub fn load(
        &self,
        variable: impl Fn(&str) -> Option<String>,
        folder: &Path,
    ) -> Result<Secret, SourceError> {
        match self {
            Self::Variable(name) => {
                let value = variable(name)
                    .filter(|value| !value.is_empty())
                    .ok_or_else(|| SourceError::NoVariable(name.clone()))?;
                usable(value.into_bytes(), name)
            }
            Self::File { path, key } => {
                let path = match (path.strip_prefix("~"), variable("HOME")) {
                    (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
                    _ => folder.join(path),
                };
                let bytes = read(&path)?;
                let value = match key {
                    None => bytes,
                    Some(key) => value_of(&bytes, key).ok_or_else(|| SourceError::NoKey {
                        path: path.clone(),
                        key: key.clone(),
                    })?,
                };
                usable(value, &path.display().to_string())
            }
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let failed = |reason: String| SourceError::File {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed("it is not a file".to_owned()));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(failed("it is larger than 1 MiB".to_owned()));
    }
    fs::read(path).map_err(|error| failed(error.to_string()))
}

/// The value of `key` in a JSON document (`a.b.c` goes down), or in a file of `key=value`,
/// `key: value`, `export KEY="value"` lines.
fn value_of(bytes: &[u8], key: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Ok(document) = tagout_core::json::parse(bytes) {
        let mut value = &document;
        for step in key.split('.') {
            value = value.get(step)?;
        }
        return match value {
            Json::String(text) => Some(text.clone().into_bytes()),
            _ => None,
        };
    }
    text.lines().find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let rest = line.strip_prefix(key)?.trim_start();
        let value = rest.strip_prefix(['=', ':'])?.trim();
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(value);
        (!unquoted.is_empty()).then(|| unquoted.as_bytes().to_vec())
    })
}

/// One line break at the end is the editor's, not the value's.
fn usable(mut value: Vec<u8>, place: &str) -> Result<Secret, SourceError> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    let secret = Secret::new(value);
    let text = std::str::from_utf8(secret.expose()).ok();
    let fits = text.is_some_and(|text| {
        !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
    });
    if fits {
        Ok(secret)
    } else {
        Err(SourceError::Unusable(place.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(source: &str, folder: &Path) -> Result<Vec<u8>, SourceError> {
        let variable = |name: &str| match name {
            "TOKEN" => Some("value".to_owned()),
            "SPLIT" => Some("a\r\nX-Evil: b".to_owned()),
            _ => None,
        };
        Source::parse(source)?
            .load(variable, folder)
            .map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn reads_variables_files_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("token", "value\n");
        write(
            ".env",
            "OTHER=1\nexport API_KEY=\"two words\"\nAPI_KEY_2=x\n",
        );
        write("c.json", r#"{"user":{"token":"deep"}}"#);
        for (source, value) in [
            ("env:TOKEN", "value"),
            ("file:token", "value"),
            ("file:.env#API_KEY", "two words"),
            ("file:.env#API_KEY_2", "x"),
            ("file:c.json#user.token", "deep"),
        ] {
            assert_eq!(
                load(source, folder.path()).unwrap(),
                value.as_bytes(),
                "{source}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_value() {
        let folder = tempfile::tempdir().unwrap();
        for source in [
            "ghp_0123",
            "env:",
            "env:A B",
            "file:",
            "vault:x",
            "command:cat x",
            "env:UNSET",
            "env:SPLIT",
            "file:absent",
            "file:.",
        ] {
            assert!(load(source, folder.path()).is_err(), "{source}");
        }
    }
}
