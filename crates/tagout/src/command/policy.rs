//! `tagout policy check`.

use std::fs;

use anyhow::Context;
use tagout_policy::{Manifest, Policy};

use crate::arguments::PolicyCommand;
use crate::command::{control_files, open};

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
            control_files(&home)?
        }
    };
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Manifest::parse(&text, &path.display().to_string())?;
        } else {
            Policy::load(Some(&text))?;
        }
        println!("{} is valid", path.display());
    }
    Ok(0)
}
