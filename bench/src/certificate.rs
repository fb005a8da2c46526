//! A certificate authority and one server certificate, as files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// Where they were written.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes both, the server's for `names`.
pub(crate) fn write(folder: &Path, names: &[&str]) -> Result<Files> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Tagout bench root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_key_pem = ca_key.serialize_pem();
    let issuer = CertifiedIssuer::self_signed(params, ca_key)?;
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let files = Files {
        ca: folder.join("ca.pem"),
        ca_key: folder.join("ca.key"),
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
    };
    for (path, text) in [
        (&files.ca, issuer.pem()),
        (&files.ca_key, ca_key_pem),
        (&files.certificate, certificate.pem()),
        (&files.key, key.serialize_pem()),
    ] {
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(files)
}
