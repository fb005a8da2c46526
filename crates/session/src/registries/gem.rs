//! RubyGems and Bundler. Their configuration: `:sources:` in `~/.gemrc`, mirrors in `~/.bundle/config`.
//! Their default source: RubyGems' own source; its index has a name beside it.

use super::{Found, FoundFile, Outside};

const TOOL: &str = "gem";

/// Where the installed RubyGems may be.
const SOURCES: &[&str] = &[
    "lib/ruby/vendor_ruby/rubygems/defaults.rb",
    "lib/ruby/*/rubygems/defaults.rb",
    "share/rubygems/rubygems/defaults.rb",
    "share/ruby/rubygems/defaults.rb",
    "versions/*/lib/ruby/*/rubygems/defaults.rb",
];

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("ruby").or_else(|| outside.program("gem")) else {
        return;
    };
    let mut named = false;
    for (file, place) in [(".gemrc", ".gemrc"), (".bundle/config", ".bundle/config")] {
        let Some(text) = outside.read(&outside.home.join(file)) else {
            continue;
        };
        for url in urls(&text, file == ".gemrc") {
            named |= file == ".gemrc";
            found.url(TOOL, &url);
        }
        found.files.push(FoundFile { place, text });
    }
    if named {
        return;
    }
    let prefixes = program.ancestors().nth(2).map(std::path::Path::to_owned);
    let default = prefixes
        .into_iter()
        .chain(["/usr".into()])
        .flat_map(|prefix: std::path::PathBuf| {
            SOURCES
                .iter()
                .flat_map(|source| outside.matching(&prefix.join(source)))
                .collect::<Vec<_>>()
        })
        .find_map(|path| default_host(&outside.read(&path)?));
    if let Some(url) = default {
        found.url(TOOL, &url);
        found.url(TOOL, &url.replacen("://", "://index.", 1));
    }
}

/// `DEFAULT_HOST = "https://…"`.
fn default_host(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("DEFAULT_HOST ="))?;
    line.split('"').nth(1).map(str::to_owned)
}

/// In `~/.gemrc` the list under `:sources:`; in Bundler's file the values of mirrors.
fn urls(text: &str, gemrc: bool) -> Vec<String> {
    let mut in_list = false;
    let mut urls = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        let value = match (gemrc, trimmed.strip_prefix('-')) {
            (true, Some(item)) if in_list => item,
            (true, _) => {
                in_list = trimmed.starts_with(":sources:") || trimmed.starts_with("sources:");
                continue;
            }
            (false, _) if trimmed.starts_with("BUNDLE_MIRROR__") => {
                trimmed.split_once(": ").map_or("", |(_, value)| value)
            }
            (false, _) => continue,
        };
        let value = value.trim().trim_matches(['"', '\'']);
        if value.starts_with("http") {
            urls.push(value.to_owned());
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_mirrors_are_read() {
        let gemrc = "---\n:backtrace: false\n:sources:\n- https://gems.example.com/\n- 'https://more.example.com/'\n:verbose: true\n- https://no.example.com/\n";
        assert_eq!(
            urls(gemrc, true),
            ["https://gems.example.com/", "https://more.example.com/"]
        );
        let bundle = "---\nBUNDLE_MIRROR__X: \"https://mirror.example.com/\"\nBUNDLE_JOBS: \"4\"\n";
        assert_eq!(urls(bundle, false), ["https://mirror.example.com/"]);
        assert_eq!(
            default_host("  DEFAULT_HOST = \"https://gems.example.com\"\n").as_deref(),
            Some("https://gems.example.com")
        );
    }
}
