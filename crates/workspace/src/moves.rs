//! What was renamed so far, read from the journal while the session runs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::journal::{NAME, Record};

/// Reads on where it stopped.
pub struct Moves {
    journal: File,
    /// Bytes of lines that were read.
    read: u64,
}

impl Moves {
    /// Begins with the first change of the session whose changes are kept in `folder`. `None` where nothing is kept.
    pub fn of(folder: &Path) -> Option<Moves> {
        Some(Moves {
            journal: File::open(folder.join(NAME)).ok()?,
            read: 0,
        })
    }

    /// The names (absolute) that became others since this was asked last, in order; what changed places, in both directions. A rename is
    /// told of before it is made, so that it may have failed.
    pub fn since(&mut self) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        self.journal.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        self.journal.read_to_end(&mut text)?;
        let whole = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        self.read += whole as u64;
        let mut moves = Vec::new();
        for line in text[..whole].split(|&byte| byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Record::Renamed { from, to, .. }) => moves.push((from.0, to.0)),
                Ok(Record::Exchanged { one, other }) => {
                    moves.push((one.0.clone(), other.0.clone()));
                    moves.push((other.0, one.0));
                }
                _ => {}
            }
        }
        Ok(moves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Name;
    use std::io::Write;

    #[test]
    fn each_move_is_told_once_and_a_torn_line_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Moves::of(folder.path()).is_none());
        let mut journal = File::create(folder.path().join(NAME)).unwrap();
        let mut moves = Moves::of(folder.path()).unwrap();
        let name = |text: &str| Name(PathBuf::from(text));
        let renamed = Record::Renamed {
            from: name("/w/a"),
            to: name("/w/b"),
            replaced: None,
        };
        let exchanged = Record::Exchanged {
            one: name("/w/c"),
            other: name("/w/d"),
        };
        let text = serde_json::to_string(&renamed).unwrap() + "\n";
        let torn = serde_json::to_string(&exchanged).unwrap() + "\n";
        let (first, rest) = torn.split_at(10);
        journal.write_all((text + first).as_bytes()).unwrap();
        let pair = |from: &str, to: &str| (PathBuf::from(from), PathBuf::from(to));
        assert_eq!(moves.since().unwrap(), [pair("/w/a", "/w/b")]);
        journal.write_all(rest.as_bytes()).unwrap();
        assert_eq!(
            moves.since().unwrap(),
            [pair("/w/c", "/w/d"), pair("/w/d", "/w/c")]
        );
        assert_eq!(moves.since().unwrap(), []);
    }
}
