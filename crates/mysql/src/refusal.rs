//! What a client is told: errors of the server's own kind, with the text of a refusal. MySQL has no notices
//! and no hints, so everything stands in the message.

use tagout_core::Refusal;
use tagout_database::Told;

use crate::answer::Complaint;

/// `ER_TABLEACCESS_DENIED_ERROR`: what a server says when somebody may not do something. Clients do not try
/// again by themselves.
const NOT_ALLOWED: u16 = 1142;
/// `ER_QUERY_INTERRUPTED`.
const CANCELLED: u16 = 1317;
/// `ER_ACCESS_DENIED_ERROR`.
const WRONG_PASSWORD: u16 = 1045;
/// `ER_DBACCESS_DENIED_ERROR`.
const NOT_THIS_DATABASE: u16 = 1044;
/// `ER_HANDSHAKE_ERROR`.
const NO_CONNECTION: u16 = 1043;
/// `ER_UNKNOWN_COM_ERROR`.
const NOT_THIS_COMMAND: u16 = 1047;
/// `ER_UNKNOWN_STMT_HANDLER`.
const NO_STATEMENT: u16 = 1243;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NotAllowed,
    Cancelled,
    WrongPassword,
    NotThisDatabase,
    NoConnection,
    NotThisCommand,
    NoStatement,
}

/// An error with what happened and what to do instead.
pub(crate) fn error(reason: Reason, message: impl Into<String>) -> Vec<u8> {
    let (code, state) = match reason {
        Reason::NotAllowed => (NOT_ALLOWED, "42000"),
        Reason::Cancelled => (CANCELLED, "70100"),
        Reason::WrongPassword => (WRONG_PASSWORD, "28000"),
        Reason::NotThisDatabase => (NOT_THIS_DATABASE, "42000"),
        Reason::NoConnection => (NO_CONNECTION, "08S01"),
        Reason::NotThisCommand => (NOT_THIS_COMMAND, "08S01"),
        Reason::NoStatement => (NO_STATEMENT, "HY000"),
    };
    let complaint = Complaint {
        code,
        state: state.to_owned(),
        message: message.into(),
    };
    complaint.write()
}

/// A refusal of the authority's.
pub(crate) fn refused(refusal: &Refusal) -> Vec<u8> {
    error(Reason::NotAllowed, Told::from(refusal).to_string())
}
