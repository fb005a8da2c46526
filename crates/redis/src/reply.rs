//! What a server says, in RESP2: where an answer ends, however long it is, and short ones as values.

use crate::ProtocolError;

/// The longest line of an answer, in bytes.
const LONGEST_LINE: usize = 1 << 20;
/// How deep arrays of a value may lie in each other.
const DEEPEST: usize = 8;

/// Finds the end of answers in a stream, holding none of their strings.
#[derive(Debug)]
pub struct Replies {
    /// Elements of the answer that are to come.
    left: u64,
    /// Bytes of a string that are to come, with the end of its line.
    string: u64,
    /// A line that is not whole.
    line: Vec<u8>,
    /// The first byte of the answer, and of the line where it is an error.
    first: Option<u8>,
    error: Vec<u8>,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            left: 1,
            string: 0,
            line: Vec::new(),
            first: None,
            error: Vec::new(),
        }
    }
}

impl Replies {
    /// Takes what belongs to one answer from the front of `bytes`; says how much that is. Over once
    /// [`Replies::is_over`].
    ///
    /// # Errors
    /// What no server of RESP2 sends.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let mut at = 0;
        while !self.is_over() && at < bytes.len() {
            if self.string > 0 {
                let here = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                let taken = self.string.min(here);
                self.string -= taken;
                at += usize::try_from(taken).map_err(|_| ProtocolError::Answer)?;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(rest.len(), |end| end + 1);
            self.line
                .extend_from_slice(rest.get(..part).unwrap_or_default());
            at += part;
            if self.line.len() > LONGEST_LINE {
                return Err(ProtocolError::Answer);
            }
            if end.is_some() {
                self.end_of_line()?;
            }
        }
        Ok(at)
    }

    fn end_of_line(&mut self) -> Result<(), ProtocolError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r\n").ok_or(ProtocolError::End)?;
        let (mark, rest) = line.split_first().ok_or(ProtocolError::Answer)?;
        if self.first.is_none() {
            self.first = Some(*mark);
            if *mark == b'-' {
                self.error = rest.to_vec();
            }
        }
        self.left -= 1;
        match mark {
            b'+' | b'-' | b':' => {}
            b'$' => {
                if let Some(length) = length(rest)? {
                    self.string = length.checked_add(2).ok_or(ProtocolError::Length)?;
                }
            }
            b'*' => {
                let more = length(rest)?.unwrap_or_default();
                self.left = self.left.checked_add(more).ok_or(ProtocolError::Length)?;
            }
            _ => return Err(ProtocolError::Answer),
        }
        Ok(())
    }

    /// Whether all of the answer was taken.
    pub fn is_over(&self) -> bool {
        self.left == 0 && self.string == 0
    }

    /// The first word of the server's error, where the answer is one.
    pub fn error(&self) -> Option<String> {
        let word = self.error.split(|byte| *byte == b' ').next()?;
        (self.first == Some(b'-')).then(|| String::from_utf8_lossy(word).into_owned())
    }
}

/// A length, or nothing for what is not there.
fn length(digits: &[u8]) -> Result<Option<u64>, ProtocolError> {
    match digits {
        b"-1" => Ok(None),
        digits => std::str::from_utf8(digits)
            .ok()
            .filter(|_| digits.iter().all(u8::is_ascii_digit))
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or(ProtocolError::Length),
    }
}

/// A short answer to a question of the gate's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text of the server's.
    Line(String),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// Nothing.
    Nothing,
    /// Several.
    Several(Vec<Value>),
}

impl Value {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// What is no answer, or goes on behind it.
    pub fn read(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut rest = bytes;
        let value = Self::part(&mut rest, 0)?;
        match rest.is_empty() {
            true => Ok(value),
            false => Err(ProtocolError::End),
        }
    }

    fn part(rest: &mut &[u8], depth: usize) -> Result<Self, ProtocolError> {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let end = end.ok_or(ProtocolError::End)?;
        let (line, behind) = rest.split_at(end);
        *rest = behind.get(2..).unwrap_or_default();
        let (mark, line) = line.split_first().ok_or(ProtocolError::Answer)?;
        let text = || String::from_utf8_lossy(line).into_owned();
        match mark {
            b'+' => Ok(Self::Line(text())),
            b'-' => Ok(Self::Error(text())),
            b':' => text()
                .parse()
                .map(Self::Number)
                .map_err(|_| ProtocolError::Length),
            b'$' => {
                let Some(length) = length(line)? else {
                    return Ok(Self::Nothing);
                };
                let length = usize::try_from(length).map_err(|_| ProtocolError::Length)?;
                let string = rest.get(..length).ok_or(ProtocolError::End)?.to_vec();
                let tail = length.checked_add(2).and_then(|end| rest.get(length..end));
                if tail != Some(b"\r\n") {
                    return Err(ProtocolError::End);
                }
                *rest = rest.get(length + 2..).unwrap_or_default();
                Ok(Self::Bytes(string))
            }
            b'*' if depth < DEEPEST => {
                let Some(count) = length(line)? else {
                    return Ok(Self::Nothing);
                };
                let mut several = Vec::new();
                for _ in 0..count {
                    several.push(Self::part(rest, depth + 1)?);
                }
                Ok(Self::Several(several))
            }
            _ => Err(ProtocolError::Answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_end() {
        for answer in [
            &b"+OK\r\n"[..],
            b":1\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n-ERR x\r\n",
        ] {
            assert!(Value::read(answer).is_ok(), "{}", answer.escape_ascii());
            let bytes = [answer, b"+next\r\n"].concat();
            for step in 1..bytes.len() {
                let mut replies = Replies::default();
                let mut taken = 0;
                for part in bytes.chunks(step) {
                    taken += replies.take(part).expect("an answer");
                }
                assert_eq!(taken, answer.len(), "{}", answer.escape_ascii());
                assert!(replies.is_over());
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [
            &b"%1\r\n"[..],
            b"$x\r\n",
            b"*-2\r\n",
            b"OK\r\n",
            b"\r\n",
            b"+a\n",
        ] {
            assert!(
                Replies::default().take(bytes).is_err(),
                "{}",
                bytes.escape_ascii()
            );
        }
        let mut replies = Replies::default();
        replies.take(b"-NOPERM no\r\n").expect("an answer");
        assert_eq!(replies.error().as_deref(), Some("NOPERM"));
    }
}
