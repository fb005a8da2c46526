//! What a client sends: arrays of bulk strings, in whatever pieces they arrive.

use std::fmt::Write as _;

use crate::ProtocolError;

/// The longest command, in bytes.
pub const LONGEST_COMMAND: usize = 64 << 20;
/// The most words of a command.
pub const MOST_WORDS: usize = 128 << 10;
/// The longest line of a length, in bytes.
const LONGEST_LENGTH: usize = 16;

/// One command: its name and its arguments. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<Vec<u8>>,
}

impl Command {
    /// Of words; nothing where there is none.
    pub fn new(words: Vec<Vec<u8>>) -> Option<Self> {
        (!words.is_empty()).then_some(Self { words })
    }

    /// Of words that stand in the program.
    pub(crate) fn of(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        }
    }

    /// Its name and arguments.
    pub fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// The name in small letters; empty where it is no name.
    pub fn name(&self) -> String {
        self.word(0).unwrap_or_default()
    }

    /// A word in small letters, where it is made of letters, digits and `-` or `_`.
    pub(crate) fn word(&self, at: usize) -> Option<String> {
        let word = std::str::from_utf8(self.words.get(at)?).ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        word.bytes().all(plain).then(|| word.to_ascii_lowercase())
    }

    /// As it goes to a server.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("*{}\r\n", self.words.len()).as_bytes());
        for word in &self.words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// As a person types it into redis-cli: one line, words that need it in quotes, other bytes as `\xNN`.
    pub fn text(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }

    /// How many bytes its words have.
    pub(crate) fn size(&self) -> usize {
        self.words.iter().map(|word| word.len() + 32).sum()
    }
}

fn quoted(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if let Ok(text) = std::str::from_utf8(word)
        && !word.is_empty()
        && word.iter().all(plain)
    {
        return text.to_owned();
    }
    let mut text = String::from("\"");
    for byte in word {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
            b'\n' => write!(text, "\\n"),
            b'\r' => write!(text, "\\r"),
            b'\t' => write!(text, "\\t"),
            b' '..=b'~' => write!(text, "{}", char::from(*byte)),
            other => write!(text, "\\x{other:02x}"),
        };
    }
    text.push('"');
    text
}

/// Cuts a stream into commands.
#[derive(Debug, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    /// Where reading goes on.
    at: usize,
    /// Words of the command that is being read, and how many are to come.
    words: Vec<Vec<u8>>,
    left: usize,
    size: usize,
}

impl Commands {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that no command was made of yet.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next command, once all of it is there.
    ///
    /// # Errors
    /// When it cannot be one. What follows is not read.
    pub fn next_command(&mut self) -> Result<Option<Command>, ProtocolError> {
        loop {
            if self.left == 0 {
                let Some(count) = self.length(b'*', ProtocolError::NotAnArray)? else {
                    return Ok(None);
                };
                if count == 0 {
                    return Err(ProtocolError::Length);
                }
                if count > MOST_WORDS {
                    return Err(ProtocolError::TooMany(MOST_WORDS));
                }
                (self.left, self.size) = (count, 0);
                self.words = Vec::new();
            }
            while self.left > 0 {
                let start = self.at;
                let Some(length) = self.length(b'$', ProtocolError::NotAnArray)? else {
                    return Ok(None);
                };
                if length > LONGEST_COMMAND || self.size + length > LONGEST_COMMAND {
                    return Err(ProtocolError::TooLong(LONGEST_COMMAND));
                }
                let end = self.at + length;
                let Some(tail) = self.bytes.get(end..end + 2) else {
                    // The length is read again with its string.
                    self.at = start;
                    return Ok(None);
                };
                if tail != b"\r\n" {
                    return Err(ProtocolError::End);
                }
                self.words
                    .push(self.bytes.get(self.at..end).unwrap_or_default().to_vec());
                self.at = end + 2;
                self.size += length;
                self.left -= 1;
            }
            self.bytes.drain(..self.at);
            self.at = 0;
            if let Some(command) = Command::new(std::mem::take(&mut self.words)) {
                return Ok(Some(command));
            }
        }
    }

    /// A line of a mark and a number.
    fn length(
        &mut self,
        mark: u8,
        otherwise: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.first() {
            None => return Ok(None),
            Some(first) if *first != mark => return Err(otherwise),
            Some(_) => {}
        }
        let line = rest.get(1..).unwrap_or_default();
        let Some(end) = line
            .iter()
            .take(LONGEST_LENGTH)
            .position(|byte| *byte == b'\r')
        else {
            return match line.len() >= LONGEST_LENGTH {
                true => Err(ProtocolError::Length),
                false => Ok(None),
            };
        };
        match line.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(ProtocolError::End),
        }
        let digits = line.get(..end).unwrap_or_default();
        let is_plain = digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || digits.first().is_some_and(|first| *first != b'0'));
        let number = std::str::from_utf8(digits).ok();
        let number = number
            .filter(|_| is_plain)
            .and_then(|text| text.parse().ok());
        self.at += end + 3;
        number.map(Some).ok_or(ProtocolError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<Command>, ProtocolError> {
        let mut commands = Commands::default();
        let mut found = Vec::new();
        for part in bytes.chunks(step) {
            commands.push(part);
            while let Some(command) = commands.next_command()? {
                found.push(command);
            }
        }
        Ok(found)
    }

    #[test]
    fn a_stream_is_cut_the_same_however_it_arrives() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$5\r\na\r\nb \r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        for step in 1..bytes.len() {
            let found = all(bytes, step).expect("commands");
            let texts: Vec<_> = found.iter().map(Command::text).collect();
            assert_eq!(texts, [r#"GET "a\r\nb ""#, "PING", r#"GET """#]);
            let mut written = Vec::new();
            found.iter().for_each(|command| command.write(&mut written));
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn what_is_no_command_ends_it() {
        for (bytes, why) in [
            (&b"GET a\r\n"[..], ProtocolError::NotAnArray),
            (b"*-1\r\n", ProtocolError::Length),
            (b"*0\r\n", ProtocolError::Length),
            (b"*01\r\n", ProtocolError::Length),
            (b"*+1\r\n", ProtocolError::Length),
            (b"*\r\n", ProtocolError::Length),
            (b"*1\rX", ProtocolError::End),
            (b"*1\n$4\r\nPING\r\n", ProtocolError::Length),
            (b"*11111111111111111111", ProtocolError::Length),
            (b"*999999\r\n", ProtocolError::TooMany(MOST_WORDS)),
            (b"*1\r\n+PING\r\n", ProtocolError::NotAnArray),
            (b"*1\r\n$-1\r\n", ProtocolError::Length),
            (b"*1\r\n$3\r\nPING\r\n", ProtocolError::End),
            (
                b"*1\r\n$99999999\r\n",
                ProtocolError::TooLong(LONGEST_COMMAND),
            ),
        ] {
            assert_eq!(
                all(bytes, bytes.len()),
                Err(why),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
