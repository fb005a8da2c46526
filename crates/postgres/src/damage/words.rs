//! Numbers as a person reads them, with how far they are known.

use std::time::Duration;

/// How many rows, and how far that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Exact(u64),
    About(u64),
}

impl Count {
    pub(super) fn most(self) -> u64 {
        match self {
            Self::Exact(rows) => rows,
            Self::About(rows) => rows.saturating_mul(2).max(rows.saturating_add(100)),
        }
    }

    pub(super) fn words(self) -> String {
        let rows = |count| if count == 1 { "row" } else { "rows" };
        match self {
            Self::Exact(count) => format!("exactly {count} {}", rows(count)),
            Self::About(count) => format!("about {count} {} (the server's estimate)", rows(count)),
        }
    }
}

/// How long ago something was.
pub(super) fn ago(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
