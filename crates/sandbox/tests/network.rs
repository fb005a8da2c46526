//! Invariant 1: the only way out is a gate; and nothing of the host's can be talked to.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use support::{Place, as_root_and_as_ordinary_user, finish, run};
use tagout_sandbox::launch;

#[test]
fn invariant_1_the_only_link_leads_to_the_gates() {
    as_root_and_as_ordinary_user("invariant_1_the_only_link_leads_to_the_gates", || {
        let place = Place::new();
        let script = "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' | sort; \
                      tail -n +2 /proc/net/route | cut -f1-3; \
                      cat /proc/net/if_inet6 | cut -d' ' -f6- | tr -d ' '; \
                      for a in 1.1.1.1 169.254.169.254 10.0.0.1 127.0.0.1 198.18.0.2 198.18.0.1 ::1; do \
                        (exec 3<>/dev/tcp/$a/9) 2>&1 | head -1 | sed 's/.*: //'; done";
        let outcome = place.run(script);
        let expected = "agent0\nlo\nagent0\t000012C6\t00000000\nlo\n\
                        Network is unreachable\nNetwork is unreachable\nNetwork is unreachable\n\
                        Connection refused\nConnection refused\nConnection refused\nConnection refused\n";
        assert_eq!(outcome.ok(), expected);
    });
}

#[test]
fn invariant_1_a_connection_arrives_at_the_gate_with_its_synthetic_destination() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_connection_arrives_at_the_gate_with_its_synthetic_destination",
        || {
            let place = Place::new();
            let script = "exec 3<>/dev/tcp/198.18.7.9/443; echo hello >&3; cat <&3; \
                          exec 4<>/dev/udp/198.18.0.1/53; echo query >&4; head -c 6 <&4";
            let mut sandbox = launch(place.spec(script)).unwrap();
            let listeners = sandbox.listeners.take().unwrap();
            let gate = std::thread::spawn(move || {
                let (port, listener) = &listeners.gates[1];
                assert_eq!(*port, 443);
                listener.set_nonblocking(false).unwrap();
                let (mut connection, peer) = listener.accept().unwrap();
                assert_eq!(
                    connection.local_addr().unwrap().to_string(),
                    "198.18.7.9:443"
                );
                assert_eq!(peer.ip().to_string(), "198.18.0.2");
                connection.set_nonblocking(false).unwrap();
                let mut said = [0; 6];
                connection.read_exact(&mut said).unwrap();
                connection.write_all(b"answer\n").unwrap();
                drop(connection);
                let udp = &listeners.name_server_udp;
                udp.set_nonblocking(false).unwrap();
                let (length, from) = udp.recv_from(&mut [0; 6]).unwrap();
                assert_eq!(length, 6);
                udp.send_to(b"reply\n", from).unwrap();
                said
            });
            let outcome = finish(sandbox);
            assert_eq!(outcome.ok(), "answer\nreply\n");
            assert_eq!(&gate.join().unwrap(), b"hello\n");
        },
    );
}

#[test]
fn invariant_1_a_server_of_the_agents_own_does_not_collide_with_the_gates() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_server_of_the_agents_own_does_not_collide_with_the_gates",
        || {
            let place = Place::new();
            let mut spec = place.spec(
            "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalAddr => q(0.0.0.0), LocalPort => 8080, Listen => 1) \
             or die $!; print qq(bound\n); IO::Socket::INET->new(LocalAddr => q(198.18.0.9), LocalPort => 8081, Listen => 1) \
             and print qq(stolen\n);'",
        );
            spec.ports = vec![8080, 8081];
            assert_eq!(run(spec).ok(), "bound\n");
        },
    );
}

#[test]
fn invariant_1_sockets_and_queues_of_the_host_are_out_of_reach() {
    as_root_and_as_ordinary_user(
        "invariant_1_sockets_and_queues_of_the_host_are_out_of_reach",
        || {
            use std::os::linux::net::SocketAddrExt;
            let place = Place::new();
            let path = place.path("outside").join("agent.sock");
            let _named = UnixListener::bind(&path).unwrap();
            let name = format!("tagout-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let _abstract = UnixListener::bind_addr(&address).unwrap();
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            // SAFETY: creates a segment of shared memory; removed below.
            let segment = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o666) };
            assert!(segment >= 0);
            let script = format!(
                "perl -MSocket -e 'for (q({path}), qq(\\0{name})) {{ socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
             print connect(S, pack_sockaddr_un($_)) ? qq(reached $_\n) : qq(no\n) }} \
             socket(S, AF_INET, SOCK_STREAM, 0); \
             print connect(S, pack_sockaddr_in({port}, inet_aton(q(127.0.0.1)))) ? qq(reached\n) : qq(no\n); \
             print defined(shmctl({segment}, 2, my $buffer)) ? qq(reached\n) : qq(no\n); \
             socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) and print qq(pair\n)'; \
             ls /run /dev/shm; hostname; cat /proc/sysvipc/shm | wc -l",
                path = path.display(),
                port = tcp.local_addr().unwrap().port(),
            );
            let outcome = place.run(&script);
            // SAFETY: removes the segment made above.
            unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
            assert_eq!(
                outcome.ok(),
                "no\nno\nno\nno\npair\n/dev/shm:\n\n/run:\ntagout\n1\n",
                "{outcome:?}"
            );
        },
    );
}

#[test]
fn invariant_1_a_server_inside_is_reached_and_reaches_nothing() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_server_inside_is_reached_and_reaches_nothing",
        || {
            let place = Place::new();
            // The server of the host on the same port is another one, and stays out of reach.
            let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = host.local_addr().unwrap().port();
            let script = format!(
                "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalAddr => q(127.0.0.1), LocalPort => {port}, Listen => 1) or die $!; \
                 $| = 1; print qq(listening\n); my $c = $s->accept; my $said = <$c>; print qq(heard $said); print $c qq(from inside\n)'"
            );
            let mut sandbox = launch(place.spec(&script)).unwrap();
            let control = sandbox.control();
            let early = control.socket_inside(false).unwrap();
            assert_eq!(connect(&early, port), Err(libc::ECONNREFUSED));
            let mut ends = sandbox.start().unwrap();
            let mut output = ends.output.take().unwrap();
            let mut line = [0; 10];
            output.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"listening\n");
            // While the command runs: with it, who hands out sockets ends.
            assert!(control.socket_inside(true).is_ok());
            let mut socket = control.socket_inside(false).unwrap();
            connect(&socket, port).unwrap();
            socket.set_nonblocking(false).unwrap();
            socket.write_all(b"from outside\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "from inside\n");
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "heard from outside\n");
            host.set_nonblocking(true).unwrap();
            assert!(host.accept().is_err(), "the host's own server was reached");
        },
    );
}

#[test]
fn invariant_1_a_port_of_loopback_leads_to_the_supervisor_alone() {
    as_root_and_as_ordinary_user(
        "invariant_1_a_port_of_loopback_leads_to_the_supervisor_alone",
        || {
            let place = Place::new();
            let mut spec = place.spec(
                "exec 3<>/dev/tcp/127.0.0.1/15432; cat <&3; (exec 4<>/dev/tcp/127.0.0.1/15433) 2>/dev/null || echo closed; \
                 perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => q(127.0.0.1), LocalPort => 15432, Listen => 1, ReuseAddr => 1) \
                 ? qq(stolen\n) : qq(taken\n)'",
            );
            spec.loopback_ports = vec![15432];
            let mut sandbox = launch(spec).unwrap();
            let listeners = sandbox.listeners.take().unwrap();
            let supervisor = std::thread::spawn(move || {
                let (port, listener) = &listeners.loopback[0];
                assert_eq!(*port, 15432);
                listener.set_nonblocking(false).unwrap();
                let (mut connection, _) = listener.accept().unwrap();
                connection.set_nonblocking(false).unwrap();
                connection.write_all(b"let in\n").unwrap();
                listeners
            });
            let outcome = finish(sandbox);
            drop(supervisor.join().unwrap());
            assert_eq!(outcome.ok(), "let in\nclosed\ntaken\n");
        },
    );
}

/// Connects to a port of loopback where the socket is, waiting for it.
fn connect(socket: &std::net::TcpStream, port: u16) -> Result<(), i32> {
    use std::os::fd::AsRawFd;
    socket.set_nonblocking(false).unwrap();
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: `address` is a live sockaddr_in of the length given, and the descriptor is open.
    let done = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}
