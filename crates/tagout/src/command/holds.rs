//! `tagout holds`, `approve`, `deny`: the queue and the answers.

use anyhow::bail;
use tagout_authority::approval::{Approval, Statement, escape_kept};
use tagout_authority::approver::{self, EnrolledKeys};
use tagout_core::HoldId;
use tagout_session::control::{Word, say as tell};
use tagout_store::{HoldRecord, HoldState};

use crate::command::open;
use crate::screen::{confirm, has_terminal, paint, passphrase, say};

pub(crate) fn list(json: bool, watch: bool) -> anyhow::Result<u8> {
    let (_, store) = open()?;
    if watch {
        return super::watch::watch(&store, json);
    }
    let states: &[HoldState] = if json { &[] } else { &[HoldState::Pending] };
    let holds = store.holds(None, states)?;
    for hold in &holds {
        print(hold, json)?;
    }
    if holds.is_empty() && !json {
        println!("nothing waits for you");
    }
    Ok(0)
}

/// A hold as the queue lists it.
pub(crate) fn print(hold: &HoldRecord, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(&hold.listing())?);
        return Ok(());
    }
    show(hold);
    println!(
        "  answer with: tagout approve {0}   or   tagout deny {0} --reason \"...\"\n",
        hold.id
    );
    Ok(())
}

pub(crate) fn approve(id: &str, yes: bool) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let id: HoldId = id.parse()?;
    let hold = store.hold(&id)?;
    if hold.state != HoldState::Pending {
        bail!("hold {id} is {} and cannot be approved", hold.state);
    }
    show(&hold);
    let enrolled = EnrolledKeys::load(home.path())?;
    let statement = Statement::about(&hold);
    let approval = if enrolled.is_empty() {
        if yes {
            Approval::unauthenticated(statement)
        } else if !has_terminal() {
            bail!(
                "approving asks on a terminal, and there is none; --yes works without one while no approver is enrolled"
            );
        } else if confirm("Let exactly this happen, once?") {
            Approval::unauthenticated(statement)
        } else {
            say("not approved; it still waits");
            return Ok(1);
        }
    } else {
        if yes {
            bail!(
                "--yes works only while no approver is enrolled; approve on a terminal with your passphrase"
            );
        }
        let name = choose(&enrolled)?;
        let signer = approver::unlock(
            home.path(),
            &name,
            &passphrase(&format!("passphrase of {name}"))?,
        )?;
        Approval::sign(statement, &signer)
    };
    let by = approval.store_key();
    let state = store.approve(&id, &by, &serde_json::to_value(&approval)?)?;
    tell(&home, &hold.session, Word::Poke);
    if state == HoldState::Approved {
        println!("{} {id}, once, by {by}", paint("approved", "1;32"));
    } else {
        println!(
            "{} by {by}; it waits for one more approver",
            paint("noted", "1;33")
        );
    }
    Ok(0)
}

pub(crate) fn deny(id: &str, reason: Option<String>) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let id: HoldId = id.parse()?;
    let hold = store.hold(&id)?;
    store.deny(&id, "same user", reason.as_deref())?;
    tell(&home, &hold.session, Word::Poke);
    println!("{} {id}", paint("denied", "1;31"));
    Ok(0)
}

fn show(hold: &HoldRecord) {
    println!(
        "{} {}  (decide by {})",
        paint("HOLD", "1;33"),
        paint(hold.id.as_str(), "1"),
        hold.decide_by
    );
    // The text was made and escaped by the session; escaping again changes nothing but what
    // somebody may have written into the store since.
    for line in hold.shown.lines() {
        println!("  {}", escape_kept(line));
    }
    println!();
}

/// The approver who answers: the only one, or the one that is named.
fn choose(enrolled: &EnrolledKeys) -> anyhow::Result<String> {
    let names: Vec<&str> = enrolled.iter().map(|(name, _)| name).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        names => match std::env::var("TAGOUT_APPROVER") {
            Ok(name) if names.contains(&name.as_str()) => Ok(name),
            _ => bail!(
                "several approvers are enrolled ({}); set TAGOUT_APPROVER to the one who answers",
                names.join(", ")
            ),
        },
    }
}
