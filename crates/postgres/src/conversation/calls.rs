//! What the calls of a statement mean in this database: looked up on the client's own connection, between
//! its messages, so that what its transaction has made or renamed counts.

use std::sync::Arc;

use tagout_database::Reading;

use super::{Conversation, Ended};
use crate::gate::Stream;
use crate::judging::{
    calls, moves_routines, moves_search_path, opens_transaction, prepares, renames, with_executed,
};
use crate::routines::{BELIEVED, Routines, unforeseen};
use crate::{ServerError, Status};

/// Longer than looking functions up takes, in whatever time the client gives its own statements.
const LOOKING: &str = "SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'";

/// What a connection knows of its database's functions.
#[derive(Default)]
pub(super) struct Known {
    routines: Option<Arc<Routines>>,
    epoch: u64,
    /// A statement went to the server that may have changed them, and they were not looked up since.
    is_stale: bool,
    /// Such a statement stands in the open transaction, which may take it back.
    is_moving: bool,
}

impl<S: Stream> Conversation<S> {
    /// Looks functions up for `reading` where that is possible: in front of a segment. Within one, what is
    /// not known stays unknown.
    pub(super) async fn look_up(&mut self, reading: &Reading) -> Result<(), Ended> {
        let status = self.server.status();
        // Before a transaction rather than within it: there a driver's unnamed portal may stand in the way.
        let opens = status == Status::Idle && opens_transaction(reading);
        if !(calls(reading) || opens) || self.names.is_begun() || status == Status::Failed {
            return Ok(());
        }
        let gate = Arc::clone(&self.gate.inner);
        let epoch = gate.looked_up.epoch();
        let known = &mut self.known;
        let is_believed = known.epoch == epoch && !known.is_stale;
        let is_young = |routines: &Arc<Routines>| routines.asked.elapsed() < BELIEVED;
        if is_believed && known.routines.as_ref().is_some_and(is_young) {
            return Ok(());
        }
        let database = &self.database.name;
        if (status == Status::Idle || !known.is_moving)
            && let Some(shared) = gate.looked_up.get(database, epoch)
        {
            self.known = Known {
                routines: Some(shared),
                epoch,
                ..Known::default()
            };
            return Ok(());
        }
        if status == Status::Transaction && self.names.has_unnamed_portal() {
            return Ok(());
        }
        self.names.asked_between();
        let (begin, end) = match status {
            Status::Idle => ("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "ROLLBACK"),
            // Whatever goes wrong in there fails nothing of the client's.
            _ => (
                "SAVEPOINT tagout_looks",
                "ROLLBACK TO SAVEPOINT tagout_looks; RELEASE SAVEPOINT tagout_looks",
            ),
        };
        self.server.run(begin).await?;
        let asked = match self.server.run(LOOKING).await {
            Ok(_) => Routines::ask(&mut self.server).await,
            Err(why) => Err(why),
        };
        if let Err(
            why @ (ServerError::Connection(_) | ServerError::TooLong | ServerError::Protocol(_)),
        ) = asked
        {
            return Err(why.into());
        }
        self.server.run(end).await?;
        let Ok(routines) = asked else {
            self.known.is_stale = true;
            return Ok(());
        };
        let routines = Arc::new(routines);
        if status == Status::Idle {
            gate.looked_up.put(database, epoch, &routines);
        }
        self.known.routines = Some(routines);
        self.known.epoch = epoch;
        self.known.is_stale = false;
        Ok(())
    }

    /// `reading` with what its calls do.
    pub(super) async fn understand(&mut self, reading: &Arc<Reading>) -> Arc<Reading> {
        let executed = with_executed(reading, &self.prepared).map(Arc::new);
        let reading = executed.as_ref().unwrap_or(reading);
        if !calls(reading) {
            return Arc::clone(reading);
        }
        let is_known =
            !self.known.is_stale && self.known.epoch == self.gate.inner.looked_up.epoch();
        let understood = match &self.known.routines {
            Some(routines) if is_known => {
                routines.understand(&self.gate.inner.reader, reading).await
            }
            // In a failed transaction nothing runs.
            _ if self.server.status() == Status::Failed => None,
            _ => Some(unforeseen(reading)),
        };
        understood.map_or_else(|| Arc::clone(reading), Arc::new)
    }

    /// What a text changes of what later messages mean.
    pub(super) fn heed(&mut self, written: &Reading, reading: &Arc<Reading>) {
        self.gate.inner.tally.reserve(reading.acts());
        self.readings.push(Arc::clone(reading));
        if moves_routines(reading) {
            self.functions_move();
        }
        self.path_may_move |= moves_search_path(reading);
        if !renames(reading) {
            return;
        }
        for act in reading
            .statements
            .iter()
            .flat_map(|statement| &statement.acts)
        {
            match (act.name.as_str(), act.objects.first()) {
                ("prepare" | "deallocate", Some(object)) => {
                    self.names.forget(&object.name);
                    self.prepared.remove(&object.name);
                }
                ("prepare" | "deallocate" | "discard", None) => {
                    self.names.forget_all();
                    self.prepared.clear();
                }
                _ => {}
            }
        }
        // What its calls mean may be another thing when it is executed: they stay unknown.
        for (name, mut acts) in prepares(written) {
            let understood = prepares(reading)
                .into_iter()
                .find(|(other, _)| *other == name);
            for act in understood.into_iter().flat_map(|(_, acts)| acts) {
                if !acts.contains(&act) {
                    acts.push(act);
                }
            }
            self.preparing.push((name, acts));
        }
    }

    /// Notes that functions may be others behind what goes to the server now.
    fn functions_move(&mut self) {
        self.known.is_stale = true;
        self.known.is_moving = true;
    }

    /// A segment is over.
    pub(super) fn functions_moved(&mut self) {
        if !self.known.is_moving {
            return;
        }
        self.known.is_stale = true;
        if self.server.status() == Status::Idle {
            self.known.is_moving = false;
            self.gate.inner.looked_up.moved();
        }
    }
}
