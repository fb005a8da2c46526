//! What a push would do, for a person who is asked about it: which ref goes from where to where, with
//! which commits and files. All of it comes from the push itself and from its pack.

use serde_json::Value as Json;
use tagout_core::Operation;

use super::Pushed;

/// Commits that are named.
pub(super) const MOST_COMMITS: usize = 8;
/// Files that are named.
pub(super) const MOST_FILES: usize = 12;
/// Characters of a subject or path.
const LONGEST: usize = 72;

/// Lines about a push; none for another operation.
pub(crate) fn told(operation: &Operation) -> Vec<String> {
    let Some(push) = Pushed::of(operation) else {
        return Vec::new();
    };
    let number = |name: &str| operation.arguments.get(name).and_then(Json::as_u64);
    let kind = match push.name.split('/').nth(1) {
        Some("heads") => "branch",
        Some("tags") => "tag",
        _ => "ref",
    };
    let name = push.name.splitn(3, '/').nth(2).unwrap_or(push.name);
    let (old, new) = (short(push.old), short(push.new));
    let mut lines = vec![match operation.name.as_str() {
        "git.push" => format!("The {kind} {name} goes on from {old} to {new}; nothing is lost."),
        "git.create_ref" => format!("A new {kind} {name} at {new}."),
        "git.delete_ref" => format!(
            "The {kind} {name} is deleted; it is at {old}. Whoever has that commit can bring it back: git push https://{} {}:{}",
            push.repository, push.old, push.name
        ),
        _ => format!(
            "The {kind} {name} is set from {old} to {new}. That {new} keeps what {old} has is not proved: commits may be lost. Back: git push --force https://{} {}:{}",
            push.repository, push.old, push.name
        ),
    }];
    match number("commits") {
        None => {}
        Some(0) => lines.push("No commit comes with it: the server has it already.".to_owned()),
        Some(commits) => {
            let plural = if commits == 1 { "" } else { "s" };
            lines.push(format!("{commits} commit{plural}, the newest first:"));
            let newest = operation.arguments.get("newest").and_then(Json::as_array);
            let mut left = commits;
            for pair in newest.into_iter().flatten() {
                let (id, subject) = (pair[0].as_str(), pair[1].as_str());
                if let (Some(id), Some(subject)) = (id, subject) {
                    lines.push(format!("  {} {}", short(id), cut(subject)));
                    left -= 1;
                }
            }
            if left > 0 {
                lines.push(format!("  and {left} more"));
            }
        }
    }
    if let Some(files) = number("files").filter(|files| *files > 0) {
        let paths = operation.arguments.get("paths").and_then(Json::as_array);
        let paths: Vec<_> = paths
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let plural = if files == 1 { "" } else { "s" };
        lines.push(format!("New content of {files} file{plural}:"));
        lines.extend(paths.iter().map(|path| format!("  {}", cut(path))));
        if files > paths.len() as u64 {
            lines.push(format!("  and {} more", files - paths.len() as u64));
        }
    }
    if push.has_options {
        let options = operation.arguments.get("options").and_then(Json::as_array);
        let options: Vec<_> = options
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        lines.push(format!(
            "Push options, which the server acts on: {}",
            cut(&options.join(" "))
        ));
    }
    lines
}

fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tagout_core::{Effect, Flags, OperationName, Scope};

    fn lines(name: &str, more: Json) -> Vec<String> {
        let mut arguments = json!({
            "repository": "git.example/a", "ref": "refs/heads/main", "options": [],
            "old": "1111111111111111", "new": "2222222222222222",
        });
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        told(&Operation {
            name: OperationName::parse(name).unwrap(),
            known: true,
            effect: Effect::Write,
            flags: Flags::NONE,
            scope: Scope::None,
            resources: Vec::new(),
            unresolved: None,
            arguments,
        })
    }

    #[test]
    fn a_push_is_told_with_its_commits_and_files() {
        let more = json!({
            "commits": 3, "newest": [["2222222222222222", "Mend it"], ["33333333333333", "x".repeat(90)]],
            "files": 2, "paths": ["src/a.rs"], "options": ["ci.skip"],
        });
        let expected = [
            "The branch main goes on from 1111111111 to 2222222222; nothing is lost.".to_owned(),
            "3 commits, the newest first:".to_owned(),
            "  2222222222 Mend it".to_owned(),
            format!("  3333333333 {}…", "x".repeat(72)),
            "  and 1 more".to_owned(),
            "New content of 2 files:".to_owned(),
            "  src/a.rs".to_owned(),
            "  and 1 more".to_owned(),
            "Push options, which the server acts on: ci.skip".to_owned(),
        ];
        assert_eq!(lines("git.push", more), expected);
    }

    #[test]
    fn what_is_lost_comes_with_the_way_back() {
        let deleted = lines("git.delete_ref", json!({"new": "0000000000000000"}));
        assert!(
            deleted[0].ends_with("git push https://git.example/a 1111111111111111:refs/heads/main")
        );
        let forced = lines("git.push_force", json!({"commits": 0}));
        assert!(forced[0].contains("commits may be lost") && forced[1].contains("has it already"));
        assert!(lines("http.POST", json!({})).is_empty());
    }
}
