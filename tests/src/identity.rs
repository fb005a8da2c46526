//! An identity provider that keeps state as real ones do: access tokens expire, every refresh gives
//! another refresh token, and one that comes a second time ends the login (RFC 9700 §4.14.2).
//!
//! It answers refreshes in the two spellings that agents use, and says of each token whether it counts.

use crate::{Answer, Received};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// One account at a provider.
pub struct Identity {
    kind: Tokens,
    state: Mutex<State>,
}

/// What tokens look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Anthropic's: opaque, with a prefix.
    Anthropic,
    /// OpenAI's: the access token and the id token are JWTs.
    OpenAi,
    /// Google's: opaque, and the refresh token stays the same.
    Google,
}

#[derive(Default)]
struct State {
    count: u64,
    access: String,
    refresh: String,
    id: String,
    /// The access token counts no more.
    expired: bool,
    issued: Vec<String>,
    used: HashSet<String>,
    reused: bool,
    refreshes: usize,
}

impl Identity {
    /// An account with its first tokens.
    pub fn new(kind: Tokens) -> Identity {
        let identity = Identity {
            kind,
            state: Mutex::default(),
        };
        identity.issue(&mut identity.state());
        identity
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no handler panicked")
    }

    fn issue(&self, state: &mut State) {
        state.count += 1;
        let count = state.count;
        let secret = |what: &str| {
            let seed = format!("{:?} {what} {count} {:?}", self.kind, std::process::id());
            crate::world::sha256_hex(seed.as_bytes())
        };
        match self.kind {
            Tokens::Anthropic => {
                state.access = format!("sk-ant-oat01-{}-AA", secret("access"));
                state.refresh = format!("sk-ant-ort01-{}-AA", secret("refresh"));
            }
            Tokens::OpenAi => {
                state.access = jwt(&secret("access"), now() + 3600);
                state.id = jwt(&secret("id"), now() + 3600);
                state.refresh = format!("rt_{}", secret("refresh"));
            }
            Tokens::Google => {
                state.access = format!("ya29.a0{}", secret("access"));
                state.id = jwt(&secret("id"), now() + 3600);
                if state.refresh.is_empty() {
                    state.refresh = format!("1//0e{}", secret("refresh"));
                }
            }
        }
        state.expired = false;
        for token in [&state.access, &state.refresh, &state.id] {
            if !token.is_empty() && !state.issued.contains(token) {
                state.issued.push(token.clone());
            }
        }
    }

    /// The tokens that count: access, refresh, id.
    pub fn tokens(&self) -> (String, String, String) {
        let state = self.state();
        (
            state.access.clone(),
            state.refresh.clone(),
            state.id.clone(),
        )
    }

    /// Every token that was ever issued; of a JWT the signature, which is what counts.
    pub fn secrets(&self) -> Vec<String> {
        let issued = self.state().issued.clone();
        let secret = |token: String| match token.starts_with("eyJ") {
            true => token.rsplit('.').next().unwrap_or_default().to_owned(),
            false => token,
        };
        issued.into_iter().map(secret).collect()
    }

    /// The access token counts no more, as after an hour.
    pub fn expire(&self) {
        self.state().expired = true;
    }

    /// How often tokens were refreshed.
    pub fn refreshes(&self) -> usize {
        self.state().refreshes
    }

    /// Fails the test when a refresh token came twice, which ends a real login.
    #[track_caller]
    pub fn assert_alive(&self) {
        assert!(!self.state().reused, "a refresh token was used twice");
    }

    /// Answers a request to the token endpoint or, unless its access token counts, any other request;
    /// `None` when it may go on.
    pub fn answer(&self, request: &Received) -> Option<Answer> {
        if request.path().ends_with("/oauth/token") || request.path() == "/token" {
            return Some(self.refresh(request));
        }
        let bearer = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let state = self.state();
        let counts = bearer == Some(state.access.as_str()) && !state.expired;
        if !counts {
            let error = json!({"type": "error", "error": {
                "type": "authentication_error", "code": 401, "status": "UNAUTHENTICATED",
                "message": "OAuth token has expired.",
            }});
            return Some(Answer::new(401, "application/json", error.to_string()));
        }
        None
    }

    fn refresh(&self, request: &Received) -> Answer {
        let asked = fields(request);
        let field = |name: &str| {
            let found = asked.iter().find(|(field, _)| field == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let denied = |code: &str| {
            let error = json!({"error": code, "error_description": "no"});
            Answer::new(400, "application/json", error.to_string())
        };
        let client = match self.kind {
            Tokens::Anthropic => "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
            Tokens::OpenAi => "app_EMoamEEZ73f0CkXaXp7hrann",
            Tokens::Google => {
                "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com"
            }
        };
        if field("grant_type") != "refresh_token" || field("client_id") != client {
            return denied("invalid_request");
        }
        if self.kind == Tokens::Google && field("client_secret").is_empty() {
            return denied("invalid_client");
        }
        let mut state = self.state();
        let token = field("refresh_token").to_owned();
        let rotates = self.kind != Tokens::Google;
        if rotates && !state.used.insert(token.clone()) {
            state.reused = true;
        }
        if state.reused || token != state.refresh {
            return denied("invalid_grant");
        }
        state.refreshes += 1;
        self.issue(&mut state);
        let mut answer = json!({
            "access_token": state.access, "token_type": "Bearer", "expires_in": 3600,
            "scope": "user:inference user:profile",
        });
        if rotates {
            answer["refresh_token"] = json!(state.refresh);
        }
        if !state.id.is_empty() {
            answer["id_token"] = json!(state.id);
        }
        Answer::json(&answer)
    }
}

/// A JWT with the claims that agents read. Nobody here looks at its signature, which is the secret.
fn jwt(signature: &str, expires: u64) -> String {
    let claims = json!({
        "iss": "https://auth.openai.com", "exp": expires, "iat": now(), "sub": "user-1",
        "email": "person@example.com",
        "https://api.openai.com/auth": {
            "chatgpt_account_id": "acc-1", "chatgpt_plan_type": "plus", "chatgpt_user_id": "user-1",
        },
        "https://api.openai.com/profile": {"email": "person@example.com"},
    });
    let header = json!({"alg": "RS256", "typ": "JWT"});
    format!(
        "{}.{}.{signature}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes()),
    )
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs()
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(
                DIGITS[(number >> (18 - 6 * digit)) as usize & 63],
            ));
        }
    }
    text
}

/// The fields of a JSON object or a form.
fn fields(request: &Received) -> Vec<(String, String)> {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(&request.body) {
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        return fields
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect();
    }
    String::from_utf8_lossy(&request.body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), unescaped(value)))
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = after.split_at(after.len().min(2));
                let digits = std::str::from_utf8(digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                rest = after;
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}
