//! The first evening with Tagout: no manifest, a repository with a `.env`, and a curious command.

use tagout_tests::{Finished, World, for_each_person};

const RAILWAY_TOKEN: &str = "7c1d1f0e-93ab-4c6e-8f52-0b6a4d2e91c7";
const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";
const GITHUB_TOKEN: &str = "ghp_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu1yTr3E";
const AWS_SECRET: &str = "wJ9lrXUtnFEMIK7MDENGbPxRfiCYzK3EXq81VtLo";

/// The refusals that curl printed, as JSON.
fn refusals(finished: &Finished) -> Vec<serde_json::Value> {
    finished
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|value: &serde_json::Value| value["error"] == "tagout_denied")
        .collect()
}

for_each_person! {
    fn invariant_3_no_secret_is_seen_without_a_manifest(person: Person) {
        let world = World::new(person);
        world.write(
            ".env",
            &format!("RAILWAY_API_TOKEN={RAILWAY_TOKEN}\nSTRIPE_SECRET_KEY={STRIPE_KEY}\nPORT=3000\n"),
        );
        world.write_home(
            ".aws/credentials",
            &format!("[default]\naws_access_key_id = AKIAV7QPLR3KZ2XNMT5B\naws_secret_access_key = {AWS_SECRET}\n"),
        );
        world.commit("A repository as many are");

        let finished: Finished = world
            .run_command(&[], "env; ls -la ~; cat .env; cat ~/.aws/credentials; curl -sS https://example.org")
            .env("GITHUB_TOKEN", GITHUB_TOKEN)
            .output()
            .expect("tagout starts")
            .into();

        for secret in [RAILWAY_TOKEN, STRIPE_KEY, GITHUB_TOKEN, AWS_SECRET] {
            assert!(!finished.everything().contains(secret), "a secret is in the output: {finished}");
        }
        // Decoys have the shape of what they stand for, and the rest of the file is as it was.
        assert!(finished.stdout.contains("STRIPE_SECRET_KEY=sk_live_"), "{finished}");
        assert!(finished.stdout.contains("PORT=3000"), "{finished}");
        assert!(!finished.stdout.contains(".aws"), "the home is not the host's: {finished}");

        let refusals = refusals(&finished);
        assert_eq!(refusals.len(), 1, "{finished}");
        for member in ["reason", "operation", "resource", "environment", "hold", "how_to_proceed"] {
            assert!(refusals[0].get(member).is_some(), "{member} is missing: {finished}");
        }
        let advice = refusals[0]["how_to_proceed"].as_str().unwrap_or_default();
        assert!(advice.contains("example.org"), "the advice names the host: {finished}");
        assert_eq!(finished.status, 0, "the status is the command's: {finished}");

        assert_eq!(world.verify_all(), 1);
        let session = world.sessions().remove(0);
        let log = world.json(&["log", &session]);
        assert!(log.iter().any(|entry| entry.to_string().contains("example.org")), "{log:?}");
        for secret in [RAILWAY_TOKEN, STRIPE_KEY, GITHUB_TOKEN, AWS_SECRET] {
            assert!(!format!("{log:?}").contains(secret), "a secret is in the ledger");
        }
        world.assert_nothing_left();
        assert_eq!(
            world.read(".env").expect("the file outside").lines().next(),
            Some(format!("RAILWAY_API_TOKEN={RAILWAY_TOKEN}").as_str()),
            "the file outside is untouched"
        );
    }
}

for_each_person! {
    fn the_exit_status_is_the_commands(person: Person) {
        let world = World::new(person);
        assert_eq!(world.run(&[], "exit 0").status, 0);
        assert_eq!(world.run(&[], "exit 7").status, 7);
        assert_eq!(world.run(&[], "kill -TERM $$").status, 128 + 15);
        assert_eq!(world.tagout(&["run", "--", "no-such-command-anywhere"]).status, 127);
        assert_eq!(world.tagout(&["run", "--", "/etc/passwd"]).status, 126);
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn what_the_command_writes_is_in_the_workspace(person: Person) {
        let world = World::new(person);
        world.run(&[], "mkdir -p src && echo 'fn main() {}' > src/main.rs && rm -f nothing").success();
        assert_eq!(world.read("src/main.rs").as_deref(), Some("fn main() {}\n"));
        // Who owns the workspace owns what was written, however the session was started.
        use std::os::unix::fs::MetadataExt;
        let made = std::fs::metadata(world.workspace().join("src/main.rs")).expect("the file");
        assert_eq!(made.uid(), person.uid());
        world.run(&[], "git status --porcelain && git add src && git commit -qm 'From inside'").success();
        assert!(world.git(&["log", "--format=%s"]).stdout.contains("From inside"));
    }
}

for_each_person! {
    fn refused_workspaces_end_with_125(person: Person) {
        let world = World::new(person);
        let home = world.home().display().to_string();
        let state = world.tagout_home().display().to_string();
        world.run(&[], "true").success();
        for refused in ["/", home.as_str(), state.as_str(), "/etc", "/usr"] {
            let finished = world.tagout(&["run", "--workspace", refused, "--", "true"]);
            assert_eq!(finished.status, 125, "{refused} was accepted: {finished}");
        }
    }
}

for_each_person! {
    fn folders_of_path_that_cannot_be_reached_are_no_obstacle(person: Person) {
        use std::os::unix::fs::PermissionsExt;
        let world = World::new(person);
        world.write_home("closed/bin/tool", "").write_home("file", "");
        let closed = world.home().join("closed");
        let mode = |mode| std::fs::set_permissions(&closed, PermissionsExt::from_mode(mode)).expect("a mode");
        mode(0o000);
        let file = world.home().join("file");
        // As root's PATH is after `su`.
        let path = format!("{}/bin:{}/bin:/usr/bin:/bin", closed.display(), file.display());
        let ran = tagout_tests::finish(world.run_command(&[], "echo ran").env("PATH", path));
        mode(0o700);
        assert_eq!(ran.success().stdout, "ran\n");
    }
}
