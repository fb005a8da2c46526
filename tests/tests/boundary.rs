//! The boundary classes of known bypasses, each by a program inside that tries all it can.
//!
//! The programs are `attacks/*.py`: whatever they reach they print as `escaped: ...`, and they say `done`
//! when they came to their end. What the host noticed is looked at beside it, for a program that does
//! not see its own success proves nothing.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;

use tagout_tests::{
    Answer, Finished, Person, Server, Terminal, TestAuthority, World, eventually, finish,
    for_each_person,
};

const SECRET: &str = "the-hosts-own-9c2e71d4a85b";

/// Writes an attack into the workspace and gives the line that runs it.
fn attack(world: &World, name: &str, arguments: &[&str]) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("attacks")
        .join(name);
    let text = std::fs::read_to_string(&source).expect("the attack");
    world.write(name, &text);
    let arguments: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    format!("python3 {name} {}", arguments.join(" "))
}

/// The attack came to its end and reached nothing.
#[track_caller]
fn contained(finished: &Finished) {
    assert!(finished.stdout.ends_with("done\n"), "{finished}");
    assert!(!finished.stdout.contains("escaped"), "{finished}");
}

/// The addresses of this machine's interfaces, loopback among them.
fn own_addresses() -> Vec<String> {
    let mut addresses = vec!["127.0.0.1".to_owned()];
    // The address that packets to the world would have; asking sends none.
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    if probe.connect("192.0.2.1:9").is_ok() {
        addresses.push(probe.local_addr().expect("its address").ip().to_string());
    }
    addresses
}

for_each_person! {
    fn invariant_1_no_protocol_reaches_the_host_or_the_world(person: Person) {
        let world = World::new(person);
        let (stream, datagram) = (
            TcpListener::bind("0.0.0.0:0").expect("a port"),
            UdpSocket::bind("0.0.0.0:0").expect("a port"),
        );
        for quiet in [stream.set_nonblocking(true), datagram.set_nonblocking(true)] {
            quiet.expect("a flag");
        }
        let ports = [
            stream.local_addr().expect("its address").port(),
            datagram.local_addr().expect("its address").port(),
        ];
        let targets: Vec<String> = own_addresses()
            .iter()
            .flat_map(|address| ports.map(|port| format!("{address}:{port}")))
            .collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        contained(&world.run(&[], &attack(&world, "network.py", &targets)));
        assert!(stream.accept().is_err(), "the host heard a connection");
        assert!(datagram.recv_from(&mut [0; 64]).is_err(), "the host heard a datagram");
    }
}

for_each_person! {
    fn invariant_1_names_are_answered_without_asking_anyone(person: Person) {
        let (world, _server) = granted_world(person);
        let line = attack(&world, "names.py", &["$SERVER", "api.example.com"]);
        let line = format!(
            "SERVER=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1); {}",
            line.replace("'$SERVER'", "\"$SERVER\"")
        );
        contained(&world.run(&[], &line));
        let session = world.sessions().remove(0);
        let log = world.json(&["log", &session]);
        assert!(
            log.iter().any(|entry| entry["kind"] == "name_refused" && entry.to_string().contains("attacker.example")),
            "a refused name is on record: {log:?}"
        );
    }
}

for_each_person! {
    fn invariant_6_no_request_is_read_in_two_ways(person: Person) {
        let (world, server) = granted_world(person);
        contained(&world.run(&[], &attack(&world, "wire.py", &["api.example.com"])));
        for request in server.received() {
            assert_eq!(request.header("host"), Some("api.example.com"), "{request:?}");
            assert_eq!(request.target, "/v1/good", "{request:?}");
        }
        world.verify_all();
    }
}

for_each_person! {
    fn invariant_6_no_handshake_is_read_in_two_ways(person: Person) {
        let hosts = ["api.example.com", "passed.example.com"];
        let authority = TestAuthority::new();
        let server = Server::start(&authority, &hosts, |_| Answer::new(200, "text/plain", "reached"));
        let mut world = World::new(person);
        world.believe(&authority);
        for host in hosts {
            world.route(host, 443, &server);
        }
        world.manifest(
            "[task]\nname = \"read\"\n\n[[host]]\nname = \"api.example.com\"\nmethods = [\"GET\"]\n\n\
             [[host]]\nname = \"passed.example.com\"\ninspect = false\n",
        );
        let finished = world.run(&[], &attack(&world, "tls.py", &hosts));
        contained(&finished);
        assert_eq!(finished.stdout, "done\n", "what is whole goes on");
        assert!(server.received().is_empty(), "{:?}", server.received());
    }
}

for_each_person! {
    fn invariant_6_a_relay_inside_gains_nothing(person: Person) {
        let (world, server) = granted_world(person);
        let finished = world.run(&[], &attack(&world, "relay.py", &["api.example.com"]));
        contained(&finished);
        assert_eq!(finished.stdout, "done\n", "what is granted passes");
        let targets: Vec<_> = server.received().into_iter().map(|it| it.target).collect();
        assert_eq!(targets, ["/v1/good"; 3]);
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_9_no_system_call_opens_the_kernel(person: Person) {
        let world = World::new(person);
        contained(&world.run(&[], &attack(&world, "kernel.py", &[])));
    }
}

for_each_person! {
    fn invariant_9_processes_outside_are_out_of_reach(person: Person) {
        let world = World::new(person);
        let line = attack(&world, "processes.py", &["$OUTSIDE", SECRET]);
        let mut command = world.outside("bash");
        // The supervisor takes the shell's place, so its id is the shell's.
        command.args(["-c", &format!(
            "export TAGOUT_TEST_MARKER={SECRET}; line=${{1//'$OUTSIDE'/$$}}; exec tagout run -- bash -c \"$line\"",
        ), "bash", &line]);
        contained(&finish(&mut command));
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_3_no_path_leads_to_a_hidden_file(person: Person) {
        let world = World::new(person);
        world.write_home("notes/secret.txt", SECRET);
        let path = world.home().join("notes/secret.txt").display().to_string();
        contained(&world.run(&[], &attack(&world, "paths.py", &[&path, SECRET])));
        // A link that the workspace had before leads nowhere either, and stays what it is.
        std::os::unix::fs::symlink(&path, world.workspace().join("earlier")).expect("a link");
        let finished = world.run(&[], "cat earlier; cat \"$(readlink earlier)\"; echo changed > earlier; echo done");
        contained(&finished);
        assert!(!finished.everything().contains(SECRET), "{finished}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), SECRET);
    }
}

for_each_person! {
    fn invariant_3_memory_and_names_are_not_shared(person: Person) {
        let world = World::new(person);
        let key = i32::try_from(std::process::id()).expect("small").wrapping_mul(1_009).to_string();
        let shared = format!("/dev/shm/tagout-test-{}-{}", std::process::id(), person.name());
        let name = format!("tagout-test-{}-{}", std::process::id(), person.name());
        world.write(
            "share.py",
            "import ctypes, os, socket, sys\n\
             key, shared, name, text = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].encode()\n\
             libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p\n\
             segment = libc.shmget(key, 4096, 0o1666)\n\
             ctypes.memmove(libc.shmat(segment, None, 0), text, len(text))\n\
             open(shared, 'wb').write(text)\n\
             listener = socket.socket(socket.AF_UNIX); listener.bind('\\0' + name); listener.listen()\n\
             print('shared', flush=True); sys.stdin.read()\n\
             libc.shmctl(segment, 0, None); os.remove(shared)\n",
        );
        let mut sharing = world
            .outside("python3")
            .args(["share.py", &key, &shared, &name, SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut said = String::new();
        let mut output = std::io::BufReader::new(sharing.stdout.take().expect("its output"));
        std::io::BufRead::read_line(&mut output, &mut said).expect("a line");
        let finished = world.run(&[], &attack(&world, "ipc.py", &[&key, &shared, &name, SECRET]));
        drop(sharing.stdin.take());
        sharing.wait().expect("its end");
        assert_eq!(said, "shared\n");
        contained(&finished);
        assert!(!finished.everything().contains(SECRET), "{finished}");
    }
}

for_each_person! {
    fn invariant_11_a_daemon_does_not_outlive_the_session(person: Person) {
        let world = World::new(person);
        world
            .run(
                &[],
                "for way in setsid nohup; do $way bash -c 'echo up >> up; exec sleep 1000' >/dev/null 2>&1 & done; \
                 python3 -c 'import os\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  open(\"up\", \"a\").write(\"up\\n\"); os.execvp(\"sleep\", [\"sleep\", \"1000\"])\n os._exit(0)'; \
                 until [ \"$(wc -l < up)\" = 3 ]; do sleep 0.01; done",
            )
            .success();
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_9_nothing_is_typed_into_the_terminal(person: Person) {
        let world = World::new(person);
        let line = attack(&world, "terminal.py", &[]);
        let terminal = Terminal::open(&world);
        terminal.line(&format!("tagout run -- {line}")).shows("all tried").shows_times("outside>", 2);
        let screen = terminal.screen();
        assert!(!screen.contains("escaped"), "{screen}");
    }
}

for_each_person! {
    fn invariant_9_the_clipboard_and_the_title_are_not_the_agents(person: Person) {
        let world = World::new(person);
        // A file with what a hostile program prints, so that the shell's own echo has none of it.
        world.write("print.py", "import sys; sys.stdout.write('\\x1b]52;c;ZXZpbA==\\x07\\x1b]52;c;?\\x07\\x1bP$qm\\x1b\\\\\\x1b[21t\\x1b_payload\\x1b\\\\\\x1b^payload\\x1b\\\\printed\\n')");
        world.write("sink.sh", "script -qefc \"tagout run -- python3 print.py\" typescript >/dev/null\n");
        let finished = finish(world.outside("bash").arg("sink.sh")).success();
        let seen = world.read("typescript").expect("what reached the terminal");
        assert!(seen.contains("printed"), "{seen:?} {finished}");
        for hostile in ["\x1b]52;c;?", "\x1bP$q", "\x1b[21t", "\x1b_", "\x1b^", "ZXZpbA"] {
            assert!(!seen.contains(hostile), "{hostile:?} in {seen:?}");
        }
    }
}

for_each_person! {
    fn invariant_9_a_session_inside_a_session_changes_nothing(person: Person) {
        let world = World::new(person);
        world.write_home("notes/secret.txt", SECRET);
        let path = world.home().join("notes/secret.txt").display().to_string();
        let before = world.tagout(&["sessions", "--json"]).success().stdout;
        let finished = world.run(
            &[],
            &format!(
                "tagout run --allow-host example.org -- cat {path}; tagout approve x --yes; \
                 tagout kill x; tagout trust --digest 00 tagout.toml; env -u TAGOUT_HOME tagout sessions; echo done"
            ),
        );
        contained(&finished);
        assert!(!finished.everything().contains(SECRET), "{finished}");
        assert_eq!(before, "");
        assert_eq!(world.sessions().len(), 1, "one session is on record: {finished}");
    }
}

/// A world in which `api.example.com` is granted below `/v1/` and says what it was asked.
fn granted_world(person: Person) -> (World, Server) {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |request| {
        Answer::new(200, "text/plain", format!("reached: {}\n", request.target))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    world.manifest(
        "[task]\nname = \"read\"\n\n[[host]]\nname = \"api.example.com\"\n\
         methods = [\"GET\", \"POST\"]\npaths = [\"/v1/**\"]\n",
    );
    (world, server)
}

#[test]
fn the_attacks_notice_an_escape() {
    // Outside, the same programs reach what they look for: they can fail.
    let world = World::new(Person::ordinary());
    world.write_home("notes/secret.txt", SECRET);
    let path = world.home().join("notes/secret.txt").display().to_string();
    let line = attack(&world, "paths.py", &[&path, SECRET]);
    let finished = finish(world.outside("bash").args(["-c", &line])).success();
    assert!(finished.stdout.contains("escaped: as it is"), "{finished}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("its address").to_string();
    listener.set_nonblocking(true).expect("a flag");
    let line = attack(&world, "network.py", &[&target]);
    let finished = finish(world.outside("bash").args(["-c", &line]));
    assert!(
        finished
            .stdout
            .contains(&format!("escaped: TCP to {target}")),
        "{finished}"
    );
    eventually("the listener hears it", || listener.accept().is_ok());
}
