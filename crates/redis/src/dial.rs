//! The way from a [`Database`] to a [`Server`] that lets its user in: over TCP, encrypted as the URL says, in
//! the database of the URL.

use tagout_database::{Database, ReachError, Reached, ServedDatabases, SslMode};

use crate::command::Command;
use crate::preview::Bound;
use crate::server::{Server, ServerError};

/// Whom a server takes a client for that names nobody.
const DEFAULT_USER: &str = "default";

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The way there.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The server.
    #[error("{0}")]
    Server(#[from] ServerError),
}

/// Connects, where the task may, and logs in.
pub(crate) async fn dial(
    databases: &ServedDatabases<Bound>,
    database: &Database,
) -> Result<Server, DialError> {
    let mut server = match databases.reach(database, str::to_owned).await? {
        Reached::Socket(stream) => Server::new(Box::new(stream)),
        Reached::Host(stream, _) if database.ssl_mode == SslMode::Disable => {
            Server::new(Box::new(stream))
        }
        Reached::Host(stream, host) => {
            let name = &database.target().host;
            let upstream = databases.upstream();
            let secured = upstream.secure(name, host, stream, &database.tls).await;
            Server::new(Box::new(secured.map_err(ReachError::from)?))
        }
    };
    if let Some(password) = &database.password {
        let mut words = vec![b"AUTH".to_vec()];
        // Servers before Redis 6 know no users.
        if database.user != DEFAULT_USER {
            words.push(database.user.as_bytes().to_vec());
        }
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
