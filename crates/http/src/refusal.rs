//! A refusal as an HTTP answer: the structured refusal as JSON, in GraphQL's own shape on GraphQL
//! endpoints, so that whatever client the agent uses shows it.

use tagout_core::{Refusal, RefusalKind};

/// Seconds after which sending a held request again is worth while.
const RETRY_AFTER: u32 = 30;

/// How a refusal is dressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dress {
    /// 403; 426 for an upgrade; 502 where the server outside failed.
    pub(crate) status: u16,
    /// Whether the client expects GraphQL.
    pub(crate) graphql: bool,
    /// Whether the request was HEAD, whose answer has no content (RFC 9110 §9.3.2).
    pub(crate) head_only: bool,
    /// Whether the connection stays open.
    pub(crate) keeps_alive: bool,
}

/// The whole answer.
pub(crate) fn render(refusal: &Refusal, dress: Dress) -> Vec<u8> {
    let json = if dress.graphql {
        refusal.to_graphql()
    } else {
        refusal.to_json()
    };
    let content = format!("{json}\n");
    let reason = match dress.status {
        403 => "Forbidden",
        426 => "Upgrade Required",
        502 => "Bad Gateway",
        _ => "Refused",
    };
    let mut answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\n",
        dress.status,
        content.len()
    );
    if refusal.kind == RefusalKind::Held {
        answer.push_str(&format!("retry-after: {RETRY_AFTER}\r\n"));
    }
    if dress.status == 426 {
        // RFC 9110 §15.5.22 wants the protocol that is spoken here.
        answer.push_str("upgrade: HTTP/1.1\r\n");
    }
    if !dress.keeps_alive {
        answer.push_str("connection: close\r\n");
    }
    answer.push_str("\r\n");
    if !dress.head_only {
        answer.push_str(&content);
    }
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: RefusalKind, dress: Dress) -> (String, String) {
        let mut refusal = Refusal::denied("no.", "ask.");
        refusal.kind = kind;
        let answer = String::from_utf8(render(&refusal, dress)).unwrap();
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), content.to_owned())
    }

    const PLAIN: Dress = Dress {
        status: 403,
        graphql: false,
        head_only: false,
        keeps_alive: true,
    };

    #[test]
    fn a_refusal_is_json_with_every_field() {
        let (head, content) = text(RefusalKind::Denied, PLAIN);
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(head.contains(&format!("content-length: {}", content.len())));
        assert!(!head.contains("connection: close") && !head.contains("retry-after"));
        let expected = "{\"error\":\"tagout_denied\",\"reason\":\"no.\",\"operation\":null,\
                        \"resource\":null,\"environment\":null,\"hold\":null,\
                        \"how_to_proceed\":\"ask.\"}\n";
        assert_eq!(content, expected);
    }

    #[test]
    fn holds_graphql_and_head_have_their_own_dress() {
        let dress = Dress {
            graphql: true,
            keeps_alive: false,
            ..PLAIN
        };
        let (head, content) = text(RefusalKind::Held, dress);
        assert!(head.contains("retry-after: 30") && head.contains("connection: close"));
        let value: serde_json::Value = serde_json::from_str(&content).unwrap();
        assert_eq!(value["errors"][0]["extensions"]["error"], "tagout_held");
        let head_only = Dress {
            head_only: true,
            ..PLAIN
        };
        assert_eq!(text(RefusalKind::Denied, head_only).1, "");
    }
}
