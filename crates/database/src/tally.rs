//! Rows that statements of one session removed or overwrote without anybody being asked. A statement that
//! names its rows by a key is an ordinary write; a thousand of them, one row each, empty a table as well
//! as one that names none.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tagout_catalog_sql::{Act, Class, WhereKind};

/// Rows of one table that may be removed by their keys in a session before a person is asked.
const MOST_REMOVED: u64 = 100;
/// Rows of one table that may be changed so.
const MOST_CHANGED: u64 = 10_000;

/// The tally of a session, over all of its connections.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<(Done, String), u64>>);

/// What happened to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// They are gone.
    Removed,
    /// They have other values.
    Changed,
}

impl Done {
    /// Of an act that nobody needs to be asked about for itself.
    fn of(act: &Act) -> Option<Self> {
        match act.name.as_str() {
            "delete" if act.class == Class::Write => Some(Self::Removed),
            "update" if act.class == Class::Write => Some(Self::Changed),
            // That overwrite rows which they name one by one.
            "insert" | "merge" if act.class == Class::Write && act.rows == Some(WhereKind::Key) => {
                Some(Self::Changed)
            }
            _ => None,
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Removed => MOST_REMOVED,
            Self::Changed => MOST_CHANGED,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// A table that an act names, however it names it: the last part, so that a schema in front makes no
/// other table of it.
fn tables(act: &Act) -> impl Iterator<Item = &String> {
    act.objects.iter().map(|object| &object.name)
}

impl Tally {
    /// Adds a row of each table for statements that are about to run: what is in front of others in a pipeline
    /// counts before any of it has run. What they did beyond it is [added](Tally::add) once it is known.
    pub fn reserve<'a>(&self, acts: impl Iterator<Item = &'a Act> + Clone) {
        for kind in [Done::Removed, Done::Changed] {
            self.add(acts.clone(), kind, 1);
        }
    }

    /// Adds what statements with `acts` did to `rows` rows.
    pub fn add<'a>(&self, acts: impl Iterator<Item = &'a Act>, kind: Done, rows: u64) {
        // Entries are put in whole.
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for act in acts.filter(|act| Done::of(act) == Some(kind)) {
            for table in tables(act) {
                let sum = tally.entry((kind, table.clone())).or_default();
                *sum = sum.saturating_add(rows);
            }
        }
    }

    /// Why a person has to be asked about one of `acts`, which would be nothing special once. Those of the
    /// same text count with at least a row each.
    pub fn too_much<'a>(&self, acts: impl Iterator<Item = &'a Act>) -> Option<String> {
        let tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums: HashMap<(Done, &String), u64> = HashMap::new();
        for act in acts {
            let Some(kind) = Done::of(act) else { continue };
            for table in tables(act) {
                let sum = sums.entry((kind, table)).or_insert_with(|| {
                    tally
                        .get(&(kind, table.clone()))
                        .copied()
                        .unwrap_or_default()
                });
                if *sum >= kind.most() {
                    return Some(format!(
                        "{} rows of {table} or more are {} in this session without asking, by statements that each name a few",
                        kind.most(),
                        kind.as_str()
                    ));
                }
                *sum = sum.saturating_add(1);
            }
        }
        None
    }

    /// A person has looked at it, so the next ones are ordinary again.
    pub fn looked_at(&self, act: &Act) {
        let Some(kind) = Done::of(act) else { return };
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for table in tables(act) {
            tally.remove(&(kind, table.clone()));
        }
    }
}
