//! An approved statement is held to what was shown. Rows are locked, counted and kept in the transaction that
//! then takes them, and taken back when more were touched; tables that are emptied or dropped are locked,
//! counted and kept first, since MySQL commits by itself. What has no bound has no such hold; whoever approved
//! it was told.

use serde_json::json;
use tagout_authority::Permit;
use tagout_core::{DatabaseRequest, HoldId};
use tagout_database::Reading;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Conversation, Ended};
use crate::answer::Answer;
use crate::damage::{DamageError, Planned, Snapshot, snapshot};
use crate::packet::write_message;
use crate::refusal::{Reason, error};
use crate::server::ServerError;

/// What the gate did around an approved statement.
enum Around {
    /// Nothing but lifting the session's being read-only.
    Nothing,
    /// A transaction of the gate's own.
    Transaction,
    /// A savepoint in the client's transaction.
    Savepoint,
    /// Tables are locked.
    Locks,
}

/// What an approved statement is held to.
pub(super) struct Contract {
    around: Around,
    snapshot: Option<Snapshot>,
    /// Where its answer begins in what goes to the client.
    answer: usize,
    hold: HoldId,
}

impl Contract {
    /// Whether the transaction is the gate's own.
    pub(super) fn is_around(&self) -> bool {
        matches!(self.around, Around::Transaction)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<S> {
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
        let bound = self.gate.inner.databases.take_shown(&hold);
        if self.is_protected {
            self.server
                .ask("SET SESSION TRANSACTION READ WRITE")
                .await?;
        }
        let mut contract = Contract {
            around: Around::Nothing,
            snapshot: None,
            answer: self.out.len(),
            hold,
        };
        let Some(bound) = bound else {
            self.contract = Some(contract);
            return Ok(Ok(()));
        };
        let status = self.server.status;
        let is_definition = bound.tables.iter().any(|table| table.fate.is_definition());
        let (begin, around) = match () {
            () if is_definition => {
                let tables: Vec<_> = bound
                    .tables
                    .iter()
                    .map(|table| format!("`{}` WRITE", table.name.replace('`', "``")))
                    .collect();
                let begin = format!("LOCK TABLES {}", tables.join(", "));
                (begin, Around::Locks)
            }
            () if status.is_in_transaction() || !status.commits_by_itself() => {
                ("SAVEPOINT tagout_contract".to_owned(), Around::Savepoint)
            }
            () => (
                "START TRANSACTION READ WRITE".to_owned(),
                Around::Transaction,
            ),
        };
        contract.around = around;
        let request = permit.action().request();
        let planned = Planned {
            statements: &reading.statements,
            text: &request.text,
            parameters: &request.parameters,
            database: &request.database,
        };
        let into = self.gate.kept().join(contract.hold.as_str());
        let kept = async {
            self.server.ask(&begin).await?;
            // What a condition says of the time is the same for what is kept and what is taken.
            self.server
                .ask("SET SESSION timestamp = UNIX_TIMESTAMP()")
                .await?;
            snapshot(&mut self.server, &bound, &planned, &into).await
        };
        match kept.await {
            Ok(snapshot) => {
                contract.snapshot = Some(snapshot);
                self.contract = Some(contract);
                Ok(Ok(()))
            }
            Err(DamageError::Server(why @ (ServerError::Connection(_) | ServerError::TooSlow))) => {
                Err(why.into())
            }
            Err(why) => {
                self.end_around(&contract.around, false).await?;
                let why = self
                    .gate
                    .inner
                    .databases
                    .authority()
                    .broker()
                    .redact_text(&why.to_string());
                let told = format!(
                    "Tagout did not run this: what it would destroy could not be kept: {why}. Nothing has changed. Send it again, what it would do now is shown anew; or ask your user to do it outside of this session, or take less at a time."
                );
                Ok(Err(error(Reason::NotAllowed, told)))
            }
        }
    }

    /// Looks at what an approved statement did, and makes it so or takes it back.
    pub(super) async fn settle(&mut self, answer: &mut Answer) -> Result<(), Ended> {
        let Some(mut contract) = self.contract.take() else {
            return Ok(());
        };
        let Some(mut snapshot) = contract.snapshot.take() else {
            return self.end_around(&contract.around, true).await;
        };
        if answer.error.is_some() {
            // The server's own error, which the client has.
            let _ = snapshot.discard();
            return self.end_around(&contract.around, false).await;
        }
        let why = match contract.around {
            // It has happened; what is kept is the only way back.
            Around::Locks | Around::Nothing => None,
            Around::Transaction | Around::Savepoint => {
                let touched = answer.touched.iter().copied().max().unwrap_or_default();
                let kept = snapshot.rows_of_target();
                match touched > kept {
                    true => Some(format!(
                        "{touched} rows were removed or changed, and {kept} of them were kept before"
                    )),
                    false => match snapshot.settle(&mut self.server).await {
                        Ok(()) => None,
                        Err(DamageError::Server(ServerError::Connection(why))) => {
                            return Err(why.into());
                        }
                        Err(why) => Some(why.to_string()),
                    },
                }
            }
        };
        let ended = self.end_around(&contract.around, why.is_none()).await;
        let authority = self.gate.inner.databases.authority();
        let Some(why) = why else {
            ended?;
            let fields = json!({
                "hold": contract.hold,
                "hash": snapshot.hash(),
                "rows": snapshot.rows(),
            });
            // It has happened and is kept; a ledger that fails now refuses the next statement.
            let _ = authority.record().append("database_kept", fields).await;
            return Ok(());
        };
        ended?;
        let why = authority.broker().redact_text(&why);
        let fields = json!({"hold": contract.hold, "reason": why});
        let _ = authority.record().append("taken_back", fields).await;
        let _ = snapshot.discard();
        self.out.truncate(contract.answer);
        let told = format!(
            "Tagout took this back: {why}. It was approved for what was shown, and did something else. Send it again; what it would do now is shown anew."
        );
        let told = error(Reason::NotAllowed, told);
        answer.error = Some(crate::Complaint::read(&told));
        answer.touched.clear();
        self.sequence = write_message(&mut self.out, self.sequence, &told);
        Ok(())
    }

    /// Ends what the gate did around a statement.
    async fn end_around(&mut self, around: &Around, is_good: bool) -> Result<(), Ended> {
        let end = match (around, is_good) {
            (Around::Nothing, _) => None,
            (Around::Transaction, true) => Some("COMMIT"),
            (Around::Transaction, false) => Some("ROLLBACK"),
            (Around::Savepoint, true) => Some("RELEASE SAVEPOINT tagout_contract"),
            (Around::Savepoint, false) => Some("ROLLBACK TO SAVEPOINT tagout_contract"),
            (Around::Locks, _) => Some("UNLOCK TABLES"),
        };
        if let Some(end) = end {
            match self.server.ask(end).await {
                Ok(_) => {}
                // A deadlock rolled everything back, savepoints too.
                Err(ServerError::Said(_)) if !is_good => {}
                Err(why) => return Err(why.into()),
            }
            self.server.ask("SET SESSION timestamp = DEFAULT").await?;
        }
        if self.is_protected {
            self.server.ask("SET SESSION TRANSACTION READ ONLY").await?;
        }
        Ok(())
    }
}
