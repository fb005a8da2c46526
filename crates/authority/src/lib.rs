//! The one place that decides.
