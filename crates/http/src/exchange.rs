//! One request, to be read aloud: understand the head, take the content, examine the credential slots,
//! recognise the operation, ask the authority, and refuse or release (`release.rs`). Whatever goes wrong
//! before the authority is asked becomes a fault of the action; whatever goes wrong after it ends the
//! exchange. It is the same for every version of HTTP.

use http::StatusCode;
use serde_json::json;
use tagout_catalog::{Meaning, Unrecognised, pack_for_host, recognise};
use tagout_core::{Action, Effect, Fault, FaultKind, HttpBody, HttpRequest, Target, Transport};

use crate::client::{Answering, Asking, ClientError, gone};
use crate::content::{Need, Taken, take, too_large};
use crate::gate::Gate;
use crate::git::refuse_client;
use crate::handshake::Handshake;
use crate::head::{Framing, Malformed, RequestHead, Version};
use crate::messages;
use crate::refusal::Dress;
use crate::server::Server;
use crate::spool::Spooled;
use crate::understand::{Understood, fault, trailer_faults, understand};

/// What is known about the client's side of an exchange once its request was read.
pub(crate) struct Asked {
    pub(crate) head_only: bool,
    wants_upgrade: bool,
    pub(crate) websocket: Option<Handshake>,
    pub(crate) wants_trailers: bool,
    pub(crate) accept_encoding: Option<String>,
}

impl Gate {
    /// Has a request judged whose head was read, and answers it.
    pub(crate) async fn exchange(
        &self,
        head: Result<RequestHead, Malformed>,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        server: &Server,
    ) {
        let mut understood = match head {
            Ok(head) => understand(head, server.target()),
            Err(what) => Understood::malformed(what, server.target()),
        };
        let mut taken = match self.take_content(asking, answering, &mut understood).await {
            Ok(taken) => taken,
            Err(_) => return,
        };
        let asked = Asked::of(&understood);
        let is_streamed = taken.upload.is_some();
        let version = understood.version;
        understood.request.body = std::mem::replace(&mut taken.body, HttpBody::Empty);
        let action = self
            .action_of(
                understood.request,
                understood.faults,
                recognise,
                taken.spooled.as_ref(),
            )
            .await;
        let git = tagout_catalog::git::client(action.request());
        let dress = Dress {
            status: asked.refusal_status(&action, version),
            graphql: action.is_graphql(),
            grpc: messages::are_grpc(action.request()),
            head_only: asked.head_only,
        };
        if is_streamed || !action.faults().is_empty() {
            // What is left of the content, if anything, is not worth reading when it is refused.
            answering.close_after();
        }
        let verdict = tokio::select! {
            biased;
            // An approval must not release a request whose answer nobody reads.
            () = gone(asking, answering), if !is_streamed => return,
            verdict = self.inner.authority.judge(action) => verdict,
        };
        match verdict {
            Err(refusal) => {
                // A client that does not read its refusal has gone away.
                let _ = refuse_client(answering, &refusal, dress, git.as_ref()).await;
            }
            Ok(permit) => {
                let outcome = match self.answer_for_login(answering, &permit, dress).await {
                    Some(outcome) => outcome,
                    None => {
                        self.perform(asking, answering, server, &permit, taken, &asked)
                            .await
                    }
                };
                permit.outcome(outcome);
            }
        }
    }

    /// Content is read only of requests that are whole so far.
    async fn take_content(
        &self,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        understood: &mut Understood,
    ) -> Result<Taken, ClientError> {
        let host = &understood.request.target.host;
        let need = if self.is_model_host(host) {
            Need::WholePrompt
        } else if tagout_catalog::git::is_push(&understood.request) {
            Need::WholePush
        } else if pack_for_host(host).is_some() || understood.request.method.as_str() == "DELETE" {
            Need::Whole
        } else if messages::are_in(&understood.request) {
            Need::Nothing
        } else {
            Need::Beginning
        };
        if !understood.faults.is_empty() {
            understood.framing = Framing::Empty;
        }
        let room = &self.inner.room;
        let taken = match take(asking, answering, understood, need, room).await {
            Err(ClientError::Malformed(what)) => {
                let read = &understood.request;
                let (target, method, path) = (&read.target, &read.method, &read.path);
                let mut malformed = Understood::malformed(what, target);
                malformed.request.method = method.clone();
                malformed.request.path = path.clone();
                *understood = malformed;
                take(asking, answering, understood, need, room).await
            }
            taken => taken,
        }?;
        let broker = self.inner.authority.broker();
        let faults = trailer_faults(&understood.request, asking.trailers(), broker);
        understood.faults.extend(faults);
        Ok(taken)
    }

    /// Examines the slots and recognises the operation: the request as the authority judges it.
    pub(crate) async fn action(
        &self,
        request: HttpRequest,
        faults: Vec<Fault>,
        recognise: fn(&HttpRequest) -> Result<Meaning, Unrecognised>,
    ) -> Action {
        self.action_of(request, faults, recognise, None).await
    }

    /// The same for a request of which `spooled` may be the content.
    async fn action_of(
        &self,
        mut request: HttpRequest,
        mut faults: Vec<Fault>,
        recognise: fn(&HttpRequest) -> Result<Meaning, Unrecognised>,
        spooled: Option<&Spooled>,
    ) -> Action {
        let broker = self.inner.authority.broker();
        let is_model_host = self.is_model_host(&request.target.host);
        let mut notes = Vec::new();
        if is_model_host && let Some(masked) = broker.mask_for_model_host(request.body.bytes()) {
            // git and others print real values; a refusal would end the conversation.
            request.body = HttpBody::Whole(masked);
            notes.push("a known secret in a model's prompt was replaced by its decoy".to_owned());
        }
        let mut examined = broker.examine(&request, is_model_host);
        faults.append(&mut examined.faults);
        let (operations, graphql) = match recognise(&request) {
            Err(unrecognised) => {
                let graphql = unrecognised.graphql;
                faults.push(unrecognised.into());
                (vec![], graphql)
            }
            Ok(meaning) => {
                if adopt(&mut request, meaning.body, meaning.query) {
                    // What will be sent has another spelling now, so it is examined as well.
                    examined = broker.examine(&request, is_model_host);
                    let new = examined
                        .faults
                        .drain(..)
                        .filter(|fault| !faults.contains(fault));
                    let new: Vec<_> = new.collect();
                    faults.extend(new);
                }
                let (looked, fault) = self
                    .look_into_push(&mut request, meaning.operations, spooled)
                    .await;
                faults.extend(fault);
                (self.prove_pushes(looked).await, meaning.graphql)
            }
        };
        if self.is_credentialed(&request.target.host) {
            // A range of an answer that echoes a credential is a piece of it that no redactor knows.
            // A server may always answer with the whole (RFC 9110 §14.2).
            let is_range = |name: &str| matches!(name, "range" | "if-range");
            request.headers.retain(|(name, _)| !is_range(name));
            // The same goes for messages that are compressed one by one.
            let is_coding = |name: &str| messages::ACCEPT_ENCODING.contains(&name);
            request.headers.retain(|(name, _)| !is_coding(name));
        }
        if request.target.transport == Transport::Plain && !examined.uses.is_empty() {
            faults.push(fault(
                FaultKind::StrayDecoy,
                "a credential would leave without encryption",
                "Use https:// with this host.",
            ));
        }
        let may_be_held = operations
            .iter()
            .any(|operation| operation.effect >= Effect::Destructive || !operation.known);
        if request.body == HttpBody::Streamed && may_be_held && faults.is_empty() {
            faults.push(too_large());
        }
        notes.append(&mut examined.notes);
        self.note(&request.target, &notes).await;
        Action::new(request, operations, examined.uses, faults, graphql)
    }

    /// Records what was seen in a request without being a reason to refuse it.
    pub(crate) async fn note(&self, target: &Target, notes: &[String]) {
        if notes.is_empty() {
            return;
        }
        let fields = json!({"host": target.host, "port": target.port, "notes": notes});
        // A ledger that cannot be written denies at the verdict.
        let _ = self.inner.authority.record().append("note", fields).await;
    }
}

impl Asked {
    fn of(understood: &Understood) -> Self {
        Self {
            head_only: understood.request.method.as_str() == "HEAD",
            wants_upgrade: understood.wants_upgrade,
            websocket: understood.websocket.clone(),
            wants_trailers: understood.wants_trailers,
            accept_encoding: understood.accept_encoding.clone(),
        }
    }

    fn refusal_status(&self, action: &Action, version: Version) -> StatusCode {
        let mut kinds = action.faults().iter().map(|fault| fault.kind);
        if self.wants_upgrade {
            StatusCode::UPGRADE_REQUIRED
        } else if version == Version::Http2 && kinds.any(|it| it == FaultKind::AuthorityMismatch) {
            // RFC 9110 §15.5.20: a connection that is used for another host than its own.
            StatusCode::MISDIRECTED_REQUEST
        } else {
            StatusCode::FORBIDDEN
        }
    }
}

/// Puts the catalog's canonical form in the place of the agent's spelling; whether that changed
/// anything.
fn adopt(
    request: &mut HttpRequest,
    body: Option<tagout_catalog::CanonicalBody>,
    query: Option<tagout_core::CanonicalQuery>,
) -> bool {
    let changed = body.is_some() || query.is_some();
    if let Some(body) = body {
        request.headers.retain(|(name, _)| name != "content-type");
        if !body.bytes.is_empty() {
            let content_type = body.content_type.to_owned();
            request
                .headers
                .push(("content-type".to_owned(), content_type));
        }
        request.body = match body.bytes.len() {
            0 => HttpBody::Empty,
            _ => HttpBody::Whole(body.bytes),
        };
    }
    if let Some(query) = query {
        request.query = query;
    }
    changed
}
