//! GitHub and Stripe as far as a probe asks them: keys with a state, answers in the shape that their
//! documentation publishes (docs.github.com, "REST API endpoints for users", "Scopes for OAuth apps";
//! docs.stripe.com, "Errors", "Balance", "Pagination").

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{Answer, Received};

/// What GitHub knows of a token.
#[derive(Clone, Debug)]
pub enum GitHubToken {
    /// A person's, of the kind that has scopes, with when it expires.
    Classic {
        login: String,
        scopes: Vec<String>,
        expires: Option<String>,
    },
    /// A person's, of the kind whose permissions are told to nobody.
    FineGrained { login: String },
    /// An installed app's, which has no user.
    Installation,
}

/// `api.github.com`. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct GitHub {
    tokens: Arc<Mutex<HashMap<String, GitHubToken>>>,
}

impl GitHub {
    /// Makes a token known.
    pub fn issue(&self, token: &str, what: GitHubToken) {
        let mut tokens = self.tokens.lock().expect("no handler panicked");
        tokens.insert(token.to_owned(), what);
    }

    /// Takes it back, as its owner does in the settings.
    pub fn revoke(&self, token: &str) {
        let mut tokens = self.tokens.lock().expect("no handler panicked");
        tokens.remove(token);
    }

    /// Answers a request.
    pub fn answer(&self, request: &Received) -> Answer {
        // "Requests with no User-Agent header will be rejected."
        if request.header("user-agent").is_none_or(str::is_empty) {
            return Answer::new(
                403,
                "text/html",
                "Request forbidden by administrative rules.",
            );
        }
        let token = request.header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let is_known = ["bearer", "token"]
                .iter()
                .any(|it| scheme.eq_ignore_ascii_case(it));
            is_known.then_some(token)
        });
        let known = token.and_then(|token| {
            let tokens = self.tokens.lock().expect("no handler panicked");
            tokens.get(token).cloned()
        });
        let refused = |status: u16, message: &str| {
            let url = "https://docs.github.com/rest";
            let text = json!({
                "message": message, "documentation_url": url, "status": status.to_string(),
            });
            answer(status, &text)
        };
        if (request.method.as_str(), request.path()) != ("GET", "/user") {
            return refused(404, "Not Found");
        }
        match known {
            None => refused(401, "Bad credentials"),
            Some(GitHubToken::Installation) => {
                refused(403, "Resource not accessible by integration")
            }
            Some(GitHubToken::FineGrained { login }) => user(&login),
            Some(GitHubToken::Classic {
                login,
                scopes,
                expires,
            }) => {
                let mut answer = user(&login);
                let mut field = |name: &str, value: String| {
                    answer.headers.push((name.to_owned(), value));
                };
                field("x-oauth-scopes", scopes.join(", "));
                field("x-accepted-oauth-scopes", String::new());
                if let Some(when) = expires {
                    field("github-authentication-token-expiration", when);
                }
                answer
            }
        }
    }
}

fn user(login: &str) -> Answer {
    let user = json!({
        "login": login, "id": 583_231, "node_id": "MDQ6VXNlcjU4MzIzMQ==", "type": "User",
        "url": format!("https://api.github.com/users/{login}"), "site_admin": false,
        "name": "Monalisa", "email": null, "two_factor_authentication": true,
    });
    answer(200, &user)
}

/// `api.stripe.com`. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Stripe {
    /// Keys, and the resources that a restricted one may read; `None` for one that may do all.
    keys: Arc<Mutex<HashMap<String, Option<Vec<String>>>>>,
}

impl Stripe {
    /// Makes a secret key known.
    pub fn issue(&self, key: &str) {
        let mut keys = self.keys.lock().expect("no handler panicked");
        keys.insert(key.to_owned(), None);
    }

    /// Makes a restricted key known that may read `resources`, as their paths name them.
    pub fn issue_restricted(&self, key: &str, resources: &[&str]) {
        let resources = resources.iter().map(|name| (*name).to_owned()).collect();
        let mut keys = self.keys.lock().expect("no handler panicked");
        keys.insert(key.to_owned(), Some(resources));
    }

    /// Takes a key back.
    pub fn roll(&self, key: &str) {
        let mut keys = self.keys.lock().expect("no handler panicked");
        keys.remove(key);
    }

    /// Answers a request.
    pub fn answer(&self, request: &Received) -> Answer {
        let refused = |status: u16, message: String| {
            let error = json!({"message": message, "type": "invalid_request_error"});
            answer(status, &json!({"error": error}))
        };
        let key = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let known = {
            let keys = self.keys.lock().expect("no handler panicked");
            keys.get(key).cloned()
        };
        let Some(reads) = known else {
            let shown: String = key.chars().take(8).collect();
            return refused(401, format!("Invalid API Key provided: {shown}****"));
        };
        let Some(resource) = request.path().strip_prefix("/v1/") else {
            return refused(
                404,
                format!("Unrecognized request URL ({})", request.path()),
            );
        };
        if request.method != "GET" {
            return refused(400, "a probe reads and does nothing else".to_owned());
        }
        if reads.is_some_and(|reads| reads.iter().all(|name| name != resource)) {
            let message =
                "The provided key does not have the required permissions for this endpoint.";
            return refused(403, message.to_owned());
        }
        let is_live = key.contains("_live_");
        let found = match resource {
            "balance" => json!({
                "object": "balance", "livemode": is_live,
                "available": [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}],
                "pending": [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}],
            }),
            "customers" | "charges" | "subscriptions" | "payouts" => json!({
                "object": "list", "url": request.path(), "has_more": false, "data": [],
            }),
            _ => {
                return refused(
                    404,
                    format!("Unrecognized request URL ({})", request.path()),
                );
            }
        };
        answer(200, &found)
    }
}

fn answer(status: u16, content: &Value) -> Answer {
    Answer::new(
        status,
        "application/json; charset=utf-8",
        content.to_string(),
    )
}
