//! Ways to write a name and its value in which no operator stands between them.

use std::ops::Range;

use super::{find, line_end, skip_blanks, skip_white};

/// Words at the beginning of a line behind which a name and, behind a blank, its value stand.
#[rustfmt::skip]
const DEFINING: &[&[u8]] = &[
    b"#define", b"setenv", b"SetEnv", b"ENV", b"set -x", b"set -gx", b"set -xg", b"set -Ux", b"set -xU", b"set -g -x",
    b"set -x -g", b"set --export", b"set --global --export", b"fastcgi_param",
];

/// Settings whose value stands behind a blank, at the beginning of a line.
const DIRECTIVES: &[&[u8]] = &[b"requirepass", b"masterauth", b"tls-key-file-pass"];

/// Whether a blank ends the name at `name`, and what is behind it is its value: `#define NAME "value"`,
/// `set -x NAME value`, `requirepass value`.
pub(super) fn is_defined(bytes: &[u8], name: &Range<usize>) -> bool {
    let front = bytes
        .get(name.start.saturating_sub(64)..name.start)
        .unwrap_or_default();
    let line = match front.iter().rposition(|&byte| byte == b'\n') {
        Some(at) => front.get(at + 1..).unwrap_or_default(),
        None if front.len() < 64 => front,
        None => return false,
    };
    let line = line.trim_ascii();
    match line {
        b"" => {
            let name = bytes.get(name.clone()).unwrap_or_default();
            DIRECTIVES.contains(&name)
        }
        line => DEFINING.contains(&line),
    }
}

/// The text of the element that stands behind the one whose text the name is: `<key>Name</key>
/// <string>value</string>` (property lists). `at` is behind the name.
pub(super) fn element_behind_key(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?.strip_prefix(b"</key>")?;
    let next = skip_white(bytes, bytes.len() - rest.len());
    bytes
        .get(next..)?
        .starts_with(b"<string>")
        .then_some(next + b"<string>".len())
}

/// The value of a block that has the name: `variable "name" { default = "value" }`. `at` is behind the name and
/// its quote, `name` where it begins.
pub(super) fn default_of_block(bytes: &[u8], name: usize, at: usize) -> Option<usize> {
    const WORD: &[u8] = b"variable \"";
    let open = skip_blanks(bytes, at);
    if bytes.get(open) != Some(&b'{') || !bytes.get(..name)?.ends_with(WORD) {
        return None;
    }
    let block = bytes.get(open + 1..(open + 2048).min(bytes.len()))?;
    let block = block.get(..find(block, b"\n}").unwrap_or(block.len()))?;
    let mut from = 0;
    while let Some(found) = find(block.get(from..)?, b"default") {
        let word = from + found;
        from = word + b"default".len();
        let begins = block
            .get(..word)?
            .iter()
            .rev()
            .find(|&&byte| byte != b' ' && byte != b'\t');
        let equals = skip_blanks(block, from);
        if matches!(begins, None | Some(b'\n' | b';')) && block.get(equals) == Some(&b'=') {
            return Some(open + 1 + equals + 1);
        }
    }
    None
}

/// Where the value begins that stands on the line behind its name: a literal in quotes, or, where `by_line`, a
/// scalar that is indented deeper than the line of `name` and is no name itself. `at` is where the line of the name ends.
pub(super) fn on_next_line(
    bytes: &[u8],
    name: &Range<usize>,
    at: usize,
    by_line: bool,
) -> Option<usize> {
    let begin = match bytes.get(at..)? {
        [b'\n', ..] => at + 1,
        [b'\r', b'\n', ..] => at + 2,
        // A line of properties that goes on.
        [b'\\', b'\n', ..] if by_line => return Some(skip_blanks(bytes, at + 2)),
        [b'\\', b'\r', b'\n', ..] if by_line => return Some(skip_blanks(bytes, at + 3)),
        _ => return None,
    };
    let value = skip_blanks(bytes, begin);
    let first = *bytes.get(value)?;
    if matches!(first, b'"' | b'\'') {
        let closes = bytes
            .get(value + 1..line_end(bytes, value))?
            .contains(&first);
        return closes.then_some(value);
    }
    let line = bytes.get(value..line_end(bytes, value))?.trim_ascii_end();
    let is_scalar = !line.is_empty()
        && !b"-#{}[]<&*!|>%@`".contains(&first)
        && !line.ends_with(b":")
        && find(line, b": ").is_none()
        && find(line, b"=").is_none();
    let front = bytes.get(name.start.saturating_sub(256)..name.start)?;
    let before = front
        .iter()
        .rev()
        .take_while(|&&byte| byte != b'\n')
        .count();
    (by_line && is_scalar && value - begin > before).then_some(value)
}
