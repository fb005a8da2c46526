//! Everything that is wrong with a file that a person wrote, each with its line. Manifest,
//! config.toml and policy.cedar report their mistakes in this one shape, all of them at once.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line that it stands on, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right. Never quotes a place where a secret may stand.
    pub message: String,
}

/// All mistakes of one file, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileErrors {
    file_name: String,
    errors: Vec<FileError>,
}

impl FileErrors {
    /// `Err` with the errors in the order of their lines, or `Ok` when there are none.
    pub(crate) fn check(file_name: &str, mut errors: Vec<FileError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|error| error.line);
        Err(Self {
            file_name: file_name.to_owned(),
            errors,
        })
    }

    /// A single mistake.
    pub(crate) fn one(file_name: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file_name: file_name.to_owned(),
            errors: vec![FileError {
                line,
                message: message.into(),
            }],
        }
    }

    /// The mistakes in the order of their lines.
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }
}

impl fmt::Display for FileErrors {
    /// `file:line: message`, one a line, as editors and terminals link it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: {}", self.file_name, error.line, error.message)?;
        }
        Ok(())
    }
}

/// The line, counted from 1, on which the byte at `offset` stands.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}
