//! The workspace's own git remotes: granted for git's smart HTTP and nothing else of their hosts, in
//! every session, manifest or not. What a push would change is judged, and asked about, elsewhere.

use tagout_core::{CanonicalPath, HostName, Method, Target};

use crate::registry::Registry;

/// A repository that the workspace names as a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// How, where and on which port.
    pub target: Target,
    /// Its path, without `.git` and without a slash at its end.
    pub path: String,
    /// Whether it may be pushed to. A submodule's is for fetching.
    pub pushed: bool,
    /// The credential that goes there when it is asked for, by its name in the session.
    pub credential: Option<String>,
}

impl Remote {
    /// Reads the URL of a remote: `https://host[:port]/path`, `http://…`, `ssh://[user@]host/path`, or
    /// `[user@]host:path` as git allows it (git-fetch(1), GIT URLS). The two last are reached by HTTPS,
    /// where the same hosts serve the same repositories.
    ///
    /// `None` where it names no repository on a host that has a name.
    pub fn parse(url: &str) -> Option<Self> {
        let over_https = match url.split_once("://") {
            Some(("ssh" | "git+ssh" | "ssh+git", rest)) => {
                let (authority, path) = rest.split_once('/')?;
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                // The port is that of ssh.
                let host = host.split(':').next()?;
                format!("https://{host}/{path}")
            }
            Some(_) => url.to_owned(),
            None => {
                let (authority, path) = url.split_once(':')?;
                if authority.contains('/') {
                    return None;
                }
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                format!("https://{host}/{}", path.trim_start_matches('/'))
            }
        };
        let (place, _) = Registry::parse("git", &over_https)?;
        let path = place.path.strip_suffix(".git").unwrap_or(&place.path);
        (path.len() > 1).then(|| Self {
            target: place.target,
            path: path.to_owned(),
            pushed: true,
            credential: None,
        })
    }

    /// Whether it is at `host` on `port`, whatever is asked there.
    pub(crate) fn reaches(&self, host: &HostName, port: u16) -> bool {
        self.target.host == *host && self.target.port == port
    }

    /// Whether a request is one of git's to this repository, on every reading of its path.
    pub(crate) fn covers(&self, target: &Target, method: &Method, path: &CanonicalPath) -> bool {
        self.target == *target
            && path.readings().iter().all(|reading| {
                let pushes = reading.ends_with("/git-receive-pack");
                tagout_catalog::git::is_of_repository(&self.path, reading, method)
                    && (self.pushed || !pushes)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Option<(String, String)> {
        Remote::parse(url).map(|it| (it.target.to_string(), it.path))
    }

    #[test]
    fn every_form_of_a_url_names_its_repository() {
        for url in [
            "https://git.example/a/b.git",
            "https://git.example/a/b/",
            "https://user:token@git.example/a/b.git",
            "git@git.example:a/b.git",
            "ssh://git@git.example/a/b.git",
            "ssh://git@git.example:2222/a/b",
            "git.example:/a/b.git",
        ] {
            let remote = Remote::parse(url).unwrap();
            assert_eq!(remote.path, "/a/b", "{url}");
            assert_eq!(
                (remote.target.host.as_str(), remote.target.port),
                ("git.example", 443)
            );
        }
        assert_eq!(
            Remote::parse("https://git.example:8443/a")
                .unwrap()
                .target
                .port,
            8443
        );
        for url in [
            "/srv/a.git",
            "../a",
            "file:///srv/a",
            "https://git.example/",
            "https://10.0.0.1/a",
            "git://h/a",
            "./a:b",
        ] {
            assert_eq!(parsed(url), None, "{url}");
        }
    }

    #[test]
    fn invariant_5_a_remote_grants_its_repository_and_nothing_beside_it() {
        let mut remote = Remote::parse("https://git.example/a/b.git").unwrap();
        let covers = |remote: &Remote, method: &str, path: &str| {
            let (method, path) = (
                Method::parse(method).unwrap(),
                CanonicalPath::parse(path).unwrap(),
            );
            remote.covers(&remote.target, &method, &path)
        };
        assert!(covers(&remote, "POST", "/a/b.git/git-receive-pack"));
        assert!(covers(&remote, "GET", "/a/b/info/refs"));
        for path in [
            "/a/c.git/git-receive-pack",
            "/a/b.git%2F..%2Fc/git-receive-pack",
            "/a/b.gitx/git-upload-pack",
            "/a/git-receive-pack",
            "/a/b.git/git-receive-pack;x",
            "/a/b",
        ] {
            assert!(!covers(&remote, "POST", path), "{path}");
        }
        remote.pushed = false;
        assert!(!covers(&remote, "POST", "/a/b.git/git-receive-pack"));
        assert!(covers(&remote, "POST", "/a/b.git/git-upload-pack"));
    }
}
