//! Real coding agents against a scripted model.
//!
//! Each runs headless, is told by the model to run one command, and must bring the result back to the
//! model. First without Tagout, so that a failure inside a session means the session.

use tagout_tests::agents::Agent;
use tagout_tests::model::Script;
use tagout_tests::{Finished, Person, Server, TestAuthority, World, finish, for_each_person};

const KEY: &str = "sk-ant-api03-0pV7mQx2LrT9bYw4HcZs8NkJdFgA5uE1";

/// The model's provider under some name, which has the agent compute the answer.
fn provider(authority: &TestAuthority, name: &str) -> Server {
    let script = Script::new(
        &["echo $((6 * 7)) > answer.txt; echo the-answer-is-$((6 * 7))"],
        "Done.",
    );
    Server::start(authority, &[name], move |request| script.answer(request))
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
    let server = provider(&authority, "localhost");
    world.write_home("root.pem", &authority.pem());
    let base = format!("https://localhost:{}", server.address().port());
    let root = world.home().join("root.pem");

    let program = agent.install(&world);
    let finished = finish(
        world
            .outside(&program)
            .args(&agent.headless(&base)[1..])
            .env(agent.key_variable(), KEY)
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

/// The same agent under its real model's name, with a decoy for a key.
fn governed(agent: Agent, person: Person) {
    let mut world = World::new(person);
    let authority = TestAuthority::new();
    let server = provider(&authority, agent.model_host());
    world.believe(&authority);
    world.route(agent.model_host(), 443, &server);
    world.manifest(&format!(
        "[task]\nname = \"answer\"\n\n\
         [[credential]]\nname = \"model\"\nprovider = \"http\"\nhosts = [\"{}\"]\nslot = \"{}\"\n\
         source = \"env:{key}\"\nexpose = \"{key}\"\noperations = [\"read\", \"write\"]\n\n\
         [agent]\nenv = [\"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC\"]\n",
        agent.model_host(),
        agent.key_slot(),
        key = agent.key_variable(),
    ));

    agent.install(&world);
    let base = format!("https://{}", agent.model_host());
    let mut command = world.tagout_command(&["run", "--"]);
    command
        .args(agent.headless(&base))
        .env(agent.key_variable(), KEY)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
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
            sent.ends_with(KEY),
            "the provider did not see the key: {finished}"
        );
    }
    assert!(
        !finished.everything().contains(KEY),
        "the agent saw the key"
    );
    assert_eq!(world.verify_all(), 1);
    world.assert_nothing_left();
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
