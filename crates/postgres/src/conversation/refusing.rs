//! Refusing a message: it is replaced by one that no server can read, and the server's error by the
//! refusal, so that everything behind it happens as behind any error.

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tagout_catalog_sql::Unreadable;
use tagout_database::{Reading, Told};

use super::{Conversation, Ended};
use crate::FrontendMessage;
use crate::answers::Complaint;
use crate::gate::Stream;
use crate::message::framed;
use crate::names::NamesError;
use crate::refusal::{NOT_ALLOWED, Severity, error};

/// A message that no server can read, and what its error is to be replaced by.
pub(super) struct Poison {
    mark: String,
    told: Vec<u8>,
}

impl<S: Stream> Conversation<S> {
    /// What a client is told that sends a secret in a text which is not judged where it arrives: also one
    /// that is only parsed stands in the server's memory and logs.
    pub(super) fn secret_in(&self, text: &str) -> Option<Vec<u8>> {
        let known = self.gate.inner.databases.authority().broker().known();
        let hit = known.find(text.as_bytes())?;
        let told = Told::new(
            format!(
                "Tagout denied this: the statement holds the value of {}",
                hit.label
            ),
            "Take the value out of the statement.",
        );
        Some(error(Severity::Error, NOT_ALLOWED, &told))
    }

    /// A `Query` that PostgreSQL's grammar does not have, as [`tagout_catalog_sql`] knows it: the server's
    /// own words about it, with the place, are what its client expects. It is asked to parse it and
    /// nothing more; should it be able to, as another version, nobody here can say what it does.
    pub(super) async fn complain(
        &mut self,
        message: &FrontendMessage,
        text: &str,
        why: &Unreadable,
    ) -> Result<(), Ended> {
        if let Some(told) = self.secret_in(text) {
            return self.refuse(message, told).await;
        }
        self.names.queried();
        let Some(complaint) = self.server.complaint_about(text).await? else {
            return self.refuse_unreadable(message, why).await;
        };
        self.answer(&complaint).await
    }

    /// What a server says to any statement in a transaction that has failed. Nobody is asked about it.
    pub(super) async fn ignore(&mut self) -> Result<(), Ended> {
        let mut told = Told::new(
            "current transaction is aborted, commands ignored until end of transaction block",
            "",
        );
        told.hint = None;
        self.names.queried();
        self.answer(&error(Severity::Error, "25P02", &told)).await
    }

    /// Answers a `Query` that does not go to the server.
    async fn answer(&mut self, complaint: &[u8]) -> Result<(), Ended> {
        self.give(complaint).await?;
        let status = self.server.status().byte();
        let mut ready = Vec::new();
        framed(&mut ready, b'Z', |out| out.push(status));
        self.give(&ready).await?;
        self.flush().await
    }

    pub(super) async fn refuse_unreadable(
        &mut self,
        message: &FrontendMessage,
        why: &Unreadable,
    ) -> Result<(), Ended> {
        // A statement that no server would read either: let the client see that, as from a server.
        let told = Told::new(
            format!("Tagout denied this: {why}."),
            "Write the statement in a way that PostgreSQL's own grammar reads.",
        );
        let code = match why {
            Unreadable::Grammar { .. } => "42601",
            _ => NOT_ALLOWED,
        };
        self.refuse(message, error(Severity::Error, code, &told))
            .await
    }

    /// Makes the server answer with an error where `message` would have been, which becomes `told`.
    pub(super) async fn refuse(
        &mut self,
        message: &FrontendMessage,
        told: Vec<u8>,
    ) -> Result<(), Ended> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Ended::Server("no random numbers".to_owned()))?;
        let mark = format!("tagout_refused_{:016x}", u64::from_be_bytes(random));
        self.refusal = Some(Poison {
            mark: mark.clone(),
            told,
        });
        match message {
            FrontendMessage::Query(_) => {
                let marked = FrontendMessage::Query(mark);
                let noted = self.names.forward(&marked);
                noted.map_err(|why| Ended::Protocol(why.to_string()))?;
                self.write(&marked).await
            }
            _ => {
                // Behind it nothing counts until `Sync`, as behind any error.
                self.skipping = true;
                self.write(&FrontendMessage::Parse {
                    name: String::new(),
                    text: mark,
                    parameter_types: Vec::new(),
                })
                .await?;
                self.write(&FrontendMessage::Flush).await
            }
        }
    }

    pub(super) async fn failed(&mut self, message: &Bytes) -> Result<(), Ended> {
        let complaint = Complaint::read(message);
        self.names.failed();
        self.copying = None;
        self.skipping = !self.names.is_synced();
        let poison = self
            .refusal
            .take()
            .filter(|poison| complaint.message.contains(&poison.mark));
        match poison {
            Some(poison) => {
                self.error = Some("refused".to_owned());
                self.give(&poison.told).await
            }
            // The server's own: something in front of what was refused failed first.
            None => {
                self.error = Some(complaint.code);
                self.give(message).await
            }
        }
    }
}

/// Whether a server ignores all of this in a transaction that has failed: it is no text that may end it.
pub(super) fn is_ignored_after_failure(reading: &Reading) -> bool {
    const ENDS: [&str; 4] = ["begin", "commit", "rollback", "prepare_transaction"];
    !reading.statements.is_empty() && !reading.acts().any(|act| ENDS.contains(&act.name.as_str()))
}

pub(super) fn names_error(why: NamesError) -> Vec<u8> {
    let code = match why {
        NamesError::Statement => "26000",
        _ => "53400",
    };
    let told = Told::new(
        format!("Tagout: {why}"),
        "Statements that SQL prepares with PREPARE are used with EXECUTE.",
    );
    error(Severity::Error, code, &told)
}
