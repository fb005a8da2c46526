//! go. Its configuration (`go help environment`, "GOPROXY" and "GOSUMDB"): variables, the user's
//! `go/env` file, and the defaults in the `go.env` of the installation.

use std::path::PathBuf;

use super::{Found, FoundFile, Outside};

const TOOL: &str = "go";

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("go") else {
        return;
    };
    let installed = program
        .ancestors()
        .nth(2)
        .and_then(|root| outside.read(&root.join("go.env")))
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
