//! A client that costs little: every connection is a task of one thread, which writes the same request
//! and reads the answer. It runs outside for the anchors and inside a session for Tagout, so it
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
    /// `address:port` of a proxy that takes CONNECT.
    pub(crate) proxy: Option<String>,
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
        let request = request(plan, "GET", "/1k");
        let mut connections = connect_all(plan, &request).await?;
        say("ready")?;
        while let Some(word) = hear().await? {
            match word.as_str() {
                "burst" => {
                    let figures = all(&mut connections, plan, None).await?;
                    say(&figures.to_string())?;
                }
                "paced" => {
                    let every = Duration::from_secs(1) * u32::try_from(plan.connections)?
                        / plan.rate.max(1);
                    let figures = all(&mut connections, plan, Some(every)).await?;
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
    let authority = match plan.port {
        443 => plan.host.clone(),
        port => format!("{}:{port}", plan.host),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: tagout-bench\r\naccept: */*\r\n\r\n"
    )
    .into_bytes()
}

async fn connect_all(plan: &Plan, request: &[u8]) -> Result<Vec<Connection>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&plan.ca).context("CA")? {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(tls));
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

/// Runs all connections at once, for the time of the plan.
async fn all(
    connections: &mut Vec<Connection>,
    plan: &Plan,
    every: Option<Duration>,
) -> Result<serde_json::Value> {
    let start = Instant::now();
    let end = start + Duration::from_secs(plan.seconds);
    let mut running = JoinSet::new();
    for (number, mut connection) in connections.drain(..).enumerate() {
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
                let status = connection.exchange().await?;
                ensure!(status == 200, "an answer is {status}");
                // From when it was due: a server that stalls is not asked less often.
                took.push(due.elapsed());
            }
            Ok((connection, took))
        });
    }
    let mut took = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (connection, mut times) = ended??;
        connections.push(connection);
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
