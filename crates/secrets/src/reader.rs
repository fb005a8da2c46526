//! Reads what a file's format says about a value: its name, where it begins and ends. One reader for
//! the ways in which programs and configuration write `name operator value`, and small ones for URLs,
//! key blocks and line formats. Readers never fail: what they cannot read has no field.

mod marked;
mod notations;

use std::ops::Range;

pub(crate) use marked::{
    go_dsn_password, private_key_block, putty_private_lines, stored_url_password, userinfo,
};

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
    /// Whether the file marks the value as a literal.
    pub(crate) quoted: bool,
    /// Whether the value is the argument of a call that has the name.
    pub(crate) argument: bool,
    /// The authentication scheme in front of the value, in lower case.
    pub(crate) scheme: Option<&'static str>,
}

/// No value is read further than this.
const LONGEST_VALUE: usize = 64 * 1024;
/// No value without quotes is read further than this, unless it goes to the end of its line.
const LONGEST_WORD: usize = 4096;
const LONGEST_NAME: usize = 100;

/// The field whose name has `hit` in it.
///
/// Understood: `NAME=value`, `export NAME="value"`, `name: value`, `"name": "value"`, `name => 'value'`,
/// `name := value`, `let name: &str = "value"`, `set("name", "value")`, `--name value`, `?name=value&`,
/// `<name>value</name>`, `<key>name</key> <string>value</string>`, `key="name" value="value"`, `name: NAME` with
/// `value: …` on the next line, `name:` with the value there, `#define name "value"`, `variable "name" { default = "value" }`,
/// `Name: Scheme value` and YAML's block scalars. `by_line` says that an unquoted value goes to the
/// end of its line.
pub(crate) fn field_at(bytes: &[u8], hit: Range<usize>, by_line: bool) -> Option<Field> {
    let name = name_around(bytes, hit)?;
    let mut at = name.end;
    let opener = name
        .start
        .checked_sub(1)
        .and_then(|before| bytes.get(before).copied());
    let element = opener == Some(b'<');
    let option = bytes.get(name.start..name.end)?.starts_with(b"--")
        || bytes.get(name.start.saturating_sub(2)..name.start) == Some(b"--");
    // The end of a quoted name, of an index, of an optional property.
    let mut name_was_quoted = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' | b'`' => name_was_quoted = true,
            b']' | b'?' => {}
            b'\\' if bytes.get(at + 1) == Some(&b'"') => {}
            _ => break,
        }
        at += 1;
        if at > name.end + 4 {
            return None;
        }
    }
    let blanks = skip_blanks(bytes, at);
    let mut by_line = by_line;
    let mut quoted_only = false;
    let mut argument = false;
    let mut rest = bytes.get(blanks..)?;
    if element && let Some(open) = tag_end(rest) {
        return element_value(bytes, name, blanks + open);
    }
    if opener == Some(b'>')
        && let Some(text) = notations::element_behind_key(bytes, at)
    {
        return element_value(bytes, name, text);
    }
    if name_was_quoted && rest.starts_with(b">") {
        // `<entry key="name">value</entry>`
        return element_value(bytes, name, blanks + 1);
    }
    if let Some(after) = value_attribute(bytes, at) {
        at = after;
    } else if let Some(width) = operator(rest) {
        at = blanks + width;
        if rest.starts_with(b":") && !rest.starts_with(b":=") {
            // A type between name and value: `token: &str = "…"`.
            at = behind_type(bytes, at).unwrap_or(at);
        }
        // A comma, an opening parenthesis: only a literal is a value there, and behind a comma only
        // where the name is a literal argument or element itself.
        argument = rest.starts_with(b"(");
        quoted_only = argument || rest.starts_with(b",");
        let listed = option || opens_list(bytes, name.start);
        if rest.starts_with(b",") && !(name_was_quoted && listed) {
            return None;
        }
    } else if blanks > at && (option || notations::is_defined(bytes, &name)) {
        at = blanks;
        by_line = false;
    } else if name_was_quoted
        && let Some(value) = notations::default_of_block(bytes, name.start, at)
    {
        at = value;
    } else {
        return None;
    }
    at = skip_blanks(bytes, at);
    rest = bytes.get(at..)?;
    // YAML block scalars: the next line is the value.
    if let [b'|' | b'>', more @ ..] = rest {
        let line = more.iter().position(|&byte| byte == b'\n')?;
        if line > 3 {
            return None;
        }
        at = skip_blanks(bytes, at + 1 + line + 1);
        by_line = true;
    } else if let Some(next) = notations::on_next_line(bytes, &name, at, by_line) {
        at = next;
    }
    let (value, quoted) = value_at(bytes, at, by_line)?;
    if quoted_only && !quoted {
        return None;
    }
    Some(without_scheme(
        bytes,
        Field {
            name,
            value,
            quoted,
            argument,
            scheme: None,
        },
    ))
}

/// `NAME=value` or `NAME: value` at the beginning of `line`, whatever the name.
pub(crate) fn line_field(bytes: &[u8], line: Range<usize>) -> Option<Field> {
    let mut start = skip_blanks(bytes, line.start);
    for word in [
        &b"export "[..],
        b"set ",
        b"declare -x ",
        b"env ",
        b"- ",
        b"ENV ",
        b"ARG ",
    ] {
        if bytes.get(start..line.end)?.starts_with(word) {
            start = skip_blanks(bytes, start + word.len());
        }
    }
    let quote = bytes
        .get(start)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\''));
    start += usize::from(quote.is_some());
    let length = bytes
        .get(start..line.end)?
        .iter()
        .take(LONGEST_NAME + 60)
        .position(|&byte| {
            !(is_name_byte(byte) || b"/:@".contains(&byte) && bytes.get(start) == Some(&b'/'))
        })?;
    if length == 0 {
        return None;
    }
    let name = start..start + length;
    let after_quote =
        name.end + usize::from(quote.is_some() && bytes.get(name.end).copied() == quote);
    let at = skip_blanks(bytes, after_quote);
    if !matches!(bytes.get(at), Some(b'=' | b':')) || at >= line.end {
        return None;
    }
    // A URL, not a name.
    if bytes.get(at..at + 3) == Some(b"://") {
        return None;
    }
    let at = skip_blanks(bytes, at + 1);
    if at >= line.end {
        return None;
    }
    let (value, quoted) = value_at(bytes, at, true)?;
    Some(without_scheme(
        bytes,
        Field {
            name,
            value,
            quoted,
            argument: false,
            scheme: None,
        },
    ))
}

/// The lines of `bytes`, without their ends.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(move |line| {
            let start = at;
            at += line.len();
            let mut end = at;
            while end > start && matches!(bytes.get(end - 1), Some(b'\n' | b'\r')) {
                end -= 1;
            }
            start..end
        })
}

/// Every `"name": "value"` of a text like JSON.
pub(crate) fn quoted_pairs(bytes: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut at = 0;
    while let Some(start) = position(bytes, at, b'"') {
        let Some(end) = closing_quote(bytes, start + 1, b'"', true) else {
            at = start + 1;
            continue;
        };
        at = end + 1;
        let colon = skip_white(bytes, at);
        if bytes.get(colon) != Some(&b':') {
            continue;
        }
        let open = skip_white(bytes, colon + 1);
        if bytes.get(open) != Some(&b'"') {
            continue;
        }
        let Some(close) = closing_quote(bytes, open + 1, b'"', true) else {
            continue;
        };
        at = close + 1;
        let field = Field {
            name: start + 1..end,
            value: open + 1..close,
            quoted: true,
            argument: false,
            scheme: None,
        };
        fields.push(without_scheme(bytes, field));
    }
    fields
}

/// The literal in quotes that begins at `at`, behind blanks, and where it ends with its quote.
pub(crate) fn literal(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let open = skip_white(bytes, at);
    let quote = bytes
        .get(open)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
    let close = closing_quote(bytes, open + 1, quote, true)?;
    (close > open + 1 && close - open < LONGEST_NAME * 2).then_some((open + 1..close, close + 1))
}

/// What is behind the comma that stands at `at`, behind blanks.
pub(crate) fn comma(bytes: &[u8], at: usize) -> Option<usize> {
    let comma = skip_white(bytes, at);
    (bytes.get(comma) == Some(&b',')).then_some(comma + 1)
}

/// Whether the quoted text that begins at `at` is the first of its list: `(` or `[` stands before it.
fn opens_list(bytes: &[u8], at: usize) -> bool {
    let front = bytes.get(at.saturating_sub(8)..at).unwrap_or_default();
    let before = front.iter().rev().find(|byte| !b"\"'` \t".contains(byte));
    matches!(before, Some(b'(' | b'['))
}

fn name_around(bytes: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let lowest = hit.start.saturating_sub(LONGEST_NAME);
    let start = (lowest..hit.start)
        .rev()
        .take_while(|&at| bytes.get(at).copied().is_some_and(is_name_byte))
        .last()
        .unwrap_or(hit.start);
    let highest = (hit.end + LONGEST_NAME).min(bytes.len());
    let end = (hit.end..highest)
        .find(|&at| !bytes.get(at).copied().is_some_and(is_name_byte))
        .unwrap_or(highest);
    (end - start <= LONGEST_NAME).then_some(start..end)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte)
}

/// How long the operator between name and value is.
fn operator(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'=', b'=', b'=', ..] | [b'!', b'=', b'=', ..] => Some(3),
        [b'=', b'>', ..]
        | [b':', b'=', ..]
        | [b'=', b'=', ..]
        | [b'!', b'=', ..]
        | [b'|', b'|', ..]
        | [b'?', b'=', ..]
        | [b'+', b'=', ..]
        | [b':', b'-', ..] => Some(2),
        [b'%', b'3', b'd' | b'D', ..] => Some(3),
        [b':', b':', ..] => None,
        [b'=' | b':' | b',' | b'(', ..] => Some(1),
        _ => None,
    }
}

/// `value=` or `"value":` behind the name, on this line or the next, as in XML attributes and in
/// Kubernetes' lists of variables.
fn value_attribute(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = skip_white(bytes, at);
    if bytes.get(next) == Some(&b',') {
        next = skip_white(bytes, next + 1);
    }
    if next == at || next > at + 80 {
        return None;
    }
    let quoted = matches!(bytes.get(next), Some(b'"' | b'\''));
    next += usize::from(quoted);
    if !bytes.get(next..)?.get(..5)?.eq_ignore_ascii_case(b"value") {
        return None;
    }
    next = skip_blanks(bytes, next + 5 + usize::from(quoted));
    matches!(bytes.get(next), Some(b'=' | b':')).then_some(next + 1)
}

/// Where the value begins in `: Type = value`.
fn behind_type(bytes: &[u8], colon_end: usize) -> Option<usize> {
    let start = skip_blanks(bytes, colon_end);
    let rest = bytes.get(start..(start + 40).min(bytes.len()))?;
    let length = rest
        .iter()
        .position(|&b| !(b.is_ascii_alphanumeric() || b"&_<>[]|. '".contains(&b)))?;
    let typed = length > 0
        && rest.get(length) == Some(&b'=')
        && rest.get(length + 1) != Some(&b'=')
        && rest.get(..length)?.iter().any(u8::is_ascii_alphabetic)
        && rest.get(length - 1) == Some(&b' ');
    typed.then_some(start + length + 1)
}

/// Where the content of an element begins, behind its attributes: `<Pass encoding="base64">`.
fn tag_end(rest: &[u8]) -> Option<usize> {
    let end = rest.iter().take(200).position(|b| b"<>\n".contains(b))?;
    let opens = rest.get(end) == Some(&b'>') && (end == 0 || rest.get(end - 1) != Some(&b'/'));
    opens.then_some(end + 1)
}

fn element_value(bytes: &[u8], name: Range<usize>, at: usize) -> Option<Field> {
    let rest = bytes.get(at..(at + 4096).min(bytes.len()))?;
    let length = find(rest, b"</")?;
    let value = trim(bytes, at..at + length);
    let is_text = !value.is_empty() && !bytes.get(value.clone())?.contains(&b'<');
    is_text.then_some(Field {
        name,
        value,
        quoted: true,
        argument: false,
        scheme: None,
    })
}

/// The value that begins at `at`, and whether it stood in quotes.
fn value_at(bytes: &[u8], at: usize, by_line: bool) -> Option<(Range<usize>, bool)> {
    let mut at = at;
    // String prefixes of Python, Rust and C#; an escaped quote within another string.
    let escaped = bytes.get(at) == Some(&b'\\') && matches!(bytes.get(at + 1), Some(b'"' | b'\''));
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    if escaped
        || (matches!(bytes.get(at), Some(b'b' | b'r' | b'f' | b'u' | b'@' | b'$'))
            && is_quote(bytes.get(at + 1)))
    {
        at += 1;
    }
    let quote = bytes
        .get(at)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if let Some(quote) = quote {
        let triple = bytes.get(at..at + 3) == Some(&[quote; 3]);
        let start = at + if triple { 3 } else { 1 };
        let end = if escaped {
            let rest = bytes.get(start..(start + LONGEST_VALUE).min(bytes.len()))?;
            rest.windows(2)
                .position(|pair| pair == [b'\\', quote])
                .map(|at| start + at)
        } else {
            closing_quote(bytes, start, quote, quote != b'\'')
        };
        return match end {
            Some(end) if end > start => Some((start..end, true)),
            Some(_) => None,
            // A quote that never closes is a character of the value.
            None => Some((trim(bytes, start..line_end(bytes, start)), false)),
        }
        .filter(|(value, _)| !value.is_empty());
    }
    let end = if by_line {
        let line = at..line_end(bytes, at);
        // A comment behind blanks is not part of the value.
        bytes
            .get(line.clone())?
            .windows(2)
            .position(|pair| matches!(pair, [b' ' | b'\t', b'#' | b';']))
            .map_or(line.end, |found| at + found)
    } else {
        let limit = (at + LONGEST_WORD).min(bytes.len());
        (at..limit)
            .find(|&here| {
                bytes
                    .get(here)
                    .is_none_or(|&b| b.is_ascii_whitespace() || b",;)}]<>\"'`&|\\".contains(&b))
            })
            .unwrap_or(limit)
    };
    let mut value = trim(bytes, at..end);
    // What closes an object or ends a statement on the same line.
    if by_line {
        while value.len() > 1 && matches!(bytes.get(value.end - 1), Some(b',' | b';')) {
            value.end -= 1;
        }
    }
    (!value.is_empty()).then_some((value, false))
}

/// Takes `Bearer`, `Basic` and the like off the front of a value.
fn without_scheme(bytes: &[u8], mut field: Field) -> Field {
    const SCHEMES: &[&str] = &[
        "bearer",
        "basic",
        "token",
        "apikey",
        "digest",
        "negotiate",
        "bot",
        "ssws",
        "key",
        "pat",
    ];
    let text = bytes.get(field.value.clone()).unwrap_or_default();
    for scheme in SCHEMES {
        let after = scheme.len();
        if text.len() > after + 1
            && text
                .get(..after)
                .is_some_and(|front| front.eq_ignore_ascii_case(scheme.as_bytes()))
            && matches!(text.get(after), Some(b' ' | b'\t'))
        {
            field.value = trim(bytes, field.value.start + after..field.value.end);
            field.scheme = Some(scheme);
            break;
        }
    }
    // `curl -H Authorization:\ Bearer…` and unquoted values that stop at the blank behind the scheme.
    if field.scheme.is_none()
        && !field.quoted
        && SCHEMES
            .iter()
            .any(|scheme| text.eq_ignore_ascii_case(scheme.as_bytes()))
    {
        let next = skip_blanks(bytes, field.value.end);
        if next > field.value.end
            && let Some((value, quoted)) = value_at(bytes, next, false)
        {
            field.scheme = SCHEMES
                .iter()
                .copied()
                .find(|scheme| text.eq_ignore_ascii_case(scheme.as_bytes()));
            field.value = value;
            field.quoted = quoted;
        }
    }
    field
}

/// Where the quote closes; a backslash protects the next character where `escapes`. Strings in single
/// or double quotes may span lines in shells and dotenv files, but not far.
fn closing_quote(bytes: &[u8], start: usize, quote: u8, escapes: bool) -> Option<usize> {
    let limit = (start + LONGEST_VALUE).min(bytes.len());
    let mut at = start;
    let mut newlines = 0;
    while at < limit {
        match *bytes.get(at)? {
            b'\\' if escapes => at += 1,
            byte if byte == quote => return Some(at),
            b'\n' => {
                newlines += 1;
                if newlines > 200 {
                    return None;
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let limit = (at + LONGEST_VALUE).min(bytes.len());
    (at..limit)
        .find(|&here| matches!(bytes.get(here), Some(b'\n' | b'\r')))
        .unwrap_or(limit)
}

fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    (at..(at + 64).min(bytes.len()))
        .find(|&here| !matches!(bytes.get(here), Some(b' ' | b'\t')))
        .unwrap_or_else(|| (at + 64).min(bytes.len()))
}

fn skip_white(bytes: &[u8], at: usize) -> usize {
    (at..(at + 200).min(bytes.len()))
        .find(|&here| !bytes.get(here).is_some_and(u8::is_ascii_whitespace))
        .unwrap_or_else(|| (at + 200).min(bytes.len()))
}

fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while start < end && bytes.get(start).is_some_and(u8::is_ascii_whitespace) {
        start += 1;
    }
    while end > start && bytes.get(end - 1).is_some_and(u8::is_ascii_whitespace) {
        end -= 1;
    }
    start..end
}

fn position(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    bytes
        .get(from..)?
        .iter()
        .position(|&byte| byte == wanted)
        .map(|at| from + at)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests;
