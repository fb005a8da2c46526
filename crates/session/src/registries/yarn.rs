//! yarn, which has a default registry of its own. Configuration of the user: `~/.yarnrc.yml` of yarn 2
//! and later (yarn's own page of settings), `~/.yarnrc` of yarn 1, and `npmrc`, which
//! [`super::npm`] reads. The default stands in the program, a bundle of JavaScript.

use std::path::Path;

use super::{Found, FoundFile, Outside, Spelling};

const TOOL: &str = "yarn";

/// The bundle has some megabytes.
const LARGEST: u64 = 16 << 20;

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("yarn") else {
        return;
    };
    let mut named = false;
    for place in [".yarnrc.yml", ".yarnrc"] {
        let Some(text) = outside.read(&outside.home.join(place)) else {
            continue;
        };
        named |= read(&text, found);
        found.files.push(FoundFile { place, text });
    }
    if !named && let Some(url) = default(outside, &program) {
        found.url(TOOL, &url);
    }
}

/// Takes registries and their tokens, from the few lines of YAML that name them; whether the default is
/// named. A token stands below its registry, or for the default registry at the top.
fn read(text: &str, found: &mut Found) -> bool {
    let (mut default, mut at) = (None, None);
    let mut tokens = Vec::new();
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        if !indented {
            at = None;
        }
        let line = line.trim();
        let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        // Yarn 1: `registry "https://…"`.
        let Some((key, value)) = line.split_once(": ").or_else(|| {
            line.strip_suffix(':')
                .map(|key| (key, ""))
                .or_else(|| line.split_once(' '))
        }) else {
            continue;
        };
        let (key, value) = (bare(key), bare(value));
        match key.as_str() {
            "npmRegistryServer" | "registry" if value.starts_with("http") => {
                found.url(TOOL, &value);
                if indented {
                    at = Some(value);
                } else {
                    default = Some(value);
                }
            }
            "npmAuthToken" | "npmAuthIdent" => tokens.push((at.clone(), value)),
            // `npmRegistries` has its entries named by their addresses.
            key if key.starts_with("//") || key.starts_with("http") => {
                let url = match key.strip_prefix("//") {
                    Some(rest) => format!("https://{rest}"),
                    None => key.to_owned(),
                };
                found.url(TOOL, &url);
                at = Some(url);
            }
            _ => {}
        }
    }
    for (at, written) in tokens {
        let Some(url) = at.as_ref().or(default.as_ref()) else {
            // Nobody knows where it may go, so it is only kept out of sight.
            found.secret(TOOL, None, written.clone(), written, Spelling::Plain);
            continue;
        };
        let host = tagout_policy::Registry::parse(TOOL, url).map(|(it, _)| it.target.host);
        // `user:password`: the password is the secret.
        let value = written
            .split_once(':')
            .map_or(written.as_str(), |(_, it)| it);
        found.secret(
            TOOL,
            host.as_ref(),
            value.to_owned(),
            value.to_owned(),
            Spelling::Plain,
        );
    }
    default.is_some()
}

fn default(outside: &Outside<'_>, program: &Path) -> Option<String> {
    // Yarn 1 is a short script beside its bundle.
    let beside = program.parent()?.join("../lib/cli.js");
    [program.to_owned(), beside].iter().find_map(|path| {
        let real = outside.ours(path)?;
        outside.memory.of_file(TOOL, &real, || {
            let short = std::fs::metadata(&real).ok()?.len() <= LARGEST;
            definition(&short.then(|| std::fs::read_to_string(&real).ok())??)
        })
    })
}

/// `npmRegistryServer:{…default:"https://…"` of yarn 2 and later, `YARN_REGISTRY = 'https://…'` of yarn 1.
fn definition(text: &str) -> Option<String> {
    let later = text.find("npmRegistryServer:{").and_then(|at| {
        let entry = text.get(at..)?.split('}').next()?;
        entry.split_once("default:\"")?.1.split('"').next()
    });
    let first = text
        .split("YARN_REGISTRY = '")
        .skip(1)
        .filter_map(|behind| behind.split('\'').next());
    later
        .into_iter()
        .chain(first)
        .find(|url| url.starts_with("https://"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stands_in_the_program() {
        let later = "x={npmRegistryServer:{description:\"(none)\",type:i.a,default:\"https://packages.example.com\"},y:{default:\"z\"}}";
        assert_eq!(
            definition(later).as_deref(),
            Some("https://packages.example.com")
        );
        let first = "const YARN_REGISTRY = exports.YARN_REGISTRY = 'x'; YARN_REGISTRY = 'https://yarn.example.com'";
        assert_eq!(
            definition(first).as_deref(),
            Some("https://yarn.example.com")
        );
        assert_eq!(definition("npmRegistryServer:{default:\"http://x\"}"), None);
    }

    #[test]
    fn registries_and_tokens_of_both_dialects_are_read() {
        let text = "npmRegistryServer: \"https://a.example.com/npm\"\nnpmAuthToken: \"aaaa-token\"\n\
                    npmScopes:\n  ours:\n    npmRegistryServer: https://b.example.com\n    npmAuthToken: bbbb-token\n\
                    npmRegistries:\n  \"//c.example.com\":\n    npmAuthIdent: \"me:cccc-token\"\nnodeLinker: node-modules\n";
        let mut found = Found::default();
        assert!(read(text, &mut found));
        let hosts = ["a", "b", "c"].map(|name| format!("{name}.example.com"));
        let seen: Vec<_> = found
            .registries
            .iter()
            .map(|it| it.target.host.to_string())
            .collect();
        assert_eq!(seen, hosts);
        let seen: Vec<_> = found
            .secrets
            .iter()
            .map(|it| (it.host.as_ref().unwrap().to_string(), it.value.clone()))
            .collect();
        let tokens = ["aaaa-token", "bbbb-token", "cccc-token"].map(str::to_owned);
        assert_eq!(seen, hosts.into_iter().zip(tokens).collect::<Vec<_>>());
        let mut found = Found::default();
        assert!(read(
            "registry \"https://d.example.com\"\nlastUpdateCheck 1\n",
            &mut found
        ));
        assert_eq!(found.registries.len(), 1);
    }
}
