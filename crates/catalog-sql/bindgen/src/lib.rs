//! Gives `pg_query`'s build script the declarations of its C library without reading C.
//!
//! bindgen would read them out of `pg_query.h` with libclang, which is 100 MB that a fresh machine does
//! not have, for two dozen functions. They are written down here instead (`declarations.rs`) and given
//! only for the very headers that they were written for: another version of `pg_query` fails to build,
//! with what to do. The workspace's `[patch]` puts this crate in bindgen's place.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const DECLARATIONS: &str = include_str!("declarations.rs.in");
/// Headers with declarations, beside each other, and the FNV-1a of their bytes in this order.
const HEADERS: [&str; 3] = ["pg_query.h", "postgres_deparse.h", "pg_query_scan_tokens.h"];
const WRITTEN_FOR: u64 = 0x3be9_b74c_5e8f_036a;

/// As bindgen's.
#[derive(Debug, Default)]
pub struct Builder {
    header: PathBuf,
}

impl Builder {
    /// The header to read; the others are found beside it.
    #[must_use]
    pub fn header(self, header: impl Into<String>) -> Self {
        Self {
            header: PathBuf::from(header.into()),
        }
    }

    /// The declarations.
    ///
    /// # Errors
    /// When the headers are not those that the declarations were written for.
    pub fn generate(self) -> Result<Bindings, BindgenError> {
        let folder = self.header.parent().unwrap_or(Path::new("."));
        let mut found = FNV_BASIS;
        for header in HEADERS {
            let bytes = fs::read(folder.join(header)).map_err(BindgenError::Unreadable)?;
            found = fnv(found, &bytes);
        }
        match found == WRITTEN_FOR {
            true => Ok(Bindings),
            false => Err(BindgenError::Others { found }),
        }
    }
}

/// As bindgen's.
#[derive(Debug)]
pub struct Bindings;

impl Bindings {
    /// Writes them down.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write_to_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, DECLARATIONS)
    }
}

/// Why there are no declarations.
#[derive(Debug)]
pub enum BindgenError {
    /// A header could not be read.
    Unreadable(io::Error),
    /// These are other headers.
    Others {
        /// What they amount to.
        found: u64,
    },
}

impl fmt::Display for BindgenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(formatter, "a header of libpg_query: {error}"),
            Self::Others { found } => write!(
                formatter,
                "libpg_query's headers ({found:#x}) are not those that crates/catalog-sql/bindgen has \
                 the declarations of ({WRITTEN_FOR:#x}): compare them, then write the new number down"
            ),
        }
    }
}

impl std::error::Error for BindgenError {}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
