//! A person's signed yes to one held action. An approval names the hold, the action's digest, the hash
//! of the text that the person was shown and the time until which it holds; the signature covers them
//! all, so a row that somebody writes into the store, or moves from one hold to another, approves
//! nothing. While nobody is enrolled the same user's unsigned yes counts, and is called that.
//!
//! What must stay true: a session judges approvals by the keys it took at launch; the approver's name
//! comes from those keys, never from the record; two approvers are two keys.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use tagout_core::{Digest, HoldId, Timestamp};
use tagout_store::HoldRecord;

use crate::approver::{ApproverKey, EnrolledKeys, Signature, Signer};

/// What an approval says, apart from who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which hold.
    pub hold: HoldId,
    /// The digest of the action.
    pub digest: Digest,
    /// The hash of the text that was shown.
    pub shown: Digest,
    /// Until when the approval may be used.
    pub expires: Timestamp,
}

impl Statement {
    /// The statement of somebody who was shown `hold` as the store has it.
    pub fn about(hold: &HoldRecord) -> Self {
        Self {
            hold: hold.id.clone(),
            digest: hold.digest,
            shown: hold.shown_digest(),
            expires: hold.use_by,
        }
    }

    /// What is signed.
    fn message(&self, name: &str, key: &ApproverKey) -> Digest {
        Digest::of_parts([
            b"tagout approval 1".as_slice(),
            self.hold.as_str().as_bytes(),
            self.digest.as_bytes(),
            self.shown.as_bytes(),
            &self.expires.as_millis().to_be_bytes(),
            name.as_bytes(),
            key.as_bytes(),
        ])
    }
}

/// A signed approval, as the store keeps it in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Which hold.
    pub hold: HoldId,
    /// The digest of the action.
    pub digest: Digest,
    /// The hash of the text that was shown.
    pub shown: Digest,
    /// Until when the approval may be used, in milliseconds since the Unix epoch.
    pub expires: Timestamp,
    /// Who signed; absent while nobody is enrolled.
    pub approver: Option<SignedBy>,
}

/// Who signed an approval, and the signature. A claim until [`Approval::verify`] has looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    /// The approver's name.
    pub name: String,
    /// The approver's public key.
    pub key: ApproverKey,
    /// Over everything else.
    pub signature: Signature,
}

/// Who approved, after the approval was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Approver {
    /// Somebody whose key was enrolled when the session began.
    Enrolled {
        /// The name under which the key was enrolled.
        name: String,
        /// The key, which is what tells two approvers apart.
        key: ApproverKey,
    },
    /// The same user outside the sandbox, while nobody was enrolled.
    Unauthenticated,
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrolled { name, .. } => f.write_str(name),
            Self::Unauthenticated => f.write_str("unauthenticated, same user"),
        }
    }
}

impl Serialize for Approver {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an approval does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The record is not one that Tagout writes.
    #[error("an approval of this hold cannot be read")]
    Unreadable,
    /// Made for another hold, action or text.
    #[error("the approval is for something else: its {0} is not that of this hold")]
    SomethingElse(&'static str),
    /// Its time is over.
    #[error("the approval expired")]
    Expired,
    /// Unsigned, although approvers were enrolled when the session began.
    #[error("the approval is not signed, and approvers are enrolled: approve with an enrolled key")]
    Unsigned,
    /// Signed by a key that was not enrolled when the session began.
    #[error("the approval is signed by a key that was not enrolled when the session began")]
    UnknownKey,
    /// The signature is not over this approval.
    #[error("the approval's signature is not valid")]
    BadSignature,
    /// Fewer different approvers than the hold asks for.
    #[error("the hold asks for {needed} different approvers and has {found}")]
    TooFew {
        /// How many are needed.
        needed: u8,
        /// How many there are.
        found: usize,
    },
}

impl Approval {
    /// An approval that `signer` signs.
    pub fn sign(statement: Statement, signer: &Signer) -> Self {
        let message = statement.message(signer.name(), signer.key());
        let approver = SignedBy {
            name: signer.name().to_owned(),
            key: *signer.key(),
            signature: signer.sign(&message),
        };
        Self::new(statement, Some(approver))
    }

    /// An unsigned approval, which counts only for sessions that began while nobody was enrolled.
    pub fn unauthenticated(statement: Statement) -> Self {
        Self::new(statement, None)
    }

    fn new(statement: Statement, approver: Option<SignedBy>) -> Self {
        Self {
            hold: statement.hold,
            digest: statement.digest,
            shown: statement.shown,
            expires: statement.expires,
            approver,
        }
    }

    /// What tells the rows of one hold's approvers apart in the store.
    pub fn store_key(&self) -> String {
        match &self.approver {
            Some(signed) => format!("{} ({})", signed.name, signed.key),
            None => Approver::Unauthenticated.to_string(),
        }
    }

    /// Who approved `hold`, when this approval counts at `now` for a session that began with the keys
    /// `enrolled`. With no key enrolled a signature is checked all the same, but vouches for nobody.
    ///
    /// # Errors
    /// What is wrong with it; then it approves nothing.
    pub fn verify(
        &self,
        hold: &HoldRecord,
        enrolled: &EnrolledKeys,
        now: Timestamp,
    ) -> Result<Approver, ApprovalError> {
        let expected = Statement::about(hold);
        if self.hold != expected.hold {
            return Err(ApprovalError::SomethingElse("hold id"));
        }
        if self.digest != expected.digest {
            return Err(ApprovalError::SomethingElse("digest"));
        }
        if self.shown != expected.shown {
            return Err(ApprovalError::SomethingElse("text"));
        }
        if self.expires > expected.expires {
            return Err(ApprovalError::SomethingElse("expiry"));
        }
        if self.expires <= now {
            return Err(ApprovalError::Expired);
        }
        let Some(signed) = &self.approver else {
            return if enrolled.is_empty() {
                Ok(Approver::Unauthenticated)
            } else {
                Err(ApprovalError::Unsigned)
            };
        };
        let statement = Statement {
            expires: self.expires,
            ..expected
        };
        let message = statement.message(&signed.name, &signed.key);
        if !signed.key.verifies(&message, &signed.signature) {
            return Err(ApprovalError::BadSignature);
        }
        match enrolled.name_of(&signed.key) {
            Some(name) if name == signed.name => Ok(Approver::Enrolled {
                name: name.to_owned(),
                key: signed.key,
            }),
            Some(_) => Err(ApprovalError::BadSignature),
            None if enrolled.is_empty() => Ok(Approver::Unauthenticated),
            None => Err(ApprovalError::UnknownKey),
        }
    }
}

/// Who approved `hold`: as many different approvers as it asks for, from the records in the store.
///
/// # Errors
/// When one record does not count, or there are too few different approvers. One that does not count
/// voids the others, because somebody has meddled with the store.
pub fn verify_all(
    hold: &HoldRecord,
    records: &[tagout_store::StoredApproval],
    enrolled: &EnrolledKeys,
    now: Timestamp,
) -> Result<Vec<Approver>, ApprovalError> {
    let mut approvers = Vec::new();
    for stored in records {
        let approval = Approval::deserialize(&stored.record)
            .map_err(|_| ApprovalError::Unreadable)?
            .verify(hold, enrolled, now)?;
        if !approvers.contains(&approval) {
            approvers.push(approval);
        }
    }
    if approvers.is_empty() || approvers.len() < usize::from(hold.approvers) {
        return Err(ApprovalError::TooFew {
            needed: hold.approvers.max(1),
            found: approvers.len(),
        });
    }
    Ok(approvers)
}

/// Characters of an untrusted text that are shown at most.
const LONGEST_SHOWN: usize = 4_000;
/// Combining marks in a row that are shown; more would climb over the lines above.
const MOST_MARKS: usize = 2;

/// Text of the agent's, made safe to stand on a person's screen: what is invisible, moves the cursor,
/// changes colours or reorders letters appears as `\u{…}`, line feeds and tabs too. At most 4,000
/// characters of it, and then how many more there are.
pub fn escape_untrusted(text: &str) -> String {
    escape(text, true)
}

/// Text that went through [`escape_untrusted`] already and was kept since where somebody may have changed it: the same
/// once more, except that an escape in it stays as it is.
pub fn escape_kept(text: &str) -> String {
    escape(text, false)
}

fn escape(text: &str, spelled_out: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marks = 0;
    let mut rest = text.chars();
    let mut taken = 0;
    while taken < LONGEST_SHOWN {
        let Some(character) = rest.next() else {
            return shown;
        };
        taken += 1;
        marks = if is_in(character, MARKS) {
            marks + 1
        } else {
            0
        };
        // A text that spells out an escape of ours must not pass for one.
        let looks_escaped = spelled_out && character == '\\' && rest.as_str().starts_with("u{");
        if is_in(character, UNSEEN) || marks > MOST_MARKS || looks_escaped {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    let more = rest.count();
    if more > 0 {
        let _ = write!(shown, "… {more} more characters");
    }
    shown
}

fn is_in(character: char, ranges: &[(u32, u32)]) -> bool {
    let code = u32::from(character);
    let after = ranges.partition_point(|(first, _)| *first <= code);
    after
        .checked_sub(1)
        .and_then(|index| ranges.get(index))
        .is_some_and(|(_, last)| code <= *last)
}

/// Blocks of combining marks (Unicode 16, Blocks.txt).
const MARKS: &[(u32, u32)] = &[
    (0x0300, 0x036f),
    (0x0483, 0x0489),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x20d0, 0x20ff),
    (0xfe20, 0xfe2f),
];

/// What a person does not see as what it is (Unicode 16): control (Cc), format (Cf), line and paragraph
/// separators, spaces other than U+0020, fillers, variation selectors, private use, noncharacters.
const UNSEEN: &[(u32, u32)] = &[
    (0x0000, 0x001f),
    (0x007f, 0x00a0),
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x1680, 0x1680),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xe000, 0xf8ff),
    (0xfdd0, 0xfdef),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffc),
    (0xfffe, 0xffff),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x16fe4, 0x16fe4),
    (0x1bca0, 0x1bca3),
    (0x1d159, 0x1d159),
    (0x1d173, 0x1d17a),
    // Planes 14 to 16: tags, variation selectors, private use.
    (0xe0000, 0x10_ffff),
];

#[cfg(test)]
mod tests;
