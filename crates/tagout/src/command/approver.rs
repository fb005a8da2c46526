//! `tagout approver`.

use anyhow::bail;
use tagout_authority::approver::{EnrolledKeys, enroll};

use crate::arguments::ApproverCommand;
use crate::command::open;
use crate::screen::{passphrase, say};

/// A passphrase shorter than this would be guessed from the sealed file.
const SHORTEST: usize = 8;

pub(crate) fn approver(command: ApproverCommand) -> anyhow::Result<u8> {
    let (home, _) = open()?;
    match command {
        ApproverCommand::List => {
            let enrolled = EnrolledKeys::load(home.path())?;
            if enrolled.is_empty() {
                println!("nobody is enrolled; whoever is this user outside a sandbox may approve");
            }
            for (name, key) in enrolled.iter() {
                println!("{name}  {key}");
            }
        }
        ApproverCommand::Enroll { name } => {
            let first = passphrase(&format!("new passphrase of {name}"))?;
            if first.chars().count() < SHORTEST {
                bail!("a passphrase has at least {SHORTEST} characters");
            }
            if passphrase("the same again")? != first {
                bail!("the two are not the same; nothing was enrolled");
            }
            let key = enroll(home.path(), &name, &first)?;
            println!("{name}  {key}");
            say("from the next session on, approvals need an enrolled approver's passphrase");
        }
    }
    Ok(0)
}
