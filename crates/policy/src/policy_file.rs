//! Reading Cedar text, ours and the user's, into policies whose annotations mean something. Cedar
//! ignores annotations; we do not: an id names the policy in holds and ledger, `@ask` makes a forbid
//! a hold, `@reason` and `@how_to_proceed` are what the agent and its user read. What is not
//! understood here is an error with its line, since a policy that a person wrote and that silently
//! does nothing protects nobody.

use std::collections::HashSet;

use cedar_policy::{
    Effect, Policy as CedarPolicy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;

use crate::file_errors::{FileError, FileErrors, line_at};
use crate::wording;

/// More than a person writes; less than what makes loading slow.
const LONGEST: usize = 1024 * 1024;

/// What one policy may be long, and how deep its brackets may nest. Cedar reads, validates and
/// evaluates by recursion, and a file from a repository must not be able to end the process.
const LONGEST_POLICY: usize = 8 * 1024;
const DEEPEST: usize = 32;

/// One policy, with what its annotations say.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: CedarPolicy,
    /// Where it begins in its file.
    offset: usize,
    pub(crate) id: String,
    /// How many approvers it asks for; `None` when it denies whoever approves, or permits.
    pub(crate) ask: Option<u8>,
    pub(crate) reason: Option<String>,
    pub(crate) how_to_proceed: Option<String>,
}

/// Reads every policy of `text` and checks what Cedar does not: ids and annotations. `taken` are ids
/// that it may not use.
///
/// # Errors
/// Everything that is wrong with the file, each with its line.
pub(crate) fn read(
    file_name: &str,
    text: &str,
    taken: &HashSet<&str>,
) -> Result<Vec<Rule>, FileErrors> {
    if text.len() > LONGEST {
        return Err(FileErrors::one(
            file_name,
            1,
            "a policy file is at most 1 MiB",
        ));
    }
    let mut errors = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for (offset, piece) in statements(text) {
        if piece.len() - leading(piece) > LONGEST_POLICY || depth(piece) > DEEPEST {
            errors.push(FileError {
                line: line_at(text, offset + leading(piece)),
                message: "a policy is at most 8 KiB long and nests at most 32 brackets; split it"
                    .to_owned(),
            });
            continue;
        }
        let placeholder = PolicyId::new(format!("at {offset}"));
        let policy = match CedarPolicy::parse(Some(placeholder), piece) {
            Ok(policy) => policy,
            Err(parse_errors) => {
                errors.extend(parse_errors.iter().map(|error| FileError {
                    line: line_at(text, offset + offset_in_policy(error)),
                    message: with_help(error),
                }));
                continue;
            }
        };
        // Annotations stand in front, behind comments and blank lines.
        let line = line_at(text, offset + leading(piece));
        let mut add = |message: String| errors.push(FileError { line, message });
        match annotations(&policy, offset) {
            Ok(rule) if taken.contains(rule.id.as_str()) => add(format!(
                "`{}` is the id of one of Tagout's own policies; use another",
                rule.id
            )),
            Ok(rule) if rules.iter().any(|earlier| earlier.id == rule.id) => {
                add(format!("a second policy with the id `{}`", rule.id));
            }
            Ok(rule) => rules.push(rule),
            Err(messages) => messages.into_iter().for_each(add),
        }
    }
    FileErrors::check(file_name, errors)?;
    Ok(rules)
}

/// Validates policies that were read from `text`, strictly. What passes cannot fail for a missing
/// attribute or a wrong type while it decides.
///
/// # Errors
/// Everything that does not fit the schema, and every policy that can never match or that reads
/// differently than it looks: such a policy protects nobody, whatever its author believes.
pub(crate) fn validate(
    file_name: &str,
    text: &str,
    rules: &[Rule],
    schema: &Schema,
) -> Result<(), FileErrors> {
    let set = PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone()))
        .map_err(|error| FileErrors::one(file_name, 1, error.to_string()))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let mut errors: Vec<FileError> = Vec::new();
    let mut report = |policy: &PolicyId, problem: &dyn Diagnostic| {
        let rule = rules.iter().find(|rule| rule.policy.id() == policy);
        let offset = rule.map_or(0, |rule| rule.offset);
        let error = FileError {
            line: line_at(text, offset + offset_in_policy(problem)),
            message: with_help(problem),
        };
        // The same mistake comes once for every effect that the policy is about.
        if !errors.contains(&error) {
            errors.push(error);
        }
    };
    let mut mistaken = HashSet::new();
    for error in result.validation_errors() {
        mistaken.insert(error.policy_id());
        report(error.policy_id(), error);
    }
    // What an error makes of a policy is no second mistake.
    let warnings = result.validation_warnings();
    for warning in warnings.filter(|warning| !mistaken.contains(warning.policy_id())) {
        report(warning.policy_id(), warning);
    }
    FileErrors::check(file_name, errors)
}

/// What a policy's annotations say, or everything that is wrong with them.
fn annotations(policy: &CedarPolicy, offset: usize) -> Result<Rule, Vec<String>> {
    let mut errors = Vec::new();
    let mut rule = Rule {
        policy: policy.clone(),
        offset,
        id: String::new(),
        ask: None,
        reason: None,
        how_to_proceed: None,
    };
    for (key, value) in policy.annotations() {
        match key {
            "id" => rule.id = value.to_owned(),
            "ask" => match value {
                "one" => rule.ask = Some(1),
                "two" => rule.ask = Some(2),
                _ => errors.push("@ask is \"one\" or \"two\": how many people approve".to_owned()),
            },
            "reason" | "how_to_proceed" => {
                for word in wording::unknown_words(value) {
                    errors.push(format!(
                        "@{key} has {{{}}}; the words that can be filled in are {}",
                        word.escape_default(),
                        wording::WORDS.join(", ")
                    ));
                }
                let place = match key {
                    "reason" => &mut rule.reason,
                    _ => &mut rule.how_to_proceed,
                };
                *place = Some(value.to_owned());
            }
            other => errors.push(format!(
                "unknown annotation @{other}; a policy has @id, @ask, @reason, @how_to_proceed"
            )),
        }
    }
    let id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if rule.id.is_empty() || rule.id.len() > 100 || !rule.id.bytes().all(id_byte) {
        errors.push(
            "every policy needs an @id(\"...\") of letters, digits and . _ -, by which holds and the \
             ledger name it"
                .to_owned(),
        );
    }
    if rule.ask.is_some() || policy.annotation("ask").is_some() {
        if policy.effect() == Effect::Permit {
            errors.push("@ask belongs on a forbid: a permit never asks anybody".to_owned());
        } else if !reads_approval(policy) {
            errors.push(
                "@ask without `unless { context has approval && context.approval.valid }`: no \
                 approval could ever release it; add that, or remove @ask"
                    .to_owned(),
            );
        }
    }
    if errors.is_empty() {
        rule.policy = policy.new_id(PolicyId::new(&rule.id));
        return Ok(rule);
    }
    Err(errors)
}

/// Whether a policy's conditions speak of the approval at all.
fn reads_approval(policy: &CedarPolicy) -> bool {
    fn mentions(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => text == "approval",
            serde_json::Value::Array(items) => items.iter().any(mentions),
            serde_json::Value::Object(members) => members.values().any(mentions),
            _ => false,
        }
    }
    policy
        .to_json()
        .ok()
        .and_then(|json| json.get("conditions").map(mentions))
        .unwrap_or(false)
}

/// The file cut behind each `;` that ends a policy, with the offset at which each piece begins. What
/// is left behind the last one is a piece too, unless it is blank.
fn statements(text: &str) -> Vec<(usize, &str)> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in code(text).filter(|(_, byte)| *byte == b';') {
        pieces.extend(text.get(start..=at).map(|piece| (start, piece)));
        start = at + 1;
    }
    let rest = text.get(start..).unwrap_or_default();
    if leading(rest) < rest.len() {
        pieces.push((start, rest));
    }
    pieces
}

/// How deep the brackets of a policy nest.
fn depth(policy: &str) -> usize {
    let mut open: usize = 0;
    let mut deepest = 0;
    for (_, byte) in code(policy) {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// The bytes of Cedar text with their offsets, without those of strings and comments.
fn code(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut bytes = text.bytes().enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (at, byte) = bytes.next()?;
            match byte {
                // To the closing quote; a backslash takes the next byte with it.
                b'"' => {
                    while let Some((_, byte)) = bytes.next_if(|(_, byte)| *byte != b'"') {
                        if byte == b'\\' {
                            bytes.next();
                        }
                    }
                    bytes.next();
                }
                b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                    while bytes.next_if(|(_, byte)| !b"\r\n".contains(byte)).is_some() {}
                }
                _ => return Some((at, byte)),
            }
        }
    })
}

/// How many bytes of white space and comments `text` begins with.
fn leading(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        match rest.strip_prefix("//") {
            Some(comment) => {
                rest = comment
                    .split_once(['\r', '\n'])
                    .map_or("", |(_, rest)| rest)
            }
            None => return text.len() - rest.len(),
        }
    }
}

/// Where a problem stands within the policy, as far as it says.
fn offset_in_policy(problem: &(impl Diagnostic + ?Sized)) -> usize {
    problem
        .labels()
        .and_then(|mut labels| labels.next())
        .map_or(0, |label| label.offset())
}

fn with_help(problem: &(impl Diagnostic + ?Sized)) -> String {
    let mut message = problem.to_string();
    if let Some(help) = problem.help() {
        message.push_str("; ");
        message.push_str(&help.to_string());
    }
    // Which effect a request has does not matter to what a request is; a connection is different.
    for effect in tagout_core::Effect::ALL {
        message = message.replace(&format!(" for Action::\"{effect}\""), "");
    }
    if message.contains("for Action::\"connect\"") {
        message.push_str("; a policy about requests says `action in Action::\"request\"`");
    }
    message
}
