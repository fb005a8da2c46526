//! The forms in which git talks to a server, each through the gate with the real git on both sides.

use tagout_tests::for_each_person;
use tagout_tests::remote::{HOST, Remote, answer};

for_each_person! {
    fn every_version_of_the_protocol_fetches(person: Person) {
        let remote = Remote::new(person, "sha1");
        for number in 0..40 {
            remote.world.git(&["commit", "--quiet", "--allow-empty", "--message", &format!("{number}")]);
        }
        let app = remote.app.display().to_string();
        remote.world.git(&["push", "--quiet", &app, "main"]);
        remote.world.git(&["reset", "--quiet", "--hard", "HEAD~40"]);
        let line = format!(
            "for version in 0 1 2; do git -c protocol.version=$version clone -q https://{HOST}/team/app /tmp/v$version && git -C /tmp/v$version log --oneline | wc -l; done; \
             git clone -q --depth 2 https://{HOST}/team/app /tmp/s && git -C /tmp/s log --oneline | wc -l; \
             git -C /tmp/s fetch -q --deepen 3 && git -C /tmp/s log --oneline | wc -l; \
             git -C /tmp/s fetch -q --unshallow && git -C /tmp/s log --oneline | wc -l; \
             git clone -q --filter=blob:none --no-checkout https://{HOST}/team/app /tmp/p && git -C /tmp/p show HEAD:a.txt; \
             git clone -q --single-branch --no-tags --filter=tree:0 https://{HOST}/team/app /tmp/t && cat /tmp/t/a.txt; \
             git fetch -q origin && git log --oneline origin/main | wc -l"
        );
        let finished = remote.world.run(&[], &line);
        let said: Vec<_> = finished.stdout.split_whitespace().collect();
        assert_eq!(said, ["41", "41", "41", "2", "5", "41", "one", "one", "41"], "{finished}");
        let received = remote.server.received();
        let posts = received.iter().filter(|it| it.method == "POST");
        // What git compressed arrives as it was read.
        assert!(posts.into_iter().all(|it| it.header("content-encoding").is_none()));
    }
}

for_each_person! {
    fn repositories_of_sha256_are_fetched_and_pushed_to(person: Person) {
        let remote = Remote::new(person, "sha256");
        let line = format!("git clone -q https://{HOST}/team/app /tmp/c && cat /tmp/c/a.txt; \
            echo two >> a.txt; git commit -qam two; git push -q origin main && echo pushed");
        let session = remote.world.start(&mut remote.world.run_command(&["--hold-wait", "60"], &line));
        let (hold, _) = answer(&remote.world, "git.push", "approve");
        assert!(hold.to_string().contains("1 commit, the newest first"), "{hold}");
        let finished = session.end();
        assert!(finished.stdout.contains("one") && finished.stdout.contains("pushed"), "{finished}");
        assert_eq!(remote.git(&["log", "-1", "--format=%s", "main"]), "two");
    }
}

for_each_person! {
    fn several_refs_tags_options_and_mirrors_are_asked_about(person: Person) {
        let remote = Remote::new(person, "sha1");
        remote.git(&["branch", "old", "main"]);
        let line = "git fetch -q origin; git commit -q --allow-empty -m two; git tag -a v1 -m one; \
            git push -q --atomic origin main v1 HEAD:refs/heads/next && echo atomic; \
            git commit -q --allow-empty -m three; \
            git push -q -o ci.skip origin main && echo options; \
            git push -q --mirror origin && echo mirror; \
            git push -q --no-thin origin v1:refs/tags/v2 && echo tag";
        let session = remote.world.start(&mut remote.world.run_command(&["--hold-wait", "60"], line));
        let (atomic, _) = answer(&remote.world, "git.create_ref", "approve");
        for name in ["refs/heads/main", "refs/tags/v1", "refs/heads/next"] {
            assert!(atomic.to_string().contains(name), "{name}: {atomic}");
        }
        let (options, _) = answer(&remote.world, "git.push", "approve");
        assert!(options.to_string().contains("ci.skip"), "{options}");
        // It deletes what is not here.
        let (mirror, _) = answer(&remote.world, "git.delete_ref", "approve");
        assert!(mirror.to_string().contains("refs/heads/old"), "{mirror}");
        answer(&remote.world, "git.create_ref", "deny");
        let finished = session.end();
        for word in ["atomic", "options", "mirror"] {
            assert!(finished.stdout.contains(word), "{word}: {finished}");
        }
        assert!(!finished.stdout.contains("tag"), "{finished}");
        let refs = remote.git(&["for-each-ref", "--format=%(refname)"]);
        assert!(!refs.contains("refs/heads/old") && !refs.contains("v2"), "{refs}");
    }
}

for_each_person! {
    fn large_files_are_refused_with_what_would_grant_them(person: Person) {
        let remote = Remote::new(person, "sha1");
        // What git-lfs asks for first.
        let line = format!("curl -sS -X POST -H 'Content-Type: application/vnd.git-lfs+json' -d '{{}}' https://{HOST}/team/app.git/info/lfs/objects/batch");
        let finished = remote.world.run(&[], &line);
        assert!(finished.stdout.contains("tagout_denied") && finished.stdout.contains("[[host]]"), "{finished}");
        let asked = remote.server.received().into_iter().any(|it| it.path().contains("lfs"));
        assert!(!asked);
    }
}
