//! Which agent a session is for, and what the task gets because of it: the hosts of the agent's model,
//! by method and path. What is known about agents is the catalog's (`crates/catalog/profiles`).

use tagout_catalog::profile::ProfileHost;
use tagout_catalog::{Profile, profile_of_command, profiles};
use tagout_core::{HostPattern, Method};
use tagout_policy::{HostGrant, Methods, PathPattern, Task};

/// The profile that `--agent` or the manifest names; `auto` goes by the command.
///
/// # Errors
/// The names there are, when `name` is none of them.
pub(crate) fn find(name: &str, command: &str) -> Result<Option<&'static Profile>, String> {
    if name == "auto" {
        return Ok(profile_of_command(command));
    }
    if name == "none" || name == "bash" {
        return Ok(None);
    }
    let known = profiles().iter().find(|profile| profile.name == name);
    known.map(Some).ok_or_else(|| {
        let names: Vec<_> = profiles().iter().map(|known| known.name.as_str()).collect();
        format!(
            "no agent profile is called `{name}`; there are auto, none, {}",
            names.join(", ")
        )
    })
}

/// Grants an agent's hosts, by method and path. Gives those on which a model is spoken to. Where the
/// manifest passes a host unread, nothing is added.
pub(crate) fn grant_hosts(task: &mut Task, profile: &Profile) -> Vec<HostPattern> {
    let mut models = Vec::new();
    let manifests = task.hosts.len();
    for host in &profile.hosts {
        let Some(grant) = host_grant(host) else {
            continue;
        };
        let passes = task
            .hosts
            .iter()
            .take(manifests)
            .any(|own| own.pattern.overlaps(&grant.pattern) && !own.inspect);
        if passes {
            continue;
        }
        if host.model && !models.contains(&grant.pattern) {
            models.push(grant.pattern.clone());
        }
        task.hosts.push(grant);
    }
    models
}

/// A row as a grant. A test reads the table; what does not parse grants nothing.
fn host_grant(host: &ProfileHost) -> Option<HostGrant> {
    let methods = host.methods.iter().map(|method| Method::parse(method).ok());
    let paths = host.paths.iter().map(|path| PathPattern::parse(path).ok());
    Some(grant(
        HostPattern::parse(&host.name).ok()?,
        methods.collect::<Option<_>>()?,
        paths.collect::<Option<_>>()?,
    ))
}

/// A grant that is no manifest's.
pub(crate) fn grant(
    pattern: HostPattern,
    methods: Vec<Method>,
    paths: Vec<PathPattern>,
) -> HostGrant {
    HostGrant {
        pattern,
        ports: vec![443],
        methods: Methods::These(methods),
        paths,
        inspect: true,
        allow_host: false,
        line: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_profile_grants() {
        for profile in profiles() {
            let mut task = Task::without_manifest();
            assert!(!grant_hosts(&mut task, profile).is_empty());
            assert_eq!(task.hosts.len(), profile.hosts.len(), "{}", profile.name);
        }
    }

    #[test]
    fn a_manifest_may_name_every_profile() {
        let manifest = |name: &str| {
            let text = format!(
                "[task]\nname = \"t\"\nenvironment = \"staging\"\n[agent]\nprofile = \"{name}\"\n"
            );
            tagout_policy::Manifest::parse(&text, "tagout.toml")
        };
        for name in profiles().iter().map(|profile| profile.name.as_str()) {
            manifest(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(find(name, "bash").unwrap().unwrap().name, name);
        }
        assert!(manifest("nobody").is_err());
    }

    #[test]
    fn auto_goes_by_the_base_name() {
        let found = find("auto", "/opt/x/claude").unwrap().unwrap();
        assert_eq!(found.name, "claude");
        assert!(find("auto", "bash").unwrap().is_none());
        assert!(find("nobody", "bash").is_err());
    }
}
