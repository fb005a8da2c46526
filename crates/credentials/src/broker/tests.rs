//! Attacks on the broker, by invariant.
