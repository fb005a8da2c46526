//! The way from a [`Database`] to a [`Server`] that lets its user in: through a socket or TCP, encrypted as
//! the URL says, with everything pinned.

use tagout_database::{Database, ReachError, Reached, SslMode, reach_in_person};
use tagout_net::Upstream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::capability::{SSL, asked};
use crate::greeting::{Greeting, Login};
use crate::packet::write_message;
use crate::pins::pin;
use crate::server::{Greeted, Server, ServerError};

/// Any way to a server.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
/// A connection to a server.
pub type Link = Box<dyn Stream>;

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
    /// Over a connection on which nothing has been said, encrypted as the URL says.
    pub(crate) async fn over(
        upstream: &Upstream,
        database: &Database,
        reached: Reached<'_>,
    ) -> Result<Self, DialError> {
        let (stream, host) = match reached {
            Reached::Socket(stream) => {
                let greeted = Greeted::wait(stream).await?;
                return Ok(Self {
                    link: Box::new(greeted.stream),
                    greeting: greeted.greeting,
                    sequence: greeted.sequence,
                    is_encrypted: false,
                    is_private: true,
                });
            }
            Reached::Host(stream, host) => (stream, host),
        };
        let Greeted {
            mut stream,
            greeting,
            sequence,
        } = Greeted::wait(stream).await?;
        let encrypts = match (database.ssl_mode, greeting.capabilities & SSL != 0) {
            (SslMode::Disable, _) | (SslMode::Prefer, false) => false,
            (_, true) => true,
            (_, false) => {
                return Err(ReachError::NoTls {
                    server: database.target().to_string(),
                    parameter: "ssl-mode=DISABLED",
                }
                .into());
            }
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
            .await
            .map_err(ReachError::from)?;
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
    let reached = reach_in_person(upstream, database, str::to_owned).await?;
    let way = Way::over(upstream, database, reached).await?;
    way.log_in(database, 0, false).await
}
