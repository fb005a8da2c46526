//! Java's store of certificate authorities, `cacerts`: one file an installation, in the JKS format,
//! which every Java reads whatever its own default is (`keystore.type.compat`).
//!
//! JKS: a header, entries, and over all of it a SHA-1 keyed by a password that is public
//! (sun.security.provider.JavaKeyStore, `engineStore`). It protects nothing and is not meant to.

use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

/// Where installations are; a `*` stands for one folder.
const INSTALLATIONS: &[&str] = &[
    "/usr/lib/jvm",
    "/usr/java",
    "/opt",
    "/opt/java",
    "/usr/lib64/jvm",
];

/// The same below the home.
const OF_THE_PERSON: &[&str] = &[
    ".sdkman/candidates/java",
    ".asdf/installs/java",
    ".local/share/mise/installs/java",
    ".jdks",
];

/// Where distributions keep one store for all installations.
const SHARED: &[&str] = &[
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/etc/ca-certificates/extracted/java-cacerts.jks",
    "/var/lib/ca-certificates/java-cacerts",
];

/// The password that Java's tools have for this store; reading needs none.
const PASSWORD: &str = "changeit";

/// The stores of this machine, each once.
pub(super) fn stores(home: &Path) -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> = SHARED.iter().map(PathBuf::from).collect();
    let folders = INSTALLATIONS
        .iter()
        .map(PathBuf::from)
        .chain(OF_THE_PERSON.iter().map(|folder| home.join(folder)));
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    for folder in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        homes.extend(entries.map(|entry| entry.path()));
    }
    for home in homes {
        candidates.push(home.join("lib/security/cacerts"));
        candidates.push(home.join("jre/lib/security/cacerts"));
    }
    let mut stores = Vec::new();
    for candidate in candidates {
        if let Ok(real) = candidate.canonicalize()
            && real.is_file()
            && !stores.contains(&real)
        {
            stores.push(real);
        }
    }
    stores
}

/// A store with these certificates.
pub(super) fn key_store(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut store = Vec::new();
    let number = |store: &mut Vec<u8>, number: usize| {
        store.extend(u32::try_from(number).unwrap_or(0).to_be_bytes());
    };
    let text = |store: &mut Vec<u8>, text: &str| {
        store.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        store.extend(text.as_bytes());
    };
    store.extend(0xfeed_feed_u32.to_be_bytes());
    number(&mut store, 2);
    number(&mut store, certificates.len());
    for (index, certificate) in certificates.iter().enumerate() {
        // A trusted certificate: its alias, when it was added, its kind, its bytes.
        number(&mut store, 2);
        text(&mut store, &format!("tagout-{index}"));
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        number(&mut store, certificate.len());
        store.extend(certificate);
    }
    let mut digest = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend(digest.finalize());
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_every_certificate_of_the_bundle() {
        let bundle = "# one\n-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n\
                      -----BEGIN CERTIFICATE-----\nBAUG\nBwgJ\n-----END CERTIFICATE-----\n";
        let store = key_store(&super::super::certificates(bundle));
        assert_eq!(
            store[..12],
            [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]
        );
        assert!(store.windows(7).any(|part| part == [0, 0, 0, 3, 1, 2, 3]));
        assert!(
            store
                .windows(10)
                .any(|part| part == [0, 0, 0, 6, 4, 5, 6, 7, 8, 9])
        );
        assert_eq!(key_store(&[]).len(), 12 + 20);
    }
}
