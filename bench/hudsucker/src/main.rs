//! hudsucker with handlers that change nothing: TLS on both sides and an HTTP library between, without
//! policy or record. What the HTTP gate costs beyond this is what judging and recording cost.
//!
//! Usage: `hudsucker-pass-through PORT CA.pem CA.key`; the same authority signs what clients see and
//! what upstream servers must have.

use std::net::SocketAddr;
use std::sync::Arc;

use hudsucker::Proxy;
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::rcgen::{Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().collect();
    let [_, port, certificate, key] = words.as_slice() else {
        return Err("usage: hudsucker-pass-through PORT CA.pem CA.key".into());
    };
    let pem = std::fs::read_to_string(certificate)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .build();
    let key = KeyPair::from_pem(&std::fs::read_to_string(key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
    Proxy::builder()
        .with_addr(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
        .with_ca(RcgenAuthority::new(issuer, 1_000, ring::default_provider()))
        .with_http_connector(connector)
        .build()?
        .start()
        .await?;
    Ok(())
}
