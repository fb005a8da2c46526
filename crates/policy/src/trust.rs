//! Trust: a manifest or policy is code from the repository, so it counts only after a person
//! accepted its digest. What was accepted is remembered below `$TAGOUT_HOME/trust`, one file a
//! digest, with the content, so that a later version can be shown as a difference.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tagout_core::{Digest, Timestamp};

use crate::difference;

/// The larger of what a manifest and a policy may be.
const LONGEST: usize = 1024 * 1024;

/// What people accepted on this machine.
#[derive(Clone, Debug)]
pub struct Trust {
    folder: PathBuf,
}

/// Why trust could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The folder or one of its files.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not something that a person can have read.
    #[error("{} is larger than 1 MiB, or not text; nothing of that kind is accepted", .0.display())]
    NotText(PathBuf),
}

/// One accepted file, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    digest: Digest,
    /// The path as bytes that need not be UTF-8, each an escape where it is not plain.
    path: String,
    accepted_at: Timestamp,
    content: String,
}

impl Trust {
    /// Opens, or makes, the folder of accepted files below `home` (`$TAGOUT_HOME`).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(home: &Path) -> Result<Self, TrustError> {
        let folder = home.join("trust");
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&folder)
            .map_err(|error| file_error("make", &folder, error))?;
        Ok(Self { folder })
    }

    /// Whether exactly these bytes were accepted.
    ///
    /// # Errors
    /// When the record is there and cannot be read. A record whose content has another digest
    /// counts as none.
    pub fn is_trusted(&self, bytes: &[u8]) -> Result<bool, TrustError> {
        let digest = Digest::of(bytes);
        let record = self.read(&self.path_of(digest))?;
        Ok(record
            .is_some_and(|record| record.content.as_bytes() == bytes && record.digest == digest))
    }

    /// Remembers that a person accepted `bytes`, found at `path`. Durable when it returns.
    ///
    /// # Errors
    /// When it cannot be written, or is nothing that a person can have read.
    pub fn accept(&self, path: &Path, bytes: &[u8]) -> Result<Digest, TrustError> {
        let content = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= LONGEST);
        let content = content.ok_or_else(|| TrustError::NotText(path.to_owned()))?;
        let digest = Digest::of(bytes);
        let record = Record {
            digest,
            path: path_text(path),
            accepted_at: Timestamp::now(),
            content: content.to_owned(),
        };
        self.write(&record)?;
        Ok(digest)
    }

    /// `bytes` beside what was last accepted for `path`, a line each, marked with a space, `-` or
    /// `+`; all lines are new where nothing was.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn difference(&self, path: &Path, bytes: &[u8]) -> Result<String, TrustError> {
        let accepted = self.last_accepted(path)?;
        let new = String::from_utf8_lossy(bytes);
        Ok(difference::lines(
            accepted.as_deref().unwrap_or_default(),
            &new,
        ))
    }

    /// The content that was last accepted for `path`.
    fn last_accepted(&self, path: &Path) -> Result<Option<String>, TrustError> {
        let listing = fs::read_dir(&self.folder);
        let listing = listing.map_err(|error| file_error("read", &self.folder, error))?;
        let wanted = path_text(path);
        let mut newest: Option<Record> = None;
        for entry in listing {
            let entry = entry.map_err(|error| file_error("read", &self.folder, error))?;
            let file = entry.path();
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            // A record that cannot be understood was accepted by nobody.
            let Some(record) = self.read(&file)? else {
                continue;
            };
            let newer = newest
                .as_ref()
                .is_none_or(|known| known.accepted_at <= record.accepted_at);
            if record.path == wanted && newer {
                newest = Some(record);
            }
        }
        Ok(newest.map(|record| record.content))
    }

    fn path_of(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}.json"))
    }

    fn read(&self, file: &Path) -> Result<Option<Record>, TrustError> {
        match fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", file, error)),
        }
    }

    /// Written beside its place and renamed into it, so that a crash leaves the old record or the
    /// new one.
    fn write(&self, record: &Record) -> Result<(), TrustError> {
        let file = self.path_of(record.digest);
        let draft = file.with_extension(format!("{}.draft", std::process::id()));
        let text = serde_json::to_vec(record)
            .map_err(|error| file_error("write", &file, std::io::Error::other(error)))?;
        let result = write_draft(&draft, &text)
            .and_then(|()| fs::rename(&draft, &file))
            .and_then(|()| fs::File::open(&self.folder)?.sync_all());
        result.map_err(|error| {
            // What is left of a draft means nothing to anybody.
            let _ = fs::remove_file(&draft);
            file_error("write", &file, error)
        })
    }
}

fn write_draft(draft: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

fn path_text(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> TrustError {
    TrustError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_accepted_bytes_are_trusted() {
        let home = tempfile::tempdir().unwrap();
        let path = Path::new("/src/app/tagout.toml");
        let trust = Trust::open(home.path()).unwrap();
        assert!(!trust.is_trusted(b"[task]\n").unwrap());
        trust.accept(path, b"[task]\n").unwrap();
        // Another process sees it too, and one byte more is another file.
        let again = Trust::open(home.path()).unwrap();
        assert!(again.is_trusted(b"[task]\n").unwrap());
        assert!(!again.is_trusted(b"[task]\n ").unwrap());
        assert!(!again.is_trusted(b"").unwrap());
        assert!(again.accept(path, b"\xff").is_err());
    }

    #[test]
    fn invariant_9_a_record_that_was_meddled_with_trusts_nothing() {
        let home = tempfile::tempdir().unwrap();
        let trust = Trust::open(home.path()).unwrap();
        let digest = trust.accept(Path::new("/a"), b"name = 1\n").unwrap();
        let other = Digest::of(b"name = 2\n");
        fs::copy(trust.path_of(digest), trust.path_of(other)).unwrap();
        assert!(!trust.is_trusted(b"name = 2\n").unwrap());
        fs::write(trust.path_of(other), b"{").unwrap();
        assert!(!trust.is_trusted(b"name = 2\n").unwrap());
        assert!(trust.is_trusted(b"name = 1\n").unwrap());
    }

    #[test]
    fn records_are_the_owners_alone_and_drafts_do_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let trust = Trust::open(home.path()).unwrap();
        let digest = trust.accept(Path::new("/a"), b"x\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&trust.path_of(digest)), 0o600);
        assert_eq!(mode(&trust.folder), 0o700);
        assert_eq!(fs::read_dir(&trust.folder).unwrap().count(), 1);
    }

    #[test]
    fn the_difference_is_against_what_was_accepted_last_for_that_path() {
        let home = tempfile::tempdir().unwrap();
        let trust = Trust::open(home.path()).unwrap();
        let path = Path::new("/src/app/tagout.toml");
        assert_eq!(trust.difference(path, b"a\n").unwrap(), "+a\n");
        trust.accept(path, b"a\n").unwrap();
        trust
            .accept(Path::new("/src/other/tagout.toml"), b"z\n")
            .unwrap();
        let shown = trust.difference(path, b"a\nb\n").unwrap();
        assert_eq!(shown, " a\n+b\n");
    }
}
