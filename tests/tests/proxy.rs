//! What real tools get through the HTTP proxy inside, and from a host whose answers are encoded.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use tagout_tests::{Answer, Finished, Person, Server, TestAuthority, World, for_each_person};

const KEY: &str = "k4-Xp7RvT2mLq9NcYw1ZsHbEd6fGjK8uTaO3i";

const MANIFEST: &str = r#"
[task]
name = "proxy"

[[host]]
name = "api.example.com"
ports = [443, 80]
paths = ["/v1/**"]

[[credential]]
name = "items"
provider = "http"
hosts = ["api.example.com"]
slot = "header:authorization"
source = "env:ITEMS_KEY"
expose = "ITEMS_KEY"
"#;

/// `text` as the gzip program writes it.
fn gzip(text: &str) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("its end").stdout
}

/// A world with an origin that echoes the credential that it was sent, encoded below `/v1/gzip`.
fn world(person: Person) -> (World, Server) {
    let authority = TestAuthority::new();
    let encoded = gzip(&format!("{{\"echo\":\"{KEY}\"}}"));
    let server = Server::start(&authority, &["api.example.com"], move |request| {
        let echo = request.header("authorization").unwrap_or("nothing");
        let mut answer = Answer::json(&json!({"path": request.target, "echo": echo}));
        if request.path() == "/v1/gzip" {
            answer.pieces = encoded.chunks(10).map(<[u8]>::to_vec).collect();
            answer
                .headers
                .push(("content-encoding".to_owned(), "gzip".to_owned()));
        }
        answer
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    world.manifest(MANIFEST);
    (world, server)
}

fn run(world: &World, line: &str) -> Finished {
    let mut command = world.run_command(&[], line);
    let output = command.env("ITEMS_KEY", KEY).output();
    Finished::from(output.expect("tagout starts")).success()
}

for_each_person! {
    fn a_tool_that_insists_on_a_proxy_is_served_as_any_other(person: Person) {
        let (world, server) = world(person);
        let line = r#"
            bearer="authorization: $ITEMS_KEY"
            curl -sS -x "$TAGOUT_PROXY" -H "$bearer" https://api.example.com/v1/option; echo
            HTTPS_PROXY="$TAGOUT_PROXY" curl -sS https://api.example.com/v1/variable; echo
            HTTPS_PROXY="$TAGOUT_PROXY" python3 -c '
import urllib.request
print(urllib.request.urlopen("https://api.example.com/v1/python").read().decode())'
            curl -sS -x "$TAGOUT_PROXY" https://stranger.example.com/; echo
            curl -sS -x "$TAGOUT_PROXY" http://stranger.example.com/plain; echo
            curl -sS -x "$TAGOUT_PROXY" https://api.example.com/v2/elsewhere; echo
            curl -sS -p -x "$TAGOUT_PROXY" http://169.254.169.254/latest 2>&1; echo
            curl -sS -p -x "$TAGOUT_PROXY" http://127.0.0.1:22/ 2>&1; echo
            curl -sS -x "$TAGOUT_PROXY" http://198.19.255.253:3128/ 2>&1; echo
            curl -sS -x "$TAGOUT_PROXY" --connect-to stranger.example.com:443:api.example.com:443 \
                https://stranger.example.com/v1/front 2>&1; echo
            curl -sSk -x "$TAGOUT_PROXY" --connect-to api.example.com:443:stranger.example.com:443 \
                https://api.example.com/v1/back 2>&1; echo
            exit 0
        "#;
        let finished = run(&world, line);
        let paths: Vec<_> = server.received().into_iter().map(|it| it.target).collect();
        assert_eq!(paths, ["/v1/option", "/v1/variable", "/v1/python"], "{finished}");
        assert_eq!(server.received()[0].header("authorization"), Some(KEY));
        let refusals = finished.stdout.matches("tagout_denied").count();
        assert!(refusals >= 5, "{refusals}: {finished}");
        assert!(!finished.everything().contains(KEY), "{finished}");
        for place in ["169.254.169.254:80", "127.0.0.1:22"] {
            assert!(finished.stderr.contains(&format!("{place} through the proxy")), "{finished}");
        }
        world.verify_all();
    }
}

for_each_person! {
    fn invariant_3_an_encoded_answer_comes_in_decoded_and_cleaned(person: Person) {
        let (world, _server) = world(person);
        let line = "curl -sS --compressed -i -H \"authorization: $ITEMS_KEY\" \
                    https://api.example.com/v1/gzip; echo; echo is $ITEMS_KEY";
        let finished = run(&world, line);
        let (answer, decoy) = finished.stdout.rsplit_once("\nis ").expect("the decoy");
        assert!(answer.ends_with(&format!("{{\"echo\":\"{}\"}}", decoy.trim())), "{finished}");
        assert!(!answer.to_ascii_lowercase().contains("content-encoding"), "{finished}");
        assert!(!finished.everything().contains(KEY), "{finished}");
    }
}
