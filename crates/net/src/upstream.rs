//! Connections to the world. One is made only for an [`Admission`], so the verdict is in the ledger
//! before the name is resolved. The name is resolved once; every address is checked against what
//! Tagout dials ([`crate::address`]); what was checked is what is dialled; and the server must prove
//! the name by its certificate, wherever the address came from.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tagout_authority::Admission;
use tagout_core::{HostName, Target, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::AddressClass;
use crate::address::{is_own_interface, refused_class};
use crate::error::NetError;
use crate::protocol::Protocol;
use crate::proxy::Proxy;
use crate::tls::read_certificates;

const RESOLVE_SECONDS: u64 = 10;
const DIAL_SECONDS: u64 = 8;
const HANDSHAKE_SECONDS: u64 = 10;
/// Addresses tried, in the resolver's order (RFC 6724).
const MOST_ADDRESSES: usize = 4;

/// What `config.toml` says about the world outside.
#[derive(Clone, Debug, Default)]
pub struct UpstreamConfig {
    /// `[address]`: the address that stands for a name and port, dialled whatever it is.
    pub addresses: HashMap<(HostName, u16), SocketAddr>,
    /// `[network] ca_files`: trusted beside the system's roots.
    pub ca_files: Vec<PathBuf>,
    /// `[network] upstream_proxy`: what is not pinned is reached through it.
    pub proxy: Option<Proxy>,
}

/// Makes connections for one session.
pub struct Upstream {
    addresses: HashMap<(HostName, u16), SocketAddr>,
    /// Names that the operator's configuration chose, which may be on the operator's own network.
    operators_names: RwLock<HashSet<Target>>,
    /// Where the operator's own configuration says that a name of Tagout's making is.
    placed: RwLock<HashMap<(HostName, u16), Vec<SocketAddr>>>,
    proxy: Option<Proxy>,
    /// The operator's own authorities, read at launch so that a mistake shows there.
    operators: Vec<CertificateDer<'static>>,
    /// Made by the first connection that needs it: reading the system's roots takes longer than the
    /// rest of a launch, and many sessions never connect.
    connectors: OnceLock<Connectors>,
}

/// One for each newest protocol that may be spoken.
struct Connectors {
    http1: TlsConnector,
    http2: TlsConnector,
}

/// A connection to the target of an admission.
#[derive(Debug)]
pub struct Connection {
    /// The connection itself, verified where it is encrypted.
    pub stream: UpstreamStream,
    /// The address that was dialled.
    pub address: SocketAddr,
    /// What the server chose to speak.
    pub protocol: Protocol,
}

/// Encrypted or not, as the admission says.
#[derive(Debug)]
pub enum UpstreamStream {
    /// Without TLS, or with the client's own TLS passed through.
    Plain(TcpStream),
    /// With the server's certificate verified for the name.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Upstream {
    /// Reads the system's roots (Mozilla's where the system has none) and the operator's.
    ///
    /// # Errors
    /// When one of the operator's files has no certificate.
    pub fn new(config: UpstreamConfig) -> Result<Self, NetError> {
        let mut operators = Vec::new();
        let mut roots = RootCertStore::empty();
        for path in &config.ca_files {
            for certificate in read_certificates(path)? {
                roots
                    .add(certificate.clone())
                    .map_err(|error| NetError::CaFile {
                        path: path.clone(),
                        reason: error.to_string(),
                    })?;
                operators.push(certificate);
            }
        }
        Ok(Self {
            addresses: config.addresses,
            proxy: config.proxy,
            operators_names: RwLock::default(),
            placed: RwLock::default(),
            operators,
            connectors: OnceLock::new(),
        })
    }

    /// Says that the operator's own configuration, and nothing that an agent can write, names this
    /// target. It is then dialled on the operator's network too (docs/adr/0008).
    pub fn allow_operators_network(&self, target: Target) {
        self.operators_names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(target);
    }

    /// Says at which addresses `host` is on `port`, tried in this order. For a database that the
    /// operator's URL names by an address or on this machine.
    pub fn place(&self, host: HostName, port: u16, addresses: Vec<SocketAddr>) {
        self.placed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((host, port), addresses);
    }

    fn placed(&self, target: &Target) -> Option<Vec<SocketAddr>> {
        self.placed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(target.host.clone(), target.port))
            .cloned()
    }

    /// The system's roots (Mozilla's where the system has none) and the operator's.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots.add_parsable_certificates(self.operators.iter().cloned());
        roots
    }

    fn connector(&self, newest: Protocol) -> Result<&TlsConnector, NetError> {
        let connectors = match self.connectors.get() {
            Some(connectors) => connectors,
            None => {
                let made = self.make_connectors()?;
                self.connectors.get_or_init(|| made)
            }
        };
        Ok(match newest {
            Protocol::Http1 => &connectors.http1,
            Protocol::Http2 => &connectors.http2,
        })
    }

    fn make_connectors(&self) -> Result<Connectors, NetError> {
        let roots = self.roots();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| NetError::Certificate(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = |newest: Protocol| {
            let mut tls = tls.clone();
            tls.alpn_protocols = newest.offer();
            TlsConnector::from(Arc::new(tls))
        };
        Ok(Connectors {
            http1: connector(Protocol::Http1),
            http2: connector(Protocol::Http2),
        })
    }

    /// Resolves, checks, dials and, where the target is encrypted, verifies. The server chooses what
    /// is spoken, nothing newer than `newest`.
    ///
    /// # Errors
    /// When any of it fails; the message is fit for the agent.
    pub async fn connect(
        &self,
        admission: &Admission,
        newest: Protocol,
    ) -> Result<Connection, NetError> {
        self.connect_target(admission.target(), newest).await
    }

    /// Resolves, checks and dials, and leaves the handshake to the client whose bytes are passed
    /// through.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn connect_opaque(&self, admission: &Admission) -> Result<Connection, NetError> {
        let (stream, address) = self.dial(admission.target()).await?;
        Ok(Connection {
            stream: UpstreamStream::Plain(stream),
            address,
            protocol: Protocol::Http1,
        })
    }

    /// Connects for a question that a person asks in person, outside any session, such as
    /// `tagout vault probe`: there is no task and no ledger, and the address rules are the same. Nothing
    /// that an agent sends may come here.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn connect_in_person(&self, target: &Target) -> Result<Connection, NetError> {
        self.connect_target(target, Protocol::Http1).await
    }

    /// As [`Upstream::connect_in_person`], and leaves all handshakes to the caller.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn connect_opaque_in_person(&self, target: &Target) -> Result<Connection, NetError> {
        let (stream, address) = self.dial(target).await?;
        Ok(Connection {
            stream: UpstreamStream::Plain(stream),
            address,
            protocol: Protocol::Http1,
        })
    }

    async fn connect_target(
        &self,
        target: &Target,
        newest: Protocol,
    ) -> Result<Connection, NetError> {
        let (stream, address) = self.dial(target).await?;
        let (stream, protocol) = match target.transport {
            Transport::Plain => (UpstreamStream::Plain(stream), Protocol::Http1),
            Transport::Tls => {
                let tls = self.verify(target, stream, newest).await?;
                let protocol = Protocol::negotiated(tls.get_ref().1.alpn_protocol());
                (UpstreamStream::Tls(Box::new(tls)), protocol)
            }
        };
        Ok(Connection {
            stream,
            address,
            protocol,
        })
    }

    async fn dial(&self, target: &Target) -> Result<(TcpStream, SocketAddr), NetError> {
        if let Some(proxy) = &self.proxy
            && !self
                .addresses
                .contains_key(&(target.host.clone(), target.port))
            && self.placed(target).is_none()
        {
            return proxy.connect(target, self.is_operators(target)).await;
        }
        let candidates = self.candidates(target).await?;
        let mut last = None;
        for address in candidates {
            match timeout(
                Duration::from_secs(DIAL_SECONDS),
                TcpStream::connect(address),
            )
            .await
            {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Ok(Err(error)) => last = Some((address, error)),
                Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
            }
        }
        let host = target.host.clone();
        Err(match last {
            Some((address, source)) => NetError::Dial {
                host,
                address,
                source,
            },
            None => NetError::Resolve {
                host,
                source: io::Error::new(io::ErrorKind::NotFound, "it has no address"),
            },
        })
    }

    /// The addresses that may be dialled: the pinned one, or those of the resolver's that pass.
    async fn candidates(&self, target: &Target) -> Result<Vec<SocketAddr>, NetError> {
        if let Some(&pinned) = self.addresses.get(&(target.host.clone(), target.port)) {
            return Ok(vec![pinned]);
        }
        if let Some(placed) = self.placed(target) {
            return Ok(placed);
        }
        let lookup = lookup_host((target.host.as_str(), target.port));
        let answers = timeout(Duration::from_secs(RESOLVE_SECONDS), lookup)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| NetError::Resolve {
                host: target.host.clone(),
                source,
            })?;
        permitted(target, answers, is_own_interface, self.is_operators(target))
    }

    fn is_operators(&self, target: &Target) -> bool {
        self.operators_names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(target)
    }

    async fn verify(
        &self,
        target: &Target,
        stream: TcpStream,
        newest: Protocol,
    ) -> Result<TlsStream<TcpStream>, NetError> {
        let failed = |source| NetError::ServerHandshake {
            host: target.host.clone(),
            source,
        };
        let name = ServerName::try_from(target.host.as_str().to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        timeout(
            Duration::from_secs(HANDSHAKE_SECONDS),
            self.connector(newest)?.connect(name, stream),
        )
        .await
        .map_err(|_| NetError::ServerTooSlow {
            host: target.host.clone(),
            what: "finish its TLS handshake",
            seconds: HANDSHAKE_SECONDS,
        })?
        .map_err(failed)
    }
}

/// Those of `answers` that Tagout dials. Dialling only what passed is as safe as refusing the whole
/// set, and networks with DNS64 mix embedded forms into every answer.
fn permitted(
    target: &Target,
    answers: impl Iterator<Item = SocketAddr>,
    is_own: impl Fn(IpAddr) -> bool,
    operators: bool,
) -> Result<Vec<SocketAddr>, NetError> {
    let mut good = Vec::new();
    let mut first_refused = None;
    for answer in answers {
        let ip = answer.ip();
        let own = || is_own(ip).then_some(AddressClass::OwnInterface);
        let excused = |class: &AddressClass| operators && is_on_operators_network(*class, target);
        match refused_class(ip)
            .or_else(own)
            .filter(|class| !excused(class))
        {
            None if good.len() < MOST_ADDRESSES => good.push(answer),
            None => (),
            Some(class) => first_refused = first_refused.or(Some((ip, class))),
        }
    }
    match first_refused {
        Some((address, class)) if good.is_empty() => Err(NetError::Address {
            host: target.host.clone(),
            port: target.port,
            address,
            class,
        }),
        _ => Ok(good),
    }
}

/// Whether a name that the operator chose may be at an address of this class. A mirror is at home on a
/// private network. On this very machine only a certificate, or the name `localhost`, shows that the
/// name and not somebody's name server chose it. Link-local addresses are metadata services', and
/// what is no machine's address is no registry's.
fn is_on_operators_network(class: AddressClass, target: &Target) -> bool {
    match class {
        AddressClass::Private | AddressClass::SharedCarrier | AddressClass::Documentation => true,
        AddressClass::Loopback | AddressClass::OwnInterface => {
            target.transport == Transport::Tls || target.host.as_str() == "localhost"
        }
        _ => false,
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::SessionCa;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn target(host: &str, port: u16, transport: Transport) -> Target {
        Target {
            transport,
            host: HostName::parse(host).unwrap(),
            port,
        }
    }

    /// A server that proves `host` and echoes one message; its address and the file of its CA.
    async fn echo(host: &str) -> (SocketAddr, PathBuf, tempfile::TempDir) {
        let ca = SessionCa::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, ca.ca_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = HostName::parse(host).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut tls) = ca.accept(stream, &host, Protocol::Http1).await {
                    let mut buffer = [0u8; 5];
                    let _ = tls.read_exact(&mut buffer).await;
                    let _ = tls.write_all(&buffer).await;
                    let _ = tls.shutdown().await;
                }
            }
        });
        (address, file, folder)
    }

    fn upstream(pins: &[(&str, u16, SocketAddr)], ca_files: Vec<PathBuf>) -> Upstream {
        let addresses = pins
            .iter()
            .map(|&(host, port, address)| ((HostName::parse(host).unwrap(), port), address))
            .collect();
        Upstream::new(UpstreamConfig {
            addresses,
            ca_files,
            proxy: None,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn a_pinned_name_is_dialled_and_verified() {
        let (address, file, _folder) = echo("api.example.com").await;
        let upstream = upstream(&[("api.example.com", 443, address)], vec![file]);
        let connection = upstream
            .connect_target(
                &target("api.example.com", 443, Transport::Tls),
                Protocol::Http2,
            )
            .await
            .unwrap();
        assert_eq!(connection.address, address);
        let mut stream = connection.stream;
        stream.write_all(b"hello").await.unwrap();
        let mut buffer = [0u8; 5];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
    }

    #[tokio::test]
    async fn invariant_6_a_pin_does_not_replace_the_certificate() {
        let (address, file, _folder) = echo("other.example.com").await;
        let pins = [("api.example.com", 443, address)];
        let to = target("api.example.com", 443, Transport::Tls);
        for files in [vec![file], vec![]] {
            let error = upstream(&pins, files)
                .connect_target(&to, Protocol::Http1)
                .await
                .unwrap_err();
            assert!(matches!(error, NetError::ServerHandshake { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn invariant_1_a_name_that_means_this_machine_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = target("localhost", port, Transport::Plain);
        let error = upstream(&[], vec![])
            .connect_target(&to, Protocol::Http1)
            .await
            .unwrap_err();
        assert!(matches!(error, NetError::Address { .. }), "{error}");
        // A pin is for its own port alone.
        let pins = [("localhost", port ^ 1, listener.local_addr().unwrap())];
        assert!(
            upstream(&pins, vec![])
                .connect_target(&to, Protocol::Http1)
                .await
                .is_err()
        );
    }

    #[test]
    fn only_addresses_that_pass_are_dialled() {
        let to = target("api.example.com", 443, Transport::Tls);
        let list = |texts: &[&str]| -> Vec<SocketAddr> {
            texts
                .iter()
                .map(|text| format!("{text}:443").parse().unwrap())
                .collect()
        };
        let pass = |texts| {
            let own = |ip: IpAddr| ip.to_string() == "8.8.4.4";
            permitted(&to, list(texts).into_iter(), own, false)
        };
        let mixed = pass(&["10.0.0.1", "1.1.1.1", "[64:ff9b::101:101]"]).unwrap();
        assert_eq!(mixed, list(&["1.1.1.1"]));
        for bad in [
            &["10.0.0.1", "169.254.169.254"][..],
            &["8.8.4.4"],
            &["[::ffff:1.1.1.1]"],
        ] {
            assert!(pass(bad).is_err(), "{bad:?}");
        }
        let many = list(&["1.1.1.1"; 40]);
        assert_eq!(
            permitted(&to, many.into_iter(), |_| false, false)
                .unwrap()
                .len(),
            4
        );
    }

    #[test]
    fn invariant_1_only_the_operators_names_lead_into_the_operators_network() {
        let to = |host, transport| target(host, 443, transport);
        let pass = |to: &Target, address: &str, operators| {
            let address: SocketAddr = address.parse().unwrap();
            permitted(to, std::iter::once(address), |_| false, operators).is_ok()
        };
        let tls = to("packages.example.com", Transport::Tls);
        let plain = to("packages.example.com", Transport::Plain);
        for address in ["10.0.0.1:443", "100.64.0.1:443", "[fd00::1]:443"] {
            assert!(
                pass(&tls, address, true) && pass(&plain, address, true),
                "{address}"
            );
            assert!(!pass(&tls, address, false), "{address}");
        }
        assert!(pass(&tls, "127.0.0.1:443", true));
        assert!(!pass(&plain, "127.0.0.1:443", true));
        assert!(pass(
            &to("localhost", Transport::Plain),
            "127.0.0.1:443",
            true
        ));
        assert!(!pass(
            &to("localhost", Transport::Plain),
            "127.0.0.1:443",
            false
        ));
        for never in [
            "169.254.169.254:443",
            "0.0.0.0:443",
            "224.0.0.1:443",
            "198.18.0.1:443",
            "[64:ff9b::a00:1]:443",
        ] {
            assert!(!pass(&tls, never, true), "{never}");
        }
    }
}
