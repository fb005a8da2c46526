//! The way from a [`Database`] to a [`Server`] that lets its role in: through a socket or TCP, encrypted
//! as the URL says, with nothing pinned that the server does not report as pinned.

use std::time::Duration;

use tagout_database::{Database, ReachError, Reached, SslMode, reach_in_person};
use tagout_net::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::channel::end_point;
use crate::gate::{DialError, Link, unpinned};
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

    /// Over a connection on which nothing has been said, encrypted as the URL says.
    pub(crate) async fn over(
        upstream: &Upstream,
        database: &Database,
        reached: Reached<'_>,
    ) -> Result<Self, DialError> {
        let (mut stream, host) = match reached {
            Reached::Socket(stream) => return Ok(Self::plain(Box::new(stream))),
            Reached::Host(stream, host) => (stream, host),
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
                    .await
                    .map_err(ReachError::from)?;
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
            b'N' => Err(ReachError::NoTls {
                server: database.target().to_string(),
                parameter: "sslmode=disable",
            }
            .into()),
            _ => Err(ServerError::Protocol("no answer to whether it encrypts").into()),
        }
    }

    /// Logs in as the role of the URL.
    pub(crate) async fn log_in(
        self,
        database: &Database,
        startup: &Startup,
        reads_only: bool,
    ) -> Result<Server<Link>, DialError> {
        let packet = startup.rebuilt(
            &database.user,
            &database.endpoint.database,
            database.options.as_deref(),
            reads_only,
        )?;
        let mut server = Server::start(
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
        if reads_only {
            // A pooler may keep what a connection starts with to itself.
            let back = server
                .run("RESET default_transaction_read_only; SHOW default_transaction_read_only")
                .await?;
            if back.single() != Some("on") {
                return Err(ServerError::Protocol(
                    "its connections do not stay read-only, as those to a protected database have to; let its URL lead to the server and not to a pooler",
                )
                .into());
            }
        }
        match unpinned(&server) {
            Some(why) => Err(ServerError::Protocol(why).into()),
            None => Ok(server),
        }
    }
}

/// The path of a server's socket, which lies in the folder that URLs name.
pub(crate) fn socket(database: &Database, folder: &str) -> String {
    format!("{folder}/.s.PGSQL.{}", database.endpoint.port)
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
    let reached = reach_in_person(upstream, database, |folder| socket(database, folder)).await?;
    let way = Way::over(upstream, database, reached).await?;
    let startup = Startup::of_tagout(&database.user, &database.endpoint.database);
    way.log_in(database, &startup, false).await
}
