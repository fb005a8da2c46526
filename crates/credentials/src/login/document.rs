//! A JSON file of the host that holds credentials, read and rewritten as a whole. The agent outside
//! writes it too, so it is read anew whenever it changed, and replaced by renaming: who reads it sees
//! the old file or the new one, with its owner and mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use tagout_core::json::Json;
use zeroize::Zeroizing;

/// A file that holds credentials is a few KiB; one with settings beside them is larger.
const LARGEST: u64 = 8 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The state of the file at `path` now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::metadata(path)?))
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file as it was at one moment.
pub struct Document {
    content: Json,
    stamp: Stamp,
}

impl Document {
    /// Reads a file. One that is larger than 8 MiB, is no file or holds no JSON object is an error
    /// that quotes nothing.
    ///
    /// # Errors
    /// As above, and what the file system says.
    pub fn read(path: &Path) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        // A pipe in the file's place would keep whoever opens it.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.size() > LARGEST {
            return Err(invalid("it is no file, or larger than 8 MiB"));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let content: Json =
            serde_json::from_slice(&bytes).map_err(|_| invalid("it holds no JSON"))?;
        if !content.is_object() {
            return Err(invalid("it holds no JSON object"));
        }
        Ok(Self {
            content,
            stamp: Stamp::from(&metadata),
        })
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What stands in a field; `name` is dotted.
    pub fn field(&self, name: &str) -> Option<&Json> {
        name.split('.')
            .try_fold(&self.content, |at, part| at.as_object()?.get(part))
    }

    /// A text that could be a credential: neither empty nor with a control character.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.field(name)?.as_str()?;
        (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
    }

    /// Puts a value into a field that is there already or whose parent is.
    pub fn set(&mut self, name: &str, value: Json) {
        set(&mut self.content, name, value);
    }

    /// The whole content.
    pub fn content(&self) -> &Json {
        &self.content
    }

    /// Replaces the file at `path`, which has to exist: the new one has its owner and mode.
    ///
    /// # Errors
    /// What the file system says; then the old file is as it was.
    pub(crate) fn replace(&mut self, path: &Path) -> io::Result<()> {
        let before = fs::metadata(path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let temporary = folder.join(format!(".tagout-{}", random_name()?));
        let written = write_new(&temporary, &self.content, &before)
            .and_then(|file| fs::rename(&temporary, path).map(|()| file));
        match written {
            Ok(file) => {
                self.stamp = Stamp::from(&file.metadata()?);
                // The new name is lost in a crash at the worst, and with it a token that the endpoint
                // has replaced: so it is made durable too.
                File::open(folder)?.sync_all()
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }
}

fn write_new(path: &Path, content: &Json, like: &fs::Metadata) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let text = Zeroizing::new(serde_json::to_vec_pretty(content)?);
    file.write_all(&text)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(like.uid()),
            rustix::fs::Gid::from_raw(like.gid()),
        );
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(like.mode() & 0o777))?;
    file.sync_all()?;
    Ok(file)
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_ne_bytes(bytes).to_string())
}

/// Puts a value into a field of an object, making the objects on the way.
pub(crate) fn set(content: &mut Json, name: &str, value: Json) {
    let (parents, last) = name.rsplit_once('.').unwrap_or(("", name));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_its_other_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        fs::write(
            &path,
            r#"{"z":1.50,"tokens":{"access":"old","x":"y"},"a":[]}"#,
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut document = Document::read(&path).unwrap();
        document.set("tokens.access", "new".into());
        document.replace(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), document.stamp());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let now = Document::read(&path).unwrap();
        assert_eq!(now.text("tokens.access"), Some("new"));
        assert_eq!(now.text("tokens.x"), Some("y"));
        let keys: Vec<_> = now.content().as_object().unwrap().keys().collect();
        assert_eq!(keys, ["z", "tokens", "a"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_login_is_an_error_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        assert!(Document::read(&path).is_err());
        for text in ["", "[]", "{\"sk-live-secret", "null"] {
            fs::write(&path, text).unwrap();
            let error = Document::read(&path).err().unwrap().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Document::read(folder.path()).is_err());
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(Document::read(&pipe).is_err());
        fs::write(&path, r#"{"a":"x\ny","b":""}"#).unwrap();
        let document = Document::read(&path).unwrap();
        assert_eq!((document.text("a"), document.text("b")), (None, None));
    }
}
