//! MySQL's and MariaDB's texts by their characters (MySQL's manual, "Lexical Structure"): where quotes and
//! comments are, what of them a server runs, and which rows a DELETE or UPDATE is about. Nothing here says
//! what a text does; whatever is written here from one is classified like any other text.
//!
//! Texts are read as with `sql_mode` free of ANSI_QUOTES and NO_BACKSLASH_ESCAPES and in UTF-8, which a gate
//! pins.

use std::borrow::Cow;
use std::ops::Range;

use tagout_core::Parameter;

use crate::Dialect;
use crate::sqlparser_dialects::classify;
use crate::statement::{Class, Uncountable, Unreadable};

/// The highest version in a comment that every server of today runs: MySQL 5.7 and MariaDB 10 do, and
/// MariaDB skips those of MySQL 5.7 and later.
const RUN_BY_ALL: u32 = 50_699;

/// Functions whose answer is another one the next time, or that do more than compute.
const CHANGING: &[&str] = &[
    "benchmark",
    "connection_id",
    "found_rows",
    "get_lock",
    "is_free_lock",
    "is_used_lock",
    "last_insert_id",
    "load_file",
    "master_pos_wait",
    "rand",
    "random_bytes",
    "release_all_locks",
    "release_lock",
    "row_count",
    "sleep",
    "sysdate",
    "uuid",
    "uuid_short",
];

/// What a piece of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Space,
    Comment,
    /// `/*!` or `/*M!`, and the code in it where every server runs it.
    Executable,
    /// A string.
    Text,
    /// A name in backticks.
    Name,
    /// Letters, digits, `_`, `$`.
    Word,
    Placeholder,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    kind: Kind,
    at: Range<usize>,
}

/// Cuts a text into pieces that together are the text.
fn pieces(text: &str) -> Result<Vec<Piece>, Unreadable> {
    let bytes = text.as_bytes();
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(&first) = bytes.get(start) {
        let rest = bytes.get(start..).unwrap_or_default();
        let (kind, length) = match first {
            b'\'' | b'"' => (Kind::Text, quoted(rest, true)?),
            b'`' => (Kind::Name, quoted(rest, false)?),
            b'#' => (Kind::Comment, line(rest)),
            b'-' if rest.starts_with(b"--")
                && rest
                    .get(2)
                    .is_none_or(|third| *third <= b' ' || *third == 0x7F) =>
            {
                (Kind::Comment, line(rest))
            }
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                (Kind::Executable, code(text, start)?.length)
            }
            b'/' if rest.starts_with(b"/*") => {
                let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
                (Kind::Comment, end.ok_or_else(|| open("comment"))? + 4)
            }
            b'?' => (Kind::Placeholder, 1),
            first if first.is_ascii_whitespace() || first == 0x0B => (Kind::Space, 1),
            first if is_word(first) => {
                let end = rest.iter().position(|byte| !is_word(*byte));
                let length = end.unwrap_or(rest.len());
                let word = text.get(start..start + length).unwrap_or_default();
                // To a server they are letters, and to a parser of Unicode they are none.
                if word
                    .chars()
                    .any(|letter| !letter.is_ascii() && !letter.is_alphanumeric())
                {
                    return Err(Unreadable::UnknownNode(
                        "letters that look like a blank or a sign".to_owned(),
                    ));
                }
                (Kind::Word, length)
            }
            _ => (Kind::Other, 1),
        };
        pieces.push(Piece {
            kind,
            at: start..start + length,
        });
        start += length;
    }
    Ok(pieces)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn open(what: &str) -> Unreadable {
    Unreadable::Grammar {
        dialect: "MySQL",
        message: format!("a {what} does not end"),
    }
}

/// How long what stands in the quotes that `rest` begins with is, with them.
fn quoted(rest: &[u8], escapes: bool) -> Result<usize, Unreadable> {
    let quote = rest.first().copied().unwrap_or_default();
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        at += match byte {
            b'\\' if escapes => 2,
            byte if byte == quote && rest.get(at + 1) == Some(&quote) => 2,
            byte if byte == quote => return Ok(at + 1),
            _ => 1,
        };
    }
    Err(open("quotation"))
}

fn line(rest: &[u8]) -> usize {
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.map_or(rest.len(), |end| end + 1)
}

/// A comment that servers may run.
struct Code<'a> {
    /// What they would run.
    text: &'a str,
    /// Of the whole comment.
    length: usize,
    /// Whether every server runs it; else some take it for a comment.
    by_all: bool,
}

/// The comment at `start`.
fn code(text: &str, start: usize) -> Result<Code<'_>, Unreadable> {
    let rest = text.get(start..).unwrap_or_default();
    let (inner, is_anybodys) = match rest.strip_prefix("/*!") {
        Some(inner) => (inner, true),
        // MariaDB's alone.
        None => (
            rest.strip_prefix("/*M!")
                .ok_or(Unreadable::ExecutableComment)?,
            false,
        ),
    };
    let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
    let version: Option<u32> = inner.get(..digits).and_then(|version| version.parse().ok());
    let by_all = match (digits, version) {
        (0, _) => is_anybodys,
        (5, Some(version)) => is_anybodys && version <= RUN_BY_ALL,
        (6, _) => false,
        // Some take it for a version, some for the code.
        _ => return Err(Unreadable::ExecutableComment),
    };
    let body = inner.get(digits..).unwrap_or_default();
    let bytes = body.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match byte {
            b'\'' | b'"' => quoted(rest, true)?,
            b'`' => quoted(rest, false)?,
            b'*' if rest.starts_with(b"*/") => {
                return Ok(Code {
                    text: body.get(..at).unwrap_or_default(),
                    length: text.len() - start - body.len() + at + 2,
                    by_all,
                });
            }
            // A comment in it: servers differ about where that ends.
            b'#' => return Err(Unreadable::ExecutableComment),
            b'/' if rest.starts_with(b"/*") => return Err(Unreadable::ExecutableComment),
            b'-' if rest.starts_with(b"--") => return Err(Unreadable::ExecutableComment),
            _ => 1,
        };
    }
    Err(open("comment"))
}

/// The text without its comments, but with what every server runs in them (`/*!40101 … */`) written out: so the
/// parser, which has rules of its own about comments, sees none. A
/// text that is nothing but such a comment runs or does nothing, whatever its version is.
///
/// # Errors
/// Where it depends on the server what a comment makes of the rest, or something does not end.
pub(crate) fn expanded(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    let pieces = pieces(text)?;
    for piece in &pieces {
        let part = text.get(piece.at.clone()).unwrap_or_default();
        // A hint that sets a variable for one statement.
        if piece.kind == Kind::Comment
            && part.starts_with("/*+")
            && part.to_ascii_lowercase().contains("set_var")
        {
            return Err(Unreadable::UnknownNode("SET_VAR".to_owned()));
        }
    }
    if pieces
        .iter()
        .all(|piece| !matches!(piece.kind, Kind::Executable | Kind::Comment))
    {
        return Ok(Cow::Borrowed(text));
    }
    let mut solid = pieces.iter().filter(|piece| {
        let part = text.get(piece.at.clone());
        !matches!(piece.kind, Kind::Space | Kind::Comment) && part != Some(";")
    });
    let is_all = solid.next().is_some() && solid.next().is_none();
    let mut out = String::with_capacity(text.len());
    for piece in pieces {
        match piece.kind {
            Kind::Executable => {
                let code = code(text, piece.at.start)?;
                if !code.by_all && !is_all {
                    return Err(Unreadable::ExecutableComment);
                }
                out.push(' ');
                out.push_str(code.text);
                out.push(' ');
            }
            Kind::Comment => out.push(' '),
            _ => out.push_str(text.get(piece.at).unwrap_or_default()),
        }
    }
    Ok(Cow::Owned(out))
}

/// A statement that is known by its first words, whatever the parser thinks of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Simple {
    Show {
        tells_secrets: bool,
        /// The databases that it names.
        databases: Vec<String>,
    },
    /// `USE`.
    Use(String),
    /// `START TRANSACTION WITH CONSISTENT SNAPSHOT`.
    Snapshot,
    /// `KILL QUERY`, with a number.
    Kill(String),
    /// `ALTER TABLE … DISABLE KEYS`, as dumps have it; the table.
    Keys(String),
}

/// Reads a text of one such statement. What calls functions is none: it has a bracket.
pub(crate) fn simple(text: &str) -> Result<Option<Simple>, Unreadable> {
    let pieces = pieces(text)?;
    let mut solid: Vec<(Kind, &str)> = pieces
        .iter()
        .filter(|piece| !matches!(piece.kind, Kind::Space | Kind::Comment))
        .map(|piece| (piece.kind, text.get(piece.at.clone()).unwrap_or_default()))
        .collect();
    if solid.last() == Some(&(Kind::Other, ";")) {
        solid.pop();
    }
    if solid.iter().any(|(_, part)| matches!(*part, ";" | "(")) {
        return Ok(None);
    }
    let words: Vec<String> = solid
        .iter()
        .map(|(kind, part)| match kind {
            Kind::Word => part.to_ascii_lowercase(),
            _ => "?".to_owned(),
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match (words.as_slice(), solid.as_slice()) {
        (["show", rest @ ..], _) => {
            const TELLING: &[&str] = &["grants", "binlog", "relaylog", "user"];
            const OF_A_TABLE: &[&str] = &["columns", "fields", "index", "indexes", "keys"];
            let ahead = rest.iter().take(2);
            let name = |at: usize| {
                let (kind, part) = solid.get(at)?;
                matches!(kind, Kind::Word | Kind::Name)
                    .then(|| part.trim_matches('`').replace("``", "`"))
            };
            let of_a_table = rest.iter().take(3).any(|word| OF_A_TABLE.contains(word));
            let named = words
                .iter()
                .enumerate()
                .filter(|(_, word)| matches!(**word, "from" | "in"));
            let mut databases: Vec<_> = named
                .skip(usize::from(of_a_table))
                .filter_map(|(at, _)| name(at + 1))
                .collect();
            let dots = solid.iter().enumerate().skip(1);
            let dots = dots.filter(|(_, (_, part))| *part == ".");
            databases.extend(dots.filter_map(|(at, _)| name(at - 1)));
            Some(Simple::Show {
                tells_secrets: ahead.into_iter().any(|word| TELLING.contains(word)),
                databases,
            })
        }
        (["use", _], [_, (Kind::Word, name)]) => Some(Simple::Use((*name).to_owned())),
        (["use", _], [_, (Kind::Name, name)]) => {
            let name = name.trim_matches('`');
            (!name.contains('`')).then(|| Simple::Use(name.to_owned()))
        }
        (["start", "transaction", "with", "consistent", "snapshot"], _) => Some(Simple::Snapshot),
        (["alter", "table", _, "disable" | "enable", "keys"], [_, _, (Kind::Word, name), ..]) => {
            Some(Simple::Keys((*name).to_owned()))
        }
        (["alter", "table", _, "disable" | "enable", "keys"], [_, _, (Kind::Name, name), ..]) => {
            let name = name.trim_matches('`');
            (!name.contains('`')).then(|| Simple::Keys(name.to_owned()))
        }
        (["kill", "query", number], _) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Simple::Kill((*number).to_owned()))
        }
        _ => None,
    })
}

/// The text with values in the places of its `?`, as a person reads it and a server would.
///
/// `None` where their number is another one, or the text cannot be read.
pub fn with_values(text: &str, values: &[Parameter]) -> Option<String> {
    let pieces = pieces(text).ok()?;
    let mut values = values.iter();
    let mut out = String::with_capacity(text.len());
    for piece in pieces {
        match piece.kind {
            Kind::Placeholder => out.push_str(&literal(values.next()?)),
            _ => out.push_str(text.get(piece.at)?),
        }
    }
    values.next().is_none().then_some(out)
}

/// A value, written so that nothing in it can end it. Letters that are a number are written as one, whether
/// the client sent a number or a text: compared with a text, a number is equal to more than its letters are.
fn literal(value: &Parameter) -> String {
    match value {
        Parameter::Null => "NULL".to_owned(),
        Parameter::Text(bytes) | Parameter::Binary(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if is_number(text) => text.to_owned(),
            Ok(text) => quoted_text(text),
            Err(_) => hexadecimal(bytes),
        },
    }
}

/// Whether a server reads these letters as one number.
fn is_number(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'e' | b'E');
    text.bytes().all(plain) && text.parse::<f64>().is_ok()
}

fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// Which rows a DELETE or UPDATE of one table is about, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlRows {
    /// The table, and the name it has in the conditions: ``shop.`people` AS p``.
    pub table: String,
    /// The name by which its columns can be told from others'.
    pub called: String,
    /// `WHERE`, `ORDER BY` and `LIMIT`, or nothing.
    pub condition: String,
}

impl MysqlRows {
    /// A query of its rows.
    pub fn select(&self, what: &str) -> String {
        format!("SELECT {what} FROM {} {}", self.table, self.condition)
    }
}

/// Which rows the single statement in `text` is about, whose values are in their places.
///
/// # Errors
/// Where no query is known that finds the same rows and only reads.
pub(crate) fn mysql_rows(text: &str) -> Result<MysqlRows, Uncountable> {
    let text = expanded(text).map_err(|_| Uncountable::NotOne)?;
    let pieces = pieces(&text).map_err(|_| Uncountable::NotOne)?;
    let solid: Vec<&Piece> = pieces
        .iter()
        .filter(|piece| !matches!(piece.kind, Kind::Space | Kind::Comment))
        .collect();
    let part = |piece: &Piece| text.get(piece.at.clone()).unwrap_or_default();
    let word = |at: usize| {
        let piece = solid.get(at).filter(|piece| piece.kind == Kind::Word);
        piece
            .map(|piece| part(piece).to_ascii_lowercase())
            .unwrap_or_default()
    };
    let updates = match word(0).as_str() {
        "delete" if word(1) == "from" => false,
        "update" => true,
        _ => return Err(Uncountable::NotOne),
    };
    let mut at = if updates { 1 } else { 2 };
    let is_name = |at: usize| {
        solid
            .get(at)
            .is_some_and(|piece| matches!(piece.kind, Kind::Name | Kind::Word))
    };
    let is_dot = |at: usize| solid.get(at).is_some_and(|piece| part(piece) == ".");
    const AHEAD: &[&str] = &[
        "low_priority",
        "quick",
        "ignore",
        "only",
        "lateral",
        "select",
    ];
    if !is_name(at) || AHEAD.contains(&word(at).as_str()) {
        return Err(Uncountable::NotOne);
    }
    let from = solid[at].at.start;
    let mut called = part(solid[at]).to_owned();
    at += 1;
    if is_dot(at) && is_name(at + 1) {
        called = format!("{called}.{}", part(solid[at + 1]));
        at += 2;
    }
    const BEHIND: &[&str] = &["where", "order", "limit"];
    let ends_table = |at: usize| {
        at >= solid.len()
            || BEHIND.contains(&word(at).as_str())
            || (updates && word(at) == "set")
            || part(solid[at]) == ";"
    };
    if word(at) == "as" {
        at += 1;
    }
    if !ends_table(at) {
        if !is_name(at) {
            return Err(Uncountable::NotOne);
        }
        called = part(solid[at]).to_owned();
        at += 1;
    }
    if !ends_table(at) {
        return Err(Uncountable::NotOne);
    }
    let until = solid.get(at - 1).map_or(from, |piece| piece.at.end);
    let table = text.get(from..until).unwrap_or_default().to_owned();
    if updates {
        if word(at) != "set" {
            return Err(Uncountable::NotOne);
        }
        let mut depth = 0_usize;
        while at < solid.len() && (depth > 0 || !BEHIND.contains(&word(at).as_str())) {
            match part(solid[at]) {
                "(" => depth += 1,
                ")" => depth = depth.checked_sub(1).ok_or(Uncountable::NotOne)?,
                ";" => break,
                _ => {}
            }
            at += 1;
        }
    }
    let mut condition = String::new();
    if let Some(begin) = solid.get(at) {
        let mut end = text.len();
        let mut depth = 0_usize;
        for (place, piece) in solid.iter().enumerate().skip(at) {
            match part(piece) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                "@" => return Err(Uncountable::Changing),
                "?" => return Err(Uncountable::Parameter),
                ";" => {
                    if place + 1 != solid.len() {
                        return Err(Uncountable::NotOne);
                    }
                    end = piece.at.start;
                }
                _ => {}
            }
            let word = word(place);
            if depth == 0 && word == "returning" {
                return Err(Uncountable::NotOne);
            }
            if CHANGING.contains(&word.as_str()) {
                return Err(Uncountable::Changing);
            }
        }
        // A comment at its end would hide what is written behind it.
        condition = format!("{}\n", text.get(begin.at.start..end).unwrap_or_default());
    }
    let rows = MysqlRows {
        table,
        called,
        condition,
    };
    let judged =
        classify(Dialect::Mysql, &rows.select("1")).map_err(|_| Uncountable::NotWritten)?;
    match judged.as_slice() {
        [one]
            if one
                .acts
                .iter()
                .all(|act| act.known && act.class == Class::Read) =>
        {
            Ok(rows)
        }
        _ => Err(Uncountable::DoesMore),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_server_runs_in_a_comment_is_written_out() {
        for (text, read) in [
            ("SELECT 1", "SELECT 1"),
            ("/*!40101 SET NAMES utf8mb4 */", "  SET NAMES utf8mb4  "),
            ("SELECT '/*! x */', `/*!`", "SELECT '/*! x */', `/*!`"),
            ("SELECT 1 -- /*! x", "SELECT 1  "),
            ("SELECT /*! '*/' */ 1", "SELECT   '*/'   1"),
            // It runs, or it does nothing.
            ("/*M!100100 SET x=1 */", "  SET x=1  "),
            ("/*!80000 DROP TABLE t */;", "  DROP TABLE t  ;"),
        ] {
            assert_eq!(expanded(text).unwrap(), read);
        }
        for text in [
            "SELECT 1 /*!80000 ; DROP TABLE t */",
            "/*!50700 SELECT 1; */ DROP TABLE t",
            "/*!50700 SELECT */ /*!80000 1 */",
            "/*!4010 x */",
            "/*!4010100 x */",
            "SELECT 1 /*!401010 x */",
            "SELECT 1 /*M! ; DROP TABLE t */",
            "/*! a /* b */ c */",
            "/*! a",
            "'a",
            "/* a",
            "SELECT /*+ SET_VAR(sql_mode='ANSI_QUOTES') */ 1",
        ] {
            assert!(expanded(text).is_err(), "{text}");
        }
        // A quotation in one comment does not hide the end of the next.
        assert_eq!(
            expanded("/* ' */ SELECT /*! 1 */ # '").unwrap(),
            "  SELECT   1    "
        );
        // Without a blank it is no comment.
        assert_eq!(expanded("SELECT 1--/*! 1 */").unwrap(), "SELECT 1--  1  ");
    }

    #[test]
    fn values_cannot_end_where_they_stand() {
        let text = Parameter::Text(b"it's \\' -- ".to_vec());
        assert_eq!(
            with_values("SELECT '?', ? # ?", std::slice::from_ref(&text)).unwrap(),
            "SELECT '?', 'it''s \\\\'' -- ' # ?"
        );
        let number = Parameter::Text(b"17".to_vec());
        let bytes = Parameter::Binary(vec![0xFF, 0x27]);
        assert_eq!(
            with_values(
                "a = ? AND b = ? AND c = ?",
                &[number, bytes, Parameter::Null]
            )
            .unwrap(),
            "a = 17 AND b = x'ff27' AND c = NULL"
        );
        let zero = [
            Parameter::Text(b"0e0".to_vec()),
            Parameter::Text(b"-".to_vec()),
        ];
        assert_eq!(
            with_values("a = ? AND b = ?", &zero).unwrap(),
            "a = 0e0 AND b = '-'"
        );
        assert_eq!(with_values("a = ?", &[]), None);
        assert_eq!(with_values("a = 1", &[Parameter::Null]), None);
    }

    #[test]
    fn the_rows_of_a_statement_are_those_of_its_condition() {
        for (text, query) in [
            ("DELETE FROM people", "SELECT 1 FROM people "),
            (
                "delete from shop.`peo ple` where id > 3;",
                "SELECT 1 FROM shop.`peo ple` where id > 3\n",
            ),
            (
                "UPDATE people AS p SET name = (SELECT max(x) FROM y WHERE z = 1), a = 2 WHERE p.id IN (SELECT id FROM q) ORDER BY id LIMIT 3 -- x",
                "SELECT 1 FROM people AS p WHERE p.id IN (SELECT id FROM q) ORDER BY id LIMIT 3  \n",
            ),
            ("UPDATE people p SET a = 1", "SELECT 1 FROM people p "),
        ] {
            assert_eq!(
                mysql_rows(text).map(|rows| rows.select("1")),
                Ok(query.to_owned()),
                "{text}"
            );
        }
        for text in [
            "DELETE p FROM people p JOIN x",
            "DELETE FROM p USING people p JOIN x",
            "DELETE IGNORE FROM people",
            "DELETE FROM people WHERE rand() > 0.5",
            "DELETE FROM people WHERE mine(id)",
            "DELETE FROM people WHERE @a",
            "DELETE FROM people WHERE id = ?",
            "DELETE FROM people RETURNING id",
            "DELETE FROM people WHERE id = 1; DELETE FROM people",
            "UPDATE a, b SET a.x = 1",
            "UPDATE a JOIN b SET a.x = 1",
            "DROP TABLE people",
            "DELETE FROM people WHERE id = 'x",
        ] {
            assert!(mysql_rows(text).is_err(), "{text}");
        }
    }
}
