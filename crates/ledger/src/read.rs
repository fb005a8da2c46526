//! Reading a ledger for people: `tagout log`, also while its session still writes. Only entries behind
//! which a whole checkpoint stands are given out, because nothing was released for any other; whether
//! the checkpoint is genuine is the question of `verify`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::LedgerError;
use crate::checkpoint::LINES;
use crate::entry::{Entry, LARGEST_ENTRY};

/// The entries of a ledger file, in order. It ends at the end of the file and goes on when asked again
/// after the file has grown, which is how a log is followed.
pub struct Entries {
    path: PathBuf,
    file: BufReader<File>,
    /// A line of which the end has not been read yet.
    line: Vec<u8>,
    /// Entries whose checkpoint has not been read yet.
    uncovered: Vec<Entry>,
    checkpoint_lines: usize,
    ready: VecDeque<Entry>,
    read: u64,
}

impl Entries {
    /// Opens a ledger file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(|error| LedgerError::file(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            line: Vec::new(),
            uncovered: Vec::new(),
            checkpoint_lines: 0,
            ready: VecDeque::new(),
            read: 0,
        })
    }

    /// Takes in the line that is complete in `self.line`.
    fn take_line(&mut self) -> Result<(), LedgerError> {
        let mut line = std::mem::take(&mut self.line);
        line.pop();
        if self.checkpoint_lines == 0 && line.first() == Some(&b'{') {
            let Some(entry) = Entry::parse(&line) else {
                return Err(self.malformed("a line is not an entry"));
            };
            self.read += 1;
            self.uncovered.push(entry);
            return Ok(());
        }
        self.checkpoint_lines += 1;
        if self.checkpoint_lines == LINES {
            self.checkpoint_lines = 0;
            self.ready.extend(self.uncovered.drain(..));
        }
        Ok(())
    }

    fn malformed(&self, reason: &str) -> LedgerError {
        LedgerError::Malformed {
            entry: self.read,
            reason: reason.to_owned(),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            match read_line(&mut self.file, &mut self.line) {
                Ok(Line::Whole) => {
                    if let Err(error) = self.take_line() {
                        return Some(Err(error));
                    }
                }
                Ok(Line::Partial) => return None,
                Ok(Line::TooLong) => {
                    self.line.clear();
                    return Some(Err(self.malformed("a line is longer than any entry")));
                }
                Err(error) => return Some(Err(LedgerError::file(&self.path, &error))),
            }
        }
    }
}

/// How reading a line ended.
pub(crate) enum Line {
    /// With its line feed, which is in the buffer.
    Whole,
    /// With the end of the file; the buffer holds what there is, perhaps nothing.
    Partial,
    /// With more bytes than an entry has.
    TooLong,
}

/// Reads on into `line` up to and with a line feed, but never more than an entry's length.
pub(crate) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let room = (LARGEST_ENTRY + 1).saturating_sub(line.len());
    reader.take(room as u64).read_until(b'\n', line)?;
    Ok(if line.last() == Some(&b'\n') {
        Line::Whole
    } else if line.len() > LARGEST_ENTRY {
        Line::TooLong
    } else {
        Line::Partial
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::key::InstallKey;
    use crate::writer::tests::sample;

    fn ledger() -> Vec<u8> {
        let home = tempfile::tempdir().unwrap();
        let install = InstallKey::load_or_create(home.path()).unwrap();
        sample(&install, &[1, 3], true)
    }

    #[test]
    fn a_growing_ledger_is_followed_batch_by_batch() {
        let ledger = ledger();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut entries = Entries::open(file.path()).unwrap();
        let mut seen = Vec::new();
        let mut written = 0;
        for piece in ledger.chunks(7) {
            file.write_all(piece).unwrap();
            written += piece.len();
            seen.extend(entries.by_ref().map(|entry| entry.unwrap().seq));
            // Only what a whole checkpoint stands behind.
            let known = crate::verify_bytes(&ledger[..written], &crate::Known::default());
            assert_eq!(seen.len() as u64, known.entries);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_no_entry_is_an_error_that_names_its_place() {
        let mut ledger = ledger();
        let second = ledger.windows(2).rposition(|pair| pair == b"\n{").unwrap() + 1;
        ledger[second + 1] = b'!';
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &ledger).unwrap();
        let errors: Vec<_> = Entries::open(file.path())
            .unwrap()
            .filter_map(Result::err)
            .collect();
        assert!(matches!(
            errors.as_slice(),
            [LedgerError::Malformed { entry: 5, .. }]
        ));
        assert!(Entries::open(Path::new("/nonexistent/x.ledger")).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_neither_panic_nor_loop(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            long in any::<bool>(),
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let padding = if long { vec![b'x'; LARGEST_ENTRY + 2] } else { vec![] };
            std::fs::write(file.path(), [padding, bytes].concat()).unwrap();
            let lines = Entries::open(file.path()).unwrap().count();
            prop_assert!(lines <= 401);
        }
    }
}
