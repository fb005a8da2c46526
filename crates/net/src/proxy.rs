//! The operator's own proxy (`[network] upstream_proxy`), for machines that reach the world only
//! through one: every upstream connection is asked of it with CONNECT (RFC 9110 §9.3.6), after the
//! verdict. TLS to the server is made inside that, by Tagout, as always.
//!
//! The proxy resolves the name, so Tagout cannot look at the address. What must stay true instead: only
//! a target whose name is proved by a certificate goes through it, and no name that means a machine of
//! some local network.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tagout_core::{Target, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::NetError;

/// How long the proxy may take to connect and answer.
const SECONDS: u64 = 15;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 8 * 1024;
/// Names of local networks (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`).
const LOCAL: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "home.arpa",
    "lan",
    "intranet",
    "corp",
    "home",
    "private",
];

/// A proxy that speaks plain HTTP to its clients.
#[derive(Clone)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What `Proxy-Authorization` says, if it wants to know who asks. Never shown.
    pub authorization: Option<Zeroizing<String>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Connects to the proxy and has it connect to the target. `operators`: the operator's own
    /// configuration names the target, so it may be local.
    ///
    /// # Errors
    /// When the target is none for a proxy, or the proxy cannot be reached or says no.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        operators: bool,
    ) -> Result<(TcpStream, SocketAddr), NetError> {
        let failed = |reason: String| NetError::Proxy {
            host: target.host.clone(),
            reason,
        };
        if target.transport != Transport::Tls {
            return Err(failed(
                "only encrypted connections go through upstream_proxy, since no certificate would \
                 prove where it led; pin the address in config.toml under [address] instead"
                    .to_owned(),
            ));
        }
        if !operators && is_local(target.host.as_str()) {
            return Err(failed(
                "its name belongs to a local network, and the proxy's network is not the task's; pin \
                 the address in config.toml under [address] if that is meant"
                    .to_owned(),
            ));
        }
        let reached = timeout(Duration::from_secs(SECONDS), self.ask(target)).await;
        match reached {
            Ok(Ok(Ok(connected))) => Ok(connected),
            Ok(Ok(Err(status))) => Err(failed(match status {
                407 => "the proxy wants a user and password that config.toml does not have right"
                    .to_owned(),
                status => format!("the proxy answered {status}"),
            })),
            Ok(Err(error)) => Err(failed(format!("the proxy could not be used: {error}"))),
            Err(_) => Err(failed(format!(
                "the proxy did not answer within {SECONDS} s"
            ))),
        }
    }

    /// The connection, or the status with which the proxy refused.
    async fn ask(&self, target: &Target) -> io::Result<Result<(TcpStream, SocketAddr), u16>> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let address = stream.peer_addr()?;
        let _ = stream.set_nodelay(true);
        let place = format!("{}:{}", target.host, target.port);
        let mut request = Zeroizing::new(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"));
        if let Some(authorization) = &self.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let status = read_status(&mut stream).await?;
        Ok(if (200..300).contains(&status) {
            Ok((stream, address))
        } else {
            Err(status)
        })
    }
}

fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let is_below = |name: &str| {
        host.strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    !host.contains('.') || LOCAL.iter().any(|name| is_below(name))
}

/// Reads an answer's head, byte by byte: what follows it is the server's.
async fn read_status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let digits = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| std::str::from_utf8(digits).ok());
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::other("it does not speak HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tagout_core::HostName;
    use tokio::net::TcpListener;

    fn target(host: &str, transport: Transport) -> Target {
        Target {
            transport,
            host: HostName::parse(host).unwrap(),
            port: 443,
        }
    }

    /// A proxy that answers once; what it was asked.
    async fn answering(answer: &'static str) -> (Proxy, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let proxy = Proxy {
            host: "127.0.0.1".to_owned(),
            port,
            authorization: Some(Zeroizing::new("Basic aHVudGVyMg==".to_owned())),
        };
        (proxy, asked)
    }

    #[tokio::test]
    async fn the_proxy_is_asked_by_name_and_what_follows_is_the_servers() {
        let (proxy, asked) = answering("HTTP/1.1 200 ok\r\nVia: x\r\n\r\nserver").await;
        let target = target("api.example.com", Transport::Tls);
        let (mut stream, _) = proxy.connect(&target, false).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "server");
        assert_eq!(
            asked.await.unwrap(),
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\
             Proxy-Authorization: Basic aHVudGVyMg==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_never_the_password() {
        for (answer, expected) in [
            ("HTTP/1.1 407 no\r\n\r\n", "user and password"),
            ("HTTP/1.1 502 no\r\n\r\n", "502"),
            ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            ("", "could not be used"),
        ] {
            let (proxy, asked) = answering(answer).await;
            let target = target("api.example.com", Transport::Tls);
            let error = proxy.connect(&target, false).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!format!("{error} {proxy:?}").contains("aHVudGVyMg"));
            asked.await.unwrap();
        }
    }

    #[tokio::test]
    async fn invariant_1_no_local_name_and_nothing_unproved_goes_to_the_proxy() {
        let proxy = Proxy {
            host: "127.0.0.1".to_owned(),
            port: 9,
            authorization: None,
        };
        for name in [
            "localhost",
            "db",
            "db.internal",
            "printer.local",
            "x.localhost",
        ] {
            let target = target(name, Transport::Tls);
            let error = proxy.connect(&target, false).await.unwrap_err();
            assert!(error.to_string().contains("local network"), "{name}");
        }
        let plain = target("api.example.com", Transport::Plain);
        let error = proxy.connect(&plain, false).await.unwrap_err();
        assert!(error.to_string().contains("encrypted"), "{error}");
        assert!(!is_local("mylocal.example.com") && !is_local("notinternal.dev"));
    }
}
