//! Asking the authority, for as long as that takes: while a statement waits for a person its client may
//! go away, be interrupted, or hold locks that others wait for. MySQL has no notices, so a client that waits
//! is told nothing until there is an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tagout_authority::{OnHold, Permit};
use tagout_core::{DatabaseRequest, HoldId, Parameter};
use tagout_database::{Database, Reading, held_too_long};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Conversation, Ended, MOST_WAITING, READ};
use crate::Command;
use crate::damage::{Bound, Planned, Preview, preview};
use crate::gate::{Gate, Soon};
use crate::judging::{Asked, action};
use crate::refusal::{Reason, error, refused};

/// How long a statement may wait within an open transaction, whose locks others wait for.
const LONGEST_IN_TRANSACTION: Duration = Duration::from_secs(60);

/// How judging a command ended.
pub(super) enum Judged {
    Permit(Box<Permit<DatabaseRequest>>),
    Refused(Vec<u8>),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<S> {
    /// Asks the authority, while the client may go away or be interrupted.
    pub(super) async fn judge(
        &mut self,
        text: &str,
        parameters: Vec<Parameter>,
        reading: &Arc<Reading>,
    ) -> Result<Judged, Ended> {
        let inner = Arc::clone(&self.gate.inner);
        let action = action(
            Asked {
                text,
                parameters,
                reading,
                tally: &inner.tally,
            },
            &self.database,
            inner.databases.generation(&self.database),
            inner.databases.authority().broker(),
        );
        let is_in_transaction = self.server.status.is_in_transaction();
        let (teller, mut told) = mpsc::unbounded_channel();
        let waiting = Waiting {
            gate: self.gate.clone(),
            database: Arc::clone(&self.database),
            reading: Arc::clone(reading),
            request: action.request().clone(),
            is_in_transaction,
            bound: std::sync::Mutex::default(),
            teller,
        };
        let cancel = Arc::clone(&self.cancel);
        let mut cancelled = std::pin::pin!(cancel.wanted.notified());
        let mut judging = std::pin::pin!(inner.databases.authority().judge_seen(action, &waiting));
        let mut held: Option<HoldId> = None;
        let mut too_long = std::pin::pin!(sleep_at_most(
            is_in_transaction.then_some(LONGEST_IN_TRANSACTION)
        ));
        let mut bytes = BytesMut::with_capacity(READ);
        loop {
            bytes.clear();
            tokio::select! {
                biased;
                verdict = &mut judging => return Ok(match verdict {
                    Ok(permit) => Judged::Permit(Box::new(permit)),
                    Err(refusal) => Judged::Refused(refused(&refusal)),
                }),
                Some(hold) = told.recv() => held = Some(hold),
                () = &mut cancelled => {
                    let told = "Query execution was interrupted while it waited for a person. Send it again when it is wanted.";
                    return Ok(Judged::Refused(error(Reason::Cancelled, told)));
                }
                () = &mut too_long, if held.is_some() => {
                    return Ok(Judged::Refused(refused(&held_too_long(held.as_ref()))));
                }
                read = self.reader.read_buf(&mut bytes), if self.packets.waiting() < MOST_WAITING => {
                    match read {
                        // An approval must not release a statement whose answer nobody reads.
                        Ok(0) | Err(_) => return Err(Ended::Client),
                        Ok(_) => self.packets.push(&bytes),
                    }
                }
            }
        }
    }
}

/// What is at hand while a statement waits for a person.
struct Waiting {
    gate: Gate,
    database: Arc<Database>,
    reading: Arc<Reading>,
    request: DatabaseRequest,
    is_in_transaction: bool,
    /// What was shown, and so what an approval will cover.
    bound: std::sync::Mutex<Option<Bound>>,
    teller: mpsc::UnboundedSender<HoldId>,
}

impl Waiting {
    async fn look(&self) -> Preview {
        let mut side = match self.gate.side(&self.database).await {
            Ok(side) => side,
            Err(why) => return Preview::unseen(why),
        };
        let planned = Planned {
            statements: &self.reading.statements,
            text: &self.request.text,
            parameters: &self.request.parameters,
            database: &self.database.endpoint.database,
        };
        let preview = preview(&mut side, &planned).await;
        // Its answer was had; how it ends does not matter.
        let _ = side.send(&Command::Quit).await;
        preview
    }
}

impl OnHold for Waiting {
    fn preview(&self) -> Soon<'_, Vec<String>> {
        Box::pin(async {
            let broker = self.gate.inner.databases.authority().broker();
            let preview = self.look().await;
            let mut lines: Vec<_> = preview
                .lines
                .iter()
                .map(|line| broker.redact_text(line))
                .collect();
            if self.is_in_transaction {
                lines.push(
                    "It stands in an open transaction, whose own changes are not in these numbers."
                        .to_owned(),
                );
            }
            if preview.bound.is_none() {
                lines.push(
                    "It cannot be held to any numbers, and nothing of what it takes is kept."
                        .to_owned(),
                );
            }
            lines.extend(self.reading.reasons());
            let tally = &self.gate.inner.tally;
            lines.extend(tally.too_much(self.reading.acts()));
            if let Ok(mut bound) = self.bound.lock() {
                *bound = preview.bound;
            }
            lines
        })
    }

    fn held(&self, hold: &HoldId) {
        let bound = self.bound.lock().ok().and_then(|mut bound| bound.take());
        self.gate.inner.databases.remember(hold, bound);
        // A client that is gone needs no telling.
        let _ = self.teller.send(hold.clone());
    }
}

async fn sleep_at_most(longest: Option<Duration>) {
    match longest {
        None => std::future::pending().await,
        Some(longest) => sleep(longest).await,
    }
}
