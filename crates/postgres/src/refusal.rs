//! What a client is told: `ErrorResponse` and `NoticeResponse` (PostgreSQL's manual, "Error and Notice
//! Message Fields"), in the places where every client and every log looks.

use tagout_database::Told;

use crate::message::framed;

/// SQLSTATE `insufficient_privilege`: what a server says when somebody may not do something. Clients
/// do not try again by themselves.
pub(crate) const NOT_ALLOWED: &str = "42501";
/// SQLSTATE `query_canceled`.
pub(crate) const CANCELLED: &str = "57014";
/// SQLSTATE `protocol_violation`.
pub(crate) const PROTOCOL: &str = "08P01";
/// SQLSTATE `sqlclient_unable_to_establish_sqlconnection`.
pub(crate) const NO_CONNECTION: &str = "08001";
/// SQLSTATE `invalid_authorization_specification`.
pub(crate) const NOT_THIS_LOGIN: &str = "28000";
/// SQLSTATE `invalid_password`.
pub(crate) const WRONG_PASSWORD: &str = "28P01";

/// Whether the connection goes on after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Fatal,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// An `ErrorResponse`.
pub(crate) fn error(severity: Severity, code: &str, told: &Told) -> Vec<u8> {
    told_as(b'E', severity.as_str(), code, told)
}

/// A `NoticeResponse`.
pub(crate) fn notice(told: &Told) -> Vec<u8> {
    // SQLSTATE `successful_completion`, as servers give it with a NOTICE.
    told_as(b'N', "NOTICE", "00000", told)
}

fn told_as(kind: u8, severity: &str, code: &str, told: &Told) -> Vec<u8> {
    let mut message = Vec::new();
    framed(&mut message, kind, |out| {
        let mut field = |kind: u8, text: &str| {
            out.push(kind);
            out.extend(text.bytes().filter(|byte| *byte != 0));
            out.push(0);
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', code);
        field(b'M', &told.message);
        if let Some(detail) = &told.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &told.hint {
            field(b'H', hint);
        }
        out.push(0);
    });
    message
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tagout_core::Refusal;

    use super::*;
    use crate::answers::Complaint;

    #[test]
    fn a_refusal_reads_as_an_error_of_a_server() {
        let refusal = Refusal::denied("that is production\0.", "Use staging.");
        let error = error(Severity::Error, NOT_ALLOWED, &Told::from(&refusal));
        let read = Complaint::read(&Bytes::from(error));
        assert_eq!(read.code, NOT_ALLOWED);
        assert_eq!(read.message, "Tagout denied this: that is production.");
    }
}
