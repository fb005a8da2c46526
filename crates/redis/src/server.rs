//! A connection to a server, and short questions of the gate's own on it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::ProtocolError;
use crate::command::Command;
use crate::reply::{Replies, Value};

/// How long a server may take for an answer to a question of the gate's own.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// The longest such answer, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;

/// Why a server gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The connection.
    #[error("the database's connection was lost: {0}")]
    Connection(#[from] std::io::Error),
    /// What it says.
    #[error("the database does not speak as Redis does: {0}")]
    Protocol(#[from] ProtocolError),
    /// It says no.
    #[error("the database said: {0}")]
    Said(String),
    /// It says nothing.
    #[error("the database does not answer")]
    TooSlow,
}

/// Any way to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
/// A connection to a server.
pub(crate) type Link = Box<dyn Stream>;

/// A server that answers one command after the other.
pub(crate) struct Server {
    pub(crate) link: Link,
    /// What was read of it and belongs to no answer yet.
    pub(crate) read: Vec<u8>,
}

impl Server {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            read: Vec::new(),
        }
    }

    /// Asks something; an error of the server's is one here.
    pub(crate) async fn ask(&mut self, command: &Command) -> Result<Value, ServerError> {
        let asked = async {
            let mut out = Vec::new();
            command.write(&mut out);
            self.link.write_all(&out).await?;
            self.link.flush().await?;
            let mut replies = Replies::default();
            let mut answer = Vec::new();
            loop {
                let taken = replies.take(&self.read)?;
                answer.extend(self.read.drain(..taken));
                if replies.is_over() {
                    return Ok(Value::read(&answer)?);
                }
                if answer.len() > LARGEST_ANSWER {
                    return Err(ProtocolError::TooLong(LARGEST_ANSWER).into());
                }
                if self.link.read_buf(&mut self.read).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
            }
        };
        match timeout(LONGEST_ANSWER, asked).await {
            Ok(Ok(Value::Error(said))) => Err(ServerError::Said(said)),
            Ok(answer) => answer,
            Err(_) => Err(ServerError::TooSlow),
        }
    }
}
