//! An HTTP request as a gate understood it: parsed once, in one spelling. What is judged, digested,
//! shown, stored and sent is this value, never the bytes that came.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::HostName;
use crate::uri::{CanonicalPath, CanonicalQuery};

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TLS, verified upstream.
    Tls,
    /// No encryption.
    Plain,
}

/// Where a connection goes: the one authority that name server, SNI, `Host`, certificate and dial
/// agree on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// TLS or not.
    pub transport: Transport,
    /// The name that was asked for.
    pub host: HostName,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A request method (RFC 9110 §9): a token in upper case. Methods are case-sensitive; a lower-case
/// `delete` is refused because servers disagree about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// The text is not a method that Tagout passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's method is not 1 to 32 upper-case letters, or is TRACE")]
pub struct MethodError;

impl Method {
    /// Reads a method. `TRACE` is no method of a governed request; `CONNECT` stands for opening a
    /// WebSocket (RFC 8441 §4) and for nothing else.
    ///
    /// # Errors
    /// See [`MethodError`].
    pub fn parse(text: &str) -> Result<Self, MethodError> {
        let ok = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(ok) || text == "TRACE" {
            return Err(MethodError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The method as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method of opening a WebSocket.
    pub fn connect() -> Self {
        Self("CONNECT".to_owned())
    }

    /// What stands for a method where a statement is asked of a database.
    pub fn statement() -> Self {
        Self("SQL".to_owned())
    }

    /// What stands for a method where files of the workspace go.
    pub fn delete_files() -> Self {
        Self("DELETE".to_owned())
    }

    /// Whether it opens a WebSocket.
    pub fn is_connect(&self) -> bool {
        self.as_str() == "CONNECT"
    }

    /// GET, HEAD and OPTIONS: the safe methods that Tagout grants by default.
    pub fn is_read(&self) -> bool {
        matches!(self.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

impl TryFrom<String> for Method {
    type Error = MethodError;

    fn try_from(text: String) -> Result<Self, MethodError> {
        Self::parse(&text)
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request's content.
#[derive(Clone, PartialEq, Eq)]
pub enum HttpBody {
    /// No content.
    Empty,
    /// All of it, as it will be sent. On hosts with a pack this is the canonical form.
    Whole(Vec<u8>),
    /// Too large to hold before the verdict; streamed behind it. Never held, never on a host with a
    /// pack.
    Streamed,
}

impl HttpBody {
    /// The bytes that are known before the verdict.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Empty | Self::Streamed => &[],
        }
    }
}

impl fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Streamed => f.write_str("Streamed"),
        }
    }
}

impl Serialize for HttpBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => None,
            Self::Whole(bytes) => Some(STANDARD.encode(bytes)),
            Self::Streamed => {
                return Err(serde::ser::Error::custom(
                    "a streamed body cannot be stored",
                ));
            }
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HttpBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Self::Empty),
            Some(text) => STANDARD
                .decode(text)
                .map(Self::Whole)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// A request as it was understood and as it will be sent, but for credentials: where a credential
/// belongs, this holds its decoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Where it goes.
    pub target: Target,
    /// What is asked.
    pub method: Method,
    /// Of what.
    pub path: CanonicalPath,
    /// With which query.
    pub query: CanonicalQuery,
    /// Header fields in the order sent, names in lower case; without hop-by-hop fields, `host`,
    /// `content-length` and `accept-encoding`, which the gate writes itself.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: HttpBody,
}

impl HttpRequest {
    /// The values of a header field, in order. `name` in lower case.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// Path and query as they stand on the request line.
    pub fn path_and_query(&self) -> String {
        if self.query.as_str().is_empty() {
            self.path.as_str().to_owned()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_one_spelling() {
        for text in [
            "",
            "get",
            "Get",
            "GET ",
            "G\u{0}T",
            "TRACE",
            &"A".repeat(33),
        ] {
            assert!(Method::parse(text).is_err(), "{text:?}");
        }
        assert!(Method::parse("GET").unwrap().is_read());
        assert!(!Method::parse("PROPFIND").unwrap().is_read());
    }

    #[test]
    fn a_streamed_body_cannot_be_stored() {
        assert!(serde_json::to_string(&HttpBody::Streamed).is_err());
        let whole = HttpBody::Whole(vec![0, 255]);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<HttpBody>(&text).unwrap(), whole);
    }
}
