//! A command runs inside, as itself and as root, and what surrounds it is what the specification says.

#[allow(dead_code, unreachable_pub)]
mod support;

use support::{Place, as_root_and_as_ordinary_user};

#[test]
fn a_command_runs_and_its_streams_and_status_arrive() {
    as_root_and_as_ordinary_user("a_command_runs_and_its_streams_and_status_arrive", || {
        let place = Place::new();
        let outcome = place.run("pwd; id -u; echo oops >&2; echo made > file; exit 7");
        assert_eq!(outcome.error, "oops\n");
        assert_eq!(outcome.status, 7);
        assert!(
            outcome
                .output
                .starts_with(&format!("{}\n", place.work().display())),
            "{outcome:?}"
        );
        assert!(!outcome.output.ends_with("\n0\n"), "{outcome:?}");
        assert_eq!(
            std::fs::read_to_string(place.work().join("file")).unwrap(),
            "made\n"
        );
    });
}
