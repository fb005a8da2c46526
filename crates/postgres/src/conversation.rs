//! What is said on a connection once both ends are let in. Every message of the client is read,
//! judged where it makes the server run something, and written anew; everything of the server passes.
//!
//! What runs is judged where its last piece arrives: a `Query` as a whole, a prepared statement at
//! `Bind`, with its values, since planning may already call its functions. A message that may not pass
//! is replaced by one that the server cannot read, and the server's error by the refusal: so transaction,
//! implicit or not, and the rest of the segment end as they do after any error, and the two sides never
//! differ about where they are.

mod calls;
mod contract;
mod copying;
mod refusing;
mod waiting;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tagout_authority::{Outcome, Permit};
use tagout_catalog_sql::{Act, Unreadable};
use tagout_core::{DatabaseRequest, Parameter};
use tagout_database::{Database, Reading, Told};
use tagout_secrets::StreamFinder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use self::calls::Known;
use self::contract::Contract;
use self::refusing::{Poison, is_ignored_after_failure, names_error};
use self::waiting::Judged;
use crate::answers::{Answer, text};
use crate::gate::{Cancel, Gate, Link, Stream, unpinned};
use crate::judging::read_binary;
use crate::message::framed;
use crate::names::NamesError;
use crate::refusal::{PROTOCOL, Severity, error};
use crate::server::status;
use crate::tally::of_tag;
use crate::{
    Format, Frames, FrontendMessage, Names, PreparedStatement, ProtocolError, Server, ServerError,
    Status, Target,
};

/// What is read of a client at once, in bytes.
const READ: usize = 16 << 10;
/// What is kept of a client that goes on talking while its statement waits for a person, in bytes.
const MOST_WAITING: usize = 256 << 10;
/// The longest answer of an approved statement, which is kept until it is settled, in bytes.
const MOST_UNSETTLED: usize = 64 << 20;
/// What is gathered before it is written to the client, in bytes.
const GATHERED: usize = 64 << 10;

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
        Self::Server(error.to_string())
    }
}

impl From<ProtocolError> for Ended {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// One connection.
pub(crate) struct Conversation<S> {
    gate: Gate,
    database: Arc<Database>,
    cancel: Arc<Cancel>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    frames: Frames,
    /// Where the client's bytes arrive.
    incoming: BytesMut,
    /// What goes to the client next.
    out: Vec<u8>,
    server: Server<Link>,
    names: Names,
    /// What SQL prepared, by name.
    prepared: HashMap<String, Vec<Act>>,
    /// What SQL prepares in this segment, known once it has succeeded.
    preparing: Vec<(String, Vec<Act>)>,
    /// Where names are looked up, once the client has changed it; and that it may just have.
    search_path: Option<String>,
    path_may_move: bool,
    /// What calls mean.
    known: Known,
    /// A `Query` that came without a `Sync` in front of it, and whose segment is being ended for it.
    postponed: Option<FrontendMessage>,
    /// An error of this segment was seen, and its `Sync` was not.
    skipping: bool,
    /// The server takes copied data. It is searched as it passes.
    copying: Option<StreamFinder>,
    /// What the server's next error stands for.
    refusal: Option<Poison>,
    /// What an approved statement of this segment is held to.
    contract: Option<Contract>,
    /// A protected database may be written to until this segment ends.
    is_lifted: bool,
    /// Something of this segment runs already.
    runs: bool,
    /// The segment is the gate's own: its `ReadyForQuery` is not the client's.
    silent: bool,
    /// `ParseComplete`s that are not the client's.
    silent_parses: usize,
    /// What was let through in this segment, and what it means.
    permits: Vec<Permit<DatabaseRequest>>,
    readings: Vec<Arc<Reading>>,
    sent: u64,
    received: u64,
    error: Option<String>,
}

impl<S: Stream> Conversation<S> {
    pub(crate) fn new(
        gate: &Gate,
        database: Arc<Database>,
        cancel: Arc<Cancel>,
        stream: S,
        frames: Frames,
        server: Server<Link>,
    ) -> Self {
        let (reader, writer) = split(stream);
        Self {
            gate: gate.clone(),
            database,
            cancel,
            reader,
            writer,
            frames,
            incoming: BytesMut::new(),
            out: Vec::new(),
            server,
            names: Names::default(),
            prepared: HashMap::new(),
            preparing: Vec::new(),
            search_path: None,
            path_may_move: false,
            known: Known::default(),
            postponed: None,
            skipping: false,
            copying: None,
            refusal: None,
            contract: None,
            is_lifted: false,
            runs: false,
            silent: false,
            silent_parses: 0,
            permits: Vec::new(),
            readings: Vec::new(),
            sent: 0,
            received: 0,
            error: None,
        }
    }

    /// Until either side leaves. `id` is what the client may cancel by.
    pub(crate) async fn run(mut self, id: (u32, u32)) {
        let ended = match self.welcome(id).await {
            Ok(()) => loop {
                if let Err(ended) = self.step().await {
                    break ended;
                }
            },
            Err(ended) => ended,
        };
        let (reason, told) = match ended {
            Ended::Client => (None, None),
            Ended::Server(why) => {
                let why = self
                    .gate
                    .inner
                    .databases
                    .authority()
                    .broker()
                    .redact_text(&why);
                let told = Told::new(why.clone(), "Connect again.");
                (Some(why), Some(error(Severity::Fatal, "57P01", &told)))
            }
            Ended::Protocol(why) => {
                let told = Told::new(
                    format!("Tagout ended this connection: {why}."),
                    "Connect again, and use a usual client for PostgreSQL.",
                );
                (Some(why), Some(error(Severity::Fatal, PROTOCOL, &told)))
            }
        };
        self.finish(reason);
        if let Some(told) = told {
            self.out.extend_from_slice(&told);
        }
        let _ = timeout(Duration::from_secs(5), self.flush()).await;
        let _ = self.writer.shutdown().await;
        // Whatever still runs there is rolled back by the server.
        let _ = self.server.stream.shutdown().await;
    }

    /// What a server says to somebody whom it let in.
    async fn welcome(&mut self, id: (u32, u32)) -> Result<(), Ended> {
        let out = &mut self.out;
        framed(out, b'R', |out| out.extend_from_slice(&0_u32.to_be_bytes()));
        for (name, value) in &self.server.parameters {
            framed(out, b'S', |out| {
                for text in [name, value] {
                    out.extend_from_slice(text.as_bytes());
                    out.push(0);
                }
            });
        }
        framed(out, b'K', |out| {
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&id.1.to_be_bytes());
        });
        framed(out, b'Z', |out| out.push(b'I'));
        self.flush().await
    }

    /// Whether the database is of a protected environment.
    fn is_protected(&self) -> bool {
        self.gate.inner.databases.is_protected(&self.database)
    }

    /// One message of the client's, or what the server has to say.
    async fn step(&mut self) -> Result<(), Ended> {
        if self.contract.is_none() && !self.server.notified.is_empty() {
            let notified = std::mem::take(&mut self.server.notified);
            self.give(&notified).await?;
        }
        let may_take = self.copying.is_some() || !self.names.is_synced();
        if may_take {
            if let Some(message) = self.postponed.take() {
                return self.take(message).await;
            }
            if let Some(frame) = self.frames.next_frame()? {
                return self.take(FrontendMessage::read(&frame)?).await;
            }
        }
        self.server.push().await?;
        self.incoming.clear();
        self.incoming.reserve(READ);
        tokio::select! {
            biased;
            answer = self.server.answers.next(&mut self.server.stream) => {
                let mut next = Some(answer.map_err(lost)?);
                while let Some(answer) = next {
                    self.pass(answer).await?;
                    next = self.server.answers.take().map_err(lost)?;
                }
                // Whether an approved statement happened is known when all of it was looked at.
                match self.contract {
                    Some(_) => Ok(()),
                    None => self.flush().await,
                }
            }
            read = self.reader.read_buf(&mut self.incoming),
                if may_take || self.frames.waiting() < MOST_WAITING => {
                match read {
                    Ok(0) | Err(_) => Err(Ended::Client),
                    Ok(_) => {
                        self.frames.push(&self.incoming);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Takes a message of the client's.
    async fn take(&mut self, message: FrontendMessage) -> Result<(), Ended> {
        if matches!(message, FrontendMessage::Terminate) {
            return Err(Ended::Client);
        }
        if self.copying.is_some() {
            return self.copy(message).await;
        }
        match message {
            FrontendMessage::Sync => {
                self.skipping = false;
                self.forward(&message).await
            }
            // Left over from copying that failed: a server does not heed it either.
            FrontendMessage::CopyData(_)
            | FrontendMessage::CopyDone
            | FrontendMessage::CopyFail(_) => Ok(()),
            _ if self.skipping => Ok(()),
            // A server answers both at once; here each segment has its own `Sync`, so that it is known
            // which of them an error belongs to.
            FrontendMessage::Query(_) if self.names.is_begun() => {
                self.postponed = Some(message);
                self.forward(&FrontendMessage::Sync).await
            }
            FrontendMessage::Query(ref text) => {
                let text = text.clone();
                self.query(message, &text).await
            }
            FrontendMessage::Parse { ref text, .. } => {
                if let Some(told) = self.secret_in(text) {
                    return self.refuse(&message, told).await;
                }
                match self.gate.inner.reader.read(text).await {
                    Ok(reading) => {
                        // Before `Bind`, where it is judged, stands in the middle of a segment.
                        self.look_up(&reading).await?;
                        self.forward(&message).await
                    }
                    // It runs nothing yet: the server's own words. `Bind` does not pass.
                    Err(Unreadable::Grammar { .. }) => self.forward(&message).await,
                    Err(why) => self.refuse_unreadable(&message, &why).await,
                }
            }
            FrontendMessage::Bind { .. } => self.bind(message).await,
            FrontendMessage::Describe(Target::Statement(ref name)) if name.is_empty() => {
                self.parse_again().await?;
                self.forward(&message).await
            }
            FrontendMessage::Close(Target::Statement(ref name)) => {
                self.prepared.remove(name);
                self.forward(&message).await
            }
            _ => self.forward(&message).await,
        }
    }

    async fn query(&mut self, message: FrontendMessage, text: &str) -> Result<(), Ended> {
        let reading = match self.gate.inner.reader.read(text).await {
            Ok(reading) => reading,
            Err(why @ Unreadable::Grammar { .. }) => {
                return self.complain(&message, text, &why).await;
            }
            Err(why) => return self.refuse_unreadable(&message, &why).await,
        };
        if self.server.status() == Status::Failed && is_ignored_after_failure(&reading) {
            return self.ignore().await;
        }
        self.look_up(&reading).await?;
        let written = reading;
        let reading = self.understand(&written).await;
        match self.judge(text, Vec::new(), &reading).await? {
            Judged::Refused(told) => self.refuse(&message, told).await,
            Judged::Permit(permit) => {
                let begun = self.begin_contract(&permit, &reading).await?;
                self.permits.push(*permit);
                if let Err(told) = begun {
                    return self.refuse(&message, told).await;
                }
                self.heed(&written, &reading);
                self.forward(&message).await
            }
        }
    }

    async fn bind(&mut self, message: FrontendMessage) -> Result<(), Ended> {
        let FrontendMessage::Bind {
            statement,
            parameters,
            parameter_formats,
            ..
        } = &message
        else {
            return Ok(());
        };
        let is_unnamed = statement.is_empty();
        let Some(statement) = self.names.prepared(statement) else {
            let told = names_error(NamesError::Statement);
            return self.refuse(&message, told).await;
        };
        let parameters = parameters
            .iter()
            .enumerate()
            .map(|(place, value)| {
                let format = parameter_formats
                    .get(place)
                    .or(match &parameter_formats[..] {
                        [one] => Some(one),
                        _ => None,
                    });
                let oid = statement.parameter_types.get(place).copied();
                match (value, format) {
                    (None, _) => Parameter::Null,
                    (Some(value), Some(Format::Binary)) => read_binary(oid.unwrap_or(0), value),
                    (Some(value), _) => Parameter::Text(value.clone()),
                }
            })
            .collect();
        let PreparedStatement { text, .. } = &*statement;
        let reading = match self.gate.inner.reader.read(text).await {
            Ok(reading) => reading,
            Err(why) => return self.refuse_unreadable(&message, &why).await,
        };
        self.look_up(&reading).await?;
        let written = reading;
        let reading = self.understand(&written).await;
        match self.judge(text, parameters, &reading).await? {
            Judged::Refused(told) => self.refuse(&message, told).await,
            Judged::Permit(permit) => {
                if permit.approved().is_some() {
                    if let Err(told) = self.stand_alone().await? {
                        self.permits.push(*permit);
                        return self.refuse(&message, told).await;
                    }
                    if self.skipping {
                        self.permits.push(*permit);
                        return Ok(());
                    }
                }
                let begun = self.begin_contract(&permit, &reading).await?;
                self.permits.push(*permit);
                if let Err(told) = begun {
                    return self.refuse(&message, told).await;
                }
                self.heed(&written, &reading);
                if is_unnamed {
                    self.parse_again().await?;
                }
                self.runs = true;
                self.forward(&message).await
            }
        }
    }

    /// Notes what a message does to names, and sends it.
    async fn forward(&mut self, message: &FrontendMessage) -> Result<(), Ended> {
        match self.names.forward(message) {
            Ok(_) => self.write(message).await,
            Err(why @ (NamesError::Statement | NamesError::TooMany)) => {
                self.refuse(message, names_error(why)).await
            }
            Err(why) => Err(Ended::Protocol(why.to_string())),
        }
    }

    async fn write(&mut self, message: &FrontendMessage) -> Result<(), Ended> {
        self.sent += self.server.queue(message).await? as u64;
        Ok(())
    }

    /// Passes what the server says.
    async fn pass(&mut self, answer: Answer) -> Result<(), Ended> {
        let (kind, message) = match answer {
            Answer::Whole(kind, message) => (kind, message),
            Answer::Part(bytes) => return self.give(&bytes).await,
        };
        let body = Answer::body(&message);
        match kind {
            b'1' | b'2' | b'3' => {
                self.names.confirmed(kind).map_err(unasked)?;
                if kind == b'1' && self.silent_parses > 0 {
                    self.silent_parses -= 1;
                    return Ok(());
                }
            }
            b'E' => return self.failed(&message).await,
            b'S' => {
                self.server.note_parameter(body);
                if let Some(name) = unpinned(&self.server) {
                    return Err(Ended::Protocol(format!(
                        "the setting {name} changed, under which Tagout reads statements"
                    )));
                }
            }
            b'G' => {
                self.names.copying();
                self.copying = Some(self.gate.inner.databases.authority().broker().stream());
            }
            b'Z' => {
                let status = status(body)?;
                self.server.status = status;
                self.names.ready(status).map_err(unasked)?;
                self.copying = None;
                self.refusal = None;
                self.silent_parses = 0;
                if std::mem::take(&mut self.silent) {
                    // The client has not sent its `Sync` yet, and what failed stays failed until then.
                    self.skipping = self.error.is_some();
                    return Ok(());
                }
                self.skipping = false;
                self.runs = false;
                self.settle().await?;
                self.functions_moved();
                match self.error.is_none() {
                    true => self.prepared.extend(self.preparing.drain(..)),
                    false => self.preparing.clear(),
                }
                self.finish(None);
                self.find_search_path().await?;
                if self.postponed.is_none() {
                    let status = self.server.status().byte();
                    let mut ready = Vec::new();
                    framed(&mut ready, b'Z', |out| out.push(status));
                    self.give(&ready).await?;
                }
                return Ok(());
            }
            b'C' => {
                let tag = text(&mut &*body).unwrap_or_default();
                if let Some((kind, rows)) = of_tag(&tag) {
                    let acts = self.readings.iter().flat_map(|reading| reading.acts());
                    // One was counted before it ran.
                    self.gate
                        .inner
                        .tally
                        .add(acts, kind, rows.saturating_sub(1));
                }
            }
            b'A' | b'D' | b'H' | b'I' | b'N' | b'T' | b'V' | b'c' | b'd' | b'n' | b's' | b't' => {}
            _ => {
                return Err(Ended::Server(
                    "the database sent a message that belongs nowhere here".to_owned(),
                ));
            }
        }
        self.give(&message).await
    }

    /// Where names are looked up from now on, asked of the server when it may have changed.
    async fn find_search_path(&mut self) -> Result<(), Ended> {
        if !self.path_may_move || self.server.status() == Status::Failed {
            return Ok(());
        }
        self.names.asked_between();
        let path = self.server.run("SHOW search_path").await?;
        self.search_path = path.single().map(str::to_owned);
        Ok(())
    }

    /// Records how what was let through ended.
    fn finish(&mut self, reason: Option<String>) {
        let error = self.error.take().or(reason);
        for permit in self.permits.drain(..) {
            permit.outcome(Outcome {
                status: None,
                error: error.clone(),
                request_bytes: self.sent,
                response_bytes: self.received,
            });
        }
        self.readings.clear();
        (self.sent, self.received) = (0, 0);
    }

    async fn give(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.received += bytes.len() as u64;
        self.out.extend_from_slice(bytes);
        match self.contract {
            Some(_) if self.out.len() > MOST_UNSETTLED => Err(Ended::Server(
                "an approved statement gave a longer answer than can be kept until it is settled"
                    .to_owned(),
            )),
            None if self.out.len() >= GATHERED => self.flush().await,
            _ => Ok(()),
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

fn lost(error: io::Error) -> Ended {
    Ended::Server(format!("the database's connection was lost: {error}"))
}

fn unasked(error: NamesError) -> Ended {
    Ended::Server(error.to_string())
}
