//! A permitted request as it goes out: the canonical form of what was judged, with the credentials
//! that its permit names.

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, TE};
use http::{HeaderName, HeaderValue, Request, Uri};
use tagout_authority::Permit;
use tagout_catalog::git::kept_content;
use tagout_core::HttpBody;
use tagout_credentials::Outgoing;
use zeroize::Zeroizing;

use crate::server::SendError;
use crate::upload::OutgoingBody;

/// The canonical form of what `permit` allows, with the credentials that it carries. Where it goes is
/// written by [`crate::server`], which knows the protocol.
///
/// # Errors
/// When a credential cannot be attached; then nothing is sent.
pub(crate) fn outgoing(
    permit: &Permit,
    accept_encoding: &str,
    wants_trailers: bool,
    streamed: Option<OutgoingBody>,
) -> Result<Request<OutgoingBody>, SendError> {
    let action = permit.action();
    let stored = action.request();
    let mut parts = Outgoing::new(&stored.headers, &stored.query);
    permit
        .broker()
        .attach(&mut parts, action.credentials())
        .map_err(|error| SendError::Request(error.to_string()))?;
    let mut local = Zeroizing::new(stored.path.as_str().to_owned());
    if !parts.query.is_empty() {
        local.push('?');
        local.push_str(&parts.query);
    }
    let body = match (&stored.body, streamed) {
        (HttpBody::Streamed, Some(body)) => body,
        // What is held of it is its beginning; whoever brings the rest has compared it.
        (HttpBody::Whole(_), Some(body)) if kept_content(action.operations()).is_some() => body,
        (HttpBody::Streamed, None) | (_, Some(_)) => {
            let reason = "its content is not the one that was judged".to_owned();
            return Err(SendError::Request(reason));
        }
        (HttpBody::Empty, None) => OutgoingBody::whole(Vec::new()),
        (HttpBody::Whole(bytes), None) => OutgoingBody::whole(bytes.clone()),
    };
    let attached: Vec<&str> = action
        .credentials()
        .iter()
        .filter_map(|used| match used.slot.split_once(' ') {
            Some(("header", name)) => Some(name),
            Some(("cookie", _)) => Some("cookie"),
            _ => None,
        })
        .collect();
    let invalid = |what: &str| SendError::Request(format!("its {what} is not valid in HTTP"));
    let mut request = Request::new(body);
    *request.method_mut() = stored
        .method
        .as_str()
        .parse()
        .map_err(|_| invalid("method"))?;
    *request.uri_mut() = local.parse::<Uri>().map_err(|_| invalid("path"))?;
    let length = http_body::Body::size_hint(request.body()).exact();
    let headers = request.headers_mut();
    // Its place is the first; its value comes with the connection.
    headers.insert(HOST, HeaderValue::from_static(""));
    for (name, value) in &parts.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("header"))?;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| invalid("header"))?;
        value.set_sensitive(attached.contains(&name.as_str()));
        headers.append(field, value);
    }
    let coding = HeaderValue::from_str(accept_encoding).map_err(|_| invalid("header"))?;
    headers.insert(ACCEPT_ENCODING, coding);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // RFC 9110 §8.6: a method that anticipates content has a length even when there is none.
    let needs_length = matches!(stored.method.as_str(), "POST" | "PUT" | "PATCH");
    if let Some(length) = length
        && (length > 0 || needs_length)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}
