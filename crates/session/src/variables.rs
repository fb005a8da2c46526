//! The environment inside is built from lists, never inherited: what is not named here is not there.

use std::collections::BTreeMap;

use tagout_net::{AddressRange, PROXY_PORT};

use crate::{stand_ins, trust_stores};

/// Passed on when set outside. None of them names a socket, a token, a proxy or a loader path.
const PASSED: &[&str] = &[
    "CARGO_BUILD_JOBS",
    "CARGO_INCREMENTAL",
    "CARGO_TERM_COLOR",
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORFGBG",
    "COLORTERM",
    "DEBIAN_FRONTEND",
    "EDITOR",
    "FORCE_COLOR",
    "LANG",
    "LANGUAGE",
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "LESS",
    "LS_COLORS",
    "MAKEFLAGS",
    "MANPAGER",
    "NODE_ENV",
    "NO_COLOR",
    "PAGER",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PYENV_VERSION",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "RBENV_VERSION",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TZ",
    "VISUAL",
];

/// Names of tool folders that toolchains look for; paths, not secrets.
const TOOL_FOLDERS: &[&str] = &[
    "ASDF_DATA_DIR",
    "ASDF_DIR",
    "BUN_INSTALL",
    "CONDA_DEFAULT_ENV",
    "CONDA_EXE",
    "CONDA_PREFIX",
    "CONDA_PYTHON_EXE",
    "DENO_INSTALL",
    "DOTNET_ROOT",
    "FNM_DIR",
    "FNM_MULTISHELL_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GHCUP_INSTALL_BASE_PREFIX",
    "GOROOT",
    "GRADLE_HOME",
    "JAVA_HOME",
    "JDK_HOME",
    "MAVEN_HOME",
    "MISE_DATA_DIR",
    "NVM_BIN",
    "NVM_DIR",
    "NVM_INC",
    "PNPM_HOME",
    "PYENV_ROOT",
    "RBENV_ROOT",
    "RUSTUP_HOME",
    "SDKMAN_DIR",
    "VIRTUAL_ENV",
    "VIRTUAL_ENV_PROMPT",
    "VOLTA_HOME",
];

/// Set to one value, so that tools look where the session's folders are.
const FIXED: &[(&str, &str)] = &[
    // Who wants to open a page is told to show its address.
    ("BROWSER", "xdg-open"),
    // Telemetry is a write on somebody's account, and would ask a person each time.
    ("DO_NOT_TRACK", "1"),
    // Each installation would ask the registry for advisories, with a request that writes.
    ("NPM_CONFIG_AUDIT", "false"),
    ("NPM_CONFIG_FUND", "false"),
    ("NPM_CONFIG_UPDATE_NOTIFIER", "false"),
    ("RAILWAY_NO_TELEMETRY", "1"),
    ("TMPDIR", "/tmp"),
];

/// Folders that tools write into, below the home inside: a value from outside may name a folder that
/// is read-only here, or is not there.
const WRITABLE: &[(&str, &str)] = &[
    ("CARGO_HOME", ".cargo"),
    ("GOPATH", "go"),
    ("NPM_CONFIG_CACHE", ".npm"),
    ("PIP_CACHE_DIR", ".cache/pip"),
    ("UV_CACHE_DIR", ".cache/uv"),
    ("XDG_CACHE_HOME", ".cache"),
];

/// Editors that are windows: there is no display inside, and a tool that starts one waits for ever.
const WINDOWS: &[&str] = &[
    "atom",
    "clion",
    "code",
    "code-insiders",
    "codium",
    "cursor",
    "emacsclient",
    "gedit",
    "gvim",
    "idea",
    "kate",
    "mate",
    "subl",
    "windsurf",
    "zed",
    "zeditor",
];

/// What the environment is built from.
pub(crate) struct Sources<'a> {
    /// Looks a variable up outside.
    pub(crate) outside: &'a dyn Fn(&str) -> Option<String>,
    /// The account's name inside.
    pub(crate) user: &'a str,
    /// The home folder inside.
    pub(crate) home: &'a str,
    /// Variables of the agent's profile and of the manifest that are passed on.
    pub(crate) passed: Vec<String>,
    /// Variables with a value of their own: profile switches, decoys.
    pub(crate) set: Vec<(String, String)>,
}

/// The environment inside, sorted by name.
pub(crate) fn build(sources: &Sources<'_>) -> Vec<(String, String)> {
    let mut inside = BTreeMap::new();
    let passed = PASSED.iter().chain(TOOL_FOLDERS).copied();
    for name in passed.chain(sources.passed.iter().map(String::as_str)) {
        if let Some(value) = (sources.outside)(name) {
            inside.insert(name.to_owned(), value);
        }
    }
    for name in ["EDITOR", "VISUAL"] {
        if inside.get(name).is_some_and(|editor| is_window(editor)) {
            inside.remove(name);
        }
    }
    for name in trust_stores::BUNDLE_VARIABLES {
        inside.insert((*name).to_owned(), trust_stores::BUNDLE.to_owned());
    }
    for name in trust_stores::ADDED_VARIABLES {
        inside.insert((*name).to_owned(), trust_stores::OWN.to_owned());
    }
    for (name, value) in FIXED.iter().chain(trust_stores::SWITCHES) {
        inside.insert((*name).to_owned(), (*value).to_owned());
    }
    for (name, folder) in WRITABLE {
        inside.insert((*name).to_owned(), format!("{}/{folder}", sources.home));
    }
    let path = (sources.outside)("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let path = format!("{}:{path}", stand_ins::FOLDER);
    let proxy = format!("http://{}:{PROXY_PORT}", AddressRange::SYNTHETIC.proxy);
    let shell = (sources.outside)("SHELL").unwrap_or_else(|| "/bin/sh".to_owned());
    for (name, value) in [
        ("PATH", path.as_str()),
        ("SHELL", shell.as_str()),
        ("HOME", sources.home),
        ("USER", sources.user),
        ("LOGNAME", sources.user),
        // Under no name that tools look for: they work without it, and some do not work with it.
        ("TAGOUT_PROXY", &proxy),
    ] {
        inside.insert(name.to_owned(), value.to_owned());
    }
    inside
        .entry("TERM".to_owned())
        .or_insert_with(|| "dumb".to_owned());
    inside.extend(sources.set.iter().cloned());
    inside.into_iter().collect()
}

/// Whether an editor's command line starts a window.
fn is_window(editor: &str) -> bool {
    let program = editor.split_whitespace().next().unwrap_or("");
    let name = program.rsplit('/').next().unwrap_or(program);
    let terminal = name == "emacsclient" && editor.contains("-t");
    WINDOWS.contains(&name) && !terminal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        let outside = |name: &str| {
            let entry = variables.iter().find(|(known, _)| *known == name);
            entry.map(|(_, value)| (*value).to_owned())
        };
        build(&Sources {
            outside: &outside,
            user: "person",
            home: "/home/person",
            passed: vec![],
            set: vec![("RAILWAY_API_TOKEN".to_owned(), "decoy".to_owned())],
        })
        .into_iter()
        .collect()
    }

    #[test]
    fn invariant_3_nothing_is_inherited_that_no_list_names() {
        let inside = with(&[
            ("PATH", "/usr/bin"),
            ("LANG", "C.UTF-8"),
            ("SSH_AUTH_SOCK", "secret"),
            ("SSH_ASKPASS", "secret"),
            ("GIT_ASKPASS", "secret"),
            ("DOCKER_HOST", "secret"),
            ("DBUS_SESSION_BUS_ADDRESS", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("HTTPS_PROXY", "secret"),
            ("LD_PRELOAD", "secret"),
            ("NODE_OPTIONS", "secret"),
            ("PYTHONPATH", "secret"),
            ("CARGO_REGISTRY_TOKEN", "secret"),
        ]);
        assert!(inside.values().all(|value| value != "secret"));
        assert_eq!(inside["LANG"], "C.UTF-8");
        assert_eq!(inside["RAILWAY_API_TOKEN"], "decoy");
        assert_eq!(inside["PATH"], "/run/tagout/bin:/usr/bin");
    }

    #[test]
    fn tools_write_below_the_home_whatever_is_set_outside() {
        let inside = with(&[("CARGO_HOME", "/opt/cargo"), ("RUSTUP_HOME", "/opt/rustup")]);
        assert_eq!(inside["CARGO_HOME"], "/home/person/.cargo");
        assert_eq!(inside["RUSTUP_HOME"], "/opt/rustup");
    }

    #[test]
    fn an_editor_without_a_terminal_is_none() {
        for (editor, kept) in [
            ("vim", true),
            ("/usr/bin/nano -w", true),
            ("emacsclient -t", true),
            ("code --wait", false),
            ("/snap/bin/zed --wait", false),
        ] {
            let inside = with(&[("EDITOR", editor)]);
            assert_eq!(inside.contains_key("EDITOR"), kept, "{editor}");
        }
    }

    #[test]
    fn no_variable_is_in_two_lists() {
        let mut all: Vec<&str> = PASSED.iter().chain(TOOL_FOLDERS).copied().collect();
        all.extend(trust_stores::BUNDLE_VARIABLES);
        all.extend(trust_stores::ADDED_VARIABLES);
        all.extend(FIXED.iter().chain(WRITABLE).map(|(name, _)| *name));
        all.extend(trust_stores::SWITCHES.iter().map(|(name, _)| *name));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
