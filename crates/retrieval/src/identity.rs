//! Who asks: a JSON Web Token (RFC 7519) that one of the operator's issuers signed, and nothing else. A
//! token carries its algorithm; it is accepted only if that is the one algorithm of its issuer, so neither
//! `none` nor a public key used as a shared secret gets anywhere.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;
use tagout_policy::Reader;

use crate::settings::IdentitySettings;

/// A longer token is none.
const LONGEST: usize = 16 * 1024;
/// How far clocks may differ, in seconds.
const LEEWAY: u64 = 30;
/// How far ahead a token may end, in seconds: a year and a day.
const LONGEST_LIFE: u64 = 366 * 24 * 60 * 60;
const MOST_GROUPS: usize = 500;

/// The issuers that are believed.
pub(crate) struct Verifier {
    issuers: Vec<Issuer>,
}

struct Issuer {
    settings: IdentitySettings,
    keys: Vec<Key>,
}

/// One key of an issuer, with its id where it has one.
struct Key {
    id: Option<String>,
    material: Material,
}

enum Material {
    Shared(hmac::Key),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Verifier {
    /// Reads the keys of every issuer.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn new(identities: &[IdentitySettings]) -> Result<Self, String> {
        // The same name from two issuers is two people, so no name of one may read as one of another.
        for (at, one) in identities.iter().enumerate() {
            let clash = identities.iter().take(at).find(|other| {
                other.issuer != one.issuer
                    && (other.prefix.starts_with(&one.prefix)
                        || one.prefix.starts_with(&other.prefix))
            });
            if let Some(other) = clash {
                return Err(format!(
                    "issuers {} and {} may name different people alike; give each a `prefix`, with which its users and \
                     groups then begin, and neither of which begins with the other",
                    other.issuer, one.issuer
                ));
            }
        }
        let issuers = identities
            .iter()
            .map(|settings| {
                let path = settings.key_file.display();
                let bytes = std::fs::read(&settings.key_file)
                    .map_err(|error| format!("cannot read {path}: {error}"))?;
                let keys =
                    keys(&settings.algorithm, &bytes).map_err(|why| format!("{path}: {why}"))?;
                Ok(Issuer {
                    settings: settings.clone(),
                    keys,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { issuers })
    }

    /// The reader that a token proves; `None` where it proves nobody.
    pub(crate) fn verify(&self, token: &str) -> Option<Reader> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        self.verify_at(token, now)
    }

    fn verify_at(&self, token: &str, now: u64) -> Option<Reader> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| -> Option<Value> {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        let (header, claims) = (part(header)?, part(claims)?);
        // Extensions that have to be understood are not.
        if header.get("crit").is_some() {
            return None;
        }
        let word = |name: &str| claims.get(name).and_then(Value::as_str);
        let issuer = self.issuers.iter().find(|issuer| {
            word("iss") == Some(&issuer.settings.issuer)
                && audience(&claims, &issuer.settings.audience)
        })?;
        if header.get("alg").and_then(Value::as_str) != Some(&issuer.settings.algorithm) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let id = header.get("kid").and_then(Value::as_str);
        let mut keys = issuer
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.is_none() || key.id.as_deref() == id);
        if !keys.any(|key| key.material.verifies(signed.as_bytes(), &signature)) {
            return None;
        }
        // A token that never ends, or not for long, is a password, and is refused.
        let end = time(claims.get("exp")?)?;
        let late = now >= end.saturating_add(LEEWAY) || end > now.saturating_add(LONGEST_LIFE);
        let early = match claims.get("nbf") {
            None => false,
            Some(start) => now.saturating_add(LEEWAY) < time(start)?,
        };
        let user = word(&issuer.settings.user_claim).filter(|user| !user.is_empty())?;
        if late || early {
            return None;
        }
        let groups = match claims.get(&issuer.settings.groups_claim) {
            Some(Value::Array(groups)) if groups.len() <= MOST_GROUPS => groups
                .iter()
                .map(|group| {
                    let group = group.as_str().filter(|group| !group.is_empty())?;
                    Some(format!("{}{group}", issuer.settings.prefix))
                })
                .collect::<Option<Vec<_>>>()?,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return None,
        };
        Some(Reader {
            user: format!("{}{user}", issuer.settings.prefix),
            groups,
            authenticated: true,
        })
    }
}

impl Material {
    fn verifies(&self, signed: &[u8], given: &[u8]) -> bool {
        match self {
            Self::Shared(key) => hmac::verify(key, signed, given).is_ok(),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, given)
                .is_ok(),
            Self::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(signed, given)
                .is_ok(),
            Self::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key)
                .verify(signed, given)
                .is_ok(),
        }
    }
}

/// Seconds since 1970, of a number; the fraction is cut off.
fn time(value: &Value) -> Option<u64> {
    let seconds = value.as_f64()?;
    (0.0..=9e15).contains(&seconds).then_some(seconds as u64)
}

fn audience(claims: &Value, wanted: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(audience)) => audience == wanted,
        Some(Value::Array(list)) => list
            .iter()
            .any(|audience| audience.as_str() == Some(wanted)),
        _ => false,
    }
}

/// The keys in a file, for one algorithm (RFC 7518).
fn keys(algorithm: &str, bytes: &[u8]) -> Result<Vec<Key>, String> {
    let kind = match algorithm {
        "HS256" => {
            let secret = bytes.trim_ascii();
            if secret.len() < 32 {
                return Err(
                    "a shared secret has at least 32 bytes; make one with `openssl rand -hex 32`"
                        .to_owned(),
                );
            }
            return Ok(vec![Key {
                id: None,
                material: Material::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret)),
            }]);
        }
        "RS256" => "RSA",
        "ES256" => "EC",
        "EdDSA" => "OKP",
        other => {
            return Err(format!(
                "algorithm {other:?} is none of HS256, RS256, ES256, EdDSA"
            ));
        }
    };
    let set: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("no JWK set: {error}"))?;
    let found: Vec<Key> = set
        .get("keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|key| key.get("kty").and_then(Value::as_str) == Some(kind))
        .filter_map(|key| {
            let text = |name: &str| key.get(name).and_then(Value::as_str);
            let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
            let material = match kind {
                "RSA" => Material::Rsa {
                    n: number("n")?,
                    e: number("e")?,
                },
                "EC" if text("crv") == Some("P-256") => {
                    let mut point = vec![4];
                    point.extend(number("x").filter(|x| x.len() == 32)?);
                    point.extend(number("y").filter(|y| y.len() == 32)?);
                    Material::P256(point)
                }
                "OKP" if text("crv") == Some("Ed25519") => Material::Ed25519(number("x")?),
                _ => return None,
            };
            Some(Key {
                id: text("kid").map(ToOwned::to_owned),
                material,
            })
        })
        .collect();
    if found.is_empty() {
        return Err(format!("has no key for {algorithm}"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn settings(algorithm: &str, file: &std::path::Path) -> IdentitySettings {
        IdentitySettings {
            issuer: "https://id.example.com".to_owned(),
            audience: "tagout".to_owned(),
            algorithm: algorithm.to_owned(),
            key_file: file.to_owned(),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            prefix: String::new(),
        }
    }

    fn verifier() -> Verifier {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, SECRET).unwrap();
        Verifier::new(&[settings("HS256", &file)]).unwrap()
    }

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example.com", "aud": ["tagout"], "sub": "ann", "exp": 1000,
            "groups": ["finance"]})
    }

    #[test]
    fn a_token_proves_its_subject_until_it_ends() {
        let token = token(&json!({"alg": "HS256"}), &claims());
        let reader = verifier().verify_at(&token, 900).unwrap();
        assert_eq!((reader.user.as_str(), reader.groups.len()), ("ann", 1));
        assert!(reader.authenticated);
        assert!(verifier().verify_at(&token, 1030).is_none());
        assert!(verifier().verify(&token).is_none());
    }

    #[test]
    fn the_same_name_from_two_issuers_is_two_people() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, SECRET).unwrap();
        let mut own = settings("HS256", &file);
        let mut partner = IdentitySettings {
            issuer: "https://partner.example".to_owned(),
            ..own.clone()
        };
        assert!(Verifier::new(&[own.clone(), partner.clone()]).is_err());
        partner.prefix = "partner:".to_owned();
        // A user of the first could be called `partner:ann`.
        assert!(Verifier::new(&[own.clone(), partner.clone()]).is_err());
        own.prefix = "par".to_owned();
        assert!(Verifier::new(&[own.clone(), partner.clone()]).is_err());
        own.prefix = "own:".to_owned();
        let verifier = Verifier::new(&[own, partner]).unwrap();
        let mut theirs = claims();
        theirs["iss"] = json!("https://partner.example");
        let reader = verifier
            .verify_at(&token(&json!({"alg": "HS256"}), &theirs), 900)
            .unwrap();
        assert_eq!(reader.user, "partner:ann");
        assert_eq!(reader.groups, ["partner:finance"]);
    }

    #[test]
    fn everything_else_proves_nobody() {
        let verifier = verifier();
        let mut refused = vec![
            String::new(),
            "a.b".to_owned(),
            "a.b.c".to_owned(),
            ".".repeat(20_000),
        ];
        for algorithm in ["none", "HS512", "RS256", "hs256"] {
            refused.push(token(&json!({"alg": algorithm}), &claims()));
        }
        refused.push(token(&json!({"alg": "HS256", "crit": ["b64"]}), &claims()));
        for (name, value) in [
            ("iss", json!("https://evil.example")),
            ("aud", json!("other")),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("exp", Value::Null),
            ("exp", json!("1000")),
            ("exp", json!(1e300)),
            ("exp", json!(-1)),
            ("exp", json!(900 + LONGEST_LIFE + 1)),
            ("nbf", json!(950)),
            ("nbf", json!("1")),
            ("nbf", Value::Null),
            ("groups", json!([""])),
            ("groups", json!("finance")),
            ("groups", json!([1])),
        ] {
            let mut changed = claims();
            changed[name] = value;
            refused.push(token(&json!({"alg": "HS256"}), &changed));
        }
        let good = token(&json!({"alg": "HS256"}), &claims());
        let (signed, _) = good.rsplit_once('.').unwrap();
        refused.push(format!("{signed}."));
        refused.push(format!("{good}a"));
        refused.push(good.replacen('e', "f", 1));
        for token in refused {
            assert!(verifier.verify_at(&token, 900).is_none(), "{token}");
        }
        assert!(verifier.verify_at(&good, 900).is_some());
    }

    #[test]
    fn keys_that_cannot_be_used_are_said_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for (algorithm, content) in [
            ("HS256", "short"),
            ("RS256", "{}"),
            ("none", "{}"),
            ("ES256", "{\"keys\":[]}"),
        ] {
            std::fs::write(&file, content).unwrap();
            assert!(
                Verifier::new(&[settings(algorithm, &file)]).is_err(),
                "{algorithm}"
            );
        }
    }
}
