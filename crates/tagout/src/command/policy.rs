//! `tagout policy check`.

use std::fs;

use anyhow::{Context, bail};
use tagout_policy::{Manifest, Policy};

use crate::arguments::PolicyCommand;
use crate::command::{open, workspace};
use crate::screen::say;

pub(crate) fn policy(command: PolicyCommand) -> anyhow::Result<u8> {
    let PolicyCommand::Check { schema, file } = command;
    if schema {
        print!("{}", Policy::schema_text());
        return Ok(0);
    }
    let files = match file {
        Some(file) => vec![file],
        None => {
            let (home, _) = open()?;
            let workspace = workspace(&home)?;
            ["tagout.toml", "policy.cedar"]
                .map(|name| workspace.join(name))
                .into_iter()
                .filter(|path| path.is_file())
                .collect()
        }
    };
    if files.is_empty() {
        bail!("there is no tagout.toml and no policy.cedar in this workspace");
    }
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let manifest = Manifest::parse(&text, &path.display().to_string())?;
            for missing in manifest.not_yet_enforced() {
                say(&format!(
                    "{}: not enforced by this version: {missing}",
                    path.display()
                ));
            }
        } else {
            Policy::load(Some(&text))?;
        }
        println!("{} is valid", path.display());
    }
    Ok(0)
}
