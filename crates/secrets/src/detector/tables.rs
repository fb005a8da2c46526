//! Files of rows: columns whose heading names a credential (RFC 4180, with any of the usual separators), and the five
//! fields of a password file of PostgreSQL's.

use std::ops::Range;

use super::Scan;
use crate::judge::{Name, Setting, judge};
use crate::reader;

/// Headings beyond which a line is no heading.
const MOST_COLUMNS: usize = 1000;

impl Scan<'_> {
    /// The values below headings such as `password`, in a file that ends in `.csv` or `.tsv`.
    pub(super) fn read_columns(&mut self) {
        let Some(heading) = reader::lines(self.bytes).next() else {
            return;
        };
        let first = self.slice(heading.clone());
        let separator = [b'\t', b';', b'|', b',']
            .into_iter()
            .max_by_key(|separator| first.iter().filter(|byte| *byte == separator).count())
            .unwrap_or(b',');
        let (headings, mut at) = self.row(0, separator);
        if headings.len() > MOST_COLUMNS {
            return;
        }
        let columns: Vec<(usize, Name, Range<usize>)> = headings
            .into_iter()
            .enumerate()
            .map(|(column, name)| (column, Name::of(self.slice(name.clone())), name))
            .filter(|(_, name, _)| *name >= Name::Secret)
            .collect();
        while !columns.is_empty() && at < self.bytes.len() {
            let (fields, next) = self.row(at, separator);
            for (column, name, heading) in &columns {
                let Some(field) = fields.get(*column) else {
                    continue;
                };
                if let Some(confidence) =
                    judge(self.slice(field.clone()), *name, Setting::Config, true)
                {
                    let kind = match name {
                        Name::Password => "password",
                        _ => "secret",
                    };
                    self.add(field.clone(), kind, Some(heading.clone()), confidence);
                }
            }
            at = next;
        }
    }

    /// The fields of the row that begins at `at`, without quotes, and where the next one begins.
    fn row(&self, at: usize, separator: u8) -> (Vec<Range<usize>>, usize) {
        let mut fields = Vec::new();
        let mut here = at;
        loop {
            let rest = self.slice(here..self.bytes.len());
            let end = if let [b'"', quoted @ ..] = rest {
                let mut length = 0;
                // A quote that is doubled is one of the value.
                while let Some(found) = quoted
                    .get(length..)
                    .and_then(|rest| rest.iter().position(|&byte| byte == b'"'))
                {
                    length += found;
                    match quoted.get(length + 1) {
                        Some(b'"') => length += 2,
                        _ => break,
                    }
                }
                fields.push(here + 1..here + 1 + length.min(quoted.len()));
                here + 1 + length.min(quoted.len()) + 1
            } else {
                let ends = |byte: &u8| *byte == separator || matches!(byte, b'\n' | b'\r');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                fields.push(here..here + length);
                here + length
            };
            match self.bytes.get(end) {
                Some(byte) if *byte == separator => here = end + 1,
                Some(b'\r') if self.bytes.get(end + 1) == Some(&b'\n') => return (fields, end + 2),
                Some(_) => return (fields, end + 1),
                None => return (fields, self.bytes.len()),
            }
        }
    }
}

/// The password of a line `host:port:database:user:password` (PostgreSQL's manual, "The Password File"), within the line.
/// A backslash protects a colon.
pub(super) fn pgpass_password(line: &[u8]) -> Option<Range<usize>> {
    let mut colons = Vec::new();
    let mut is_protected = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b'\\' if !is_protected => is_protected = true,
            b':' if !is_protected => colons.push(at),
            _ => is_protected = false,
        }
    }
    let [host, port, _, user, ..] = colons.as_slice() else {
        return None;
    };
    let port = line.get(host + 1..*port)?;
    let is_port = port == b"*" || !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    let end = colons.get(4).copied().unwrap_or(line.len());
    (is_port && *user + 1 < end).then_some(user + 1..end)
}
