//! The gate as connections see it: who is meant, whether the client knows the decoy, and the way to the
//! server. What is then said on a connection is [`crate::conversation`]'s. The gate decides nothing; it
//! asks the authority once for the connection and once for each command, or each transaction.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tagout_core::HostName;
use tagout_database::{Database, ReachError, ServedDatabases};
use tagout_net::{Captured, Destination, Opening};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::command::{Command, Commands};
use crate::conversation::Conversation;
use crate::dial::{DialError, dial};
use crate::preview::Bound;
use crate::refusal::{denied, error, refused};
use crate::scripts::Scripts;
use crate::server::Server;
use crate::tally::Tally;

/// A client must say who it is within this time.
const STARTUP: Duration = Duration::from_secs(30);
/// What a client may send before that, in bytes.
const LONGEST_OF_LOGIN: usize = 64 << 10;

/// The gate of a session's databases. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) databases: ServedDatabases<Bound>,
    pub(crate) tally: Tally,
    pub(crate) scripts: Scripts,
}

/// How a client said who it is.
pub(crate) enum Login {
    /// By `AUTH`, or not at all.
    Told(Vec<u8>),
    /// By `HELLO`, which the server answers.
    Hello(Command),
}

/// What `HELLO` asks.
pub(crate) struct Hello {
    pub(crate) login: Option<(Vec<u8>, Vec<u8>)>,
    /// What the server is sent.
    pub(crate) rest: Command,
}

impl Hello {
    /// Reads one, or says why not.
    pub(crate) fn read(command: &Command) -> Result<Self, Vec<u8>> {
        let mut words = command.words().iter().skip(1);
        let mut rest = vec![b"HELLO".to_vec()];
        match words.next().map(Vec::as_slice) {
            None => {}
            Some(b"2") => rest.push(b"2".to_vec()),
            Some(_) => {
                return Err(error(
                    "NOPROTO",
                    "unsupported protocol version; Tagout speaks RESP2 (protocol 2)",
                ));
            }
        }
        let mut login = None;
        while let Some(word) = words.next() {
            let first = words.next();
            match (word.to_ascii_lowercase().as_slice(), first) {
                (b"auth", Some(user)) => {
                    let password = words.next().ok_or_else(syntax)?;
                    login = Some((user.clone(), password.clone()));
                }
                (b"setname", Some(name)) => {
                    rest.extend([b"SETNAME".to_vec(), name.clone()]);
                }
                _ => return Err(syntax()),
            }
        }
        let rest = Command::new(rest).ok_or_else(syntax)?;
        Ok(Self { login, rest })
    }
}

fn syntax() -> Vec<u8> {
    error("ERR", "Syntax error in HELLO")
}

/// What `AUTH` says: a user, where it names one, and a password.
pub(crate) fn login_of(command: &Command) -> Option<(Option<&[u8]>, &[u8])> {
    match command.words() {
        [_, password] => Some((None, password)),
        [_, user, password] => Some((Some(user), password)),
        _ => None,
    }
}

pub(crate) fn wrong_password() -> Vec<u8> {
    error(
        "WRONGPASS",
        "Tagout denied this login: user and password are not those of this session. Use the URL in REDIS_URL as it stands; Tagout puts the real password in outside.",
    )
}

impl Gate {
    /// A gate for `databases`.
    pub fn new(databases: ServedDatabases<Bound>) -> Self {
        Self {
            inner: Arc::new(Inner {
                databases,
                tally: Tally::default(),
                scripts: Scripts::default(),
            }),
        }
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
            Err(_) | Ok(Opening::Broken(..)) => {}
            Ok(Opening::Plain(stream)) => self.begin(stream, &host, port).await,
            Ok(Opening::Tls(_, stream)) => {
                let databases = &self.inner.databases;
                match databases.ca().accept_database(stream, &host).await {
                    Ok((stream, _)) => self.begin(stream, &host, port).await,
                    Err(why) => databases.record_handshake(&host, port, &why).await,
                }
            }
        }
    }

    /// From the client's login to the end of the connection.
    async fn begin<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        mut stream: S,
        host: &HostName,
        port: u16,
    ) {
        let mut commands = Commands::default();
        let entering = self.enter(&mut stream, &mut commands, host, port);
        let Ok(Some((database, login))) = timeout(STARTUP, entering).await else {
            let _ = stream.shutdown().await;
            return;
        };
        match self.side(&database).await {
            Ok(server) => {
                let conversation = Conversation::new(self, database, stream, commands, server);
                conversation.run(login).await;
            }
            Err(why) => {
                let _ = stream.write_all(&self.unreached(&why)).await;
                let _ = stream.shutdown().await;
            }
        }
    }

    /// Lets a client in that knows the decoy of one of the databases there.
    async fn enter<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        commands: &mut Commands,
        host: &HostName,
        port: u16,
    ) -> Option<(Arc<Database>, Login)> {
        let databases = &self.inner.databases;
        let open = databases
            .at(host, port)
            .find(|known| known.accepted.is_empty());
        if let Some(database) = open {
            return Some((Arc::clone(database), Login::Told(Vec::new())));
        }
        let find = |user: Option<&[u8]>, password: &[u8]| {
            let mut all = databases.at(host, port);
            all.find(|known| lets_in(known, user, password)).cloned()
        };
        loop {
            let command = match commands.next_command() {
                Ok(Some(command)) => command,
                Ok(None) => {
                    let mut bytes = bytes::BytesMut::with_capacity(4096);
                    let read = stream.read_buf(&mut bytes).await.ok()?;
                    if read == 0 || commands.waiting() + read > LONGEST_OF_LOGIN {
                        return None;
                    }
                    commands.push(&bytes);
                    continue;
                }
                Err(why) => {
                    let told = format!("Tagout ended this connection: {why}.");
                    let _ = stream.write_all(&error("ERR", &told)).await;
                    return None;
                }
            };
            let answer = match command.name().as_str() {
                "auth" => match login_of(&command) {
                    None => error("ERR", "wrong number of arguments for 'auth' command"),
                    Some((user, password)) => match find(user, password) {
                        Some(database) => {
                            return Some((database, Login::Told(b"+OK\r\n".to_vec())));
                        }
                        None => wrong_password(),
                    },
                },
                "hello" => match Hello::read(&command) {
                    Err(told) => told,
                    Ok(Hello { login: None, .. }) => not_in(),
                    Ok(Hello {
                        login: Some((user, password)),
                        rest,
                    }) => match find(Some(&user), &password) {
                        Some(database) => return Some((database, Login::Hello(rest))),
                        None => wrong_password(),
                    },
                },
                "quit" => {
                    let _ = stream.write_all(b"+OK\r\n").await;
                    return None;
                }
                _ => not_in(),
            };
            stream.write_all(&answer).await.ok()?;
            stream.flush().await.ok()?;
        }
    }

    /// A connection to the server of `database`, logged in.
    pub(crate) async fn side(&self, database: &Database) -> Result<Server, DialError> {
        dial(&self.inner.databases, database).await
    }

    /// What a client is told whose server was not reached.
    fn unreached(&self, why: &DialError) -> Vec<u8> {
        match why {
            DialError::Reach(ReachError::Refused(refusal)) => refused(refusal),
            why => {
                let told = format!(
                    "Tagout could not reach the database: {why}. Tell your user; nothing can be done about it from inside."
                );
                denied(&self.inner.databases.authority().broker().redact_text(&told))
            }
        }
    }
}

/// Whether a client that says this may use `database`.
pub(crate) fn lets_in(database: &Database, user: Option<&[u8]>, password: &[u8]) -> bool {
    // redis-cli makes an empty one of `redis://:PASSWORD@HOST`.
    let is_user = user.is_none_or(|user| user.is_empty() || user == database.user.as_bytes());
    let mut accepted = database.accepted.iter();
    is_user && accepted.any(|known| known.as_bytes() == password)
}

fn not_in() -> Vec<u8> {
    error(
        "NOAUTH",
        "Authentication required. Use the URL in REDIS_URL as it stands.",
    )
}

/// Boxed, because a trait's functions that wait have to be.
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
