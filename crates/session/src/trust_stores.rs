//! Where programs look for certificate authorities, and how the session's own gets there. One table a
//! kind: variables, bundles, hashed folders, Java's stores, NSS's database. A program with roots of its
//! own compiled in, or that pins a key, is beyond all of them and fails legibly (docs/out-of-the-box.md
//! lists what was tried).

mod hashed;
mod java;
mod nss;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_sandbox::OverlayFile;

/// Where the combined bundle lies inside, whatever the distribution.
pub(crate) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where the session's own certificate lies inside, alone.
pub(crate) const OWN: &str = "/run/tagout/ca.pem";

/// Where distributions keep the bundle. The combined one is laid over each that exists.
const BUNDLES: &[&str] = &[
    // Debian, Ubuntu, Arch, Gentoo, NixOS
    BUNDLE,
    // Fedora, RHEL, Arch (p11-kit)
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "/etc/ca-certificates/extracted/ca-bundle.trust.crt",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    // Alpine, and OpenSSL's own place
    "/etc/ssl/cert.pem",
    "/usr/lib/ssl/cert.pem",
    "/usr/local/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    // NixOS
    "/etc/ssl/certs/ca-bundle.crt",
];

/// Variables with the path of a bundle. Each of them *replaces* the program's own store, so the
/// bundle is the combined one.
pub(crate) const BUNDLE_VARIABLES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "BUNDLE_SSL_CA_CERT",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CODEX_CA_CERTIFICATE",
    "COMPOSER_CAFILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HEX_CACERTS_PATH",
    "HTTPLIB2_CA_CERTS",
    "JULIA_SSL_CA_ROOTS_PATH",
    "NIX_SSL_CERT_FILE",
    "NPM_CONFIG_CAFILE",
    "PERL_LWP_SSL_CA_FILE",
    "PGSSLROOTCERT",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// Variables with the path of certificates that are trusted *beside* the program's own. The session's
/// alone is enough, and a program that reads it at every start reads one certificate.
pub(crate) const ADDED_VARIABLES: &[&str] = &["NODE_EXTRA_CA_CERTS"];

/// Variables that turn a program to the system's store.
pub(crate) const SWITCHES: &[(&str, &str)] = &[
    ("DENO_TLS_CA_STORE", "system,mozilla"),
    ("UV_NATIVE_TLS", "1"),
    ("UV_SYSTEM_CERTS", "1"),
];

/// What is laid over the system's stores: the combined bundle, and the session's own certificate where
/// a store has a file for each.
pub(crate) fn overlays(bundle: &str, own: &str, home: &Path) -> Vec<OverlayFile> {
    let file = |path: PathBuf, bytes: Vec<u8>| OverlayFile {
        path,
        bytes,
        mode: 0o644,
    };
    // First: a folder that gets one more name is rebuilt, the files laid over others stand in it.
    let places = certificates(own).first().map(|own| hashed::places(own));
    let mut overlays: Vec<_> = places
        .into_iter()
        .flatten()
        .map(|place| file(place, own.as_bytes().to_vec()))
        .collect();
    overlays.push(file(BUNDLE.into(), bundle.as_bytes().to_vec()));
    let mut real: Vec<PathBuf> = fs::canonicalize(BUNDLE).into_iter().collect();
    for path in BUNDLES {
        // Several names of one file need one overlay; the links lead to it.
        let Ok(place) = fs::canonicalize(path) else {
            continue;
        };
        if *path != BUNDLE && place.is_file() && !real.contains(&place) {
            overlays.push(file(place.clone(), bundle.as_bytes().to_vec()));
            real.push(place);
        }
    }
    let stores = java::stores(home);
    if let Some(store) = (!stores.is_empty()).then(|| java::key_store(&certificates(bundle))) {
        overlays.extend(stores.into_iter().map(|path| file(path, store.clone())));
    }
    overlays
}

/// What lies beside them: the certificate alone in a folder of the session's own, and NSS's database in
/// the home.
pub(crate) fn copies(own: &str, home: &Path) -> Vec<OverlayFile> {
    let mut copies = vec![OverlayFile {
        path: OWN.into(),
        bytes: own.as_bytes().to_vec(),
        mode: 0o644,
    }];
    // In memory where there is such a folder: nothing of it is to outlive this function.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let database = scratch.ok().and_then(|scratch| {
        let own = certificates(own);
        nss::database(own.first()?, scratch.path())
    });
    let files = database.into_iter().flatten();
    copies.extend(files.map(|(name, bytes)| OverlayFile {
        path: home.join(nss::FOLDER).join(name),
        bytes,
        mode: 0o600,
    }));
    copies
}

/// The certificates of a bundle in PEM, in DER.
fn certificates(bundle: &str) -> Vec<Vec<u8>> {
    bundle
        .split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|rest| {
            let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
            let mut body = body.as_bytes().to_vec();
            body.retain(|byte| !byte.is_ascii_whitespace());
            STANDARD.decode(body).ok()
        })
        .collect()
}
