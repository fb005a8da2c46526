//! Files with secrets, as the agent edits them: what it writes is in the file outside, with the values
//! that it never saw.

use tagout_tests::{Finished, World, eventually, for_each_person};

const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";
const GITHUB_TOKEN: &str = "ghp_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu1yTr3E";

for_each_person! {
    fn invariant_3_an_edited_twin_reaches_its_file_with_the_values(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        world.write("scripts/deploy.sh", &format!("#!/bin/sh\nexport GITHUB_TOKEN={GITHUB_TOKEN}\necho deployed\n"));
        let program = "import re\n\
            text = open('scripts/deploy.sh').read()\n\
            open('scripts/deploy.sh', 'w').write(text.replace('deployed', 'shipped'))\n";
        world.write("edit.py", program);
        let line = "echo PORT=3000 >> .env; python3 edit.py; sed s/A=1/A=2/ .env > /tmp/e; cat /tmp/e > .env; \
             key=$(sed -n s/^STRIPE_SECRET_KEY=//p .env); echo \"NEXT_PUBLIC_KEY=$key\" >> .env; \
             cat .env scripts/deploy.sh; sh scripts/deploy.sh";
        let finished = world.run(&[], line).success();
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(!finished.everything().contains(GITHUB_TOKEN), "{finished}");
        assert!(finished.stdout.ends_with("shipped\n"), "{finished}");
        let outside = world.read(".env").expect("it is there");
        let public = outside.lines().last().expect("a last line");
        assert!(public.starts_with("NEXT_PUBLIC_KEY=sk_live_"), "{outside}");
        assert_eq!(
            outside,
            format!("A=2\nSTRIPE_SECRET_KEY={STRIPE_KEY}\nPORT=3000\n{public}\n")
        );
        assert!(!public.contains(STRIPE_KEY), "a decoy elsewhere stays one: {outside}");
        assert_eq!(
            world.read("scripts/deploy.sh").as_deref(),
            Some(&*format!("#!/bin/sh\nexport GITHUB_TOKEN={GITHUB_TOKEN}\necho shipped\n"))
        );
        assert!(finished.stderr.contains("in line 4 stands a decoy"), "{finished}");
        let (_, kept) = finished.stderr.split_once("what it held before: ").expect("where it is kept");
        let kept = world.person().command("cat").arg(kept.lines().next().expect("a path")).output();
        let kept = String::from_utf8(kept.expect("cat runs").stdout).expect("text");
        assert!(kept.contains(STRIPE_KEY) && kept.starts_with("A=1\n"), "{kept}");
        world.verify_all();
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn an_edit_is_outside_while_the_session_runs(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        let line = "echo PORT=3000 >> .env; until test -e go; do sleep 0.05; done; cat .env; echo LAST=1 >> .env";
        let session = world.start(&mut world.run_command(&[], line));
        let edited = format!("STRIPE_SECRET_KEY={STRIPE_KEY}\nPORT=3000\n");
        eventually("the edit of the inside", || world.read(".env").as_deref() == Some(&*edited));
        // As editors save: a new file in the old one's place. Its twin is there when the ledger says so.
        world.write("saved", &format!("{edited}HOST=1\n"));
        std::fs::rename(world.workspace().join("saved"), world.workspace().join(".env")).expect("a rename");
        let id = world.sessions().remove(0);
        eventually("the new twin", || {
            world.json(&["log", &id]).iter().any(|entry| entry["kind"] == "host_replaced")
        });
        world.write("go", "");
        let finished = session.end();
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(finished.stdout.contains("PORT=3000\nHOST=1\n"), "{finished}");
        assert_eq!(world.read(".env"), Some(format!("{edited}HOST=1\nLAST=1\n")));
    }
}

for_each_person! {
    fn invariant_3_no_edit_leads_a_value_elsewhere(person: Person) {
        let world = World::new(person);
        let url = "postgres://app:kJ8s0qW2zR5tXvB1@db.example.com/app";
        world.write(".env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\nDATABASE_URL={url}\n"));
        world.write("folder/.env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        world.write("plain", "x\n");
        // Another host for the password, another name for the key; then other files in the places.
        let line = "sed 's/db.example.com/db.attacker.example/; s/STRIPE_SECRET/PUBLIC/' .env > /tmp/e; cat /tmp/e > .env; \
             mv folder moved; mkdir folder; ln -s ../plain folder/.env; echo B=1 >> moved/.env; cat .env moved/.env plain";
        let finished = world.run(&[], line).success();
        for value in [STRIPE_KEY, "kJ8s0qW2zR5tXvB1"] {
            assert!(!finished.everything().contains(value), "{finished}");
        }
        let outside = world.read(".env").expect("it is there");
        assert!(!outside.contains(STRIPE_KEY) && !outside.contains("kJ8s0qW2zR5tXvB1"), "{outside}");
        assert_eq!(world.read("plain").as_deref(), Some("x\n"));
        assert_eq!(world.read("moved/.env"), Some(format!("STRIPE_SECRET_KEY={STRIPE_KEY}\nB=1\n")));
    }
}

/// A repository whose `.env` and script hold values, all committed.
fn repository(person: tagout_tests::Person) -> World {
    let world = World::new(person);
    world.write(".env", &format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n"));
    world.write(
        "scripts/deploy.sh",
        &format!("#!/bin/sh\nexport GITHUB_TOKEN={GITHUB_TOKEN}\necho deployed\n"),
    );
    world.write("readme", "one\n");
    world.commit("first");
    world
}

for_each_person! {
    fn git_sees_a_twin_as_the_file_that_it_stands_for(person: Person) {
        let world = repository(person);
        let line = "set -e; git status --porcelain; git diff --stat; git add -A; git status --porcelain; \
             echo two >> readme; git commit -qam second; git stash list; \
             git checkout -q -b other; echo three >> readme; git stash -q; git stash pop -q; git commit -qam third; \
             git checkout -q -; git merge -q other; git rebase -q HEAD~1; git mv readme README; git commit -qam fourth; \
             git status --porcelain; git log --format=%s";
        let finished = world.run(&[], line).success();
        assert_eq!(finished.stdout, "fourth\nthird\nsecond\nfirst\n", "{finished}");
        let told = world.git(&["show", "HEAD:.env"]).success();
        assert_eq!(told.stdout, format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        let told = world.git(&["status", "--porcelain"]).success();
        assert_eq!(told.stdout, "");
        let told = world.git(&["log", "--all", "--format=%s", "-S", STRIPE_KEY]).success();
        assert_eq!(told.stdout, "first\n", "no commit took the value out or put it in");
    }
}

for_each_person! {
    fn a_commit_inside_carries_values_where_the_repository_has_them_and_no_decoy(person: Person) {
        let world = repository(person);
        // A value that is no commit's yet, in a file that is tracked.
        let local = "ghp_4KdW2nQv8XbLm6RtYc1HsZf9JaPe3Gu0NiBo";
        world.write("local.env", "A=1\n");
        world.commit("local");
        world.write("local.env", &format!("A=1\nGITHUB_TOKEN={local}\n"));
        let line = "set -e; echo PORT=3000 >> .env; git status --porcelain; echo B=2 >> local.env; \
             sed s/deployed/shipped/ scripts/deploy.sh > /tmp/d; cat /tmp/d > scripts/deploy.sh; \
             git commit -qam edited; git status --porcelain; git show --stat --format=; \
             mkdir deep; mv scripts deep/scripts; git add -A; git commit -qm moved; git status --porcelain; \
             git worktree add -q /tmp/w; git -C /tmp/w status --porcelain";
        let finished = world.run(&[], line).success();
        assert!(finished.stdout.starts_with(" M .env\n"), "{finished}");
        assert!(finished.stdout.contains(" 3 files changed, 3 insertions(+), 1 deletion(-)"), "{finished}");
        let show = |name: &str| world.git(&["show", name]).success().stdout;
        assert_eq!(show("HEAD:.env"), format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\nPORT=3000\n"));
        assert_eq!(show("HEAD:local.env"), "A=1\nB=2\n");
        let script = format!("#!/bin/sh\nexport GITHUB_TOKEN={GITHUB_TOKEN}\necho shipped\n");
        assert_eq!(show("HEAD:deep/scripts/deploy.sh"), script);
        assert_eq!(world.read("local.env"), Some(format!("A=1\nGITHUB_TOKEN={local}\nB=2\n")));
        assert_eq!(world.read("deep/scripts/deploy.sh"), Some(script));
        let told = world.git(&["status", "--porcelain"]).success();
        assert_eq!(told.stdout, " M local.env\n", "only what was never committed");
    }
}

for_each_person! {
    fn invariant_3_no_value_goes_into_a_file_that_the_inside_holds_open(person: Person) {
        let world = World::new(person);
        world.write("folder/.env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        world.write("held.env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        // The agent lays out a file of its own where the twin was, and keeps it open under two names; and another, which it never stops
        // writing, so that its value comes when nobody is left to see it.
        let program = "import os, time\n\
            line = open('folder/.env').read()\n\
            os.rename('folder', 'moved')\n\
            os.mkdir('folder')\n\
            fd = os.open('mine', os.O_RDWR | os.O_CREAT)\n\
            os.write(fd, line.encode())\n\
            os.close(fd)\n\
            fd = os.open('mine', os.O_RDONLY)\n\
            os.link('mine', 'again')\n\
            os.rename('mine', 'folder/.env')\n\
            held = os.open('new', os.O_RDWR | os.O_CREAT)\n\
            os.write(held, line.encode())\n\
            os.rename('new', 'held.env')\n\
            deadline = time.time() + 60\n\
            while os.stat('folder/.env').st_dev == os.stat('.').st_dev and time.time() < deadline: time.sleep(0.02)\n\
            open('folder/.env', 'a').write('A=1\\n')\n\
            print(os.pread(held, 999, 0) == line.encode(), os.fstat(fd).st_nlink, os.pread(fd, 999, 0) == line.encode(), open('again').read() == line)\n";
        world.write("attack.py", program);
        let finished = world.run(&[], "python3 attack.py").success();
        assert_eq!(finished.stdout, "True 1 True True\n", "{finished}");
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert_eq!(world.read("held.env"), Some(format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n")));
        let told = world.read("again").expect("the other name");
        assert!(!told.contains(STRIPE_KEY), "{told}");
        assert_eq!(world.read("moved/.env"), Some(format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n")));
    }
}

for_each_person! {
    fn invariant_3_a_twin_that_is_replaced_renamed_or_removed_takes_its_file_along(person: Person) {
        let world = World::new(person);
        let env = |more: &str| format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n{more}");
        for name in ["sed.env", "editor.env", "moved.env", "removed.env", "again.env", "exchanged.env", "folder/.env"] {
            world.write(name, &env(""));
        }
        world.write("token.sh", &format!("export GITHUB_TOKEN={GITHUB_TOKEN}\n"));
        world.write("edit.py", "\
            import os, ctypes\n\
            text = open('editor.env').read()\n\
            os.rename('editor.env', 'editor.env~')\n\
            with open('editor.env', 'w') as file:\n    \
                file.write(text[:20]); file.flush(); os.fsync(file.fileno()); file.write(text[20:] + 'EDITED=1\\n')\n\
            os.unlink('editor.env~')\n\
            open('other', 'w').write(open('exchanged.env').read() + 'EXCHANGED=1\\n')\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            assert libc.renameat2(-100, b'other', -100, b'exchanged.env', 2) == 0, ctypes.get_errno()\n");
        let line = "set -e; sed -i s/A=1/A=2/ sed.env; python3 edit.py; mv moved.env elsewhere.env; echo MOVED=1 >> elsewhere.env; \
             rm removed.env; test ! -e removed.env; cp again.env /tmp/again; rm again.env; cp /tmp/again again.env; \
             mv token.sh sub.sh; sed -i 's/export/declare -x/' sub.sh; rm -r folder; \
             cat *.env sub.sh other";
        let finished = world.run(&[], line).success();
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(!finished.everything().contains(GITHUB_TOKEN), "{finished}");
        assert_eq!(finished.stdout.matches("STRIPE_SECRET_KEY=sk_live_").count(), 6, "{finished}");
        let read = |name: &str| world.read(name);
        assert_eq!(read("sed.env"), Some(env("").replace("A=1", "A=2")), "{finished}");
        assert_eq!(read("editor.env"), Some(env("EDITED=1\n")), "{finished}");
        assert_eq!(read("elsewhere.env"), Some(env("MOVED=1\n")), "{finished}");
        assert_eq!(read("exchanged.env"), Some(env("EXCHANGED=1\n")), "{finished}");
        assert_eq!(read("other"), Some(env("")), "{finished}");
        assert_eq!(read("again.env"), Some(env("")), "{finished}");
        assert_eq!(read("sub.sh"), Some(format!("declare -x GITHUB_TOKEN={GITHUB_TOKEN}\n")), "{finished}");
        for gone in ["moved.env", "removed.env", "token.sh", "editor.env~", "folder/.env"] {
            assert_eq!(read(gone), None, "{gone}: {finished}");
        }
        let id = world.sessions().remove(0);
        world.tagout(&["undo", &id]).success();
        for name in ["sed.env", "editor.env", "moved.env", "removed.env", "again.env", "exchanged.env", "folder/.env"] {
            assert_eq!(read(name), Some(env("")), "{name}");
        }
        assert_eq!(read("elsewhere.env"), None);
        assert_eq!(read("token.sh"), Some(format!("export GITHUB_TOKEN={GITHUB_TOKEN}\n")));
        world.verify_all();
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_3_nobody_reads_a_file_while_its_twin_is_replaced_or_removed(person: Person) {
        let world = World::new(person);
        let env = format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n");
        world.write(".env", &env);
        world.write("folder/.env", &env);
        world.write("race.py", "\
            import os\n\
            names = ['.env', 'next', 'folder/.env']\n\
            text = open('.env').read()\n\
            def read(parent):\n    \
                seen = set()\n    \
                while os.getppid() == parent:\n        \
                    for name in names:\n            \
                        try:\n                \
                            with open(name) as file: seen.add(file.read().split('#')[0])\n            \
                        except OSError: pass\n    \
                with open(f'/tmp/seen.{os.getpid()}', 'w') as file: file.write(''.join(sorted(seen)))\n    \
                os._exit(0)\n\
            if os.fork() == 0:\n    \
                parent = os.getpid()\n    \
                readers = [pid for pid in (os.fork() for _ in range(2)) if pid or read(parent)]\n    \
                for n in range(40):\n        \
                    for name in ['.env', 'folder/.env']:\n            \
                        with open('next', 'w') as file: file.write(text + f'#{n}\\n')\n            \
                        if n % 2: os.unlink(name)\n            \
                        os.rename('next', name)\n    \
                os._exit(0)\n\
            os.wait()\n");
        let line = "python3 race.py; until [ $(ls /tmp/seen.* | wc -l) = 2 ]; do sleep 0.05; done; cat /tmp/seen.*";
        let finished = world.run(&[], line).success();
        assert!(finished.stdout.contains("STRIPE_SECRET_KEY=sk_live_"), "{finished}");
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        let last = format!("{env}#39\n");
        assert_eq!(world.read(".env"), Some(last.clone()), "{finished}");
        assert_eq!(world.read("folder/.env"), Some(last), "{finished}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_3_a_place_that_a_twin_only_passed_gets_no_value(person: Person) {
        let world = World::new(person);
        let env = format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n");
        for name in [".env", "b.env", "c.env", "folder/.env"] {
            world.write(name, &env);
        }
        // There and back again, at once, and after what was moved was edited and saved there, which is carried over.
        let line = "set -e; cp .env /tmp/decoys; mv .env README.md; mv README.md .env; cp /tmp/decoys README.md; \
             mv b.env notes; sed -i s/STRIPE/B/ notes; sed -i s/B_/STRIPE_/ notes; mv notes b.env; cp /tmp/decoys notes; echo >> notes; \
             mv folder other; mv other folder; mkdir other; cp /tmp/decoys other/.env; \
             mv c.env d; cp /tmp/decoys new; mv new d";
        let finished = world.run(&[], line).success();
        for name in ["README.md", "notes", "other/.env"] {
            let left = world.read(name).expect(name);
            assert!(left.contains("STRIPE_SECRET_KEY=sk_live_") && !left.contains(STRIPE_KEY), "{name}: {finished}");
        }
        for name in [".env", "b.env", "d", "folder/.env"] {
            assert_eq!(world.read(name), Some(env.clone()), "{name}: {finished}");
        }
        assert!(finished.stderr.contains("c.env, which holds secrets, is now d"), "{finished}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_3_what_a_session_took_to_where_nobody_looks_is_hidden_in_the_next(person: Person) {
        const PASSWORD: &str = "Zx81kkPq9wLm3";
        let world = World::new(person);
        world.git(&["init", "-q"]).success();
        let env = format!("# settings\nSTRIPE_SECRET_KEY={STRIPE_KEY}\nDATABASE_PASSWORD={PASSWORD}\n");
        let names = ["a.env", "b.env", "c.env", "d.env", "e/.env"];
        for name in names {
            world.write(name, &env);
        }
        let line = "set -e; mkdir -p node_modules/x target; mv a.env node_modules/x/a; mv b.env .git/b; \
             mv c.env notes.txt; sed -i -e s/settings/notes/ notes.txt; \
             mv d.env d.bin; { printf '\\0\\0\\n'; cat d.bin; } > new; mv new d.bin; mv e target/e";
        let finished = world.run(&[], line).success();
        let places = ["node_modules/x/a", ".git/b", "notes.txt", "d.bin", "target/e/.env"];
        for place in places {
            let held = world.read(place);
            assert!(held.is_some_and(|text| text.contains(PASSWORD)), "{place}: {finished}");
        }
        let again = world.run(&[], &format!("cat {}", places.join(" "))).success();
        assert!(!again.everything().contains(STRIPE_KEY), "{again}");
        assert!(!again.everything().contains(PASSWORD), "{again}");
        assert_eq!(again.stdout.matches("STRIPE_SECRET_KEY=sk_live_").count(), places.len(), "{again}");
    }
}

for_each_person! {
    fn invariant_3_an_archive_with_a_secret_is_not_shown_and_can_be_replaced(person: Person) {
        let world = World::new(person);
        world.git(&["init", "-q"]);
        world.write("app/.env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        world.write("readme.txt", "nothing\n");
        let tar = |words: &[&str]| -> Finished { world.outside("tar").args(words).output().expect("tar starts").into() };
        tar(&["-czf", "backup.tgz", "app"]).success();
        tar(&["-cf", "plain.tar", "app"]).success();
        tar(&["-czf", "harmless.tgz", "readme.txt"]).success();
        world.commit("archives");
        let finished = world.run(&[], "cat backup.tgz plain.tar | tr -d '\\0' | wc -c; tar -tzf harmless.tgz; git status --porcelain").success();
        assert_eq!(finished.stdout, "0\nreadme.txt\n", "{finished}");
        assert!(finished.stderr.contains("backup.tgz is an archive that holds secrets; inside it is zeros"), "{finished}");
        let moved = world.run(&[], "mkdir old && mv backup.tgz old/ && cat plain.tar > copy.tar && cp plain.tar zeros && cat zeros > plain.tar");
        let outside = tar(&["-tzf", "old/backup.tgz"]).success();
        assert_eq!(outside.stdout, "app/\napp/.env\n", "{moved}");
        assert_eq!(tar(&["-tf", "plain.tar"]).success().stdout, "app/\napp/.env\n", "{moved}");
        assert!(!world.read("copy.tar").is_some_and(|text| text.contains(STRIPE_KEY)), "{moved}");
        let replaced = world.run(&[], "tar -czf old/backup.tgz readme.txt; tar -tzf old/backup.tgz").success();
        assert_eq!(replaced.stdout, "readme.txt\n", "{replaced}");
        assert_eq!(tar(&["-tzf", "old/backup.tgz"]).success().stdout, "readme.txt\n", "{replaced}");
    }
}

for_each_person! {
    fn invariant_3_a_file_with_very_many_secrets_is_not_shown(person: Person) {
        let world = World::new(person);
        let line = |number: u32| format!("KEY_{number}_SECRET=q7{}{number:06}Zk\n", "xW3v9Tn2Lr8".repeat(2));
        world.write(".env", &(0..10_001).map(line).collect::<String>());
        let finished = world.run(&[], "tr -d '\\0' < .env | wc -c; echo A=1 > new; mv new .env").success();
        assert_eq!(finished.stdout, "0\n", "{finished}");
        assert!(finished.stderr.contains(".env holds too many secrets to replace each; inside it is zeros"), "{finished}");
        assert_eq!(world.read(".env").as_deref(), Some("A=1\n"), "{finished}");
    }
}

for_each_person! {
    fn git_puts_other_versions_of_a_twin_in_its_place(person: Person) {
        let world = repository(person);
        let (one, two) = (
            format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n"),
            format!("A=2\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n"),
        );
        world.write(".env", &two);
        world.commit("second");
        let line = "set -e; git checkout -q HEAD~1; grep A= .env; git status --porcelain; git checkout -q -; grep A= .env; \
             echo B=1 >> .env; git stash -q; grep -c B= .env || true; git stash pop -q; grep B= .env; git commit -qam third; \
             git checkout -q -b other HEAD~1; echo C=1 > c; git add c; git commit -qm fourth; git rebase -q -; \
             git mv .env env; git commit -qm fifth; grep -c STRIPE env; git status --porcelain";
        let finished = world.run(&[], line).success();
        assert_eq!(finished.stdout, "A=1\nA=2\n0\nB=1\n1\n", "{finished}");
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        let show = |name: &str| world.git(&["show", name]).success().stdout;
        assert_eq!(show("HEAD:env"), format!("{two}B=1\n"));
        assert_eq!(show("HEAD~3:.env"), two);
        assert_eq!(show("HEAD~4:.env"), one);
        assert_eq!(world.read("env"), Some(format!("{two}B=1\n")), "{finished}");
        let told = world.git(&["status", "--porcelain"]).success();
        assert_eq!(told.stdout, "");
    }
}
