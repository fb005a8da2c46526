//! Tokens: as a login's file holds them, as a token endpoint answers them, and what the agent sees of
//! them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tagout_catalog::profile::{OAuthLogin, Unit};
use tagout_core::Timestamp;
use tagout_core::json::Json;
use tagout_secrets::DecoyKey;
use zeroize::Zeroizing;

use super::document::Document;
use crate::value::{Decoy, Secret};

/// When what the agent sees expires: 2100-01-01, in seconds since 1970. Tokens are refreshed outside,
/// so the agent has nothing to do in time.
pub const FAR: u64 = 4_102_444_800;

/// A token endpoint answers in a few KiB.
pub(super) const LARGEST_ANSWER: usize = 256 * 1024;
/// The longest token that is taken.
const LONGEST_TOKEN: usize = 16 * 1024;

/// The tokens of one login.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    pub(super) id: Option<Secret>,
    /// When the access token expires, as far as anybody says.
    pub(super) expires: Option<Timestamp>,
    /// Whose login it is.
    pub(super) account: Option<String>,
}

impl Tokens {
    /// What a file holds; `None` when there is no access token in it.
    pub(super) fn of(document: &Document, login: &OAuthLogin) -> Option<Self> {
        let secret = |field: &str| Some(Secret::new(document.text(field)?.as_bytes().to_vec()));
        let access = document.text(&login.access)?;
        let said = login.expires.as_ref().and_then(|expiry| {
            let number = document.field(&expiry.field)?.as_f64()?;
            let millis = match expiry.unit {
                Unit::Seconds => number * 1000.0,
                Unit::Milliseconds => number,
            };
            // Saturates at both ends.
            Some(Timestamp::from_millis(millis as u64))
        });
        Some(Self {
            access: secret(&login.access)?,
            refresh: secret(&login.refresh),
            id: login.id.as_deref().and_then(secret),
            expires: said.or_else(|| expiry_of_jwt(access)),
            account: login
                .account
                .as_ref()
                .and_then(|field| Some(document.text(field)?.to_owned())),
        })
    }

    /// Puts them into a file, `now` being when they were refreshed.
    pub(super) fn write(&self, document: &mut Document, login: &OAuthLogin, now: Timestamp) {
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        document.set(&login.access, text(&self.access).into());
        if let Some(refresh) = &self.refresh {
            document.set(&login.refresh, text(refresh).into());
        }
        if let (Some(field), Some(id)) = (&login.id, &self.id) {
            document.set(field, text(id).into());
        }
        if let (Some(expiry), Some(expires)) = (&login.expires, self.expires) {
            let number = match expiry.unit {
                Unit::Seconds => expires.as_millis() / 1000,
                Unit::Milliseconds => expires.as_millis(),
            };
            document.set(&expiry.field, number.into());
        }
        if let Some(field) = &login.refreshed {
            document.set(field, now.to_string().into());
        }
    }

    /// Whether these are the same tokens.
    pub(super) fn are(&self, other: &Self) -> bool {
        let same = |one: &Option<Secret>, two: &Option<Secret>| {
            one.as_ref().map(Secret::expose) == two.as_ref().map(Secret::expose)
        };
        self.access.expose() == other.access.expose()
            && same(&self.refresh, &other.refresh)
            && same(&self.id, &other.id)
    }
}

/// What a token endpoint answered (RFC 6749 §5).
pub(super) enum TokenAnswer {
    /// New tokens.
    Granted(Tokens),
    /// The refresh token counts no more: used before, revoked, expired.
    Revoked,
    /// Something else, fit to be shown.
    Failed(String),
}

impl TokenAnswer {
    /// Reads an answer to a request made with `former` tokens. What the answer leaves out stays
    /// (RFC 6749 §6).
    pub(super) fn read(status: u16, content: &[u8], former: &Tokens, now: Timestamp) -> Self {
        let document: Option<Json> = serde_json::from_slice(content).ok();
        let field = |name: &str| document.as_ref()?.as_object()?.get(name);
        let token = |name: &str| {
            let text = field(name)?.as_str()?;
            let whole = text.bytes().all(|byte| byte.is_ascii_graphic());
            (!text.is_empty() && text.len() <= LONGEST_TOKEN && whole).then_some(text)
        };
        if status != 200 {
            // OpenAI's endpoint answers with an object in the place of the code.
            let code = field("error").and_then(|error| match error {
                Json::Object(error) => error.get("code")?.as_str(),
                error => error.as_str(),
            });
            let revoked = [
                "invalid_grant",
                "refresh_token_expired",
                "refresh_token_reused",
            ]
            .iter()
            .chain(&["refresh_token_invalidated", "refresh_token_revoked"])
            .any(|word| code == Some(word));
            return match revoked {
                true => Self::Revoked,
                false => Self::Failed(format!("it answered {status}")),
            };
        }
        let Some(access) = token("access_token") else {
            return Self::Failed("its answer holds no access token".to_owned());
        };
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let lasts = field("expires_in").and_then(Json::as_f64);
        let expires = lasts.map(|seconds| {
            let millis = (seconds.clamp(0.0, 1e9) * 1000.0) as u64;
            Timestamp::from_millis(now.as_millis().saturating_add(millis))
        });
        Self::Granted(Tokens {
            access: secret(access),
            refresh: token("refresh_token")
                .map(secret)
                .or_else(|| former.refresh.clone()),
            id: token("id_token").map(secret).or_else(|| former.id.clone()),
            expires: expires.or_else(|| expiry_of_jwt(access)),
            account: former.account.clone(),
        })
    }
}

/// What the agent sees in the place of a token. A JWT (RFC 7519) keeps its header and its claims,
/// which agents read, but for its expiry; what makes it count, the signature, is a decoy.
pub fn decoy_of_token(token: &Secret, key: &DecoyKey) -> Decoy {
    std::str::from_utf8(token.expose())
        .ok()
        .and_then(|text| decoy_of_jwt(text, key))
        .unwrap_or_else(|| token.decoy(key))
}

fn decoy_of_jwt(token: &str, key: &DecoyKey) -> Option<Decoy> {
    let (header, _, signature) = parts_of_jwt(token)?;
    let mut claims = claims_of_jwt(token)?;
    if let Some(expiry) = claims.get_mut("exp") {
        *expiry = FAR.into();
    }
    let claims = URL_SAFE_NO_PAD.encode(Json::Object(claims).to_string());
    let signature = key.decoy(signature.as_bytes());
    let signature = String::from_utf8_lossy(&signature).into_owned();
    Some(Decoy::new(format!("{header}.{claims}.{signature}")))
}

fn expiry_of_jwt(token: &str) -> Option<Timestamp> {
    let seconds = claims_of_jwt(token)?.get("exp")?.as_f64()?;
    Some(Timestamp::from_millis((seconds.max(0.0) * 1000.0) as u64))
}

fn claims_of_jwt(token: &str) -> Option<serde_json::Map<String, Json>> {
    let (_, claims, _) = parts_of_jwt(token)?;
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    match serde_json::from_slice(&claims).ok()? {
        Json::Object(claims) => Some(claims),
        _ => None,
    }
}

/// Header, claims and signature. A signature that is short could be guessed back from a decoy, so
/// such a thing is no JWT here.
fn parts_of_jwt(token: &str) -> Option<(&str, &str, &str)> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let is_jwt = parts.next().is_none() && header.starts_with("eyJ") && signature.len() >= 22;
    is_jwt.then_some((header, claims, signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> DecoyKey {
        DecoyKey::derive(b"install", b"workspace")
    }

    fn jwt(claims: &str, signature: &str) -> String {
        format!(
            "{}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
            URL_SAFE_NO_PAD.encode(claims),
        )
    }

    #[test]
    fn invariant_3_a_decoy_jwt_still_decodes_and_its_signature_is_gone() {
        let signature = "Kx7vQ2mN8pLr3TzW5yBc9dFg1hJk4sA6";
        let token = jwt(r#"{"exp":1700000000,"email":"a@example.com"}"#, signature);
        let decoy = decoy_of_token(&Secret::new(token.clone().into()), &key());
        assert!(!decoy.as_str().contains(signature));
        let claims = claims_of_jwt(decoy.as_str()).unwrap();
        assert_eq!(claims["email"], "a@example.com");
        assert_eq!(claims["exp"], FAR);
        assert_eq!(
            expiry_of_jwt(&token).unwrap().as_millis(),
            1_700_000_000_000
        );
    }

    #[test]
    fn what_only_looks_like_a_jwt_is_replaced_whole() {
        for token in [
            "eyJhbGciOiJIUzI1NiJ9.bm8gSlNPTg.Kx7vQ2mN8pLr3TzW5yBc9dFg",
            "eyJ.e30.short",
        ] {
            let decoy = decoy_of_token(&Secret::new(token.into()), &key());
            assert_ne!(decoy.as_str(), token);
            assert!(!decoy.as_str().ends_with("Kx7vQ2mN8pLr3TzW5yBc9dFg"));
        }
    }

    fn former() -> Tokens {
        Tokens {
            access: Secret::new(b"old-access".to_vec()),
            refresh: Some(Secret::new(b"old-refresh".to_vec())),
            id: None,
            expires: None,
            account: Some("a".to_owned()),
        }
    }

    #[test]
    fn an_answer_is_new_tokens_or_a_reason() {
        let now = Timestamp::from_millis(1_000);
        let read = |status, text: &str| TokenAnswer::read(status, text.as_bytes(), &former(), now);
        let TokenAnswer::Granted(tokens) = read(200, r#"{"access_token":"n","expires_in":60}"#)
        else {
            panic!("granted")
        };
        assert_eq!(tokens.access.expose(), b"n");
        assert_eq!(tokens.refresh.unwrap().expose(), b"old-refresh");
        assert_eq!(tokens.expires.unwrap().as_millis(), 61_000);
        let revoked = |text| matches!(read(400, text), TokenAnswer::Revoked);
        assert!(revoked(r#"{"error":"invalid_grant"}"#));
        assert!(revoked(r#"{"error":{"code":"refresh_token_reused"}}"#));
        assert!(!revoked(r#"{"error":"temporarily_unavailable"}"#));
        for broken in [
            "",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\nb"}"#,
            "[1]",
        ] {
            assert!(
                matches!(read(200, broken), TokenAnswer::Failed(_)),
                "{broken}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read(status: u16, content: Vec<u8>) {
            TokenAnswer::read(status, &content, &former(), Timestamp::now());
        }

        #[test]
        fn any_token_has_another_decoy(token in "[ -~]{13,80}") {
            let decoy = decoy_of_token(&Secret::new(token.clone().into()), &key());
            prop_assert_ne!(decoy.as_str(), token);
        }
    }
}
