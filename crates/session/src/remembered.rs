//! What a workspace's files held in earlier sessions: the places of files that had a twin, and marks of the values in them. An agent can
//! move such a file to where no scan looks, or edit around a value until no detector knows it; the next launch looks at these places all
//! the same, and knows the values.
//!
//! One file a workspace in `$TAGOUT_HOME`. It holds no values: a mark is a keyed digest, by the workspace's key for decoys, and a
//! fingerprint under the same key by which a file is searched in one pass. Whoever can read it can read the files themselves. What is
//! unreadable or torn counts as not there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tagout_core::Digest;
use tagout_secrets::DecoyKey;

/// A shorter value, or a guessable one, stands in many a place where it is none.
const SHORTEST: usize = 8;
/// A longer one (a key in PEM) has its own marks wherever it stands.
const LONGEST: usize = 4096;
/// More places or values than this are not remembered.
const MOST: usize = 20_000;
/// How long a value is remembered that no launch has seen, in days.
const FORGOTTEN_AFTER: u64 = 180;
/// The prime 2^61 - 1, by which fingerprints are taken.
const PRIME: u64 = (1 << 61) - 1;

/// What is remembered of a workspace.
pub(crate) struct Remembered {
    place: PathBuf,
    key: DecoyKey,
    /// Of fingerprints.
    base: u64,
    today: u64,
    kept: Kept,
    /// As it is on the disk.
    saved: Kept,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Relative to the workspace.
    files: BTreeSet<Name>,
    values: BTreeMap<Mark, u64>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(#[serde(with = "tagout_sandbox::path_octets")] PathBuf);

/// Stands for a value; as `LENGTH:FINGERPRINT:DIGEST`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Mark {
    length: usize,
    fingerprint: u64,
    digest: Digest,
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        format!("{}:{:x}:{}", mark.length, mark.fingerprint, mark.digest)
    }
}

impl TryFrom<String> for Mark {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().ok_or("a mark has three parts");
        let (length, fingerprint, digest) = (next()?, next()?, next()?);
        Ok(Self {
            length: length.parse().map_err(|_| "no length")?,
            fingerprint: u64::from_str_radix(fingerprint, 16).map_err(|_| "no fingerprint")?,
            digest: digest.parse().map_err(|_| "no digest")?,
        })
    }
}

impl Remembered {
    /// Reads what is remembered of `workspace`.
    pub(crate) fn open(tagout_home: &Path, workspace: &Path, key: &DecoyKey) -> Self {
        let name = Digest::of(workspace.as_os_str().as_bytes()).to_string();
        let place = tagout_home.join("remembered").join(&name[..32]);
        let mut kept: Kept = fs::read(&place)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let saved = kept.clone();
        kept.files.retain(|name| {
            let plain = |part| matches!(part, Component::Normal(_));
            name.0.components().all(plain)
                && fs::symlink_metadata(workspace.join(&name.0)).is_ok_and(|found| found.is_file())
        });
        let today = SystemTime::now().duration_since(UNIX_EPOCH);
        let today = today.map_or(0, |since| since.as_secs() / (24 * 60 * 60));
        kept.values
            .retain(|_, seen| seen.saturating_add(FORGOTTEN_AFTER) >= today);
        let base = key.mark(b"base of fingerprints");
        let base = base.first_chunk().copied().map_or(0, u64::from_be_bytes);
        Self {
            place,
            key: key.clone(),
            base: base % (PRIME - 256) + 256,
            today,
            kept,
            saved,
        }
    }

    /// Files that had a twin, relative to the workspace, which are there.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.kept.files.iter().map(|name| name.0.as_path())
    }

    /// The remembered values that stand in `bytes`, each once.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lengths: BTreeMap<usize, HashMap<u64, Vec<&Digest>>> = BTreeMap::new();
        for mark in self.kept.values.keys() {
            let marks = lengths.entry(mark.length).or_default();
            marks
                .entry(mark.fingerprint)
                .or_default()
                .push(&mark.digest);
        }
        let mut found: BTreeSet<&[u8]> = BTreeSet::new();
        for (length, marks) in lengths {
            self.each_window(bytes, length, |window, fingerprint| {
                let is = |digest: &&Digest| **digest == self.digest(window);
                if let Some(digests) = marks.get(&fingerprint)
                    && !found.contains(window)
                    && digests.iter().any(is)
                {
                    found.insert(window);
                }
            });
        }
        found.into_iter().map(<[u8]>::to_vec).collect()
    }

    /// Remembers values for the next launches.
    pub(crate) fn learn<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        for value in values {
            if (SHORTEST..=LONGEST).contains(&value.len()) {
                let mark = Mark {
                    length: value.len(),
                    fingerprint: self.fingerprint(value),
                    digest: self.digest(value),
                };
                if self.kept.values.len() < MOST || self.kept.values.contains_key(&mark) {
                    self.kept.values.insert(mark, self.today);
                }
            }
        }
    }

    /// Remembers where files are, relative to the workspace.
    pub(crate) fn note<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        for file in files {
            if self.kept.files.len() < MOST {
                self.kept.files.insert(Name(file.to_owned()));
            }
        }
    }

    /// Writes it down in one step, where anything changed.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.kept == self.saved {
            return Ok(());
        }
        if let Some(folder) = self.place.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let draft = self
            .place
            .with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_vec(&self.kept)?;
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| io::Write::write_all(&mut file, &text))
            .and_then(|()| fs::rename(&draft, &self.place));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })?;
        self.saved = self.kept.clone();
        Ok(())
    }

    fn digest(&self, value: &[u8]) -> Digest {
        Digest::of(&self.key.mark(value))
    }

    fn fingerprint(&self, value: &[u8]) -> u64 {
        let add = |sum, byte: &u8| reduce(multiply(sum, self.base) + u64::from(*byte));
        value.iter().fold(0, add)
    }

    /// Every `length` bytes in a row of `bytes`, with their fingerprint.
    fn each_window<'a>(&self, bytes: &'a [u8], length: usize, mut each: impl FnMut(&'a [u8], u64)) {
        let Some(first) = bytes.get(..length) else {
            return;
        };
        let mut fingerprint = self.fingerprint(first);
        each(first, fingerprint);
        let highest = (1..length).fold(1, |power, _| multiply(power, self.base));
        for (window, gone) in bytes.windows(length).skip(1).zip(bytes) {
            let gone = multiply(u64::from(*gone), highest);
            let rest = reduce(fingerprint + PRIME - gone);
            let come = window.last().copied().map_or(0, u64::from);
            fingerprint = reduce(multiply(rest, self.base) + come);
            each(window, fingerprint);
        }
    }
}

/// Both are below the prime, as the product is then.
fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    reduce((product as u64 & PRIME) + (product >> 61) as u64)
}

/// Below the prime, of a number below twice as much.
fn reduce(number: u64) -> u64 {
    match number >= PRIME {
        true => number - PRIME,
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> DecoyKey {
        DecoyKey::derive(b"install", b"workspace")
    }

    fn opened(home: &Path, work: &Path) -> Remembered {
        Remembered::open(home, work, &key())
    }

    proptest! {
        #[test]
        fn what_was_learnt_is_found_wherever_it_stands(
            front in proptest::collection::vec(any::<u8>(), 0..80),
            value in proptest::collection::vec(any::<u8>(), SHORTEST..40),
            other in proptest::collection::vec(any::<u8>(), SHORTEST..40),
            behind in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut remembered = opened(folder.path(), folder.path());
            remembered.learn([value.as_slice(), other.as_slice()].into_iter());
            let text = [front, value.clone(), behind].concat();
            let found = remembered.find(&text);
            prop_assert!(found.contains(&value));
            let stands = |value: &[u8]| text.windows(value.len()).any(|part| part == value);
            prop_assert_eq!(found.contains(&other), stands(&other));
            prop_assert!(found.iter().all(|found| *found == value || *found == other));
        }
    }

    #[test]
    fn invariant_3_no_value_is_written_down_and_it_outlives_a_launch() {
        let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(work.path().join("here"), "x").unwrap();
        let value = b"Zx81kkPq9wLm3".as_slice();
        let mut remembered = opened(home.path(), work.path());
        remembered.learn([value, b"short".as_slice()].into_iter());
        remembered.note(["here", "gone", "../out"].map(Path::new).into_iter());
        remembered.save().unwrap();
        let text = fs::read(&remembered.place).unwrap();
        assert!(!text.windows(value.len()).any(|part| part == value));
        let again = opened(home.path(), work.path());
        assert_eq!(again.files().collect::<Vec<_>>(), [Path::new("here")]);
        assert_eq!(again.find(b"a short Zx81kkPq9wLm3 here"), [value]);
        // Another installation's key finds nothing, and nothing breaks.
        let other = DecoyKey::derive(b"other", b"workspace");
        let other = Remembered::open(home.path(), work.path(), &other);
        assert_eq!(other.find(value), [[0u8; 0]; 0]);
        fs::write(&remembered.place, b"torn").unwrap();
        assert_eq!(opened(home.path(), work.path()).files().count(), 0);
    }
}
