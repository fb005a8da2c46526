//! The vault: credentials that a person gave to Tagout, in `$TAGOUT_HOME/vault.json`. Names are
//! readable; every value is sealed (XChaCha20-Poly1305) under the vault's own random key, bound to its
//! name. The key lies in one of three places, chosen when the vault is made: sealed by a passphrase
//! (Argon2id) in the same file, in the desktop's keyring, or in `vault.key` beside it, which protects
//! against a copied file and not against a program of the same user.
//!
//! What must stay true: no value is written anywhere in the clear; a file that was meddled with opens
//! nothing; a change is written whole or not at all.

mod keyring;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tagout_core::{Digest, Timestamp};
use zeroize::Zeroizing;

use crate::value::Secret;

pub use keyring::Keyring;

/// The fewest characters of a passphrase.
pub const SHORTEST_PASSPHRASE: usize = 8;
/// Argon2id, the second recommended choice of RFC 9106 §4 on one lane: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// More than this a file may not ask of the machine.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 16;
/// A vault is far smaller.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// The longest value.
const LONGEST_VALUE: usize = 64 * 1024;

/// Why the vault gave or took nothing. Never names a value.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Not a name that can stand in a manifest and on a screen.
    #[error(
        "a name in the vault has letters, digits and . _ -, 1 to 64 of them, and does not begin with a dot"
    )]
    Name,
    /// There is none of that name.
    #[error("the vault has no `{0}`; store it with `tagout vault add {0}`")]
    Unknown(String),
    /// There is one of that name.
    #[error(
        "the vault has a `{0}` already; `tagout vault remove {0}` first, if it shall be replaced"
    )]
    Exists(String),
    /// Too short to protect a key.
    #[error("a passphrase has at least {SHORTEST_PASSPHRASE} characters")]
    ShortPassphrase,
    /// The passphrase does not open the vault.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Nobody could be asked.
    #[error("the vault is sealed by a passphrase, and there is no terminal to ask for it on")]
    NoPassphrase,
    /// The key is gone from where it was kept.
    #[error("the key of the vault is not in {0}; restore it, or remove vault.json and add anew")]
    KeyGone(String),
    /// Not a value that can stand in a slot.
    #[error("a value is one line without control characters, at most 64 KiB")]
    Value,
    /// The keyring failed.
    #[error("the keyring: {0}")]
    Keyring(String),
    /// A file could not be made or read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what `tagout vault add` writes, or was changed since.
    #[error("{0} was damaged or changed by something else; nothing in it is used")]
    Damaged(PathBuf),
    /// No random bytes, or too little memory for the passphrase hash.
    #[error("the vault cannot be opened on this machine: {0}")]
    Machine(String),
}

/// Where the key of a new vault is to lie.
pub enum KeyPlace {
    /// In the vault's file, sealed by this passphrase.
    Passphrase(Zeroizing<String>),
    /// In the desktop's keyring.
    Keyring(Keyring),
    /// In `vault.key`, mode 0600: only a file of the same user.
    File,
}

/// An entry as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was added, RFC 3339.
    pub added: String,
}

/// The vault of one `$TAGOUT_HOME`.
pub struct Vault {
    folder: PathBuf,
    keyring: Option<Keyring>,
    key: Option<Zeroizing<[u8; 32]>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultFile {
    format: u32,
    key: KeyRecord,
    /// A sealed empty text: tells a wrong key from a damaged entry.
    check: Sealed,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum KeyRecord {
    Passphrase {
        /// Argon2id, version 19, one lane.
        memory_kib: u32,
        passes: u32,
        salt: String,
        sealed: Sealed,
    },
    Keyring {
        /// Tells this vault's key from another's in the same keyring.
        id: String,
    },
    File,
}

/// XChaCha20-Poly1305: nonce and sealed bytes, in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    added: String,
    value: Sealed,
}

impl Vault {
    /// The vault in a `$TAGOUT_HOME`, whether it exists or not. `keyring` is this session's, if there is
    /// one.
    pub fn at(home: &Path, keyring: Option<Keyring>) -> Self {
        Self {
            folder: home.to_owned(),
            keyring,
            key: None,
        }
    }

    /// Whether nothing was ever added, so that the first `add` chooses where the key lies.
    ///
    /// # Errors
    /// When the folder cannot be looked into.
    pub fn is_new(&self) -> Result<bool, VaultError> {
        let path = self.path();
        path.try_exists()
            .map(|exists| !exists)
            .map_err(|source| VaultError::File { path, source })
    }

    /// Whether opening it takes a passphrase.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn wants_passphrase(&self) -> Result<bool, VaultError> {
        let file = self.read()?;
        Ok(file.is_some_and(|file| matches!(file.key, KeyRecord::Passphrase { .. })))
    }

    /// A sentence about where the key lies; `None` for a vault that does not exist.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn protection(&self) -> Result<Option<&'static str>, VaultError> {
        Ok(self.read()?.map(|file| match file.key {
            KeyRecord::Passphrase { .. } => "sealed by a passphrase",
            KeyRecord::Keyring { .. } => "its key is in the desktop's keyring",
            KeyRecord::File => {
                "its key is in vault.key beside it: any program of yours outside a sandbox can read both"
            }
        }))
    }

    /// Makes the vault.
    ///
    /// # Errors
    /// When the key cannot be put where it shall lie.
    pub fn create(&mut self, place: KeyPlace) -> Result<(), VaultError> {
        let _lock = self.lock()?;
        if self.read()?.is_some() {
            return Ok(());
        }
        let key = Zeroizing::new(random::<32>()?);
        let record = match place {
            KeyPlace::Passphrase(passphrase) => {
                if passphrase.chars().count() < SHORTEST_PASSPHRASE {
                    return Err(VaultError::ShortPassphrase);
                }
                let salt = random::<16>()?;
                let wrapping = wrapping_key(&passphrase, &salt, MEMORY_KIB, PASSES)?;
                KeyRecord::Passphrase {
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    salt: BASE64.encode(salt),
                    sealed: seal(&wrapping, b"key", key.as_slice())?,
                }
            }
            KeyPlace::Keyring(keyring) => {
                let id = Digest::of(&random::<32>()?).short();
                keyring.store(&id, &Zeroizing::new(BASE64.encode(key.as_slice())))?;
                self.keyring = Some(keyring);
                KeyRecord::Keyring { id }
            }
            KeyPlace::File => {
                write_private(&self.key_path(), BASE64.encode(key.as_slice()).as_bytes())?;
                KeyRecord::File
            }
        };
        let check = seal(&key, b"check", b"")?;
        self.write(&VaultFile {
            format: 1,
            key: record,
            check,
            entries: Vec::new(),
        })?;
        self.key = Some(key);
        Ok(())
    }

    /// Opens it, so that values can be had and added. `ask` asks for the passphrase, where one is
    /// needed.
    ///
    /// # Errors
    /// When there is no vault, or the key cannot be had.
    pub fn unlock(
        &mut self,
        ask: impl FnOnce() -> Option<Zeroizing<String>>,
    ) -> Result<(), VaultError> {
        if self.key.is_some() {
            return Ok(());
        }
        let Some(file) = self.read()? else {
            return Ok(());
        };
        let (key, wrong) = match &file.key {
            KeyRecord::Passphrase {
                memory_kib,
                passes,
                salt,
                sealed,
            } => {
                let salt = BASE64.decode(salt).map_err(|_| self.damaged())?;
                let passphrase = ask().ok_or(VaultError::NoPassphrase)?;
                let wrapping = wrapping_key(&passphrase, &salt, *memory_kib, *passes)?;
                let key = open(&wrapping, b"key", sealed).ok_or(VaultError::WrongPassphrase)?;
                (key, VaultError::WrongPassphrase)
            }
            KeyRecord::Keyring { id } => {
                let place = || "the desktop's keyring".to_owned();
                let keyring = self
                    .keyring
                    .as_ref()
                    .ok_or_else(|| VaultError::KeyGone(place()))?;
                let text = keyring
                    .lookup(id)?
                    .ok_or_else(|| VaultError::KeyGone(place()))?;
                (decoded(&text)?, VaultError::KeyGone(place()))
            }
            KeyRecord::File => {
                let path = self.key_path();
                let place = path.display().to_string();
                let text = match fs::read_to_string(&path) {
                    Ok(text) => Zeroizing::new(text),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(VaultError::KeyGone(place));
                    }
                    Err(source) => return Err(VaultError::File { path, source }),
                };
                (decoded(&text)?, VaultError::KeyGone(place))
            }
        };
        let key: Zeroizing<[u8; 32]> = match key.as_slice().try_into() {
            Ok(key) => Zeroizing::new(key),
            Err(_) => return Err(wrong),
        };
        if open(&key, b"check", &file.check).is_none() {
            return Err(wrong);
        }
        self.key = Some(key);
        Ok(())
    }

    /// Names and dates, in the order of names. Needs no key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, VaultError> {
        let entries = self.read()?.map_or_else(Vec::new, |file| file.entries);
        let mut listed: Vec<Listed> = entries
            .into_iter()
            .map(|entry| Listed {
                name: entry.name,
                added: entry.added,
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Whether a name is free to be added.
    ///
    /// # Errors
    /// When it is no name, or taken.
    pub fn check_free(&self, name: &str) -> Result<(), VaultError> {
        check_name(name)?;
        if self.list()?.iter().any(|listed| listed.name == name) {
            return Err(VaultError::Exists(name.to_owned()));
        }
        Ok(())
    }

    /// Adds a value. The vault must exist and be unlocked.
    ///
    /// # Errors
    /// When the name is taken, the value cannot stand in a slot, or the file cannot be written.
    pub fn add(&mut self, name: &str, value: &Secret) -> Result<(), VaultError> {
        let bytes = value.expose();
        let fits = !bytes.is_empty() && bytes.len() <= LONGEST_VALUE;
        if !fits || bytes.iter().any(u8::is_ascii_control) {
            return Err(VaultError::Value);
        }
        let _lock = self.lock()?;
        self.check_free(name)?;
        let mut file = self.read()?.ok_or_else(|| self.damaged())?;
        let key = self.key.as_ref().ok_or(VaultError::NoPassphrase)?;
        file.entries.push(Entry {
            name: name.to_owned(),
            added: Timestamp::now().to_string(),
            value: seal(key, &purpose(name), bytes)?,
        });
        self.write(&file)
    }

    /// Takes a value out. Needs no key: whoever may write the file may remove it as well.
    ///
    /// # Errors
    /// When there is none of that name, or the file cannot be written.
    pub fn remove(&mut self, name: &str) -> Result<(), VaultError> {
        let _lock = self.lock()?;
        let mut file = self
            .read()?
            .ok_or_else(|| VaultError::Unknown(name.to_owned()))?;
        let before = file.entries.len();
        file.entries.retain(|entry| entry.name != name);
        if file.entries.len() == before {
            return Err(VaultError::Unknown(name.to_owned()));
        }
        self.write(&file)
    }

    /// A value. The vault must be unlocked.
    ///
    /// # Errors
    /// When there is none of that name, or it does not open.
    pub fn get(&self, name: &str) -> Result<Secret, VaultError> {
        let unknown = || VaultError::Unknown(name.to_owned());
        let file = self.read()?.ok_or_else(unknown)?;
        let entry = file
            .entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(unknown)?;
        let key = self.key.as_ref().ok_or(VaultError::NoPassphrase)?;
        let value = open(key, &purpose(name), &entry.value).ok_or_else(|| self.damaged())?;
        Ok(Secret::new(value.to_vec()))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("vault.json")
    }

    fn key_path(&self) -> PathBuf {
        self.folder.join("vault.key")
    }

    fn damaged(&self) -> VaultError {
        VaultError::Damaged(self.path())
    }

    /// Two processes do not write at the same time.
    fn lock(&self) -> Result<File, VaultError> {
        let path = self.folder.join("vault.lock");
        let failed = |source| VaultError::File {
            path: path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(lock)
    }

    fn read(&self) -> Result<Option<VaultFile>, VaultError> {
        let path = self.path();
        let mut text = String::new();
        match File::open(&path)
            .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text))
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(VaultError::File { path, source }),
        }
        let file: VaultFile = serde_json::from_str(&text).map_err(|_| self.damaged())?;
        let bounded = match &file.key {
            KeyRecord::Passphrase {
                memory_kib, passes, ..
            } => (8..=MOST_MEMORY_KIB).contains(memory_kib) && (1..=MOST_PASSES).contains(passes),
            KeyRecord::Keyring { .. } | KeyRecord::File => true,
        };
        let named = file.entries.iter().all(|entry| {
            check_name(&entry.name).is_ok() && !entry.added.chars().any(char::is_control)
        });
        if file.format != 1 || text.len() as u64 > LARGEST_FILE || !bounded || !named {
            return Err(self.damaged());
        }
        Ok(Some(file))
    }

    fn write(&self, file: &VaultFile) -> Result<(), VaultError> {
        let text = serde_json::to_string_pretty(file)
            .map_err(|error| VaultError::Machine(error.to_string()))?;
        write_private(&self.path(), text.as_bytes())
    }
}

/// Writes a file whole, mode 0600, or leaves it as it was.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let failed = |source| VaultError::File {
        path: path.to_owned(),
        source,
    };
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(failed)
}

fn wrapping_key(
    passphrase: &str,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let machine = |error: argon2::Error| VaultError::Machine(error.to_string());
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(machine)?;
    let mut key = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(machine)?;
    Ok(key)
}

/// What an entry's value is bound to, so that no value can be put under another name.
fn purpose(name: &str) -> Vec<u8> {
    [b"value ".as_slice(), name.as_bytes()].concat()
}

fn associated(purpose: &[u8]) -> Digest {
    Digest::of_parts([b"tagout vault 1".as_slice(), purpose])
}

fn seal(key: &[u8; 32], purpose: &[u8], value: &[u8]) -> Result<Sealed, VaultError> {
    let nonce = random::<24>()?;
    let associated = associated(purpose);
    let payload = Payload {
        msg: value,
        aad: associated.as_bytes(),
    };
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| VaultError::Machine("a value could not be sealed".to_owned()))?;
    Ok(Sealed {
        nonce: BASE64.encode(nonce),
        sealed: BASE64.encode(sealed),
    })
}

fn open(key: &[u8; 32], purpose: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    let nonce: [u8; 24] = BASE64.decode(&sealed.nonce).ok()?.try_into().ok()?;
    let bytes = BASE64.decode(&sealed.sealed).ok()?;
    let associated = associated(purpose);
    let payload = Payload {
        msg: &bytes,
        aad: associated.as_bytes(),
    };
    XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(&nonce), payload)
        .map(Zeroizing::new)
        .ok()
}

fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    Ok(Zeroizing::new(
        BASE64.decode(text.trim()).unwrap_or_default(),
    ))
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], VaultError> {
    let mut bytes = [0u8; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| VaultError::Machine(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn check_name(name: &str) -> Result<(), VaultError> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(ok) {
        return Err(VaultError::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
