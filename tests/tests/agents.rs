//! Real coding agents against a scripted model.
//!
//! Each runs headless, is told by the model to run one command, and must bring the result back to the
//! model. First without Tagout, so that a failure inside a session means the session.

use tagout_tests::agents::Agent;
use tagout_tests::model::Script;
use tagout_tests::{Finished, Person, Server, TestAuthority, World, finish, for_each_person};

/// A file, since Gemini CLI refuses commands with substitutions.
const ANSWER: &str = "echo $((6 * 7)) > answer.txt; echo the-answer-is-$((6 * 7)); env";

/// The model's provider under some name, which has the agent compute the answer.
fn provider(authority: &TestAuthority, names: &[&str]) -> Server {
    let script = Script::new(&["sh answer.sh"], "Done.");
    Server::start(authority, names, move |request| script.answer(request))
}

/// The agent ran the command, and told the model what came of it.
#[track_caller]
fn assert_answered(world: &World, server: &Server, finished: &Finished) {
    assert_eq!(
        world.read("answer.txt").as_deref(),
        Some("42\n"),
        "{finished}"
    );
    let told = server
        .received()
        .iter()
        .any(|request| String::from_utf8_lossy(&request.body).contains("the-answer-is-42"));
    assert!(told, "the model was not told: {finished}");
}

fn ungoverned(agent: Agent) {
    let world = World::new(Person::ordinary());
    let authority = TestAuthority::new();
    let server = provider(&authority, &["localhost"]);
    world.write_home("root.pem", &authority.pem());
    let base = format!("https://localhost:{}", server.address().port());
    let root = world.home().join("root.pem");

    let program = agent.install(&world);
    world.write("answer.sh", ANSWER);
    let finished = finish(
        world
            .outside(&program)
            .args(&agent.headless(&base)[1..])
            .env(agent.key_variable(), agent.key())
            .env("ANTHROPIC_BASE_URL", &base)
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("NODE_EXTRA_CA_CERTS", &root)
            .env("SSL_CERT_FILE", &root),
    )
    .success();
    assert_answered(&world, &server, &finished);
}

#[test]
fn agent_claude_ungoverned() {
    ungoverned(Agent::Claude);
}

#[test]
fn agent_codex_ungoverned() {
    ungoverned(Agent::Codex);
}

/// The same agent under its real model's name, without a manifest: its key is known by its variable.
fn governed(agent: Agent, person: Person) -> World {
    let mut world = World::new(person);
    let authority = TestAuthority::new();
    let server = provider(&authority, &agent.hosts());
    world.believe(&authority);
    for host in agent.hosts() {
        world.route(host, 443, &server);
    }
    agent.install(&world);
    world.write("answer.sh", ANSWER);

    let mut command = world.tagout_command(&["run", "--"]);
    command
        .args(agent.with_key())
        .env(agent.key_variable(), agent.key());
    let finished = finish(&mut command).success();

    assert_answered(&world, &server, &finished);
    let calls: Vec<_> = server
        .received()
        .into_iter()
        .filter(|request| request.method == "POST")
        .collect();
    for call in &calls {
        let sent = call.header(agent.key_header()).unwrap_or_default();
        assert!(
            sent.ends_with(agent.key()),
            "the provider did not see the key: {finished}"
        );
    }
    assert!(
        !finished.everything().contains(agent.key()),
        "the agent saw the key"
    );
    assert_eq!(world.verify_all(), 1);
    world.assert_nothing_left();
    world
}

for_each_person! {
    fn agent_claude_completes_a_tool_call_in_a_session(person: Person) {
        governed(Agent::Claude, person);
    }
}

for_each_person! {
    fn agent_codex_completes_a_tool_call_in_a_session(person: Person) {
        governed(Agent::Codex, person);
    }
}

#[test]
fn agent_gemini_completes_a_tool_call_in_a_session() {
    governed(Agent::Gemini, Person::ordinary());
}

#[test]
fn agent_opencode_completes_a_tool_call_in_a_session() {
    governed(Agent::Opencode, Person::ordinary());
}

#[test]
fn agent_copilot_completes_a_tool_call_in_a_session() {
    let world = governed(Agent::Copilot, Person::ordinary());
    // Its telemetry and GitHub's own tools were refused, which is no news; the log has it.
    let log = world.json(&["log"]);
    let report = log.iter().find(|entry| entry["kind"] == "report");
    let report = report.expect("a report").to_string();
    assert!(!report.contains("refused"), "{report}");
    let refused = log.iter().find(|entry| entry["path"] == "/mcp/readonly");
    assert_eq!(refused.expect("it is in the log")["verdict"], "deny");
}

#[test]
fn without_a_login_the_person_is_told_how_to_log_in() {
    let world = World::new(Person::ordinary());
    Agent::Claude.install(&world);
    let finished = finish(
        world
            .tagout_command(&["run", "--"])
            .args(["claude", "--version"]),
    );
    assert_eq!(finished.status, 0, "{finished}");
    assert!(
        finished.stderr.contains("no login of claude was found"),
        "{finished}"
    );
    assert!(finished.stderr.contains("claude /login"), "{finished}");
}

for_each_person! {
    fn inside_a_session_run_executes_the_command_that_is_governed_already(person: Person) {
        let world = World::new(person);
        let inner = "tagout run --allow-host example.org -- sh -c 'echo nested; curl -sS https://example.org; exit 7'";
        let finished = world.run(&[], inner);
        assert_eq!(finished.status, 7, "{finished}");
        assert!(finished.stdout.contains("nested"), "{finished}");
        assert!(finished.stdout.contains("tagout_denied"), "the inner run granted a host: {finished}");
        assert!(finished.stderr.contains("governs this command already"), "{finished}");
        assert_eq!(world.verify_all(), 1);
        // A variable that an agent's environment could hold says nothing.
        let fooled = finish(world.tagout_command(&["run", "--", "true"]).env("TAGOUT_SESSION", "s-wybv3vk6d6"));
        assert_eq!(fooled.status, 0, "{fooled}");
        assert_eq!(world.verify_all(), 2);
    }
}
