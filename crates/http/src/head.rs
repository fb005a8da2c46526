//! The head of a request (RFC 9112 §2, §3, §5) under one strict grammar. Everything that two servers
//! could read differently is refused instead of repaired: bare line feeds, folded lines, space before
//! a colon, a length stated twice or beside chunks. What is read here is never forwarded as it came;
//! it is read once and written anew.

/// Longest head, with all its fields.
pub(crate) const LONGEST_HEAD: usize = 64 * 1024;
const MOST_FIELDS: usize = 100;
/// Longest body that anyone may announce; lengths are signed 64-bit numbers in many servers.
const LONGEST_BODY: u64 = 1 << 53;

/// Fields that say where a request ends or goes. A server behind a CGI-like interface reads `_` as
/// `-`, so they must not come in that disguise either.
const FRAMING_FIELDS: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "upgrade",
    "expect",
    "content-encoding",
    "content-type",
];

/// Fields that have one value; a second one is read by some servers and ignored by others.
const SINGLE_FIELDS: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "host",
    "expect",
    "content-encoding",
    "content-type",
];

/// A head as it was read: no field folded away yet, names in lower case, values trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, a token.
    pub method: String,
    /// The request target as it stands on the request line.
    pub target: String,
    /// The version that it came in.
    pub version: Version,
    /// Fields in order.
    pub fields: Vec<(String, String)>,
    /// How the content is framed.
    pub framing: Framing,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0, in which nothing is chunked and no connection is used twice.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// How a request's content is framed (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No content.
    Empty,
    /// So many octets.
    Length(u64),
    /// The chunked coding; in HTTP/2, content of which no length was announced.
    Chunked,
}

/// What is wrong with a head. The text is for the agent and quotes nothing that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl RequestHead {
    /// The values of a field, in order. `name` in lower case.
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a comma-separated field lists `token`, in any case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.field(name)
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }
}

/// Where the head ends in `bytes`, `None` while it has not ended. `scanned` is how far an earlier
/// call looked.
///
/// # Errors
/// When a line ends in a bare line feed or the head is too long.
pub(crate) fn head_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Malformed> {
    // A line end may be split over two reads, so the last two octets are looked at again.
    let from = scanned.saturating_sub(2);
    for (offset, _) in bytes
        .iter()
        .enumerate()
        .skip(from)
        .filter(|(_, byte)| **byte == b'\n')
    {
        let before = bytes.get(..offset).unwrap_or_default();
        if before.last() != Some(&b'\r') {
            return Err(Malformed(
                "a line of the request's head ends in a bare line feed",
            ));
        }
        if before.ends_with(b"\r\n\r") || before == b"\r" {
            return Ok(Some(offset + 1));
        }
    }
    if bytes.len() > LONGEST_HEAD {
        return Err(Malformed("the request's head is longer than 64 KiB"));
    }
    Ok(None)
}

/// Reads a whole head, its empty line included.
///
/// # Errors
/// [`Malformed`] for everything outside the strict grammar.
pub fn parse_head(bytes: &[u8]) -> Result<RequestHead, Malformed> {
    if bytes.len() > LONGEST_HEAD {
        return Err(Malformed("the request's head is longer than 64 KiB"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Malformed("the request's head is not text in UTF-8"))?;
    let text = text.strip_suffix("\r\n\r\n").ok_or(Malformed(
        "the request's head does not end in an empty line",
    ))?;
    let mut lines = text.split("\r\n");
    let (method, target, version) = parse_request_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
    RequestHead::new(method, target, version, fields)
}

impl RequestHead {
    /// A head from its parts: what every version has in common is looked at here.
    pub(crate) fn new(
        method: String,
        target: String,
        version: Version,
        fields: Vec<(String, String)>,
    ) -> Result<Self, Malformed> {
        if fields.len() > MOST_FIELDS {
            return Err(Malformed("the request has more than 100 header fields"));
        }
        let mut head = Self {
            method,
            target,
            version,
            fields,
            framing: Framing::Empty,
        };
        refuse_ambiguous_fields(&head)?;
        head.framing = framing(&head)?;
        Ok(head)
    }
}

fn parse_request_line(line: &str) -> Result<(String, String, Version), Malformed> {
    const BROKEN: Malformed = Malformed("the request line is not METHOD TARGET VERSION");
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BROKEN);
    };
    let version = match version {
        "HTTP/1.1" => Version::Http11,
        "HTTP/1.0" => Version::Http10,
        _ => {
            return Err(Malformed(
                "the request's version is neither HTTP/1.1 nor HTTP/1.0",
            ));
        }
    };
    let target_ok = target.bytes().all(|byte| byte.is_ascii_graphic());
    if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() || !target_ok {
        return Err(BROKEN);
    }
    Ok((method.to_owned(), target.to_owned(), version))
}

/// Reads one field line (RFC 9112 §5), without its end.
pub(crate) fn parse_field(line: &str) -> Result<(String, String), Malformed> {
    if line.starts_with([' ', '\t']) {
        return Err(Malformed("a header field is folded over two lines"));
    }
    let (name, value) = line
        .split_once(':')
        .ok_or(Malformed("a header field has no colon"))?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Malformed(
            "a header field's name has a character that no name may have",
        ));
    }
    Ok((name.to_ascii_lowercase(), field_value(value)?))
}

/// A field's value without the white space around it.
pub(crate) fn field_value(value: &str) -> Result<String, Malformed> {
    let value = value.trim_matches([' ', '\t']);
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Malformed("a header field's value has a control character"));
    }
    Ok(value.to_owned())
}

/// Whether a field says where a request ends or goes, in any disguise: such a field means nothing
/// behind the content (RFC 9110 §6.5.1).
pub(crate) fn is_framing_field(name: &str) -> bool {
    FRAMING_FIELDS.contains(&name.replace('_', "-").as_str())
        || matches!(name, "trailer" | "te" | "keep-alive" | "content-range")
}

fn refuse_ambiguous_fields(head: &RequestHead) -> Result<(), Malformed> {
    for (name, _) in &head.fields {
        if name.contains('_') && FRAMING_FIELDS.contains(&name.replace('_', "-").as_str()) {
            return Err(Malformed(
                "a header field disguises its name with an underscore",
            ));
        }
    }
    for name in SINGLE_FIELDS {
        if head.field(name).count() > 1 {
            return Err(Malformed(
                "a header field that has one value stands there twice",
            ));
        }
    }
    Ok(())
}

fn framing(head: &RequestHead) -> Result<Framing, Malformed> {
    match (
        head.field("transfer-encoding").next(),
        head.field("content-length").next(),
    ) {
        (Some(_), Some(_)) => Err(Malformed(
            "the request has both Transfer-Encoding and Content-Length",
        )),
        (Some(coding), None)
            if coding.eq_ignore_ascii_case("chunked") && head.version == Version::Http11 =>
        {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(Malformed(
            "the request's Transfer-Encoding is not chunked alone",
        )),
        (None, None) => Ok(Framing::Empty),
        (None, Some(digits)) => {
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            match digits.parse() {
                Ok(0) if is_number => Ok(Framing::Empty),
                Ok(length) if is_number && length <= LONGEST_BODY => Ok(Framing::Length(length)),
                _ => Err(Malformed(
                    "the request's Content-Length is not one plain number",
                )),
            }
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(fields: &str) -> Result<RequestHead, Malformed> {
        parse_head(format!("POST /a?b HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn a_head_is_read() {
        let head = head("Content-Length: 5\r\nX-Thing:\t a b \r\nX-Thing: c\r\n").unwrap();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("POST", "/a?b")
        );
        assert_eq!(head.framing, Framing::Length(5));
        assert_eq!(head.field("x-thing").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(head.version, Version::Http11);
    }

    #[test]
    fn invariant_6_what_servers_frame_differently_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 5\r\n",
            "Content_Length: 5\r\n",
            "Transfer_Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Host: b.example\r\n",
            "X: a\r\n b\r\n",
            "X: a\r\n\tb\r\n",
            " X: a\r\n",
            "X\r\n",
            ": a\r\n",
            "X Y: a\r\n",
            "X: a\nY: b\r\n",
            "X: a\rY: b\r\n",
            "X: a\0b\r\n",
            "X: \u{7f}\r\n",
            "X\u{e4}: b\r\n",
            "Content-Type: a\r\nContent-Type: b\r\n",
        ] {
            assert!(head(fields).is_err(), "{fields:?}");
        }
        for line in [
            "GET / HTTP/1.1 x",
            "GET  / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /\t HTTP/1.1",
            "GET / HTTP/2.0",
            "PRI * HTTP/2.0",
            "GET /",
            "GET / http/1.1",
            " / HTTP/1.1",
            "G\u{0}T / HTTP/1.1",
            "",
        ] {
            let bytes = format!("{line}\r\nHost: a.example\r\n\r\n");
            assert!(parse_head(bytes.as_bytes()).is_err(), "{line:?}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(parse_head(old).is_err());
        assert!(head(&"X: a\r\n".repeat(MOST_FIELDS)).is_err());
        assert!(parse_head(b"GET / HTTP/1.1\r\nX: \xff\r\n\r\n").is_err());
    }

    #[test]
    fn the_end_of_a_head_is_found_and_bare_line_feeds_are_not_one() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        for scanned in 0..26 {
            assert_eq!(head_end(bytes, scanned).unwrap(), Some(27), "{scanned}");
        }
        for length in 0..27 {
            assert_eq!(head_end(&bytes[..length], 0).unwrap(), None);
        }
        assert!(head_end(b"GET / HTTP/1.1\nHost: a\n\n", 0).is_err());
        assert!(head_end(b"\n", 0).is_err());
        assert!(head_end(&vec![b'a'; LONGEST_HEAD + 1], 0).is_err());
        assert_eq!(head_end(b"\r\n", 0).unwrap(), Some(2));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[A-Z :/\\r\\n.1a-z-]{0,120}") {
            let _ = parse_head(&bytes);
            let _ = head_end(&bytes, 3);
            let _ = parse_head(format!("GET / HTTP/1.1\r\n{text}\r\n\r\n").as_bytes());
        }
    }
}
