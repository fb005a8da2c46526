//! Files that programs outside run or believe, and what a manifest hides or keeps.

use tagout_tests::{World, for_each_person};

for_each_person! {
    fn invariant_9_control_files_cannot_be_changed_present_or_absent(person: Person) {
        let world = World::new(person);
        for path in [".vscode/tasks.json", "app/.vscode/settings.json", ".envrc", "app/.ENVRC"] {
            world.write(path, "as before\n");
        }
        world.git(&["init", "-q", "vendor/inner"]).success();
        world.write("vendor/inner/.git/hooks/pre-commit.sample", "sample\n");
        let archive = world.workspace().join("evil.tar");
        let made = world.outside("bash").args(["-c", &format!(
            "cd $(mktemp -d) && mkdir -p .claude .cursor .vscode vendor/inner/.git/hooks && \
             for f in .claude/settings.json .cursor/mcp.json .vscode/tasks.json .mcp.json vendor/inner/.git/hooks/pre-commit; \
             do echo evil > $f; done && tar cf {} .", archive.display()
        )]).status().expect("bash runs");
        assert!(made.success());
        // Absent ones made, present ones written, renamed, replaced, linked away; by tar, by git.
        let line = "try() { \"$@\" 2>/dev/null && echo \"done: $*\"; }; w() { echo evil > \"$1\"; }; \
             for f in .claude/settings.json .claude/hooks.json .mcp.json .cursor/mcp.json .codex/config.toml .gemini/settings.json \
                      .vscode/tasks.json .vscode/new.json app/.vscode/settings.json app/.vscode/new.json .envrc app/.ENVRC \
                      vendor/inner/.git/config vendor/inner/.git/hooks/pre-commit; do \
                try mkdir -p $(dirname $f); try w $f; echo evil > /tmp/e; try mv /tmp/e $f; try ln -sf /tmp/e $f; try rm -f $f; done; \
             for f in .claude .mcp.json .cursor .codex .gemini .vscode .envrc app/.vscode; do \
                try mv $f away; try rmdir $f; try ln -sfn /tmp $f/x; try ln -sfn /tmp $f; done; \
             tar xf evil.tar; tar xf evil.tar --overwrite; tar xf evil.tar --unlink-first; \
             git init -q; mkdir -p b/.claude && echo evil > b/.claude/settings.json && git -C b init -q && \
             git -C b add -A && git -C b -c user.name=a -c user.email=a@example.com commit -qm x && git fetch -q ./b HEAD && git checkout -q FETCH_HEAD -- .claude; \
             grep -rl evil .claude .mcp.json .cursor .codex .gemini .vscode .envrc app vendor | sed 's/^/evil in /'; echo end";
        let finished = world.run(&[], line);
        assert!(finished.stdout.ends_with("end\n"), "{finished}");
        assert!(!finished.stdout.contains("evil") && !finished.stdout.contains("done: w"), "{finished}");
        for path in [".vscode/tasks.json", "app/.vscode/settings.json", ".envrc", "app/.ENVRC"] {
            assert_eq!(world.read(path).as_deref(), Some("as before\n"), "{path}: {finished}");
        }
        for path in [".claude", ".mcp.json", ".cursor", ".codex", ".gemini", "vendor/inner/.git/hooks/pre-commit"] {
            let left = std::fs::symlink_metadata(world.workspace().join(path));
            assert!(left.is_err(), "{path} is left behind: {finished}");
        }
        // What can only be told is told.
        assert!(finished.stderr.contains("b/.claude/settings.json"), "{finished}");
        assert!(finished.stderr.contains("git repositories whose configuration"), "{finished}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn who_cannot_change_a_control_file_is_told_why(person: Person) {
        let world = World::new(person);
        let line = "git config core.hooksPath hooks; sleep 0.6; sh -c 'echo evil > .git/hooks/pre-commit'; git config core.pager less";
        let finished = world.run(&[], line);
        for (path, times) in [(".git/config", 1), (".git/hooks/pre-commit", 1)] {
            let told = format!("tagout: {}/{path} stays as it is while a session runs", world.workspace().display());
            assert_eq!(finished.stderr.matches(&told).count(), times, "{finished}");
        }
    }
}

for_each_person! {
    fn invariant_9_what_git_outside_would_run_cannot_be_changed(person: Person) {
        let world = World::new(person);
        world.git(&["init", "-q"]).success();
        world.git(&["init", "-q", "vendor/inner"]).success();
        world.git(&["init", "-q", "--bare", "mirrors/bare.git"]).success();
        world.git(&["init", "-q", "--separate-git-dir=mirrors/apart", "apart"]).success();
        std::fs::remove_dir_all(world.workspace().join("mirrors/bare.git/hooks")).expect("hooks");
        let named = ["team.gitconfig", "tools/watch.sh", "tools/hooks/pre-commit", "clean.py"];
        for path in named.iter().chain(&["tools/free.sh"]) {
            world.write(path, "# as before\n");
        }
        for (key, value) in [
            ("include.path", "../team.gitconfig"),
            ("include.path", "../later/team.gitconfig"),
            ("core.fsmonitor", "./tools/watch.sh --fast"),
            ("core.hooksPath", "./tools/hooks"),
            ("filter.x.clean", "python3 clean.py"),
            ("diff.y.textconv", "./absent.sh"),
        ] {
            world.git(&["config", "--add", key, value]).success();
        }
        let line = "w() { echo evil > /tmp/e; echo evil > \"$1\"; mv /tmp/e \"$1\"; ln -sf /tmp/e \"$1\"; rm -f \"$1\"; }; \
             for f in team.gitconfig tools/watch.sh tools/hooks/pre-commit tools/hooks/post-commit clean.py absent.sh later/team.gitconfig \
                      mirrors/bare.git/config mirrors/bare.git/hooks/post-update vendor/inner/.git/commondir vendor/inner/.git/config.worktree \
                      mirrors/apart/config mirrors/apart/hooks/pre-commit apart/.git; do \
                mkdir -p $(dirname $f); w $f; done; \
             for f in tools tools/hooks mirrors mirrors/bare.git vendor vendor/inner vendor/inner/.git apart; do \
                python3 -c \"import os; os.rename('$f', 'away')\" 2>/dev/null && echo renamed $f; done; \
             git -C vendor/inner -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m works && \
             git clone -q mirrors/bare.git clone && git -C clone -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m pushed && \
             git -C clone push -q origin HEAD && git -C mirrors/bare.git log --format=%s && git -C vendor/inner log --format=%s; \
             echo changed > tools/free.sh";
        let finished = world.run(&[], line).success();
        assert_eq!(finished.stdout, "pushed\nworks\n", "{finished}");
        for path in named {
            assert_eq!(world.read(path).as_deref(), Some("# as before\n"), "{path}: {finished}");
        }
        assert_eq!(world.read("tools/free.sh").as_deref(), Some("changed\n"), "{finished}");
        for path in [
            "absent.sh", "later", "tools/hooks/post-commit", "mirrors/bare.git/hooks", "away",
            "vendor/inner/.git/commondir", "vendor/inner/.git/config.worktree", "mirrors/apart/hooks/pre-commit",
        ] {
            let left = std::fs::symlink_metadata(world.workspace().join(path));
            assert!(left.is_err(), "{path} is left behind: {finished}");
        }
        for path in ["mirrors/bare.git/config", "mirrors/apart/config", "apart/.git"] {
            assert!(!world.read(path).expect("there before").contains("evil"), "{path}: {finished}");
        }
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn what_a_session_writes_for_programs_outside_is_named(person: Person) {
        let world = World::new(person);
        world.write("package.json", "{}\n");
        world.write("untouched/package.json", "{}\n");
        let line = "echo '{\"scripts\":{}}' > package.json; mkdir -p .github/workflows; echo on: > .github/workflows/ci.yml; echo hello > AGENTS.md";
        let finished = world.run(&[], line).success();
        let told = "run or believed by programs outside: .github/workflows/ci.yml, AGENTS.md, package.json";
        assert!(finished.stderr.contains(told), "{finished}");
        assert!(!finished.stderr.contains("untouched"), "{finished}");
        // What became of them, and what puts them back.
        for line in ["package.json:", "-{}", "+{\"scripts\":{}}", "+on:", "+hello"] {
            assert!(finished.stderr.contains(line), "{line}: {finished}");
        }
        let id = world.sessions()[0].clone();
        let undo = format!("`tagout undo {id} .github/workflows/ci.yml AGENTS.md package.json`");
        assert!(finished.stderr.contains(&undo), "{finished}");
        world.tagout(&["undo", &id, ".github/workflows/ci.yml", "AGENTS.md", "package.json"]).success();
        assert_eq!(world.read("package.json").as_deref(), Some("{}\n"));
        assert_eq!(world.read("AGENTS.md"), None);
    }
}

for_each_person! {
    fn the_log_names_all_that_the_report_has_no_room_for(person: Person) {
        let world = World::new(person);
        let line = "for n in 1 2 3 4 5 6 7 8; do mkdir d$n; echo all: > d$n/GNUmakefile; done";
        let finished = world.run(&[], line).success();
        assert!(finished.stderr.contains("d6/GNUmakefile and 2 more"), "{finished}");
        let log = world.tagout(&["log", &world.sessions()[0]]).success();
        assert!(log.stdout.contains("control_files_written") && log.stdout.contains("d8/GNUmakefile"), "{log}");
    }
}

for_each_person! {
    fn invariant_3_the_report_of_what_was_written_tells_no_value(person: Person) {
        let world = World::new(person);
        let value = "ghp_7Wq2xLr9TfKd4VnB8sYcZ1mJ6hPe3uA0gXiQ";
        world.write("package.json", &format!("{{\"token\": \"{value}\", \"name\": \"a\"}}\n"));
        let line = "echo '{\"name\":\"b\"}' > new; mv new package.json";
        let finished = world.run(&[], line).success();
        assert!(finished.stderr.contains("+{\"name\":\"b\"}"), "{finished}");
        let id = world.sessions()[0].clone();
        let log = world.tagout(&["log", &id, "--json"]).success();
        for told in [finished.everything(), log.everything()] {
            assert!(!told.contains(value), "{told}");
        }
    }
}

for_each_person! {
    fn invariant_9_what_the_manifest_hides_or_keeps_is_so(person: Person) {
        let world = World::new(person);
        for path in ["ops/prod.yaml", "ops/deep/key", "infra/main.tf", "infra/deep/x.tf", "notes/plan.secret", "src/a"] {
            world.write(path, "as before\n");
        }
        world.manifest(
            "[task]\nname = \"t\"\n[workspace]\nhidden = [\"ops/**\", \"**/*.secret\"]\nread_only = [\"infra/**\", \"src/a\"]\n",
        );
        let line = "find ops notes -type f -exec cat {} +; cat ops/prod.yaml notes/plan.secret; \
             echo x > ops/new; echo x >> notes/plan.secret; rm -rf ops notes/plan.secret; chmod 644 notes/plan.secret; cat notes/plan.secret; \
             for f in infra/main.tf infra/new.tf infra/deep/x.tf src/a; do echo evil > $f && echo wrote $f; test -e $f && rm -f $f && echo removed $f; done; \
             mv infra gone; cat infra/main.tf; echo fine > src/b && cat src/b";
        let finished = world.run(&[], line).success();
        assert_eq!(finished.stdout, "as before\nfine\n", "{finished}");
        for path in ["ops/prod.yaml", "ops/deep/key", "infra/main.tf", "infra/deep/x.tf", "notes/plan.secret", "src/a"] {
            assert_eq!(world.read(path).as_deref(), Some("as before\n"), "{path}");
        }
        assert_eq!(world.read("infra/new.tf"), None);
    }
}

for_each_person! {
    fn invariant_3_what_nobody_could_look_at_is_hidden(person: Person) {
        use std::os::unix::fs::PermissionsExt;

        const VALUE: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";
        let world = World::new(person);
        let files = [".env", "notes.txt", "closed/.env", "by-name/.env"];
        for path in files {
            world.write(path, &format!("STRIPE_SECRET_KEY={VALUE}\n"));
        }
        let mode = |path: &str, mode| {
            let path = world.workspace().join(path);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
        };
        for (path, bits) in [(".env", 0), ("notes.txt", 0o200), ("closed", 0), ("by-name", 0o300)] {
            mode(path, bits);
        }
        let finished = world.run(&[], "cat by-name/.env; chmod -R u+rwX .; chmod 700 closed by-name; chmod 600 .env notes.txt; \
             cat .env notes.txt closed/.env by-name/.env");
        assert!(!finished.everything().contains(VALUE), "{finished}");
        if !person.is_root() {
            assert!(finished.stderr.contains(".env and 3 more could not be read, and so is hidden"), "{finished}");
        }
        for path in ["closed", "by-name"] {
            mode(path, 0o700);
        }
        for path in files {
            mode(path, 0o600);
            assert!(world.read(path).is_some_and(|text| text.contains(VALUE)), "{path}: {finished}");
        }
    }
}
