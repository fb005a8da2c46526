//! The journal of one session: a line of JSON for each record, in the order in which the changes were made.
//!
//! A torn last line (the machine lost power) was a change that was not made yet, or one that only brought something new.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The journal's name in the folder of what is kept.
pub(crate) const NAME: &str = "journal";
/// The form of the records.
pub(crate) const VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first line.
    Began {
        version: u32,
        /// Absolute paths of the trees.
        trees: Vec<Name>,
    },
    /// A name that nothing had.
    Created { path: Name },
    /// The file as it was before it was first written.
    Kept { path: Name, file: Kept },
    /// As `Kept`, of the file that had this path at the start, wherever it is by now.
    KeptOf { original: Name, file: Kept },
    /// Mode and time of a file or folder before they first changed. A folder's time changes with each name in it.
    Attributes { path: Name, attributes: Attributes },
    /// A name that went.
    Removed { path: Name, was: Option<Was> },
    /// A name that became another.
    Renamed {
        from: Name,
        to: Name,
        replaced: Option<Lost>,
    },
    /// Two names that changed places.
    Exchanged { one: Name, other: Name },
    /// The record before this one did not come about.
    Failed,
    /// A change that was refused because what it would lose could not be kept.
    Refused { path: Name },
    /// The session is over; what lies at the changed places now follows.
    Ended,
    /// After [`Record::Ended`].
    Final { path: Name, mark: Mark },
}

/// What a replaced name was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) was: Option<Was>,
}

/// What went with a name. None where nothing needs to come back: it came in the session, or was kept before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Was {
    File(Kept),
    Folder(Attributes),
    Link {
        target: Name,
        attributes: Attributes,
    },
    Pipe(Attributes),
    /// Sockets: nothing of them outlives who made them.
    Other,
}

/// A copy of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its name in the folder of what is kept.
    pub(crate) copy: String,
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
}

/// Permission bits and last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// What tells whether a file was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A path or name of any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) PathBuf);

impl From<&Path> for Name {
    fn from(path: &Path) -> Name {
        Name(path.to_path_buf())
    }
}

impl Serialize for Name {
    /// Text as it is; other bytes as a list of numbers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_os_str().as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Name(match Form::deserialize(deserializer)? {
            Form::Text(text) => PathBuf::from(text),
            Form::Bytes(bytes) => PathBuf::from(std::ffi::OsString::from_vec(bytes)),
        }))
    }
}

/// Reads the journal in `folder`, without what failed.
pub(crate) fn read(folder: &Path) -> io::Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let mut lines = BufReader::new(File::open(folder.join(NAME))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(records);
        }
        match serde_json::from_slice(&line)? {
            Record::Failed => {
                records.pop();
            }
            record => records.push(record),
        }
    }
}

/// Whether a name cannot be one of ours.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The last name of a path.
pub(crate) fn last(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_of_any_bytes_survive(bytes: Vec<u8>, mode: u32, seconds: i64) {
            let attributes = Attributes { mode, seconds, nanoseconds: 7 };
            let path = Name(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
            let kept = Kept { copy: "12".into(), attributes };
            for record in [
                Record::Created { path: path.clone() },
                Record::Removed { path: path.clone(), was: Some(Was::File(kept.clone())) },
                Record::Removed { path: path.clone(), was: Some(Was::Folder(attributes)) },
                Record::Removed { path: path.clone(), was: Some(Was::Other) },
                Record::Renamed { from: path.clone(), to: path.clone(), replaced: Some(Lost { was: None }) },
                Record::Kept { path: path.clone(), file: kept },
            ] {
                let line = serde_json::to_string(&record).unwrap();
                prop_assert!(!line.contains('\n'));
                prop_assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
            }
        }
    }
}
