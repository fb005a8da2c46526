//! The Debian package: what is in it, and what installing, upgrading and purging it does to a machine. The
//! machine is a throw-away copy of this one, made by `fixtures/throwaway_root.sh`, which takes root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tagout_tests::{Finished, Person, World, finish};

/// The package under test: what `cargo xtask test` packed, else packed now.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        if let Some(package) = std::env::var_os("TAGOUT_PACKAGE") {
            return PathBuf::from(package);
        }
        let world = World::new(Person::ordinary());
        let mut xtask = Command::new(env!("CARGO"));
        xtask
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["xtask", "package", "--binary"]);
        let finished = finish(xtask.arg(world.tagout_command(&[]).get_program())).success();
        PathBuf::from(finished.stdout.trim_end())
    })
}

/// What `dpkg-deb` says about the package.
fn ask(question: &str) -> String {
    finish(Command::new("dpkg-deb").arg(question).arg(package()))
        .success()
        .stdout
}

/// Runs a script of sh as root on a copy of this machine, with the package as `/given/tagout.deb`, one of the
/// next version as `/given/newer.deb`, and `as_person COMMAND...` for an ordinary user in a home of their own.
fn on_a_copy_of_this_machine(script: &str) -> Finished {
    let person = Person::ordinary();
    let scratch = tempfile::tempdir().expect("a folder");
    let given = tempfile::tempdir().expect("a folder");
    let place = |name: &str| given.path().join(name);
    std::fs::copy(package(), place("tagout.deb")).expect("a copy of the package");

    let tree = scratch.path().join("tree");
    finish(
        Command::new("dpkg-deb")
            .arg("--raw-extract")
            .arg(package())
            .arg(&tree),
    )
    .success();
    let control = std::fs::read_to_string(tree.join("DEBIAN/control")).expect("its control file");
    let newer = control.replacen("Version: ", "Version: 99.", 1);
    std::fs::write(tree.join("DEBIAN/control"), newer).expect("write");
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", "-Znone", "--build"])
        .arg(&tree)
        .arg(place("newer.deb"));
    finish(&mut build).success();
    std::fs::remove_dir_all(&tree).expect("it goes");

    let start = format!(
        "set -eu\n\
         mkdir -p /home/person/work\n\
         chown -R {1}: /home/person\n\
         as_person() {{ (cd /home/person/work; exec setpriv --reuid {0} --regid \"$(id -g {1})\" --clear-groups \
             env -i HOME=/home/person PATH=/usr/bin:/bin LANG=C.UTF-8 \"$@\"); }}\n{script}",
        person.uid(),
        person.name()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/throwaway_root.sh"))
        .arg(scratch.path())
        .arg(given.path())
        .args(["sh", "-c", &start])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive");
    finish(&mut command)
}

#[test]
fn every_command_has_its_page_and_everything_is_roots() {
    let contents = ask("--contents");
    for line in contents.lines() {
        assert!(line.contains(" root/root "), "{line}");
        let mode = &line[..10];
        assert!(
            ["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"].contains(&mode),
            "{line}"
        );
    }
    let mut wanted: Vec<String> = [
        "usr/bin/tagout",
        "usr/share/bash-completion/completions/tagout.bash",
        "usr/share/zsh/vendor-completions/_tagout",
        "usr/share/fish/vendor_completions.d/tagout.fish",
        "usr/share/doc/tagout/copyright",
        "usr/share/doc/tagout/NOTICE",
        "usr/share/doc/tagout/third-party.gz",
        "usr/share/doc/tagout/changelog.gz",
        "usr/share/doc/tagout/install.md",
        "usr/share/man/man1/tagout.1.gz",
    ]
    .map(str::to_owned)
    .into();
    let world = World::new(Person::ordinary());
    let help = world.tagout(&["--help"]).success().stdout;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect();
    assert!(
        commands.contains(&"run") && commands.contains(&"doctor"),
        "{help}"
    );
    wanted.extend(
        commands
            .iter()
            .map(|name| format!("usr/share/man/man1/tagout-{name}.1.gz")),
    );
    for path in wanted {
        assert!(
            contents.contains(&format!(" ./{path}\n")),
            "{path} is not in\n{contents}"
        );
    }
    let control = ask("--field");
    assert!(
        control.contains("Depends: libgcc-s1, libc6 (>= 2."),
        "{control}"
    );
}

#[test]
fn it_installs_runs_upgrades_and_purges_as_root() {
    let finished = on_a_copy_of_this_machine(
        r#"
        seen() { find /usr /etc /opt /var/lib -xdev -path /var/lib/dpkg -prune -o -print | sort; }
        # Others' triggers (the manual's index) take longer than all the rest.
        seen > /before
        dpkg --no-triggers --install /given/tagout.deb
        tagout --version
        bash -c '. /usr/share/bash-completion/completions/tagout.bash; complete -p tagout'
        zcat /usr/share/man/man1/tagout-run.1.gz | grep -c 'hold.*wait'

        echo 'STRIPE_SECRET_KEY=sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u' > /home/person/work/.env
        as_person tagout run -- true && echo "ran as a person"
        as_person tagout run -- grep -c sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u .env || echo "no secret inside"

        # A session goes on while the program below it is replaced, and the new one knows it.
        as_person tagout run -- sh -c 'touch up; until [ -e go ]; do sleep 0.05; done; echo "went on"' &
        until [ -e /home/person/work/up ]; do sleep 0.05; done
        dpkg --no-triggers --install /given/newer.deb
        dpkg-query --show --showformat '${Status} ${Version}\n' tagout
        as_person tagout sessions --json | grep -c '"state":"running"'
        touch /home/person/work/go
        wait $!
        as_person tagout verify

        dpkg --no-triggers --purge tagout
        dpkg-query --show tagout 2>/dev/null || echo "not known any more"
        rm -rf /var/lib/systemd /var/lib/apt
        seen > /after
        comm -13 /before /after | sed 's/^/left: /'
        test -s /home/person/.local/state/tagout/store.sqlite && echo "state stays"
        "#,
    )
    .success();
    let lines: Vec<&str> = finished.stdout.lines().map(str::trim).collect();
    for line in [
        "complete -o bashdefault -o default -o nosort -F _tagout tagout",
        "ran as a person",
        "no secret inside",
        "went on",
        "not known any more",
        "state stays",
    ] {
        assert!(lines.contains(&line), "{line:?} is missing: {finished}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("install ok installed 99.")),
        "{finished}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("verified")),
        "{finished}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("left: ")),
        "{finished}"
    );
}

/// A machine with AppArmor's restriction, as far as files go: the parser writes down what it is told.
#[test]
fn where_apparmor_restricts_the_profile_comes_and_goes_with_it_as_root() {
    let finished = on_a_copy_of_this_machine(
        r#"
        mount -t tmpfs none /sys/module
        mkdir -p /sys/module/apparmor/parameters
        echo Y > /sys/module/apparmor/parameters/enabled
        mount -t tmpfs none /proc/sys/kernel
        echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns
        mkdir -p /etc/apparmor.d
        rm -f /etc/apparmor.d/tagout
        cat > /usr/sbin/apparmor_parser <<'END'
#!/bin/sh
echo "parser: $*"
echo "parser: $*" >> /told
END
        chmod 755 /usr/sbin/apparmor_parser

        dpkg --no-triggers --install /given/tagout.deb
        cat /etc/apparmor.d/tagout
        stat --format 'mode %a' /etc/apparmor.d/tagout
        tagout doctor --install-profile
        dpkg --no-triggers --install /given/newer.deb
        dpkg --no-triggers --remove tagout
        test -e /etc/apparmor.d/tagout || echo "profile is gone"
        sed 's/^/told: /' /told

        # What somebody else wrote stays, and nothing fails for it.
        echo 'profile tagout /usr/bin/tagout {}' > /etc/apparmor.d/tagout
        dpkg --no-triggers --install /given/tagout.deb
        dpkg --no-triggers --purge tagout
        sed 's/^/stays: /' /etc/apparmor.d/tagout

        # Without the parser the package installs, and says what is missing.
        rm -f /etc/apparmor.d/tagout /usr/sbin/apparmor_parser /sbin/apparmor_parser
        dpkg --no-triggers --install /given/tagout.deb
        test -e /etc/apparmor.d/tagout || echo "nothing was written"
        "#,
    )
    .success();
    let lines: Vec<&str> = finished.stdout.lines().map(str::trim).collect();
    let told: Vec<&&str> = lines
        .iter()
        .filter(|line| line.starts_with("told: "))
        .collect();
    let replace = "told: parser: --replace /etc/apparmor.d/tagout";
    assert_eq!(
        told,
        [
            &replace,
            &replace,
            &replace,
            &"told: parser: --remove /etc/apparmor.d/tagout"
        ],
        "{finished}"
    );
    for line in [
        "profile tagout /usr/bin/tagout flags=(unconfined) {",
        "userns,",
        "mode 644",
        "wrote /etc/apparmor.d/tagout, and loaded it for /usr/bin/tagout",
        "found /etc/apparmor.d/tagout, and loaded it for /usr/bin/tagout",
        "profile is gone",
        "stays: profile tagout /usr/bin/tagout {}",
        "nothing was written",
    ] {
        assert!(lines.contains(&line), "{line:?} is missing: {finished}");
    }
    assert!(
        finished.stderr.contains("was not written by tagout"),
        "{finished}"
    );
    assert!(
        finished.stderr.contains("apt-get install apparmor"),
        "{finished}"
    );
}
