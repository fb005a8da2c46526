//! What Tagout knows about agents: which command is which, the hosts of its model, the variables it
//! needs. The table is `profiles.toml`; nothing about an agent is written anywhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

/// One agent's table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The name that `--agent` and the manifest use.
    pub(crate) name: String,
    /// Base names of the commands that start it.
    pub(crate) commands: Vec<String>,
    /// Variables that are set inside.
    pub(crate) environment: BTreeMap<String, String>,
    /// Variables that are passed on when they are set outside. None of them holds a secret.
    pub(crate) pass: Vec<String>,
    /// The hosts of its model, by method and path.
    #[serde(default, rename = "host")]
    pub(crate) hosts: Vec<ModelHost>,
}

/// A model host, granted by method and path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelHost {
    /// The host's name.
    pub(crate) name: String,
    /// The methods that are granted.
    pub(crate) methods: Vec<String>,
    /// The paths that are granted, as globs on the canonical path.
    pub(crate) paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    profile: Vec<Profile>,
}

static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("../profiles.toml"))
        .map(|table| table.profile)
        // A test reads the table, so this cannot happen in a build that passed.
        .unwrap_or_default()
});

/// Every profile.
pub(crate) fn all() -> &'static [Profile] {
    &PROFILES
}

/// The profile that `--agent` or the manifest names; `auto` goes by the command.
///
/// # Errors
/// The names there are, when `name` is none of them.
pub(crate) fn find(name: &str, command: &str) -> Result<Option<&'static Profile>, String> {
    if name == "auto" {
        let base = Path::new(command)
            .file_name()
            .and_then(|base| base.to_str());
        return Ok(all()
            .iter()
            .find(|profile| base.is_some_and(|base| profile.commands.iter().any(|c| c == base))));
    }
    if name == "none" || name == "bash" {
        return Ok(None);
    }
    all()
        .iter()
        .find(|profile| profile.name == name)
        .map(Some)
        .ok_or_else(|| {
            let names: Vec<_> = all().iter().map(|profile| profile.name.as_str()).collect();
            format!(
                "no agent profile is called `{name}`; there are auto, none, {}",
                names.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tagout_core::{HostName, Method};

    #[test]
    fn the_table_reads_and_its_hosts_are_hosts() {
        assert!(all().iter().any(|profile| profile.name == "claude"));
        for host in all().iter().flat_map(|profile| &profile.hosts) {
            HostName::parse(&host.name).unwrap();
            for method in &host.methods {
                Method::parse(method).unwrap();
            }
            assert!(host.paths.iter().all(|path| path.starts_with('/')));
        }
    }

    #[test]
    fn a_manifest_may_name_every_profile() {
        for profile in all() {
            let text = format!(
                "[task]\nname = \"t\"\nenvironment = \"staging\"\n[agent]\nprofile = \"{}\"\n",
                profile.name
            );
            let manifest = tagout_policy::Manifest::parse(&text, "tagout.toml");
            let manifest = manifest.unwrap_or_else(|error| panic!("{}: {error}", profile.name));
            assert!(manifest.not_yet_enforced().is_empty(), "{}", profile.name);
        }
    }

    #[test]
    fn auto_goes_by_the_base_name() {
        assert_eq!(
            find("auto", "/opt/x/claude").unwrap().unwrap().name,
            "claude"
        );
        assert!(find("auto", "bash").unwrap().is_none());
        assert!(find("nobody", "bash").is_err());
    }
}
