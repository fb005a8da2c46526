//! Who the person is to git, carried into the session's own `~/.gitconfig`.
//!
//! Commits made inside should have their author. Nothing else of the person's configuration goes in:
//! it may name credential helpers, programs and URLs with secrets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tagout_sandbox::OverlayFile;

use crate::git_outside;

/// What is carried over: none of these names a program or a secret.
const KEYS: &[(&str, &str)] = &[
    ("user", "name"),
    ("user", "email"),
    ("init", "defaultBranch"),
];

/// What is set inside whatever the person or the repository says: the keys for signatures are not there.
const UNSIGNED: [&str; 3] = ["commit.gpgSign", "tag.gpgSign", "push.gpgSign"];

/// The variables by which git is told so, and `more` (git-config(1), ENVIRONMENT), before every file.
pub(crate) fn variables(more: Vec<(String, String)>) -> Vec<(String, String)> {
    let unsigned = UNSIGNED.map(|key| (key.to_owned(), "false".to_owned()));
    let settings: Vec<_> = unsigned.into_iter().chain(more).collect();
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (number, (key, value)) in settings.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{number}"), key));
        variables.push((format!("GIT_CONFIG_VALUE_{number}"), value));
    }
    variables
}

/// The file to lay over `~/.gitconfig`: who the person is, as far as git knows, and `more`. `None` where
/// there is nothing to say.
pub(crate) fn overlay(home: &str, more: &str, workspace: &Path) -> Option<OverlayFile> {
    let person = is_configured(home, |name| std::env::var_os(name)).then(|| ask(home, workspace));
    let known = person.flatten().map(|listing| configuration(&listing));
    let text = known.unwrap_or_default() + more;
    (!text.is_empty()).then(|| OverlayFile {
        path: Path::new(home).join(".gitconfig"),
        bytes: text.into_bytes(),
        mode: 0o644,
    })
}

/// Whether there is any file that git would read (git-config(1), FILES): asking it costs as much as a
/// tenth of a launch.
fn is_configured(home: &str, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let folder = variable("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| Path::new(home).join(".config"), PathBuf::from);
    variable("GIT_CONFIG_GLOBAL").is_some()
        || Path::new(home).join(".gitconfig").exists()
        || folder.join("git/config").exists()
}

/// `listing` is what `git config -z` prints: name, line feed, value, NUL for each entry; of several with
/// one name the last counts.
fn configuration(listing: &str) -> String {
    let value_of = |key: &str| {
        listing
            .split('\0')
            .filter_map(|entry| entry.split_once('\n'))
            .rfind(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    };
    KEYS.iter()
        .filter_map(|(section, name)| {
            let value = value_of(&format!("{section}.{name}"))?;
            let unprintable = value.is_empty() || value.chars().any(char::is_control);
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            (!unprintable).then(|| format!("[{section}]\n\t{name} = \"{quoted}\"\n"))
        })
        .collect()
}

/// Asks git itself, once, since the person's configuration may include further files. In the home and
/// of the global configuration alone: what the workspace's repository says is not the person's word.
fn ask(home: &str, workspace: &Path) -> Option<String> {
    let names: Vec<String> = KEYS
        .iter()
        .map(|(section, name)| format!("{section}[.]{}", name.to_ascii_lowercase()))
        .collect();
    let answer = git_outside::command(workspace)
        .args(["config", "--global", "--includes", "-z", "--get-regexp"])
        .arg(format!("^({})$", names.join("|")))
        .current_dir(home)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(answer.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn values_stay_values() {
        let text = configuration(
            "user.name\nfirst\0user.email\na@example.com\n[alias]\n\tx = !sh\0user.name\nA \"B\" \\ C\0",
        );
        assert_eq!(text, "[user]\n\tname = \"A \\\"B\\\" \\\\ C\"\n");
    }

    #[test]
    fn git_is_asked_where_it_would_read_something() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let set = |name: &'static str, value: &str| {
            let value = OsString::from(value);
            move |asked: &str| (asked == name).then(|| value.clone())
        };
        assert!(!is_configured(home, |_| None));
        assert!(is_configured(home, set("GIT_CONFIG_GLOBAL", "/etc/mine")));
        std::fs::create_dir_all(folder.path().join("elsewhere/git")).unwrap();
        std::fs::write(folder.path().join("elsewhere/git/config"), "").unwrap();
        let elsewhere = format!("{home}/elsewhere");
        assert!(is_configured(home, set("XDG_CONFIG_HOME", &elsewhere)));
        assert!(!is_configured(home, |_| None));
        std::fs::write(folder.path().join(".gitconfig"), "").unwrap();
        assert!(is_configured(home, |_| None));
    }

    #[test]
    fn git_is_asked_once_for_all_of_them() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".gitconfig");
        let text = "[user]\n\tname = Ann\n\temail = ann@example.com\n[init]\n\tdefaultBranch = trunk\n[alias]\n\tx = !sh\n";
        std::fs::write(&file, text).unwrap();
        let output = Command::new("git")
            .args(["config", "--file"])
            .arg(&file)
            .args(["-z", "--list"])
            .output()
            .unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        let carried = configuration(&listing);
        assert!(
            carried.contains("name = \"Ann\"") && carried.contains("defaultBranch = \"trunk\"")
        );
        assert!(!carried.contains("alias"));
    }
}
