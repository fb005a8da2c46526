//! The way from a [`Database`] to a [`Server`] that lets its user in: over TCP, encrypted as the URL says, in
//! the database of the URL.

use tagout_authority::Authority;
use tagout_core::Refusal;
use tagout_database::Place;
use tagout_net::{NetError, Upstream, UpstreamStream};

use crate::command::Command;
use crate::database::Database;
use crate::server::{Server, ServerError};

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The authority says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The network.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The server.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// The socket on this machine.
    #[error("the database's socket {path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another stream than was asked for.
    #[error("the way to the database is none that Tagout can use")]
    Way,
}

/// Connects, where the task may, and logs in.
pub(crate) async fn dial(
    authority: &Authority,
    upstream: &Upstream,
    database: &Database,
) -> Result<Server, DialError> {
    let admission = authority
        .admit(&database.target())
        .await
        .map_err(|refusal| DialError::Refused(Box::new(refusal)))?;
    let mut server = match &database.place {
        Place::Socket(path) => {
            let stream = tokio::net::UnixStream::connect(path).await;
            let stream = stream.map_err(|source| DialError::Socket {
                path: path.clone(),
                source,
            })?;
            Server::new(Box::new(stream))
        }
        Place::Host(host) => {
            let connection = upstream.connect_opaque(&admission).await?;
            let UpstreamStream::Plain(stream) = connection.stream else {
                return Err(DialError::Way);
            };
            match &database.tls {
                None => Server::new(Box::new(stream)),
                Some(tls) => {
                    let name = &database.target().host;
                    Server::new(Box::new(upstream.secure(name, host, stream, tls).await?))
                }
            }
        }
    };
    if let Some(password) = &database.password {
        let user = database.user.as_ref().map(|user| user.as_bytes().to_vec());
        let mut words = vec![b"AUTH".to_vec()];
        words.extend(user);
        words.push(password.expose().to_vec());
        if let Some(login) = Command::new(words) {
            server.ask(&login).await?;
        }
    }
    if database.endpoint.database != "0" {
        let select = Command::of(&["SELECT", &database.endpoint.database]);
        server.ask(&select).await?;
    }
    Ok(server)
}
