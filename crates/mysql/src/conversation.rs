//! What is said on a connection once both ends are let in. Every command of the client is read, judged where
//! it makes the server run something, and written anew; every answer of the server passes, as far as it is
//! one.
//!
//! One command is answered before the next is read, as servers do it. So a refusal is an answer of the
//! gate's own, and the two sides never differ about where they are. The server may run several statements of
//! one text only while it runs a text that was judged as several.

mod contract;
mod waiting;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tagout_authority::{Outcome, Permit};
use tagout_core::{DatabaseRequest, Parameter};
use tagout_database::{Database, Reading};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use self::contract::Contract;
use self::waiting::Judged;
use crate::ProtocolError;
use crate::answer::{Answer, Done, Shape, Status, eof, ok};
use crate::capability::MULTI_STATEMENTS;
use crate::command::Command;
use crate::dial::Link;
use crate::gate::{Cancel, Gate};
use crate::judging::{fault, interrupts, may_move_pins, read_bound};
use crate::packet::{Message, Packets, write_message};
use crate::pins::{check, pin};
use crate::refusal::{Reason, error};
use crate::server::{Server, ServerError, next};
use crate::values::{Type, read};

/// What is read of a client at once, in bytes.
const READ: usize = 16 << 10;
/// What is kept of a client that goes on talking while its statement waits or runs, in bytes.
const MOST_WAITING: usize = 256 << 10;
/// The longest command, in bytes; the usual `max_allowed_packet` of servers.
const LONGEST_COMMAND: usize = 64 << 20;
/// What is gathered before it is written to the client, in bytes.
const GATHERED: usize = 64 << 10;
/// Statements that a client may have prepared at one time; servers have such a limit too.
const MOST_PREPARED: usize = 16_382;

/// Why a connection is over.
#[derive(Debug)]
enum Ended {
    /// The client said goodbye or is gone.
    Client,
    /// The server, or the way to it.
    Server(String),
    /// The client said something that cannot be read or does not fit; it is told.
    Protocol(String),
}

impl From<ServerError> for Ended {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Unpinned(name) => Self::Protocol(format!(
                "the setting {name} changed, under which Tagout reads statements"
            )),
            error => Self::Server(error.to_string()),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Server(format!("the database's connection was lost: {error}"))
    }
}

/// A statement that the client prepared.
struct Prepared {
    text: String,
    parameters: usize,
    types: Vec<Type>,
    /// Values that came in pieces, by their place.
    long: HashMap<u16, Vec<u8>>,
    /// Why its next execution is refused: a piece could not be answered.
    refused: Option<String>,
}

/// One connection.
pub(crate) struct Conversation<S> {
    gate: Gate,
    database: Arc<Database>,
    is_protected: bool,
    cancel: Arc<Cancel>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    packets: Packets,
    /// What goes to the client next.
    out: Vec<u8>,
    /// The number of the next packet to the client that is the gate's own.
    sequence: u8,
    server: Server<Link>,
    prepared: HashMap<u32, Prepared>,
    /// Whether the client wants several statements in a text, and whether the server takes them now.
    wants_several: bool,
    takes_several: bool,
    /// What an approved statement is held to while it runs.
    contract: Option<Contract>,
    sent: u64,
    received: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<S> {
    pub(crate) fn new(
        gate: &Gate,
        database: Arc<Database>,
        cancel: Arc<Cancel>,
        stream: S,
        server: Server<Link>,
        capabilities: u32,
    ) -> Self {
        let (reader, writer) = split(stream);
        Self {
            gate: gate.clone(),
            is_protected: gate.inner.databases.is_protected(&database),
            database,
            cancel,
            reader,
            writer,
            packets: Packets::default(),
            out: Vec::new(),
            sequence: 0,
            server,
            prepared: HashMap::new(),
            wants_several: capabilities & MULTI_STATEMENTS != 0,
            takes_several: false,
            contract: None,
            sent: 0,
            received: 0,
        }
    }

    /// Until either side leaves. The client is let in with the packet `sequence`.
    pub(crate) async fn run(mut self, sequence: u8) {
        write_message(&mut self.out, sequence, &ok(Status::fresh()));
        let ended = match self.flush().await {
            Ok(()) => loop {
                if let Err(ended) = self.step().await {
                    break ended;
                }
            },
            Err(ended) => ended,
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
                "Tagout ended this connection: {why}. Connect again, and use a usual client for MySQL."
            )),
        };
        if let Some(told) = told {
            let _ = self.say(&error(Reason::NoConnection, told));
        }
        let _ = timeout(Duration::from_secs(5), self.flush()).await;
        let _ = self.writer.shutdown().await;
        // Whatever still runs there is rolled back by the server.
        let _ = self.server.stream.shutdown().await;
    }

    /// One command of the client's.
    async fn step(&mut self) -> Result<(), Ended> {
        let message = self.next_message().await?;
        self.sequence = message.answer;
        let command = match Command::read(&message.payload) {
            Ok(command) => command,
            Err(why) => {
                let told = format!("Tagout denied this: {why}. Send statements, prepared or not.");
                self.say(&error(Reason::NotThisCommand, told))?;
                return self.flush().await;
            }
        };
        drop(message);
        self.take(command).await?;
        self.flush().await
    }

    async fn next_message(&mut self) -> Result<Message, Ended> {
        let mut bytes = BytesMut::with_capacity(READ);
        loop {
            let message = self
                .packets
                .next_message(LONGEST_COMMAND)
                .map_err(|why| Ended::Protocol(why.to_string()))?;
            if let Some(message) = message {
                return Ok(message);
            }
            bytes.clear();
            tokio::select! {
                read = self.reader.read_buf(&mut bytes) => match read {
                    Ok(0) | Err(_) => return Err(Ended::Client),
                    Ok(_) => self.packets.push(&bytes),
                },
                // A server says nothing unasked but that it goes.
                packet = next(&mut self.server.stream, &mut self.server.packets) => {
                    packet?;
                    return Err(Ended::Server("the database ended the connection".to_owned()));
                }
            }
        }
    }

    async fn take(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Quit => Err(Ended::Client),
            Command::Query(ref text) => {
                let text = text.clone();
                self.query(command, &text).await
            }
            Command::Prepare(ref text) => {
                let text = text.clone();
                self.prepare(command, text).await
            }
            Command::Execute {
                statement,
                cursor,
                values,
            } => self.execute(statement, cursor, &values).await,
            Command::LongData { .. } => self.long_data(command).await,
            Command::Close(statement) => {
                self.prepared.remove(&statement);
                self.send(&command).await
            }
            Command::Reset(statement) => {
                if let Some(prepared) = self.prepared.get_mut(&statement) {
                    prepared.long.clear();
                    prepared.refused = None;
                }
                self.pass(&command, Shape::Short).await.map(|_| ())
            }
            Command::Fetch { .. } => self.pass(&command, Shape::Rows).await.map(|_| ()),
            Command::Ping => self.pass(&command, Shape::Short).await.map(|_| ()),
            Command::Statistics => self.pass(&command, Shape::Line).await.map(|_| ()),
            Command::InitDb(ref name) => match *name == self.database.endpoint.database {
                true => self.pass(&command, Shape::Short).await.map(|_| ()),
                false => {
                    let told = format!(
                        "Tagout denied this: this task was given the database {} alone. Only your user can give it another, by a [[database]] in tagout.toml.",
                        self.database.endpoint.database
                    );
                    self.say(&error(Reason::NotThisDatabase, told))
                }
            },
            Command::FieldList { ref table, .. } => {
                let text = format!("SHOW COLUMNS FROM `{}`", table.replace('`', "``"));
                let reading = match self.read(&text, &[]).await? {
                    Some(reading) => reading,
                    None => return Ok(()),
                };
                match self.judge(&text, Vec::new(), &reading).await? {
                    Judged::Refused(told) => self.say(&told),
                    Judged::Permit(permit) => {
                        let passed = self.pass(&command, Shape::Columns).await;
                        self.finish(*permit, &passed);
                        passed.map(|_| ())
                    }
                }
            }
            Command::MultiStatements(on) => {
                self.wants_several = on;
                let status = self.server.status;
                self.say(&eof(status))
            }
            Command::ResetConnection => {
                self.prepared.clear();
                self.takes_several = false;
                let answer = self.pass(&command, Shape::Short).await?;
                if answer.error.is_none() {
                    pin(&mut self.server, self.is_protected).await?;
                }
                Ok(())
            }
        }
    }

    /// What a text means; nothing where the client was told that nobody can say.
    async fn read(
        &mut self,
        text: &str,
        values: &[Parameter],
    ) -> Result<Option<Arc<Reading>>, Ended> {
        let reader = Arc::clone(&self.gate.inner.reader);
        match read_bound(&reader, text, values).await {
            Ok(reading) => Ok(Some(reading)),
            Err(why) => {
                let told = format!("Tagout denied this: {why}.");
                self.say(&error(Reason::NotAllowed, told))?;
                Ok(None)
            }
        }
    }

    async fn query(&mut self, command: Command, text: &str) -> Result<(), Ended> {
        let Some(reading) = self.read(text, &[]).await? else {
            return Ok(());
        };
        if let Some(connection) = interrupts(&reading)
            && let Some(done) = self.gate.interrupt(connection).await
        {
            return match done {
                Ok(()) => self.say(&ok(self.server.status)),
                Err(why) => self.say(&error(Reason::NotAllowed, why.to_string())),
            };
        }
        self.run_judged(command, text, (Vec::new(), reading))
            .await
            .map(|_| ())
    }

    async fn execute(&mut self, statement: u32, cursor: u8, values: &[u8]) -> Result<(), Ended> {
        let Some(prepared) = self.prepared.get_mut(&statement) else {
            let told = "Tagout: there is no prepared statement of this number";
            return self.say(&error(Reason::NoStatement, told));
        };
        let text = prepared.text.clone();
        let long = std::mem::take(&mut prepared.long);
        let refused = prepared.refused.take();
        let values = read(values, prepared.parameters, &prepared.types, &long);
        let values = match (refused, values) {
            (None, Ok(values)) => values,
            (refused, values) => {
                let why = refused.or(values.err().map(|why| why.to_string()));
                let told = format!("Tagout denied this: {}.", why.unwrap_or_default());
                self.forget_pieces(statement).await?;
                return self.say(&error(Reason::NotAllowed, told));
            }
        };
        prepared.types = values.types;
        let command = Command::Execute {
            statement,
            cursor,
            values: values.written,
        };
        let ran = match self.read(&text, &values.read).await? {
            None => false,
            Some(reading) => {
                let asked = (values.read, reading);
                self.run_judged(command, &text, asked).await?
            }
        };
        match ran || long.is_empty() {
            true => Ok(()),
            false => self.forget_pieces(statement).await,
        }
    }

    /// Pieces of values that the server has are not for the next execution.
    async fn forget_pieces(&mut self, statement: u32) -> Result<(), Ended> {
        let reset = Command::Reset(statement);
        self.server.command(&reset, Shape::Short).await?;
        Ok(())
    }

    /// Runs a text, where the authority permits it. Whether the server did.
    async fn run_judged(
        &mut self,
        command: Command,
        text: &str,
        (values, reading): (Vec<Parameter>, Arc<Reading>),
    ) -> Result<bool, Ended> {
        let permit = match self.judge(text, values, &reading).await? {
            Judged::Refused(told) => return self.say(&told).map(|()| false),
            Judged::Permit(permit) => *permit,
        };
        let is_approved = permit.approved().is_some();
        if let Err(told) = self.begin_contract(&permit, &reading).await? {
            permit.outcome(Outcome {
                status: None,
                error: Some("not kept".to_owned()),
                request_bytes: 0,
                response_bytes: 0,
            });
            return self.say(&told).map(|()| false);
        }
        let several = self.wants_several && reading.statements.len() > 1;
        if several != self.takes_several {
            let switch = Command::MultiStatements(several);
            self.server.command(&switch, Shape::Short).await?;
            self.takes_several = several;
        }
        let mut passed = self.pass(&command, Shape::Results).await;
        if let Ok(answer) = &mut passed
            && let Err(ended) = self.settle(answer).await
        {
            passed = Err(ended);
        }
        if let Ok(answer) = &passed
            && answer.error.is_none()
        {
            self.tally(&reading, answer);
        }
        self.finish(permit, &passed);
        let ran = passed?.error.is_none();
        if is_approved || may_move_pins(&reading) {
            check(&mut self.server, self.is_protected).await?;
        }
        Ok(ran)
    }

    /// Counts what statements that name rows by their keys did, statement by statement.
    fn tally(&self, reading: &Reading, answer: &Answer) {
        use tagout_database::Done as What;
        // Rows of a result are no OK, so with several statements it is not known which count is whose.
        let most = answer.touched.iter().copied().max().unwrap_or_default();
        for kind in [What::Removed, What::Changed] {
            self.gate.inner.tally.add(reading.acts(), kind, most);
        }
    }

    async fn prepare(&mut self, command: Command, text: String) -> Result<(), Ended> {
        let reader = Arc::clone(&self.gate.inner.reader);
        let denied = match reader.read(&text).await {
            Err(why) => Some(why.to_string()),
            Ok(reading) => reading
                .acts()
                .find_map(|act| fault(act, &self.database))
                .map(|fault| fault.reason),
        };
        let broker = self.gate.inner.databases.authority().broker();
        let secret = broker.known().find(text.as_bytes());
        let secret = secret.map(|hit| format!("the statement holds the value of {}", hit.label));
        if let Some(why) = denied.or(secret) {
            let told = format!("Tagout denied this: {why}.");
            return self.say(&error(Reason::NotAllowed, told));
        }
        if self.prepared.len() >= MOST_PREPARED {
            let told = "Tagout: too many prepared statements; close some";
            return self.say(&error(Reason::NotAllowed, told));
        }
        let answer = self.pass(&command, Shape::Prepared).await?;
        if let Some((statement, parameters)) = answer.prepared {
            self.prepared.insert(
                statement,
                Prepared {
                    text,
                    parameters: usize::from(parameters),
                    types: Vec::new(),
                    long: HashMap::new(),
                    refused: None,
                },
            );
        }
        Ok(())
    }

    /// A piece of a value. There is no answer to it, so what is wrong is told when the statement is executed.
    async fn long_data(&mut self, command: Command) -> Result<(), Ended> {
        let Command::LongData {
            statement,
            parameter,
            data,
        } = &command
        else {
            return Ok(());
        };
        let pieces: usize = self
            .prepared
            .values()
            .flat_map(|prepared| prepared.long.values())
            .map(Vec::len)
            .sum();
        let Some(prepared) = self.prepared.get_mut(statement) else {
            return Ok(());
        };
        if prepared.refused.is_some() {
            return Ok(());
        }
        if pieces + data.len() > LONGEST_COMMAND {
            prepared.refused = Some("the values that came in pieces are too long".to_owned());
            return Ok(());
        }
        let long = prepared.long.entry(*parameter).or_default();
        long.extend_from_slice(data);
        // Over the seams of pieces as well.
        let broker = self.gate.inner.databases.authority().broker();
        if let Some(hit) = broker.known().find(long) {
            prepared.refused = Some(format!("a value holds the value of {}", hit.label));
            return Ok(());
        }
        self.send(&command).await
    }

    async fn send(&mut self, command: &Command) -> Result<(), Ended> {
        self.sent += self.server.send(command).await?;
        Ok(())
    }

    /// Sends a command and passes its answer, while the client may go away.
    async fn pass(&mut self, command: &Command, shape: Shape) -> Result<Answer, Ended> {
        self.send(command).await?;
        let mut answer = Answer::to(shape);
        let mut bytes = BytesMut::with_capacity(READ);
        while !answer.is_over() {
            let packet = match self.server.packets.next_packet() {
                Some(packet) => packet,
                None => {
                    if self.contract.is_none() {
                        self.flush().await?;
                    }
                    bytes.clear();
                    tokio::select! {
                        packet = next(&mut self.server.stream, &mut self.server.packets) => packet?,
                        read = self.reader.read_buf(&mut bytes), if self.packets.waiting() < MOST_WAITING => {
                            match read {
                                Ok(0) | Err(_) => return Err(Ended::Client),
                                Ok(_) => self.packets.push(&bytes),
                            }
                            continue;
                        }
                    }
                }
            };
            let taken = answer.take(packet.payload(), packet.is_full());
            taken.map_err(|why: ProtocolError| Ended::Server(why.to_string()))?;
            self.received += packet.whole.len() as u64;
            let is_around = self.contract.as_ref().is_some_and(Contract::is_around);
            match is_around && packet.payload().first() == Some(&0) && !answer.touched.is_empty() {
                false => self.out.extend_from_slice(&packet.whole),
                true => {
                    // The transaction around it is the gate's own.
                    let done = Done::read(packet.payload());
                    let done = done.map_err(|why| Ended::Server(why.to_string()))?;
                    let payload = done.outside_transaction(packet.payload());
                    let sequence = packet.whole.get(3).copied().unwrap_or_default();
                    write_message(&mut self.out, sequence, &payload);
                }
            }
            if self.out.len() >= GATHERED && self.contract.is_none() {
                self.flush().await?;
            }
        }
        if let Some(status) = answer.status {
            self.server.status = status;
            if !status.is_pinned() {
                return Err(Ended::Protocol(
                    "sql_mode changed, under which Tagout reads statements".to_owned(),
                ));
            }
        }
        Ok(answer)
    }

    /// Records how what was let through ended.
    fn finish(&mut self, permit: Permit<DatabaseRequest>, passed: &Result<Answer, Ended>) {
        let error = match passed {
            Ok(answer) => answer
                .error
                .as_ref()
                .map(|complaint| complaint.code.to_string()),
            Err(Ended::Client) => Some("the client left".to_owned()),
            Err(Ended::Server(why) | Ended::Protocol(why)) => Some(why.clone()),
        };
        permit.outcome(Outcome {
            status: None,
            error,
            request_bytes: self.sent,
            response_bytes: self.received,
        });
        (self.sent, self.received) = (0, 0);
    }

    /// Answers with a packet of the gate's own.
    fn say(&mut self, payload: &[u8]) -> Result<(), Ended> {
        self.sequence = write_message(&mut self.out, self.sequence, payload);
        Ok(())
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
