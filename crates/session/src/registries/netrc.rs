//! `~/.netrc`, from which pip, uv, go and curl take names and passwords (GNU inetutils, "The .netrc
//! file"). Entries of registries go inside, with decoys; all others stay outside.

use tagout_core::HostName;

use super::{Found, FoundFile, Outside, Spelling};

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let file = outside
        .set("NETRC")
        .map_or_else(|| outside.home.join(".netrc"), Into::into);
    let Some(text) = outside.read(&file) else {
        return;
    };
    let mut inside = String::new();
    for (machine, login, password) in entries(&text) {
        let Ok(host) = HostName::parse(&machine) else {
            continue;
        };
        let Some(tool) = found
            .registries
            .iter()
            .find(|registry| registry.target.host == host)
            .map(|registry| registry.tool)
        else {
            continue;
        };
        inside.push_str(&format!(
            "machine {host} login {login} password {password}\n"
        ));
        found.secret(
            tool,
            Some(&host),
            password.clone(),
            password,
            Spelling::Plain,
        );
    }
    if !inside.is_empty() {
        found.files.push(FoundFile {
            place: ".netrc",
            text: inside,
        });
    }
}

/// Machine, login and password of every entry that has all three. Macros are left out.
fn entries(text: &str) -> Vec<(String, String, String)> {
    let mut entries = Vec::new();
    let mut current: Option<(String, Option<String>, Option<String>)> = None;
    let mut finish = |entry: Option<(String, Option<String>, Option<String>)>| {
        if let Some((machine, Some(login), Some(password))) = entry {
            entries.push((machine, login, password));
        }
    };
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    while let Some(word) = words.next() {
        match word {
            "machine" => {
                finish(current.take());
                current = words.next().map(|name| (name.to_owned(), None, None));
            }
            "default" | "macdef" => finish(current.take()),
            "login" | "password" | "account" => {
                let value = words.next().map(|value| value.trim_matches('"').to_owned());
                match (&mut current, word) {
                    (Some((_, login, _)), "login") => *login = value,
                    (Some((_, _, password)), "password") => *password = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    finish(current);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_are_read_whatever_their_lines() {
        let text = "# comment\nmachine a.example.com login me password \"pw 1\nmachine b.example.com\n  login you\n  password pw2\ndefault login anonymous password x\n";
        let found = entries(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            found[1],
            ("b.example.com".into(), "you".into(), "pw2".into())
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(machine|login|password|default|[a-z\\n ]){0,12}") {
            entries(&text);
        }
    }
}
