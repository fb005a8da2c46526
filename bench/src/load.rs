//! A client that costs little: every connection, or stream of HTTP/2, is a task of one thread, which
//! sends the same request and reads the answer. It runs outside for the anchors and inside a session for Tagout, so it
//! talks to its parent through its standard input and output alone:
//!
//! it connects, says `ready`, and then runs once for each line that it reads: `burst` (each connection
//! sends its next request when it has its answer), `paced` (at the rate of the command line), `rest`
//! (nothing happens, for the next line to end). Each run ends with a line of JSON.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the command line asks for.
pub(crate) struct Plan {
    /// The roots that a server must have its certificate from.
    pub(crate) ca: PathBuf,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) connections: usize,
    /// How long each run takes.
    pub(crate) seconds: u64,
    /// Requests a second of a paced run, in all.
    pub(crate) rate: u32,
    /// Whether `connections` are streams of HTTP/2, [`STREAMS`] to a connection.
    pub(crate) http2: bool,
    /// `address:port` of a proxy that takes CONNECT.
    pub(crate) proxy: Option<String>,
}

/// Streams of HTTP/2 that share a connection.
pub(crate) const STREAMS: usize = 10;

/// Where one request is on its way at a time.
enum Line {
    Http1(Box<Connection>),
    Http2(Stream),
}

/// A place in a connection of HTTP/2, and what is asked there.
struct Stream {
    sender: h2::client::SendRequest<bytes::Bytes>,
    uri: String,
}

/// One connection, and what was read of it.
struct Connection {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// Connects, and runs as often as it is told to.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.connections > 0, "CONNECTIONS is 0");
    runtime()?.block_on(async {
        let mut lines = match plan.http2 {
            true => open_streams(plan).await?,
            false => {
                let request = request(plan, "GET", "/1k");
                let connections = connect_all(plan, &request).await?;
                connections
                    .into_iter()
                    .map(Box::new)
                    .map(Line::Http1)
                    .collect()
            }
        };
        say("ready")?;
        while let Some(word) = hear().await? {
            match word.as_str() {
                "burst" => {
                    let figures = all(&mut lines, plan, None).await?;
                    say(&figures.to_string())?;
                }
                "paced" => {
                    let every = Duration::from_secs(1) * u32::try_from(plan.connections)?
                        / plan.rate.max(1);
                    let figures = all(&mut lines, plan, Some(every)).await?;
                    say(&figures.to_string())?;
                }
                "rest" => say("{}")?,
                other => bail!("`{other}` is no run"),
            }
        }
        Ok(())
    })
}

/// Sends a request that is held on each connection, of `different` kinds, says `ready` when all are
/// sent, and counts the answers once it is told to.
pub(crate) fn hold(plan: &Plan, different: usize) -> Result<()> {
    runtime()?.block_on(async {
        let warm = request(plan, "GET", "/1k");
        let mut connections = connect_all(plan, &warm).await?;
        for (number, connection) in connections.iter_mut().enumerate() {
            let path = format!("/held/{}", number % different.max(1));
            connection.request = request(plan, "DELETE", &path);
            connection.stream.write_all(&connection.request).await?;
            connection.stream.flush().await?;
        }
        say("ready")?;
        let start = Instant::now();
        let mut waiting = JoinSet::new();
        for mut connection in connections {
            waiting.spawn(async move { connection.answer().await });
        }
        let (mut allowed, mut refused, mut first) = (0_u32, 0_u32, None);
        while let Some(status) = waiting.join_next().await {
            match status?? {
                200 => allowed += 1,
                _ => refused += 1,
            }
            first = first.or(Some(start.elapsed().as_millis()));
        }
        let figures = json!({
            "allowed": allowed,
            "refused": refused,
            "first_ms": first.map(|first| first as u64),
            "all_ms": start.elapsed().as_millis() as u64,
        });
        say(&figures.to_string())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// The next line; `None` at the end.
async fn hear() -> Result<Option<String>> {
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let count = std::io::stdin().lock().read_line(&mut line)?;
        Ok((count > 0).then(|| line.trim().to_owned()))
    })
    .await?
}

fn request(plan: &Plan, method: &str, path: &str) -> Vec<u8> {
    let authority = authority(plan);
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: tagout-bench\r\naccept: */*\r\n\r\n"
    )
    .into_bytes()
}

fn authority(plan: &Plan) -> String {
    match plan.port {
        443 => plan.host.clone(),
        port => format!("{}:{port}", plan.host),
    }
}

async fn connect_all(plan: &Plan, request: &[u8]) -> Result<Vec<Connection>> {
    let tls = connector(plan, &[])?;
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let mut connection = Connection {
            stream: connect(plan, &tls).await?,
            request: request.to_vec(),
            buffer: Vec::new(),
        };
        // The first request makes the proxies dial.
        let status = connection.exchange().await?;
        ensure!(status == 200, "the first answer is {status}");
        connections.push(connection);
    }
    Ok(connections)
}

async fn open_streams(plan: &Plan) -> Result<Vec<Line>> {
    let tls = connector(plan, &[b"h2"])?;
    let mut lines = Vec::with_capacity(plan.connections);
    while lines.len() < plan.connections {
        let stream = connect(plan, &tls).await?;
        ensure!(
            stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            "HTTP/2 is not spoken there"
        );
        let (sender, connection) = h2::client::handshake(stream).await?;
        // Its end shows in every stream of it.
        tokio::spawn(connection);
        for _ in 0..STREAMS.min(plan.connections - lines.len()) {
            let mut line = Line::Http2(Stream {
                sender: sender.clone(),
                uri: format!("https://{}/1k", authority(plan)),
            });
            let status = line.exchange().await?;
            ensure!(status == 200, "the first answer is {status}");
            lines.push(line);
        }
    }
    Ok(lines)
}

fn connector(plan: &Plan, protocols: &[&[u8]]) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&plan.ca).context("CA")? {
        roots.add(certificate?)?;
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(tls)))
}

async fn connect(plan: &Plan, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
    let stream = match &plan.proxy {
        None => TcpStream::connect((plan.host.as_str(), plan.port)).await?,
        Some(proxy) => {
            let mut stream = TcpStream::connect(proxy.as_str()).await?;
            let authority = format!("{}:{}", plan.host, plan.port);
            let connect = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
            stream.write_all(connect.as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            ensure!(
                answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"),
                "the proxy answered {}",
                String::from_utf8_lossy(&answer)
            );
            stream
        }
    };
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(plan.host.clone())?;
    Ok(tls.connect(name, stream).await?)
}

/// Runs all lines at once, for the time of the plan.
async fn all(
    lines: &mut Vec<Line>,
    plan: &Plan,
    every: Option<Duration>,
) -> Result<serde_json::Value> {
    let start = Instant::now();
    let end = start + Duration::from_secs(plan.seconds);
    let mut running = JoinSet::new();
    for (number, mut line) in lines.drain(..).enumerate() {
        running.spawn(async move {
            let mut took = Vec::new();
            // Spread over the interval, so that they do not all come at once.
            let offset = every.map(|every| every * u32::try_from(number).unwrap_or(0) / 64);
            for turn in 0_u32.. {
                let due = match (every, offset) {
                    (Some(every), Some(offset)) => start + offset + every * turn,
                    _ => Instant::now(),
                };
                if due >= end {
                    break;
                }
                tokio::time::sleep_until(due).await;
                let status = line.exchange().await?;
                ensure!(status == 200, "an answer is {status}");
                // From when it was due: a server that stalls is not asked less often.
                took.push(due.elapsed());
            }
            Ok((line, took))
        });
    }
    let mut took = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (line, mut times) = ended??;
        lines.push(line);
        took.append(&mut times);
    }
    let seconds = start.elapsed().as_secs_f64();
    took.sort();
    let at = |part: f64| {
        let index = (took.len() as f64 * part) as usize;
        took.get(index.min(took.len().saturating_sub(1)))
            .map(|time| time.as_secs_f64() * 1e6)
    };
    Ok(json!({
        "requests": took.len(),
        "seconds": seconds,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
    }))
}

impl Line {
    async fn exchange(&mut self) -> Result<u16> {
        match self {
            Self::Http1(connection) => connection.exchange().await,
            Self::Http2(stream) => stream.exchange().await,
        }
    }
}

impl Stream {
    async fn exchange(&mut self) -> Result<u16> {
        let request = http::Request::get(&self.uri)
            .header("user-agent", "tagout-bench")
            .header("accept", "*/*")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, _) = sender.send_request(request, true)?;
        let (head, mut body) = answer.await?.into_parts();
        while let Some(part) = body.data().await {
            body.flow_control().release_capacity(part?.len())?;
        }
        Ok(head.status.as_u16())
    }
}

impl Connection {
    async fn exchange(&mut self) -> Result<u16> {
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.answer().await
    }

    /// Reads one answer; its status.
    async fn answer(&mut self) -> Result<u16> {
        self.buffer.clear();
        loop {
            if let Some(status) = whole_answer(&self.buffer)? {
                return Ok(status);
            }
            let count = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(count > 0, "the connection was closed");
        }
    }
}

/// The status of an answer once all of it is there. The servers here send a length, or chunks whose
/// content has no line ends.
fn whole_answer(bytes: &[u8]) -> Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let is_whole = match (field("content-length:"), field("transfer-encoding:")) {
        (Some(length), _) => bytes.len() - end - 4 >= length.parse::<usize>()?,
        (None, Some("chunked")) => bytes.ends_with(b"0\r\n\r\n"),
        _ => true,
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("an answer has a status")?;
    Ok(is_whole.then_some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_framing_says_so() {
        let status = |text: &str| whole_answer(text.as_bytes()).unwrap();
        assert_eq!(status("HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(
            status("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"),
            None
        );
        assert_eq!(
            status("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
            Some(200)
        );
        let chunked = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        assert_eq!(status(chunked), None);
        assert_eq!(status(&format!("{chunked}0\r\n\r\n")), Some(403));
    }
}
