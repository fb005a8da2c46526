//! What was found out about this machine's tools and need not be found out again: a program's default
//! registry, where a registry keeps its downloads. One small file in `$TAGOUT_HOME`, which nothing
//! inside can see; it may be deleted at any time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tagout_core::Digest;

use crate::scanned::of_program;

/// What a registry said about itself is asked again after so long.
const GOES_STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The file, and what stands in it.
pub(crate) struct Memory {
    path: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    /// What the value was read from, as it was then; or when, in seconds since 1970.
    of: String,
    value: Option<String>,
}

impl Memory {
    /// Reads the file. One that is not there or cannot be read is empty.
    pub(crate) fn open(tagout_home: &Path) -> Self {
        let path = tagout_home.join("registries.json");
        let entries = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            path,
            entries: Mutex::new(entries),
        }
    }

    /// What `find` says of the file at `path`, asked once for as long as the file stays the same.
    pub(crate) fn of_file(
        &self,
        what: &str,
        path: &Path,
        find: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let metadata = fs::metadata(path).ok()?;
        let identity = format!(
            "{}:{}:{}:{}.{}",
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let key = format!("{what} {}", path.display());
        if let Some(entry) = self.get(&key)
            && entry.of == identity
        {
            return entry.value;
        }
        let value = find();
        self.put(key, identity, value.clone());
        value
    }

    /// What `hide` makes of a text. A text in which it found nothing to hide is remembered by its digest, and not looked
    /// through again by the same program.
    pub(crate) fn of_text(
        &self,
        what: &str,
        text: Vec<u8>,
        hide: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let digest = Digest::of_parts([of_program().as_bytes(), text.as_slice()]).to_string();
        let key = format!("nothing in {what}");
        if self.get(&key).is_some_and(|entry| entry.of == digest) {
            return text;
        }
        match hide(&text).filter(|hidden| *hidden != text) {
            Some(hidden) => hidden,
            None => {
                self.put(key, digest, None);
                text
            }
        }
    }

    /// What was [remembered](Self::remember) of a name, unless that is long ago.
    pub(crate) fn recall(&self, what: &str) -> Option<String> {
        let entry = self.get(what)?;
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.of.parse().ok()?);
        let fresh = then.elapsed().is_ok_and(|age| age < GOES_STALE);
        entry.value.filter(|_| fresh)
    }

    /// Remembers what was found out now.
    pub(crate) fn remember(&self, what: &str, value: &str) {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_secs());
        self.put(what.to_owned(), now.to_string(), Some(value.to_owned()));
    }

    fn get(&self, key: &str) -> Option<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).cloned()
    }

    fn put(&self, key: String, of: String, value: Option<String>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(key, Entry { of, value });
        // Not remembered is asked again, so nothing is lost when this fails. Two sessions at once: the
        // last one's file stays, whole.
        let partial = self
            .path
            .with_extension(format!("json.{}", std::process::id()));
        if let Ok(text) = serde_json::to_vec(&*entries)
            && fs::write(&partial, text).is_ok()
        {
            let _ = fs::rename(&partial, &self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_3_only_a_text_without_a_secret_is_not_looked_through_again() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |text: &str, hidden: Option<&str>| {
            let memory = Memory::open(folder.path());
            let hide = |_: &[u8]| hidden.map(|hidden| hidden.as_bytes().to_vec());
            String::from_utf8(memory.of_text(".npmrc", text.into(), hide)).unwrap()
        };
        assert_eq!(shown("key", Some("...")), "...");
        assert_eq!(shown("key", Some("..,")), "..,");
        assert_eq!(shown("plain", None), "plain");
        assert_eq!(shown("plain", Some("not asked")), "plain");
        assert_eq!(shown("decoy", Some("decoy")), "decoy");
        assert_eq!(shown("decoy", Some("not asked")), "decoy");
        assert_eq!(shown("plain", Some("...")), "...", "another text between");
        assert_eq!(shown("key", Some("...")), "...");
    }

    #[test]
    fn a_file_is_asked_about_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        fs::write(&tool, "1").unwrap();
        let ask = |answer: &str| {
            let memory = Memory::open(folder.path());
            memory.of_file("default", &tool, || Some(answer.to_owned()))
        };
        assert_eq!(ask("a").as_deref(), Some("a"));
        assert_eq!(ask("b").as_deref(), Some("a"));
        fs::write(&tool, "12").unwrap();
        assert_eq!(ask("c").as_deref(), Some("c"));
        assert_eq!(Memory::open(folder.path()).recall("x"), None);
        Memory::open(folder.path()).remember("x", "y");
        assert_eq!(
            Memory::open(folder.path()).recall("x").as_deref(),
            Some("y")
        );
    }
}
