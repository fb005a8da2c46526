//! What must stay true of a sandbox, by the numbers of the architecture, tried by what an attacker would try.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use support::{Place, as_root_and_as_ordinary_user, finish, present, run};
use tagout_sandbox::{Guard, OverlayFile, Tree, Twin, launch};

#[test]
fn invariant_1_the_only_link_leads_to_the_gates() {
    as_root_and_as_ordinary_user("invariant_1_the_only_link_leads_to_the_gates", || {
        let place = Place::new();
        let script = "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' | sort; \
                      tail -n +2 /proc/net/route | cut -f1-3; \
                      cat /proc/net/if_inet6 | cut -d' ' -f6- | tr -d ' '; \
                      for a in 1.1.1.1 169.254.169.254 10.0.0.1 127.0.0.1 198.18.0.2 198.18.0.1 ::1; do \
                        (exec 3<>/dev/tcp/$a/9) 2>&1 | head -1 | sed 's/.*: //'; done";
        let outcome = place.run(script);
        let expected = "agent0\nlo\nagent0\t000012C6\t00000000\nlo\n\
                        Network is unreachable\nNetwork is unreachable\nNetwork is unreachable\n\
                        Connection refused\nConnection refused\nConnection refused\nConnection refused\n";
        assert_eq!(outcome.ok(), expected);
    });
}

#[test]
fn invariant_1_a_connection_arrives_at_the_gate_with_its_synthetic_destination() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_connection_arrives_at_the_gate_with_its_synthetic_destination",
        || {
            let place = Place::new();
            let script = "exec 3<>/dev/tcp/198.18.7.9/443; echo hello >&3; cat <&3; \
                          exec 4<>/dev/udp/198.18.0.1/53; echo query >&4; head -c 6 <&4";
            let mut sandbox = launch(place.spec(script)).unwrap();
            let listeners = sandbox.listeners.take().unwrap();
            let gate = std::thread::spawn(move || {
                let (port, listener) = &listeners.gates[1];
                assert_eq!(*port, 443);
                listener.set_nonblocking(false).unwrap();
                let (mut connection, peer) = listener.accept().unwrap();
                assert_eq!(
                    connection.local_addr().unwrap().to_string(),
                    "198.18.7.9:443"
                );
                assert_eq!(peer.ip().to_string(), "198.18.0.2");
                connection.set_nonblocking(false).unwrap();
                let mut said = [0; 6];
                connection.read_exact(&mut said).unwrap();
                connection.write_all(b"answer\n").unwrap();
                drop(connection);
                let udp = &listeners.name_server_udp;
                udp.set_nonblocking(false).unwrap();
                let (length, from) = udp.recv_from(&mut [0; 6]).unwrap();
                assert_eq!(length, 6);
                udp.send_to(b"reply\n", from).unwrap();
                said
            });
            let outcome = finish(sandbox);
            assert_eq!(outcome.ok(), "answer\nreply\n");
            assert_eq!(&gate.join().unwrap(), b"hello\n");
        },
    );
}

#[test]
fn invariant_1_a_server_of_the_agents_own_does_not_collide_with_the_gates() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_server_of_the_agents_own_does_not_collide_with_the_gates",
        || {
            let place = Place::new();
            let mut spec = place.spec(
            "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalAddr => q(0.0.0.0), LocalPort => 8080, Listen => 1) \
             or die $!; print qq(bound\n); IO::Socket::INET->new(LocalAddr => q(198.18.0.9), LocalPort => 8081, Listen => 1) \
             and print qq(stolen\n);'",
        );
            spec.ports = vec![8080, 8081];
            assert_eq!(run(spec).ok(), "bound\n");
        },
    );
}

#[test]
fn invariant_3_nothing_of_the_supervisor_is_inside() {
    as_root_and_as_ordinary_user("invariant_3_nothing_of_the_supervisor_is_inside", || {
        let place = Place::new();
        let secret = place.path("outside").join("secret");
        std::fs::write(&secret, "hunter2").unwrap();
        std::fs::write(place.path("home").join(".netrc"), "hunter2").unwrap();
        // A descriptor that is inherited by whoever does not close it.
        let leaked = std::fs::File::open(&secret).unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        // SAFETY: nothing else of this test reads the environment at the same time: nextest runs one test a process.
        unsafe { std::env::set_var("TAGOUT_TEST_SECRET", "hunter2") };
        let script = format!(
            "ls -l /proc/self/fd | grep -c -- '->'; env | sort | cut -d= -f1; ls -A ~ /run /var /root 2>&1 | grep -v '^/'; \
             cat {secret} {parent}/../outside/secret /proc/self/root{secret} /proc/1/root{secret} /proc/self/cwd/../outside/secret 2>&1 \
             | grep hunter2; \
             cat /proc/1/environ 2>&1 | tr '\\0' '\\n'; cat /proc/1/maps 2>&1 | head -1; ls /proc/1/fd 2>&1; \
             ls -d /proc/[0-9]* | wc -l | sed 's/[1-9]/few/'; \
             ln {secret} stolen 2>&1 | grep -c 'No such file'",
            secret = secret.display(),
            parent = place.work().display(),
        );
        let outcome = place.run(&script);
        assert!(!outcome.output.contains("hunter2"), "{outcome:?}");
        assert!(
            !outcome.output.contains("TAGOUT_TEST_SECRET"),
            "{outcome:?}"
        );
        // 0, 1, 2 and the folder that `ls` itself reads.
        assert!(
            outcome
                .output
                .starts_with("4\nHOME\nPATH\nPWD\nSHLVL\nTERM\n_\n"),
            "{outcome:?}"
        );
        assert!(
            outcome
                .output
                .contains("cannot open directory '/proc/1/fd': Permission denied"),
            "{outcome:?}"
        );
        assert!(
            outcome
                .output
                .contains("/proc/1/environ: Permission denied"),
            "{outcome:?}"
        );
        drop(leaked);
    });
}

#[test]
fn invariant_3_the_stage_cannot_be_read_from_inside_or_dumped() {
    as_root_and_as_ordinary_user(
        "invariant_3_the_stage_cannot_be_read_from_inside_or_dumped",
        || {
            let place = Place::new();
            let outcome = place.run(
            "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp)' /proc/self/status; ulimit -c; \
             grep Cap /proc/1/status >/dev/null && echo visible; sh -c 'kill -SEGV $$'; ls core* 2>/dev/null",
        );
            let expected = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
                        Seccomp_filters:\t1\n0\nvisible\n";
            assert_eq!(outcome.output, expected);
        },
    );
}

#[test]
fn only_the_trees_and_private_folders_can_be_written() {
    as_root_and_as_ordinary_user("only_the_trees_and_private_folders_can_be_written", || {
        let place = Place::new();
        let outcome = place.run(
            "for d in / /usr /usr/bin /etc /opt /bin /dev /proc /proc/sys/kernel /sys /var /proc/sys/user; do \
               (echo x > $d/probe) 2>/dev/null && echo \"$d writable\"; done; \
             for d in /tmp /var/tmp /dev/shm /run ~ .; do (echo x > $d/probe) || echo \"$d not writable\"; done; \
             (echo core > /proc/sys/kernel/core_pattern) 2>/dev/null && echo pattern; \
             (echo 1 > /proc/sys/user/max_user_namespaces) 2>/dev/null && echo limit; \
             echo x > /dev/null; head -c 4 /dev/zero | wc -c; ls /dev | sort | tr '\\n' ' '; \
             unshare -U true 2>/dev/null && echo unshared; \
             cat /proc/sys/user/max_user_namespaces; \
             awk '{print $4}' /proc/self/mountinfo >/dev/null; \
             awk '$6 !~ /nosuid/ {print \"suid: \" $5}' /proc/self/mountinfo; \
             awk '$6 !~ /nodev/ && $5 !~ /^.dev./ {print \"dev: \" $5}' /proc/self/mountinfo",
        );
        assert_eq!(
            outcome.ok(),
            "4\nfd full null ptmx pts random shm stderr stdin stdout tty urandom zero 0\n"
        );
        assert!(!Path::new("/tmp/probe").exists());
    });
}

#[test]
fn machine_secrets_are_masked() {
    as_root_and_as_ordinary_user("machine_secrets_are_masked", || {
        let place = Place::new();
        let outcome = place.run("cat /etc/shadow /etc/sudoers /etc/gshadow 2>/dev/null | wc -c; cat /proc/kcore 2>/dev/null | wc -c");
        assert_eq!(outcome.ok(), "0\n0\n");
    });
}

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
            python3 -c 'import ctypes; print(ctypes.CDLL(None).renameat2(-100, b\"new\", -100, b\".git\", 2))' 2>/dev/null | grep -v -- -1; \
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
        }];
        let sandbox = launch(spec).unwrap();
        assert_eq!(sandbox.report().multiply_linked, [file.clone()]);
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

#[test]
fn freezing_stops_everything_and_thawing_goes_on() {
    as_root_and_as_ordinary_user("freezing_stops_everything_and_thawing_goes_on", || {
        let place = Place::new();
        let mut sandbox =
            launch(place.spec("(while :; do :; done) & echo ready; read line; echo $line"))
                .unwrap();
        let control = sandbox.control();
        let mut ends = sandbox.start().unwrap();
        let mut output = ends.output.take().unwrap();
        output.read_exact(&mut [0; 6]).unwrap();
        control.freeze().unwrap();
        ends.input.take().unwrap().write_all(b"line\n").unwrap();
        let mut polled = [rustix::event::PollFd::new(
            &output,
            rustix::event::PollFlags::IN,
        )];
        let moment = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        assert_eq!(
            rustix::event::poll(&mut polled, Some(&moment)).unwrap(),
            0,
            "something still runs"
        );
        control.thaw().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "line\n");
        assert_eq!(sandbox.wait().unwrap().exit.status(), 0);
    });
}

#[test]
fn no_set_id_file_can_be_made() {
    as_root_and_as_ordinary_user("no_set_id_file_can_be_made", || {
        let place = Place::new();
        let outcome = place.run(
            "cp /bin/true t; for m in 4755 2755 6755 u+s g+s; do chmod $m t 2>/dev/null && echo chmod $m; done; \
             install -m 4755 /bin/true i 2>/dev/null; mkdir -m 2755 d 2>/dev/null; \
             perl -e 'umask 0; sysopen(F, q(o), 0x41, 04777); mkdir(q(e), 02777); syscall(133, q(n), 0104755, 0)' ; \
             find . -perm /6000 | sort; stat -c '%u' t",
        );
        assert_eq!(outcome.output.lines().count(), 1, "{outcome:?}");
        let owner = place.work().metadata().unwrap().uid();
        for entry in std::fs::read_dir(place.work()).unwrap() {
            let metadata = entry.unwrap().metadata().unwrap();
            assert_eq!(metadata.mode() & 0o6000, 0);
            assert_eq!(metadata.uid(), owner);
        }
    });
}

#[test]
fn own_files_are_laid_over_the_hosts() {
    as_root_and_as_ordinary_user("own_files_are_laid_over_the_hosts", || {
        let place = Place::new();
        let mut spec = place.spec(
            "cat /etc/hosts /etc/resolv.conf /etc/tagout-new /run/own/file /etc/no-such-folder/file 2>/dev/null; \
             (echo x > /etc/hosts) 2>/dev/null && echo wrote; getent passwd $(id -u) | cut -d: -f3 | grep -qx $(id -u) && echo named; \
             ls /etc/ssl >/dev/null && echo intact",
        );
        for (path, text) in [
            ("/etc/hosts", "hosts\n"),
            ("/etc/tagout-new", "new\n"),
            ("/run/own/file", "run\n"),
            ("/etc/no-such-folder/file", "nowhere\n"),
        ] {
            spec.overlays.push(OverlayFile {
                path: path.into(),
                bytes: text.into(),
                mode: 0o644,
            });
        }
        let sandbox = launch(spec).unwrap();
        assert_eq!(
            sandbox.report().left_out,
            [Path::new("/etc/no-such-folder/file")]
        );
        let outcome = finish(sandbox);
        let expected = "hosts\nnameserver 198.18.0.1\nnew\nrun\n";
        let (named, intact) = (
            outcome.output.contains("named"),
            outcome.output.contains("intact"),
        );
        assert!(
            outcome.output.starts_with(expected) && intact,
            "{outcome:?}"
        );
        // An ordinary user of the tests need not have an account.
        assert!(
            named || !rustix::process::geteuid().is_root(),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    as_root_and_as_ordinary_user(
        "a_command_that_is_not_there_is_127_and_one_that_cannot_run_126",
        || {
            let place = Place::new();
            std::fs::write(place.work().join("plain"), "text").unwrap();
            let tool = place.path("outside").join("tool");
            std::fs::write(&tool, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
            let mut spec = place.spec("");
            for (command, status, said) in [
                ("no-such-command-anywhere", 127, "command not found"),
                ("./plain", 126, "Permission denied"),
                ("./absent", 127, "command not found"),
            ] {
                spec.command = vec![command.into()];
                let outcome = run(spec.clone());
                assert_eq!(outcome.status, status, "{outcome:?}");
                assert!(
                    outcome.ended.not_executed.as_ref().unwrap().contains(said),
                    "{outcome:?}"
                );
            }
            // A folder of PATH anywhere brings its programs along.
            spec.search_path = format!("{}:/usr/bin:/bin", place.path("outside").display());
            spec.command = vec!["tool".into()];
            assert_eq!(run(spec).status, 0);
        },
    );
}

#[test]
fn invariant_11_everything_ends_with_the_command() {
    as_root_and_as_ordinary_user("invariant_11_everything_ends_with_the_command", || {
        let place = Place::new();
        let script = "for i in 1 2 3; do (trap '' HUP TERM INT; setsid sleep 1234567 & exec nohup sleep 1234567) >/dev/null 2>&1 & done; \
                      perl -e 'fork and exit; setpgrp; exec qw(sleep 1234567)' >/dev/null & exit 0";
        assert_eq!(place.run(script).status, 0);
        assert!(running("1234567").is_empty(), "{:?}", running("1234567"));
    });
}

#[test]
fn invariant_11_killing_ends_everything_at_once() {
    as_root_and_as_ordinary_user("invariant_11_killing_ends_everything_at_once", || {
        let place = Place::new();
        let mut sandbox =
            launch(place.spec("trap '' TERM; echo ready; while :; do read line; done")).unwrap();
        let control = sandbox.control();
        let mut ends = sandbox.start().unwrap();
        ends.output
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 6])
            .unwrap();
        control.kill();
        assert_eq!(sandbox.wait().unwrap().exit.status(), 137);
        assert!(control.freeze().is_err());
    });
}

#[test]
fn invariant_11_a_killed_supervisor_leaves_no_process_and_no_mount() {
    as_root_and_as_ordinary_user(
        "invariant_11_a_killed_supervisor_leaves_no_process_and_no_mount",
        || {
            let place = Place::new();
            let mut spec = guarded(&place, "echo up; exec sleep 7654321");
            spec.workspace.guards = vec![Guard::folder("tagout.toml")];
            spec.placeholder_journal = Some(place.path("journal"));
            let marker = place.folder.path().to_str().unwrap().to_string();
            for instant in 0..40u64 {
                let mut child = support::attached(&place, &spec)
                    .stdin(std::process::Stdio::null())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                if instant % 4 == 3 {
                    child
                        .stdout
                        .as_mut()
                        .unwrap()
                        .read_exact(&mut [0; 3])
                        .unwrap();
                } else {
                    // Some instant of the launch: what happens is different each time, and nothing depends on which it is.
                    let until =
                        std::time::Instant::now() + std::time::Duration::from_micros(instant * 700);
                    while std::time::Instant::now() < until {
                        std::hint::spin_loop();
                    }
                }
                let descendants = descendants(child.id());
                child.kill().unwrap();
                child.wait().unwrap();
                await_end(&descendants);
                assert!(running("7654321").is_empty());
                tagout_sandbox::sweep_placeholders(&place.path("journal")).unwrap();
                assert!(
                    !present(&place.work().join("tagout.toml")),
                    "instant {instant}"
                );
            }
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(&marker), "{mounts}");
            if let Ok(groups) = std::fs::read_dir("/sys/fs/cgroup") {
                assert!(
                    groups
                        .flatten()
                        .all(|group| !group.file_name().to_string_lossy().starts_with("tagout-"))
                );
            }
        },
    );
}

/// Command lines of running processes that contain `word` as an argument.
fn running(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        if line
            .split(|&byte| byte == 0)
            .any(|argument| argument == word.as_bytes())
        {
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    found
}

/// Pidfds of every descendant of a process.
fn descendants(process: u32) -> Vec<std::os::fd::OwnedFd> {
    let mut found = Vec::new();
    let mut open = vec![process as i32];
    while let Some(parent) = open.pop() {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .unwrap_or_default();
        for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
            open.push(child);
            let pid = rustix::process::Pid::from_raw(child).unwrap();
            if let Ok(pidfd) =
                rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            {
                found.push(pidfd);
            }
        }
    }
    found
}

/// Waits for each to end, ten seconds at most.
fn await_end(processes: &[std::os::fd::OwnedFd]) {
    let moment = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    for process in processes {
        let mut polled = [rustix::event::PollFd::new(
            process,
            rustix::event::PollFlags::IN,
        )];
        assert_eq!(
            rustix::event::poll(&mut polled, Some(&moment)).unwrap(),
            1,
            "a process lives on"
        );
    }
}
