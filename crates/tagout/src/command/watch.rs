//! `tagout holds --watch`: what waits, as it comes, and on a terminal the answer at the press of a key.
//! A key never answers by itself: `approve` and `deny` show the action again and ask.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tagout_core::HoldId;
use tagout_store::{HoldRecord, HoldState, Store};

use crate::command::holds;
use crate::screen::{confirm, error, paint, say};

/// Ctrl-C, which here must put the terminal back first.
const INTERRUPT: u8 = 3;
/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn watch(store: &Store, json: bool) -> anyhow::Result<u8> {
    let keys = Keys::of_terminal(json);
    let mut shown: BTreeMap<HoldId, HoldState> = BTreeMap::new();
    if let Some(keys) = &keys {
        keys.hint();
    }
    loop {
        let pending = store.holds(None, &[HoldState::Pending])?;
        for hold in &pending {
            if shown.insert(hold.id.clone(), HoldState::Pending).is_none() {
                holds::print(hold, json)?;
            }
        }
        if !json {
            tell_answers(store, &mut shown)?;
        }
        std::io::stdout().flush()?;
        match &keys {
            None => std::thread::sleep(LOOK_EVERY),
            Some(keys) => match keys.next()? {
                Some(b'q' | INTERRUPT) => return Ok(0),
                Some(key @ (b'a' | b'd')) => {
                    keys.lend(|| answer(key, &pending));
                    keys.hint();
                }
                Some(_) => keys.hint(),
                None => {}
            },
        }
    }
}

/// Says what became of holds that were shown.
fn tell_answers(store: &Store, shown: &mut BTreeMap<HoldId, HoldState>) -> anyhow::Result<()> {
    for (id, state) in shown.iter_mut() {
        if *state != HoldState::Pending {
            continue;
        }
        let now = store.hold(id)?.state;
        if now != *state {
            println!("{} {id}\n", paint(&now.to_string(), "2"));
            *state = now;
        }
    }
    Ok(())
}

/// Answers the oldest hold that was on the screen when the key was pressed: one that came since is not
/// meant.
fn answer(key: u8, pending: &[HoldRecord]) {
    let Some(oldest) = pending.iter().min_by_key(|hold| hold.created) else {
        say("nothing waits for you");
        return;
    };
    let id = oldest.id.to_string();
    let answered = if key == b'a' {
        holds::approve(&id, false)
    } else if confirm(&format!("Refuse {id}?")) {
        holds::deny(&id, None)
    } else {
        Ok(1)
    };
    if let Err(failed) = answered {
        error(&failed);
    }
}

/// A terminal that gives each key at once, until this is dropped.
struct Keys {
    before: Termios,
}

impl Keys {
    fn of_terminal(json: bool) -> Option<Self> {
        if json || !std::io::stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(std::io::stdin()).ok()?;
        let keys = Self { before };
        keys.take().ok()?;
        Some(keys)
    }

    fn take(&self) -> rustix::io::Result<()> {
        let mut silent = self.before.clone();
        silent
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)
    }

    /// Gives the terminal back while somebody is asked.
    fn lend(&self, ask: impl FnOnce()) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
        println!();
        ask();
        println!();
        let _ = self.take();
    }

    fn hint(&self) {
        println!(
            "{}\n",
            paint(
                "a answers the oldest with yes, d with no (each asks first), q leaves",
                "2"
            )
        );
    }

    /// A key, if one was pressed before the next look. The end of the input is a `q`.
    fn next(&self) -> anyhow::Result<Option<u8>> {
        let input = std::io::stdin();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()),
        };
        let mut polled = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut polled, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Not through the standard library's buffer: what it read ahead would be lost to the question.
        let mut key = [0u8];
        let length = rustix::io::read(input.as_fd(), &mut key)?;
        Ok(Some(if length == 0 { b'q' } else { key[0] }))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}
