//! Content codings (RFC 9110 §8.4.1), taken off content so that it can be read. What was read is what
//! goes on: decoded, and without the field that said otherwise. No I/O.
//!
//! What must stay true: one step unpacks a bounded amount, however little came in for it, so that who
//! takes the pieces one by one never holds a bomb.

mod brotli;
mod gzip;
mod zstandard;

use bytes::{Buf, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// Octets that one step unpacks, where the coding lets itself be bounded so finely.
const STEP: usize = 32 * 1024;
/// Codings on top of each other. Nobody has a use for more than one.
const MOST_LAYERS: usize = 3;
/// What is unpacked of an answer without a look at how little it came from.
const UNSUSPICIOUS: u64 = 64 * 1024 * 1024;
/// How many times as long an answer beyond that may become. Logs and tables reach a hundred.
const LARGEST_RATIO: u64 = 400;

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
    /// It becomes longer than what is held before a verdict, or than it could honestly be.
    #[error("the content is too long once it is decoded")]
    TooLong,
    /// Its coding is not known, or it has too many.
    #[error("the content is encoded in a way that cannot be read")]
    Unknown,
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
        let mut decoding = Decoding::new(&[self]);
        decoding.feed(bytes);
        let mut content = Vec::new();
        while let Some(piece) = decoding.next()? {
            if content.len() + piece.len() > most {
                return Err(Undecodable::TooLong);
            }
            content.extend(piece);
        }
        match bytes.is_empty() {
            true => Err(Undecodable::Broken),
            false => decoding.finish().map(|()| content),
        }
    }

    fn layer(self) -> Box<dyn Layer> {
        match self {
            Self::Gzip => Box::new(gzip::Gzip::new()),
            Self::Deflate => Box::new(gzip::Deflate::new()),
            Self::Brotli => Box::new(brotli::Brotli::new()),
            Self::Zstandard => Box::new(zstandard::Zstandard::new()),
        }
    }

    /// The most that taking it off keeps, in KiB: window and tables.
    fn memory(self) -> u32 {
        match self {
            Self::Gzip | Self::Deflate => 128,
            Self::Brotli => 17 * 1024,
            Self::Zstandard => 9 * 1024,
        }
    }
}

/// One coding on its way off.
trait Layer: Send {
    /// Decodes from the front of `input`, which is given anew until it is used, into `output`. Returns
    /// how much was used; nothing used and nothing put out means that more must come first.
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Undecodable>;

    /// Whether content may end here.
    fn is_whole(&self) -> bool;
}

/// Takes codings off content that comes piece by piece.
pub(crate) struct Decoding {
    /// The one on the outside first.
    stages: Vec<Stage>,
    encoded: u64,
    decoded: u64,
    memory: u32,
}

struct Stage {
    layer: Box<dyn Layer>,
    input: BytesMut,
}

impl Decoding {
    /// For content that was encoded with `codings`, in that order.
    fn new(codings: &[Coding]) -> Self {
        let stage = |coding: &Coding| Stage {
            layer: coding.layer(),
            input: BytesMut::new(),
        };
        Self {
            stages: codings.iter().rev().map(stage).collect(),
            encoded: 0,
            decoded: 0,
            memory: codings.iter().map(|coding| coding.memory()).sum(),
        }
    }

    /// For the content of an answer with these fields; `None` when it is not encoded.
    ///
    /// # Errors
    /// [`Undecodable::Unknown`].
    pub(crate) fn of_answer(fields: &HeaderMap) -> Result<Option<Self>, Undecodable> {
        let mut codings = Vec::new();
        for value in fields.get_all(CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| Undecodable::Unknown)?;
            for name in text.split(',').map(str::trim) {
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                codings.push(Coding::named(name).ok_or(Undecodable::Unknown)?);
            }
        }
        match codings.len() {
            0 => Ok(None),
            1..=MOST_LAYERS => Ok(Some(Self::new(&codings))),
            _ => Err(Undecodable::Unknown),
        }
    }

    /// The most memory that it takes, in KiB.
    pub(crate) fn memory(&self) -> u32 {
        self.memory
    }

    /// Takes more of the encoded content.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        self.encoded += data.len() as u64;
        if let Some(outermost) = self.stages.first_mut() {
            outermost.input.extend_from_slice(data);
        }
    }

    /// The next piece of the decoded content, never empty; `None` until more was fed.
    ///
    /// # Errors
    /// When it is broken, or so much longer than what it came from that it is no honest content.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Undecodable> {
        let piece = next(&mut self.stages)?;
        self.decoded += piece.as_ref().map_or(0, Vec::len) as u64;
        if self.decoded > UNSUSPICIOUS.max(self.encoded.saturating_mul(LARGEST_RATIO)) {
            return Err(Undecodable::TooLong);
        }
        Ok(piece)
    }

    /// Makes sure that the content has ended where its codings say. An answer without any content
    /// has no codings either.
    ///
    /// # Errors
    /// [`Undecodable::Broken`].
    pub(crate) fn finish(self) -> Result<(), Undecodable> {
        let is_whole = |stage: &Stage| stage.layer.is_whole() && stage.input.is_empty();
        match self.encoded == 0 || self.stages.iter().all(is_whole) {
            true => Ok(()),
            false => Err(Undecodable::Broken),
        }
    }
}

/// What the innermost of `stages` gives, fed by those around it.
fn next(stages: &mut [Stage]) -> Result<Option<Vec<u8>>, Undecodable> {
    let Some((stage, around)) = stages.split_last_mut() else {
        return Ok(None);
    };
    loop {
        let mut output = Vec::new();
        let used = stage.layer.step(&stage.input, &mut output)?;
        stage.input.advance(used);
        if !output.is_empty() {
            return Ok(Some(output));
        }
        if used == 0 {
            match next(around)? {
                Some(more) => stage.input.extend_from_slice(&more),
                None => return Ok(None),
            }
        }
    }
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

    /// Every piece of an answer that comes in pieces of `size`.
    fn pieces(coding: Coding, bytes: &[u8], size: usize) -> Result<Vec<Vec<u8>>, Undecodable> {
        let mut decoding = Decoding::new(&[coding]);
        let mut pieces = Vec::new();
        for data in bytes.chunks(size) {
            decoding.feed(data);
            while let Some(piece) = decoding.next()? {
                pieces.push(piece);
            }
        }
        decoding.finish().map(|()| pieces)
    }

    #[test]
    fn a_bomb_comes_out_in_small_pieces_and_ends() {
        let bomb = vec![0; 80 * 1024 * 1024];
        for (coding, bytes) in [
            (Coding::Gzip, gzip(&bomb)),
            (Coding::Zstandard, zstd(&bomb)),
        ] {
            let mut decoding = Decoding::new(&[coding]);
            decoding.feed(&bytes);
            let mut decoded = 0;
            let error = loop {
                match decoding.next() {
                    Ok(Some(piece)) => {
                        assert!(
                            piece.len() <= 9 * 1024 * 1024,
                            "{coding:?}: {}",
                            piece.len()
                        );
                        decoded += piece.len();
                    }
                    Ok(None) => panic!("{coding:?}: {decoded}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, Undecodable::TooLong);
            assert!(decoded as u64 <= UNSUSPICIOUS, "{coding:?}");
        }
        // A window of 128 MiB is not made.
        let mut frame = MAGIC_OF_ZSTANDARD.to_vec();
        frame.extend([0, 0x88, 1, 0, 0]);
        assert_eq!(
            pieces(Coding::Zstandard, &frame, 100),
            Err(Undecodable::Broken)
        );
        // Nor one of brotli's that RFC 7932 does not know.
        assert_eq!(
            pieces(Coding::Brotli, &[0x11, 0x1e, 0x03], 100),
            Err(Undecodable::Broken)
        );
    }

    const MAGIC_OF_ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            content in proptest::collection::vec(0_u8..4, 0..5000),
            size in 1_usize..700,
        ) {
            for (coding, bytes) in [
                (Coding::Gzip, gzip(&content)),
                (Coding::Deflate, deflate(&content)),
                (Coding::Zstandard, zstd(&content)),
            ] {
                let found = pieces(coding, &bytes, size).unwrap().concat();
                prop_assert_eq!(found, &content[..], "{:?}", coding);
            }
        }

        #[test]
        fn nothing_panics_behind_a_good_beginning(
            cut in 0_usize..60,
            rest in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            for (coding, bytes) in [
                (Coding::Gzip, gzip(b"a good beginning")),
                (Coding::Deflate, deflate(b"a good beginning")),
                (Coding::Zstandard, zstd(b"a good beginning")),
                (Coding::Brotli, vec![0x0b, 0x02, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03]),
            ] {
                let mut bytes = bytes;
                bytes.truncate(cut);
                bytes.extend(&rest);
                let _ = pieces(coding, &bytes, 7);
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            for coding in ALL {
                let _ = coding.decode(&bytes, 4096);
            }
        }
    }
}
