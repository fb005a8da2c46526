//! The HTTP gate.
