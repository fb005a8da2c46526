//! Requests of our own: to the operator's model and to the vector store behind the proxy. The address is the
//! operator's, never a client's; answers have a size and a time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server that we ask.
#[derive(Clone)]
pub(crate) struct Upstream {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// The path before every other, without a slash at its end.
    base: String,
    timeout: Duration,
    /// The largest answer that is read, in bytes.
    largest: usize,
}

/// What it said.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Upstream {
    /// From an `http://` or `https://` URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(url: &str, timeout: Duration, largest: usize) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
        let host = uri
            .host()
            .ok_or_else(|| format!("{url} names no host"))?
            .to_owned();
        let (tls, standard) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(client_config()?), 443),
            _ => {
                return Err(format!(
                    "{url} begins neither with http:// nor with https://"
                ));
            }
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("a URL in retrieval.toml holds no password; use a key file".to_owned());
        }
        Ok(Self {
            port: uri.port_u16().unwrap_or(standard),
            base: uri.path().trim_end_matches('/').to_owned(),
            host,
            tls,
            timeout,
            largest,
        })
    }

    /// Sends a request and reads the whole answer. `path` begins with a slash, or is empty.
    ///
    /// # Errors
    /// When it cannot be reached, takes too long, or says too much.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        tokio::time::timeout(self.timeout, self.exchange(method, path, headers, body))
            .await
            .map_err(|_| format!("{} did not answer within {:?}", self.host, self.timeout))?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", self.host);
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|error| failed(&error))?;
        // A small request must not wait for the answer to the last one.
        let _ = stream.set_nodelay(true);
        let target = match format!("{}{path}", self.base) {
            empty if empty.is_empty() => "/".to_owned(),
            target => target,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", format!("{}:{}", self.host, self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(&error))?;
        let response = match &self.tls {
            None => converse(TokioIo::new(stream), request, self.largest).await,
            Some(config) => {
                let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                    .map_err(|error| failed(&error))?;
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name, stream)
                    .await
                    .map_err(|error| failed(&error))?;
                converse(TokioIo::new(stream), request, self.largest).await
            }
        };
        response.map_err(|error| failed(&error))
    }
}

async fn converse<T>(
    io: TokioIo<T>,
    request: Request<Full<Bytes>>,
    largest: usize,
) -> Result<Reply, String>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io)
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, largest)
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
    .await;
    driver.abort();
    answer
}

fn client_config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}
