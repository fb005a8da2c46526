//! What a request carries, as a gate hands it to the authority.

use tagout_core::{CredentialUse, Fault, FaultKind};

/// What was found in the slots of a request and elsewhere in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// Credentials whose decoy stands in one of their slots: they are attached when the action is
    /// permitted.
    pub uses: Vec<CredentialUse>,
    /// What denies the request.
    pub faults: Vec<Fault>,
    /// What is worth recording and changes nothing.
    pub notes: Vec<String>,
}

impl Examination {
    pub(crate) fn fault(&mut self, kind: FaultKind, reason: String, how_to_proceed: &str) {
        let fault = Fault {
            kind,
            reason,
            how_to_proceed: how_to_proceed.to_owned(),
        };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(crate) fn used(&mut self, name: &str, generation: u64, slot: String) {
        let used = CredentialUse {
            name: name.to_owned(),
            generation,
            slot,
        };
        if !self.uses.contains(&used) {
            self.uses.push(used);
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
