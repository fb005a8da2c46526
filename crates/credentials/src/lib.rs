//! Credential sources, decoys, slots and attachment.
