//! The gate as connections see it: who is meant, whether the client knows the decoy, and the way to the
//! server. What is then said on a connection is [`crate::conversation`]'s. The gate decides nothing; it
//! asks the authority once for the connection and once for each command that runs something.
//!
//! In this protocol the server speaks first. So the gate greets with what it learnt of the server from a
//! connection of its own, and connects for the client once that has proved itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tagout_catalog_sql::Dialect;
use tagout_core::HostName;
use tagout_database::{Database, ReachError, Reader, ServedDatabases, Tally};
use tagout_net::{Captured, Destination};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::capability::{SSL, offered};
use crate::conversation::Conversation;
use crate::damage::Bound;
use crate::dial::{DialError, Link, Way};
use crate::greeting::{Greeting, Introduction, Login};
use crate::packet::write_message;
use crate::refusal::{Reason, error, refused};
use crate::scramble::{CACHING_SHA2, NATIVE, Nonce, nonce, proves};
use crate::server::{LONGEST_OF_LOGIN, Server, ServerError, read_exactly};

/// A client must say who it is within this time.
const STARTUP: Duration = Duration::from_secs(30);
/// Threads that read SQL.
const READERS: usize = 2;

/// The gate of a session's databases. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) databases: ServedDatabases<Bound>,
    /// The folder of what approved statements destroyed.
    kept: PathBuf,
    /// What servers greeted with, by the database's name.
    known: Mutex<HashMap<String, Known>>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) tally: Tally,
    /// The connections that a client may interrupt, by what clients were told that they are called.
    connections: Mutex<HashMap<u32, Arc<Cancel>>>,
    next: AtomicU32,
}

/// What a server says of itself to anybody.
#[derive(Clone)]
struct Known {
    version: String,
    capabilities: u32,
}

/// How a connection is interrupted.
pub(crate) struct Cancel {
    database: Arc<Database>,
    /// The server's own name of it.
    connection: u32,
    /// Somebody wants to.
    pub(crate) wanted: Notify,
}

/// A client that was let in.
struct Entered {
    database: Arc<Database>,
    capabilities: u32,
    /// The number of the packet that lets it in.
    sequence: u8,
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
                known: Mutex::default(),
                reader: Arc::new(Reader::start(Dialect::Mysql, READERS)?),
                tally: Tally::default(),
                connections: Mutex::default(),
                next: AtomicU32::new(1),
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
        let mut stream = captured.greet();
        let databases = &self.inner.databases;
        let Some(first) = databases.at(&host, port).next().cloned() else {
            return;
        };
        let known = match self.known(&first).await {
            Ok(known) => known,
            Err(why) => {
                // A server says so in the place of its greeting.
                say(&mut stream, 0, &self.unreached(&why)).await;
                return;
            }
        };
        let Some(nonce) = nonce() else { return };
        let connection = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let greeting = Greeting {
            version: known.version,
            connection,
            nonce: nonce.to_vec(),
            capabilities: offered(known.capabilities),
            method: NATIVE.to_owned(),
        };
        let hello = async {
            let mut out = Vec::new();
            write_message(&mut out, 0, &greeting.write());
            stream.write_all(&out).await.ok()?;
            stream.flush().await.ok()?;
            read_exactly(&mut stream, LONGEST_OF_LOGIN).await.ok()
        };
        let Ok(Some((sequence, payload))) = timeout(STARTUP, hello).await else {
            return;
        };
        match Introduction::read(&payload) {
            Ok(Introduction::Tls) => {
                let accepted = databases.ca().accept_database(stream, &host).await;
                let mut stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(why) => return databases.record_handshake(&host, port, &why).await,
                };
                let hello = timeout(STARTUP, read_exactly(&mut stream, LONGEST_OF_LOGIN)).await;
                let Ok(Ok((sequence, payload))) = hello else {
                    return;
                };
                match Introduction::read(&payload) {
                    Ok(Introduction::Login(login)) => {
                        let place = (&host, port);
                        self.begin(stream, login, place, (connection, nonce, sequence))
                            .await;
                    }
                    _ => misunderstood(&mut stream, sequence).await,
                }
            }
            Ok(Introduction::Login(login)) => {
                self.begin(stream, login, (&host, port), (connection, nonce, sequence))
                    .await;
            }
            Err(_) => misunderstood(&mut stream, sequence).await,
        }
    }

    /// From the client's login to the end of the connection.
    async fn begin<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        mut stream: S,
        login: Login,
        place: (&HostName, u16),
        (connection, nonce, sequence): (u32, Nonce, u8),
    ) {
        let entered = timeout(
            STARTUP,
            self.enter(&mut stream, login, place, (nonce, sequence)),
        );
        let entered = match entered.await {
            Ok(Ok(entered)) => entered,
            Ok(Err(Some((sequence, told)))) => {
                say(&mut stream, sequence, &told).await;
                return;
            }
            Ok(Err(None)) | Err(_) => return,
        };
        let database = entered.database;
        let server = match self.log_in(&database, entered.capabilities).await {
            Ok(server) => server,
            Err(why) => {
                say(&mut stream, entered.sequence, &self.unreached(&why)).await;
                return;
            }
        };
        let cancel = Arc::new(Cancel {
            database: Arc::clone(&database),
            connection: server.greeting.connection,
            wanted: Notify::new(),
        });
        self.connections().insert(connection, Arc::clone(&cancel));
        let conversation =
            Conversation::new(self, database, cancel, stream, server, entered.capabilities);
        conversation.run(entered.sequence).await;
        self.connections().remove(&connection);
    }

    /// Lets a client in that knows the decoy, or says why not.
    async fn enter<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        login: Login,
        (host, port): (&HostName, u16),
        (first_nonce, sequence): (Nonce, u8),
    ) -> Result<Entered, Option<(u8, Vec<u8>)>> {
        let mut sequence = sequence.wrapping_add(1);
        let chosen = self.inner.databases.at(host, port).find(|database| {
            let names = login.database.as_ref();
            database.user == login.user
                && names.is_none_or(|name| *name == database.endpoint.database)
        });
        let Some(database) = chosen else {
            let granted = self.inner.databases.refuse_login(host, port).await;
            let told = format!(
                "Tagout denied this: this task was given {granted} at {host}, and no other database or user there. Use the URL in DATABASE_URL as it stands. Only your user can give this task another database, by a [[database]] in tagout.toml."
            );
            return Err(Some((sequence, error(Reason::NotThisDatabase, told))));
        };
        let mut method = login.method.clone().unwrap_or_else(|| NATIVE.to_owned());
        let mut is_in = database.accepted.is_empty()
            || proves(&method, &database.accepted, &first_nonce, &login.proof);
        if !is_in && method != NATIVE {
            // A client that prefers another method made its proof for that one, or none at all.
            method = match method.as_str() {
                CACHING_SHA2 => CACHING_SHA2.to_owned(),
                _ => NATIVE.to_owned(),
            };
            let nonce = nonce().ok_or(None)?;
            let mut switch = vec![0xFE];
            switch.extend_from_slice(method.as_bytes());
            switch.push(0);
            switch.extend_from_slice(&nonce);
            switch.push(0);
            let mut out = Vec::new();
            write_message(&mut out, sequence, &switch);
            stream.write_all(&out).await.map_err(|_| None)?;
            stream.flush().await.map_err(|_| None)?;
            let (at, proof) = read_exactly(stream, LONGEST_OF_LOGIN)
                .await
                .map_err(|_| None)?;
            sequence = at.wrapping_add(1);
            is_in = proves(&method, &database.accepted, &nonce, &proof);
        }
        if !is_in {
            let told = "Tagout denied this login: the password is not the one of this session. Use the URL in DATABASE_URL as it stands; Tagout puts the real password in outside.";
            return Err(Some((sequence, error(Reason::WrongPassword, told))));
        }
        if method == CACHING_SHA2 && !database.accepted.is_empty() {
            // "Fast authentication succeeded"; the OK follows it.
            let mut out = Vec::new();
            sequence = write_message(&mut out, sequence, &[1, 3]);
            stream.write_all(&out).await.map_err(|_| None)?;
        }
        Ok(Entered {
            database: Arc::clone(database),
            capabilities: login.capabilities & offered(u32::MAX) & !SSL,
            sequence,
        })
    }

    async fn log_in(
        &self,
        database: &Arc<Database>,
        capabilities: u32,
    ) -> Result<Server<Link>, DialError> {
        let way = self.dial(database).await?;
        let is_protected = self.inner.databases.is_protected(database);
        way.log_in(database, capabilities, is_protected).await
    }

    /// A connection of Tagout's own to the same database, for questions about it.
    pub(crate) async fn side(&self, database: &Arc<Database>) -> Result<Server<Link>, DialError> {
        self.log_in(database, 0).await
    }

    /// What the server says of itself. Asked with a whole login, since servers shut out whoever comes and goes
    /// without one.
    async fn known(&self, database: &Arc<Database>) -> Result<Known, DialError> {
        // Entries are put in whole.
        let known = || {
            self.inner
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = known().get(&database.name) {
            return Ok(known.clone());
        }
        let mut server = self.side(database).await?;
        let found = Known {
            version: server.greeting.version.clone(),
            capabilities: server.greeting.capabilities,
        };
        let _ = server.send(&crate::Command::Quit).await;
        known().insert(database.name.clone(), found.clone());
        Ok(found)
    }

    /// Connects to the server, where the task may.
    async fn dial(&self, database: &Database) -> Result<Way, DialError> {
        let databases = &self.inner.databases;
        let reached = databases.reach(database, str::to_owned).await?;
        Way::over(databases.upstream(), database, reached).await
    }

    /// Interrupts what runs on a connection of this session. Whether there is one of that name.
    pub(crate) async fn interrupt(&self, connection: u32) -> Option<Result<(), ServerError>> {
        let cancel = self.connections().get(&connection).cloned()?;
        // What waits for a person is withdrawn; nothing is at the server then.
        cancel.wanted.notify_waiters();
        let Ok(mut side) = self.side(&cancel.database).await else {
            return Some(Ok(()));
        };
        let killed = side.ask(&format!("KILL QUERY {}", cancel.connection)).await;
        let _ = side.send(&crate::Command::Quit).await;
        Some(killed.map(|_| ()))
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Cancel>>> {
        // Entries are put in whole.
        self.inner
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client is told whose server was not reached.
    fn unreached(&self, why: &DialError) -> Vec<u8> {
        match why {
            DialError::Reach(ReachError::Refused(refusal)) => refused(refusal),
            why => {
                let told = format!(
                    "Tagout could not reach the database: {why}. Tell your user; nothing can be done about it from inside."
                );
                let told = self.inner.databases.authority().broker().redact_text(&told);
                error(Reason::NoConnection, told)
            }
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, sequence: u8, payload: &[u8]) {
    let mut out = Vec::new();
    write_message(&mut out, sequence, payload);
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
}

async fn misunderstood<S: AsyncWrite + Unpin>(stream: &mut S, sequence: u8) {
    let told = error(
        Reason::NoConnection,
        "Tagout denied this: it is not how clients of MySQL 4.1 and later say who they are. Connect with the URL in DATABASE_URL as it stands.",
    );
    say(stream, sequence.wrapping_add(1), &told).await;
}

/// Boxed, because preview and conversation ask for it in places that cannot be generic.
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
