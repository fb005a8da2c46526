//! What happens to a request once it is permitted: the credential is attached, it is sent, and the answer
//! is cleaned while it streams to the client. Nothing here decides, and nothing runs without a permit.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tagout_authority::{Outcome, Permit};
use tagout_catalog::answer_secrets;
use tagout_core::Refusal;
use tagout_secrets::Redactor;
use tokio::time::{sleep, timeout};

use crate::answer::{Delivery, SILENCE};
use crate::client::{Answering, Asking, ClientError, gone};
use crate::content::Taken;
use crate::exchange::Asked;
use crate::gate::Gate;
use crate::handed_out::cookie_value;
use crate::messages;
use crate::outgoing::outgoing;
use crate::refusal::{Dress, refuse};
use crate::server::{Lease, SendError, Server};
use crate::spool::Spooled;
use crate::streaming::Streaming;
use crate::understand::trailer_faults;
use crate::upload::{Looks, OutgoingBody, Upload, UploadError, pump};

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
    /// Attaches, sends and answers.
    pub(crate) async fn perform(
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

pub(crate) fn gave_up(error: &str, request_bytes: u64) -> Outcome {
    Outcome {
        error: Some(error.to_owned()),
        request_bytes,
        ..Outcome::default()
    }
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
