//! What the ledger says about an action: names, effects, places, never a value.

use serde_json::json;
use tagout_core::json::Json;
use tagout_core::{Action, AnyRequest};
use tagout_credentials::Broker;

use crate::Authority;
use crate::judge::Judged;

/// An entry about an action, without a value of any argument: those may be secrets.
pub(crate) fn entry(
    authority: &Authority,
    action: &Action<AnyRequest>,
    judged: &Judged,
    verdict: &str,
    reason: &str,
    policies: &[String],
) -> Json {
    let request = action.request();
    let operations: Vec<_> = action
        .operations()
        .iter()
        .map(|operation| {
            json!({
                "name": operation.name,
                "effect": operation.effect,
                "flags": operation.flags,
                "resources": operation.resources,
            })
        })
        .collect();
    let faults: Vec<_> = action
        .faults()
        .iter()
        .map(|fault| fault.kind.as_str())
        .collect();
    // A path that carries a secret in some encoding is no path to write down.
    let (http, database) = match request {
        AnyRequest::Http(request) => (Some(request), None),
        AnyRequest::Database(request) => (None, Some(request)),
        AnyRequest::Files(_) => (None, None),
    };
    let path = http
        .filter(|_| faults.is_empty())
        .map(|request| authority.inner.broker.redact_text(request.path.as_str()));
    let mut fields = json!({
        "channel": action.channel(),
        "verdict": verdict,
        "reason": reason,
        "policies": policies,
        "policy": authority.inner.policy.digest(),
        "operations": operations,
        "resources": judged.resources,
        "environment": judged.environment,
        "host": request.target().host,
        "port": request.target().port,
        "method": http.map(|request| &request.method),
        "path": path,
        "database": database.map(|request| &request.database),
        "user": database.map(|request| &request.user),
        "credentials": action
            .credentials()
            .iter()
            .map(|used| json!({"name": used.name, "generation": used.generation, "slot": used.slot}))
            .collect::<Vec<_>>(),
        "faults": faults,
        "digest": judged.digest,
    });
    if let AnyRequest::Files(request) = request {
        fields["files"] = json!({
            "gone": request.gone,
            "not_in_git": request.not_in_git,
            "folders": request.folders,
        });
    }
    // A value that the agent put where an id or a field's name belongs.
    if !faults.is_empty() {
        redact(&mut fields, &authority.inner.broker);
    }
    fields
}

/// Takes known values out of every text of an entry.
fn redact(value: &mut Json, broker: &Broker) {
    match value {
        Json::String(text) => *text = broker.redact_text(text),
        Json::Array(items) => items.iter_mut().for_each(|item| redact(item, broker)),
        Json::Object(members) => members
            .values_mut()
            .for_each(|member| redact(member, broker)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
