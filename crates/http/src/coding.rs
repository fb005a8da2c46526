//! Content codings (RFC 9110 §8.4.1), taken off a request's content so that it can be read. What was
//! read is what is sent: decoded, and without the field that said otherwise. No I/O.

use std::io::{self, Read};

/// A content coding that can be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which is what RFC 9110 means by `deflate`.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
}

/// Why content could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    /// It is not what its coding says.
    #[error("the content is not in the coding that Content-Encoding names")]
    Broken,
    /// It becomes longer than what is held before a verdict.
    #[error("the content is too long once it is decoded")]
    TooLong,
}

impl Coding {
    /// The coding of that name; `None` for one that is not known, or for several.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstandard),
            _ => None,
        }
    }

    /// Takes the coding off, up to `most` octets.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub(crate) fn decode(self, bytes: &[u8], most: usize) -> Result<Vec<u8>, Undecodable> {
        match self {
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(bytes), most),
            Self::Deflate => read(flate2::read::ZlibDecoder::new(bytes), most),
            Self::Brotli => read(brotli_decompressor::Decompressor::new(bytes, 4096), most),
            Self::Zstandard => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(bytes)
                    .map_err(|_| Undecodable::Broken)?;
                read(decoder, most)
            }
        }
    }
}

fn read(decoder: impl Read, most: usize) -> Result<Vec<u8>, Undecodable> {
    let mut content = Vec::new();
    // One more, to tell what is too long from what just fits.
    let count = decoder
        .take(most as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|_: io::Error| Undecodable::Broken)?;
    if count > most {
        return Err(Undecodable::TooLong);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    const ALL: [Coding; 4] = [
        Coding::Gzip,
        Coding::Deflate,
        Coding::Brotli,
        Coding::Zstandard,
    ];

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn what_was_encoded_comes_out() {
        let content = b"to be read".repeat(100);
        assert_eq!(Coding::Gzip.decode(&gzip(&content), 1000).unwrap(), content);
        assert_eq!(
            Coding::Deflate.decode(&deflate(&content), 1000).unwrap(),
            content
        );
        assert_eq!(
            Coding::Zstandard.decode(&zstd(&content), 1000).unwrap(),
            content
        );
        // `hello` as the brotli program writes it.
        let hello = [0x0b, 0x02, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03];
        assert_eq!(Coding::Brotli.decode(&hello, 5).unwrap(), b"hello");
        assert_eq!(Coding::Brotli.decode(&hello, 4), Err(Undecodable::TooLong));
        let two = [gzip(b"one"), gzip(b"two")].concat();
        assert_eq!(Coding::Gzip.decode(&two, 10).unwrap(), b"onetwo");
    }

    #[test]
    fn a_bomb_is_not_unpacked_and_a_lie_is_seen() {
        let bomb = vec![0; 64 * 1024 * 1024];
        for (coding, bytes) in [
            (Coding::Gzip, gzip(&bomb)),
            (Coding::Deflate, deflate(&bomb)),
            (Coding::Zstandard, zstd(&bomb)),
        ] {
            assert!(bytes.len() < 1024 * 1024);
            assert_eq!(
                coding.decode(&bytes, 1024),
                Err(Undecodable::TooLong),
                "{coding:?}"
            );
            let half = bytes.get(..bytes.len() / 2).unwrap();
            assert_eq!(
                coding.decode(half, bomb.len()),
                Err(Undecodable::Broken),
                "{coding:?}"
            );
        }
        for coding in ALL {
            assert_eq!(
                coding.decode(b"{\"a\":1}", 1024),
                Err(Undecodable::Broken),
                "{coding:?}"
            );
        }
        for name in ["identity", "compress", "gzip, br", "", "gzip;q=1"] {
            assert_eq!(Coding::named(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            for coding in ALL {
                let _ = coding.decode(&bytes, 4096);
            }
        }
    }
}
