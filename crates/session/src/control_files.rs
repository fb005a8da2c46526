//! Control files: what programs outside run or believe because it lies in a workspace. An agent that
//! writes one acts outside later, under the person's name and without a sandbox.
//!
//! One table says which they are. Those whose reader runs what they say without another question cannot
//! be changed from inside: present, wherever they lie; absent, at the workspace's root. The others are
//! everyday work of an agent: they can be written, and the report at the end names them.
//!
//! Names are compared folded, so that on a file system without case no other spelling is another file.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ignore::WalkBuilder;
use tagout_sandbox::Guard;

use crate::scan::DEPENDENCIES;

/// What happens to a control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// It cannot be changed from inside, and not be made at the workspace's root either.
    Held,
    /// It cannot be changed from inside where it is there.
    Kept,
    /// It can be written; the report names it.
    Named,
}

use Protection::{Held, Kept, Named};

/// Ends of paths, in lower case; a folder stands for all in it. With what reads them.
#[rustfmt::skip]
const TABLE: &[(&str, Protection, &str)] = &[
    // Settings, hooks, commands, servers of agents: run at the next start outside.
    (".claude", Held, "Claude Code"),
    (".mcp.json", Held, "Claude Code"),
    (".codex", Held, "Codex"),
    (".cursor", Held, "Cursor"),
    (".gemini", Held, "Gemini CLI"),
    (".qwen", Kept, "Qwen Code"),
    (".opencode", Kept, "OpenCode"),
    ("opencode.json", Kept, "OpenCode"),
    ("opencode.jsonc", Kept, "OpenCode"),
    (".amazonq", Kept, "Amazon Q"),
    (".kiro", Kept, "Kiro"),
    (".windsurf", Kept, "Windsurf"),
    (".roo", Kept, "Roo Code"),
    (".continue", Kept, "Continue"),
    (".junie", Kept, "Junie"),
    (".aider.conf.yml", Kept, "aider"),
    ("crush.json", Kept, "Crush"),
    (".crush.json", Kept, "Crush"),
    // Editors: tasks, interpreters, terminals, local configuration that is code.
    (".vscode", Held, "Visual Studio Code"),
    (".idea", Kept, "JetBrains"),
    (".zed", Kept, "Zed"),
    (".fleet", Kept, "Fleet"),
    (".devcontainer", Kept, "development containers"),
    (".devcontainer.json", Kept, "development containers"),
    (".exrc", Kept, "vi"),
    (".vimrc", Kept, "vi"),
    (".nvimrc", Kept, "Neovim"),
    (".nvim.lua", Kept, "Neovim"),
    (".lvimrc", Kept, "Vim"),
    (".dir-locals.el", Kept, "Emacs"),
    // Debuggers that start in the folder.
    (".gdbinit", Kept, "GDB"),
    (".lldbinit", Kept, "LLDB"),
    // A shell that enters the folder.
    (".envrc", Kept, "direnv"),
    ("mise.toml", Named, "mise"),
    (".mise.toml", Named, "mise"),
    // What agents outside believe.
    ("claude.md", Named, "agents"),
    ("agents.md", Named, "agents"),
    ("gemini.md", Named, "agents"),
    (".cursorrules", Named, "agents"),
    (".windsurfrules", Named, "agents"),
    (".clinerules", Named, "agents"),
    (".github/copilot-instructions.md", Named, "agents"),
    (".github/agents", Named, "agents"),
    // What a commit outside runs.
    (".husky", Named, "git hooks"),
    (".githooks", Named, "git hooks"),
    (".pre-commit-config.yaml", Named, "git hooks"),
    ("lefthook.yml", Named, "git hooks"),
    ("lefthook.yaml", Named, "git hooks"),
    (".lefthook.yml", Named, "git hooks"),
    (".gitattributes", Named, "git"),
    (".gitmodules", Named, "git"),
    // What a push makes others run.
    (".github/workflows", Named, "CI"),
    (".github/actions", Named, "CI"),
    (".gitlab-ci.yml", Named, "CI"),
    (".gitea/workflows", Named, "CI"),
    (".forgejo/workflows", Named, "CI"),
    (".travis.yml", Named, "CI"),
    (".drone.yml", Named, "CI"),
    (".woodpecker.yml", Named, "CI"),
    (".woodpecker", Named, "CI"),
    (".circleci", Named, "CI"),
    (".buildkite", Named, "CI"),
    ("jenkinsfile", Named, "CI"),
    ("azure-pipelines.yml", Named, "CI"),
    ("bitbucket-pipelines.yml", Named, "CI"),
    // What package managers, build tools and interpreters run unasked.
    ("package.json", Named, "npm"),
    (".pnpmfile.cjs", Named, "pnpm"),
    (".yarnrc.yml", Named, "Yarn"),
    (".yarnrc", Named, "Yarn"),
    (".yarn/releases", Named, "Yarn"),
    (".yarn/plugins", Named, "Yarn"),
    (".npmrc", Named, "npm"),
    ("build.rs", Named, "cargo"),
    (".cargo/config.toml", Named, "cargo"),
    (".cargo/config", Named, "cargo"),
    ("setup.py", Named, "pip"),
    ("pyproject.toml", Named, "pip"),
    ("tox.ini", Named, "tox"),
    ("noxfile.py", Named, "nox"),
    ("conftest.py", Named, "pytest"),
    ("sitecustomize.py", Named, "Python"),
    ("usercustomize.py", Named, "Python"),
    ("makefile", Named, "make"),
    ("gnumakefile", Named, "make"),
    ("taskfile.yml", Named, "Task"),
    ("rakefile", Named, "rake"),
    ("gemfile", Named, "Bundler"),
    ("build.gradle", Named, "Gradle"),
    ("build.gradle.kts", Named, "Gradle"),
    ("settings.gradle", Named, "Gradle"),
    ("settings.gradle.kts", Named, "Gradle"),
    ("gradlew", Named, "Gradle"),
    ("gradle/wrapper", Named, "Gradle"),
    (".mvn", Named, "Maven"),
    ("mvnw", Named, "Maven"),
    ("flake.nix", Named, "Nix"),
    ("shell.nix", Named, "Nix"),
    (".bazelrc", Named, "Bazel"),
    ("dockerfile", Named, "Docker"),
    ("docker-compose.yml", Named, "Docker"),
    ("docker-compose.yaml", Named, "Docker"),
    ("compose.yml", Named, "Docker"),
    ("compose.yaml", Named, "Docker"),
    ("justfile", Named, "just"),
    // Shells that take the folder for a home.
    (".bashrc", Named, "bash"),
    (".bash_profile", Named, "bash"),
    (".profile", Named, "sh"),
    (".zshrc", Named, "zsh"),
    (".zshenv", Named, "zsh"),
];

/// Ends of names, the same way.
#[rustfmt::skip]
const ENDINGS: &[(&str, Protection, &str)] = &[
    (".code-workspace", Kept, "Visual Studio Code"),
    (".config.js", Named, "JavaScript's build tools"),
    (".config.mjs", Named, "JavaScript's build tools"),
    (".config.cjs", Named, "JavaScript's build tools"),
    (".config.ts", Named, "JavaScript's build tools"),
    (".config.mts", Named, "JavaScript's build tools"),
    (".eslintrc.js", Named, "ESLint"),
    (".eslintrc.cjs", Named, "ESLint"),
    (".babelrc.js", Named, "Babel"),
    (".pth", Named, "Python"),
];

/// Names kept for the report of each kind.
const MOST_NAMED: usize = 6;
/// More places than this are not held one by one.
const MOST_KEPT: usize = 400;
/// Files that are looked at when a session ends.
const MOST_LOOKED_AT: usize = 500_000;
/// By how much a file's change time may lag behind the clock that a process reads.
const COARSE: Duration = Duration::from_millis(10);

/// What happens to the file or folder at `path`, relative to the workspace: by its own name and the
/// folders right above it, not by folders that are control files themselves.
pub(crate) fn protection(path: &Path) -> Option<Protection> {
    // Asked of every file of a workspace: almost all of them have another name.
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let last = |(path, _, _): &(&'static str, Protection, &str)| path.rsplit('/').next();
        TABLE.iter().filter_map(last).collect()
    });
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if !NAMES.contains(name.as_str()) && !ENDINGS.iter().any(|(end, _, _)| name.ends_with(end)) {
        return None;
    }
    let folded = path.to_string_lossy().to_lowercase();
    let is = |end: &str| {
        folded
            .strip_suffix(end)
            .is_some_and(|front| front.is_empty() || front.ends_with('/'))
    };
    let ending = || {
        ENDINGS
            .iter()
            .find(|(end, _, _)| folded.ends_with(end))
            .map(|(_, protection, _)| *protection)
    };
    TABLE
        .iter()
        .find(|(end, _, _)| is(end))
        .map(|(_, protection, _)| *protection)
        .or_else(ending)
}

/// As [`protection`], for everything in a folder that is one as well.
fn protection_within(path: &Path) -> Option<Protection> {
    path.ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .find_map(protection)
}

/// Guards for control files, given what lies in a workspace: `found` are paths at which [`protection`]
/// says something. What is absent at the root is held by an empty folder, which git neither lists nor
/// commits.
pub(crate) fn guards(found: &[PathBuf]) -> Vec<Guard> {
    let mut guards = Vec::new();
    for (name, _, _) in TABLE
        .iter()
        .filter(|(_, protection, _)| *protection == Held)
    {
        let there = found.iter().any(|path| {
            path.components().count() == 1 && path.to_string_lossy().to_lowercase() == *name
        });
        if !there {
            guards.push(Guard::folder(*name));
        }
    }
    // Those at the root first: what is beyond the limit lies deep.
    let mut found: Vec<&PathBuf> = found.iter().collect();
    found.sort_by_key(|path| path.components().count());
    for path in found {
        if matches!(protection(path), Some(Held | Kept)) {
            let guard = Guard::folder(path);
            guards.push(if path.components().count() == 1 {
                guard
            } else {
                guard.loose()
            });
        }
    }
    guards.truncate(MOST_KEPT);
    guards
}

/// Whether entries in this folder are looked at: what a package manager brought is everybody's.
pub(crate) fn is_looked_into(path: &Path) -> bool {
    !path.components().any(|part| {
        DEPENDENCIES
            .iter()
            .any(|folder| part.as_os_str() == *folder)
    })
}

/// The moment from which on files count as written inside.
#[derive(Clone, Copy)]
pub(crate) struct Since((i64, i64));

impl Since {
    /// Now.
    pub(crate) fn now() -> Self {
        let now = (SystemTime::now() - COARSE)
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self((now.as_secs() as i64, i64::from(now.subsec_nanos())))
    }

    /// Whether `path` itself came or changed since. The change time cannot be set.
    fn is_before(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.ctime(), found.ctime_nsec()) >= self.0)
    }
}

/// What was written inside and acts outside; sorted, relative to the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Files that programs outside run or believe.
    pub(crate) files: Vec<PathBuf>,
    /// Git folders with configuration or hooks.
    pub(crate) repositories: Vec<PathBuf>,
}

/// Looks for it when a session is over.
pub(crate) fn written(workspace: &Path, since: Since) -> Written {
    let mut written = Vec::new();
    let mut repositories = Vec::new();
    let walk = WalkBuilder::new(workspace)
        .standard_filters(false)
        .hidden(false)
        .follow_links(false)
        .filter_entry(|entry| {
            let in_git = entry
                .path()
                .parent()
                .is_some_and(|folder| folder.ends_with(".git"));
            !in_git && is_looked_into(Path::new(entry.file_name()))
        })
        .build();
    for entry in walk.flatten().take(MOST_LOOKED_AT) {
        let Ok(path) = entry.path().strip_prefix(workspace) else {
            continue;
        };
        if path.as_os_str().is_empty() {
            continue;
        }
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        if path.ends_with(".git") || (is_folder && is_bare(entry.path())) {
            if is_changed(entry.path(), since) {
                repositories.push(path.to_owned());
            }
        } else if !is_folder && protection_within(path).is_some() && since.is_before(entry.path()) {
            written.push(path.to_owned());
        }
    }
    if is_bare(workspace) && is_changed(workspace, since) {
        repositories.push(PathBuf::from("."));
    }
    written.sort();
    repositories.sort();
    Written {
        files: written,
        repositories,
    }
}

impl Written {
    /// Whether sentences leave out names.
    pub(crate) fn is_cut(&self) -> bool {
        self.files.len().max(self.repositories.len()) > MOST_NAMED
    }

    /// What a person should know of it: sentences. `differences` says more about the files.
    pub(crate) fn remarks(
        &self,
        differences: impl FnOnce(&[PathBuf]) -> Vec<String>,
    ) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.files.is_empty() {
            remarks.push(format!(
                "written inside, and run or believed by programs outside: {}",
                list(&self.files)
            ));
            remarks.extend(differences(&self.files));
        }
        if !self.repositories.is_empty() {
            remarks.push(format!(
                "git repositories whose configuration or hooks were written inside: {}; look at them before you use git there",
                list(&self.repositories)
            ));
        }
        remarks
    }
}

/// Whether git takes the folder itself for a repository (gitrepository-layout(5)).
pub(crate) fn is_bare(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

/// Whether what git outside would run of a git folder, or a file that names one, was written since.
fn is_changed(folder: &Path, since: Since) -> bool {
    if folder.is_file() {
        return since.is_before(folder);
    }
    let hooks = fs::read_dir(folder.join("hooks"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|ending| ending != "sample"));
    ["config", "config.worktree", "commondir"]
        .iter()
        .map(|name| folder.join(name))
        .chain(hooks)
        .any(|path| since.is_before(&path))
}

fn list(paths: &[PathBuf]) -> String {
    let more = paths.len().saturating_sub(MOST_NAMED);
    let names: Vec<String> = paths
        .iter()
        .take(MOST_NAMED)
        .map(|path| path.display().to_string())
        .collect();
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, path: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn invariant_9_control_files_are_known_in_every_folder_and_case() {
        for (path, expected) in [
            (".claude", Some(Held)),
            ("packages/app/.VSCode", Some(Held)),
            (".mcp.json", Some(Held)),
            ("x.mcp.json", None),
            ("a/.Envrc", Some(Kept)),
            ("team.code-workspace", Some(Kept)),
            (".github/workflows", Some(Named)),
            ("a/.github/copilot-instructions.md", Some(Named)),
            ("Makefile", Some(Named)),
            ("src/main.rs", None),
            ("", None),
        ] {
            assert_eq!(protection(Path::new(path)), expected, "{path}");
        }
        let within = Path::new(".github/workflows/deploy.yml");
        assert_eq!(protection_within(within), Some(Named));
    }

    #[test]
    fn the_table_is_in_lower_case_and_says_each_once() {
        for (at, (path, _, reader)) in TABLE.iter().enumerate() {
            assert_eq!(*path, path.to_lowercase());
            assert!(!reader.is_empty());
            assert!(
                !TABLE[..at].iter().any(|(other, _, _)| other == path),
                "{path}"
            );
        }
    }

    #[test]
    fn invariant_9_absent_ones_are_held_at_the_root_and_present_ones_everywhere() {
        let found: Vec<PathBuf> = ["app/.vscode", ".VSCode", ".envrc", "Makefile"]
            .iter()
            .map(PathBuf::from)
            .collect();
        let guards = guards(&found);
        let has = |path: &str, pinned: bool| {
            guards
                .iter()
                .any(|guard| guard.path == Path::new(path) && guard.pinned == pinned)
        };
        assert!(has(".claude", true) && has(".mcp.json", true));
        assert!(has(".VSCode", true) && !has(".vscode", true));
        assert!(has("app/.vscode", false) && has(".envrc", true) && !has("Makefile", true));
        let last = guards.last().map(|guard| guard.path.as_path());
        assert_eq!(last, Some(Path::new("app/.vscode")));
    }

    #[test]
    fn what_was_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["package.json", "old/.git/config", "src/main.rs"] {
            write(folder.path(), path);
        }
        let mut since = Since::now();
        let never = written(folder.path(), Since((i64::MAX, 0)));
        assert_eq!(never, Written::default());
        // As if the clock had gone on: no test waits for it.
        since.0 = (since.0.0 - 1, since.0.1);
        let all = written(folder.path(), since)
            .remarks(|_| Vec::new())
            .join("\n");
        assert!(all.contains("outside: package.json\n"), "{all}");
        assert!(all.contains("inside: old/.git; look"), "{all}");
        for path in [
            "HEAD",
            "config",
            "objects/x",
            "refs/x",
            "a/.github/workflows/x.yml",
        ] {
            write(folder.path(), path);
        }
        let all = written(folder.path(), since)
            .remarks(|_| Vec::new())
            .join("\n");
        assert!(all.contains("inside: ., old/.git; look"), "{all}");
        assert!(
            all.contains("a/.github/workflows/x.yml, package.json"),
            "{all}"
        );
    }
}
