//! What a file is read for because of its name: every line of a dotenv file, the line formats of
//! credential stores, key files as a whole. Where the name promises credentials, doubt makes a finding.

use std::ops::Range;

use super::Scan;
use super::tables::pgpass_password;
use crate::file_kind::FileKind;
use crate::finding::Confidence;
use crate::judge::{Name, Setting, judge, looks_random};
use crate::reader;

impl Scan<'_> {
    /// What a file's kind promises beyond what keywords found.
    pub(super) fn read_by_kind(&mut self) {
        match self.kind {
            FileKind::Dotenv | FileKind::Template => self.read_lines(),
            FileKind::CredentialStore => {
                self.read_lines();
                for field in reader::quoted_pairs(self.bytes) {
                    self.consider(field, Setting::Store);
                }
                self.read_credential_lines();
                self.mask_if_unreadable();
            }
            FileKind::Key => self.mask_if_not_public(),
            FileKind::Plain if matches!(self.extension.as_str(), "csv" | "tsv") => {
                self.read_columns();
            }
            FileKind::Plain => {}
        }
    }

    fn read_lines(&mut self) {
        for line in reader::lines(self.bytes).collect::<Vec<_>>() {
            if self
                .slice(line.clone())
                .trim_ascii_start()
                .starts_with(b"#")
            {
                // A commented-out credential is one too; names find it.
                continue;
            }
            if pgpass_password(self.slice(line.clone())).is_some() {
                continue;
            }
            if let Some(field) = reader::line_field(self.bytes, line) {
                let setting = self.setting(false);
                self.consider(field, setting);
            }
        }
    }

    /// netrc (`password X`), pgpass (five fields), htpasswd and shadow (`user:hash`), lines that are
    /// one token.
    fn read_credential_lines(&mut self) {
        for line in reader::lines(self.bytes).collect::<Vec<_>>() {
            let text = self.slice(line.clone());
            if text.trim_ascii().is_empty() || text.starts_with(b"#") {
                continue;
            }
            let words = words_of(text, line.start);
            let mut spans = Vec::new();
            for pair in words.windows(2) {
                if let [name, value] = pair
                    && matches!(
                        self.slice(name.clone()).to_ascii_lowercase().as_slice(),
                        b"password" | b"passwd" | b"account" | b"requirepass"
                    )
                    && !matches!(self.slice(value.clone()), b"=" | b":")
                {
                    spans.push(value.clone());
                }
            }
            let fields = text.split(|&b| b == b':').count();
            if let [only] = words.as_slice() {
                if let Some(password) = reader::stored_url_password(text) {
                    spans.push(line.start + password.start..line.start + password.end);
                } else if let Some(password) = pgpass_password(text) {
                    spans.push(line.start + password.start..line.start + password.end);
                } else if fields == 2
                    && !text.contains(&b'=')
                    && !text.contains(&b'/')
                    && !text.iter().any(|b| b"{}[]<>\"'".contains(b))
                {
                    let colon = text.iter().position(|&b| b == b':').map_or(0, |at| at + 1);
                    spans.push(line.start + colon..line.end);
                } else if fields == 1 && is_bare(text) && looks_random(self.slice(only.clone())) {
                    spans.push(only.clone());
                }
            }
            for span in spans {
                if judge(
                    self.slice(span.clone()),
                    Name::Password,
                    Setting::Store,
                    true,
                )
                .is_some()
                {
                    self.add(span, "password", None, Confidence::Medium);
                }
            }
        }
    }

    /// A store whose bytes are no text cannot be read: it is masked as a whole.
    fn mask_if_unreadable(&mut self) {
        let binary = self.bytes.iter().take(8192).any(|&b| b == 0)
            || (self.findings.is_empty() && std::str::from_utf8(self.bytes).is_err());
        if binary && !self.bytes.is_empty() {
            self.add(0..self.bytes.len(), "unknown", None, Confidence::Low);
        }
    }

    /// A key file that holds no readable private key and is not evidently public is a key as a whole.
    fn mask_if_not_public(&mut self) {
        let text = self.bytes.trim_ascii();
        let blocks = text.windows(11).any(|window| window == b"-----BEGIN ");
        let public = [&b"ssh-"[..], b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-"];
        // Private blocks have been found by now; what is left of blocks is certificates and the like.
        let private = text.windows(7).any(|window| window == b"PRIVATE");
        let public = (blocks && !private) || public.iter().any(|front| text.starts_with(front));
        if self.findings.is_empty() && !text.is_empty() && !public {
            let start = self
                .bytes
                .iter()
                .position(|b| !b.is_ascii_whitespace())
                .unwrap_or(0);
            self.add(start..start + text.len(), "unknown", None, Confidence::Low);
        }
    }
}

fn words_of(text: &[u8], offset: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in text.iter().enumerate() {
        match (byte.is_ascii_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(begin)) => {
                words.push(offset + begin..offset + at);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(begin) = start {
        words.push(offset + begin..offset + text.len());
    }
    words
}

/// One word that is no setting, element or list: padding may end it, nothing else is punctuation of a
/// format.
fn is_bare(line: &[u8]) -> bool {
    let word = line.trim_ascii();
    let end = word.iter().rposition(|&b| b != b'=').map_or(0, |at| at + 1);
    !word
        .get(..end)
        .unwrap_or_default()
        .iter()
        .any(|b| b"=<>[]{}()\"'".contains(b))
}
