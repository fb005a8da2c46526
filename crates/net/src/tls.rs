//! The session's own certificate authority. It lives as long as the session, its key never leaves
//! this process, and inside the sandbox it is trusted beside the system's roots. A certificate is
//! made only for the name that the synthetic address stands for, so a client that got one has been
//! told the truth about whom it asked for, if not about who answers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tagout_core::HostName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::NetError;
use crate::protocol::Protocol;

/// A client must finish its handshake in this time.
const HANDSHAKE_SECONDS: u64 = 10;
/// Certificates kept at hand. An agent may ask for any number of names; beyond this they are made
/// anew.
const MOST_LEAVES: usize = 1024;
/// Clocks in containers are off by a little; a session lasts no week.
const BACKDATED: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where distributions keep the bundle of their roots: Debian, Fedora, openSUSE, RHEL, Alpine.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificate authority of one session.
pub struct SessionCa {
    authority: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    leaves: Mutex<HashMap<Spoken, Arc<Leaf>>>,
}

/// A host, and what ALPN calls what is spoken with it.
type Spoken = (HostName, &'static [u8]);

/// A certificate for one host, ready to be shown.
struct Leaf {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

/// What ALPN calls PostgreSQL's protocol (the registry of ALPN protocol ids).
pub(crate) const POSTGRES: &[u8] = b"postgresql";

impl SessionCa {
    /// A fresh authority with fresh keys (ECDSA, P-256), valid from an hour ago for a week.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self, NetError> {
        let key = KeyPair::generate().map_err(certificate_error)?;
        // Each session's authority has a name of its own: a client that knows another session's must
        // not take one for the other.
        let mark: String = key
            .public_key_raw()
            .iter()
            .rev()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Tagout session CA {mark}"));
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Tagout");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params);
        Ok(Self {
            authority: CertifiedIssuer::self_signed(params, key).map_err(certificate_error)?,
            leaf_key: KeyPair::generate().map_err(certificate_error)?,
            leaves: Mutex::default(),
        })
    }

    /// The authority's certificate. Its key has no such method.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// Performs the server's side of a handshake as `host`: TLS 1.2 or 1.3, `protocol` alone where
    /// the client negotiates at all, no early data, no resumption.
    ///
    /// # Errors
    /// When the handshake fails or is slow, or the client names another server than `host`.
    pub async fn accept<S>(
        &self,
        stream: S,
        host: &HostName,
        protocol: Protocol,
    ) -> Result<TlsStream<S>, NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let leaf = self.leaf(host, protocol.alpn())?;
        let tls = shake_hands(&leaf, stream).await?;
        // Our own parser read the name before; rustls must have read the same one.
        let name = tls.get_ref().1.server_name();
        if name.is_none_or(|name| !name.eq_ignore_ascii_case(host.as_str())) {
            return Err(NetError::Handshake("its server name changed"));
        }
        Ok(tls)
    }

    /// The same for a client of a database. Many of them name no server; none may name another one. Those of
    /// PostgreSQL may ask for its protocol by name; others ask for none. With the certificate that was shown, to which a client may bind its login.
    ///
    /// # Errors
    /// As [`SessionCa::accept`].
    pub async fn accept_database<S>(
        &self,
        stream: S,
        host: &HostName,
    ) -> Result<(TlsStream<S>, CertificateDer<'static>), NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let leaf = self.leaf(host, POSTGRES)?;
        let tls = shake_hands(&leaf, stream).await?;
        let name = tls.get_ref().1.server_name();
        if name.is_some_and(|name| !name.eq_ignore_ascii_case(host.as_str())) {
            return Err(NetError::Handshake("it names another server"));
        }
        Ok((tls, leaf.certificate.clone()))
    }

    fn leaf(&self, host: &HostName, alpn: &'static [u8]) -> Result<Arc<Leaf>, NetError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.clone(), alpn);
        if let Some(leaf) = leaves.get(&key) {
            return Ok(Arc::clone(leaf));
        }
        let leaf = Arc::new(self.mint(host, alpn)?);
        if leaves.len() >= MOST_LEAVES {
            leaves.clear();
        }
        leaves.insert(key, Arc::clone(&leaf));
        Ok(leaf)
    }

    fn mint(&self, host: &HostName, alpn: &'static [u8]) -> Result<Leaf, NetError> {
        let names = vec![host.as_str().to_owned()];
        let mut params = CertificateParams::new(names).map_err(certificate_error)?;
        // A common name has at most 64 characters (X.520); clients read the alternative name anyway.
        if host.as_str().len() <= 64 {
            params
                .distinguished_name
                .push(DnType::CommonName, host.as_str());
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params);
        let leaf = params
            .signed_by(&self.leaf_key, &self.authority)
            .map_err(certificate_error)?;
        let certificate = leaf.der().clone();
        let chain = vec![certificate.clone(), self.authority.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(certificate_error)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(certificate_error)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        // Each connection is named and judged for itself; a ticket would carry one's name to another.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Leaf {
            config: Arc::new(config),
            certificate,
        })
    }
}

async fn shake_hands<S>(leaf: &Leaf, stream: S) -> Result<TlsStream<S>, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = TlsAcceptor::from(Arc::clone(&leaf.config));
    timeout(
        Duration::from_secs(HANDSHAKE_SECONDS),
        acceptor.accept(stream),
    )
    .await
    .map_err(|_| NetError::ClientTooSlow {
        what: "finish its TLS handshake",
        seconds: HANDSHAKE_SECONDS,
    })?
    .map_err(NetError::Client)
}

/// Ends a handshake that has not begun with the alert `unrecognized_name` (RFC 8446 §6.2).
pub async fn refuse_handshake<S: AsyncWrite + Unpin>(mut stream: S) {
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    let _ = timeout(Duration::from_secs(1), async {
        stream.write_all(&ALERT).await?;
        stream.shutdown().await
    })
    .await;
}

/// What programs inside are told to trust: many replace their own roots by the file they are given,
/// so all roots stand in it.
pub struct Bundle {
    /// Certificates, one after the other.
    pub pem: String,
    /// The distribution's file that is part of it; `None` where none was found, and then only
    /// Tagout's own authority and the operator's files are trusted inside.
    pub system: Option<PathBuf>,
}

/// The system's roots, the operator's `ca_files` and the session's authority in one.
///
/// # Errors
/// When one of `ca_files` cannot be read.
pub fn combined_bundle(ca: &SessionCa, ca_files: &[PathBuf]) -> Result<Bundle, NetError> {
    bundle_from(SYSTEM_BUNDLES, ca, ca_files)
}

fn bundle_from(
    candidates: &[impl AsRef<Path>],
    ca: &SessionCa,
    ca_files: &[PathBuf],
) -> Result<Bundle, NetError> {
    let mut pem = String::new();
    let system = candidates.iter().map(AsRef::as_ref).find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        text.contains("-----BEGIN CERTIFICATE-----").then(|| {
            push_pem(&mut pem, &text);
            path.to_owned()
        })
    });
    for path in ca_files {
        let text = fs::read_to_string(path).map_err(|error| NetError::CaFile {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        push_pem(&mut pem, &text);
    }
    push_pem(&mut pem, &ca.ca_pem());
    Ok(Bundle { pem, system })
}

fn push_pem(pem: &mut String, text: &str) {
    pem.push_str(text);
    if !pem.ends_with('\n') {
        pem.push('\n');
    }
}

fn set_validity(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFETIME).into();
}

fn certificate_error(error: impl std::fmt::Display) -> NetError {
    NetError::Certificate(error.to_string())
}

/// The certificates of a PEM file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    use rustls_pki_types::pem::PemObject;
    let certificate = |reason: String| NetError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| certificate(error.to_string()))?;
    if found.is_empty() {
        return Err(certificate("it has no certificate".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::ServerName;
    use rustls_pki_types::pem::PemObject;
    use tokio_rustls::TlsConnector;

    async fn handshake(
        ca: &SessionCa,
        asked: &str,
        host: &str,
        protocols: &[&[u8]],
        spoken: Protocol,
    ) -> (
        Result<Option<Vec<u8>>, std::io::Error>,
        Result<(), NetError>,
    ) {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from(asked.to_owned()).unwrap();
        let host = HostName::parse(host).unwrap();
        let client = async {
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, near)
                .await?;
            Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
        };
        let server = async { ca.accept(far, &host, spoken).await.map(|_| ()) };
        tokio::join!(client, server)
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_session_ca_gets_a_valid_certificate() {
        let ca = SessionCa::generate().unwrap();
        let (client, server) = handshake(
            &ca,
            "api.example.com",
            "api.example.com",
            &[b"h2", b"http/1.1"],
            Protocol::Http1,
        )
        .await;
        assert_eq!(client.unwrap(), Some(b"http/1.1".to_vec()));
        server.unwrap();
        let name = "api.example.com";
        let (client, server) =
            handshake(&ca, name, name, &[b"h2", b"http/1.1"], Protocol::Http2).await;
        assert_eq!(client.unwrap(), Some(b"h2".to_vec()));
        server.unwrap();
        let long = format!("{0}.{0}.example.com", "a".repeat(60));
        let (client, server) = handshake(&ca, &long, &long, &[], Protocol::Http1).await;
        assert_eq!(client.unwrap(), None);
        server.unwrap();
    }

    #[tokio::test]
    async fn invariant_6_another_name_or_another_protocol_fails() {
        let ca = SessionCa::generate().unwrap();
        let (client, server) =
            handshake(&ca, "b.example.com", "a.example.com", &[], Protocol::Http1).await;
        assert!(client.is_err() && server.is_err());
        let name = "a.example.com";
        let (client, server) = handshake(&ca, name, name, &[b"h2"], Protocol::Http1).await;
        assert!(client.is_err() && server.is_err());
    }

    #[test]
    fn the_bundle_has_system_operator_and_session_roots_in_that_order() {
        let folder = tempfile::tempdir().unwrap();
        let ca = SessionCa::generate().unwrap();
        let other = SessionCa::generate().unwrap();
        let (system, extra) = (folder.path().join("system"), folder.path().join("extra"));
        fs::write(&system, "-----BEGIN CERTIFICATE-----\nsystem").unwrap();
        fs::write(&extra, other.ca_pem()).unwrap();
        let absent = folder.path().join("absent");
        let files = [extra.clone()];
        let bundle = bundle_from(&[&absent, &system], &ca, &files).unwrap();
        assert_eq!(bundle.system.as_deref(), Some(system.as_path()));
        let expected = format!(
            "-----BEGIN CERTIFICATE-----\nsystem\n{}{}",
            other.ca_pem(),
            ca.ca_pem()
        );
        assert_eq!(bundle.pem, expected);
        assert!(!bundle.pem.contains("PRIVATE"));
        let bundle = bundle_from(&[&absent], &ca, &[]).unwrap();
        assert_eq!((bundle.pem, bundle.system), (ca.ca_pem(), None));
        assert!(bundle_from(&[&absent], &ca, std::slice::from_ref(&absent)).is_err());
        assert!(read_certificates(&extra).is_ok() && read_certificates(&system).is_err());
    }
}
