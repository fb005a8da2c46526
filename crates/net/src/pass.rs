//! Passing a connection through unread, for hosts that a task grants with `inspect = false`. Only
//! the server name was checked; Tagout sees no request and attaches no credential.

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::upstream::Connection;

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes from the sandbox to the world.
    pub sent: u64,
    /// Bytes from the world to the sandbox.
    pub received: u64,
}

/// Copies both ways until both sides have ended.
///
/// # Errors
/// When either side breaks; bytes until then are not counted.
pub async fn pass_through<S>(mut client: S, mut connection: Connection) -> std::io::Result<Passed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sent, received) = copy_bidirectional(&mut client, &mut connection.stream).await?;
    Ok(Passed { sent, received })
}
