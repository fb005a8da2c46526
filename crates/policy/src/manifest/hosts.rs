//! `[[host]]`: what may be reached, with which methods, on which paths.

use tagout_core::{HostPattern, Method};

use super::{Reading, any_overlap};
use crate::path_pattern::PathPattern;
use crate::section::Section;
use crate::task::{CredentialGrant, DEFAULT_PORT, HostGrant, LocalPort, Methods};

impl Reading<'_> {
    /// The hosts, and the ports of this machine's own that are let in.
    pub(super) fn read_hosts(
        &mut self,
        root: &Section<'_>,
        credentials: &[CredentialGrant],
    ) -> (Vec<HostGrant>, Vec<LocalPort>) {
        let keys = ["name", "ports", "methods", "paths", "inspect", "local"];
        let mut hosts: Vec<HostGrant> = Vec::new();
        let mut local: Vec<LocalPort> = Vec::new();
        for section in root.sections("host", &mut self.mistakes, &keys) {
            if section.has("local") {
                if let Some(port) = self.local(&section) {
                    if let Some(earlier) = local.iter().find(|entry| entry.port == port.port) {
                        let message = format!(
                            "a second entry for this port; the first is on line {}",
                            earlier.line
                        );
                        self.mistakes.add(port.line, message);
                    }
                    local.push(port);
                }
                continue;
            }
            let Some(grant) = self.host(&section) else {
                continue;
            };
            if let Some(earlier) = hosts.iter().find(|earlier| earlier.overlaps(&grant)) {
                self.mistakes.add(
                    section.line,
                    format!(
                        "some request would match both this entry and the one on line {}; make them \
                         differ in host, port, method or path, or join them",
                        earlier.line.unwrap_or(0)
                    ),
                );
            }
            if !grant.inspect {
                self.check_unread(&grant, credentials);
            }
            hosts.push(grant);
        }
        (hosts, local)
    }

    fn host(&mut self, section: &Section<'_>) -> Option<HostGrant> {
        let name = section.required("name", &mut self.mistakes);
        let ports = section.ports("ports", &mut self.mistakes);
        let ports = section.filled("ports", ports, &mut self.mistakes);
        let methods = self.methods(section);
        let paths = self.paths(section);
        let inspect = section.boolean("inspect", &mut self.mistakes);
        let inspect = inspect.is_none_or(|inspect| inspect.value);
        if !inspect {
            for key in ["methods", "paths"] {
                if section.has(key) {
                    let line = section.line_of_key(key, &self.mistakes);
                    let message =
                        format!("with inspect = false nobody can see {key}; leave this out");
                    self.mistakes.add(line, message);
                }
            }
        }
        let name = name?;
        let pattern = HostPattern::parse(&name.value);
        let pattern = self
            .mistakes
            .keep(name.line, "not a host or *.suffix", pattern)?;
        let everything = || vec![PathPattern::everything()];
        let mut ports: Vec<u16> = match ports {
            Some(ports) => ports.into_iter().map(|port| port.value).collect(),
            None => vec![DEFAULT_PORT],
        };
        ports.sort_unstable();
        ports.dedup();
        Some(HostGrant {
            pattern,
            ports,
            methods: if inspect { methods } else { Methods::All },
            paths: if inspect { paths } else { everything() },
            inspect,
            allow_host: false,
            line: Some(section.line),
        })
    }

    fn methods(&mut self, section: &Section<'_>) -> Methods {
        let words = section.strings("methods", &mut self.mistakes);
        let Some(words) = section.filled("methods", words, &mut self.mistakes) else {
            return Methods::reading();
        };
        let mut methods = Vec::new();
        for word in words {
            let method = self
                .mistakes
                .keep(word.line, "not a method", Method::parse(&word.value));
            methods.extend(method.filter(|method| !methods.contains(method)));
        }
        Methods::These(methods)
    }

    fn paths(&mut self, section: &Section<'_>) -> Vec<PathPattern> {
        let texts = section.strings("paths", &mut self.mistakes);
        let Some(texts) = section.filled("paths", texts, &mut self.mistakes) else {
            return vec![PathPattern::everything()];
        };
        let mut paths = Vec::new();
        for text in texts {
            let pattern = PathPattern::parse(&text.value);
            paths.extend(self.mistakes.keep(text.line, "not a path", pattern));
        }
        paths
    }

    fn local(&mut self, section: &Section<'_>) -> Option<LocalPort> {
        let line = section.line_of_key("local", &self.mistakes);
        let port = section.port("local", &mut self.mistakes);
        for key in ["name", "ports", "methods", "paths", "inspect"] {
            if section.has(key) {
                let line = section.line_of_key(key, &self.mistakes);
                let message = format!("`local` stands instead of a name, without `{key}`");
                self.mistakes.add(line, message);
            }
        }
        Some(LocalPort {
            port: port?.value,
            line,
        })
    }

    /// Where nobody reads requests, nobody can attach a credential.
    fn check_unread(&mut self, grant: &HostGrant, credentials: &[CredentialGrant]) {
        for credential in credentials {
            if let Some(host) = any_overlap(&credential.hosts, &grant.pattern) {
                self.mistakes.add(
                    grant.line.unwrap_or(0),
                    format!(
                        "inspect = false would keep the credential of line {} from ever reaching \
                         {host}: nothing can be attached to requests that nobody reads",
                        credential.line
                    ),
                );
            }
        }
    }
}
