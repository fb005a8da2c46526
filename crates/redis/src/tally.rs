//! Keys that commands of one session removed without anybody being asked. A command that names its keys is an
//! ordinary write, as caches and locks need it; a thousand different ones empty a database as well as FLUSHDB.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};

/// Different keys that may be removed in a session before a person is asked.
const MOST_REMOVED: usize = 1000;

/// The tally of a session, over all of its connections.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<HashSet<[u8; 32]>>);

impl Tally {
    /// Counts keys before they are removed. Says whether they are too many with those before; then none of
    /// them is counted.
    pub(crate) fn count<'a>(&self, keys: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), String> {
        let mut new = HashSet::new();
        // Digests are put in whole.
        let mut removed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            let hash = digest(&SHA256, key);
            let Ok(hash) = <[u8; 32]>::try_from(hash.as_ref()) else {
                continue;
            };
            if !removed.contains(&hash) {
                new.insert(hash);
            }
            if removed.len() + new.len() > MOST_REMOVED {
                return Err(format!(
                    "more than {MOST_REMOVED} keys are removed in this session without asking, by commands that each name some"
                ));
            }
        }
        removed.extend(new);
        Ok(())
    }

    /// A person has looked at it, so the next ones are ordinary again.
    pub(crate) fn looked_at(&self) {
        let mut removed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        removed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_are_counted_in_one_command_or_in_many() {
        let keys = |from: usize, to: usize| -> Vec<Vec<u8>> {
            (from..to).map(|n| n.to_string().into_bytes()).collect()
        };
        let tally = Tally::default();
        assert!(tally.count(keys(0, MOST_REMOVED + 1).iter()).is_err());
        for _ in 0..3 {
            assert!(tally.count(keys(0, MOST_REMOVED).iter()).is_ok());
        }
        assert!(tally.count(keys(5, 6).iter()).is_ok());
        assert!(tally.count(keys(5000, 5001).iter()).is_err());
        tally.looked_at();
        assert!(tally.count(keys(5000, 5001).iter()).is_ok());
    }
}
