//! A refusal as an HTTP answer: the structured refusal as JSON, in GraphQL's own shape on GraphQL
//! endpoints, so that whatever client the agent uses shows it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tagout_core::{Refusal, RefusalKind};

use crate::client::{AnswerHead, Answering, ClientError, Content};

/// Seconds after which sending a held request again is worth while.
const SECONDS_TO_RETRY: &str = "30";

/// The status code of that name in gRPC.
const PERMISSION_DENIED: &str = "7";

/// How a refusal is dressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dress {
    /// 403; 421 for another authority's request, 426 for an upgrade, 502 where the server outside
    /// failed.
    pub(crate) status: StatusCode,
    /// Whether the client expects GraphQL.
    pub(crate) graphql: bool,
    /// Whether the client expects gRPC.
    pub(crate) grpc: bool,
    /// Whether the request was HEAD, whose answer has no content (RFC 9110 §9.3.2).
    pub(crate) head_only: bool,
}

/// The whole answer.
pub(crate) fn render(refusal: &Refusal, dress: Dress) -> (AnswerHead, Bytes) {
    if dress.grpc {
        return (grpc(refusal), Bytes::new());
    }
    let json = if dress.graphql {
        refusal.to_graphql()
    } else {
        refusal.to_json()
    };
    let content = Bytes::from(format!("{json}\n"));
    let mut fields = HeaderMap::new();
    let mut field = |name: HeaderName, value: &'static str| {
        fields.insert(name, HeaderValue::from_static(value));
    };
    field(CONTENT_TYPE, "application/json");
    field(CACHE_CONTROL, "no-store");
    if refusal.kind == RefusalKind::Held {
        field(RETRY_AFTER, SECONDS_TO_RETRY);
    }
    if dress.status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 §15.5.22 wants the protocol that is spoken here.
        field(UPGRADE, "HTTP/1.1");
    }
    let length = content.len() as u64;
    let (announced, content) = match dress.head_only {
        true => (Content::None(Some(length)), Bytes::new()),
        false => (Content::Length(length), content),
    };
    let head = AnswerHead {
        status: dress.status,
        fields,
        content: announced,
    };
    (head, content)
}

/// An answer of trailers alone, as gRPC has it: clients do not look at HTTP's own status, and try again
/// where there is no other.
fn grpc(refusal: &Refusal) -> AnswerHead {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert("grpc-status", HeaderValue::from_static(PERMISSION_DENIED));
    let mut message = String::new();
    for byte in refusal.to_string().bytes() {
        match byte {
            b'%' => message.push_str("%25"),
            b' '..=b'~' => message.push(char::from(byte)),
            _ => message.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Ok(message) = HeaderValue::from_str(&message) {
        fields.insert("grpc-message", message);
    }
    AnswerHead {
        status: StatusCode::OK,
        fields,
        content: Content::None(None),
    }
}

/// Answers with a refusal, in full.
pub(crate) async fn refuse(
    answering: &mut impl Answering,
    refusal: &Refusal,
    dress: Dress,
) -> Result<(), ClientError> {
    let (head, content) = render(refusal, dress);
    answering.head(head).await?;
    answering.data(content).await?;
    answering.end(None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(kind: RefusalKind, dress: Dress) -> (AnswerHead, String) {
        let mut refusal = Refusal::denied("no.", "ask.");
        refusal.kind = kind;
        let (head, content) = render(&refusal, dress);
        (head, String::from_utf8(content.to_vec()).unwrap())
    }

    const PLAIN: Dress = Dress {
        status: StatusCode::FORBIDDEN,
        graphql: false,
        grpc: false,
        head_only: false,
    };

    #[test]
    fn a_refusal_is_json_with_every_field() {
        let (head, content) = rendered(RefusalKind::Denied, PLAIN);
        assert_eq!(head.status, StatusCode::FORBIDDEN);
        assert_eq!(head.content, Content::Length(content.len() as u64));
        assert!(!head.fields.contains_key(RETRY_AFTER));
        let expected = "{\"error\":\"tagout_denied\",\"reason\":\"no.\",\"operation\":null,\
                        \"resource\":null,\"environment\":null,\"hold\":null,\
                        \"how_to_proceed\":\"ask.\"}\n";
        assert_eq!(content, expected);
    }

    #[test]
    fn holds_graphql_and_head_have_their_own_dress() {
        let dress = Dress {
            graphql: true,
            ..PLAIN
        };
        let (head, content) = rendered(RefusalKind::Held, dress);
        assert_eq!(head.fields[RETRY_AFTER], "30");
        let value: serde_json::Value = serde_json::from_str(&content).unwrap();
        assert_eq!(value["errors"][0]["extensions"]["error"], "tagout_held");
        let grpc = Dress {
            grpc: true,
            ..PLAIN
        };
        let (head, content) = rendered(RefusalKind::Denied, grpc);
        assert_eq!((head.status, content.as_str()), (StatusCode::OK, ""));
        assert_eq!(head.fields["grpc-status"], "7");
        assert_eq!(head.fields["grpc-message"], "Tagout denied this: no. ask.");
        let head_only = Dress {
            head_only: true,
            ..PLAIN
        };
        let (head, content) = rendered(RefusalKind::Denied, head_only);
        assert_eq!(content, "");
        assert!(matches!(head.content, Content::None(Some(length)) if length > 0));
    }
}
