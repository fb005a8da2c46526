//! The way from a [`Database`] to a [`Server`] that lets its user in: through a socket or TCP, encrypted as
//! the URL says, with everything pinned.

use tagout_core::Refusal;
use tagout_database::Place;
use tagout_net::{Connection, NetError, Upstream, UpstreamStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::capability::{SSL, asked};
use crate::database::Database;
use crate::greeting::{Greeting, Login};
use crate::packet::write_message;
use crate::pins::pin;
use crate::server::{Greeted, Server, ServerError};
use crate::url::SslMode;

/// Any way to a server.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
/// A connection to a server.
pub type Link = Box<dyn Stream>;

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
    /// It does not encrypt, and has to.
    #[error(
        "the database at {0} does not speak TLS, which Tagout expects of one that is not on this machine; if that is as it should be, your user can add ssl-mode=DISABLED to the database's URL"
    )]
    NoTls(String),
}

/// A server that has greeted, by a way that is encrypted where it has to be.
pub(crate) struct Way {
    link: Link,
    pub(crate) greeting: Greeting,
    sequence: u8,
    is_encrypted: bool,
    /// Nobody can listen.
    is_private: bool,
}

impl Way {
    /// Through a socket of this machine.
    pub(crate) async fn by_socket(path: &str) -> Result<Self, DialError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| DialError::Socket {
                path: path.to_owned(),
                source,
            })?;
        let greeted = Greeted::wait(stream).await?;
        Ok(Self {
            link: Box::new(greeted.stream),
            greeting: greeted.greeting,
            sequence: greeted.sequence,
            is_encrypted: false,
            is_private: true,
        })
    }

    /// Over a connection that is there, encrypted as the URL says.
    pub(crate) async fn over(
        upstream: &Upstream,
        database: &Database,
        host: &str,
        connection: Connection,
    ) -> Result<Self, DialError> {
        let UpstreamStream::Plain(stream) = connection.stream else {
            return Err(ServerError::Unpinned("connection".to_owned()).into());
        };
        let Greeted {
            mut stream,
            greeting,
            sequence,
        } = Greeted::wait(stream).await?;
        let encrypts = match (database.ssl_mode, greeting.capabilities & SSL != 0) {
            (SslMode::Disabled, _) | (SslMode::Preferred, false) => false,
            (_, true) => true,
            (_, false) => return Err(DialError::NoTls(database.target().to_string())),
        };
        if !encrypts {
            return Ok(Self {
                link: Box::new(stream),
                greeting,
                sequence,
                is_encrypted: false,
                is_private: false,
            });
        }
        // The same capabilities as the login that follows it.
        let login = login(database, &greeting, u32::MAX);
        let request = login.write(true).0.unwrap_or_default();
        let mut out = Vec::new();
        let sequence = write_message(&mut out, sequence, &request);
        stream.write_all(&out).await.map_err(ServerError::from)?;
        let tls = upstream
            .secure(&database.target().host, host, stream, &database.tls)
            .await?;
        Ok(Self {
            link: Box::new(tls),
            greeting,
            sequence,
            is_encrypted: true,
            is_private: true,
        })
    }

    /// Logs in as the user of the URL, with what a client took of `client`, and pins what has to be.
    pub(crate) async fn log_in(
        self,
        database: &Database,
        client: u32,
        is_protected: bool,
    ) -> Result<Server<Link>, DialError> {
        let mut login = login(database, &self.greeting, client);
        if self.is_encrypted {
            login.capabilities |= SSL;
        }
        let ends = (database.trust(self.is_encrypted), self.is_private);
        let greeted = Greeted {
            stream: self.link,
            greeting: self.greeting,
            sequence: self.sequence,
        };
        let password = database.password.as_ref();
        let password = password.map_or(&[][..], |password| password.expose());
        let mut server = greeted.log_in(login, password, ends).await?;
        pin(&mut server, is_protected).await?;
        Ok(server)
    }
}

fn login(database: &Database, greeting: &Greeting, client: u32) -> Login {
    Login {
        capabilities: asked(greeting.capabilities, client),
        user: database.user.clone(),
        proof: Vec::new(),
        database: Some(database.endpoint.database.clone()),
        method: None,
    }
}

/// A connection for what a person does in person, outside any session, such as `tagout undo`: there is no
/// task and no ledger, and the address rules are the same. Nothing that an agent sends may come here.
///
/// # Errors
/// Where the server is not reached, or does not let the user in.
pub async fn connect_in_person(
    upstream: &Upstream,
    database: &Database,
) -> Result<Server<Link>, DialError> {
    let way = match &database.place {
        Place::Socket(path) => Way::by_socket(path).await?,
        Place::Host(host) => {
            let connection = upstream
                .connect_opaque_in_person(&database.target())
                .await?;
            Way::over(upstream, database, host, connection).await?
        }
    };
    way.log_in(database, 0, false).await
}
