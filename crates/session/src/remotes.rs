//! The workspace's git remotes: read at launch from the repository's own configuration, which nothing
//! inside can change, and granted for git's smart HTTP.
//!
//! What must stay true: the file is read as data. Nothing that it includes is followed, and
//! `.gitmodules`, which an agent can write, names nothing: of submodules those count that a person
//! initialised, and for fetching only.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tagout_core::Target;
use tagout_policy::{Remote, Task};
use zeroize::Zeroizing;

use crate::git_outside;
use crate::workspace::{Git, Workspace};

/// The folder of git that has configuration and objects; `None` where there is no repository.
pub(crate) fn git_folder(workspace: &Workspace) -> Option<PathBuf> {
    match workspace.git.as_ref()? {
        Git::Folder => Some(workspace.path.join(".git")),
        Git::Linked { common, .. } => Some(common.clone()),
    }
}

/// A remote as the repository's configuration has it.
pub(crate) struct Named {
    pub(crate) remote: Remote,
    /// The name in its URL. Of one over SSH it is the server's account, and is left out.
    pub(crate) user: Option<String>,
    /// The password in its URL, as it is written there.
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) over_ssh: bool,
    /// Its path as it is written, without its first slash.
    pub(crate) asked_path: String,
    /// `http.extraHeader` for it.
    pub(crate) extra_header: Option<Zeroizing<String>>,
}

/// Reads the remotes of `workspace` and grants them.
pub(crate) fn grant(workspace: &Workspace, task: &mut Task) -> Vec<Named> {
    let Some(config) = git_folder(workspace).map(|folder| folder.join("config")) else {
        return Vec::new();
    };
    let named = list(&config, &workspace.path).map_or_else(Vec::new, |text| remotes(&text));
    for Named { remote, .. } in &named {
        if !task.remotes.contains(remote) {
            task.remotes.push(remote.clone());
        }
    }
    named
}

/// Where the remotes of `task` are: the operator chose them, wherever their names lead.
pub(crate) fn targets(task: &Task) -> impl Iterator<Item = Target> {
    task.remotes.iter().map(|remote| remote.target.clone())
}

/// What git is to write instead of the URLs of ssh that the remotes have, as `~/.gitconfig` has it.
pub(crate) fn rewriting(task: &Task) -> String {
    let mut hosts: Vec<_> = task
        .remotes
        .iter()
        .filter(|remote| remote.target.port == 443)
        .map(|remote| remote.target.host.as_str())
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
        .iter()
        .map(|host| {
            format!(
                "[url \"https://{host}/\"]\n\tinsteadOf = git@{host}:\n\tinsteadOf = ssh://git@{host}/\n"
            )
        })
        .collect()
}

/// Every entry of the file, as `git config -z` prints them.
fn list(config: &Path, workspace: &Path) -> Option<String> {
    if !config.is_file() {
        return None;
    }
    let answer = git_outside::command(workspace)
        .args(["config", "--no-includes", "-z", "--list", "--file"])
        .arg(config)
        .current_dir("/")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(answer.stdout).ok()
}

/// The remotes that a listing names: those of the repository to fetch and push, those of submodules to
/// fetch.
fn remotes(listing: &str) -> Vec<Named> {
    let entries = || {
        listing
            .split('\0')
            .filter_map(|entry| entry.split_once('\n'))
    };
    entries()
        .filter_map(|(name, url)| {
            let of_remote = name.starts_with("remote.")
                && (name.ends_with(".url") || name.ends_with(".pushurl"));
            let of_submodule = name.starts_with("submodule.") && name.ends_with(".url");
            let remote = (of_remote || of_submodule).then(|| Remote::parse(url))??;
            let over_ssh = !url.starts_with("https://") && !url.starts_with("http://");
            let (user, password) = match over_ssh {
                true => (None, None),
                false => git_outside::userinfo(url),
            };
            let is_git = url.trim_end_matches('/').ends_with(".git");
            let ending = if is_git { ".git" } else { "" };
            let asked_path = format!("{}{ending}", remote.path.trim_start_matches('/'));
            let place = format!("https://{}/{asked_path}", place(&remote.target));
            let extra_header = entries()
                .filter_map(|(key, value)| Some((git_outside::covers(key, &place)?, value)))
                .max_by_key(|(length, _)| *length)
                .map(|(_, value)| Zeroizing::new(value.to_owned()));
            Some(Named {
                remote: Remote {
                    pushed: of_remote,
                    ..remote
                },
                user,
                password,
                over_ssh,
                asked_path,
                extra_header,
            })
        })
        .collect()
}

/// Host and port as a URL has them.
fn place(target: &Target) -> String {
    match target.port {
        443 => target.host.to_string(),
        port => format!("{}:{port}", target.host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_read_as_data() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let other = folder.path().join("other");
        std::fs::write(
            &other,
            "[remote \"x\"]\n\turl = https://included.example/a\n",
        )
        .unwrap();
        let text = format!(
            "[include]\n\tpath = {}\n[remote \"origin\"]\n\turl = git@git.example:a/b.git\n\tpushurl = https://push.example/a/b\n[submodule \"s\"]\n\turl = https://sub.example/s.git\n[remote \"local\"]\n\turl = ../other\n[core]\n\tfsmonitor = touch /tmp/never\n",
            other.display()
        );
        std::fs::write(&config, text).unwrap();
        let found: Vec<_> = remotes(&list(&config, Path::new("/nowhere")).unwrap())
            .into_iter()
            .map(|it| it.remote)
            .map(|it| (it.target.host.to_string(), it.path, it.pushed))
            .collect();
        let expected = [
            ("git.example", "/a/b", true),
            ("push.example", "/a/b", true),
            ("sub.example", "/s", false),
        ];
        assert_eq!(
            found,
            expected.map(|(host, path, pushed)| (host.to_owned(), path.to_owned(), pushed))
        );
        let mut task = Task::without_manifest();
        let named = remotes("remote.o.url\ngit@git.example:a/b.git");
        task.remotes = named.into_iter().map(|it| it.remote).collect();
        assert_eq!(
            rewriting(&task),
            "[url \"https://git.example/\"]\n\tinsteadOf = git@git.example:\n\tinsteadOf = ssh://git@git.example/\n"
        );
    }
}
