//! Secrets in archives and compressed files: zip, tar, and either or anything in gzip or zstd. Which it is, the content says. A
//! file within one is read as it would be beside it; an archive within an archive is not opened, nor is bzip2 or xz.
//!
//! What is unpacked is bounded in size and number, and nothing is written anywhere: names within an archive are names only.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use tagout_secrets::Finding;

use crate::scan::findings_in;

/// What is unpacked of one archive at most, in bytes.
const MOST_UNPACKED: u64 = 128 << 20;
/// The largest file that is read within one, in bytes.
const LARGEST: u64 = 4 << 20;
/// Files that are read within one.
const MOST_FILES: usize = 10_000;
/// Packages that package managers fetch: published, so that what is in them is no secret, and what checks them would fail.
#[rustfmt::skip]
const PACKAGES: &[&str] = &[
    "aar", "apk", "crate", "deb", "egg", "gem", "jar", "nupkg", "rpm", "vsix", "war", "whl", "xpi",
];

/// A file within an archive that holds secrets.
pub struct Within {
    /// Its name there.
    pub name: PathBuf,
    pub bytes: Vec<u8>,
    pub findings: Vec<Finding>,
}

/// What holds secrets within the archive or compressed file `bytes`; nothing where it is neither. What is damaged or beyond
/// the bounds is as far as it can be read.
pub fn look_into(path: &Path, bytes: &[u8]) -> Vec<Within> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if PACKAGES.iter().any(|package| extension == *package) {
        return Vec::new();
    }
    let mut found = Vec::new();
    match bytes {
        [b'P', b'K', 3, 4, ..] => zip(bytes, &mut found),
        [0x1F, 0x8B, ..] => unpacked(path, flate2::read::MultiGzDecoder::new(bytes), &mut found),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            if let Ok(decoder) = ruzstd::decoding::StreamingDecoder::new(bytes) {
                unpacked(path, decoder, &mut found);
            }
        }
        _ if is_tar(bytes) => tar(Cursor::new(bytes), &mut found),
        _ => {}
    }
    found
}

/// The magic of POSIX.1-1988 and GNU headers, which both begin so.
fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// A tar in a compression, or one file.
fn unpacked(path: &Path, content: impl Read, found: &mut Vec<Within>) {
    let mut content = content.take(MOST_UNPACKED);
    let mut beginning = Vec::new();
    // What is damaged ends early, and what came before counts.
    let _ = (&mut content).take(512).read_to_end(&mut beginning);
    let is_tar = is_tar(&beginning);
    let content = Cursor::new(beginning).chain(content);
    if is_tar {
        tar(content, found);
    } else {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        file(Path::new(name), content, found);
    }
}

fn tar(content: impl Read, found: &mut Vec<Within>) {
    let mut archive = tar::Archive::new(content);
    let Ok(entries) = archive.entries() else {
        return;
    };
    for entry in entries.take(MOST_FILES) {
        let Ok(entry) = entry else { break };
        if entry.header().entry_type().is_file()
            && let Ok(name) = entry.path().map(|name| name.into_owned())
        {
            file(&name, entry, found);
        }
    }
}

fn zip(bytes: &[u8], found: &mut Vec<Within>) {
    let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(bytes)) else {
        return;
    };
    let mut left = MOST_UNPACKED;
    for at in 0..archive.len().min(MOST_FILES) {
        // Encrypted, or in a compression that is not known.
        let Ok(entry) = archive.by_index(at) else {
            continue;
        };
        if entry.is_file() {
            let name = PathBuf::from(entry.name());
            let mut entry = entry.take(left);
            file(&name, &mut entry, found);
            left = entry.limit();
        }
    }
}

fn file(name: &Path, content: impl Read, found: &mut Vec<Within>) {
    let mut bytes = Vec::new();
    let read = content.take(LARGEST + 1).read_to_end(&mut bytes);
    let is_whole = bytes.len() as u64 <= LARGEST;
    if read.is_err_and(|error| error.kind() == io::ErrorKind::OutOfMemory) || !is_whole {
        return;
    }
    let findings = findings_in(name, &bytes);
    if !findings.is_empty() {
        found.push(Within {
            name: name.to_owned(),
            bytes,
            findings,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SETTING: &str = "RAILWAY_API_TOKEN=3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97\n";

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            archive
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn gzip_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_archives_hold_is_found_whatever_they_are_called() {
        let files = [("readme.txt", "nothing\n"), ("app/.env", SETTING)];
        let dump = format!("export {SETTING}");
        let cases = [
            tar_of(&files),
            gzip_of(&tar_of(&files)),
            zip_of(&files),
            gzip_of(dump.as_bytes()),
            [gzip_of(b"line\n"), gzip_of(dump.as_bytes())].concat(),
            ruzstd::encoding::compress_to_vec(
                dump.as_bytes(),
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
        ];
        for (number, bytes) in cases.iter().enumerate() {
            let found = look_into(Path::new("backup.bin"), bytes);
            assert_eq!(found.len(), 1, "{number}");
            let [finding] = found[0].findings.as_slice() else {
                panic!("{number}: {:?}", found[0].findings);
            };
            assert_eq!(
                found[0].bytes[finding.span.clone()],
                SETTING.as_bytes()[18..54],
                "{number}"
            );
            // Cut anywhere it is no panic.
            for length in (0..bytes.len()).step_by(7) {
                look_into(Path::new("backup.bin"), &bytes[..length]);
            }
        }
        assert!(look_into(Path::new("lib/tool.jar"), &zip_of(&files)).is_empty());
        assert!(look_into(Path::new("a.txt"), SETTING.as_bytes()).is_empty());
        assert!(look_into(Path::new("a.zip"), &zip_of(&files[..1])).is_empty());
    }

    #[test]
    fn a_bomb_is_bounded() {
        let zeros = vec![0; 64 << 20];
        let bomb = gzip_of(&[zeros.as_slice(), &zeros, &zeros].concat());
        let began = std::time::Instant::now();
        assert!(look_into(Path::new("bomb.gz"), &bomb).is_empty());
        assert!(began.elapsed().as_secs() < 30);
    }
}
