//! `tagout init`.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use tagout_session::init::propose;

use crate::command::{open, workspace};
use crate::screen::{confirm, has_terminal, paint, say};

pub(crate) fn init(probe: bool, yes: bool) -> anyhow::Result<u8> {
    let (home, _) = open()?;
    let workspace = workspace(&home)?;
    let shows_progress = std::io::stderr().is_terminal();
    let proposal = propose(&home, &workspace, probe, &|files| {
        if shows_progress {
            let _ = write!(std::io::stderr(), "\r\u{1b}[Ktagout: reading {files} files");
        }
    });
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    let proposal = proposal?;
    for line in proposal.text.lines() {
        let shade = if line.starts_with('#') { "2" } else { "0" };
        println!("{}", paint(line, shade));
    }
    std::io::stdout().flush()?;
    let path = workspace.join("tagout.toml");
    if !yes {
        if !has_terminal() {
            bail!("nothing was written: there is no terminal to ask on, and no --yes");
        }
        if !confirm(&format!("Write this to {}?", path.display())) {
            say("nothing was written");
            return Ok(1);
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(proposal.text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!(
        "{} is written; {}. Take the # away from what the task needs, then accept it: tagout trust",
        path.display(),
        match proposal.files {
            0 => "no file with credentials was found".to_owned(),
            1 => "one file with credentials was found".to_owned(),
            files => format!("{files} files with credentials were found"),
        }
    ));
    Ok(0)
}
