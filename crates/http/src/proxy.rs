//! The HTTP proxy for tools that insist on one (RFC 9110 §9.3.6, RFC 9112 §3.2.2 and §3.2.3). It leads
//! nowhere that a connection of the tool's own would not lead: whatever is asked of it becomes a
//! captured connection for the name that was asked for, and is served as any other, from the
//! connection verdict on. `CONNECT` is taken at its word before that verdict, so that the refusal is
//! told where tools read it, in the answer to the request inside.

use http::StatusCode;
use tagout_core::{HostName, Refusal, Transport};
use tagout_net::{Destination, Opening, Replayed, refuse_handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answering, HEAD};
use crate::gate::{Gate, Requests};
use crate::head::{Malformed, RequestHead, head_end, parse_head};
use crate::http1::Connection;
use crate::refusal::{Dress, refuse};
use crate::understand::default_port;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// What is asked of the proxy.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A connection to that host and port.
    Tunnel(HostName, u16),
    /// One request in plain HTTP.
    Forward(HostName, u16),
}

/// Why it was not understood. Fit for the agent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NotAsked {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("CONNECT does not name a host and a port")]
    NoAuthority,
    #[error("the proxy was not asked for a host by its name")]
    NoHost,
    #[error("the request to the proxy is for no plain http:// URL")]
    NoUrl,
}

impl Gate {
    /// Serves a connection to the proxy.
    pub(crate) async fn serve_proxy(&self, opening: Opening) {
        let mut stream = match opening {
            Opening::Plain(stream) => stream,
            Opening::Tls(_, stream) | Opening::Broken(_, stream) => {
                return refuse_handshake(stream).await;
            }
        };
        let Some((read, end)) = read_head(&mut stream).await else {
            return;
        };
        let head = end.and_then(|end| parse_head(read.get(..end).unwrap_or_default()));
        let named = head.as_ref().ok().and_then(asked_for);
        match head.map_err(NotAsked::from).and_then(|head| asked(&head)) {
            Err(why) => self.refuse_proxy(stream, &why, named.as_deref()).await,
            Ok(Asked::Tunnel(host, port)) => {
                let inside = end.map_or(&[][..], |end| read.get(end..).unwrap_or_default());
                if stream.write_all(ESTABLISHED).await.is_ok() && stream.flush().await.is_ok() {
                    let destination = self.destination(&host).await;
                    let captured = stream.captured_for(destination, port, inside.to_vec());
                    self.serve_tunnel(captured).await;
                }
            }
            Ok(Asked::Forward(host, port)) => {
                let destination = self.destination(&host).await;
                let captured = stream.captured_for(destination, port, read);
                Box::pin(self.serve_requests(captured, Requests::One)).await;
            }
        }
    }

    async fn serve_tunnel(&self, captured: tagout_net::Captured) {
        Box::pin(self.serve_requests(captured, Requests::AsTheyCome)).await;
    }

    async fn destination(&self, host: &HostName) -> Destination {
        match &self.names {
            Some(names) => names.resolved(host).await,
            None => Destination::Unknown,
        }
    }

    async fn refuse_proxy(&self, stream: Replayed<TcpStream>, why: &NotAsked, named: Option<&str>) {
        self.record_unproxied(&why.to_string(), named).await;
        let refusal = Refusal::denied(
            format!("{why}."),
            "This is a proxy. Ask it with CONNECT name:port for https://, or with a URL that begins \
             with http://; hosts by name, not by address. Connecting directly works as well.",
        );
        let mut connection = Connection::new(stream);
        let (_, mut answering) = connection.exchange(None);
        answering.close_after();
        let dress = Dress {
            status: StatusCode::FORBIDDEN,
            graphql: false,
            grpc: false,
            head_only: false,
        };
        // A client that does not read it has gone away.
        let _ = refuse(&mut answering, &refusal, dress).await;
        connection.close().await;
    }
}

/// What was read, and where the head ends in it; `None` when the client left or is too slow.
async fn read_head(
    stream: &mut Replayed<TcpStream>,
) -> Option<(Vec<u8>, Result<usize, Malformed>)> {
    let mut read = Vec::with_capacity(1024);
    let reading = async {
        let mut scanned = 0;
        loop {
            match head_end(&read, scanned) {
                Ok(Some(end)) => return Some(Ok(end)),
                Ok(None) => (),
                Err(what) => return Some(Err(what)),
            }
            scanned = read.len();
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
    };
    let end = timeout(HEAD, reading).await.ok()??;
    Some((read, end))
}

/// What a head asks of a proxy, under the grammar that the request behind it will be read by.
fn asked(head: &RequestHead) -> Result<Asked, NotAsked> {
    if head.method == "CONNECT" {
        let (host, port) = head.target.split_once(':').ok_or(NotAsked::NoAuthority)?;
        let port = port_of(port).ok_or(NotAsked::NoAuthority)?;
        return Ok(Asked::Tunnel(host_of(host)?, port));
    }
    const SCHEME: &str = "http://";
    let rest = head
        .target
        .split_at_checked(SCHEME.len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
        .map(|(_, rest)| rest)
        .ok_or(NotAsked::NoUrl)?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let (host, port) = match authority.split_once(':') {
        None => (authority, default_port(Transport::Plain)),
        Some((host, port)) => (host, port_of(port).ok_or(NotAsked::NoUrl)?),
    };
    Ok(Asked::Forward(host_of(host)?, port))
}

/// The longest that is written down of what a proxy was asked for in vain: a name, a colon and a port.
const LONGEST_ASKED_FOR: usize = 260;

/// What a head names as host and port, whether or not it can be had, without the user and the password
/// that may stand in front.
fn asked_for(head: &RequestHead) -> Option<String> {
    let target = match head.target.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or(rest),
        None if head.method == "CONNECT" => &head.target,
        None => return None,
    };
    let place = target.rsplit('@').next().unwrap_or(target);
    let place: String = place.chars().take(LONGEST_ASKED_FOR).collect();
    (!place.is_empty()).then_some(place)
}

fn host_of(text: &str) -> Result<HostName, NotAsked> {
    HostName::parse(text).map_err(|_| NotAsked::NoHost)
}

fn port_of(digits: &str) -> Option<u16> {
    let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(line: &str) -> Result<Asked, NotAsked> {
        asked(&parse_head(
            format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
        )?)
    }

    #[test]
    fn what_a_proxy_is_asked_is_understood() {
        let host = |name: &str| HostName::parse(name).unwrap();
        assert_eq!(
            ask("CONNECT API.example.com:443"),
            Ok(Asked::Tunnel(host("api.example.com"), 443))
        );
        for (line, port) in [
            ("GET http://a.example/x?y", 80),
            ("PUT HTTP://a.example:8080", 8080),
            ("GET http://a.example?x:1/", 80),
        ] {
            assert_eq!(
                ask(line),
                Ok(Asked::Forward(host("a.example"), port)),
                "{line}"
            );
        }
    }

    #[test]
    fn what_was_asked_in_vain_is_named_without_its_password() {
        let named = |line: &str| {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            asked_for(&parse_head(head.as_bytes()).unwrap())
        };
        for (line, wanted) in [
            ("CONNECT 10.0.0.1:443", Some("10.0.0.1:443")),
            ("CONNECT me:hunter2@10.0.0.1:443", Some("10.0.0.1:443")),
            ("GET http://me:hunter2@10.0.0.1/a?b@c", Some("10.0.0.1")),
            ("GET https://a.example/?key=hunter2", Some("a.example")),
            ("GET /?key=hunter2", None),
            ("CONNECT me@", None),
        ] {
            assert_eq!(named(line).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn invariant_1_a_proxy_is_not_asked_for_addresses_or_by_tricks() {
        for line in [
            "CONNECT 127.0.0.1:443",
            "CONNECT [::1]:443",
            "CONNECT 169.254.169.254:80",
            "CONNECT 2130706433:80",
            "CONNECT 0x7f.1:80",
            "CONNECT a.example",
            "CONNECT a.example:",
            "CONNECT a.example:0",
            "CONNECT a.example:0443",
            "CONNECT a.example:+443",
            "CONNECT a.example:65536",
            "CONNECT a.example:443:443",
            "CONNECT user@a.example:443",
            "CONNECT a.example.:443",
            "CONNECT http://a.example:443",
            "CONNECT /",
            "CONNECT *",
            "connect a.example:443",
            "GET /",
            "GET https://a.example/",
            "GET ftp://a.example/",
            "GET a.example:443",
            "GET http://127.0.0.1/",
            "GET http://user@a.example/",
            "GET http:///x",
            "GET http://a.example:99999/",
            "OPTIONS *",
            "PRI *",
        ] {
            assert!(ask(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "[A-Z]{1,8} [ -~]{0,40}") {
            let _ = ask(&line);
        }
    }
}
