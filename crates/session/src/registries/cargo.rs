//! cargo. Its configuration: `config.toml` and `credentials.toml` in `$CARGO_HOME` (The Cargo Book,
//! "Configuration", "Source Replacement", "Registry Index").
//! Its default index: a text in the installed program. Where an index keeps its downloads, it says in
//! its own `config.json`: the operator's cache has it, or it is asked once, outside.

use std::path::{Path, PathBuf};

use tagout_core::{HostName, Target, Transport, json};
use tagout_policy::Registry;

use super::{Found, FoundFile, Outside, Spelling};

const TOOL: &str = "cargo";

/// An index whose downloads lie nobody knows where yet.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Where the index is.
    pub(crate) registry: Registry,
}

impl Index {
    /// The target of the index.
    pub(crate) fn target(&self) -> &Target {
        &self.registry.target
    }

    /// The path of the file in which the index says it.
    pub(crate) fn root(&self) -> String {
        format!("{}/config.json", self.registry.path)
    }

    /// Under which name it is remembered.
    pub(crate) fn name(&self) -> String {
        let target = &self.registry.target;
        format!(
            "downloads of {}:{}{}",
            target.host, target.port, self.registry.path
        )
    }
}

/// What an index's `config.json` says of downloads: the URL up to its first marker (The Cargo Book,
/// "Index Configuration"). `None` where that is no place to be reached.
pub(crate) fn download_host(config: &[u8]) -> Option<Registry> {
    let document = json::parse(config).ok()?;
    let url = document.get("dl")?.as_str()?;
    let (registry, userinfo) = Registry::parse(TOOL, url.split('{').next()?)?;
    // The index came over TLS, and so do its packages; a name and password in it are nobody's.
    (registry.target.transport == Transport::Tls && userinfo.is_none()).then_some(registry)
}

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("cargo") else {
        return;
    };
    let home = outside
        .set("CARGO_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| outside.home.join(".cargo"));
    let mut replaced = false;
    let mut indexes: Vec<(Option<String>, String)> = Vec::new();
    let config = ["config.toml", "config"]
        .iter()
        .find_map(|name| outside.read(&home.join(name)));
    if let Some(text) = config {
        if let Ok(table) = text.parse::<toml::Table>() {
            replaced = sources(&table, &mut indexes);
            tokens(&table, &indexes, found);
        }
        found.files.push(FoundFile {
            place: ".cargo/config.toml",
            text,
        });
    }
    let credentials = ["credentials.toml", "credentials"]
        .iter()
        .find_map(|name| outside.read(&home.join(name)));
    if let Some(text) = credentials
        && let Ok(table) = text.parse::<toml::Table>()
    {
        tokens(&table, &indexes, found);
        found.files.push(FoundFile {
            place: ".cargo/credentials.toml",
            text,
        });
    }
    if !replaced && let Some(index) = default(outside, &program) {
        indexes.push((None, index));
    }
    for (_, index) in indexes {
        let Some((registry, _)) = index
            .strip_prefix("sparse+")
            .and_then(|url| Registry::parse(TOOL, url))
        else {
            continue;
        };
        found.add(registry.clone());
        let index = Index { registry };
        let known = cached(outside, &home, &index.registry.target.host).or_else(|| {
            let url = outside.memory.recall(&index.name())?;
            Some(Registry::parse(TOOL, &url)?.0)
        });
        match known {
            Some(downloads) => found.add(downloads),
            None => found.indexes.push(index),
        }
    }
}

/// The indexes that a configuration names; whether the default one is replaced by another.
fn sources(table: &toml::Table, indexes: &mut Vec<(Option<String>, String)>) -> bool {
    let named = table
        .get("registries")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten();
    for (name, registry) in named {
        if let Some(index) = registry.get("index").and_then(toml::Value::as_str) {
            indexes.push((Some(name.clone()), index.to_owned()));
        }
    }
    let sources = table.get("source").and_then(toml::Value::as_table);
    let Some(sources) = sources else {
        return false;
    };
    for (name, source) in sources {
        if let Some(index) = source.get("registry").and_then(toml::Value::as_str) {
            indexes.push((Some(name.clone()), index.to_owned()));
        }
    }
    sources.get("crates-io").is_some_and(|source| {
        source.get("replace-with").is_some() || source.get("registry").is_some()
    })
}

/// The tokens of a configuration or a credentials file. The default registry's own is for publishing,
/// and goes nowhere.
fn tokens(table: &toml::Table, indexes: &[(Option<String>, String)], found: &mut Found) {
    let own = table
        .get("registry")
        .and_then(|registry| registry.get("token"))
        .and_then(toml::Value::as_str);
    if let Some(token) = own {
        found.secret(
            TOOL,
            None,
            token.to_owned(),
            token.to_owned(),
            Spelling::Plain,
        );
    }
    let named = table
        .get("registries")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten();
    for (name, registry) in named {
        let Some(token) = registry.get("token").and_then(toml::Value::as_str) else {
            continue;
        };
        let host = indexes
            .iter()
            .find(|(known, _)| known.as_ref() == Some(name))
            .and_then(|(_, index)| index.strip_prefix("sparse+"))
            .and_then(|url| Registry::parse(TOOL, url))
            .map(|(registry, _)| registry.target.host);
        found.secret(
            TOOL,
            host.as_ref(),
            token.to_owned(),
            token.to_owned(),
            Spelling::Plain,
        );
    }
}

/// What the operator's own cargo has read of an index.
fn cached(outside: &Outside<'_>, home: &Path, host: &HostName) -> Option<Registry> {
    let pattern = home.join(format!("registry/index/{host}-*/config.json"));
    outside
        .matching(&pattern)
        .iter()
        .find_map(|path| download_host(outside.read(path)?.as_bytes()))
}

/// The default index as it stands in the program. What `rustup` puts on PATH starts another one.
fn default(outside: &Outside<'_>, program: &Path) -> Option<String> {
    let rustup = outside
        .set("RUSTUP_HOME")
        .map_or_else(|| outside.home.join(".rustup"), PathBuf::from);
    let mut programs = vec![program.to_owned()];
    programs.extend(outside.matching(&rustup.join("toolchains/*/bin/cargo")));
    programs
        .iter()
        .filter(|program| outside.ours(program).is_some())
        .find_map(|program| {
            outside
                .memory
                .of_file("cargo", program, || index_in(&std::fs::read(program).ok()?))
        })
}

/// The first `sparse+https://HOST/` of a program.
fn index_in(program: &[u8]) -> Option<String> {
    const START: &[u8] = b"sparse+https://";
    let mut rest = program;
    loop {
        let at = rest
            .windows(START.len())
            .position(|window| window == START)?;
        rest = rest.get(at + START.len()..)?;
        let Some(end) = rest.iter().take(254).position(|&byte| byte == b'/') else {
            continue;
        };
        let host = rest
            .get(..end)
            .and_then(|host| std::str::from_utf8(host).ok());
        if let Some(host) = host.and_then(|host| HostName::parse(host).ok())
            && host.as_str().contains('.')
        {
            return Some(format!("sparse+https://{host}/"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_where_the_index_says_and_nowhere_odd() {
        let at = |dl: &str| {
            let config = format!("{{\"dl\":\"{dl}\",\"api\":\"https://x.example.com\"}}");
            download_host(config.as_bytes())
                .map(|registry| format!("{}{}", registry.target.host, registry.path))
        };
        assert_eq!(
            at("https://static.example.com/crates").unwrap(),
            "static.example.com/crates"
        );
        assert_eq!(
            at("https://d.example.com/c/{crate}/{version}").unwrap(),
            "d.example.com/c"
        );
        for odd in [
            "http://d.example.com/",
            "https://10.0.0.1/",
            "https://u:p@d.example.com/",
            "file:///x",
            "{crate}",
        ] {
            assert_eq!(at(odd), None, "{odd}");
        }
        assert!(download_host(b"{").is_none());
    }

    #[test]
    fn the_default_stands_in_the_program() {
        let program = b"\x7fELF sparse+https:// is how sparse+https://localhost/ sparse+https://index.example.com/and more";
        assert_eq!(
            index_in(program).as_deref(),
            Some("sparse+https://index.example.com/")
        );
        assert_eq!(index_in(b"sparse+https://x"), None);
    }
}
