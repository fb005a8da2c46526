//! The walk over the credential slots of a request. There is one: examining and attaching both take
//! it, so neither can see a slot that the other does not. It hands each carried credential to a
//! visitor, alone and decoded, and puts back what the visitor gives instead.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_catalog::{SlotPlace, fold_field_name};
use tagout_core::{CanonicalQuery, form_decode, percent_decode};
use zeroize::Zeroizing;

/// The parts of a request that credentials go into, as they will be sent. After
/// [`attach`](crate::Broker::attach) it holds values and must not be shown or kept; it is erased when
/// dropped.
#[derive(Clone)]
pub struct Outgoing {
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// The query, without its question mark.
    pub query: Zeroizing<String>,
}

impl Outgoing {
    /// The parts of a permitted request, decoys in its slots.
    pub fn new(headers: &[(String, String)], query: &CanonicalQuery) -> Self {
        Self {
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), Zeroizing::new(value.clone().into_bytes())))
                .collect(),
            query: Zeroizing::new(query.as_str().to_owned()),
        }
    }

    /// Replaces the whole value of the header field that a slot names.
    pub(crate) fn set_header(&mut self, slot: &str, value: &str) {
        for (name, bytes) in &mut self.headers {
            if slot.strip_prefix("header ") == Some(fold_field_name(name).as_str()) {
                *bytes = Zeroizing::new(value.as_bytes().to_vec());
            }
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "Outgoing({names:?})")
    }
}

/// A credential as a slot carries it.
pub(crate) struct Carried<'a> {
    /// The slot, as records name it: `header authorization`, `query key`, `cookie session`, `body
    /// token`, `userinfo`.
    pub(crate) slot: String,
    /// Where that is.
    pub(crate) place: SlotPlace,
    /// The authentication scheme in front, as sent.
    pub(crate) scheme: Option<String>,
    /// The credential, decoded and alone.
    pub(crate) value: &'a [u8],
    /// Whether it is the name beside a password, which need not be a credential.
    pub(crate) beside_password: bool,
}

/// Takes what a slot carries and gives what shall stand there instead, if anything.
pub(crate) type Visit<'v> = dyn FnMut(Carried<'_>) -> Option<Vec<u8>> + 'v;

/// Which places of a request are slots.
pub(crate) struct SlotTable<'t> {
    places: Vec<&'t SlotPlace>,
}

impl<'t> SlotTable<'t> {
    pub(crate) fn new(places: impl IntoIterator<Item = &'t SlotPlace>) -> Self {
        Self {
            places: places.into_iter().collect(),
        }
    }

    pub(crate) fn header(&self, folded: &str) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, SlotPlace::Header { name, .. } if name == folded))
            || sounds_like_a_credential(folded)
    }

    fn query(&self, name: &str) -> Option<String> {
        self.named(
            name,
            |place, name| matches!(place, SlotPlace::Query(slot) if slot == name),
        )
    }

    /// The slot's name when a body field of that name is one.
    pub(crate) fn body_field(&self, name: &str) -> Option<String> {
        self.named(
            name,
            |place, name| matches!(place, SlotPlace::BodyField(slot) if slot == name),
        )
    }

    /// The names of the body's fields that are slots, folded.
    pub(crate) fn body_fields(&self) -> impl Iterator<Item = &str> {
        self.places.iter().filter_map(|place| match place {
            SlotPlace::BodyField(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// `user[password]` and `user.password` name what their last part names.
    fn named(&self, name: &str, is: impl Fn(&SlotPlace, &str) -> bool) -> Option<String> {
        let whole = fold_field_name(name.trim());
        let last = whole.trim_end_matches(']');
        let last = last.rsplit(['[', '.']).next().unwrap_or(last).to_owned();
        [whole, last]
            .into_iter()
            .find(|name| self.places.iter().any(|place| is(place, name)))
    }

    fn cookie(&self, name: &str) -> bool {
        self.places.iter().any(|place| match place {
            SlotPlace::AnyCookie => true,
            SlotPlace::Cookie(slot) => slot == name,
            _ => false,
        })
    }

    fn userinfo(&self) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, SlotPlace::Userinfo))
    }
}

/// How names of header fields end that carry a credential of a provider that no table knows:
/// `x-acme-token`, `x-mbx-apikey`.
const CREDENTIAL_ENDINGS: &[&str] = &[
    "-token",
    "-api-key",
    "apikey",
    "-secret",
    "-secret-key",
    "-access-key",
    "-auth-key",
    "-password",
];

/// Names that end so and carry none: what a page was given against forged requests.
const NO_CREDENTIALS: &[&str] = &["csrf", "xsrf", "forgery", "verification-token"];

fn sounds_like_a_credential(folded: &str) -> bool {
    CREDENTIAL_ENDINGS
        .iter()
        .any(|ending| folded.ends_with(ending))
        && !NO_CREDENTIALS.iter().any(|part| folded.contains(part))
}

/// Schemes that stand in front of a credential (the HTTP authentication scheme registry, and what
/// providers invented).
#[rustfmt::skip]
const SCHEMES: &[&str] = &[
    "basic", "bearer", "digest", "dpop", "gnap", "hoba", "mutual", "negotiate", "ntlm", "oauth",
    "privatetoken", "scram-sha-1", "scram-sha-256", "vapid", "token", "apikey", "api-key", "key",
    "jwt", "bot", "ssws", "geniekey", "splunk", "aws4-hmac-sha256", "aws3-https", "hmac",
    "sharedkey", "sharedaccesssignature", "googlelogin", "cloudflare", "signature", "pat", "client",
    "mac", "session", "custom",
];

/// Hands every credential in headers and query to `visit` and puts back what it gives. Answers what
/// no two servers read in one way; each is a reason to refuse.
pub(crate) fn visit(
    parts: &mut Outgoing,
    table: &SlotTable<'_>,
    visit: &mut Visit<'_>,
) -> Vec<String> {
    let mut ambiguous = Vec::new();
    headers(parts, table, visit, &mut ambiguous);
    query(parts, table, visit);
    ambiguous
}

fn headers(
    parts: &mut Outgoing,
    table: &SlotTable<'_>,
    visit: &mut Visit<'_>,
    ambiguous: &mut Vec<String>,
) {
    let mut seen: Vec<String> = Vec::new();
    for (name, bytes) in &mut parts.headers {
        let folded = fold_field_name(name);
        // What is not text cannot hold a decoy; it is looked at as far as it is.
        let mut value = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
        let before = value.clone();
        if folded == "cookie" || folded == "cookie2" {
            cookies(&mut value, table, visit);
        } else if table.header(&folded) {
            // Servers take the first, the last, or all of them joined.
            if seen.contains(&folded) {
                ambiguous.push(format!(
                    "the header field {folded} stands twice in the request"
                ));
            }
            header(&mut value, &folded, visit);
            seen.push(folded);
        }
        if table.userinfo() {
            userinfo(&value, visit);
        }
        if *value != *before {
            *bytes = Zeroizing::new(value.as_bytes().to_vec());
        }
    }
}

fn header(value: &mut String, folded: &str, visit: &mut Visit<'_>) {
    let text = value.trim();
    let (scheme, credential) = match text.split_once([' ', '\t']) {
        Some((first, rest))
            if is_scheme(first) || (folded.ends_with("authorization") && is_token(first)) =>
        {
            (Some(first), rest.trim())
        }
        // A scheme and nothing behind it carries nothing.
        None if is_scheme(text) => return,
        _ => (None, text),
    };
    let slot = format!("header {folded}");
    let place = SlotPlace::Header {
        name: folded.to_owned(),
        scheme: scheme.map(str::to_owned),
    };
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
        && let Ok(decoded) = STANDARD.decode(credential)
    {
        if let Some(replaced) = user_and_password(&decoded, &slot, &place, scheme, visit) {
            let scheme = scheme.unwrap_or("Basic");
            *value = format!("{scheme} {}", STANDARD.encode(replaced));
        }
        return;
    }
    let given = visit(Carried {
        slot,
        place,
        scheme: scheme.map(str::to_owned),
        value: credential.as_bytes(),
        beside_password: false,
    });
    if let Some(given) = given.and_then(|given| String::from_utf8(given).ok()) {
        *value = match scheme {
            Some(scheme) => format!("{scheme} {given}"),
            None => given,
        };
    }
}

/// Both parts of `user:password` (RFC 7617 §2); what they become, when either changes.
fn user_and_password(
    decoded: &[u8],
    slot: &str,
    place: &SlotPlace,
    scheme: Option<&str>,
    visit: &mut Visit<'_>,
) -> Option<Vec<u8>> {
    let colon = decoded
        .iter()
        .position(|&byte| byte == b':')
        .unwrap_or(decoded.len());
    let user = decoded.get(..colon).unwrap_or_default();
    let password = decoded.get(colon + 1..).unwrap_or_default();
    let mut part = |value: &[u8], beside_password| {
        visit(Carried {
            slot: slot.to_owned(),
            place: place.clone(),
            scheme: scheme.map(str::to_owned),
            value,
            beside_password,
        })
    };
    let is_filler = is_filler(password);
    let new_password = if is_filler {
        None
    } else {
        part(password, false)
    };
    let new_user = part(user, !is_filler);
    if new_user.is_none() && new_password.is_none() {
        return None;
    }
    let user = new_user.unwrap_or_else(|| user.to_vec());
    let password = new_password.unwrap_or_else(|| password.to_vec());
    Some([user.as_slice(), b":", password.as_slice()].concat())
}

/// Whether a password means "the credential is the other part".
pub(crate) fn is_filler(password: &[u8]) -> bool {
    matches!(password, b"" | b"x" | b"X" | b"x-oauth-basic")
}

fn cookies(value: &mut String, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    let pairs: Vec<String> = value
        .split(';')
        .map(|pair| {
            let trimmed = pair.trim();
            let (name, content) = trimmed.split_once('=').unwrap_or(("", trimmed));
            let name = name.trim();
            if !table.cookie(name) {
                return pair.to_owned();
            }
            let given = visit(Carried {
                slot: format!("cookie {name}"),
                place: SlotPlace::Cookie(name.to_owned()),
                scheme: None,
                value: content.trim().trim_matches('"').as_bytes(),
                beside_password: false,
            });
            match given.and_then(|given| String::from_utf8(given).ok()) {
                Some(given) => format!(" {name}={given}"),
                None => pair.to_owned(),
            }
        })
        .collect();
    let joined = pairs.join(";");
    if joined != *value {
        *value = joined.trim_start().to_owned();
    }
}

fn query(parts: &mut Outgoing, table: &SlotTable<'_>, visit: &mut Visit<'_>) {
    // Some servers separate parameters at semicolons too.
    let pieces: Vec<String> = parts
        .query
        .split_inclusive(['&', ';'])
        .map(|piece| {
            let (pair, separator) = match piece.strip_suffix(['&', ';']) {
                Some(pair) => (pair, &piece[pair.len()..]),
                None => (piece, ""),
            };
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded_name = String::from_utf8_lossy(&form_decode(name)).into_owned();
            let decoded_value = form_decode(value);
            let Some(slot) = table.query(&decoded_name) else {
                if table.userinfo() {
                    userinfo(&String::from_utf8_lossy(&decoded_value), visit);
                }
                return piece.to_owned();
            };
            let given = visit(Carried {
                slot: format!("query {slot}"),
                place: SlotPlace::Query(slot),
                scheme: None,
                value: &decoded_value,
                beside_password: false,
            });
            match given {
                None => piece.to_owned(),
                Some(given) => format!("{name}={}{separator}", encoded(&given)),
            }
        })
        .collect();
    parts.query = Zeroizing::new(pieces.concat());
}

/// Visits `user:password@` of each URL in `text`. A URL with a decoy in it is not rewritten: nobody
/// sends its own credential as somebody's address.
fn userinfo(text: &str, visit: &mut Visit<'_>) {
    for (at, _) in text.match_indices("://") {
        let rest = text.get(at + 3..).unwrap_or_default();
        let end = rest
            .find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c))
            .unwrap_or(rest.len());
        let Some((info, _)) = rest
            .get(..end)
            .and_then(|authority| authority.rsplit_once('@'))
        else {
            continue;
        };
        let password = info.split_once(':').map_or(info, |(_, password)| password);
        visit(Carried {
            slot: "userinfo".to_owned(),
            place: SlotPlace::Userinfo,
            scheme: None,
            value: &percent_decode(password),
            beside_password: false,
        });
    }
}

fn is_scheme(word: &str) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| scheme.eq_ignore_ascii_case(word))
}

/// RFC 9110 §5.6.2.
fn is_token(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 40
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(crate) fn encoded(value: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len() * 3);
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
