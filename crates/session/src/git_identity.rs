//! Who the person is to git, carried into the session's own `~/.gitconfig`.
//!
//! Commits made inside should have their author. Nothing else of the person's configuration goes in:
//! it may name credential helpers, programs and URLs with secrets.

use std::path::Path;
use std::process::{Command, Stdio};

use tagout_sandbox::OverlayFile;

/// What is carried over: none of these names a program or a secret.
const KEYS: &[(&str, &str)] = &[
    ("user", "name"),
    ("user", "email"),
    ("init", "defaultBranch"),
];

/// The file to lay over `~/.gitconfig`; `None` where git knows nobody or is not there.
pub(crate) fn overlay(home: &str) -> Option<OverlayFile> {
    let text = configuration(|key| ask(home, key));
    (!text.is_empty()).then(|| OverlayFile {
        path: Path::new(home).join(".gitconfig"),
        bytes: text.into_bytes(),
        mode: 0o644,
    })
}

fn configuration(value_of: impl Fn(&str) -> Option<String>) -> String {
    KEYS.iter()
        .filter_map(|(section, name)| {
            let value = value_of(&format!("{section}.{name}"))?;
            let unprintable = value.is_empty() || value.chars().any(char::is_control);
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            (!unprintable).then(|| format!("[{section}]\n\t{name} = \"{quoted}\"\n"))
        })
        .collect()
}

/// Asks git itself, since the person's configuration may include further files. In the home and of
/// the global configuration alone: what the workspace's repository says is not the person's word.
fn ask(home: &str, key: &str) -> Option<String> {
    let answer = Command::new("git")
        .args(["config", "--global", "--includes", "--get", key])
        .current_dir(home)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let value = String::from_utf8(answer.stdout).ok()?;
    Some(value.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let text = configuration(|key| match key {
            "user.name" => Some("A \"B\" \\ C".to_owned()),
            "user.email" => Some("a@example.com\n[alias]\n\tx = !sh".to_owned()),
            _ => None,
        });
        assert_eq!(text, "[user]\n\tname = \"A \\\"B\\\" \\\\ C\"\n");
    }
}
