//! What real clients get through the HTTP gate: HTTP/2, WebSocket, gRPC, large files.

use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tagout_tests::{Answer, Finished, Person, Server, TestAuthority, World, for_each_person};

const KEY: &str = "k3-Qm8VtR2xLp7NcYw0ZsHbEd5fGjK9uTaX1o";

const MANIFEST: &str = r#"
[task]
name = "talk"

[[host]]
name = "api.example.com"
methods = ["GET", "HEAD", "POST", "PUT"]
paths = ["/v1/**"]

[[host]]
name = "ws.example.com"
methods = ["CONNECT"]
paths = ["/live"]

[[host]]
name = "grpc.example.com"
methods = ["POST"]

[[credential]]
name = "items"
provider = "http"
hosts = ["grpc.example.com"]
slot = "header:authorization"
source = "env:ITEMS_KEY"
expose = "ITEMS_KEY"
operations = ["read", "write"]
"#;

/// Where `cargo xtask test` put the Python clients.
fn site() -> PathBuf {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/clients/site");
    assert!(
        site.join("grpc").exists(),
        "{} is missing; `cargo xtask test` installs it",
        site.display()
    );
    site
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// An origin that is a program of its own.
struct Origin {
    child: Child,
    address: String,
}

impl Origin {
    fn start(world: &World, authority: &TestAuthority, name: &str, host: &str) -> Origin {
        let (certificate, key) = authority.server_pem(&[host]);
        world.write_home("origin.pem", &certificate);
        world.write_home("origin.key", &key);
        let mut child = Command::new("python3")
            .arg(script(name))
            .arg(world.home().join("origin.pem"))
            .arg(world.home().join("origin.key"))
            .env("PYTHONPATH", site())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("the origin's port");
        Origin {
            child,
            address: format!("127.0.0.1:{}", line.trim()),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A world with an origin for `api.example.com` that speaks HTTP/2, and the Python clients inside.
fn world(person: Person, protocols: &[&str]) -> (World, Server, TestAuthority) {
    let authority = TestAuthority::new();
    let server = Server::speaking(&authority, &["api.example.com"], protocols, |request| {
        Answer::json(&json!({"path": request.target, "octets": request.body.len()}))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    world.manifest(MANIFEST);
    (world, server, authority)
}

fn run(world: &World, line: &str) -> Finished {
    let mut command = world.run_command(&[], line);
    let output = command.env("ITEMS_KEY", KEY).output();
    Finished::from(output.expect("tagout starts")).success()
}

fn run_client(world: &World, name: &str, arguments: &str) -> Finished {
    world.place_all(&site(), &world.workspace().join(".venv/site-packages"));
    world.place(&script(name), &world.workspace().join(name));
    let line = format!("PYTHONPATH=.venv/site-packages python3 {name} {arguments}");
    run(world, &line)
}

for_each_person! {
    fn curl_speaks_the_version_that_the_origin_speaks(person: Person) {
        let (world, server, _authority) = world(person, &["h2", "http/1.1"]);
        let line = "curl -sS -w ' %{http_version}' https://api.example.com/v1/a; \
                    curl -sS --http1.1 -w ' %{http_version}' https://api.example.com/v1/b; \
                    curl -sS -w ' %{http_version} %{http_code}' https://api.example.com/v2/c";
        let finished = run(&world, line);
        assert!(finished.stdout.contains("} 2{"), "{finished}");
        assert!(finished.stdout.contains("} 1.1{"), "{finished}");
        assert!(finished.stdout.ends_with(" 2 403"), "{finished}");
        let seen: Vec<_> = server.received().into_iter().map(|it| (it.version, it.target)).collect();
        let expected = [
            (hyper::Version::HTTP_2, "/v1/a".to_owned()),
            (hyper::Version::HTTP_11, "/v1/b".to_owned()),
        ];
        assert_eq!(seen, expected);
        world.verify_all();
    }
}

for_each_person! {
    fn a_large_file_goes_up_in_either_version(person: Person) {
        let (world, server, _authority) = world(person, &["h2", "http/1.1"]);
        let line = "head -c 9000000 /dev/urandom > big.bin; \
                    curl -sS -f -T big.bin https://api.example.com/v1/two; \
                    curl -sS -f --http1.1 -T big.bin https://api.example.com/v1/one";
        let finished = run(&world, line);
        let octets: Vec<_> = server.received().iter().map(|it| it.body.len()).collect();
        assert_eq!(octets, [9_000_000, 9_000_000], "{finished}");
    }
}

#[test]
fn httpx_shares_one_connection() {
    let (world, server, _authority) = world(Person::ordinary(), &["h2"]);
    let finished = run_client(&world, "httpx_client.py", "");
    assert!(finished.stdout.contains("{'HTTP/2'} 20"), "{finished}");
    assert!(finished.stdout.contains("403 tagout_denied"), "{finished}");
    assert_eq!(server.received().len(), 20);
    assert_eq!(server.connections(), 1);
}

#[test]
fn nodes_own_http2_client_is_served() {
    let (world, server, _authority) = world(Person::ordinary(), &["h2"]);
    world.write(
        "client.js",
        "const client = require('http2').connect('https://api.example.com');\n\
         const stream = client.request({':path': '/v1/node'});\n\
         stream.on('response', fields => console.log(fields[':status']));\n\
         stream.on('data', data => process.stdout.write(data));\n\
         stream.on('end', () => client.close());\n",
    );
    let finished = run(&world, "node client.js");
    assert!(finished.stdout.contains("200"), "{finished}");
    assert_eq!(server.received()[0].target, "/v1/node");
}

for_each_person! {
    fn grpc_talks_both_ways_and_keeps_its_secrets(person: Person) {
        let (mut world, _server, authority) = world(person, &["h2"]);
        let origin = Origin::start(&world, &authority, "grpc_server.py", "grpc.example.com");
        world.route_to("grpc.example.com:443", &origin.address);
        let finished = run_client(&world, "grpc_client.py", KEY);
        let backwards: String = KEY.chars().rev().collect();
        let unary = format!("unary HELLO True {backwards}");
        assert!(finished.stdout.contains(&unary), "{finished}");
        for line in ["stream ONE", "stream TWO", "stream THREE", "left [] done"] {
            assert!(finished.stdout.contains(line), "{line}: {finished}");
        }
        // The value was typed by somebody who has it; it does not leave in a message.
        assert!(finished.stdout.contains("refused StatusCode.PERMISSION_DENIED"), "{finished}");
        assert!(!finished.stdout.contains(KEY), "{finished}");
        world.verify_all();
    }
}

for_each_person! {
    fn a_websocket_is_open_where_it_is_granted(person: Person) {
        let (mut world, _server, authority) = world(person, &["h2"]);
        let origin = Origin::start(&world, &authority, "ws_server.py", "ws.example.com");
        world.route_to("ws.example.com:443", &origin.address);
        let finished = run_client(&world, "ws_client.py", KEY);
        assert!(finished.stdout.contains("echoed None"), "{finished}");
        assert!(finished.stdout.contains("closed 1008"), "{finished}");
        assert!(finished.stdout.contains("refused 426"), "{finished}");
        world.verify_all();
    }
}
