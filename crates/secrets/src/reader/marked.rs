//! Secrets that a notation marks: the passwords of URLs and connection strings, blocks of keys.

use std::ops::Range;

use super::{LONGEST_VALUE, find, trim};

/// The password of a URL whose `://` is at `separator`: behind the first colon of the userinfo, or all
/// of the userinfo where there is no colon. The flag says which.
pub(crate) fn userinfo(bytes: &[u8], separator: usize) -> Option<(Range<usize>, bool)> {
    let start = separator + 3;
    let scheme_start = (separator.saturating_sub(20)..separator)
        .rev()
        .take_while(|&at| {
            bytes
                .get(at)
                .is_some_and(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b))
        })
        .last()?;
    let scheme = bytes.get(scheme_start..separator)?.to_ascii_lowercase();
    let web = scheme.ends_with(b"http")
        || scheme.ends_with(b"https")
        || scheme == b"ws"
        || scheme == b"wss";
    let rest = bytes.get(start..(start + 2048).min(bytes.len()))?;
    let ends = |byte: u8| byte.is_ascii_whitespace() || b"\"'`<>\\,".contains(&byte);
    // In a database URL people write passwords with `/` and `#` in them unencoded.
    let end = rest
        .iter()
        .position(|&byte| ends(byte) || (web && b"/?#".contains(&byte)))
        .unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let query = authority
        .iter()
        .position(|&b| b == b'?')
        .unwrap_or(authority.len());
    let at_sign = authority
        .get(..query)?
        .iter()
        .rposition(|&byte| byte == b'@')
        .or_else(|| authority.iter().rposition(|&byte| byte == b'@'))?;
    let info = authority.get(..at_sign)?;
    Some(match info.iter().position(|&byte| byte == b':') {
        Some(colon) => (start + colon + 1..start + at_sign, true),
        None => (start..start + at_sign, false),
    })
}

/// The password in a line of git's credential store, `https://user:password@host`: all between the
/// first colon of the userinfo and the last `@`, whatever signs a person left unencoded in it.
pub(crate) fn stored_url_password(line: &[u8]) -> Option<Range<usize>> {
    let start = find(line, b"://")? + 3;
    let info = line.get(start..)?;
    let end = info.iter().rposition(|&byte| byte == b'@')?;
    let colon = info.get(..end)?.iter().position(|&byte| byte == b':')?;
    (colon + 1 < end).then_some(start + colon + 1..start + end)
}

/// The password of `user:password@tcp(host)`, the form of Go's MySQL driver; `at_sign` is where
/// `@tcp(` begins.
pub(crate) fn go_dsn_password(bytes: &[u8], at_sign: usize) -> Option<Range<usize>> {
    let from = at_sign.saturating_sub(200);
    let front = bytes.get(from..at_sign)?;
    let begin = front
        .iter()
        .rposition(|&byte| byte.is_ascii_whitespace() || b"\"'`=".contains(&byte))
        .map_or(0, |at| at + 1);
    let colon = front.get(begin..)?.iter().position(|&byte| byte == b':')? + begin;
    Some(from + colon + 1..at_sign)
}

/// The key block that begins at `begin` (`-----BEGIN`), frame included, where it holds a private key.
/// A block that does not end is as long as its base64 goes on.
pub(crate) fn private_key_block(bytes: &[u8], begin: usize) -> Option<Range<usize>> {
    let rest = bytes.get(begin..(begin + LONGEST_VALUE).min(bytes.len()))?;
    let header_end = find(rest.get(11..)?.get(..80.min(rest.len() - 11))?, b"-----")? + 11;
    let label = rest.get(11..header_end)?.to_ascii_uppercase();
    if find(&label, b"PRIVATE KEY").is_none() && !label.starts_with(b"OPENVPN STATIC KEY") {
        return None;
    }
    let end = match find(rest.get(header_end + 5..)?, b"-----END") {
        Some(at) => {
            let tail = header_end + 5 + at + 8;
            let close = find(
                rest.get(tail..)?.get(..80.min(rest.len() - tail))?,
                b"-----",
            )
            .map(|at| tail + at + 5);
            close.unwrap_or(tail)
        }
        None => rest
            .iter()
            .skip(header_end + 5)
            .position(|&b| !(b.is_ascii_alphanumeric() || b"+/=\\\r\n \t\":,-".contains(&b)))
            .map_or(rest.len(), |at| header_end + 5 + at),
    };
    // A frame around nothing, as in documentation and in code that strips it.
    let body = rest.get(header_end + 5..end)?;
    let content = body
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .count();
    (content > 60).then_some(begin..begin + end)
}

/// The private lines of a PuTTY key; `at` is where `Private-Lines:` begins.
pub(crate) fn putty_private_lines(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = bytes.get(at..(at + LONGEST_VALUE).min(bytes.len()))?;
    let start = rest.iter().position(|&byte| byte == b'\n')? + 1;
    let end = find(rest, b"Private-MAC").unwrap_or(rest.len());
    let trimmed = trim(bytes, at + start..at + end.max(start));
    (trimmed.len() > 16).then_some(trimmed)
}
