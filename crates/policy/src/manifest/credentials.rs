//! `[[credential]]`: where a value comes from, where it may go, and what it may be used for.

use std::collections::HashMap;

use tagout_catalog::Pack;
use tagout_core::{EnvironmentName, HostPattern, Method};

use super::{Reading, is_variable};
use crate::section::{Lined, Section};
use crate::task::{CredentialGrant, OperationGrant, Task};

/// The provider of credentials for hosts that have no pack.
const PLAIN: &str = "http";

/// Header fields that the gate writes itself or that mean something to the connection
/// (RFC 9110 §7.6.1, RFC 9112 §6); none of them carries a credential.
const NEVER_A_SLOT: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Reading<'_> {
    pub(super) fn read_credentials(
        &mut self,
        root: &Section<'_>,
        task: &Task,
    ) -> Vec<CredentialGrant> {
        let keys = [
            "name",
            "provider",
            "source",
            "expose",
            "operations",
            "environments",
            "hosts",
            "slot",
        ];
        let mut credentials = Vec::new();
        let mut names = HashMap::new();
        let mut variables = HashMap::new();
        for section in root.sections("credential", &mut self.mistakes, &keys) {
            let name = section.required("name", &mut self.mistakes);
            if let Some(name) = &name {
                self.unique_name("credential", name, &mut names);
            }
            let source = section.required("source", &mut self.mistakes);
            if let Some(source) = &source {
                self.source(source, "source");
            }
            let expose = section.string("expose", &mut self.mistakes);
            if let Some(expose) = &expose {
                self.variable(expose, &mut variables);
            }
            let provider = section.required("provider", &mut self.mistakes);
            let pack = provider.as_ref().and_then(|provider| self.pack(provider));
            let plain = provider
                .as_ref()
                .is_some_and(|provider| provider.value == PLAIN);
            let (hosts, slot) = self.place(&section, pack, plain);
            let operations = self.operations(&section, pack, plain);
            let environments = self.environments(&section, task);
            // A missing one of these is a mistake already, so this grant is never used.
            let text = |lined: Option<Lined<String>>| lined.map_or_else(String::new, |l| l.value);
            credentials.push(CredentialGrant {
                name: text(name),
                provider: text(provider),
                source: text(source),
                expose: expose.map(|expose| expose.value),
                hosts,
                slot,
                operations,
                follows_task_environment: environments.is_none(),
                environments: environments.unwrap_or_else(|| vec![task.environment.clone()]),
                line: section.line,
            });
        }
        credentials
    }

    fn pack(&mut self, provider: &Lined<String>) -> Option<&'static Pack> {
        let pack = tagout_catalog::pack(&provider.value);
        if pack.is_none() && provider.value != PLAIN {
            self.mistakes.add(
                provider.line,
                "no provider pack of this name; for a host without a pack write provider = \"http\" \
                 with hosts and slot",
            );
        }
        pack
    }

    /// Where the credential may go. A pack knows that itself; everything else has to say it.
    fn place(
        &mut self,
        section: &Section<'_>,
        pack: Option<&'static Pack>,
        plain: bool,
    ) -> (Vec<HostPattern>, Option<String>) {
        let hosts = section.hosts("hosts", &mut self.mistakes);
        let slot = section.string("slot", &mut self.mistakes);
        if let Some(pack) = pack {
            for key in ["hosts", "slot"] {
                if section.has(key) {
                    let line = section.line_of_key(key, &self.mistakes);
                    let message =
                        format!("the pack `{}` knows its own {key}; leave it out", pack.name);
                    self.mistakes.add(line, message);
                }
            }
            return (pack.hosts().to_vec(), None);
        }
        if plain {
            for key in ["hosts", "slot"] {
                if !section.has(key) {
                    let message = format!("a credential with provider \"http\" needs `{key}`");
                    self.mistakes.add(section.line, message);
                }
            }
        }
        for host in hosts.iter().flatten() {
            // A pack reads requests to its hosts and knows their slots; a plain credential there
            // would be attached to requests that mean something else.
            if let HostPattern::Exact(name) = &host.value
                && let Some(pack) = tagout_catalog::pack_for_host(name)
            {
                let message = format!(
                    "{name} belongs to the pack `{}`; name it as provider",
                    pack.name
                );
                self.mistakes.add(host.line, message);
            }
        }
        let slot = slot.and_then(|slot| {
            let field = slot
                .value
                .strip_prefix("header:")
                .map(str::to_ascii_lowercase);
            // RFC 9110 §5.6.2: what a field's name may have, without what no credential field has.
            let ok = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let field = field.filter(|name| {
                !name.is_empty()
                    && name.len() <= 64
                    && name.bytes().all(ok)
                    && !NEVER_A_SLOT.contains(&name.as_str())
            });
            if field.is_none() {
                let message = "`slot` is header: and the name of the field that carries the \
                               credential, such as header:authorization";
                self.mistakes.add(slot.line, message);
            }
            field
        });
        let hosts = hosts.into_iter().flatten().map(|host| host.value).collect();
        (hosts, slot)
    }

    fn operations(
        &mut self,
        section: &Section<'_>,
        pack: Option<&'static Pack>,
        plain: bool,
    ) -> Vec<OperationGrant> {
        let words = section.strings("operations", &mut self.mistakes);
        let Some(words) = section.filled("operations", words, &mut self.mistakes) else {
            return vec![OperationGrant::Read];
        };
        let mut grants = Vec::new();
        for word in words {
            let grant = match word.value.as_str() {
                "read" => OperationGrant::Read,
                "write" => OperationGrant::Write,
                "destructive" | "irreversible" => {
                    self.mistakes.add(
                        word.line,
                        "only `read` and `write` are granted as classes; name each operation beyond \
                         them",
                    );
                    continue;
                }
                name => {
                    let name = match pack {
                        // The name that requests will have, whether written with the provider or not.
                        Some(pack) => {
                            let known = pack.expand_operation(name);
                            let known = self.mistakes.keep(word.line, "not an operation", known);
                            known.map(|known| known.without_prefix().to_owned())
                        }
                        None if plain && Method::parse(name).is_err() => {
                            self.mistakes.add(
                                word.line,
                                "operations of provider \"http\" are `read`, `write` and methods such \
                                 as DELETE",
                            );
                            None
                        }
                        None => Some(name.to_owned()),
                    };
                    let Some(name) = name else { continue };
                    OperationGrant::Named(name)
                }
            };
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        grants
    }

    fn environments(&mut self, section: &Section<'_>, task: &Task) -> Option<Vec<EnvironmentName>> {
        let names = section.strings("environments", &mut self.mistakes);
        let names = section.filled("environments", names, &mut self.mistakes)?;
        Some(
            names
                .iter()
                .filter_map(|name| self.named_environment(name, task))
                .collect(),
        )
    }

    fn variable(&mut self, name: &Lined<String>, seen: &mut HashMap<String, usize>) {
        if !is_variable(&name.value) {
            self.mistakes.add(
                name.line,
                "`expose` is the name of the variable that holds the decoy inside: letters, digits \
                 and _",
            );
        } else if let Some(earlier) = seen.insert(name.value.clone(), name.line) {
            let message = format!("this variable holds the decoy of line {earlier} already");
            self.mistakes.add(name.line, message);
        }
    }
}
