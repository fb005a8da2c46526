//! The way to a server: its socket on this machine, or TCP where the task may. What is said there first, and
//! whether it is encrypted, is the protocol's.

use tagout_core::Refusal;
use tagout_net::{Connection, NetError, Upstream, UpstreamStream};
use tokio::net::{TcpStream, UnixStream};

use crate::{Database, Place};

/// A connection on which nothing has been said.
pub enum Reached<'d> {
    /// Through a socket of this machine.
    Socket(UnixStream),
    /// Over TCP, to the host that its certificate has to name.
    Host(TcpStream, &'d str),
}

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The authority says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The network.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The socket on this machine.
    #[error("the database's socket {path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not encrypt, and has to.
    #[error(
        "the database at {server} does not speak TLS, which Tagout expects of one that is not on this machine; if that is as it should be, your user can add {parameter} to the database's URL"
    )]
    NoTls {
        /// Where it is.
        server: String,
        /// What of the URL says that none is needed.
        parameter: &'static str,
    },
    /// Encrypted already, where the protocol says first whether it is.
    #[error("the way to the database is none that Tagout can use")]
    Way,
}

impl Database {
    /// Connects to its server's socket at `socket`, or by `over` where it is none of this machine.
    pub(crate) async fn reach(
        &self,
        socket: impl FnOnce(&str) -> String,
        over: impl Future<Output = Result<Connection, ReachError>>,
    ) -> Result<Reached<'_>, ReachError> {
        match &self.place {
            Place::Socket(place) => {
                let path = socket(place);
                match UnixStream::connect(&path).await {
                    Ok(stream) => Ok(Reached::Socket(stream)),
                    Err(source) => Err(ReachError::Socket { path, source }),
                }
            }
            Place::Host(host) => match over.await?.stream {
                UpstreamStream::Plain(stream) => Ok(Reached::Host(stream, host)),
                UpstreamStream::Tls(_) => Err(ReachError::Way),
            },
        }
    }
}

/// A connection for what a person does in person, outside any session, such as `tagout undo`: there is no
/// task and no ledger, and the address rules are the same. Nothing that an agent sends may come here. `socket`
/// makes the path of a socket of its place.
///
/// # Errors
/// Where the server is not reached.
pub async fn reach_in_person<'d>(
    upstream: &Upstream,
    database: &'d Database,
    socket: impl FnOnce(&str) -> String,
) -> Result<Reached<'d>, ReachError> {
    let target = database.target();
    let over = async { Ok(upstream.connect_opaque_in_person(&target).await?) };
    database.reach(socket, over).await
}
