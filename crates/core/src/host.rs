//! Host names under one strict grammar. What this module refuses never reaches a policy, a
//! certificate or a resolver: NUL, `%00`, control characters, `@`, `#`, `\`, trailing dots, IP
//! literals in any spelling, and labels that are not LDH (RFC 1123 §2.1, RFC 5890 §2.3.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DNS host name: lower case, LDH labels, at least one letter in the last label, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is not a host name that Tagout accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing there.
    #[error("the host name is empty")]
    Empty,
    /// RFC 1035 §2.3.4: 253 octets as text, 63 a label.
    #[error("the host name or one of its labels is too long")]
    TooLong,
    /// A trailing dot, two dots in a row, or a leading one.
    #[error("the host name has an empty label")]
    EmptyLabel,
    /// A character outside letters, digits, `-` and `_`, or a hyphen at a label's edge.
    #[error("the host name has a character that no host name may have")]
    BadCharacter,
    /// Anything that a resolver or a URL parser might read as an address.
    #[error("an IP address is not a host name; grant the name that stands for it")]
    Address,
}

impl HostName {
    /// Reads a host name as it stands in a URL, a `Host` field, an SNI or a manifest. ASCII letters
    /// are folded to lower case; nothing else is repaired.
    ///
    /// # Errors
    /// See [`HostNameError`].
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if text.len() > 253 {
            return Err(HostNameError::TooLong);
        }
        let name = text.to_ascii_lowercase();
        let mut last = "";
        for label in name.split('.') {
            if label.is_empty() {
                return Err(HostNameError::EmptyLabel);
            }
            if label.len() > 63 {
                return Err(HostNameError::TooLong);
            }
            // `_` is no LDH character, but names such as `_dmarc.example.com` and some internal
            // hosts have it, every resolver takes it, and it means nothing to any URL parser.
            let ldh = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !label.bytes().all(ldh) || label.starts_with('-') || label.ends_with('-') {
                return Err(HostNameError::BadCharacter);
            }
            last = label;
        }
        // WHATWG URL §3.5: a host whose last label is a number is parsed as an IPv4 address, in
        // decimal, octal or hexadecimal.
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
            || last
                .strip_prefix("0x")
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if numeric {
            return Err(HostNameError::Address);
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        Self::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a grant names: one host, or every host below a suffix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// `api.example.com`
    Exact(HostName),
    /// `*.example.com`: one or more labels before the suffix; never the suffix itself.
    Below(HostName),
}

impl HostPattern {
    /// Reads `name` or `*.suffix`.
    ///
    /// # Errors
    /// When what follows is not a host name, or a `*.` stands before a single label such as `com`.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        match text.strip_prefix("*.") {
            Some(suffix) if !suffix.contains('.') => Err(HostNameError::BadCharacter),
            Some(suffix) => HostName::parse(suffix).map(Self::Below),
            None => HostName::parse(text).map(Self::Exact),
        }
    }

    /// Whether `host` is granted by this pattern.
    pub fn matches(&self, host: &HostName) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host
                .as_str()
                .strip_suffix(suffix.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        }
    }

    /// Whether some host is matched by both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Below(a), Self::Below(b)) => a == b || self.matches(b) || other.matches(a),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_parsers_disagree_on() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\0.google.com",
            "a%00.com",
            "a\r\nb",
            "a#b",
            "a@b",
            "a\\b",
            "a/b",
            "a:443",
            "[::1]",
            "::1",
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "1.2.3.4.5",
            "example.0x10",
            "ex\u{e4}mple.com",
            "a.-b",
            "a-.b",
            "*.example.com",
            "\u{ff41}.com",
            "0x",
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
        assert!(HostName::parse(&"a".repeat(64)).is_err());
        assert!(HostName::parse(&"a.".repeat(127)).is_err());
    }

    #[test]
    fn folds_case_only() {
        assert_eq!(
            HostName::parse("API.Example.COM").unwrap().as_str(),
            "api.example.com"
        );
        assert_eq!(
            HostName::parse("xn--bcher-kva.example").unwrap().as_str(),
            "xn--bcher-kva.example"
        );
    }

    #[test]
    fn suffix_patterns_match_below_only() {
        let pattern = HostPattern::parse("*.example.com").unwrap();
        let matches = |text| pattern.matches(&HostName::parse(text).unwrap());
        assert!(matches("a.example.com"));
        assert!(matches("a.b.example.com"));
        assert!(!matches("example.com"));
        assert!(!matches("badexample.com"));
        assert!(HostPattern::parse("*.com").is_err());
        assert!(HostPattern::parse("*").is_err());
        assert!(HostPattern::parse("a.*.com").is_err());
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_never_panics(text in ".{0,80}") {
            if let Ok(name) = HostName::parse(&text) {
                prop_assert_eq!(HostName::parse(name.as_str()).unwrap(), name);
            }
        }
    }
}
