//! Invariant 9: guarded places and twins, against the agent from inside and the host from outside.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use support::{Place, as_root_and_as_ordinary_user, finish, present, run};
use tagout_sandbox::{Guard, Tree, Twin, launch};

/// A repository with a commit, as a user has it.
fn repository(place: &Place) {
    let git = |arguments: &[&str]| {
        let status = Command::new("git")
            .current_dir(place.work())
            .env("HOME", place.path("home"))
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    };
    git(&["init", "-q"]);
    std::fs::write(place.work().join("a"), "1\n").unwrap();
    git(&["add", "a"]);
    git(&["commit", "-q", "-m", "first"]);
}

fn guarded(place: &Place, script: &str) -> tagout_sandbox::Spec {
    let mut spec = place.spec(script);
    spec.workspace.guards = Guard::git_folder(Path::new(".git"));
    spec.workspace.guards.push(Guard::folder("tagout.toml"));
    spec.workspace.guards.push(Guard::folder("policy.cedar"));
    spec
}

#[test]
fn invariant_9_guarded_places_cannot_be_changed_present_or_absent() {
    as_root_and_as_ordinary_user(
        "invariant_9_guarded_places_cannot_be_changed_present_or_absent",
        || {
            let place = Place::new();
            repository(&place);
            let config = std::fs::read_to_string(place.work().join(".git/config")).unwrap();
            let script = "try() { \"$@\" 2>/dev/null && echo \"done: $*\"; }; \
            w() { (echo evil > $1) 2>/dev/null && echo \"wrote $1\"; }; \
            for f in .git/config .git/config.worktree .git/commondir .git/hooks/pre-commit tagout.toml tagout.toml/x policy.cedar; do w $f; done; \
            for f in .git/config .git/config.worktree .git/commondir .git/hooks tagout.toml policy.cedar; do \
              try rm -rf $f; try mv $f elsewhere; try chmod 777 $f; try ln $f linked; try touch evil; try mv -T evil $f; \
              try ln -sfn /tmp $f; try rmdir $f; try git mv $f elsewhere; done; rm -f evil; try mv .git elsewhere; try rmdir .git; \
            try git config core.fsmonitor evil; \
            mkdir new && try mv -T --exchange new .git; \
            perl -e 'syscall(316, -100, q(new), -100, q(.git), 2) == 0 and print qq(exchanged\n)'; \
            perl -e 'syscall(316, -100, q(new), -100, q(tagout.toml), 2) == 0 and print qq(exchanged\n)'; \
            rmdir new; echo end";
            let outcome = run(guarded(&place, script));
            let touched: Vec<&str> = outcome
                .output
                .lines()
                .filter(|line| *line != "done: touch evil")
                .collect();
            assert_eq!(touched, ["end"], "{outcome:?}");
            assert_eq!(
                std::fs::read_to_string(place.work().join(".git/config")).unwrap(),
                config
            );
            for absent in [
                ".git/config.worktree",
                ".git/commondir",
                "tagout.toml",
                "policy.cedar",
            ] {
                assert!(
                    !present(&place.work().join(absent)),
                    "{absent} was left behind"
                );
            }
            assert!(present(&place.work().join(".git/hooks")));
        },
    );
}

#[test]
fn git_works_under_its_guards() {
    as_root_and_as_ordinary_user("git_works_under_its_guards", || {
        let place = Place::new();
        repository(&place);
        let script = "set -e; export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.com GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.com; \
            git status --porcelain; echo 2 > a; git commit -qam second; git checkout -q -b topic; echo 3 > b; git add -A; \
            git commit -qm third; git stash list; git checkout -q main; git merge -q topic; git rebase -q topic; git gc -q; \
            git log --oneline | wc -l; git rev-parse --show-toplevel --git-common-dir; git worktree add -q /tmp/tree topic; \
            git -C /tmp/tree status --porcelain; git worktree remove /tmp/tree; git ls-files | tr '\\n' ' '";
        let outcome = run(guarded(&place, script));
        assert_eq!(
            outcome.ok(),
            format!("3\n{0}\n{0}/.git\na b ", place.work().display()),
            "{outcome:?}"
        );
        let outside = Command::new("git")
            .current_dir(place.work())
            .args(["status", "--porcelain"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&outside.stdout), "", "{outside:?}");
        // What was made inside belongs to who owns the workspace.
        assert_eq!(
            place.work().join("b").metadata().unwrap().uid(),
            place.work().metadata().unwrap().uid()
        );
    });
}

#[test]
fn a_linked_worktree_brings_its_common_folder_guarded_alike() {
    as_root_and_as_ordinary_user(
        "a_linked_worktree_brings_its_common_folder_guarded_alike",
        || {
            let place = Place::new();
            repository(&place);
            let linked = place.path("linked");
            let made = Command::new("git")
                .current_dir(place.work())
                .args(["worktree", "add", "-q", "-b", "side"])
                .arg(&linked)
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            let mut spec = place.spec(
            "git -c user.name=t -c user.email=t@e.com commit -q --allow-empty -m side && git log --oneline | wc -l; \
             (echo evil > $COMMON/hooks/post-commit) 2>/dev/null && echo wrote; git config core.fsmonitor evil 2>/dev/null && echo set; \
             rm -f .git 2>/dev/null && echo removed; (echo 'gitdir: /tmp/evil' > .git) 2>/dev/null && echo redirected; echo end",
        );
            let common = place.work().join(".git");
            spec.environment
                .push(("COMMON".into(), common.to_str().unwrap().into()));
            spec.workspace = Tree::open(&linked).unwrap();
            spec.workspace.guards = vec![Guard::file(".git", *b"")];
            let mut extra = Tree::open(&common).unwrap();
            extra.guards = Guard::git_folder(Path::new(""));
            spec.extra_trees = vec![extra];
            spec.working_directory = linked;
            let outcome = run(spec);
            assert_eq!(outcome.ok(), "2\nend\n", "{outcome:?}");
        },
    );
}

#[test]
fn a_twin_is_what_is_read_under_every_name() {
    as_root_and_as_ordinary_user("a_twin_is_what_is_read_under_every_name", || {
        let place = Place::new();
        std::fs::create_dir(place.work().join("config")).unwrap();
        let file = place.work().join("config/.env");
        std::fs::write(&file, "TOKEN=real\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("config/.env", place.work().join("link")).unwrap();
        std::fs::hard_link(&file, place.work().join("hard")).unwrap();
        let mut spec = place.spec(
            "cat config/.env link; stat -c %a config/.env; (echo x > config/.env) 2>/dev/null && echo wrote; \
             rm -f config/.env 2>/dev/null && echo removed; cp link copy; cat copy; mv config moved && cat moved/.env; \
             ln moved/.env again 2>/dev/null && cat again; mv moved config",
        );
        spec.workspace.twins = vec![Twin {
            path: "config/.env".into(),
            bytes: b"TOKEN=decoy\n".to_vec(),
            editable: false,
        }];
        let sandbox = launch(spec).unwrap();
        assert_eq!(
            sandbox.report().multiply_linked,
            std::slice::from_ref(&file)
        );
        let outcome = finish(sandbox);
        let decoy = "TOKEN=decoy\n";
        assert_eq!(outcome.ok(), format!("{decoy}{decoy}640\n{decoy}{decoy}"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "TOKEN=real\n");
    });
}

#[test]
fn what_the_host_replaces_is_mounted_anew() {
    as_root_and_as_ordinary_user("what_the_host_replaces_is_mounted_anew", || {
        let place = Place::new();
        repository(&place);
        let file = place.work().join(".env");
        std::fs::write(&file, "TOKEN=real\n").unwrap();
        let mut spec = guarded(
            &place,
            "cat .env; echo now; read line; cat .env; (echo evil >> .git/config) 2>/dev/null && echo wrote; cat .git/config | grep -c new",
        );
        spec.workspace.twins = vec![Twin {
            path: ".env".into(),
            bytes: b"TOKEN=decoy\n".to_vec(),
            editable: false,
        }];
        let mut sandbox = launch(spec).unwrap();
        let control = sandbox.control();
        let watch = sandbox.watch().unwrap();
        let watcher = std::thread::spawn(move || {
            let mut detached = Vec::new();
            for change in watch {
                let change = change.unwrap();
                if !change.detached || detached.contains(&change.path) {
                    continue;
                }
                control.freeze().unwrap();
                if change.path.ends_with(".env") {
                    control
                        .mount_bytes_over(&change.path, b"TOKEN=decoy2\n".to_vec())
                        .unwrap();
                } else {
                    control.guard_again(&change.path).unwrap();
                }
                control.thaw().unwrap();
                detached.push(change.path);
                if detached.len() == 2 {
                    break;
                }
            }
        });
        let mut ends = sandbox.start().unwrap();
        let mut output = ends.output.take().unwrap();
        let mut seen = [0; 16];
        output.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"TOKEN=decoy\nnow\n");
        for (path, text) in [(".env", "TOKEN=other\n"), (".git/config", "# new\n")] {
            std::fs::write(place.work().join("saved"), text).unwrap();
            std::fs::rename(place.work().join("saved"), place.work().join(path)).unwrap();
        }
        watcher.join().unwrap();
        ends.input.take().unwrap().write_all(b"go\n").unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "TOKEN=decoy2\n1\n");
        sandbox.wait().unwrap();
    });
}
