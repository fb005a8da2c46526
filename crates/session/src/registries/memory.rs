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
