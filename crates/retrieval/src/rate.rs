//! How many requests each asker may make: a bucket of tokens each, refilled with time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one reader may ask, at all doors together: so many requests a second, and this many at once before that counts.
const RATE: u32 = 100;
const BURST: u32 = 500;
/// What whoever asks more is told.
pub(crate) const TOO_MANY_REQUESTS: &str = "too many requests of this reader";
/// Askers that are remembered at once.
const MOST: usize = 10_000;

/// A bucket for every asker.
pub(crate) struct Rates {
    /// Tokens a second.
    rate: f64,
    /// Tokens of a full bucket.
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Rates {
    /// The rate of readers.
    pub(crate) fn of_readers() -> Self {
        Self::new(RATE, BURST)
    }

    /// `rate` requests a second, `burst` at once.
    fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate: f64::from(rate),
            burst: f64::from(burst),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// One request of `asker`.
    ///
    /// # Errors
    /// The seconds after which the next one is answered, at least one.
    pub(crate) fn take(&self, asker: &str) -> Result<(), u64> {
        self.take_at(asker, Instant::now())
    }

    fn take_at(&self, asker: &str, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(asker) {
            // A bucket that is full again is the same as none.
            let full = Duration::from_secs_f64(self.burst / self.rate);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < full);
            if buckets.len() >= MOST {
                return Err(1);
            }
        }
        let bucket = buckets.entry(asker.to_owned()).or_insert(Bucket {
            tokens: self.burst,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.rate).min(self.burst);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err((((1.0 - bucket.tokens) / self.rate).ceil() as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_waits_and_others_do_not() {
        let rates = Rates::new(10, 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.take_at("ann", start), Ok(()));
        }
        assert_eq!(rates.take_at("ann", start), Err(1));
        assert_eq!(rates.take_at("bob", start), Ok(()));
        let later = start + Duration::from_millis(150);
        assert_eq!(rates.take_at("ann", later), Ok(()));
        assert_eq!(rates.take_at("ann", later), Err(1));
    }

    #[test]
    fn askers_without_number_do_not_take_memory_without_bound() {
        let rates = Rates::new(10, 3);
        let start = Instant::now();
        for asker in 0..MOST {
            assert_eq!(rates.take_at(&asker.to_string(), start), Ok(()));
        }
        assert_eq!(rates.take_at("one more", start), Err(1));
        let later = start + Duration::from_secs(1);
        assert_eq!(rates.take_at("one more", later), Ok(()));
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
    }
}
