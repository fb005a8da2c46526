//! What a hostile command finds inside: no value of the person's, no way to undo the view, nothing to
//! leave behind.

use std::os::unix::fs::PermissionsExt;
use tagout_tests::{Person, World, finish, for_each_person};

const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";
const GITHUB_TOKEN: &str = "ghp_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu1yTr3E";

for_each_person! {
    fn invariant_3_nothing_is_inherited(person: Person) {
        let world = World::new(person);
        world.write_home("secret", &format!("{STRIPE_KEY}\n"));
        let tagout = world.tagout_command(&[]).get_program().to_owned();
        let line = format!(
            "exec 9<{home}/secret 8<{home}; {tagout} run -- bash -c \
             'ls -l /proc/self/fd; cat <&9; cat /proc/self/fd/9; ls /proc/self/fd/8/; \
              cat /proc/*/environ | tr \"\\0\" \"\\n\"; cat {home}/secret; ulimit -c'",
            home = world.home().display(),
            tagout = tagout.to_string_lossy(),
        );
        let finished = tagout_tests::finish(
            world.outside("bash").args(["-c", &line]).env("GITHUB_TOKEN", GITHUB_TOKEN),
        );
        for secret in [STRIPE_KEY, GITHUB_TOKEN] {
            assert!(!finished.everything().contains(secret), "{finished}");
        }
        assert!(!finished.stdout.contains(" 9 -> "), "a descriptor came along: {finished}");
        assert!(finished.stdout.trim_end().ends_with('0'), "core dumps are off: {finished}");
    }
}

for_each_person! {
    fn invariant_3_a_twin_stays_over_its_file(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        let finished = world.run(
            &[],
            "umount .env; umount -l .env; mv .env away; cat .env away; mv away .env; \
             ln .env link; cat link; cp .env copy; cat copy; \
             unshare -rm bash -c 'umount .env; cat .env'; \
             for folder in /proc/*/root /proc/*/cwd; do cat $folder/.env $folder$PWD/.env; done; \
             python3 -c 'import os; print(open(\".env\").read())' ; git hash-object .env",
        );
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(finished.stdout.contains("STRIPE_SECRET_KEY=sk_live_"), "the decoy is there: {finished}");
        let removed = world.run(&[], "cat .env > /tmp/held; exec 3< .env; rm -f .env; cat <&3; cat .env; cat /proc/self/fd/3; ls -A");
        assert!(!removed.everything().contains(STRIPE_KEY), "{removed}");
        assert_eq!(world.read(".env"), None, "{removed}");
        world.tagout(&["undo", &world.sessions()[0]]).success();
        let outside = world.read(".env").expect("the file outside");
        assert!(outside.contains(STRIPE_KEY), "the file outside is untouched");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_1_no_namespace_opens_another_way(person: Person) {
        let world = World::new(person);
        let finished = world.run(
            &[],
            "unshare -r true && echo opened user; unshare -n true && echo opened net; \
             unshare -rn true && echo opened both; nsenter -t 1 -n true && echo opened init; \
             ip link add dummy0 type dummy && echo opened link; \
             ip addr add 10.9.8.7/24 dev lo && echo opened address; \
             ip route add default via 198.18.0.1 && echo opened route; \
             mount -t tmpfs none /mnt && echo opened mount; \
             python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print(\"opened packet\")'; \
             python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print(\"opened raw\")'; \
             python3 -c 'import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); print(\"opened vsock\")'; \
             echo done",
        );
        assert!(finished.stdout.ends_with("done\n"), "{finished}");
        assert!(!finished.stdout.contains("opened"), "{finished}");
    }
}

for_each_person! {
    fn invariant_9_no_set_id_program_is_left_behind(person: Person) {
        let world = World::new(person);
        let finished = world.run(
            &[],
            "cp /bin/true tool; chmod u+s tool && echo set; chmod 6755 tool && echo set; \
             python3 -c 'import os; os.open(\"made\", os.O_CREAT | os.O_WRONLY, 0o4755)' && echo set; \
             python3 -c 'import os; os.mkdir(\"folder\", 0o2755)' && echo set; \
             mkdir -m 2755 other && echo set; echo done",
        );
        assert!(finished.stdout.ends_with("done\n"), "{finished}");
        let entries = std::fs::read_dir(world.workspace()).expect("the workspace");
        for entry in entries.flatten() {
            let mode = entry.metadata().expect("its mode").permissions().mode();
            assert_eq!(mode & 0o6000, 0, "{} is set-id: {finished}", entry.path().display());
        }
    }
}

for_each_person! {
    fn two_sessions_do_not_share_a_workspace(person: Person) {
        let world = World::new(person);
        let mut command =
            world.run_command(&[], "echo up > up; until [ -e go ]; do sleep 0.05; done");
        let first = world.start(&mut command);
        tagout_tests::eventually("the first session runs", || world.read("up").is_some());
        let second = world.run(&[], "true");
        assert_eq!(second.status, 125, "{second}");
        world.write("go", "");
        first.end().success();
        world.run(&[], "true").success();
    }
}

for_each_person! {
    fn doctor_says_that_this_machine_is_able(person: Person) {
        let world = World::new(person);
        let finished = world.tagout(&["doctor"]).success();
        assert!(finished.stdout.contains("seccomp"), "{finished}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_what_to_do() {
    let person = Person::ordinary();
    let world = World::new(person);
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder of root's");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("its mode");
    let mut command = world.tagout_command(&["run", "--", "true"]);
    let finished = finish(command.current_dir(folder.path()));
    assert_eq!(finished.status, 125, "{finished}");
    assert!(
        finished
            .stderr
            .contains("start in a copy of it that is yours"),
        "{finished}"
    );
}
