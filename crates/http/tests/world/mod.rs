//! A small world for the gate's tests: an origin that speaks raw HTTP/1.1 behind TLS and remembers
//! every octet it was sent, a real authority, and a client that can send anything at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tagout_core::{HostName, HostPattern};
use tagout_http::Gate;
use tagout_net::{
    AddressRange, Captured, Destination, Names, Protocol, SessionCa, Upstream, UpstreamConfig,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) mod authority;
pub(crate) mod frames;
pub(crate) mod http2;
pub(crate) mod websocket;

/// A granted host whose requests are read.
pub(crate) const HOST: &str = "api.example.com";
/// A host with a pack, for which the task has a credential.
pub(crate) const PACKED: &str = "backboard.railway.com";
/// A granted host that is passed through.
pub(crate) const OPAQUE: &str = "opaque.example.com";
/// A host that no task grants.
pub(crate) const STRANGER: &str = "stranger.example.com";

/// What the origin saw and how it is steered.
#[derive(Default)]
pub(crate) struct Seen {
    /// Connections, after their handshake.
    pub(crate) connections: Mutex<usize>,
    /// Requests as they arrived: head and content, framing and all.
    pub(crate) requests: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Lets `/events`, and answers of several pieces, go on.
    pub(crate) go_on: Notify,
    /// Answers by path, octet by octet, each in pieces.
    pub(crate) answers: Mutex<HashMap<String, Vec<Vec<u8>>>>,
}

impl Seen {
    pub(crate) fn last(&self) -> String {
        let requests = self.requests.lock().unwrap();
        String::from_utf8_lossy(requests.last().expect("a request")).into_owned()
    }

    /// What a path is answered with from now on. After each piece but the last the origin waits for
    /// [`go_on`](Self::go_on).
    pub(crate) fn answers(&self, path: &str, pieces: Vec<Vec<u8>>) {
        self.answers.lock().unwrap().insert(path.to_owned(), pieces);
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

pub(crate) struct World {
    pub(crate) origin: Arc<Seen>,
    pub(crate) authority: authority::Judged,
    gate: Gate,
    ca: Arc<SessionCa>,
    origin_ca: Arc<SessionCa>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::build(Duration::ZERO, true, Protocol::Http1).await
    }

    /// A world whose task has no credential: its host is a plain one.
    pub(crate) async fn without_credential() -> Self {
        Self::build(Duration::ZERO, false, Protocol::Http1).await
    }

    /// A world in which held requests stay open for so long.
    pub(crate) async fn with_hold_wait(hold_wait: Duration) -> Self {
        Self::build(hold_wait, true, Protocol::Http1).await
    }

    /// A world whose origin speaks HTTP/2.
    pub(crate) async fn with_http2(credentialed: bool) -> Self {
        Self::build(Duration::ZERO, credentialed, Protocol::Http2).await
    }

    async fn build(hold_wait: Duration, credentialed: bool, protocol: Protocol) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = Arc::new(Seen::default());
        let origin_ca = Arc::new(SessionCa::generate().unwrap());
        let ca_file = folder.path().join("origin.pem");
        std::fs::write(&ca_file, origin_ca.ca_pem()).unwrap();
        let tls = serve_origin(Arc::clone(&origin), Some(Arc::clone(&origin_ca)), protocol).await;
        let plain = serve_origin(Arc::clone(&origin), None, Protocol::Http1).await;
        let nobody = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let mut addresses = HashMap::new();
        for (host, port, address) in [
            (HOST, 443, tls),
            (OPAQUE, 443, tls),
            (PACKED, 443, tls),
            (HOST, 80, plain),
            (HOST, 8443, nobody),
        ] {
            addresses.insert((HostName::parse(host).unwrap(), port), address);
        }
        let upstream = Upstream::new(UpstreamConfig {
            addresses,
            ca_files: vec![PathBuf::from(&ca_file)],
            proxy: None,
        })
        .unwrap();
        let authority = authority::Judged::new(folder.path(), hold_wait, credentialed).await;
        let ca = Arc::new(SessionCa::generate().unwrap());
        let names = Arc::new(Names::new(AddressRange::SYNTHETIC, |_| ()));
        for host in [HOST, OPAQUE, PACKED] {
            names.grant(HostPattern::parse(host).unwrap());
        }
        Self {
            gate: Gate::new(
                authority.authority.clone(),
                Arc::new(upstream),
                Arc::clone(&ca),
                vec![],
            )
            .with_proxy(names),
            origin,
            authority,
            ca,
            origin_ca,
            _folder: folder,
        }
    }

    /// A connection as a program in the sandbox makes one.
    pub(crate) async fn connect(&self, destination: Destination, port: u16) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let captured = Captured::new(accepted.unwrap().0, destination, port);
        let gate = self.gate.clone();
        tokio::spawn(async move { gate.serve(captured).await });
        client.unwrap()
    }

    /// A TLS connection to a granted host, trusting the session's CA.
    pub(crate) async fn tls(&self) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let stream = self.connect(known(HOST), 443).await;
        handshake(&self.ca, stream, HOST, &[]).await.unwrap()
    }

    /// The same to any granted host.
    pub(crate) async fn tls_to(&self, host: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let stream = self.connect(known(host), 443).await;
        handshake(&self.ca, stream, host, &[]).await.unwrap()
    }

    /// The same for a client that offers protocols; with what was chosen.
    pub(crate) async fn tls_offering(
        &self,
        protocols: &[&[u8]],
    ) -> std::io::Result<(
        impl AsyncRead + AsyncWrite + Unpin + Send + use<>,
        Option<Vec<u8>>,
    )> {
        let stream = self.connect(known(HOST), 443).await;
        let tls = handshake(&self.ca, stream, HOST, protocols).await?;
        let chosen = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((tls, chosen))
    }

    /// A handshake that offers HTTP/2 alone, under any name on any connection.
    pub(crate) async fn handshake_http2(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        handshake(&self.ca, stream, name, &[b"h2"]).await
    }

    /// A handshake with any name on any connection.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        handshake(&self.ca, stream, name, &[]).await
    }

    /// The same, trusting the origin's own CA.
    pub(crate) async fn handshake_with_origin(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        handshake(&self.origin_ca, stream, name, &[]).await
    }

    /// Sends octets on a fresh TLS connection and reads the answer to its end.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.tls().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }
}

pub(crate) fn known(host: &str) -> Destination {
    Destination::Known(HostName::parse(host).unwrap())
}

/// A well-formed request to the granted host.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// The same with a body.
pub(crate) fn post(path: &str, fields: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer as the client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) content: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// The structured refusal, which must be one.
    pub(crate) fn refusal(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content)
            .unwrap_or_else(|_| panic!("no refusal: {} {}", self.head, self.text()))
    }
}

/// Reads one answer, by its own framing; nothing may follow it.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut buffer = Vec::new();
    let answer = read_next_answer(stream, &mut buffer).await;
    assert!(buffer.is_empty(), "more than one answer");
    answer
}

/// Reads one answer and leaves in `buffer` what follows it.
pub(crate) async fn read_next_answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Answer {
    let mut bytes = std::mem::take(buffer);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read_buf(&mut bytes).await.unwrap_or(0);
        assert!(count > 0, "no answer: {}", String::from_utf8_lossy(&bytes));
    };
    let mut content = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
    let status = head[9..12].parse().unwrap();
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    };
    if status == 100 || status == 204 || status == 304 {
        *buffer = std::mem::take(&mut content);
    } else if let Some(length) = field("content-length") {
        let length: usize = length.parse().unwrap();
        while content.len() < length {
            if stream.read_buf(&mut content).await.unwrap_or(0) == 0 {
                break;
            }
        }
        *buffer = content.split_off(length.min(content.len()));
    } else if field("transfer-encoding").is_some() {
        let mut whole = Vec::new();
        loop {
            let line = read_line(stream, &mut content).await;
            let size = usize::from_str_radix(&line, 16).unwrap();
            while content.len() < size + 2 {
                assert!(stream.read_buf(&mut content).await.unwrap() > 0, "cut off");
            }
            let rest = content.split_off(size + 2);
            whole.extend(&content[..size]);
            content = rest;
            if size == 0 {
                break;
            }
        }
        *buffer = std::mem::replace(&mut content, whole);
    } else {
        let _ = stream.read_to_end(&mut content).await;
    }
    Answer {
        status,
        head,
        content,
    }
}

/// A line of `buffer`, filled from `stream`, without its end.
pub(crate) async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> String {
    loop {
        if let Some(at) = buffer.windows(2).position(|part| part == b"\r\n") {
            let rest = buffer.split_off(at + 2);
            let line = String::from_utf8(buffer[..at].to_vec()).unwrap();
            *buffer = rest;
            return line;
        }
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "cut off");
    }
}

async fn handshake(
    ca: &SessionCa,
    stream: TcpStream,
    name: &str,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn serve_origin(
    seen: Arc<Seen>,
    ca: Option<Arc<SessionCa>>,
    protocol: Protocol,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, ca) = (Arc::clone(&seen), ca.clone());
            tokio::spawn(async move {
                match ca {
                    None => serve_connection(&seen, stream).await,
                    Some(ca) => {
                        // All names have one address; the client says which it wants.
                        let mut first = [0u8; 1024];
                        let count = stream.peek(&mut first).await.unwrap();
                        let names = |name: &str| {
                            let mut parts = first[..count].windows(name.len());
                            parts.any(|part| part == name.as_bytes())
                        };
                        let name = [OPAQUE, PACKED].into_iter().find(|name| names(name));
                        let host = HostName::parse(name.unwrap_or(HOST)).unwrap();
                        match (ca.accept(stream, &host, protocol).await, protocol) {
                            (Ok(tls), Protocol::Http1) => serve_connection(&seen, tls).await,
                            (Ok(tls), Protocol::Http2) => http2::serve(&seen, tls).await,
                            (Err(_), _) => (),
                        }
                    }
                }
            });
        }
    });
    address
}

async fn serve_connection(seen: &Seen, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    *seen.connections.lock().unwrap() += 1;
    let mut buffer = Vec::new();
    while let Some(head) = read_request(seen, &mut stream, &mut buffer).await {
        if head.to_ascii_lowercase().contains("upgrade: websocket") {
            return websocket::serve(seen, &head, stream).await;
        }
        if answer_request(seen, &head, &mut stream).await.is_err() {
            return;
        }
    }
}

/// Reads one request; all that arrives of it is remembered, whole or not.
async fn read_request(
    seen: &Seen,
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<String> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let mut content = buffer.split_off(end);
    let index = {
        let mut requests = seen.requests.lock().unwrap();
        requests.push(buffer.clone());
        requests.len() - 1
    };
    let keep = |bytes: &[u8]| seen.requests.lock().unwrap()[index].extend(bytes);
    let head = String::from_utf8(std::mem::take(buffer)).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map(|digits| digits.parse::<usize>().unwrap());
    let mut kept = 0;
    loop {
        let done = match length {
            Some(length) => content.len() >= length,
            None if lower.contains("transfer-encoding: chunked") => content.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        keep(&content[kept..]);
        kept = content.len();
        if done {
            return Some(head);
        }
        if stream.read_buf(&mut content).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer_request(
    seen: &Seen,
    head: &str,
    stream: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let path = head.split(' ').nth(1).unwrap_or("/");
    let path = path.split('?').next().unwrap_or(path);
    let scripted = seen.answers.lock().unwrap().get(path).cloned();
    if let Some(pieces) = scripted {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                seen.go_on.notified().await;
            }
            stream.write_all(piece).await?;
            stream.flush().await?;
        }
        return Ok(());
    }
    let answer = match path {
        "/events" => {
            let front = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                         Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            stream.write_all(front.as_bytes()).await?;
            stream.flush().await?;
            seen.go_on.notified().await;
            "9\r\ndata: 2\n\n\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned()
        }
        // In a header and, cut in two, in chunks.
        "/echo" => {
            let mark = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: "))
                .unwrap_or("none");
            let (front, back) = mark.split_at(mark.len() / 2);
            format!(
                "HTTP/1.1 200 OK\r\nX-Echo: {mark}\r\nSet-Cookie: sid=1\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
                front.len(),
                back.len(),
            )
        }
        "/fields" => "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                      Keep-Alive: timeout=5\r\nX-Kept: 1\r\nSet-Cookie: sid=1\r\nContent-Length: 2\r\n\r\nok"
            .into(),
        "/switch" => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".into(),
        "/nothing" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/unchanged" => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".into(),
        "/hints" => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            .into(),
        "/broken" => {
            let front = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
            stream.write_all(front.as_bytes()).await?;
            stream.shutdown().await?;
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        "/login" => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n\
                     {\"access_token\":\"handed-out-0123456789\"}"
            .into(),
        _ if head.starts_with("HEAD ") => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await
}
