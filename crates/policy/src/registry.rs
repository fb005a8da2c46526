//! Package registries: what the operator's own configuration of npm, pip, cargo and the like names,
//! granted for reading in every session, manifest or not. A registry may tell where its downloads
//! lie only while a session runs, so this list grows; nothing is ever taken from it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tagout_core::{CanonicalPath, HostName, Method, Target, Transport};

/// One place from which packages are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The tool whose configuration names it: `npm`.
    pub tool: &'static str,
    /// How, where and on which port. A registry that is configured without encryption is reached so.
    pub target: Target,
    /// Below which path, without its last slash; empty for all of the host.
    pub path: String,
    /// The credential that goes there, by its name in the session.
    pub credential: Option<String>,
}

/// The registries of a session. Clones are the same list.
#[derive(Clone, Default)]
pub struct Registries(Arc<RwLock<Vec<Registry>>>);

impl Registries {
    /// Adds one, unless it is there already.
    pub fn add(&self, registry: Registry) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !list.contains(&registry) {
            list.push(registry);
        }
    }

    /// All of them, as they are now.
    pub fn all(&self) -> Vec<Registry> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether one is at `host` on `port`, whatever is asked there.
    pub fn reaches(&self, host: &HostName, port: u16) -> bool {
        self.any(|registry| registry.target.host == *host && registry.target.port == port)
    }

    /// Whether `host` on `port` is where the operator's word leads over `transport`.
    pub fn names(&self, target: &Target) -> bool {
        self.any(|registry| registry.target == *target)
    }

    /// Whether a request is one that reads packages: GET or HEAD, below a registry's path, on every
    /// reading of the request's path.
    pub fn cover(&self, target: &Target, method: &Method, path: &CanonicalPath) -> bool {
        matches!(method.as_str(), "GET" | "HEAD")
            && self.any(|registry| registry.target == *target && registry.holds(path))
    }

    /// Whether a credential of that name is here for reading packages and for nothing else.
    pub fn own_credential(&self, name: &str) -> bool {
        self.any(|registry| registry.credential.as_deref() == Some(name))
    }

    fn any(&self, is: impl Fn(&Registry) -> bool) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(is)
    }
}

impl Registry {
    /// Whether every reading of `path` is the registry's own or below it.
    fn holds(&self, path: &CanonicalPath) -> bool {
        if self.path.is_empty() {
            return true;
        }
        path.readings().iter().all(|reading| {
            reading
                .strip_prefix(&self.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Reads the URL of a registry: `https://host[:port]/path`, or `http://`. User and password in it
    /// are not part of the registry; they are the second half of the answer, as they stand there.
    ///
    /// `None` where the URL names no host by name: an address cannot be reached from inside.
    pub fn parse<'t>(tool: &'static str, url: &'t str) -> Option<(Self, Option<&'t str>)> {
        let (transport, rest) = match url.split_once("://")? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("https") => (Transport::Tls, rest),
            (scheme, rest) if scheme.eq_ignore_ascii_case("http") => (Transport::Plain, rest),
            _ => return None,
        };
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0)?),
            None if transport == Transport::Tls => (authority, 443),
            None => (authority, 80),
        };
        let host = HostName::parse(name).ok()?;
        // Where it ends is where a request for something in it goes on.
        let path = CanonicalPath::parse(if path.is_empty() { "/" } else { path }).ok()?;
        let registry = Self {
            tool,
            target: Target {
                transport,
                host,
                port,
            },
            path: path.as_str().trim_end_matches('/').to_owned(),
            credential: None,
        };
        Some((registry, userinfo))
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl PartialEq for Registries {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.all() == other.all()
    }
}

impl Eq for Registries {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registry(url: &str) -> Registry {
        Registry::parse("npm", url).unwrap().0
    }

    fn covered(url: &str, method: &str, path: &str) -> bool {
        let registries = Registries::default();
        let registry = registry(url);
        registries.add(registry.clone());
        registries.cover(
            &registry.target,
            &Method::parse(method).unwrap(),
            &CanonicalPath::parse(path).unwrap(),
        )
    }

    #[test]
    fn a_url_is_read_without_its_password() {
        let (registry, userinfo) =
            Registry::parse("pip", "https://me:pw@Packages.example.com:8443/simple/").unwrap();
        assert_eq!(userinfo, Some("me:pw"));
        assert_eq!(registry.target.host.as_str(), "packages.example.com");
        assert_eq!(
            (registry.target.port, registry.path.as_str()),
            (8443, "/simple")
        );
        assert_eq!(registry.target.transport, Transport::Tls);
        for url in [
            "ftp://a.example.com/",
            "https://10.0.0.1/",
            "a.example.com",
            "https://",
            "file:///x",
            "https://a.example.com:0/",
        ] {
            assert!(Registry::parse("pip", url).is_none(), "{url}");
        }
    }

    #[test]
    fn invariant_5_a_registry_is_read_below_its_path_and_never_published_to() {
        let url = "https://packages.example.com/npm/team/";
        for (method, path, expected) in [
            ("GET", "/npm/team/left-pad", true),
            ("HEAD", "/npm/team", true),
            ("GET", "/npm/team2/x", false),
            ("GET", "/npm/other", false),
            ("GET", "/npm/team/%2e%2e/other", false),
            ("GET", "/npm/team/..%2fother", false),
            ("PUT", "/npm/team/left-pad", false),
            ("POST", "/npm/team/left-pad", false),
            ("DELETE", "/npm/team/left-pad", false),
        ] {
            assert_eq!(covered(url, method, path), expected, "{method} {path}");
        }
        assert!(covered("https://packages.example.com", "GET", "/anything"));
    }

    #[test]
    fn the_list_grows_while_others_hold_it() {
        let registries = Registries::default();
        let other = registries.clone();
        registries.add(registry("https://a.example.com/"));
        registries.add(registry("https://a.example.com/"));
        assert_eq!(other.all().len(), 1);
        assert!(other.reaches(&HostName::parse("a.example.com").unwrap(), 443));
        assert!(!other.reaches(&HostName::parse("a.example.com").unwrap(), 80));
    }

    proptest! {
        #[test]
        fn any_url_is_read(url in "\\PC{0,60}") {
            Registry::parse("npm", &url);
            Registry::parse("npm", &format!("https://{url}"));
        }
    }
}
