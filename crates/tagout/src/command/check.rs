//! `tagout check`.

use std::fs;
use std::io::{BufRead, Write};

use anyhow::Context;
use tagout_policy::{Manifest, Policy};
use tagout_session::check::{Checker, Dialect, parse_http};

use crate::arguments::CheckArguments;
use crate::screen;

/// The question itself is wrong.
const USAGE: u8 = 2;

pub(crate) fn check(arguments: CheckArguments) -> anyhow::Result<u8> {
    if !arguments.command.is_empty() {
        screen::say(
            "commands cannot be judged yet: their gate comes later; --sql, --http and --jsonl can",
        );
        return Ok(USAGE);
    }
    if arguments.http.is_none() && arguments.sql.is_none() && !arguments.jsonl {
        screen::say("name what to check: --sql TEXT, --http FILE, or --jsonl");
        return Ok(USAGE);
    }
    let (task, policy) = match &arguments.manifest {
        None => (None, Policy::load(None)?),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let manifest = Manifest::parse(&text, &path.display().to_string())?;
            let beside = path.with_file_name("policy.cedar");
            let user = fs::read_to_string(beside).ok();
            (Some(manifest.into_task()), Policy::load(user.as_deref())?)
        }
    };
    let checker = Checker::new(task, policy).map_err(anyhow::Error::msg)?;
    if arguments.jsonl {
        let mut output = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            writeln!(output, "{}", checker.line(&line))?;
            output.flush()?;
        }
        return Ok(0);
    }
    if let Some(text) = arguments.sql {
        let checked = checker.sql(Dialect::Postgres, &text);
        println!("{}", checked.answer);
        return Ok(checked.exit);
    }
    let Some(path) = arguments.http else {
        return Ok(USAGE);
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match parse_http(&bytes) {
        Ok(request) => {
            let checked = checker.http(&request);
            println!("{}", checked.answer);
            Ok(checked.exit)
        }
        Err(why) => {
            eprintln!("tagout: {}: {why}", path.display());
            Ok(USAGE)
        }
    }
}
