//! The one place that turns a decoy into a value: on the way out, after the verdict, in the slots
//! that the permitted action names and nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_core::{CanonicalQuery, CredentialUse};
use zeroize::Zeroizing;

use crate::broker::{Broker, Credential};

/// The parts of a request that can carry a credential, as they will be sent.
#[derive(Clone)]
pub struct Outgoing {
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// The query, without `?`.
    pub query: Zeroizing<String>,
}

/// A credential could not be attached; then nothing is sent.
#[derive(Debug, thiserror::Error)]
#[error("the credential `{name}` could not be attached in {slot}")]
pub struct AttachError {
    name: String,
    slot: String,
}

impl Outgoing {
    /// The parts of a permitted request, still with decoys.
    pub fn new(headers: &[(String, String)], query: &CanonicalQuery) -> Self {
        Self {
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), Zeroizing::new(value.clone().into_bytes())))
                .collect(),
            query: Zeroizing::new(query.as_str().to_owned()),
        }
    }
}

impl Broker {
    /// Puts the values of `uses` where their decoys stand.
    ///
    /// # Errors
    /// When a credential is no longer the one that was judged, or its decoy is not where it was.
    pub fn attach(
        &self,
        outgoing: &mut Outgoing,
        uses: &[CredentialUse],
    ) -> Result<(), AttachError> {
        for used in uses {
            let failed = || AttachError {
                name: used.name.clone(),
                slot: used.slot.clone(),
            };
            let credential = self.used(used).ok_or_else(failed)?;
            let done = match used.slot.split_once(' ') {
                Some(("header", name)) => attach_header(outgoing, name, credential),
                Some(("cookie", _)) => attach_header(outgoing, "cookie", credential),
                Some(("query", name)) => attach_query(outgoing, name, credential),
                _ => false,
            };
            if !done {
                return Err(failed());
            }
        }
        Ok(())
    }
}

fn attach_header(outgoing: &mut Outgoing, name: &str, credential: &Credential) -> bool {
    let mut done = false;
    for (_, value) in outgoing
        .headers
        .iter_mut()
        .filter(|(field, _)| field == name)
    {
        if let Some(attached) = attached_value(value, credential) {
            *value = attached;
            done = true;
        }
    }
    done
}

/// The value with the decoy replaced, in the clear or within Basic.
fn attached_value(value: &[u8], credential: &Credential) -> Option<Zeroizing<Vec<u8>>> {
    let decoy = credential.decoy.as_str().as_bytes();
    let secret = credential.secret.expose();
    if let Some(replaced) = replaced_once(value, decoy, secret) {
        return Some(replaced);
    }
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let replaced = replaced_once(&decoded, decoy, secret)?;
    let mut attached = Zeroizing::new(b"Basic ".to_vec());
    attached.extend_from_slice(Zeroizing::new(STANDARD.encode(&*replaced)).as_bytes());
    Some(attached)
}

fn attach_query(outgoing: &mut Outgoing, name: &str, credential: &Credential) -> bool {
    let mut done = false;
    let mut pairs: Vec<Zeroizing<String>> = Vec::new();
    for pair in outgoing.query.split('&') {
        let (field, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_slot = tagout_core::form_decode(field) == name.as_bytes()
            && tagout_core::form_decode(value) == credential.decoy.as_str().as_bytes();
        if is_slot {
            let mut attached = Zeroizing::new(format!("{field}="));
            for byte in credential.secret.expose() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                    attached.push(char::from(*byte));
                } else {
                    attached.push_str(&format!("%{byte:02X}"));
                }
            }
            pairs.push(attached);
            done = true;
        } else {
            pairs.push(Zeroizing::new(pair.to_owned()));
        }
    }
    let parts: Vec<&str> = pairs.iter().map(|pair| pair.as_str()).collect();
    outgoing.query = Zeroizing::new(parts.join("&"));
    done
}

fn replaced_once(value: &[u8], decoy: &[u8], secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let at = value
        .windows(decoy.len())
        .position(|window| window == decoy)?;
    let mut replaced = Zeroizing::new(Vec::with_capacity(value.len() + secret.len()));
    replaced.extend_from_slice(&value[..at]);
    replaced.extend_from_slice(secret);
    replaced.extend_from_slice(&value[at + decoy.len()..]);
    Some(replaced)
}
