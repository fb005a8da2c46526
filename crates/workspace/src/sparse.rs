//! Copies of files whose holes stay holes: an image of a disk may say that it is a hundred times as large as what it takes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

/// What a file takes, or would if it had no holes, whichever is less, in bytes.
pub(crate) fn taken(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    Ok(metadata.len().min(metadata.blocks().saturating_mul(512)))
}

/// Copies everything in `from` to the empty file `to`; the kernel shares the blocks where the file system can. Tells how many bytes were
/// copied, holes left out.
pub(crate) fn copy(from: &mut File, to: &mut File) -> io::Result<u64> {
    if taken(from)? == from.metadata()?.len() {
        return io::copy(from, to);
    }
    let (mut at, mut copied) = (0, 0);
    loop {
        let start = match rustix::fs::seek(&*from, rustix::fs::SeekFrom::Data(at)) {
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            start => start?,
        };
        let end = rustix::fs::seek(&*from, rustix::fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        let part = io::copy(&mut from.take(end - start), to)?;
        copied += part;
        // It was cut meanwhile, from outside.
        if part < end - start {
            break;
        }
        at = end;
    }
    let length = from.metadata()?.len();
    if to.metadata()?.len() < length {
        to.set_len(length)?;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn holes_stay_holes_and_everything_else_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, parts: &[(u64, &[u8])], length: u64| {
            let path = folder.path().join(name);
            let mut file = File::create(&path).unwrap();
            for (at, bytes) in parts {
                file.seek(SeekFrom::Start(*at)).unwrap();
                file.write_all(bytes).unwrap();
            }
            file.set_len(length).unwrap();
            path
        };
        const MEBIBYTE: u64 = 1 << 20;
        let files = [
            make("none", &[], 0),
            make("hole", &[], 4 * MEBIBYTE),
            make("dense", &[(0, &[7; 10_000])], 10_000),
            make(
                "both",
                &[(MEBIBYTE, b"one"), (3 * MEBIBYTE + 5, b"two")],
                8 * MEBIBYTE,
            ),
            make("end", &[(2 * MEBIBYTE, b"end")], 2 * MEBIBYTE + 3),
        ];
        for path in files {
            let copy = path.with_extension("copy");
            let mut to = File::create(&copy).unwrap();
            super::copy(&mut File::open(&path).unwrap(), &mut to).unwrap();
            assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
            assert!(taken(&to).unwrap() <= 32 << 10, "{}", path.display());
        }
    }
}
