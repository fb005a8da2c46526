//! Append-only, tamper-evident record of a session.
