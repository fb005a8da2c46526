//! Invariant 11: freezing, killing, and that nothing outlives its sandbox or its supervisor.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::io::{Read, Write};

use support::{Place, as_root_and_as_ordinary_user, present};
use tagout_sandbox::{Guard, launch};

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
            let mut spec = place.spec("echo up; exec sleep 7654321");
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
