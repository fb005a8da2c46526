//! What the configuration of git names in a workspace: files that it includes, and programs that git runs when a person uses it outside.
//! Who can write one of them acts outside, as who can write a hook.
//!
//! git itself is asked, which reads configuration and runs nothing that it names; only where a file that git would read first has a word
//! that such a setting has. Of a command, which git gives to a shell, each word that is a file of the workspace counts. What such a program
//! runs or reads in turn is not found out.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use tagout_sandbox::Guard;
use zeroize::Zeroizing;

use crate::git_outside::{self, CONFIGURATION};

/// The most that is read of a file of configuration, or of what git says of it.
const MOST_READ: u64 = 1024 * 1024;

/// Last words of settings whose value is a command (git-config(1)).
const COMMANDS: [&str; 27] = [
    "alternaterefscommand",
    "askpass",
    "cccmd",
    "clean",
    "cmd",
    "command",
    "defaultkeycommand",
    "diff",
    "difffilter",
    "driver",
    "editor",
    "external",
    "fsmonitor",
    "gitproxy",
    "helper",
    "packobjectshook",
    "pager",
    "process",
    "program",
    "receivepack",
    "recentobjectshook",
    "smudge",
    "sshcommand",
    "textconv",
    "tocmd",
    "update",
    "uploadpack",
];

/// The same, whose value is a path.
const PATHS: [&str; 4] = ["attributesfile", "hookspath", "path", "templatedir"];

/// First words of settings all of which are commands; an alias only where it begins with `!`.
const SECTIONS: [&str; 2] = ["alias", "pager"];

/// A folder of configuration, and where commands of it run.
pub(crate) struct Repository {
    /// `.git`, a file that names it, or a bare repository; absolute.
    pub(crate) folder: PathBuf,
    /// The top of its work tree; of a bare one, itself.
    pub(crate) top: PathBuf,
}

/// Guards for what the configuration of repositories names in `workspace`, which is without symbolic links.
pub(crate) fn guards(workspace: &Path, repositories: &[Repository]) -> Vec<Guard> {
    let everywhere = personal_files().iter().any(|file| may_name(file));
    let mut guards: Vec<Guard> = Vec::new();
    for repository in repositories {
        let folder = git_folder(&repository.folder);
        let own = ["config", "config.worktree", "../../config"];
        if !everywhere && !own.iter().any(|name| may_name(&folder.join(name))) {
            continue;
        }
        for guard in settings(repository, workspace)
            .iter()
            .flat_map(|setting| setting.names(&repository.top))
            .filter_map(|named| guard(workspace, &named))
        {
            if !guards.iter().any(|known| known.path == guard.path) {
                guards.push(guard);
            }
        }
    }
    guards
}

/// Files of the person's and the machine's (git-config(1), FILES).
fn personal_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("HOME").map(PathBuf::from);
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home.as_ref()?.join(".config")));
    let mut files =
        vec![variable("GIT_CONFIG_SYSTEM").map_or("/etc/gitconfig".into(), PathBuf::from)];
    match variable("GIT_CONFIG_GLOBAL") {
        Some(file) => files.push(file.into()),
        None => {
            files.extend(home.map(|home| home.join(".gitconfig")));
            files.extend(folder.map(|folder| folder.join("git/config")));
        }
    }
    files
}

/// Where a `.git` that is a file leads (gitrepository-layout(5)).
fn git_folder(path: &Path) -> PathBuf {
    let named = fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file())
        .then(|| read(path))
        .flatten()
        .and_then(|text| {
            let target = text.trim_ascii().strip_prefix(b"gitdir: ")?;
            Some(path.parent()?.join(OsStr::from_bytes(target)))
        });
    named.unwrap_or_else(|| path.to_owned())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    let mut text = Vec::new();
    file.take(MOST_READ).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Whether a file of configuration has a word of those above. One that is too large to tell may have.
fn may_name(file: &Path) -> bool {
    // Nothing is asked of a pipe.
    if !fs::metadata(file).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Some(mut text) = read(file) else {
        return false;
    };
    text.make_ascii_lowercase();
    let words = COMMANDS.iter().chain(&PATHS).chain(&SECTIONS);
    text.len() as u64 == MOST_READ
        || words
            .map(|word| word.as_bytes())
            .any(|word| text.windows(word.len()).any(|part| part == word))
}

/// One value of configuration.
struct Setting {
    /// The file that it is from, where it is from one.
    origin: Option<PathBuf>,
    /// Section and name in lower case, with what stands between them.
    key: String,
    value: String,
}

/// A path that configuration names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: PathBuf,
    /// What is held where nothing is there; `None` where a word may be no path at all.
    absent: Option<Absent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    File,
    Folder,
}

/// What git says that counts in a repository. When a file that it includes cannot be read, as it stands without it.
fn settings(repository: &Repository, workspace: &Path) -> Vec<Setting> {
    let listing = ["--includes", "--no-includes"]
        .into_iter()
        .find_map(|word| listing(repository, workspace, word));
    let Some(listing) = listing else {
        return Vec::new();
    };
    let mut parts = listing.split(|byte| *byte == 0);
    let mut settings = Vec::new();
    while let (Some(origin), Some(entry)) = (parts.next(), parts.next()) {
        let entry = String::from_utf8_lossy(entry);
        let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
        settings.push(Setting {
            origin: origin
                .strip_prefix(b"file:")
                .map(|file| repository.top.join(OsStr::from_bytes(file))),
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    settings
}

fn listing(repository: &Repository, workspace: &Path, word: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut command = git_outside::command(workspace);
    command
        .arg("--git-dir")
        .arg(&repository.folder)
        .args(["config", "--list", word, "--show-origin", "-z"])
        .current_dir(&repository.top)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") && !CONFIGURATION.iter().any(|kept| *kept == name) {
            command.env_remove(name);
        }
    }
    let answer = git_outside::answer_of(&mut command, Zeroizing::default(), MOST_READ)?;
    answer.succeeded.then_some(answer.printed)
}

impl Setting {
    /// What it names, and the file that it is from. Commands run at `top`.
    fn names(&self, top: &Path) -> Vec<Named> {
        let from = self.origin.clone().map(|path| Named {
            path,
            absent: Some(Absent::File),
        });
        from.into_iter().chain(self.value_names(top)).collect()
    }

    fn value_names(&self, top: &Path) -> Vec<Named> {
        let (front, name) = self.key.rsplit_once('.').unwrap_or(("", &self.key));
        let section = self.key.split('.').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if PATHS.contains(&name.as_str()) {
            let includes = matches!(section, "include" | "includeif");
            let from = match (&self.origin, includes) {
                (Some(origin), true) => origin.parent().unwrap_or(top),
                _ => top,
            };
            let absent = match name.as_str() {
                "hookspath" | "templatedir" => Absent::Folder,
                _ => Absent::File,
            };
            return vec![Named {
                path: from.join(at_home(self.value.trim())),
                absent: Some(absent),
            }];
        }
        let runs = match section {
            "alias" => self.value.trim_start().starts_with('!'),
            "pager" => true,
            // `submodule.NAME.update` is a word, or a command.
            "submodule" => name == "update" && self.value.trim_start().starts_with('!'),
            _ => COMMANDS.contains(&name.as_str()) && !front.is_empty(),
        };
        if !runs {
            return Vec::new();
        }
        let separates =
            |letter: char| letter.is_whitespace() || "!\"'`;&|()<>=$\\".contains(letter);
        self.value
            .split(separates)
            .filter(|word| !word.is_empty() && !word.starts_with('-'))
            .enumerate()
            // A bare first word is a program of PATH.
            .filter(|(number, word)| *number > 0 || word.contains('/'))
            .map(|(number, word)| Named {
                path: top.join(at_home(word)),
                absent: (number == 0).then_some(Absent::File),
            })
            .collect()
    }
}

fn at_home(word: &str) -> PathBuf {
    match (word.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(word),
    }
}

/// The guard of a path, where it lies in the workspace.
fn guard(workspace: &Path, named: &Named) -> Option<Guard> {
    let is_folder = match fs::metadata(&named.path) {
        Ok(found) if found.is_file() => false,
        Ok(found) if found.is_dir() && named.absent == Some(Absent::Folder) => true,
        Ok(_) => return None,
        Err(_) => {
            let absent = named.absent?;
            let (path, rest) = first_absent(workspace, &normal(&named.path))?;
            return Some(match (rest, absent) {
                (false, Absent::File) => Guard::file(path, *b""),
                _ => Guard::folder(path),
            });
        }
    };
    let real = named.path.canonicalize().ok()?;
    let path = real.strip_prefix(workspace).ok()?;
    let has_own = path.as_os_str().is_empty()
        // What git runs from there is guarded as every repository's.
        || path.ends_with(".git/hooks")
        || path.ends_with(".git/config")
        // husky writes its own anew with every install, which has to work.
        || is_folder && path.starts_with(".husky");
    (!has_own).then(|| Guard::folder(path))
}

/// The first part of a path that is not there, relative to the workspace, and whether more follows.
fn first_absent(workspace: &Path, path: &Path) -> Option<(PathBuf, bool)> {
    let relative = path.strip_prefix(workspace).ok()?;
    if relative.starts_with(".husky") {
        return None;
    }
    let mut there = PathBuf::new();
    let mut parts = relative.components();
    for part in parts.by_ref() {
        there.push(part);
        match fs::symlink_metadata(workspace.join(&there)) {
            Ok(found) if found.is_dir() => {}
            // A link that leads nowhere, or a file that has nothing in it.
            Ok(_) => return None,
            Err(_) => return Some((there, parts.next().is_some())),
        }
    }
    None
}

/// Without `.` and `..`, by its words alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(key: &str, value: &str) -> Vec<(String, Option<Absent>)> {
        let setting = Setting {
            origin: Some("/w/.git/config".into()),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let named = setting.value_names(Path::new("/w"));
        named
            .into_iter()
            .map(|named| (named.path.display().to_string(), named.absent))
            .collect()
    }

    #[test]
    fn settings_name_what_they_include_and_run() {
        let file = |path: &str| vec![(path.to_owned(), Some(Absent::File))];
        assert_eq!(names("include.path", "../x.cfg"), file("/w/.git/../x.cfg"));
        assert_eq!(names("includeif.gitdir:/w/.path", "x"), file("/w/.git/x"));
        assert_eq!(
            names("core.fsmonitor", "./watch --fast"),
            [("/w/./watch".to_owned(), Some(Absent::File)),][..]
        );
        let hooks = vec![("/w/./hooks".to_owned(), Some(Absent::Folder))];
        assert_eq!(names("core.hookspath", "./hooks"), hooks);
        let script = vec![("/w/tools/clean.py".to_owned(), None)];
        assert_eq!(names("filter.x y.clean", "python3 tools/clean.py"), script);
        assert_eq!(
            names("alias.up", "!sh up.sh"),
            [("/w/up.sh".to_owned(), None)]
        );
        for (key, value) in [
            ("alias.st", "status src/"),
            ("core.fsmonitor", "true"),
            ("remote.origin.url", "./x"),
            ("submodule.a.update", "merge"),
            ("branch.main.merge", "refs/heads/main"),
        ] {
            assert_eq!(names(key, value), [], "{key}");
        }
    }

    #[test]
    fn invariant_9_what_is_not_there_yet_is_held_where_it_would_begin() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().canonicalize().unwrap();
        fs::create_dir(workspace.join("there")).unwrap();
        let absent = |path: &str, absent| {
            let path = workspace.join(path);
            guard(&workspace, &Named { path, absent })
        };
        let file = Some(Absent::File);
        assert_eq!(absent("there/x", file), Some(Guard::file("there/x", *b"")));
        assert_eq!(absent("./a/../b/c", file), Some(Guard::folder("b")));
        assert_eq!(
            absent("hooks", Some(Absent::Folder)),
            Some(Guard::folder("hooks"))
        );
        assert_eq!(absent("../x", file), None);
        assert_eq!(absent("origin/main", None), None);
        assert_eq!(absent("there", file), None);
        fs::write(workspace.join("there/x"), "").unwrap();
        assert_eq!(
            absent("there/../there/x", None),
            Some(Guard::folder("there/x"))
        );
    }
}
