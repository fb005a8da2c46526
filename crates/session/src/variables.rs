//! The environment inside is built from lists, never inherited: what is not named here is not there.

use std::collections::BTreeMap;

/// Passed on when set outside. None of them names a socket, a token, a proxy or a loader path.
const PASSED: &[&str] = &[
    "CLICOLOR",
    "COLORFGBG",
    "COLORTERM",
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
    "LS_COLORS",
    "NO_COLOR",
    "PAGER",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TZ",
    "VISUAL",
];

/// Names of tool folders outside home that toolchains look for; paths, not secrets.
const TOOL_FOLDERS: &[&str] = &[
    "CARGO_HOME",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "RUSTUP_HOME",
    "VOLTA_HOME",
];

/// Variables through which programs find a CA bundle. Each of them *replaces* the program's own
/// store, so the bundle is a combined one; `NODE_EXTRA_CA_CERTS` adds to it.
const CA_BUNDLE: &[&str] = &[
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CODEX_CA_CERTIFICATE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// Set to one value, so that tools look where the session's folders and certificates are.
const FIXED: &[(&str, &str)] = &[
    // Telemetry is a write on somebody's account, and would ask a person each time.
    ("DO_NOT_TRACK", "1"),
    ("RAILWAY_NO_TELEMETRY", "1"),
    ("TMPDIR", "/tmp"),
    ("UV_NATIVE_TLS", "1"),
    ("UV_SYSTEM_CERTS", "1"),
];

/// What the environment is built from.
pub(crate) struct Sources<'a> {
    /// Looks a variable up outside.
    pub(crate) outside: &'a dyn Fn(&str) -> Option<String>,
    /// The account's name inside.
    pub(crate) user: &'a str,
    /// The home folder inside.
    pub(crate) home: &'a str,
    /// Where the combined bundle lies inside.
    pub(crate) ca_bundle: &'a str,
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
    for name in CA_BUNDLE {
        inside.insert((*name).to_owned(), sources.ca_bundle.to_owned());
    }
    for (name, value) in FIXED {
        inside.insert((*name).to_owned(), (*value).to_owned());
    }
    let path = (sources.outside)("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let shell = (sources.outside)("SHELL").unwrap_or_else(|| "/bin/sh".to_owned());
    for (name, value) in [
        ("PATH", path.as_str()),
        ("SHELL", shell.as_str()),
        ("HOME", sources.home),
        ("USER", sources.user),
        ("LOGNAME", sources.user),
    ] {
        inside.insert(name.to_owned(), value.to_owned());
    }
    inside
        .entry("TERM".to_owned())
        .or_insert_with(|| "dumb".to_owned());
    inside.extend(sources.set.iter().cloned());
    inside.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_3_nothing_is_inherited_that_no_list_names() {
        let outside = |name: &str| match name {
            "PATH" => Some("/usr/bin".to_owned()),
            "LANG" => Some("C.UTF-8".to_owned()),
            _ => Some("secret".to_owned()).filter(|_| {
                [
                    "SSH_AUTH_SOCK",
                    "DOCKER_HOST",
                    "DBUS_SESSION_BUS_ADDRESS",
                    "AWS_SECRET_ACCESS_KEY",
                    "HTTPS_PROXY",
                    "LD_PRELOAD",
                ]
                .contains(&name)
            }),
        };
        let inside = build(&Sources {
            outside: &outside,
            user: "person",
            home: "/home/person",
            ca_bundle: "/etc/ssl/certs/ca-certificates.crt",
            passed: vec![],
            set: vec![("RAILWAY_API_TOKEN".to_owned(), "decoy".to_owned())],
        });
        assert!(inside.iter().all(|(_, value)| value != "secret"));
        assert!(inside.contains(&("LANG".to_owned(), "C.UTF-8".to_owned())));
        assert!(inside.contains(&("RAILWAY_API_TOKEN".to_owned(), "decoy".to_owned())));
    }
}
