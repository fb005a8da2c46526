//! Time that does not go back. A deadline in the store is a wall-clock time, and the person (or the
//! agent's user) who sets the clock back an hour must not get an hour more: the store keeps the latest
//! time that any process saw, and within a process time goes on by the monotonic clock.

use std::time::{Duration, Instant};

use tagout_core::Timestamp;

type Source<T> = Box<dyn Fn() -> T + Send>;

/// The clock of one open store.
pub(crate) struct Clock {
    wall: Source<Timestamp>,
    /// Time since the store was opened, by a clock that nobody sets.
    elapsed: Source<Duration>,
    opened: Timestamp,
}

impl Clock {
    /// The system's clocks; `stored` is the latest time that the store has seen.
    pub(crate) fn system(stored: Timestamp) -> Self {
        let start = Instant::now();
        Self::new(
            stored,
            Box::new(Timestamp::now),
            Box::new(move || start.elapsed()),
        )
    }

    pub(crate) fn new(
        stored: Timestamp,
        wall: Source<Timestamp>,
        elapsed: Source<Duration>,
    ) -> Self {
        let opened = wall().max(stored);
        Self {
            wall,
            elapsed,
            opened,
        }
    }

    /// The time; `stored` is the latest that the store has seen by now.
    pub(crate) fn now(&self, stored: Timestamp) -> Timestamp {
        (self.wall)()
            .max(stored)
            .max(self.opened.plus((self.elapsed)()))
    }
}
