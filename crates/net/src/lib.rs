//! Capture, synthetic names, TLS with the session CA, upstream connections.
