//! `tagout check`: what would be decided, with nothing done.

use serde_json::{Value, json};
use tagout_tests::{Person, World, json_lines};

/// A request, and the verdict and exit code that it gets where everything is granted.
const REQUESTS: &[(&str, &str, &str, &str, i32)] = &[
    ("GET", "https://api.example.com/v1/items", "", "allow", 0),
    ("POST", "https://api.example.com/v1/items", "{}", "allow", 0),
    (
        "DELETE",
        "https://api.example.com/v1/items/1",
        "",
        "hold",
        10,
    ),
    (
        "POST",
        "https://backboard.railway.com/graphql/v2",
        r#"{"query":"mutation { volumeDelete(volumeId: \"3f0c2b1e-5d7a-4c7e-9a51-2b8f6d1c0e44\") }"}"#,
        "hold",
        10,
    ),
    (
        "POST",
        "https://backboard.railway.com/graphql/v2",
        "not a query",
        "deny",
        11,
    ),
];

fn http(method: &str, url: &str, body: &str) -> Value {
    json!({"method": method, "url": url, "headers": {}, "body": body})
}

/// The request as it stands on the wire, with the whole URL as its target.
fn message(method: &str, url: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {url} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn one_request_a_file() {
    let world = World::new(Person::ordinary());
    for (method, url, body, verdict, exit) in REQUESTS {
        world.write("request.http", &message(method, url, body));
        let finished = world.tagout(&["check", "--http", "request.http"]);
        assert_eq!(finished.status, *exit, "{method} {url}: {finished}");
        assert!(
            finished.stdout.contains(verdict),
            "{method} {url}: {finished}"
        );
    }
}

#[test]
fn invariant_5_one_request_a_line_and_unreadable_lines_are_denied() {
    let world = World::new(Person::ordinary());
    let mut lines: Vec<String> = REQUESTS
        .iter()
        .enumerate()
        .map(|(id, (method, url, body, _, _))| {
            json!({"id": id.to_string(), "http": http(method, url, body)}).to_string()
        })
        .collect();
    lines.push("{\"id\": \"broken\", ".into());
    lines.push(json!({"id": "url", "http": http("GET", "https://exa mple.com/", "")}).to_string());
    lines.push(json!({"id": "shell", "shell": "rm -rf /"}).to_string());
    world.write("lines", &(lines.join("\n") + "\n"));

    let mut check = world.tagout_command(&["check", "--jsonl"]);
    let input = std::fs::File::open(world.workspace().join("lines")).expect("the lines");
    let finished = tagout_tests::finish(check.stdin(input));
    let answers = json_lines(&finished.stdout);
    assert_eq!(answers.len(), lines.len(), "an answer a line: {finished}");
    for (answer, (method, url, _, verdict, _)) in answers.iter().zip(REQUESTS) {
        assert_eq!(answer["verdict"], *verdict, "{method} {url}: {answer}");
        for member in [
            "effect",
            "flags",
            "operations",
            "resources",
            "environment",
            "reason",
        ] {
            assert!(
                answer.get(member).is_some(),
                "{member} is missing: {answer}"
            );
        }
    }
    for answer in &answers[REQUESTS.len()..] {
        assert_eq!(answer["verdict"], "deny", "{answer}");
        assert!(
            answer["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        );
    }
}

#[test]
fn a_statement_is_decided_by_what_it_does() {
    let world = World::new(Person::ordinary());
    for (text, verdict, exit) in [
        ("SELECT * FROM users WHERE id = 5", "allow", 0),
        ("UPDATE users SET name = 'x' WHERE id = 5", "allow", 0),
        ("ALTER TABLE users ADD COLUMN age int", "allow", 0),
        ("SELECT 1; DROP TABLE users", "hold", 10),
        ("DELETE FROM users WHERE 1 = 1", "hold", 10),
        (
            "WITH d AS (DELETE FROM users RETURNING *) SELECT 1 FROM d",
            "hold",
            10,
        ),
        ("COPY users TO PROGRAM 'cat'", "hold", 10),
        ("SELECT do_it()", "hold", 10),
        ("DELETE FORM users", "deny", 11),
    ] {
        let finished = world.tagout(&["check", "--sql", text]);
        assert_eq!(finished.status, exit, "{text}: {finished}");
        let answers = json_lines(&finished.stdout);
        assert_eq!(answers[0]["verdict"], verdict, "{text}: {finished}");
    }
}
