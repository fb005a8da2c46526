//! Pebblo's loader inside `tagout run`, and the environments of Python that it lives in.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tagout_tests::retrieval::{Serve, environment_of, script};
use tagout_tests::{Answer, Finished, Server, TestAuthority, World, finish, for_each_person};

const CSV: &str = "name,ssn,email\nAnn Lee,219-09-9999,ann@example.com\nBob Ray,,bob@example.org\n";
/// Where the clients send their copy, and with what.
const CLOUD: &str = "api.daxa.ai";
const CLOUD_KEY: &str = "px-8Kd02mVq7RtLw5ZsYh3NbGj";

/// Runs a line in a session whose PATH begins with `bin`.
fn run(world: &World, bin: &Path, line: &str) -> Finished {
    let path = format!("{}:/usr/bin:/bin", bin.display());
    finish(world.run_command(&[], line).env("PATH", path))
}

for_each_person! {
    /// The loader reads its task's files and labels them; a file beyond them is not there, and the copy for the cloud does not leave.
    fn the_loader_works_in_a_session_and_reaches_nothing_else(person: Person) {
        let authority = TestAuthority::new();
        let cloud = Server::start(&authority, &[CLOUD], |_| Answer::json(&json!({"message": "taken"})));
        let mut world = World::new(person);
        world.believe(&authority);
        world.route(CLOUD, 443, &cloud);
        let server = Serve::start(&world, false);
        let bin = environment_of(&world, "b");
        let port = server.address.port();
        world.write("data.csv", CSV).write_home("private.csv", CSV);
        world.write("loader.py", &std::fs::read_to_string(script("loader.py")).expect("the script"));
        world.manifest(&format!(
            "[task]\nname = \"load\"\nenvironment = \"development\"\n[[host]]\nlocal = {port}\n",
        ));
        let classifier = format!("PEBBLO_CLASSIFIER_URL={}", server.url());

        let loaded = run(&world, &bin, &format!("{classifier} python loader.py data.csv")).success();
        let told: Value = serde_json::from_str(loaded.stdout.lines().last().unwrap_or_default()).expect("JSON");
        assert_eq!(told[0]["pebblo_semantic_entities"], json!(["us-ssn", "email-address", "person-name"]), "{loaded}");
        assert_eq!(told[0]["pb_checksum"], "adf752f59b326b9ecc2c3cdbbdc7fdac");

        let private = world.home().join("private.csv");
        let beyond = run(&world, &bin, &format!("{classifier} python loader.py {}", private.display()));
        assert_ne!(beyond.status, 0, "{beyond}");
        assert!(beyond.stderr.contains("Error loading") && !beyond.everything().contains("219-09-9999"), "{beyond}");

        // With a key, each call is repeated to the cloud; the loader goes on without it, and nothing arrives there.
        let copied = run(
            &world, &bin, &format!("{classifier} PEBBLO_API_KEY={CLOUD_KEY} python loader.py data.csv"),
        ).success();
        assert!(copied.stdout.contains("us-ssn"), "{copied}");
        let received: Vec<String> = cloud.received().into_iter().map(|request| request.target).collect();
        assert_eq!(received, Vec::<String>::new());
        world.verify_all();
        let refused = world.sessions().iter().any(|session| {
            let log = world.json(&["log", session]);
            log.iter().any(|entry| entry.to_string().contains(CLOUD) && entry.to_string().contains("deny"))
        });
        assert!(refused, "the refusal stands in no ledger");
    }
}

for_each_person! {
    /// What everybody has: an environment in the workspace, whose Python is a link to an interpreter below home.
    fn an_environment_in_the_workspace_works(person: Person) {
        let world = World::new(person);
        let interpreter = world.home().join(".local/share/uv/python/cpython-3/bin/python3");
        let system = std::fs::canonicalize("/usr/bin/python3").expect("the system's Python");
        world.place(&system, &interpreter);
        let made = |place: &str| {
            finish(world.outside(&interpreter).args(["-m", "venv", "--without-pip", place])).success();
        };
        made(".venv");
        made("backend/.venv");
        // Nothing on PATH tells where the interpreter is.
        for place in [".venv", "backend/.venv"] {
            let line = format!("{place}/bin/python -c 'import json, sys; print(sys.prefix)'");
            let found = run(&world, Path::new("/usr/local/bin"), &line).success();
            let prefix = world.workspace().join(place).display().to_string();
            assert_eq!(found.stdout.trim(), prefix, "{found}");
        }
        // A link that an agent left in an environment shows nothing of the home.
        let link = world.workspace().join(".venv/bin/python3");
        std::fs::remove_file(&link).expect("venv made it");
        std::os::unix::fs::symlink(world.home().join("private"), &link).expect("a link");
        world.write_home("private", "the person's own");
        let shown = run(&world, Path::new("/usr/local/bin"), "cat .venv/bin/python3 ~/private");
        assert!(shown.status != 0 && !shown.everything().contains("own"), "{shown}");
    }
}

/// What tests run with must not be below somebody's home.
#[test]
fn the_environments_of_tests_use_the_systems_python() {
    for stack in ["a", "b"] {
        let python = tagout_tests::retrieval::python(stack);
        let real = std::fs::canonicalize(&python).expect("an interpreter");
        assert!(real.starts_with("/usr"), "{}", real.display());
        let told = Command::new(python)
            .args(["-c", "import langchain_community"])
            .output();
        assert!(told.is_ok_and(|told| told.status.success()), "{stack}");
    }
}
