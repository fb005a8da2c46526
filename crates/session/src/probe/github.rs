//! GitHub: `GET /user` names the account; `X-OAuth-Scopes` names what a classic or OAuth token may do
//! (docs.github.com, "Scopes for OAuth apps"). Fine-grained tokens tell nobody.

use tagout_net::Upstream;

use super::{Answered, Ask, Found, ProbeError, ask};

/// GitHub's token formats (docs.github.com, "About authentication to GitHub").
pub(super) const PREFIXES: &[&str] = &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"];

/// Scopes with which something can be destroyed, given away or minted.
const GRAVE: &[(&str, &str)] = &[
    (
        "repo",
        "may change every repository that the account can write to, private ones too",
    ),
    (
        "public_repo",
        "may change every public repository that the account can write to",
    ),
    ("delete_repo", "may delete repositories"),
    (
        "workflow",
        "may change GitHub Actions workflows, and so run code with a repository's secrets",
    ),
    (
        "admin:org",
        "may change organisations, their members and teams",
    ),
    ("admin:public_key", "may add SSH keys to the account"),
    ("admin:repo_hook", "may send repositories' events elsewhere"),
    ("admin:enterprise", "may change the enterprise"),
    ("delete:packages", "may delete packages"),
    ("write:packages", "may publish packages"),
    (
        "user",
        "may change the account's profile and read its e-mail addresses",
    ),
    ("gist", "may publish gists"),
];

pub(super) async fn probe(upstream: &Upstream, token: &str) -> Result<Found, ProbeError> {
    let answer = ask(
        upstream,
        Ask {
            provider: "GitHub",
            host: "api.github.com",
            path: "/user",
            slot: ("authorization", format!("Bearer {token}")),
            body: None,
        },
    )
    .await?;
    judge(token, &answer)
}

fn judge(token: &str, answer: &Answered) -> Result<Found, ProbeError> {
    let mut found = Found {
        provider: "GitHub",
        ..Found::default()
    };
    match answer.status {
        200 => {
            let login = answer.text("/login").unwrap_or_default();
            found.facts.push(format!("acts as {login}"));
        }
        // An installation's token is nobody's.
        403 if token.starts_with("ghs_") => {
            found
                .facts
                .push("acts as an installed GitHub App".to_owned());
        }
        401 => return Err(ProbeError::Refused("GitHub")),
        status => {
            return Err(ProbeError::Unreachable {
                provider: "GitHub",
                reason: format!("it answered {status}"),
            });
        }
    }
    match answer.header("x-oauth-scopes") {
        Some(scopes) => {
            let scopes: Vec<&str> = scopes
                .split(',')
                .map(str::trim)
                .filter(|scope| !scope.is_empty())
                .collect();
            if scopes.is_empty() {
                found.facts.push("has no scope: reads what is public".to_owned());
            } else {
                found.facts.push(format!("has the scopes {}", scopes.join(", ")));
            }
            for (scope, meaning) in GRAVE {
                if scopes.contains(scope) {
                    found.facts.push(format!("{scope}: {meaning}"));
                }
            }
            if scopes.contains(&"repo") {
                found.facts.push(
                    "a fine-grained token for the one repository would do with less".to_owned(),
                );
            }
        }
        None => found.unknown.push(
            "which repositories it may change, and how: GitHub tells that to its owner only, in the \
             settings where it was made"
                .to_owned(),
        ),
    }
    match answer.header("github-authentication-token-expiration") {
        Some(when) => found.facts.push(format!("expires {when}")),
        None if token.starts_with("ghp_") => found.facts.push("never expires".to_owned()),
        None => found.unknown.push("when it expires".to_owned()),
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answered(status: u16, headers: &[(&'static str, &str)]) -> Answered {
        Answered {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: json!({"login": "octo\u{1b}[2Jcat"}),
        }
    }

    #[test]
    fn scopes_are_named_with_what_they_mean() {
        let answer = answered(200, &[("x-oauth-scopes", "repo, delete_repo, read:org")]);
        let found = judge("ghp_x", &answer).unwrap();
        let text = found.facts.join("\n");
        assert!(text.contains("may delete repositories") && text.contains("never expires"));
        assert!(text.contains("octo") && !text.contains('\u{1b}'));
        assert!(found.unknown.is_empty());
    }

    #[test]
    fn what_github_does_not_tell_is_said() {
        let found = judge("github_pat_x", &answered(200, &[])).unwrap();
        assert_eq!(found.unknown.len(), 2);
        assert!(matches!(
            judge("ghp_x", &answered(401, &[])),
            Err(ProbeError::Refused(_))
        ));
        assert!(judge("ghp_x", &answered(503, &[])).is_err());
    }
}
