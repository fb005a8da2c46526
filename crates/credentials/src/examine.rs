//! Every place of a request that could carry a credential is looked at, and everything that stands
//! there is one of four things: a decoy of a credential bound to this host (it will be attached), a
//! decoy that does not belong here, something this host handed out itself, or foreign.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tagout_catalog::{SlotPlace, fold_field_name, generic_slots, pack_for_host};
use tagout_core::json::{self, Json};
use tagout_core::{CredentialUse, Fault, FaultKind, HttpRequest, form_pairs};

use crate::broker::{Broker, Credential};

/// What was found in a request's slots.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// Credentials that will be attached if the action is permitted.
    pub uses: Vec<CredentialUse>,
    /// What denies.
    pub faults: Vec<Fault>,
    /// What is recorded and passes: a decoy outside a slot.
    pub notes: Vec<String>,
}

/// One place of a request that carries a credential, with what stands there.
struct Slot {
    /// `header authorization`, `query access_token`.
    place: String,
    /// The value without its scheme.
    values: Vec<String>,
}

impl Broker {
    /// Looks at every slot of a request, and at the rest of it for values that must not leave.
    /// `is_model_host`: the body has no slots there, and a known secret in it was replaced before.
    pub fn examine(&self, request: &HttpRequest, is_model_host: bool) -> Examination {
        let mut examination = Examination::default();
        for slot in self.slots(request, is_model_host) {
            self.examine_slot(request, &slot, &mut examination);
        }
        self.examine_rest(request, &mut examination);
        examination
    }

    fn examine_slot(&self, request: &HttpRequest, slot: &Slot, examination: &mut Examination) {
        let host = &request.target.host;
        let known_secrets = self.known();
        for value in slot.values.iter().filter(|value| !value.is_empty()) {
            let owner = self
                .credentials
                .iter()
                .find(|known| known.decoy.as_str() == value);
            if let Some(credential) = owner {
                if is_bound(credential, request, &slot.place) {
                    let used = CredentialUse {
                        name: credential.name.clone(),
                        generation: credential.generation,
                        slot: slot.place.clone(),
                    };
                    if !examination.uses.contains(&used) {
                        examination.uses.push(used);
                    }
                } else {
                    examination.faults.push(Fault {
                        kind: FaultKind::StrayDecoy,
                        reason: format!(
                            "the credential `{}` stands in {} of a request to {host}, and it is not \
                             bound to that place",
                            credential.name, slot.place
                        ),
                        how_to_proceed: format!(
                            "Use `{}` only with the host and the header that tagout.toml binds it to.",
                            credential.name
                        ),
                    });
                }
            } else if let Some(file) = self.file_of_decoy(value) {
                examination.faults.push(Fault {
                    kind: FaultKind::StrayDecoy,
                    reason: format!(
                        "what stands in {} is the decoy that Tagout shows in {file}; the real value is \
                         not part of this task",
                        slot.place
                    ),
                    how_to_proceed: "Ask your user to bind this credential in tagout.toml \
                                     ([[credential]]) if the task needs it. Do not look for another one."
                        .to_owned(),
                });
            } else if self.was_handed_out(host, value.as_bytes()) {
            } else {
                let known = known_secrets.label_of(value.as_bytes());
                examination.faults.push(Fault {
                    kind: FaultKind::ForeignCredential,
                    reason: match known {
                        Some(label) => format!(
                            "a real secret (from {label}) stands in {}, and Tagout did not attach it",
                            slot.place
                        ),
                        None => format!(
                            "a credential that Tagout did not attach stands in {}",
                            slot.place
                        ),
                    },
                    how_to_proceed: "Send the request with the credential that this task was given \
                                     (its variable holds a stand-in that works), or without one. Do not \
                                     look for another credential."
                        .to_owned(),
                });
            }
        }
    }

    /// Known values anywhere, in any encoding; decoys outside slots, which pass.
    fn examine_rest(&self, request: &HttpRequest, examination: &mut Examination) {
        let mut places: Vec<(String, Vec<u8>)> = vec![
            (
                "the path".to_owned(),
                request.path.as_str().as_bytes().to_vec(),
            ),
            (
                "the query".to_owned(),
                request.query.as_str().as_bytes().to_vec(),
            ),
            ("the body".to_owned(), request.body.bytes().to_vec()),
        ];
        for (name, value) in &request.headers {
            places.push((format!("header {name}"), value.as_bytes().to_vec()));
            places.push(("a header's name".to_owned(), name.as_bytes().to_vec()));
        }
        let known = self.known();
        for (place, bytes) in &places {
            if let Some(hit) = known.find(bytes) {
                examination.faults.push(Fault {
                    kind: FaultKind::KnownSecret,
                    reason: format!("a real secret ({}) stands in {place}", hit.label),
                    how_to_proceed: "Leave the secret out. Ask your user if the task needs it."
                        .to_owned(),
                });
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for (place, bytes) in &places {
            if place.starts_with("header ") {
                continue;
            }
            let text = text(bytes);
            for credential in &self.credentials {
                if text.contains(credential.decoy.as_str()) {
                    examination.notes.push(format!(
                        "the decoy of `{}` stands in {place}",
                        credential.name
                    ));
                }
            }
        }
    }

    /// Every slot of the request that holds something.
    fn slots(&self, request: &HttpRequest, is_model_host: bool) -> Vec<Slot> {
        let mut places: Vec<&SlotPlace> = Vec::new();
        if let Some(pack) = pack_for_host(&request.target.host) {
            places.extend(pack.slots());
        }
        places.extend(generic_slots());
        let bound = self.credentials.iter().filter(|credential| {
            credential
                .hosts
                .iter()
                .any(|pattern| pattern.matches(&request.target.host))
        });
        places.extend(bound.flat_map(|credential| &credential.slots));
        let mut slots: Vec<Slot> = Vec::new();
        let mut add = |place: String, values: Vec<String>| {
            if !slots
                .iter()
                .any(|slot| slot.place == place && slot.values == values)
            {
                slots.push(Slot { place, values });
            }
        };
        let cookies = places
            .iter()
            .any(|place| matches!(place, SlotPlace::AnyCookie));
        let named = |name: &str| {
            places
                .iter()
                .any(|place| matches!(place, SlotPlace::Cookie(cookie) if cookie == name))
        };
        for (name, value) in &request.headers {
            let folded = fold_field_name(name);
            if folded == "cookie" || folded == "cookie2" {
                for pair in value.split([';', ',']) {
                    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
                    if cookies || named(name.trim()) {
                        add(
                            format!("cookie {}", name.trim()),
                            vec![value.trim().trim_matches('"').to_owned()],
                        );
                    }
                }
                continue;
            }
            let is_slot = places
                .iter()
                .any(|place| matches!(place, SlotPlace::Header { name, .. } if *name == folded));
            if is_slot {
                add(format!("header {name}"), credentials_in_header(value));
            } else if places.contains(&&SlotPlace::Userinfo)
                && let Some(userinfo) = userinfo(value)
            {
                add(format!("header {name}, as userinfo"), vec![userinfo]);
            }
        }
        let is_query = |folded: &str| {
            places
                .iter()
                .any(|place| matches!(place, SlotPlace::Query(name) if name == folded))
        };
        for (name, value) in request.query.pairs() {
            let name = String::from_utf8_lossy(&name).into_owned();
            if is_query(&fold_field_name(&name)) {
                add(
                    format!("query {name}"),
                    vec![String::from_utf8_lossy(&value).into_owned()],
                );
            }
        }
        if !is_model_host {
            let is_field = |folded: &str| {
                places
                    .iter()
                    .any(|place| matches!(place, SlotPlace::BodyField(name) if name == folded))
            };
            for (name, value) in body_fields(request) {
                if is_field(&fold_field_name(&name)) {
                    add(format!("body field {name}"), vec![value]);
                }
            }
        }
        slots
    }
}

/// Whether a credential may stand in that place of a request to that host.
fn is_bound(credential: &Credential, request: &HttpRequest, place: &str) -> bool {
    let host = &request.target.host;
    if request.target.transport != tagout_core::Transport::Tls
        || !credential.hosts.iter().any(|pattern| pattern.matches(host))
    {
        return false;
    }
    let (kind, name) = place.split_once(' ').unwrap_or((place, ""));
    let folded = fold_field_name(name);
    credential.slots.iter().any(|slot| match slot {
        SlotPlace::Header { name: slot, scheme } => {
            kind == "header"
                && *slot == folded
                && scheme.as_ref().is_none_or(|scheme| {
                    let mut values = request.header(name);
                    let first = values.next();
                    // One field, one value: a second one might be read instead of the first.
                    values.next().is_none()
                        && first.is_some_and(|value| {
                            value
                                .split_once(' ')
                                .is_some_and(|(word, _)| word.eq_ignore_ascii_case(scheme))
                        })
                })
                && request
                    .headers
                    .iter()
                    .filter(|(field, _)| fold_field_name(field) == folded)
                    .count()
                    == 1
        }
        SlotPlace::Query(slot) => kind == "query" && *slot == folded,
        SlotPlace::Cookie(slot) => kind == "cookie" && slot == name,
        SlotPlace::BodyField(_) | SlotPlace::AnyCookie | SlotPlace::Userinfo => false,
    })
}

/// What a header field's value holds: behind a scheme, and both halves of Basic. All of a value that
/// has no known form.
fn credentials_in_header(value: &str) -> Vec<String> {
    let value = value.trim();
    let Some((scheme, rest)) = value.split_once([' ', '\t']) else {
        return vec![value.to_owned()];
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64
            .decode(rest)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
            return vec![user.to_owned(), password.to_owned()];
        }
        return vec![value.to_owned()];
    }
    let schemes = ["bearer", "token", "apikey", "api-key", "key"];
    if schemes
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        && !rest.contains([' ', ','])
    {
        return vec![rest.to_owned()];
    }
    vec![value.to_owned()]
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `user:password` of a URL in a header field such as `Referer`.
fn userinfo(value: &str) -> Option<String> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (userinfo, _) = authority.rsplit_once('@')?;
    Some(userinfo.to_owned())
}

/// Name and value of every field of a JSON or form body, at any depth, whatever `Content-Type` says.
fn body_fields(request: &HttpRequest) -> Vec<(String, String)> {
    let bytes = request.body.bytes();
    let mut fields = Vec::new();
    if let Ok(document) = json::parse(bytes) {
        collect(&document, &mut fields);
    } else if let Ok(text) = std::str::from_utf8(bytes)
        && is_form(text)
    {
        for (name, value) in form_pairs(text) {
            fields.push((
                String::from_utf8_lossy(&name).into_owned(),
                String::from_utf8_lossy(&value).into_owned(),
            ));
        }
    }
    fields
}

fn is_form(text: &str) -> bool {
    text.len() < 1024 * 1024 && text.contains('=') && !text.contains(['\n', ' ', '<'])
}

fn collect(value: &Json, fields: &mut Vec<(String, String)>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        Json::Object(members) => {
            for (name, member) in members {
                if let Json::String(text) = member {
                    fields.push((name.clone(), text.clone()));
                }
                collect(member, fields);
            }
        }
        _ => {}
    }
}
