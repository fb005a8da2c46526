//! pip and uv. Their configuration: `pip.conf` (INI; https://pip.pypa.io, "Configuration"), `uv.toml`,
//! and the variables `PIP_*` and `UV_*`. Their default index: pip's own source, installed or in the
//! archive that `python3 -m venv` installs it from; uv has the same one.

use std::path::{Path, PathBuf};

use tagout_policy::Registry;

use super::{Found, FoundFile, Outside, ask, ini, without_keys};

const NOT_INSIDE: &[&str] = &["proxy", "cert", "client-cert", "cache-dir"];

/// Where pip's source may be below a Python's prefix, or below a manager's of several.
const SITES: &[&str] = &[
    "lib/python3*/site-packages",
    "lib/python3*/dist-packages",
    "lib64/python3*/site-packages",
    "local/lib/python3*/dist-packages",
    "versions/*/lib/python3*/site-packages",
];

/// Where Pythons keep the archive that new virtual environments get their pip from.
const ARCHIVES: &[&str] = &[
    "share/python-wheels/pip-*.whl",
    "lib/python3*/ensurepip/_bundled/pip-*.whl",
    "versions/*/lib/python3*/ensurepip/_bundled/pip-*.whl",
];

const SOURCE: &str = "pip/_internal/models/index.py";

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let python = outside
        .program("python3")
        .or_else(|| outside.program("python"));
    let pip = outside.program("pip3").or_else(|| outside.program("pip"));
    let uv = outside.program("uv");
    if python.is_none() && pip.is_none() && uv.is_none() {
        return;
    }
    let pip_named = pip_configuration(outside, found);
    let uv_named = uv.is_some() && uv_configuration(outside, found);
    let needed = !pip_named || (uv.is_some() && !uv_named);
    if !needed {
        return;
    }
    if let Some((index, files)) = default(outside, [python, pip].into_iter().flatten().collect()) {
        add(found, "pip", &index);
        found.url("pip", &files);
    }
}

/// Takes an index: what it lists lies beside the listing, so all of what is around it is meant.
fn add(found: &mut Found, tool: &'static str, url: &str) {
    // uv: `name=https://…`
    let url = match url.split_once("=http") {
        Some((name, _)) if !name.contains(['/', ':']) => &url[name.len() + 1..],
        _ => url,
    };
    let Some((mut registry, userinfo)) = Registry::parse(tool, url) else {
        return;
    };
    if registry.path.ends_with("simple")
        && let Some((around, _)) = registry.path.rsplit_once('/')
    {
        registry.path = around.to_owned();
    }
    found.userinfo(tool, &registry.target.host, userinfo);
    found.add(registry);
}

/// Whether an index is named instead of the default.
fn pip_configuration(outside: &Outside<'_>, found: &mut Found) -> bool {
    let mut named = false;
    let mut take = |key: &str, value: &str, found: &mut Found| match key {
        "index-url" => {
            named = true;
            add(found, "pip", value);
        }
        "extra-index-url" | "find-links" => {
            for url in value.split_whitespace() {
                add(found, "pip", url);
            }
        }
        _ => {}
    };
    let config = outside.config_home().join("pip/pip.conf");
    let mut files: Vec<(PathBuf, bool)> = vec![
        ("/etc/xdg/pip/pip.conf".into(), false),
        ("/etc/pip.conf".into(), false),
        (outside.home.join(".pip/pip.conf"), true),
        (config, true),
    ];
    files.extend(
        outside
            .set("PIP_CONFIG_FILE")
            .map(|file| (PathBuf::from(file), true)),
    );
    for (file, of_user) in files {
        let Some(text) = outside.read(&file) else {
            continue;
        };
        for (_, key, value) in ini(&text) {
            take(&key.replace('_', "-"), &value, found);
        }
        if of_user {
            found
                .files
                .retain(|known| known.place != ".config/pip/pip.conf");
            found.files.push(FoundFile {
                place: ".config/pip/pip.conf",
                text: without_keys(&text, NOT_INSIDE),
            });
        } else {
            found.visible.push((file, text));
        }
    }
    for (name, key) in [
        ("PIP_INDEX_URL", "index-url"),
        ("PIP_EXTRA_INDEX_URL", "extra-index-url"),
        ("PIP_FIND_LINKS", "find-links"),
    ] {
        if let Some(value) = outside.set(name) {
            take(key, &value, found);
            found.variable(name, value);
        }
    }
    named
}

fn uv_configuration(outside: &Outside<'_>, found: &mut Found) -> bool {
    let mut named = false;
    let own = outside.config_home().join("uv/uv.toml");
    for (file, of_user) in [(PathBuf::from("/etc/uv/uv.toml"), false), (own, true)] {
        let Some(text) = outside.read(&file) else {
            continue;
        };
        let Ok(table) = text.parse::<toml::Table>() else {
            continue;
        };
        let pip = table.get("pip").and_then(toml::Value::as_table);
        for table in std::iter::once(&table).chain(pip) {
            for key in ["index-url", "extra-index-url", "find-links"] {
                named |= key == "index-url" && table.contains_key(key);
                let values = table.get(key).into_iter().flat_map(|value| match value {
                    toml::Value::Array(list) => list.iter().collect(),
                    other => vec![other],
                });
                for url in values.filter_map(toml::Value::as_str) {
                    add(found, "uv", url);
                }
            }
            for index in table
                .get("index")
                .and_then(toml::Value::as_array)
                .into_iter()
                .flatten()
            {
                named |= index.get("default").and_then(toml::Value::as_bool) == Some(true);
                if let Some(url) = index.get("url").and_then(toml::Value::as_str) {
                    add(found, "uv", url);
                }
            }
        }
        if of_user {
            found.files.push(FoundFile {
                place: ".config/uv/uv.toml",
                text,
            });
        } else {
            found.visible.push((file, text));
        }
    }
    for name in [
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_FIND_LINKS",
    ] {
        if let Some(value) = outside.set(name) {
            named |= matches!(name, "UV_INDEX_URL" | "UV_DEFAULT_INDEX");
            for url in value.split_whitespace() {
                add(found, "uv", url);
            }
            found.variable(name, value);
        }
    }
    named
}

/// The index and the host of the files, as pip's own source has them.
fn default(outside: &Outside<'_>, programs: Vec<PathBuf>) -> Option<(String, String)> {
    let mut prefixes: Vec<PathBuf> = programs
        .iter()
        .filter_map(|program| program.ancestors().nth(2).map(Path::to_owned))
        .collect();
    // A script of pip's own names its Python in the first line; that of the system is a good guess.
    prefixes.extend(["/usr".into(), "/usr/local".into()]);
    prefixes.dedup();
    let places = |patterns: &[&str], end: &str| -> Vec<PathBuf> {
        prefixes
            .iter()
            .flat_map(|prefix| patterns.iter().map(move |pattern| prefix.join(pattern)))
            .flat_map(|pattern| outside.matching(&pattern.join(end)))
            .filter(|path| outside.ours(path).is_some())
            .collect()
    };
    let from_source = places(SITES, SOURCE)
        .iter()
        .find_map(|path| parse(&outside.read(path)?));
    from_source.or_else(|| {
        let python = programs.first()?;
        let archives = places(ARCHIVES, "");
        let archive = archives.last()?;
        let text = outside.memory.of_file("pip", archive, || {
            let text = ask::file_in_archive(python, archive, SOURCE)?;
            let (index, files) = parse(&text)?;
            Some(format!("{index}\n{files}"))
        })?;
        let (index, files) = text.split_once('\n')?;
        Some((index.to_owned(), files.to_owned()))
    })
}

/// `PyPI = PackageIndex("INDEX", file_storage_domain="FILES")`.
fn parse(text: &str) -> Option<(String, String)> {
    let line = text
        .lines()
        .find(|line| line.starts_with("PyPI = PackageIndex("))?;
    let mut quoted = line.split('"').skip(1).step_by(2);
    let (index, files) = (quoted.next()?, quoted.next()?);
    let index = index.trim_end_matches('/');
    Some((format!("{index}/simple"), format!("https://{files}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stands_in_the_source() {
        let text = "class PackageIndex:\n    pass\n\nPyPI = PackageIndex(\"https://index.example.com/\", file_storage_domain=\"files.example.com\")\n";
        let (index, files) = parse(text).unwrap();
        assert_eq!(index, "https://index.example.com/simple");
        assert_eq!(files, "https://files.example.com/");
        assert!(parse("PyPI = PackageIndex(URL)").is_none());
    }

    #[test]
    fn what_an_index_lists_lies_around_it() {
        let mut found = Found::default();
        for url in [
            "https://a.example.com/simple/",
            "https://b.example.com/root/pypi/+simple",
            "name=https://c.example.com/x",
        ] {
            add(&mut found, "pip", url);
        }
        let seen: Vec<_> = found
            .registries
            .iter()
            .map(|registry| format!("{}{}", registry.target.host, registry.path))
            .collect();
        assert_eq!(
            seen,
            [
                "a.example.com",
                "b.example.com/root/pypi",
                "c.example.com/x"
            ]
        );
    }
}
