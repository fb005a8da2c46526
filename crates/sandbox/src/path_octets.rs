//! Paths as messages and journals carry them: the octets that they are. serde by itself carries only what is UTF-8,
//! and one file whose name is not would keep a whole workspace from being used.
//!
//! For `#[serde(with = "...")]`. Reads a text, too, as journals of former versions have it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::spec::octets;

/// Writes one path.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(path.as_os_str().as_bytes())
}

/// Reads one path.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    octets::deserialize(deserializer).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

/// One path of a list, or one that may be absent.
struct Octets(PathBuf);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        self::deserialize(deserializer).map(Octets)
    }
}

/// The same for lists.
pub mod list {
    use super::*;

    /// Writes the paths.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| Octets(path.clone())))
    }

    /// Reads the paths.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<Octets>::deserialize(deserializer)?;
        Ok(paths.into_iter().map(|path| path.0).collect())
    }
}

/// The same where there may be none.
pub mod maybe {
    use super::*;

    /// Writes the path or its absence.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.clone().map(Octets).serialize(serializer)
    }

    /// Reads the path or its absence.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Octets>::deserialize(deserializer)?.map(|path| path.0))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super::list")]
        many: Vec<PathBuf>,
        #[serde(with = "super::maybe")]
        maybe: Option<PathBuf>,
    }

    proptest! {
        #[test]
        fn names_of_any_octets_survive(octets: Vec<u8>, more: Vec<Vec<u8>>, absent: bool) {
            let path = |bytes: Vec<u8>| PathBuf::from(OsString::from_vec(bytes));
            let all = All {
                one: path(octets.clone()),
                many: more.into_iter().map(path).collect(),
                maybe: (!absent).then(|| path(octets)),
            };
            let sent = postcard::to_stdvec(&all).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<All>(&sent).unwrap(), &all);
            let written = serde_json::to_string(&all).unwrap();
            prop_assert_eq!(&serde_json::from_str::<All>(&written).unwrap(), &all);
        }
    }

    #[test]
    fn a_journal_of_a_former_version_is_read() {
        let all: All = serde_json::from_str(r#"{"one":"/a/ä","many":["b"],"maybe":null}"#).unwrap();
        assert_eq!(all.one, PathBuf::from("/a/ä"));
        assert_eq!(all.many, [PathBuf::from("b")]);
    }
}
