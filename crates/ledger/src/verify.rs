//! Verification: whether a ledger is what its session wrote, from the file and a public key alone.
//!
//! The last checkpoint's signature covers every byte before it: the entries through the Merkle root,
//! the earlier checkpoints through the hash that the entry behind each carries. So one signature is
//! checked, and only when something does not fit is the ledger read again with every signature, to
//! say which entry it was. What stands behind the last whole checkpoint was never acknowledged and
//! does not count: after a crash that is a torn batch; behind the `end` it is an extension.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _};
use std::path::Path;

use tagout_core::{Digest, SessionId};

use crate::LedgerError;
use crate::checkpoint::{Checkpoint, LINES, Mark, signature_line_length};
use crate::entry::{END, Links};
use crate::header::Header;
use crate::key::PublicKey;
use crate::read::{Line, read_line};
use crate::tree::{Tree, leaf};

/// A damaged ledger may hold one problem a line; nobody reads more than these.
const MOST_PROBLEMS: usize = 50;

/// What the verifier knows of a ledger from elsewhere. Everything may be absent; the report says what
/// was checked against.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The public half of the install key that must have certified the session's key.
    pub install_key: Option<PublicKey>,
    /// The session whose ledger this must be.
    pub session: Option<SessionId>,
    /// A signed checkpoint of this ledger that was kept elsewhere: its five lines.
    pub checkpoint: Option<String>,
    /// The store's high-water mark.
    pub high_water: Option<Mark>,
}

/// Something that is not as the session wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The number of the entry where it shows.
    pub entry: u64,
    /// What is wrong with it, as it reads behind `entry N`: `was changed`.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} {}", self.entry, self.what)
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The session that the ledger names.
    pub session: Option<SessionId>,
    /// The install key that the ledger names.
    pub install_key: Option<PublicKey>,
    /// Entries under the last whole checkpoint.
    pub entries: u64,
    /// The last whole checkpoint.
    pub mark: Option<Mark>,
    /// Whether the ledger has its `end`.
    pub finished: bool,
    /// Bytes of a batch that was cut off; never acknowledged, so nothing was released for it.
    pub torn_bytes: u64,
    /// What the ledger was checked against, in words.
    pub checked_against: Vec<String>,
    /// What is wrong, in the order of the file; empty when the ledger is genuine.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether the ledger is what its session wrote, as far as it was checked.
    pub fn is_genuine(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Verifies a ledger file.
///
/// # Errors
/// When the file cannot be read. A ledger that is not genuine is no error but a report.
pub fn verify(path: &Path, known: &Known) -> Result<Report, LedgerError> {
    let failed = |error: io::Error| LedgerError::file(path, &error);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let report = Pass::over(&mut file, known, Signatures::Last).map_err(failed)?;
    if report.is_genuine() {
        return Ok(report);
    }
    file.rewind().map_err(failed)?;
    let located = Pass::over(&mut file, known, Signatures::All).map_err(failed)?;
    // A live ledger may have grown meanwhile, but nothing mends a problem once found.
    Ok(if located.is_genuine() {
        report
    } else {
        located
    })
}

/// Verifies a ledger in memory.
pub fn verify_bytes(bytes: &[u8], known: &Known) -> Report {
    let pass = |signatures| Pass::over(&mut &*bytes, known, signatures).unwrap_or_default();
    let report = pass(Signatures::Last);
    if report.is_genuine() {
        return report;
    }
    pass(Signatures::All)
}

/// Which checkpoints' signatures a pass checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signatures {
    /// The last one, which covers everything.
    Last,
    /// Each, to find the first that does not fit.
    All,
}

/// One reading of a ledger.
struct Pass<'a> {
    known: &'a Known,
    signatures: Signatures,
    report: Report,
    header: Header,
    given: Option<Mark>,
    tree: Tree,
    /// The number that the next entry should have.
    expected: u64,
    prev: Option<Digest>,
    /// The hash of the checkpoint, when the last thing read was one, and whether it was good.
    after_checkpoint: Option<(Digest, bool)>,
    /// Lines of the checkpoint that is being read.
    checkpoint: Vec<u8>,
    checkpoint_lines: usize,
    last_checkpoint: Option<Checkpoint>,
    /// An entry whose link to its predecessor does not fit: one of the two was changed.
    suspected: Option<u64>,
    /// The root is beyond repair; only links are still checked.
    broken: bool,
    end_seen: bool,
    in_rubbish: bool,
    roots: Vec<Mark>,
}

impl<'a> Pass<'a> {
    fn over(
        reader: &mut impl BufRead,
        known: &'a Known,
        signatures: Signatures,
    ) -> io::Result<Report> {
        let mut line = Vec::new();
        let mut report = Report::default();
        let header = match read_line(reader, &mut line)? {
            Line::Whole => Header::read(&line, known, &mut report),
            // Killed before its first entry was whole: there is nothing to doubt.
            Line::Partial => {
                report.torn_bytes = line.len() as u64;
                if known.high_water.is_some() || known.checkpoint.is_some() {
                    report.blame(0, "is missing: a checkpoint of this ledger is known");
                }
                return Ok(report);
            }
            Line::TooLong => {
                report.blame(0, "is longer than any entry");
                None
            }
        };
        let Some(header) = header else {
            return Ok(report);
        };
        let mut pass = Self {
            known,
            signatures,
            report,
            header,
            given: None,
            tree: Tree::default(),
            expected: 0,
            prev: None,
            after_checkpoint: None,
            checkpoint: Vec::new(),
            checkpoint_lines: 0,
            last_checkpoint: None,
            suspected: None,
            broken: false,
            end_seen: false,
            in_rubbish: false,
            roots: Vec::new(),
        };
        pass.read_given_checkpoint();
        loop {
            pass.report.torn_bytes += line.len() as u64;
            if pass.report.finished {
                pass.blame(pass.expected, "stands behind the end: somebody added it");
                break;
            }
            line.pop();
            pass.take_line(&line);
            line.clear();
            match read_line(reader, &mut line)? {
                Line::Whole => {}
                Line::Partial => {
                    pass.take_torn(&line);
                    break;
                }
                Line::TooLong => {
                    pass.blame(pass.expected, "is longer than any entry");
                    break;
                }
            }
        }
        Ok(pass.conclude())
    }

    fn blame(&mut self, entry: u64, what: &str) {
        self.report.blame(entry, what);
    }

    fn take_line(&mut self, line: &[u8]) {
        if self.checkpoint_lines == 0 && line.first() == Some(&b'{') {
            self.in_rubbish = false;
            self.take_entry(line);
        } else if self.is_checkpoint_line(line) {
            self.checkpoint.extend_from_slice(line);
            self.checkpoint.push(b'\n');
            self.checkpoint_lines += 1;
            if self.checkpoint_lines == LINES {
                self.checkpoint_lines = 0;
                self.take_checkpoint();
            }
        } else {
            let retry = self.checkpoint_lines > 0 && line.first() == Some(&b'{');
            self.checkpoint_lines = 0;
            self.checkpoint.clear();
            if !self.in_rubbish {
                self.in_rubbish = true;
                let last = self.expected.saturating_sub(1);
                self.blame(
                    last,
                    "is followed by something that is neither an entry nor a checkpoint",
                );
            }
            if retry {
                self.take_line(line);
            }
        }
    }

    fn take_entry(&mut self, line: &[u8]) {
        let leaf = leaf(line);
        match serde_json::from_slice::<Links<'_>>(line) {
            Ok(links) => {
                self.check_links(&links);
                self.end_seen = links.kind == END;
            }
            Err(_) => {
                self.blame(self.expected, "is not an entry: it was changed");
                self.suspected = None;
                self.expected += 1;
            }
        }
        self.prev = Some(leaf);
        self.after_checkpoint = None;
        self.tree.push(leaf);
        let size = self.tree.size();
        let wanted = [self.known.high_water, self.given];
        if wanted.iter().flatten().any(|mark| mark.entries == size) {
            self.roots.push(Mark {
                entries: size,
                root: self.tree.root(),
            });
        }
    }

    /// Whether an entry stands where it was written, and which is to blame when not.
    fn check_links(&mut self, links: &Links<'_>) {
        let linked = match (&self.prev, links.prev) {
            (None, None) => true,
            (Some(prev), Some(link)) => hexadecimal(prev) == link.as_bytes(),
            _ => false,
        };
        if let Some(suspected) = self.suspected.take() {
            let (entry, what) = if linked {
                (suspected.saturating_sub(1), "was changed")
            } else {
                (suspected, "was changed")
            };
            self.blame(entry, what);
            if links.seq == self.expected {
                self.expected += 1;
                return;
            }
        }
        if links.seq == self.expected {
            if !linked {
                if self.tree.size() == self.report.entries || self.already_blamed() {
                    // What is ahead is under a good checkpoint, so the link was changed; or the
                    // entry ahead is known to be the bad one.
                    if !self.already_blamed() {
                        self.blame(links.seq, "was changed");
                    }
                } else {
                    self.suspected = Some(links.seq);
                }
            }
            self.check_checkpoint_link(links);
            self.expected += 1;
        } else if linked {
            self.blame(self.expected, "was changed: it has another's number");
            self.expected += 1;
        } else if links.seq > self.expected {
            self.blame(self.expected, "is missing, or not in its place");
            self.expected = links.seq.saturating_add(1);
        } else {
            self.blame(links.seq, "stands there twice, or not in its place");
            self.expected = links.seq.saturating_add(1);
        }
    }

    fn check_checkpoint_link(&mut self, links: &Links<'_>) {
        match (&self.after_checkpoint, links.checkpoint) {
            (None, None) => {}
            (Some((hash, good)), Some(link)) => {
                if hexadecimal(hash) != link.as_bytes() {
                    let changed_link = *good && self.signatures == Signatures::All;
                    if changed_link {
                        self.blame(links.seq, "was changed");
                    } else {
                        self.blame(
                            links.seq.saturating_sub(1),
                            "has a changed checkpoint behind it",
                        );
                    }
                }
            }
            (None, Some(_)) => {
                self.blame(
                    links.seq.saturating_sub(1),
                    "has lost the checkpoint behind it",
                );
            }
            (Some(_), None) => self.blame(links.seq, "was changed: it names no checkpoint"),
        }
    }

    /// Whether the entry right ahead is already known to be bad.
    fn already_blamed(&self) -> bool {
        let ahead = self.expected.checked_sub(1);
        self.report.problems.last().map(|problem| problem.entry) == ahead
    }

    /// Whether `line` can be the next line of a checkpoint of this ledger.
    fn is_checkpoint_line(&self, line: &[u8]) -> bool {
        match self.checkpoint_lines {
            0 => line == self.header.origin.as_bytes(),
            1 => !line.is_empty() && line.iter().all(u8::is_ascii_digit),
            2 => line.len() == ROOT_LENGTH,
            3 => line.is_empty(),
            _ => line.len() == signature_line_length(&self.header.origin),
        }
    }

    /// Whether `line` can be the beginning of the next line of a checkpoint of this ledger.
    fn is_torn_checkpoint_line(&self, line: &[u8]) -> bool {
        match self.checkpoint_lines {
            0 => self.header.origin.as_bytes().starts_with(line),
            1 => line.iter().all(u8::is_ascii_digit),
            2 => line.len() <= ROOT_LENGTH,
            3 => line.is_empty(),
            _ => line.len() <= signature_line_length(&self.header.origin),
        }
    }

    fn take_checkpoint(&mut self) {
        let bytes = std::mem::take(&mut self.checkpoint);
        let parsed = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Checkpoint::parse(text, &self.header.origin));
        let last = self.expected.saturating_sub(1);
        if let Some(suspected) = self.suspected.take() {
            self.blame(
                suspected.saturating_sub(1),
                "was changed, or the entry behind it was",
            );
        }
        let mut good = false;
        match parsed {
            None => self.blame(last, "has a changed checkpoint behind it"),
            Some(checkpoint) => {
                good = self.signatures == Signatures::Last || self.is_signed(&checkpoint);
                let mark = Mark {
                    entries: self.tree.size(),
                    root: self.tree.root(),
                };
                let fits = checkpoint.mark == mark;
                let blamed = self.blamed_since(self.report.entries);
                if !self.broken && !blamed {
                    match (fits, good) {
                        (true, true) => {}
                        (true, false) => {
                            let first = self.report.entries;
                            self.blame(
                                first,
                                &format!("is not what the session signed, nor what follows up to entry {last}"),
                            );
                        }
                        (false, true) if checkpoint.mark.entries > mark.entries => {
                            self.blame(self.expected, "is missing");
                        }
                        (false, true) => self.blame(last, "was changed"),
                        (false, false) => {
                            self.blame(last, "was changed, or the checkpoint behind it was");
                        }
                    }
                }
                self.broken |= !fits;
                if !self.broken {
                    self.report.entries = mark.entries;
                    self.report.mark = Some(mark);
                }
                self.last_checkpoint = Some(checkpoint);
            }
        }
        self.report.torn_bytes = 0;
        self.after_checkpoint = Some((Digest::of(&bytes), good));
        self.report.finished = self.end_seen;
    }

    fn is_signed(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.is_signed_by(&self.header.origin, &self.header.public_key)
    }

    fn blamed_since(&self, entry: u64) -> bool {
        self.report
            .problems
            .iter()
            .any(|problem| problem.entry >= entry)
    }

    /// What a batch that was cut off may leave: the beginning of a line.
    fn take_torn(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        self.report.torn_bytes += line.len() as u64;
        if self.report.finished {
            self.blame(self.expected, "stands behind the end: somebody added it");
            return;
        }
        let entry = self.checkpoint_lines == 0 && line.first() == Some(&b'{');
        // A whole entry cannot be torn off its line feed without having been changed, unless the cut
        // was right there; a line of a checkpoint that is too long cannot be a cut.
        if !entry && !self.is_torn_checkpoint_line(line) {
            let last = self.expected.saturating_sub(1);
            self.blame(
                last,
                "is followed by something that is neither an entry nor a checkpoint",
            );
        }
    }

    /// A checkpoint that was kept elsewhere says what the ledger once was.
    fn read_given_checkpoint(&mut self) {
        let Some(text) = &self.known.checkpoint else {
            return;
        };
        match Checkpoint::parse(text, &self.header.origin) {
            Some(checkpoint) if self.is_signed(&checkpoint) => self.given = Some(checkpoint.mark),
            _ => self.blame(
                0,
                "does not fit the given checkpoint: it is not one of this ledger",
            ),
        }
    }

    fn conclude(mut self) -> Report {
        if let Some(suspected) = self.suspected.take() {
            self.blame(
                suspected.saturating_sub(1),
                "was changed, or the entry behind it was",
            );
        }
        if let Some(checkpoint) = &self.last_checkpoint {
            if !self.is_signed(checkpoint) && self.report.is_genuine() {
                let last = self.report.entries.saturating_sub(1);
                self.blame(last, "is not what the session signed, or one ahead is not");
            }
            let size = self.report.entries;
            self.report
                .checked_against
                .push(format!("its own last checkpoint, of {size} entries"));
        }
        let marks = [
            (self.known.high_water, "the store's high-water mark"),
            (self.given, "the given checkpoint"),
        ];
        for (mark, name) in marks {
            let Some(mark) = mark else { continue };
            if mark.entries > self.report.entries {
                let first = self.report.entries;
                self.blame(
                    first,
                    &format!("is missing: {name} knows of {} entries", mark.entries),
                );
            } else if mark.entries > 0 && !self.roots.contains(&mark) {
                let last = mark.entries - 1;
                self.blame(
                    last,
                    &format!("is not what {name} knows, or one ahead is not"),
                );
            }
            self.report
                .checked_against
                .push(format!("{name}, of {} entries", mark.entries));
        }
        if self.known.install_key.is_some() {
            self.report
                .checked_against
                .push("the given install key".to_owned());
        }
        self.report
    }
}

impl Report {
    pub(crate) fn blame(&mut self, entry: u64, what: &str) {
        let known = self.problems.iter().any(|problem| problem.entry == entry);
        if !known && self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem {
                entry,
                what: what.to_owned(),
            });
        }
    }
}

/// A root in base64.
const ROOT_LENGTH: usize = 44;

/// The lower-case hexadecimal digits of a digest, as entries carry them.
fn hexadecimal(digest: &Digest) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest.as_bytes()) {
        if let [high, low] = pair {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 15)];
        }
    }
    text
}

#[cfg(test)]
mod tests;
