//! `tagout sessions` and `tagout kill`.

use anyhow::bail;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tagout_core::SessionId;
use tagout_session::control::{Word, lives, say as tell};
use tagout_store::SessionState;

use crate::command::open;
use crate::screen::paint;

pub(crate) fn list(json: bool) -> anyhow::Result<u8> {
    let (_, store) = open()?;
    let sessions = store.sessions()?;
    if sessions.is_empty() && !json {
        println!("no session yet; start one with `tagout run -- CMD`");
    }
    for session in &sessions {
        if json {
            println!("{}", serde_json::to_string(&session.listing())?);
            continue;
        }
        let (state, colour) = match session.state {
            SessionState::Running => ("running", "1;32"),
            SessionState::Ended => ("ended", "2"),
            SessionState::Refused => ("refused", "33"),
            SessionState::Crashed => ("crashed", "1;31"),
        };
        let record = &session.record;
        let holds = match session.pending_holds {
            0 => String::new(),
            count => paint(&format!("  {count} waiting"), "1;33"),
        };
        println!(
            "{}  {}  {}  {}  {}  {}{holds}",
            record.id,
            paint(&format!("{state:8}"), colour),
            record.started,
            record.environment,
            record.workspace,
            record
                .command
                .join(" ")
                .escape_debug()
                .to_string()
                .chars()
                .take(60)
                .collect::<String>(),
        );
    }
    Ok(0)
}

pub(crate) fn kill(id: &str) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let id: SessionId = id.parse()?;
    let session = store.session(&id)?;
    if session.state != SessionState::Running {
        bail!("session {id} does not run");
    }
    // The process is held by a descriptor before anything is said, so that a process that gets its
    // number later cannot be meant.
    let pid = i32::try_from(session.record.pid)
        .ok()
        .and_then(Pid::from_raw);
    let supervisor = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if !tell(&home, &id, Word::Kill) && lives(&home, &id) {
        let Some(supervisor) = supervisor else {
            bail!("session {id} does not answer, and its supervisor cannot be found");
        };
        pidfd_send_signal(&supervisor, Signal::KILL)?;
    }
    println!("{} {id}", paint("killed", "1;31"));
    Ok(0)
}
