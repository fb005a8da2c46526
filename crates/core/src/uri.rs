//! One spelling for each path and query (RFC 3986 §6.2.2). The canonical form is what policy reads
//! *and* what is sent, so that a grant for `/v1/search/**` cannot be left by `%2e%2e`, `//` or a
//! parameter behind a semicolon.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Why a request target was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not an absolute path.
    #[error("the request's path does not begin with /")]
    NotAbsolute,
    /// A character that must not stand in a path or query as it is.
    #[error("the request's path or query has a character that must be percent-encoded")]
    BadCharacter,
    /// `%` without two hexadecimal digits behind it.
    #[error("the request's path or query has a broken percent-encoding")]
    BadEncoding,
    /// NUL, a control character or a backslash, percent-encoded.
    #[error("the request's path has an encoded control character or backslash")]
    EncodedControl,
    /// An encoding of a character in more bytes than it needs: lax servers decode `%C0%AF` to a slash.
    #[error(
        "the request's path has an overlong UTF-8 encoding; percent-encode its characters as UTF-8"
    )]
    Overlong,
    /// Two slashes in a row: servers disagree whether they are one.
    #[error("the request's path has an empty segment (//); send the path with single slashes")]
    EmptySegment,
    /// `..` above the root.
    #[error("the request's path leaves the root with ..")]
    AboveRoot,
    /// More than 16 KiB.
    #[error("the request's path or query is longer than 16 KiB")]
    TooLong,
}

/// A path with one spelling: unreserved characters decoded, other encodings in upper case, dot
/// segments resolved, no empty segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CanonicalPath(String);

const LONGEST: usize = 16 * 1024;

/// Layers of percent-encoding that readings look through.
const MOST_LAYERS: u32 = 8;

impl CanonicalPath {
    /// `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Reads the path of a request target, without its query.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(path: &str) -> Result<Self, UriError> {
        if path.len() > LONGEST {
            return Err(UriError::TooLong);
        }
        let Some(rest) = path.strip_prefix('/') else {
            return Err(UriError::NotAbsolute);
        };
        let normal = normalise(rest, is_path_byte)?;
        if normal.contains("%5C") || has_encoded_control(&normal) {
            return Err(UriError::EncodedControl);
        }
        if has_overlong(&normal) {
            return Err(UriError::Overlong);
        }
        let mut segments: Vec<&str> = Vec::new();
        let mut pieces = normal.split('/').peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            match piece {
                "" if last => segments.push(""),
                "" => return Err(UriError::EmptySegment),
                "." | ".." => {
                    if piece == ".." && segments.pop().is_none() {
                        return Err(UriError::AboveRoot);
                    }
                    if last {
                        segments.push("");
                    }
                }
                other => segments.push(other),
            }
        }
        Ok(Self(format!("/{}", segments.join("/"))))
    }

    /// The path as policy reads it and as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every reading that some server gives to this path: as it is; with `%2F` as a separator; with
    /// parameters behind `;` removed; decoded a second time. A grant must cover all of them.
    pub fn readings(&self) -> Vec<String> {
        // Nothing in it is encoded and no segment has a parameter: almost every path, and there is one way to read it.
        if !self.0.contains(['%', ';']) {
            return vec![self.0.clone()];
        }
        self.all_readings()
    }

    fn all_readings(&self) -> Vec<String> {
        let mut readings = vec![self.0.clone()];
        let mut add = |reading: String| {
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        };
        // A server behind one that decoded already decodes again.
        let mut once = Some(self.0.clone());
        let mut layers = 0;
        while let Some(text) = once {
            let split = text.replace("%2F", "/");
            let bare = without_parameters(&text);
            let next = decoded_again(&text);
            for reading in [text, without_parameters(&split), split, bare] {
                // A reading that is itself no path (it has `..` or `//`) is covered by nothing.
                add(match Self::parse(&reading) {
                    Ok(path) if path.0 == reading => reading,
                    _ => String::new(),
                });
            }
            layers += 1;
            once = next.filter(|_| layers < MOST_LAYERS);
        }
        readings
    }
}

/// A query with one spelling; the order of its pairs is kept. Empty when there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CanonicalQuery(String);

impl CanonicalQuery {
    /// Reads what stands behind `?`.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(query: &str) -> Result<Self, UriError> {
        if query.len() > LONGEST {
            return Err(UriError::TooLong);
        }
        normalise(query, |byte| is_path_byte(byte) || byte == b'?').map(Self)
    }

    /// The query as it is sent, without `?`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name and value of each pair, decoded as `application/x-www-form-urlencoded` (`+` is a space).
    pub fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        form_pairs(&self.0)
    }

    /// The query with its pairs in one order, for digests.
    pub fn sorted(&self) -> String {
        let mut pairs: Vec<&str> = self.0.split('&').collect();
        pairs.sort_unstable();
        pairs.join("&")
    }
}

/// Name and value of each pair of a form (`application/x-www-form-urlencoded`), decoded. A broken
/// percent-encoding stays as it stands (WHATWG URL §5.1).
pub fn form_pairs(text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
        .collect()
}

/// Percent-decodes `text`; with `+` read as a space.
pub fn form_decode(text: &str) -> Vec<u8> {
    percent_decode(&text.replace('+', " "))
}

/// Percent-decodes `text`; a broken encoding stays as it stands.
pub fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%'
            && let [high, low, after @ ..] = behind
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    bytes
}

fn normalise(text: &str, plain: impl Fn(u8) -> bool) -> Result<String, UriError> {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%' {
            let [high, low, after @ ..] = behind else {
                return Err(UriError::BadEncoding);
            };
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                return Err(UriError::BadEncoding);
            };
            rest = after;
            let byte = high << 4 | low;
            if is_unreserved(byte) {
                normal.push(char::from(byte));
            } else {
                push_encoded(&mut normal, byte);
            }
        } else if plain(first) {
            normal.push(char::from(first));
        } else if matches!(
            first,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}'
        ) {
            // Not URI characters, but clients send them and every server reads them one way.
            push_encoded(&mut normal, first);
        } else {
            return Err(UriError::BadCharacter);
        }
    }
    Ok(normal)
}

fn push_encoded(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "%{byte:02X}");
}

fn has_encoded_control(normal: &str) -> bool {
    normal.match_indices('%').any(|(at, _)| {
        normal
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .is_none_or(|byte| byte.is_ascii_control())
    })
}

/// Whether bytes stand there that no UTF-8 has, and that some decoders take for an ASCII character
/// (RFC 3629 §3). `normal` has its digits in upper case.
fn has_overlong(normal: &str) -> bool {
    ["%C0", "%C1", "%E0%8", "%E0%9", "%F0%8"]
        .iter()
        .any(|start| normal.contains(start))
}

/// What a canonical path becomes where each `%25` before two hexadecimal digits is decoded; `None`
/// where there is none. Dot segments are left to be seen.
fn decoded_again(path: &str) -> Option<String> {
    let mut pieces = path.split("%25");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut changed = false;
    for piece in pieces {
        let encodes = piece
            .as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        changed |= encodes;
        text.push_str(if encodes { "%" } else { "%25" });
        text.push_str(piece);
    }
    // Every `%` has its digits, so this does not fail; were it to, no reading would be covered.
    changed.then(|| normalise(&text, is_path_byte).unwrap_or_default())
}

fn without_parameters(path: &str) -> String {
    path.split('/')
        .map(|segment| {
            let end = segment
                .find(';')
                .into_iter()
                .chain(segment.find("%3B"))
                .min()
                .unwrap_or(segment.len());
            &segment[..end]
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 §3.3: pchar and `/`.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

macro_rules! text_type {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = UriError;

            fn try_from(text: String) -> Result<Self, UriError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(CanonicalPath);
text_type!(CanonicalQuery);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Result<String, UriError> {
        CanonicalPath::parse(text).map(String::from)
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (sent, canonical) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/%61/b", "/a/b"),
            ("/a/%7euser", "/a/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/./b/", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/a b".replace(' ', "%20").as_str(), "/a%20b"),
            (
                "/%c3%a4/%e0%a4%84/%f0%9f%98%80",
                "/%C3%A4/%E0%A4%84/%F0%9F%98%80",
            ),
            ("/@scope%2fname", "/@scope%2Fname"),
            ("/{id}", "/%7Bid%7D"),
        ] {
            assert_eq!(path(sent).as_deref(), Ok(canonical), "{sent}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (sent, error) in [
            ("", UriError::NotAbsolute),
            ("a", UriError::NotAbsolute),
            ("//a", UriError::EmptySegment),
            ("/a//b", UriError::EmptySegment),
            ("/..", UriError::AboveRoot),
            ("/a/../../b", UriError::AboveRoot),
            ("/%2e%2e/b", UriError::AboveRoot),
            ("/a%", UriError::BadEncoding),
            ("/a%0", UriError::BadEncoding),
            ("/a%zz", UriError::BadEncoding),
            ("/a%00b", UriError::EncodedControl),
            ("/a%0d%0ab", UriError::EncodedControl),
            ("/a%5cb", UriError::EncodedControl),
            ("/a%c0%afb", UriError::Overlong),
            ("/%c0%ae%c0%ae/b", UriError::Overlong),
            ("/a%e0%80%afb", UriError::Overlong),
            ("/a%f0%80%80%afb", UriError::Overlong),
            ("/a\\b", UriError::BadCharacter),
            ("/a b", UriError::BadCharacter),
            ("/a\tb", UriError::BadCharacter),
            ("/a#b", UriError::BadCharacter),
            ("/\u{e4}", UriError::BadCharacter),
        ] {
            assert_eq!(path(sent), Err(error), "{sent:?}");
        }
    }

    #[test]
    fn readings_cover_encoded_slashes_and_parameters() {
        let readings = |text: &str| CanonicalPath::parse(text).unwrap().readings();
        assert_eq!(readings("/a/b"), ["/a/b"]);
        assert_eq!(readings("/pub/%2e%2e%2fadmin"), ["/pub/..%2Fadmin", ""]);
        assert_eq!(readings("/a%2Fb"), ["/a%2Fb", "/a/b"]);
        assert_eq!(readings("/admin;x/y"), ["/admin;x/y", "/admin/y"]);
        for text in [
            "/pub/%252e%252e/admin",
            "/pub/%25252e%25252e/admin",
            "/pub/%252e%252e/%25zz",
            "/pub/%252e%252e%252fadmin",
            "/pub/a%255cb",
            "/pub/..%253bx/admin",
        ] {
            assert!(readings(text).contains(&String::new()), "{text}");
        }
        assert_eq!(readings("/a%252fb"), ["/a%252fb", "/a%2Fb", "/a/b"]);
        assert_eq!(
            readings("/100%25/%2520x"),
            ["/100%25/%2520x", "/100%25/%20x"]
        );
    }

    #[test]
    fn queries_keep_their_order_and_decode_as_forms() {
        let query = CanonicalQuery::parse("b=%41+x&a=1&q={x}").unwrap();
        assert_eq!(query.as_str(), "b=A+x&a=1&q=%7Bx%7D");
        assert_eq!(query.sorted(), "a=1&b=A+x&q=%7Bx%7D");
        assert_eq!(query.pairs()[0], (b"b".to_vec(), b"A x".to_vec()));
        assert!(CanonicalQuery::parse("a b").is_err());
    }

    proptest! {
        #[test]
        fn canonical_paths_are_fixed_points(text in "/[a-c/.%2eEfF;5cC{} ]{0,40}") {
            if let Ok(path) = CanonicalPath::parse(&text) {
                prop_assert_eq!(&CanonicalPath::parse(path.as_str()).unwrap(), &path);
                prop_assert!(!path.as_str().contains("//"));
                prop_assert!(!path.as_str().split('/').any(|segment| segment == ".."));
                prop_assert_eq!(path.readings(), path.all_readings());
            }
        }

        #[test]
        fn a_path_without_codes_has_one_reading(text in "(/[!-$&-:<-~]{0,6}){1,6}") {
            if let Ok(path) = CanonicalPath::parse(&text) {
                prop_assert_eq!(path.readings(), path.all_readings());
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = CanonicalPath::parse(&text);
            let _ = CanonicalQuery::parse(&text);
            form_pairs(&text);
        }
    }
}
