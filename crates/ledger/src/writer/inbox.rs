//! What the writer has to write. An entry that nobody waits for does not wake the writer, unless it idles:
//! reads of a database bring thousands of them a second, and each waking costs more than writing one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Message;

/// Both ends of a queue.
pub(super) fn inbox() -> (Sender, Inbox) {
    let queue = Arc::new(Queue::default());
    (Sender(Arc::clone(&queue)), Inbox(queue))
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Whether somebody waits for one of them.
    awaited: bool,
    /// The ledger was dropped: nothing follows.
    no_sender: bool,
    /// The writer is gone: nothing is written any more.
    no_writer: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Messages are put in whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ledger's end; dropped, the writer writes what is left and ends.
pub(super) struct Sender(Arc<Queue>);

impl Sender {
    /// Sends a message. One that no writer takes is dropped, and its completion then says so.
    pub(super) fn send(&self, message: Message) {
        let mut waiting = self.0.waiting();
        if waiting.no_writer {
            return;
        }
        let wakes = message.awaited || waiting.messages.is_empty();
        waiting.awaited |= message.awaited;
        waiting.messages.push(message);
        drop(waiting);
        if wakes {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.waiting().no_sender = true;
        self.0.changed.notify_one();
    }
}

/// The writer's end.
pub(super) struct Inbox(Arc<Queue>);

impl Inbox {
    /// Waits for messages and takes at most `most` of them, in their order; those that nobody waits for may lie
    /// for `lingering`. `None` when there are none and none will come.
    pub(super) fn receive(&self, most: usize, lingering: Duration) -> Option<Vec<Message>> {
        let mut waiting = self.0.waiting();
        while waiting.messages.is_empty() {
            if waiting.no_sender {
                return None;
            }
            waiting = self
                .0
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let due = Instant::now() + lingering;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            // The end of the session ends the lingering, too.
            let is_due = waiting.awaited || waiting.no_sender || left.is_zero();
            if is_due || waiting.messages.len() >= most {
                break;
            }
            let woken = self.0.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let taken = waiting.messages.len().min(most);
        let messages: Vec<_> = waiting.messages.drain(..taken).collect();
        waiting.awaited = waiting.messages.iter().any(|message| message.awaited);
        Some(messages)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.no_writer = true;
        let unwritten = std::mem::take(&mut waiting.messages);
        drop(waiting);
        // Their completions say so, to whoever waits; not while others would wait for the lock.
        drop(unwritten);
    }
}
