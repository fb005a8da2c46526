//! Stripe: the prefix says mode and kind (docs.stripe.com, "API keys"); what a restricted key may read
//! is found out by reading, and what it may write only by writing, which a probe does not do.

use tagout_net::Upstream;

use super::{Ask, Found, ProbeError, ask};

pub(super) const PREFIXES: &[&str] = &["sk_live_", "sk_test_", "rk_live_", "rk_test_"];

/// What is read of a restricted key's reach: one object each.
const READS: &[(&str, &str)] = &[
    ("balance", "/v1/balance"),
    ("customers", "/v1/customers?limit=1"),
    ("charges", "/v1/charges?limit=1"),
    ("subscriptions", "/v1/subscriptions?limit=1"),
    ("payouts", "/v1/payouts?limit=1"),
];

pub(super) async fn probe(upstream: &Upstream, key: &str) -> Result<Found, ProbeError> {
    let mut statuses = Vec::new();
    let all = key.starts_with("sk_");
    for (what, path) in READS.iter().take(if all { 1 } else { READS.len() }) {
        let answer = ask(
            upstream,
            Ask {
                provider: "Stripe",
                host: "api.stripe.com",
                path,
                slot: ("authorization", format!("Bearer {key}")),
                body: None,
            },
        )
        .await?;
        statuses.push((*what, answer.status));
    }
    judge(key, &statuses)
}

fn judge(key: &str, statuses: &[(&str, u16)]) -> Result<Found, ProbeError> {
    if statuses.iter().any(|(_, status)| *status == 401) {
        return Err(ProbeError::Refused("Stripe"));
    }
    if let Some((_, status)) = statuses
        .iter()
        .find(|(_, status)| !matches!(status, 200 | 403))
    {
        return Err(ProbeError::Unreachable {
            provider: "Stripe",
            reason: format!("it answered {status}"),
        });
    }
    let mut found = Found {
        provider: "Stripe",
        ..Found::default()
    };
    found.facts.push(
        if key.contains("_live_") {
            "live mode: real customers, real money"
        } else {
            "test mode: no real money moves"
        }
        .to_owned(),
    );
    if key.starts_with("sk_") {
        found.facts.push(
            "a secret key: everything in the account, with charges, refunds, payouts and deletions"
                .to_owned(),
        );
        found
            .facts
            .push("a restricted key (rk_) would do with less".to_owned());
        return Ok(found);
    }
    found.facts.push("a restricted key".to_owned());
    for (granted, verb) in [(200, "may read"), (403, "may not read")] {
        let named: Vec<&str> = statuses
            .iter()
            .filter(|(_, status)| *status == granted)
            .map(|(what, _)| *what)
            .collect();
        if !named.is_empty() {
            found.facts.push(format!("{verb} {}", named.join(", ")));
        }
    }
    found.unknown.push(
        "what it may write: Stripe tells that in the dashboard only, and trying would change something"
            .to_owned(),
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_answers_say_what_a_key_can_do() {
        let found = judge("sk_live_x", &[("balance", 200)]).unwrap();
        assert!(found.facts.join("\n").contains("real money") && found.unknown.is_empty());
        let found = judge("rk_test_x", &[("balance", 200), ("payouts", 403)]).unwrap();
        let text = found.facts.join("\n");
        assert!(text.contains("may read balance") && text.contains("may not read payouts"));
        assert_eq!(found.unknown.len(), 1);
        assert!(matches!(
            judge("sk_live_x", &[("balance", 401)]),
            Err(ProbeError::Refused(_))
        ));
        assert!(judge("sk_live_x", &[("balance", 500)]).is_err());
    }
}
