//! Attacks on the decision over the wire: what else reaches the same effect.

use serde_json::json;
use tagout_tests::{Answer, Finished, Person, Server, TestAuthority, World, for_each_person};

const KEY: &str = "k3-Qm8VtR2xLp7NcYw0ZsHbEd5fGjK9uTaX1o";

const MANIFEST: &str = r#"
[task]
name = "fix-staging"
environment = "staging"

[[environment]]
name = "production"
protected = true

[[credential]]
name = "live"
provider = "http"
hosts = ["live.example.com"]
slot = "header:x-api-key"
source = "env:LIVE_KEY"
expose = "LIVE_KEY"
operations = ["read", "write"]
environments = ["production"]

[[host]]
name = "read.example.com"
paths = ["/v1/**"]

[[host]]
name = "write.example.com"
methods = ["GET", "POST"]

[[host]]
name = "all.example.com"
methods = ["GET", "POST", "DELETE"]
"#;

const HOSTS: [&str; 4] = [
    "live.example.com",
    "read.example.com",
    "write.example.com",
    "all.example.com",
];

fn world(person: Person) -> (World, Server) {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &HOSTS, |request| {
        Answer::json(&json!({"done": request.target}))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    for host in HOSTS {
        world.route(host, 443, &server);
    }
    world.manifest(MANIFEST);
    (world, server)
}

fn run(world: &World, line: &str) -> Finished {
    world
        .run_command(&["--hold-wait", "1"], line)
        .env("LIVE_KEY", KEY)
        .output()
        .expect("tagout starts")
        .into()
}

/// Fails the test unless every line of curl was refused with `error` and nothing arrived.
fn refused(world: &World, server: &Server, error: &str, lines: &[&str]) {
    let before = server.received().len();
    let finished = run(world, &lines.join("; echo; "));
    let answers: Vec<&str> = finished
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(answers.len(), lines.len(), "{finished}");
    for (line, answer) in lines.iter().zip(answers) {
        assert!(answer.contains(error), "{line}: {answer}");
    }
    assert_eq!(
        server.received().len(),
        before,
        "something arrived: {finished}"
    );
}

for_each_person! {
    fn invariant_5_a_credential_of_another_environment_changes_nothing(person: Person) {
        let (world, server) = world(person);
        refused(&world, &server, "tagout_denied", &[
            "curl -sS https://live.example.com/users -H \"X-Api-Key: $LIVE_KEY\" -d name=x",
            "curl -sS -X PUT https://live.example.com/users/1 -H \"X-Api-Key: $LIVE_KEY\" -d name=x",
        ]);
        let read = run(&world, "curl -sS https://live.example.com/users -H \"X-Api-Key: $LIVE_KEY\"");
        assert!(read.stdout.contains("done"), "what is listed may be read: {read}");
    }
}

for_each_person! {
    fn invariant_5_an_overridden_method_needs_the_grant_of_its_verb(person: Person) {
        let (world, server) = world(person);
        refused(&world, &server, "tagout_denied", &[
            "curl -sS https://read.example.com/v1/x -H 'X-HTTP-Method-Override: PUT'",
            "curl -sS 'https://read.example.com/v1/x?_method=DELETE'",
            "curl -sS https://write.example.com/v1/x -d _method=DELETE",
            "curl -sS https://write.example.com/v1/x -H 'X-Method-Override: DELETE' -d x=1",
        ]);
    }
}

for_each_person! {
    fn invariant_5_an_overridden_method_counts_in_any_dress(person: Person) {
        let (world, server) = world(person);
        refused(&world, &server, "tagout_held", &[
            "curl -sS https://all.example.com/1 -d _method=DELETE",
            "curl -sS https://all.example.com/2 -H 'Content-Type: Application/X-WWW-Form-URLencoded' -d _method=DELETE",
            "curl -sS https://all.example.com/3 -H 'Content-Type:' -d _method=DELETE",
            "curl -sS https://all.example.com/4 -F _method=DELETE -F a=b",
            "curl -sS https://all.example.com/5 -H 'Content-Type: application/json' -d '{\"_method\":\"DELETE\"}'",
        ]);
    }
}

for_each_person! {
    fn invariant_6_a_granted_path_is_not_left_by_encoding_twice(person: Person) {
        let (world, server) = world(person);
        refused(&world, &server, "tagout_denied", &[
            "curl -sS --path-as-is https://read.example.com/v1/%252e%252e/admin",
            "curl -sS --path-as-is https://read.example.com/v1/%25252e%25252e/admin",
            "curl -sS --path-as-is 'https://read.example.com/v1/..;/admin'",
            "curl -sS --path-as-is https://read.example.com/v1/..%2fadmin",
        ]);
    }
}

for_each_person! {
    fn invariant_3_an_answer_that_began_before_is_cleaned(person: Person) {
        let (world, _server) = world(person);
        // The provider echoes what it was sent into every answer; this one carried no credential
        // itself, and no request before it did.
        let echo = TestAuthority::new();
        let server = Server::start(&echo, &HOSTS, |_| {
            Answer::json(&json!({"last-key-seen": KEY}))
        });
        let mut world = world;
        world.believe(&echo);
        world.route("live.example.com", 8443, &server);
        world.manifest(&format!(
            "{MANIFEST}\n[[host]]\nname = \"live.example.com\"\nports = [8443]\n"
        ));
        let finished = run(&world, "curl -sS https://live.example.com:8443/log").success();
        assert!(finished.stdout.contains("last-key-seen"), "{finished}");
        assert!(!finished.everything().contains(KEY), "the value came in: {finished}");
    }
}
