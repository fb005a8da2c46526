//! What an agent that knows the source tries at the edge of the sandbox: git's own signposts, what the
//! host takes away, sockets, second names, set-id programs.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use tagout_tests::{World, eventually, for_each_person};

const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";

for_each_person! {
    fn invariant_9_a_worktree_cannot_be_sent_to_another_repository(person: Person) {
        let world = World::new(person);
        world.write("a", "a").commit("a");
        world.git(&["worktree", "add", "--quiet", "tree"]);
        world.git(&["clone", "--quiet", ".", "../victim"]);
        let victim = world.workspace().with_file_name("victim");

        // From the main repository, nothing that says where a worktree belongs can be changed.
        let finished = world.run(
            &[],
            "echo evil > .git/worktrees/tree/commondir && echo wrote; \
             echo evil > .git/worktrees/tree/gitdir && echo wrote; \
             mv .git/worktrees .git/away && echo wrote;",
        );
        assert!(!finished.stdout.contains("wrote"), "{finished}");

        // Should it have been changed in an ungoverned session, nothing is brought in.
        let tree = world.workspace().join("tree");
        let run = || {
            let mut command = world.run_command(&[], "git status");
            command.current_dir(&tree);
            tagout_tests::finish(&mut command)
        };
        run().success();
        let git = victim.join(".git").display().to_string();
        world.write(".git/worktrees/tree/commondir", &format!("{git}\n"));
        assert_eq!(run().status, 125);
        world.write(".git/worktrees/tree/commondir", "../..\n");
        world.write("tree/.git", &format!("gitdir: {git}\n"));
        assert_eq!(run().status, 125);
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_9_what_the_host_takes_away_stays_protected(person: Person) {
        let world = World::new(person);
        world.write("a", "a").commit("a");
        let mut command = world.run_command(
            &[],
            "echo up > up; until [ -e go ]; do sleep 0.05; done; \
             echo evil > .git/hooks/pre-commit && echo wrote hook; \
             echo evil > .git/config.worktree && echo wrote config; \
             rmdir policy.cedar; echo evil > policy.cedar && echo wrote policy; \
             git commit --allow-empty --quiet -m b && echo committed",
        );
        let session = world.start(&mut command);
        eventually("the command runs", || world.read("up").is_some());
        let at = |path: &str| world.workspace().join(path);
        std::fs::remove_dir_all(at(".git/hooks")).expect("hooks");
        std::fs::remove_file(at(".git/config.worktree")).expect("the placeholder");
        std::fs::remove_dir(at("policy.cedar")).expect("the placeholder");
        eventually("all of them are there again", || {
            [".git/hooks", ".git/config.worktree", "policy.cedar"].iter().all(|path| at(path).exists())
        });
        world.write("go", "");
        let finished = session.end();
        assert!(!finished.stdout.contains("wrote"), "{finished}");
        assert!(finished.stdout.contains("committed"), "{finished}");
        for path in [".git/hooks", ".git/config.worktree", "policy.cedar"] {
            assert!(!at(path).exists(), "{path} is left");
        }
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_1_a_socket_in_the_workspace_leads_nowhere(person: Person) {
        let world = World::new(person);
        let path = world.workspace().join("daemon.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("open to all");
        listener.set_nonblocking(true).expect("a flag");
        let finished = world.run(
            &[],
            "curl -sS --max-time 2 --unix-socket daemon.sock http://host/; rm -f daemon.sock; \
             mv daemon.sock other; curl -sS --max-time 2 --unix-socket other http://host/; echo done",
        );
        assert!(finished.stdout.ends_with("done\n"), "{finished}");
        assert!(listener.accept().is_err(), "the host heard something: {finished}");
    }
}

for_each_person! {
    fn invariant_3_a_second_name_shows_the_twin_as_well(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        world.write("node_modules/package/index.js", "");
        std::fs::hard_link(
            world.workspace().join(".env"),
            world.workspace().join("node_modules/package/data"),
        )
        .expect("a second name");
        let finished = world.run(&[], "cat .env node_modules/package/data");
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert_eq!(finished.stdout.matches("sk_live_").count(), 2, "{finished}");
    }
}

for_each_person! {
    fn invariant_9_a_set_id_program_cannot_be_rewritten(person: Person) {
        let world = World::new(person);
        world.write("tool", "the tool of the person, a page of it is enough");
        let tool = world.workspace().join("tool");
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o6777)).expect("set-id");
        let finished = world.run(
            &[],
            "python3 -c 'import mmap; f = open(\"tool\", \"r+b\"); m = mmap.mmap(f.fileno(), 4); m[0:4] = b\"evil\"; m.flush()'; \
             echo evil | dd of=tool conv=notrunc; echo done",
        );
        assert!(finished.stdout.ends_with("done\n"), "{finished}");
        let now = world.read("tool").expect("the tool");
        assert!(now.starts_with("the tool"), "{finished}");
    }
}

for_each_person! {
    fn invariant_3_a_limit_of_zero_does_not_bring_core_dumps_back(person: Person) {
        let world = World::new(person);
        // With a core_pattern that is a pipe the kernel skips the dump at 1 and runs the program at 0.
        let finished = world.run(&[], "ulimit -c 0; ulimit -Hc 0; grep 'Max core' /proc/self/limits");
        let limits: Vec<&str> = finished.stdout.split_whitespace().collect();
        assert!(limits.ends_with(&["1", "1", "bytes"]), "{finished}");
    }
}

for_each_person! {
    fn invariant_3_a_granted_value_of_no_known_shape_is_hidden_where_it_comes_from(person: Person) {
        let world = World::new(person);
        let value = "odd-but-held-8472-Qwz19xAA";
        world.write("keep/token", &format!("{value}\n"));
        world.write("notes.txt", &format!("by the way {value} works\n"));
        world.manifest(
            "[task]\nname = \"t\"\nenvironment = \"staging\"\n\
             [[credential]]\nname = \"api\"\nprovider = \"http\"\nhosts = [\"api.example.com\"]\n\
             slot = \"header:Authorization\"\nsource = \"file:keep/token\"\n\
             [[host]]\nname = \"api.example.com\"\n",
        );
        let finished = world.run(&[], "cat keep/token; cat notes.txt");
        assert!(finished.stdout.contains("by the way"), "{finished}");
        assert!(!finished.everything().contains(value), "{finished}");
    }
}

for_each_person! {
    fn invariant_9_two_that_start_at_once_do_not_share_a_workspace(person: Person) {
        let world = World::new(person);
        world.write("a", "a").commit("a");
        let line = "mkdir lock 2> /dev/null || echo shared; sleep 0.3; rmdir lock";
        let sessions: Vec<_> = (0..4)
            .map(|_| world.start(&mut world.run_command(&[], line)))
            .collect();
        for session in sessions {
            let finished = session.end();
            assert!(finished.status == 0 || finished.status == 125, "{finished}");
            assert!(!finished.stdout.contains("shared"), "{finished}");
        }
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_7_the_store_is_never_in_a_folder_that_is_shown(person: Person) {
        let world = World::new(person);
        let shown = world.home().join("tools/bin");
        let mut command = world.run_command(&[], "ls $STATE");
        command
            .env("TAGOUT_HOME", shown.join("state"))
            .env("PATH", format!("{}:/usr/bin:/bin", shown.display()));
        let finished = tagout_tests::finish(&mut command);
        assert_eq!(finished.status, 125, "{finished}");
        assert!(finished.stderr.contains("TAGOUT_HOME"), "{finished}");
    }
}
