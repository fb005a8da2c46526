//! npm, and what reads its files (pnpm, yarn 1, npx). Its configuration: `npmrc` in the INI dialect of
//! its own manual, builtin, global and of the user, and variables `npm_config_*` in any case. Its
//! default registry: the definition in the installed package's own source.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_policy::Registry;

use super::{Found, FoundFile, Outside, Spelling, ini, without_keys};

const TOOL: &str = "npm";

/// Keys of an `npmrc` that do not fit inside: the way out is another one.
const NOT_INSIDE: &[&str] = &[
    "proxy",
    "https-proxy",
    "http-proxy",
    "noproxy",
    "cafile",
    "ca",
    "cache",
    "prefix",
    "script-shell",
];

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("npm") else {
        return;
    };
    let user =
        variable(outside, "userconfig").map_or_else(|| outside.home.join(".npmrc"), PathBuf::from);
    let mut files: Vec<PathBuf> = package(&program)
        .into_iter()
        .map(|package| package.join("npmrc"))
        .collect();
    files.extend(variable(outside, "globalconfig").map(PathBuf::from));
    if let Some(node) = outside.program("node") {
        files.extend(
            node.ancestors()
                .nth(2)
                .map(|prefix| prefix.join("etc/npmrc")),
        );
    }
    files.push("/etc/npmrc".into());
    let mut names_default = false;
    for file in &files {
        if let Some(text) = outside.read(file) {
            names_default |= read(outside, &text, found);
            found.visible.push((file.clone(), text));
        }
    }
    if let Some(text) = outside.read(&user) {
        names_default |= read(outside, &text, found);
        found.files.push(FoundFile {
            place: ".npmrc",
            text: without_keys(&text, NOT_INSIDE),
        });
    }
    if let Some(url) = variable(outside, "registry") {
        names_default = true;
        found.url(TOOL, &url);
        found.variable("NPM_CONFIG_REGISTRY", url);
    }
    if !names_default && let Some(url) = default(&program) {
        found.url(TOOL, &url);
    }
}

/// A `npm_config_` variable. A script that npm itself runs has those of the *project's* `.npmrc`,
/// which are not the operator's.
fn variable(outside: &Outside<'_>, key: &str) -> Option<String> {
    if outside.set("npm_lifecycle_event").is_some() || outside.set("npm_command").is_some() {
        return None;
    }
    [
        format!("npm_config_{key}"),
        format!("NPM_CONFIG_{}", key.to_ascii_uppercase()),
    ]
    .iter()
    .find_map(|name| outside.set(name))
}

/// Takes registries and credentials; whether the default registry is named.
fn read(outside: &Outside<'_>, text: &str, found: &mut Found) -> bool {
    let entries = ini(text);
    let mut default = None;
    for (_, key, value) in &entries {
        let value = expanded(outside, value);
        if key == "registry" {
            found.url(TOOL, &value);
            default = Some(value);
        } else if key.starts_with('@') && key.ends_with(":registry") {
            found.url(TOOL, &value);
        }
    }
    for (_, key, written) in &entries {
        // `//host/path/:_authToken`, or in old files without a host, for the default registry.
        let (nerf, name) = key.rsplit_once(':').unwrap_or(("", key));
        if !["_authToken", "_auth", "_password"].contains(&name) {
            continue;
        }
        let at = match (nerf, &default) {
            ("", Some(url)) => url.clone(),
            ("", None) => continue,
            (nerf, _) => format!("https:{nerf}"),
        };
        let Some((registry, _)) = Registry::parse(TOOL, &at) else {
            continue;
        };
        let host = registry.target.host;
        let value = expanded(outside, written);
        let decoded = || {
            let bytes = STANDARD.decode(&value).ok()?;
            String::from_utf8(bytes).ok()
        };
        let (value, spelling) = match name {
            "_auth" => match decoded().as_deref().and_then(|pair| pair.split_once(':')) {
                Some((user, password)) => (password.to_owned(), Spelling::Pair(user.to_owned())),
                None => (value, Spelling::Plain),
            },
            "_password" => match decoded() {
                Some(password) => (password, Spelling::Base64),
                None => (value, Spelling::Plain),
            },
            _ => (value, Spelling::Plain),
        };
        found.secret(TOOL, Some(&host), value, written.clone(), spelling);
    }
    default.is_some()
}

/// `${NAME}` stands for a variable, and for itself where there is none.
fn expanded(outside: &Outside<'_>, value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((front, behind)) = rest.split_once("${") {
        text.push_str(front);
        let Some((name, after)) = behind.split_once('}') else {
            text.push_str("${");
            rest = behind;
            continue;
        };
        match outside.set(name.trim_end_matches('?')) {
            Some(value) => text.push_str(&value),
            None => {
                text.push_str("${");
                text.push_str(name);
                text.push('}');
            }
        }
        rest = after;
    }
    text + rest
}

/// The folder of the installed package: `…/npm` of `…/npm/bin/npm-cli.js`.
fn package(program: &Path) -> Option<PathBuf> {
    program.ancestors().nth(2).map(Path::to_owned)
}

/// The default as npm's own source defines it.
fn default(program: &Path) -> Option<String> {
    const DEFINITIONS: &str = "@npmcli/config/lib/definitions/definitions.js";
    let package = package(program)?;
    let text = [
        package.join("node_modules").join(DEFINITIONS),
        package.parent()?.join(DEFINITIONS),
        // npm 6 and older.
        package.join("lib/config/defaults.js"),
    ]
    .iter()
    .find_map(|path| std::fs::read_to_string(path).ok())?;
    definition(&text)
}

fn definition(text: &str) -> Option<String> {
    let at = text
        .find("('registry',")
        .or_else(|| text.find("\n    registry:"))
        .or_else(|| text.find("registry: '"))?;
    let behind = text.get(at..)?;
    let from = behind.find("'http")?;
    let url = behind.get(from + 1..)?.split('\'').next()?;
    (from < 400).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stands_in_the_source() {
        let text = "define('depth', {default: null})\nconst x = new Definition('registry', {\n  default: 'https://packages.example.com/',\n})";
        assert_eq!(
            definition(text).as_deref(),
            Some("https://packages.example.com/")
        );
        assert_eq!(definition("nothing"), None);
        assert_eq!(definition("('registry', "), None);
    }
}
