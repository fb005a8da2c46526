//! Finds credentials in bytes, shapes decoys, redacts streams.
