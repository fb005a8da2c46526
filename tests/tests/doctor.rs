//! `tagout doctor` on machines that cannot do everything: containers, old kernels, low limits. What it
//! finds missing `tagout run` refuses, with the same words; nothing is made weaker in silence.

use std::path::Path;
use std::process::Command;
use tagout_tests::{Finished, World, finish, for_each_person};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

/// A machine that lacks something, made by refusing system calls with an error.
struct Machine {
    name: &'static str,
    errno: i32,
    /// Their numbers on x86_64.
    calls: &'static str,
    /// What doctor names.
    missing: &'static str,
    /// What it says mends it.
    mend: &'static str,
}

const MACHINES: &[Machine] = &[
    Machine {
        name: "a container with Docker's default filter",
        errno: EPERM,
        // mount, unshare, setns, open_tree, move_mount, fsopen
        calls: "165,272,308,428,429,430",
        missing: "user namespaces with mounts",
        mend: "--security-opt seccomp=unconfined",
    },
    Machine {
        name: "a kernel before 5.2, or a filter that does not know its mount calls",
        errno: ENOSYS,
        // open_tree, move_mount, fsopen, fsconfig, fsmount, mount_setattr
        calls: "428,429,430,431,432,442",
        missing: "user namespaces with mounts",
        mend: "--security-opt seccomp=unconfined",
    },
    Machine {
        name: "no seccomp(2), so no notification",
        errno: ENOSYS,
        calls: "317",
        missing: "seccomp user notification",
        mend: "--security-opt seccomp=unconfined",
    },
    Machine {
        name: "no pidfd_open(2)",
        errno: ENOSYS,
        calls: "434",
        missing: "pidfd",
        mend: "--security-opt seccomp=unconfined",
    },
];

/// Runs `tagout` with these arguments where the calls fail.
fn without(world: &World, errno: i32, calls: &str, arguments: &[&str]) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/without_calls.py");
    // The checkout may lie where the person cannot enter.
    let place = world.home().join("without_calls.py");
    std::fs::copy(&script, &place).expect("a copy of the script");
    let tagout = world.tagout_command(arguments);
    let mut command = world.outside("python3");
    command.arg(&place).arg(errno.to_string()).arg(calls);
    finish(command.arg(tagout.get_program()).args(arguments))
}

/// Runs a script of sh, to which `$@` is `tagout` with these arguments, in new namespaces of a kind.
fn inside(world: &World, unshare: &[&str], script: &str, arguments: &[&str]) -> Finished {
    let tagout = world.tagout_command(arguments);
    let mut command = world.outside("unshare");
    command.args(unshare).args(["sh", "-ec", script, "sh"]);
    finish(command.arg(tagout.get_program()).args(arguments))
}

/// The line of something that is not well, and the one below it, which says what mends it.
#[track_caller]
fn finding(finished: &Finished, state: &str, name: &str) -> (String, String) {
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let start = format!("{state:<7}  {name}: ");
    let place = lines.iter().position(|line| line.starts_with(&start));
    let place = place.unwrap_or_else(|| panic!("{name} is not {state}: {finished}"));
    (lines[place].to_owned(), lines[place + 1].trim().to_owned())
}

for_each_person! {
    fn a_machine_that_can_do_all_is_said_to(person: Person) {
        let world = World::new(person);
        let finished = world.tagout(&["doctor"]).success();
        assert!(finished.stdout.contains("works    a whole session"), "{finished}");
        assert!(!finished.stdout.contains("missing"), "{finished}");
        // It leaves no session behind, and no folder.
        assert_eq!(world.sessions().len(), 0);
        let left: Vec<_> = std::fs::read_dir(world.tagout_home().parent().expect("a folder")).expect("it").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn what_is_missing_is_named_with_its_mend_and_run_refuses(person: Person) {
        let world = World::new(person);
        for machine in MACHINES {
            let finished = without(&world, machine.errno, machine.calls, &["doctor"]);
            assert_eq!(finished.status, 1, "{}: {finished}", machine.name);
            let (_, mend) = finding(&finished, "missing", machine.missing);
            assert!(mend.contains(machine.mend), "{}: {finished}", machine.name);
            assert!(!finished.stdout.contains("a whole session"), "{}: {finished}", machine.name);

            let refused = without(&world, machine.errno, machine.calls, &["run", "--", "touch", "ran"]);
            assert_eq!(refused.status, 125, "{}: {refused}", machine.name);
            assert!(refused.stderr.contains(machine.mend), "{}: {refused}", machine.name);
            assert_eq!(world.read("ran"), None, "{}: {refused}", machine.name);
            world.assert_nothing_left();
        }
        let sessions = world.tagout(&["sessions"]).success().stdout;
        assert!(sessions.lines().count() > 0, "{sessions}");
        assert!(sessions.lines().all(|line| line.contains("  refused ")), "{sessions}");
    }
}

for_each_person! {
    fn a_second_wall_that_is_absent_is_said_and_refuses_nothing(person: Person) {
        let world = World::new(person);
        // landlock_create_ruleset
        let finished = without(&world, ENOSYS, "444", &["doctor"]).success();
        let (_, mend) = finding(&finished, "absent", "Landlock");
        assert!(mend.contains("lsm="), "{finished}");
        assert!(finished.stdout.contains("works    a whole session"), "{finished}");
        let ran = without(&world, ENOSYS, "444", &["run", "--", "true"]).success();
        assert!(ran.stderr.contains("Landlock"), "a session says so: {ran}");
    }
}

for_each_person! {
    fn a_container_that_masks_proc_is_found(person: Person) {
        let world = World::new(person);
        // As container engines cover parts of /proc. Who is not root becomes root of a namespace for it, and
        // is no root any more when tagout starts.
        let mask = "mount -t tmpfs none /proc/bus";
        let (namespaces, script): (&[&str], String) = if person.is_root() {
            (&["--mount", "--pid", "--fork", "--mount-proc"], format!("{mask}; exec \"$@\""))
        } else {
            let back = format!("exec unshare --user --map-user={0} --map-group={0} \"$@\"", person.uid());
            (
                &["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"],
                format!("{mask}; {back}"),
            )
        };
        let finished = inside(&world, namespaces, &script, &["doctor"]);
        assert_eq!(finished.status, 1, "{finished}");
        let (_, mend) = finding(&finished, "missing", "pid namespace with a fresh /proc");
        assert!(mend.contains("--security-opt systempaths=unconfined"), "{finished}");
        let refused = inside(&world, namespaces, &script, &["run", "--", "touch", "ran"]);
        assert_eq!(refused.status, 125, "{refused}");
        assert!(refused.stderr.contains("systempaths=unconfined"), "{refused}");
        assert_eq!(world.read("ran"), None);
    }
}

/// Root of a namespace with one user in it cannot become anybody else, so this is the ordinary user's.
#[test]
fn a_limit_of_no_user_namespaces_is_found() {
    let world = World::new(tagout_tests::Person::ordinary());
    let namespaces = ["--user", "--map-current-user", "--keep-caps"];
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
    let finished = inside(&world, &namespaces, script, &["doctor"]);
    assert_eq!(finished.status, 1, "{finished}");
    let (_, mend) = finding(&finished, "missing", "user namespaces with mounts");
    assert_eq!(
        mend, "`sudo sysctl -w user.max_user_namespaces=10000`",
        "{finished}"
    );
    let refused = inside(&world, &namespaces, script, &["run", "--", "true"]);
    assert_eq!(refused.status, 125, "{refused}");
    assert!(
        refused.stderr.contains("user.max_user_namespaces=10000"),
        "{refused}"
    );
}

for_each_person! {
    fn state_that_cannot_be_kept_is_found(person: Person) {
        let world = World::new(person);
        for home in ["/proc/nowhere/tagout", "relative"] {
            let mut doctor = world.tagout_command(&["doctor"]);
            let finished = finish(doctor.env("TAGOUT_HOME", home));
            assert_eq!(finished.status, 1, "{finished}");
            let (why, mend) = finding(&finished, "missing", "state of its own ($TAGOUT_HOME)");
            assert!(why.contains(home), "{finished}");
            assert!(mend.contains("export TAGOUT_HOME="), "{finished}");
        }
    }
}

for_each_person! {
    fn low_limits_and_missing_tools_are_named(person: Person) {
        let world = World::new(person);
        let tagout = world.tagout_command(&["doctor"]);
        let mut command = world.outside("bash");
        command.args(["-c", "ulimit -n 256; PATH=/nowhere; exec \"$0\" doctor"]).arg(tagout.get_program());
        let finished = finish(&mut command);
        let (_, mend) = finding(&finished, "absent", "512 open files");
        assert_eq!(mend, "`ulimit -n 4096`");
        let (_, mend) = finding(&finished, "absent", "git");
        assert_eq!(mend, "`sudo apt-get install git`");
        // Where no program is found, a session still works.
        assert!(finished.stdout.contains("works    a whole session"), "{finished}");
    }
}

for_each_person! {
    fn what_the_person_set_is_tried_too(person: Person) {
        let world = World::new(person);
        for (text, expected) in [
            ("[network]\nca_files = [\"/nowhere/ca.pem\"]\n", "/nowhere/ca.pem"),
            ("[network]\nno_such_key = 1\n", "no_such_key"),
        ] {
            world.write_home(".local/state/tagout/config.toml", text);
            let finished = world.tagout(&["doctor"]);
            assert_eq!(finished.status, 1, "{finished}");
            let (why, _) = finding(&finished, "missing", "a whole session");
            assert!(finished.stdout.contains(expected), "{finished}");
            assert!(!why.contains(".tagout-doctor-"), "{finished}");
        }
    }
}

/// As root it is tested where the machine is the test's own: see `package.rs`.
#[test]
fn a_profile_is_roots_to_install() {
    let world = World::new(tagout_tests::Person::ordinary());
    let finished = world.tagout(&["doctor", "--install-profile"]);
    assert_eq!(finished.status, 1, "{finished}");
    assert!(
        finished.stderr.contains("doctor --install-profile`"),
        "{finished}"
    );
    assert!(finished.stderr.contains("sudo /"), "{finished}");
}

/// No command of the program itself is needed to know what it would have said.
#[test]
fn help_and_version_need_no_state() {
    let world = World::new(tagout_tests::Person::ordinary());
    for arguments in [
        &["--version"][..],
        &["--help"],
        &["run", "--help"],
        &["doctor", "--help"],
    ] {
        let mut command: Command = world.tagout_command(arguments);
        let finished = finish(command.env("HOME", "/nowhere")).success();
        assert!(finished.stdout.contains("tagout"), "{finished}");
    }
    assert!(!world.tagout_home().exists());
}
