//! The authority that the gate's tests ask.

use std::path::Path;
use std::sync::Arc;

use tagout_authority::{Authority, Record};
use tagout_credentials::Broker;

/// The value that stands for a real credential.
pub const SECRET: &str = "real-0123456789-abcdefghij";
/// What the sandbox sees instead.
pub const DECOY: &str = "fake-9876543210-jihgfedcba";

pub struct Judged {
    pub authority: Authority,
}

impl Judged {
    pub async fn new(_folder: &Path) -> Self {
        Self {
            authority: Authority {
                broker: Arc::new(Broker::stub(SECRET, DECOY)),
                rec: Record::default(),
                hosts: Arc::new(vec![
                    (super::HOST.into(), true),
                    (super::OPAQUE.into(), false),
                ]),
            },
        }
    }

    /// The ledger's entries, kind and fields.
    pub async fn entries(&self) -> Vec<(String, serde_json::Value)> {
        self.authority
            .rec
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.to_string(), v.clone()))
            .collect()
    }
}
