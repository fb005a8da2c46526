//! `--publish PORT`: a server inside, shown outside on 127.0.0.1 at the same port. The listening socket
//! is the host's, the other end is a socket of the command's own network that process 1 made and handed
//! over; so a connection from outside goes in and nothing comes out but its answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tagout_authority::Record;
use tagout_sandbox::Control;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::run::RunError;

/// Connections at one time, over all ports; more wait.
const MOST_CONNECTIONS: usize = 256;
/// Pause after an error of a listening socket.
const BREATHER: Duration = Duration::from_millis(20);

/// A port of the host that is taken for a server inside.
pub(crate) struct Published {
    port: u16,
    listener: TcpListener,
}

/// Takes the ports, before anything else of the session exists.
///
/// `let_in` are the ports of the inside's loopback that lead outside: publishing one would lead a
/// connection round in circles.
///
/// # Errors
/// When one is taken already, or is not this user's to take.
pub(crate) fn take(ports: &[u16], let_in: &[u16]) -> Result<Vec<Published>, RunError> {
    let mut taken: Vec<Published> = Vec::new();
    for &port in ports {
        if let_in.contains(&port) {
            return Err(RunError::Option(format!(
                "--publish {port}: localhost:{port} inside is this machine's own (local = {port}, or a registry of yours); let the server inside use another port"
            )));
        }
        if taken.iter().any(|other| other.port == port) {
            continue;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| refused(port, &error))?;
        listener
            .set_nonblocking(true)
            .map_err(|error| refused(port, &error))?;
        taken.push(Published { port, listener });
    }
    Ok(taken)
}

fn refused(port: u16, error: &io::Error) -> RunError {
    RunError::Option(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "--publish {port}: something on this machine listens on 127.0.0.1:{port} already; end it, or let the server inside use another port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "--publish {port}: ports below 1024 are root's; let the server inside use a higher one"
        ),
        _ => format!("--publish {port}: {error}"),
    })
}

impl Published {
    /// What the person is told.
    pub(crate) fn notice(&self) -> String {
        format!(
            "port {0} of the session is http://127.0.0.1:{0}/ on this machine. What you open there is the agent's page: it runs in your browser, so do not type passwords into it",
            self.port
        )
    }
}

/// Passes connections in until the session ends. Must be called in a tokio runtime.
///
/// # Errors
/// When a socket cannot be taken over.
pub(crate) fn serve(
    published: Vec<Published>,
    control: &Control,
    record: &Record,
) -> Result<(), RunError> {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    for Published { port, listener } in published {
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(|error| refused(port, &error))?;
        let (control, record, room) = (control.clone(), record.clone(), Arc::clone(&room));
        tokio::spawn(async move {
            let fields = json!({"port": port, "at": format!("127.0.0.1:{port}")});
            if record.append("published", fields).await.is_err() {
                return;
            }
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                let Ok((outside, _)) = listener.accept().await else {
                    sleep(BREATHER).await;
                    continue;
                };
                let control = control.clone();
                tokio::spawn(async move {
                    pass_in(outside, &control, port).await;
                    drop(place);
                });
            }
        });
    }
    Ok(())
}

/// One connection. Where nothing listens inside it is closed, as a port without a server is.
async fn pass_in(mut outside: TcpStream, control: &Control, port: u16) {
    let Some(mut inside) = connect(control, port).await else {
        return;
    };
    let _ = outside.set_nodelay(true);
    let _ = inside.set_nodelay(true);
    // Either side may end it, whenever it likes.
    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
}

/// A development server may listen on `localhost` in either family.
async fn connect(control: &Control, port: u16) -> Option<TcpStream> {
    let places = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    for place in places {
        let control = control.clone();
        let made =
            tokio::task::spawn_blocking(move || control.socket_inside(place.is_ipv6())).await;
        let Ok(Ok(socket)) = made else { continue };
        if let Ok(stream) = TcpSocket::from_std_stream(socket).connect(place).await {
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_said_to_be() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        assert!(take(&[port], &[port]).is_err());
        let error = take(&[port], &[]).err().unwrap().to_string();
        assert!(
            error.contains(&format!("--publish {port}: something")),
            "{error}"
        );
        drop(other);
        let taken = take(&[port, port], &[]).unwrap();
        assert_eq!(taken.len(), 1);
        let address = taken[0].listener.local_addr().unwrap();
        assert!(address.ip().is_loopback());
    }
}
