//! Whole configurations, as a person has them, in a home of the test's own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Person {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let person = Self {
            variables: BTreeMap::from([(
                "PATH".to_owned(),
                folder.path().join("bin").display().to_string(),
            )]),
            folder,
        };
        for name in ["home", "work", "state"] {
            fs::create_dir(person.folder.path().join(name)).unwrap();
        }
        person
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    fn learn(&self) -> Learned {
        let root = self.folder.path().canonicalize().unwrap();
        let memory = Memory::open(&root.join("state"));
        let variable = |name: &str| self.variables.get(name).cloned();
        let outside = Outside {
            variable: &variable,
            home: &root.join("home"),
            workspace: &root.join("work"),
            memory: &memory,
        };
        learn(&outside, &DecoyKey::derive(b"install secret", b"workspace"))
    }

    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self
            .learn()
            .targets()
            .map(|target| target.host.to_string())
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

fn copy(learned: &Learned, name: &str) -> String {
    let copy = learned.copies.iter().find(|copy| copy.path.ends_with(name));
    String::from_utf8(copy.expect("the file goes inside").bytes.clone()).unwrap()
}

#[test]
fn invariant_3_no_token_of_a_registry_is_seen_inside() {
    let person = Person::new();
    let token = "npm_9sD2kQ0vXw4LrT7yUb1NcE5fGh8JiK3mOpAz";
    let password = "hunter2-But-Longer-41";
    let pair = STANDARD.encode(format!("me:{password}"));
    person
        .write("bin/npm", "")
        .write("bin/python3", "")
        .write("bin/cargo", "sparse+https://crates.example.com/")
        .write(
            "home/.npmrc",
            &format!("registry=https://packages.example.com/npm/\n@team:registry=https://team.example.com/\n//packages.example.com/npm/:_authToken={token}\n//team.example.com/:_auth={pair}\nproxy=http://proxy.example.com:3128\n"),
        )
        .write(
            "home/.config/pip/pip.conf",
            &format!("[global]\nindex-url = https://me:{password}@pip.example.com/simple\nextra-index-url =\n    https://one.example.com/simple\n    https://two.example.com/simple\n"),
        )
        .write(
            "home/.cargo/config.toml",
            "[registries.corp]\nindex = \"sparse+https://cargo.example.com/index/\"\n",
        )
        .write(
            "home/.cargo/credentials.toml",
            &format!("[registry]\ntoken = \"cio{token}\"\n[registries.corp]\ntoken = \"Bearer-{token}\"\n"),
        )
        .write("home/.netrc", &format!("machine one.example.com login me password n{password}\nmachine github.com login me password other-{password}\n"));
    let learned = person.learn();
    let mut everything = String::new();
    for copy in &learned.copies {
        everything.push_str(&String::from_utf8_lossy(&copy.bytes));
    }
    for (_, value) in &learned.variables {
        everything.push_str(value);
    }
    for secret in [token, password, &pair] {
        assert!(!everything.contains(secret), "{everything}");
    }
    assert!(!everything.contains("github.com") && !everything.contains("proxy.example.com"));
    // The decoy that stands in the file is the one that is known to the broker.
    for (file, host) in [
        (".npmrc", "packages.example.com"),
        ("pip.conf", "pip.example.com"),
        ("credentials.toml", "cargo.example.com"),
        (".netrc", "one.example.com"),
    ] {
        let host = HostName::parse(host).unwrap();
        let credential = learned
            .credentials
            .iter()
            .find(|credential| credential.is_bound_to(&host))
            .unwrap_or_else(|| panic!("{host}"));
        let text = copy(&learned, file);
        assert!(text.contains(credential.decoy.as_str()), "{file}: {text}");
    }
    let team = HostName::parse("team.example.com").unwrap();
    let credential = learned
        .credentials
        .iter()
        .find(|known| known.is_bound_to(&team));
    let pair = STANDARD.encode(format!("me:{}", credential.unwrap().decoy));
    assert!(copy(&learned, ".npmrc").contains(&pair));
    assert_eq!(learned.indexes.len(), 2, "{:?}", learned.indexes);
}

#[test]
fn invariant_3_a_file_that_stays_visible_is_covered() {
    let mut person = Person::new();
    let token = "npm_9sD2kQ0vXw4LrT7yUb1NcE5fGh8JiK3mOpAz";
    let text = format!(
        "registry=https://packages.example.com/\n//packages.example.com/:_authToken={token}\n"
    );
    person.write("bin/npm", "").write("etc/npmrc", &text);
    let global = person.folder.path().join("etc/npmrc").display().to_string();
    person
        .variables
        .insert("NPM_CONFIG_GLOBALCONFIG".to_owned(), global.clone());
    let learned = person.learn();
    assert_eq!(learned.credentials.len(), 1);
    let overlay = learned
        .overlays
        .iter()
        .find(|overlay| overlay.path == Path::new(&global));
    let shown = String::from_utf8(overlay.expect("it is covered").bytes.clone()).unwrap();
    assert!(
        !shown.contains(token) && shown.contains("packages.example.com"),
        "{shown}"
    );
}

#[test]
fn invariant_5_nothing_in_the_workspace_names_a_registry() {
    let mut person = Person::new();
    person
        .write("work/.npmrc", "registry=https://evil.example.com/\n")
        .write("work/bin/npm", "")
        .write(
            "work/pip.conf",
            "[global]\nindex-url=https://evil.example.com/simple\n",
        )
        .write("work/.venv/bin/python3", "")
        .write(
            "work/cargo/config.toml",
            "[registries.x]\nindex = \"sparse+https://evil.example.com/\"\n",
        )
        .write("bin/npm", "")
        .write("bin/cargo", "")
        .write("bin/python3", "");
    let work = person.folder.path().join("work");
    for (name, value) in [
        ("npm_config_userconfig", ".npmrc"),
        ("PIP_CONFIG_FILE", "pip.conf"),
        ("CARGO_HOME", "cargo"),
    ] {
        let value = work.join(value).display().to_string();
        person.variables.insert(name.to_owned(), value);
    }
    assert!(!person.hosts().iter().any(|host| host.contains("evil")));
    // Nor by a link that lies elsewhere.
    std::os::unix::fs::symlink(
        work.join(".npmrc"),
        person.folder.path().join("home/.npmrc"),
    )
    .unwrap();
    person.variables.remove("npm_config_userconfig");
    assert!(!person.hosts().iter().any(|host| host.contains("evil")));
    // Nor when npm itself hands the project's settings on.
    person
        .variables
        .insert("npm_lifecycle_event".to_owned(), "agent".to_owned());
    person.variables.insert(
        "npm_config_registry".to_owned(),
        "https://evil.example.com/".to_owned(),
    );
    assert!(!person.hosts().iter().any(|host| host.contains("evil")));
}

#[test]
fn the_default_counts_where_nothing_is_named() {
    let person = Person::new();
    person
        .write("lib/npm/bin/npm-cli.js", "")
        .write(
            "lib/npm/node_modules/@npmcli/config/lib/definitions/definitions.js",
            "new Definition('registry', {\n  default: 'https://npm.example.com/',\n})",
        )
        .write("bin/cargo", "x sparse+https://crates.example.com/ x")
        .write("bin/python3", "")
        .write(
            "lib/python3.14/site-packages/pip/_internal/models/index.py",
            "PyPI = PackageIndex(\"https://pip.example.com/\", file_storage_domain=\"files.example.com\")\n",
        );
    std::os::unix::fs::symlink(
        "../lib/npm/bin/npm-cli.js",
        person.folder.path().join("bin/npm"),
    )
    .unwrap();
    assert_eq!(
        person.hosts(),
        [
            "crates.example.com",
            "files.example.com",
            "npm.example.com",
            "pip.example.com"
        ]
    );
    person.write("home/.npmrc", "registry=https://mirror.example.com/\n");
    person.write("home/.cargo/config.toml", "[source.crates-io]\nreplace-with = \"corp\"\n[source.corp]\nregistry = \"sparse+https://mirror.example.com/cargo/\"\n");
    person.write(
        "home/.pip/pip.conf",
        "[install]\nindex-url: x\nindex-url = https://mirror.example.com/simple\n",
    );
    assert_eq!(person.hosts(), ["mirror.example.com"]);
}

#[test]
fn a_variable_in_a_file_is_looked_up_outside_and_its_value_stays_there() {
    let mut person = Person::new();
    person.write("bin/npm", "").write(
        "home/.npmrc",
        "registry=https://packages.example.com/\n//packages.example.com/:_authToken=${TEAM_TOKEN}\n",
    );
    assert!(
        person.learn().credentials.is_empty() || !copy(&person.learn(), ".npmrc").contains("value")
    );
    person
        .variables
        .insert("TEAM_TOKEN".to_owned(), "token-value-83hf82hf8".to_owned());
    let learned = person.learn();
    assert_eq!(learned.credentials.len(), 1);
    assert_eq!(
        learned.credentials[0].secret.expose(),
        b"token-value-83hf82hf8"
    );
    let text = copy(&learned, ".npmrc");
    assert!(
        text.contains(learned.credentials[0].decoy.as_str()) && !text.contains("TEAM_TOKEN"),
        "{text}"
    );
}
