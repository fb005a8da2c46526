//! One request and its answer, to be read aloud: understand the head, take the content, examine the
//! credential slots, recognise the operation, ask the authority, attach, send, clean the answer,
//! record the outcome. Whatever goes wrong before the authority is asked becomes a fault of the
//! action; whatever goes wrong after it ends the exchange.

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tagout_authority::{Admission, Outcome, Permit};
use tagout_catalog::{pack_for_host, recognise};
use tagout_core::{Action, Effect, FaultKind, HttpBody, HttpRequest, Refusal, Target, Transport};
use tagout_secrets::Redactor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::answer::{DeliverError, Delivery, SILENCE};
use crate::client::{Client, ClientError};
use crate::content::{Need, Taken, take, too_large};
use crate::gate::Gate;
use crate::handed_out::cookie_value;
use crate::head::Framing;
use crate::outgoing::{SendError, Server, outgoing};
use crate::refusal::{Dress, render};
use crate::understand::{Understood, fault, understand};
use crate::upload::{OutgoingBody, Upload, UploadError, pump};

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another request may come.
    Again,
    /// Nothing more is read.
    Close,
}

/// What is known about the client's side of an exchange once its request was read.
struct Asked {
    head_only: bool,
    is_http_11: bool,
    keeps_alive: bool,
    wants_upgrade: bool,
    accept_encoding: Option<String>,
}

/// How an answer is cleaned.
struct Cleaning {
    /// A credential may be attached on this host.
    credentialed: bool,
    /// Takes out what may have been attached.
    redactor: Option<Redactor>,
}

impl Gate {
    /// Reads one request, has it judged, and answers it.
    pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        server: &mut Server<'_>,
        admission: &Admission,
    ) -> Next {
        let target = admission.target();
        let mut understood = match client.head().await {
            Ok(Some(head)) => understand(head, target),
            Err(ClientError::Malformed(what)) => Understood::malformed(what, target),
            Ok(None) | Err(ClientError::Gone | ClientError::Slow) => return Next::Close,
        };
        let mut taken = match self.take_content(client, &mut understood).await {
            Ok(taken) => taken,
            Err(_) => return Next::Close,
        };
        let mut asked = Asked::of(&understood);
        let is_streamed = taken.upload.is_some();
        understood.request.body = std::mem::replace(&mut taken.body, HttpBody::Empty);
        let action = self.action(understood).await;
        let (graphql, faulty) = (action.is_graphql(), !action.faults().is_empty());
        let verdict = tokio::select! {
            biased;
            // An approval must not release a request whose answer nobody reads.
            () = client.gone(), if !is_streamed => return Next::Close,
            verdict = self.inner.authority.judge(action) => verdict,
        };
        match verdict {
            Err(refusal) => {
                let dress = Dress {
                    status: if asked.wants_upgrade { 426 } else { 403 },
                    graphql,
                    head_only: asked.head_only,
                    keeps_alive: asked.keeps_alive && !faulty && !is_streamed,
                };
                send_refusal(client, &refusal, dress).await
            }
            Ok(permit) => {
                let (outcome, next) = self
                    .perform(client, server, &permit, taken, &mut asked)
                    .await;
                permit.outcome(outcome).await;
                next
            }
        }
    }

    /// Content is read only of requests that are whole so far.
    async fn take_content<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        understood: &mut Understood,
    ) -> Result<Taken, ClientError> {
        let host = &understood.request.target.host;
        let need = if self.is_model_host(host) {
            Need::WholePrompt
        } else if pack_for_host(host).is_some() || understood.request.method.as_str() == "DELETE" {
            Need::Whole
        } else {
            Need::Beginning
        };
        if !understood.faults.is_empty() {
            understood.framing = Framing::Empty;
        }
        match take(client, understood, need, &self.inner.room).await {
            Err(ClientError::Malformed(what)) => {
                let target = understood.request.target.clone();
                *understood = Understood::malformed(what, &target);
                take(client, understood, need, &self.inner.room).await
            }
            taken => taken,
        }
    }

    /// Examines the slots and recognises the operation: the request as the authority judges it.
    async fn action(&self, understood: Understood) -> Action {
        let Understood {
            mut request,
            mut faults,
            ..
        } = understood;
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
                (meaning.operations, meaning.graphql)
            }
        };
        if self.is_credentialed(&request.target.host) {
            // A range of an answer that echoes a credential is a piece of it that no redactor knows.
            // A server may always answer with the whole (RFC 9110 §14.2).
            let is_range = |name: &str| matches!(name, "range" | "if-range");
            request.headers.retain(|(name, _)| !is_range(name));
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
    async fn perform<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        server: &mut Server<'_>,
        permit: &Permit,
        taken: Taken,
        asked: &mut Asked,
    ) -> (Outcome, Next) {
        let action = permit.action();
        let stored = action.request();
        let host = &stored.target.host;
        let redactor = self.inner.attachable.redactor(host, permit.broker());
        let credentialed = self.is_credentialed(host);
        let mut outcome = Outcome {
            request_bytes: stored.body.bytes().len() as u64,
            ..Outcome::default()
        };
        let encoding = match &asked.accept_encoding {
            Some(accepted) if !credentialed && stored.method.is_read() => accepted,
            _ => "identity",
        };
        let sent = match taken.upload {
            None => self.send_whole(client, server, permit, encoding).await,
            Some(upload) => {
                let (sent, octets) = self
                    .send_streamed(client, server, permit, encoding, upload)
                    .await;
                // A server that answers early leaves content unread, and this connection with it.
                asked.keeps_alive &= octets.is_some();
                outcome.request_bytes = octets.unwrap_or(0);
                sent
            }
        };
        let failed = match sent {
            Ok(Some(response)) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                outcome.status = Some(response.status().as_u16());
                let cleaning = Cleaning {
                    credentialed,
                    redactor,
                };
                return self
                    .answer(client, permit, asked, response, cleaning, outcome)
                    .await;
            }
            // It would have the rest of the connection to itself.
            Ok(Some(_)) => failed(
                "the server switched to another protocol without being asked.",
                "Use plain HTTP/1.1 requests with this host.",
            ),
            Ok(None) => {
                outcome.error = Some(ClientError::Gone.to_string());
                return (outcome, Next::Close);
            }
            Err(failed) => failed,
        };
        outcome.error = Some(failed.reason.clone());
        let next = send_refusal(client, &failed, asked.failure_dress(action)).await;
        (outcome, next)
    }

    /// Cleans the server's answer while it streams to the client.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        permit: &Permit,
        asked: &Asked,
        response: Response<Incoming>,
        cleaning: Cleaning,
        mut outcome: Outcome,
    ) -> (Outcome, Next) {
        let action = permit.action();
        let host = &action.request().target.host;
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
            is_http_11: asked.is_http_11,
            keeps_alive: asked.keeps_alive,
            credentialed: cleaning.credentialed,
            redactor: cleaning.redactor.as_ref(),
            hand_out: (!cleaning.credentialed).then_some(&remember),
        };
        match delivery.deliver(client, response).await {
            Ok((received, keeps_alive)) => {
                outcome.response_bytes = received;
                let next = match keeps_alive {
                    true => Next::Again,
                    false => Next::Close,
                };
                (outcome, next)
            }
            Err(error) => {
                outcome.error = Some(error.to_string());
                if let DeliverError::Encoded = error {
                    let refusal = failed(
                        format!("{error}."),
                        "Nothing can be done from here; tell your user which URL answers so.",
                    );
                    send_refusal(client, &refusal, asked.failure_dress(action)).await;
                }
                (outcome, Next::Close)
            }
        }
    }

    /// `Ok(None)` when the client went away.
    async fn send_whole<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        server: &mut Server<'_>,
        permit: &Permit,
        encoding: &str,
    ) -> Result<Option<Response<Incoming>>, Refusal> {
        let request = outgoing(permit, encoding, None).map_err(|error| unsent(&error))?;
        tokio::select! {
            biased;
            () = client.gone() => Ok(None),
            response = timeout(SILENCE, server.send(request)) => match response {
                Ok(Ok(response)) => Ok(Some(response)),
                Ok(Err(error)) => Err(unsent(&error)),
                Err(_) => Err(failed("the server did not answer.", "Try again later.")),
            },
        }
    }

    /// The second of the pair: how many octets were sent, `None` when that was not all of them.
    async fn send_streamed<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Client<S>,
        server: &mut Server<'_>,
        permit: &Permit,
        encoding: &str,
        upload: Upload,
    ) -> (Result<Option<Response<Incoming>>, Refusal>, Option<u64>) {
        let (sender, body) = OutgoingBody::streamed(upload.length);
        let request = match outgoing(permit, encoding, Some(body)) {
            Ok(request) => request,
            Err(error) => return (Err(unsent(&error)), None),
        };
        let finder = permit.broker().stream();
        let (pumped, response) = tokio::join!(
            pump(client, upload, finder, sender),
            timeout(SILENCE, server.send(request)),
        );
        let octets = match pumped {
            Ok(octets) => Some(octets),
            // The server may have answered early, and its answer says why.
            Err(UploadError::Server) => None,
            Err(UploadError::Client(_)) => return (Ok(None), None),
            Err(error @ UploadError::Secret(_)) => {
                let refusal = failed(
                    format!("{error}."),
                    "Take the value out of the content. What was sent so far was given up.",
                );
                return (Err(refusal), None);
            }
        };
        let response = match response {
            Ok(Ok(response)) => Ok(Some(response)),
            Ok(Err(error)) => Err(unsent(&error)),
            Err(_) => Err(failed("the server did not answer.", "Try again later.")),
        };
        (response, octets)
    }
}

impl Asked {
    fn of(understood: &Understood) -> Self {
        Self {
            head_only: understood.request.method.as_str() == "HEAD",
            is_http_11: understood.is_http_11,
            keeps_alive: understood.keeps_alive,
            wants_upgrade: understood.wants_upgrade,
            accept_encoding: understood.accept_encoding.clone(),
        }
    }

    /// How a failure behind the verdict is told: the request was allowed, the server failed.
    fn failure_dress(&self, action: &Action) -> Dress {
        Dress {
            status: 502,
            graphql: action.is_graphql(),
            head_only: self.head_only,
            keeps_alive: false,
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

async fn send_refusal<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    refusal: &Refusal,
    dress: Dress,
) -> Next {
    match client.send(&render(refusal, dress)).await {
        Ok(()) if dress.keeps_alive => Next::Again,
        _ => Next::Close,
    }
}

fn unsent(error: &SendError) -> Refusal {
    failed(
        format!("{error}."),
        "The request was allowed but did not arrive. Check that the host is up, then try again.",
    )
}

fn failed(reason: impl Into<String>, how_to_proceed: &str) -> Refusal {
    Refusal::denied(reason, how_to_proceed)
}
