//! Files with secrets that come while a session runs: from an editor outside, from `git pull`, with a folder that is moved here.

use std::fs::{self, File};
use std::io::Write;

use tagout_tests::{World, eventually, for_each_person};

const STRIPE_KEY: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";
const GITHUB_TOKEN: &str = "ghp_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu1yTr3E";
const PASSWORD: &str = "kJ8s0qW2zR5tXvB1";

/// Waits until the one session says in its ledger that it hid these files.
fn hidden(world: &World, names: &[&str]) {
    let id = world.sessions().remove(0);
    for name in names {
        eventually(&format!("the twin of {name}"), || {
            world.json(&["log", &id]).iter().any(|entry| {
                entry["kind"] == "host_appeared"
                    && entry.to_string().contains(&format!("\"{name}\""))
            })
        });
    }
}

for_each_person! {
    fn invariant_3_a_file_with_a_secret_that_appears_is_hidden(person: Person) {
        let world = World::new(person);
        world.write("folder/readme", "x\n");
        let line = "ln -s .env alias; touch ready; until test -e go; do sleep 0.05; done; \
             cat .env alias deep/new/.env settings.py moved/in/.env linked.env folder/second pipe.env; \
             echo ADDED=1 >> .env; cat .env";
        let session = world.start(&mut world.run_command(&[], line));
        eventually("the command", || world.read("ready").is_some());
        let env = format!("A=1\nSTRIPE_SECRET_KEY={STRIPE_KEY}\n");
        world.write(".env", &env);
        world.write("deep/new/.env", &env);
        world.write("settings.py", &format!("DEBUG = True\nGITHUB_TOKEN = \"{GITHUB_TOKEN}\"\n"));
        // A whole folder, made elsewhere.
        let elsewhere = world.workspace().with_extension("elsewhere");
        fs::create_dir_all(elsewhere.join("in")).expect("a folder");
        fs::write(elsewhere.join("in/.env"), &env).expect("a file");
        for made in ["", "in", "in/.env"] {
            world.person().own(&elsewhere.join(made));
        }
        fs::rename(&elsewhere, world.workspace().join("moved")).expect("a rename");
        // One file under two names.
        world.write("folder/second", &env);
        fs::hard_link(world.workspace().join("folder/second"), world.workspace().join("linked.env")).expect("a link");
        let made = world.person().command("mkfifo").arg(world.workspace().join("pipe.env")).status();
        assert!(made.expect("mkfifo runs").success());
        hidden(&world, &[".env", "deep/new/.env", "settings.py", "moved/in/.env", "linked.env", "folder/second", "pipe.env"]);
        world.write("go", "");
        let finished = session.end();
        for value in [STRIPE_KEY, GITHUB_TOKEN] {
            assert!(!finished.everything().contains(value), "{finished}");
        }
        assert_eq!(finished.stdout.matches("STRIPE_SECRET_KEY=sk_live_").count(), 7, "{finished}");
        assert!(finished.stdout.contains("GITHUB_TOKEN = \"ghp_"), "{finished}");
        // It may be edited as if it had been there before.
        assert_eq!(world.read(".env"), Some(format!("{env}ADDED=1\n")), "{finished}");
        assert!(finished.stderr.contains("came while the session ran"), "{finished}");
        world.verify_all();
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_3_who_had_a_file_open_before_a_value_came_does_not_read_it(person: Person) {
        let world = World::new(person);
        world.write(".env", "A=1\n");
        let line = "(exec 3< .env; touch ready; until test -e go; do sleep 0.05; done; cat <&3; echo alive); \
             touch after; cat .env; echo end";
        let session = world.start(&mut world.run_command(&[], line));
        eventually("the command", || world.read("ready").is_some());
        let mut file = File::options().append(true).open(world.workspace().join(".env")).expect("it is there");
        writeln!(file, "STRIPE_SECRET_KEY={STRIPE_KEY}").expect("it is written");
        drop(file);
        hidden(&world, &[".env"]);
        eventually("the end of who had it open", || world.read("after").is_some());
        world.write("go", "");
        let finished = session.end();
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(!finished.stdout.contains("alive"), "{finished}");
        assert!(finished.stdout.contains("STRIPE_SECRET_KEY=sk_live_") && finished.stdout.contains("end\n"), "{finished}");
    }
}

for_each_person! {
    fn invariant_3_a_file_that_is_written_slowly_is_never_seen_while_it_is(person: Person) {
        let world = World::new(person);
        world.write("poll.py", "import os\n\
            while not os.path.exists('.env'): pass\n\
            file = open('.env')\n\
            seen = ''\n\
            while not os.path.exists('go'): seen += file.read() + open('.env').read()\n\
            print(seen)\n");
        let line = "touch ready; python3 poll.py; touch after; until test -e go; do sleep 0.05; done; cat .env";
        let session = world.start(&mut world.run_command(&[], line));
        eventually("the command", || world.read("ready").is_some());
        // Nobody closes it for longer than the inside stands still.
        let path = world.workspace().join(".env");
        let mut file = File::create(&path).expect("a file");
        world.person().own(&path);
        hidden(&world, &[".env"]);
        writeln!(file, "STRIPE_SECRET_KEY={STRIPE_KEY}").expect("it is written");
        drop(file);
        let id = world.sessions().remove(0);
        eventually("the twin of what was written", || {
            let all = world.json(&["log", &id]);
            all.iter().filter(|entry| entry["kind"] == "host_replaced").count() > 1
        });
        world.write("go", "");
        let finished = session.end();
        assert!(!finished.everything().contains(STRIPE_KEY), "{finished}");
        assert!(finished.stdout.contains("STRIPE_SECRET_KEY=sk_live_"), "{finished}");
    }
}

for_each_person! {
    fn invariant_3_what_the_agent_writes_stays_and_what_the_host_adds_to_it_is_hidden(person: Person) {
        let world = World::new(person);
        // A key that the agent makes up for its tests is worth nothing and stays what it is.
        let own = "postgres://app:aQ3xW7nB9mK2vL5t@localhost/test";
        let line = format!("echo DATABASE_URL={own} > test.env; echo STRIPE_SECRET_KEY= > local.env; echo made > ready; \
             until test -e go; do sleep 0.05; done; cat test.env local.env other.env");
        let session = world.start(&mut world.run_command(&[], &line));
        eventually("the command", || world.read("ready").is_some());
        // What comes later is looked at later.
        world.write("other.env", &format!("DATABASE_URL=postgres://app:{PASSWORD}@db.example.com/app\n"));
        hidden(&world, &["other.env"]);
        // As editors that keep a file's inode save.
        fs::write(world.workspace().join("local.env"), format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n")).expect("it is written");
        hidden(&world, &["local.env"]);
        world.write("go", "");
        let finished = session.end();
        assert!(finished.stdout.starts_with(&format!("DATABASE_URL={own}\nSTRIPE_SECRET_KEY=sk_live_")), "{finished}");
        assert!(!finished.everything().contains(STRIPE_KEY) && !finished.everything().contains(PASSWORD), "{finished}");
        assert_eq!(world.read("test.env"), Some(format!("DATABASE_URL={own}\n")));
    }
}

for_each_person! {
    fn invariant_3_what_the_manifest_hides_is_hidden_when_it_appears(person: Person) {
        let world = World::new(person);
        world.manifest("[task]\nname = \"t\"\n[workspace]\nhidden = [\"ops/**\", \"**/*.secret\"]\n");
        let line = "echo mine > own.secret; touch ready; until test -e go; do sleep 0.05; done; cat own.secret; cat ops/plan; cat deep/a.secret; true";
        let session = world.start(&mut world.run_command(&[], line));
        eventually("the command", || world.read("ready").is_some());
        world.write("ops/plan", "the plan\n");
        world.write("deep/a.secret", "the secret\n");
        hidden(&world, &["ops", "deep/a.secret"]);
        world.write("go", "");
        let finished = session.end();
        assert_eq!(finished.stdout, "mine\n", "{finished}");
    }
}

for_each_person! {
    fn a_commit_with_a_decoy_of_a_file_that_appeared_is_named(person: Person) {
        let world = World::new(person);
        world.write("readme", "one\n");
        world.commit("first");
        let line = "touch ready; until test -e go; do sleep 0.05; done; git add -f .env; git commit -qm second";
        let session = world.start(&mut world.run_command(&[], line));
        eventually("the command", || world.read("ready").is_some());
        world.write(".env", &format!("STRIPE_SECRET_KEY={STRIPE_KEY}\n"));
        hidden(&world, &[".env"]);
        world.write("go", "");
        let finished = session.end();
        assert!(finished.stderr.contains("with a decoy, which serves nobody outside"), "{finished}");
        let told = world.git(&["show", "HEAD:.env"]).stdout;
        assert!(told.starts_with("STRIPE_SECRET_KEY=sk_live_") && !told.contains(STRIPE_KEY), "{told}");
    }
}
