//! The way from a [`Database`] to a [`Server`] that lets its role in: through a socket or TCP, encrypted
//! as the URL says, with nothing pinned that the server does not report as pinned.

use std::time::Duration;

use tagout_database::Place;
use tagout_net::{Connection, Upstream, UpstreamStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::channel::end_point;
use crate::database::Database;
use crate::gate::{DialError, Link, unpinned};
use crate::url::SslMode;
use crate::{Ask, Login, Server, ServerError, Startup};

/// How long a server may take to answer whether it encrypts.
const ASKED: Duration = Duration::from_secs(10);

/// A way to a server: the stream, the hash of its certificate, and whether it is encrypted.
pub(crate) struct Way {
    pub(crate) link: Link,
    end_point: Option<Vec<u8>>,
    is_encrypted: bool,
}

impl Way {
    fn plain(link: Link) -> Self {
        Self {
            link,
            end_point: None,
            is_encrypted: false,
        }
    }

    /// Through a socket of this machine.
    pub(crate) async fn by_socket(database: &Database, folder: &str) -> Result<Self, DialError> {
        let path = format!("{folder}/.s.PGSQL.{}", database.endpoint.port);
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|source| DialError::Socket { path, source })?;
        Ok(Self::plain(Box::new(stream)))
    }

    /// Over a connection that is there, encrypted as the URL says.
    pub(crate) async fn over(
        upstream: &Upstream,
        database: &Database,
        host: &str,
        connection: Connection,
    ) -> Result<Self, DialError> {
        let UpstreamStream::Plain(mut stream) = connection.stream else {
            return Err(ServerError::Protocol("a connection that is encrypted already").into());
        };
        if database.ssl_mode == SslMode::Disable {
            return Ok(Self::plain(Box::new(stream)));
        }
        let mut request = 8_u32.to_be_bytes().to_vec();
        request.extend_from_slice(&((1234_u32 << 16) | 5679).to_be_bytes());
        let answer = timeout(ASKED, async {
            stream.write_all(&request).await?;
            // One byte and no more: what a stranger put behind it must not be read as encrypted.
            stream.read_u8().await
        })
        .await
        .map_err(|_| ServerError::TooSlow)?
        .map_err(ServerError::Connection)?;
        match answer {
            b'S' => {
                let target = database.target();
                let tls = upstream
                    .secure(&target.host, host, stream, &database.tls)
                    .await?;
                let shown = tls.get_ref().1.peer_certificates();
                let hash = shown
                    .and_then(|chain| chain.first())
                    .and_then(|certificate| end_point(certificate));
                Ok(Self {
                    link: Box::new(tls),
                    end_point: hash,
                    is_encrypted: true,
                })
            }
            b'N' if database.ssl_mode == SslMode::Prefer => Ok(Self::plain(Box::new(stream))),
            b'N' => Err(DialError::NoTls(database.target().to_string())),
            _ => Err(ServerError::Protocol("no answer to whether it encrypts").into()),
        }
    }

    /// Logs in as the role of the URL.
    pub(crate) async fn log_in(
        self,
        database: &Database,
        startup: &Startup,
    ) -> Result<Server<Link>, DialError> {
        let packet = startup.rebuilt(
            &database.user,
            &database.endpoint.database,
            database.options.as_deref(),
        )?;
        let server = Server::start(
            self.link,
            &Login {
                startup: &packet,
                user: &database.user,
                password: database
                    .password
                    .as_ref()
                    .map_or(&[][..], |password| password.expose()),
                trust: database.trust(self.is_encrypted),
                end_point: self.end_point,
            },
        )
        .await?;
        match unpinned(&server) {
            Some(why) => Err(ServerError::Protocol(why).into()),
            None => Ok(server),
        }
    }
}

/// A connection for what a person does in person, outside any session, such as `tagout undo`: there is no
/// task and no ledger, and the address rules are the same. Nothing that an agent sends may come here.
///
/// # Errors
/// Where the server is not reached, or does not let the role in.
pub async fn connect_in_person(
    upstream: &Upstream,
    database: &Database,
) -> Result<impl Ask + use<>, DialError> {
    let way = match &database.place {
        Place::Socket(folder) => Way::by_socket(database, folder).await?,
        Place::Host(host) => {
            let connection = upstream
                .connect_opaque_in_person(&database.target())
                .await?;
            Way::over(upstream, database, host, connection).await?
        }
    };
    let startup = Startup::of_tagout(&database.user, &database.endpoint.database);
    way.log_in(database, &startup).await
}
