//! The name server's sockets: UDP and TCP (RFC 7766) in the gates' own network namespace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::NetError;
use crate::names::Names;

/// TCP connections at one time; more wait in the kernel.
const MOST_CONNECTIONS: usize = 64;
/// A TCP client that asks nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Pause after an error of a socket, so that a lasting one burns no processor.
const BREATHER: Duration = Duration::from_millis(20);
/// What an address may have to wait for is not waited for longer: stub resolvers give up after a few
/// seconds, and the name is no secret.
const LONGEST_QUESTION: Duration = Duration::from_secs(4);
/// Queries that wait at one time; more are answered at once.
const MOST_WAITING: usize = 64;
/// Longest query that is read. Stub resolvers send a few hundred octets.
const LONGEST_QUERY: usize = 4096;

/// Answers on both sockets until it is dropped.
pub struct NameServer {
    _tasks: JoinSet<()>,
}

impl NameServer {
    /// Takes over bound sockets and serves `names` on them. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When a socket cannot be taken over.
    pub fn start(
        names: Arc<Names>,
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
    ) -> Result<Self, NetError> {
        udp.set_nonblocking(true).map_err(NetError::Listener)?;
        tcp.set_nonblocking(true).map_err(NetError::Listener)?;
        let udp = UdpSocket::from_std(udp).map_err(NetError::Listener)?;
        let tcp = TcpListener::from_std(tcp).map_err(NetError::Listener)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::clone(&names), udp));
        tasks.spawn(serve_tcp(names, tcp));
        Ok(Self { _tasks: tasks })
    }
}

async fn serve_udp(names: Arc<Names>, socket: UdpSocket) {
    let mut buffer = [0u8; LONGEST_QUERY];
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    loop {
        while waiting.try_join_next().is_some() {}
        // An error here is about one peer (ICMP) and no reason to stop.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            sleep(BREATHER).await;
            continue;
        };
        let Some(query) = buffer.get(..length) else {
            continue;
        };
        if let Some(settled) = names.open_question(query)
            && waiting.len() < MOST_WAITING
        {
            let (names, socket, query) = (Arc::clone(&names), Arc::clone(&socket), query.to_vec());
            waiting.spawn(async move {
                wait_for(settled).await;
                if let Some(answer) = names.answer(&query) {
                    let _ = socket.send_to(&answer, peer).await;
                }
            });
            continue;
        }
        if let Some(answer) = names.answer(query) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn wait_for(mut settled: watch::Receiver<bool>) {
    // An answer that comes too late, or never, is one that the name can do without.
    let _ = timeout(LONGEST_QUESTION, settled.wait_for(|settled| *settled)).await;
}

async fn serve_tcp(names: Arc<Names>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut clients = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(BREATHER).await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        let names = Arc::clone(&names);
        clients.spawn(async move {
            let _ = serve_client(&names, stream).await;
            drop(place);
        });
    }
}

async fn serve_client(names: &Names, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0u8; LONGEST_QUERY];
    loop {
        let query = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            let query = buffer.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
            stream.read_exact(query).await?;
            io::Result::Ok(length)
        });
        let length = query.await??;
        if let Some(settled) = buffer
            .get(..length)
            .and_then(|query| names.open_question(query))
        {
            wait_for(settled).await;
        }
        let Some(answer) = buffer.get(..length).and_then(|query| names.answer(query)) else {
            return Ok(());
        };
        let mut framed = u16::try_from(answer.len())
            .unwrap_or(0)
            .to_be_bytes()
            .to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::AddressRange;
    use tagout_core::HostPattern;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x07example\x03com\x00\x00\x01\x00\x01";

    #[tokio::test]
    async fn an_address_waits_for_what_must_be_found_out_first() {
        let names = Arc::new(Names::new(AddressRange::SYNTHETIC, |_| ()));
        let host = tagout_core::HostName::parse("api.example.com").unwrap();
        names.grant(HostPattern::Exact(host.clone()));
        let question = names.question(host);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp_at = udp.local_addr().unwrap();
        let _server = NameServer::start(Arc::clone(&names), udp, tcp).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(QUERY, udp_at).await.unwrap();
        question.asked().await;
        // Another name is not kept waiting.
        let mut other = QUERY.to_vec();
        other[13..16].copy_from_slice(b"web");
        client.send_to(&other, udp_at).await.unwrap();
        let mut buffer = [0u8; 512];
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[13..16], b"web", "{:?}", &buffer[..length]);
        question.settle();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[13..16], b"api", "{:?}", &buffer[..length]);
        client.send_to(QUERY, udp_at).await.unwrap();
        assert!(client.recv(&mut buffer).await.is_ok());
    }

    #[tokio::test]
    async fn both_sockets_answer_and_the_address_leads_back() {
        let names = Arc::new(Names::new(AddressRange::SYNTHETIC, |_| ()));
        names.grant(HostPattern::parse("api.example.com").unwrap());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let _server = NameServer::start(Arc::clone(&names), udp, tcp).unwrap();

        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"junk", udp_at).await.unwrap();
        client.send_to(QUERY, udp_at).await.unwrap();
        let mut buffer = [0u8; 512];
        let length = client.recv(&mut buffer).await.unwrap();
        let address: [u8; 4] = buffer[length - 4..length].try_into().unwrap();
        let name = names.lookup(std::net::IpAddr::from(address)).unwrap();
        assert_eq!(name.as_str(), "api.example.com");

        let mut client = TcpStream::connect(tcp_at).await.unwrap();
        for _ in 0..2 {
            client.write_u16(QUERY.len() as u16).await.unwrap();
            client.write_all(QUERY).await.unwrap();
            let length = usize::from(client.read_u16().await.unwrap());
            client.read_exact(&mut buffer[..length]).await.unwrap();
            assert_eq!(buffer[length - 4..length], address);
        }
        client.write_u16(u16::MAX).await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    }
}
