//! The broker of a session: knows every credential and every decoy, examines what the agent sends,
//! attaches values to what was permitted, and takes them out of answers and texts again.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tagout_catalog::{SlotPlace, fold_field_name, generic_slots, pack_for_host};
use tagout_core::{CredentialUse, Digest, FaultKind, HostName, HttpRequest, Transport};
use tagout_secrets::{DecoyKey, KnownSecrets, Redactor, StreamFinder, is_guessable};

use crate::body;
use crate::credential::Credential;
use crate::examination::Examination;
use crate::repository::{Pair, Repository};
use crate::slots::{Carried, Outgoing, SlotTable, visit};
use crate::value::{Decoy, Secret};

/// All credentials of a session, with what is known beside them.
pub struct Broker {
    /// Makes decoys of known values for model hosts.
    decoy_key: Option<DecoyKey>,
    /// Grows while a session runs; each state of it stays as it is.
    learned: RwLock<Arc<Learned>>,
    /// Digests of what each host handed out in this session.
    handed_out: Mutex<HashSet<(HostName, Digest)>>,
}

/// What is known at one moment.
struct Learned {
    /// Counts the moments.
    number: u64,
    credentials: Arc<[Credential]>,
    /// Values that credentials had before, by name: a host may still echo one.
    former: Vec<(String, Secret)>,
    known: KnownSecrets,
    /// Every decoy, with what it stands for.
    decoys: KnownSecrets,
    /// Decoys that stand in twins, with the name of what they stand for.
    file_decoys: HashMap<String, String>,
    /// Known values to decoys; built when first needed.
    mask: OnceLock<Redactor>,
    /// Known values to notices; built when first needed.
    notices: OnceLock<Redactor>,
}

/// How a credential came by another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The same login has a new token: what was approved for it still holds.
    Refreshed,
    /// A person put something else in its place: its generation counts up.
    Replaced,
}

/// A credential that was to be attached cannot be. Nothing may be sent then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The session has no credential of that name.
    #[error("there is no credential `{0}` in this session")]
    Unknown(String),
    /// Its source or value changed since the action was judged.
    #[error("credential `{0}` has changed since this was allowed; ask again")]
    Changed(String),
    /// Its decoy does not stand in the slot.
    #[error("the request does not carry credential `{name}` in its slot {slot}")]
    NotInSlot {
        /// The credential.
        name: String,
        /// The slot.
        slot: String,
    },
    /// Its value is not text, so it cannot stand in a header field.
    #[error("the value of credential `{0}` cannot stand in a request; it is not plain text")]
    NotText(String),
}

const USE_PLACEHOLDER: &str = "Use the placeholder value that the environment or the file holds, in the place where the provider wants its \
     credential; Tagout puts the real value in on the way. A credential that the task was not given must be granted in tagout.toml by your user.";
const TAKE_OUT: &str = "Take the value out of the request; refer to it by its name instead.";

impl Broker {
    /// A broker of `credentials`. `known` are further values that must not leave (found in files and
    /// in git history), `file_decoys` the decoys that stand for them in twins, each with a name that
    /// may be said.
    pub fn new(
        credentials: Vec<Credential>,
        known: impl Borrow<KnownSecrets>,
        file_decoys: impl IntoIterator<Item = (Decoy, String)>,
    ) -> Self {
        let values = credentials.iter().map(|credential| {
            let value = credential.secret.expose();
            (label(&credential.name), value.to_vec(), is_guessable(value))
        });
        let decoys = credentials.iter().map(|credential| {
            let decoy = credential.decoy.as_str().as_bytes();
            (label(&credential.name), decoy.to_vec(), false)
        });
        let decoys = KnownSecrets::new(decoys);
        let known = known.borrow().values();
        let known = known.filter(|(_, value, _)| is_no_decoy(value, &decoys));
        // The credentials' own labels come first: they say more than the file that holds a copy.
        let known = KnownSecrets::new(values).with(known);
        let file_decoys: HashMap<String, String> = file_decoys
            .into_iter()
            .map(|(decoy, label)| (decoy.as_str().to_owned(), label))
            .collect();
        let learned = Learned::new(0, credentials.into(), Vec::new(), known, file_decoys);
        Self {
            decoy_key: None,
            learned: RwLock::new(Arc::new(learned)),
            handed_out: Mutex::default(),
        }
    }

    /// The key by which [`mask_for_model_host`](Self::mask_for_model_host) makes decoys: the
    /// workspace's, so that they are those of its twins.
    #[must_use]
    pub fn with_decoy_key(mut self, key: DecoyKey) -> Self {
        self.decoy_key = Some(key);
        self
    }

    pub(crate) fn decoy_key(&self) -> Option<&DecoyKey> {
        self.decoy_key.as_ref()
    }

    /// Values that turned up during the session: a file was changed from outside and holds secrets
    /// now. Arguments as for [`KnownSecrets::new`] and [`Broker::new`].
    pub fn learn(
        &self,
        values: impl IntoIterator<Item = (String, Vec<u8>, bool)>,
        file_decoys: impl IntoIterator<Item = (Decoy, String)>,
    ) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        let mut decoys = learned.file_decoys.clone();
        decoys.extend(
            file_decoys
                .into_iter()
                .map(|(decoy, label)| (decoy.as_str().to_owned(), label)),
        );
        let values = values.into_iter();
        let values = values.filter(|(_, value, _)| is_no_decoy(value, &learned.decoys));
        let known = learned.known.with(values);
        *learned = Arc::new(learned.next(
            Arc::clone(&learned.credentials),
            learned.former.clone(),
            known,
            decoys,
        ));
    }

    /// Adds a credential that turned up during the session. One of that name must not be there yet;
    /// if it is, nothing happens and the answer is `false`.
    pub fn add(&self, credential: Credential) -> bool {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if learned
            .credentials
            .iter()
            .any(|known| known.name == credential.name)
        {
            return false;
        }
        let known = learned.known.with([known_value(&credential)]);
        let credentials = learned.credentials.iter().cloned().chain([credential]);
        *learned = Arc::new(learned.next(
            credentials.collect(),
            learned.former.clone(),
            known,
            learned.file_decoys.clone(),
        ));
        true
    }

    /// Gives the credential `name` another value; its decoy stays. What it was is still known and
    /// still taken out of answers. `change` says whether it is the same login or another: see
    /// [`Change`]. `false` when there is no such credential.
    pub fn renew(&self, name: &str, value: Secret, change: Change) -> bool {
        self.change(name, change, |credential| credential.secret = value)
    }

    /// Gives the credential `name` of a git repository what basic authentication sends there, in the
    /// place of the agent's name and the decoy. `false` when there is no such credential.
    pub fn renew_pair(&self, name: &str, user: Secret, password: Secret) -> bool {
        let pair = Pair { user, password };
        self.change(name, Change::Refreshed, |credential| {
            credential.secret = pair.secret().clone();
            if let Some(repository) = &mut credential.repository {
                repository.set_pair(pair);
            }
        })
    }

    fn change(&self, name: &str, change: Change, put: impl FnOnce(&mut Credential)) -> bool {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        let mut credentials = learned.credentials.to_vec();
        let Some(credential) = credentials.iter_mut().find(|known| known.name == name) else {
            return false;
        };
        let before = credential.secret.clone();
        put(credential);
        let mut former = learned.former.clone();
        if credential.secret.expose() != before.expose() {
            former.push((name.to_owned(), before));
            let of_name = former.iter().filter(|(known, _)| known == name).count();
            if of_name > MOST_FORMER
                && let Some(oldest) = former.iter().position(|(known, _)| known == name)
            {
                former.remove(oldest);
            }
        }
        if change == Change::Replaced {
            credential.generation += 1;
        }
        let known = learned.known.with([known_value(credential)]);
        *learned = Arc::new(learned.next(
            credentials.into(),
            former,
            known,
            learned.file_decoys.clone(),
        ));
        true
    }

    /// Counts the changes so far: what was made from the broker's values at another number is old.
    pub fn changes(&self) -> u64 {
        self.learned().number
    }

    fn learned(&self) -> Arc<Learned> {
        Arc::clone(&self.learned.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The values that must not leave, as they are known now.
    pub fn known(&self) -> KnownSecrets {
        self.learned().known.clone()
    }

    /// Looks for values that must not leave in content that is streamed.
    pub fn stream(&self) -> StreamFinder {
        self.learned().known.stream()
    }

    /// The credentials of the session, as they are now.
    pub fn credentials(&self) -> Arc<[Credential]> {
        Arc::clone(&self.learned().credentials)
    }

    /// What `request` carries, in its slots and elsewhere. To a model host a body has no slots. A
    /// streamed body is not looked at; run [`stream`](Self::stream) over it.
    pub fn examine(&self, request: &HttpRequest, is_model_host: bool) -> Examination {
        let mut examination = Examination::default();
        let learned = self.learned();
        let table = slots_of(&request.target.host, &learned);
        let mut parts = Outgoing::new(&request.headers, &request.query);
        let mut ambiguous = visit(&mut parts, &table, &mut |carried| {
            self.weigh(request, &carried, &learned, &mut examination);
            None
        });
        if !is_model_host {
            ambiguous.extend(body::visit(request, &table, &mut |carried| {
                self.weigh(request, carried, &learned, &mut examination);
            }));
        }
        for what in ambiguous {
            examination.fault(
                FaultKind::ForeignCredential,
                format!("{what}, and servers disagree on what that means"),
                "Send each credential once, in one place, in a request that reads in one way.",
            );
        }
        find_known(request, &learned, &mut examination);
        note_decoys(request, &learned, &mut examination);
        examination
    }

    /// Weighs what one slot carries.
    fn weigh(
        &self,
        request: &HttpRequest,
        carried: &Carried<'_>,
        learned: &Learned,
        examination: &mut Examination,
    ) {
        let host = &request.target.host;
        let value = carried.value;
        if value.is_empty() {
            return;
        }
        let standing_for: Vec<&Credential> = learned
            .credentials
            .iter()
            .filter(|credential| credential.decoy.as_str().as_bytes() == value)
            .collect();
        if !standing_for.is_empty() {
            let bound = standing_for
                .iter()
                .find(|credential| binds(credential, request, carried));
            match bound {
                Some(credential) => {
                    examination.used(
                        &credential.name,
                        credential.generation,
                        carried.slot.clone(),
                    );
                }
                None => {
                    let names: Vec<_> = standing_for
                        .iter()
                        .map(|credential| format!("`{}`", credential.name))
                        .collect();
                    let why = if request.target.transport == Transport::Plain {
                        "without encryption"
                    } else {
                        "and is not bound to that place"
                    };
                    examination.fault(
                        FaultKind::StrayDecoy,
                        format!("{} of {host} carries the placeholder of credential {} {why}", carried.slot, names.join(" or ")),
                        "Send this credential only to its own provider, over TLS, in the field where that provider wants it.",
                    );
                }
            }
            return;
        }
        if let Some(label) = std::str::from_utf8(value)
            .ok()
            .and_then(|text| learned.file_decoys.get(text))
        {
            examination.fault(
                FaultKind::StrayDecoy,
                format!("{} of {host} carries the placeholder of {label}, a secret that this session was not given", carried.slot),
                USE_PLACEHOLDER,
            );
            return;
        }
        if let Some(label) = learned.known.label_of(value) {
            examination.fault(
                FaultKind::KnownSecret,
                format!(
                    "{} of {host} carries the real value of {label}",
                    carried.slot
                ),
                USE_PLACEHOLDER,
            );
            return;
        }
        if self.was_handed_out(host, value) {
            return;
        }
        // A user name is none of the slot's business while it does not look like a key.
        let is_name = carried.beside_password
            && (value.len() < 20 || is_guessable(value) || value.contains(&b'@'));
        if is_name {
            return;
        }
        examination.fault(
            FaultKind::ForeignCredential,
            format!(
                "{} of {host} carries a credential that Tagout did not attach",
                carried.slot
            ),
            USE_PLACEHOLDER,
        );
    }

    /// Puts the values of `uses` where their decoys stand, in the named slots and nowhere else.
    ///
    /// # Errors
    /// See [`AttachError`]; `parts` must then be dropped.
    pub fn attach(&self, parts: &mut Outgoing, uses: &[CredentialUse]) -> Result<(), AttachError> {
        let learned = self.learned();
        for used in uses {
            let credential = learned.of_use(used)?;
            if std::str::from_utf8(credential.secret.expose()).is_err() {
                return Err(AttachError::NotText(used.name.clone()));
            }
            let mut attached = false;
            let table = SlotTable::new(&credential.slots);
            visit(parts, &table, &mut |carried| {
                let here = carried.slot == used.slot
                    && carried.value == credential.decoy.as_str().as_bytes()
                    && takes(&credential.slots, &carried);
                attached |= here;
                here.then(|| credential.secret.expose().to_vec())
            });
            if !attached {
                return Err(AttachError::NotInSlot {
                    name: used.name.clone(),
                    slot: used.slot.clone(),
                });
            }
            let pair = credential.repository.as_ref().and_then(Repository::pair);
            if let Some(pair) = pair {
                parts.set_header(&used.slot, &pair.basic());
            }
        }
        Ok(())
    }

    /// Takes the values of `uses` out of an answer again, putting their decoys there.
    pub fn redactor(&self, uses: &[CredentialUse]) -> Redactor {
        let learned = self.learned();
        let mut pairs = Vec::new();
        for credential in uses.iter().filter_map(|used| learned.of_use(used).ok()) {
            let former = learned.former.iter();
            let former = former.filter(|(name, _)| *name == credential.name);
            let values = former.map(|(_, value)| value).chain([&credential.secret]);
            pairs.extend(values.map(|value| {
                let decoy = credential.decoy.as_str().as_bytes();
                (value.expose().to_vec(), decoy.to_vec())
            }));
        }
        Redactor::new(pairs)
    }

    /// `body` with every known value replaced by its decoy; `None` when there is none to replace. For
    /// model hosts only, before examining: what is spelled in a way that cannot be replaced is found
    /// then and refused.
    pub fn mask_for_model_host(&self, body: &[u8]) -> Option<Vec<u8>> {
        let learned = self.learned();
        learned.known.find(body)?;
        let mask = learned.mask.get_or_init(|| {
            let decoy = |value: &[u8]| {
                let former = learned
                    .former
                    .iter()
                    .find(|(_, former)| former.expose() == value);
                let own = learned.credentials.iter().find(|credential| {
                    credential.secret.expose() == value
                        || former.is_some_and(|(name, _)| *name == credential.name)
                });
                match (own, &self.decoy_key) {
                    (Some(credential), _) => credential.decoy.as_str().as_bytes().to_vec(),
                    (None, Some(key)) => key.decoy(value),
                    (None, None) => vec![b'x'; value.len()],
                }
            };
            let pairs = learned.known.matchable();
            Redactor::new(
                pairs
                    .map(|(_, value)| (value.to_vec(), decoy(value)))
                    .collect(),
            )
        });
        let masked = mask.redact(body);
        (masked != body).then_some(masked)
    }

    /// `text` with every known value replaced by a notice, for logs, ledgers and what people are
    /// shown.
    pub fn redact_text(&self, text: &str) -> String {
        let learned = self.learned();
        if learned.known.find(text.as_bytes()).is_none() {
            return text.to_owned();
        }
        let notices = learned.notices.get_or_init(|| {
            let pairs = learned.known.matchable();
            Redactor::with_notices(
                pairs
                    .map(|(label, value)| (value.to_vec(), format!("[{label}]").into_bytes()))
                    .collect(),
            )
        });
        let redacted = notices.redact(text.as_bytes());
        match learned.known.find(&redacted) {
            None => String::from_utf8_lossy(&redacted).into_owned(),
            // Spelled in a way that only the search sees through.
            Some(hit) => format!("[withheld: it holds the value of {}]", hit.label),
        }
    }

    /// Remembers a cookie or token that `host` handed out: it may go back there, and nowhere else.
    /// Hosts with a pack hand out nothing so; neither does anyone hand out what is known.
    pub fn remember_handed_out(&self, host: &HostName, value: &[u8]) {
        let value = unquoted(value);
        let learned = self.learned();
        let is_ours =
            learned.known.label_of(value).is_some() || learned.decoys.label_of(value).is_some();
        if value.is_empty() || is_ours || pack_for_host(host).is_some() {
            return;
        }
        let mut handed_out = self
            .handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if handed_out.len() < MOST_HANDED_OUT {
            handed_out.insert((host.clone(), Digest::of(value)));
        }
    }

    /// Lets a value stand in the slots of `host`, told by its digest: what is public although it stands
    /// where credentials do, such as the client secret of a program that everybody has.
    pub fn allow_public(&self, host: &HostName, digest: Digest) {
        self.handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((host.clone(), digest));
    }

    fn was_handed_out(&self, host: &HostName, value: &[u8]) -> bool {
        let digest = Digest::of(unquoted(value));
        self.handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&(host.clone(), digest))
    }
}

/// Every place of a request to `host` that may carry a credential.
fn slots_of<'l>(host: &HostName, learned: &'l Learned) -> SlotTable<'l> {
    let of_pack = pack_for_host(host).map_or(&[][..], |pack| pack.slots());
    let bound = learned
        .credentials
        .iter()
        .filter(|credential| credential.is_bound_to(host))
        .flat_map(|credential| &credential.slots);
    SlotTable::new(of_pack.iter().chain(generic_slots()).chain(bound))
}

/// A decoy that somebody wrote to a file is no value that must not leave: it has to go on standing for its own.
fn is_no_decoy(value: &[u8], decoys: &KnownSecrets) -> bool {
    decoys.find(value).is_none()
}

fn known_value(credential: &Credential) -> (String, Vec<u8>, bool) {
    let value = credential.secret.expose();
    (label(&credential.name), value.to_vec(), is_guessable(value))
}

impl Learned {
    fn of_use(&self, used: &CredentialUse) -> Result<&Credential, AttachError> {
        let credential = self
            .credentials
            .iter()
            .find(|credential| credential.name == used.name)
            .ok_or_else(|| AttachError::Unknown(used.name.clone()))?;
        if credential.generation != used.generation {
            return Err(AttachError::Changed(used.name.clone()));
        }
        Ok(credential)
    }

    /// The next moment.
    fn next(
        &self,
        credentials: Arc<[Credential]>,
        former: Vec<(String, Secret)>,
        known: KnownSecrets,
        file_decoys: HashMap<String, String>,
    ) -> Self {
        Self::new(self.number + 1, credentials, former, known, file_decoys)
    }

    fn new(
        number: u64,
        credentials: Arc<[Credential]>,
        former: Vec<(String, Secret)>,
        known: KnownSecrets,
        file_decoys: HashMap<String, String>,
    ) -> Self {
        let of_credentials = credentials
            .iter()
            .map(|credential| (label(&credential.name), &credential.decoy));
        let texts =
            of_credentials.map(|(label, decoy)| (label, decoy.as_str().as_bytes().to_vec(), false));
        let of_files = file_decoys
            .iter()
            .map(|(decoy, label)| (label.clone(), decoy.as_bytes().to_vec(), false));
        Self {
            number,
            decoys: KnownSecrets::new(texts.chain(of_files)),
            credentials: Arc::clone(&credentials),
            former,
            known,
            file_decoys,
            mask: OnceLock::new(),
            notices: OnceLock::new(),
        }
    }
}

/// Known values anywhere in the request, in any encoding.
fn find_known(request: &HttpRequest, learned: &Learned, examination: &mut Examination) {
    let mut search = |place: &str, bytes: &[u8]| {
        if let Some(hit) = learned.known.find(bytes) {
            examination.fault(
                FaultKind::KnownSecret,
                format!(
                    "{place} holds the real value of {} ({})",
                    hit.label, hit.encoding
                ),
                TAKE_OUT,
            );
        }
    };
    search("the path", request.path.as_str().as_bytes());
    search("the query", request.query.as_str().as_bytes());
    for (name, value) in &request.headers {
        search("a header field's name", name.as_bytes());
        search(&format!("the header field {name}"), value.as_bytes());
    }
    search("the content", request.body.bytes());
}

/// Decoys outside slots pass, and are worth a line in the record.
fn note_decoys(request: &HttpRequest, learned: &Learned, examination: &mut Examination) {
    let mut search = |place: &str, slot: &str, bytes: &[u8]| {
        let in_slot = examination
            .uses
            .iter()
            .any(|used| used.slot.starts_with(slot));
        if !in_slot && let Some(hit) = learned.decoys.find(bytes) {
            examination.note(format!(
                "the placeholder of {} stands in {place}",
                hit.label
            ));
        }
    };
    search("the path", "path", request.path.as_str().as_bytes());
    search("the query", "query ", request.query.as_str().as_bytes());
    for (name, value) in &request.headers {
        let slot = match fold_field_name(name) {
            cookie if cookie == "cookie" => "cookie ".to_owned(),
            name => format!("header {name}"),
        };
        search(&format!("the header field {name}"), &slot, value.as_bytes());
    }
    search("the content", "body ", request.body.bytes());
}

/// So many former values of one credential are kept; a login is refreshed a few times a day.
const MOST_FORMER: usize = 16;

/// So many values of one session are remembered.
const MOST_HANDED_OUT: usize = 65_536;

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("credentials", &self.learned().credentials)
            .field("known", &self.learned().known)
            .finish_non_exhaustive()
    }
}

/// Without the quotes that RFC 6265 §4.1.1 allows around a cookie's value.
fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

fn label(name: &str) -> String {
    format!("credential {name}")
}

/// Whether `credential` may be attached where it is carried.
fn binds(credential: &Credential, request: &HttpRequest, carried: &Carried<'_>) -> bool {
    request.target.transport == Transport::Tls
        && credential.is_bound_to(&request.target.host)
        && credential
            .repository
            .as_ref()
            .is_none_or(|repository| repository.is_asked(request))
        && takes(&credential.slots, carried)
}

/// Whether one of `slots` is where it is carried, under the scheme that the slot asks for.
fn takes(slots: &[SlotPlace], carried: &Carried<'_>) -> bool {
    slots.iter().any(|slot| match (slot, &carried.place) {
        (SlotPlace::Header { name, scheme: None }, SlotPlace::Header { name: sent, .. }) => {
            name == sent
        }
        (
            SlotPlace::Header {
                name,
                scheme: Some(scheme),
            },
            SlotPlace::Header { name: sent, .. },
        ) => {
            name == sent
                && carried
                    .scheme
                    .as_ref()
                    .is_some_and(|sent| sent.eq_ignore_ascii_case(scheme))
        }
        (SlotPlace::AnyCookie, SlotPlace::Cookie(_)) => true,
        (slot, place) => slot == place,
    })
}

#[cfg(test)]
mod tests;
