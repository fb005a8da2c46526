//! Answers that hold secrets: read whole, each secret replaced by a decoy, and only then passed on. What
//! is encoded, too large or of another shape than its request gives it stays here.

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tagout_catalog::{AnswerSecrets, SecretPlace};
use tagout_core::Action;
use tagout_credentials::Broker;
use tokio::time::timeout;

use crate::answer::{Delivery, SILENCE};
use crate::client::{AnswerHead, Answering, ClientError, Content};
use crate::coding::{Decoding, Undecodable};

/// The largest answer that is looked through.
const LARGEST: usize = 8 * 1024 * 1024;

/// Why an answer with secrets was not passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VeilError {
    /// Because of the client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be read, or not understood.
    #[error("the answer holds secrets and {0}, so it was not passed on")]
    Withheld(&'static str),
}

/// What became of an answer.
pub(crate) struct Veiled {
    /// Octets that were passed on.
    pub(crate) octets: u64,
    /// Values that became decoys.
    pub(crate) secrets: usize,
}

impl Delivery<'_> {
    /// Writes an answer whose request says where its secrets are.
    pub(crate) async fn deliver_veiled(
        &self,
        answering: &mut impl Answering,
        response: Response<Incoming>,
        secrets: &AnswerSecrets,
        (action, broker): (&Action, &Broker),
    ) -> Result<Veiled, VeilError> {
        let (head, body) = response.into_parts();
        let decoding = Decoding::of_answer(&head.headers)
            .map_err(|_| VeilError::Withheld("is encoded in a way that cannot be read"))?;
        let memory = decoding.as_ref().map_or(0, Decoding::memory);
        let place = self.room.wait_for(memory).await;
        let _place = place.ok_or(VeilError::Withheld("cannot be decoded at this moment"))?;
        let body = timeout(SILENCE, Limited::new(body, LARGEST).collect())
            .await
            .map_err(|_| VeilError::Withheld("did not end"))?
            .map_err(|_| VeilError::Withheld("broke off or is larger than 8 MiB"))?
            .to_bytes();
        let body = match decoding {
            None => body,
            Some(decoding) => decoded(decoding, &body)
                .map_err(|_| VeilError::Withheld("is not encoded as it says, or too long"))?
                .into(),
        };
        let label = action
            .operations()
            .iter()
            .map(|operation| operation.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let mut veil = broker
            .veil(&label)
            .ok_or(VeilError::Withheld("no decoys can be made"))?;
        let silent = self.head_only || head.status == StatusCode::NO_CONTENT || body.is_empty();
        let clean = match silent {
            true => Vec::new(),
            false => secrets
                .replaced(&body, &mut |place, name, text| match place {
                    SecretPlace::Credential => veil.credential(text),
                    SecretPlace::Document => veil.named(name, text),
                })
                .map_err(|_| VeilError::Withheld("does not have the shape of its request"))?,
        };
        let secrets = veil.learn();
        let clean = match self.redactor {
            Some(redactor) => redactor.redact(&clean),
            None => clean,
        };
        let begun = AnswerHead {
            status: head.status,
            fields: self.head_fields(&head.headers),
            content: match silent {
                true => Content::None(None),
                false => Content::Length(clean.len() as u64),
            },
        };
        let octets = clean.len() as u64;
        answering.head(begun).await?;
        if !silent {
            answering.data(clean.into()).await?;
        }
        answering.end(None).await?;
        Ok(Veiled { octets, secrets })
    }
}

fn decoded(mut decoding: Decoding, body: &[u8]) -> Result<Vec<u8>, Undecodable> {
    decoding.feed(body);
    let mut content = Vec::new();
    while let Some(piece) = decoding.next()? {
        if content.len() + piece.len() > LARGEST {
            return Err(Undecodable::TooLong);
        }
        content.extend(piece);
    }
    decoding.finish()?;
    Ok(content)
}
