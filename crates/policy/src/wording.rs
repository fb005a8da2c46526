//! The sentences of a refusal: a policy's `@reason` and `@how_to_proceed` with `{words}` filled in
//! from the question. Only called once something was refused, so clarity wins over speed here.

use std::fmt::Write as _;

use tagout_core::{CanonicalPath, ResourceId, Scope};

use crate::path_pattern::PathPattern;
use crate::question::{Connection, Question};
use crate::task::DEFAULT_PORT;

/// The words that a template may have in braces.
pub(crate) const WORDS: &[&str] = &[
    "credential_refusal",
    "effect",
    "environment",
    "fault_how_to_proceed",
    "fault_reason",
    "host",
    "host_grant",
    "method",
    "operation",
    "operation_grant",
    "path",
    "place",
    "port",
    "request_grant",
    "resource",
    "task_environment",
    "unresolved",
];

/// The longest piece of a request's path that is worth showing.
const LONGEST_PATH: usize = 200;

/// How many resources a sentence names.
const RESOURCES_SHOWN: usize = 3;

/// What is asked, as far as a sentence can speak of it.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// An operation.
    Operation(&'a Question<'a>),
    /// A connection.
    Connection(&'a Connection<'a>),
}

/// The words in braces of `template` that nobody can fill in.
pub(crate) fn unknown_words(template: &str) -> Vec<&str> {
    pieces(template)
        .filter_map(|piece| match piece {
            Piece::Word(word) if !WORDS.contains(&word) => Some(word),
            _ => None,
        })
        .collect()
}

/// `template` with its words filled in, or a sentence that says that it cannot be.
pub(crate) fn fill(template: &str, subject: Subject<'_>) -> String {
    let mut text = String::with_capacity(template.len() + 64);
    for piece in pieces(template) {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Word(word) => text.push_str(&value(word, subject)),
        }
    }
    text
}

enum Piece<'a> {
    Text(&'a str),
    Word(&'a str),
}

fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let open = rest.find('{').unwrap_or(rest.len());
        let (before, behind) = rest.split_at(open);
        if !before.is_empty() {
            rest = behind;
            return Some(Piece::Text(before));
        }
        // `behind` begins with the brace.
        let inner = behind.strip_prefix('{').unwrap_or(behind);
        let Some((word, after)) = inner.split_once('}') else {
            rest = "";
            return Some(Piece::Text(behind));
        };
        rest = after;
        Some(Piece::Word(word))
    })
}

fn value(word: &str, subject: Subject<'_>) -> String {
    let (target, faults) = match subject {
        Subject::Operation(question) => (question.target, question.faults),
        Subject::Connection(connection) => (connection.target, connection.faults),
    };
    let question = match subject {
        Subject::Operation(question) => Some(question),
        Subject::Connection(_) => None,
    };
    let of_request = |describe: fn(&Question<'_>) -> String, otherwise: &str| {
        question.map_or_else(|| otherwise.to_owned(), describe)
    };
    match word {
        "host" => target.host.to_string(),
        "port" => target.port.to_string(),
        "fault_reason" => causes(faults.iter().map(|fault| fault.reason.as_str())),
        "fault_how_to_proceed" => each(faults.iter().map(|fault| fault.how_to_proceed.as_str())),
        "host_grant" => host_entry(target.host.as_str(), target.port),
        "method" => of_request(|q| q.method.to_string(), "connecting"),
        "path" => of_request(|q| shown_path(q.path), "/"),
        "operation" => of_request(|q| q.operation.name.to_string(), "connecting"),
        "effect" => of_request(|q| q.operation.effect.to_string(), "connect"),
        "environment" => match subject {
            Subject::Operation(question) => environment(question.environment.map(|e| e.as_str())),
            Subject::Connection(connection) => {
                environment(connection.environment.map(|e| e.as_str()))
            }
        },
        "task_environment" => of_request(|q| q.task_environment.to_string(), "the task"),
        "resource" => of_request(resources, target.host.as_str()),
        "place" => of_request(place, target.host.as_str()),
        "unresolved" => of_request(unresolved, "nothing was asked yet"),
        "credential_refusal" => of_request(credential_refusal, "no credential was given for it"),
        "request_grant" => of_request(request_entry, ""),
        "operation_grant" => of_request(operation_entry, ""),
        // Templates are checked when they are loaded.
        other => format!("{{{other}}}"),
    }
}

/// The different causes among `texts`, which are parts of a sentence: with a semicolon between them.
pub(crate) fn causes<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let different = different(texts);
    let mut shown = String::new();
    for (number, text) in different.iter().enumerate() {
        let is_last = number + 1 == different.len();
        if number > 0 {
            shown.push_str("; ");
        }
        shown.push_str(if is_last {
            text
        } else {
            text.trim_end_matches('.')
        });
    }
    shown
}

/// The different sentences among `texts`, one behind the other.
pub(crate) fn each<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    different(texts).join(" ")
}

fn different<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut different: Vec<&str> = Vec::new();
    for text in texts {
        if !text.is_empty() && !different.contains(&text) {
            different.push(text);
        }
    }
    different
}

fn environment(name: Option<&str>) -> String {
    name.map_or_else(
        || "an unresolved environment (which counts as production)".to_owned(),
        ToOwned::to_owned,
    )
}

fn resources(question: &Question<'_>) -> String {
    if question.operation.scope == Scope::None {
        return format!("{} on {}", shown_path(question.path), question.target.host);
    }
    let all = question.resources;
    if all.is_empty() && question.operation.scope == Scope::Account {
        return "the whole account".to_owned();
    }
    if all.is_empty() {
        return "something that the request does not name".to_owned();
    }
    let shown: Vec<&str> = all
        .iter()
        .take(RESOURCES_SHOWN)
        .map(ResourceId::as_str)
        .collect();
    let mut text = shown.join(", ");
    if let Some(more) = all
        .len()
        .checked_sub(RESOURCES_SHOWN)
        .filter(|more| *more > 0)
    {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

/// What an operation acts on, with the environment where one is spoken of.
fn place(question: &Question<'_>) -> String {
    let resources = resources(question);
    match question.environment {
        None if question.operation.scope != Scope::Resources => resources,
        name => format!(
            "{resources} in {}",
            environment(name.map(|name| name.as_str()))
        ),
    }
}

fn unresolved(question: &Question<'_>) -> String {
    question
        .unresolved
        .or(question.operation.unresolved.as_deref())
        .unwrap_or("its environment could not be looked up")
        .trim_end_matches('.')
        .to_owned()
}

fn credential_refusal(question: &Question<'_>) -> String {
    question.credential.map_or_else(
        || "the request carries no credential that was given for it".to_owned(),
        |name| format!("credential `{name}` was not given for that environment"),
    )
}

fn operation_entry(question: &Question<'_>) -> String {
    let word = question.operation.name.without_prefix();
    match question.credential {
        Some(name) => format!(
            "If the task needs it, ask the user to add \"{word}\" to the operations of credential \
             \"{name}\" in tagout.toml and start again."
        ),
        None => format!(
            "If the task needs it, ask the user for a [[credential]] in tagout.toml whose operations \
             list \"{word}\"."
        ),
    }
}

fn host_entry(host: &str, port: u16) -> String {
    let ports = match port {
        DEFAULT_PORT => String::new(),
        other => format!("\nports = [{other}]"),
    };
    format!("[[host]]\nname = \"{host}\"{ports}")
}

fn request_entry(question: &Question<'_>) -> String {
    let mut entry = host_entry(question.target.host.as_str(), question.target.port);
    let path = grantable_path(question.path);
    // Who copies the line should see where it grants more than was asked.
    let any = match question.path.as_str().contains('*') {
        true => " # `*` stands for any name there",
        false => "",
    };
    // Writing to a String cannot fail.
    let _ = write!(
        entry,
        "\nmethods = [\"{}\"]\npaths = [\"{path}\"]{any}",
        question.method
    );
    entry
}

/// A pattern for `path`; for one too long to read, of the folder that it lies in.
fn grantable_path(path: &CanonicalPath) -> String {
    let exact = PathPattern::text_for(path);
    if exact.len() <= LONGEST_PATH {
        return exact;
    }
    let short: String = exact.chars().take(LONGEST_PATH).collect();
    let folder = short.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/**")
}

fn shown_path(path: &CanonicalPath) -> String {
    let text = path.as_str();
    if text.len() <= LONGEST_PATH {
        return text.to_owned();
    }
    text.chars().take(LONGEST_PATH).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_causes_are_told_apart_and_the_same_one_is_told_once() {
        let cookie = "cookie a of x.example carries a credential that Tagout did not attach";
        let session = "cookie b of x.example carries a credential that Tagout did not attach";
        assert_eq!(causes([cookie].into_iter()), cookie);
        assert_eq!(
            causes([cookie, "it ends.", cookie, session].into_iter()),
            format!("{cookie}; it ends; {session}")
        );
        assert_eq!(each(["One.", "Two.", "One."].into_iter()), "One. Two.");
    }
}
