//! The connection to the database itself: authenticated with the real password, which stays here. The
//! gate speaks through it for the client, and asks its own questions with [`Server::ask`].

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::{Digest as _, Sha512};
use tagout_database::Trust;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::answer::{Answer, Complaint, Done, Shape, Status, row};
use crate::command::Command;
use crate::greeting::{Greeting, Login};
use crate::packet::{Fields, Packet, Packets, write_message};
use crate::scramble::{CACHING_SHA2, CLEAR, NATIVE, proof};

/// A server must let somebody in within this time.
const STARTUP: Duration = Duration::from_secs(15);
/// The method of MariaDB with a key made of the password.
const ED25519: &str = "client_ed25519";
/// Steps that a login may take.
const MOST_STEPS: usize = 8;
/// Rows that [`Server::ask`] keeps.
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
    /// `ERR`.
    #[error("the database says: {} (error {}, SQLSTATE {})", .0.message, .0.code, .0.state)]
    Said(Complaint),
    /// A packet that does not belong where it came.
    #[error("the database does not speak MySQL's protocol as expected: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server asks for something that Tagout does not do, or would not do over this connection.
    #[error("{0}")]
    Authentication(&'static str),
    /// It reads texts otherwise than Tagout does.
    #[error("the database's {0} is not as Tagout needs it to read statements")]
    Unpinned(String),
    /// It sent an answer that is longer than anything Tagout asks for.
    #[error("the database's answer is too long")]
    TooLong,
}

/// A value in text; `None` for NULL.
pub type Value = Option<Vec<u8>>;

/// What a question gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Values of the rows.
    pub rows: Vec<Vec<Value>>,
    /// How many rows were changed.
    pub touched: u64,
}

impl Rows {
    /// The value in a place, as text; empty for NULL and for a place that is not there.
    pub fn text(&self, row: usize, column: usize) -> String {
        let value = self.rows.get(row).and_then(|row| row.get(column));
        match value {
            Some(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// A number in a place.
    pub fn number(&self, row: usize, column: usize) -> Option<u64> {
        self.text(row, column).parse().ok()
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Server<S> {
    pub(crate) stream: S,
    pub(crate) packets: Packets,
    /// What it greeted with.
    pub(crate) greeting: Greeting,
    pub(crate) status: Status,
}

/// A way to a server that has greeted.
pub(crate) struct Greeted<S> {
    pub(crate) stream: S,
    pub(crate) greeting: Greeting,
    /// The number of the next packet.
    pub(crate) sequence: u8,
}

/// Reads one packet and no byte more: what follows may be encrypted.
pub(crate) async fn read_exactly<S: AsyncRead + Unpin>(
    stream: &mut S,
    most: usize,
) -> Result<(u8, Vec<u8>), ServerError> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [a, b, c, sequence] = header;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
    if length > most {
        return Err(ProtocolError::TooLong(most).into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((sequence, payload))
}

/// The longest packet of a login, in bytes.
pub(crate) const LONGEST_OF_LOGIN: usize = 64 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Greeted<S> {
    /// Waits for the greeting.
    pub(crate) async fn wait(mut stream: S) -> Result<Self, ServerError> {
        let read = timeout(STARTUP, read_exactly(&mut stream, LONGEST_OF_LOGIN)).await;
        let (sequence, payload) = read.map_err(|_| ServerError::TooSlow)??;
        if payload.first() == Some(&0xFF) {
            return Err(ServerError::Said(Complaint::read(&payload)));
        }
        Ok(Self {
            stream,
            greeting: Greeting::read(&payload)?,
            sequence: sequence.wrapping_add(1),
        })
    }

    /// Logs in. `is_private` where nobody can listen.
    pub(crate) async fn log_in(
        self,
        login: Login,
        password: &[u8],
        (trust, is_private): (Trust, bool),
    ) -> Result<Server<S>, ServerError> {
        let done = timeout(STARTUP, self.converse(login, password, (trust, is_private)));
        done.await.map_err(|_| ServerError::TooSlow)?
    }

    async fn converse(
        mut self,
        mut login: Login,
        password: &[u8],
        (trust, is_private): (Trust, bool),
    ) -> Result<Server<S>, ServerError> {
        let mut method = match self.greeting.method.as_str() {
            known @ (NATIVE | CACHING_SHA2) => known.to_owned(),
            _ => NATIVE.to_owned(),
        };
        login.proof = proof(&method, password, &self.greeting.nonce).unwrap_or_default();
        login.method = Some(method.clone());
        let (_, whole) = login.write(false);
        self.say(&whole).await?;
        for _ in 0..MOST_STEPS {
            let (sequence, payload) = read_exactly(&mut self.stream, LONGEST_OF_LOGIN).await?;
            self.sequence = sequence.wrapping_add(1);
            match payload.first() {
                Some(0) => {
                    let status = Done::read(&payload)?.status;
                    return Ok(Server {
                        stream: self.stream,
                        packets: Packets::default(),
                        greeting: self.greeting,
                        status,
                    });
                }
                Some(0xFF) => return Err(ServerError::Said(Complaint::read(&payload))),
                Some(0xFE) => {
                    let mut fields = Fields::of(payload.get(1..).unwrap_or_default(), "switch");
                    if fields.peek().is_none() {
                        return Err(ServerError::Authentication(
                            "the database wants the password in the form of before MySQL 4.1, which anybody can undo",
                        ));
                    }
                    let name = fields.until_nul()?;
                    method = fields.text(name)?;
                    let nonce = fields.rest();
                    let nonce = nonce.strip_suffix(b"\0").unwrap_or(nonce);
                    let answer = answer(&method, password, nonce, (trust, is_private))?;
                    self.say(&answer).await?;
                }
                // `AuthMoreData` of caching_sha2_password.
                Some(1) if method == CACHING_SHA2 => match payload.get(1) {
                    Some(3) => {}
                    Some(4) => {
                        let clear = clear(password, (trust, is_private))?;
                        self.say(&clear).await?;
                    }
                    _ => return Err(ProtocolError::Answer.into()),
                },
                _ => return Err(ProtocolError::Answer.into()),
            }
        }
        Err(ProtocolError::Answer.into())
    }

    pub(crate) async fn say(&mut self, payload: &[u8]) -> Result<(), ServerError> {
        let mut out = Zeroizing::new(Vec::new());
        self.sequence = write_message(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }
}

/// What is answered to a server that wants to be convinced by `method`.
fn answer(
    method: &str,
    password: &[u8],
    nonce: &[u8],
    ends: (Trust, bool),
) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    if let Some(proof) = proof(method, password, nonce) {
        return Ok(Zeroizing::new(proof));
    }
    match method {
        CLEAR => clear(password, ends),
        ED25519 => {
            let hash: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(password).into());
            let key = ExpandedSecretKey::from_bytes(&hash);
            let signature = raw_sign::<Sha512>(&key, nonce, &VerifyingKey::from(&key));
            Ok(Zeroizing::new(signature.to_bytes().to_vec()))
        }
        _ => Err(ServerError::Authentication(
            "the database wants to be convinced by a method that Tagout does not know; it knows mysql_native_password, caching_sha2_password, client_ed25519 and mysql_clear_password",
        )),
    }
}

/// The password as it is, where nobody listens and it is known who is there.
fn clear(
    password: &[u8],
    (trust, is_private): (Trust, bool),
) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    match (trust, is_private) {
        (Trust::Verified, true) => {
            let mut text = Zeroizing::new(password.to_vec());
            text.push(0);
            Ok(text)
        }
        _ => Err(ServerError::Authentication(
            "the database wants to see the password itself, and this connection is not encrypted to a server whose certificate was verified; let your user set ssl-mode=VERIFY_IDENTITY (or VERIFY_CA with ssl-ca) in its URL",
        )),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Sends a command.
    pub(crate) async fn send(&mut self, command: &Command) -> Result<u64, ServerError> {
        let mut out = Vec::new();
        write_message(&mut out, 0, &command.write());
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        Ok(out.len() as u64)
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> Result<Packet, io::Error> {
        next(&mut self.stream, &mut self.packets).await
    }

    /// Sends a command of the gate's own, whose answer has no rows of interest.
    pub(crate) async fn command(
        &mut self,
        command: &Command,
        shape: Shape,
    ) -> Result<(), ServerError> {
        self.send(command).await?;
        let mut answer = Answer::to(shape);
        while !answer.is_over() {
            let packet = self.next().await?;
            answer.take(packet.payload(), packet.is_full())?;
        }
        self.over(answer).map(|_| ())
    }

    fn over(&mut self, answer: Answer) -> Result<u64, ServerError> {
        if let Some(status) = answer.status {
            self.status = status;
        }
        match answer.error {
            Some(complaint) => Err(ServerError::Said(complaint)),
            None => Ok(answer.touched.last().copied().unwrap_or_default()),
        }
    }

    /// Asks one question, and keeps the answer's rows.
    ///
    /// # Errors
    /// As [`ServerError`]; after [`ServerError::Said`] the connection can be used on.
    pub async fn ask(&mut self, sql: &str) -> Result<Rows, ServerError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let touched = self
            .each(sql, &mut |row: Vec<Value>| {
                bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
                if rows.len() >= MOST_ROWS || bytes > MOST_BYTES {
                    return Err(ServerError::TooLong);
                }
                rows.push(row);
                Ok(())
            })
            .await?;
        Ok(Rows { rows, touched })
    }

    /// Asks one question, and hands each row of the answer on. How many rows were changed.
    ///
    /// # Errors
    /// As [`Server::ask`], and the first of `take`'s; the rest of the answer is read to its end then.
    pub async fn each<E: From<ServerError>>(
        &mut self,
        sql: &str,
        take: &mut (dyn FnMut(Vec<Value>) -> Result<(), E> + Send),
    ) -> Result<u64, E> {
        self.send(&Command::Query(sql.to_owned())).await?;
        let mut answer = Answer::to(Shape::Results);
        let mut failed = None;
        let mut long = BytesMut::new();
        while !answer.is_over() {
            let packet = self.next().await.map_err(ServerError::from)?;
            let was_in_rows = answer.is_in_rows();
            answer
                .take(packet.payload(), packet.is_full())
                .map_err(ServerError::from)?;
            if !was_in_rows || !answer.is_in_rows() || failed.is_some() {
                continue;
            }
            if packet.is_full() || !long.is_empty() {
                if long.len() > MOST_BYTES {
                    failed = Some(ServerError::TooLong.into());
                }
                long.extend_from_slice(packet.payload());
                if packet.is_full() {
                    continue;
                }
            }
            let values = match long.is_empty() {
                true => row(packet.payload()),
                false => row(&long.split()),
            };
            let taken = values
                .map_err(|error| ServerError::from(error).into())
                .and_then(&mut *take);
            if let Err(error) = taken {
                failed = Some(error);
            }
        }
        let touched = self.over(answer)?;
        match failed {
            Some(error) => Err(error),
            None => Ok(touched),
        }
    }
}

/// The next packet of a stream.
pub(crate) async fn next<S: AsyncRead + Unpin>(
    stream: &mut S,
    packets: &mut Packets,
) -> Result<Packet, io::Error> {
    let mut bytes = BytesMut::with_capacity(16 << 10);
    loop {
        if let Some(packet) = packets.next_packet() {
            return Ok(packet);
        }
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        packets.push(&bytes);
    }
}
