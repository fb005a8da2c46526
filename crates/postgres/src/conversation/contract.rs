//! An approved statement is held to what was shown: it runs in a transaction, what it takes is kept
//! before, and it is taken back when it took more. A statement that is no part of a transaction, or
//! stands with others in one text, or could not be previewed, has no such hold; whoever approved it was
//! told.

use serde_json::json;
use tagout_authority::Permit;
use tagout_core::{DatabaseRequest, HoldId};
use tagout_database::{Reading, Told};

use super::{Conversation, Ended};
use crate::damage::{Bound, DamageError, Planned, Snapshot, Watch, check, snapshot, watch};
use crate::gate::Stream;
use crate::refusal::{NOT_ALLOWED, Severity, error};
use crate::{FrontendMessage, ServerError, Status};

/// What an approved statement is held to.
pub(super) struct Contract {
    bound: Bound,
    watch: Watch,
    /// Of a statement that was shown with a way back.
    snapshot: Option<Snapshot>,
    /// The transaction is the gate's own, around this statement.
    is_around: bool,
    /// Where its answer begins in what goes to the client.
    answer: usize,
    hold: HoldId,
}

/// Whether a text can be held to anything: one statement that a transaction takes back.
pub(super) fn can_be_held(reading: &Reading) -> bool {
    matches!(reading.statements.as_slice(), [one] if one.transactional)
}

/// Whether it is about a transaction itself, which the gate's own must not stand around, or only about
/// settings, some of which have to come before any question in a transaction.
fn steers(reading: &Reading) -> bool {
    let mut acts = reading.acts();
    acts.all(|act| act.name == "set" || TRANSACTIONS.contains(&act.name.as_str()))
}

/// Whether transactions begin or end within it. A setting that is lifted for it would come back with one
/// that is rolled back, so a protected database is not lifted for such a text.
fn has_transactions(reading: &Reading) -> bool {
    let mut acts = reading.acts();
    acts.any(|act| TRANSACTIONS.contains(&act.name.as_str()))
}

/// What is said to transactions.
const TRANSACTIONS: [&str; 5] = [
    "begin",
    "commit",
    "prepare_transaction",
    "rollback",
    "savepoint",
];

impl<S: Stream> Conversation<S> {
    /// Prepares the server for a statement that a person approved; whatever was allowed without one runs
    /// as it is. The inner error is for the client: nothing has happened then.
    pub(super) async fn begin_contract(
        &mut self,
        permit: &Permit<DatabaseRequest>,
        reading: &Reading,
    ) -> Result<Result<(), Vec<u8>>, Ended> {
        let Some(hold) = permit.approved().cloned() else {
            return Ok(Ok(()));
        };
        for act in reading.acts() {
            self.gate.inner.tally.looked_at(act);
        }
        self.names.asked_between();
        let bound = self.gate.inner.databases.take_shown(&hold);
        let is_around = self.server.status() == Status::Idle;
        let Some(bound) = bound.filter(|_| can_be_held(reading) && !steers(reading)) else {
            if is_around && self.is_protected() && !has_transactions(reading) {
                self.server
                    .run("SET default_transaction_read_only = off")
                    .await?;
                self.is_lifted = true;
            }
            return Ok(Ok(()));
        };
        if is_around {
            self.server.run("BEGIN READ WRITE").await?;
        }
        let request = permit.action().request();
        let planned = Planned {
            statements: &reading.statements,
            text: &request.text,
            parameters: &request.parameters,
            search_path: request.search_path.as_deref(),
        };
        let kept = async {
            let into = self.gate.kept().join(hold.as_str());
            let watch = watch(&mut self.server).await?;
            let snapshot = match bound.unkept {
                None => Some(snapshot(&mut self.server, &bound, &planned, &into).await?),
                Some(_) => None,
            };
            Ok::<_, DamageError>((watch, snapshot))
        };
        let (watch, snapshot) = match kept.await {
            Ok(kept) => kept,
            Err(why) => {
                self.take_back(is_around).await?;
                let told = self.not_kept(&why.to_string());
                return Ok(Err(told));
            }
        };
        self.contract = Some(Contract {
            bound,
            watch,
            snapshot,
            is_around,
            answer: self.out.len(),
            hold,
        });
        Ok(Ok(()))
    }

    /// Looks at what an approved statement did, at the end of its segment, and makes it so or takes it
    /// back.
    pub(super) async fn settle(&mut self) -> Result<(), Ended> {
        if std::mem::take(&mut self.is_lifted) {
            self.server
                .run("SET default_transaction_read_only = on")
                .await?;
        }
        let Some(mut contract) = self.contract.take() else {
            return Ok(());
        };
        self.names.asked_between();
        let is_around = contract.is_around;
        if self.error.is_some() {
            // The server's own error, which the client has.
            self.discard(contract.snapshot);
            return match is_around {
                true => self.take_back(true).await,
                false => Ok(()),
            };
        }
        let checked = check(
            &mut self.server,
            &contract.bound,
            &contract.watch,
            contract.snapshot.as_mut(),
        );
        let why = match checked.await {
            Err(breach) => Some(breach.to_string()),
            Ok(()) if is_around => match self.server.run("COMMIT").await {
                Ok(_) => None,
                Err(ServerError::Said { message, .. }) => Some(message),
                Err(lost) => return Err(lost.into()),
            },
            Ok(()) => None,
        };
        let authority = self.gate.inner.databases.authority();
        let Some(why) = why else {
            if let Some(snapshot) = contract.snapshot {
                let fields = json!({
                    "hold": contract.hold,
                    "hash": snapshot.hash(),
                    "rows": snapshot.rows(),
                });
                // It has happened and is kept; a ledger that fails now refuses the next statement.
                let _ = authority.record().append("database_kept", fields).await;
            }
            return Ok(());
        };
        let why = authority.broker().redact_text(&why);
        let fields = json!({"hold": contract.hold, "reason": why});
        let _ = authority.record().append("taken_back", fields).await;
        self.discard(contract.snapshot);
        self.take_back(is_around).await?;
        self.out.truncate(contract.answer);
        self.error = Some("taken back".to_owned());
        let told = Told::new(
            format!("Tagout took this back: {why}"),
            "It was approved for what was shown, and did something else. Send it again; what it would do now is shown anew.",
        );
        self.give(&error(Severity::Error, NOT_ALLOWED, &told)).await
    }

    /// Undoes what ran: by rolling the gate's own transaction back, or by failing the client's, which can
    /// then only be rolled back.
    async fn take_back(&mut self, is_around: bool) -> Result<(), Ended> {
        let spoken = match is_around {
            true => self.server.run("ROLLBACK").await,
            false => self.server.run("tagout_takes_this_back").await,
        };
        match spoken {
            Ok(_) | Err(ServerError::Said { .. }) => Ok(()),
            Err(lost) => Err(lost.into()),
        }
    }

    fn discard(&self, snapshot: Option<Snapshot>) {
        // A snapshot of what did not happen does no harm but for its room.
        let _ = snapshot.map(Snapshot::discard);
    }

    fn not_kept(&self, why: &str) -> Vec<u8> {
        let why = self
            .gate
            .inner
            .databases
            .authority()
            .broker()
            .redact_text(why);
        let told = Told::new(
            format!("Tagout did not run this: what it would destroy could not be kept: {why}"),
            "Nothing has changed. Ask your user to do it outside of this session, or take less at a time.",
        );
        error(Severity::Error, NOT_ALLOWED, &told)
    }

    /// Ends the segment at the server, so that the gate can ask it before an approved statement, which
    /// its client may have sent behind the preparing of it and nothing else.
    pub(super) async fn stand_alone(&mut self) -> Result<Result<(), Vec<u8>>, Ended> {
        if !self.names.is_begun() {
            return Ok(Ok(()));
        }
        if self.runs {
            let told = Told::new(
                "Tagout did not run this: other statements run in front of it in the same pipeline",
                "Send it by itself, and wait for what is in front of it.",
            );
            return Ok(Err(error(Severity::Error, NOT_ALLOWED, &told)));
        }
        self.silent = true;
        self.forward(&FrontendMessage::Sync).await?;
        self.server.push().await?;
        while self.silent {
            let answer = self.server.answers.next(&mut self.server.stream).await;
            self.pass(answer.map_err(super::lost)?).await?;
        }
        Ok(Ok(()))
    }

    /// Prepares the client's unnamed statement once more, where the gate's questions have destroyed it.
    pub(super) async fn parse_again(&mut self) -> Result<(), Ended> {
        let Some(lost) = self.names.lost() else {
            return Ok(());
        };
        self.silent_parses += 1;
        self.forward(&FrontendMessage::Parse {
            name: String::new(),
            text: lost.text.clone(),
            parameter_types: lost.parameter_types.clone(),
        })
        .await
    }
}
