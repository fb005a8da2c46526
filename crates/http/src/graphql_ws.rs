//! GraphQL over WebSocket: the subprotocols `graphql-transport-ws` and, before it, `graphql-ws` of
//! subscriptions-transport-ws. Each document that a client sends is an action of its own, judged like
//! a GraphQL request and sent in its canonical form; what opens the connection may carry credentials
//! as header fields do. Messages are read strictly and written anew; what is no message of the
//! subprotocol is refused.

use serde_json::{Map, Value as Json, json};
use tagout_authority::Outcome;
use tagout_catalog::{answer_secrets, recognise, recognise_subscription};
use tagout_core::{CanonicalQuery, FaultKind, HttpBody, HttpRequest, Method, Refusal};
use tagout_credentials::Outgoing;

use crate::gate::Gate;
use crate::release::failed;
use crate::understand::fault;

/// Which subprotocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `graphql-transport-ws`.
    Transport,
    /// `graphql-ws`.
    Legacy,
}

/// One message of a client.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    /// `connection_init`, with the texts of its payload.
    Init(Vec<(String, String)>),
    /// `subscribe` or `start`: a document to execute.
    Begin { id: String, payload: Json },
    /// `complete` or `stop`.
    End { id: String },
    /// One that has nothing but its type.
    Bare(&'static str),
}

/// What becomes of a client's message.
pub(crate) enum Judged {
    /// It goes to the server, in this form.
    Send(String),
    /// It goes nowhere; the client gets this.
    Answer(String),
}

/// What was said so far on a connection.
pub(crate) struct Conversation {
    dialect: Dialect,
    /// The fields of the handshake, and of `connection_init`: what later messages are sent with.
    fields: Vec<(String, String)>,
    began: bool,
}

impl Dialect {
    /// The dialect of the subprotocol that a server chose.
    pub(crate) fn of(protocol: Option<&str>) -> Option<Self> {
        match protocol? {
            "graphql-transport-ws" => Some(Self::Transport),
            "graphql-ws" => Some(Self::Legacy),
            _ => None,
        }
    }

    fn begin(self) -> &'static str {
        match self {
            Self::Transport => "subscribe",
            Self::Legacy => "start",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Transport => "complete",
            Self::Legacy => "stop",
        }
    }

    /// Reads a client's message.
    ///
    /// # Errors
    /// When it is none of the dialect, or can be read in two ways.
    fn read(self, text: &str) -> Result<Said, &'static str> {
        const BROKEN: &str = "a message is not one JSON object of the subprotocol";
        let Ok(Json::Object(mut members)) = tagout_core::json::parse(text.as_bytes()) else {
            return Err(BROKEN);
        };
        let (kind, id) = (members.remove("type"), members.remove("id"));
        let payload = members.remove("payload").unwrap_or(Json::Null);
        if !members.is_empty() {
            return Err("a message has members that the subprotocol does not know");
        }
        let id = match id {
            None | Some(Json::Null) => None,
            Some(Json::String(id)) if is_id(&id) => Some(id),
            Some(_) => return Err("a message's id is not 1 to 64 letters, digits, `-` or `_`"),
        };
        let Some(Json::String(kind)) = kind else {
            return Err(BROKEN);
        };
        match (kind.as_str(), id, self) {
            ("connection_init", None, _) => Ok(Said::Init(texts(payload)?)),
            (kind, Some(id), _) if kind == self.begin() => match payload {
                Json::Object(_) => Ok(Said::Begin { id, payload }),
                _ => Err("a document to execute is missing"),
            },
            (kind, Some(id), _) if kind == self.end() => Ok(Said::End { id }),
            ("ping", None, Self::Transport) => Ok(Said::Bare("ping")),
            ("pong", None, Self::Transport) => Ok(Said::Bare("pong")),
            ("connection_terminate", None, Self::Legacy) => Ok(Said::Bare("connection_terminate")),
            _ => Err("a message is of a type that the subprotocol does not know"),
        }
    }

    /// How a server would say that a document failed.
    fn error(self, id: &str, refusal: &Refusal) -> String {
        let errors = refusal.to_graphql()["errors"].take();
        let payload = match self {
            Self::Transport => errors,
            // One error, not a list of them.
            Self::Legacy => errors.get(0).cloned().unwrap_or_default(),
        };
        json!({"id": id, "type": "error", "payload": payload}).to_string()
    }
}

impl Conversation {
    pub(crate) fn new(dialect: Dialect, handshake: &HttpRequest) -> Self {
        Self {
            dialect,
            fields: handshake
                .headers
                .iter()
                .filter(|(name, _)| name != "content-type" && !name.starts_with("sec-websocket-"))
                .cloned()
                .collect(),
            began: false,
        }
    }
}

impl Gate {
    /// Has a message judged, and says what becomes of it.
    ///
    /// # Errors
    /// When the connection cannot go on after it.
    pub(crate) async fn judge_graphql(
        &self,
        conversation: &mut Conversation,
        handshake: &HttpRequest,
        text: &str,
    ) -> Result<Judged, Refusal> {
        let said = conversation.dialect.read(text).map_err(|why| {
            failed(
                format!("{why}."),
                "Use a client of graphql-transport-ws or graphql-ws, or send the document in a POST.",
            )
        })?;
        match said {
            Said::Bare(kind) => Ok(Judged::Send(json!({"type": kind}).to_string())),
            Said::End { id } => {
                let kind = conversation.dialect.end();
                Ok(Judged::Send(json!({"id": id, "type": kind}).to_string()))
            }
            Said::Init(_) if conversation.began => Err(failed(
                "the connection is opened twice.",
                "Send connection_init once.",
            )),
            Said::Init(fields) => self.open_graphql(conversation, handshake, fields).await,
            Said::Begin { id, payload } => {
                self.begin_graphql(conversation, handshake, id, &payload)
                    .await
            }
        }
    }

    /// `connection_init`: its payload is to the connection what a head's fields are to a request.
    async fn open_graphql(
        &self,
        conversation: &mut Conversation,
        handshake: &HttpRequest,
        payload: Vec<(String, String)>,
    ) -> Result<Judged, Refusal> {
        conversation.began = true;
        let fields: Vec<_> = payload
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let mut request = HttpRequest {
            headers: fields.clone(),
            body: HttpBody::Empty,
            ..handshake.clone()
        };
        let subprotocol = handshake.header("sec-websocket-protocol");
        let subprotocol =
            subprotocol.map(|value| ("sec-websocket-protocol".to_owned(), value.to_owned()));
        request.headers.extend(subprotocol);
        let action = self.action(request, Vec::new(), recognise).await;
        let permit = self.inner.authority.judge(action).await?;
        let mut parts = Outgoing::new(&fields, &CanonicalQuery::default());
        permit
            .broker()
            .attach(&mut parts, permit.action().credentials())
            .map_err(|error| failed(format!("{error}."), "Open the connection again."))?;
        let mut members = Map::new();
        for ((name, _), (_, value)) in payload.into_iter().zip(&parts.headers) {
            let value = String::from_utf8_lossy(value).into_owned();
            members.insert(name, value.into());
        }
        conversation.fields.extend(fields);
        permit.outcome(Outcome::default());
        let message = json!({"type": "connection_init", "payload": members});
        Ok(Judged::Send(message.to_string()))
    }

    /// A document: judged as if it came in a POST with the fields of the connection.
    async fn begin_graphql(
        &self,
        conversation: &Conversation,
        handshake: &HttpRequest,
        id: String,
        payload: &Json,
    ) -> Result<Judged, Refusal> {
        let mut headers = conversation.fields.clone();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let request = HttpRequest {
            target: handshake.target.clone(),
            method: Method::parse("POST").unwrap_or_else(|_| unreachable!("a constant method")),
            path: handshake.path.clone(),
            query: CanonicalQuery::default(),
            headers,
            body: HttpBody::Whole(tagout_core::json::canonical(payload).into_bytes()),
        };
        let reveals = answer_secrets(&request).map(|_| {
            fault(
                FaultKind::Unparsable,
                "the answers would hold secrets, and on a WebSocket they cannot be replaced",
                "Ask in a POST, or leave the secret fields out.",
            )
        });
        let action = self
            .action(
                request,
                reveals.into_iter().collect(),
                recognise_subscription,
            )
            .await;
        let permit = match self.inner.authority.judge(action).await {
            Ok(permit) => permit,
            Err(refusal) => return Ok(Judged::Answer(conversation.dialect.error(&id, &refusal))),
        };
        let body = permit.action().request().body.bytes();
        let outcome = Outcome {
            request_bytes: body.len() as u64,
            ..Outcome::default()
        };
        let message = match serde_json::from_slice::<Json>(body) {
            Ok(payload) => {
                let kind = conversation.dialect.begin();
                json!({"id": id, "type": kind, "payload": payload}).to_string()
            }
            Err(_) => {
                return Err(failed(
                    "the document could not be written.",
                    "Send it in a POST.",
                ));
            }
        };
        permit.outcome(outcome);
        Ok(Judged::Send(message))
    }
}

/// The members of a `connection_init` that are texts, as header fields are.
fn texts(payload: Json) -> Result<Vec<(String, String)>, &'static str> {
    let members = match payload {
        Json::Null => return Ok(Vec::new()),
        Json::Object(members) => members,
        _ => return Err("the payload of connection_init is no object"),
    };
    members
        .into_iter()
        .map(|(name, value)| {
            let is_name = !name.is_empty()
                && name.len() <= 128
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            match value {
                Json::String(text) if is_name && !text.chars().any(char::is_control) => {
                    Ok((name, text))
                }
                _ => Err("the payload of connection_init has more in it than names and texts"),
            }
        })
        .collect()
}

fn is_id(id: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_are_read() {
        let begin =
            |kind: &str| format!(r#"{{"type":"{kind}","id":"1","payload":{{"query":"{{me}}"}}}}"#);
        for (dialect, kind, other) in [
            (Dialect::Transport, "subscribe", "start"),
            (Dialect::Legacy, "start", "subscribe"),
        ] {
            assert!(matches!(dialect.read(&begin(kind)), Ok(Said::Begin { .. })));
            assert!(dialect.read(&begin(other)).is_err());
        }
        let init = r#"{"type":"connection_init","payload":{"Authorization":"Bearer x"}}"#;
        let fields = vec![("Authorization".to_owned(), "Bearer x".to_owned())];
        assert_eq!(Dialect::Transport.read(init), Ok(Said::Init(fields)));
    }

    #[test]
    fn invariant_5_a_message_that_reads_in_two_ways_is_refused() {
        for text in [
            r#"{"type":"subscribe","type":"ping","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1","payload":{},"query":"{me}"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","payload":{}}"#,
            r#"{"type":"subscribe","id":"a b","payload":{}}"#,
            r#"{"type":"Subscribe","id":"1","payload":{}}"#,
            r#"{"type":"connection_init","payload":{"a":{"Authorization":"x"}}}"#,
            r#"{"type":"connection_init","payload":"x"}"#,
            r#"[{"type":"ping"}]"#,
            r#"{"type":"ping"} {"type":"ping"}"#,
            "",
        ] {
            assert!(Dialect::Transport.read(text).is_err(), "{text}");
        }
    }
}
