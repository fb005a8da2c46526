//! Approvers: people whose yes is worth something because it is signed. An approver's Ed25519 key lies
//! in `$TAGOUT_HOME/approvers/NAME.json`, sealed by a passphrase (Argon2id, then XChaCha20-Poly1305), so
//! that whoever can write the store, or read the whole home directory, still cannot approve.
//!
//! What must stay true: the key exists in the clear only inside a [`Signer`], which is zeroised and has
//! no `Debug`; a session judges by [`EnrolledKeys`] taken once, at launch.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use tagout_core::Digest;
use zeroize::Zeroizing;

/// The fewest characters of a passphrase.
const SHORTEST_PASSPHRASE: usize = 6;
/// Argon2id, the second recommended choice of RFC 9106 §4 on one lane: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// More than this a file may not ask of the machine.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 16;
/// An approver's file is far smaller.
const LARGEST_FILE: u64 = 16 * 1024;

/// Why an approver could not be enrolled, listed or unlocked.
#[derive(Debug, thiserror::Error)]
pub enum ApproverError {
    /// Not a name that can stand in a file name and on a screen.
    #[error(
        "an approver's name may have letters, digits and . _ -, 1 to 64 of them, and does not begin with a dot"
    )]
    Name,
    /// Too short to protect a key.
    #[error("a passphrase needs at least {SHORTEST_PASSPHRASE} characters")]
    ShortPassphrase,
    /// There is one of that name.
    #[error("an approver {0} is enrolled already; choose another name")]
    Exists(String),
    /// There is none of that name.
    #[error("no approver {0} is enrolled; `tagout approver list` shows who is")]
    Unknown(String),
    /// The passphrase does not open the key. Says no more than that.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// A file could not be made or read.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file is not what `tagout approver enroll` writes.
    #[error("{0} is not an approver's file; nothing is approved until it is removed or restored")]
    Malformed(PathBuf),
    /// The operating system gave no random bytes, or too little memory for the passphrase hash.
    #[error("no approver key can be made or opened: {0}")]
    Machine(String),
}

/// An approver's public key. Shown as `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApproverKey([u8; 32]);

impl ApproverKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &Digest, signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for ApproverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for ApproverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an approver's public key, or not a signature.
#[derive(Debug, thiserror::Error)]
#[error("not a public key or signature of an approver")]
pub struct KeyError;

impl FromStr for ApproverKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let base64 = text.strip_prefix("ed25519:").ok_or(KeyError)?;
        let bytes = decode(base64).ok_or(KeyError)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError)?;
        // A key of small order would verify signatures that nobody made.
        if key.is_weak() {
            return Err(KeyError);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ApproverKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<ApproverKey> for String {
    fn from(key: ApproverKey) -> Self {
        key.to_string()
    }
}

/// An Ed25519 signature, in base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl TryFrom<String> for Signature {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        decode(&text).map(Self).ok_or(KeyError)
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        BASE64.encode(signature.0)
    }
}

/// The approvers' keys as they were when a session began. Whoever enrols or replaces a key later
/// changes nothing for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnrolledKeys(Vec<(String, ApproverKey)>);

impl EnrolledKeys {
    /// The keys that are enrolled in `$TAGOUT_HOME` now, by name.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read: an unreadable file must not turn "somebody is
    /// enrolled" into "nobody is".
    pub fn load(home: &Path) -> Result<Self, ApproverError> {
        let folder = folder(home);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(file_error(&folder, &error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| file_error(&folder, &error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let sealed = SealedKey::read(&path)?;
            if path
                .file_stem()
                .is_none_or(|stem| stem != sealed.name.as_str())
            {
                return Err(ApproverError::Malformed(path));
            }
            keys.push((sealed.name, sealed.public_key));
        }
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self(keys))
    }

    /// Whether nobody is enrolled, so that the same user's unsigned yes counts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many different keys are enrolled. The same key under two names counts once.
    pub fn len(&self) -> usize {
        let mut keys: Vec<_> = self.0.iter().map(|(_, key)| key.as_bytes()).collect();
        keys.sort();
        keys.dedup();
        keys.len()
    }

    /// Names and keys, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ApproverKey)> {
        self.0.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// The name under which `key` is enrolled.
    pub fn name_of(&self, key: &ApproverKey) -> Option<&str> {
        self.iter()
            .find_map(|(name, enrolled)| (enrolled == key).then_some(name))
    }
}

/// An approver's key in the clear: what a passphrase opens. Zeroised when dropped.
pub struct Signer {
    name: String,
    public_key: ApproverKey,
    key: SigningKey,
}

impl Signer {
    /// The approver's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half.
    pub fn key(&self) -> &ApproverKey {
        &self.public_key
    }

    pub(crate) fn sign(&self, message: &Digest) -> Signature {
        Signature(self.key.sign(message.as_bytes()).to_bytes())
    }
}

/// Makes a key for `name`, sealed by `passphrase`. Sessions that run already do not know it.
///
/// # Errors
/// When the name is taken or no name, the passphrase is too short, or the file cannot be written.
pub fn enroll(home: &Path, name: &str, passphrase: &str) -> Result<ApproverKey, ApproverError> {
    enroll_with(home, name, passphrase, MEMORY_KIB, PASSES)
}

/// Opens the key of `name`.
///
/// # Errors
/// When nobody of that name is enrolled, the file is damaged, or the passphrase is wrong.
pub fn unlock(home: &Path, name: &str, passphrase: &str) -> Result<Signer, ApproverError> {
    check_name(name)?;
    let path = folder(home).join(format!("{name}.json"));
    if !path.exists() {
        return Err(ApproverError::Unknown(name.to_owned()));
    }
    let sealed = SealedKey::read(&path)?;
    if sealed.name != name {
        return Err(ApproverError::Malformed(path));
    }
    sealed.open(passphrase)
}

fn enroll_with(
    home: &Path,
    name: &str,
    passphrase: &str,
    memory_kib: u32,
    passes: u32,
) -> Result<ApproverKey, ApproverError> {
    check_name(name)?;
    if passphrase.chars().count() < SHORTEST_PASSPHRASE {
        return Err(ApproverError::ShortPassphrase);
    }
    let folder = folder(home);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| file_error(&folder, &error))?;
    let path = folder.join(format!("{name}.json"));
    let sealed = SealedKey::seal(name, passphrase, memory_kib, passes)?;
    let text = serde_json::to_string_pretty(&sealed)
        .map_err(|error| ApproverError::Machine(error.to_string()))?;
    // Written under a name that does not count and linked into place whole.
    let fresh = folder.join(format!(".{name}.{}", sealed.public_key_name()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .and_then(|()| fs::hard_link(&fresh, &path))
        .and_then(|()| File::open(&folder)?.sync_all());
    let _ = fs::remove_file(&fresh);
    match written {
        Ok(()) => Ok(sealed.public_key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ApproverError::Exists(name.to_owned()))
        }
        Err(error) => Err(file_error(&path, &error)),
    }
}

/// An approver's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedKey {
    format: u32,
    name: String,
    public_key: ApproverKey,
    /// `argon2id`, version 19, one lane.
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    /// `xchacha20poly1305`; name and public key are authenticated with it.
    cipher: String,
    nonce: String,
    sealed: String,
}

impl SealedKey {
    fn seal(
        name: &str,
        passphrase: &str,
        memory_kib: u32,
        passes: u32,
    ) -> Result<Self, ApproverError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        let mut salt = [0u8; 16];
        let mut nonce = [0u8; 24];
        for bytes in [seed.as_mut_slice(), &mut salt, &mut nonce] {
            getrandom::fill(bytes).map_err(|error| ApproverError::Machine(error.to_string()))?;
        }
        let public_key = ApproverKey(SigningKey::from_bytes(&seed).verifying_key().to_bytes());
        let cipher = cipher(passphrase, &salt, memory_kib, passes)?;
        let associated = associated(name, &public_key);
        let payload = Payload {
            msg: seed.as_slice(),
            aad: associated.as_bytes(),
        };
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| ApproverError::Machine("the key could not be sealed".to_owned()))?;
        Ok(Self {
            format: 1,
            name: name.to_owned(),
            public_key,
            kdf: "argon2id".to_owned(),
            memory_kib,
            passes,
            salt: BASE64.encode(salt),
            cipher: "xchacha20poly1305".to_owned(),
            nonce: BASE64.encode(nonce),
            sealed: BASE64.encode(sealed),
        })
    }

    fn open(&self, passphrase: &str) -> Result<Signer, ApproverError> {
        let (Some(salt), Some(nonce), Ok(sealed)) = (
            decode::<16>(&self.salt),
            decode::<24>(&self.nonce),
            BASE64.decode(&self.sealed),
        ) else {
            return Err(ApproverError::WrongPassphrase);
        };
        let cipher = cipher(passphrase, &salt, self.memory_kib, self.passes)?;
        let associated = associated(&self.name, &self.public_key);
        let payload = Payload {
            msg: &sealed,
            aad: associated.as_bytes(),
        };
        let seed = cipher
            .decrypt(XNonce::from_slice(&nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| ApproverError::WrongPassphrase)?;
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            seed.as_slice()
                .try_into()
                .map_err(|_| ApproverError::WrongPassphrase)?,
        );
        let key = SigningKey::from_bytes(&seed);
        if key.verifying_key().as_bytes() != self.public_key.as_bytes() {
            return Err(ApproverError::WrongPassphrase);
        }
        Ok(Signer {
            name: self.name.clone(),
            public_key: self.public_key,
            key,
        })
    }

    fn read(path: &Path) -> Result<Self, ApproverError> {
        let failed = |error: io::Error| file_error(path, &error);
        let malformed = || ApproverError::Malformed(path.to_owned());
        let mut text = String::new();
        File::open(path)
            .map_err(failed)?
            .take(LARGEST_FILE + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(malformed());
        }
        let sealed: Self = serde_json::from_str(&text).map_err(|_| malformed())?;
        let known = sealed.format == 1
            && sealed.kdf == "argon2id"
            && sealed.cipher == "xchacha20poly1305"
            && (8..=MOST_MEMORY_KIB).contains(&sealed.memory_kib)
            && (1..=MOST_PASSES).contains(&sealed.passes)
            && check_name(&sealed.name).is_ok();
        known.then_some(sealed).ok_or_else(malformed)
    }

    /// A file name that no other enrolment has.
    fn public_key_name(&self) -> String {
        Digest::of(self.public_key.as_bytes()).short()
    }
}

fn cipher(
    passphrase: &str,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> Result<XChaCha20Poly1305, ApproverError> {
    let machine = |error: argon2::Error| ApproverError::Machine(error.to_string());
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(machine)?;
    let mut key = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(machine)?;
    Ok(XChaCha20Poly1305::new(key.as_slice().into()))
}

/// What is authenticated with the sealed key, so that nobody can put it under another name.
fn associated(name: &str, key: &ApproverKey) -> Digest {
    Digest::of_parts([
        b"tagout approver 1".as_slice(),
        name.as_bytes(),
        key.as_bytes(),
    ])
}

fn check_name(name: &str) -> Result<(), ApproverError> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(ok) {
        return Err(ApproverError::Name);
    }
    Ok(())
}

fn folder(home: &Path) -> PathBuf {
    home.join("approvers")
}

fn file_error(path: &Path, error: &io::Error) -> ApproverError {
    ApproverError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn decode<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests;
