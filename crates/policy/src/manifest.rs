//! `tagout.toml`: what a task needs, in a form that a person can review in a minute. Reading is
//! strict: unknown keys, wrong types and entries that overlap on one request are errors that name
//! their line, all of them at once. A manifest never holds a secret value, and no message quotes a
//! place where somebody may have put one.

mod credentials;
mod hosts;

use std::collections::HashMap;

use tagout_catalog::profiles;
use tagout_core::{EnvironmentName, HostPattern};

use crate::file_errors::FileErrors;
use crate::globs::glob_of_the_workspace;
use crate::pin::Pin;
use crate::section::{Lined, Mistakes, Section, TomlFile};
use crate::task::{DatabaseGrant, Environment, LocalPort, Methods, Task};

/// Whether there is an agent profile of that name: `auto` goes by the command, `none` is a plain shell.
fn is_profile(name: &str) -> bool {
    matches!(name, "auto" | "none" | "bash") || profiles().iter().any(|known| known.name == name)
}

/// What is said when there is none.
fn unknown_profile() -> String {
    let names = profiles().iter().map(|profile| profile.name.as_str());
    let names: Vec<_> = ["auto", "none"].into_iter().chain(names).collect();
    format!(
        "there is no such agent profile; there are {}",
        names.join(", ")
    )
}

/// A manifest that was read without a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    task: Task,
}

/// What reading needs at every step.
struct Reading<'t> {
    mistakes: Mistakes<'t>,
}

impl Manifest {
    /// Reads the text of a manifest; `file_name` stands in messages.
    ///
    /// # Errors
    /// Every mistake, with its line.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, FileErrors> {
        let file = TomlFile::parse(file_name, text)?;
        let mut reading = Reading {
            mistakes: file.mistakes(),
        };
        let keys = [
            "task",
            "workspace",
            "environment",
            "credential",
            "database",
            "host",
            "agent",
        ];
        let root = file.root(&mut reading.mistakes, &keys);
        let mut task = Task::without_manifest();
        task.name = "unnamed task".to_owned();
        reading.read_task(&root, &mut task);
        reading.read_workspace(&root, &mut task);
        task.environments = reading.read_environments(&root);
        reading.read_agent(&root, &mut task);
        task.credentials = reading.read_credentials(&root, &task);
        (task.hosts, task.local_ports) = reading.read_hosts(&root, &task.credentials);
        task.databases = reading.read_databases(&root, &task);
        file.check(reading.mistakes)?;
        Ok(Self { task })
    }

    /// What the manifest asks for.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What the manifest asks for.
    pub fn into_task(self) -> Task {
        self.task
    }

    /// What a person should read before accepting: where credentials come from and what they may be
    /// used for, then every protection that is lowered, one a line.
    pub fn review(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for grant in &self.task.credentials {
            let operations: Vec<String> =
                grant.operations.iter().map(ToString::to_string).collect();
            let environments: Vec<&str> = grant
                .environments
                .iter()
                .map(EnvironmentName::as_str)
                .collect();
            let hosts: Vec<String> = grant.hosts.iter().map(ToString::to_string).collect();
            lines.push(format!(
                "credential {} comes from {} and may be used at {} for {} in {}",
                grant.name,
                grant.source,
                hosts.join(", "),
                operations.join(", "),
                environments.join(", "),
            ));
        }
        for grant in &self.task.databases {
            lines.push(format!(
                "database {} is where the URL from {} says, in {} unless a pin says otherwise",
                grant.name, grant.source, grant.environment,
            ));
        }
        for grant in &self.task.hosts {
            let line = grant.line.unwrap_or(0);
            let host = &grant.pattern;
            if !grant.inspect {
                lines.push(format!(
                    "lowered protection: {host} is passed through unread (inspect = false, line {line})"
                ));
                continue;
            }
            let Methods::These(methods) = &grant.methods else {
                continue;
            };
            let changing: Vec<&str> = methods
                .iter()
                .filter(|m| !m.is_read())
                .map(|m| m.as_str())
                .collect();
            if !changing.is_empty() {
                let paths: Vec<String> = grant.paths.iter().map(ToString::to_string).collect();
                lines.push(format!(
                    "{host} may be changed by {} on {} (line {line})",
                    changing.join(", "),
                    paths.join(", "),
                ));
            }
            if grant.ports.contains(&80) {
                lines.push(format!(
                    "lowered protection: {host} may be reached without encryption (port 80, line {line})"
                ));
            }
        }
        for LocalPort { port, line } in &self.task.local_ports {
            lines.push(format!(
                "lowered protection: localhost:{port} inside is port {port} of this machine, passed through unread (local, line {line})"
            ));
        }
        for entry in self
            .task
            .environments
            .iter()
            .filter(|entry| entry.disposable)
        {
            lines.push(format!(
                "lowered protection: destructive operations in {} need no approval (disposable = true)",
                entry.name
            ));
        }
        let protected = self.task.environment_named(&self.task.environment);
        if protected.is_some_and(|entry| entry.protected) {
            lines.push(format!(
                "the task works in {}, which is protected",
                self.task.environment
            ));
        }
        for variable in &self.task.agent_variables {
            lines.push(format!("the agent sees your variable {variable}"));
        }
        lines
    }
}

impl Reading<'_> {
    fn read_task(&mut self, root: &Section<'_>, task: &mut Task) {
        let keys = ["name", "environment"];
        let Some(section) = root.section("task", &mut self.mistakes, &keys) else {
            return;
        };
        if let Some(name) = section.string("name", &mut self.mistakes) {
            if name.value.is_empty()
                || name.value.chars().count() > 100
                || name.value.chars().any(char::is_control)
            {
                self.mistakes
                    .add(name.line, "`name` is 1 to 100 characters on one line");
            }
            task.name = name.value;
        }
        if let Some(name) = section.string("environment", &mut self.mistakes)
            && let Some(name) = self.environment_name(&name)
        {
            task.environment = name;
        }
    }

    fn read_workspace(&mut self, root: &Section<'_>, task: &mut Task) {
        let keys = ["hidden", "read_only", "bulk"];
        let Some(section) = root.section("workspace", &mut self.mistakes, &keys) else {
            return;
        };
        for (key, globs) in [
            ("hidden", &mut task.hidden),
            ("read_only", &mut task.read_only),
        ] {
            let found = section.strings(key, &mut self.mistakes);
            for glob in found.unwrap_or_default() {
                match glob_of_the_workspace(&glob.value) {
                    Ok(()) => globs.push(glob.value),
                    Err(why) => self.mistakes.add(glob.line, format!("`{key}`: {why}")),
                }
            }
        }
        for name in section
            .strings("bulk", &mut self.mistakes)
            .unwrap_or_default()
        {
            let folder = &name.value;
            if folder.is_empty() || folder.contains(['/', '\0']) || folder == "." || folder == ".."
            {
                self.mistakes
                    .add(name.line, "`bulk` holds names of folders, without /");
            }
            task.bulk.push(name.value);
        }
    }

    fn read_environments(&mut self, root: &Section<'_>) -> Vec<Environment> {
        let keys = ["name", "protected", "disposable", "resources"];
        let mut environments: Vec<Environment> = Vec::new();
        let mut pinned: Vec<(Pin, usize, usize)> = Vec::new();
        for section in root.sections("environment", &mut self.mistakes, &keys) {
            let index = environments.len();
            let name = section.required("name", &mut self.mistakes);
            let name = name.and_then(|name| {
                let line = name.line;
                self.environment_name(&name)
                    .map(|value| Lined { value, line })
            });
            let flag = |key: &str, mistakes: &mut Mistakes<'_>| {
                section
                    .boolean(key, mistakes)
                    .is_some_and(|flag| flag.value)
            };
            let protected = flag("protected", &mut self.mistakes);
            let disposable = flag("disposable", &mut self.mistakes);
            if protected && disposable {
                let line = section.line_of_key("disposable", &self.mistakes);
                self.mistakes.add(
                    line,
                    "an environment is protected or disposable, never both",
                );
            }
            let mut pins = Vec::new();
            for text in section
                .strings("resources", &mut self.mistakes)
                .unwrap_or_default()
            {
                let known = |provider: &str| tagout_catalog::pack(provider).is_some();
                let pin = Pin::parse(&text.value, known);
                let Some(pin) = self.mistakes.keep(text.line, "not a resource", pin) else {
                    continue;
                };
                pins.push(pin.clone());
                pinned.push((pin, text.line, index));
            }
            let Some(name) = name else { continue };
            if environments.iter().any(|other| other.name == name.value) {
                let message = format!("a second environment named `{}`", name.value);
                self.mistakes.add(name.line, message);
            }
            environments.push(Environment {
                name: name.value,
                protected,
                disposable,
                pins,
            });
        }
        self.check_pins(&environments, &pinned);
        environments
    }

    /// A thing belongs to one environment. Host patterns may be nested, where the more protected
    /// environment counts; between equals nobody could tell which is meant.
    fn check_pins(&mut self, environments: &[Environment], pinned: &[(Pin, usize, usize)]) {
        let strictness = |index: &usize| environments.get(*index).map(Environment::strictness);
        for (at, (pin, line, index)) in pinned.iter().enumerate() {
            let clash = pinned.iter().take(at).find(|(other, _, theirs)| {
                theirs != index
                    && match (pin, other) {
                        (Pin::Host(ours), Pin::Host(theirs_pattern)) => {
                            ours == theirs_pattern
                                || (ours.overlaps(theirs_pattern)
                                    && strictness(index) == strictness(theirs))
                        }
                        _ => pin == other,
                    }
            });
            if let Some((_, earlier, _)) = clash {
                self.mistakes.add(
                    *line,
                    format!("{pin} is pinned to another environment on line {earlier} already"),
                );
            }
        }
    }

    fn read_agent(&mut self, root: &Section<'_>, task: &mut Task) {
        let Some(section) = root.section("agent", &mut self.mistakes, &["profile", "env"]) else {
            return;
        };
        if let Some(profile) = section.string("profile", &mut self.mistakes) {
            if !is_word(&profile.value) {
                self.mistakes.add(
                    profile.line,
                    "a profile's name is letters, digits and . _ -",
                );
            } else if !is_profile(&profile.value) {
                self.mistakes.add(profile.line, unknown_profile());
            }
            task.agent_profile = profile.value;
        }
        for name in section
            .strings("env", &mut self.mistakes)
            .unwrap_or_default()
        {
            if !is_variable(&name.value) {
                self.mistakes.add(
                    name.line,
                    "`env` holds names of variables: letters, digits and _, not values",
                );
            }
            task.agent_variables.push(name.value);
        }
    }

    fn read_databases(&mut self, root: &Section<'_>, task: &Task) -> Vec<DatabaseGrant> {
        let mut names = HashMap::new();
        let mut databases = Vec::new();
        let keys = ["name", "url", "environment"];
        for section in root.sections("database", &mut self.mistakes, &keys) {
            let name = section.required("name", &mut self.mistakes);
            if let Some(name) = &name {
                self.unique_name("database", name, &mut names);
                // Both stand in a ledger as what an action used.
                if task.credential(&name.value).is_some() {
                    let message = "a [[credential]] has this name; a database needs one of its own";
                    self.mistakes.add(name.line, message);
                }
            }
            let url = section.required("url", &mut self.mistakes);
            if let Some(url) = &url {
                self.source(url, "url");
            }
            let environment = section
                .string("environment", &mut self.mistakes)
                .and_then(|name| self.named_environment(&name, task));
            // A missing one of these is a mistake already, so this grant is never used.
            let text = |lined: Option<Lined<String>>| lined.map_or_else(String::new, |l| l.value);
            databases.push(DatabaseGrant {
                name: text(name),
                source: text(url),
                follows_task_environment: environment.is_none(),
                environment: environment.unwrap_or_else(|| task.environment.clone()),
                endpoint: None,
                line: section.line,
            });
        }
        databases
    }

    fn environment_name(&mut self, name: &Lined<String>) -> Option<EnvironmentName> {
        let parsed = EnvironmentName::parse(&name.value);
        self.mistakes.keep(name.line, "not an environment", parsed)
    }

    /// An environment that the manifest itself names: the task's own, or an `[[environment]]`.
    fn named_environment(&mut self, name: &Lined<String>, task: &Task) -> Option<EnvironmentName> {
        let parsed = self.environment_name(name)?;
        if parsed != task.environment && task.environment_named(&parsed).is_none() {
            self.mistakes.add(
                name.line,
                format!(
                    "the manifest names no environment `{parsed}`: neither as the task's own nor as an \
                     [[environment]]"
                ),
            );
        }
        Some(parsed)
    }

    /// A name of the manifest's own for a credential or database.
    fn unique_name(&mut self, kind: &str, name: &Lined<String>, seen: &mut HashMap<String, usize>) {
        if !is_word(&name.value) {
            let message = format!("a {kind}'s name is 1 to 64 letters, digits and . _ -");
            self.mistakes.add(name.line, message);
        } else if let Some(earlier) = seen.insert(name.value.clone(), name.line) {
            let message = format!("a second {kind} of this name; the first is on line {earlier}");
            self.mistakes.add(name.line, message);
        }
    }

    /// Where a secret comes from. The text is not quoted: somebody may have put the secret there.
    fn source(&mut self, source: &Lined<String>, key: &str) {
        let (form, rest) = source.value.split_once(':').unwrap_or(("", ""));
        let control = source.value.chars().any(char::is_control);
        match form {
            "env" if is_variable(rest) => {}
            "file" if !rest.is_empty() && !rest.starts_with('#') && !control => {}
            "vault" if is_word(rest) => {}
            "command" if !rest.trim().is_empty() && !control => {}
            _ => self.mistakes.add(
                source.line,
                format!(
                    "`{key}` says where the value is, never the value: env:VAR, file:PATH, \
                     file:PATH#KEY, vault:NAME or command:ARGV"
                ),
            ),
        }
    }
}

/// Whether some host is matched by a pattern of both lists.
fn any_overlap<'p>(ours: &'p [HostPattern], theirs: &HostPattern) -> Option<&'p HostPattern> {
    ours.iter().find(|pattern| pattern.overlaps(theirs))
}

fn is_word(text: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(ok)
}

/// POSIX.1-2024, 8.1: letters, digits and underscore, not beginning with a digit.
fn is_variable(name: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(ok)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests;
