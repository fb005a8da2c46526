//! go. Its configuration (`go help environment`, "GOPROXY" and "GOSUMDB"): variables, the user's
//! `go/env` file, and the defaults in the `go.env` of the installation; before Go 1.21, which brought
//! that file, they are compiled in, and the program is asked.

use std::path::{Path, PathBuf};

use super::{Found, FoundFile, Outside, ask};

const TOOL: &str = "go";

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("go") else {
        return;
    };
    let installed = program
        .ancestors()
        .nth(2)
        .and_then(|root| outside.read(&root.join("go.env")))
        .or_else(|| compiled_in(outside, &program))
        .unwrap_or_default();
    let file = outside
        .set("GOENV")
        .map_or_else(|| outside.config_home().join("go/env"), PathBuf::from);
    let user = outside.read(&file).unwrap_or_default();
    let setting = |name: &str| {
        let line = |text: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        outside
            .set(name)
            .or_else(|| line(&user))
            .or_else(|| line(&installed))
    };
    if let Some(proxies) = setting("GOPROXY") {
        for proxy in proxies.split([',', '|']) {
            found.url(TOOL, proxy.trim());
        }
    }
    // `off`, `name`, `name+key`, each with a URL behind a blank when it is elsewhere.
    if let Some(database) = setting("GOSUMDB") {
        let mut words = database.split_whitespace();
        let name = words.next().unwrap_or("off");
        match words.next() {
            Some(url) => found.url(TOOL, url),
            None if name != "off" => {
                let name = name.split('+').next().unwrap_or(name);
                found.url(TOOL, &format!("https://{name}/"));
            }
            None => {}
        }
    }
    for name in [
        "GOFLAGS",
        "GONOPROXY",
        "GONOSUMDB",
        "GOPRIVATE",
        "GOPROXY",
        "GOSUMDB",
        "GOTOOLCHAIN",
    ] {
        if let Some(value) = outside.set(name) {
            found.variable(name, value);
        }
    }
    if !user.is_empty() {
        found.files.push(FoundFile {
            place: ".config/go/env",
            text: user,
        });
    }
}

/// The defaults as the program itself has them, in the form of a `go.env`.
fn compiled_in(outside: &Outside<'_>, program: &Path) -> Option<String> {
    const NAMES: [&str; 2] = ["GOPROXY", "GOSUMDB"];
    outside.memory.of_file(TOOL, program, || {
        // Without the user's own file, and without another version that it would fetch.
        let environment = [
            ("GOENV", "off"),
            ("GOTOOLCHAIN", "local"),
            ("HOME", "/nonexistent"),
        ];
        let answer = ask::answer(program, &["env", NAMES[0], NAMES[1]], &environment)?;
        let lines = NAMES.iter().zip(answer.lines());
        Some(
            lines
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect(),
        )
    })
}
