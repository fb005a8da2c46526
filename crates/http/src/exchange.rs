//! One request and its answer, to be read aloud: understand the head, take the content, examine the
//! credential slots, recognise the operation, ask the authority, attach, send, clean the answer,
//! record the outcome. Whatever goes wrong before the authority is asked becomes a fault of the
//! action; whatever goes wrong after it ends the exchange. It is the same for every version of HTTP.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tagout_authority::{Outcome, Permit};
use tagout_catalog::{Meaning, Unrecognised, answer_secrets, pack_for_host, recognise};
use tagout_core::{
    Action, Effect, Fault, FaultKind, HttpBody, HttpRequest, Refusal, Target, Transport,
};
use tagout_secrets::Redactor;
use tokio::time::{sleep, timeout};

use crate::answer::{Delivery, SILENCE};
use crate::client::{Answering, Asking, ClientError, gone};
use crate::content::{Need, Taken, take, too_large};
use crate::gate::Gate;
use crate::git::refuse_client;
use crate::handed_out::cookie_value;
use crate::head::{Framing, Malformed, RequestHead, Version};
use crate::messages;
use crate::outgoing::outgoing;
use crate::refusal::{Dress, refuse};
use crate::server::{Lease, SendError, Server};
use crate::spool::Spooled;
use crate::streaming::Streaming;
use crate::understand::{Understood, fault, trailer_faults, understand};
use crate::upload::{Looks, OutgoingBody, Upload, UploadError, pump};
use crate::websocket::Handshake;

/// What is known about the client's side of an exchange once its request was read.
pub(crate) struct Asked {
    head_only: bool,
    wants_upgrade: bool,
    websocket: Option<Handshake>,
    wants_trailers: bool,
    accept_encoding: Option<String>,
}

/// How an answer is cleaned.
struct Cleaning {
    /// A credential may be attached on this host.
    credentialed: bool,
    /// Takes out what may have been attached.
    redactor: Option<Redactor>,
}

/// How a streamed exchange ended.
enum Streamed {
    Answered(Outcome),
    GivenUp(UploadError),
    Silent,
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
                let target = understood.request.target.clone();
                *understood = Understood::malformed(what, &target);
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
    async fn note(&self, target: &Target, notes: &[String]) {
        if notes.is_empty() {
            return;
        }
        let fields = json!({"host": target.host, "port": target.port, "notes": notes});
        // A ledger that cannot be written denies at the verdict.
        let _ = self.inner.authority.record().append("note", fields).await;
    }

    /// Attaches, sends and answers.
    async fn perform(
        &self,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        server: &Server,
        permit: &Permit,
        taken: Taken,
        asked: &Asked,
    ) -> Outcome {
        let stored = permit.action().request();
        let credentialed = self.is_credentialed(&stored.target.host);
        let encoding = match &asked.accept_encoding {
            Some(accepted) if !credentialed && stored.method.is_read() => accepted,
            _ => "identity",
        };
        let held = stored.body.bytes().len() as u64;
        let mut outcome = Outcome {
            request_bytes: taken.spooled.as_ref().map_or(held, Spooled::octets),
            ..Outcome::default()
        };
        if let Some(handshake) = &asked.websocket {
            return self
                .websocket(asking, answering, server, permit, asked, handshake)
                .await;
        }
        let failed = match taken.upload {
            Some(upload) => {
                return self
                    .stream(asking, answering, server, permit, encoding, upload, asked)
                    .await;
            }
            None => {
                let spooled = taken.spooled.as_ref();
                let trailers = asked.wants_trailers;
                let sending = self.send_with_login(server, permit, encoding, trailers, spooled);
                let sent = tokio::select! {
                    biased;
                    () = gone(asking, answering) => {
                        outcome.error = Some(ClientError::Gone.to_string());
                        return outcome;
                    }
                    sent = timeout(SILENCE, sending) => sent,
                };
                match sent {
                    Ok(Ok(answered)) => {
                        return self
                            .answer(
                                Some(asking),
                                answering,
                                server,
                                permit,
                                asked,
                                answered,
                                outcome,
                            )
                            .await;
                    }
                    Ok(Err(error)) => unsent(&error),
                    Err(_) => failed("the server did not answer.", "Try again later."),
                }
            }
        };
        outcome.error = Some(failed.reason.clone());
        self.fail(answering, permit, asked, &failed).await;
        outcome
    }

    /// Sends content while it comes, and answers as soon as the server does: either side may go on
    /// for as long as it has something to say.
    #[allow(clippy::too_many_arguments)]
    async fn stream(
        &self,
        asking: &mut impl Asking,
        answering: &mut impl Answering,
        server: &Server,
        permit: &Permit,
        encoding: &str,
        upload: Upload,
        asked: &Asked,
    ) -> Outcome {
        if upload.expects_continue && answering.go_on().await.is_err() {
            return gave_up(&ClientError::Gone.to_string(), 0);
        }
        let (sender, body) = OutgoingBody::streamed(upload.length);
        let request = match outgoing(permit, encoding, asked.wants_trailers, Some(body)) {
            Ok(request) => request,
            Err(error) => {
                self.fail(answering, permit, asked, &unsent(&error)).await;
                return gave_up(&error.to_string(), 0);
            }
        };
        let request_of = permit.action().request();
        let kind = Streaming::of(permit.action());
        let looks = Looks {
            at_content: &|window| kind.fault(window, permit.broker()),
            at_trailers: &|fields| {
                let faults = trailer_faults(request_of, fields, permit.broker());
                faults.into_iter().next()
            },
        };
        let heard = AtomicBool::new(false);
        let mut octets = None;
        let ended = {
            let mut pumping = pin!(pump(
                asking,
                upload,
                permit.broker().stream(),
                sender,
                &looks
            ));
            let mut answered = pin!(async {
                match server.send(request).await {
                    Ok(answered) => {
                        heard.store(true, Ordering::Relaxed);
                        let nobody = None::<&mut crate::client::Nobody>;
                        let outcome = Outcome::default();
                        self.answer(
                            nobody,
                            &mut *answering,
                            server,
                            permit,
                            asked,
                            answered,
                            outcome,
                        )
                        .await
                    }
                    Err(error) => {
                        let failed = unsent(&error);
                        self.fail(&mut *answering, permit, asked, &failed).await;
                        gave_up(&failed.reason, 0)
                    }
                }
            });
            let mut is_pumping = true;
            let mut silence = pin!(sleep(SILENCE));
            loop {
                tokio::select! {
                    biased;
                    pumped = &mut pumping, if is_pumping => {
                        is_pumping = false;
                        silence.as_mut().reset(tokio::time::Instant::now() + SILENCE);
                        match pumped {
                            Ok(count) => octets = Some(count),
                            // The server may have answered early, and its answer says why.
                            Err(UploadError::Server) => (),
                            Err(error) => break Streamed::GivenUp(error),
                        }
                    }
                    outcome = &mut answered => break Streamed::Answered(outcome),
                    () = &mut silence, if !is_pumping && !heard.load(Ordering::Relaxed) => {
                        break Streamed::Silent;
                    }
                }
            }
        };
        match ended {
            Streamed::Answered(mut outcome) => {
                outcome.request_bytes = octets.unwrap_or(0);
                outcome
            }
            Streamed::Silent => {
                let failed = failed("the server did not answer.", "Try again later.");
                self.fail(answering, permit, asked, &failed).await;
                gave_up(&failed.reason, octets.unwrap_or(0))
            }
            Streamed::GivenUp(error) => {
                let text = error.to_string();
                if !matches!(error, UploadError::Client(_)) {
                    let failed = failed(
                        format!("{text}."),
                        "Take the value out of the content. What was sent so far was given up.",
                    );
                    self.fail(answering, permit, asked, &failed).await;
                }
                gave_up(&text, 0)
            }
        }
    }

    /// Cleans the server's answer while it streams to the client.
    #[allow(clippy::too_many_arguments)]
    pub(crate) async fn answer(
        &self,
        asking: Option<&mut impl Asking>,
        answering: &mut impl Answering,
        server: &Server,
        permit: &Permit,
        asked: &Asked,
        (response, lease): (Response<Incoming>, Lease),
        mut outcome: Outcome,
    ) -> Outcome {
        let action = permit.action();
        let host = &action.request().target.host;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // It would have the rest of the connection to itself.
            let failed = failed(
                "the server switched to another protocol without being asked.",
                "Use plain HTTP requests with this host.",
            );
            outcome.error = Some(failed.reason.clone());
            self.fail(answering, permit, asked, &failed).await;
            return outcome;
        }
        outcome.status = Some(response.status().as_u16());
        self.git_was_answered(action.credentials(), response.status())
            .await;
        let cleaning = Cleaning {
            credentialed: self.is_credentialed(host),
            redactor: self.inner.attachable.redactor(host, permit.broker()),
        };
        let remember = |values: Vec<Vec<u8>>| {
            for value in values {
                permit.broker().remember_handed_out(host, &value);
            }
        };
        if !cleaning.credentialed {
            let cookies = response.headers().get_all(http::header::SET_COOKIE);
            let values = cookies
                .iter()
                .filter_map(|field| cookie_value(field.as_bytes()));
            remember(values.collect());
        }
        let delivery = Delivery {
            head_only: action.request().method.as_str() == "HEAD",
            wants_trailers: asked.wants_trailers,
            credentialed: cleaning.credentialed,
            redactor: cleaning.redactor.as_ref(),
            hand_out: (!cleaning.credentialed).then_some(&remember),
            room: &self.inner.room,
        };
        if let Some(secrets) = answer_secrets(action.request()) {
            let of = (action, permit.broker());
            match delivery
                .deliver_veiled(answering, response, &secrets, of)
                .await
            {
                Ok(veiled) => {
                    server.give_back(lease);
                    outcome.response_bytes = veiled.octets;
                    let note = format!("{} secrets of the answer became decoys", veiled.secrets);
                    self.note(&action.request().target, &[note]).await;
                }
                Err(error) => {
                    outcome.error = Some(error.to_string());
                    let refusal = failed(
                        format!("{error}."),
                        "Leave the secret fields out of the request.",
                    );
                    self.fail(answering, permit, asked, &refusal).await;
                }
            }
            return outcome;
        }
        match delivery.deliver(asking, answering, response).await {
            Ok(received) => {
                server.give_back(lease);
                outcome.response_bytes = received;
            }
            Err(error) => {
                outcome.error = Some(error.to_string());
                if error.is_of_answer() {
                    let refusal = failed(
                        format!("{error}."),
                        "Nothing can be done from here; tell your user which URL answers so.",
                    );
                    self.fail(answering, permit, asked, &refusal).await;
                }
            }
        }
        outcome
    }

    /// Tells of a failure behind the verdict: the request was allowed, the server failed. An answer
    /// that has begun can only be cut off.
    pub(crate) async fn fail(
        &self,
        answering: &mut impl Answering,
        permit: &Permit,
        asked: &Asked,
        failed: &Refusal,
    ) {
        answering.close_after();
        if answering.has_begun() {
            return;
        }
        let dress = Dress {
            status: StatusCode::BAD_GATEWAY,
            graphql: permit.action().is_graphql(),
            grpc: messages::are_grpc(permit.action().request()),
            head_only: asked.head_only,
        };
        // A client that does not read it has gone away.
        let _ = refuse(answering, failed, dress).await;
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

pub(crate) fn gave_up(error: &str, request_bytes: u64) -> Outcome {
    Outcome {
        error: Some(error.to_owned()),
        request_bytes,
        ..Outcome::default()
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

pub(crate) fn unsent(error: &SendError) -> Refusal {
    failed(
        format!("{error}."),
        "The request was allowed but did not arrive. Check that the host is up, then try again.",
    )
}

pub(crate) fn failed(reason: impl Into<String>, how_to_proceed: &str) -> Refusal {
    Refusal::denied(reason, how_to_proceed)
}
