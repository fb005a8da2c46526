//! What a push carries: known secrets never, and a person who is asked sees commits and files. With the
//! real git on both sides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_tests::remote::{Remote, answer};
use tagout_tests::{Person, for_each_person};

const TOKEN: &str = "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";

/// A remote whose workspace has a token in a committed file, so that git inside can print it.
fn with_a_token(person: Person) -> Remote {
    let remote = Remote::new(person, "sha1");
    let long: String = (0..400)
        .map(|line| format!("line {line} of {}\n", line * 7919))
        .collect();
    remote.world.write("long.txt", &long);
    remote
        .world
        .write(".env", &format!("GITHUB_TOKEN={TOKEN}\n"));
    remote.world.commit("with a token");
    let app = remote.app.display().to_string();
    remote.world.git(&["push", "--quiet", &app, "main"]);
    remote
}

for_each_person! {
    fn invariant_4_no_known_secret_leaves_in_a_push(person: Person) {
        let remote = with_a_token(person);
        let before = remote.git(&["rev-parse", "main"]);
        // Compressed; as a delta of what the server has; encoded; as a message, a name, a tag.
        let line = "exec 2>&1; token=$(git show HEAD:.env); \
            again() { git reset -q --hard origin/main; }; git fetch -q origin; \
            push() { git add -A; git commit -qm \"${2:-a change}\" && git push -q origin HEAD:refs/heads/main; echo \"$1 $?\"; again; }; \
            echo \"note $token\" > notes.txt; push plain; \
            echo \"$token\" >> long.txt; push delta; \
            echo \"$token\" | base64 -w0 > notes.b64; push base64; \
            echo one > b.txt; push message \"${token#*=}\"; \
            mkdir \"${token#*=}\"; echo one > \"${token#*=}/b.txt\"; push name; \
            echo more > c.txt; git add -A; git commit -qm more; git tag -a v1 -m \"$token\"; git push -q origin v1; echo tag $?";
        let finished = remote.world.run(&["--hold-wait", "1"], line);
        for case in ["plain", "delta", "base64", "message", "name", "tag"] {
            assert!(finished.stdout.contains(&format!("{case} 1")), "{case}: {finished}");
        }
        let refusals = finished.stdout.matches("the push holds the real value of").count();
        assert_eq!(refusals, 6, "{finished}");
        for place in ["`notes.txt`", "`long.txt`", "`notes.b64`", "a commit's message", "the name of a file", "a tag's message"] {
            assert!(finished.stdout.contains(place), "{place}: {finished}");
        }
        assert_eq!(remote.git(&["rev-parse", "main"]), before);
        assert!(remote.world.json(&["holds"]).is_empty(), "nobody is asked");
        let pushed = remote.server.received().into_iter().filter(|it| it.path().ends_with("git-receive-pack"));
        assert!(pushed.into_iter().all(|it| it.method == "GET" || it.body == b"0000"), "nothing left");
        assert!(!STANDARD.encode(remote.world.tagout(&["log", &remote.world.sessions()[0]]).everything()).contains(&STANDARD.encode(TOKEN)));
    }
}

for_each_person! {
    fn a_person_who_is_asked_sees_commits_and_files(person: Person) {
        let remote = Remote::new(person, "sha1");
        let line = "mkdir src; echo new > src/b.txt; git add -A; git commit -qm 'Mend the pump'; \
            echo two > a.txt; git commit -qam 'Say two'; git push -q origin main && echo pushed; \
            git push -q origin :main || echo kept";
        let session = remote.world.start(&mut remote.world.run_command(&["--hold-wait", "60"], line));
        let (_, shown) = answer(&remote.world, "git.push", "approve");
        for said in ["The branch main goes on from", "2 commits, the newest first:", "Mend the pump", "Say two", "New content of 2 files:", "src/b.txt", "until the session ends"] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        assert!(!shown.contains("cannot be previewed"), "{shown}");
        let (hold, _) = answer(&remote.world, "git.delete_ref", "deny");
        assert!(hold.to_string().contains("The branch main is deleted; it is at"), "{hold}");
        let finished = session.end();
        assert!(finished.stdout.contains("pushed") && finished.stdout.contains("kept"), "{finished}");
        remote.world.verify_all();
    }
}

for_each_person! {
    fn what_a_push_builds_on_must_be_at_hand(person: Person) {
        let remote = with_a_token(person);
        // A version that the workspace has not.
        let line = "exec 2>&1; url=$(git remote get-url origin); git clone -q $url /tmp/c; cd /tmp/c; \
            git config user.email a@example.com; git config user.name A; \
            seq 5000 > seq.txt; git add -A; git commit -qm seq; git push -q origin main && echo first; \
            echo more >> seq.txt; git commit -qam more; git push origin main || echo thin; \
            git -c pack.window=0 -c pack.depth=0 push -q origin main && echo second";
        let session = remote.world.start(&mut remote.world.run_command(&["--hold-wait", "60"], line));
        answer(&remote.world, "git.push_force", "approve");
        answer(&remote.world, "git.push_force", "approve");
        let finished = session.end();
        for word in ["first", "leaves out an object", "pack.depth=0", "thin", "second"] {
            assert!(finished.stdout.contains(word), "{word}: {finished}");
        }
    }
}

/// More than is held in memory: the push waits in a file for its verdict.
/// Unoptimised, the look through it takes longer than a test may.
#[test]
#[ignore = "wants TAGOUT_BINARY to be a release build"]
fn a_push_of_seventy_megabytes_is_looked_through_and_arrives_once_approved() {
    let remote = with_a_token(Person::ordinary());
    // The size of what cannot be compressed is the size of the pack. The value stands behind all of it.
    let line = "exec 2>&1; git fetch -q origin; token=$(git show HEAD:.env); \
        head -c 73400320 /dev/urandom > big.bin; echo $token >> big.bin; git add big.bin; git commit -qm leak; \
        git push -q origin main; echo \"leak $?\"; \
        truncate -s 73400320 big.bin; git add big.bin; git commit -q --amend -m big; \
        git push -q origin main; echo \"big $?\"";
    let session = remote
        .world
        .start(&mut remote.world.run_command(&["--hold-wait", "60"], line));
    let (hold, shown) = answer(&remote.world, "git.push", "approve");
    assert!(
        shown.contains("big.bin") && !shown.contains("leak"),
        "{shown}"
    );
    assert!(!hold.to_string().contains(TOKEN), "{hold}");
    let finished = session.end();
    assert!(
        finished.stdout.contains("leak 1") && finished.stdout.contains("big 0"),
        "{finished}"
    );
    assert!(
        finished.stdout.contains("the real value of") && finished.stdout.contains("`big.bin`"),
        "{finished}"
    );
    assert_eq!(
        remote.git(&["cat-file", "-s", "main:big.bin"]),
        "73400320",
        "it arrived whole"
    );
    let pushes: Vec<_> = remote
        .server
        .received()
        .into_iter()
        .filter(|it| it.method == "POST" && it.path().ends_with("git-receive-pack"))
        .map(|it| it.body.len())
        .filter(|octets| *octets > 4)
        .collect();
    assert_eq!(
        pushes.len(),
        1,
        "one push left, and nothing of the other: {pushes:?}"
    );
    remote.world.verify_all();
}
