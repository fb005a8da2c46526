//! Mediated trees behave as trees do, and nothing gets around the mediator.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::path::Path;

use support::{Outcome, Place, as_root_and_as_ordinary_user, run};
use tagout_sandbox::{Mediation, Spec};

/// The specification, with its trees mediated.
fn mediated(place: &Place, script: &str) -> Spec {
    let kept = place.path("kept");
    std::fs::create_dir_all(&kept).unwrap();
    let mut spec = place.spec(script);
    spec.mediation = Some(Mediation {
        folder: kept,
        budget: u64::MAX,
        bulk: Vec::new(),
    });
    spec
}

fn run_mediated(place: &Place, script: &str) -> Outcome {
    run(mediated(place, script))
}

#[test]
fn every_call_gives_what_it_gives_without_a_mediator() {
    as_root_and_as_ordinary_user("every_call_gives_what_it_gives_without_a_mediator", || {
        let calls = include_str!("posix/calls.py");
        for seed in 1..=3 {
            let results = [false, true].map(|is_mediated| {
                let place = Place::new();
                let script = format!("python3 - {seed} <<'END'\n{calls}\nEND\n");
                let outcome = match is_mediated {
                    true => run_mediated(&place, &script),
                    false => place.run(&script),
                };
                assert_eq!(outcome.status, 0, "{outcome:?}");
                let folder = place.folder.path().display().to_string();
                outcome.output.replace(&folder, "FOLDER")
            });
            let [natively, mediated] = &results;
            let differing: Vec<_> = natively
                .lines()
                .zip(mediated.lines())
                .filter(|(natively, mediated)| natively != mediated)
                .take(40)
                .collect();
            assert!(differing.is_empty(), "seed {seed}: {differing:#?}");
            assert_eq!(natively.lines().count(), mediated.lines().count());
            assert!(natively.lines().count() > 1000, "{natively}");
        }
    });
}

#[test]
fn a_mediated_tree_is_the_host_s_own() {
    as_root_and_as_ordinary_user("a_mediated_tree_is_the_host_s_own", || {
        let place = Place::new();
        let outcome = run_mediated(
            &place,
            "echo one > a && mkdir d && mv a d/b && cat d/b && touch -d @5 d/b && chmod 600 d/b",
        );
        assert_eq!(outcome.ok(), "one\n");
        let path = place.work().join("d/b");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        let metadata = Path::metadata(&path).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (5, 0o600));
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    });
}

/// What a call looks for may come or go between the mediator's look and the kernel's: nobody inside ever hears that the tree is read-only.
#[test]
fn calls_that_race_fail_as_they_do_natively() {
    as_root_and_as_ordinary_user("calls_that_race_fail_as_they_do_natively", || {
        let place = Place::new();
        let script = r#"
import errno, os, threading
told = set()
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        told.add(errno.errorcode[error.errno])
def race(number):
    for turn in range(200):
        name = f"d{turn}"
        attempt(os.makedirs, f"{name}/a/b", 0o755, True)
        descriptor = attempt(os.open, f"{name}/lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        if descriptor is not None:
            os.close(descriptor)
            attempt(os.unlink, f"{name}/lock")
        descriptor = attempt(os.open, f"{name}/a/file", os.O_CREAT | os.O_RDWR)
        if descriptor is not None:
            os.close(descriptor)
        descriptor = attempt(os.open, f"{name}/a/file", os.O_WRONLY)
        if descriptor is not None:
            os.close(descriptor)
        attempt(os.unlink, f"{name}/a/file")
        attempt(os.rmdir, f"{name}/a/b")
        attempt(os.rmdir, f"{name}/a")
threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(told - {"ENOENT", "EEXIST", "ENOTEMPTY"}))
"#;
        let outcome = run_mediated(&place, &format!("python3 - <<'END'\n{script}\nEND\n"));
        assert_eq!(outcome.ok(), "[]\n");
    });
}
