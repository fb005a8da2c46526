//! Ports of the command's own `localhost` that lead outside: those that the manifest lets in
//! (`local = 5432`), passed to this machine's own loopback unread, each connection in the ledger before
//! anything is dialled; and those where the operator's own configuration has a registry on `localhost`,
//! which the HTTP gate reads as any other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tagout_authority::Record;
use tagout_core::HostName;
use tagout_http::Gate;
use tagout_net::{Captured, Destination};
use tagout_policy::Task;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::databases::DatabaseGates;
use crate::run::{RunError, io};

/// Connections at one time, over all ports; more wait.
const MOST_CONNECTIONS: usize = 256;
/// Pause after an error of a listening socket.
const BREATHER: Duration = Duration::from_millis(20);
/// How long a server on this machine may take to accept.
const DIAL: Duration = Duration::from_secs(5);

/// The ports of the command's loopback on which the supervisor has to stand.
pub(crate) fn ports(task: &Task) -> Vec<u16> {
    let registries = task.registries.all();
    let mut ports: Vec<u16> = registries
        .iter()
        .filter(|registry| registry.target.host.as_str() == "localhost")
        .map(|registry| registry.target.port)
        .chain(task.local_ports.iter().map(|local| local.port))
        .chain(task.databases.iter().filter_map(|grant| {
            let endpoint = grant.endpoint.as_ref()?;
            (endpoint.inside.as_str() == "localhost").then_some(endpoint.port)
        }))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Serves them until the session ends. Must be called in a tokio runtime.
///
/// # Errors
/// When a socket cannot be taken over.
pub(crate) fn serve(
    sockets: Vec<(u16, TcpListener)>,
    task: &Task,
    (gate, databases): (&Gate, &DatabaseGates),
    record: &Record,
) -> Result<(), RunError> {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let localhost = HostName::parse("localhost")
        .map_err(|error| RunError::Option(format!("localhost: {error}")))?;
    for (port, socket) in sockets {
        let listener = tokio::net::TcpListener::from_std(socket)
            .map_err(io("listening on a port of the session's loopback"))?;
        let unread = task.local_ports.iter().any(|local| local.port == port);
        let (gate, record, room) = (gate.clone(), record.clone(), Arc::clone(&room));
        let localhost = localhost.clone();
        let destination = Destination::Known(localhost.clone());
        let database = databases.at(&destination, port);
        tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                let Ok((inside, _)) = listener.accept().await else {
                    sleep(BREATHER).await;
                    continue;
                };
                let (gate, record) = (gate.clone(), record.clone());
                let database = database.clone();
                let destination = Destination::Known(localhost.clone());
                tokio::spawn(async move {
                    let captured = |inside| Captured::new(inside, destination, port);
                    match database {
                        Some(gate) => gate.serve(captured(inside)).await,
                        None if unread => pass_out(inside, port, &record).await,
                        None => gate.serve(captured(inside)).await,
                    }
                    drop(place);
                });
            }
        });
    }
    Ok(())
}

/// One connection that the manifest lets through unread.
async fn pass_out(mut inside: TcpStream, port: u16, record: &Record) {
    let fields = json!({
        "host": "localhost",
        "port": port,
        "local": true,
        "inspected": false,
        "verdict": "allow",
        "reason": null,
    });
    // Invariant 2: first the record, then the dial.
    let Ok(connection) = record.append("connection", fields).await else {
        return;
    };
    let passed = match dial(port).await {
        Ok(mut outside) => {
            let _ = inside.set_nodelay(true);
            let _ = outside.set_nodelay(true);
            tokio::io::copy_bidirectional(&mut inside, &mut outside)
                .await
                .map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("port {port} of this machine: {error}")),
    };
    let fields = json!({
        "connection": connection,
        "inspected": false,
        "sent_bytes": passed.as_ref().ok().map(|passed| passed.0),
        "received_bytes": passed.as_ref().ok().map(|passed| passed.1),
        "error": passed.err(),
    });
    // The connection is over; a ledger that fails now refuses the next one.
    let _ = record.append("passed", fields).await;
}

async fn dial(port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::ConnectionRefused.into();
    for place in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ] {
        match timeout(DIAL, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
