//! What is said on a connection once both ends are let in. Every command of the client is read, judged and
//! written anew; every answer of the server passes, as far as it is one.
//!
//! One command is answered before the next is read, so a refusal is an answer of the gate's own and the two
//! sides never differ about where they are. A transaction is gathered here and reaches the server whole, from
//! MULTI to EXEC, once it was judged as one. On a connection that waits for messages nothing is answered in
//! turn, and nothing passes but what changes for which it waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tagout_authority::{OnHold, Outcome, Permit};
use tagout_core::{DatabaseRequest, HoldId};
use tagout_database::Database;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::ProtocolError;
use crate::command::{Command, Commands};
use crate::gate::{Gate, Hello, Login, Soon, lets_in, login_of, wrong_password};
use crate::judging::{Batch, action};
use crate::preview::{Bound, preview};
use crate::refusal::{denied, error, refused};
use crate::reply::Replies;
use crate::scripts::NoScript;
use crate::server::{Server, ServerError};
use crate::table::{Meaning, meaning};

/// What is read at once, in bytes.
const READ: usize = 16 << 10;
/// What is kept of a client that goes on talking while its command waits or runs, in bytes.
const MOST_WAITING: usize = 256 << 10;
/// Commands of a transaction, and their size in bytes.
const MOST_QUEUED: usize = 100_000;
const LARGEST_QUEUED: usize = 64 << 20;

const OK: &[u8] = b"+OK\r\n";

/// Why a connection is over.
#[derive(Debug)]
enum Ended {
    /// The client said goodbye or is gone.
    Client,
    /// The server, or the way to it.
    Server(String),
    /// The client said something that cannot be read; it is told.
    Protocol(String),
}

impl From<ServerError> for Ended {
    fn from(error: ServerError) -> Self {
        Self::Server(error.to_string())
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Server(format!("the database's connection was lost: {error}"))
    }
}

/// Commands between MULTI and EXEC.
#[derive(Default)]
struct Queue {
    commands: Vec<(Command, Meaning)>,
    size: usize,
    /// One of them was refused, so none runs.
    is_spoilt: bool,
}

/// One connection.
pub(crate) struct Conversation<S> {
    gate: Gate,
    database: Arc<Database>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    commands: Commands,
    server: Server,
    /// What goes to the client next.
    out: Vec<u8>,
    queue: Option<Queue>,
    /// Whether messages may arrive.
    is_subscribed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<S> {
    pub(crate) fn new(
        gate: &Gate,
        database: Arc<Database>,
        stream: S,
        commands: Commands,
        server: Server,
    ) -> Self {
        let (reader, writer) = split(stream);
        Self {
            gate: gate.clone(),
            database,
            reader,
            writer,
            commands,
            server,
            out: Vec::new(),
            queue: None,
            is_subscribed: false,
        }
    }

    /// Until either side leaves.
    pub(crate) async fn run(mut self, login: Login) {
        let begun = match login {
            Login::Told(answer) => {
                self.out = answer;
                Ok(())
            }
            Login::Hello(command) => self.judged(Batch::of(command, Meaning::Session)).await,
        };
        let ended = match begun {
            Err(ended) => ended,
            Ok(()) => loop {
                let step = match self.next_command().await {
                    Ok(command) => self.take(command).await,
                    Err(ended) => Err(ended),
                };
                if let Err(ended) = step {
                    break ended;
                }
            },
        };
        let told = match ended {
            Ended::Client => None,
            Ended::Server(why) => {
                let why = self
                    .gate
                    .inner
                    .databases
                    .authority()
                    .broker()
                    .redact_text(&why);
                Some(format!("{why}. Connect again."))
            }
            Ended::Protocol(why) => Some(format!(
                "Tagout ended this connection: {why}. Connect again, and use a usual client for Redis."
            )),
        };
        if let Some(told) = told {
            self.out.extend_from_slice(&error("ERR", &told));
        }
        let _ = timeout(Duration::from_secs(5), self.flush()).await;
        let _ = self.writer.shutdown().await;
        let _ = self.server.link.shutdown().await;
    }

    async fn next_command(&mut self) -> Result<Command, Ended> {
        let mut bytes = BytesMut::with_capacity(READ);
        loop {
            let command = self.commands.next_command();
            if let Some(command) = command.map_err(|why| Ended::Protocol(why.to_string()))? {
                return Ok(command);
            }
            self.flush().await?;
            bytes.clear();
            tokio::select! {
                read = self.reader.read_buf(&mut bytes) => match read {
                    Ok(0) | Err(_) => return Err(Ended::Client),
                    Ok(_) => self.commands.push(&bytes),
                },
                read = self.server.link.read_buf(&mut self.server.read) => match read? {
                    0 => return Err(Ended::Server("the database ended the connection".to_owned())),
                    _ if self.is_subscribed => self.out.append(&mut self.server.read),
                    _ => return Err(Ended::Server("the database spoke unasked".to_owned())),
                },
            }
        }
    }

    fn say(&mut self, answer: &[u8]) {
        self.out.extend_from_slice(answer);
    }

    /// A refusal; in a transaction none of its commands runs then.
    fn refuse(&mut self, answer: &[u8]) {
        if let Some(queue) = &mut self.queue {
            queue.is_spoilt = true;
        }
        self.say(answer);
    }

    async fn take(&mut self, command: Command) -> Result<(), Ended> {
        let meant = match meaning(&command) {
            Ok(meant) => meant,
            Err(why) => {
                let name = String::from_utf8_lossy(&command.words()[0]).into_owned();
                let name: String = name.chars().take(40).collect();
                self.refuse(&denied(&format!(
                    "Tagout denied this: {name}: {why}. Only your user can do it, outside of this session."
                )));
                return Ok(());
            }
        };
        let (command, meant) = match meant {
            Meaning::Gate => return self.own(&command).await,
            Meaning::Selects(number) => {
                match number == self.database.endpoint.database.as_bytes() {
                    true if self.queue.is_none() && !self.is_subscribed => self.say(OK),
                    true => self.refuse(&denied(
                        "Tagout denied this: SELECT stands outside of transactions.",
                    )),
                    false => {
                        let told = format!(
                            "Tagout denied this: this task was given the database {} alone. Only your user can give it another, by a [[database]] in tagout.toml.",
                            self.database.endpoint.database
                        );
                        self.refuse(&denied(&told));
                    }
                }
                return Ok(());
            }
            Meaning::Script => match self.gate.inner.scripts.whole(&command) {
                Ok(whole) => (whole, Meaning::Script),
                Err(NoScript::Unknown) => {
                    self.refuse(&error("NOSCRIPT", "No matching script. Please use EVAL."));
                    return Ok(());
                }
                Err(NoScript::Refused) => {
                    self.refuse(&unlearnt());
                    return Ok(());
                }
            },
            Meaning::LoadsScript => {
                let text = command.words().get(2).map_or(&[][..], Vec::as_slice);
                if self.gate.inner.scripts.learn(text).is_err() {
                    self.refuse(&unlearnt());
                    return Ok(());
                }
                (command, Meaning::LoadsScript)
            }
            meant => (command, meant),
        };
        if self.queue.is_some() {
            self.enqueue(command, meant);
            return Ok(());
        }
        self.judged(Batch::of(command, meant)).await
    }

    /// Puts a command of a transaction to the others.
    fn enqueue(&mut self, command: Command, meant: Meaning) {
        if meant == Meaning::Subscribes || command.name() == "watch" {
            let told = "Tagout denied this: the command stands outside of transactions.";
            return self.refuse(&denied(told));
        }
        let Some(queue) = &mut self.queue else { return };
        queue.size += command.size();
        if queue.commands.len() >= MOST_QUEUED || queue.size > LARGEST_QUEUED {
            let told = "Tagout denied this: the transaction is too long. Make several of it.";
            return self.refuse(&denied(told));
        }
        queue.commands.push((command, meant));
        self.say(b"+QUEUED\r\n");
    }

    /// What the gate does itself.
    async fn own(&mut self, command: &Command) -> Result<(), Ended> {
        match command.name().as_str() {
            "quit" => {
                self.say(OK);
                Err(Ended::Client)
            }
            "multi" if self.is_subscribed => {
                self.refuse(&busy());
                Ok(())
            }
            "multi" => {
                match self.queue {
                    Some(_) => self.say(&error("ERR", "MULTI calls can not be nested")),
                    None => {
                        self.queue = Some(Queue::default());
                        self.say(OK);
                    }
                }
                Ok(())
            }
            "discard" => match self.queue.take() {
                None => {
                    self.say(&error("ERR", "DISCARD without MULTI"));
                    Ok(())
                }
                Some(_) => {
                    self.server.ask(&Command::of(&["UNWATCH"])).await?;
                    self.say(OK);
                    Ok(())
                }
            },
            "exec" => match self.queue.take() {
                None => {
                    self.say(&error("ERR", "EXEC without MULTI"));
                    Ok(())
                }
                Some(queue) if queue.is_spoilt => {
                    self.server.ask(&Command::of(&["UNWATCH"])).await?;
                    let told = "Transaction discarded because of previous errors.";
                    self.say(&error("EXECABORT", told));
                    Ok(())
                }
                Some(queue) => {
                    self.judged(Batch {
                        commands: queue.commands,
                        is_transaction: true,
                    })
                    .await
                }
            },
            _ if self.queue.is_some() || self.is_subscribed => {
                self.refuse(&busy());
                Ok(())
            }
            "auth" => {
                let is_right = login_of(command)
                    .is_some_and(|(user, password)| lets_in(&self.database, user, password));
                match is_right {
                    true => self.say(OK),
                    false => self.say(&wrong_password()),
                }
                Ok(())
            }
            _ => match Hello::read(command) {
                Err(told) => {
                    self.say(&told);
                    Ok(())
                }
                Ok(Hello { login, rest }) => {
                    let is_right = login.is_none_or(|(user, password)| {
                        lets_in(&self.database, Some(&user), &password)
                    });
                    match is_right {
                        true => self.judged(Batch::of(rest, Meaning::Session)).await,
                        false => {
                            self.say(&wrong_password());
                            Ok(())
                        }
                    }
                }
            },
        }
    }

    /// Asks the authority about commands, and runs them where it permits that.
    async fn judged(&mut self, batch: Batch) -> Result<(), Ended> {
        let subscribes = batch.commands.iter().any(|(command, meaning)| {
            *meaning == Meaning::Subscribes || self.is_subscribed && command.name() == "ping"
        });
        if self.is_subscribed && !subscribes {
            self.refuse(&busy());
            return Ok(());
        }
        let batch = Arc::new(batch);
        let permit = match self.judge(&batch).await? {
            Ok(permit) => permit,
            Err(told) => {
                if batch.is_transaction {
                    self.server.ask(&Command::of(&["UNWATCH"])).await?;
                }
                self.say(&told);
                return Ok(());
            }
        };
        if let Some(hold) = permit.approved() {
            let bound = self.gate.inner.databases.take_shown(hold);
            if let Some(bound) = bound
                && !bound.holds(&mut self.server).await?
            {
                permit.outcome(Outcome {
                    error: Some("more keys than were shown".to_owned()),
                    ..Outcome::default()
                });
                if batch.is_transaction {
                    self.server.ask(&Command::of(&["UNWATCH"])).await?;
                }
                self.say(&denied(
                    "Tagout did not run this: the database has more keys now than were shown when it was approved. Nothing has changed. Send it again; what it would remove now is shown anew.",
                ));
                return Ok(());
            }
            self.gate.inner.tally.looked_at();
            for script in batch.scripts() {
                self.gate.inner.scripts.approve(script);
            }
        }
        let ran = self.execute(&batch, subscribes).await;
        let (error, sent, received) = match &ran {
            Ok((error, sent, received)) => (error.clone(), *sent, *received),
            Err(Ended::Client) => (Some("the client left".to_owned()), 0, 0),
            Err(Ended::Server(why) | Ended::Protocol(why)) => (Some(why.clone()), 0, 0),
        };
        permit.outcome(Outcome {
            status: None,
            error,
            request_bytes: sent,
            response_bytes: received,
        });
        ran.map(|_| ())
    }

    /// Sends commands that were permitted, and passes the answer. Says the server's error, and how many bytes
    /// went each way.
    async fn execute(
        &mut self,
        batch: &Batch,
        subscribes: bool,
    ) -> Result<(Option<String>, u64, u64), Ended> {
        let mut bytes = Vec::new();
        let mut unseen = 0;
        if batch.is_transaction {
            Command::of(&["MULTI"]).write(&mut bytes);
            unseen = batch.commands.len() + 1;
        }
        for (command, _) in &batch.commands {
            command.write(&mut bytes);
        }
        if batch.is_transaction {
            Command::of(&["EXEC"]).write(&mut bytes);
        }
        let sent = bytes.len() as u64;
        self.server.link.write_all(&bytes).await?;
        self.server.link.flush().await?;
        drop(bytes);
        if subscribes {
            self.is_subscribed = true;
            return Ok((None, sent, 0));
        }
        let mut received = 0;
        let mut error = None;
        // The answers to MULTI and to what is queued were given by the gate.
        for number in 0..=unseen {
            let (said, length) = self.pass(number == unseen).await?;
            error = said;
            received += length;
        }
        Ok((error, sent, received))
    }

    /// One answer of the server's, while the client may go away.
    async fn pass(&mut self, is_seen: bool) -> Result<(Option<String>, u64), Ended> {
        let wrong = |why: ProtocolError| Ended::Server(ServerError::from(why).to_string());
        let mut replies = Replies::default();
        let mut received = 0;
        let mut bytes = BytesMut::with_capacity(READ);
        loop {
            let taken = replies.take(&self.server.read).map_err(wrong)?;
            received += taken as u64;
            let part = self.server.read.drain(..taken);
            match is_seen {
                true => self.out.extend(part),
                false => drop(part),
            }
            if replies.is_over() {
                return Ok((replies.error(), received));
            }
            self.flush().await?;
            bytes.clear();
            tokio::select! {
                read = self.server.link.read_buf(&mut self.server.read) => {
                    if read? == 0 {
                        return Err(Ended::Server("the database ended the connection".to_owned()));
                    }
                }
                read = self.reader.read_buf(&mut bytes), if self.commands.waiting() < MOST_WAITING => {
                    match read {
                        Ok(0) | Err(_) => return Err(Ended::Client),
                        Ok(_) => self.commands.push(&bytes),
                    }
                }
            }
        }
    }

    /// Asks the authority, while the client may go away.
    async fn judge(
        &mut self,
        batch: &Arc<Batch>,
    ) -> Result<Result<Permit<DatabaseRequest>, Vec<u8>>, Ended> {
        let inner = Arc::clone(&self.gate.inner);
        let action = action(
            batch,
            (&inner.tally, &inner.scripts),
            (&self.database, inner.databases.is_protected(&self.database)),
            inner.databases.generation(&self.database),
            inner.databases.authority().broker(),
        );
        let waiting = Waiting {
            gate: self.gate.clone(),
            database: Arc::clone(&self.database),
            batch: Arc::clone(batch),
            bound: std::sync::Mutex::default(),
        };
        // What was said before it is not kept back by a command that waits.
        self.flush().await?;
        let mut judging = std::pin::pin!(inner.databases.authority().judge_seen(action, &waiting));
        let mut bytes = BytesMut::with_capacity(READ);
        loop {
            bytes.clear();
            tokio::select! {
                biased;
                verdict = &mut judging => return Ok(verdict.map_err(|refusal| refused(&refusal))),
                read = self.reader.read_buf(&mut bytes), if self.commands.waiting() < MOST_WAITING => {
                    match read {
                        // An approval must not release a command whose answer nobody reads.
                        Ok(0) | Err(_) => return Err(Ended::Client),
                        Ok(_) => self.commands.push(&bytes),
                    }
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(&self.out).await;
        self.out.clear();
        written.map_err(|_| Ended::Client)?;
        self.writer.flush().await.map_err(|_| Ended::Client)
    }
}

fn unlearnt() -> Vec<u8> {
    denied(
        "Tagout denied this: the script is longer than 256 KiB, or another one has its SHA-1, or this session has used too many.",
    )
}

fn busy() -> Vec<u8> {
    denied(
        "Tagout denied this: on a connection that waits for messages, or in a transaction, this command has no place. Use another connection.",
    )
}

/// What is at hand while commands wait for a person.
struct Waiting {
    gate: Gate,
    database: Arc<Database>,
    batch: Arc<Batch>,
    /// What was shown, and so what an approval will cover.
    bound: std::sync::Mutex<Option<Bound>>,
}

impl OnHold for Waiting {
    fn preview(&self) -> Soon<'_, Vec<String>> {
        Box::pin(async {
            let (lines, bound) = match self.gate.side(&self.database).await {
                Ok(mut side) => preview(&mut side, &self.batch).await,
                Err(why) => (vec![format!("cannot be previewed: {why}")], None),
            };
            if let Ok(mut kept) = self.bound.lock() {
                *kept = bound;
            }
            let broker = self.gate.inner.databases.authority().broker();
            lines.iter().map(|line| broker.redact_text(line)).collect()
        })
    }

    fn held(&self, hold: &HoldId) {
        let bound = self.bound.lock().ok().and_then(|mut bound| bound.take());
        self.gate.inner.databases.remember(hold, bound);
    }
}
