//! From a head as it was read to a request as it will be judged and sent. Nothing is decided here:
//! whatever is wrong becomes a fault of the request, and the authority denies it.

use tagout_core::{
    CanonicalPath, CanonicalQuery, Fault, FaultKind, HostName, HttpBody, HttpRequest, Method,
    Target, Transport,
};
use tagout_credentials::Broker;

use crate::coding::Coding;
use crate::handshake::Handshake;
use crate::head::{Framing, Malformed, RequestHead, Version, is_framing_field};

/// Fields that concern one connection (RFC 9110 §7.6.1) or that the gate writes itself.
const OWN_FIELDS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// CONNECT asks for a tunnel, or for a WebSocket over HTTP/2 (RFC 8441), which is not offered.
pub(crate) const NO_TUNNEL: Malformed = Malformed(
    "CONNECT opens no tunnel here, since this connection leads to the host already; a WebSocket opens over HTTP/1.1",
);

/// A request without its content.
pub(crate) struct Understood {
    /// As far as it was understood; content and what it means are still to come.
    pub(crate) request: HttpRequest,
    /// What is wrong with it.
    pub(crate) faults: Vec<Fault>,
    /// How its content is framed.
    pub(crate) framing: Framing,
    /// What is to be taken off its content.
    pub(crate) coding: Option<Coding>,
    /// Whether the client waits for `100 Continue` before it sends content.
    pub(crate) expects_continue: bool,
    /// Whether the client wants another protocol on this connection.
    pub(crate) wants_upgrade: bool,
    /// The handshake, where that protocol is WebSocket.
    pub(crate) websocket: Option<Handshake>,
    /// The version that it came in.
    pub(crate) version: Version,
    /// Whether the client reads fields behind an answer's content (RFC 9110 §6.5).
    pub(crate) wants_trailers: bool,
    /// The content codings that the client reads.
    pub(crate) accept_encoding: Option<String>,
}

impl Understood {
    /// A request whose head could not be read at all. Method and path stand for nothing.
    pub(crate) fn malformed(malformed: Malformed, target: &Target) -> Self {
        Self {
            request: bare_request(target),
            faults: vec![unparsable(malformed.0)],
            framing: Framing::Empty,
            coding: None,
            expects_continue: false,
            wants_upgrade: false,
            websocket: None,
            version: Version::Http11,
            wants_trailers: false,
            accept_encoding: None,
        }
    }
}

/// A request of which nothing is known but where it goes.
pub(crate) fn bare_request(target: &Target) -> HttpRequest {
    HttpRequest {
        target: target.clone(),
        method: Method::parse("GET").unwrap_or_else(|_| unreachable!("a constant method")),
        path: CanonicalPath::parse("/").unwrap_or_else(|_| unreachable!("a constant path")),
        query: CanonicalQuery::default(),
        headers: Vec::new(),
        body: HttpBody::Empty,
    }
}

/// Reads a head that arrived on a connection to `target`.
pub(crate) fn understand(head: RequestHead, target: &Target) -> Understood {
    let mut faults = Vec::new();
    let mut request = bare_request(target);
    match Method::parse(&head.method) {
        Ok(method) if method.is_connect() => faults.push(unparsable(NO_TUNNEL.0)),
        Ok(method) => request.method = method,
        Err(error) => faults.push(unparsable(error.to_string())),
    }
    match split_target(&head.target, target) {
        Ok((path, query)) => {
            request.path = path;
            request.query = query;
        }
        Err(fault) => faults.push(fault),
    }
    faults.extend(host_fault(&head, target));
    let wants_upgrade = head.field("upgrade").next().is_some();
    let websocket = Handshake::read(&head);
    if websocket.is_some() {
        // RFC 8441 names the method by which a WebSocket is opened for what it is.
        request.method = Method::connect();
    } else if wants_upgrade {
        faults.push(fault(
            FaultKind::Unparsable,
            "the request asks for another protocol on this connection (Upgrade)",
            "Use plain requests, or a WebSocket handshake that follows RFC 6455 strictly.",
        ));
    }
    let coding = match head.field("content-encoding").next() {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("identity") => None,
        Some(name) => match Coding::named(name) {
            Some(coding) => Some(coding),
            None => {
                faults.push(fault(
                    FaultKind::UnknownEncoding,
                    "the request's content is encoded in a way that cannot be read",
                    "Send the content without Content-Encoding, or with gzip, deflate, br or zstd alone.",
                ));
                None
            }
        },
    };
    let expects_continue = match head.field("expect").next() {
        None => false,
        Some(expectation) if expectation.eq_ignore_ascii_case("100-continue") => true,
        Some(_) => {
            faults.push(unparsable(
                "the request expects something other than 100-continue",
            ));
            false
        }
    };
    let wants_trailers = head.lists("te", "trailers");
    let accept_encoding = head.field("accept-encoding").next().map(str::to_owned);
    let dropped: Vec<String> = head
        .field("connection")
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect();
    let (framing, version) = (head.framing, head.version);
    request.headers = head
        .fields
        .into_iter()
        .filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str()) && !dropped.contains(name))
        .collect();
    Understood {
        request,
        faults,
        framing,
        coding,
        expects_continue,
        wants_upgrade,
        websocket,
        version,
        wants_trailers,
        accept_encoding,
    }
}

/// Whether `text`, as it stands in a `Host` field or an absolute request target, names `target`
/// (RFC 9110 §4.2.3: an absent port is the scheme's own).
pub fn names_target(text: &str, target: &Target) -> bool {
    let (name, port) = match text.split_once(':') {
        None => (text, default_port(target.transport)),
        Some((name, digits)) => {
            let is_plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
            match digits.parse() {
                Ok(port) if is_plain => (name, port),
                _ => return false,
            }
        }
    };
    port == target.port && HostName::parse(name).is_ok_and(|name| name == target.host)
}

pub(crate) fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls => 443,
        Transport::Plain => 80,
    }
}

/// RFC 9112 §3.2: origin-form, or absolute-form with the same authority.
fn split_target(text: &str, target: &Target) -> Result<(CanonicalPath, CanonicalQuery), Fault> {
    let local = if text.starts_with('/') {
        text
    } else {
        let scheme = match target.transport {
            Transport::Tls => "https://",
            Transport::Plain => "http://",
        };
        let rest = text
            .split_at_checked(scheme.len())
            .filter(|(front, _)| front.eq_ignore_ascii_case(scheme))
            .map(|(_, rest)| rest)
            .ok_or_else(|| {
                mismatch("the request's target is neither a path nor a URL of this host")
            })?;
        let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !names_target(authority, target) {
            return Err(mismatch(
                "the request line names another host than the connection",
            ));
        }
        if local.is_empty() { "/" } else { local }
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let path = if path.is_empty() { "/" } else { path };
    let refused = |error: tagout_core::UriError| unparsable(error.to_string());
    Ok((
        CanonicalPath::parse(path).map_err(refused)?,
        CanonicalQuery::parse(query).map_err(refused)?,
    ))
}

/// RFC 9112 §3.2: exactly one `Host`, and it is where the connection goes. The head's grammar saw to
/// it that there are not two.
fn host_fault(head: &RequestHead, target: &Target) -> Option<Fault> {
    match head.field("host").next() {
        None => Some(mismatch("the request has no Host field")),
        Some(host) if names_target(host, target) => None,
        Some(_) => Some(mismatch(
            "the Host field names another host than the connection",
        )),
    }
}

/// What is wrong with the fields behind a request's content. They are judged like a head's fields and
/// never sent on, which every recipient may do (RFC 9110 §6.5.1).
pub(crate) fn trailer_faults(
    request: &HttpRequest,
    trailers: Vec<(String, String)>,
    broker: &Broker,
) -> Vec<Fault> {
    if trailers.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if trailers.iter().any(|(name, _)| is_framing_field(name)) {
        faults.push(unparsable(
            "a field behind the content says where the request ends or goes",
        ));
    }
    let mut alone = bare_request(&request.target);
    alone.headers = trailers;
    let examined = broker.examine(&alone, false);
    faults.extend(examined.faults);
    if !examined.uses.is_empty() {
        faults.push(fault(
            FaultKind::StrayDecoy,
            "a credential stands behind the content, where no server looks for one",
            "Send the credential in a header field of the request.",
        ));
    }
    faults
}

pub(crate) fn unparsable(reason: impl Into<String>) -> Fault {
    fault(
        FaultKind::Unparsable,
        reason,
        "Send a request that follows RFC 9112 strictly.",
    )
}

pub(crate) fn mismatch(reason: impl Into<String>) -> Fault {
    fault(
        FaultKind::AuthorityMismatch,
        reason,
        "Use one host name in the URL, and let the client derive server name and Host from it.",
    )
}

pub(crate) fn fault(
    kind: FaultKind,
    reason: impl Into<String>,
    how_to_proceed: impl Into<String>,
) -> Fault {
    let mut reason = reason.into();
    if !reason.ends_with('.') {
        reason.push('.');
    }
    Fault {
        kind,
        reason,
        how_to_proceed: how_to_proceed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::parse_head;
    use proptest::prelude::*;

    fn target(transport: Transport, port: u16) -> Target {
        Target {
            transport,
            host: HostName::parse("api.example.com").unwrap(),
            port,
        }
    }

    fn read(line: &str, fields: &str) -> Understood {
        let bytes = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        let head = parse_head(bytes.as_bytes()).unwrap();
        understand(head, &target(Transport::Tls, 443))
    }

    fn kinds(understood: &Understood) -> Vec<FaultKind> {
        understood.faults.iter().map(|fault| fault.kind).collect()
    }

    const HOST: &str = "Host: api.example.com\r\n";

    #[test]
    fn a_request_is_understood_in_its_canonical_form() {
        let fields = "Host: API.example.com:443\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
                      Accept-Encoding: gzip\r\nTE: trailers\r\nX-B: 1\r\nX-A: 2\r\nContent-Length: 0\r\n";
        let understood = read("GET /%61/../b?x=%41", fields);
        assert_eq!(kinds(&understood), []);
        assert_eq!(understood.request.path_and_query(), "/b?x=A");
        let headers: Vec<_> = understood
            .request
            .headers
            .iter()
            .map(|(n, _)| n.as_str())
            .collect();
        assert_eq!(headers, ["x-b", "x-a"]);
        assert!(understood.wants_trailers);
        assert_eq!(understood.accept_encoding.as_deref(), Some("gzip"));
        let absolute = read("GET https://api.example.com?x", HOST);
        assert_eq!(kinds(&absolute), []);
        assert_eq!(absolute.request.path_and_query(), "/?x");
    }

    #[test]
    fn invariant_6_every_authority_must_be_the_connections() {
        for (line, fields) in [
            ("GET /", ""),
            ("GET /", "Host: evil.example\r\n"),
            ("GET /", "Host: api.example.com:80\r\n"),
            ("GET /", "Host: api.example.com:\r\n"),
            ("GET /", "Host: api.example.com:0443\r\n"),
            ("GET /", "Host: api.example.com.\r\n"),
            ("GET /", "Host: user@api.example.com\r\n"),
            ("GET /", "Host: api.example.com, evil.example\r\n"),
            ("GET /", "Host: \r\n"),
            ("GET https://evil.example/", HOST),
            ("GET https://api.example.com@evil.example/", HOST),
            ("GET https://u:p@api.example.com/", HOST),
            ("GET http://api.example.com/", HOST),
            ("GET api.example.com:443", HOST),
            ("OPTIONS *", HOST),
        ] {
            let found = kinds(&read(line, fields));
            assert!(
                found.contains(&FaultKind::AuthorityMismatch),
                "{line} {fields}"
            );
        }
    }

    #[test]
    fn invariant_5_what_is_not_read_is_a_fault() {
        for (line, fields, kind) in [
            ("CONNECT api.example.com:443", "", FaultKind::Unparsable),
            ("TRACE /", "", FaultKind::Unparsable),
            ("get /", "", FaultKind::Unparsable),
            ("GET /a//b", "", FaultKind::Unparsable),
            ("GET /../b", "", FaultKind::Unparsable),
            ("GET /", "Upgrade: websocket\r\n", FaultKind::Unparsable),
            (
                "GET /",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
                FaultKind::Unparsable,
            ),
            (
                "POST /",
                "Content-Encoding: gzip, gzip\r\n",
                FaultKind::UnknownEncoding,
            ),
            ("POST /", "Expect: 200-ok\r\n", FaultKind::Unparsable),
        ] {
            let found = kinds(&read(line, &format!("{HOST}{fields}")));
            assert!(found.contains(&kind), "{line} {fields}");
        }
    }

    #[test]
    fn a_port_that_is_not_the_schemes_own_must_be_named() {
        let odd = target(Transport::Tls, 8443);
        assert!(names_target("api.example.com:8443", &odd));
        assert!(!names_target("api.example.com", &odd));
        assert!(names_target(
            "api.example.com",
            &target(Transport::Plain, 80)
        ));
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "[ -~]{1,60}", host in ".{0,40}") {
            names_target(&host, &target(Transport::Tls, 443));
            let bytes = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", line.replace(' ', "+"));
            if let Ok(head) = parse_head(bytes.as_bytes()) {
                understand(head, &target(Transport::Plain, 80));
            }
        }
    }
}
