//! Real coding agents against a scripted model.
//!
//! Each runs headless, is told by the model to run one command, and must bring the result back to the
//! model. First without Tagout, so that a failure inside a session means the session.

use tagout_tests::agents::Agent;
use tagout_tests::{Person, Server, TestAuthority, World, finish, model::Script};

const KEY: &str = "sk-ant-api03-0pV7mQx2LrT9bYw4HcZs8NkJ";

/// What the model sent the agent to do, and what the model was told about it.
fn tool_result_reached_the_model(server: &Server, expected: &str) -> bool {
    server
        .received()
        .iter()
        .filter(|request| request.method == "POST")
        .any(|request| String::from_utf8_lossy(&request.body).contains(expected))
}

fn ungoverned(agent: Agent) {
    let world = World::new(Person::ordinary());
    let authority = TestAuthority::new();
    let script = Script::new(
        &["echo $((6 * 7)) > answer.txt; echo the-answer-is-$((6 * 7))"],
        "Done.",
    );
    let server = Server::start(&authority, &["localhost"], move |request| {
        script.answer(request)
    });
    world.write_home("root.pem", &authority.pem());
    let base = format!("https://localhost:{}", server.address().port());
    let root = world.home().join("root.pem");
    world.write_home(
        ".codex/config.toml",
        &format!(
            "model = \"scripted\"\nmodel_provider = \"scripted\"\n\
             [analytics]\nenabled = false\n\
             [features]\nplugins = false\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{base}/v1\"\n\
             env_key = \"OPENAI_API_KEY\"\nwire_api = \"responses\"\n"
        ),
    );

    let program = agent.install(&world);
    let words = agent.headless("Find the answer.");
    let finished = finish(
        world
            .outside(&program)
            .args(&words[1..])
            .env(agent.key_variable(), KEY)
            .env("ANTHROPIC_BASE_URL", &base)
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("NODE_EXTRA_CA_CERTS", &root)
            .env("SSL_CERT_FILE", &root),
    )
    .success();

    assert_eq!(
        world.read("answer.txt").as_deref(),
        Some("42\n"),
        "{finished}"
    );
    assert!(
        tool_result_reached_the_model(&server, "the-answer-is-42"),
        "{finished}"
    );
}

#[test]
fn agent_claude_ungoverned() {
    ungoverned(Agent::Claude);
}

#[test]
fn agent_codex_ungoverned() {
    ungoverned(Agent::Codex);
}
