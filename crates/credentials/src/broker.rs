//! Everything that one session knows about credentials: those of the task with their decoys, the
//! decoys that stand in twins, the values that must not leave, and what hosts have handed out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};

use tagout_catalog::SlotPlace;
use tagout_core::{CredentialUse, Digest, HostName, HostPattern};
use tagout_secrets::{KnownSecrets, Redactor, StreamFinder};

use crate::secret::{Decoy, Secret};

/// Cookies and tokens that are remembered for one session.
const MOST_HANDED_OUT: usize = 4096;

/// A credential of the task.
#[derive(Clone)]
pub struct Credential {
    /// Its name in the manifest.
    pub name: String,
    /// A pack's name, or `http`.
    pub provider: String,
    /// The hosts that it is bound to.
    pub hosts: Vec<HostPattern>,
    /// The slots that may carry it there.
    pub slots: Vec<SlotPlace>,
    /// Its value.
    pub secret: Secret,
    /// What stands for it inside.
    pub decoy: Decoy,
    /// Counts up when source or value change.
    pub generation: u64,
}

/// The credentials of one session.
pub struct Broker {
    pub(crate) credentials: Vec<Credential>,
    known: RwLock<KnownSecrets>,
    /// Decoys that stand in twins, with the file's name.
    file_decoys: RwLock<HashMap<String, String>>,
    handed_out: Mutex<HashSet<(HostName, Digest)>>,
}

impl Broker {
    /// A broker. The credentials' own values are added to `known`; `file_decoys` are the decoys of
    /// twins, each with the name of its file.
    pub fn new(
        credentials: Vec<Credential>,
        known: &KnownSecrets,
        file_decoys: impl IntoIterator<Item = (Vec<u8>, String)>,
    ) -> Self {
        let known = known.with(credentials.iter().map(|credential| {
            let value = credential.secret.expose().to_vec();
            let guessable = tagout_secrets::is_guessable(&value);
            (format!("credential {}", credential.name), value, guessable)
        }));
        let file_decoys = file_decoys
            .into_iter()
            .filter_map(|(decoy, file)| Some((String::from_utf8(decoy).ok()?, file)))
            .collect();
        Self {
            credentials,
            known: RwLock::new(known),
            file_decoys: RwLock::new(file_decoys),
            handed_out: Mutex::default(),
        }
    }

    /// The session's credentials.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// The values that must not leave, as they are known now.
    pub fn known(&self) -> KnownSecrets {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for values that must not leave in content that is streamed.
    pub fn stream(&self) -> StreamFinder {
        self.known().stream()
    }

    /// Values that turned up during the session: a file was changed from outside and holds secrets
    /// now. `values` as for [`KnownSecrets::new`], `decoys` as for [`Broker::new`].
    pub fn learn(
        &self,
        values: impl IntoIterator<Item = (String, Vec<u8>, bool)>,
        decoys: impl IntoIterator<Item = (Vec<u8>, String)>,
    ) {
        let more = self.known().with(values);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = more;
        let mut known = self.file_decoys.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(
            decoys
                .into_iter()
                .filter_map(|(decoy, file)| Some((String::from_utf8(decoy).ok()?, file))),
        );
    }

    /// The file in whose twin a decoy stands.
    pub(crate) fn file_of_decoy(&self, decoy: &str) -> Option<String> {
        let known = self.file_decoys.read().unwrap_or_else(PoisonError::into_inner);
        known.get(decoy).cloned()
    }

    /// Takes the attached values out of an answer again.
    pub fn redactor(&self, uses: &[CredentialUse]) -> Redactor {
        let pairs = uses
            .iter()
            .filter_map(|used| self.used(used))
            .map(|credential| {
                (
                    credential.secret.expose().to_vec(),
                    credential.decoy.as_str().as_bytes().to_vec(),
                )
            })
            .collect();
        Redactor::new(pairs)
    }

    /// Replaces every known value in `text`, for the ledger and for screens.
    pub fn redact_text(&self, text: &str) -> String {
        if self.known().find(text.as_bytes()).is_none() {
            return text.to_owned();
        }
        // Which spelling it has does not matter here: a text with a secret in it says nothing else
        // that could not be said without.
        "(removed: it contained a known secret)".to_owned()
    }

    /// Remembers a cookie or token that `host` handed out in this session: it may go back there, and
    /// nowhere else.
    pub fn remember_handed_out(&self, host: &HostName, value: &[u8]) {
        if let Ok(mut handed_out) = self.handed_out.lock()
            && handed_out.len() < MOST_HANDED_OUT
        {
            handed_out.insert((host.clone(), Digest::of(value)));
        }
    }

    /// Whether `host` handed `value` out in this session.
    pub(crate) fn was_handed_out(&self, host: &HostName, value: &[u8]) -> bool {
        self.handed_out
            .lock()
            .is_ok_and(|handed_out| handed_out.contains(&(host.clone(), Digest::of(value))))
    }

    /// The credential behind a use, when it is still the same.
    pub(crate) fn used(&self, used: &CredentialUse) -> Option<&Credential> {
        self.credentials
            .iter()
            .find(|known| known.name == used.name && known.generation == used.generation)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.credentials.iter().map(|known| &known.name).collect();
        f.debug_struct("Broker")
            .field("credentials", &names)
            .finish_non_exhaustive()
    }
}
