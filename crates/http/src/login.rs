//! Requests that carry a login's token: the token is made fresh before it is attached, a request for a
//! refresh is answered here and reaches nobody, and one that a server answers with 401 is sent once
//! more where that got a fresh token. The authority has judged and recorded each of them as any other.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tagout_authority::{Outcome, Permit};
use tagout_catalog::git::kept_content;
use tagout_core::Refusal;
use tagout_credentials::login::Prepared;

use crate::client::{AnswerHead, Answering, ClientError, Content};
use crate::gate::Gate;
use crate::git::refuse_client;
use crate::outgoing::outgoing;
use crate::refusal::{Dress, refuse};
use crate::server::{Lease, SendError, Server};
use crate::spool::Spooled;
use crate::upload::OutgoingBody;

impl Gate {
    /// Sees to the tokens of a permitted request. `Some` when the client has its answer already.
    pub(crate) async fn answer_for_login(
        &self,
        answering: &mut impl Answering,
        permit: &Permit,
        dress: Dress,
    ) -> Option<Outcome> {
        let action = permit.action();
        let request = action.request();
        if let Err(refusal) = self.git_is_ready(action.credentials()).await {
            let git = tagout_catalog::git::client(request);
            // A client that does not read it has gone away.
            let _ = refuse_client(answering, &refusal, dress, git.as_ref()).await;
            return Some(Outcome {
                error: Some(refusal.reason),
                ..Outcome::default()
            });
        }
        let prepared = self.logins.prepare(request, action.credentials()).await;
        let mut outcome = Outcome {
            request_bytes: request.body.bytes().len() as u64,
            ..Outcome::default()
        };
        match prepared {
            Prepared::Send => return None,
            Prepared::Answer(content) => {
                outcome.status = Some(StatusCode::OK.as_u16());
                outcome.response_bytes = content.len() as u64;
                if answer(answering, content).await.is_err() {
                    outcome.error = Some(ClientError::Gone.to_string());
                }
            }
            Prepared::Refuse {
                reason,
                how_to_proceed,
            } => {
                let refusal = Refusal::denied(reason, how_to_proceed);
                outcome.error = Some(refusal.reason.clone());
                // What an agent asks its user about is a login that fails, and 401 is how servers say so.
                let dress = Dress {
                    status: StatusCode::UNAUTHORIZED,
                    ..dress
                };
                // A client that does not read it has gone away.
                let _ = refuse(answering, &refusal, dress).await;
            }
        }
        Some(outcome)
    }

    /// Sends a request whose content is known; once more with another token when the server no longer
    /// takes the one that it was sent with. What is answered so was not performed (RFC 9110 §15.5.2).
    pub(crate) async fn send_with_login(
        &self,
        server: &Server,
        permit: &Permit,
        encoding: &str,
        wants_trailers: bool,
        spooled: Option<&Spooled>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let uses = permit.action().credentials();
        let sent = self.logins.sent_with(uses);
        let request = outgoing(permit, encoding, wants_trailers, kept(permit, spooled)?)?;
        let answered = server.send(request).await?;
        if answered.0.status() == StatusCode::UNAUTHORIZED
            && (self.logins.unauthorized(&sent).await || self.git_is_renewed(uses).await)
        {
            let request = outgoing(permit, encoding, wants_trailers, kept(permit, spooled)?)?;
            return server.send(request).await;
        }
        Ok(answered)
    }
}

/// The content of a push that was kept in a file, where that is what was judged.
fn kept(permit: &Permit, spooled: Option<&Spooled>) -> Result<Option<OutgoingBody>, SendError> {
    match (kept_content(permit.action().operations()), spooled) {
        (None, None) => Ok(None),
        (Some(judged), Some(spooled)) if judged == spooled.digest() => Ok(Some(spooled.body())),
        _ => Err(SendError::Request(
            "its content is not the one that was judged".to_owned(),
        )),
    }
}

async fn answer(answering: &mut impl Answering, content: Vec<u8>) -> Result<(), ClientError> {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749 §5.1.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let head = AnswerHead {
        status: StatusCode::OK,
        fields,
        content: Content::Length(content.len() as u64),
    };
    answering.head(head).await?;
    answering.data(Bytes::from(content)).await?;
    answering.end(None).await
}
