//! `$TAGOUT_HOME/config.toml`: what reaches beyond a workspace and is therefore the machine's to
//! say, never a repository's. Read as strictly as a manifest.

use std::net::SocketAddr;
use std::path::PathBuf;

use tagout_core::HostName;

use crate::file_errors::FileErrors;
use crate::section::{Mistakes, Section, TomlFile};

/// The machine's settings; the default is those of a machine without the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Certificate authorities (PEM) that upstream servers may use, beside the system's. They also
    /// join the bundle inside.
    pub ca_files: Vec<PathBuf>,
    /// The proxy through which this machine reaches the world.
    pub upstream_proxy: Option<UpstreamProxy>,
    addresses: Vec<(HostName, u16, SocketAddr)>,
}

/// `[network] upstream_proxy`: an HTTP proxy. Its user and password are in it and are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, as the URL has them, decoded.
    pub user_password: Option<(String, String)>,
}

impl std::fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamProxy({}:{})", self.host, self.port)
    }
}

impl UpstreamProxy {
    /// Reads `http://[user:password@]host:port[/]`. The error never has the URL in it.
    fn parse(url: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "upstream_proxy is \"http://host:port\" or \"http://user:password@host:port\"";
        if url.starts_with("https://") || url.starts_with("socks") {
            return Err(
                "upstream_proxy is an HTTP proxy that is spoken to without TLS: http://host:port; proxies over TLS or SOCKS are not supported",
            );
        }
        let rest = url.strip_prefix("http://").ok_or(FORM)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = place.rsplit_once(':').ok_or(FORM)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(FORM)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address
                .parse::<std::net::Ipv6Addr>()
                .map(|a| a.to_string())
                .ok(),
            None => host
                .parse::<std::net::Ipv4Addr>()
                .map(|address| address.to_string())
                .or_else(|_| HostName::parse(host).map(|host| host.to_string()))
                .ok(),
        }
        .ok_or(FORM)?;
        let decoded = |text: &str| {
            let bytes = tagout_core::percent_decode(text);
            let text = String::from_utf8(bytes).map_err(|_| FORM)?;
            if text.chars().any(char::is_control) {
                return Err("the user and password of upstream_proxy have no control characters");
            }
            Ok(text)
        };
        let user_password = user
            .map(|user| {
                let (user, password) = user.split_once(':').unwrap_or((user, ""));
                Ok::<_, &'static str>((decoded(user)?, decoded(password)?))
            })
            .transpose()?;
        Ok(Self {
            host,
            port,
            user_password,
        })
    }
}

impl Config {
    /// Reads the text of the file; `file_name` stands in messages.
    ///
    /// # Errors
    /// Every mistake with its line, among them settings that this version does not have yet.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, FileErrors> {
        let file = TomlFile::parse(file_name, text)?;
        let mut mistakes = file.mistakes();
        let root = file.root(&mut mistakes, &["network", "address"]);
        let mut config = Self::default();
        let keys = ["ca_files", "upstream_proxy", "fake_ip"];
        if let Some(network) = root.section("network", &mut mistakes, &keys) {
            config.read_network(&network, &mut mistakes);
        }
        if let Some(addresses) = root.free_section("address", &mut mistakes) {
            config.read_addresses(&addresses, &mut mistakes);
        }
        file.check(mistakes)?;
        Ok(config)
    }

    /// Where to dial instead of asking the name server: for tests and split DNS.
    pub fn address(&self, host: &HostName, port: u16) -> Option<SocketAddr> {
        let entry = self
            .addresses
            .iter()
            .find(|(name, at, _)| name == host && *at == port);
        entry.map(|(_, _, address)| *address)
    }

    /// All of `[address]`.
    pub fn addresses(&self) -> impl Iterator<Item = (&HostName, u16, SocketAddr)> {
        self.addresses
            .iter()
            .map(|(host, port, address)| (host, *port, *address))
    }

    fn read_network(&mut self, network: &Section<'_>, mistakes: &mut Mistakes<'_>) {
        for path in network.strings("ca_files", mistakes).unwrap_or_default() {
            let file = PathBuf::from(path.value);
            if !file.is_absolute() {
                mistakes.add(path.line, "`ca_files` holds absolute paths");
            }
            self.ca_files.push(file);
        }
        if let Some(proxy) = network.string("upstream_proxy", mistakes) {
            match UpstreamProxy::parse(&proxy.value) {
                Ok(read) => self.upstream_proxy = Some(read),
                Err(why) => mistakes.add(proxy.line, why),
            }
        }
        if let Some(fake) = network
            .boolean("fake_ip", mistakes)
            .filter(|fake| !fake.value)
        {
            mistakes.add(
                fake.line,
                "fake_ip = false is not possible: a connection's synthetic address is what proves which name \
                 it is for; without it an agent could connect to any server that shares an address with a \
                 granted one. Remove it; a program that needs the real address cannot run under Tagout",
            );
        }
    }

    fn read_addresses(&mut self, section: &Section<'_>, mistakes: &mut Mistakes<'_>) {
        for (key, value) in section.entries(mistakes) {
            let line = key.line;
            let name = key.value.rsplit_once(':').and_then(|(host, port)| {
                let port = port.parse().ok().filter(|port| *port != 0)?;
                Some((HostName::parse(host).ok()?, port))
            });
            let address = value
                .parse::<SocketAddr>()
                .ok()
                .filter(|address| address.port() != 0);
            let (Some((host, port)), Some(address)) = (name, address) else {
                mistakes.add(line, "an entry of [address] is \"name:port\" = \"ip:port\"");
                continue;
            };
            if self.address(&host, port).is_some() {
                mistakes.add(line, format!("a second address for {host}:{port}"));
            }
            self.addresses.push((host, port, address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_machine_says() {
        let text = "[network]\nca_files = [\"/etc/corp.pem\"]\nfake_ip = true\n\n[address]\n\
                    \"API.example.com:443\" = \"127.0.0.1:8443\"\n\
                    \"api.example.com:80\" = \"[::1]:8080\"\n";
        let config = Config::parse(text, "config.toml").unwrap();
        assert_eq!(config.ca_files, [PathBuf::from("/etc/corp.pem")]);
        let host = HostName::parse("api.example.com").unwrap();
        assert_eq!(config.address(&host, 443), "127.0.0.1:8443".parse().ok());
        assert_eq!(config.address(&host, 80), "[::1]:8080".parse().ok());
        assert_eq!(config.address(&host, 8443), None);
        assert_eq!(Config::parse("", "config.toml"), Ok(Config::default()));
    }

    #[test]
    fn a_proxy_is_read_and_its_password_never_shown() {
        let read = |url: &str| {
            let text = format!("[network]\nupstream_proxy = \"{url}\"\n");
            Config::parse(&text, "config.toml")
        };
        let proxy = |url: &str| read(url).unwrap().upstream_proxy.unwrap();
        let full = proxy("http://me:hunter2%40x@proxy.example.com:3128/");
        assert_eq!((full.host.as_str(), full.port), ("proxy.example.com", 3128));
        assert_eq!(
            full.user_password,
            Some(("me".to_owned(), "hunter2@x".to_owned()))
        );
        assert!(!format!("{full:?}").contains("hunter2"));
        assert_eq!(proxy("http://10.0.0.1:8080").host, "10.0.0.1");
        assert_eq!(proxy("http://[::1]:8080").host, "::1");
        for url in [
            "proxy:3128",
            "http://me:hunter2@proxy",
            "http://me:hunter2@proxy:0",
            "https://me:hunter2@proxy:3128",
            "socks5://me:hunter2@proxy:1080",
            "http://me:hunter2@proxy:3128/path",
            "http://me:hunter2%0d%0aX@proxy:3128",
        ] {
            let errors = read(url).unwrap_err().to_string();
            assert!(
                errors.contains("upstream_proxy") && !errors.contains("hunter2"),
                "{errors}"
            );
        }
    }

    #[test]
    fn every_mistake_names_its_line() {
        let text = "[network]\nca_files = [\"corp.pem\"]\nupstream_proxy = \"http://proxy:3128\"\n\
                    fake_ip = false\nproxy = 1\n[address]\n\"a.example.com\" = \"1.2.3.4:1\"\n\
                    \"b.example.com:443\" = \"b:1\"\n\"c.example.com:1\" = \"1.2.3.4:5\"\n\
                    \"C.example.com:1\" = \"1.2.3.4:6\"\n\"d.example.com:1\" = 4\n[more]\n";
        let errors = Config::parse(text, "config.toml").unwrap_err();
        let lines: Vec<usize> = errors.errors().iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 4, 5, 7, 8, 10, 11, 12], "{errors}");
        assert!(errors.to_string().contains("config.toml:4: fake_ip"));
    }
}
