//! Invariant 3 and what surrounds it: what the command can see, write, become and execute.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use support::{Place, as_root_and_as_ordinary_user, finish, run};
use tagout_sandbox::{LaunchError, OverlayFile, Tree, launch};

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
             ls /etc/ssl >/dev/null && stat -c %s /etc/shadow | grep -qx 0 && echo intact",
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
fn a_file_of_ours_joins_a_folder_of_the_host_that_is_otherwise_as_it_was() {
    as_root_and_as_ordinary_user(
        "a_file_of_ours_joins_a_folder_of_the_host_that_is_otherwise_as_it_was",
        || {
            let place = Place::new();
            let folder = place.path("outside").join("of the host");
            let plain = place.path("outside").join("certificates");
            for folder in [&folder, &plain] {
                std::fs::create_dir_all(folder.join("inner")).unwrap();
                std::fs::write(folder.join("inner/deep"), "deep\n").unwrap();
                std::fs::write(folder.join("first"), "first\n").unwrap();
                std::os::unix::fs::symlink("first", folder.join("link")).unwrap();
                std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            for folder in [folder, plain] {
                let shown = folder.display();
                let mut spec = place.spec(&format!(
                    "cd '{shown}'; ls; cat first link inner/deep ours.0 ours.1; stat -c %a . ours.0 ours.1; \
                     (echo x > first; echo x > new; echo x > ours.0; rm ours.1; rm link) 2>/dev/null; \
                     awk '$5 ~ \"/(certificates|of.*host)$\" {{print substr($6, 1, 2)}}' /proc/self/mountinfo | sort -u"
                ));
                spec.readable.push(folder.clone());
                for (name, mode) in [("ours.0", 0o644), ("ours.1", 0o600)] {
                    spec.overlays.push(OverlayFile {
                        path: folder.join(name),
                        bytes: name.into(),
                        mode,
                    });
                }
                let outcome = run(spec);
                assert_eq!(
                    outcome.output,
                    "first\ninner\nlink\nours.0\nours.1\nfirst\nfirst\ndeep\nours.0ours.1755\n644\n600\nro\n",
                    "{outcome:?}"
                );
            }
        },
    );
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
fn started_as_root_over_what_cannot_be_mapped_the_owner_runs_or_nobody() {
    if !rustix::process::geteuid().is_root() {
        // Only root mounts an overlay, and only root has somebody else to be.
        return;
    }
    let place = Place::new();
    // SAFETY: only this thread leaves the mount namespace, and everything it starts goes with it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
    let private =
        rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", private).unwrap();
    // An overlay cannot lie on another one's upper folder, nor every file system under one: a tmpfs always can.
    rustix::mount::mount(
        "tmpfs",
        place.path("outside"),
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    for name in ["lower", "upper", "scratch"] {
        std::fs::create_dir(place.path("outside").join(name)).unwrap();
    }
    let layers = std::ffi::CString::new(format!(
        "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/scratch,userxattr",
        place.path("outside").display()
    ))
    .unwrap();
    rustix::mount::mount(
        "overlay",
        place.work(),
        "overlay",
        rustix::mount::MountFlags::empty(),
        Some(layers.as_c_str()),
    )
    .unwrap();
    match launch(place.spec("id -u")).map(|_| ()) {
        Err(LaunchError::Unable { mend, .. }) => assert!(mend.contains("chown"), "{mend}"),
        other => panic!("{other:?}"),
    }
    std::os::unix::fs::chown(place.work(), Some(4242), Some(4242)).unwrap();
    let mut spec = place.spec("id -u; echo made > file");
    spec.workspace = Tree::open(&place.work()).unwrap();
    assert_eq!(run(spec).ok(), "4242\n");
    assert_eq!(place.work().join("file").metadata().unwrap().uid(), 4242);
    rustix::mount::unmount(place.work(), rustix::mount::UnmountFlags::empty()).unwrap();
    rustix::mount::unmount(place.path("outside"), rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn started_as_root_the_command_is_nobody_who_matters() {
    as_root_and_as_ordinary_user("started_as_root_the_command_is_nobody_who_matters", || {
        let place = Place::new();
        std::fs::write(place.work().join("mine"), "x").unwrap();
        std::fs::set_permissions(
            place.work().join("mine"),
            std::fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        let outcome = place.run(
            "cat /proc/self/uid_map | awk '{print $1, $3}'; cat mine; stat -c %u mine made . 2>/dev/null | sort -u; id -u; id -G; touch made",
        );
        let own = rustix::process::geteuid().as_raw();
        let inside = if own == 0 { 1000 } else { own };
        let lines: Vec<&str> = outcome.ok().lines().collect();
        assert_eq!(lines[0], format!("{inside} 1"));
        assert_eq!(lines[1], format!("x{inside}"));
        assert_eq!(lines[2], inside.to_string());
        assert!(
            !lines[3].split(' ').any(|group| group == "0"),
            "{outcome:?}"
        );
        assert_eq!(place.work().join("made").metadata().unwrap().uid(), own);
    });
}
