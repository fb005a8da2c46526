//! Commits of a session that a person has something to do about are told of when it ends.

use tagout_tests::remote::Remote;
use tagout_tests::{Person, for_each_person};

const TOKEN: &str = "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";

fn commits_are_told(person: Person) {
    let remote = Remote::new(person, "sha1");
    let world = &remote.world;
    // Nobody is told of what nobody asked for.
    let finished = world.run(&[], "git commit -q --allow-empty -m quiet");
    assert!(!finished.stderr.contains("unsigned"), "{finished}");
    world.git(&["config", "--global", "commit.gpgSign", "true"]);
    world.write(".env", &format!("GITHUB_TOKEN={TOKEN}\n"));
    let base = world.git(&["rev-parse", "--short=10", "HEAD"]).stdout;
    let base = base.trim();
    let line = "git commit -q --allow-empty -m two; git commit -q --allow-empty -m three; \
        cut -d= -f2 .env > copied.txt; git add copied.txt; git commit -q -m copied";
    let finished = world.run(&[], line);
    let signs = format!(
        "3 commits of main unsigned, which your git would have signed: git rebase --exec 'git commit --amend --no-edit -S' {base} main"
    );
    assert!(finished.stderr.contains(&signs), "{finished}");
    assert!(
        finished.stderr.contains("1 commit of main with a decoy"),
        "{finished}"
    );
    assert!(finished.stderr.contains("in copied.txt"), "{finished}");
    // The next session has made none.
    let finished = world.run(&[], "git log -1 --format=%s");
    assert!(
        !finished.stderr.contains("unsigned") && !finished.stderr.contains("decoy,"),
        "{finished}"
    );
    // What was fetched is others'.
    let there = remote.app.with_file_name("there").display().to_string();
    let app = remote.app.display().to_string();
    world.git(&["clone", "--quiet", &app, &there]);
    world.git(&[
        "-C",
        &there,
        "-c",
        "commit.gpgSign=false",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "theirs",
    ]);
    world.git(&["-C", &there, "push", "--quiet", "origin", "HEAD:main"]);
    let finished = world.run(
        &[],
        "git fetch -q origin && git checkout -q -b theirs origin/main && git log -1 --format=%s",
    );
    assert!(finished.stdout.contains("theirs"), "{finished}");
    assert!(!finished.stderr.contains("unsigned"), "{finished}");
}

for_each_person! {
    fn unsigned_commits_and_decoys_are_told_at_the_end(person: Person) {
        commits_are_told(person);
    }
}
