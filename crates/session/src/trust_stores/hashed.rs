//! Folders in which OpenSSL looks a certificate up by a hash of its subject (`c_rehash`, `openssl
//! rehash`): programs that were told a folder (`SSL_CERT_DIR`, `--capath`) and no file find an
//! authority there or nowhere. The session's own gets its name in each such folder of the machine.
//!
//! The name is `HASH.N`: the first four bytes, little endian, of the SHA-1 of the subject in a
//! canonical form (OpenSSL, `X509_NAME_hash_ex` and `x509_name_canon`: every text as UTF-8, lower case,
//! blanks trimmed and single, without the outermost header), and the first N that is free.

use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

/// Where distributions keep one.
const FOLDERS: &[&str] = &[
    // Debian, Ubuntu, Arch, Alpine; on Fedora the same as the next
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    // Fedora 41 and later
    "/etc/pki/ca-trust/extracted/pem/directory-hash",
    // SUSE
    "/var/lib/ca-certificates/openssl",
    "/var/lib/ca-certificates/pem",
    // Arch
    "/etc/ca-certificates/extracted/cadir",
];

/// Where the certificate with this subject has to lie, in every folder of this machine that is one.
pub(super) fn places(certificate: &[u8]) -> Vec<PathBuf> {
    let Some(hash) = subject_hash(certificate) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        if let Ok(real) = fs::canonicalize(folder)
            && !folders.contains(&real)
            && is_hashed(&real)
        {
            folders.push(real);
        }
    }
    folders
        .iter()
        .filter_map(|folder| free_name(folder, hash))
        .collect()
}

fn free_name(folder: &Path, hash: u32) -> Option<PathBuf> {
    (0..10)
        .map(|number| folder.join(format!("{hash:08x}.{number}")))
        .find(|place| place.symlink_metadata().is_err())
}

/// Whether a name of that form is in there: a folder without is looked through by nobody.
fn is_hashed(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        match name.to_string_lossy().split_once('.') {
            Some((hash, number)) => {
                hash.len() == 8
                    && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && number.bytes().all(|byte| byte.is_ascii_digit())
            }
            None => false,
        }
    })
}

/// The hash of a certificate's subject, as in the name of its file. `None` where it is no certificate.
fn subject_hash(certificate: &[u8]) -> Option<u32> {
    let digest = Sha1::digest(canonical(subject(certificate)?)?);
    let first = digest.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*first))
}

/// A value of DER: its tag, its content, and what follows it.
pub(super) struct Value<'d> {
    pub(super) tag: u8,
    pub(super) content: &'d [u8],
    pub(super) whole: &'d [u8],
    pub(super) rest: &'d [u8],
}

/// Reads one value of DER (X.690, 8.1). Lengths above 65,535 are not needed here.
pub(super) fn value(bytes: &[u8]) -> Option<Value<'_>> {
    let (&tag, behind) = bytes.split_first()?;
    let (&first, behind) = behind.split_first()?;
    let (length, behind) = match first {
        0..=0x7f => (usize::from(first), behind),
        0x81 => {
            let (&length, behind) = behind.split_first()?;
            (usize::from(length), behind)
        }
        0x82 => {
            let (length, behind) = behind.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), behind)
        }
        _ => return None,
    };
    let (content, rest) = behind.split_at_checked(length)?;
    Some(Value {
        tag,
        content,
        whole: bytes.get(..bytes.len() - rest.len())?,
        rest,
    })
}

/// The subject of a certificate (RFC 5280, 4.1): the fifth field after the version, which is optional.
pub(super) fn subject(certificate: &[u8]) -> Option<&[u8]> {
    fields(certificate).map(|fields| fields.subject)
}

/// Fields of a certificate that stores repeat, each with its header.
pub(super) struct Fields<'d> {
    pub(super) serial: &'d [u8],
    pub(super) issuer: &'d [u8],
    pub(super) subject: &'d [u8],
}

/// The fields of a certificate; `None` where it is none.
pub(super) fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let mut rest = value(value(certificate)?.content)?.content;
    if value(rest)?.tag == 0xa0 {
        rest = value(rest)?.rest;
    }
    let serial = value(rest)?;
    let algorithm = value(serial.rest)?;
    let issuer = value(algorithm.rest)?;
    let validity = value(issuer.rest)?;
    let subject = value(validity.rest)?;
    Some(Fields {
        serial: serial.whole,
        issuer: issuer.whole,
        subject: subject.whole,
    })
}

/// The canonical form of a name.
fn canonical(name: &[u8]) -> Option<Vec<u8>> {
    let mut form = Vec::new();
    let mut sets = value(name)?.content;
    while !sets.is_empty() {
        let set = value(sets)?;
        sets = set.rest;
        let (mut pairs, mut written) = (set.content, Vec::new());
        while !pairs.is_empty() {
            let pair = value(pairs)?;
            pairs = pair.rest;
            let kind = value(pair.content)?;
            let text = value(kind.rest)?;
            let mut content = kind.whole.to_vec();
            // UTF8String, PrintableString, IA5String: what our own authority may be written in.
            content.extend(match text.tag {
                0x0c | 0x13 | 0x16 => wrap(0x0c, &plain(text.content))?,
                _ => text.whole.to_vec(),
            });
            written.extend(wrap(0x30, &content)?);
        }
        form.extend(wrap(0x31, &written)?);
    }
    Some(form)
}

/// Lower case, without blanks at the ends and with single ones between.
fn plain(text: &[u8]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = text
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    words.join(&b' ')
}

fn wrap(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let mut whole = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => whole.push(length),
        Ok(length) => whole.extend([0x81, length]),
        Err(_) => {
            whole.push(0x82);
            whole.extend(u16::try_from(content.len()).ok()?.to_be_bytes());
        }
    }
    whole.extend(content);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A name with these values, each in a set of its own.
    fn name(values: &[(u8, &str)]) -> Vec<u8> {
        let sets: Vec<u8> = values
            .iter()
            .flat_map(|(tag, text)| {
                let kind = wrap(0x06, &[0x55, 0x04, 0x03]).unwrap();
                let text = wrap(*tag, text.as_bytes()).unwrap();
                wrap(0x31, &wrap(0x30, &[kind, text].concat()).unwrap()).unwrap()
            })
            .collect();
        wrap(0x30, &sets).unwrap()
    }

    #[test]
    fn the_canonical_form_knows_no_case_and_no_spelling_of_blanks() {
        let form = canonical(&name(&[(0x13, " Some  CA "), (0x16, "x")])).unwrap();
        assert_eq!(
            form,
            canonical(&name(&[(0x0c, "some ca"), (0x0c, "X")])).unwrap()
        );
        assert_ne!(
            form,
            canonical(&name(&[(0x0c, "someca"), (0x0c, "X")])).unwrap()
        );
        // Without the outermost header.
        assert_eq!(form[0], 0x31);
    }

    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj "/CN=Test CA x/O=Tagout"`
    const CERTIFICATE: &str = "MIIBnjCCAUWgAwIBAgIUBvguzSuFZMrMtgaPY+glhew+BbIwCgYIKoZIzj0EAwIwJTESMBAGA1UEAwwJVGVzdCBD\
         QSB4MQ8wDQYDVQQKDAZUYWdvdXQwHhcNMjYxMTIzMDAxMzM4WhcNMjYxMTI4MDAxMzM4WjAlMRIwEAYDVQQDDAlU\
         ZXN0IENBIHgxDzANBgNVBAoMBlRhZ291dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABL6OZxPw07JDw7gMmGxS\
         lW7yn0DiXBPR/S/8rLXse94QBnzmUSCNaM/0+B/05+JTg4gnkVwMVq0usAB2RWB3O7ajUzBRMB0GA1UdDgQWBBT2\
         9vQzmFLf7mnpovSBL8nSQePLEzAfBgNVHSMEGDAWgBT29vQzmFLf7mnpovSBL8nSQePLEzAPBgNVHRMBAf8EBTAD\
         AQH/MAoGCCqGSM49BAMCA0cAMEQCIFJpkBgfI2D2AlillGLm4H4ADBKRPvv09lSamGiz2IsjAiAU/Hzc3bapq4hI\
         lKGmwuPqcLBO/N4rB/I4iNfs/FMDIw==";

    #[test]
    fn the_hash_is_openssls() {
        use base64::Engine as _;
        let certificate = base64::engine::general_purpose::STANDARD
            .decode(CERTIFICATE)
            .unwrap();
        // `openssl x509 -subject_hash`
        assert_eq!(subject_hash(&certificate), Some(0x55da_8670));
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_hashed(folder.path()));
        fs::write(folder.path().join("55da8670.0"), "another of that hash").unwrap();
        assert!(is_hashed(folder.path()));
        let free = free_name(folder.path(), 0x55da_8670).unwrap();
        assert_eq!(free, folder.path().join("55da8670.1"));
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_has_no_hash_and_does_no_harm(bytes: Vec<u8>) {
            let _ = subject_hash(&bytes);
            let _ = subject_hash(&wrap(0x30, &wrap(0x30, &bytes).unwrap_or_default()).unwrap_or_default());
        }
    }
}
