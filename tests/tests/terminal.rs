//! A session in a terminal feels like none: size, signals, job control, full-screen programs.

use tagout_tests::{Terminal, World, for_each_person};

/// A command that takes the terminal before it says `running-NUMBER`, and says `resumed-NUMBER` when it
/// goes on after a stop: keys pressed earlier would be the shell's. What is typed has neither text.
fn running(number: u8) -> String {
    let shown = format!("$(({number} + 0))");
    format!(
        "clear; bash -c 'trap \"echo resumed-{shown}\" CONT; echo running-{shown}; \
         while :; do sleep 0.1; done'"
    )
}

for_each_person! {
    fn a_shell_in_a_session_feels_native(person: Person) {
        let world = World::new(person);
        let terminal = Terminal::open(&world);
        terminal
            .line("tagout run -- env PS1='inside> ' bash --norc --noprofile -i")
            .shows("inside>")
            .line("stty size; echo size-shown")
            .shows("30 100")
            .resize(90, 25)
            .line("until stty size | grep '25 90'; do :; done; echo resized-$?")
            .shows("resized-0")
            .line(&running(1))
            .shows("running-1")
            .key("C-c")
            .shows("^C")
            .line("echo after-$?")
            .shows("after-130")
            .line(&running(2))
            .shows("running-2")
            .key("C-z")
            .shows("Stopped")
            .line("jobs; echo listed-$?")
            .shows("listed-0")
            .line("clear; fg")
            .shows("resumed-2")
            .key("C-c")
            .shows("^C")
            .line("echo back-$((1 + 1))")
            .shows("back-2")
            .line("clear; exit 3")
            .shows("outside>")
            .line("echo status-$?")
            .shows("status-3")
            .line("stty -a | grep -o ' icanon'; echo mended-$?")
            .shows("mended-0");
        world.assert_no_session_left();
    }
}

for_each_person! {
    fn the_first_line_fits_its_row_however_deep_the_workspace_lies(person: Person) {
        let world = World::new(person);
        let terminal = Terminal::open(&world);
        let deep = "d".repeat(120);
        terminal
            .line(&format!("mkdir -p {deep}/end && cd {deep}/end && git init -q && clear && tagout run -- true; echo done-$?"))
            .shows("done-0")
            .shows("…")
            .shows("d/end, environment development");
    }
}

for_each_person! {
    fn vim_in_a_session_saves_its_file(person: Person) {
        let world = World::new(person);
        let terminal = Terminal::open(&world);
        terminal
            .line("tagout run -- vim -u NONE -N note.txt")
            .shows("~")
            .line("iA line from inside")
            .key("Escape")
            .line(":wq")
            .shows_times("outside>", 2)
            .line("cat note.txt")
            .shows("A line from inside");
        assert_eq!(world.read("note.txt").as_deref(), Some("A line from inside\n\n"));
    }
}

for_each_person! {
    fn a_manifest_is_asked_about_on_a_terminal(person: Person) {
        let world = World::new(person);
        world.write(
            "tagout.toml",
            "[task]\nname = \"asked\"\n\n[[host]]\nname = \"api.example.com\"\ninspect = false\n",
        );
        let terminal = Terminal::open(&world);
        // What lowers protection is said; no is no.
        terminal
            .line("tagout run -- echo ran-$((40 + 2)); echo status-$?")
            .shows("api.example.com")
            .line("n")
            .shows("status-125");
        assert!(!terminal.screen().contains("ran-42"));
        terminal
            .line("clear; tagout run -- echo ran-$((40 + 2)); echo status-$?")
            .shows("api.example.com")
            .line("y")
            .shows("ran-42")
            .shows("status-0");
        // Remembered.
        terminal
            .line("clear; tagout run -- echo again-$((40 + 2)) </dev/null; echo status-$?")
            .shows("again-42");
    }
}
