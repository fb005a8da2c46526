//! docs/getting-started.md, step by step: an account that nobody used before (made for the test, by root),
//! an ordinary project, two real agents whose models are scripted. What the page shows is what these
//! commands print.

use std::path::Path;

use tagout_tests::agents::Agent;
use tagout_tests::model::Script;
use tagout_tests::remote::backend;
use tagout_tests::{
    Finished, FreshAccount, Server, TestAuthority, World, eventually, finish, for_each_person,
};

const HOST: &str = "git.example.com";
const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";

/// What the model has the agent do, one tool call each: an everyday session, and one host too many.
const EVERYDAY: [&str; 5] = [
    "echo 'module.exports = 42' > answer.js",
    "npm install && node -e 'console.log(\"npm-\" + require(\"is-odd\")(3))'",
    "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/python -c 'import six; print(\"pip-\" + six.__version__)'",
    "git fetch -q origin && git add answer.js && git commit -qm 'The answer' && git log -1 --format=committed-%s",
    "cat .env; curl -sS https://tracker.example.org/",
];

/// And the other agent's.
const BUILD: [&str; 1] = ["cargo run --quiet"];

fn project(account: &FreshAccount) -> (World, Server, [Server; 2]) {
    let authority = TestAuthority::new();
    let (mut world, person) = (World::of_account(account), account.person());
    let root = world.second_workspace();
    let app = root.join("team/app.git").display().to_string();
    world.git(&["init", "--quiet", "--bare", &app]);
    world.git(&["-C", &app, "config", "http.receivepack", "true"]);
    let remote = Server::start(&authority, &[HOST], move |request| {
        backend(person, &root, request)
    });
    let script = Script::new(&EVERYDAY, "Done.");
    let model = Server::start(&authority, &[Agent::Claude.model_host()], move |request| {
        script.answer(request)
    });
    world.believe(&authority);
    world.route(HOST, 443, &remote);
    world.route(Agent::Claude.model_host(), 443, &model);
    let script = Script::new(&BUILD, "Built.");
    let other = Server::start(&authority, &[Agent::Codex.model_host()], move |request| {
        script.answer(request)
    });
    world.route(Agent::Codex.model_host(), 443, &other);
    world
        .write(
            "package.json",
            r#"{"name":"app","version":"1.0.0","dependencies":{"is-odd":"3.0.1"}}"#,
        )
        .write("requirements.txt", "six==1.16.0\n")
        .write(
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n",
        )
        .write(
            "src/main.rs",
            "fn main() { println!(\"cargo-{}\", itoa::Buffer::new().format(41 + 1)); }\n",
        )
        .write(".gitignore", ".env\nnode_modules\n.venv\ntarget\n")
        .write(
            ".env",
            &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\nPORT=3000\n"),
        );
    world.commit("An ordinary project");
    world.git(&["push", "--quiet", &app, "main"]);
    world.git(&[
        "remote",
        "add",
        "origin",
        &format!("git@{HOST}:team/app.git"),
    ]);
    (world, remote, [model, other])
}

/// Everything that a server was sent.
fn told(server: &Server) -> String {
    let received = server.received();
    let bodies = received
        .iter()
        .map(|it| String::from_utf8_lossy(&it.body).into_owned());
    bodies.collect()
}

for_each_person! {
    fn the_first_evening_goes_as_the_page_says(person: Person) {
        let account = FreshAccount::of(person);
        let (world, _remote, [model, other]) = project(&account);
        let mut seen = Vec::new();
        let app = world.second_workspace_path().join("team/app.git");
        for agent in [Agent::Claude, Agent::Codex] {
            agent.install(&world);
        }

        seen.push(world.tagout(&["doctor"]));
        let first = world.run(&[], "cat .env; curl -sS https://example.org").success();
        assert!(!first.everything().contains(STRIPE_KEY), "{first}");
        assert!(first.stdout.contains("STRIPE_SECRET_KEY=sk_live_"), "{first}");
        assert!(first.stdout.contains("tagout_denied"), "{first}");
        seen.push(first);

        let mut command = world.tagout_command(&["run", "--"]);
        command.args(Agent::Claude.with_key()).env(Agent::Claude.key_variable(), Agent::Claude.key());
        let agent = finish(&mut command).success();
        let told_claude = told(&model);
        for word in ["npm-true", "pip-1.16.0", "committed-The answer", "tagout_denied"] {
            assert!(told_claude.contains(word), "the model was not told {word}: {agent}");
        }
        assert!(!told_claude.contains(STRIPE_KEY), "the model saw a secret");
        assert_eq!(world.read("answer.js").as_deref(), Some("module.exports = 42\n"));
        assert!(world.json(&["holds"]).is_empty(), "an everyday action waited for a person");
        seen.push(agent);

        let mut command = world.tagout_command(&["run", "--"]);
        command
            .args(Agent::Codex.with_key())
            .env(Agent::Codex.key_variable(), Agent::Codex.key())
            .env("PATH", world.path_with_rust());
        let agent = finish(&mut command).success();
        let told_codex = told(&other);
        assert!(told_codex.contains("cargo-42"), "the model was not told: {agent}");
        assert!(!told_codex.contains(STRIPE_KEY), "the model saw a secret");
        assert!(world.read("Cargo.lock").is_some_and(|lock| lock.contains("itoa")));
        assert!(world.json(&["holds"]).is_empty(), "an everyday action waited for a person");
        seen.push(agent);

        seen.push(world.tagout(&["sessions"]).success());
        // The newest first: before Codex, Claude.
        let session = world.sessions().remove(1);
        seen.push(world.tagout(&["log", &session]).success());
        seen.push(world.tagout(&["verify", &session]).success());

        seen.push(world.tagout(&["init", "--yes"]).success());
        let text = world.read("tagout.toml").expect("a manifest");
        assert!(!text.contains(STRIPE_KEY), "init wrote a secret");
        world.manifest(&text);

        push_is_held_and_approved(&world, &app, &mut seen);
        page_shows(&seen);
        assert_eq!(world.verify_all(), 4);
        world.assert_nothing_left();
    }
}

fn push_is_held_and_approved(world: &World, app: &Path, seen: &mut Vec<Finished>) {
    let session = world.start(&mut world.run_command(
        &["--hold-wait", "60"],
        "git push -q origin main && echo pushed",
    ));
    let mut hold = None;
    eventually("the push waits", || {
        hold = world
            .json(&["holds"])
            .into_iter()
            .find(|it| it["state"] == "pending");
        hold.is_some()
    });
    let hold = hold.expect("just found");
    assert!(hold.to_string().contains("git.push"), "{hold}");
    let before =
        finish(
            world
                .outside("git")
                .arg("-C")
                .arg(app)
                .args(["log", "-1", "--format=%s", "main"]),
        );
    assert_eq!(before.stdout, "An ordinary project\n", "{before}");
    seen.push(world.tagout(&["holds"]).success());
    let id = hold["id"].as_str().expect("an id");
    seen.push(world.tagout(&["approve", id, "--yes"]).success());
    let finished = session.end().success();
    assert!(finished.stdout.contains("pushed"), "{finished}");
    let after =
        finish(
            world
                .outside("git")
                .arg("-C")
                .arg(app)
                .args(["log", "-1", "--format=%s", "main"]),
        );
    assert_eq!(after.stdout, "The answer\n", "{after}");
    seen.push(finished);
}

/// Every line of output on the page was printed; `…` on the page stands for what differs each time.
fn page_shows(seen: &[Finished]) {
    let printed: String = seen.iter().map(Finished::everything).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/getting-started.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let shown: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| !line.starts_with("$ ") && !line.trim().is_empty())
        .collect();
    assert!(shown.len() > 20, "the page shows too little: {shown:?}");
    for line in shown {
        let found = printed
            .lines()
            .any(|it| is_shown_as(it.trim(), line.trim()));
        assert!(found, "nothing printed {line:?}:\n{printed}");
    }
}

fn is_shown_as(printed: &str, shown: &str) -> bool {
    let mut pieces = shown.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        (rest, last) = (after, Some(piece));
    }
    rest.is_empty() || last == Some("")
}
