//! TLS to a database, where the operator's URL says how far the server has to prove itself: PostgreSQL's
//! `sslmode` knows servers that are encrypted and not verified, HTTP does not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tagout_core::HostName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::NetError;
use crate::tls::POSTGRES;
use crate::upstream::Upstream;

const HANDSHAKE_SECONDS: u64 = 10;

/// What a server's certificate has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// That a known authority knows it by the host's name (`verify-full`).
    Full,
    /// That a known authority knows it, by whatever name (`verify-ca`).
    Authority,
    /// Nothing (`require`): the connection cannot be listened to, and may be with anybody.
    Nothing,
}

/// How TLS is spoken with a database.
#[derive(Debug)]
pub struct DatabaseTls {
    /// What the server has to prove.
    pub verification: Verification,
    /// Authorities beside the system's and those of `config.toml` (`sslrootcert`).
    pub authorities: Vec<CertificateDer<'static>>,
    /// What proves the client (`sslcert`, `sslkey`).
    pub client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Upstream {
    /// Performs the client's side of a handshake on a connection that a database agreed to encrypt.
    /// `name` is what its certificate has to say, a host's name or an address.
    ///
    /// # Errors
    /// When it fails; the message is fit for the agent.
    pub async fn secure(
        &self,
        host: &HostName,
        name: &str,
        stream: TcpStream,
        tls: &DatabaseTls,
    ) -> Result<TlsStream<TcpStream>, NetError> {
        let failed = |source| NetError::ServerHandshake {
            host: host.clone(),
            source,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let config = self.database_config(tls)?;
        timeout(
            Duration::from_secs(HANDSHAKE_SECONDS),
            TlsConnector::from(Arc::new(config)).connect(name, stream),
        )
        .await
        .map_err(|_| NetError::ServerTooSlow {
            host: host.clone(),
            what: "finish its TLS handshake",
            seconds: HANDSHAKE_SECONDS,
        })?
        .map_err(failed)
    }

    fn database_config(&self, tls: &DatabaseTls) -> Result<ClientConfig, NetError> {
        let provider = Arc::new(ring::default_provider());
        let invalid = |error: &dyn std::fmt::Display| NetError::Certificate(error.to_string());
        let verifier: Arc<dyn ServerCertVerifier> = match tls.verification {
            Verification::Nothing => Arc::new(Unverified(Arc::clone(&provider))),
            verification => {
                let mut roots = self.roots();
                for authority in &tls.authorities {
                    roots
                        .add(authority.clone())
                        .map_err(|error| invalid(&error))?;
                }
                let strict = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|error| invalid(&error))?;
                match verification {
                    Verification::Full => strict,
                    _ => Arc::new(ByAuthority(strict)),
                }
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &tls.client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| invalid(&error))?,
        };
        config.alpn_protocols = vec![POSTGRES.to_vec()];
        Ok(config)
    }
}

/// Verifies all but the name.
#[derive(Debug)]
struct ByAuthority(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The name is looked at last, so everything else was found to be right.
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Verifies that the server has the key of the certificate that it shows, and nothing about whose.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
