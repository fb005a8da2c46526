//! The connection to the database itself: authenticated with the real password, which stays here. The
//! gate speaks through it for the client, and asks its own questions with [`Server::run`].

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use tagout_database::Trust;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::answers::{Answer, Answers, Complaint, text};
use crate::{Status, message};

/// A server must let somebody in within this time.
const STARTUP: Duration = Duration::from_secs(15);
/// Rows that [`Server::run`] keeps.
const MOST_ROWS: usize = 100_000;
/// What they may come to, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// How a connection to a database fails. No message carries a password.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The network, or the server's end of the connection.
    #[error("the database's connection failed: {0}")]
    Connection(#[from] io::Error),
    /// Nothing for [`STARTUP`].
    #[error("the database did not answer within {} s", STARTUP.as_secs())]
    TooSlow,
    /// `ErrorResponse`.
    #[error("the database says: {message} (SQLSTATE {code})")]
    Said {
        /// SQLSTATE.
        code: String,
        /// Its message.
        message: String,
    },
    /// A message that does not belong where it came.
    #[error("the database does not speak PostgreSQL's protocol as expected: {0}")]
    Protocol(&'static str),
    /// The server asks for something that Tagout does not do, or would not do over this connection.
    #[error("{0}")]
    Authentication(&'static str),
    /// It sent an answer that is longer than anything Tagout asks for.
    #[error("the database's answer is too long")]
    TooLong,
}

/// Who connects.
pub struct Login<'a> {
    /// The packet that begins the connection ([`crate::Startup::rebuilt`]).
    pub startup: &'a [u8],
    /// The role, for md5.
    pub user: &'a str,
    /// Its password, empty where there is none.
    pub password: &'a [u8],
    /// What is known of the server.
    pub trust: Trust,
    /// The hash of the server's certificate (RFC 5929 §4.1) where the connection is encrypted.
    pub end_point: Option<Vec<u8>>,
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Server<S> {
    pub(crate) stream: S,
    pub(crate) answers: Answers,
    /// What the server reported of its settings.
    pub(crate) parameters: HashMap<String, String>,
    /// Process and key that cancel what runs.
    pub(crate) key: Option<(u32, Vec<u8>)>,
    pub(crate) status: Status,
    /// `NotificationResponse`s that came while a question of Tagout's own was answered: whoever listens
    /// still has to get them.
    pub(crate) notified: Vec<u8>,
    /// Messages that go out together, before anybody waits for an answer.
    unsent: Vec<u8>,
}

/// Bytes of messages that are not kept back any longer.
const MOST_UNSENT: usize = 64 << 10;

/// What a question gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// Values as text; `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The last command's tag, such as `DELETE 3`.
    pub tag: String,
}

impl Rows {
    /// The only value of the only row.
    pub fn single(&self) -> Option<&str> {
        match self.rows.as_slice() {
            [row] => row.first()?.as_deref(),
            _ => None,
        }
    }

    /// How many rows the last command touched.
    pub fn touched(&self) -> Option<u64> {
        self.tag.rsplit(' ').next()?.parse().ok()
    }
}

/// Asks one question at a time, in text. What a preview, a snapshot and a contract are written against.
pub trait Ask: Send {
    /// Runs one or more statements and gives the rows of the last one that has any.
    ///
    /// # Errors
    /// As [`ServerError`]; after [`ServerError::Said`] the connection can be used on.
    fn ask(&mut self, sql: &str) -> impl Future<Output = Result<Rows, ServerError>> + Send;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Ask for Server<S> {
    async fn ask(&mut self, sql: &str) -> Result<Rows, ServerError> {
        self.run(sql).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Logs in.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn start(stream: S, login: &Login<'_>) -> Result<Self, ServerError> {
        let mut server = Self {
            stream,
            answers: Answers::default(),
            parameters: HashMap::new(),
            key: None,
            status: Status::Idle,
            notified: Vec::new(),
            unsent: Vec::new(),
        };
        timeout(STARTUP, server.log_in(login))
            .await
            .map_err(|_| ServerError::TooSlow)??;
        Ok(server)
    }

    async fn log_in(&mut self, login: &Login<'_>) -> Result<(), ServerError> {
        self.stream.write_all(login.startup).await?;
        self.stream.flush().await?;
        let mut is_in = false;
        loop {
            let (kind, message) = self.whole().await?;
            let body = Answer::body(&message);
            match kind {
                b'R' if !is_in => is_in = self.authenticate(body, login).await?,
                b'S' if is_in => self.note_parameter(body),
                b'K' if is_in => {
                    let (process, key) = body
                        .split_first_chunk::<4>()
                        .ok_or(ServerError::Protocol("a cancel key without a process"))?;
                    self.key = Some((u32::from_be_bytes(*process), key.to_vec()));
                }
                b'Z' if is_in => {
                    self.status = status(body)?;
                    return Ok(());
                }
                b'E' => return Err(said(&message)),
                b'N' => {}
                // It wants protocol 3.0 and knows no options, which is what was asked for.
                b'v' if !is_in => {}
                _ => return Err(ServerError::Protocol("a message before the login was over")),
            }
        }
    }

    /// One step of authentication. `true` when the server is content.
    async fn authenticate(&mut self, body: &[u8], login: &Login<'_>) -> Result<bool, ServerError> {
        const UNSAFE: &str = "The database asks for the password in a form that anybody who listens could use. Tagout \
                              sends it so only where the server's certificate was verified: use \
                              sslmode=verify-full in the database's URL, or SCRAM-SHA-256 on the server.";
        let (code, rest) = body.split_first_chunk::<4>().ok_or(ServerError::Protocol(
            "an authentication request without a kind",
        ))?;
        let needs_password = || match login.password {
            [] => Err(ServerError::Authentication(
                "The database asks for a password, and the URL that the manifest names has none.",
            )),
            password => Ok(password),
        };
        match u32::from_be_bytes(*code) {
            0 => return Ok(true),
            3 | 5 if login.trust == Trust::Unverified => {
                return Err(ServerError::Authentication(UNSAFE));
            }
            3 => {
                let mut password = zeroize::Zeroizing::new(needs_password()?.to_vec());
                password.push(0);
                self.say_password(&password).await?;
            }
            5 => {
                let salt = rest
                    .first_chunk::<4>()
                    .ok_or(ServerError::Protocol("md5 without a salt"))?;
                let mut hash =
                    md5_hash(login.user.as_bytes(), needs_password()?, *salt).into_bytes();
                hash.push(0);
                self.say_password(&hash).await?;
            }
            10 => self.scram(rest, needs_password()?, login).await?,
            7..=9 => {
                return Err(ServerError::Authentication(
                    "The database asks for Kerberos or SSPI; Tagout speaks SCRAM-SHA-256, md5 and passwords.",
                ));
            }
            _ => {
                return Err(ServerError::Authentication(
                    "The database asks for an authentication that Tagout does not speak.",
                ));
            }
        }
        Ok(false)
    }

    async fn scram(
        &mut self,
        mut offered: &[u8],
        password: &[u8],
        login: &Login<'_>,
    ) -> Result<(), ServerError> {
        let mut mechanisms = Vec::new();
        while let Some(name) = text(&mut offered).filter(|name| !name.is_empty()) {
            mechanisms.push(name);
        }
        let offers = |name: &str| mechanisms.iter().any(|offered| offered == name);
        let (mechanism, binding) = match &login.end_point {
            Some(hash) if offers(sasl::SCRAM_SHA_256_PLUS) => (
                sasl::SCRAM_SHA_256_PLUS,
                sasl::ChannelBinding::tls_server_end_point(hash.clone()),
            ),
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(ServerError::Authentication(
                "The database offers no SCRAM-SHA-256.",
            ));
        }
        let mut scram = ScramSha256::new(password, binding);
        let first = scram.message();
        let mut initial = Vec::with_capacity(64);
        initial.extend_from_slice(mechanism.as_bytes());
        initial.push(0);
        let length = u32::try_from(first.len()).map_err(|_| ServerError::TooLong)?;
        initial.extend_from_slice(&length.to_be_bytes());
        initial.extend_from_slice(first);
        self.say_password(&initial).await?;
        let (kind, message) = self.whole().await?;
        let challenge = match (kind, Answer::body(&message).split_first_chunk::<4>()) {
            (b'R', Some(([0, 0, 0, 11], challenge))) => challenge,
            (b'E', _) => return Err(said(&message)),
            _ => return Err(ServerError::Protocol("no SCRAM challenge")),
        };
        scram.update(challenge).map_err(scram_failed)?;
        self.say_password(scram.message()).await?;
        let (kind, message) = self.whole().await?;
        match (kind, Answer::body(&message).split_first_chunk::<4>()) {
            // The server proves that it knows the password as well.
            (b'R', Some(([0, 0, 0, 12], proof))) => scram.finish(proof).map_err(scram_failed),
            (b'E', _) => Err(said(&message)),
            _ => Err(ServerError::Protocol("no SCRAM proof")),
        }
    }

    async fn say_password(&mut self, content: &[u8]) -> Result<(), ServerError> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(content.len() + 5));
        message::framed(&mut out, b'p', |out| out.extend_from_slice(content));
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Adds a message of the client's to what goes out with the next [`Server::push`]; its length in bytes.
    ///
    /// # Errors
    /// [`ServerError::Connection`], where there was enough to go out at once.
    pub(crate) async fn queue(
        &mut self,
        message: &message::FrontendMessage,
    ) -> Result<usize, ServerError> {
        let before = self.unsent.len();
        message.write(&mut self.unsent);
        let length = self.unsent.len() - before;
        if self.unsent.len() >= MOST_UNSENT {
            self.push().await?;
        }
        Ok(length)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`ServerError::Connection`].
    pub(crate) async fn push(&mut self) -> Result<(), ServerError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.unsent).await?;
        self.unsent.clear();
        Ok(self.stream.flush().await?)
    }

    /// Runs one or more statements in the simple protocol and gives the rows of the last one that has
    /// any. To be called between the client's messages only, when the server is ready.
    ///
    /// # Errors
    /// As [`ServerError`]; after [`ServerError::Said`] the connection can be used on.
    pub async fn run(&mut self, sql: &str) -> Result<Rows, ServerError> {
        if sql.contains('\0') {
            return Err(ServerError::Protocol("a question with a NUL"));
        }
        message::FrontendMessage::Query(sql.to_owned()).write(&mut self.unsent);
        self.push().await?;
        let mut rows = Rows::default();
        let mut kept = 0;
        let mut failure = None;
        loop {
            let (kind, message) = self.whole().await?;
            let body = Answer::body(&message);
            match kind {
                b'T' => {
                    rows = Rows {
                        columns: columns(body).ok_or(ServerError::Protocol("columns"))?,
                        ..Rows::default()
                    };
                }
                b'D' => {
                    kept += message.len();
                    if rows.rows.len() == MOST_ROWS || kept > MOST_BYTES {
                        return Err(ServerError::TooLong);
                    }
                    let row = row(body).ok_or(ServerError::Protocol("a row"))?;
                    rows.rows.push(row);
                }
                b'C' => rows.tag = text(&mut &*body).unwrap_or_default(),
                b'E' => failure = Some(said(&message)),
                b'S' => self.note_parameter(body),
                b'Z' => {
                    self.status = status(body)?;
                    return failure.map_or(Ok(rows), Err);
                }
                b'A' => self.notified.extend_from_slice(&message),
                b'N' | b'I' => {}
                _ => return Err(ServerError::Protocol("an answer to another question")),
            }
        }
    }

    /// What the server says of `text` when it only parses it, which runs nothing: its `ErrorResponse`, or
    /// nothing where it can read it. To be called as [`Server::run`].
    ///
    /// # Errors
    /// As [`ServerError`], but never [`ServerError::Said`].
    pub(crate) async fn complaint_about(
        &mut self,
        text: &str,
    ) -> Result<Option<Bytes>, ServerError> {
        let parse = message::FrontendMessage::Parse {
            name: String::new(),
            text: text.to_owned(),
            parameter_types: Vec::new(),
        };
        parse.write(&mut self.unsent);
        message::FrontendMessage::Sync.write(&mut self.unsent);
        self.push().await?;
        let mut complaint = None;
        loop {
            let (kind, message) = self.whole().await?;
            let body = Answer::body(&message);
            match kind {
                b'E' => complaint = Some(message),
                b'S' => self.note_parameter(body),
                b'A' => self.notified.extend_from_slice(&message),
                b'1' | b'N' => {}
                b'Z' => {
                    self.status = status(body)?;
                    return Ok(complaint);
                }
                _ => return Err(ServerError::Protocol("an answer to another question")),
            }
        }
    }

    /// The next message, which must not be a long one.
    pub(crate) async fn whole(&mut self) -> Result<(u8, Bytes), ServerError> {
        match self.answers.next(&mut self.stream).await? {
            Answer::Whole(kind, message) => Ok((kind, message)),
            Answer::Part(_) => Err(ServerError::TooLong),
        }
    }

    pub(crate) fn note_parameter(&mut self, mut body: &[u8]) {
        if let (Some(name), Some(value)) = (text(&mut body), text(&mut body)) {
            self.parameters.insert(name, value);
        }
    }

    /// Whether a transaction is open, and whether it has failed.
    pub fn status(&self) -> Status {
        self.status
    }

    /// A setting as the server reported it at the start or since.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

pub(crate) fn status(body: &[u8]) -> Result<Status, ServerError> {
    match body {
        b"I" => Ok(Status::Idle),
        b"T" => Ok(Status::Transaction),
        b"E" => Ok(Status::Failed),
        _ => Err(ServerError::Protocol(
            "a transaction status of no known kind",
        )),
    }
}

fn said(message: &Bytes) -> ServerError {
    let Complaint { code, message } = Complaint::read(message);
    ServerError::Said { code, message }
}

fn scram_failed(error: io::Error) -> ServerError {
    // The library names what it found, never the password.
    ServerError::Connection(error)
}

fn columns(mut body: &[u8]) -> Option<Vec<String>> {
    let count = u16_of(&mut body)?;
    (0..count)
        .map(|_| {
            let name = text(&mut body)?;
            body = body.get(18..)?;
            Some(name)
        })
        .collect()
}

fn row(mut body: &[u8]) -> Option<Vec<Option<String>>> {
    let count = u16_of(&mut body)?;
    (0..count)
        .map(|_| {
            let (length, rest) = body.split_first_chunk::<4>()?;
            body = rest;
            match usize::try_from(i32::from_be_bytes(*length)) {
                Err(_) => Some(None),
                Ok(length) => {
                    let (value, rest) = body.split_at_checked(length)?;
                    body = rest;
                    Some(Some(String::from_utf8_lossy(value).into_owned()))
                }
            }
        })
        .collect()
}

fn u16_of(body: &mut &[u8]) -> Option<u16> {
    let (bytes, rest) = body.split_first_chunk::<2>()?;
    *body = rest;
    Some(u16::from_be_bytes(*bytes))
}

/// `name` as an identifier of PostgreSQL, whatever it consists of.
pub fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `value` as a literal of PostgreSQL, whatever `standard_conforming_strings` says.
pub fn quoted_value(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}
