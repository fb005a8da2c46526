//! Calls that wait until the keeper has been answered. They take no thread: what waits for a person may wait long.
//!
//! What must stay true: a call that is parked after an answer came, is not left behind. So each remembers how many answers there were
//! before it was made.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::listener::Notification;

/// The calls that wait, and how often there was an answer.
#[derive(Default)]
pub(super) struct Parked(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    answers: u64,
    calls: Vec<Notification>,
}

impl Parked {
    /// How many answers there were.
    pub(super) fn answers(&self) -> u64 {
        self.lock().answers
    }

    /// Lets a call wait; `false` where there was an answer since there were so many `answers`.
    pub(super) fn park(&self, call: Notification, answers: u64) -> bool {
        let mut waiting = self.lock();
        let waits = waiting.answers == answers;
        if waits {
            waiting.calls.push(call);
        }
        waits
    }

    /// There was an answer; what waited for it.
    pub(super) fn answered(&self) -> Vec<Notification> {
        let mut waiting = self.lock();
        waiting.answers += 1;
        std::mem::take(&mut waiting.calls)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
