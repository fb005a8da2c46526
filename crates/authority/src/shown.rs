//! What a person sees when an action waits. Made here from the recognised action and the provider's
//! own answers; the agent's bytes come last, fenced and escaped, so that nothing an agent wrote can
//! stand above a fact or scroll it away (the attack known as lies-in-the-loop).

use std::fmt::Write as _;

use tagout_core::{
    Action, AnyRequest, DatabaseRequest, Digest, Effect, FilesRequest, HttpBody, HttpRequest,
    Operation, Parameter, SessionId,
};

use crate::approval::escape_untrusted;

/// Lines of the exact request that are shown; the digest covers all of them.
const MOST_REQUEST_LINES: usize = 60;
/// Characters of one line of it.
const LONGEST_LINE: usize = 400;

/// The facts about one held action.
pub(crate) struct Facts<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) task: &'a str,
    pub(crate) action: &'a Action<AnyRequest>,
    pub(crate) operation: &'a Operation,
    pub(crate) environment: &'a str,
    pub(crate) preview: &'a [String],
    pub(crate) reason: &'a str,
    pub(crate) approvers: u8,
    pub(crate) digest: Digest,
}

/// The text whose hash an approval binds.
pub(crate) fn text(facts: &Facts<'_>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<13}{}", escape_untrusted(value));
    };
    let flags: Vec<_> = facts
        .operation
        .flags
        .iter()
        .map(|flag| flag.as_str())
        .collect();
    line("operation", facts.operation.name.as_str());
    line(
        "effect",
        &match flags.as_slice() {
            [] => facts.operation.effect.to_string(),
            flags => format!("{} ({})", facts.operation.effect, flags.join(", ")),
        },
    );
    for resource in &facts.operation.resources {
        line("resource", resource.as_str());
    }
    if !facts.environment.is_empty() {
        line("environment", facts.environment);
    }
    if let AnyRequest::Database(request) = facts.action.request() {
        line(
            "database",
            &format!(
                "{} at {}, as {}",
                request.database, request.target, request.user
            ),
        );
    }
    for credential in facts.action.credentials() {
        line("credential", &credential.name);
    }
    line("task", facts.task);
    line("session", facts.session.as_str());
    line("held because", facts.reason);
    if facts.approvers > 1 {
        line(
            "approvers",
            &format!("{} different people", facts.approvers),
        );
    }
    for other in others(facts) {
        line("as well as", &other);
    }
    text.push_str("\nwhat will be lost or changed\n");
    if facts.preview.is_empty() {
        text.push_str("  cannot be previewed: nothing is known about what this would destroy\n");
    }
    for fact in facts.preview {
        let _ = writeln!(text, "  {}", escape_untrusted(fact));
    }
    let _ = writeln!(text, "\ndigest       {}", facts.digest);
    text.push_str("\nexact request (written by the agent)\n");
    for line in request_lines(facts.action) {
        let _ = writeln!(text, "  | {line}");
    }
    text
}

/// The other operations of the action, the gravest first: each that changes something on a line of
/// its own with what it acts on, so that no number of reads can push one out of sight.
fn others(facts: &Facts<'_>) -> Vec<String> {
    // One that is twice in the request is done twice, and is listed twice.
    let mut skipped = false;
    let mut others: Vec<&Operation> = facts
        .action
        .operations()
        .iter()
        .filter(|operation| {
            let is_it = !skipped && *operation == facts.operation;
            skipped |= is_it;
            !is_it
        })
        .collect();
    others.sort_by_key(|operation| std::cmp::Reverse(operation.effect));
    let reads = others
        .iter()
        .filter(|operation| operation.effect == Effect::Read)
        .count();
    let mut lines: Vec<String> = others
        .iter()
        .take(others.len() - reads)
        .map(|operation| {
            let resources: Vec<_> = operation
                .resources
                .iter()
                .map(ToString::to_string)
                .collect();
            format!(
                "{} ({}) {}",
                operation.name,
                operation.effect,
                resources.join(" ")
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    match reads {
        0 => {}
        1 => lines.push("1 read".to_owned()),
        many => lines.push(format!("{many} reads")),
    }
    lines
}

fn request_lines(action: &Action<AnyRequest>) -> Vec<String> {
    let lines = match action.request() {
        AnyRequest::Http(request) => http_lines(action, request),
        AnyRequest::Database(request) => statement_lines(request),
        AnyRequest::Files(request) => file_lines(request),
    };
    let hidden = lines.len().saturating_sub(MOST_REQUEST_LINES);
    let mut shown: Vec<_> = lines
        .iter()
        .take(MOST_REQUEST_LINES)
        .map(|line| {
            let cut: String = line.chars().take(LONGEST_LINE).collect();
            let rest = line.chars().count().saturating_sub(LONGEST_LINE);
            let escaped = escape_untrusted(&cut);
            if rest > 0 {
                format!("{escaped} … {rest} more characters (see tagout holds --json)")
            } else {
                escaped
            }
        })
        .collect();
    if hidden > 0 {
        shown.push(format!("… {hidden} more lines (see tagout holds --json)"));
    }
    shown
}

fn file_lines(request: &FilesRequest) -> Vec<String> {
    let first = format!("delete files of {}", request.workspace);
    std::iter::once(first)
        .chain(request.folders.iter().map(|folder| format!("in {folder}")))
        .collect()
}

fn statement_lines(request: &DatabaseRequest) -> Vec<String> {
    let mut lines: Vec<String> = request.text.lines().map(str::to_owned).collect();
    for (place, value) in request.parameters.iter().enumerate() {
        let value = match value {
            Parameter::Null => "NULL".to_owned(),
            Parameter::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Parameter::Binary(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\\x{hex}")
            }
        };
        lines.push(format!("${} = {value}", place + 1));
    }
    if let Some(path) = &request.search_path {
        lines.push(format!("search_path = {path}"));
    }
    lines
}

fn http_lines(action: &Action<AnyRequest>, request: &HttpRequest) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}{}",
        request.method,
        request.target,
        request.path_and_query()
    )];
    let slots: Vec<_> = action
        .credentials()
        .iter()
        .filter_map(|credential| credential.slot.strip_prefix("header "))
        .collect();
    for (name, value) in &request.headers {
        if slots.contains(&name.as_str()) {
            lines.push(format!("{name}: (attached by Tagout)"));
        } else {
            lines.push(format!("{name}: {value}"));
        }
    }
    if let HttpBody::Whole(bytes) = &request.body {
        lines.push(String::new());
        match std::str::from_utf8(bytes) {
            Ok(body) => lines.extend(body.lines().map(str::to_owned)),
            Err(_) => lines.push(format!("({} bytes that are not text)", bytes.len())),
        }
    }
    lines
}
