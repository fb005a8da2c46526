//! What a person meets around a session: a notification, the watch, a pane, the report at the end, the
//! proxy of the operator's network.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tagout_tests::{
    Answer, Person, Server, Terminal, TestAuthority, World, eventually, for_each_person,
};

const MANIFEST: &str = "[[host]]\nname = \"api.example.com\"\nmethods = [\"GET\", \"DELETE\"]\n";
const DELETE: &str = "curl -sS -X DELETE https://api.example.com/v1/items/1";

fn world(person: Person) -> (World, Server, TestAuthority) {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |request| {
        Answer::json(&json!({"done": request.target}))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    (world, server, authority)
}

/// A program of the person's, in a folder of `PATH`.
fn program(folder: &Path, name: &str, script: &str) {
    std::fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, script).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}

fn pending(world: &World) -> Option<Value> {
    let holds = world.json(&["holds"]);
    holds.into_iter().find(|hold| hold["state"] == "pending")
}

for_each_person! {
    fn a_report_says_what_changed_and_what_would_grant_it(person: Person) {
        let (world, _server, _authority) = world(person);
        world.manifest(MANIFEST).write("kept", "x").write("changed", "x").write("gone", "x");
        let finished = world.run(
            &["--hold-wait", "1"],
            &format!(
                "echo y >> changed; rm gone; echo z > added; mkdir -p node_modules/.bin; \
                 echo '#!/bin/sh' > node_modules/.bin/tool; chmod +x node_modules/.bin/tool; \
                 curl -sS -X POST https://api.example.com/v1/x; curl -sS https://other.example.org/; {DELETE}"
            ),
        );
        let report = &finished.stderr;
        for expected in [
            "files: 1 added, 1 changed, 1 deleted",
            "deleted: gone",
            "1 program came into node_modules: .bin/tool",
            "refused 2 times",
            "methods = [\"POST\"]\n    paths = [\"/v1/x\"]",
            "name = \"other.example.org\"",
            "held: ",
        ] {
            assert!(report.contains(expected), "{expected:?} is not in {finished}");
        }
        let lines = report.lines().skip_while(|line| !line.contains("files:"));
        for line in lines {
            assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line:?}");
        }
        // What it says is granted is granted by it.
        world.manifest(&format!("{MANIFEST}\n[[host]]\nname = \"api.example.com\"\nmethods = [\"POST\"]\npaths = [\"/v1/x\"]\n"));
        let again = world.run(&[], "curl -sS -X POST https://api.example.com/v1/x");
        assert!(again.stdout.contains("\"done\":\"/v1/x\""), "{again}");
        let log = world.tagout(&["log", world.sessions().first().expect("a session")]).success();
        assert!(log.stdout.contains("report"), "{log}");
        world.verify_all();
    }
}

for_each_person! {
    fn an_uneventful_session_ends_with_one_line(person: Person) {
        let world = World::new(person);
        let finished = world.run(&[], "true").success();
        let said: Vec<&str> = finished.stderr.lines().collect();
        let last = said.last().expect("a line");
        assert!(last.contains("nothing changed, nothing was refused"), "{finished}");
        assert_eq!(said.iter().filter(|line| line.contains("tagout log")).count(), 1, "{finished}");
    }
}

for_each_person! {
    fn a_decoy_written_elsewhere_is_reported(person: Person) {
        let world = World::new(person);
        world.write(".env", "STRIPE_SECRET_KEY=sk_live_51Nq8ZxKv3LmPw7RtYb2HcJd9Fg4SaEuXo6iQkT1nVrWyBzCMe5\n");
        let finished = world.run(&[], "cat .env > copied.txt");
        assert!(finished.stderr.contains("holds a decoy"), "{finished}");
        assert!(finished.stderr.contains("copied.txt"), "{finished}");
        assert!(!finished.stderr.contains("51Nq8Z"), "{finished}");
    }
}

for_each_person! {
    fn a_hold_is_on_the_desktop_within_a_second(person: Person) {
        let (world, _server, _authority) = world(person);
        world.manifest(MANIFEST);
        let tools = world.home().join("tools");
        let told = world.home().join("told");
        let script = |text: &str| format!("#!/bin/sh\n{{ echo {text}; for word; do echo \"$word\"; done; }} >> {}\n", told.display());
        program(&tools, "notify-send", &script("desktop"));
        // An agent's own program of that name, earlier on PATH, is never run outside.
        let planted = world.workspace().join("bin");
        program(&planted, "notify-send", &script("planted"));
        let path = format!("{}:{}:/usr/bin:/bin", planted.display(), tools.display());
        let mut command = world.run_command(&["--hold-wait", "60"], DELETE);
        command.env("PATH", path).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
        let session = world.start(&mut command);
        let mut hold = None;
        eventually("a hold", || { hold = pending(&world); hold.is_some() });
        eventually("a notification", || told.exists());
        let hold = hold.expect("just found");
        let id = hold["id"].as_str().expect("an id");
        eventually("its text", || std::fs::read_to_string(&told).is_ok_and(|text| text.contains(id)));
        let text = std::fs::read_to_string(&told).expect("its text");
        assert!(text.starts_with("desktop\n") && !text.contains("planted"), "{text}");
        assert!(text.contains("DELETE") && text.contains("tagout approve"), "{text}");
        world.tagout(&["deny", id]).success();
        session.end();
    }
}

for_each_person! {
    fn the_watch_shows_a_hold_within_a_second(person: Person) {
        let (world, _server, _authority) = world(person);
        world.manifest(MANIFEST);
        let mut watch = world.tagout_command(&["holds", "--watch", "--json"]);
        let mut watch = watch.stdout(Stdio::piped()).spawn().expect("the watch starts");
        let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
        let session = world.start(&mut world.run_command(&["--hold-wait", "60"], DELETE));
        let line = lines.next().expect("a line").expect("text");
        let shown = std::time::SystemTime::now();
        let hold: Value = serde_json::from_str(&line).expect("JSON");
        let created = hold["created"].as_str().expect("a time");
        let created = humantime::parse_rfc3339(created).expect("RFC 3339");
        let waited = shown.duration_since(created).unwrap_or_default();
        // Within a second, unless the machine does much else; a poll of once a minute would be found.
        assert!(waited.as_secs() < 20, "{waited:?}");
        world.tagout(&["deny", hold["id"].as_str().expect("an id")]).success();
        session.end();
        watch.kill().expect("the watch ends");
        watch.wait().expect("its end");
    }
}

for_each_person! {
    fn a_pane_shows_a_hold_takes_the_answer_and_closes(person: Person) {
        let (world, server, _authority) = world(person);
        world.manifest(MANIFEST);
        let terminal = Terminal::open(&world);
        terminal.line("clear; tagout run --pane --hold-wait 60 -- bash -c 'curl -sS -X DELETE https://api.example.com/v1/items/1'; echo status-$?");
        eventually("a hold", || pending(&world).is_some());
        let panes = || terminal.panes();
        eventually("a second pane", || panes().len() == 2);
        let pane = panes().into_iter().nth(1).expect("the second pane");
        eventually("the hold in the pane", || terminal.screen_of(&pane).contains("answer with"));
        terminal.key_in(&pane, "a");
        eventually("the question", || terminal.screen_of(&pane).contains("[y/N]"));
        assert!(server.received().is_empty(), "a key alone answers nothing");
        terminal.key_in(&pane, "y").key_in(&pane, "Enter");
        terminal.shows("status-0");
        eventually("the pane is closed", || panes().len() == 1);
        assert_eq!(server.received().len(), 1);
        // Outside tmux, clear words and no session.
        let without = world.run(&["--pane"], "true");
        assert_eq!(without.status, 125);
        assert!(without.stderr.contains("tmux"), "{without}");
    }
}

for_each_person! {
    fn the_operators_proxy_carries_what_was_allowed_and_nothing_local(person: Person) {
        let (world, server, _authority) = world(person);
        let proxy = ConnectProxy::start(server.address());
        let config = world.tagout_home().join("config.toml");
        let text = std::fs::read_to_string(&config).expect("config.toml");
        // Not pinned any more: by name, through the proxy.
        let text = text.replace("\"api.example.com:443\"", "\"elsewhere.example.com:443\"");
        let line = format!("[network]\nupstream_proxy = \"http://me:hunter2x@{}\"\n", proxy.address);
        let text = match text.contains("[network]\n") {
            true => text.replace("[network]\n", &line),
            false => format!("{line}{text}"),
        };
        std::fs::write(&config, text).expect("config.toml");
        let options = ["--allow-host", "api.example.com", "--allow-host", "db.internal"];
        let finished = world.run(&options, "curl -sS https://api.example.com/v1/a; curl -sS https://db.internal/; curl -sS https://other.example.com/");
        assert!(finished.stdout.contains("\"done\":\"/v1/a\""), "{finished}");
        let asked = proxy.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].starts_with("CONNECT api.example.com:443 HTTP/1.1"), "{asked:?}");
        assert!(asked[0].contains("Proxy-Authorization: Basic bWU6aHVudGVyMng="), "{asked:?}");
        assert!(!finished.everything().contains("hunter2x"), "{finished}");
        let log = world.tagout(&["log", "--json"]).success();
        assert!(!log.stdout.contains("hunter2x") && !log.stdout.contains("bWU6aHVudGVyMng"));
    }
}

/// A proxy that connects every name to one server.
struct ConnectProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || relay(client, server, &heard));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody failed with it").clone()
    }
}

fn relay(mut client: TcpStream, server: SocketAddr, heard: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heard.lock().expect("nobody failed with it").push(head);
    let mut upstream = TcpStream::connect(server).expect("the server");
    client
        .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
        .expect("an answer");
    let (mut from, mut to) = (
        client.try_clone().expect("a copy"),
        upstream.try_clone().expect("a copy"),
    );
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut upstream, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Write);
}
