//! Who may ask at all, before any byte of a body is read: the `Host` has to be one of this server's, so a
//! page of the web that a name server points here gets nothing (DNS rebinding); a request that a browser
//! made for another site is refused; beyond loopback everything needs the server's token.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use tagout_core::Digest;

use crate::message::Answer;

/// The checks, with what they compare against.
pub(crate) struct Guard {
    /// Names and addresses under which this server is asked, lower case, without port.
    hosts: Vec<String>,
    token: String,
    /// Whether everything needs the token.
    closed: bool,
    /// Whether deleting needs it.
    own_token: bool,
}

impl Guard {
    pub(crate) fn new(address: IpAddr, hosts: &[String], token: String) -> Self {
        let mut known: Vec<String> = ["localhost", "127.0.0.1", "[::1]"]
            .map(ToOwned::to_owned)
            .to_vec();
        known.push(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        known.extend(hosts.iter().map(|host| host.to_ascii_lowercase()));
        Self {
            hosts: known,
            token,
            closed: !address.is_loopback(),
            own_token: true,
        }
    }

    /// The same checks where everybody brings a token of their own.
    pub(crate) fn for_readers(mut self) -> Self {
        self.closed = false;
        self.own_token = false;
        self
    }

    /// Lets a request pass or answers it.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Answer> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut hosts = headers.get_all("host").iter();
        let host = hosts
            .next()
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        if hosts.next().is_some() || !self.hosts.contains(&without_port(host)) {
            return Err(Answer::message(
                StatusCode::MISDIRECTED_REQUEST,
                "this server is not known under that name; add it to `hosts` in retrieval.toml",
            ));
        }
        let foreign_origin = headers.get_all("origin").iter().any(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let own = origin.split_once("://").map(|(_, rest)| rest);
            own != Some(host)
        });
        let cross_site = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"))
            && !(*method == Method::GET && text("sec-fetch-mode") == Some("navigate"));
        if foreign_origin || cross_site {
            return Err(Answer::message(
                StatusCode::FORBIDDEN,
                "a page of another site made this request",
            ));
        }
        let needed =
            self.closed && path != "/health" || self.own_token && *method == Method::DELETE;
        if needed && !self.has_token(headers) {
            return Err(Answer::message(
                StatusCode::UNAUTHORIZED,
                "this needs the token that lies in $TAGOUT_HOME/retrieval-token: \
                 `Authorization: Bearer TOKEN`, `x-api-key: TOKEN`, or http://tagout:TOKEN@HOST:PORT",
            )
            .with_header("www-authenticate", "Basic realm=\"tagout\", charset=\"UTF-8\""));
        }
        Ok(())
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        // Of hashes, how long a comparison takes tells nothing.
        let same = |given: &str| Digest::of(given.as_bytes()) == Digest::of(self.token.as_bytes());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text("authorization").and_then(|value| value.split_once(' '));
        let given = match authorization {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => same(token.trim()),
            Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => STANDARD
                .decode(pair.trim())
                .ok()
                .and_then(|pair| String::from_utf8(pair).ok())
                .is_some_and(|pair| pair.split_once(':').is_some_and(|(_, token)| same(token))),
            _ => false,
        };
        // A verified identity travels as a bearer token too, so the server's own has other places.
        given
            || ["x-api-key", "x-tagout-token"]
                .iter()
                .any(|name| text(name).is_some_and(same))
    }
}

/// A `Host` without its port, lower case.
fn without_port(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn status(guard: &Guard, method: Method, path: &str, pairs: &[(&'static str, &str)]) -> u16 {
        guard
            .check(&method, path, &headers(pairs))
            .map_or_else(|answer| answer.status.as_u16(), |()| 200)
    }

    #[test]
    fn other_names_and_other_sites_get_nothing() {
        let guard = Guard::new(
            "127.0.0.1".parse().unwrap(),
            &["pebblo.corp".into()],
            "secret".into(),
        );
        for host in [
            "localhost:8000",
            "LOCALHOST",
            "127.0.0.1:8000",
            "[::1]:8000",
            "pebblo.corp:80",
        ] {
            assert_eq!(
                status(&guard, Method::POST, "/v1/prompt", &[("host", host)]),
                200,
                "{host}"
            );
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:8000@evil",
            "[::2]",
        ] {
            assert_eq!(
                status(&guard, Method::GET, "/pebblo/", &[("host", host)]),
                421,
                "{host}"
            );
        }
        let own = [
            ("host", "localhost:8000"),
            ("origin", "http://localhost:8000"),
        ];
        assert_eq!(status(&guard, Method::POST, "/v1/prompt", &own), 200);
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:3000",
            "http://localhost",
        ] {
            let pairs = [("host", "localhost:8000"), ("origin", origin)];
            assert_eq!(
                status(&guard, Method::POST, "/v1/prompt", &pairs),
                403,
                "{origin}"
            );
        }
        let image = [
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ];
        assert_eq!(status(&guard, Method::GET, "/pebblo/", &image), 403);
        let two = [("host", "localhost"), ("host", "localhost")];
        let mut twice = headers(&two[..1]);
        twice.append("host", "localhost".parse().unwrap());
        assert!(guard.check(&Method::GET, "/", &twice).is_err());
    }

    #[test]
    fn deleting_and_everything_beyond_loopback_needs_the_token() {
        let near = Guard::new("127.0.0.1".parse().unwrap(), &[], "secret".into());
        let far = Guard::new("192.0.2.1".parse().unwrap(), &[], "secret".into());
        let delete = "/pebblo/app/delete/";
        assert_eq!(
            status(&near, Method::DELETE, delete, &[("host", "localhost")]),
            401
        );
        assert_eq!(
            status(&far, Method::GET, "/health", &[("host", "192.0.2.1:8000")]),
            200
        );
        assert_eq!(
            status(
                &far,
                Method::POST,
                "/v1/prompt",
                &[("host", "192.0.2.1:8000")]
            ),
            401
        );
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("authorization", "Basic dGFnb3V0OnNlY3JldA=="),
            ("x-api-key", "secret"),
        ] {
            let pairs = [("host", "192.0.2.1:8000"), (name, value)];
            assert_eq!(
                status(&far, Method::POST, "/v1/prompt", &pairs),
                200,
                "{name}"
            );
        }
        let wrong = [("host", "192.0.2.1"), ("authorization", "Bearer secre")];
        assert_eq!(status(&far, Method::POST, "/v1/prompt", &wrong), 401);
    }
}
