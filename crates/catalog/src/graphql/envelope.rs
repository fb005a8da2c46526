//! The ways in which a request carries GraphQL: JSON (whatever its content type says: the incident's
//! was labelled as a form), a form, a bare document, query parameters, a batch. All of them become
//! one, and only that one is sent.

use serde_json::{Map, Value as Json};
use tagout_core::{CanonicalQuery, FaultKind, HttpBody, HttpRequest, form_pairs, json};

/// One request object, as its members say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) query: String,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: Map<String, Json>,
}

/// The request objects of a request, and the form in which they came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Envelopes {
    /// One object in a body.
    Single(Envelope),
    /// A batch in a body; not empty.
    Batch(Vec<Envelope>),
    /// In the query of a GET.
    Parameters(Envelope),
}

/// Why a request carries no GraphQL that could be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvelopeError {
    pub(crate) kind: FaultKind,
    pub(crate) reason: &'static str,
    pub(crate) how: &'static str,
}

/// Request objects in one batch.
const LARGEST_BATCH: usize = 50;

const MEMBERS: [&str; 4] = ["query", "variables", "operationName", "extensions"];

const SEND_JSON: &str = "Send one JSON object with query, variables and operationName.";

fn unparsable(reason: &'static str) -> EnvelopeError {
    EnvelopeError {
        kind: FaultKind::Unparsable,
        reason,
        how: SEND_JSON,
    }
}

impl Envelopes {
    /// Reads a POST or GET to a GraphQL endpoint.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, EnvelopeError> {
        let unknown_encoding = |reason| EnvelopeError {
            kind: FaultKind::UnknownEncoding,
            reason,
            how: SEND_JSON,
        };
        let encoded = request
            .header("content-encoding")
            .any(|value| !value.eq_ignore_ascii_case("identity"));
        if encoded {
            return Err(unknown_encoding("the request's body is compressed"));
        }
        if matches!(request.body, HttpBody::Streamed) {
            return Err(EnvelopeError {
                kind: FaultKind::TooLarge,
                reason: "the request's body is too large to be read before a verdict",
                how: "Send a smaller request.",
            });
        }
        let parameters = known_pairs(request.query.as_str())?;
        let body = request.body.bytes();
        if request.method.as_str() == "GET" {
            if !body.is_empty() {
                return Err(unparsable("a GET with a body has two readings"));
            }
            return from_pairs(parameters).map(Self::Parameters);
        }
        if !parameters.is_empty() {
            return Err(unparsable(
                "the GraphQL request stands in both the URL and the body",
            ));
        }
        let content_type = content_type(request)?;
        if content_type.essence.starts_with("multipart/") {
            return Err(unknown_encoding("the request's body is multipart"));
        }
        if !matches!(content_type.charset.as_str(), "" | "utf-8" | "utf8") {
            return Err(unknown_encoding("the request's body is not in UTF-8"));
        }
        let text =
            std::str::from_utf8(body).map_err(|_| unparsable("the request's body is not UTF-8"))?;
        let is_graphql = content_type.essence == "application/graphql";
        match text
            .trim_start_matches([' ', '\t', '\r', '\n'])
            .chars()
            .next()
        {
            Some('{' | '[') => match (json::parse(body), is_graphql) {
                (Ok(document), false) => from_json(document),
                // A selection such as `{me{id}}` also begins with a brace; as JSON it is none.
                (Err(_), true) => Ok(Self::Single(bare(text))),
                (Ok(_), true) => Err(unparsable(
                    "the request's body is JSON, and its type says that it is GraphQL",
                )),
                (Err(_), false) => Err(unparsable(
                    "the request's body is not JSON with exactly one meaning",
                )),
            },
            Some(_) if is_graphql => Ok(Self::Single(bare(text))),
            Some(_)
                if matches!(
                    content_type.essence.as_str(),
                    "" | "application/x-www-form-urlencoded"
                ) =>
            {
                from_pairs(known_pairs(text)?).map(Self::Single)
            }
            Some(_) => Err(unparsable("the request's body is no GraphQL request")),
            None => Err(unparsable("the request has no body")),
        }
    }

    /// The request objects, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Envelope> {
        match self {
            Self::Single(envelope) | Self::Parameters(envelope) => std::slice::from_ref(envelope),
            Self::Batch(envelopes) => envelopes,
        }
        .iter()
    }
}

impl Envelope {
    /// The canonical request object for this envelope, with the document `query`.
    pub(crate) fn to_json(&self, query: &str) -> Json {
        let mut object = Map::new();
        object.insert("query".to_owned(), Json::from(query));
        if !self.variables.is_empty() {
            object.insert("variables".to_owned(), self.variables.clone().into());
        }
        if let Some(name) = &self.operation_name {
            object.insert("operationName".to_owned(), Json::from(name.as_str()));
        }
        object.into()
    }

    /// The canonical query parameters for this envelope, with the document `query`.
    pub(crate) fn to_query(&self, query: &str) -> Option<CanonicalQuery> {
        let mut text = format!("query={}", percent_encode(query));
        if !self.variables.is_empty() {
            let variables = json::canonical(&self.variables.clone().into());
            text.push_str("&variables=");
            text.push_str(&percent_encode(&variables));
        }
        if let Some(name) = &self.operation_name {
            text.push_str("&operationName=");
            text.push_str(name);
        }
        CanonicalQuery::parse(&text).ok()
    }
}

struct ContentType {
    essence: String,
    charset: String,
}

/// RFC 9110 section 8.3, as far as it is needed: type, and the charset parameter.
fn content_type(request: &HttpRequest) -> Result<ContentType, EnvelopeError> {
    let mut values = request.header("content-type");
    let value = values.next().unwrap_or_default();
    if values.next().is_some() {
        return Err(unparsable("the request has two content types"));
    }
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())
        .unwrap_or_default();
    Ok(ContentType { essence, charset })
}

fn bare(text: &str) -> Envelope {
    Envelope {
        query: text.to_owned(),
        operation_name: None,
        variables: Map::new(),
    }
}

fn from_json(document: Json) -> Result<Envelopes, EnvelopeError> {
    match document {
        Json::Array(items) if items.is_empty() || items.len() > LARGEST_BATCH => Err(unparsable(
            "the request is a batch of no requests, or of more than 50",
        )),
        Json::Array(items) => items
            .into_iter()
            .map(from_object)
            .collect::<Result<_, _>>()
            .map(Envelopes::Batch),
        object => from_object(object).map(Envelopes::Single),
    }
}

fn from_object(object: Json) -> Result<Envelope, EnvelopeError> {
    let Json::Object(mut members) = object else {
        return Err(unparsable("a GraphQL request is a JSON object"));
    };
    // Members that differ from a known one in case alone are read by some servers.
    if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(unparsable(
            "the GraphQL request has members other than query, variables and operationName",
        ));
    }
    extensions(members.remove("extensions"))?;
    let Some(Json::String(query)) = members.remove("query") else {
        return Err(unparsable("the GraphQL request has no query text"));
    };
    let variables = match members.remove("variables") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(variables)) => variables,
        Some(_) => return Err(unparsable("the GraphQL request's variables are no object")),
    };
    let operation_name = match members.remove("operationName") {
        None | Some(Json::Null) => None,
        Some(Json::String(name)) => operation_name(&name)?,
        Some(_) => return Err(unparsable("the GraphQL request's operationName is no text")),
    };
    Ok(Envelope {
        query,
        operation_name,
        variables,
    })
}

/// Extensions that say what the client is are dropped; a persisted query's hash names a document
/// that nobody here has read.
fn extensions(extensions: Option<Json>) -> Result<(), EnvelopeError> {
    match extensions {
        None | Some(Json::Null) => Ok(()),
        Some(Json::Object(members)) if members.keys().all(|name| name == "clientLibrary") => Ok(()),
        Some(Json::Object(members)) if members.contains_key("persistedQuery") => {
            Err(EnvelopeError {
                kind: FaultKind::Unparsable,
                reason: "the request names a persisted query by its hash",
                how: "Send the query's text; switch automatic persisted queries off.",
            })
        }
        Some(_) => Err(unparsable("the GraphQL request has extensions")),
    }
}

fn operation_name(name: &str) -> Result<Option<String>, EnvelopeError> {
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    match bytes.next() {
        // Servers take an empty name for none.
        None => Ok(None),
        Some(byte) if first(byte) && bytes.all(|b| first(b) || b.is_ascii_digit()) => {
            Ok(Some(name.to_owned()))
        }
        Some(_) => Err(unparsable("the GraphQL request's operationName is no name")),
    }
}

/// The pairs of a form or query that GraphQL reads, each at most once. Other pairs are dropped, but
/// for names that differ from a known one in case or brackets alone.
fn known_pairs(text: &str) -> Result<Vec<(String, String)>, EnvelopeError> {
    let mut known: Vec<(String, String)> = Vec::new();
    for (name, value) in form_pairs(text) {
        let (Ok(name), Ok(value)) = (String::from_utf8(name), String::from_utf8(value)) else {
            return Err(unparsable("the request's parameters are not UTF-8"));
        };
        let bare: String = name
            .split('[')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let Some(member) = MEMBERS
            .iter()
            .find(|member| member.to_ascii_lowercase() == bare)
        else {
            continue;
        };
        if name != **member || known.iter().any(|(other, _)| *other == name) {
            return Err(unparsable(
                "a parameter of the GraphQL request is given twice, or in two spellings",
            ));
        }
        known.push((name, value));
    }
    Ok(known)
}

fn from_pairs(pairs: Vec<(String, String)>) -> Result<Envelope, EnvelopeError> {
    let mut object = Map::new();
    for (name, value) in pairs {
        let value = match name.as_str() {
            "variables" | "extensions" if value.is_empty() => continue,
            "variables" | "extensions" => json::parse(value.as_bytes()).map_err(|_| {
                unparsable("the GraphQL request's variables are not JSON with exactly one meaning")
            })?,
            _ => Json::from(value),
        };
        object.insert(name, value);
    }
    from_object(object.into())
}

/// Everything but RFC 3986's unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
