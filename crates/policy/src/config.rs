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
    addresses: Vec<(HostName, u16, SocketAddr)>,
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
            mistakes.add(
                proxy.line,
                "upstream_proxy comes with a later version; remove it",
            );
        }
        if let Some(fake) = network
            .boolean("fake_ip", mistakes)
            .filter(|fake| !fake.value)
        {
            mistakes.add(
                fake.line,
                "fake_ip = false comes with a later version; remove it",
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
    fn every_mistake_names_its_line() {
        let text = "[network]\nca_files = [\"corp.pem\"]\nupstream_proxy = \"http://proxy:3128\"\n\
                    fake_ip = false\nproxy = 1\n[address]\n\"a.example.com\" = \"1.2.3.4:1\"\n\
                    \"b.example.com:443\" = \"b:1\"\n\"c.example.com:1\" = \"1.2.3.4:5\"\n\
                    \"C.example.com:1\" = \"1.2.3.4:6\"\n\"d.example.com:1\" = 4\n[more]\n";
        let errors = Config::parse(text, "config.toml").unwrap_err();
        let lines: Vec<usize> = errors.errors().iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 7, 8, 10, 11, 12], "{errors}");
        assert!(errors.to_string().contains("config.toml:3: upstream_proxy"));
    }
}
