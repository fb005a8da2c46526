//! Holds: an action waits for a person, and an approval covers it once.

use serde_json::{Value, json};
use tagout_tests::{Answer, Person, Running, Server, TestAuthority, World, for_each_person, id};

const MANIFEST: &str = r#"
[task]
name = "tidy"

[[host]]
name = "api.example.com"
methods = ["GET", "DELETE"]
"#;

const DELETE: &str = "curl -sS -X DELETE https://api.example.com/v1/items/1";

fn world(person: Person) -> (World, Server) {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |request| {
        Answer::json(&json!({"done": request.target}))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    world.manifest(MANIFEST);
    (world, server)
}

fn start(world: &World, options: &[&str], line: &str) -> Running {
    world.start(&mut world.run_command(options, line))
}

fn deletions(server: &Server) -> usize {
    server
        .received()
        .iter()
        .filter(|request| request.method == "DELETE")
        .count()
}

for_each_person! {
    fn invariant_7_an_approved_action_is_done_once(person: Person) {
        let (world, server) = world(person);
        // The same request twice: the second is another action, and waits again.
        let session = start(&world, &["--hold-wait", "60"], &format!("{DELETE}; echo; {DELETE} --max-time 4; true"));

        let hold = world.hold_in("pending");
        assert_eq!(deletions(&server), 0, "nothing is sent before the answer");
        assert_eq!(hold["action"]["effect"], "destructive");
        let digest = hold["action"]["digest"].as_str().expect("a digest");
        assert!(!digest.is_empty());
        let shown = world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.everything().contains("DELETE"), "approve shows the action: {shown}");
        assert!(shown.everything().contains("/v1/items/1"), "approve shows the action: {shown}");

        let finished = session.end();
        assert!(finished.stdout.contains("\"done\":\"/v1/items/1\""), "{finished}");
        assert_eq!(deletions(&server), 1, "once: {finished}");
        let states: Vec<Value> = world.json(&["holds"]).iter().map(|hold| hold["state"].clone()).collect();
        assert!(states.contains(&json!("used")), "{states:?}");

        // An answer cannot be given again.
        assert_ne!(world.tagout(&["approve", id(&hold), "--yes"]).status, 0);
        assert_eq!(deletions(&server), 1);
        world.verify_all();
    }
}

for_each_person! {
    fn a_denied_action_is_not_done(person: Person) {
        let (world, server) = world(person);
        let session = start(&world, &["--hold-wait", "60"], DELETE);
        let hold = world.hold_in("pending");
        world.tagout(&["deny", id(&hold), "--reason", "ask the owner of item 1"]).success();
        let finished = session.end();
        assert!(finished.stdout.contains("tagout_denied"), "{finished}");
        assert!(finished.stdout.contains("ask the owner of item 1"), "{finished}");
        assert_eq!(deletions(&server), 0);
        assert_eq!(world.hold_in("denied")["id"], hold["id"]);
        // A denial stands.
        assert_ne!(world.tagout(&["approve", id(&hold), "--yes"]).status, 0);
    }
}

for_each_person! {
    fn an_unanswered_action_is_refused_with_its_hold(person: Person) {
        let (world, server) = world(person);
        let finished = world.run(&["--hold-wait", "1"], DELETE);
        let refusal: Value = serde_json::from_str(finished.stdout.trim()).expect("a refusal in JSON");
        assert_eq!(refusal["error"], "tagout_held", "{finished}");
        assert_eq!(refusal["operation"], "http.DELETE");
        let holds = world.json(&["holds"]);
        assert!(holds.iter().any(|hold| hold["id"] == refusal["hold"]), "{holds:?}");
        assert_eq!(deletions(&server), 0);
    }
}

for_each_person! {
    fn invariant_7_an_approval_given_later_releases_one_retry(person: Person) {
        let (world, server) = world(person);
        let line = format!("{DELETE}; echo; until [ -e go ]; do sleep 0.05; done; {DELETE}; echo; {DELETE}");
        let session = start(&world, &["--hold-wait", "1"], &line);
        let hold = world.hold_in("pending");
        world.tagout(&["approve", id(&hold), "--yes"]).success();
        world.write("go", "");
        let finished = session.end();
        let answers: Vec<&str> = finished.stdout.lines().collect();
        assert!(finished.stdout.contains("\"done\":\"/v1/items/1\""), "{finished}");
        assert!(answers.last().is_some_and(|last| last.contains("tagout_held")), "the third waits again: {finished}");
        assert_eq!(deletions(&server), 1, "{finished}");
        world.verify_all();
    }
}

for_each_person! {
    fn invariant_7_an_approval_covers_nothing_else(person: Person) {
        let (world, server) = world(person);
        let other = "curl -sS -X DELETE https://api.example.com/v1/items/2";
        let line = format!("{DELETE}; echo; until [ -e go ]; do sleep 0.05; done; {other}");
        let session = start(&world, &["--hold-wait", "1"], &line);
        let hold = world.hold_in("pending");
        world.tagout(&["approve", id(&hold), "--yes"]).success();
        world.write("go", "");
        let finished = session.end();
        assert!(!finished.stdout.contains("\"done\":\"/v1/items/2\""), "{finished}");
        assert!(server.received().iter().all(|request| request.target != "/v1/items/2"));

        // Nor the same action in another session.
        let again = world.run(&["--hold-wait", "1"], DELETE);
        assert!(again.stdout.contains("tagout_held"), "{again}");
    }
}

for_each_person! {
    fn invariant_7_nothing_inside_can_answer(person: Person) {
        let (world, server) = world(person);
        let home = world.tagout_home().display().to_string();
        let line = format!(
            "{DELETE}; echo; ls -A {home} 2>/dev/null | grep . && echo the store is visible; \
             cat {home}/store.sqlite >/dev/null 2>&1 && echo the store is readable; true"
        );
        let finished = world.run(&["--hold-wait", "1"], &line);
        assert!(finished.stdout.contains("tagout_held"), "{finished}");
        assert!(!finished.stdout.contains("the store is"), "{finished}");
        assert_eq!(deletions(&server), 0);
    }
}

for_each_person! {
    fn a_hold_outlives_its_supervisor_and_is_never_released(person: Person) {
        let (world, server) = world(person);
        let session = start(&world, &["--hold-wait", "60"], DELETE);
        let hold = world.hold_in("pending");
        session.kill();
        world.assert_nothing_left();

        let after = world.json(&["holds"]);
        let same = after.iter().find(|other| other["id"] == hold["id"]);
        let same = same.unwrap_or_else(|| panic!("the hold is gone: {after:?}"));
        assert_ne!(same["state"], "approved");
        assert_ne!(same["state"], "used");
        // An answer that comes too late changes nothing.
        world.tagout(&["approve", id(&hold), "--yes"]);
        assert_eq!(deletions(&server), 0);
        assert_eq!(world.verify_all(), 1);
    }
}
