//! The gate as connections see it: who is meant, whether the client knows the decoy, and the way to the
//! server. What is then said on a connection is [`crate::conversation`]'s. The gate decides nothing; it
//! asks the authority once for the connection and once for each message that runs something.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tagout_catalog_sql::Dialect;
use tagout_core::HostName;
use tagout_database::{Database, ReachError, Reader, ServedDatabases, Tally, Told};
use tagout_net::{Captured, Destination, Opening as Captures, refuse_handshake};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::channel::end_point;
use crate::conversation::Conversation;
use crate::damage::Bound;
use crate::dial::{Way, socket};
use crate::entrance::{Opened, authenticate, misunderstood, open};
use crate::refusal::{NO_CONNECTION, NOT_ALLOWED, NOT_THIS_LOGIN, Severity, WRONG_PASSWORD, error};
use crate::routines::LookedUp;
use crate::{Frames, ProtocolError, ScramError, Server, ServerError, Startup, Verifier};

/// A client must say who it is within this time.
const STARTUP: Duration = Duration::from_secs(30);
/// How long a server may take to answer whether it encrypts.
const ASKED: Duration = Duration::from_secs(10);
/// Threads that read SQL.
const READERS: usize = 2;

/// Any way to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
/// A connection to a server.
pub(crate) type Link = Box<dyn Stream>;

/// The gate of a session's databases. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) databases: ServedDatabases<Bound>,
    /// The folder of what approved statements destroyed.
    kept: PathBuf,
    /// By which clients show that they know the decoy, by the database's name; made when first needed,
    /// since it takes thousands of hashes.
    verifiers: Mutex<HashMap<String, Arc<[Verifier]>>>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) tally: Tally,
    /// What was looked up of each database's functions, by its name.
    pub(crate) looked_up: LookedUp,
    /// By what clients were told that cancels a connection.
    cancels: Mutex<HashMap<(u32, u32), Arc<Cancel>>>,
}

/// How a connection is cancelled.
pub(crate) struct Cancel {
    database: Arc<Database>,
    /// The server's own.
    key: Option<(u32, Vec<u8>)>,
    /// Somebody wants to.
    pub(crate) wanted: Notify,
}

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The way there.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The server.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// Something of the login cannot be said.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
}

impl Gate {
    /// A gate for `databases`. What approved statements destroy is kept in the folder `kept`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn new(databases: ServedDatabases<Bound>, kept: PathBuf) -> std::io::Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                databases,
                kept,
                verifiers: Mutex::default(),
                reader: Arc::new(Reader::start(Dialect::Postgres, READERS)?),
                tally: Tally::default(),
                looked_up: LookedUp::default(),
                cancels: Mutex::default(),
            }),
        })
    }

    /// The folder of what approved statements destroyed, a folder in it for each hold.
    pub(crate) fn kept(&self) -> &Path {
        &self.inner.kept
    }

    /// Whether a connection to `destination` on `port` is for a database.
    pub fn serves(&self, destination: &Destination, port: u16) -> bool {
        self.inner.databases.serves(destination, port)
    }

    /// Serves one captured connection to its end.
    pub async fn serve(&self, captured: Captured) {
        let port = captured.port;
        let Destination::Known(host) = captured.destination.clone() else {
            return;
        };
        match captured.open().await {
            Err(_) => {}
            Ok(Captures::Broken(_, stream)) => refuse_handshake(stream).await,
            // TLS from the first byte (`sslnegotiation=direct`).
            Ok(Captures::Tls(_, stream)) => self.encrypted(stream, host, port).await,
            Ok(Captures::Plain(mut stream)) => {
                let opened = timeout(STARTUP, open(&mut stream, true)).await;
                match opened {
                    Ok(Ok(Opened::Tls)) => self.encrypted(stream, host, port).await,
                    Ok(Ok(Opened::Cancel(process, key))) => self.cancel(process, &key).await,
                    Ok(Ok(Opened::Startup(startup))) => {
                        self.begin(stream, startup, (host, port), None).await;
                    }
                    Ok(Err(Some(why))) => misunderstood(&mut stream, &why).await,
                    Ok(Err(None)) | Err(_) => {}
                }
            }
        }
    }

    async fn encrypted<S: Stream>(&self, stream: S, host: HostName, port: u16) {
        let databases = &self.inner.databases;
        let accepted = databases.ca().accept_database(stream, &host).await;
        let (mut stream, certificate) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => return databases.record_handshake(&host, port, &why).await,
        };
        let binding = end_point(&certificate);
        match timeout(STARTUP, open(&mut stream, false)).await {
            Ok(Ok(Opened::Startup(startup))) => {
                self.begin(stream, startup, (host, port), binding).await;
            }
            Ok(Ok(Opened::Cancel(process, key))) => self.cancel(process, &key).await,
            Ok(Err(Some(why))) => misunderstood(&mut stream, &why).await,
            Ok(Ok(Opened::Tls) | Err(None)) | Err(_) => {}
        }
    }

    /// From the client's `StartupMessage` to the end of the connection.
    async fn begin<S: Stream>(
        &self,
        mut stream: S,
        startup: Startup,
        (host, port): (HostName, u16),
        binding: Option<Vec<u8>>,
    ) {
        let mut frames = Frames::default();
        let entered = timeout(
            STARTUP,
            self.enter(&mut stream, &mut frames, &startup, (&host, port), binding),
        );
        let database = match entered.await {
            Ok(Ok(database)) => database,
            Ok(Err(Some(refused))) => {
                let _ = stream.write_all(&refused).await;
                let _ = stream.shutdown().await;
                return;
            }
            Ok(Err(None)) | Err(_) => return,
        };
        let server = match self.log_in(&database, &startup).await {
            Ok(server) => server,
            Err(why) => {
                let (code, told) = unreached(&why);
                let told = Told {
                    message: self
                        .inner
                        .databases
                        .authority()
                        .broker()
                        .redact_text(&told.message),
                    ..told
                };
                let _ = stream.write_all(&error(Severity::Fatal, code, &told)).await;
                let _ = stream.shutdown().await;
                return;
            }
        };
        let mut mark = [0; 8];
        if SystemRandom::new().fill(&mut mark).is_err() {
            return;
        }
        let [a, b, c, d, rest @ ..] = mark;
        let id = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(rest));
        let cancel = Arc::new(Cancel {
            database: Arc::clone(&database),
            key: server.key.clone(),
            wanted: Notify::new(),
        });
        self.cancels().insert(id, Arc::clone(&cancel));
        let conversation = Conversation::new(self, database, cancel, stream, frames, server);
        conversation.run(id).await;
        self.cancels().remove(&id);
    }

    /// Lets a client in that knows the decoy, or says why not.
    async fn enter<S: Stream>(
        &self,
        stream: &mut S,
        frames: &mut Frames,
        startup: &Startup,
        (host, port): (&HostName, u16),
        binding: Option<Vec<u8>>,
    ) -> Result<Arc<Database>, Option<Vec<u8>>> {
        if let Some(negotiation) = startup.negotiation() {
            stream.write_all(&negotiation).await.map_err(|_| None)?;
        }
        let chosen = self.inner.databases.at(host, port).find(|database| {
            database.endpoint.database == startup.database && database.user == startup.user
        });
        let Some(database) = chosen else {
            let granted = self.inner.databases.refuse_login(host, port).await;
            let told = Told::new(
                format!(
                    "Tagout denied this: this task was given {granted} at {host}, and no other database or role there."
                ),
                "Use the URL in DATABASE_URL as it stands. Only your user can give this task another database, by a [[database]] in tagout.toml.",
            );
            return Err(Some(error(Severity::Fatal, NOT_THIS_LOGIN, &told)));
        };
        if !database.accepted.is_empty() {
            let refused = |why: ScramError| {
                let told = Told::new(
                    format!("Tagout denied this login: {why}"),
                    "Use the URL in DATABASE_URL as it stands; Tagout puts the real password in outside.",
                );
                Some(error(Severity::Fatal, WRONG_PASSWORD, &told))
            };
            authenticate(stream, frames, self.verifiers(database)?, binding)
                .await
                .map_err(|why| why.and_then(refused))?;
        }
        Ok(Arc::clone(database))
    }

    fn verifiers(&self, database: &Database) -> Result<Arc<[Verifier]>, Option<Vec<u8>>> {
        // Entries are put in whole.
        let verifiers = || {
            self.inner
                .verifiers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(made) = verifiers().get(&database.name) {
            return Ok(Arc::clone(made));
        }
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).map_err(|_| None)?;
        let made: Arc<[Verifier]> = database
            .accepted
            .iter()
            .filter_map(|password| Verifier::new(password, salt).ok())
            .collect();
        verifiers().insert(database.name.clone(), Arc::clone(&made));
        Ok(made)
    }

    async fn log_in(
        &self,
        database: &Arc<Database>,
        startup: &Startup,
    ) -> Result<Server<Link>, DialError> {
        let reads_only = self.inner.databases.is_protected(database);
        let way = self.dial(database).await?;
        way.log_in(database, startup, reads_only).await
    }

    /// A connection of Tagout's own to the same database, for questions about it.
    pub(crate) async fn side(&self, database: &Arc<Database>) -> Result<Server<Link>, DialError> {
        self.log_in(
            database,
            &Startup::of_tagout(&database.user, &database.endpoint.database),
        )
        .await
    }

    /// Connects to the server, where the task may.
    async fn dial(&self, database: &Database) -> Result<Way, DialError> {
        let databases = &self.inner.databases;
        let reached = databases
            .reach(database, |folder| socket(database, folder))
            .await?;
        Way::over(databases.upstream(), database, reached).await
    }

    /// Somebody wants to cancel what runs on another connection.
    async fn cancel(&self, process: u32, key: &[u8]) {
        let Ok(key) = <[u8; 4]>::try_from(key) else {
            return;
        };
        let found = self
            .cancels()
            .get(&(process, u32::from_be_bytes(key)))
            .cloned();
        let Some(cancel) = found else { return };
        // What waits for a person is withdrawn; nothing is at the server then.
        cancel.wanted.notify_waiters();
        let Some((process, key)) = &cancel.key else {
            return;
        };
        let Ok(Way { mut link, .. }) = self.dial(&cancel.database).await else {
            return;
        };
        let mut packet = (12 + key.len() as u32).to_be_bytes().to_vec();
        packet.extend_from_slice(&((1234_u32 << 16) | 5678).to_be_bytes());
        packet.extend_from_slice(&process.to_be_bytes());
        packet.extend_from_slice(key);
        if link.write_all(&packet).await.is_ok() {
            // The server closes when it has done it, and the client waits for that.
            let _ = timeout(ASKED, link.read_u8()).await;
        }
    }

    fn cancels(&self) -> std::sync::MutexGuard<'_, HashMap<(u32, u32), Arc<Cancel>>> {
        // Entries are put in whole.
        self.inner
            .cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings under which the classifier reads as the server does, as the server reports them.
const PINNED: [(&str, &str); 2] = [
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
];

/// Which of the pinned settings is not what it has to be.
pub(crate) fn unpinned<S>(server: &Server<S>) -> Option<&'static str> {
    PINNED
        .iter()
        .find(|(name, value)| server.parameters.get(*name).map(String::as_str) != Some(value))
        .map(|(name, _)| *name)
}

/// What a client is told whose server was not reached.
fn unreached(why: &DialError) -> (&'static str, Told) {
    match why {
        DialError::Reach(ReachError::Refused(refusal)) => (NOT_ALLOWED, Told::from(&**refusal)),
        why => (
            NO_CONNECTION,
            Told::new(
                format!("Tagout could not reach the database: {why}"),
                "Tell your user; nothing can be done about it from inside.",
            ),
        ),
    }
}

/// Boxed, because preview and conversation ask for it in places that cannot be generic.
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
