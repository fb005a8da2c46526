//! The supervisor is killed at any instant: nothing is left running or mounted, and the ledger that
//! is left verifies.

use std::time::Duration;
use tagout_tests::{Answer, Server, TestAuthority, World, for_each_person};

/// Milliseconds after the start; launching takes some tens, so they fall before, into and after it.
const INSTANTS: &[u64] = &[0, 3, 7, 13, 21, 34, 55, 80, 120, 180, 260, 400];

for_each_person! {
    fn invariant_11_nothing_is_left_after_sigkill(person: Person) {
        let authority = TestAuthority::new();
        let server = Server::start(&authority, &["api.example.com"], |_| {
            Answer::new(200, "text/plain", "hello\n")
        });
        let mut world = World::new(person);
        world.believe(&authority);
        world.route("api.example.com", 443, &server);
        world.write(".env", "STRIPE_SECRET_KEY=sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u\n");

        for &instant in INSTANTS {
            let mut command = world
                .run_command(
                    &["--allow-host", "api.example.com"],
                    "setsid sleep 1000 & (trap '' TERM HUP INT; sleep 1000) & \
                     while curl -sS https://api.example.com/; do :; done; sleep 1000",
                )
;
            let session = world.start(&mut command);
            // The instant is what is tested here, so this waits for nothing.
            std::thread::sleep(Duration::from_millis(instant));
            session.kill();
            world.assert_nothing_left();
            world.verify_all();
        }

        // The next session sweeps up and works.
        world.run(&[], "true").success();
        world.assert_nothing_left();
        for protected in ["tagout.toml", "policy.cedar"] {
            assert_eq!(world.read(protected), None, "a placeholder is left: {protected}");
        }
        let env = world.read(".env").expect("the file outside");
        assert!(env.contains("sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u"), "the file outside is untouched");
    }
}

for_each_person! {
    fn invariant_11_kill_ends_a_session(person: Person) {
        let world = World::new(person);
        let mut command = world
            .run_command(&[], "setsid sleep 1000 & trap '' TERM HUP INT; echo up > up; sleep 1000; sleep 1000")
;
        let session = world.start(&mut command);
        tagout_tests::eventually("the command runs", || world.read("up").is_some());
        let id = world.sessions().remove(0);
        world.tagout(&["kill", &id]).success();
        let finished = session.end();
        assert_ne!(finished.status, 0, "{finished}");
        world.assert_nothing_left();
        world.verify_all();
    }
}

for_each_person! {
    fn invariant_11_kill_ends_a_busy_session(person: Person) {
        let world = World::new(person);
        world.write("src/a", "from before\n");
        // Processes that ignore every signal that can be ignored, each in a session of its own, changing files without pause.
        let line = "trap '' TERM HUP INT QUIT; \
                    for n in $(seq 60); do setsid bash -c 'while :; do echo > f$0; mv f$0 g$0; rm g$0; cat src/a; done' $n > /dev/null & done; \
                    echo up > up; wait";
        let session = world.start(&mut world.run_command(&[], line));
        tagout_tests::eventually("the processes run", || world.read("up").is_some());
        let id = world.sessions().remove(0);
        world.tagout(&["kill", &id]).success();
        let finished = session.end();
        assert_ne!(finished.status, 0, "{finished}");
        world.assert_nothing_left();
        assert_eq!(world.read("src/a").as_deref(), Some("from before\n"));
        world.verify_all();
    }
}
