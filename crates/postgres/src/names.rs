//! Which statement a name means in the server. A gate that decides on what it *believes* a name to
//! mean is passed by making the two differ: a `Close` that the server skipped behind an error, a
//! `Parse` that failed because the name was taken. So a name changes only when the server has
//! confirmed it.
//!
//! Two rules make that enough. Within a segment (up to `Sync`) a name may be used before it is
//! confirmed: had the change failed, the server would skip the use as well. Nothing of the next
//! segment is forwarded before the server's `ReadyForQuery`, so no use relies on a change of a segment
//! that failed. Statements that SQL prepares (`PREPARE`) are not known here, and a statement that is not
//! known cannot be used. A portal can: whoever made it, `Bind` or `DECLARE`, its query was judged then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::{FrontendMessage, Target};

/// Statements and portals that a client may have at a time, each.
const MOST_NAMES: usize = 10_000;
/// What their texts may come to, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// A statement as it was parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct PreparedStatement {
    /// Its text.
    pub text: String,
    /// The OIDs that the client gave for its parameters.
    pub parameter_types: Vec<u32>,
}

/// What `ReadyForQuery` says of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No transaction.
    Idle,
    /// In one.
    Transaction,
    /// In one that failed.
    Failed,
}

impl Status {
    /// Its byte in `ReadyForQuery`.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Transaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// What a client or the server did that does not fit. The first two are answered with an error as the
/// server would; the others end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// SQLSTATE 26000.
    #[error("the prepared statement is not known to this connection; prepare it with Parse first")]
    Statement,
    /// Too much is kept.
    #[error("too many statements are prepared; close some")]
    TooMany,
    /// A message before the answer to an earlier segment.
    #[error("a message of the next segment came before the answer to Sync")]
    NotReady,
    /// An answer to nothing that was asked.
    #[error("the server confirmed something that was not asked for")]
    Unasked,
}

/// The names of one connection.
#[derive(Debug, Default)]
pub struct Names {
    statements: HashMap<String, Arc<PreparedStatement>>,
    portals: HashMap<String, Arc<PreparedStatement>>,
    /// The client's unnamed statement, where a question of the gate's own has destroyed it in the server.
    lost: Option<Arc<PreparedStatement>>,
    pending: VecDeque<Change>,
    /// The segment has messages.
    begun: bool,
    /// The segment has its `Sync`.
    synced: bool,
    /// The segment is a `Query`, which is its own `Sync`.
    simple: bool,
}

#[derive(Debug)]
enum Change {
    Parse(String, Arc<PreparedStatement>),
    Bind(String, Arc<PreparedStatement>),
    Close(Target),
    /// One of those, by the type byte of its confirmation, after which [`Names::forget_all`] came.
    Forgotten(u8),
}

impl Names {
    /// Notes a message that is about to be forwarded, and gives the statement that it makes, uses or
    /// runs. `None` for messages that name none.
    ///
    /// # Errors
    /// The message must not be forwarded.
    pub fn forward(
        &mut self,
        message: &FrontendMessage,
    ) -> Result<Option<Arc<PreparedStatement>>, NamesError> {
        if self.synced {
            return Err(NamesError::NotReady);
        }
        match message {
            FrontendMessage::Parse { name, .. }
            | FrontendMessage::Close(Target::Statement(name))
                if name.is_empty() =>
            {
                self.lost = None;
            }
            FrontendMessage::Query(_) => self.lost = None,
            _ => {}
        }
        match message {
            FrontendMessage::Parse {
                name,
                text,
                parameter_types,
            } => {
                let statement = Arc::new(PreparedStatement {
                    text: text.clone(),
                    parameter_types: parameter_types.clone(),
                });
                self.has_room(&statement)?;
                self.pending
                    .push_back(Change::Parse(name.clone(), Arc::clone(&statement)));
                Ok(Some(statement))
            }
            FrontendMessage::Bind {
                portal, statement, ..
            } => {
                let statement = self.statement(statement).ok_or(NamesError::Statement)?;
                self.has_room(&statement)?;
                self.pending
                    .push_back(Change::Bind(portal.clone(), Arc::clone(&statement)));
                Ok(Some(statement))
            }
            FrontendMessage::Describe(target) => self.target(target),
            FrontendMessage::Execute { portal, .. } => Ok(self.portal(portal)),
            FrontendMessage::Close(target) => {
                // Closing what does not exist is no error in the protocol.
                self.has_place()?;
                self.pending.push_back(Change::Close(target.clone()));
                Ok(None)
            }
            FrontendMessage::Query(_) => {
                // Behind an error of its segment the server would skip it, and its answer never come.
                if self.begun {
                    return Err(NamesError::NotReady);
                }
                // It destroys the unnamed statement and portal, whatever it says.
                self.statements.remove("");
                self.portals.remove("");
                self.synced = true;
                self.simple = true;
                Ok(None)
            }
            FrontendMessage::Sync => {
                self.synced = true;
                Ok(None)
            }
            _ => Ok(None),
        }
        .inspect(|_| self.begun = true)
    }

    /// The server answered `ParseComplete`, `BindComplete` or `CloseComplete`, by their type bytes.
    ///
    /// # Errors
    /// It was not asked for: the connection ends.
    pub fn confirmed(&mut self, kind: u8) -> Result<(), NamesError> {
        match (kind, self.pending.pop_front()) {
            (b'1', Some(Change::Parse(name, statement))) => {
                self.statements.insert(name, statement);
            }
            (b'2', Some(Change::Bind(portal, statement))) => {
                self.portals.insert(portal, statement);
            }
            (b'3', Some(Change::Close(Target::Statement(name)))) => {
                self.statements.remove(&name);
            }
            (b'3', Some(Change::Close(Target::Portal(name)))) => {
                self.portals.remove(&name);
            }
            (kind, Some(Change::Forgotten(expected))) if kind == expected => (),
            _ => return Err(NamesError::Unasked),
        }
        Ok(())
    }

    /// The server answered `ErrorResponse`: it skips what else was sent up to `Sync`.
    ///
    /// Until then what it skips is not looked at, so nothing more may change here either.
    pub fn failed(&mut self) {
        self.pending.clear();
    }

    /// The server answered `ReadyForQuery`.
    ///
    /// # Errors
    /// It was not asked for, or a change was neither confirmed nor failed.
    pub fn ready(&mut self, status: Status) -> Result<(), NamesError> {
        if !self.synced || !self.pending.is_empty() {
            return Err(NamesError::Unasked);
        }
        self.synced = false;
        self.begun = false;
        self.simple = false;
        if status == Status::Idle {
            // Portals end with their transaction.
            self.portals.clear();
        }
        Ok(())
    }

    /// To be called before SQL is forwarded that runs `PREPARE`, `DEALLOCATE`, `DISCARD`, `DECLARE` or
    /// `CLOSE`, which use the same names: all are forgotten, those that are not confirmed yet as well,
    /// and a client that uses one again is told to prepare it.
    pub fn forget_all(&mut self) {
        self.lost = None;
        self.statements.clear();
        self.portals.clear();
        for change in &mut self.pending {
            let kind = match change {
                Change::Parse(..) => b'1',
                Change::Bind(..) => b'2',
                Change::Close(_) => b'3',
                Change::Forgotten(kind) => *kind,
            };
            *change = Change::Forgotten(kind);
        }
    }

    /// To be called before SQL is forwarded that prepares or removes the statement `name`; as
    /// [`Names::forget_all`], for that one.
    pub fn forget(&mut self, name: &str) {
        self.statements.remove(name);
        for change in &mut self.pending {
            if matches!(change, Change::Parse(made, _) if made == name) {
                *change = Change::Forgotten(b'1');
            }
        }
    }

    /// The statement that `name` means to the client's next message.
    pub fn prepared(&self, name: &str) -> Option<Arc<PreparedStatement>> {
        match name.is_empty() {
            true => self.statement(name).or_else(|| self.lost.clone()),
            false => self.statement(name),
        }
    }

    /// The gate has asked a question of its own in a `Query`, which destroys what has no name.
    pub(crate) fn asked_between(&mut self) {
        if let Some(unnamed) = self.statements.remove("") {
            self.lost = Some(unnamed);
        }
        self.portals.remove("");
    }

    /// The client has sent a `Query` that the gate answers itself.
    pub(crate) fn queried(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
        self.lost = None;
    }

    /// What has to be parsed once more before the client's unnamed statement can be used.
    pub(crate) fn lost(&self) -> Option<Arc<PreparedStatement>> {
        match self.statement("") {
            Some(_) => None,
            None => self.lost.clone(),
        }
    }

    /// The server has begun to take copied data: until that is over it does not heed `Sync`, so one that
    /// was sent already does not count.
    pub fn copying(&mut self) {
        self.synced = self.simple;
    }

    /// Whether a question of the gate's own would take a portal from the client.
    pub(crate) fn has_unnamed_portal(&self) -> bool {
        self.portals.contains_key("")
    }

    /// Whether the segment waits for `ReadyForQuery`.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether the segment has a message already.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    fn target(&self, target: &Target) -> Result<Option<Arc<PreparedStatement>>, NamesError> {
        match target {
            Target::Statement(name) => self.statement(name).ok_or(NamesError::Statement).map(Some),
            Target::Portal(name) => Ok(self.portal(name)),
        }
    }

    /// What the name means once everything pending has succeeded.
    fn statement(&self, name: &str) -> Option<Arc<PreparedStatement>> {
        for change in self.pending.iter().rev() {
            match change {
                Change::Parse(made, statement) if made == name => {
                    return Some(Arc::clone(statement));
                }
                Change::Close(Target::Statement(closed)) if closed == name => return None,
                _ => (),
            }
        }
        self.statements.get(name).map(Arc::clone)
    }

    fn portal(&self, name: &str) -> Option<Arc<PreparedStatement>> {
        for change in self.pending.iter().rev() {
            match change {
                Change::Bind(made, statement) if made == name => {
                    return Some(Arc::clone(statement));
                }
                Change::Close(Target::Portal(closed)) if closed == name => return None,
                _ => (),
            }
        }
        self.portals.get(name).map(Arc::clone)
    }

    fn has_place(&self) -> Result<(), NamesError> {
        let names = self.statements.len() + self.portals.len() + self.pending.len();
        if names < MOST_NAMES {
            Ok(())
        } else {
            Err(NamesError::TooMany)
        }
    }

    fn has_room(&self, more: &PreparedStatement) -> Result<(), NamesError> {
        self.has_place()?;
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Parse(_, statement) | Change::Bind(_, statement) => Some(statement),
            Change::Close(_) | Change::Forgotten(_) => None,
        });
        let kept = self.statements.values().chain(self.portals.values());
        let bytes: usize = kept.chain(pending).map(|kept| kept.text.len()).sum();
        if bytes + more.text.len() <= MOST_BYTES {
            Ok(())
        } else {
            Err(NamesError::TooMany)
        }
    }
}

#[cfg(test)]
mod tests;
