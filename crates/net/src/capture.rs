//! Captured connections. Whatever port an agent's program dials, on whatever synthetic address, the
//! kernel delivers it here, and the accepted socket's local address tells which name was meant. The
//! first bytes are then read, bounded in length and time, to know whether TLS is spoken and for
//! which server name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tagout_core::HostName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client_hello::{ClientHello, parse_client_hello};
use crate::error::NetError;
use crate::names::Names;

/// Connections of one session at one time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 1024;
/// A client must say something, and finish its `ClientHello`, in this time.
const OPENING_SECONDS: u64 = 10;
/// First bytes that are kept: the longest hello in the smallest sensible records.
const LONGEST_OPENING: usize = 64 * 1024;
/// Pause after an error of a socket, so that a lasting one burns no processor.
const BREATHER: Duration = Duration::from_millis(20);
const TLS_HANDSHAKE: u8 = 22;

/// What a captured connection was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The synthetic address of a granted name.
    Known(HostName),
    /// The address that all other names have, or one that stands for none.
    Unknown,
    /// The HTTP proxy for tools that insist on one: what is said on the connection tells the rest.
    Proxy,
}

/// A connection that a program in the sandbox made.
#[derive(Debug)]
pub struct Captured {
    /// The name that was meant.
    pub destination: Destination,
    /// The port that was dialled.
    pub port: u16,
    /// What was read of it already.
    read: Vec<u8>,
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
}

/// How a captured connection begins, nothing of it consumed.
#[derive(Debug)]
pub enum Opening {
    /// With a TLS handshake.
    Tls(ClientHello, Replayed<TcpStream>),
    /// With something else, which had better be HTTP.
    Plain(Replayed<TcpStream>),
    /// With a handshake that cannot be read or whose server name is no host name.
    Broken(NetError, Replayed<TcpStream>),
}

impl Captured {
    /// A connection whose destination is known otherwise than by a synthetic address.
    pub fn new(stream: TcpStream, destination: Destination, port: u16) -> Self {
        Self {
            destination,
            port,
            read: Vec::new(),
            stream,
            place: None,
        }
    }

    /// Waits for the client's first bytes. Protocols in which the server speaks first are not
    /// HTTP, and time out here.
    ///
    /// # Errors
    /// When the client goes away or is silent.
    pub async fn open(self) -> Result<Opening, NetError> {
        timeout(Duration::from_secs(OPENING_SECONDS), self.read_opening())
            .await
            .map_err(|_| NetError::ClientTooSlow {
                what: "say what it wants",
                seconds: OPENING_SECONDS,
            })?
    }

    /// The connection as it is, for a protocol in which the server speaks first.
    pub fn greet(mut self) -> Replayed<TcpStream> {
        let read = std::mem::take(&mut self.read);
        self.replay(read)
    }

    async fn read_opening(mut self) -> Result<Opening, NetError> {
        let mut bytes = std::mem::take(&mut self.read);
        let mut is_at_hand = !bytes.is_empty();
        loop {
            if !is_at_hand {
                let read = self.stream.read_buf(&mut bytes).await;
                if read.map_err(NetError::Client)? == 0 {
                    let end = io::ErrorKind::UnexpectedEof;
                    return Err(NetError::Client(end.into()));
                }
            }
            is_at_hand = false;
            if bytes.first() != Some(&TLS_HANDSHAKE) {
                return Ok(Opening::Plain(self.replay(bytes)));
            }
            match parse_client_hello(&bytes) {
                Ok(Some(hello)) => return Ok(Opening::Tls(hello, self.replay(bytes))),
                Err(error) => return Ok(Opening::Broken(error, self.replay(bytes))),
                Ok(None) if bytes.len() > LONGEST_OPENING => {
                    let error = NetError::Handshake("the ClientHello is too long");
                    return Ok(Opening::Broken(error, self.replay(bytes)));
                }
                Ok(None) => (),
            }
        }
    }

    fn replay(self, bytes: Vec<u8>) -> Replayed<TcpStream> {
        Replayed {
            bytes,
            position: 0,
            stream: self.stream,
            place: self.place,
        }
    }
}

/// A stream whose first bytes were read already and come again. It keeps its place among the
/// session's connections until it is dropped.
#[derive(Debug)]
pub struct Replayed<S> {
    bytes: Vec<u8>,
    position: usize,
    stream: S,
    place: Option<OwnedSemaphorePermit>,
}

impl Replayed<TcpStream> {
    /// The connection as one that was made for something else: it begins with `read`, which was taken
    /// from it, and goes on with what is left.
    #[must_use]
    pub fn captured_for(self, destination: Destination, port: u16, mut read: Vec<u8>) -> Captured {
        read.extend_from_slice(self.bytes.get(self.position..).unwrap_or_default());
        Captured {
            destination,
            port,
            read,
            stream: self.stream,
            place: self.place,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.bytes.get(this.position..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        this.position += count;
        if this.position == this.bytes.len() {
            this.bytes = Vec::new();
            this.position = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The listening sockets of one session, one for each port that a task may reach.
pub struct Listeners {
    incoming: mpsc::Receiver<Captured>,
    _tasks: JoinSet<()>,
}

impl Listeners {
    /// Takes over sockets that listen in the gates' network namespace, each with the port that it
    /// stands for. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When a socket cannot be taken over.
    pub fn start(
        names: Arc<Names>,
        sockets: Vec<(u16, std::net::TcpListener)>,
    ) -> Result<Self, NetError> {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let (sender, incoming) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for (port, socket) in sockets {
            socket.set_nonblocking(true).map_err(NetError::Listener)?;
            let listener = TcpListener::from_std(socket).map_err(NetError::Listener)?;
            tasks.spawn(accept_all(
                listener,
                port,
                Arc::clone(&names),
                Arc::clone(&room),
                sender.clone(),
            ));
        }
        Ok(Self {
            incoming,
            _tasks: tasks,
        })
    }

    /// The next connection; `None` when there is no listening socket.
    pub async fn accept(&mut self) -> Option<Captured> {
        self.incoming.recv().await
    }
}

async fn accept_all(
    listener: TcpListener,
    port: u16,
    names: Arc<Names>,
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Captured>,
) {
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that is gone already: the next one may fare better.
            sleep(BREATHER).await;
            continue;
        };
        let destination = stream.local_addr().map_or(Destination::Unknown, |address| {
            names.destination(plain_address(address), port)
        });
        let _ = stream.set_nodelay(true);
        let captured = Captured {
            destination,
            port,
            read: Vec::new(),
            stream,
            place: Some(place),
        };
        if sender.send(captured).await.is_err() {
            return;
        }
    }
}

/// A dual-stack socket reports IPv4 peers as mapped addresses.
fn plain_address(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::client_hello::tests::hello_for;
    use crate::names::AddressRange;
    use tagout_core::HostPattern;
    use tokio::io::AsyncWriteExt;

    /// All of 127.0.0.0/8 is local to a Linux machine, as all of 198.18.0.0/15 is to the gates.
    const RANGE: AddressRange = AddressRange {
        first: Ipv4Addr::new(127, 18, 1, 0),
        last: Ipv4Addr::new(127, 18, 255, 254),
        refused: Ipv4Addr::new(127, 19, 255, 254),
        proxy: Ipv4Addr::new(127, 19, 255, 253),
    };

    async fn connect(listeners: &mut Listeners, at: (Ipv4Addr, u16)) -> (TcpStream, Captured) {
        let (client, captured) = tokio::join!(TcpStream::connect(at), listeners.accept());
        (client.unwrap(), captured.unwrap())
    }

    #[tokio::test]
    async fn invariant_6_the_synthetic_address_tells_the_name() {
        let names = Arc::new(Names::new(RANGE, |_| ()));
        names.grant(HostPattern::parse("api.example.com").unwrap());
        let host = HostName::parse("api.example.com").unwrap();
        let granted = names.address(&host);
        let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut listeners = Listeners::start(Arc::clone(&names), vec![(443, socket)]).unwrap();
        let (_client, captured) = connect(&mut listeners, (granted, port)).await;
        assert_eq!(captured.destination, Destination::Known(host));
        assert_eq!(captured.port, 443);
        for address in [
            RANGE.refused,
            Ipv4Addr::new(127, 18, 77, 7),
            Ipv4Addr::LOCALHOST,
        ] {
            let (_client, captured) = connect(&mut listeners, (address, port)).await;
            assert_eq!(captured.destination, Destination::Unknown, "{address}");
        }
    }

    async fn open(chunks: &[&[u8]]) -> Result<Opening, NetError> {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let mut client = TcpStream::connect(at).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let captured = Captured::new(stream, Destination::Unknown, 443);
        let send = async {
            for chunk in chunks {
                client.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        tokio::join!(captured.open(), send).0
    }

    #[tokio::test]
    async fn the_first_bytes_are_read_and_come_again() {
        let hello = hello_for("api.example.com");
        let (front, back) = hello.split_at(20);
        let Opening::Tls(parsed, mut stream) = open(&[front, back, b"more"]).await.unwrap() else {
            panic!("no TLS");
        };
        assert_eq!(parsed.server_name.unwrap().as_str(), "api.example.com");
        let mut again = Vec::new();
        stream.read_to_end(&mut again).await.unwrap();
        assert_eq!(again, [&hello[..], b"more"].concat());

        let Opening::Plain(mut stream) = open(&[b"GET / HTTP/1.1\r\n\r\n"]).await.unwrap() else {
            panic!("no plain text");
        };
        again.clear();
        stream.read_to_end(&mut again).await.unwrap();
        assert_eq!(again, b"GET / HTTP/1.1\r\n\r\n");

        let broken = open(&[&hello_for("localhost:9443")]).await.unwrap();
        assert!(matches!(
            broken,
            Opening::Broken(NetError::ServerName(_), _)
        ));
        assert!(open(&[]).await.is_err());
        assert!(open(&[front]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_not_waited_for() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let _client = TcpStream::connect(at).await.unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let captured = Captured::new(stream, Destination::Unknown, 443);
        assert!(matches!(
            captured.open().await,
            Err(NetError::ClientTooSlow { .. })
        ));
    }
}
