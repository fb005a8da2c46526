//! Data that a client copies into a table (`COPY … FROM STDIN`): its statement was judged, and what is in it
//! is searched for secrets as it passes.

use super::{Conversation, Ended};
use crate::FrontendMessage;
use crate::gate::Stream;

impl<S: Stream> Conversation<S> {
    /// Data for a `COPY … FROM STDIN` that was let through.
    pub(super) async fn copy(&mut self, message: FrontendMessage) -> Result<(), Ended> {
        match &message {
            FrontendMessage::CopyData(data) => {
                let found = self
                    .copying
                    .as_mut()
                    .and_then(|finder| finder.feed(data))
                    .map(|hit| hit.label);
                match found {
                    None => self.write(&message).await,
                    Some(label) => {
                        self.copying = None;
                        let why = format!("Tagout: the data holds the value of {label}");
                        self.write(&FrontendMessage::CopyFail(why)).await
                    }
                }
            }
            FrontendMessage::CopyDone | FrontendMessage::CopyFail(_) => {
                self.copying = None;
                self.write(&message).await
            }
            // The server does not heed these while it takes data.
            FrontendMessage::Flush | FrontendMessage::Sync => Ok(()),
            _ => Err(Ended::Protocol(
                "a message that does not belong into copied data".to_owned(),
            )),
        }
    }
}
