//! What a program inside asks of a database, and the one type for whatever any gate captures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::HostName;
use crate::request::{HttpRequest, Target, Transport};

/// Whose protocol a statement came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseSystem {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// Redis and Valkey.
    Redis,
}

impl DatabaseSystem {
    /// The word of channels, pins and ledgers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Redis => "redis",
        }
    }

    /// Of the word of channels, pins and ledgers.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Postgres, Self::MySql, Self::Redis]
            .into_iter()
            .find(|system| system.as_str() == word)
    }
}

/// A value of a statement's parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// In the type's text form.
    Text(Vec<u8>),
    /// In the type's binary form.
    Binary(Vec<u8>),
}

impl Parameter {
    /// The bytes that were sent; none for NULL.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Null => &[],
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self {
            Self::Null => None,
            Self::Text(bytes) => Some(("text", STANDARD.encode(bytes))),
            Self::Binary(bytes) => Some(("binary", STANDARD.encode(bytes))),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let Some((form, value)) = Option::<(String, String)>::deserialize(deserializer)? else {
            return Ok(Self::Null);
        };
        let bytes = STANDARD.decode(value).map_err(D::Error::custom)?;
        match form.as_str() {
            "text" => Ok(Self::Text(bytes)),
            "binary" => Ok(Self::Binary(bytes)),
            _ => Err(D::Error::custom("a parameter is text or binary")),
        }
    }
}

/// One or more statements that go to a database as one message, with what decides how they are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRequest {
    /// Where the server is.
    pub target: Target,
    /// Whose protocol.
    pub system: DatabaseSystem,
    /// The database's name on that server.
    pub database: String,
    /// The role that runs it.
    pub user: String,
    /// The schemas in which names without one are looked up, where it is not the role's own.
    pub search_path: Option<String>,
    /// The text, as the server gets it.
    pub text: String,
    /// The values of `$1`, `$2`, …
    pub parameters: Vec<Parameter>,
}

/// Files of a workspace that are about to go, many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesRequest {
    /// This machine: nothing is sent.
    pub target: Target,
    /// The folder in which they lie.
    pub workspace: String,
    /// How many are gone already, of those that the session found.
    pub gone: u64,
    /// Of them, how many git does not hold.
    pub not_in_git: u64,
    /// Where they were, with the most of them first; for the person.
    pub folders: Vec<String>,
}

impl FilesRequest {
    /// The place of a request that goes nowhere.
    pub fn here() -> Option<Target> {
        Some(Target {
            transport: Transport::Plain,
            host: HostName::parse("localhost").ok()?,
            port: 0,
        })
    }
}

/// What any gate may have captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnyRequest {
    /// The HTTP gate's.
    Http(HttpRequest),
    /// A database gate's.
    Database(DatabaseRequest),
    /// The workspace gate's.
    Files(FilesRequest),
}

impl AnyRequest {
    /// The gate that captured it.
    pub fn channel(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Database(request) => request.system.as_str(),
            Self::Files(_) => "workspace",
        }
    }

    /// Where it goes.
    pub fn target(&self) -> &Target {
        match self {
            Self::Http(request) => &request.target,
            Self::Database(request) => &request.target,
            Self::Files(request) => &request.target,
        }
    }
}

/// A request of one gate, which an authority treats as any other.
pub trait Request: Sized {
    /// As one of all.
    fn widen(self) -> AnyRequest;

    /// Back again; `None` where it is another gate's.
    fn narrow(any: AnyRequest) -> Option<Self>;
}

impl Request for HttpRequest {
    fn widen(self) -> AnyRequest {
        AnyRequest::Http(self)
    }

    fn narrow(any: AnyRequest) -> Option<Self> {
        match any {
            AnyRequest::Http(request) => Some(request),
            AnyRequest::Database(_) | AnyRequest::Files(_) => None,
        }
    }
}

impl Request for DatabaseRequest {
    fn widen(self) -> AnyRequest {
        AnyRequest::Database(self)
    }

    fn narrow(any: AnyRequest) -> Option<Self> {
        match any {
            AnyRequest::Database(request) => Some(request),
            AnyRequest::Http(_) | AnyRequest::Files(_) => None,
        }
    }
}

impl Request for FilesRequest {
    fn widen(self) -> AnyRequest {
        AnyRequest::Files(self)
    }

    fn narrow(any: AnyRequest) -> Option<Self> {
        match any {
            AnyRequest::Files(request) => Some(request),
            AnyRequest::Http(_) | AnyRequest::Database(_) => None,
        }
    }
}

impl Request for AnyRequest {
    fn widen(self) -> AnyRequest {
        self
    }

    fn narrow(any: AnyRequest) -> Option<Self> {
        Some(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_statement_is_read_again_and_is_no_http_request() {
        let request = DatabaseRequest {
            target: Target {
                transport: Transport::Tls,
                host: HostName::parse("db.example.com").unwrap(),
                port: 5432,
            },
            system: DatabaseSystem::Postgres,
            database: "app".to_owned(),
            user: "app".to_owned(),
            search_path: None,
            text: "DELETE FROM users WHERE id = $1".to_owned(),
            parameters: vec![
                Parameter::Null,
                Parameter::Text(b"7".to_vec()),
                Parameter::Binary(vec![0, 255]),
            ],
        };
        let any = request.clone().widen();
        let text = serde_json::to_string(&any).unwrap();
        let read: AnyRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, any);
        assert_eq!(HttpRequest::narrow(read.clone()), None);
        assert_eq!(FilesRequest::narrow(read.clone()), None);
        assert_eq!(DatabaseRequest::narrow(read), Some(request));
    }

    #[test]
    fn stored_files_are_read_again_as_files() {
        let request = FilesRequest {
            target: FilesRequest::here().unwrap(),
            workspace: "/home/ann/shop".to_owned(),
            gone: 120,
            not_in_git: 101,
            folders: vec!["data".to_owned()],
        };
        let text = serde_json::to_string(&request.clone().widen()).unwrap();
        let read: AnyRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(read.channel(), "workspace");
        assert_eq!(DatabaseRequest::narrow(read.clone()), None);
        assert_eq!(FilesRequest::narrow(read), Some(request));
    }
}
