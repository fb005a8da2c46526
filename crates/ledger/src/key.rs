//! The two keys of a ledger. The *install key* lives in `$TAGOUT_HOME/keys/install.ed25519` and says
//! which sessions are this installation's; the *session key* lives in the supervisor's memory only,
//! signs the checkpoints of one ledger and dies with it, so that nobody, the owner of the install key
//! included, can extend a ledger that is finished. Neither has a `Debug`, and neither is ever printed.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use tagout_core::{Digest, SessionId};
use zeroize::Zeroizing;

use crate::LedgerError;

/// The public half of an install or session key. Shown as `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", BASE64.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let base64 = text
            .strip_prefix("ed25519:")
            .ok_or(LedgerError::PublicKey)?;
        let bytes: [u8; 32] = BASE64
            .decode(base64)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(LedgerError::PublicKey)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| LedgerError::PublicKey)?;
        // A key of small order would verify signatures that nobody made.
        if key.is_weak() {
            return Err(LedgerError::PublicKey);
        }
        Ok(Self(key))
    }
}

/// The key that certifies this installation's session keys.
pub struct InstallKey(SigningKey);

impl InstallKey {
    /// The key of `$TAGOUT_HOME`, made on first use. Two processes that come first together end up
    /// with the same key.
    ///
    /// # Errors
    /// When the file cannot be made or read, is open to others, or is not a key.
    pub fn load_or_create(home: &Path) -> Result<Self, LedgerError> {
        if let Some(key) = Self::load(home)? {
            return Ok(key);
        }
        let folder = home.join("keys");
        let path = Self::path(home);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| LedgerError::file(&folder, &error))?;
        Self::create(&folder, &path)?;
        let file = File::open(&path).map_err(|error| LedgerError::file(&path, &error))?;
        Self::read(&path, file)
    }

    /// The key of `$TAGOUT_HOME`, when there is one: a verifier makes none.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others, or is not a key.
    pub fn load(home: &Path) -> Result<Option<Self>, LedgerError> {
        let path = Self::path(home);
        match File::open(&path) {
            Ok(file) => Self::read(&path, file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LedgerError::file(&path, &error)),
        }
    }

    /// The public half, for `tagout verify --key`.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs that `key` is the key of `session`'s ledger.
    pub(crate) fn certify(&self, session: &SessionId, key: &PublicKey) -> [u8; 64] {
        self.0
            .sign(certificate_of(session, key).as_bytes())
            .to_bytes()
    }

    /// Writes a new key under a name of its own, then links it into place: the link fails where
    /// another process was faster, and then its key counts.
    fn create(folder: &Path, path: &Path) -> Result<(), LedgerError> {
        let seed = random_seed()?;
        let fresh = folder.join(format!("install.ed25519.{}", random_name()?));
        let failed = |error: &std::io::Error| LedgerError::file(path, error);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(|error| failed(&error))?;
        let text = Zeroizing::new(format!("{}\n", BASE64.encode(seed.as_slice())));
        let linked = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| match fs::hard_link(&fresh, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                other => other,
            });
        let _ = fs::remove_file(&fresh);
        linked
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| failed(&error))
    }

    fn read(path: &Path, mut file: File) -> Result<Self, LedgerError> {
        let unusable = |reason: &str| LedgerError::InstallKey {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let metadata = file
            .metadata()
            .map_err(|error| LedgerError::file(path, &error))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(unusable(
                "others may open it; `chmod 600` it if you trust it still",
            ));
        }
        if metadata.len() > 1024 {
            return Err(unusable("it is not a key file"));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text)
            .map_err(|error| LedgerError::file(path, &error))?;
        let bytes = Zeroizing::new(
            BASE64
                .decode(text.trim_end())
                .map_err(|_| unusable("it is not a key file"))?,
        );
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            bytes
                .as_slice()
                .try_into()
                .map_err(|_| unusable("it is not a key file"))?,
        );
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Where the key of `home` lives.
    pub fn path(home: &Path) -> PathBuf {
        home.join("keys").join("install.ed25519")
    }
}

/// The key that signs one ledger's checkpoints. Zeroised when dropped.
pub(crate) struct SessionKey(SigningKey);

impl SessionKey {
    pub(crate) fn generate() -> Result<Self, LedgerError> {
        Ok(Self(SigningKey::from_bytes(&*random_seed()?)))
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Whether `install` signed that `key` is the key of `session`'s ledger.
pub(crate) fn is_certified(
    install: &PublicKey,
    session: &SessionId,
    key: &PublicKey,
    signature: &[u8; 64],
) -> bool {
    install.verifies(certificate_of(session, key).as_bytes(), signature)
}

fn certificate_of(session: &SessionId, key: &PublicKey) -> Digest {
    Digest::of_parts([
        b"tagout session key 1".as_slice(),
        crate::checkpoint::origin(session).as_bytes(),
        session.as_str().as_bytes(),
        key.as_bytes(),
    ])
}

fn random_seed() -> Result<Zeroizing<[u8; 32]>, LedgerError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| LedgerError::Random(error.to_string()))?;
    Ok(seed)
}

fn random_name() -> Result<String, LedgerError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| LedgerError::Random(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_install_key_is_made_once_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        assert!(InstallKey::load(home.path()).unwrap().is_none());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let home = home.path().to_owned();
                std::thread::spawn(move || InstallKey::load_or_create(&home).unwrap().public())
            })
            .collect();
        let keys: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        let metadata = fs::metadata(InstallKey::path(home.path())).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path().join("keys")).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_may_open_is_refused() {
        let home = tempfile::tempdir().unwrap();
        InstallKey::load_or_create(home.path()).unwrap();
        let path = InstallKey::path(home.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let Err(error) = InstallKey::load_or_create(home.path()) else {
            panic!("accepted");
        };
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn public_keys_round_trip_and_strangers_do_not_parse() {
        let key = SessionKey::generate().unwrap().public();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        // The identity point, which verifies anything, among them.
        let identity = format!("ed25519:{}", BASE64.encode([&[1u8][..], &[0; 31]].concat()));
        for stranger in ["", "ed25519:", "ed25519:AAAA", &identity] {
            assert!(stranger.parse::<PublicKey>().is_err(), "{stranger}");
        }
    }
}
