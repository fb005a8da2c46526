//! Asking the authority, for as long as that takes: while a statement waits for a person its client may
//! go away, cancel, or hold locks that others wait for.

use std::sync::Arc;
use std::time::Duration;

use tagout_authority::{OnHold, Permit};
use tagout_core::{DatabaseRequest, HoldId, Parameter};
use tagout_database::{Database, Reading, Told, held_too_long};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::contract::can_be_held;
use super::{Conversation, Ended, MOST_WAITING, READ};
use crate::Status;
use crate::damage::{Bound, Planned, Preview, preview};
use crate::gate::{Gate, Soon, Stream};
use crate::judging::{Asked, action};
use crate::refusal::{CANCELLED, NOT_ALLOWED, Severity, error, notice};

/// How long a statement may wait within an open transaction, whose locks others wait for.
const LONGEST_IN_TRANSACTION: Duration = Duration::from_secs(60);

/// How judging a message ended.
pub(super) enum Judged {
    Permit(Box<Permit<DatabaseRequest>>),
    Refused(Vec<u8>),
}

impl<S: Stream> Conversation<S> {
    /// Asks the authority, while the client may go away or cancel.
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
                search_path: self.search_path.clone(),
                reading,
                prepared: &self.prepared,
                tally: &inner.tally,
            },
            &self.database,
            inner.databases.generation(&self.database),
            inner.databases.authority().broker(),
        );
        let (teller, mut told) = mpsc::unbounded_channel();
        let waiting = Waiting {
            gate: self.gate.clone(),
            database: Arc::clone(&self.database),
            reading: Arc::clone(reading),
            request: action.request().clone(),
            is_in_transaction: self.server.status() != Status::Idle,
            bound: std::sync::Mutex::default(),
            teller,
        };
        let cancel = Arc::clone(&self.cancel);
        let mut cancelled = std::pin::pin!(cancel.wanted.notified());
        let mut judging = std::pin::pin!(inner.databases.authority().judge_seen(action, &waiting));
        let longest = match self.server.status() {
            Status::Idle => Duration::MAX,
            Status::Transaction | Status::Failed => LONGEST_IN_TRANSACTION,
        };
        let mut held = None;
        let mut too_long = std::pin::pin!(sleep_at_most(longest));
        loop {
            self.incoming.clear();
            self.incoming.reserve(READ);
            tokio::select! {
                biased;
                verdict = &mut judging => return Ok(match verdict {
                    Ok(permit) => Judged::Permit(Box::new(permit)),
                    Err(refusal) => {
                        Judged::Refused(error(Severity::Error, NOT_ALLOWED, &Told::from(&refusal)))
                    }
                }),
                Some(hold) = told.recv() => {
                    let told = Told::new(
                        format!("Tagout holds this statement as {hold} until a person has answered."),
                        format!("Your user can run `tagout approve {hold}` in another terminal."),
                    );
                    held = Some(hold);
                    // What is in front of it is not kept back by a statement that waits.
                    self.server.push().await?;
                    self.out.extend_from_slice(&notice(&told));
                    self.flush().await?;
                }
                () = &mut cancelled => {
                    let told = Told::new(
                        "canceling statement due to user request while it waited for a person",
                        "Send it again when it is wanted.",
                    );
                    return Ok(Judged::Refused(error(Severity::Error, CANCELLED, &told)));
                }
                () = &mut too_long, if held.is_some() => {
                    return Ok(Judged::Refused(error(
                        Severity::Error,
                        NOT_ALLOWED,
                        &Told::from(&held_too_long(held.as_ref())),
                    )));
                }
                read = self.reader.read_buf(&mut self.incoming), if self.frames.waiting() < MOST_WAITING => {
                    match read {
                        // An approval must not release a statement whose answer nobody reads.
                        Ok(0) | Err(_) => return Err(Ended::Client),
                        Ok(_) => self.frames.push(&self.incoming),
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
            Err(why) => {
                return Preview {
                    lines: vec![format!("cannot be previewed: {why}")],
                    bound: None,
                };
            }
        };
        let planned = Planned {
            statements: &self.reading.statements,
            text: &self.request.text,
            parameters: &self.request.parameters,
            search_path: self.request.search_path.as_deref(),
        };
        let preview = preview(&mut side, &planned).await;
        // Its answer was had; how it ends does not matter.
        let _ = side.stream.shutdown().await;
        preview
    }
}

impl Waiting {
    /// What is left of what it takes, once it ran.
    fn way_back(&self, bound: Option<&Bound>) -> Option<String> {
        if !can_be_held(&self.reading) {
            return Some(
                "It cannot be held to these numbers, and nothing of what it takes is kept: it is no single \
                 statement of a transaction."
                    .to_owned(),
            );
        }
        let Some(bound) = bound else {
            return Some(
                "It is held to nothing, and nothing of what it takes is kept: nobody could look beforehand."
                    .to_owned(),
            );
        };
        if let Some(why) = &bound.unkept {
            return Some(format!(
                "Nothing of what it takes is kept: {why}. Approved, it runs all the same."
            ));
        }
        (!bound.tables.is_empty() || !bound.goes_along.is_empty()).then(|| {
            format!(
                "All of that is kept before it runs, or it does not run; `tagout undo {} --database` puts it back.",
                self.gate.inner.databases.authority().session()
            )
        })
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
            lines.extend(self.way_back(preview.bound.as_ref()));
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
        // A client that is gone needs no notice.
        let _ = self.teller.send(hold.clone());
    }
}

async fn sleep_at_most(longest: Duration) {
    match longest {
        Duration::MAX => std::future::pending().await,
        longest => sleep(longest).await,
    }
}
