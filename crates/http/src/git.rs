//! What the gate does for git beyond what it does for everyone: asks whether an update keeps a branch's
//! history, and answers a refusal where git's client looks for one, so that a person sees the reason.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use tagout_catalog::git::pack::Kind;
use tagout_catalog::git::{Client, Pushed, prove};
use tagout_core::{CredentialUse, Operation, Refusal};

use crate::client::{AnswerHead, Answering, ClientError, Content};
use crate::gate::Gate;
use crate::refusal::{Dress, refuse, render};

/// Knows the commits of the workspace.
pub trait History: Send + Sync {
    /// Whether the commit `old` is among the ancestors of `new`, proved from contents that hash to
    /// their names. Whatever cannot be proved is not so. May take seconds, and blocks.
    fn is_ancestor(&self, old: &str, new: &str) -> bool;

    /// Reads objects whose names have so many digits.
    fn objects(&self, digits: usize) -> Option<Box<dyn Objects>>;
}

/// Objects of the workspace. They are the agent's to have written: who needs them hashes them.
pub trait Objects: Send {
    /// The object of that name; `None` where it is not there, or is too large.
    fn object(&mut self, name: &str) -> Option<(Kind, Vec<u8>)>;
}

/// What somebody waits for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows the logins of repositories, which have to be asked for outside.
pub trait GitCredentials: Send + Sync {
    /// Sees to it that these can be attached; says why one cannot. The request was allowed.
    fn ready<'a>(&'a self, uses: &'a [CredentialUse]) -> Waiting<'a, Result<(), Refusal>>;

    /// A server answered 401: whether there is another value now that may serve better.
    fn renewed<'a>(&'a self, uses: &'a [CredentialUse]) -> Waiting<'a, bool>;

    /// What a server answered in the end.
    fn answered<'a>(&'a self, uses: &'a [CredentialUse], status: u16) -> Waiting<'a, ()>;
}

/// The most of one packet's content on the side band (gitprotocol-pack(5)).
const MOST_OF_A_PACKET: usize = 900;

impl Gate {
    /// With a history to look into. Without one, every update of a branch counts as forced.
    #[must_use]
    pub fn with_history(self, history: Arc<dyn History>) -> Self {
        Self {
            history: Some(history),
            ..self
        }
    }

    /// With logins of repositories.
    #[must_use]
    pub fn with_git_credentials(self, credentials: Arc<dyn GitCredentials>) -> Self {
        Self {
            git_credentials: Some(credentials),
            ..self
        }
    }

    /// Whether the credentials of a permitted request of git's can be attached.
    pub(crate) async fn git_is_ready(&self, uses: &[CredentialUse]) -> Result<(), Refusal> {
        match &self.git_credentials {
            Some(credentials) => credentials.ready(uses).await,
            None => Ok(()),
        }
    }

    /// Whether a request that was answered with 401 is worth another try.
    pub(crate) async fn git_is_renewed(&self, uses: &[CredentialUse]) -> bool {
        match &self.git_credentials {
            Some(credentials) => credentials.renewed(uses).await,
            None => false,
        }
    }

    /// Tells what a server made of the credentials.
    pub(crate) async fn git_was_answered(&self, uses: &[CredentialUse], status: StatusCode) {
        if let Some(credentials) = &self.git_credentials {
            credentials.answered(uses, status.as_u16()).await;
        }
    }

    /// Calls updates that provably keep their branch's history what they are.
    pub(crate) async fn prove_pushes(&self, operations: Vec<Operation>) -> Vec<Operation> {
        let is_push = |operation: &Operation| Pushed::of(operation).is_some();
        let Some(history) = self.history.clone() else {
            return operations;
        };
        if !operations.iter().any(is_push) {
            return operations;
        }
        let mut proved = operations.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for operation in &mut proved {
                prove(operation, |old, new| history.is_ancestor(old, new));
            }
            proved
        });
        looked.await.unwrap_or(operations)
    }
}

/// Answers with a refusal, to a git client in its own way.
pub(crate) async fn refuse_client(
    answering: &mut impl Answering,
    refusal: &Refusal,
    dress: Dress,
    client: Option<&Client>,
) -> Result<(), ClientError> {
    let Some(client) = client else {
        return refuse(answering, refusal, dress).await;
    };
    let (status, kind, content) = dressed(refusal, client);
    let (mut head, _) = render(refusal, dress);
    head.fields
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let head = AnswerHead {
        status: status.unwrap_or(dress.status),
        content: Content::Length(content.len() as u64),
        ..head
    };
    answering.head(head).await?;
    answering.data(content).await?;
    answering.end(None).await
}

/// Status, media type and content. Git prints a body of an error only where it asks for refs and the
/// body is text; elsewhere it wants an answer of the service, in which it was refused.
fn dressed(refusal: &Refusal, client: &Client) -> (Option<StatusCode>, &'static str, Bytes) {
    let text = said(refusal);
    let mut content = Vec::new();
    match client {
        Client::Discovering => (None, "text/plain; charset=utf-8", text.into()),
        Client::Fetching => {
            packet(
                &mut content,
                format!("ERR {}", text.replace('\n', " ")).as_bytes(),
            );
            let kind = "application/x-git-upload-pack-result";
            (Some(StatusCode::OK), kind, content.into())
        }
        Client::Pushing(refs) => {
            let mut report = Vec::new();
            packet(&mut report, b"unpack ok\n");
            for name in refs {
                packet(
                    &mut report,
                    format!("ng {name} refused by Tagout\n").as_bytes(),
                );
            }
            report.extend_from_slice(b"0000");
            for (band, bytes) in [(2, text.as_bytes()), (1, report.as_slice())] {
                for piece in bytes.chunks(MOST_OF_A_PACKET) {
                    packet(&mut content, &[&[band], piece].concat());
                }
            }
            content.extend_from_slice(b"0000");
            let kind = "application/x-git-receive-pack-result";
            (Some(StatusCode::OK), kind, content.into())
        }
    }
}

/// The refusal as lines of text. Nothing that stands in it can be a control character of a terminal.
fn said(refusal: &Refusal) -> String {
    let reason = format!("Tagout: {}\n{}\n", refusal.reason, refusal.how_to_proceed);
    reason
        .chars()
        .map(|it| match it {
            '\n' => '\n',
            it if it.is_control() => ' ',
            it => it,
        })
        .collect()
}

fn packet(into: &mut Vec<u8>, content: &[u8]) {
    into.extend_from_slice(format!("{:04x}", content.len() + 4).as_bytes());
    into.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_told_on_the_side_band_and_for_each_ref() {
        let refusal = Refusal::denied("no\x1b[2J.", "ask.");
        let client = Client::Pushing(vec!["refs/heads/main".to_owned()]);
        let (status, _, content) = dressed(&refusal, &client);
        let text = String::from_utf8(content.to_vec()).unwrap();
        assert_eq!(status, Some(StatusCode::OK));
        assert!(
            text.starts_with("001a\u{2}Tagout: no [2J.\nask.\n"),
            "{text:?}"
        );
        assert!(text.contains("\u{1}000eunpack ok\n"), "{text:?}");
        assert!(
            text.contains("ng refs/heads/main refused by Tagout\n0000"),
            "{text:?}"
        );
        assert!(text.ends_with("0000"));
    }

    #[test]
    fn a_fetch_is_told_in_an_error_packet() {
        let (_, kind, content) = dressed(&Refusal::denied("no.", "ask."), &Client::Fetching);
        assert_eq!(&content[..], b"0019ERR Tagout: no. ask. ");
        assert_eq!(kind, "application/x-git-upload-pack-result");
    }
}
