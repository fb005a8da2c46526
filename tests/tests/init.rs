//! `tagout init`: a workspace is read, a manifest is written that works at once and grants nothing.

use tagout_tests::{Person, Terminal, World, for_each_person};

const STRIPE: &str = "sk_live_51Nq8ZxKv3LmPw7RtYb2HcJd9Fg4SaEuXo6iQkT1nVrWyBzCMe5";

fn workspace(person: Person) -> World {
    let world = World::new(person);
    world
        .write(".env", &format!("STRIPE_SECRET_KEY={STRIPE}\n"))
        .write("package.json", "{}")
        .write("deploy/staging.yml", "a: 1\n");
    world
}

for_each_person! {
    fn what_init_writes_is_valid_trusted_and_run_at_once(person: Person) {
        let world = workspace(person);
        let unasked = world.tagout(&["init"]);
        assert_eq!(unasked.status, 1);
        assert!(world.read("tagout.toml").is_none(), "{unasked}");

        let written = world.tagout(&["init", "--yes"]).success();
        let text = world.read("tagout.toml").expect("a manifest");
        assert!(!text.contains(STRIPE) && !written.everything().contains(STRIPE));
        assert!(text.contains("# source = \"file:.env#STRIPE_SECRET_KEY\""), "{text}");
        assert!(text.contains("protected = true") && text.contains("staging"), "{text}");
        world.tagout(&["policy", "check"]).success();
        world.manifest(&text);
        let finished = world.run(&[], "cat .env").success();
        assert!(!finished.stdout.contains(STRIPE), "{finished}");

        let again = world.tagout(&["init", "--yes"]);
        assert_eq!(again.status, 1);
        assert_eq!(world.read("tagout.toml").as_deref(), Some(text.as_str()), "{again}");
    }
}

for_each_person! {
    fn init_shows_the_file_and_asks(person: Person) {
        let world = workspace(person);
        let terminal = Terminal::open(&world);
        terminal
            .line("clear; tagout init; echo status-$?")
            .shows("[y/N]")
            .line("n")
            .shows("status-1");
        assert!(world.read("tagout.toml").is_none());
        terminal
            .line("clear; tagout init; echo status-$?")
            .shows("[y/N]")
            .line("y")
            .shows("status-0");
        assert!(world.read("tagout.toml").is_some());
    }
}
