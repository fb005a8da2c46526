//! The workspace's remotes, with the real git inside against the real `git http-backend` outside.

use std::path::{Path, PathBuf};

use tagout_tests::remote::{HOST, Remote, answer};
use tagout_tests::{Person, Server, World, for_each_person};

/// A world whose workspace has a commit on `main` and a remote, over SSH as people write it.
fn world(person: Person) -> (World, Server, PathBuf) {
    let Remote { world, server, app } = Remote::new(person, "sha1");
    let other = app.with_file_name("other.git").display().to_string();
    world.git(&["init", "--quiet", "--bare", &other]);
    (world, server, app)
}

fn tip(world: &World, repository: &Path, name: &str) -> String {
    let path = repository.display().to_string();
    let listed = world.git(&["-C", &path, "for-each-ref", "--format=%(objectname)", name]);
    listed.stdout.trim().to_owned()
}

for_each_person! {
    fn a_remote_is_fetched_without_a_question_and_no_other(person: Person) {
        let (world, _server, _app) = world(person);
        let finished = world.run(&["--hold-wait", "1"], &format!(
            "git fetch -q origin && git clone -q git@{HOST}:team/app.git /tmp/c && cat /tmp/c/a.txt; \
             git -c protocol.version=0 ls-remote origin; git -c protocol.version=1 ls-remote origin; \
             git clone -q --depth 1 https://{HOST}/team/app /tmp/d && echo shallow; \
             git ls-remote https://{HOST}/team/other.git; curl -sS https://{HOST}/team/app/settings"
        ));
        assert!(finished.stdout.starts_with("one\n"), "{finished}");
        assert_eq!(finished.stdout.matches("refs/heads/main").count(), 2, "{finished}");
        assert!(finished.stdout.contains("shallow"), "{finished}");
        assert!(finished.everything().contains("remote: Tagout: This task was not given"), "{finished}");
        assert!(finished.stdout.contains("tagout_denied"), "{finished}");
    }
}

for_each_person! {
    fn invariant_7_a_push_is_approved_once_for_its_branch_and_force_each_time(person: Person) {
        let (world, _server, app) = world(person);
        let line = "set -x; commit() { git commit -q --allow-empty -m \"$1\"; }; \
             commit two; git push -q origin main && echo pushed-two; \
             commit three; git push -q origin main && echo pushed-three; \
             git reset -q --hard HEAD~2; commit forced; git push -q --force origin main || echo refused-force; \
             git push -q origin :main || echo refused-deletion; \
             git push -q origin HEAD:refs/heads/other || echo refused-other";
        let session = world.start(&mut world.run_command(&["--hold-wait", "60"], line));
        let (_, shown) = answer(&world, "git.push", "approve");
        assert!(shown.contains("until the session ends"), "what is granted is shown: {shown}");
        for operation in ["git.push_force", "git.delete_ref", "git.create_ref"] {
            answer(&world, operation, "deny");
        }
        let finished = session.end();
        for word in ["pushed-two", "pushed-three", "refused-force", "refused-deletion", "refused-other"] {
            assert!(finished.stdout.contains(word), "{word}: {finished}");
        }
        assert!(finished.everything().contains("remote: Tagout: a person denied it"), "{finished}");
        let told = world.git(&["-C", &app.display().to_string(), "log", "-1", "--format=%s", "main"]);
        assert_eq!(told.stdout.trim(), "three");
        assert_eq!(tip(&world, &app, "refs/heads/other"), "");
        let session = world.sessions().remove(0);
        let grants = world.json(&["log", &session]).into_iter().filter(|it| it["kind"] == "push_grant").count();
        assert_eq!(grants, 1);
        world.verify_all();
    }
}
