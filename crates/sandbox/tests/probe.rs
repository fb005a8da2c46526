//! What `doctor` finds, also where something is missing; and that a launch then fails with the same words.

#[allow(dead_code, unreachable_pub)]
mod support;

use support::{Place, as_root_and_as_ordinary_user, attached_without, probes_without};

/// The names of the required things that are missing.
fn missing(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .filter(|line| line.contains("needed: Required") && line.contains("Missing"))
        .map(|line| line.split('"').nth(1).unwrap())
        .collect()
}

#[test]
fn what_is_there_works() {
    as_root_and_as_ordinary_user("what_is_there_works", || {
        let lines = probes_without("nothing");
        assert!(lines.len() >= 8, "{lines:?}");
        assert!(missing(&lines).is_empty(), "{lines:#?}");
    });
}

#[test]
fn unshare_denied_by_seccomp_is_found_and_refused() {
    as_root_and_as_ordinary_user("unshare_denied_by_seccomp_is_found_and_refused", || {
        let lines = probes_without("unshare");
        let expected = [
            "user namespaces with mounts",
            "pid namespace with a fresh /proc",
            "network namespaces joined by a veth pair",
        ];
        assert_eq!(missing(&lines), expected, "{lines:#?}");
        assert!(
            lines[0].contains("security-opt seccomp=unconfined"),
            "{lines:#?}"
        );

        let place = Place::new();
        let mut spec = place.spec("echo ran");
        spec.workspace.guards = vec![tagout_sandbox::Guard::folder("tagout.toml")];
        let output = attached_without("unshare", &place, &spec).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("make a user namespace")
                && said.contains("security-opt seccomp=unconfined"),
            "{said}"
        );
        assert!(!place.work().join("tagout.toml").exists());
    });
}

#[test]
fn no_user_namespaces_left_is_found_and_refused() {
    as_root_and_as_ordinary_user("no_user_namespaces_left_is_found_and_refused", || {
        if rustix::process::geteuid().is_root() {
            // In a user namespace root is not root; the ordinary user's run of this test is the one that says something.
            return;
        }
        let lines = probes_without("user namespaces");
        assert!(
            missing(&lines).contains(&"user namespaces with mounts"),
            "{lines:#?}"
        );
        assert!(
            lines[0].contains("sysctl -w user.max_user_namespaces"),
            "{lines:#?}"
        );
        let place = Place::new();
        let output = attached_without("user namespaces", &place, &place.spec("echo ran"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("sysctl -w user.max_user_namespaces"),
            "{said}"
        );
    });
}

#[test]
fn without_landlock_a_launch_warns_and_holds() {
    as_root_and_as_ordinary_user("without_landlock_a_launch_warns_and_holds", || {
        let lines = probes_without("landlock");
        assert!(missing(&lines).is_empty(), "{lines:#?}");
        let line = lines
            .iter()
            .find(|line| line.contains("\"Landlock\""))
            .unwrap();
        assert!(
            line.contains("Optional") && line.contains("Missing"),
            "{line}"
        );

        let place = Place::new();
        std::fs::write(place.path("outside").join("secret"), "hunter2").unwrap();
        let script = format!(
            "cat {}; echo done",
            place.path("outside").join("secret").display()
        );
        let output = attached_without("landlock", &place, &place.spec(&script))
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"done\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("no Landlock") && !said.contains("hunter2"),
            "{said}"
        );
    });
}
